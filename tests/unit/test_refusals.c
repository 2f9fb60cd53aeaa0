/* Refused batches of idempotent producers: what comes behind them, and when that is over. */
#include "replication/refusals.h"

#include "base/mem.h"
#include "tests/lib/test.h"

static struct refusals refusals;
static struct producers producers;

static void setup(void)
{
    refusals_init(&refusals);
    producers_init(&producers, 10);
}

static void teardown(void)
{
    refusals_deinit(&refusals);
    producers_deinit(&producers);
}

static struct record_batch batch_of(int64_t id, int epoch, int32_t sequence)
{
    return (struct record_batch){.producer_id = id,
                                 .producer_epoch = (int16_t)epoch,
                                 .base_sequence = sequence,
                                 .last_offset_delta = 9,
                                 .count = 10};
}

static void note(int64_t id, int epoch, int32_t sequence)
{
    struct record_batch batch = batch_of(id, epoch, sequence);
    refusals_note(&refusals, &batch, KAFKA_NOT_LEADER_OR_FOLLOWER);
}

static enum kafka_error check(int64_t id, int epoch, int32_t sequence)
{
    struct record_batch batch = batch_of(id, epoch, sequence);
    return refusals_check(&refusals, &producers, &batch);
}

static void append(int64_t id, int epoch, int32_t sequence)
{
    struct record_batch batch = batch_of(id, epoch, sequence);
    producers_add(&producers, &batch, 0, 0);
}

struct refusal_case {
    const char *name;
    int epoch; /* of the batch that comes, after sequence 20 of epoch 1 was refused */
    int32_t sequence;
    bool is_refused;
    bool is_over; /* and 40 is taken after it */
};
static const struct refusal_case cases[] = {
    {"the one behind it", 1, 30, true, false},
    {"one far behind it", 1, 1000, true, false},
    {"itself", 1, 20, false, true},
    {"cut in another way, with it inside", 1, 15, false, true},
    {"one before it", 1, 10, false, false},
    {"one that ends before it", 1, 11, false, true},
    {"a new epoch", 2, 0, false, true},
    {"an old epoch", 0, 30, false, false},
};

/* Goal: only what comes behind is refused. Method: table. */
START_TEST(what_comes_behind_is_refused)
{
    const struct refusal_case *c = &cases[_i];
    note(7, 1, 20);
    enum kafka_error error = check(7, c->epoch, c->sequence);
    ck_assert_msg(error == (c->is_refused ? KAFKA_NOT_LEADER_OR_FOLLOWER : KAFKA_NONE), "%s", c->name);
    error = check(7, 1, 40);
    ck_assert_msg(error == (c->is_over ? KAFKA_NONE : KAFKA_NOT_LEADER_OR_FOLLOWER), "%s", c->name);
    ck_assert_int_eq(check(8, 1, 40), KAFKA_NONE);
    ck_assert_int_eq(check(-1, -1, -1), KAFKA_NONE);
}
END_TEST

/* Goal: the first of several is the one to wait for, also around the end of the numbers. Method: two refused in either
 * order, the later one comes. */
START_TEST(the_first_refused_is_waited_for)
{
    const int32_t first = _i % 2 == 0 ? 100 : INT32_MAX - 4;
    const int32_t second = sequence_add(first, 10);
    note(7, 0, _i < 2 ? first : second);
    note(7, 0, _i < 2 ? second : first);
    ck_assert_int_eq(check(7, 0, second), KAFKA_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(check(7, 0, first), KAFKA_NONE);
    ck_assert_int_eq(check(7, 0, second), KAFKA_NONE);
}
END_TEST

/* Goal: a producer that went on elsewhere is not held up. Method: the table of producers has the refused batch, a later
 * one, another epoch. */
START_TEST(what_was_appended_meanwhile_ends_it)
{
    note(7, 0, 20);
    append(7, 0, 10);
    ck_assert_int_eq(check(7, 0, 30), KAFKA_NOT_LEADER_OR_FOLLOWER);
    append(7, _i == 2, _i == 2 ? 0 : 20);
    if (_i == 1) {
        append(7, 0, 30);
    }
    ck_assert_int_eq(check(7, 0, 40), KAFKA_NONE);
}
END_TEST

/* Goal: who skips the batch knowingly is not held up for ever. Method: more batches behind it than clients have on the
 * way. */
START_TEST(who_goes_on_without_it_is_let_through)
{
    note(7, 0, 20);
    for (int i = 0; i < PRODUCER_BATCH_COUNT; i++) {
        ck_assert_int_eq(check(7, 0, 30 + 10 * i), KAFKA_NOT_LEADER_OR_FOLLOWER);
        note(7, 0, 30 + 10 * i);
    }
    ck_assert_int_eq(check(7, 0, 100), KAFKA_NONE);
    ck_assert_int_eq(check(7, 0, 30), KAFKA_NONE);
}
END_TEST

static enum kafka_error gap(int64_t id, int epoch, int32_t sequence)
{
    struct record_batch batch = batch_of(id, epoch, sequence);
    return refusals_gap(&refusals, &producers, &batch);
}

/* Goal: what is missing is waited for a few times, over all that come behind it, and anew when something else is.
 * Method: gaps of one epoch, of a new epoch, batches from before. */
START_TEST(a_gap_is_forgiven_a_few_times)
{
    append(7, 0, 0);
    append(7, 0, 10);
    ck_assert_int_eq(gap(7, 0, 5), KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER);
    ck_assert_int_eq(gap(7, 0, 30), KAFKA_NOT_ENOUGH_REPLICAS);
    for (int i = 1; i < PRODUCER_BATCH_COUNT; i++) {
        ck_assert_int_eq(check(7, 0, 30 + 10 * i), KAFKA_NOT_ENOUGH_REPLICAS);
    }
    ck_assert_int_eq(check(7, 0, 30), KAFKA_NONE);
    ck_assert_int_eq(gap(7, 0, 30), KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER);
    ck_assert_int_eq(check(7, 0, 20), KAFKA_NONE);
    append(7, 0, 20);
    ck_assert_int_eq(gap(7, 0, 40), KAFKA_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(gap(7, 1, 10), KAFKA_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(check(7, 1, 0), KAFKA_NONE);
}
END_TEST

/* Goal: bounded, batches without a producer cost nothing. Method: one producer more than the bound. */
START_TEST(the_oldest_are_forgotten)
{
    note(-1, -1, -1);
    ck_assert_uint_eq(refusals.by_id.count, 0);
    for (int i = 0; i <= REFUSAL_COUNT_MAX; i++) {
        note(i, 0, 0);
    }
    ck_assert_uint_eq(refusals.by_id.count, REFUSAL_COUNT_MAX);
    ck_assert_int_eq(check(0, 0, 10), KAFKA_NONE);
    ck_assert_int_eq(check(1, 0, 10), KAFKA_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(check(REFUSAL_COUNT_MAX, 0, 10), KAFKA_NOT_LEADER_OR_FOLLOWER);
}
END_TEST

static Suite *refusals_suite(void)
{
    Suite *suite = suite_create("refusals");
    TCase *tcase = tcase_create("refusals");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, what_comes_behind_is_refused, 0, array_count(cases));
    tcase_add_loop_test(tcase, the_first_refused_is_waited_for, 0, 4);
    tcase_add_loop_test(tcase, what_was_appended_meanwhile_ends_it, 0, 3);
    tcase_add_test(tcase, who_goes_on_without_it_is_let_through);
    tcase_add_test(tcase, a_gap_is_forgiven_a_few_times);
    tcase_add_test(tcase, the_oldest_are_forgotten);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(refusals_suite)
