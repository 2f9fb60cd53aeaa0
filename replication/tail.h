/* The end of one group's log in memory: entries from `first_index` on, without a gap, each with its place in the WAL.
 *
 * A ring that doubles when full. What is at most in it is decided by who pushes (limits.h: GROUP_TAIL_SIZE_MAX).
 * Runs on: the shard's thread. */
#pragma once

#include "replication/entry.h"

struct tail_slot {
    struct entry *entry;
    uint64_t lsn;               /* durable when the WAL's durable LSN is above; 0: not in the WAL (bootstrap) */
};

struct tail {
    struct tail_slot *slots;
    size_t capacity;            /* power of two, or 0 */
    size_t start;               /* slot of first_index */
    size_t count;
    uint64_t first_index;       /* of the first entry, or of the next one when empty */
    size_t size;                /* bytes of all entries, with what each costs besides its payload */
};

void tail_init(struct tail *tail, uint64_t first_index);
void tail_deinit(struct tail *tail);                                /* releases all */
void tail_reset(struct tail *tail, uint64_t first_index);
void tail_push(struct tail *tail, struct entry *entry, uint64_t lsn); /* acquires; its index is the next one */
void tail_cut(struct tail *tail, uint64_t index);                   /* releases entries >= index */
void tail_drop_first(struct tail *tail);                            /* releases the first one */
size_t tail_entry_size(const struct entry *entry);

static inline uint64_t tail_end(const struct tail *tail)            /* index behind the last entry */
{
    return tail->first_index + tail->count;
}
static inline struct tail_slot *tail_at(const struct tail *tail, uint64_t index) /* first_index <= index < tail_end() */
{
    return &tail->slots[(tail->start + (size_t)(index - tail->first_index)) & (tail->capacity - 1)];
}
