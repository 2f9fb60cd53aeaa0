/* What is removed of committed offsets and groups, and when: on a real store, with a clock moved by hand and a
 * coordinator that says what the test wants. Its functions stand here in place of broker/coordinator.c's. */
#include "broker/offsets_expiry.h"

#include "base/limits.h"
#include "broker/coordinator.h"
#include "metadata/offsets.h"
#include "metadata/store_groups.h"
#include "metadata/tables.h"
#include "tests/lib/controller_fixture.h"
#include "tests/lib/store_records.h"

#define RETENTION_MS INT64_C(3600000)
#define INTERVAL_MS INT64_C(60000)
#define PAUSE_US_MAX 100000 /* longer is rest */

enum {
    PARTITION_COUNT_MAX = 3000,
    GROUP_COUNT = 350
};

static struct {
    struct controller_fixture base;
    struct options options;
    struct shard shard;
    struct offsets_expiry *expiry;
    enum kafka_error check;   /* what coordinator_check() says */
    const char *live_group;   /* has members; NULL: none has */
    const char *subscription; /* of that group; NULL: none */
    unsigned forgotten;
    struct metadata_propose propose;
    bool is_proposed;
    bool is_held; /* records stay undecided */
} f;

static const struct uuid topic = {{1}};
static const struct uuid other_topic = {{2}};

enum kafka_error coordinator_check(const struct coordinator *coordinator)
{
    (void)coordinator;
    return f.check;
}

bool coordinator_group_is_empty(const struct coordinator *coordinator, struct bytes group)
{
    (void)coordinator;
    return f.live_group == NULL || !bytes_equal(group, bytes_from_text(f.live_group));
}

bool coordinator_subscribes(const struct coordinator *coordinator, struct bytes group, struct bytes name)
{
    return !coordinator_group_is_empty(coordinator, group) && f.subscription != NULL &&
           bytes_equal(name, bytes_from_text(f.subscription));
}

void coordinator_forget(struct coordinator *coordinator, struct bytes group)
{
    (void)coordinator;
    (void)group;
    f.forgotten++;
}

/* ---- The store's contents ---- */

static void on_proposed(struct metadata_propose *propose)
{
    ck_assert_int_eq(propose->error, KAFKA_NONE);
    f.is_proposed = true;
}

static void put(const Balsa__Record__Record *record)
{
    f.propose.cb = on_proposed;
    f.is_proposed = false;
    metadata_propose(f.base.metadata, record, &f.propose);
    if (!f.is_held) {
        controller_fixture_decide(&f.base);
        ck_assert(f.is_proposed);
    }
}

/* Offsets of partitions 0 to count - 1. */
static void commit(const char *group, const struct uuid *id, int32_t count, int64_t expire_ms)
{
    static Balsa__Record__OffsetsCommitted__Partition parts[PARTITION_COUNT_MAX];
    static Balsa__Record__OffsetsCommitted__Partition *list[PARTITION_COUNT_MAX];
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__OffsetsCommitted committed = BALSA__RECORD__OFFSETS_COMMITTED__INIT;
    Balsa__Record__OffsetsCommitted__Commit one = BALSA__RECORD__OFFSETS_COMMITTED__COMMIT__INIT;
    Balsa__Record__OffsetsCommitted__Topic of = BALSA__RECORD__OFFSETS_COMMITTED__TOPIC__INIT;
    Balsa__Record__OffsetsCommitted__Commit *commits[] = {&one};
    Balsa__Record__OffsetsCommitted__Topic *topics[] = {&of};
    ck_assert_int_le(count, PARTITION_COUNT_MAX);
    for (int32_t i = 0; i < count; i++) {
        balsa__record__offsets_committed__partition__init(&parts[i]);
        parts[i].index = i;
        list[i] = &parts[i];
    }
    of.id = store_record_data(id->bytes, sizeof(id->bytes));
    of.partitions = list;
    of.n_partitions = (size_t)count;
    one.group = store_record_data(group, strlen(group));
    one.commit_ms = env_wall_ms(&f.base.turn.env);
    one.expire_ms = expire_ms;
    one.topics = topics;
    one.n_topics = 1;
    committed.commits = commits;
    committed.n_commits = 1;
    record.kind_case = BALSA__RECORD__RECORD__KIND_OFFSETS_COMMITTED;
    record.offsets_committed = &committed;
    put(&record);
}

