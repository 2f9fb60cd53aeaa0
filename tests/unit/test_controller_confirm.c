/* What the controller says of topics that are there already, or are not there, is confirmed by the log: one that was
 * deposed and has not heard of it does not tell what is no longer so. */
#include "metadata/controller.h"

#include "base/limits.h"
#include "tests/lib/controller_fixture.h"

static struct {
    struct controller_fixture base;
    struct offsets *offsets;
    struct controller *controller;
    struct controller_result results[3];
    unsigned answers;
} f;

static void on_changed(void *owner, const struct metadata_change *changes, size_t count)
{
    (void)owner;
    (void)changes;
    (void)count;
}

static void settle(void)
{
    for (int i = 0; i < 3; i++) { /* a turn that proposes, and one that is told */
        (void)fake_replica_apply_all(f.base.replica);
        turn_env_run(&f.base.turn);
    }
    store_reader_refresh(f.base.reader);
}

static void on_registered(struct controller_register *req, enum kafka_error error)
{
    (void)req;
    ck_assert_int_eq(error, KAFKA_NONE);
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    controller_fixture_init(&f.base, on_changed);
    f.offsets = offsets_open(&f.base.turn.env);
    offsets_set_metadata(f.offsets, f.base.metadata);
    struct controller_params params = controller_fixture_params(&f.base);
    params.offsets = f.offsets;
    f.controller = controller_open(&params);
    struct store_broker broker = {.id = 1, .server_id = UINT64_C(1) << 32 | 1, .rack = bytes_from_text("")};
    struct controller_register req = {.broker = &broker, .cb = on_registered};
    controller_register_broker(f.controller, &req);
    settle();
}

static void teardown(void)
{
    controller_close(f.controller);
    offsets_close(f.offsets);
    controller_fixture_deinit(&f.base);
}

static void on_created(struct controller_create *req)
{
    (void)req;
    f.answers++;
}

static void on_deleted(struct controller_delete *req)
{
    (void)req;
    f.answers++;
}

static struct controller_topic topic = {.partition_count = 1, .replication_factor = 1};
static const struct uuid no_topics[3];

/* Goal: a topic that exists is refused after a record was committed, not before. */
START_TEST(exists_is_told_when_a_majority_agrees)
{
    topic.name = bytes_from_text("t");
    struct controller_create req = {.topics = &topic, .count = 1, .results = f.results, .cb = on_created};
    controller_create_topics(f.controller, &req);
    settle();
    ck_assert_int_eq(f.results[0].error, KAFKA_NONE);
    controller_create_topics(f.controller, &req);
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(f.answers, 1);
    settle();
    ck_assert_uint_eq(f.answers, 2);
    ck_assert_int_eq(f.results[0].error, KAFKA_TOPIC_ALREADY_EXISTS);
    req.is_validate_only = true;
    controller_create_topics(f.controller, &req);
    settle();
    ck_assert_int_eq(f.results[0].error, KAFKA_TOPIC_ALREADY_EXISTS);
}
END_TEST

/* Goal: many refusals of one turn take one record. */
START_TEST(unknown_is_told_when_a_majority_agrees)
{
    struct controller_delete req = {.ids = no_topics, .count = 3, .results = f.results, .cb = on_deleted};
    unsigned count = f.base.replica->count;
    controller_delete_topics(f.controller, &req);
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(f.answers, 0);
    settle();
    ck_assert_uint_eq(f.answers, 1);
    ck_assert_uint_eq(f.base.replica->count, count + 1);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(f.results[i].error, KAFKA_UNKNOWN_TOPIC_OR_PARTITION);
    }
}
END_TEST

/* Goal: who was deposed says so, whether it heard of it before or after it was asked. */
START_TEST(deposed_controllers_do_not_refuse)
{
    struct controller_delete req = {.ids = no_topics, .count = 1, .results = f.results, .cb = on_deleted};
    controller_delete_topics(f.controller, &req);
    turn_env_run(&f.base.turn);
    fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(f.answers, 1);
    ck_assert_int_eq(f.results[0].error, KAFKA_REQUEST_TIMED_OUT);
    controller_delete_topics(f.controller, &req);
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(f.answers, 2);
    ck_assert_int_eq(f.results[0].error, KAFKA_NOT_CONTROLLER);
}
END_TEST

static Suite *controller_confirm_suite(void)
{
    Suite *suite = suite_create("controller_confirm");
    TCase *tcase = tcase_create("refusals");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, exists_is_told_when_a_majority_agrees);
    tcase_add_test(tcase, unknown_is_told_when_a_majority_agrees);
    tcase_add_test(tcase, deposed_controllers_do_not_refuse);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(controller_confirm_suite)
