/* Commands in entries, as another broker or a damaged disk may send them: the first byte says where the payload is cut
 * into two slices. What is accepted must be what the state machine relies on. */
#include <string.h>

#include "base/assert.h"
#include "base/shared.h"
#include "replication/partition_command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct entry *entry_of(const uint8_t *data, size_t size)
{
    struct shared *block = shared_new(size + 1);
    size_t cut = (size_t)data[0] * size / 256;
    size--;
    memcpy(block->data, data + 1, size);
    cut = cut < size ? cut : size;
    struct slice slices[2] = {slice_of(block, 0, cut), slice_of(block, cut, size - cut)};
    struct entry *entry = entry_new(ENTRY_COMMAND, 1, 1, slices, 2);
    shared_release(block);
    return entry;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    struct entry *entry = entry_of(data, size);
    struct partition_command_reader reader;
    struct partition_command command;
    enum err err = partition_command_open(&reader, entry, &command);
    size_t total = PARTITION_COMMAND_HEADER_SIZE;
    while (err == OK) {
        struct record_batch batch;
        err = partition_command_next(&reader, &batch);
        if (err == OK) {
            assert(batch.count > 0 && batch.last_offset_delta == batch.count - 1);
            assert(batch.producer_id < 0 || (batch.producer_epoch >= 0 && batch.base_sequence >= 0));
            total += batch.bytes.size;
        }
    }
    assert(err == ERR_CORRUPT || err == ERR_UNSUPPORTED || (err == ERR_NOT_FOUND && total == entry->size));
    partition_command_deinit(&reader);
    entry_release(entry);
    return 0;
}