/* The group changes now. One that never had members has no protocol type. */
static void change(const char *group, bool had_members, bool has_member)
{
    store_record_group(put, group, had_members ? "consumer" : "", has_member, env_wall_ms(&f.base.turn.env));
}

/* A value that does not decode, as a damaged store may have. */
static void damage(struct table_key key, struct bytes value)
{
    struct kv_txn *txn;
    ck_assert_int_eq(kv_begin_write(store_kv(f.base.store), &txn), OK);
    ck_assert_int_eq(kv_put(txn, table_key_bytes(&key), value), OK);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
    store_reader_refresh(f.base.reader);
}

static uint64_t offset_count(void)
{
    return store_offset_count(f.base.reader);
}

static bool is_there(const char *group)
{
    uint64_t number;
    return store_consumer_group_number(f.base.reader, bytes_from_text(group), &number) == OK;
}

/* ---- Time ---- */

static int64_t due_in_us(void)
{
    int64_t due_us = timer_heap_due_us(&f.base.turn.heap);
    return due_us == INT64_MAX ? due_us : due_us - (int64_t)f.base.turn.now_us;
}

/* The next slice begins. */
static void slice(void)
{
    ck_assert_int_ne(due_in_us(), INT64_MAX);
    turn_env_advance(&f.base.turn, (uint64_t)due_in_us());
}

/* Slices and records until the walk rests. */
static void finish(void)
{
    while (f.base.replica->submitted > 0 || due_in_us() <= PAUSE_US_MAX) {
        if (f.base.replica->submitted > 0) {
            controller_fixture_decide(&f.base);
        } else {
            slice();
        }
    }
}

/* A whole walk. */
static void walk(void)
{
    ck_assert_int_gt(due_in_us(), PAUSE_US_MAX);
    slice();
    finish();
}

/* Moves the wall clock so that it is `wall_ms` when the next slice begins. */
static void set_wall(int64_t wall_ms)
{
    f.base.turn.wall_start_ms = wall_ms - ((int64_t)f.base.turn.now_us + due_in_us()) / 1000;
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    controller_fixture_init(&f.base, controller_fixture_no_change);
    f.options.offsets_retention_ms = RETENTION_MS;
    f.options.offsets_check_interval_ms = INTERVAL_MS;
    f.shard.options = &f.options;
    f.shard.env = &f.base.turn.env;
    f.shard.metrics = f.base.turn.env.metrics;
    f.shard.reader = f.base.reader;
    f.shard.metadata = f.base.metadata;
    f.shard.offsets = offsets_open(&f.base.turn.env);
    offsets_set_metadata(f.shard.offsets, f.base.metadata);
    store_record_topic(put, "t", &topic, 1);
    store_record_topic(put, "other", &other_topic, 1);
    f.expiry = offsets_expiry_open(&f.shard);
}

static void teardown(void)
{
    offsets_expiry_stop(f.expiry);
    offsets_expiry_close(f.expiry);
    offsets_close(f.shard.offsets);
    controller_fixture_deinit(&f.base);
}

/* ---- What expires ---- */

enum life {     /* of the group, around its commit */
    NO_MEMBERS, /* it never had any */
    LEFT_BEFORE,
    LEFT_AFTER, /* LEFT_MS later */
    HAS_MEMBERS,
    HAS_MEMBERS_IN_MEMORY, /* the record of it is not stored yet */
    HAS_MEMBERS_IN_STORE   /* not known to the coordinator */
};

#define LEFT_MS 500

