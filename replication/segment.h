/* One segment of a log: a `.log` file of record batches and its two indexes; the writing side.
 *
 * The struct is what stays in memory of a segment: a closed one costs this and nothing else. Files are opened on
 * demand.
 *
 * Runs on:  the shard's thread.
 * Failure:  a failed write of the .log file ends the process, but for a full disk: then the bytes are held in memory
 *           (log_files.h). A failed write of an index drops its entries, which are hints.
 * Formats:  replication/README.md, "Segments and indexes". */
#pragma once

#include "replication/index.h"
#include "replication/log_files.h"

enum segment_kind { SEGMENT_LOG, SEGMENT_INDEX, SEGMENT_TIME_INDEX, SEGMENT_KIND_COUNT };

/* Kafka's positions are signed 32-bit integers, and so are offsets relative to a segment's base. */
#define SEGMENT_SIZE_MAX ((uint32_t)INT32_MAX)
#define SEGMENT_PATH_SIZE 4096
#define SEGMENT_NAME_SIZE_MAX 72 /* twice 20 digits, the longest suffix, ".part" or ".deleted" */
#define SEGMENT_DELETED_SUFFIX ".deleted"

struct segment_place { /* Where the segments of one log live. */
    struct env *env;
    struct log_files *files;
    char *dir;
};

struct segment_id {   /* Which files. */
    int64_t base_offset;
    uint64_t version; /* 0: as it was appended; else the index of the command whose compaction made it */
};

struct segment {
    int64_t base_offset;
    uint64_t version;
    int64_t max_timestamp;        /* -1: none yet */
    int64_t max_timestamp_offset; /* last offset of the batch that brought it; only while is_time_due */
    int64_t first_append_ms;
    uint32_t size;                /* of .log, with what is in the buffer */
    uint32_t unindexed_size;      /* appended since the last entry of .index */
    uint32_t index_count;         /* entries in the files, without the pending ones */
    uint32_t time_index_count;
    uint32_t time_index_crc;
    bool is_dirty;                /* has unsynced bytes: files[SEGMENT_LOG] is open and pinned once for it */
    bool is_time_due;             /* max_timestamp grew since the last entry of .timeindex */
    bool is_time_index_checked;   /* its CRC was right when it was last read */
    bool is_index_poor;           /* entries are known to be missing or wrong: worth rebuilding */
    struct segment_pending *pending; /* index entries not written yet, or NULL */
    struct log_file *files[SEGMENT_KIND_COUNT];
    struct list lag_link;            /* of write_out.h, while lag_size > 0 */
    uint32_t lag_position, lag_size; /* bytes at the end of the file that are not on their way to the disk */
    struct segment_buffer *buffer;   /* the last bytes of `size`, not in the file yet; NULL: none */
};

/* Path of a file; `dir` was checked to leave room for any name. */
void segment_path(const char *dir, struct segment_id id, enum segment_kind kind, char path[SEGMENT_PATH_SIZE]);
/* Whether `name` is a segment's file, and which. */
bool segment_name_parse(const char *name, struct segment_id *id, enum segment_kind *kind);

/* A new, empty segment with its .log file; on a full disk the first write that finds space makes the file. */
MUST_CHECK enum err segment_create(struct segment_place *place, int64_t base_offset, int64_t append_ms,
                                   struct segment **segment, struct errmsg *msg);
static inline struct segment_id segment_id(const struct segment *segment)
{
    return (struct segment_id){segment->base_offset, segment->version};
}
/* As a checkpoint remembers it; opens nothing. */
struct segment *segment_restore(const struct log_segment_state *state);
void segment_state(const struct segment *segment, struct log_segment_state *state);
/* Frees it; files are closed (those in use when they are released), pending index entries are lost. */
void segment_close(struct segment_place *place, struct segment *segment);

/* Whether the batch belongs into this segment, behind `gathered_size` bytes that are to be appended first; otherwise
 * a new one starts with it. */
bool segment_takes(const struct segment *segment, size_t gathered_size, const struct log_config *config,
                   int64_t append_ms, const struct log_batch *batch);
/* Appends 1..SEGMENT_APPEND_COUNT_MAX batches: by one write, or into the buffer when they are small. */
#define SEGMENT_APPEND_COUNT_MAX 128
void segment_append(struct segment_place *place, struct segment *segment, uint32_t index_interval,
                    const struct log_batch *batches, size_t count);
/* What is in the buffer goes to the file. Before anything reads or syncs it. False: the disk is full, the bytes are
 * held. */
bool segment_flush(struct segment_place *place, struct segment *segment);
static inline uint32_t segment_written_size(const struct segment *segment)
{
    return segment->size - (segment->buffer != NULL ? (uint32_t)segment->buffer->size : 0);
}
/* No more appends come: the time index gets its last entry. */
void segment_finish(struct segment_place *place, struct segment *segment);
/* Writes pending index entries to their files. */
void segment_flush_indexes(struct segment_place *place, struct segment *segment);
/* Rebuilt indexes take the place of the files' contents; nothing is pending. */
void segment_replace_indexes(struct segment_place *place, struct segment *segment, struct bytes index,
                             struct bytes time_index);
/* Forgets all entries of the time index, which was found to be wrong, and empties the file. */
void segment_drop_time_index(struct segment_place *place, struct segment *segment);
