/* Commits of offsets on their way into the metadata log: what shares a record, what does not fit, and what is told to
 * whom when leadership goes. The log is played by a fake replica, the store is real. */
#include "metadata/offsets.h"

#include "base/limits.h"
#include "metadata/store_groups.h"
#include "tests/lib/controller_fixture.h"

#define NO_GROUP UINT64_MAX

enum {
    CALL_COUNT_MAX = 2 * OFFSETS_RECORD_COUNT_MAX + 500,
    REMOVED_COUNT = 2 * OFFSETS_REMOVED_COUNT_MAX + 300
};

struct call { /* one commit, of one partition, or a read */
    struct offsets_commit req;
    Balsa__Record__OffsetsCommitted__Commit commit;
    Balsa__Record__OffsetsCommitted__Topic topic;
    Balsa__Record__OffsetsCommitted__Topic *topics[1];
    Balsa__Record__OffsetsCommitted__Partition partition;
    Balsa__Record__OffsetsCommitted__Partition *partitions[1];
    unsigned answers;
    unsigned repeats; /* how often its callback commits it once more */
};

static struct {
    struct controller_fixture base;
    struct offsets *offsets;
    struct call calls[CALL_COUNT_MAX];
    unsigned count;
    bool is_calling; /* no callback may fire */
    struct offsets_remove remove;
    struct offsets_removal removals[REMOVED_COUNT];
    unsigned removes_answered;
} f;

static const struct uuid topic = {{1}};
static uint8_t filler[OFFSETS_COMMIT_SIZE_MAX];

static void on_changed(void *owner, const struct metadata_change *changes, size_t count)
{
    (void)owner;
    (void)changes;
    (void)count;
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    controller_fixture_init(&f.base, on_changed);
    f.offsets = offsets_open(&f.base.turn.env);
    offsets_set_metadata(f.offsets, f.base.metadata);
}

static void teardown(void)
{
    offsets_close(f.offsets);
    controller_fixture_deinit(&f.base);
}

/* ---- Calls ---- */

static ProtobufCBinaryData data_of(const void *data, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = (uint8_t *)(uintptr_t)data};
}

static void submit(struct call *call)
{
    f.is_calling = true;
    offsets_commit(f.offsets, &call->req);
    f.is_calling = false;
}

static void on_committed(struct offsets_commit *req)
{
    struct call *call = container_of(req, struct call, req);
    ck_assert(!f.is_calling);
    call->answers++;
    if (call->repeats > 0) {
        call->repeats--;
        submit(call);
    }
}

static struct call *read_once(void)
{
    ck_assert_uint_lt(f.count, CALL_COUNT_MAX);
    struct call *call = &f.calls[f.count++];
    call->req.cb = on_committed;
    submit(call);
    return call;
}

static struct call *prepare(const char *group, int32_t partition, int64_t offset, size_t metadata_size)
{
    ck_assert_uint_lt(f.count, CALL_COUNT_MAX);
    struct call *call = &f.calls[f.count++];
    balsa__record__offsets_committed__commit__init(&call->commit);
    balsa__record__offsets_committed__topic__init(&call->topic);
    balsa__record__offsets_committed__partition__init(&call->partition);
    call->partition.index = partition;
    call->partition.offset = offset;
    call->partition.metadata = data_of(filler, metadata_size);
    call->partitions[0] = &call->partition;
    call->topic.id = data_of(topic.bytes, sizeof(topic.bytes));
    call->topic.partitions = call->partitions;
    call->topic.n_partitions = 1;
    call->topics[0] = &call->topic;
    call->commit.group = data_of(group, strlen(group));
    call->commit.topics = call->topics;
    call->commit.n_topics = 1;
    call->req.commit = &call->commit;
    call->req.cb = on_committed;
    return call;
}

static struct call *commit(const char *group, int32_t partition, int64_t offset, size_t metadata_size)
{
    struct call *call = prepare(group, partition, offset, metadata_size);
    submit(call);
    return call;
}

static void on_removed(struct offsets_remove *req)
{
    (void)req;
    ck_assert(!f.is_calling);
    f.removes_answered++;
}

static void remove_offsets(size_t count, const struct group_removal *groups, size_t group_count)
{
    f.remove = (struct offsets_remove){
        .removals = f.removals, .count = count, .groups = groups, .group_count = group_count, .cb = on_removed};
    f.is_calling = true;
    offsets_remove(f.offsets, &f.remove);
    f.is_calling = false;
}

/* ---- Turns ---- */

static unsigned records(void)
{
    return f.base.replica->count;
}

