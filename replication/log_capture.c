/* Happy path: capture() on the shard's thread, sync() in a work job, then the caller commits the state to its local
 *             store, then
 * done() on the shard's thread. Between them the log goes on: what is appended or trimmed is the next capture's affair.
 * Failure: done(false) makes the files dirty again and keeps the trimmed ones for the next capture.
 * Files of trimmed segments: first they are renamed, so that no later segment of the same name can be hit, then a job
 * unlinks all renamed ones of the directory. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/log_internal.h"
#include "replication/write_out.h"
#include <string.h>

struct capture_file {
    struct log_file *file; /* pinned */
    struct segment_id id;
};

struct log_capture {
    struct log *log;
    struct capture_file *files;
    size_t file_count;
    struct segment_id *trimmed;
    size_t trimmed_count;
    bool is_dir_dirty;
    bool is_parent_dirty;
};

void log_state_deinit(struct log_state *state)
{
    mem_free(state->segments);
    state->segments = NULL;
    state->segment_count = 0;
}

static void capture_state(const struct log *log, struct log_state *state)
{
    *state = (struct log_state){
        .start_offset = log->start_offset,
        .end_offset = log->end_offset,
        .segment_count = log->segment_count,
    };
    if (log->segment_count > 0) {
        state->segments = mem_alloc(log->segment_count * sizeof(struct log_segment_state));
    }
    for (size_t i = 0; i < log->segment_count; i++) {
        segment_state(log->segments[i], &state->segments[i]);
    }
}

struct log_capture *log_capture(struct log *log, struct log_state *state)
{
    assert(!log->is_closed);
    bool is_written = log_flush(log);
    assert(is_written);
    struct log_capture *capture = mem_alloc(sizeof(*capture));
    capture->log = log;
    log_acquire(log);
    size_t dirty_count = 0;
    for (size_t i = 0; i < log->segment_count; i++) {
        dirty_count += log->segments[i]->is_dirty;
    }
    if (dirty_count > 0) {
        capture->files = mem_alloc(dirty_count * sizeof(struct capture_file));
    }
    for (size_t i = 0; i < log->segment_count; i++) {
        struct segment *segment = log->segments[i];
        segment_flush_indexes(&log->place, segment);
        if (segment->is_dirty) {
            /* The pin for being dirty becomes the capture's. */
            struct log_file *file = segment->files[SEGMENT_LOG];
            capture->files[capture->file_count++] = (struct capture_file){file, segment_id(segment)};
            segment->is_dirty = false;
            write_out_forget(log_files_write_out(log->place.files), segment);
        }
    }
    assert(capture->file_count == dirty_count);
    capture->is_dir_dirty = log->is_dir_dirty;
    capture->is_parent_dirty = log->is_parent_dirty;
    log->is_dir_dirty = false;
    log->is_parent_dirty = false;
    if (log->pin_count == 0) {
        capture->trimmed = log->trimmed;
        capture->trimmed_count = log->trimmed_count;
        log->trimmed = NULL;
        log->trimmed_count = 0;
        log->trimmed_capacity = 0;
    }
    capture_state(log, state);
    return capture;
}

enum err log_capture_sync(struct log_capture *capture, struct errmsg *msg)
{
    const struct segment_place *place = &capture->log->place;
    struct disk *disk = place->env->disk;
    for (size_t i = 0; i < capture->file_count; i++) {
        enum err err = disk->sync(disk, capture->files[i].file->file);
        if (err != OK) {
            char path[SEGMENT_PATH_SIZE];
            segment_path(place->dir, capture->files[i].id, SEGMENT_LOG, path);
            return fail(msg, err, "sync %s: %s", path, err_text(err));
        }
    }
    if (capture->is_dir_dirty) {
        enum err err = disk->sync_dir(disk, place->dir);
        if (err != OK) {
            return fail(msg, err, "sync directory %s: %s", place->dir, err_text(err));
        }
    }
    if (!capture->is_parent_dirty) {
        return OK;
    }
    char *parent = mem_strdup(place->dir);
    char *slash = strrchr(parent, '/');
    const char *name = slash == NULL ? "." : slash == parent ? "/" : parent;
    if (slash != NULL && slash != parent) {
        *slash = '\0';
    }
    enum err err = disk->sync_dir(disk, name);
    if (err != OK) {
        err = fail(msg, err, "sync directory %s: %s", name, err_text(err));
    }
    mem_free(parent);
    return err;
}

/* Gives the pin back to a segment that is still there and clean, so that the next capture syncs it again. */
static void capture_file_undo(struct log *log, struct capture_file *captured)
{
    struct segment *segment = log_segment_at(log, captured->id.base_offset);
    if (segment != NULL && !segment->is_dirty && segment->files[SEGMENT_LOG] == captured->file) {
        segment->is_dirty = true;
    } else {
        log_files_release(log->place.files, captured->file);
    }
}

void log_capture_done(struct log_capture *capture, bool is_ok)
{
    struct log *log = capture->log;
    for (size_t i = 0; i < capture->file_count; i++) {
        if (is_ok || log->is_closed) {
            log_files_release(log->place.files, capture->files[i].file);
        } else {
            capture_file_undo(log, &capture->files[i]);
        }
    }
    if (!is_ok) {
        log->is_dir_dirty |= capture->is_dir_dirty;
        log->is_parent_dirty |= capture->is_parent_dirty;
    }
    if (is_ok && !log->is_closed && log->pin_count > 0) {
        log_trimmed_add(log, capture->trimmed, capture->trimmed_count); /* the capture after the pin takes them */
    } else if (log->is_closed) {
        /* The directory may be another instance's by now; a start removes what a checkpoint does not name. */
    } else if (!is_ok) {
        log_trimmed_add(log, capture->trimmed, capture->trimmed_count);
    } else if (capture->trimmed_count > 0) {
        for (size_t i = 0; i < capture->trimmed_count; i++) {
            for (unsigned kind = 0; kind < SEGMENT_KIND_COUNT; kind++) {
                log_file_bury(log->place.env, log->place.dir, capture->trimmed[i], (enum segment_kind)kind);
            }
        }
        log_sweep(log->place.env, log->place.dir);
    }
    mem_free(capture->trimmed);
    mem_free(capture->files);
    mem_free(capture);
    log_release(log);
}

/* ---- Catch-up ---- */

enum err log_pin(struct log *log, struct log_state *state)
{
    assert(!log->is_closed);
    if (!log_flush(log)) {
        return ERR_NO_SPACE;
    }
    capture_state(log, state);
    log_acquire(log);
    log->pin_count++;
    return OK;
}

bool log_has_trimmed(const struct log *log)
{
    return log->trimmed_count > 0;
}

void log_unpin(struct log *log)
{
    assert(log->pin_count > 0);
    log->pin_count--;
    log_release(log);
}

/* ---- Files that are to go ---- */

void log_trimmed_add(struct log *log, const struct segment_id *ids, size_t count)
{
    if (count == 0) {
        return;
    }
    if (log->trimmed_capacity - log->trimmed_count < count) {
        log->trimmed_capacity = 2 * log->trimmed_capacity + count;
        log->trimmed = mem_resize(log->trimmed, log->trimmed_capacity * sizeof(*ids));
    }
    memcpy(log->trimmed + log->trimmed_count, ids, count * sizeof(*ids));
    log->trimmed_count += count;
}
