/* OffsetDelete: which offsets may go, which may not and why, and that the client is told when they are gone. */
#include "tests/lib/offsets_fixture.h"

static void ask_delete(struct bytes group, const char *text)
{
    struct item items[ITEM_COUNT_MAX];
    struct kafka_offset_delete_request_partition partitions[ITEM_COUNT_MAX];
    struct kafka_offset_delete_request_topic topics[ITEM_COUNT_MAX];
    struct kafka_offset_delete_request message = {.group_id = group, .topics = topics};
    size_t count = parse(text, items);
    for (size_t at = 0, end; at < count; at = end) {
        end = run_end(items, count, at);
        topics[message.topics_count++] = (struct kafka_offset_delete_request_topic){
            bytes_from_text(items[at].topic), &partitions[at], (int32_t)(end - at)};
    }
    for (size_t i = 0; i < count; i++) {
        partitions[i].partition_index = items[i].partition;
    }
    send_request(0, &kafka_offset_delete_request_schema, &message, handle_offset_delete);
}

static const char *delete_answer(void)
{
    struct kafka_offset_delete_response message;
    read_answer(&kafka_offset_delete_response_schema, &message);
    say_error(message.error_code);
    for (int32_t t = 0; t < message.topics_count; t++) {
        for (int32_t p = 0; p < message.topics[t].partitions_count; p++) {
            say_code(message.topics[t].name, message.topics[t].partitions[p].partition_index,
                     message.topics[t].partitions[p].error_code);
        }
    }
    return f.text;
}

static uint64_t left(void)
{
    return store_offset_count(f.base.reader);
}

/* ---- Claims ---- */

static const struct {
    const char *name;
    const char *group;
    const char *type; /* of the stored group; NULL: it has offsets only */
    bool has_members;
    const char *subscription;
    const char *asked;
    const char *answer;
    uint64_t left; /* of 4 offsets */
} delete_cases[] = {
    {"never had members", "g", NULL, false, NULL, "t:0 t:1", "t:0=NONE t:1=NONE", 2},
    {"has no members", "g", "consumer", false, "t", "t:0 other:0", "t:0=NONE other:0=NONE", 2},
    {"nothing asked", "g", NULL, false, NULL, "", "", 4},
    {"subscribed", "g", "consumer", true, "t", "t:0 other:0 t:1",
     "t:0=GROUP_SUBSCRIBED_TO_TOPIC other:0=NONE t:1=GROUP_SUBSCRIBED_TO_TOPIC", 3},
    {"subscribed to nothing", "g", "consumer", true, NULL, "t:0", "t:0=NONE", 3},
    {"members of another type", "g", "connect", true, NULL, "t:0", "!NON_EMPTY_GROUP", 4},
    {"members that are not stored yet", "g", NULL, true, NULL, "t:0", "!NON_EMPTY_GROUP", 4},
    {"of another type, without members", "g", "connect", false, NULL, "t:0", "t:0=NONE", 3},
    {"no such group", "nobody", NULL, false, NULL, "t:0", "!GROUP_ID_NOT_FOUND", 4},
    {"no such group, but members", "nobody", NULL, true, NULL, "t:0 t:9", "t:0=NONE t:9=UNKNOWN_TOPIC_OR_PARTITION", 4},
    {"no such topic", "g", NULL, false, NULL, "nowhere:0 other:0", "nowhere:0=UNKNOWN_TOPIC_OR_PARTITION other:0=NONE",
     3},
    {"no such partition", "g", NULL, false, NULL, "t:3 t:-1 t:0",
     "t:3=UNKNOWN_TOPIC_OR_PARTITION t:-1=UNKNOWN_TOPIC_OR_PARTITION t:0=NONE", 3},
    {"never committed", "g", NULL, false, NULL, "t:2 t:0", "t:2=NONE t:0=NONE", 3},
    {"twice", "g", NULL, false, NULL, "t:0 t:0", "t:0=NONE t:0=NONE", 3},
};

/* Goal: offsets of topics that a member subscribes to stay, of who is there and of what is there others go; the client
 * is told when that is decided, not before. */
