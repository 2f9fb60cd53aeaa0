/* Happy path of a loop turn:
 *
 *     prepare: timers that are due, callbacks owed, tasks; then the loop's wait is bounded by the next timer
 *     poll:    sockets, completions of disk and workers, the waker
 *     check:   timers that are due, callbacks owed, tasks
 *     close callbacks (the tasks they queue run in the next prepare, before the loop waits)
 *
 * As tasks are run to empty right before the loop waits, it never sleeps on queued work; only callbacks owed to the
 * next turn need the idle handle, which makes that wait return at once.
 *
 * Close sequence: uv_env_stop() lets go of the one handle that keeps the loop alive; uv_run() then returns when the
 * last stream, listener, request and durable write is done; uv_env_close() closes the env's own handles. */
#include "base/uv_internal.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

#include "base/assert.h"
#include "base/blocks.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/shared.h"
#include "base/trace.h"

static const int signal_numbers[SIGNAL_COUNT] = {SIGINT, SIGTERM, SIGUSR1};

/* ---- Clock and random numbers */

static int64_t clock_read(clockid_t id, int64_t per_second, int64_t nanoseconds_per)
{
    struct timespec now;
    int failed = clock_gettime(id, &now);
    assert(failed == 0);
    return (int64_t)now.tv_sec * per_second + now.tv_nsec / nanoseconds_per;
}

static int64_t clock_monotonic_us(struct clock *clock)
{
    (void)clock;
    return clock_read(CLOCK_MONOTONIC, 1000000, 1000);
}

static int64_t clock_wall_ms(struct clock *clock)
{
    (void)clock;
    return clock_read(CLOCK_REALTIME, 1000, 1000000);
}

static uint64_t rng_next(struct rng *rng)
{
    struct uv_rng *buffered = container_of(rng, struct uv_rng, rng);
    if (buffered->left == 0) {
        /* Up to 256 bytes are never cut short once the kernel's generator is seeded (getrandom(2)); more may be. */
        size_t filled = 0;
        while (filled < sizeof(buffered->words)) {
            ssize_t got = getrandom((uint8_t *)buffered->words + filled, sizeof(buffered->words) - filled, 0);
            if (got < 0 && errno != EINTR) {
                process_stop("getrandom: %m");
            }
            filled += got < 0 ? 0 : (size_t)got;
        }
        buffered->left = RNG_WORD_COUNT;
    }
    buffered->left--;
    uint64_t word = buffered->words[buffered->left];
    buffered->words[buffered->left] = 0; /* ids already given out are not in memory twice */
    return word;
}

/* ---- Timers */

static void timers_set(struct timers *timers, struct timer *timer, int64_t delay_us)
{
    struct uv_env *uv = container_of(timers, struct uv_env, timers);
    assert(delay_us >= 0);
    int64_t now_us = env_now_us(&uv->env);
    timer_heap_set(&uv->timer_heap, timer, delay_us > INT64_MAX - now_us ? INT64_MAX : now_us + delay_us);
}

static void timers_cancel(struct timers *timers, struct timer *timer)
{
    struct uv_env *uv = container_of(timers, struct uv_env, timers);
    timer_heap_cancel(&uv->timer_heap, timer);
}

static void run_timers(struct uv_env *uv)
{
    if (uv->timer_heap.count == 0) {
        return;
    }
    int64_t now_us = env_now_us(&uv->env);
    uint64_t sequence_end = uv->timer_heap.sequence;
    struct timer *timer;
    while ((timer = timer_heap_pop(&uv->timer_heap, now_us, sequence_end)) != NULL) {
        timer->cb(timer);
    }
}

/* The timers themselves run in prepare and check; this one only ends the wait between them. */
static void timer_on_due(uv_timer_t *timer)
{
    struct uv_env *uv = container_of(timer, struct uv_env, timer);
    uv->timer_armed_us = INT64_MAX;
}

