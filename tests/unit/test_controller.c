/* Wishes through the controller, a replica that does what the test says, apply and the store, to what readers see. */
#include "metadata/controller.h"

#include "base/limits.h"
#include "metadata/tables.h"
#include "tests/lib/fake_replica.h"
#include "tests/lib/turn_env.h"

enum {
    BROKER_COUNT_MAX = 8
};

static struct {
    char *dir;
    struct turn_env turn;
    struct store *store;
    struct store_reader *reader;
    struct metadata *metadata;
    struct replica *replica;
    struct controller *controller;
    bool is_dead[BROKER_COUNT_MAX];
    unsigned answers;
    struct arena arena;
} f;

static void on_changed(void *owner, const struct metadata_change *changes, size_t count)
{
    (void)owner;
    (void)changes;
    ck_assert_uint_gt(count, 0);
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

static bool is_alive(void *owner, int32_t node)
{
    (void)owner;
    return !f.is_dead[node];
}

static const char *default_of(void *context, const char *key)
{
    (void)context;
    (void)key;
    return NULL;
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    f.dir = test_dir_make();
    turn_env_init(&f.turn, 1);
    ck_assert_int_eq(store_open(f.dir, &f.store, NULL), OK);
    f.reader = store_reader_open(f.store, &f.turn.env);
    struct metadata_events events = {NULL, on_changed, on_role};
    ck_assert_int_eq(metadata_open(&f.turn.env, f.store, BYTES_NONE, &events, &f.metadata, NULL), OK);
    f.replica = fake_replica_open(metadata_machine(f.metadata), METADATA_GROUP);
    fake_replica_role(f.replica, REPLICA_LEADER, 3, true);
    struct controller_params params = {.env = &f.turn.env,
                                       .metadata = f.metadata,
                                       .reader = f.reader,
                                       .defaults = {default_of, NULL},
                                       .partitions_default = 1,
                                       .replication_factor_default = 1,
                                       .group_term = group_term,
                                       .is_alive = is_alive};
    f.controller = controller_open(&params);
    arena_init(&f.arena, MIB(16));
}

static void teardown(void)
{
    arena_deinit(&f.arena);
    controller_close(f.controller);
    struct replica_machine *machine = metadata_machine(f.metadata);
    machine->closed = on_closed;
    machine->ops->close(machine);
    turn_env_run(&f.turn);
    fake_replica_close(f.replica);
    store_reader_close(f.reader);
    store_close(f.store);
    turn_env_deinit(&f.turn);
    test_dir_remove(f.dir);
}

/* What was proposed is committed, applied and answered; readers see it. */
static void settle(void)
{
    (void)fake_replica_apply_all(f.replica);
    turn_env_run(&f.turn);
    store_reader_refresh(f.reader);
    arena_reset(&f.arena);
}

/* ---- Brokers ---- */

static void on_registered(struct controller_register *req, enum kafka_error error)
{
    (void)req;
    ck_assert_int_eq(error, KAFKA_NONE);
    f.answers++;
}

static uint64_t server_of(int32_t id, unsigned life)
{
    return (uint64_t)(unsigned)id << 32 | (life + 1);
}

static void register_broker(int32_t id, unsigned life, const char *rack)
{
    struct store_broker broker = {.id = id, .server_id = server_of(id, life), .rack = bytes_from_text(rack)};
    struct controller_register req = {.broker = &broker, .cb = on_registered};
    unsigned answers = f.answers;
    controller_register_broker(f.controller, &req);
    settle(); /* the cluster's id, and then the broker */
    settle();
    ck_assert_uint_eq(f.answers, answers + 1);
}

static void register_brokers(int32_t count)
{
    for (int32_t id = 1; id <= count; id++) {
        register_broker(id, 0, "");
    }
}

/* ---- Topics ---- */

static void on_created(struct controller_create *req)
{
    (void)req;
    f.answers++;
}

static struct controller_result create_topic(const char *name, int32_t partitions, int16_t factor)
{
    struct controller_result result;
    struct controller_topic topic = {
        .name = bytes_from_text(name), .partition_count = partitions, .replication_factor = factor};
    struct controller_create req = {.topics = &topic, .count = 1, .results = &result, .cb = on_created};
    unsigned answers = f.answers;
    controller_create_topics(f.controller, &req);
    settle();
    ck_assert_uint_eq(f.answers, answers + 1);
    return result;
}

static void on_deleted(struct controller_delete *req)
{
    (void)req;
    f.answers++;
}

static struct controller_result delete_topic(const struct uuid *id)
{
    struct controller_result result;
    struct controller_delete req = {.ids = id, .count = 1, .results = &result, .cb = on_deleted};
    controller_delete_topics(f.controller, &req);
    settle();
    return result;
}

static struct store_partition partition_of(const struct uuid *id, int32_t index)
{
    struct store_partition partition;
    ck_assert_int_eq(store_partition(f.reader, &f.arena, id, index, &partition), OK);
    return partition;
}

/* Goal: a group's first members are the servers of the assigned brokers as they are registered when it is decided; a
 * broker that registers anew afterwards is not one of them. */
START_TEST(assignments_name_the_servers_of_their_time)
{
    register_brokers(3);
    struct controller_result result = create_topic("t", 4, 3);
    ck_assert_int_eq(result.error, KAFKA_NONE);
    register_broker(2, 1, "");
    for (int32_t i = 0; i < 4; i++) {
        struct store_partition partition = partition_of(&result.id, i);
        ck_assert_uint_eq(partition.replica_count, 3);
        ck_assert_uint_eq(partition.server_count, 3);
        ck_assert_uint_eq(partition.target_count + partition.leaving_count, 0);
        for (size_t n = 0; n < 3; n++) {
            ck_assert_uint_eq(partition.servers[n], server_of(partition.replicas[n], 0));
        }
    }
}
END_TEST

/* Goal: new replicas go to living brokers only, and too few of them are Kafka's refusal. */
START_TEST(dead_brokers_get_no_replicas)
{
    register_brokers(4);
    f.is_dead[3] = true;
    struct controller_result result = create_topic("t", 32, 3);
    ck_assert_int_eq(result.error, KAFKA_NONE);
    for (int32_t i = 0; i < 32; i++) {
        struct store_partition partition = partition_of(&result.id, i);
        for (size_t n = 0; n < 3; n++) {
            ck_assert_int_ne(partition.replicas[n], 3);
        }
    }
    f.is_dead[1] = true;
    ck_assert_int_eq(create_topic("u", 1, 3).error, KAFKA_INVALID_REPLICATION_FACTOR);
    ck_assert_int_eq(create_topic("u", 1, 2).error, KAFKA_NONE);
}
END_TEST

/* Goal: names that differ only in '.' and '_' are refused as long as one of them exists, with Kafka's words. */
START_TEST(colliding_names_are_refused)
{
    register_brokers(1);
    struct controller_result first = create_topic("a.b_c", 1, 1);
    ck_assert_int_eq(first.error, KAFKA_NONE);
    static const char *const others[] = {"a_b_c", "a.b.c", "a_b.c"};
    for (size_t i = 0; i < array_count(others); i++) {
        struct controller_result refused = create_topic(others[i], 1, 1);
        ck_assert_int_eq(refused.error, KAFKA_INVALID_TOPIC_EXCEPTION);
        ck_assert_ptr_nonnull(strstr(refused.text, "collides with existing topic: a.b_c"));
    }
    ck_assert_int_eq(create_topic("a.b_c", 1, 1).error, KAFKA_TOPIC_ALREADY_EXISTS);
    ck_assert_int_eq(create_topic("a-b-c", 1, 1).error, KAFKA_NONE);
    ck_assert_int_eq(delete_topic(&first.id).error, KAFKA_NONE);
    ck_assert_int_eq(create_topic("a_b_c", 1, 1).error, KAFKA_NONE);
}
END_TEST

/* Goal: a wish decided while its twin is on the way is refused by apply, which looks again. */
START_TEST(colliding_names_of_one_turn_are_refused)
{
    register_brokers(1);
    struct controller_topic topics[2] = {
        {.name = bytes_from_text("x.y"), .partition_count = 1, .replication_factor = 1},
        {.name = bytes_from_text("x_y"), .partition_count = 1, .replication_factor = 1}};
    struct controller_result results[2];
    struct controller_create req = {.topics = topics, .count = 2, .results = results, .cb = on_created};
    controller_create_topics(f.controller, &req);
    settle();
    ck_assert_int_eq(results[0].error, KAFKA_NONE);
    ck_assert_int_eq(results[1].error, KAFKA_INVALID_TOPIC_EXCEPTION);
}
END_TEST

/* Goal: a store of another version is refused with words that say what to do, and is not touched. */
START_TEST(stores_of_other_versions_are_refused)
{
    register_brokers(1);
    struct table_key key = key_state();
    struct kv_txn *txn;
    struct bytes value;
    uint8_t changed[STORE_STATE_SIZE];
    ck_assert_int_eq(kv_begin_write(store_kv(f.store), &txn), OK);
    ck_assert_int_eq(kv_get(txn, table_key_bytes(&key), &value), OK);
    memcpy(changed, value.data, sizeof(changed));
    changed[0] = STORE_VERSION - 1;
    ck_assert_int_eq(kv_put(txn, table_key_bytes(&key), (struct bytes){changed, sizeof(changed)}), OK);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);

    struct errmsg msg = {""};
    struct metadata *other;
    struct metadata_events events = {NULL, on_changed, on_role};
    ck_assert_int_eq(metadata_open(&f.turn.env, f.store, BYTES_NONE, &events, &other, &msg), ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(msg.text, "another version of Balsa"));
}
END_TEST

static Suite *controller_suite(void)
{
    Suite *suite = suite_create("controller");
    TCase *topics = tcase_create("topics");
    tcase_add_checked_fixture(topics, setup, teardown);
    tcase_add_test(topics, assignments_name_the_servers_of_their_time);
    tcase_add_test(topics, dead_brokers_get_no_replicas);
    tcase_add_test(topics, colliding_names_are_refused);
    tcase_add_test(topics, colliding_names_of_one_turn_are_refused);
    tcase_add_test(topics, stores_of_other_versions_are_refused);
    suite_add_tcase(suite, topics);
    return suite;
}

TEST_MAIN(controller_suite)
