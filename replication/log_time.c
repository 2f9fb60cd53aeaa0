/* Lookups by timestamp.
 *
 * Happy path: the first segment whose highest timestamp is late enough; in it, the last time index entry that is
 *             earlier
 * says up to which offset nothing can match; from there a walk over headers to the first batch whose highest
 * timestamp is late enough; in that batch, the first record.
 * Wrong headers: a batch may claim too high a timestamp (the search goes on behind it) or, compressed by a client
 *                that leaves
 * the field alone, its first one: such a batch is looked into as well.
 * Failure: a time index whose CRC is wrong is dropped, the walk starts at the segment's begin; a batch whose records
 *          cannot
 * be read stands for itself, with its first offset: whoever starts there misses nothing. */
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/records.h"
#include "replication/log_internal.h"

struct time_search {
    struct log *log;
    int64_t timestamp; /* in: wanted at least */
    bool is_highest;   /* in: of a batch the record with the highest timestamp, not the first that matches */
    bool is_found;     /* out: a record; with is_highest it may be earlier than wanted */
    int64_t offset;    /* out */
    int64_t found;     /* out: its timestamp */
};

/* ---- Inside a batch ---- */

/* Whether a record in the batch may be late enough. */
static bool head_may_match(const struct batch_head *head, int64_t timestamp)
{
    if (head->max_timestamp >= timestamp) {
        return true;
    }
    bool is_doubtful = (head->attributes & BATCH_LOG_APPEND_TIME) == 0 && (head->attributes & BATCH_CODEC_MASK) != 0 &&
                       head->max_timestamp <= head->base_timestamp && head->count > 1;
    return is_doubtful;
}

static enum err batch_load(const struct segment_view *view, uint32_t position, const struct batch_head *head,
                           struct shared **block, struct record_batch *batch, struct errmsg *msg)
{
    *block = shared_new(head->size);
    size_t got = 0;
    int file = view->files[SEGMENT_LOG]->file;
    enum err err = view->disk->pread(view->disk, file, position, (*block)->data, head->size, &got);
    if (err != OK || got < head->size) {
        return segment_damaged(view, position, msg, err != OK ? "the file cannot be read" : "the file ends too early");
    }
    err = record_batch_view((struct bytes){(*block)->data, head->size}, batch);
    if (err != OK || batch->base_offset != head->base_offset) {
        return segment_damaged(view, position, msg, "the header of the batch is wrong");
    }
    if (!record_batch_crc_ok(batch)) {
        return segment_damaged(view, position, msg, "the CRC of the batch is wrong");
    }
    return OK;
}

static void search_found(struct time_search *search, int64_t offset, int64_t timestamp)
{
    search->is_found = true;
    search->offset = offset;
    search->found = timestamp;
}

/* Looks through the records. ERR_NOT_FOUND: none of them matches. */
static enum err records_search(struct time_search *search, const struct record_batch *batch)
{
    int64_t start_offset = search->log->start_offset;
    struct record_iterator iterator;
    enum err err = record_iterator_init(&iterator, batch, RECORDS_PLAIN_SIZE_MAX);
    while (err == OK) {
        struct record record;
        err = record_iterator_next(&iterator, &record);
        if (err != OK || record.offset < start_offset) {
            continue;
        }
        if (search->is_highest) {
            if (!search->is_found || record.timestamp > search->found) {
                search_found(search, record.offset, record.timestamp);
            }
        } else if (record.timestamp >= search->timestamp) {
            search_found(search, record.offset, record.timestamp);
            break;
        }
    }
    record_iterator_deinit(&iterator);
    if (err != OK && err != ERR_NOT_FOUND && batch->max_timestamp >= search->timestamp) {
        search_found(search, batch->base_offset > start_offset ? batch->base_offset : start_offset,
                     batch->max_timestamp);
    }
    return search->is_found && search->found >= search->timestamp ? OK : ERR_NOT_FOUND;
}

