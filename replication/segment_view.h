/* The reading side of a segment: a view is all that a read needs to know, copied and pinned, so that it may run in a
 * work job while the log goes on. Everything read is checked; nothing in an index is believed before the batch it
 * names is found.
 *
 * Runs on:  views are made and given back on the shard's thread; what reads through one runs on any thread.
 * Failure:  ERR_DAMAGED "file X position N: what is wrong"; ERR_WOULD_BLOCK only with is_nowait: then try without, in
 *           a job. */
#pragma once

#include "replication/segment.h"

struct segment_view {
    struct disk *disk;
    const char *dir;         /* borrowed from the log, which outlives its views */
    int64_t base_offset;
    uint64_t version;
    int64_t end_offset;      /* of the bytes below `size` */
    uint32_t size;
    uint32_t index_count;
    uint32_t time_index_count;
    uint32_t time_index_crc;
    bool is_nowait;
    bool is_index_wrong;     /* out: the offset index led to something else than its batch */
    struct log_file *files[SEGMENT_KIND_COUNT]; /* pinned; .log is there, an index may be NULL */
};

/* Opens the .log file, and with `is_indexed` the indexes, as far as they exist. ERR_DAMAGED: the .log file is
 * missing. */
MUST_CHECK enum err segment_view_init(struct segment_view *view, struct segment_place *place, struct segment *segment,
                                      int64_t end_offset, bool is_indexed, struct errmsg *msg);
void segment_view_deinit(struct segment_view *view, struct log_files *files);

struct batch_head {          /* What a walk over batches looks at: the first RECORD_BATCH_HEADER_SIZE bytes. */
    int64_t base_offset;
    uint32_t size;           /* of the whole batch */
    int16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int32_t count;
};
static inline int64_t batch_head_end(const struct batch_head *head)
{
    return head->base_offset + head->last_offset_delta + 1;
}

#define SEGMENT_WALK_WINDOW_SIZE 4096

struct segment_walk {        /* From batch to batch by their headers. */
    const struct segment_view *view;
    uint32_t position;       /* of the next batch */
    int64_t next_offset;     /* its base offset, -1: not known */
    unsigned left;           /* batches that may still be looked at with is_nowait */
    uint32_t window_position;
    uint32_t window_size;
    uint8_t window[SEGMENT_WALK_WINDOW_SIZE];
};

/* `next_offset` -1: the base offset of the batch there is believed. */
void segment_walk_init(struct segment_walk *walk, const struct segment_view *view, uint32_t position,
                       int64_t next_offset);
/* Looks at the batch at walk->position. ERR_NOT_FOUND at the end. */
MUST_CHECK enum err segment_walk_head(struct segment_walk *walk, struct batch_head *head, struct errmsg *msg);
void segment_walk_step(struct segment_walk *walk, const struct batch_head *head);

/* Finds the batch that holds `offset`, which is in the view: walk is there, head is its. */
MUST_CHECK enum err segment_find(struct segment_view *view, int64_t offset, struct segment_walk *walk,
                                 struct batch_head *head, struct errmsg *msg);

struct segment_read {
    int64_t offset;          /* in */
    size_t size_max;         /* in: as in struct log_read */
    bool is_first_whole;     /* in */
    bool is_exact;           /* in: a batch with base offset `offset` starts at `position` */
    uint32_t position;       /* in; out: behind the slice */
    struct slice slice;      /* out: whole, checked batches; empty when the first does not fit; the caller's */
    int64_t next_offset;     /* out: behind the slice */
};
MUST_CHECK enum err segment_read(struct segment_view *view, struct segment_read *read, struct errmsg *msg);

/* Names the file and the position, for ERR_DAMAGED found elsewhere. */
enum err segment_damaged(const struct segment_view *view, uint64_t position, struct errmsg *msg, const char *what);
