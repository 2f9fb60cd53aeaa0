/* Happy path: wal_files_tick() sees that no ready file is left, or that one is free, and starts a job; its end adds the
 *             file and tells the log.
 * Failure:    the job takes back what it made and says why; the timer tries again. A recycle that fails half way has
 *             taken the old file apart: it is then removed instead.
 * Close:      wal_files_stop(), wait until no job is running, wal_files_close(). */
#include "replication/wal_files.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"

#include <string.h>

/* ---- The set of files ------------------------------------------------------------------------------------------- */

static struct wal_file *files_first(const struct wal_files *files)
{
    assert(!list_is_empty(&files->list));
    return container_of(files->list.next, struct wal_file, link);
}

static struct wal_file *files_last(const struct wal_files *files)
{
    assert(!list_is_empty(&files->list));
    return container_of(files->list.prev, struct wal_file, link);
}

static void files_add(struct wal_files *files, struct wal_file *file)
{
    list_push(&files->list, &file->link);
    files->count++;
    files->ready_count++;
}

static void files_drop_first(struct wal_files *files)
{
    struct wal_file *file = files_first(files);
    assert(file != files->active);
    assert(file->fd < 0);
    list_remove(&file->link);
    mem_free(file);
    files->count--;
}

uint64_t wal_files_room(const struct wal_files *files, uint64_t reserve)
{
    uint64_t left = files->active->size - files->position;
    return left > reserve ? left - reserve : 0;
}

struct wal_file *wal_files_next(struct wal_files *files)
{
    struct list *next = files->active->link.next;
    return next == &files->list ? NULL : container_of(next, struct wal_file, link);
}

void wal_files_advance(struct wal_files *files, uint64_t lsn)
{
    struct wal_file *full = files->active;
    struct wal_file *next = wal_files_next(files);
    assert(next != NULL);
    assert(next->fd >= 0);
    full->end_lsn = lsn;
    files->env->disk->close(files->env->disk, full->fd);
    full->fd = -1;
    next->first_lsn = lsn;
    files->active = next;
    files->position = WAL_BLOCK_SIZE;
    files->has_durable_unit = false;
    assert(files->ready_count > 0);
    files->ready_count--;
    trace(DEBUG, WAL, "next file", KV("shard", files->env->shard), KV("file", next->sequence), KV("lsn", lsn));
}

uint64_t wal_files_start_lsn(const struct wal_files *files)
{
    return files_first(files)->first_lsn;
}

bool wal_files_can_free(const struct wal_files *files, uint64_t kept_lsn)
{
    const struct wal_file *first = files_first(files);
    if (first == files->active || first->end_lsn > kept_lsn) {
        return false;
    }
    /* The file with the last durable unit stays: without a unit nothing would tell where the log goes on. */
    return files->has_durable_unit || first->link.next != &files->active->link;
}

/* ---- Jobs ------------------------------------------------------------------------------------------------------- */

/* Files go one at a time, in order, each durably: what a power loss leaves has no gap. */
static enum err job_remove(struct wal_job *job)
{
    enum err err = wal_file_unlink(job->disk, job->dir, job->source, WAL_SUFFIX, &job->msg);
    if (err == OK) {
        err = wal_file_unlink(job->disk, job->dir, job->sequence, WAL_SUFFIX_NEW, &job->msg);
    }
    return err == OK ? wal_file_sync_dir(job->disk, job->dir, &job->msg) : err;
}

static void job_run(struct work *work)
{
    struct wal_job *job = container_of(work, struct wal_job, work);
    struct wal_file_header header = {job->sequence, job->generation, job->size};
    switch (job->kind) {
    case WAL_JOB_MAKE:
        job->err = wal_file_prepare(job->disk, job->dir, &header, true, &job->is_hurried, &job->fd, &job->msg);
        break;
    case WAL_JOB_RECYCLE:
        job->err = wal_file_take(job->disk, job->dir, job->source, job->sequence, &job->msg);
        if (job->err == OK) {
            job->err = wal_file_prepare(job->disk, job->dir, &header, false, NULL, &job->fd, &job->msg);
        }
        break;
    case WAL_JOB_REMOVE:
        job->err = job_remove(job);
        break;
    case WAL_JOB_NONE:
        assert(false);
    }
}

