/* OffsetFetch: what each version tells of offsets that are there and that are not, and that a read waits until a
 * majority has agreed. */
#include "tests/lib/offsets_fixture.h"

/* One group before version 8, from then on each of them; text "*": all topics. */
static void ask_fetch(int16_t version, const struct bytes *groups, size_t group_count, const char *text)
{
    struct item items[ITEM_COUNT_MAX];
    int32_t indexes[ITEM_COUNT_MAX];
    struct kafka_offset_fetch_request_topic topics[ITEM_COUNT_MAX];
    struct kafka_offset_fetch_request_group_topic group_topics[ITEM_COUNT_MAX];
    struct kafka_offset_fetch_request_group asked[ITEM_COUNT_MAX];
    struct kafka_offset_fetch_request message;
    bool is_all = strcmp(text, "*") == 0;
    size_t count = is_all ? 0 : parse(text, items);
    int32_t topic_count = 0;
    for (size_t i = 0; i < count; i++) {
        indexes[i] = items[i].partition;
    }
    for (size_t at = 0, end; at < count; at = end, topic_count++) {
        end = run_end(items, count, at);
        struct bytes name = bytes_from_text(items[at].topic);
        topics[topic_count] = (struct kafka_offset_fetch_request_topic){name, &indexes[at], (int32_t)(end - at)};
        group_topics[topic_count] =
            (struct kafka_offset_fetch_request_group_topic){name, &indexes[at], (int32_t)(end - at)};
    }
    codec_init_defaults(&kafka_offset_fetch_request_schema, &message);
    for (size_t i = 0; i < group_count; i++) {
        codec_init_defaults(&kafka_offset_fetch_request_group_schema, &asked[i]);
        asked[i].group_id = groups[i];
        asked[i].topics = is_all ? NULL : group_topics;
        asked[i].topics_count = is_all ? -1 : topic_count;
    }
    message.group_id = groups[0];
    message.topics = is_all ? NULL : topics;
    message.topics_count = is_all ? -1 : topic_count;
    message.groups = asked;
    message.groups_count = (int32_t)group_count;
    send_request(version, &kafka_offset_fetch_request_schema, &message, handle_offset_fetch);
}

/* "topic:partition=offset,epoch,metadata", with its error if it has one. */
static void say_offset(struct bytes topic, const struct kafka_offset_fetch_response_partition *partition)
{
    say_next();
    say("%.*s:%d=%lld,%d,%.*s", (int)topic.size, (const char *)topic.data, partition->partition_index,
        (long long)partition->committed_offset, partition->committed_leader_epoch, (int)partition->metadata.size,
        (const char *)partition->metadata.data);
    say_error(partition->error_code);
}

static void say_group(const struct kafka_offset_fetch_response_group *group)
{
    say("[%.*s", group->group_id.size < 10 ? (int)group->group_id.size : 1, (const char *)group->group_id.data);
    say_error(group->error_code);
    for (int32_t t = 0; t < group->topics_count; t++) {
        for (int32_t p = 0; p < group->topics[t].partitions_count; p++) {
            const struct kafka_offset_fetch_response_group_partition *from = &group->topics[t].partitions[p];
            struct kafka_offset_fetch_response_partition partition = {from->partition_index, from->committed_offset,
                                                                      from->committed_leader_epoch, from->metadata,
                                                                      from->error_code};
            say_offset(group->topics[t].name, &partition);
        }
    }
    say("]");
}

static const char *fetch_answer(void)
{
    struct kafka_offset_fetch_response message;
    read_answer(&kafka_offset_fetch_response_schema, &message);
    say_error(message.error_code);
    for (int32_t t = 0; t < message.topics_count; t++) {
        for (int32_t p = 0; p < message.topics[t].partitions_count; p++) {
            say_offset(message.topics[t].name, &message.topics[t].partitions[p]);
        }
    }
    for (int32_t i = 0; i < message.groups_count; i++) {
        say_group(&message.groups[i]);
    }
    return f.text;
}

static void fetch(int16_t version, const char *group, const char *text)
{
    struct bytes id = group != NULL ? bytes_from_text(group) : (struct bytes){f.filler, GROUP_ID_SIZE_MAX + 1};
    ask_fetch(version, &id, 1, text);
}

/* ---- Claims ---- */

