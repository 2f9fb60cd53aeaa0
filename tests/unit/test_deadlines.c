/* The wheel of deadlines against a model. */
#include "base/deadlines.h"
#include "base/mem.h"
#include "tests/lib/test.h"

enum {
    COUNT = 300,
    STEP_COUNT = 20000
};

struct waiter {
    struct deadline deadline;
    struct world *world;
    bool is_set;
};

struct world {
    struct deadlines deadlines;
    struct waiter waiters[COUNT];
    int64_t now_us;
    uint64_t random;
    size_t fired;
    bool is_cancelling; /* the first that fires takes all others back */
};

/* splitmix64 */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void waiter_cancel(struct waiter *waiter)
{
    deadlines_cancel(&waiter->world->deadlines, &waiter->deadline);
    waiter->is_set = false;
}

static void on_due(struct deadline *deadline)
{
    struct waiter *waiter = container_of(deadline, struct waiter, deadline);
    struct world *world = waiter->world;
    ck_assert(waiter->is_set);
    ck_assert_int_le(deadline->due_us, world->now_us);
    waiter->is_set = false;
    world->fired++;
    if (world->is_cancelling) {
        for (size_t i = 0; i < COUNT; i++) {
            waiter_cancel(&world->waiters[i]);
        }
    }
}

static void world_init(struct world *world, int64_t now_us)
{
    *world = (struct world){.now_us = now_us, .random = 7};
    deadlines_init(&world->deadlines);
    deadlines_resume(&world->deadlines, now_us);
    for (size_t i = 0; i < COUNT; i++) {
        world->waiters[i].world = world;
        deadline_init(&world->waiters[i].deadline, on_due);
    }
}

static void waiter_set(struct waiter *waiter, int64_t delay_us)
{
    struct world *world = waiter->world;
    waiter->is_set = true;
    deadlines_set(&world->deadlines, &waiter->deadline, world->now_us + delay_us);
}

static void world_run(struct world *world)
{
    deadlines_run(&world->deadlines, world->now_us);
}

/* Goal: none early, none later than two ticks, none lost, however far off. Method: random sets, cancels and steps of
 * time, delays of up to a minute, and whoever is set must not be due by more than two ticks and a step. */
START_TEST(never_early_never_lost)
{
    struct world world;
    world_init(&world, 123456789);
    for (size_t step = 0; step < STEP_COUNT; step++) {
        struct waiter *waiter = &world.waiters[random_next(&world.random) % COUNT];
        if (!waiter->is_set) {
            waiter_set(waiter, (int64_t)(random_next(&world.random) % (step % 2 == 0 ? 60000000 : 50000)));
        } else if (random_next(&world.random) % 4 == 0) {
            waiter_cancel(waiter);
        }
        world.now_us += (int64_t)(random_next(&world.random) % DEADLINE_TICK_US);
        world_run(&world);
        size_t set = 0;
        for (size_t i = 0; i < COUNT; i++) {
            set += world.waiters[i].is_set;
            ck_assert(!world.waiters[i].is_set ||
                      world.waiters[i].deadline.due_us + 2 * DEADLINE_TICK_US > world.now_us);
        }
        ck_assert_uint_eq(set, world.deadlines.count);
    }
    ck_assert_uint_gt(world.fired, 1000);
}
END_TEST

/* Goal: after a long stop of the process all that is due comes at once, and the wheel goes on. */
START_TEST(time_that_jumps)
{
    struct world world;
    world_init(&world, 0);
    for (size_t i = 0; i < COUNT; i++) {
        waiter_set(&world.waiters[i], (int64_t)i * 100000);
    }
    world.now_us = (int64_t)COUNT * 50000;
    world_run(&world);
    ck_assert_uint_ge(world.fired, COUNT / 2 - 1);
    world.now_us = (int64_t)COUNT * 100000 + 3 * DEADLINE_TICK_US;
    world_run(&world);
    ck_assert_uint_eq(world.fired, COUNT);
    ck_assert(deadlines_is_empty(&world.deadlines));
    waiter_set(&world.waiters[0], -5);
    world.now_us += 2 * DEADLINE_TICK_US;
    world_run(&world);
    ck_assert_uint_eq(world.fired, COUNT + 1);
}
END_TEST

/* Goal: a callback may take back others that are due in the same tick. */
START_TEST(a_callback_cancels_the_others)
{
    struct world world;
    world_init(&world, 0);
    world.is_cancelling = true;
    for (size_t i = 0; i < COUNT; i++) {
        waiter_set(&world.waiters[i], 1000);
    }
    world.now_us = 3 * DEADLINE_TICK_US;
    world_run(&world);
    ck_assert_uint_eq(world.fired, 1);
    ck_assert(deadlines_is_empty(&world.deadlines));
}
END_TEST

static Suite *deadlines_suite(void)
{
    Suite *suite = suite_create("deadlines");
    TCase *tcase = tcase_create("wheel");
    tcase_add_test(tcase, never_early_never_lost);
    tcase_add_test(tcase, time_that_jumps);
    tcase_add_test(tcase, a_callback_cancels_the_others);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(deadlines_suite)
