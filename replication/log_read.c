/* Happy path: the reader left off where a hint points, or at the start of a segment, so one read of the page cache
 *             answers.
 * Otherwise the offset index is searched and headers are walked over, as far as all of it is cached.
 * Cold pages: log_read_async() does the same in a work job, with files pinned, on a copy of what it needs.
 * Close: the request of a job is answered ERR_CANCELED by log_close(); the job ends by itself and drops what it read.
 *        */
#include "base/assert.h"
#include "base/mem.h"
#include "proto/record_batch.h"
#include "replication/log_internal.h"
#include <inttypes.h>
#include <string.h>

struct log_job {
    struct work work;
    struct log *log;
    struct log_read *req; /* NULL: canceled */
    struct list link;     /* log->jobs while req is set */
    struct segment_view view;
    struct segment_read read;
    int64_t segment; /* base offset */
    enum err err;
    bool is_ready; /* there is something to read: view is open, err is not set */
    struct errmsg msg;
};

/* ---- Hints ---- */

/* Slot of the hint for exactly this place, LOG_HINT_COUNT when there is none. */
static unsigned hint_find(const struct log *log, int64_t segment, int64_t offset)
{
    unsigned slot = 0;
    while (slot < LOG_HINT_COUNT && (log->hints[slot].segment != segment || log->hints[slot].offset != offset)) {
        slot++;
    }
    return slot;
}

/* Notes where a reader will come back to, at the front. The place it came from stays for a while: other readers
 * follow. */
static void hint_put(struct log *log, int64_t segment, const struct segment_read *read)
{
    unsigned slot = hint_find(log, segment, read->next_offset);
    slot = slot < LOG_HINT_COUNT ? slot : LOG_HINT_COUNT - 1;
    memmove(&log->hints[1], &log->hints[0], slot * sizeof(log->hints[0]));
    log->hints[0] = (struct log_hint){
        .offset = read->next_offset,
        .segment = segment,
        .position = read->position,
    };
}

/* ---- Reading ---- */

/* Opens what a read of req->offset needs. The log's end has no batch: nothing is opened, *is_ready stays false. */
static enum err read_prepare(struct log *log, const struct log_read *req, struct segment_view *view,
                             struct segment_read *read, bool *is_ready, struct errmsg *msg)
{
    assert(!log->is_closed);
    assert(req->offset >= log->start_offset);
    assert(req->offset <= log->end_offset);
    *is_ready = false;
    if (req->offset == log->end_offset) {
        return OK;
    }
    size_t index = log_segment_find(log, req->offset);
    struct segment *segment = log->segments[index];
    *read = (struct segment_read){
        .offset = req->offset,
        .size_max = req->size_max,
        .is_first_whole = req->is_first_whole,
        .is_exact = req->offset == segment->base_offset,
    };
    if (!read->is_exact) {
        log_rebuild(log, index);
        unsigned slot = hint_find(log, segment->base_offset, req->offset);
        read->is_exact = slot < LOG_HINT_COUNT;
        read->position = read->is_exact ? log->hints[slot].position : 0;
    }
    enum err err = segment_view_init(view, &log->place, segment, log_segment_end(log, index), !read->is_exact, msg);
    if (err == OK && req->offset >= view->end_offset) {
        segment_view_deinit(view, log->place.files);
        err = ERR_BUSY;
    }
    *is_ready = err == OK;
    return err;
}

/* The leader epoch is outside of a batch's CRC; who knows the epochs of all offsets checks it. */
static enum err epochs_check(const struct log *log, const struct segment_view *view, const struct segment_read *read,
                             struct errmsg *msg)
{
    if (log->epoch_at == NULL) {
        return OK;
    }
    struct bytes rest = read->slice.bytes;
    while (rest.size > 0) {
        struct record_batch batch;
        enum err err = record_batch_view(rest, &batch);
        assert(err == OK);
        int32_t epoch = log->epoch_at(log->epoch_owner, batch.base_offset);
        if (epoch != -1 && batch.leader_epoch != epoch) {
            return segment_damaged(view, read->position - rest.size, msg, "the leader epoch of the batch is wrong");
        }
        rest = (struct bytes){rest.data + batch.bytes.size, rest.size - batch.bytes.size};
    }
    return OK;
}

