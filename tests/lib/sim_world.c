/* Happy path: sim_world_step() takes the first event off the heap, moves the clock to it, enters its process (memory,
 * and a place to escape to) and runs it; then, unless another event follows closely and chance joins the two into one
 * turn, the tasks that were queued.
 *
 * Death of a process inside a call: siglongjmp() to the step, which then settles what the process had under way. The
 * stack in between is the process's own and holds nothing of the simulator's. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "tests/lib/sim_internal.h"
#include "tests/lib/sim_pool.h"

enum {
    TURN_JOIN_US = 50, /* events at most this far apart may share a turn of the loop */
    TURN_JOIN_PER_MILLION = 250000,
    WAKE_US_MAX = 50,
    JOB_START_US_MAX = 2000,
    JOB_END_US_MAX = 100,
    MILLION = 1000000
};

static const int64_t WALL_START_MS = 1700000000000;
static const int64_t MONOTONIC_START_US = 3600000000;

static struct list worlds = {&worlds, &worlds};
static struct sim_process *current_process;

/* ---- Memory of the simulator */

struct own {     /* in front of each block */
    size_t size; /* of both */
    size_t padding;
};

void *sim_alloc(size_t size)
{
    struct own *own = sim_pool_take_zeroed(sizeof(*own) + size);
    own->size = sizeof(*own) + size;
    return own + 1;
}

void *sim_resize(void *memory, size_t size)
{
    struct own *moved = sim_pool_take(sizeof(*moved) + size);
    moved->size = sizeof(*moved) + size;
    if (memory != NULL) {
        const struct own *own = (const struct own *)memory - 1;
        memcpy(moved + 1, memory, (own->size < moved->size ? own->size : moved->size) - sizeof(*own));
        sim_free(memory);
    }
    return moved + 1;
}

char *sim_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(sim_alloc(size), text, size);
}

void sim_free(void *memory)
{
    if (memory != NULL) {
        struct own *own = (struct own *)memory - 1;
        sim_pool_give(own, own->size);
    }
}

/* ---- Timers, tasks, waker */

static void timers_arm(struct sim_env *env)
{
    int64_t due_us = timer_heap_due_us(&env->timer_heap);
    if (due_us == INT64_MAX) {
        sim_event_cancel(env->world, &env->timer_event);
        return;
    }
    int64_t delay_us = due_us - env_now_us(&env->env);
    int64_t rate = MILLION + env->process->drift_ppm;
    int64_t world_us = delay_us > INT64_MAX / (2 * MILLION) ? delay_us : (delay_us * MILLION + rate - 1) / rate;
    sim_event_set(env->world, &env->timer_event, world_us < 0 ? 0 : world_us);
}

static void timers_set(struct timers *timers, struct timer *timer, int64_t delay_us)
{
    struct sim_env *env = container_of(timers, struct sim_env, timers);
    int64_t now_us = env_now_us(&env->env);
    assert(delay_us >= 0);
    timer_heap_set(&env->timer_heap, timer, delay_us > INT64_MAX - now_us ? INT64_MAX : now_us + delay_us);
    timers_arm(env);
}

static void timers_cancel(struct timers *timers, struct timer *timer)
{
    struct sim_env *env = container_of(timers, struct sim_env, timers);
    if (timer->heap_slot != 0) {
        timer_heap_cancel(&env->timer_heap, timer);
        timers_arm(env);
    }
}

/* All that are due, as in a turn of a real loop; those set meanwhile wait for the next event. */
static void timers_on_due(struct sim_event *event)
{
    struct sim_env *env = container_of(event, struct sim_env, timer_event);
    uint64_t sequence_end = env->timer_heap.sequence;
    struct timer *timer;
    while ((timer = timer_heap_pop(&env->timer_heap, env_now_us(&env->env), sequence_end)) != NULL) {
        timer->cb(timer);
    }
    timers_arm(env);
}

static void tasks_queue(struct tasks *tasks, struct task *task)
{
    struct sim_env *env = container_of(tasks, struct sim_env, tasks);
    if (list_is_empty(&task->link)) {
        list_push(&env->task_queue, &task->link);
    }
}

