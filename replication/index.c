/* Happy path: a binary search narrows the range with single-entry reads until it fits in one block, which is read once.
 * Failure: a short file and unsorted bytes end the search; the caller treats the index as absent. */
#include "replication/index.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include <string.h>

enum {
    SEARCH_BLOCK_COUNT = 64
};

void index_entry_encode(uint8_t data[INDEX_ENTRY_SIZE], struct index_entry entry)
{
    be32_put(data, (uint32_t)entry.offset);
    be32_put(data + 4, entry.position);
}

struct index_entry index_entry_decode(const uint8_t data[INDEX_ENTRY_SIZE])
{
    return (struct index_entry){.offset = (int32_t)be32_get(data), .position = be32_get(data + 4)};
}

void time_index_entry_encode(uint8_t data[TIME_INDEX_ENTRY_SIZE], struct time_index_entry entry)
{
    be64_put(data, (uint64_t)entry.timestamp);
    be32_put(data + 8, (uint32_t)entry.offset);
}

struct time_index_entry time_index_entry_decode(const uint8_t data[TIME_INDEX_ENTRY_SIZE])
{
    return (struct time_index_entry){.timestamp = (int64_t)be64_get(data), .offset = (int32_t)be32_get(data + 8)};
}

static enum err file_read(const struct index_file *index, uint64_t position, void *data, size_t size)
{
    size_t got = 0;
    enum err err = index->is_nowait ? index->disk->pread_nowait(index->disk, index->file, position, data, size, &got)
                                    : index->disk->pread(index->disk, index->file, position, data, size, &got);
    if (err != OK || got == size) {
        return err;
    }
    return index->is_nowait ? ERR_WOULD_BLOCK : ERR_SHORT;
}

/* The column that is searched: both kinds of entry are found by their first field, as a signed integer. */
static int64_t entry_key(const uint8_t *data, size_t entry_size)
{
    return entry_size == INDEX_ENTRY_SIZE ? (int64_t)index_entry_decode(data).offset : (int64_t)be64_get(data);
}

/* Copies the last entry whose key is <= `key` to `found`. */
static enum err file_find(const struct index_file *index, size_t entry_size, int64_t key, uint8_t *found)
{
    uint8_t block[SEARCH_BLOCK_COUNT * TIME_INDEX_ENTRY_SIZE];
    uint32_t low = 0;             /* entries below it have keys <= key */
    uint32_t high = index->count; /* entries from here on have larger keys */
    while (high - low > SEARCH_BLOCK_COUNT) {
        uint32_t middle = low + (high - low) / 2;
        enum err err = file_read(index, (uint64_t)middle * entry_size, block, entry_size);
        if (err != OK) {
            return err;
        }
        if (entry_key(block, entry_size) <= key) {
            low = middle; /* it may be the answer, so it stays in the range */
        } else {
            high = middle;
        }
    }
    if (high == low) {
        return ERR_NOT_FOUND;
    }
    enum err err = file_read(index, (uint64_t)low * entry_size, block, (high - low) * entry_size);
    if (err != OK) {
        return err;
    }
    for (uint32_t i = high - low; i > 0; i--) {
        const uint8_t *data = block + (i - 1) * entry_size;
        if (entry_key(data, entry_size) <= key) {
            memcpy(found, data, entry_size);
            return OK;
        }
    }
    return ERR_NOT_FOUND;
}

enum err index_find(const struct index_file *index, int32_t offset, struct index_entry *entry)
{
    assert(offset >= 0);
    uint8_t data[INDEX_ENTRY_SIZE];
    enum err err = file_find(index, INDEX_ENTRY_SIZE, offset, data);
    if (err == OK) {
        *entry = index_entry_decode(data);
    }
    return err;
}

enum err time_index_find(const struct index_file *index, int64_t timestamp, struct time_index_entry *entry)
{
    if (timestamp == INT64_MIN) {
        return ERR_NOT_FOUND;
    }
    uint8_t data[TIME_INDEX_ENTRY_SIZE];
    enum err err = file_find(index, TIME_INDEX_ENTRY_SIZE, timestamp - 1, data);
    if (err == OK) {
        *entry = time_index_entry_decode(data);
    }
    return err;
}

enum err time_index_crc(const struct index_file *index, uint32_t *crc)
{
    uint8_t block[KIB(12)];
    static_assert(sizeof(block) % TIME_INDEX_ENTRY_SIZE == 0, "blocks hold whole entries");
    uint64_t size = (uint64_t)index->count * TIME_INDEX_ENTRY_SIZE;
    *crc = 0;
    for (uint64_t position = 0; position < size;) {
        size_t step = size - position < sizeof(block) ? (size_t)(size - position) : sizeof(block);
        enum err err = file_read(index, position, block, step);
        if (err != OK) {
            return err;
        }
        *crc = crc32c(*crc, (struct bytes){block, step});
        position += step;
    }
    return OK;
}
