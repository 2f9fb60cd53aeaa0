/* Rebuilding the indexes of a segment that lost entries: after a power loss, or when a lookup found a lie in them.
 *
 * Happy path: a lookup meets a segment whose indexes are known to be poor; a work job walks over its headers and
 * gathers both indexes in memory; back on the shard's thread they replace the files, followed by the entries that
 * appends have added meanwhile. One job a log at a time. Until then lookups in that segment walk over headers
 * themselves. Files are overwritten in place: a lookup in a job that reads them just then gets a hint that fails its
 * check.
 * After a crash: the checkpoint's CRC of the time index does not match the new file, so it is dropped and rebuilt
 *                again.
 * Failure: a damaged batch ends the walk, the indexes cover what is before it. Close: the job's work is thrown away. */
#include "base/assert.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/log_internal.h"
#include <string.h>

/* Closer entries than this would cost memory for nothing. */
enum {
    REBUILD_INTERVAL_MIN = 4096
};

/* Smaller segments are walked over as quickly as searched. */
enum {
    REBUILD_SIZE_MIN = 1 << 20
};

struct rebuild {
    struct work work;
    struct log *log;
    struct segment_view view;
    uint32_t interval;
    bool is_finished; /* the segment takes no more appends: its time index ends in an entry for its last maximum */
    struct dynbuf index;
    struct dynbuf time_index;
};

static size_t index_size_max(uint32_t size, uint32_t interval, size_t entry_size)
{
    return ((size_t)size / interval + 2) * entry_size;
}

static void put(struct dynbuf *buf, const uint8_t *data, size_t size)
{
    enum err err = dynbuf_put(buf, (struct bytes){data, size});
    assert(err == OK); /* the bound is what the walk can give */
}

static void rebuild_run(struct work *work)
{
    struct rebuild *rebuild = container_of(work, struct rebuild, work);
    const struct segment_view *view = &rebuild->view;
    struct time_index_entry highest = {.timestamp = -1, .offset = 0};
    int64_t noted = -1; /* timestamp of the last entry of the time index */
    uint32_t unindexed_size = 0;
    struct segment_walk walk;
    struct batch_head head;
    segment_walk_init(&walk, view, 0, view->base_offset);
    uint8_t data[TIME_INDEX_ENTRY_SIZE];
    while (segment_walk_head(&walk, &head, NULL) == OK) {
        int32_t last = (int32_t)(batch_head_end(&head) - 1 - view->base_offset);
        if (head.max_timestamp > highest.timestamp) {
            highest = (struct time_index_entry){.timestamp = head.max_timestamp, .offset = last};
        }
        if (unindexed_size > rebuild->interval) {
            index_entry_encode(data, (struct index_entry){.offset = last, .position = walk.position});
            put(&rebuild->index, data, INDEX_ENTRY_SIZE);
            if (highest.timestamp > noted) {
                time_index_entry_encode(data, highest);
                put(&rebuild->time_index, data, TIME_INDEX_ENTRY_SIZE);
                noted = highest.timestamp;
            }
            unindexed_size = 0;
        }
        unindexed_size += head.size;
        segment_walk_step(&walk, &head);
    }
    if (rebuild->is_finished && highest.timestamp > noted) {
        time_index_entry_encode(data, highest);
        put(&rebuild->time_index, data, TIME_INDEX_ENTRY_SIZE);
    }
}

/* Adds what appends have put into the old file since the view was made. */
static enum err keep_new_entries(struct log *log, const struct segment *segment, enum segment_kind kind, uint32_t first,
                                 uint32_t count, size_t entry_size, struct dynbuf *buf)
{
    if (first == count) {
        return OK;
    }
    if (first > count || segment->files[kind] == NULL) {
        return ERR_NOT_FOUND;
    }
    size_t size = (size_t)(count - first) * entry_size;
    buf->size_max += size;
    enum err err = dynbuf_reserve(buf, size);
    if (err != OK) {
        return err;
    }
    struct disk *disk = log->place.env->disk;
    size_t got = 0;
    uint64_t position = (uint64_t)first * entry_size;
    err = disk->pread(disk, segment->files[kind]->file, position, buf->data + buf->size, size, &got);
    buf->size += got;
    return err == OK && got < size ? ERR_SHORT : err;
}

static void rebuild_apply(struct rebuild *rebuild, struct segment *segment)
{
    struct log *log = rebuild->log;
    segment_flush_indexes(&log->place, segment);
    enum err err = keep_new_entries(log, segment, SEGMENT_INDEX, rebuild->view.index_count, segment->index_count,
                                    INDEX_ENTRY_SIZE, &rebuild->index);
    if (err == OK) {
        err = keep_new_entries(log, segment, SEGMENT_TIME_INDEX, rebuild->view.time_index_count,
                               segment->time_index_count, TIME_INDEX_ENTRY_SIZE, &rebuild->time_index);
    }
    if (err == OK) {
        segment_replace_indexes(&log->place, segment, dynbuf_bytes(&rebuild->index),
                                dynbuf_bytes(&rebuild->time_index));
    } else {
        segment->is_index_poor = true;
    }
    trace(INFO, LOG, "indexes rebuilt", KV("dir", log->place.dir), KV("base_offset", segment->base_offset),
          KV("entries", segment->index_count), KV("result", err_text(err)));
}

static void rebuild_done(struct work *work)
{
    struct rebuild *rebuild = container_of(work, struct rebuild, work);
    struct log *log = rebuild->log;
    if (!log->is_closed) {
        log->is_rebuilding = false;
        struct segment *segment = log_segment_at(log, rebuild->view.base_offset);
        if (segment != NULL && segment->version == rebuild->view.version) {
            rebuild_apply(rebuild, segment);
        }
    }
    segment_view_deinit(&rebuild->view, log->place.files);
    dynbuf_deinit(&rebuild->index);
    dynbuf_deinit(&rebuild->time_index);
    mem_free(rebuild);
    log_release(log);
}

void log_rebuild(struct log *log, size_t index)
{
    struct segment *segment = log->segments[index];
    if (!segment->is_index_poor || log->is_rebuilding || segment->size < REBUILD_SIZE_MIN || log_is_held(log)) {
        return;
    }
    struct rebuild *rebuild = mem_alloc(sizeof(*rebuild));
    /* With the indexes: so that they are flushed, and open when the entries added meanwhile are kept. */
    struct errmsg msg;
    enum err err = segment_view_init(&rebuild->view, &log->place, segment, log_segment_end(log, index), true, &msg);
    if (err != OK) {
        mem_free(rebuild); /* the lookup that came here will say why */
        return;
    }
    rebuild->view.index_count = segment->index_count;
    rebuild->view.time_index_count = segment->time_index_count;
    rebuild->is_finished = index + 1 < log->segment_count;
    uint32_t interval = log->config.index_interval;
    rebuild->interval = interval > REBUILD_INTERVAL_MIN ? interval : REBUILD_INTERVAL_MIN;
    dynbuf_init(&rebuild->index, index_size_max(segment->size, rebuild->interval, INDEX_ENTRY_SIZE));
    dynbuf_init(&rebuild->time_index, index_size_max(segment->size, rebuild->interval, TIME_INDEX_ENTRY_SIZE));
    rebuild->work = (struct work){.run = rebuild_run, .done = rebuild_done};
    rebuild->log = log;
    segment->is_index_poor = false;
    log->is_rebuilding = true;
    log_acquire(log);
    log->place.env->workers->submit(log->place.env->workers, &rebuild->work);
}