START_TEST(offsets_go_that_nobody_subscribes_to)
{
    const char *name = delete_cases[_i].name;
    given("t:0=1 t:1=2 other:0=3");
    ask_commit(9, bytes_from_text("h"), "t:0=4", -1);
    (void)turn();
    controller_fixture_decide(&f.base);
    f.answered = 0;
    if (delete_cases[_i].type != NULL) {
        store_record_group(put, "g", delete_cases[_i].type, delete_cases[_i].has_members, 1);
    }
    f.has_members = delete_cases[_i].has_members;
    f.subscription = delete_cases[_i].subscription;
    ask_delete(bytes_from_text(delete_cases[_i].group), delete_cases[_i].asked);
    ck_assert_msg(turn() == 1, "%s: a majority is asked", name);
    ck_assert_uint_eq(f.answered, 0);
    controller_fixture_decide(&f.base);
    ck_assert_uint_eq(f.answered, 1);
    ck_assert_msg(strcmp(delete_answer(), delete_cases[_i].answer) == 0, "%s: %s", name, f.text);
    ck_assert_msg(left() == delete_cases[_i].left, "%s: %llu are left", name, (unsigned long long)left());
}
END_TEST

/* Goal: who is not the coordinator removes nothing. */
START_TEST(only_the_coordinator_removes)
{
    given("t:0=1");
    f.check = KAFKA_NOT_COORDINATOR;
    ask_delete(bytes_from_text("g"), "t:0");
    ck_assert_uint_eq(turn(), 0);
    ck_assert_uint_eq(f.answered, 1);
    ck_assert_str_eq(delete_answer(), "!NOT_COORDINATOR");
    ck_assert_uint_eq(left(), 1);
}
END_TEST

/* Goal: an answer that depends on what this broker has is given by nobody whom a majority has left, an error no more
 * than a success. */
START_TEST(lost_leadership_is_told)
{
    given("t:0=1");
    ask_delete(bytes_from_text(_i == 0 ? "g" : "nobody"), "t:0");
    ck_assert_uint_eq(turn(), 1);
    fake_replica_role(f.base.replica, REPLICA_FOLLOWER, 4, false);
    (void)turn();
    fake_replica_truncate(f.base.replica);
    ck_assert_uint_eq(f.answered, 1);
    ck_assert_str_eq(delete_answer(), "!COORDINATOR_NOT_AVAILABLE");
    ck_assert_uint_eq(left(), 1);
}
END_TEST

/* Goal: with any amount of memory the request ends once: it is answered, or its connection is closed and nothing is
 * removed. */
START_TEST(no_memory_ends_the_connection)
{
    given("t:0=1 other:0=2");
    for (f.arena_size = 0; f.answered == 0; f.arena_size += 16) {
        unsigned killed = f.killed;
        ck_assert_uint_eq(left(), 2);
        ask_delete(bytes_from_text("g"), "t:0 other:0");
        (void)turn();
        controller_fixture_decide(&f.base);
        ck_assert_uint_eq(f.killed - killed + f.answered, 1);
    }
    ck_assert_uint_gt(f.killed, 3);
    ck_assert_str_eq(delete_answer(), "t:0=NONE other:0=NONE");
    ck_assert_uint_eq(left(), 0);
}
END_TEST

/* Goal: too many items, or a body that ends early at any byte, end the connection. */
START_TEST(bad_requests_end_the_connection)
{
    given("t:0=1");
    f.is_charge_refused = true;
    ask_delete(bytes_from_text("g"), "t:0");
    ck_assert_uint_eq(f.killed, 1);
    f.is_charge_refused = false;
    for (f.cut = 1; f.cut < 15; f.cut++) {
        ask_delete(bytes_from_text("g"), "t:0 other:0");
        ck_assert_uint_eq(f.killed, f.cut + 1);
    }
    ck_assert_uint_eq(turn() + f.answered, 0);
    ck_assert_uint_eq(left(), 1);
}
END_TEST

static Suite *offset_delete_suite(void)
{
    Suite *suite = suite_create("handle_offset_delete");
    TCase *tcase = tcase_create("deletions");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, offsets_go_that_nobody_subscribes_to, 0, (int)array_count(delete_cases));
    tcase_add_test(tcase, only_the_coordinator_removes);
    tcase_add_loop_test(tcase, lost_leadership_is_told, 0, 2);
    tcase_add_test(tcase, no_memory_ends_the_connection);
    tcase_add_test(tcase, bad_requests_end_the_connection);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(offset_delete_suite)
