#include "tests/lib/turn_env.h"

#include "base/mem.h"

#define WALL_START_MS INT64_C(1700000000000)

static int64_t clock_now(struct clock *clock)
{
    return (int64_t)container_of(clock, struct turn_env, clock)->now_us;
}

static int64_t clock_wall(struct clock *clock)
{
    const struct turn_env *turn = container_of(clock, struct turn_env, clock);
    return turn->wall_start_ms + (int64_t)(turn->now_us / 1000);
}

static uint64_t rng_next(struct rng *rng)
{
    struct turn_env *turn = container_of(rng, struct turn_env, rng);
    turn->random = turn->random * 6364136223846793005u + 1442695040888963407u;
    return turn->random ^ turn->random >> 29;
}

static void timers_set(struct timers *timers, struct timer *timer, int64_t delay_us)
{
    struct turn_env *turn = container_of(timers, struct turn_env, timers);
    turn->timer_sets++;
    timer_heap_set(&turn->heap, timer, (int64_t)turn->now_us + delay_us);
}

static void timers_cancel(struct timers *timers, struct timer *timer)
{
    timer_heap_cancel(&container_of(timers, struct turn_env, timers)->heap, timer);
}

static void tasks_queue(struct tasks *tasks, struct task *task)
{
    if (list_is_empty(&task->link)) {
        list_push(&container_of(tasks, struct turn_env, tasks)->queue, &task->link);
    }
}

static void tasks_cancel(struct tasks *tasks, struct task *task)
{
    (void)tasks;
    list_remove(&task->link);
}

void turn_env_init(struct turn_env *turn, uint64_t seed)
{
    *turn = (struct turn_env){.random = seed, .now_us = 1000000, .wall_start_ms = WALL_START_MS};
    list_init(&turn->queue);
    timer_heap_init(&turn->heap);
    turn->clock = (struct clock){.monotonic_us = clock_now, .wall_ms = clock_wall};
    turn->rng = (struct rng){.next = rng_next};
    turn->timers = (struct timers){.set = timers_set, .cancel = timers_cancel};
    turn->tasks = (struct tasks){.queue = tasks_queue, .cancel = tasks_cancel};
    turn->env = (struct env){
        .clock = &turn->clock,
        .rng = &turn->rng,
        .timers = &turn->timers,
        .tasks = &turn->tasks,
        .metrics = metrics_open(),
    };
}

void turn_env_deinit(struct turn_env *turn)
{
    timer_heap_deinit(&turn->heap);
    metrics_close(turn->env.metrics);
}

void turn_env_run(struct turn_env *turn)
{
    struct list *link;
    while ((link = list_pop(&turn->queue)) != NULL) {
        struct task *task = container_of(link, struct task, link);
        task->cb(task);
    }
}

void turn_env_advance(struct turn_env *turn, uint64_t us)
{
    uint64_t end = turn->now_us + us;
    for (;;) {
        int64_t due_us = timer_heap_due_us(&turn->heap);
        if (due_us == INT64_MAX || (uint64_t)due_us > end) {
            turn->now_us = end;
            return;
        }
        if ((uint64_t)due_us > turn->now_us) {
            turn->now_us = (uint64_t)due_us;
        }
        struct timer *timer = timer_heap_pop(&turn->heap, due_us, UINT64_MAX);
        timer->cb(timer);
        turn_env_run(turn);
    }
}
