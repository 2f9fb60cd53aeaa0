/* Happy path: one listing of the directory gives the names and sizes of all files; they are held against the
 *             checkpoint's list
 * of segments, and nothing is opened.
 * After a crash: files that the checkpoint does not know are renamed (later deleted), longer ones are cut back.
 * Failure: a .log file that is missing or short is damage: the checkpoint was made durable after that file. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/log_internal.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct dir_file {
    struct segment_id id;
    uint64_t size;
    enum segment_kind kind;
    bool is_known; /* the checkpoint names its segment */
};

struct dir_listing {
    struct dir_file *files;
    size_t count;
    size_t capacity;
    bool has_deleted; /* files with deleted names are left from an earlier run */
};

/* ---- The directory ---- */

static void listing_on_entry(const char *name, uint64_t size, bool is_directory, void *context)
{
    struct dir_listing *listing = context;
    size_t length = strlen(name);
    size_t suffix = strlen(SEGMENT_DELETED_SUFFIX);
    if (is_directory) {
        return;
    }
    if (length >= suffix && strcmp(name + length - suffix, SEGMENT_DELETED_SUFFIX) == 0) {
        listing->has_deleted = true;
        return;
    }
    struct dir_file file = {.size = size};
    if (!segment_name_parse(name, &file.id, &file.kind)) {
        return; /* not ours: Kafka's own directories hold other files as well */
    }
    if (listing->count == listing->capacity) {
        listing->capacity = listing->capacity == 0 ? 8 : 2 * listing->capacity;
        listing->files = mem_resize(listing->files, listing->capacity * sizeof(struct dir_file));
    }
    listing->files[listing->count++] = file;
}

static int dir_file_compare(const void *a, const void *b)
{
    const struct dir_file *left = a;
    const struct dir_file *right = b;
    if (left->id.base_offset != right->id.base_offset) {
        return left->id.base_offset < right->id.base_offset ? -1 : 1;
    }
    if (left->id.version != right->id.version) {
        return left->id.version < right->id.version ? -1 : 1;
    }
    return (int)left->kind - (int)right->kind;
}

static struct dir_file *listing_find(const struct dir_listing *listing, struct segment_id id, enum segment_kind kind)
{
    struct dir_file key = {.id = id, .kind = kind};
    if (listing->count == 0) {
        return NULL;
    }
    return bsearch(&key, listing->files, listing->count, sizeof(key), dir_file_compare);
}

/* ---- The checkpoint's list against the directory ---- */

/* The checkpoint was read from a disk, so what it says is checked like any other bytes from there. */
bool log_state_is_valid(const struct log_state *state)
{
    if (state->start_offset < 0 || state->end_offset < state->start_offset) {
        return false;
    }
    if (state->segment_count == 0) {
        return state->start_offset == state->end_offset;
    }
    if (state->start_offset < state->segments[0].base_offset) {
        return false;
    }
    for (size_t i = 0; i < state->segment_count; i++) {
        const struct log_segment_state *segment = &state->segments[i];
        bool is_last = i + 1 == state->segment_count;
        int64_t end = is_last ? state->end_offset : state->segments[i + 1].base_offset;
        if (segment->base_offset < 0 || segment->size == 0 || segment->size > SEGMENT_SIZE_MAX ||
            end <= segment->base_offset || end - segment->base_offset - 1 > INT32_MAX) {
            return false;
        }
    }
    return true;
}

static enum err file_cut(struct log *log, struct segment_id id, enum segment_kind kind, uint64_t size,
                         struct errmsg *msg)
{
    struct disk *disk = log->place.env->disk;
    char path[SEGMENT_PATH_SIZE];
    segment_path(log->place.dir, id, kind, path);
    int file;
    enum err err = disk->open(disk, path, 0, &file, msg);
    if (err != OK) {
        return err;
    }
    err = disk->truncate(disk, file, size);
    disk->close(disk, file);
    if (err != OK) {
        return fail(msg, err, "cut %s to %" PRIu64 " bytes: %s", path, size, err_text(err));
    }
    return OK;
}

/* An index file is cut to the entries that the checkpoint counts. With fewer, the offset index keeps what it has, as
 * its entries are checked one by one; the time index, whose CRC covers all of them, starts anew. */
static enum err restore_indexes(struct log *log, struct segment *segment, const struct dir_listing *listing,
                                struct errmsg *msg)
{
    struct segment_id id = segment_id(segment);
    segment->is_index_poor = segment->index_count == 0; /* a small segment has none, and needs none */
    struct dir_file *index = listing_find(listing, id, SEGMENT_INDEX);
    uint64_t size = index == NULL ? 0 : index->size;
    uint64_t known = (uint64_t)segment->index_count * INDEX_ENTRY_SIZE;
    if (size < known) {
        segment->is_index_poor = true;
        segment->index_count = (uint32_t)(size / INDEX_ENTRY_SIZE);
        known = (uint64_t)segment->index_count * INDEX_ENTRY_SIZE;
    }
    if (size > known) {
        enum err err = file_cut(log, id, SEGMENT_INDEX, known, msg);
        if (err != OK) {
            return err;
        }
    }
    struct dir_file *time_index = listing_find(listing, id, SEGMENT_TIME_INDEX);
    size = time_index == NULL ? 0 : time_index->size;
    known = (uint64_t)segment->time_index_count * TIME_INDEX_ENTRY_SIZE;
    if (size < known) {
        segment->is_index_poor = true;
        segment->time_index_count = 0;
        segment->time_index_crc = 0;
        segment->is_time_index_checked = true;
        known = 0;
    }
    if (index != NULL) {
        index->is_known = true;
    }
    if (time_index != NULL) {
        time_index->is_known = true;
    }
    return size > known ? file_cut(log, id, SEGMENT_TIME_INDEX, known, msg) : OK;
}

