/* What the controller says of topics that are there already, or are not there, is confirmed by the log: one that was
 * deposed and has not heard of it does not tell what is no longer so. */
#include "metadata/controller.h"

#include "base/limits.h"
#include "tests/lib/fake_replica.h"
#include "tests/lib/turn_env.h"

static struct {
    char *dir;
    struct turn_env turn;
    struct store *store;
    struct store_reader *reader;
    struct metadata *metadata;
    struct replica *replica;
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

static void on_role(void *owner, const struct replica_status *status)
{
    (void)owner;
    (void)status;
}

static void on_closed(struct replica_machine *machine)
{
    (void)machine;
}

static uint64_t group_term(void *owner, uint64_t group)
{
    (void)owner;
    (void)group;
    return 7;
}

static enum err list_nothing(struct disk *disk, const char *path, disk_list_cb cb, void *context)
{
    (void)disk;
    (void)path;
    (void)cb;
    (void)context;
    return OK;
}
static struct disk empty_disk = {.list = list_nothing};

static const char *default_of(void *context, const char *key)
{
    (void)context;
    (void)key;
    return NULL;
}

static void settle(void)
{
    for (int i = 0; i < 3; i++) { /* a turn that proposes, and one that is told */
        (void)fake_replica_apply_all(f.replica);
        turn_env_run(&f.turn);
    }
    store_reader_refresh(f.reader);
}

static void on_registered(struct controller_register *req, enum kafka_error error)
{
    (void)req;
    ck_assert_int_eq(error, KAFKA_NONE);
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    f.dir = test_dir_make();
    turn_env_init(&f.turn, 1);
    f.turn.env.disk = &empty_disk;
    ck_assert_int_eq(store_open(f.dir, &f.store, NULL), OK);
    f.reader = store_reader_open(f.store, &f.turn.env);
    struct metadata_events events = {NULL, on_changed, on_role};
    ck_assert_int_eq(metadata_open(&f.turn.env, f.store, BYTES_NONE, &events, &f.metadata, NULL), OK);
    f.replica = fake_replica_open(metadata_machine(f.metadata), METADATA_GROUP);
    fake_replica_role(f.replica, REPLICA_LEADER, 3, true);
    f.offsets = offsets_open(&f.turn.env);
    offsets_set_metadata(f.offsets, f.metadata);
    struct controller_params params = {.env = &f.turn.env,
                                       .metadata = f.metadata,
                                       .reader = f.reader,
                                       .offsets = f.offsets,
                                       .defaults = {.value = default_of},
                                       .partitions_default = 1,
                                       .replication_factor_default = 1,
                                       .group_term = group_term};
    f.controller = controller_open(&params);
    struct store_broker broker = {.id = 1, .server_id = UINT64_C(1) << 32 | 1, .rack = bytes_from_text("")};
    struct controller_register req = {.broker = &broker, .cb = on_registered};
    controller_register_broker(f.controller, &req);
    settle();
}

static void teardown(void)
{
    controller_close(f.controller);
    struct replica_machine *machine = metadata_machine(f.metadata);
    machine->closed = on_closed;
    machine->ops->close(machine);
    turn_env_run(&f.turn);
    fake_replica_close(f.replica);
    offsets_close(f.offsets);
    store_reader_close(f.reader);
    store_close(f.store);
    turn_env_deinit(&f.turn);
    test_dir_remove(f.dir);
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
    turn_env_run(&f.turn);
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
    unsigned count = f.replica->count;
    controller_delete_topics(f.controller, &req);
    turn_env_run(&f.turn);
    ck_assert_uint_eq(f.answers, 0);
    settle();
    ck_assert_uint_eq(f.answers, 1);
    ck_assert_uint_eq(f.replica->count, count + 1);
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
    turn_env_run(&f.turn);
    fake_replica_role(f.replica, REPLICA_FOLLOWER, 4, false);
    turn_env_run(&f.turn);
    ck_assert_uint_eq(f.answers, 1);
    ck_assert_int_eq(f.results[0].error, KAFKA_REQUEST_TIMED_OUT);
    controller_delete_topics(f.controller, &req);
    turn_env_run(&f.turn);
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
