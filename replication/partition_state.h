/* What a checkpoint remembers of a partition, and how it is written.
 *
 *   0 version u8 = 2 | 1 append_ms i64 | 9 log start offset i64 | 17 log end offset i64 | 25 segment count u32 |
 *   per segment: base offset i64 | size u64 | max timestamp i64 | first append_ms i64 | index count u32 | time index
 *   count u32 | time index CRC u32 |
 *   leader epochs (epochs.h) | producers (producers.h) | generation u64 | CRC-32C u32 of all before
 * Version 1 is the same without the generation, which is 0.
 * A partition that could not apply an entry writes version 255 and no more: its checkpoint must never be taken for one.
 *
 * Pure. */
#pragma once

#include "replication/epochs.h"
#include "replication/log.h"
#include "replication/producers.h"

struct partition_state {
    uint64_t generation;      /* which directory: 0 the plain one, else that of the catch-up to this index */
    int64_t append_ms;        /* of the last entry applied */
    struct log_state log;     /* owned by whoever filled it */
    struct epochs *epochs;
    struct producers *producers;
};

void partition_state_encode(const struct partition_state *state, struct dynbuf *buf);
void partition_state_encode_damaged(struct dynbuf *buf);
/* Fills the two tables that `state` points to, and state->log, which the caller frees in any case. ERR_DAMAGED with
 * text. */
MUST_CHECK enum err partition_state_decode(struct bytes bytes, struct partition_state *state, struct errmsg *msg);
