/* A unit that gathers: frames side by side in aligned memory, room for the unit's header in front, ready to be written.
 *
 * Memory:  buffers are reused; they start small and double, so that an idle shard stays small and a busy one does not
 *          copy. A single large frame gets a buffer of its own size, which is not kept. */
#pragma once

#include "base/list.h"
#include "replication/wal.h"

struct wal_unit {
    struct list link;
    uint64_t lsn;
    uint8_t *data;        /* header (not filled in yet) and frames; whole blocks */
    size_t capacity;
    size_t size;          /* header and frames so far */
    uint32_t frame_count;
    uint32_t crc;         /* of the frames */
    bool is_awaited;      /* has a frame other than WAL_COMMIT */
};

struct wal_unit_pool {
    struct list free;
    unsigned count;
    size_t capacity_first; /* of a new one */
};

void wal_unit_pool_init(struct wal_unit_pool *pool);
void wal_unit_pool_deinit(struct wal_unit_pool *pool);
struct wal_unit *wal_unit_acquire(struct wal_unit_pool *pool, uint64_t lsn); /* empty */
void wal_unit_release(struct wal_unit_pool *pool, struct wal_unit *unit);

size_t wal_frame_payload_size(const struct wal_frame *frame); /* asserts ENTRY_SIZE_MAX */
/* Copies a frame of that payload size into the unit. Returns its LSN. */
uint64_t wal_unit_put(struct wal_unit *unit, const struct wal_frame *frame, size_t payload_size);
/* Of the payload: all but the header. */
size_t wal_unit_payload_size(const struct wal_unit *unit);
/* On disk, in whole blocks. */
size_t wal_unit_disk_size(const struct wal_unit *unit);