static void job_failed(struct wal_files *files)
{
    struct wal_job *job = &files->job;
    if (!files->is_failing) { /* once, not every second */
        trace(WARN, WAL, "file not ready, will try again", KV("shard", files->env->shard),
              KV("error", err_name(job->err)), KV("cause", job->msg.text));
    }
    files->is_failing = true;
    metrics_add(files->env->metrics, METRIC_WAL_FILE_RETRIES, 1);
    files->is_source_broken = files->is_source_broken || job->kind == WAL_JOB_RECYCLE;
    if (!files->is_closing) {
        files->is_retry_set = true;
        env_timer(files->env, &files->retry, (int64_t)WAL_RETRY_MS * 1000);
    }
}

static void job_on_done(struct work *work)
{
    struct wal_job *job = container_of(work, struct wal_job, work);
    struct wal_files *files = container_of(job, struct wal_files, job);
    assert(files->is_job_running);
    files->is_job_running = false;
    if (job->err != OK) {
        job_failed(files);
        files->on_change(files);
        return;
    }
    files->is_failing = false;
    if (job->kind == WAL_JOB_RECYCLE || job->kind == WAL_JOB_REMOVE) {
        files_drop_first(files);
        files->is_source_broken = false;
    }
    if (job->kind == WAL_JOB_RECYCLE || job->kind == WAL_JOB_MAKE) {
        struct wal_file *file = wal_file_new(job->sequence, job->generation, job->size);
        file->fd = job->fd;
        files_add(files, file);
    }
    trace(DEBUG, WAL, "file job done", KV("shard", files->env->shard), KV("kind", (int)job->kind),
          KV("file", job->sequence), KV("source", job->source), KV("ready", files->ready_count));
    files->on_change(files);
}

/* An empty log starts with a small file, so that it starts at once. Were the next one full grown, filling it would take
 * longer than the small one lasts; and a busy disk may take longer for a small one, too, so two are kept ready. */
static uint64_t size_to_make(const struct wal_files *files)
{
    uint64_t grown = WAL_FILE_GROWTH * files_last(files)->size;
    return grown < files->file_size ? grown : files->file_size;
}

/* The first ones are small and count for what they are: a log of four files has room for as much as four. */
static bool has_room_to_make(const struct wal_files *files)
{
    uint64_t size = size_to_make(files);
    for (const struct list *link = files->list.next; link != &files->list; link = link->next) {
        size += container_of(link, struct wal_file, link)->size;
    }
    return size <= files->count_max * files->file_size;
}

/* A log that is behind would wait for the zeros, on the disk or for their file: its first pass over a new file costs it
 * a change of metadata a write, which is less. */
static bool is_hurry(const struct wal_files *files, bool is_awaited, bool is_behind)
{
    bool is_nearly_full = wal_files_room(files, 0) < files->active->size / 8;
    return is_awaited || is_behind || (is_nearly_full && files->ready_count == 0);
}

static void job_start(struct wal_files *files, enum wal_job_kind kind, bool is_hurried)
{
    files->is_job_running = true;
    files->job = (struct wal_job){
        .work = {.run = job_run, .done = job_on_done},
        .kind = kind,
        .disk = files->env->disk,
        .dir = files->dir,
        .source = kind == WAL_JOB_MAKE ? 0 : files_first(files)->sequence,
        .sequence = files_last(files)->sequence + 1,
        .generation = env_random(files->env),
        .size = kind == WAL_JOB_MAKE ? size_to_make(files) : files_first(files)->size,
        .is_hurried = is_hurried,
        .fd = -1,
    };
    files->env->workers->submit(files->env->workers, &files->job.work);
}

void wal_files_tick(struct wal_files *files, uint64_t kept_lsn, bool is_awaited, bool is_behind)
{
    bool is_hurried = is_hurry(files, is_awaited, is_behind);
    if (files->is_job_running && is_hurried) {
        atomic_store_explicit(&files->job.is_hurried, true, memory_order_relaxed);
    }
    if (files->is_job_running || files->is_closing) {
        return;
    }
    bool can_free = wal_files_can_free(files, kept_lsn);
    if (files->is_retry_set && (files->job.kind != WAL_JOB_MAKE || !can_free)) {
        return;
    }
    if (can_free) {
        /* A small one is better than none where a full one finds no space. */
        bool is_fit = (files_first(files)->size == files->file_size || files->is_failing) && !files->is_source_broken;
        job_start(files, is_fit && files->ready_count < files->ready_max ? WAL_JOB_RECYCLE : WAL_JOB_REMOVE, false);
        return;
    }
    /* A log that nothing was written to needs no second file: an idle shard does no I/O. */
    bool is_used = files->position > WAL_BLOCK_SIZE || files->active->sequence > 1 || is_awaited;
    bool is_young = files_last(files)->size < files->file_size;
    if (is_used && files->ready_count < (is_young ? 2U : 1U) && has_room_to_make(files)) {
        job_start(files, WAL_JOB_MAKE, is_hurried);
    }
}