static const struct {
    const char *name;
    int16_t version;
    const char *group; /* NULL: one that is too long */
    const char *asked; /* "*": all */
    const char *answer;
} fetch_cases[] = {
    {"version 1", 1, "g", "t:0 t:1 other:0", "t:0=10,-1,note t:1=11,-1, other:0=20,-1,note"},
    {"version 4 has no epochs", 4, "g", "t:0", "t:0=10,-1,note"},
    {"version 5 has", 5, "g", "t:0 t:1", "t:0=10,3,note t:1=11,3,"},
    {"version 7", 7, "g", "other:0 t:1", "other:0=20,3,note t:1=11,3,"},
    {"version 8", 8, "g", "t:0 other:0", "[g t:0=10,3,note other:0=20,3,note]"},
    {"version 9", 9, "g", "t:1", "[g t:1=11,3,]"},
    {"all, version 2", 2, "g", "*", "t:0=10,-1,note t:1=11,-1, other:0=20,-1,note"},
    {"all, version 7", 7, "g", "*", "t:0=10,3,note t:1=11,3, other:0=20,3,note"},
    {"all, version 8", 8, "g", "*", "[g t:0=10,3,note t:1=11,3, other:0=20,3,note]"},
    {"none, version 1", 1, "g", "", ""},
    {"none, version 8", 8, "g", "", "[g]"},
    {"never committed", 7, "g", "t:2 t:0", "t:2=-1,-1, t:0=10,3,note"},
    {"no such partition", 7, "g", "t:7 t:-1", "t:7=-1,-1, t:-1=-1,-1,"},
    {"no such topic", 7, "g", "nowhere:0 t:0", "nowhere:0=-1,-1, t:0=10,3,note"},
    {"a topic that was deleted", 7, "g", "gone:0", "gone:0=-1,-1,"},
    {"no such group", 7, "nobody", "t:0", "t:0=-1,-1,"},
    {"all of no such group, version 7", 7, "nobody", "*", ""},
    {"all of no such group, version 8", 8, "nobody", "*", "[nobody]"},
    {"a group without offsets", 8, "empty", "*", "[empty]"},
    {"a group without offsets, one asked", 8, "empty", "t:0", "[empty t:0=-1,-1,]"},
    {"too long an id, version 1", 1, NULL, "t:0", "t:0=-1,-1, !INVALID_GROUP_ID"},
    {"too long an id, version 2", 2, NULL, "t:0", "!INVALID_GROUP_ID"},
    {"too long an id, version 8", 8, NULL, "t:0", "[x !INVALID_GROUP_ID]"},
};

/* Goal:   what was never committed is -1 without an error, whatever of it is not there; errors stand where the version
 *         has them.
 * Method: four offsets, one of them of a topic that is deleted, and a group without any. */
START_TEST(versions_tell_what_there_is)
{
    given("t:0=10 t:1=11 other:0=20 gone:0=5");
    store_record_topic_deleted(put, &ids[2]);
    store_record_group(put, "empty", "consumer", false, 1);
    ck_assert_uint_eq(store_offset_count(f.base.reader), 4);
    fetch(fetch_cases[_i].version, fetch_cases[_i].group, fetch_cases[_i].asked);
    (void)turn();
    ck_assert_uint_eq(f.answered, 0);
    controller_fixture_decide(&f.base);
    ck_assert_uint_eq(f.answered, 1);
    ck_assert_msg(strcmp(fetch_answer(), fetch_cases[_i].answer) == 0, "%s: %s", fetch_cases[_i].name, f.text);
}
END_TEST

/* Goal: from version 8 on several groups are asked for at once, and an error of one is not one of the others. */
START_TEST(groups_are_answered_each)
{
    struct bytes groups[] = {bytes_from_text("nobody"), {f.filler, GROUP_ID_SIZE_MAX + 1}, bytes_from_text("g")};
    given("t:0=10");
    ask_fetch(8, groups, array_count(groups), "t:0");
    (void)turn();
    controller_fixture_decide(&f.base);
    ck_assert_str_eq(fetch_answer(), "[nobody t:0=-1,-1,][x !INVALID_GROUP_ID][g t:0=10,3,note]");
}
END_TEST

/* Goal:   a read tells what was committed before it, also what was not applied when it came.
 * Method: both are on their way; the answer comes when the read's own record is decided. */
START_TEST(reads_tell_what_was_committed_before)
{
    given("t:0=10");
    ask_commit(9, bytes_from_text("g"), "t:0=12", -1);
    ck_assert_uint_eq(turn(), 1);
    fetch(7, "g", "t:0");
    (void)turn();
    ck_assert_uint_eq(f.answered, 0);
    fake_replica_place(f.base.replica);
    fake_replica_apply(f.base.replica, 1); /* the commit */
    ck_assert_uint_eq(turn(), 1);          /* the read's record had to wait for it */
    ck_assert_uint_eq(f.answered, 1);
    controller_fixture_decide(&f.base);
    ck_assert_uint_eq(f.answered, 2);
    ck_assert_str_eq(fetch_answer(), "t:0=12,3,note");
}
END_TEST

