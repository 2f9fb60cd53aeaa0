/* Happy path: calls of the seam change the crash disk at once; asynchronous ones wait in lists until a step takes
 * one. */
#include "tests/lib/crash_env.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum {
    SPACE = 1 << 30
};

struct job {
    struct list link;
    struct work *work;
    bool has_run;
};

struct crash_env_parts {
    struct crash_env *crash;
    struct clock clock;
    struct crash_rng rng;     /* of the module */
    struct crash_rng choices; /* of this environment */
    struct timers timers;
    struct timer_heap heap;
    struct tasks tasks;
    struct list task_list;
    struct disk disk;
    struct list writes;
    struct workers workers;
    struct list jobs;
    int64_t now_us;
};

static struct crash_env *of_disk(struct disk *disk)
{
    return container_of(disk, struct crash_env_parts, disk)->crash;
}

/* A blocking call that changes something: whether it is to fail. */
static bool op_fails(struct crash_env *crash)
{
    return fault_tick(&crash->op_fault);
}

static void op_done(struct crash_env *crash)
{
    if (crash->on_op != NULL) {
        crash->on_op(crash->context);
    }
}

/* ---- Disk ------------------------------------------------------------------------------------------------------- */

static enum err disk_open(struct disk *disk, const char *path, unsigned flags, int *file, struct errmsg *msg)
{
    struct crash_env *crash = of_disk(disk);
    bool is_change = (flags & DISK_CREATE) != 0;
    enum err err = is_change && op_fails(crash) ? crash->fault_err : crash_disk_open(crash->disk, path, flags, file);
    if (err != OK) {
        return fail(msg, err, "open %s: %s", path, err_text(err));
    }
    if (is_change) {
        op_done(crash);
    }
    return OK;
}

static void disk_close(struct disk *disk, int file)
{
    crash_disk_close(of_disk(disk)->disk, file);
}

static enum err disk_size(struct disk *disk, int file, uint64_t *size)
{
    *size = crash_disk_size(of_disk(disk)->disk, file);
    return OK;
}

static enum err disk_truncate(struct disk *disk, int file, uint64_t size)
{
    struct crash_env *crash = of_disk(disk);
    if (op_fails(crash)) {
        return crash->fault_err;
    }
    crash_disk_truncate(crash->disk, file, size);
    op_done(crash);
    return OK;
}

/* As where the file system cannot: whoever needs the space writes it. */
static enum err disk_allocate(struct disk *disk, int file, uint64_t size)
{
    (void)disk;
    (void)file;
    (void)size;
    return ERR_UNSUPPORTED;
}

static enum err disk_pwritev(struct disk *disk, int file, uint64_t position, const struct iovec *iov, int count)
{
    struct crash_env *crash = of_disk(disk);
    if (op_fails(crash)) {
        return crash->fault_err;
    }
    for (int i = 0; i < count; i++) {
        if (crash->is_full && position + iov[i].iov_len > crash_disk_size(crash->disk, file)) {
            return ERR_NO_SPACE;
        }
        crash_disk_write(crash->disk, file, position, (struct bytes){iov[i].iov_base, iov[i].iov_len}, false);
        position += iov[i].iov_len;
    }
    op_done(crash);
    return OK;
}

static enum err disk_pread(struct disk *disk, int file, uint64_t position, void *data, size_t size, size_t *got)
{
    struct crash_env *crash = of_disk(disk);
    if (fault_tick(&crash->read_fault)) {
        return crash->fault_err;
    }
    *got = crash_disk_read(crash->disk, file, position, data, size);
    return OK;
}

/* Bytes that were not synced may be on the disk or not in any case. */
static enum err disk_write_out(struct disk *disk, const struct disk_range *ranges, unsigned count)
{
    (void)disk;
    (void)ranges;
    (void)count;
    return OK;
}

static enum err disk_sync(struct disk *disk, int file)
{
    struct crash_env *crash = of_disk(disk);
    if (op_fails(crash)) {
        return crash->fault_err;
    }
    crash_disk_sync(crash->disk, file);
    op_done(crash);
    return OK;
}

static enum err disk_rename(struct disk *disk, const char *source, const char *target)
{
    struct crash_env *crash = of_disk(disk);
    enum err err = op_fails(crash) ? crash->fault_err : crash_disk_rename(crash->disk, source, target);
    op_done(crash);
    return err;
}