/* What is in the log is decided, its callers are told. */
static void decide(void)
{
    (void)fake_replica_apply_all(f.base.replica);
    turn_env_run(&f.base.turn);
    store_reader_refresh(f.base.reader);
}

static void settle(void)
{
    turn_env_run(&f.base.turn);
    while (f.base.replica->submitted > 0) {
        decide();
    }
}

static unsigned answered(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < f.count; i++) {
        ck_assert_uint_le(f.calls[i].answers, 1);
        count += f.calls[i].answers;
    }
    return count;
}

static uint64_t number_of(const char *group)
{
    uint64_t number;
    enum err err = store_consumer_group_number(f.base.reader, bytes_from_text(group), &number);
    return err == OK ? number : NO_GROUP;
}

static int64_t offset_of(const char *group, int32_t partition)
{
    struct store_offset offset;
    uint64_t number = number_of(group);
    return number != NO_GROUP && store_offset(f.base.reader, number, &topic, partition, &offset) == OK ? offset.offset
                                                                                                       : -1;
}

/* ---- Records ---- */

/* Goal: commits of one turn share a record, and nobody is told before the store has it. */
START_TEST(commits_of_a_turn_share_a_record)
{
    struct store_offset offset;
    (void)commit("a", 0, 10, 5);
    (void)commit("b", 0, 20, 0);
    (void)commit("a", 1, 30, 0);
    ck_assert_uint_eq(records(), 0);
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(records(), 1);
    ck_assert_uint_eq(answered(), 0);
    decide();
    ck_assert_uint_eq(answered(), 3);
    ck_assert_int_eq(offset_of("a", 0), 10);
    ck_assert_int_eq(offset_of("b", 0), 20);
    ck_assert_int_eq(offset_of("a", 1), 30);
    ck_assert_int_eq(store_offset(f.base.reader, number_of("a"), &topic, 0, &offset), OK);
    ck_assert_int_eq(offset.commit_ms, env_wall_ms(&f.base.turn.env));
    ck_assert_uint_eq(offset.metadata.size, 5);
}
END_TEST

/* Goal: who comes while a record is on its way waits for it, however many turns, and goes into the next one. */
START_TEST(late_commits_share_the_next_record)
{
    (void)commit("a", 0, 1, 0);
    turn_env_run(&f.base.turn);
    for (int32_t i = 1; i <= 5; i++) {
        (void)commit("a", i, i, 0);
        turn_env_run(&f.base.turn);
    }
    ck_assert_uint_eq(records(), 1);
    decide();
    ck_assert_uint_eq(answered(), 1);
    ck_assert_uint_eq(records(), 2);
    decide();
    ck_assert_uint_eq(answered(), 6);
    ck_assert_uint_eq(records(), 2);
}
END_TEST

/* Goal: of two commits of one partition the later one stands, in one record and in two. */
START_TEST(the_last_commit_stands)
{
    (void)commit("a", 0, 7, 0);
    (void)commit("a", 0, 5, 0);
    turn_env_run(&f.base.turn);
    (void)commit("a", 0, 6, 0);
    decide();
    ck_assert_int_eq(offset_of("a", 0), 5);
    decide();
    ck_assert_int_eq(offset_of("a", 0), 6);
}
END_TEST

/* Goal: a caller may commit again when it is told, and is told again. */
START_TEST(callbacks_may_commit)
{
    struct call *call = commit("a", 0, 1, 0);
    call->repeats = 3;
    settle();
    ck_assert_uint_eq(call->answers, 4);
    ck_assert_uint_eq(records(), 4);
}
END_TEST

/* ---- Bounds ---- */

static const struct {
    const char *name;
    unsigned count;
    size_t size[12];      /* of metadata; the last one is that of all that follow */
    unsigned answered[6]; /* after each record */
} bound_cases[] = {
    {"as many as may be in one", OFFSETS_RECORD_COUNT_MAX, {0}, {OFFSETS_RECORD_COUNT_MAX}},
    {"one more", OFFSETS_RECORD_COUNT_MAX + 1, {0}, {OFFSETS_RECORD_COUNT_MAX, OFFSETS_RECORD_COUNT_MAX + 1}},
    {"many", CALL_COUNT_MAX, {0}, {OFFSETS_RECORD_COUNT_MAX, 2 * OFFSETS_RECORD_COUNT_MAX, CALL_COUNT_MAX}},
    {"large ones", 7, {KIB(300), KIB(300), KIB(300), KIB(300), KIB(300), KIB(300), KIB(300)}, {3, 6, 7}},
    {"the largest between small ones", 4, {0, OFFSETS_COMMIT_SIZE_MAX - 100, 0, 0}, {1, 2, 4}},
    {"the largest first", 3, {OFFSETS_COMMIT_SIZE_MAX - 100, 0, 0}, {1, 3}},
};