static void arm_timer(struct uv_env *uv)
{
    int64_t due_us = timer_heap_due_us(&uv->timer_heap);
    if (due_us == uv->timer_armed_us) {
        return;
    }
    uv->timer_armed_us = due_us;
    if (due_us == INT64_MAX) {
        uv_timer_stop(&uv->timer);
        return;
    }
    int64_t wait_us = due_us - env_now_us(&uv->env);
    uv_update_time(&uv->loop);
    /* Rounded up: a wait that ends early would only be repeated. */
    uv_timer_start(&uv->timer, timer_on_due, wait_us <= 0 ? 0 : ((uint64_t)wait_us + 999) / 1000, 0);
}

/* ---- Tasks and callbacks owed */

static void tasks_queue(struct tasks *tasks, struct task *task)
{
    struct uv_env *uv = container_of(tasks, struct uv_env, tasks);
    if (list_is_empty(&task->link)) {
        list_push(&uv->task_queue, &task->link);
    }
}

static void tasks_cancel(struct tasks *tasks, struct task *task)
{
    (void)tasks;
    list_remove(&task->link);
}

void uv_env_owe(struct uv_env *uv, struct uv_owed *owed)
{
    if (list_is_empty(&owed->link)) {
        list_push(&uv->owed, &owed->link);
    }
}

static void run_owed(struct uv_env *uv)
{
    struct list batch;
    list_init(&batch);
    list_move_all(&batch, &uv->owed);
    for (struct list *link = list_pop(&batch); link != NULL; link = list_pop(&batch)) {
        struct uv_owed *owed = container_of(link, struct uv_owed, link);
        owed->run(owed);
    }
}

static void run_tasks(struct uv_env *uv)
{
    size_t count = 0;
    for (struct list *link = list_pop(&uv->task_queue); link != NULL; link = list_pop(&uv->task_queue)) {
        struct task *task = container_of(link, struct task, link);
        task->cb(task);
        count++;
        assert(count <= TURN_TASK_COUNT_MAX);
    }
}

static void run_turn(struct uv_env *uv)
{
    run_timers(uv);
    run_owed(uv);
    run_tasks(uv);
}

static void idle_on_turn(uv_idle_t *idle)
{
    (void)idle;
}

static void prepare_on_turn(uv_prepare_t *prepare)
{
    struct uv_env *uv = container_of(prepare, struct uv_env, prepare);
    run_turn(uv);
    arm_timer(uv);
    if (list_is_empty(&uv->owed)) {
        uv_idle_stop(&uv->idle);
    } else {
        uv_idle_start(&uv->idle, idle_on_turn);
    }
}

static void check_on_turn(uv_check_t *check)
{
    run_turn(container_of(check, struct uv_env, check));
}

/* ---- Background work */

struct uv_job {
    uv_work_t request;
    struct work *work;
};

static void job_run(uv_work_t *request)
{
    struct uv_job *job = container_of(request, struct uv_job, request);
    job->work->run(job->work);
}

static void job_done(uv_work_t *request, int status)
{
    struct uv_job *job = container_of(request, struct uv_job, request);
    struct work *work = job->work;
    assert(status == 0); /* never canceled */
    mem_free(job);
    work->handle = NULL;
    work->done(work);
}

static void workers_submit(struct workers *workers, struct work *work)
{
    struct uv_env *uv = container_of(workers, struct uv_env, workers);
    struct uv_job *job = mem_alloc(sizeof(*job));
    job->work = work;
    work->handle = job;
    int failed = uv_queue_work(&uv->loop, &job->request, job_run, job_done);
    assert(failed == 0);
}

/* ---- Waker and signals */

static void waker_wake(struct waker *waker)
{
    struct uv_env *uv = container_of(waker, struct uv_env, waker);
    uv_async_send(&uv->wake);
}