static const struct {
    const char *name;
    enum life life;
    const char *subscription;
    int64_t own_ms; /* the client's own retention; 0: none */
    int64_t age_ms; /* since the commit */
    bool goes;
} age_cases[] = {
    {"fresh", NO_MEMBERS, NULL, 0, 0, false},
    {"committed by a clock that was ahead", NO_MEMBERS, NULL, 0, -1000, false},
    {"never members, not yet", NO_MEMBERS, NULL, 0, RETENTION_MS - 1, false},
    {"never members, due", NO_MEMBERS, NULL, 0, RETENTION_MS, true},
    {"left before the commit, not yet", LEFT_BEFORE, NULL, 0, RETENTION_MS - 1, false},
    {"left before the commit, due", LEFT_BEFORE, NULL, 0, RETENTION_MS, true},
    {"left after the commit, not yet", LEFT_AFTER, NULL, 0, RETENTION_MS + LEFT_MS - 1, false},
    {"left after the commit, due", LEFT_AFTER, NULL, 0, RETENTION_MS + LEFT_MS, true},
    {"subscribed, old", HAS_MEMBERS, "t", 0, 100 * RETENTION_MS, false},
    {"subscribed to something else, not yet", HAS_MEMBERS, "other", 0, RETENTION_MS - 1, false},
    {"subscribed to something else, due", HAS_MEMBERS, "other", 0, RETENTION_MS, true},
    {"subscribed to nothing, due", HAS_MEMBERS, NULL, 0, RETENTION_MS, true},
    {"subscribed, not stored yet", HAS_MEMBERS_IN_MEMORY, "t", 0, RETENTION_MS, false},
    {"members of the store, not yet", HAS_MEMBERS_IN_STORE, NULL, 0, RETENTION_MS - 1, false},
    {"members of the store, due", HAS_MEMBERS_IN_STORE, NULL, 0, RETENTION_MS, true},
    {"own retention, not yet", NO_MEMBERS, NULL, 100, 99, false},
    {"own retention, due", NO_MEMBERS, NULL, 100, 100, true},
    {"own retention is longer", NO_MEMBERS, NULL, 2 * RETENTION_MS, RETENTION_MS, false},
    {"own retention, left after the commit", LEFT_AFTER, NULL, LEFT_MS + 100, LEFT_MS + 100, true},
    {"own retention, subscribed", HAS_MEMBERS, "t", 100, RETENTION_MS, false},
    {"own retention, subscribed to something else", HAS_MEMBERS, "other", 100, 100, true},
};

/* Goal:   an offset goes at the millisecond that it is due, not before.
 * Method: one offset of one group, whose life is told; the clock is set for the next walk. A group without members goes
 *         with its last offset. */
START_TEST(offsets_go_when_due)
{
    enum life life = age_cases[_i].life;
    bool has_members = life == HAS_MEMBERS || life == HAS_MEMBERS_IN_MEMORY || life == HAS_MEMBERS_IN_STORE;
    if (life == LEFT_BEFORE) {
        change("g", true, false);
        turn_env_advance(&f.base.turn, 1000000);
    }
    int64_t commit_ms = env_wall_ms(&f.base.turn.env);
    commit("g", &topic, 1, age_cases[_i].own_ms > 0 ? commit_ms + age_cases[_i].own_ms : 0);
    if (life == LEFT_AFTER) {
        turn_env_advance(&f.base.turn, (uint64_t)LEFT_MS * 1000);
        change("g", true, false);
    } else if (has_members && life != HAS_MEMBERS_IN_MEMORY) {
        change("g", true, true);
    }
    f.live_group = life == HAS_MEMBERS || life == HAS_MEMBERS_IN_MEMORY ? "g" : NULL;
    f.subscription = age_cases[_i].subscription;
    set_wall(commit_ms + age_cases[_i].age_ms);
    walk();
    bool is_gone = offset_count() == 0;
    ck_assert_msg(is_gone == age_cases[_i].goes, "%s: %s", age_cases[_i].name, is_gone ? "gone" : "there");
    ck_assert_msg(is_there("g") == (has_members || !is_gone), "%s: the group", age_cases[_i].name);
}
END_TEST

