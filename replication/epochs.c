/* A sorted array: elections are rare, lookups are a binary search.
 * Failure: none but bad input to epochs_decode(). */
#include "replication/epochs.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include <string.h>

enum {
    EPOCHS_VERSION = 1,
    EPOCH_SIZE = 12,
    EPOCHS_CAPACITY_FIRST = 4
};

void epochs_init(struct epochs *epochs)
{
    *epochs = (struct epochs){0};
}

void epochs_deinit(struct epochs *epochs)
{
    mem_free(epochs->items);
    *epochs = (struct epochs){0};
}

static void epochs_drop_front(struct epochs *epochs, size_t count)
{
    if (count > 0) {
        epochs->count -= count;
        memmove(epochs->items, epochs->items + count, epochs->count * sizeof(*epochs->items));
    }
}

void epochs_assign(struct epochs *epochs, int32_t epoch, int64_t start_offset)
{
    assert(epoch >= 0);
    assert(start_offset >= 0);
    if (epochs->count > 0) {
        struct epoch *last = &epochs->items[epochs->count - 1];
        if (epoch == last->epoch) {
            return;
        }
        assert(epoch > last->epoch);
        assert(start_offset >= last->start_offset);
        if (start_offset == last->start_offset) {
            last->epoch = epoch;
            return;
        }
    }
    if (epochs->count == PARTITION_EPOCH_COUNT_MAX) {
        epochs_drop_front(epochs, 1);
    }
    if (epochs->count == epochs->capacity) {
        epochs->capacity = epochs->capacity == 0 ? EPOCHS_CAPACITY_FIRST : 2 * epochs->capacity;
        epochs->items = mem_resize(epochs->items, epochs->capacity * sizeof(*epochs->items));
    }
    epochs->items[epochs->count++] = (struct epoch){epoch, start_offset};
}

/* How many entries start at or below `offset`. */
static size_t count_starting_by(const struct epochs *epochs, int64_t offset)
{
    size_t low = 0;
    size_t high = epochs->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (epochs->items[middle].start_offset <= offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* How many entries are of `epoch` or an earlier one. */
static size_t count_up_to(const struct epochs *epochs, int32_t epoch)
{
    size_t low = 0;
    size_t high = epochs->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (epochs->items[middle].epoch <= epoch) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

void epochs_trim(struct epochs *epochs, int64_t start_offset)
{
    size_t count = count_starting_by(epochs, start_offset);
    epochs_drop_front(epochs, count > 1 ? count - 1 : 0);
}

int32_t epochs_at(const struct epochs *epochs, int64_t offset)
{
    size_t count = count_starting_by(epochs, offset);
    return count == 0 ? -1 : epochs->items[count - 1].epoch;
}

int32_t epochs_last(const struct epochs *epochs)
{
    return epochs->count == 0 ? -1 : epochs->items[epochs->count - 1].epoch;
}

void epochs_end(const struct epochs *epochs, int32_t epoch, int64_t start_offset, int64_t end_offset,
                int32_t *found_epoch, int64_t *found_end)
{
    *found_epoch = -1;
    *found_end = -1;
    if (epochs->count == 0 || epoch < 0) {
        return;
    }
    size_t count = count_up_to(epochs, epoch);
    *found_epoch = count == 0 ? epoch : epochs->items[count - 1].epoch;
    *found_end = count == epochs->count ? end_offset : epochs->items[count].start_offset;
    if (*found_end < start_offset) {
        *found_end = start_offset;
    }
}

void epochs_encode(const struct epochs *epochs, struct dynbuf *buf)
{
    size_t size = 1 + 4 + epochs->count * EPOCH_SIZE;
    enum err err = dynbuf_reserve(buf, size);
    assert(err == OK); /* the checkpoint has room for all bounds of limits.h */
    struct writer writer;
    writer_init(&writer, buf->data + buf->size, size);
    write_u8(&writer, EPOCHS_VERSION);
    write_u32(&writer, (uint32_t)epochs->count);
    for (size_t i = 0; i < epochs->count; i++) {
        write_i32(&writer, epochs->items[i].epoch);
        write_i64(&writer, epochs->items[i].start_offset);
    }
    assert(writer.err == OK && writer_size(&writer) == size);
    buf->size += size;
}

void epochs_decode(struct epochs *epochs, struct reader *reader)
{
    epochs_deinit(epochs);
    uint8_t version = read_u8(reader);
    uint32_t count = read_u32(reader);
    if (reader->err == OK &&
        (version != EPOCHS_VERSION || count > PARTITION_EPOCH_COUNT_MAX || count > reader->left / EPOCH_SIZE)) {
        reader_fail(reader, ERR_CORRUPT);
    }
    struct epoch last = {-1, -1};
    for (uint32_t i = 0; i < count && reader->err == OK; i++) {
        struct epoch next = {.epoch = read_i32(reader)};
        next.start_offset = read_i64(reader);
        if (next.epoch <= last.epoch || next.start_offset <= last.start_offset) {
            reader_fail(reader, ERR_CORRUPT);
        } else {
            epochs_assign(epochs, next.epoch, next.start_offset);
            last = next;
        }
    }
    if (reader->err != OK) {
        epochs_deinit(epochs);
    }
}