static void wake_on_async(uv_async_t *async)
{
    struct uv_env *uv = container_of(async, struct uv_env, wake);
    if (uv->waker.on_wake != NULL) {
        uv->waker.on_wake(uv->waker.context);
    }
}

static void signal_on_raised(uv_signal_t *handle, int signal)
{
    struct uv_env *uv = handle->data;
    uv->signal_cb(uv->signal_owner, signal);
}

void uv_env_on_signal(struct uv_env *uv, void *owner, void (*cb)(void *owner, int signal))
{
    assert(!uv->has_signals);
    uv->has_signals = true;
    uv->signal_owner = owner;
    uv->signal_cb = cb;
    for (size_t i = 0; i < SIGNAL_COUNT; i++) {
        uv_signal_t *handle = &uv->signals[i];
        int failed = uv_signal_init(&uv->loop, handle);
        assert(failed == 0);
        handle->data = uv;
        failed = uv_signal_start(handle, signal_on_raised, signal_numbers[i]);
        assert(failed == 0);
        uv_unref((uv_handle_t *)handle);
    }
}

enum err uv_err(int status)
{
    switch (status) {
    case 0:
        return OK;
    case UV_EOF:
        return ERR_CLOSED;
    case UV_ECANCELED:
    case UV_EAI_CANCELED:
        return ERR_CANCELED;
    case UV_ETIMEDOUT:
        return ERR_TIMED_OUT;
    case UV_ECONNREFUSED:
        return ERR_REFUSED;
    case UV_EADDRINUSE:
    case UV_EADDRNOTAVAIL:
    case UV_EAFNOSUPPORT:
        return ERR_ADDRESS;
    default:
        return status <= UV_EAI_ADDRFAMILY ? ERR_ADDRESS : err_from_errno(-status);
    }
}

/* ---- Life */

static void fill_env(struct uv_env *uv, unsigned shard, struct metrics *metrics)
{
    uv->clock = (struct clock){.monotonic_us = clock_monotonic_us, .wall_ms = clock_wall_ms};
    uv->rng.rng.next = rng_next;
    uv->timers = (struct timers){.set = timers_set, .cancel = timers_cancel};
    uv->tasks = (struct tasks){.queue = tasks_queue, .cancel = tasks_cancel};
    uv->workers.submit = workers_submit;
    uv->waker.wake = waker_wake;
    uv->env = (struct env){
        .clock = &uv->clock,
        .rng = &uv->rng.rng,
        .timers = &uv->timers,
        .tasks = &uv->tasks,
        .disk = &uv->disk.disk,
        .workers = &uv->workers,
        .net = &uv->net.net,
        .waker = &uv->waker,
        .metrics = metrics,
        .shard = shard,
    };
}

/* Of the env's own handles only `wake` keeps the loop alive, until uv_env_stop(). */
static enum err open_handles(struct uv_env *uv, struct errmsg *msg)
{
    int status = uv_async_init(&uv->loop, &uv->wake, wake_on_async);
    if (status != 0) {
        return fail(msg, uv_err(status), "open the waker of the loop: %s", uv_strerror(status));
    }
    uv_timer_init(&uv->loop, &uv->timer);
    uv_prepare_init(&uv->loop, &uv->prepare);
    uv_check_init(&uv->loop, &uv->check);
    uv_idle_init(&uv->loop, &uv->idle);
    uv_prepare_start(&uv->prepare, prepare_on_turn);
    uv_check_start(&uv->check, check_on_turn);
    uv_unref((uv_handle_t *)&uv->timer);
    uv_unref((uv_handle_t *)&uv->prepare);
    uv_unref((uv_handle_t *)&uv->check);
    uv_unref((uv_handle_t *)&uv->idle);
    return OK;
}