static enum err restore_segment(struct log *log, const struct log_segment_state *state,
                                const struct dir_listing *listing, struct errmsg *msg)
{
    struct segment_id id = {state->base_offset, state->version};
    struct dir_file *file = listing_find(listing, id, SEGMENT_LOG);
    char path[SEGMENT_PATH_SIZE];
    segment_path(log->place.dir, id, SEGMENT_LOG, path);
    if (file == NULL) {
        return fail(msg, ERR_DAMAGED, "file %s position 0: the file is missing, %" PRIu64 " bytes were durable", path,
                    state->size);
    }
    if (file->size < state->size) {
        return fail(msg, ERR_DAMAGED,
                    "file %s position %" PRIu64 ": the file ends too early, %" PRIu64 " bytes were durable", path,
                    file->size, state->size);
    }
    file->is_known = true;
    struct segment *segment = segment_restore(state);
    log_segments_push(log, segment);
    log->size += state->size;
    if (file->size > state->size) {
        /* Appended after the checkpoint; the write-ahead log has it. */
        enum err err = file_cut(log, id, SEGMENT_LOG, state->size, msg);
        if (err != OK) {
            return err;
        }
    }
    return restore_indexes(log, segment, listing, msg);
}

static enum err restore(struct log *log, const struct log_state *state, const struct dir_listing *listing,
                        struct errmsg *msg)
{
    if (!log_state_is_valid(state)) {
        return fail(msg, ERR_DAMAGED, "checkpoint of %s: its list of segments is not a log", log->place.dir);
    }
    log->start_offset = state->start_offset;
    log->end_offset = state->end_offset;
    for (size_t i = 0; i < state->segment_count; i++) {
        enum err err = restore_segment(log, &state->segments[i], listing, msg);
        if (err != OK) {
            return err;
        }
    }
    log_hold(log, state->hold_start, state->hold_end);
    return OK;
}

/* ---- Opening and closing ---- */

static void segments_close(struct log *log)
{
    for (size_t i = 0; i < log->segment_count; i++) {
        segment_close(&log->place, log->segments[i]);
    }
    mem_free(log->segments);
    log->segments = NULL;
    log->segment_count = 0;
    log->segment_capacity = 0;
}

static struct log *log_new(struct env *env, struct log_files *files, const char *dir, const struct log_config *config)
{
    struct log *log = mem_alloc(sizeof(*log));
    log->place = (struct segment_place){.env = env, .files = files, .dir = mem_strdup(dir)};
    log->config = *config;
    log->references = 1;
    list_init(&log->jobs);
    log_hint_forget(log);
    return log;
}

enum err log_open(struct env *env, struct log_files *files, const char *dir, const struct log_config *config,
                  const struct log_state *state, struct log **log, struct errmsg *msg)
{
    if (strlen(dir) > SEGMENT_PATH_SIZE - SEGMENT_NAME_SIZE_MAX) {
        return fail(msg, ERR_TOO_LARGE, "the path of the log directory is too long: %s", dir);
    }
    struct disk *disk = env->disk;
    struct log *opened = log_new(env, files, dir, config);
    struct dir_listing listing = {0};
    enum err err = disk->list(disk, dir, listing_on_entry, &listing);
    if (err == ERR_NOT_FOUND) {
        opened->is_parent_dirty = true;
        err = disk->mkdir(disk, dir);
    }
    if (err != OK) {
        err = fail(msg, err, "log directory %s: %s", dir, err_text(err));
        goto err_after_new;
    }
    if (listing.count > 0) {
        qsort(listing.files, listing.count, sizeof(struct dir_file), dir_file_compare);
    }
    if (state == NULL) {
        opened->is_parent_dirty = true;
    } else {
        err = restore(opened, state, &listing, msg);
        if (err != OK) {
            goto err_after_new;
        }
    }
    for (size_t i = 0; i < listing.count; i++) {
        if (!listing.files[i].is_known) {
            log_file_bury(env, dir, listing.files[i].id, listing.files[i].kind);
            listing.has_deleted = true;
        }
    }
    if (listing.has_deleted) {
        log_sweep(env, dir);
    }
    mem_free(listing.files);
    *log = opened;
    return OK;

err_after_new:
    mem_free(listing.files);
    log_close(opened);
    return err;
}

void log_close(struct log *log)
{
    assert(!log->is_closed);
    log->is_closed = true;
    log_reads_cancel(log);
    if (log->segment_count > 0) {
        (void)segment_flush(&log->place, log->segments[log->segment_count - 1]); /* the write-ahead log has it */
    }
    segments_close(log);
    mem_free(log->trimmed);
    log->trimmed = NULL;
    log->trimmed_count = 0;
    log_release(log);
}