static void tasks_cancel(struct tasks *tasks, struct task *task)
{
    (void)tasks;
    list_remove(&task->link);
}

static void waker_wake(struct waker *waker)
{
    struct sim_env *env = container_of(waker, struct sim_env, waker);
    if (!sim_event_is_set(&env->wake_event)) {
        sim_event_set(env->world, &env->wake_event, sim_random_spread(&env->world->random, 0, WAKE_US_MAX));
    }
}

static void waker_on_event(struct sim_event *event)
{
    struct sim_env *env = container_of(event, struct sim_env, wake_event);
    if (env->waker.on_wake != NULL) {
        env->waker.on_wake(env->waker.context);
    }
}

/* ---- Background work */

struct sim_job {
    struct sim_event event;
    struct work *work;
    struct list link;
};

static void job_on_end(struct sim_event *event)
{
    struct sim_job *job = container_of(event, struct sim_job, event);
    struct work *work = job->work;
    list_remove(&job->link);
    sim_free(job);
    work->handle = NULL;
    work->done(work);
}

static void job_on_start(struct sim_event *event)
{
    struct sim_job *job = container_of(event, struct sim_job, event);
    struct sim_env *env = event->env;
    env->process->job_cost_us = 0;
    job->work->run(job->work);
    event->run = job_on_end;
    sim_event_set(env->world, event,
                  env->process->job_cost_us + sim_random_spread(&env->world->random, 1, JOB_END_US_MAX));
}

static void workers_submit(struct workers *workers, struct work *work)
{
    struct sim_env *env = container_of(workers, struct sim_env, workers);
    struct sim_job *job = sim_alloc(sizeof(*job));
    job->work = work;
    work->handle = job;
    list_push(&env->jobs, &job->link);
    sim_event_init(&job->event, env, job_on_start);
    sim_event_set(env->world, &job->event, sim_random_spread(&env->world->random, 1, JOB_START_US_MAX));
}

/* ---- Envs */

static int64_t drifted_us(const struct sim_env *env)
{
    int64_t now_us = env->world->now_us;
    return now_us + now_us * env->process->drift_ppm / MILLION;
}

static int64_t clock_monotonic_us(struct clock *clock)
{
    return MONOTONIC_START_US + drifted_us(container_of(clock, struct sim_env, clock));
}

static int64_t clock_wall_ms(struct clock *clock)
{
    const struct sim_env *env = container_of(clock, struct sim_env, clock);
    return WALL_START_MS + env->process->wall_shift_ms + drifted_us(env) / 1000;
}

static uint64_t rng_next(struct rng *rng)
{
    return sim_random_next(&container_of(rng, struct sim_env, rng)->random);
}

static struct sim_env *env_open(struct sim_process *process, unsigned shard)
{
    struct sim_env *env = sim_alloc(sizeof(*env));
    env->process = process;
    env->world = process->world;
    sim_random_init(&env->random, sim_random_next(&env->world->random));
    list_init(&env->task_queue);
    list_init(&env->jobs);
    list_init(&env->events);
    timer_heap_init(&env->timer_heap);
    sim_event_init(&env->timer_event, env, timers_on_due);
    sim_event_init(&env->wake_event, env, waker_on_event);
    env->clock = (struct clock){.monotonic_us = clock_monotonic_us, .wall_ms = clock_wall_ms};
    env->rng.next = rng_next;
    env->timers = (struct timers){.set = timers_set, .cancel = timers_cancel};
    env->tasks = (struct tasks){.queue = tasks_queue, .cancel = tasks_cancel};
    env->workers.submit = workers_submit;
    env->waker.wake = waker_wake;
    sim_disk_fill(env);
    sim_net_fill(env);
    struct sim_heap *before = sim_heap_enter(NULL);
    env->env = (struct env){
        .clock = &env->clock,
        .rng = &env->rng,
        .timers = &env->timers,
        .tasks = &env->tasks,
        .disk = &env->disk,
        .workers = &env->workers,
        .net = &env->net.net,
        .waker = &env->waker,
        .metrics = metrics_open(),
        .shard = shard,
    };
    (void)sim_heap_enter(before);
    list_push(&process->envs, &env->link);
    return env;
}