/* Goal: a record has so many commits and so many bytes at most, but a commit that is larger goes alone. */
START_TEST(records_are_bounded)
{
    const char *name = bound_cases[_i].name;
    size_t size = 0;
    for (unsigned i = 0; i < bound_cases[_i].count; i++) {
        size = i < array_count(bound_cases[_i].size) ? bound_cases[_i].size[i] : size;
        (void)commit("a", (int32_t)i, i, size);
    }
    turn_env_run(&f.base.turn);
    for (unsigned i = 0; i < array_count(bound_cases[_i].answered) && bound_cases[_i].answered[i] > 0; i++) {
        ck_assert_msg(records() == i + 1, "%s: %u records", name, records());
        decide();
        ck_assert_msg(answered() == bound_cases[_i].answered[i], "%s: record %u, %u answered", name, i, answered());
    }
    ck_assert_msg(answered() == bound_cases[_i].count, "%s: %u answered", name, answered());
    for (unsigned i = 0; i < bound_cases[_i].count; i++) {
        ck_assert_int_eq(f.calls[i].req.error, KAFKA_NONE);
        ck_assert_int_eq(offset_of("a", (int32_t)i), i);
    }
}
END_TEST

/* Goal: a commit over the bound is refused without a record, those beside it are not, and no callback fires inside. */
START_TEST(too_large_is_refused_alone)
{
    struct call *before = commit("a", 0, 1, 0);
    struct call *large = commit("a", 1, 2, OFFSETS_COMMIT_SIZE_MAX);
    struct call *after = commit("a", 2, 3, 0);
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(large->answers, 1);
    ck_assert_int_eq(large->req.error, KAFKA_INVALID_COMMIT_OFFSET_SIZE);
    ck_assert_uint_eq(records(), 1);
    decide();
    ck_assert_uint_eq(before->answers + after->answers, 2);
    ck_assert_int_eq(offset_of("a", 0), 1);
    ck_assert_int_eq(offset_of("a", 1), -1);
    ck_assert_int_eq(offset_of("a", 2), 3);
}
END_TEST

/* ---- Reads ---- */

/* Goal: a read is answered when a record was agreed on, and then the store has what was committed before it. */
START_TEST(reads_see_what_was_committed)
{
    struct call *alone = read_once();
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(records(), 1);
    ck_assert_uint_eq(alone->answers, 0);
    (void)commit("a", 0, 1, 0);
    struct call *behind = read_once();
    decide();
    ck_assert_uint_eq(alone->answers, 1);
    ck_assert_uint_eq(behind->answers, 0);
    ck_assert_int_eq(offset_of("a", 0), -1);
    decide();
    ck_assert_uint_eq(behind->answers, 1);
    ck_assert_int_eq(offset_of("a", 0), 1);
    ck_assert_uint_eq(records(), 2);
}
END_TEST

/* ---- Not the coordinator, or in doubt ---- */

enum trouble {
    DEPOSED_BEFORE,
    DEPOSED_ON_THE_WAY,
    NOT_READY,
    LOG_IS_FULL,
    NO_METADATA
};

static const struct {
    const char *name;
    enum trouble trouble;
    enum kafka_error error;
} trouble_cases[] = {
    {"deposed before", DEPOSED_BEFORE, KAFKA_NOT_COORDINATOR},
    {"deposed on the way", DEPOSED_ON_THE_WAY, KAFKA_COORDINATOR_NOT_AVAILABLE},
    {"elected, not ready", NOT_READY, KAFKA_NOT_COORDINATOR},
    {"log over its budget", LOG_IS_FULL, KAFKA_COORDINATOR_NOT_AVAILABLE},
    {"no metadata", NO_METADATA, KAFKA_NOT_COORDINATOR},
};

static void make_trouble(enum trouble trouble)
{
    if (trouble == DEPOSED_BEFORE) {
        fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
    } else if (trouble == NOT_READY) {
        f.base.replica->is_unready = true;
    } else if (trouble == LOG_IS_FULL) {
        fault_init(&f.base.replica->busy, 1, FAULT_FOREVER);
    } else if (trouble == NO_METADATA) {
        offsets_set_metadata(f.offsets, NULL);
    }
}