static enum err disk_link(struct disk *disk, const char *source, const char *target)
{
    (void)disk;
    (void)source;
    (void)target;
    return ERR_UNSUPPORTED;
}

static enum err disk_unlink(struct disk *disk, const char *path)
{
    struct crash_env *crash = of_disk(disk);
    enum err err = op_fails(crash) ? crash->fault_err : crash_disk_unlink(crash->disk, path);
    op_done(crash);
    return err;
}

/* Directories are there by themselves, and durable. */
static enum err disk_mkdir(struct disk *disk, const char *path)
{
    (void)path;
    return op_fails(of_disk(disk)) ? of_disk(disk)->fault_err : OK;
}

static enum err disk_sync_dir(struct disk *disk, const char *path)
{
    struct crash_env *crash = of_disk(disk);
    if (op_fails(crash)) {
        return crash->fault_err;
    }
    crash_disk_sync_dir(crash->disk, path);
    op_done(crash);
    return OK;
}

static enum err disk_list(struct disk *disk, const char *path, disk_list_cb cb, void *context)
{
    crash_disk_list(of_disk(disk)->disk, path, cb, context);
    return OK;
}

static enum err disk_free_space(struct disk *disk, const char *path, uint64_t *size)
{
    (void)path;
    *size = of_disk(disk)->is_full ? 0 : SPACE;
    return OK;
}

static enum err disk_total_space(struct disk *disk, const char *path, uint64_t *size)
{
    (void)disk;
    (void)path;
    *size = SPACE;
    return OK;
}

static void write_in_flight(struct crash_env *crash)
{
    if (!list_is_empty(&crash->parts->writes)) {
        struct disk_write *req = container_of(crash->parts->writes.next, struct disk_write, link);
        crash_disk_write(crash->disk, req->file, req->position, req->bytes, true);
        op_done(crash);
    }
}

static void disk_write(struct disk *disk, struct disk_write *req)
{
    struct crash_env *crash = of_disk(disk);
    assert(req->bytes.size > 0 && req->bytes.size % DISK_ALIGNMENT == 0);
    assert(req->position % DISK_ALIGNMENT == 0);
    assert((uintptr_t)req->bytes.data % DISK_ALIGNMENT == 0);
    bool is_first = list_is_empty(&crash->parts->writes);
    crash->write_count++;
    list_push(&crash->parts->writes, &req->link);
    if (is_first) {
        write_in_flight(crash);
    }
}

static void write_complete(struct crash_env *crash)
{
    struct disk_write *req = container_of(list_pop(&crash->parts->writes), struct disk_write, link);
    if (fault_tick(&crash->write_fault)) {
        req->cb(req, crash->fault_err);
        return;
    }
    crash_disk_written(crash->disk, req->file, req->position, req->bytes.size);
    op_done(crash);
    write_in_flight(crash);
    req->cb(req, OK);
}

/* ---- Work, tasks, time ------------------------------------------------------------------------------------------ */

static void workers_submit(struct workers *workers, struct work *work)
{
    struct crash_env_parts *parts = container_of(workers, struct crash_env_parts, workers);
    struct job *job = mem_alloc(sizeof *job);
    job->work = work;
    list_push(&parts->jobs, &job->link);
}

static void job_step(struct crash_env_parts *parts)
{
    struct job *job = container_of(parts->jobs.next, struct job, link);
    if (!job->has_run) {
        job->has_run = true;
        job->work->run(job->work);
        return;
    }
    struct work *work = job->work;
    list_remove(&job->link);
    mem_free(job);
    work->done(work);
}

static void tasks_queue(struct tasks *tasks, struct task *task)
{
    struct crash_env_parts *parts = container_of(tasks, struct crash_env_parts, tasks);
    if (list_is_empty(&task->link)) {
        list_push(&parts->task_list, &task->link);
    }
}

static void tasks_cancel(struct tasks *tasks, struct task *task)
{
    (void)tasks;
    list_remove(&task->link);
}

static void timers_set(struct timers *timers, struct timer *timer, int64_t delay_us)
{
    struct crash_env_parts *parts = container_of(timers, struct crash_env_parts, timers);
    timer_heap_set(&parts->heap, timer, parts->now_us + delay_us);
}