/* Frees it with all that waits in it; the caller has made sure that nobody misses that. */
static void env_close(struct sim_env *env)
{
    struct list *link;
    sim_disk_env_close(env);
    sim_net_env_close(env);
    sim_event_cancel(env->world, &env->timer_event);
    sim_event_cancel(env->world, &env->wake_event);
    while ((link = list_pop(&env->jobs)) != NULL) {
        struct sim_job *job = container_of(link, struct sim_job, link);
        sim_event_cancel(env->world, &job->event);
        sim_free(job);
    }
    assert(list_is_empty(&env->task_queue));
    assert(list_is_empty(&env->events));
    struct sim_heap *before = sim_heap_enter(NULL);
    timer_heap_deinit(&env->timer_heap);
    metrics_close(env->env.metrics);
    (void)sim_heap_enter(before);
    list_remove(&env->link);
    sim_free(env);
}

/* ---- Processes */

struct sim_process *sim_process_open(struct sim_world *world, struct sim_disk *disk, const char *name)
{
    struct sim_process *process = sim_alloc(sizeof(*process));
    process->world = world;
    process->drive = disk;
    assert(strlen(name) < SIM_NAME_SIZE);
    process->name = sim_strdup(name);
    process->number = ++world->process_count;
    process->heap = sim_heap_open();
    list_init(&process->envs);
    list_init(&process->files);
    list_init(&process->stores);
    list_init(&process->held);
    list_push(&world->processes, &process->link);
    return process;
}

struct env *sim_process_env(struct sim_process *process, unsigned shard)
{
    assert(process->end == SIM_ALIVE);
    assert(shard < SHARD_COUNT_MAX);
    for (struct list *link = process->envs.next; link != &process->envs; link = link->next) {
        struct sim_env *env = container_of(link, struct sim_env, link);
        if (env->env.shard == shard) {
            return &env->env;
        }
    }
    return &env_open(process, shard)->env;
}

struct sim_process *sim_process_current(void)
{
    return current_process;
}

/* Nothing of it happens any more. Its disk is told first, while the memory of its writes is still there. */
static void process_bury(struct sim_process *process)
{
    sim_world_note(process->world, 'd', process->end);
    sim_disk_on_death(process);
    sim_kv_on_death(process);
    sim_net_on_death(process);
    struct list *next;
    for (struct list *link = process->envs.next; link != &process->envs; link = next) {
        struct sim_env *env = container_of(link, struct sim_env, link);
        next = link->next;
        /* Timers and tasks are in memory that goes with the heap, so they are left as they are. */
        env->timer_heap.count = 0;
        list_init(&env->task_queue);
        env_close(env);
    }
    (void)sim_heap_close(process->heap);
    process->heap = NULL;
}

void sim_process_kill(struct sim_process *process)
{
    assert(current_process == NULL);
    if (process->end == SIM_ALIVE) {
        process->end = SIM_KILLED;
        process_bury(process);
    }
}

void sim_process_end_current(enum sim_process_end end, const char *text)
{
    struct sim_process *process = current_process;
    if (process == NULL) {
        return;
    }
    process->end = end;
    (void)snprintf(process->end_text, sizeof(process->end_text), "%s", text);
    siglongjmp(*process->world->escape, 1);
}

static void process_print_rest(const struct sim_process *process)
{
    (void)fprintf(stderr, "process %s closed with something left: %zu blocks of memory\n", process->name,
                  sim_heap_block_count(process->heap));
}

void sim_process_close(struct sim_process *process)
{
    assert(current_process == NULL);
    if (process->end == SIM_ALIVE) {
        for (struct list *link = process->envs.next; link != &process->envs; link = link->next) {
            const struct sim_env *env = container_of(link, struct sim_env, link);
            assert(env->timer_heap.count == 0);
            assert(list_is_empty(&env->task_queue));
            assert(list_is_empty(&env->jobs));
        }
        struct list *next;
        for (struct list *link = process->envs.next; link != &process->envs; link = next) {
            next = link->next;
            env_close(container_of(link, struct sim_env, link));
        }
        assert(list_is_empty(&process->files));
        assert(list_is_empty(&process->stores));
        if (sim_heap_block_count(process->heap) != 0) {
            process_print_rest(process);
        }
        size_t leaked = sim_heap_close(process->heap);
        assert(leaked == 0);
    }
    list_remove(&process->link);
    sim_free(process->name);
    sim_free(process);
}

