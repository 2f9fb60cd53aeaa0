/* The committed log of one partition: segment files exactly as Kafka's, read by offset or time.
 *
 * Directory `<topic>-<partition>.<group>/` holds `<base offset, 20 digits>.log` (record batches v2 and nothing else),
 * `.index` (offset -> position) and `.timeindex` (timestamp -> offset) in Kafka's formats. Only committed data is ever
 * appended, through the page cache, without a sync; durability comes from the write-ahead log until a checkpoint has
 * synced the files. Indexes are hints: each use is verified against the batch found, a bad index is rebuilt.
 *
 * Runs on:  the shard's thread; the sync job of a checkpoint runs in a work job on file handles it is given.
 * Failure:  a failed append -> process_stop, except that of bytes for which there is no space: they are held in memory
 *           until there is (log_is_held). Damage found below the checkpoint (missing or short file at open, failed CRC
 *           at read) -> ERR_DAMAGED with text that names file and position; nothing from there is served.
 * Memory:   closed segments cost one small struct; file handles are opened on demand, bounded per shard (log_files). */
#pragma once

#include "base/env.h"
#include "base/shared.h"

struct log;
struct log_files; /* shard-wide cache of open files, least recently used closed first */

struct log_files *log_files_open(struct env *env, unsigned count_max);
void log_files_close(struct log_files *files);
/* Whom to tell when a write finds the disk full; inside whatever call led to it. NULL, as at first: nobody. */
void log_files_on_full(struct log_files *files, void *owner, void (*cb)(void *owner));
bool log_files_are_held(const struct log_files *files); /* log_is_held() of any log */

struct log_config {                /* may be changed at any time: log_set_config(); takes effect at the next append */
    uint64_t segment_size_max;     /* segment.bytes */
    int64_t segment_ms;            /* segment.ms, by append time, so that replicas roll alike */
    uint32_t index_interval;       /* index.interval.bytes: 4096 */
};

struct log_segment_state {         /* what a checkpoint remembers of one segment */
    int64_t base_offset;
    uint64_t size;                 /* bytes of .log; for the last segment: those covered by the checkpoint */
    int64_t max_timestamp;
    int64_t first_append_ms;
    uint32_t index_count;          /* entries of .index, which may be fewer in the file: a hint */
    uint32_t time_index_count;     /* entries of .timeindex, believed only if their CRC-32C is right */
    uint32_t time_index_crc;
    uint64_t version;              /* 0: as appended; else the index of the command whose compaction wrote it */
};

struct log_state {                 /* for checkpoints and open */
    int64_t start_offset;          /* log_start_offset */
    int64_t end_offset;            /* offset of the next record */
    struct log_segment_state *segments; /* oldest first; mem_alloc'ed */
    size_t segment_count;
    int64_t hold_start, hold_end;  /* as in log_hold() */
};
void log_state_deinit(struct log_state *state);

/* Opens the log as it was at `state` (NULL: a new one, end offset 0): segments that are not in it are removed, files
 * are cut back to their sizes in it, missing or short ones are ERR_DAMAGED. Reads no segment data. Directory is
 * created when missing. `state` stays the caller's. `dir` is copied. */
MUST_CHECK enum err log_open(struct env *env, struct log_files *files, const char *dir, const struct log_config *config,
                             const struct log_state *state, struct log **log, struct errmsg *msg);
/* Reads in flight are answered ERR_CANCELED before this returns; captures may be finished later. Nothing is synced. */
void log_close(struct log *log);
void log_set_config(struct log *log, const struct log_config *config);
/* Removes all files of a closed log and its directory. Blocks: work jobs only. Idempotent. */
MUST_CHECK enum err log_remove(struct env *env, const char *dir, struct errmsg *msg);

int64_t log_start_offset(const struct log *log);
int64_t log_end_offset(const struct log *log);   /* = high watermark: only committed data is here */
uint64_t log_size(const struct log *log);        /* bytes of all segments */
const char *log_dir(const struct log *log);

struct log_batch {                 /* One record batch to append. */
    struct bytes bytes;            /* whole batch; its first 16 bytes are replaced in the file by what follows */
    int64_t base_offset;           /* must be log_end_offset() */
    int32_t leader_epoch;
    int32_t last_offset_delta;
    int64_t max_timestamp;
};
/* Appends, rolling segments as configured. `append_ms` is the entry's time, the same on every replica. */
void log_append(struct log *log, int64_t append_ms, const struct log_batch *batches, size_t count);
/* Bytes that were appended to this or another log of the shard wait in memory for space on the disk. They are tried
 * again all the time; whoever can wait with appends does, so that they do not become more. */
bool log_is_held(const struct log *log);
/* All that was appended goes to the files, not synced. False: bytes are held. */
bool log_flush(struct log *log);

/* Moves the start to `offset` (no-op below the current start; at most the end): segments wholly below it are left out
 * of the log at once. Their files go in the background, after the next capture is done: until then a checkpoint may
 * name them. */