/* Goal: offsets of a topic that was deleted go at once, also of who is subscribed; those of other topics stay. */
START_TEST(offsets_of_deleted_topics_go)
{
    commit("g", &topic, 3, 0);
    commit("g", &other_topic, 2, 0);
    change("g", true, true);
    f.live_group = "g";
    f.subscription = "t";
    store_record_topic_deleted(put, &topic);
    walk();
    ck_assert_uint_eq(offset_count(), 2);
    ck_assert(is_there("g"));
}
END_TEST

/* Goal: offsets of a group that was removed go, those of one made again under its id do not. */
START_TEST(offsets_of_removed_groups_go)
{
    uint64_t number;
    struct store_offset offset;
    commit("g", &topic, 3, 0);
    store_record_group_removed(put, "g");
    commit("g", &topic, 1, 0);
    ck_assert_uint_eq(offset_count(), 4);
    walk();
    ck_assert_uint_eq(offset_count(), 1);
    ck_assert_int_eq(store_consumer_group_number(f.base.reader, bytes_from_text("g"), &number), OK);
    ck_assert_int_eq(store_offset(f.base.reader, number, &topic, 0, &offset), OK);
}
END_TEST

/* Goal:   what is committed while its removal is on the way stays, with its group.
 * Method: the commit comes before the removal in the log, where the slice has not seen it, or behind it. */
START_TEST(what_is_committed_meanwhile_stays)
{
    bool is_first = _i == 0;
    commit("g", &topic, 2, 0);
    set_wall(env_wall_ms(&f.base.turn.env) + RETENTION_MS);
    f.is_held = true;
    if (is_first) {
        commit("g", &topic, 1, 0);
    }
    slice();
    if (!is_first) {
        commit("g", &topic, 1, 0);
    }
    ck_assert_uint_eq(f.base.replica->submitted, 2);
    finish();
    ck_assert_uint_eq(offset_count(), 1);
    ck_assert(is_there("g"));
}
END_TEST

/* ---- Walks ---- */

/* Goal: no turn looks at more than a slice or removes more than a record may; nothing is skipped between them.
 * Method: more offsets than two slices, every second one due; who is due is gone, who is not is there. */
START_TEST(walks_go_in_slices)
{
    commit("fresh", &topic, PARTITION_COUNT_MAX, 0);
    commit("due", &topic, PARTITION_COUNT_MAX, 1);
    commit("due too", &topic, 7, 1);
    commit("fresh too", &topic, 7, 0);
    unsigned slices = 0;
    uint64_t before = offset_count();
    slice();
    while (f.base.replica->submitted > 0 || due_in_us() <= PAUSE_US_MAX) {
        slices++;
        controller_fixture_decide(&f.base);
        ck_assert_uint_le(before - offset_count(), OFFSETS_REMOVED_COUNT_MAX);
        before = offset_count();
        if (due_in_us() <= PAUSE_US_MAX) {
            slice();
        }
    }
    ck_assert_uint_eq(offset_count(), PARTITION_COUNT_MAX + 7);
    ck_assert_uint_ge(slices, (2 * PARTITION_COUNT_MAX) / OFFSETS_REMOVED_COUNT_MAX);
    ck_assert(is_there("fresh") && is_there("fresh too") && !is_there("due") && !is_there("due too"));
    ck_assert_int_eq(metrics_value(f.shard.metrics, METRIC_OFFSETS_EXPIRED), PARTITION_COUNT_MAX + 7);
}
END_TEST

/* Goal: of more groups than a slice has those without members and offsets go, and the coordinator is told to forget
 * them; a group that has got a member which is not stored yet stays. */
