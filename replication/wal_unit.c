/* Happy path: copy a frame behind the others and carry the checksum along while the bytes are in the cache. */
#include "replication/wal_unit.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/wal_format.h"

#include <string.h>

void wal_unit_pool_init(struct wal_unit_pool *pool)
{
    list_init(&pool->free);
    pool->count = 0;
    pool->capacity_first = WAL_BUFFER_SIZE_MIN;
}

static void unit_free(struct wal_unit *unit)
{
    mem_free(unit->data);
    mem_free(unit);
}

void wal_unit_pool_deinit(struct wal_unit_pool *pool)
{
    for (struct list *link = list_pop(&pool->free); link != NULL; link = list_pop(&pool->free)) {
        unit_free(container_of(link, struct wal_unit, link));
    }
    pool->count = 0;
}

struct wal_unit *wal_unit_acquire(struct wal_unit_pool *pool, uint64_t lsn)
{
    struct list *link = list_pop(&pool->free);
    struct wal_unit *unit;
    if (link != NULL) {
        pool->count--;
        unit = container_of(link, struct wal_unit, link);
    } else {
        unit = mem_alloc(sizeof(*unit));
        list_init(&unit->link);
        unit->capacity = pool->capacity_first;
        unit->data = mem_aligned_raw(WAL_BLOCK_SIZE, unit->capacity);
    }
    unit->lsn = lsn;
    unit->size = WAL_UNIT_HEADER_SIZE;
    unit->frame_count = 0;
    unit->crc = 0;
    unit->is_awaited = false;
    return unit;
}

void wal_unit_release(struct wal_unit_pool *pool, struct wal_unit *unit)
{
    /* What the last one needed, the next one will need. */
    pool->capacity_first = unit->size > WAL_UNIT_SIZE_SOFT / 2 ? WAL_UNIT_SIZE_SOFT : WAL_BUFFER_SIZE_MIN;
    if (pool->count == WAL_BUFFER_COUNT_MAX || unit->capacity > WAL_BUFFER_SIZE_MAX) {
        unit_free(unit);
        return;
    }
    pool->count++;
    list_push_front(&pool->free, &unit->link);
}

static void unit_reserve(struct wal_unit *unit, size_t extra)
{
    size_t need = unit->size + extra;
    if (need <= unit->capacity) {
        return;
    }
    size_t capacity = wal_unit_size(need - WAL_UNIT_HEADER_SIZE);
    if (capacity <= WAL_UNIT_SIZE_SOFT && capacity < 2 * unit->capacity) {
        capacity = 2 * unit->capacity;
    }
    uint8_t *data = mem_aligned_raw(WAL_BLOCK_SIZE, capacity);
    memcpy(data, unit->data, unit->size);
    mem_free(unit->data);
    unit->data = data;
    unit->capacity = capacity;
}

static void bytes_put(struct wal_unit *unit, struct bytes bytes)
{
    if (bytes.size == 0) {
        return;
    }
    assert(bytes.size <= unit->capacity - unit->size);
    memcpy(unit->data + unit->size, bytes.data, bytes.size);
    unit->crc = crc32c(unit->crc, bytes);
    unit->size += bytes.size;
}

size_t wal_frame_payload_size(const struct wal_frame *frame)
{
    size_t size = 0;
    for (unsigned i = 0; i < frame->slice_count; i++) {
        assert(frame->slices[i].bytes.size <= ENTRY_SIZE_MAX - size);
        size += frame->slices[i].bytes.size;
    }
    return size;
}

uint64_t wal_unit_put(struct wal_unit *unit, const struct wal_frame *frame, size_t payload_size)
{
    uint64_t lsn = unit->lsn + unit->size;
    uint8_t header[WAL_FRAME_HEADER_SIZE];
    unit_reserve(unit, WAL_FRAME_HEADER_SIZE + payload_size);
    wal_frame_encode(frame, payload_size, header);
    bytes_put(unit, (struct bytes){header, sizeof(header)});
    for (unsigned i = 0; i < frame->slice_count; i++) {
        bytes_put(unit, frame->slices[i].bytes);
    }
    unit->frame_count++;
    unit->is_awaited = unit->is_awaited || frame->kind != WAL_COMMIT;
    return lsn;
}

size_t wal_unit_payload_size(const struct wal_unit *unit)
{
    return unit->size - WAL_UNIT_HEADER_SIZE;
}

size_t wal_unit_disk_size(const struct wal_unit *unit)
{
    return wal_unit_size(wal_unit_payload_size(unit));
}
