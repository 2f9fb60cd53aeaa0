/* Happy path: on the leader each batch is a slice of its own, elsewhere the whole payload is one slice; both are read
 *             in place. Where a piece does not lie in one slice as a whole, the payload is gathered, once.
 * Failure:    what does not add up is ERR_CORRUPT, before anything was applied. */
#include "replication/partition_command.h"

#include "base/assert.h"
#include "base/shared.h"
#include <string.h>

enum {
    COMMAND_VERSION = 1
};

void partition_command_encode(const struct partition_command *command, uint8_t data[PARTITION_COMMAND_HEADER_SIZE])
{
    struct writer writer;
    writer_init(&writer, data, PARTITION_COMMAND_HEADER_SIZE);
    write_u8(&writer, (uint8_t)command->type);
    write_u8(&writer, COMMAND_VERSION);
    write_u16(&writer, command->batch_count);
    write_i64(&writer, command->append_ms);
    write_i64(&writer, command->argument);
    assert(writer.err == OK);
    assert(writer.left == 0);
}

static void reader_advance(struct partition_command_reader *reader, size_t size)
{
    assert(size <= reader->rest.size);
    reader->rest = (struct bytes){reader->rest.data + size, reader->rest.size - size};
    reader->position += size;
}

/* Makes `rest` what is left of the first slice that has something left. */
static void reader_settle(struct partition_command_reader *reader)
{
    while (reader->rest.size == 0 && reader->next_slice < reader->entry->slice_count) {
        reader->rest = reader->entry->slices[reader->next_slice++].bytes;
    }
}

/* Goes on in the gathered payload. */
static void reader_gather(struct partition_command_reader *reader)
{
    struct bytes payload = entry_payload(reader->entry, &reader->scratch);
    assert(payload.size == reader->entry->size);
    assert(reader->position <= payload.size);
    reader->rest = (struct bytes){payload.data + reader->position, payload.size - reader->position};
    reader->next_slice = reader->entry->slice_count;
}

enum err partition_command_open(struct partition_command_reader *reader, const struct entry *entry,
                                struct partition_command *command)
{
    *reader = (struct partition_command_reader){.entry = entry};
    reader_settle(reader);
    if (reader->rest.size < PARTITION_COMMAND_HEADER_SIZE) {
        reader_gather(reader);
    }
    struct reader fields;
    reader_init(&fields, reader->rest);
    unsigned type = read_u8(&fields);
    unsigned version = read_u8(&fields);
    command->batch_count = read_u16(&fields);
    command->append_ms = read_i64(&fields);
    command->argument = read_i64(&fields);
    if (fields.err != OK) {
        return ERR_CORRUPT;
    }
    if (version != COMMAND_VERSION || type < PARTITION_COMMAND_BATCHES || type > PARTITION_COMMAND_COMPACT) {
        return ERR_UNSUPPORTED;
    }
    if (command->append_ms < 0 || command->argument < 0) {
        return ERR_CORRUPT;
    }
    command->type = (enum partition_command_type)type;
    reader_advance(reader, PARTITION_COMMAND_HEADER_SIZE);
    return OK;
}

bool partition_command_is_batches(const struct entry *entry)
{
    struct partition_command_reader reader;
    struct partition_command command;
    enum err err = partition_command_open(&reader, entry, &command);
    partition_command_deinit(&reader);
    return err != OK || command.type == PARTITION_COMMAND_BATCHES;
}

void partition_command_compact_encode(const struct compaction_order *order, int64_t append_ms,
                                      uint8_t data[PARTITION_COMMAND_COMPACT_SIZE])
{
    struct partition_command command = {
        .type = PARTITION_COMMAND_COMPACT,
        .append_ms = append_ms,
        .argument = order->end_offset,
    };
    struct writer writer;
    partition_command_encode(&command, data);
    writer_init(&writer, data + PARTITION_COMMAND_HEADER_SIZE,
                PARTITION_COMMAND_COMPACT_SIZE - PARTITION_COMMAND_HEADER_SIZE);
    write_i64(&writer, order->delete_retention_ms);
    write_i64(&writer, order->segment_size);
    write_u32(&writer, order->key_count_max);
    write_bytes(&writer, (struct bytes){order->seed, KEY_MAP_SEED_SIZE});
    assert(writer.err == OK);
    assert(writer.left == 0);
}

enum err partition_command_compact(struct partition_command_reader *reader, const struct partition_command *command,
                                   struct compaction_order *order)
{
    struct reader fields;
    reader_gather(reader);
    reader_init(&fields, reader->rest);
    order->end_offset = command->argument;
    order->delete_retention_ms = read_i64(&fields);
    order->segment_size = read_i64(&fields);
    order->key_count_max = read_u32(&fields);
    struct bytes seed = read_bytes(&fields, KEY_MAP_SEED_SIZE);
    if (fields.err != OK || fields.left != 0 || !compaction_order_is_sane(order)) {
        return ERR_CORRUPT;
    }
    memcpy(order->seed, seed.data, KEY_MAP_SEED_SIZE);
    return OK;
}

/* What every leader has made sure of, and what the tables and the log rely on. */
static bool is_batch_sane(const struct record_batch *batch)
{
    bool has_producer = batch->producer_id >= 0;
    return batch->count > 0 && batch->last_offset_delta == batch->count - 1 &&
           (!has_producer || (batch->producer_epoch >= 0 && batch->base_sequence >= 0));
}

enum err partition_command_next(struct partition_command_reader *reader, struct record_batch *batch)
{
    reader_settle(reader);
    if (reader->rest.size == 0) {
        return ERR_NOT_FOUND;
    }
    enum err err = record_batch_view(reader->rest, batch);
    if (err == ERR_SHORT && reader->next_slice < reader->entry->slice_count) {
        reader_gather(reader);
        err = record_batch_view(reader->rest, batch);
    }
    if (err != OK || !is_batch_sane(batch)) {
        return ERR_CORRUPT;
    }
    reader_advance(reader, batch->bytes.size);
    return OK;
}

void partition_command_deinit(struct partition_command_reader *reader)
{
    shared_release(reader->scratch);
    reader->scratch = NULL;
}