START_TEST(unused_groups_go)
{
    char id[16];
    unsigned kept = 0;
    for (unsigned i = 0; i < GROUP_COUNT; i++) {
        (void)snprintf(id, sizeof(id), "g%03u", i);
        change(id, true, i % 3 == 0);
        if (i % 7 == 0) {
            commit(id, &topic, 1, 0);
        }
        kept += i % 3 == 0 || i % 7 == 0 || i == 100;
    }
    f.live_group = "g100";
    walk();
    for (unsigned i = 0; i < GROUP_COUNT; i++) {
        (void)snprintf(id, sizeof(id), "g%03u", i);
        ck_assert_msg(is_there(id) == (i % 3 == 0 || i % 7 == 0 || i == 100), "%s", id);
    }
    ck_assert_uint_eq(store_consumer_group_count(f.base.reader), kept);
    ck_assert_uint_eq(f.forgotten, GROUP_COUNT - kept);
}
END_TEST

/* Goal: who is not the coordinator looks at nothing, and one that is deposed between two slices stops there. Its
 * successor's walk, or its own next one, does the rest. */
START_TEST(only_the_coordinator_removes)
{
    commit("g", &topic, PARTITION_COUNT_MAX, 1);
    f.check = KAFKA_COORDINATOR_LOAD_IN_PROGRESS;
    walk();
    ck_assert_uint_eq(offset_count(), PARTITION_COUNT_MAX);
    f.check = KAFKA_NONE;
    slice();
    controller_fixture_decide(&f.base);
    uint64_t left = offset_count();
    ck_assert_uint_lt(left, PARTITION_COUNT_MAX);
    f.check = KAFKA_NOT_COORDINATOR;
    finish();
    ck_assert_uint_eq(offset_count(), left);
    f.check = KAFKA_NONE;
    walk();
    ck_assert_uint_eq(offset_count(), 0);
    ck_assert(!is_there("g"));
}
END_TEST

/* Goal: a removal that comes to nothing ends the walk until the next interval. */
START_TEST(failed_removals_are_for_the_next_walk)
{
    commit("g", &topic, 10, 1);
    slice();
    ck_assert_uint_eq(f.base.replica->submitted, 1);
    ck_assert_int_eq(due_in_us(), INT64_MAX);
    fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
    turn_env_run(&f.base.turn);
    ck_assert_int_eq(due_in_us(), INTERVAL_MS * 1000);
    fake_replica_truncate(f.base.replica);
    fake_replica_role(f.base.replica, REPLICA_LEADER, 5, true);
    ck_assert_uint_eq(offset_count(), 10);
    walk();
    ck_assert_uint_eq(offset_count(), 0);
}
END_TEST

/* Goal: what cannot be read is not taken for gone: neither one nor several offsets of such a group or topic. */
START_TEST(unreadable_is_not_gone)
{
    commit("g", &topic, 3, 0);
    if (_i == 0) {
        uint64_t number;
        uint8_t value[GROUP_VALUE_HEAD_SIZE + 2];
        ck_assert_int_eq(store_consumer_group_number(f.base.reader, bytes_from_text("g"), &number), OK);
        memset(value, 0xff, sizeof(value));
        be64_put(value, number);
        damage(key_consumer_group(bytes_from_text("g")), (struct bytes){value, sizeof(value)});
    } else {
        damage(key_topic(&topic), bytes_from_text("\xff\xff"));
    }
    commit("h", &other_topic, 2, 1);
    walk();
    ck_assert_uint_eq(offset_count(), 3);
}
END_TEST

enum unreadable {
    UNREADABLE_OFFSET,
    UNREADABLE_PLACE,
    UNREADABLE_GROUP,
    UNREADABLE_KINDS
};

/* Goal:   what cannot be read does not end the walk: due offsets and unused groups behind it go, and it is counted each
 *         time.
 * Method: one pair, or more of them than a slice has, is damaged, in front of what is due. */