static void close_handles(struct uv_env *uv)
{
    uv_close((uv_handle_t *)&uv->wake, NULL);
    uv_close((uv_handle_t *)&uv->timer, NULL);
    uv_close((uv_handle_t *)&uv->prepare, NULL);
    uv_close((uv_handle_t *)&uv->check, NULL);
    uv_close((uv_handle_t *)&uv->idle, NULL);
    for (size_t i = 0; uv->has_signals && i < SIGNAL_COUNT; i++) {
        uv_close((uv_handle_t *)&uv->signals[i], NULL);
    }
}

enum err uv_env_open(unsigned shard, struct metrics *metrics, struct uv_env **uv_out, struct errmsg *msg)
{
    struct uv_env *uv = mem_alloc(sizeof(*uv));
    enum err err;
    fill_env(uv, shard, metrics);
    list_init(&uv->task_queue);
    list_init(&uv->owed);
    timer_heap_init(&uv->timer_heap);
    uv->timer_armed_us = INT64_MAX;
    int status = uv_loop_init(&uv->loop);
    if (status != 0) {
        err = fail(msg, uv_err(status), "open an event loop: %s", uv_strerror(status));
        goto err_after_alloc;
    }
    err = open_handles(uv, msg);
    if (err != OK) {
        goto err_after_loop_init;
    }
    err = uv_disk_init(&uv->disk, uv, msg);
    if (err != OK) {
        goto err_after_open_handles;
    }
    uv_net_init(&uv->net, uv);
    *uv_out = uv;
    return OK;

err_after_open_handles:
    close_handles(uv);
    uv_run(&uv->loop, UV_RUN_DEFAULT);
err_after_loop_init:
    status = uv_loop_close(&uv->loop);
    assert(status == 0);
err_after_alloc:
    timer_heap_deinit(&uv->timer_heap);
    mem_free(uv);
    return err;
}

struct env *uv_env_env(struct uv_env *uv)
{
    return &uv->env;
}

void uv_env_run(struct uv_env *uv)
{
    blocks_open();
    shared_cache_open();
    for (;;) {
        uv_run(&uv->loop, UV_RUN_DEFAULT);
        if (!list_is_empty(&uv->task_queue) || !list_is_empty(&uv->owed)) {
            run_turn(uv); /* queued by the last close callbacks; may submit more */
        } else if (!uv_loop_alive(&uv->loop)) {
            break;
        }
    }
    shared_cache_close();
    blocks_close();
    assert(uv->is_stopping);
}

void uv_env_stop(struct uv_env *uv)
{
    uv->is_stopping = true;
    uv_unref((uv_handle_t *)&uv->wake);
}

void uv_env_close(struct uv_env *uv)
{
    assert(list_is_empty(&uv->task_queue));
    assert(list_is_empty(&uv->owed));
    uv_net_deinit(&uv->net);
    uv_disk_deinit(&uv->disk);
    close_handles(uv);
    uv_run(&uv->loop, UV_RUN_DEFAULT);
    int status = uv_loop_close(&uv->loop);
    assert(status == 0); /* UV_EBUSY: a stream, listener or request was left open */
    timer_heap_deinit(&uv->timer_heap);
    mem_free(uv);
}

/* A large block is a mapping of its own, so that its memory is back with the system as soon as it is freed, and growing
 * one moves no bytes. By itself glibc raises that limit to 32 MiB with the first such block that is freed, keeps twice
 * as much at the end of each thread's heap, and holes between them besides. */
static void prepare_malloc(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, (int)MALLOC_MAPPED_SIZE_MIN);
    (void)mallopt(M_TRIM_THRESHOLD, (int)MALLOC_KEPT_SIZE_MAX);
}

void uv_process_prepare(unsigned shard_count)
{
    prepare_malloc();
    char threads[16];
    snprintf(threads, sizeof(threads), "%u", 4 + 2 * shard_count);
    setenv("UV_THREADPOOL_SIZE", threads, 0);

    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files) != 0) {
            trace(WARN, MAIN, "cannot raise the limit of open files", KV("errno", errno));
        }
    }
    signal(SIGPIPE, SIG_IGN);
}