static void end_trouble(void)
{
    fault_init(&f.base.replica->busy, 0, 0);
    f.base.replica->is_unready = false;
    offsets_set_metadata(f.offsets, f.base.metadata);
    fake_replica_truncate(f.base.replica);
    fake_replica_role(f.base.replica, REPLICA_LEADER, 5, true);
}

/* Goal: commits, reads and removals are answered once and with what makes clients look for the coordinator, or wait;
 * nothing of it is done, and what is asked for afterwards is. */
START_TEST(trouble_is_told)
{
    enum trouble trouble = trouble_cases[_i].trouble;
    enum kafka_error error = trouble_cases[_i].error;
    (void)commit("a", 0, 1, 0);
    settle();
    f.removals[0] = (struct offsets_removal){number_of("a"), topic, 0, 0};
    make_trouble(trouble);
    struct call *write = commit("a", 0, 2, 0);
    struct call *read = read_once();
    remove_offsets(1, NULL, 0);
    turn_env_run(&f.base.turn);
    if (trouble == DEPOSED_ON_THE_WAY) {
        ck_assert_uint_eq(write->answers + read->answers + f.removes_answered, 0);
        fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
        turn_env_run(&f.base.turn);
    }
    ck_assert_uint_eq(write->answers, 1);
    ck_assert_uint_eq(read->answers, 1);
    ck_assert_uint_eq(f.removes_answered, 1);
    ck_assert_msg(write->req.error == error, "%s: %d", trouble_cases[_i].name, (int)write->req.error);
    ck_assert_msg(read->req.error == error, "%s: read: %d", trouble_cases[_i].name, (int)read->req.error);
    ck_assert_msg(f.remove.error == error, "%s: removal: %d", trouble_cases[_i].name, (int)f.remove.error);
    end_trouble();
    settle();
    ck_assert_int_eq(offset_of("a", 0), 1);
    struct call *again = commit("a", 0, 2, 0);
    settle();
    ck_assert_int_eq(again->req.error, KAFKA_NONE);
    ck_assert_int_eq(offset_of("a", 0), 2);
}
END_TEST

/* Goal: those who wait behind a record that fails are not taken down with it: they are asked about on their own. */
START_TEST(who_waits_is_asked_about_alone)
{
    struct call *sent = commit("a", 0, 1, 0);
    turn_env_run(&f.base.turn);
    struct call *waiting = commit("a", 1, 2, 0);
    fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
    turn_env_run(&f.base.turn);
    ck_assert_int_eq(sent->req.error, KAFKA_COORDINATOR_NOT_AVAILABLE);
    ck_assert_uint_eq(waiting->answers, 1);
    ck_assert_int_eq(waiting->req.error, KAFKA_NOT_COORDINATOR); /* nothing was done: it may be repeated elsewhere */
}
END_TEST

/* Goal: what was in doubt and is decided after all is in the store, tells nobody twice, and may be repeated. */
START_TEST(doubtful_commits_may_be_repeated)
{
    struct call *call = commit("a", 0, 1, 0);
    turn_env_run(&f.base.turn);
    fake_replica_place(f.base.replica);
    fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
    turn_env_run(&f.base.turn);
    ck_assert_int_eq(call->req.error, KAFKA_COORDINATOR_NOT_AVAILABLE);
    decide();
    ck_assert_int_eq(offset_of("a", 0), 1);
    fake_replica_role(f.base.replica, REPLICA_LEADER, 5, true);
    ck_assert_uint_eq(answered(), 1);
    (void)commit("a", 0, 1, 0);
    settle();
    ck_assert_uint_eq(answered(), 2);
    ck_assert_int_eq(offset_of("a", 0), 1);
    ck_assert_uint_eq(store_offset_count(f.base.reader), 1);
}
END_TEST

/* ---- Removal ---- */

static void fill(void)
{
    for (int32_t i = 0; i < REMOVED_COUNT; i++) {
        (void)commit("a", i, i, 0);
    }
    settle();
    ck_assert_uint_eq(store_offset_count(f.base.reader), REMOVED_COUNT);
    for (int32_t i = 0; i < REMOVED_COUNT; i++) {
        f.removals[i] = (struct offsets_removal){number_of("a"), topic, i, 0};
    }
}

/* Goal: a removal takes as many records as it needs, one after the other, offsets first, then groups; what cannot be
 * removed does not hold up the rest. */