/* Whether the segment that was read is still the log's: a compaction may have taken its place meanwhile. */
static bool is_current(const struct log *log, const struct segment_view *view)
{
    const struct segment *segment = log_segment_at(log, view->base_offset);
    return segment != NULL && segment->version == view->version;
}

/* What is done with a read on the shard's thread: checks, the hint, the answer. */
static enum err read_finish(struct log *log, struct segment_view *view, struct segment_read *read, enum err err,
                            struct log_read *req)
{
    if (view->is_index_wrong && is_current(log, view)) {
        log_segment_at(log, view->base_offset)->is_index_poor = true;
    }
    if (err == OK) {
        err = epochs_check(log, view, read, &req->msg);
    }
    if (err == OK && read->slice.block != NULL && is_current(log, view)) {
        hint_put(log, view->base_offset, read);
    }
    if (err == OK) {
        req->slice = read->slice;
    } else {
        slice_release(&read->slice);
    }
    if (err == ERR_DAMAGED) {
        log_damaged(log, &req->msg);
    }
    return err;
}

enum err log_read_now(struct log *log, struct log_read *req)
{
    req->slice = (struct slice){0};
    struct segment_view view;
    struct segment_read read;
    bool is_ready;
    enum err err = read_prepare(log, req, &view, &read, &is_ready, &req->msg);
    if (err == ERR_DAMAGED) {
        log_damaged(log, &req->msg);
    }
    if (!is_ready) {
        return err;
    }
    view.is_nowait = true;
    err = segment_read(&view, &read, &req->msg);
    err = read_finish(log, &view, &read, err, req);
    segment_view_deinit(&view, log->place.files);
    return err;
}

/* ---- Off the loop ---- */

static void job_run(struct work *work)
{
    struct log_job *job = container_of(work, struct log_job, work);
    if (job->is_ready) {
        job->err = segment_read(&job->view, &job->read, &job->msg);
    }
}

static void job_done(struct work *work)
{
    struct log_job *job = container_of(work, struct log_job, work);
    struct log *log = job->log;
    struct log_read *req = job->req;
    enum err err = job->err;
    if (req == NULL) {
        slice_release(&job->read.slice);
    } else {
        list_remove(&job->link);
        req->job = NULL;
        req->msg = job->msg;
        if (job->is_ready) {
            err = read_finish(log, &job->view, &job->read, err, req);
        } else if (err == ERR_DAMAGED) {
            log_damaged(log, &req->msg);
        }
    }
    if (job->is_ready) {
        segment_view_deinit(&job->view, log->place.files);
    }
    mem_free(job);
    if (req != NULL) {
        req->cb(req, err);
    }
    log_release(log);
}

void log_read_async(struct log *log, struct log_read *req)
{
    req->slice = (struct slice){0};
    struct log_job *job = mem_alloc(sizeof(*job));
    job->work = (struct work){.run = job_run, .done = job_done};
    job->log = log;
    job->req = req;
    req->job = job;
    job->err = read_prepare(log, req, &job->view, &job->read, &job->is_ready, &job->msg);
    list_push(&log->jobs, &job->link);
    log_acquire(log);
    metrics_add(log->place.env->metrics, METRIC_READ_COLD, 1);
    log->place.env->workers->submit(log->place.env->workers, &job->work);
}

void log_reads_cancel(struct log *log)
{
    struct list *link;
    while ((link = list_pop(&log->jobs)) != NULL) {
        struct log_job *job = container_of(link, struct log_job, link);
        struct log_read *req = job->req;
        assert(req != NULL); /* a job without one has left the list */
        job->req = NULL;
        req->job = NULL;
        req->cb(req, ERR_CANCELED);
    }
}
