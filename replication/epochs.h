/* Leader epochs of one partition: which term wrote which offsets.
 *
 * A list of (epoch, start offset), both strictly increasing; an entry's range ends where the next one starts, the
 * last one at the end of the log. A term that wrote no record has no range: its entry is replaced by the next
 * term's, and a question for it finds the epoch before. Part of the partition's state, so it survives checkpoints
 * and catch-up.
 *
 * Pure. Source: KIP-101 and KIP-279; Kafka's answer to OffsetForLeaderEpoch. */
#pragma once

#include "base/dynbuf.h"

struct epoch {
    int32_t epoch;
    int64_t start_offset;
};

struct epochs {
    struct epoch *items; /* oldest first */
    size_t count;
    size_t capacity;
};

void epochs_init(struct epochs *epochs);
void epochs_deinit(struct epochs *epochs);

/* What is written from `start_offset` on is `epoch`'s. Neither goes back: they come from the Raft log. No-op for the
 * epoch that is the last one. Over PARTITION_EPOCH_COUNT_MAX the oldest is forgotten. */
void epochs_assign(struct epochs *epochs, int32_t epoch, int64_t start_offset);
/* Offsets below `start_offset` are gone: forgets the epochs that lie wholly below. */
void epochs_trim(struct epochs *epochs, int64_t start_offset);

/* The epoch that wrote `offset`; -1 when none that is remembered did. */
int32_t epochs_at(const struct epochs *epochs, int64_t offset);
/* The last epoch; -1 when empty. */
int32_t epochs_last(const struct epochs *epochs);
/* The largest epoch <= `epoch` and where it ends, for a log of [start_offset, end_offset). An epoch before all that
 * are remembered ends where those begin, as in Kafka. (-1, -1) when none is known. */
void epochs_end(const struct epochs *epochs, int32_t epoch, int64_t start_offset, int64_t end_offset,
                int32_t *found_epoch, int64_t *found_end);

/* u8 version = 1 | u32 count | count times: i32 epoch | i64 start offset. */
void epochs_encode(const struct epochs *epochs, struct dynbuf *buf);
/* Replaces the contents. Sticks in the reader on bad input (ERR_CORRUPT, ERR_SHORT); `epochs` is then empty. */
void epochs_decode(struct epochs *epochs, struct reader *reader);