START_TEST(removals_go_record_by_record)
{
    const struct group_removal groups[] = {
        {bytes_from_text("never there"), false}, {bytes_from_text("used"), true}, {bytes_from_text("a"), true}};
    fill();
    (void)commit("used", 0, 1, 0);
    settle();
    unsigned before = records();
    remove_offsets(REMOVED_COUNT, groups, array_count(groups));
    turn_env_run(&f.base.turn);
    for (unsigned i = 1; i <= 4; i++) {
        ck_assert_uint_eq(records(), before + i);
        ck_assert_uint_eq(f.removes_answered, 0);
        decide();
    }
    ck_assert_uint_eq(f.removes_answered, 1);
    ck_assert_int_eq(f.remove.error, KAFKA_NONE);
    ck_assert_uint_eq(store_offset_count(f.base.reader), 1);
    ck_assert_uint_eq(number_of("a"), NO_GROUP);
    ck_assert_int_eq(offset_of("used", 0), 1);
}
END_TEST

/* Goal: an offset that was committed again since it was looked at stays. */
START_TEST(what_was_committed_anew_stays)
{
    struct store_offset offset;
    (void)commit("a", 0, 1, 0);
    (void)commit("a", 1, 1, 0);
    settle();
    ck_assert_int_eq(store_offset(f.base.reader, number_of("a"), &topic, 0, &offset), OK);
    for (int32_t i = 0; i < 2; i++) {
        f.removals[i] = (struct offsets_removal){number_of("a"), topic, i, offset.commit_ms};
    }
    turn_env_advance(&f.base.turn, 1000);
    (void)commit("a", 0, 1, 0);
    remove_offsets(2, NULL, 0);
    settle();
    ck_assert_int_eq(f.remove.error, KAFKA_NONE);
    ck_assert_int_eq(offset_of("a", 0), 1);
    ck_assert_int_eq(offset_of("a", 1), -1);
}
END_TEST

/* Goal: a removal whose coordinator is deposed on the way ends there: what was decided is removed, the rest is not. */
START_TEST(removals_end_with_leadership)
{
    fill();
    remove_offsets(REMOVED_COUNT, NULL, 0);
    turn_env_run(&f.base.turn);
    decide();
    ck_assert_uint_eq(store_offset_count(f.base.reader), REMOVED_COUNT - OFFSETS_REMOVED_COUNT_MAX);
    fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(f.removes_answered, 1);
    ck_assert_int_eq(f.remove.error, KAFKA_COORDINATOR_NOT_AVAILABLE);
    fake_replica_truncate(f.base.replica);
    fake_replica_role(f.base.replica, REPLICA_LEADER, 5, true);
    settle();
    ck_assert_uint_eq(store_offset_count(f.base.reader), REMOVED_COUNT - OFFSETS_REMOVED_COUNT_MAX);
}
END_TEST

/* Goal: a removal of nothing is a read: it is answered after a record. */
START_TEST(removing_nothing_is_a_read)
{
    remove_offsets(0, NULL, 0);
    turn_env_run(&f.base.turn);
    ck_assert_uint_eq(records(), 1);
    ck_assert_uint_eq(f.removes_answered, 0);
    decide();
    ck_assert_uint_eq(f.removes_answered, 1);
    ck_assert_int_eq(f.remove.error, KAFKA_NONE);
}
END_TEST

static Suite *offsets_suite(void)
{
    Suite *suite = suite_create("offsets");
    TCase *commits = tcase_create("commits");
    tcase_add_checked_fixture(commits, setup, teardown);
    tcase_add_test(commits, commits_of_a_turn_share_a_record);
    tcase_add_test(commits, late_commits_share_the_next_record);
    tcase_add_test(commits, the_last_commit_stands);
    tcase_add_test(commits, callbacks_may_commit);
    tcase_add_loop_test(commits, records_are_bounded, 0, (int)array_count(bound_cases));
    tcase_add_test(commits, too_large_is_refused_alone);
    tcase_add_test(commits, reads_see_what_was_committed);
    suite_add_tcase(suite, commits);
    TCase *trouble = tcase_create("trouble");
    tcase_add_checked_fixture(trouble, setup, teardown);
    tcase_add_loop_test(trouble, trouble_is_told, 0, (int)array_count(trouble_cases));
    tcase_add_test(trouble, who_waits_is_asked_about_alone);
    tcase_add_test(trouble, doubtful_commits_may_be_repeated);
    suite_add_tcase(suite, trouble);
    TCase *removal = tcase_create("removal");
    tcase_add_checked_fixture(removal, setup, teardown);
    tcase_add_test(removal, removals_go_record_by_record);
    tcase_add_test(removal, what_was_committed_anew_stays);
    tcase_add_test(removal, removals_end_with_leadership);
    tcase_add_test(removal, removing_nothing_is_a_read);
    suite_add_tcase(suite, removal);
    return suite;
}

TEST_MAIN(offsets_suite)