/* ---- Inside a segment ---- */

/* The first offset of the segment that may match, as far as its time index knows. */
static int64_t segment_first_candidate(const struct segment_view *view, int64_t timestamp)
{
    if (view->files[SEGMENT_TIME_INDEX] == NULL) {
        return view->base_offset;
    }
    struct index_file index = {
        .disk = view->disk,
        .file = view->files[SEGMENT_TIME_INDEX]->file,
        .count = view->time_index_count,
    };
    struct time_index_entry entry;
    enum err err = time_index_find(&index, timestamp, &entry);
    if (err != OK || entry.offset < 0) {
        return view->base_offset;
    }
    return view->base_offset + entry.offset + 1;
}

/* The time index says what need not be looked at, and nothing that is looked at can prove it wrong. So its CRC is
 * checked when it is used for the first time. */
static void time_index_check(struct log *log, struct segment *segment, struct segment_view *view)
{
    if (segment->is_time_index_checked || view->files[SEGMENT_TIME_INDEX] == NULL) {
        return;
    }
    struct index_file index = {
        .disk = view->disk,
        .file = view->files[SEGMENT_TIME_INDEX]->file,
        .count = view->time_index_count,
    };
    uint32_t crc;
    if (time_index_crc(&index, &crc) == OK && crc == view->time_index_crc) {
        segment->is_time_index_checked = true;
        return;
    }
    log_files_release(log->place.files, view->files[SEGMENT_TIME_INDEX]);
    view->files[SEGMENT_TIME_INDEX] = NULL;
    segment_drop_time_index(&log->place, segment);
}

static enum err view_search(struct time_search *search, struct segment_view *view, struct errmsg *msg)
{
    int64_t offset = segment_first_candidate(view, search->timestamp);
    offset = offset > search->log->start_offset ? offset : search->log->start_offset;
    if (offset >= view->end_offset) {
        return ERR_NOT_FOUND;
    }
    struct segment_walk walk;
    struct batch_head head;
    enum err err = segment_find(view, offset, &walk, &head, msg);
    while (err == OK) {
        if (head_may_match(&head, search->timestamp)) {
            struct shared *block;
            struct record_batch batch;
            err = batch_load(view, walk.position, &head, &block, &batch, msg);
            err = err == OK ? records_search(search, &batch) : err;
            shared_release(block);
            if (err != ERR_NOT_FOUND) {
                return err;
            }
        }
        segment_walk_step(&walk, &head);
        err = segment_walk_head(&walk, &head, msg);
    }
    return err;
}

/* Of a whole segment: what is held in memory (log_flush) cannot be searched. */
static enum err view_init(struct segment_view *view, struct log *log, size_t index, struct errmsg *msg)
{
    int64_t end_offset = log_segment_end(log, index);
    enum err err = segment_view_init(view, &log->place, log->segments[index], end_offset, true, msg);
    if (err == OK && view->end_offset < end_offset) {
        segment_view_deinit(view, log->place.files);
        err = fail(msg, ERR_BUSY, "the disk is full, offset %lld is not in a file yet", (long long)view->end_offset);
    }
    return err;
}

static enum err segment_search(struct time_search *search, size_t index, struct errmsg *msg)
{
    struct log *log = search->log;
    struct segment *segment = log->segments[index];
    struct segment_view view;
    enum err err = view_init(&view, log, index, msg);
    if (err != OK) {
        return err;
    }
    time_index_check(log, segment, &view);
    err = view_search(search, &view, msg);
    segment->is_index_poor |= view.is_index_wrong;
    log_rebuild(log, index);
    segment_view_deinit(&view, log->place.files);
    return err;
}

/* ---- The log ---- */

