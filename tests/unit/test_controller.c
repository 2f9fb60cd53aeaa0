/* Wishes through the controller, a replica that does what the test says, apply and the store, to what readers see. */
#include "metadata/controller.h"

#include "base/limits.h"
#include "metadata/tables.h"
#include "tests/lib/controller_fixture.h"

enum {
    BROKER_COUNT_MAX = 8
};

static struct {
    struct controller_fixture base;
    struct controller *controller;
    bool is_dead[BROKER_COUNT_MAX];
    unsigned answers;
    unsigned partition_changes; /* METADATA_PARTITIONS_CHANGED told so far */
    struct arena arena;
} f;

static void on_changed(void *owner, const struct metadata_change *changes, size_t count)
{
    (void)owner;
    ck_assert_uint_gt(count, 0);
    for (size_t i = 0; i < count; i++) {
        f.partition_changes += changes[i].kind == METADATA_PARTITIONS_CHANGED;
    }
    if (f.controller != NULL) {
        controller_changed(f.controller);
    }
}

static bool is_alive(void *owner, int32_t node)
{
    (void)owner;
    return !f.is_dead[node];
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    controller_fixture_init(&f.base, on_changed);
    struct controller_params params = controller_fixture_params(&f.base);
    params.is_alive = is_alive;
    params.moves_max = 4;
    f.controller = controller_open(&params);
    arena_init(&f.arena, MIB(16));
}

static void teardown(void)
{
    arena_deinit(&f.arena);
    controller_close(f.controller);
    controller_fixture_deinit(&f.base);
}

/* What was proposed is committed, applied and answered; readers see it. */
static void settle(void)
{
    (void)fake_replica_apply_all(f.base.replica);
    turn_env_run(&f.base.turn);
    store_reader_refresh(f.base.reader);
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
    ck_assert_int_eq(store_partition(f.base.reader, &f.arena, id, index, &partition), OK);
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
    ck_assert_int_eq(kv_begin_write(store_kv(f.base.store), &txn), OK);
    ck_assert_int_eq(kv_get(txn, table_key_bytes(&key), &value), OK);
    memcpy(changed, value.data, sizeof(changed));
    changed[0] = STORE_VERSION - 1;
    ck_assert_int_eq(kv_put(txn, table_key_bytes(&key), (struct bytes){changed, sizeof(changed)}), OK);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);

    struct errmsg msg = {""};
    struct metadata *other;
    struct metadata_events events = {NULL, on_changed, controller_fixture_on_role};
    ck_assert_int_eq(metadata_open(&f.base.turn.env, f.base.store, BYTES_NONE, &events, &other, &msg), ERR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(msg.text, "another version of Balsa"));
}
END_TEST

/* ---- Moves ---- */

static void on_moved_wish(struct controller_move *req)
{
    (void)req;
    f.answers++;
}

/* `target` in text: broker ids as digits; empty: cancel. */
static struct controller_result move_partition(const struct uuid *topic, int32_t index, const char *target)
{
    int32_t ids[16];
    struct controller_result result;
    struct controller_move_one one = {.topic = *topic,
                                      .partition = index,
                                      .is_cancel = target[0] == '\0',
                                      .target = ids,
                                      .target_count = strlen(target)};
    for (size_t i = 0; i < one.target_count; i++) {
        ids[i] = target[i] - '0';
    }
    struct controller_move req = {.moves = &one, .count = 1, .results = &result, .cb = on_moved_wish};
    unsigned answers = f.answers;
    controller_move(f.controller, &req);
    settle();
    ck_assert_uint_eq(f.answers, answers + 1);
    return result;
}

static void on_moved(struct controller_moved *req)
{
    ck_assert_int_eq(req->error, KAFKA_NONE);
    f.answers++;
}

static void report_moved(const struct uuid *topic, int32_t index, const char *replicas, uint32_t epoch)
{
    struct controller_moved_one one = {
        .topic = *topic, .partition = index, .replica_count = strlen(replicas), .epoch = epoch};
    for (size_t i = 0; i < one.replica_count; i++) {
        one.replicas[i] = replicas[i] - '0';
    }
    struct controller_moved req = {.moved = &one, .count = 1, .cb = on_moved};
    unsigned answers = f.answers;
    controller_moved(f.controller, &req);
    settle();
    ck_assert_uint_eq(f.answers, answers + 1);
}

static const char *list_text(const int32_t *ids, size_t count, char *text)
{
    for (size_t i = 0; i < count; i++) {
        text[i] = (char)('0' + ids[i]);
    }
    text[count] = '\0';
    return text;
}

