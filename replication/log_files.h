/* Open files of all logs of a shard: opened on demand, the least recently used closed first.
 *
 * A handle lives in a slot of its owner (a segment); closing the file empties the slot. A pinned handle is never
 * closed: reads in flight, captures being synced and segments with unsynced bytes pin theirs. Unsynced bytes pin
 * because a file that is closed and opened again may no longer report an earlier failure to write them back. So the
 * bound holds for clean files; dirty ones are bounded by checkpoints.
 *
 * Runs on: the shard's thread; work jobs use the file number of a handle that was pinned for them. */
#pragma once

#include "replication/log.h"

struct write_out;

struct log_file {
    int file;               /* of env->disk */
    uint32_t pin_count;
    struct log_file **slot; /* private; NULL: forgotten, closes with the last pin */
    struct list link;       /* private; on the list of idle files when not pinned */
};

/* Pins the file in `slot`, opening `path` with the disk's `flags` if the slot is empty. On failure the slot is
 * unchanged. */
MUST_CHECK enum err log_files_acquire(struct log_files *files, struct log_file **slot, const char *path, unsigned flags,
                                      struct errmsg *msg);
void log_files_pin(struct log_file *file);
/* Takes one pin away; may close this or another file. */
void log_files_release(struct log_files *files, struct log_file *file);
/* Empties the slot (which may be empty): the file is closed now, or when its last pin goes. */
void log_files_forget(struct log_files *files, struct log_file **slot);
unsigned log_files_count(const struct log_files *files);
struct write_out *log_files_write_out(struct log_files *files); /* of all files in it */

/* ---- Appends gathered in memory ----
 *
 * Small appends to a segment wait in its buffer and reach the page cache by one write: with many partitions the call,
 * not the bytes, is what an append costs. Whoever reads the file or syncs it writes the buffer first (segment_flush).
 * Nothing depends on it for durability: that is the write-ahead log's. */
struct segment;
struct segment_place;

struct segment_buffer {
    struct list link;             /* on the shard's list of buffers with bytes, the longest waiting first */
    struct segment_place *place;
    struct segment *segment;
    int64_t base_offset;          /* of the first batch in it */
    size_t size, capacity;
    uint8_t data[];
};
struct segment_buffer *log_files_buffer_new(struct log_files *files, struct segment_place *place,
                                            struct segment *segment, int64_t base_offset, size_t capacity);
/* `size` bytes were put in; may write other segments' buffers, never this one. */
void log_files_buffer_grown(struct log_files *files, struct segment_buffer *buffer, size_t size);
void log_files_buffer_free(struct log_files *files, struct segment_buffer *buffer);

/* ---- A full disk ----
 *
 * Bytes that find no space are held: they stay in the segment's buffer, which is as large as it takes for that, and all
 * buffers are tried again every SEGMENT_RETRY_US. Until they are written nothing more should be appended to any log of
 * the shard (log_is_held): then what is in memory is bounded by one entry and what was gathered before. */
void log_files_hold(struct log_files *files); /* after ERR_NO_SPACE, and with the bytes in a buffer */