enum sim_process_end sim_process_end(const struct sim_process *process)
{
    return process->end;
}

const char *sim_process_end_text(const struct sim_process *process)
{
    return process->end_text;
}

size_t sim_process_memory(const struct sim_process *process)
{
    return sim_heap_size(process->heap);
}

void sim_process_pause(struct sim_process *process)
{
    process->is_paused = true;
}

void sim_process_resume(struct sim_process *process)
{
    struct list *link;
    process->is_paused = false;
    while ((link = list_pop(&process->held)) != NULL) {
        struct sim_event *event = container_of(link, struct sim_event, link);
        sim_event_set(process->world, event, 0);
    }
}

void sim_process_set_drift(struct sim_process *process, int32_t ppm)
{
    assert(ppm > -MILLION && ppm < MILLION);
    process->drift_ppm = ppm;
}

void sim_process_shift_wall(struct sim_process *process, int64_t shift_ms)
{
    process->wall_shift_ms += shift_ms;
}

/* ---- World */

struct sim_world *sim_world_open(uint64_t seed)
{
    struct sim_world *world = sim_alloc(sizeof(*world));
    world->seed = seed;
    sim_random_init(&world->random, seed);
    sim_random_init(&world->test_random, ~seed);
    list_init(&world->processes);
    list_init(&world->disks);
    sim_net_init(world);
    list_push(&worlds, &world->link);
    trace(DEBUG, SIM, "world opened", KV("seed", seed)); /* this thread's ring is made here, in nobody's memory */
    return world;
}

void sim_world_close(struct sim_world *world)
{
    assert(list_is_empty(&world->processes));
    assert(list_is_empty(&world->disks));
    sim_net_deinit(world);
    assert(world->heap_count == 0);
    list_remove(&world->link);
    sim_free(world->heap);
    sim_free(world);
}

int64_t sim_world_now_us(const struct sim_world *world)
{
    return world->now_us;
}

uint64_t sim_world_random(struct sim_world *world)
{
    return sim_random_next(&world->test_random);
}

uint64_t sim_world_below(struct sim_world *world, uint64_t limit)
{
    return sim_random_below(&world->test_random, limit);
}

uint64_t sim_world_digest(const struct sim_world *world)
{
    return world->digest;
}

uint64_t sim_world_event_count(const struct sim_world *world)
{
    return world->event_count;
}

void sim_world_note(struct sim_world *world, uint64_t a, uint64_t b)
{
    uint64_t digest = world->digest ^ (a * 0x9E3779B97F4A7C15U) ^ (b * 0xC2B2AE3D27D4EB4FU) ^ (uint64_t)world->now_us;
    world->digest = sim_rotate(digest * 0xBF58476D1CE4E5B9U, 29) + 0x94D049BB133111EBU;
}

void sim_world_print_all(FILE *file)
{
    for (struct list *link = worlds.next; link != &worlds; link = link->next) {
        const struct sim_world *world = container_of(link, struct sim_world, link);
        (void)fprintf(file, "simulated world: seed %llu, event %llu, at %lld us\n", (unsigned long long)world->seed,
                      (unsigned long long)world->event_count, (long long)world->now_us);
    }
}

struct entrance { /* what was current before a process was entered */
    struct sim_heap *heap;
    struct sim_process *process;
    sigjmp_buf *escape;
};

static struct entrance process_enter(struct sim_process *process, sigjmp_buf *escape)
{
    struct entrance before = {sim_heap_enter(process->heap), current_process, process->world->escape};
    current_process = process;
    process->world->escape = escape;
    return before;
}

static void process_leave(struct sim_process *process, const struct entrance *before)
{
    (void)sim_heap_enter(before->heap);
    current_process = before->process;
    process->world->escape = before->escape;
}