START_TEST(unreadable_is_passed_over)
{
    enum unreadable kind = (enum unreadable)(_i / 2);
    int32_t count = _i % 2 == 0 || kind == UNREADABLE_GROUP ? 1 : PARTITION_COUNT_MAX;
    uint64_t number;
    commit("g", &topic, count, 0);
    ck_assert_int_eq(store_consumer_group_number(f.base.reader, bytes_from_text("g"), &number), OK);
    for (int32_t i = 0; i < count; i++) {
        struct table_key key =
            kind == UNREADABLE_GROUP ? key_consumer_group(bytes_from_text("g")) : key_offset(number, &topic, i);
        if (kind == UNREADABLE_PLACE) { /* one byte longer; the true one stays */
            key.data[key.size++] = 0;
        }
        damage(key, bytes_from_text("\xff"));
    }
    commit("h", &other_topic, 2, 1);
    uint64_t before = offset_count();
    walk();
    ck_assert_uint_eq(offset_count(), before - 2);
    ck_assert(!is_there("h"));
    int64_t told = metrics_value(f.shard.metrics, METRIC_OFFSETS_UNREADABLE);
    ck_assert_int_eq(told, kind == UNREADABLE_GROUP ? 2 : count); /* of a group also its offset */
    walk();
    ck_assert_int_eq(metrics_value(f.shard.metrics, METRIC_OFFSETS_UNREADABLE), 2 * told);
}
END_TEST

/* ---- Hurry, stop ---- */

/* Goal: when topics are deleted the next walk begins at once, or right after the one that is under way. */
START_TEST(hurry_begins_another_walk)
{
    offsets_expiry_hurry(f.expiry);
    ck_assert_int_le(due_in_us(), PAUSE_US_MAX);
    finish();
    ck_assert_int_eq(due_in_us(), INTERVAL_MS * 1000);

    commit("g", &topic, 3, 1);
    commit("h", &other_topic, 2, 0);
    slice();
    ck_assert_uint_eq(f.base.replica->submitted, 1); /* of "g"; this walk has passed "h" */
    store_record_topic_deleted(put, &other_topic);
    offsets_expiry_hurry(f.expiry);
    finish();
    ck_assert_uint_eq(offset_count(), 0);
    ck_assert_int_eq(due_in_us(), INTERVAL_MS * 1000);

    f.check = KAFKA_NOT_COORDINATOR;
    offsets_expiry_hurry(f.expiry);
    ck_assert_int_eq(due_in_us(), INTERVAL_MS * 1000);
}
END_TEST

/* Goal: after a stop nothing begins; a removal that is on the way may end. */
START_TEST(nothing_begins_after_a_stop)
{
    commit("g", &topic, PARTITION_COUNT_MAX, 1);
    slice();
    offsets_expiry_stop(f.expiry);
    offsets_expiry_hurry(f.expiry);
    controller_fixture_decide(&f.base);
    ck_assert_int_eq(due_in_us(), INT64_MAX);
    ck_assert_uint_lt(offset_count(), PARTITION_COUNT_MAX);
    ck_assert_uint_gt(offset_count(), 0);
}
END_TEST

static Suite *offsets_expiry_suite(void)
{
    Suite *suite = suite_create("offsets_expiry");
    TCase *due = tcase_create("due");
    tcase_add_checked_fixture(due, setup, teardown);
    tcase_add_loop_test(due, offsets_go_when_due, 0, (int)array_count(age_cases));
    tcase_add_test(due, offsets_of_deleted_topics_go);
    tcase_add_test(due, offsets_of_removed_groups_go);
    tcase_add_loop_test(due, what_is_committed_meanwhile_stays, 0, 2);
    suite_add_tcase(suite, due);
    TCase *walks = tcase_create("walks");
    tcase_add_checked_fixture(walks, setup, teardown);
    tcase_add_test(walks, walks_go_in_slices);
    tcase_add_test(walks, unused_groups_go);
    tcase_add_test(walks, only_the_coordinator_removes);
    tcase_add_test(walks, failed_removals_are_for_the_next_walk);
    tcase_add_loop_test(walks, unreadable_is_not_gone, 0, 2);
    tcase_add_loop_test(walks, unreadable_is_passed_over, 0, 2 * UNREADABLE_KINDS);
    tcase_add_test(walks, hurry_begins_another_walk);
    tcase_add_test(walks, nothing_begins_after_a_stop);
    suite_add_tcase(suite, walks);
    return suite;
}

TEST_MAIN(offsets_expiry_suite)