static void retry_on_timer(struct timer *timer)
{
    struct wal_files *files = container_of(timer, struct wal_files, retry);
    files->is_retry_set = false;
    files->on_change(files);
}

/* ---- Open and close --------------------------------------------------------------------------------------------- */

static void files_close_handles(struct wal_files *files)
{
    for (struct list *link = files->list.next; link != &files->list; link = link->next) {
        struct wal_file *file = container_of(link, struct wal_file, link);
        if (file->fd >= 0) {
            files->env->disk->close(files->env->disk, file->fd);
            file->fd = -1;
        }
    }
}

static enum err leftovers_remove(struct wal_files *files, struct wal_recovered *recovered, struct errmsg *msg)
{
    enum err err = OK;
    struct list *leftovers = &recovered->leftovers;
    for (struct list *link = leftovers->next; link != leftovers && err == OK; link = link->next) {
        struct wal_file *file = container_of(link, struct wal_file, link);
        err = wal_file_unlink(files->env->disk, files->dir, file->sequence, WAL_SUFFIX_NEW, msg);
    }
    wal_files_free(leftovers);
    return err;
}

/* The directory's own name must be as durable as what is in it. */
static enum err parent_sync(struct wal_files *files, struct errmsg *msg)
{
    char *parent = mem_strdup(files->dir);
    char *slash = strrchr(parent, '/');
    const char *path = slash == NULL ? "." : slash == parent ? "/" : parent;
    if (slash != NULL && slash != parent) {
        *slash = '\0';
    }
    enum err err = wal_file_sync_dir(files->env->disk, path, msg);
    mem_free(parent);
    return err;
}

static enum err first_make(struct wal_files *files, uint64_t size, struct wal_recovered *recovered, struct errmsg *msg)
{
    struct wal_file_header header = {.sequence = 1, .generation = env_random(files->env), .size = size};
    int fd = -1;
    enum err err = parent_sync(files, msg);
    if (err == OK) {
        const atomic_bool is_hurried = false;
        err = wal_file_prepare(files->env->disk, files->dir, &header, true, &is_hurried, &fd, msg);
    }
    if (err != OK) {
        return err;
    }
    struct wal_file *file = wal_file_new(header.sequence, header.generation, header.size);
    file->fd = fd;
    list_push(&files->list, &file->link);
    recovered->active = file;
    recovered->position = WAL_BLOCK_SIZE;
    return OK;
}

/* What a killed process wrote and named was read back from the cache, perhaps, and is on no disk: it must be before
 * anything is built on it. That can only be the last unit, in the active file or the one before, and names. */
static enum err recovered_sync(struct wal_files *files, struct errmsg *msg)
{
    struct disk *disk = files->env->disk;
    struct list *before = files->active->link.prev;
    enum err err = disk->sync_dir(disk, files->dir);
    if (err == OK) {
        err = disk->sync(disk, files->active->fd);
    }
    if (err == OK && before != &files->list) {
        char *path = wal_file_path(files->dir, container_of(before, struct wal_file, link)->sequence, WAL_SUFFIX);
        int fd;
        err = disk->open(disk, path, DISK_DIRECT, &fd, msg);
        if (err == OK) {
            err = disk->sync(disk, fd);
            disk->close(disk, fd);
        }
        mem_free(path);
    }
    return err == OK ? OK : fail(msg, err, "%s: sync what was recovered: %s", files->dir, err_text(err));
}

/* Files behind the active one hold no unit, as far as was seen. They get a new generation all the same: should there
 * be units nevertheless, of which the first was lost, they must not join those that are written now. They leave the log
 * from the last one on and come back from the first one on, so that there is never a gap. */