enum err log_find_time(struct log *log, int64_t timestamp, int64_t *offset, int64_t *found_timestamp,
                       struct errmsg *msg)
{
    assert(!log->is_closed);
    struct time_search search = {.log = log, .timestamp = timestamp};
    struct errmsg text;
    enum err err = ERR_NOT_FOUND;
    for (size_t i = 0; i < log->segment_count && err == ERR_NOT_FOUND; i++) {
        if (log->segments[i]->max_timestamp >= timestamp) {
            err = segment_search(&search, i, &text);
        }
    }
    if (err == ERR_DAMAGED) {
        log_damaged(log, &text);
    }
    if (err != OK && err != ERR_NOT_FOUND) {
        return fail(msg, err, "%s", text.text);
    }
    *offset = search.offset;
    *found_timestamp = search.found;
    return err;
}

/* Highest timestamp of what is left of the first segment. Of a segment that is partly below the log's start, and of its
 * first batch, what memory and header say may belong to a record that is gone. */
static enum err view_max(struct log *log, struct segment_view *view, int64_t *max_timestamp, struct errmsg *msg)
{
    *max_timestamp = -1;
    struct segment_walk walk;
    struct batch_head head;
    enum err err = segment_find(view, log->start_offset, &walk, &head, msg);
    if (err == OK && head.base_offset < log->start_offset) {
        struct shared *block;
        struct record_batch batch;
        struct time_search search = {.log = log, .timestamp = INT64_MAX, .is_highest = true};
        err = batch_load(view, walk.position, &head, &block, &batch, msg);
        if (err == OK && records_search(&search, &batch) == ERR_NOT_FOUND && search.is_found) {
            head.max_timestamp = search.found;
        }
        shared_release(block);
    }
    while (err == OK) {
        *max_timestamp = head.max_timestamp > *max_timestamp ? head.max_timestamp : *max_timestamp;
        segment_walk_step(&walk, &head);
        err = segment_walk_head(&walk, &head, msg);
    }
    return err == ERR_NOT_FOUND ? OK : err;
}

static enum err first_segment_max(struct log *log, size_t first, int64_t *max_timestamp, struct errmsg *msg)
{
    struct segment *segment = log->segments[first];
    *max_timestamp = segment->max_timestamp;
    if (log->start_offset == segment->base_offset) {
        return OK;
    }
    assert(log->start_offset < log_segment_end(log, first));
    struct segment_view view;
    enum err err = view_init(&view, log, first, msg);
    if (err != OK) {
        return err;
    }
    err = view_max(log, &view, max_timestamp, msg);
    segment_view_deinit(&view, log->place.files);
    return err;
}

static enum err max_time_search(struct time_search *search, struct errmsg *msg)
{
    struct log *log = search->log;
    if (log->segment_count == 0 || log->start_offset == log->end_offset) {
        return ERR_NOT_FOUND;
    }
    size_t best = log_segment_find(log, log->start_offset); /* what is held for a compaction may lie below the start */
    enum err err = first_segment_max(log, best, &search->timestamp, msg);
    if (err != OK) {
        return err;
    }
    for (size_t i = best + 1; i < log->segment_count; i++) {
        if (log->segments[i]->max_timestamp > search->timestamp) {
            search->timestamp = log->segments[i]->max_timestamp;
            best = i;
        }
    }
    if (search->timestamp < 0) {
        return ERR_NOT_FOUND;
    }
    err = segment_search(search, best, msg);
    /* A header claimed more than its records have: the best of what it led to. */
    return err == ERR_NOT_FOUND && search->is_found ? OK : err;
}

enum err log_find_max_time(struct log *log, int64_t *offset, int64_t *timestamp, struct errmsg *msg)
{
    assert(!log->is_closed);
    struct time_search search = {.log = log, .is_highest = true};
    struct errmsg text;
    enum err err = max_time_search(&search, &text);
    if (err == ERR_DAMAGED) {
        log_damaged(log, &text);
    }
    if (err != OK && err != ERR_NOT_FOUND) {
        return fail(msg, err, "%s", text.text);
    }
    *offset = search.offset;
    *timestamp = search.found;
    return err;
}
