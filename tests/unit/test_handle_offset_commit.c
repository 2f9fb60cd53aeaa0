/* OffsetCommit: what is refused, partition by partition and as a whole, what stands in the store, and when the client
 * is told. */
#include "tests/lib/offsets_fixture.h"

static const char *commit_answer(void)
{
    struct kafka_offset_commit_response message;
    read_answer(&kafka_offset_commit_response_schema, &message);
    for (int32_t t = 0; t < message.topics_count; t++) {
        for (int32_t p = 0; p < message.topics[t].partitions_count; p++) {
            say_code(message.topics[t].name, message.topics[t].partitions[p].partition_index,
                     message.topics[t].partitions[p].error_code);
        }
    }
    return f.text;
}

static void commit(const char *text)
{
    ask_commit(9, bytes_from_text("g"), text, -1);
}

/* ---- Claims ---- */

static const struct {
    const char *name;
    const char *asked;
    const char *answer;
    unsigned records; /* proposed */
} commit_cases[] = {
    {"one", "t:0=1", "t:0=NONE", 1},
    {"none", "", "", 0},
    {"several topics", "t:0=1 t:2=3 other:0=4 t:1=2", "t:0=NONE t:2=NONE other:0=NONE t:1=NONE", 1},
    {"the same twice", "t:0=1 t:0=2", "t:0=NONE t:0=NONE", 1},
    {"unknown topic", "nowhere:0=1", "nowhere:0=UNKNOWN_TOPIC_OR_PARTITION", 0},
    {"unknown topic among others", "t:0=1 nowhere:0=1 other:0=1",
     "t:0=NONE nowhere:0=UNKNOWN_TOPIC_OR_PARTITION other:0=NONE", 1},
    {"partition beyond the last", "t:3=1 t:2=1", "t:3=UNKNOWN_TOPIC_OR_PARTITION t:2=NONE", 1},
    {"negative partition", "t:-1=1", "t:-1=UNKNOWN_TOPIC_OR_PARTITION", 0},
    {"metadata too large", "t:0=1 t:1=1! other:0=1!",
     "t:0=NONE t:1=OFFSET_METADATA_TOO_LARGE other:0=OFFSET_METADATA_TOO_LARGE", 1},
    {"unknown comes before too large", "nowhere:0=1!", "nowhere:0=UNKNOWN_TOPIC_OR_PARTITION", 0},
};

/* Goal:   each partition is answered for itself, in the order in which it was asked; what is refused keeps nothing else
 *         from being stored, and when all is refused nothing is proposed.
 * Method: the offsets that were answered NONE are looked for in the store, the others must not be there. */
START_TEST(partitions_are_answered_each)
{
    const char *name = commit_cases[_i].name;
    struct item items[ITEM_COUNT_MAX];
    struct store_offset offset;
    commit(commit_cases[_i].asked);
    ck_assert_msg(turn() == commit_cases[_i].records, "%s", name);
    ck_assert_msg(f.answered == (commit_cases[_i].records == 0), "%s: answered before it is decided", name);
    controller_fixture_decide(&f.base);
    ck_assert_uint_eq(f.answered, 1);
    ck_assert_str_eq(commit_answer(), commit_cases[_i].answer);
    size_t count = parse(commit_cases[_i].asked, items);
    unsigned good = 0;
    for (size_t i = 0; i < count; i++) {
        char wanted[64];
        (void)snprintf(wanted, sizeof(wanted), "%s:%d=NONE", items[i].topic, items[i].partition);
        bool is_good = strstr(f.text, wanted) != NULL;
        bool is_other = strcmp(items[i].topic, "other") == 0;
        bool is_known = is_other || strcmp(items[i].topic, "t") == 0;
        bool is_stored = is_known && find("g", is_other ? 1 : 0, items[i].partition, &offset);
        good += is_good;
        ck_assert_msg(is_stored == is_good, "%s: %s", name, wanted);
    }
    ck_assert_int_eq(metrics_value(f.shard.metrics, METRIC_OFFSETS_COMMITTED), good);
    ck_assert_int_eq(metrics_value(f.shard.metrics, METRIC_OFFSETS_REFUSED), (int64_t)count - good);
}
END_TEST

/* Goal: all that was said is stored: the last offset of a partition, its epoch, its metadata, the time. */
START_TEST(what_was_said_is_stored)
{
    struct store_offset offset;
    commit("t:0=1 t:0=7 t:1=9");
    (void)turn();
    int64_t now_ms = env_wall_ms(f.shard.env);
    controller_fixture_decide(&f.base);
    ck_assert(find("g", 0, 0, &offset));
    ck_assert_int_eq(offset.offset, 7);
    ck_assert_int_eq(offset.leader_epoch, COMMIT_EPOCH);
    ck_assert_int_eq(offset.commit_ms, now_ms);
    ck_assert(bytes_equal_text(offset.metadata, "note"));
    ck_assert(find("g", 0, 1, &offset));
    ck_assert_int_eq(offset.offset, 9);
    ck_assert_uint_eq(offset.metadata.size, 0);
}
END_TEST

#define NOT_TOLD (-1) /* the broker's retention counts */

static const struct {
    int16_t version;
    int64_t retention_ms;
    int64_t lives_ms; /* that is stored */
} retention_cases[] = {
    {2, -1, NOT_TOLD},         {2, 0, 0},           {2, 1000, 1000},     {4, 5000, 5000},
    {4, INT64_MAX, INT64_MAX}, {5, 1000, NOT_TOLD}, {9, 1000, NOT_TOLD},
};