static enum err spares_renew(struct wal_files *files, struct errmsg *msg)
{
    struct disk *disk = files->env->disk;
    struct list *active = &files->active->link;
    enum err err = OK;
    for (struct list *link = files->list.prev; link != active && err == OK; link = link->prev) {
        uint64_t sequence = container_of(link, struct wal_file, link)->sequence;
        err = wal_file_take(disk, files->dir, sequence, sequence, msg);
    }
    for (struct list *link = active->next; link != &files->list && err == OK; link = link->next) {
        struct wal_file *file = container_of(link, struct wal_file, link);
        file->generation = env_random(files->env);
        const struct wal_file_header header = {file->sequence, file->generation, file->size};
        err = wal_file_prepare(disk, files->dir, &header, false, NULL, &file->fd, msg);
        files->ready_count++;
    }
    return err;
}

static enum err active_open(struct wal_files *files, struct errmsg *msg)
{
    char *path = wal_file_path(files->dir, files->active->sequence, WAL_SUFFIX);
    enum err err = files->env->disk->open(files->env->disk, path, DISK_DIRECT, &files->active->fd, msg);
    if (err != OK) {
        files->active->fd = -1;
    }
    mem_free(path);
    return err;
}

/* A torn unit must never come to life again, whatever is written in its place: its header goes, durably, first. */
static enum err torn_cut(struct wal_files *files, struct errmsg *msg)
{
    struct disk *disk = files->env->disk;
    char *path = wal_file_path(files->dir, files->active->sequence, WAL_SUFFIX);
    trace(WARN, WAL, "torn tail cut", KV("shard", files->env->shard), KV("file", path),
          KV("position", files->position));
    uint8_t *block = mem_aligned(WAL_BLOCK_SIZE, WAL_BLOCK_SIZE);
    struct iovec iov = {.iov_base = block, .iov_len = WAL_BLOCK_SIZE};
    enum err err = disk->pwritev(disk, files->active->fd, files->position, &iov, 1);
    if (err == OK) {
        err = disk->sync(disk, files->active->fd);
    }
    if (err != OK) {
        err = fail(msg, err, "%s: cut a torn unit: %s", path, err_text(err));
    }
    mem_free(block);
    mem_free(path);
    return err;
}

/* Makes what was found what there is from now on. */
static enum err recovered_settle(struct wal_files *files, const struct wal_recovered *recovered, struct errmsg *msg)
{
    files->active = recovered->active;
    files->position = recovered->position;
    enum err err = active_open(files, msg);
    if (err == OK) {
        err = recovered_sync(files, msg);
    }
    if (err == OK && recovered->is_torn) {
        err = torn_cut(files, msg);
    }
    return err == OK ? spares_renew(files, msg) : err;
}

enum err wal_files_open(struct wal_files *files, struct env *env, const char *dir, const struct wal_options *options,
                        struct wal_recovered *recovered, struct errmsg *msg)
{
    /* Twice what a checkpoint frees in its stride: files that were filled once are not removed and filled again. */
    uint64_t ready_max = 2 * (options->checkpoint_size / options->file_size + 1);
    *files = (struct wal_files){
        .env = env,
        .dir = dir,
        .file_size = options->file_size,
        .count_max = options->file_count_max,
        .ready_max = ready_max < options->file_count_max ? (unsigned)ready_max : options->file_count_max,
        .job = {.kind = WAL_JOB_NONE},
    };
    list_init(&files->list);
    timer_init(&files->retry, retry_on_timer);
    list_move_all(&files->list, &recovered->files);
    enum err err = leftovers_remove(files, recovered, msg);
    if (err == OK) {
        err = recovered->active == NULL ? first_make(files, options->file_size_first, recovered, msg)
                                        : recovered_settle(files, recovered, msg);
    }
    if (err != OK) {
        wal_files_close(files);
        return err;
    }
    for (struct list *link = files->list.next; link != &files->list; link = link->next) {
        files->count++;
    }
    files->active = recovered->active;
    files->position = recovered->position;
    files->has_durable_unit = recovered->position > WAL_BLOCK_SIZE;
    if (files->active->first_lsn == 0) {
        files->active->first_lsn = recovered->lsn;
    }
    return OK;
}

void wal_files_stop(struct wal_files *files)
{
    files->is_closing = true;
    if (files->is_retry_set) {
        files->is_retry_set = false;
        env_timer_cancel(files->env, &files->retry);
    }
}

void wal_files_close(struct wal_files *files)
{
    assert(!files->is_job_running);
    files_close_handles(files);
    wal_files_free(&files->list);
}