/* Calls fn(argument) inside the process. False if it died there. */
static bool process_call(struct sim_process *process, void (*fn)(void *argument), void *argument)
{
    sigjmp_buf escape;
    assert(process->end == SIM_ALIVE);
    assert(current_process == NULL);
    struct entrance before = process_enter(process, &escape);
    if (sigsetjmp(escape, 0) == 0) {
        fn(argument);
        process_leave(process, &before);
        return true;
    }
    process_leave(process, &before);
    process_bury(process);
    return false;
}

bool sim_process_run(struct sim_process *process, void (*fn)(void *context), void *context)
{
    return process_call(process, fn, context);
}

static void call_event(void *argument)
{
    struct sim_event *event = argument;
    event->run(event);
}

static void call_tasks(void *argument)
{
    struct sim_env *env = argument;
    size_t count = 0;
    for (struct list *link = list_pop(&env->task_queue); link != NULL; link = list_pop(&env->task_queue)) {
        struct task *task = container_of(link, struct task, link);
        task->cb(task);
        count++;
        assert(count <= TURN_TASK_COUNT_MAX);
    }
}

/* Tasks of all processes: those queued by the test's own code as well. False if a process died. */
static bool run_tasks(struct sim_world *world)
{
    for (struct list *p = world->processes.next; p != &world->processes; p = p->next) {
        struct sim_process *process = container_of(p, struct sim_process, link);
        if (process->is_paused) {
            continue;
        }
        for (struct list *e = process->envs.next; e != &process->envs; e = e->next) {
            struct sim_env *env = container_of(e, struct sim_env, link);
            if (!list_is_empty(&env->task_queue) && !process_call(process, call_tasks, env)) {
                return false;
            }
        }
    }
    return true;
}

static bool is_turn_over(struct sim_world *world)
{
    return world->heap_count == 0 || world->heap[1]->due_us > world->now_us + TURN_JOIN_US ||
           !sim_random_is(&world->random, TURN_JOIN_PER_MILLION);
}

enum sim_end sim_world_step(struct sim_world *world)
{
    assert(current_process == NULL);
    if (world->heap_count == 0) {
        return run_tasks(world) ? (world->heap_count > 0 ? SIM_REACHED : SIM_IDLE) : SIM_DIED;
    }
    struct sim_event *event = world->heap[1];
    struct sim_env *env = event->env;
    assert(event->due_us >= world->now_us);
    world->now_us = event->due_us;
    sim_event_cancel(world, event);
    if (env != NULL && env->process->is_paused) {
        event->is_held = true;
        list_push(&env->process->held, &event->link);
        return SIM_REACHED;
    }
    world->event_count++;
    sim_world_note(world, event->tie, env == NULL ? 0 : env->env.shard + 1);
    if (env == NULL) {
        event->run(event);
        return SIM_REACHED;
    }
    if (!process_call(env->process, call_event, event)) {
        return SIM_DIED;
    }
    return is_turn_over(world) && !run_tasks(world) ? SIM_DIED : SIM_REACHED;
}

enum sim_end sim_world_run_until(struct sim_world *world, bool (*is_reached)(void *context), void *context,
                                 int64_t limit_us)
{
    int64_t end_us = world->now_us + limit_us;
    if (!run_tasks(world)) {
        return SIM_DIED;
    }
    for (;;) {
        if (is_reached != NULL && is_reached(context)) {
            return SIM_REACHED;
        }
        if (world->heap_count > 0 && world->heap[1]->due_us > end_us) {
            if (!run_tasks(world)) {
                return SIM_DIED;
            }
            if (is_reached != NULL && is_reached(context)) {
                return SIM_REACHED;
            }
            if (world->heap_count > 0 && world->heap[1]->due_us > end_us) {
                world->now_us = end_us;
                return SIM_TIME_UP;
            }
            continue;
        }
        enum sim_end end = sim_world_step(world);
        if (end == SIM_IDLE) {
            return is_reached != NULL && is_reached(context) ? SIM_REACHED : SIM_IDLE;
        }
        if (end == SIM_DIED) {
            return end;
        }
    }
}