static const struct {
    int16_t version;
    const char *answer; /* %s: the error */
} error_cases[] = {
    {1, "t:0=-1,-1, !%s other:0=-1,-1, !%s"}, {2, "!%s"}, {7, "!%s"}, {8, "[g !%s]"}, {9, "[g !%s]"},
};

static void check_error(int at, enum kafka_error error)
{
    char wanted[200];
    const char *name = kafka_error_name(error);
    int count = snprintf(wanted, sizeof(wanted), "%s", error_cases[at].answer);
    ck_assert_int_lt(count, (int)sizeof(wanted));
    for (char *mark; (mark = strstr(wanted, "%s")) != NULL;) {
        size_t left = strlen(mark + 2) + 1;
        ck_assert_uint_lt((size_t)(mark - wanted) + strlen(name) + left, sizeof(wanted));
        memmove(mark + strlen(name), mark + 2, left);
        memcpy(mark, name, strlen(name));
    }
    ck_assert_uint_eq(f.answered, 1);
    ck_assert_str_eq(fetch_answer(), wanted);
}

/* Goal: who is not the coordinator reads nothing, and tells it where the version has its errors. */
START_TEST(refusals_stand_where_the_version_has_them)
{
    given("t:0=10");
    f.check = KAFKA_COORDINATOR_LOAD_IN_PROGRESS;
    fetch(error_cases[_i].version, "g", "t:0 other:0");
    ck_assert_uint_eq(turn(), 0);
    check_error(_i, KAFKA_COORDINATOR_LOAD_IN_PROGRESS);
}
END_TEST

/* Goal:   a coordinator that a majority has left tells nothing of what it has.
 * Method: it does not know yet when the read comes; the read's record is never decided. */
START_TEST(lost_leadership_is_told)
{
    given("t:0=10");
    fetch(error_cases[_i].version, "g", "t:0 other:0");
    ck_assert_uint_eq(turn(), 1);
    fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
    (void)turn();
    fake_replica_truncate(f.base.replica);
    check_error(_i, KAFKA_COORDINATOR_NOT_AVAILABLE);
}
END_TEST

static const struct {
    int16_t version;
    const char *asked;
    const char *answer;
} memory_cases[] = {
    {7, "t:0 t:1 other:0", "t:0=10,3,note t:1=11,3, other:0=20,3,note"},
    {7, "*", "t:0=10,3,note t:1=11,3, other:0=20,3,note"},
    {8, "*", "[g t:0=10,3,note t:1=11,3, other:0=20,3,note]"},
};

/* Goal: with any amount of memory the request ends once, answered in full or with its connection. */
START_TEST(no_memory_ends_the_connection)
{
    given("t:0=10 t:1=11 other:0=20");
    for (f.arena_size = 0; f.answered == 0; f.arena_size += 16) {
        unsigned killed = f.killed;
        fetch(memory_cases[_i].version, "g", memory_cases[_i].asked);
        (void)turn();
        controller_fixture_decide(&f.base);
        ck_assert_uint_eq(f.killed - killed + f.answered, 1);
    }
    ck_assert_uint_gt(f.killed, 3);
    ck_assert_str_eq(fetch_answer(), memory_cases[_i].answer);
}
END_TEST

/* Goal: a body that ends early at any byte ends the connection. */
START_TEST(bad_requests_end_the_connection)
{
    for (f.cut = 1; f.cut < 15; f.cut++) {
        fetch(7, "g", "t:0 other:0");
        ck_assert_uint_eq(f.killed, f.cut);
    }
    ck_assert_uint_eq(turn() + f.answered, 0);
}
END_TEST

static Suite *offset_fetch_suite(void)
{
    Suite *suite = suite_create("handle_offset_fetch");
    TCase *tcase = tcase_create("fetches");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, versions_tell_what_there_is, 0, (int)array_count(fetch_cases));
    tcase_add_test(tcase, groups_are_answered_each);
    tcase_add_test(tcase, reads_tell_what_was_committed_before);
    tcase_add_loop_test(tcase, refusals_stand_where_the_version_has_them, 0, (int)array_count(error_cases));
    tcase_add_loop_test(tcase, lost_leadership_is_told, 0, (int)array_count(error_cases));
    tcase_add_loop_test(tcase, no_memory_ends_the_connection, 0, (int)array_count(memory_cases));
    tcase_add_test(tcase, bad_requests_end_the_connection);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(offset_fetch_suite)
