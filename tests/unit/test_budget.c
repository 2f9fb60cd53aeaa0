/* The bytes that requests of a shard may hold: taking, giving, waiting, and shares taken by other shards. */
#include "broker/budget.h"

#include <pthread.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"
#include "tests/lib/turn_env.h"

enum {
    SIZE_MAX_TESTED = 100 * 1000,
    WAITER_COUNT = 5,
    THREAD_COUNT = 4,
    ROUND_COUNT = 20000
};

struct client {
    struct budget_waiter waiter;
    struct budget *budget;
    size_t wanted; /* takes so much when there is room, else waits again */
    unsigned woken;
};

static struct turn_env turn;
static struct budget budget;

static void setup(void)
{
    turn_env_init(&turn, 1);
    budget_init(&budget, &turn.env, SIZE_MAX_TESTED);
}

static void teardown(void)
{
    budget_deinit(&budget);
    turn_env_deinit(&turn);
}

static void client_on_wake(struct budget_waiter *waiter)
{
    struct client *client = container_of(waiter, struct client, waiter);
    client->woken++;
    if (budget_has_room(client->budget, 100)) {
        budget_take(client->budget, client->wanted);
    } else {
        budget_wait(client->budget, &client->waiter);
    }
}

/* Goal: those who wait are woken in order and only as far as there is room; who waits again is behind the others. */
START_TEST(waiters_share_what_comes_back)
{
    struct client clients[WAITER_COUNT];
    budget_take(&budget, SIZE_MAX_TESTED);
    for (unsigned i = 0; i < WAITER_COUNT; i++) {
        clients[i] = (struct client){.waiter.cb = client_on_wake, .budget = &budget, .wanted = SIZE_MAX_TESTED / 2};
        list_init(&clients[i].waiter.link);
        budget_wait(&budget, &clients[i].waiter);
    }
    turn_env_run(&turn);
    ck_assert_uint_eq(clients[0].woken, 0);
    budget_give(&budget, SIZE_MAX_TESTED);
    turn_env_run(&turn);
    ck_assert_uint_eq(budget_used(&budget), SIZE_MAX_TESTED);
    ck_assert_uint_eq(clients[0].woken + clients[1].woken, 2);
    ck_assert_uint_eq(clients[2].woken, 0);
    budget_give(&budget, SIZE_MAX_TESTED);
    turn_env_run(&turn);
    ck_assert_uint_eq(clients[2].woken + clients[3].woken, 2);
    for (unsigned i = 0; i < WAITER_COUNT; i++) {
        budget_waiter_cancel(&clients[i].waiter);
    }
    budget_give(&budget, SIZE_MAX_TESTED);
}
END_TEST

/* Goal: a share is at most half of what its part of the budget leaves, the least share is there as long as anything is,
 * and nothing is beyond the end. */
START_TEST(shares_are_halved_and_end)
{
    struct metrics *metrics = turn.env.metrics;
    ck_assert_uint_eq(budget_reserve(&budget, metrics, 1000, 100, 75), 1000);
    ck_assert_uint_eq(budget_reserve(&budget, metrics, SIZE_MAX_TESTED, 100, 75), (75000 - 1000) / 2);
    budget_take(&budget, 75000 - budget_used(&budget));
    ck_assert_uint_eq(budget_reserve(&budget, metrics, SIZE_MAX_TESTED, 100, 75), 100);
    ck_assert_uint_eq(budget_reserve(&budget, metrics, 1, 100, 75), 100);
    budget_take(&budget, SIZE_MAX_TESTED - 1 - budget_used(&budget));
    ck_assert_uint_eq(budget_reserve(&budget, metrics, 1, 100, 75), 100);
    ck_assert_uint_eq(budget_reserve(&budget, metrics, 1, 100, 75), 0);
    ck_assert_uint_eq(budget_used(&budget), SIZE_MAX_TESTED + 99);
    budget_give(&budget, budget_used(&budget));
}
END_TEST

/* Goal: what is returned without a wake is found by the next one. */
START_TEST(returned_bytes_wait_for_a_wake)
{
    struct client client = {.waiter.cb = client_on_wake, .budget = &budget, .wanted = 1};
    list_init(&client.waiter.link);
    budget_take(&budget, SIZE_MAX_TESTED);
    budget_wait(&budget, &client.waiter);
    budget_wake(&budget);
    turn_env_run(&turn);
    ck_assert_uint_eq(client.woken, 0);
    budget_return(&budget, turn.env.metrics, SIZE_MAX_TESTED);
    turn_env_run(&turn);
    ck_assert_uint_eq(client.woken, 0);
    budget_wake(&budget);
    turn_env_run(&turn);
    ck_assert_uint_eq(client.woken, 1);
    budget_give(&budget, 1);
}
END_TEST

static void *take_and_return(void *context)
{
    struct metrics *metrics = metrics_open();
    size_t *highest = context;
    for (unsigned i = 0; i < ROUND_COUNT; i++) {
        size_t size = budget_reserve(&budget, metrics, 40000, 500, 75);
        size_t used = budget_used(&budget);
        *highest = used > *highest ? used : *highest;
        if (size > 0) {
            budget_return(&budget, metrics, size);
        }
    }
    metrics_close(metrics);
    return NULL;
}

/* Goal: threads that take and return together never pass the end by more than the least share, and lose nothing. */
START_TEST(shards_take_from_one_budget)
{
    pthread_t threads[THREAD_COUNT];
    size_t highest[THREAD_COUNT] = {0};
    for (unsigned i = 0; i < THREAD_COUNT; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, take_and_return, &highest[i]), 0);
    }
    for (unsigned i = 0; i < THREAD_COUNT; i++) {
        pthread_join(threads[i], NULL);
        ck_assert_uint_lt(highest[i], SIZE_MAX_TESTED + 500);
    }
    ck_assert_uint_eq(budget_used(&budget), 0);
}
END_TEST

static Suite *budget_suite(void)
{
    Suite *suite = suite_create("budget");
    TCase *tcase = tcase_create("budget");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, waiters_share_what_comes_back);
    tcase_add_test(tcase, shares_are_halved_and_end);
    tcase_add_test(tcase, returned_bytes_wait_for_a_wake);
    tcase_add_test(tcase, shards_take_from_one_budget);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(budget_suite)