void log_trim(struct log *log, int64_t offset);

struct log_read {                  /* Caller's memory until cb. */
    int64_t offset;                /* in: start_offset <= offset <= end_offset */
    size_t size_max;               /* in: soft limit; with is_first_whole the first batch comes whatever its size */
    bool is_first_whole;           /* in */
    struct slice slice;            /* out: whole batches, the first holds `offset`; empty at the end; the caller's */
    void (*cb)(struct log_read *req, enum err err); /* in: for log_read_async */
    struct errmsg msg;             /* out: on ERR_DAMAGED and ERR_IO */
    struct log_job *job;           /* private */
};
/* From the page cache, at once. ERR_WOULD_BLOCK: not cached, call log_read_async(). Every batch served has had its
 * CRC, its place and its leader epoch checked: ERR_DAMAGED instead of wrong bytes. A slice ends at the end of a
 * segment at the latest.
 * ERR_IO: a file could not be opened (descriptors); nothing is known to be damaged. ERR_BUSY: held, see log_flush(). */
MUST_CHECK enum err log_read_now(struct log *log, struct log_read *req);
/* The same off the loop; always answers by cb, never inside. log_close() cancels (ERR_CANCELED). */
void log_read_async(struct log *log, struct log_read *req);
/* Who knows which leader epoch wrote an offset: the four bytes of a batch that neither its CRC nor its neighbours
 * protect. With it, reads refuse a batch of another epoch. `epoch_at` is pure; -1 from it: not remembered, so not
 * checked (what lies below log_start_offset, or so many elections back). NULL: nothing is checked. */
void log_set_epochs(struct log *log, int32_t (*epoch_at)(void *owner, int64_t offset), void *owner);

/* First record with timestamp >= `timestamp` below end_offset: ListOffsets. Blocks on cold pages for at most a few
 * reads; decompresses one batch. ERR_NOT_FOUND. */
MUST_CHECK enum err log_find_time(struct log *log, int64_t timestamp, int64_t *offset, int64_t *found_timestamp,
                                  struct errmsg *msg);
/* Offset and timestamp of the record with the highest timestamp; ERR_NOT_FOUND when empty. */
MUST_CHECK enum err log_find_max_time(struct log *log, int64_t *offset, int64_t *timestamp, struct errmsg *msg);

/* Retention's view: oldest segments that may go. Returns the offset that log_start_offset could move to (a proposal for
 * a replicated trim; never beyond the base of the active segment, or the end for time retention after a roll). */
int64_t log_retention_offset(const struct log *log, int64_t now_ms, int64_t retention_ms, int64_t retention_bytes);

/* ---- Compaction (compaction.h) ----
 *
 * While an order is to be carried out the segments that it reads are held: those that hold an offset in
 * [start, end) take no appends and stay, trimmed or not. `end` 0: none. */
void log_hold(struct log *log, int64_t start, int64_t end);
/* `segments` take the place of the oldest `input_count` ones, whose files go as those of trimmed segments do. They
 * cover all offsets from the first one's base on that the old ones had; their files are durable. */
void log_replace(struct log *log, size_t input_count, const struct log_segment_state *segments, size_t count);
struct log_dirt {            /* What a leader decides by. */
    int64_t end_offset;      /* up to here a compaction could go */
    uint64_t clean_size;     /* bytes below `first_dirty` */
    uint64_t dirty_size;     /* between it and end_offset */
    int64_t oldest_ms;       /* since when there has been something dirty; INT64_MAX: nothing is */
};
/* The last segment counts when it is older than `roll_ms`; none from the first one on that has something younger than
 * `min_lag_ms`. */
void log_dirt(const struct log *log, int64_t now_ms, int64_t first_dirty, int64_t roll_ms, int64_t min_lag_ms,
              struct log_dirt *dirt);

/* For a catch-up: the state as it is now, all of it in the files (not synced), which do not go, trimmed or not, before
 * log_unpin(). That may come after the log is closed; a log that is removed takes its files all the same.
 * ERR_NO_SPACE: not all of it is in the files (log_flush); nothing is pinned. */
MUST_CHECK enum err log_pin(struct log *log, struct log_state *state);
void log_unpin(struct log *log);
/* Files wait for a capture to go. */
bool log_has_trimmed(const struct log *log);
/* As log_open() checks it: bytes of other brokers and of disks. */
bool log_state_is_valid(const struct log_state *state);

/* Checkpoint, when log_flush() is true. capture: copies the state and takes the dirty file handles (pinned); on the
 * shard's thread. sync: fdatasync of each and the directory if names changed; in a work job. done, on the shard's
 * thread: unpins. `is_ok`:
 * the checkpoint with `state` is durable, so what was trimmed before may be unlinked; false makes the files dirty
 * again. */
struct log_capture;
struct log_capture *log_capture(struct log *log, struct log_state *state);
MUST_CHECK enum err log_capture_sync(struct log_capture *capture, struct errmsg *msg);
void log_capture_done(struct log_capture *capture, bool is_ok);