static bool count_moving(void *context, const struct uuid *topic, int32_t index)
{
    (void)topic;
    (void)index;
    (*(unsigned *)context)++;
    return true;
}

static unsigned moving_count(void)
{
    unsigned count = 0;
    ck_assert_int_eq(store_moving_each(f.base.reader, &count, count_moving), OK);
    return count;
}

static void check_lists(const struct uuid *topic, const char *replicas, const char *target, const char *leaving)
{
    char text[3][16];
    struct store_partition partition = partition_of(topic, 0);
    ck_assert_str_eq(list_text(partition.replicas, partition.replica_count, text[0]), replicas);
    ck_assert_str_eq(list_text(partition.target, partition.target_count, text[1]), target);
    ck_assert_str_eq(list_text(partition.leaving, partition.leaving_count, text[2]), leaving);
    ck_assert_uint_eq(moving_count(), target[0] != '\0' || leaving[0] != '\0');
}

static uint32_t epoch_of(const struct uuid *topic)
{
    return partition_of(topic, 0).move_epoch;
}

/* A topic of one partition on brokers 1, 2, 3 of eight. */
static struct uuid topic_on_123(void)
{
    static const int32_t replicas[] = {1, 2, 3};
    const int32_t *const lists[] = {replicas};
    const size_t sizes[] = {3};
    struct controller_result result;
    struct controller_topic topic = {.name = bytes_from_text("t"),
                                     .partition_count = 1,
                                     .replication_factor = -1,
                                     .assignments = lists,
                                     .assignment_sizes = sizes};
    struct controller_create req = {.topics = &topic, .count = 1, .results = &result, .cb = on_created};
    register_brokers(7);
    controller_create_topics(f.controller, &req);
    settle();
    ck_assert_int_eq(result.error, KAFKA_NONE);
    return result.id;
}

/* Goal: a move is a target until the leader reports it; then the target is the assignment and the group's first members
 * are no longer where anybody starts. */
START_TEST(moves_end_with_the_leaders_report)
{
    struct uuid topic = topic_on_123();
    ck_assert_int_eq(move_partition(&topic, 0, "345").error, KAFKA_NONE);
    ck_assert_uint_eq(f.partition_changes, 1);
    check_lists(&topic, "123", "345", "");
    ck_assert_uint_eq(partition_of(&topic, 0).server_count, 3);
    report_moved(&topic, 0, "345", epoch_of(&topic));
    check_lists(&topic, "345", "", "");
    ck_assert_uint_eq(partition_of(&topic, 0).server_count, 0);
    ck_assert_uint_eq(f.partition_changes, 2);
}
END_TEST

/* Goal: late, wrong and repeated reports change nothing. */
START_TEST(late_reports_change_nothing)
{
    struct uuid topic = topic_on_123();
    (void)move_partition(&topic, 0, "345");
    uint32_t first = epoch_of(&topic);
    report_moved(&topic, 0, "543", first);
    report_moved(&topic, 0, "123", first);
    report_moved(&topic, 7, "345", first);
    check_lists(&topic, "123", "345", "");
    (void)move_partition(&topic, 0, "");
    (void)move_partition(&topic, 0, "345"); /* the same wish again, but the members may be others by now */
    report_moved(&topic, 0, "345", first);
    check_lists(&topic, "123", "345", "");
    report_moved(&topic, 0, "345", epoch_of(&topic));
    report_moved(&topic, 0, "345", epoch_of(&topic));
    check_lists(&topic, "345", "", "");
}
END_TEST

/* Goal: whoever may have become a member keeps its replica until the leader says that it is none. */
START_TEST(cancelled_targets_leave_first)
{
    struct uuid topic = topic_on_123();
    (void)move_partition(&topic, 0, "345");
    ck_assert_int_eq(move_partition(&topic, 0, "").error, KAFKA_NONE);
    check_lists(&topic, "123", "", "45");
    ck_assert_int_eq(move_partition(&topic, 0, "").error, KAFKA_NO_REASSIGNMENT_IN_PROGRESS);
    report_moved(&topic, 0, "123", epoch_of(&topic));
    check_lists(&topic, "123", "", "");
    ck_assert_uint_eq(partition_of(&topic, 0).server_count, 3);
}
END_TEST

