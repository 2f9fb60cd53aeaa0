/* What a compaction makes of one batch, and of a run of batches that are gone. Pure; any thread.
 *
 * A record stays when it is the last one of its key, as far as the map knows, and lies at or above the start. One
 * without a key does not. A tombstone (null value) stays until the delete horizon of its batch: the first compaction
 * that meets it sets the horizon, in the place of the base timestamp (attribute bit 6).
 * What stays keeps its offset, timestamp, headers, order and codec; the batch keeps base offset, last offset delta,
 * leader epoch, producer and sequence.
 * Source: KIP-534; Kafka's log cleaner. */
#pragma once

#include "base/dynbuf.h"
#include "proto/record_batch.h"
#include "replication/key_map.h"

struct compact_rules {
    const struct key_map *map;
    int64_t start_offset;
    int64_t now_ms;
    int64_t delete_retention_ms;
};

enum compact_outcome {
    COMPACT_SAME,    /* all of it stays as it is; also what cannot be read, and control batches */
    COMPACT_WRITTEN, /* in `out` */
    COMPACT_NOTHING, /* no record stays */
};
struct compact_counts {
    int64_t kept, removed; /* records */
};
/* `out` and `scratch` are emptied first. `counts` are added to. */
enum compact_outcome compact_batch(const struct record_batch *batch, const struct compact_rules *rules,
                                   struct dynbuf *out, struct dynbuf *scratch, struct compact_counts *counts);

/* Notes all keys of a batch; what cannot be read is passed over, as it stays anyway. */
void compact_note_keys(const struct record_batch *batch, struct key_map *map);

/* A batch without records in the place of what is gone: [base_offset, end_offset). So each offset of the log lies in
 * exactly one batch, and a lost batch is told from a removed one. */
void compact_gap(uint8_t data[RECORD_BATCH_HEADER_SIZE], int64_t base_offset, int64_t end_offset, int32_t leader_epoch);