/* Goal: up to version 4 a client may say how long its offsets live, without an overflow; later it may not. */
START_TEST(own_retention_is_kept_up_to_version_4)
{
    struct store_offset offset;
    int64_t lives_ms = retention_cases[_i].lives_ms;
    ask_commit(retention_cases[_i].version, bytes_from_text("g"), "t:0=1", retention_cases[_i].retention_ms);
    (void)turn();
    int64_t now_ms = env_wall_ms(f.shard.env);
    controller_fixture_decide(&f.base);
    ck_assert_str_eq(commit_answer(), "t:0=NONE");
    ck_assert(find("g", 0, 0, &offset));
    ck_assert_int_eq(offset.expire_ms, lives_ms == NOT_TOLD    ? 0
                                       : lives_ms == INT64_MAX ? INT64_MAX
                                                               : now_ms + lives_ms);
}
END_TEST

static const enum kafka_error refusals[] = {KAFKA_NOT_COORDINATOR,       KAFKA_COORDINATOR_LOAD_IN_PROGRESS,
                                            KAFKA_ILLEGAL_GENERATION,    KAFKA_UNKNOWN_MEMBER_ID,
                                            KAFKA_REBALANCE_IN_PROGRESS, KAFKA_FENCED_INSTANCE_ID};

/* Goal: what the coordinator refuses is refused for every partition, known or not, and nothing is proposed. */
START_TEST(refusals_of_the_coordinator_are_for_all)
{
    char wanted[200];
    const char *error = kafka_error_name(refusals[_i]);
    f.check_commit = refusals[_i];
    commit("t:0=1 nowhere:0=1 other:0=1");
    ck_assert_uint_eq(turn(), 0);
    ck_assert_uint_eq(f.answered, 1);
    (void)snprintf(wanted, sizeof(wanted), "t:0=%s nowhere:0=%s other:0=%s", error, error, error);
    ck_assert_str_eq(commit_answer(), wanted);
    ck_assert_uint_eq(store_offset_count(f.base.reader), 0);
}
END_TEST

/* Goal: an id that is too long for the store is refused by name; the longest that is not too long is taken. */
START_TEST(long_group_ids_are_refused)
{
    ask_commit(9, (struct bytes){f.filler, GROUP_ID_SIZE_MAX + 1}, "t:0=1", -1);
    ck_assert_uint_eq(turn(), 0);
    ck_assert_str_eq(commit_answer(), "t:0=INVALID_GROUP_ID");
    ask_commit(9, (struct bytes){f.filler, GROUP_ID_SIZE_MAX}, "t:0=1", -1);
    ck_assert_uint_eq(turn(), 1);
    controller_fixture_decide(&f.base);
    ck_assert_str_eq(commit_answer(), "t:0=NONE");
}
END_TEST

/* Goal:   who does not lead any more tells so, for what it had not refused already.
 * Method: the leadership is lost before the proposal, when nothing was done, or behind it, when that is in doubt. */
START_TEST(lost_leadership_is_told)
{
    bool is_proposed = _i == 1;
    if (!is_proposed) {
        fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
    }
    commit("t:0=1 nowhere:0=1");
    ck_assert_uint_eq(turn(), is_proposed);
    if (is_proposed) {
        ck_assert_uint_eq(f.answered, 0);
        fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
        (void)turn();
        fake_replica_truncate(f.base.replica);
    }
    ck_assert_uint_eq(f.answered, 1);
    ck_assert_str_eq(commit_answer(), is_proposed ? "t:0=COORDINATOR_NOT_AVAILABLE nowhere:0=UNKNOWN_TOPIC_OR_PARTITION"
                                                  : "t:0=NOT_COORDINATOR nowhere:0=UNKNOWN_TOPIC_OR_PARTITION");
}
END_TEST

/* Goal: with any amount of memory the request ends once: it is answered, or its connection is closed and nothing is
 * stored. */
START_TEST(no_memory_ends_the_connection)
{
    for (f.arena_size = 0; f.answered == 0; f.arena_size += 16) {
        unsigned killed = f.killed;
        commit("t:0=1 other:0=2 t:1=3");
        ck_assert_uint_eq(turn(), f.killed == killed);
        controller_fixture_decide(&f.base);
        ck_assert_uint_eq(f.killed - killed + f.answered, 1);
    }
    ck_assert_uint_gt(f.killed, 3);
    ck_assert_str_eq(commit_answer(), "t:0=NONE other:0=NONE t:1=NONE");
}
END_TEST

/* Goal: too many items, or a body that ends early at any byte, end the connection. */
START_TEST(bad_requests_end_the_connection)
{
    f.is_charge_refused = true;
    commit("t:0=1");
    ck_assert_uint_eq(f.killed, 1);
    f.is_charge_refused = false;
    for (f.cut = 1; f.cut < 40; f.cut++) {
        commit("t:0=1 other:0=2");
        ck_assert_uint_eq(f.killed, f.cut + 1);
    }
    ck_assert_uint_eq(turn() + f.answered, 0);
}
END_TEST

static Suite *offset_commit_suite(void)
{
    Suite *suite = suite_create("handle_offset_commit");
    TCase *tcase = tcase_create("commits");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, partitions_are_answered_each, 0, (int)array_count(commit_cases));
    tcase_add_test(tcase, what_was_said_is_stored);
    tcase_add_loop_test(tcase, own_retention_is_kept_up_to_version_4, 0, (int)array_count(retention_cases));
    tcase_add_loop_test(tcase, refusals_of_the_coordinator_are_for_all, 0, (int)array_count(refusals));
    tcase_add_test(tcase, long_group_ids_are_refused);
    tcase_add_loop_test(tcase, lost_leadership_is_told, 0, 2);
    tcase_add_test(tcase, no_memory_ends_the_connection);
    tcase_add_test(tcase, bad_requests_end_the_connection);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(offset_commit_suite)
