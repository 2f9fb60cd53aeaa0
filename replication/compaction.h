/* One compaction of one partition: reads closed segments, writes others beside them. What comes out is a function of
 * the batches in [start, end) and of the order, so it has the same bytes on every replica, whatever their segments are
 * and whenever they get round to it (replication/README.md, "Compaction").
 *
 * Runs on:  opened and closed on the shard's thread; steps in work jobs, one after the other.
 * Failure:  ERR_NO_SPACE, ERR_IO: nothing was changed but files that compaction_discard() removes. ERR_DAMAGED: what is
 *           stored is bad. ERR_CANCELED: it was told to stop.
 * Memory:   the keys' map (the order says how many), and a few batches. */
#pragma once

#include "base/bytes.h"
#include "replication/key_map.h"
#include "replication/log.h"

struct compaction_order {    /* What a command asked for: replicated state until it is carried out. */
    uint64_t index;          /* of its entry: the version of the segments that come out */
    int64_t start_offset;    /* the log's start then: what lies below is gone */
    int64_t end_offset;      /* up to here at most; between two batches */
    int64_t now_ms;          /* the entry's time */
    int64_t delete_retention_ms;
    int64_t segment_size;    /* of what comes out, about */
    uint32_t key_count_max;  /* in memory at once; a compaction ends earlier when there are more */
    uint8_t seed[KEY_MAP_SEED_SIZE];
};
#define COMPACTION_ORDER_SIZE (8 + 8 + 8 + 8 + 8 + 8 + 4 + KEY_MAP_SEED_SIZE)
/* Bounds of what a leader may ask for. */
bool compaction_order_is_sane(const struct compaction_order *order);
void compaction_order_write(struct writer *writer, const struct compaction_order *order);
void compaction_order_read(struct reader *reader, struct compaction_order *order);

struct compaction_result {
    int64_t end_offset;      /* everything below is compacted now */
    struct log_segment_state *segments; /* what takes the place of all inputs, as far as they were read; mem_alloc'ed */
    size_t segment_count;
    size_t input_count;      /* of the inputs, whose place they take */
    int64_t records_kept, records_removed;
    uint64_t bytes_read, bytes_written;
};

struct compaction;
/* `state`: the log's segments; those below order->end_offset take no appends and are pinned by the caller until
 * compaction_close(). `first_dirty`: below it each key is there once. `reserve_path` (borrowed): steps fail with
 * ERR_NO_SPACE when its file system has less than `reserve` bytes free. */
struct compaction *compaction_open(struct env *env, struct log *log, const struct compaction_order *order,
                                   int64_t first_dirty, const struct log_state *state, const char *reserve_path,
                                   uint64_t reserve);
/* Goes on for about `size` bytes of input. *is_done: the result is there, its files are durable. Work job. */
MUST_CHECK enum err compaction_step(struct compaction *compaction, size_t size, bool *is_done, struct errmsg *msg);
struct log *compaction_log(const struct compaction *compaction);
const struct compaction_order *compaction_order(const struct compaction *compaction);
/* Removes what it has written. Work job. */
void compaction_discard(struct compaction *compaction);
const struct compaction_result *compaction_result(const struct compaction *compaction);
void compaction_close(struct compaction *compaction);
