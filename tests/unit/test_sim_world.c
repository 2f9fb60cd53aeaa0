/* The simulator's loop: the same seed gives the same run, tasks and timers behave as in a real loop, processes die and
 * leave nothing behind. */
#include "tests/lib/sim_world.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"

static struct sim_world *world;
static struct sim_disk *disk;
static struct sim_process *process;
static struct env *env;

static void open_all(uint64_t seed)
{
    world = sim_world_open(seed);
    disk = sim_disk_open(world, "/n1");
    process = sim_process_open(world, disk, "n1");
    env = sim_process_env(process, 0);
}

static void close_all(void)
{
    sim_process_close(process);
    sim_disk_close(disk);
    sim_world_close(world);
}

static void setup(void)
{
    open_all(1);
}

/* ---- A process that does a bit of everything */

enum {
    STEP_COUNT = 200
};

struct actor {
    struct timer timer;
    struct task task;
    struct work work;
    struct message message;
    struct mailbox *mailbox;
    struct env *env;
    void *memory;
    unsigned steps;
    bool is_working;
};

static struct actor actors[2];

static void actor_step(struct actor *actor)
{
    actor->steps++;
    mem_free(actor->memory);
    actor->memory = mem_alloc(1 + (size_t)(env_random(actor->env) % 1000));
}

static void actor_on_timer(struct timer *timer)
{
    struct actor *actor = container_of(timer, struct actor, timer);
    actor_step(actor);
    env_task(actor->env, &actor->task);
}

static void actor_on_task(struct task *task)
{
    struct actor *actor = container_of(task, struct actor, task);
    actor_step(actor);
    if (!actor->is_working) {
        actor->is_working = true;
        actor->env->workers->submit(actor->env->workers, &actor->work);
    }
}

static void actor_on_run(struct work *work)
{
    actor_step(container_of(work, struct actor, work));
}

static void actor_on_message(struct message *message)
{
    struct actor *actor = container_of(message, struct actor, message);
    actor_step(actor);
    if (actor->steps < STEP_COUNT) {
        env_timer(actor->env, &actor->timer, (int64_t)(env_random(actor->env) % 500));
    }
}

static void actor_on_done(struct work *work)
{
    struct actor *actor = container_of(work, struct actor, work);
    actor_step(actor);
    actor->is_working = false;
    mailbox_send(actor->mailbox, &actor->message);
}

static void actors_start(void *context)
{
    (void)context;
    for (unsigned i = 0; i < 2; i++) {
        struct actor *actor = &actors[i];
        *actor = (struct actor){.env = sim_process_env(process, i),
                                .work = {.run = actor_on_run, .done = actor_on_done},
                                .message = {.cb = actor_on_message}};
        actor->mailbox = mailbox_open(actor->env);
        timer_init(&actor->timer, actor_on_timer);
        task_init(&actor->task, actor_on_task);
        env_timer(actor->env, &actor->timer, 10);
    }
}

static void actors_stop(void *context)
{
    (void)context;
    for (unsigned i = 0; i < 2; i++) {
        mailbox_close(actors[i].mailbox);
        mem_free(actors[i].memory);
    }
}

static uint64_t run_actors(uint64_t seed)
{
    open_all(seed);
    ck_assert(sim_process_run(process, actors_start, NULL));
    ck_assert_int_eq(sim_world_run_until(world, NULL, NULL, INT64_C(3600000000)), SIM_IDLE);
    ck_assert_uint_ge(actors[0].steps, STEP_COUNT);
    ck_assert(sim_process_run(process, actors_stop, NULL));
    uint64_t digest = sim_world_digest(world);
    close_all();
    return digest;
}

/* Goal: a seed is a run. Method: the same twice, then another. */
START_TEST(same_seed_gives_the_same_run)
{
    uint64_t seed = (uint64_t)_i;
    uint64_t digest = run_actors(seed);
    ck_assert_uint_eq(digest, run_actors(seed));
    ck_assert_uint_ne(digest, run_actors(seed + 1000));
}
END_TEST

/* Goal: a process that is killed at any moment gets no callback any more, and its memory is given back. Method: a kill
 * after each number of events; AddressSanitizer sees what is used or left. */
START_TEST(killed_process_is_silent_and_leaves_nothing)
{
    for (unsigned kill_at = 0; kill_at < 120; kill_at++) {
        open_all(7);
        ck_assert(sim_process_run(process, actors_start, NULL));
        for (unsigned i = 0; i < kill_at; i++) {
            ck_assert_int_eq(sim_world_step(world), SIM_REACHED);
        }
        sim_process_kill(process);
        ck_assert_int_eq(sim_process_end(process), SIM_KILLED);
        unsigned steps = actors[0].steps + actors[1].steps;
        memset(actors, 0xA5, sizeof(actors));
        ck_assert_int_eq(sim_world_run_until(world, NULL, NULL, INT64_C(3600000000)), SIM_IDLE);
        memset(actors, 0, sizeof(actors));
        ck_assert_uint_le(steps, kill_at * 10);
        close_all();
    }
}
END_TEST

/* ---- Time */

struct alarm {
    struct timer timer;
    int64_t due_us;
    unsigned count;
};

static void alarm_on_timer(struct timer *timer)
{
    struct alarm *alarm = container_of(timer, struct alarm, timer);
    ck_assert_int_eq(env_now_us(env), alarm->due_us);
    alarm->count++;
}