static void timers_cancel(struct timers *timers, struct timer *timer)
{
    timer_heap_cancel(&container_of(timers, struct crash_env_parts, timers)->heap, timer);
}

static int64_t clock_monotonic_us(struct clock *clock)
{
    return ++container_of(clock, struct crash_env_parts, clock)->now_us;
}

static int64_t clock_wall_ms(struct clock *clock)
{
    return container_of(clock, struct crash_env_parts, clock)->now_us / 1000;
}

static uint64_t rng_next(struct rng *rng)
{
    struct crash_rng *self = container_of(rng, struct crash_rng, rng);
    self->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = self->state;
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void crash_rng_init(struct crash_rng *rng, uint64_t seed)
{
    *rng = (struct crash_rng){.rng = {rng_next}, .state = seed};
}

bool crash_env_step(struct crash_env *crash)
{
    struct crash_env_parts *parts = crash->parts;
    if (!list_is_empty(&parts->task_list)) {
        struct task *task = container_of(list_pop(&parts->task_list), struct task, link);
        task->cb(task);
        return true;
    }
    bool has_write = !list_is_empty(&parts->writes);
    bool has_job = !list_is_empty(&parts->jobs);
    if (has_write && (!has_job || rng_next(&parts->choices.rng) % 4 != 0)) {
        write_complete(crash);
        return true;
    }
    if (has_job) {
        job_step(parts);
        return true;
    }
    int64_t due_us = timer_heap_due_us(&parts->heap);
    if (due_us == INT64_MAX) {
        return false;
    }
    parts->now_us = due_us > parts->now_us ? due_us : parts->now_us;
    struct timer *timer = timer_heap_pop(&parts->heap, parts->now_us, UINT64_MAX);
    timer->cb(timer);
    return true;
}

/* ---- Life ------------------------------------------------------------------------------------------------------- */

static const struct disk disk_functions = {
    .open = disk_open,
    .close = disk_close,
    .size = disk_size,
    .truncate = disk_truncate,
    .allocate = disk_allocate,
    .pwritev = disk_pwritev,
    .pread = disk_pread,
    .pread_nowait = disk_pread,
    .sync = disk_sync,
    .write_out = disk_write_out,
    .rename = disk_rename,
    .link = disk_link,
    .unlink = disk_unlink,
    .mkdir = disk_mkdir,
    .sync_dir = disk_sync_dir,
    .list = disk_list,
    .free_space = disk_free_space,
    .total_space = disk_total_space,
    .write = disk_write,
};

struct crash_env *crash_env_new(uint64_t seed, struct crash_disk *disk)
{
    struct crash_env *crash = mem_alloc(sizeof *crash);
    struct crash_env_parts *parts = mem_alloc(sizeof *parts);
    crash->disk = disk != NULL ? disk : crash_disk_new();
    crash->fault_err = ERR_IO;
    crash->parts = parts;
    parts->crash = crash;
    parts->clock = (struct clock){clock_monotonic_us, clock_wall_ms};
    crash_rng_init(&parts->rng, seed);
    crash_rng_init(&parts->choices, ~seed);
    parts->timers = (struct timers){timers_set, timers_cancel};
    timer_heap_init(&parts->heap);
    parts->tasks = (struct tasks){tasks_queue, tasks_cancel};
    list_init(&parts->task_list);
    parts->disk = disk_functions;
    list_init(&parts->writes);
    parts->workers = (struct workers){workers_submit};
    list_init(&parts->jobs);
    crash->env = (struct env){
        .clock = &parts->clock,
        .rng = &parts->rng.rng,
        .timers = &parts->timers,
        .tasks = &parts->tasks,
        .disk = &parts->disk,
        .workers = &parts->workers,
        .metrics = metrics_open(),
    };
    return crash;
}

struct crash_disk *crash_env_free(struct crash_env *crash)
{
    struct crash_env_parts *parts = crash->parts;
    struct crash_disk *disk = crash->disk;
    assert(list_is_empty(&parts->writes) && list_is_empty(&parts->jobs) && list_is_empty(&parts->task_list));
    timer_heap_deinit(&parts->heap);
    metrics_close(crash->env.metrics);
    mem_free(parts);
    mem_free(crash);
    return disk;
}