START_TEST(another_target_replaces_the_first)
{
    struct uuid topic = topic_on_123();
    (void)move_partition(&topic, 0, "345");
    ck_assert_int_eq(move_partition(&topic, 0, "156").error, KAFKA_NONE);
    check_lists(&topic, "123", "156", "4");
    ck_assert_int_eq(move_partition(&topic, 0, "14").error, KAFKA_NONE);
    check_lists(&topic, "123", "14", "56");
    ck_assert_int_eq(move_partition(&topic, 0, "321").error, KAFKA_NONE); /* as it is, in another order */
    check_lists(&topic, "321", "", "456");
    report_moved(&topic, 0, "321", epoch_of(&topic));
    check_lists(&topic, "321", "", "");
}
END_TEST

START_TEST(another_order_is_no_move)
{
    struct uuid topic = topic_on_123();
    ck_assert_int_eq(move_partition(&topic, 0, "312").error, KAFKA_NONE);
    check_lists(&topic, "312", "", "");
    ck_assert_uint_eq(partition_of(&topic, 0).server_count, 3);
}
END_TEST

static const struct {
    int32_t partition;
    const char *target;
    enum kafka_error error;
} refused_moves[] = {
    {1, "12", KAFKA_UNKNOWN_TOPIC_OR_PARTITION},
    {-1, "12", KAFKA_UNKNOWN_TOPIC_OR_PARTITION},
    {0, "", KAFKA_NO_REASSIGNMENT_IN_PROGRESS},
    {0, "128", KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {0, "1221", KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {0, "7", KAFKA_INVALID_REPLICA_ASSIGNMENT},
    {0, "1234512345123451", KAFKA_INVALID_REPLICA_ASSIGNMENT},
};

static void on_changed_broker(struct controller_broker_change *req)
{
    (void)req;
    f.answers++;
}

static enum kafka_error change_broker(int32_t id, Balsa__Record__BrokerState state)
{
    struct controller_broker_change req = {.id = id, .state = state, .cb = on_changed_broker};
    controller_change_broker(f.controller, &req);
    settle();
    return req.error;
}

/* Goal: what cannot be is refused as Kafka refuses it, and nothing changes. Broker 7 is being drained. */
START_TEST(impossible_moves_are_refused)
{
    struct uuid topic = topic_on_123();
    ck_assert_int_eq(change_broker(7, BALSA__RECORD__BROKER_STATE__BROKER_DRAINING), KAFKA_NONE);
    struct controller_result result = move_partition(&topic, refused_moves[_i].partition, refused_moves[_i].target);
    ck_assert_int_eq(result.error, refused_moves[_i].error);
    ck_assert_uint_gt(strlen(result.text), 0);
    check_lists(&topic, "123", "", "");
}
END_TEST

/* ---- Draining ---- */

/* The part of the leaders: all that moves has moved. Returns how many. */
static unsigned finish_moves(const struct uuid *topic, int32_t count)
{
    unsigned finished = 0;
    for (int32_t i = 0; i < count; i++) {
        char text[16];
        struct store_partition partition = partition_of(topic, i);
        if (partition.target_count > 0) {
            report_moved(topic, i, list_text(partition.target, partition.target_count, text), partition.move_epoch);
            finished++;
        }
    }
    return finished;
}

static void pass_time(uint64_t ms)
{
    turn_env_advance(&f.base.turn, ms * 1000);
    settle();
}

static unsigned replicas_on(const struct uuid *topic, int32_t count, int32_t broker)
{
    unsigned sum = 0;
    for (int32_t i = 0; i < count; i++) {
        struct store_partition partition = partition_of(topic, i);
        for (size_t n = 0; n < partition.replica_count; n++) {
            sum += partition.replicas[n] == broker;
        }
    }
    return sum;
}

/* Goal: a drained broker loses its replicas a few partitions at a time, gets no new ones, stays registered while it
 * lives and is forgotten when it is silent. */
START_TEST(drained_brokers_are_emptied_and_forgotten)
{
    enum {
        COUNT = 30
    };
    register_brokers(4);
    struct controller_result created = create_topic("t", COUNT, 3);
    unsigned had = replicas_on(&created.id, COUNT, 2);
    ck_assert_uint_gt(had, 8);
    ck_assert_int_eq(change_broker(2, BALSA__RECORD__BROKER_STATE__BROKER_REMOVED), KAFKA_INVALID_REQUEST);
    ck_assert_int_eq(change_broker(9, BALSA__RECORD__BROKER_STATE__BROKER_DRAINING), KAFKA_BROKER_ID_NOT_REGISTERED);
    ck_assert_int_eq(change_broker(2, BALSA__RECORD__BROKER_STATE__BROKER_DRAINING), KAFKA_NONE);
    unsigned moved = 0;
    for (unsigned round = 0; round < 30 && moved < had; round++) {
        pass_time(200);
        ck_assert_uint_le(moving_count(), 4);
        ck_assert_uint_gt(moving_count(), 0);
        register_broker(2, round, ""); /* it starts anew all the time, and stays what it is */
        moved += finish_moves(&created.id, COUNT);
    }
    ck_assert_uint_eq(moved, had);
    ck_assert_uint_eq(replicas_on(&created.id, COUNT, 2), 0);
    struct store_broker broker;
    pass_time(60000);
    ck_assert_int_eq(store_broker(f.base.reader, &f.arena, 2, &broker), OK);
    ck_assert(broker.is_draining);
    struct controller_result other = create_topic("u", COUNT, 3);
    ck_assert_uint_eq(replicas_on(&other.id, COUNT, 2), 0);
    f.is_dead[2] = true;
    pass_time(10000);
    ck_assert_int_eq(store_broker(f.base.reader, &f.arena, 2, &broker), ERR_NOT_FOUND);
    register_broker(2, 99, "");
    ck_assert_int_eq(store_broker(f.base.reader, &f.arena, 2, &broker), OK);
    ck_assert(!broker.is_draining);
}
END_TEST

/* Goal: a stopped controller plans nothing and has no timer, whatever changes: the metadata may be gone by then. */
START_TEST(nothing_is_planned_after_a_stop)
{
    register_brokers(4);
    (void)create_topic("t", 10, 3);
    ck_assert_int_eq(change_broker(2, BALSA__RECORD__BROKER_STATE__BROKER_DRAINING), KAFKA_NONE);
    controller_stop(f.controller);
    controller_changed(f.controller);
    controller_rebalance(f.controller);
    ck_assert_int_eq(timer_heap_due_us(&f.base.turn.heap), INT64_MAX);
    pass_time(60000);
    ck_assert_uint_eq(moving_count(), 0);
}
END_TEST

/* Goal: a replica that has no place to go to waits for one. */
START_TEST(drains_wait_for_a_place)
{
    register_brokers(4);
    f.is_dead[4] = true;
    struct controller_result created = create_topic("t", 2, 3);
    ck_assert_int_eq(change_broker(1, BALSA__RECORD__BROKER_STATE__BROKER_DRAINING), KAFKA_NONE);
    pass_time(20000);
    ck_assert_uint_eq(moving_count(), 0);
    f.is_dead[4] = false;
    pass_time(6000);
    ck_assert_uint_eq(moving_count(), 2);
    (void)finish_moves(&created.id, 2);
    ck_assert_uint_eq(replicas_on(&created.id, 2, 1), 0);
    ck_assert_uint_eq(replicas_on(&created.id, 2, 4), 2);
}
END_TEST

/* Goal: new brokers get their share only when asked for, a few partitions at a time. */
START_TEST(rebalance_spreads_to_new_brokers)
{
    enum {
        COUNT = 20
    };
    register_brokers(3);
    struct controller_result created = create_topic("t", COUNT, 3);
    register_broker(4, 0, "");
    pass_time(20000);
    ck_assert_uint_eq(moving_count(), 0);
    controller_rebalance(f.controller);
    for (unsigned round = 0; round < 20; round++) {
        pass_time(200);
        ck_assert_uint_le(moving_count(), 4);
        (void)finish_moves(&created.id, COUNT);
    }
    for (int32_t id = 1; id <= 4; id++) {
        ck_assert_uint_eq(replicas_on(&created.id, COUNT, id), 15);
    }
}
END_TEST

/* ---- Configurations ---- */

#define THROTTLED "leader.replication.throttled.replicas"

struct test_alter {
    struct controller_config_change change;
    struct controller_alter_one one;
    struct controller_result result;
    struct controller_alter req;
    unsigned answers;
};

static void on_altered(struct controller_alter *req)
{
    container_of(req, struct test_alter, req)->answers++;
}

static void alter_start(struct test_alter *alter, const char *topic, enum controller_operation operation,
                        const char *key, const char *value)
{
    memset(alter, 0, sizeof(*alter));
    alter->change = (struct controller_config_change){
        .name = bytes_from_text(key), .value = bytes_from_text(value), .operation = (int8_t)operation};
    alter->one = (struct controller_alter_one){.name = bytes_from_text(topic), .changes = &alter->change, .count = 1};
    alter->req =
        (struct controller_alter){.alters = &alter->one, .count = 1, .results = &alter->result, .cb = on_altered};
    controller_alter_configs(f.controller, &alter->req);
}

static void check_config(const char *topic, const char *key, const char *value)
{
    struct store_topic stored;
    ck_assert_int_eq(store_topic_by_name(f.base.reader, &f.arena, bytes_from_text(topic), &stored), OK);
    for (size_t i = 0; i < stored.config_count; i++) {
        if (bytes_equal_text(stored.configs[i].name, key)) {
            ck_assert_msg(bytes_equal_text(stored.configs[i].value, value), "%s: %.*s", key,
                          (int)stored.configs[i].value.size, (const char *)stored.configs[i].value.data);
            return;
        }
    }
    ck_assert_msg(value == NULL, "%s is not set", key);
}

static void create_plain(const char *name)
{
    struct controller_result result;
    struct controller_topic topic = {.name = bytes_from_text(name), .partition_count = 1, .replication_factor = 1};
    struct controller_create req = {.topics = &topic, .count = 1, .results = &result, .cb = on_created};
    controller_create_topics(f.controller, &req);
    settle();
    ck_assert_int_eq(result.error, KAFKA_NONE);
}

/* Goal: what two clients append at the same moment is both there, and neither waits for a third one's topic. Method:
 * appends in one turn; entries that are proposed before and after each is applied. */
START_TEST(alterations_of_one_topic_come_one_after_the_other)
{
    struct test_alter alters[4];
    register_brokers(2);
    create_plain("a");
    create_plain("b");
    alter_start(&alters[0], "a", CONTROLLER_APPEND, THROTTLED, "0:1");
    alter_start(&alters[1], "a", CONTROLLER_APPEND, THROTTLED, "0:2");
    alter_start(&alters[2], "b", CONTROLLER_APPEND, THROTTLED, "0:3");
    alter_start(&alters[3], "a", CONTROLLER_SUBTRACT, THROTTLED, "0:1");
    settle();
    ck_assert_uint_eq(alters[0].answers + alters[2].answers, 2);
    ck_assert_uint_eq(alters[1].answers + alters[3].answers, 0);
    check_config("a", THROTTLED, "0:1");
    check_config("b", THROTTLED, "0:3");
    settle();
    ck_assert_uint_eq(alters[1].answers, 1);
    check_config("a", THROTTLED, "0:1,0:2");
    settle();
    check_config("a", THROTTLED, "0:2");
    for (size_t i = 0; i < array_count(alters); i++) {
        ck_assert_uint_eq(alters[i].answers, 1);
        ck_assert_int_eq(alters[i].result.error, KAFKA_NONE);
    }
}
END_TEST

/* Goal: when leadership is lost, whoever waits is answered as well. Method: two alterations of a topic, one of them
 * proposed, then another leader. */
START_TEST(alterations_end_with_leadership)
{
    struct test_alter alters[2];
    register_brokers(2);
    create_plain("a");
    alter_start(&alters[0], "a", CONTROLLER_SET, "retention.ms", "1");
    alter_start(&alters[1], "a", CONTROLLER_SET, "retention.ms", "2");
    fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(alters[0].answers, 1);
    ck_assert_uint_eq(alters[1].answers, 1);
    ck_assert_int_ne(alters[0].result.error, KAFKA_NONE);
    ck_assert_int_eq(alters[1].result.error, KAFKA_NOT_CONTROLLER);
    store_reader_refresh(f.base.reader);
    check_config("a", "retention.ms", NULL);
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
    TCase *moves = tcase_create("moves");
    tcase_add_checked_fixture(moves, setup, teardown);
    tcase_set_timeout(moves, 60);
    tcase_add_test(moves, moves_end_with_the_leaders_report);
    tcase_add_test(moves, late_reports_change_nothing);
    tcase_add_test(moves, cancelled_targets_leave_first);
    tcase_add_test(moves, another_target_replaces_the_first);
    tcase_add_test(moves, another_order_is_no_move);
    tcase_add_loop_test(moves, impossible_moves_are_refused, 0, (int)array_count(refused_moves));
    tcase_add_test(moves, drained_brokers_are_emptied_and_forgotten);
    tcase_add_test(moves, drains_wait_for_a_place);
    tcase_add_test(moves, nothing_is_planned_after_a_stop);
    tcase_add_test(moves, rebalance_spreads_to_new_brokers);
    suite_add_tcase(suite, moves);
    TCase *configs = tcase_create("configs");
    tcase_add_checked_fixture(configs, setup, teardown);
    tcase_add_test(configs, alterations_of_one_topic_come_one_after_the_other);
    tcase_add_test(configs, alterations_end_with_leadership);
    suite_add_tcase(suite, configs);
    return suite;
}

TEST_MAIN(controller_suite)
