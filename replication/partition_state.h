/* What a checkpoint remembers of a partition, and how it is written.
 *
 *   0 version u8 = 3 | 1 append_ms i64 | 9 log start offset i64 | 17 log end offset i64 | 25 segment count u32 |
 *   per segment: base offset i64 | size u64 | max timestamp i64 | first append_ms i64 | index count u32 | time index
 *   count u32 | time index CRC u32 | version u64 |
 *   leader epochs (epochs.h) | producers (producers.h) | generation u64 | compacted end i64 | ordered end i64 |
 *   orders u32, per order COMPACTION_ORDER_SIZE bytes (compaction.h) | CRC-32C u32 of all before
 * Version 2 is the same without what concerns compaction, version 1 also without the generation, which is 0.
 * A partition that could not apply an entry writes version 255 and no more: its checkpoint must never be taken for one.
 *
 * Pure. */
#pragma once

#include "base/limits.h"
#include "replication/compaction.h"
#include "replication/epochs.h"
#include "replication/log.h"
#include "replication/producers.h"

struct compactions {              /* What was ordered, and what of it the segments hold. */
    int64_t end_offset;       /* below it they are compacted */
    int64_t ordered_end;      /* of the last order */
    struct compaction_order *orders; /* to be carried out, in this order */
    size_t count, capacity;   /* count is at most COMPACTION_ORDER_COUNT_MAX */
};
void compactions_deinit(struct compactions *compactions);
void compactions_push(struct compactions *compactions, const struct compaction_order *order);

struct partition_state {
    uint64_t generation;      /* which directory: 0 the plain one, else that of the catch-up to this index */
    int64_t append_ms;        /* of the last entry applied */
    struct log_state log;     /* owned by whoever filled it */
    struct compactions compactions; /* owned likewise */
    struct epochs *epochs;
    struct producers *producers;
};

void partition_state_encode(const struct partition_state *state, struct dynbuf *buf);
void partition_state_encode_damaged(struct dynbuf *buf);
/* Fills the two tables that `state` points to, and state->log and state->compactions, which the caller frees in any
 * case. ERR_DAMAGED with text. */
MUST_CHECK enum err partition_state_decode(struct bytes bytes, struct partition_state *state, struct errmsg *msg);
