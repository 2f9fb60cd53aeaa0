/* What the parts of the log share: log.c (appending, trimming), log_open.c, log_read.c, log_time.c, log_capture.c,
 * log_rebuild.c, log_remove.c.
 * Runs on: the shard's thread. */
#pragma once

#include "replication/segment_view.h"

/* Places where readers left off, newest first: a consumer's next read needs no search, nor do those of consumers that
 * follow close behind. More readers at different places of one partition search the index. */
#define LOG_HINT_COUNT 8

struct log_hint {
    int64_t offset;          /* a batch with this base offset starts, */
    int64_t segment;         /* in the segment of this base offset, -1: no hint, */
    uint32_t position;       /* here */
};

struct log { /* what appends touch comes first */
    struct segment_place place;
    struct log_config config;
    int64_t start_offset;
    int64_t end_offset;
    uint64_t size;
    struct segment **segments; /* by base offset; the last one takes appends; none before the first append */
    size_t segment_count;
    size_t segment_capacity;
    int64_t hold_start;        /* log_hold() */
    int64_t hold_end;          /* 0: nothing is held */
    bool is_closed;
    bool is_dir_dirty;         /* files were created since the directory was synced */
    bool is_parent_dirty;      /* the directory itself may be new */
    bool is_rebuilding;        /* a job gathers the indexes of some segment */
    uint32_t damage_told;      /* CRC-32C of the last message about damage */
    int32_t (*epoch_at)(void *owner, int64_t offset);
    void *epoch_owner;
    struct list jobs;          /* log_job.link: reads in flight that somebody waits for */
    unsigned references;       /* the owner, jobs, captures and pins */
    unsigned pin_count;        /* while not 0 no file goes */
    struct segment_id *trimmed; /* segments that wait for a capture before their files go */
    size_t trimmed_count;
    size_t trimmed_capacity;
    struct log_hint hints[LOG_HINT_COUNT];
};

/* Offset behind the last record of a segment. */
int64_t log_segment_end(const struct log *log, size_t index);
/* Number of the segment that holds `offset`, which is in [base of the first, end). */
size_t log_segment_find(const struct log *log, int64_t offset);
/* The segment with this base offset, NULL when there is none any more. */
struct segment *log_segment_at(const struct log *log, int64_t base_offset);
void log_segments_push(struct log *log, struct segment *segment);
/* Leaves out segments wholly below the start. */
void log_drop_segments(struct log *log);
void log_hint_forget(struct log *log);
void log_acquire(struct log *log);
void log_release(struct log *log);
/* Before a lookup in the indexes of a segment: rebuilds them in the background when they are poor. */
void log_rebuild(struct log *log, size_t index);
void log_reads_cancel(struct log *log);
void log_damaged(struct log *log, const struct errmsg *msg); /* counts and tells */

/* Notes that the files of these segments may go, sooner or later. */
void log_trimmed_add(struct log *log, const struct segment_id *ids, size_t count);
/* Gives a file its deleted name. */
void log_file_bury(struct env *env, const char *dir, struct segment_id id, enum segment_kind kind);
/* Unlinks all files with deleted names of a directory in a work job. */
void log_sweep(struct env *env, const char *dir);