static bool alarm_has_rung(void *context)
{
    return ((struct alarm *)context)->count > 0;
}

/* Goal: virtual time is exact, and a limit is kept to the microsecond. */
START_TEST(timers_fire_exactly_and_runs_end_at_their_limit)
{
    struct alarm alarm = {.count = 0};
    timer_init(&alarm.timer, alarm_on_timer);
    alarm.due_us = env_now_us(env) + 12345;
    env_timer(env, &alarm.timer, 12345);
    ck_assert_int_eq(sim_world_run_until(world, alarm_has_rung, &alarm, 12344), SIM_TIME_UP);
    ck_assert_int_eq(sim_world_now_us(world), 12344);
    ck_assert_int_eq(sim_world_run_until(world, alarm_has_rung, &alarm, 1000), SIM_REACHED);
    ck_assert_int_eq(sim_world_now_us(world), 12345);
    ck_assert_int_eq(sim_world_run_until(world, NULL, NULL, 1000), SIM_IDLE);
    env_timer(env, &alarm.timer, 5);
    env_timer_cancel(env, &alarm.timer);
    ck_assert_int_eq(sim_world_run_until(world, NULL, NULL, 1000), SIM_IDLE);
    ck_assert_uint_eq(alarm.count, 1);
    close_all();
}
END_TEST

/* Goal: a paused process sees nothing until it is resumed, then late; the wall clock jumps alone. */
START_TEST(paused_process_is_late)
{
    struct alarm alarm = {.count = 0};
    timer_init(&alarm.timer, alarm_on_timer);
    env_timer(env, &alarm.timer, 100);
    sim_process_pause(process);
    (void)sim_world_run_until(world, NULL, NULL, 5000);
    ck_assert_uint_eq(alarm.count, 0);
    int64_t before_ms = env_wall_ms(env);
    int64_t before_us = env_now_us(env);
    sim_process_shift_wall(process, -60000);
    ck_assert_int_eq(env_wall_ms(env), before_ms - 60000);
    ck_assert_int_eq(env_now_us(env), before_us);
    sim_process_resume(process);
    alarm.due_us = env_now_us(env);
    ck_assert_int_eq(sim_world_run_until(world, alarm_has_rung, &alarm, 10), SIM_REACHED);
    close_all();
}
END_TEST

/* ---- Ends inside a call */

static struct task fatal;

static void fatal_on_task(struct task *task)
{
    (void)task;
    (void)mem_alloc(100);
    process_stop("the disk is gone: %s", "for good");
}

/* Goal: process_stop() ends its process and only that one, from a task as from the outside. */
START_TEST(process_stop_ends_its_process_only)
{
    struct sim_process *other = sim_process_open(world, disk, "n2");
    struct alarm alarm = {.count = 0};
    timer_init(&alarm.timer, alarm_on_timer);
    env = sim_process_env(other, 0);
    env_timer(env, &alarm.timer, 100);
    alarm.due_us = env_now_us(env) + 100;
    task_init(&fatal, fatal_on_task);
    env_task(sim_process_env(process, 1), &fatal);
    ck_assert_int_eq(sim_world_run_until(world, NULL, NULL, 1000), SIM_DIED);
    ck_assert_int_eq(sim_process_end(process), SIM_STOPPED);
    ck_assert_str_eq(sim_process_end_text(process), "the disk is gone: for good");
    ck_assert_int_eq(sim_world_run_until(world, NULL, NULL, 1000), SIM_IDLE);
    ck_assert_uint_eq(alarm.count, 1);
    sim_process_close(other);
    close_all();
}
END_TEST

/* ---- Order */

static struct task first_task;
static struct task second_task;
static char order[8];

static void note(char letter)
{
    size_t size = strlen(order);
    ck_assert_uint_lt(size + 1, sizeof(order));
    order[size] = letter;
    order[size + 1] = '\0';
}

static void order_on_second(struct task *task)
{
    (void)task;
    note('b');
}

static void order_on_first(struct task *task)
{
    (void)task;
    note('a');
    env_task(env, &second_task);
    env_task(env, &second_task);
    note('-');
}

/* Goal: a task of a task runs behind it, once. */
START_TEST(tasks_run_in_order_and_once)
{
    order[0] = '\0';
    task_init(&first_task, order_on_first);
    task_init(&second_task, order_on_second);
    env_task(env, &first_task);
    ck_assert_int_eq(sim_world_run_until(world, NULL, NULL, 1000), SIM_IDLE);
    ck_assert_str_eq(order, "a-b");
    close_all();
}
END_TEST

static Suite *sim_world_suite(void)
{
    Suite *suite = suite_create("sim_world");
    TCase *tcase = tcase_create("runs");
    tcase_add_loop_test(tcase, same_seed_gives_the_same_run, 0, 20);
    tcase_add_test(tcase, killed_process_is_silent_and_leaves_nothing);
    suite_add_tcase(suite, tcase);
    tcase = tcase_create("loop");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, timers_fire_exactly_and_runs_end_at_their_limit);
    tcase_add_test(tcase, paused_process_is_late);
    tcase_add_test(tcase, process_stop_ends_its_process_only);
    tcase_add_test(tcase, tasks_run_in_order_and_once);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(sim_world_suite)
