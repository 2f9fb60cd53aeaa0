/* One consumer group, step by step: what each request is answered in each state, and what time does. */
#include "base/limits.h"
#include "base/mem.h"
#include "metadata/group.h"
#include "tests/lib/group_world.h"
#include "tests/lib/test.h"
#include <stdio.h>
#include <string.h>

static struct group_world world;

static void setup(void)
{
    group_world_init(&world);
}

static void teardown(void)
{
    group_world_deinit(&world);
}

#define ask_join(...) group_world_join(&world, (struct group_wish){__VA_ARGS__})

static void ck_answered(const struct group_ask *ask, enum kafka_error error)
{
    ck_assert(ask->is_answered);
    ck_assert_int_eq(ask->error, error);
}

/* ---- The way to an assignment ---- */

/* Goal: a new member is told its id first (KIP-394), joins with it, leads, assigns, and has its part when that is
 * stored and not before. */
START_TEST(single_member_gets_its_assignment)
{
    struct group_ask *first = ask_join(.is_id_required = true);
    ck_answered(first, KAFKA_MEMBER_ID_REQUIRED);
    struct group_ask *joined = ask_join(.member = first->member, .is_id_required = true);
    ck_answered(joined, KAFKA_NONE);
    ck_assert_int_eq(joined->generation, 1);
    ck_assert_str_eq(joined->leader, first->member);
    ck_assert_uint_eq(joined->member_count, 1);
    ck_assert_str_eq(joined->protocol, "range");
    char text[100];
    (void)snprintf(text, sizeof(text), "%s=all,stranger=some", joined->member);
    struct group_ask *synced = group_world_sync(&world, joined->member, NULL, 1, text);
    ck_assert(!synced->is_answered);
    group_world_stored(&world, true);
    ck_answered(synced, KAFKA_NONE);
    ck_assert_str_eq(synced->assignment, "all");
    ck_assert_int_eq(group_world_heartbeat(&world, joined->member, NULL, 1), KAFKA_NONE);
}
END_TEST

/* Goal: followers wait for the leader, whoever is left out gets nothing, only the leader is told of the members. */
START_TEST(followers_wait_for_the_leader)
{
    world.limits.initial_delay_ms = 3000;
    struct group_ask *leader = ask_join();
    struct group_ask *follower = ask_join();
    struct group_ask *third = ask_join();
    ck_assert(!leader->is_answered);
    group_world_advance(&world, 6000);
    ck_answered(leader, KAFKA_NONE);
    ck_answered(follower, KAFKA_NONE);
    ck_assert_uint_eq(leader->member_count, 3);
    ck_assert(!follower->has_members);
    ck_assert_str_eq(follower->leader, leader->member);
    struct group_ask *waits = group_world_sync(&world, follower->member, NULL, 1, NULL);
    ck_assert(!waits->is_answered);
    char text[100];
    (void)snprintf(text, sizeof(text), "%s=a,%s=b", leader->member, follower->member);
    struct group_ask *sync = group_world_sync(&world, leader->member, NULL, 1, text);
    struct group_ask *again = group_world_sync(&world, leader->member, NULL, 1, "x=y"); /* the first wait is given up */
    ck_answered(sync, KAFKA_REBALANCE_IN_PROGRESS);
    group_world_stored(&world, true);
    ck_assert_str_eq(waits->assignment, "b");
    ck_assert_str_eq(again->assignment, "a");
    struct group_ask *late = group_world_sync(&world, third->member, NULL, 1, NULL);
    ck_answered(late, KAFKA_NONE);
    ck_assert_str_eq(late->assignment, "");
}
END_TEST

/* Goal: the initial delay grows while members come, and ends at the rebalance timeout (KIP-134). */
START_TEST(initial_delay_is_extended_up_to_the_rebalance_timeout)
{
    world.limits.initial_delay_ms = 3000;
    struct group_ask *first = ask_join(.rebalance_ms = 8000);
    for (int i = 0; i < 3; i++) {
        group_world_advance(&world, 2600);
        ck_assert(!first->is_answered);
        (void)ask_join(.rebalance_ms = 8000);
    }
    group_world_advance(&world, 199);
    ck_assert(!first->is_answered);
    group_world_advance(&world, 1);
    ck_answered(first, KAFKA_NONE);
    ck_assert_uint_eq(first->member_count, 4);
}
END_TEST

/* Goal: without newcomers the delay is not extended. */
START_TEST(initial_delay_ends_without_newcomers)
{
    world.limits.initial_delay_ms = 3000;
    struct group_ask *first = ask_join();
    group_world_advance(&world, 2999);
    ck_assert(!first->is_answered);
    group_world_advance(&world, 1);
    ck_answered(first, KAFKA_NONE);
}
END_TEST

/* Goal: a member that joins a stable group has all others join again; those who do not are left behind when the longest
 * rebalance timeout is over, and only dynamic ones. */
START_TEST(barrier_drops_those_who_do_not_join)
{
    struct group_ask *old[3];
    group_world_make_stable(&world, 3, old);
    struct group_ask *newcomer = ask_join();
    ck_assert_int_eq(group_world_heartbeat(&world, old[1]->member, NULL, 1), KAFKA_REBALANCE_IN_PROGRESS);
    struct group_ask *again = ask_join(.member = old[1]->member);
    for (int i = 0; i < 12; i++) { /* it is alive, but does not join */
        group_world_advance(&world, 4900);
        ck_assert(!newcomer->is_answered);
        ck_assert_int_eq(group_world_heartbeat(&world, old[0]->member, NULL, 1), KAFKA_REBALANCE_IN_PROGRESS);
    }
    group_world_advance(&world, 1200);
    ck_answered(newcomer, KAFKA_NONE);
    ck_answered(again, KAFKA_NONE);
    ck_assert_int_eq(newcomer->generation, 2);
    ck_assert_str_eq(newcomer->leader, old[1]->member); /* the old leader has not joined */
    ck_assert_uint_eq(again->member_count, 2);
    ck_assert_int_eq(group_world_heartbeat(&world, old[0]->member, NULL, 1), KAFKA_UNKNOWN_MEMBER_ID);
}
END_TEST

/* Goal: an id that was given out holds the barrier up until it is used, or its session is over. */
START_TEST(pending_ids_hold_the_barrier)
{
    struct group_ask *old[1];
    group_world_make_stable(&world, 1, old);
    struct group_ask *pending = ask_join(.is_id_required = true, .session_ms = 5000);
    (void)ask_join();
    struct group_ask *again = ask_join(.member = old[0]->member);
    ck_assert(!again->is_answered);
    group_world_advance(&world, 5000);
    ck_answered(again, KAFKA_NONE);
    ck_answered(ask_join(.member = pending->member), KAFKA_UNKNOWN_MEMBER_ID);
}
END_TEST

/* Goal: who asks for ids and never uses them holds no more than a bound; the newest ones count. */
START_TEST(pending_ids_are_bounded)
{
    char first[40];
    char last[40];
    for (size_t i = 0; i <= GROUP_PENDING_COUNT_MAX; i++) {
        struct group_ask *ask = ask_join(.is_id_required = true);
        memcpy(i == 0 ? first : last, ask->member, sizeof(first));
        world.ask_count = 0;
    }
    ck_assert_uint_eq(world.group.pending_count, GROUP_PENDING_COUNT_MAX);
    ck_answered(ask_join(.member = first), KAFKA_UNKNOWN_MEMBER_ID);
    struct group_ask *joined = ask_join(.member = last);
    ck_assert(!joined->is_answered); /* the other ids are awaited */
    group_world_advance(&world, 10000);
    ck_answered(joined, KAFKA_NONE);
}
END_TEST

/* ---- Every request in every state ---- */

enum stage {
    EMPTY,
    INITIAL,
    PREPARING,
    COMPLETING,
    STORING,
    STABLE,
    STAGE_COUNT
};
static const char *const stage_names[] = {"empty", "initial", "preparing", "completing", "storing", "stable"};

/* Two members "d" (dynamic, leads) and "s" (static, instance "i") but in EMPTY; generation 1 from COMPLETING on. */
static void reach(enum stage stage, char dynamic[40], char fixed[40])
{
    if (stage == EMPTY) {
        (void)snprintf(dynamic, 40, "d");
        (void)snprintf(fixed, 40, "s");
        return;
    }
    world.limits.initial_delay_ms = 1000;
    struct group_ask *d = ask_join();
    struct group_ask *s = ask_join(.instance = "i");
    memcpy(dynamic, d->offered, 40);
    memcpy(fixed, s->offered, 40);
    if (stage == INITIAL) {
        return;
    }
    group_world_advance(&world, 2000);
    ck_answered(s, KAFKA_NONE);
    if (stage == COMPLETING) {
        return;
    }
    (void)group_world_sync(&world, fixed, "i", 1, NULL);
    (void)group_world_sync(&world, dynamic, NULL, 1, NULL);
    if (stage == STORING) {
        return;
    }
    group_world_stored(&world, true);
    if (stage == PREPARING) {
        (void)ask_join(.member = dynamic); /* the leader joins again */
    }
}

enum who {
    DYNAMIC,
    FIXED,
    STRANGER,
    NOBODY,
    FENCED,
    STRANGE_INSTANCE,
    WHO_COUNT
};
static const char *const who_names[] = {"dynamic", "static", "stranger", "nobody", "fenced", "strange instance"};

struct expected {
    enum kafka_error heartbeat, late_heartbeat, sync, commit, leave;
};

static enum kafka_error identity(enum stage stage, enum who who)
{
    if (stage == EMPTY || who == STRANGER || who == NOBODY || who == STRANGE_INSTANCE) {
        return KAFKA_UNKNOWN_MEMBER_ID;
    }
    return who == FENCED ? KAFKA_FENCED_INSTANCE_ID : KAFKA_NONE;
}

static struct expected expect(enum stage stage, enum who who)
{
    enum kafka_error error = identity(stage, who);
    if (error != KAFKA_NONE) {
        return (struct expected){error, error, error, error, error};
    }
    bool is_preparing = stage == INITIAL || stage == PREPARING;
    bool is_completing = stage == COMPLETING || stage == STORING;
    struct expected expected = {.late_heartbeat = KAFKA_ILLEGAL_GENERATION};
    expected.heartbeat = is_preparing ? KAFKA_REBALANCE_IN_PROGRESS : KAFKA_NONE;
    expected.sync = expected.heartbeat;
    expected.commit = is_completing ? KAFKA_REBALANCE_IN_PROGRESS : KAFKA_NONE;
    return expected;
}

/* Goal: each request of each kind of sender is answered in each state as the protocol says. Method: all combinations,
 * each in a group of its own. */
START_TEST(answers_are_those_of_the_protocol)
{
    enum stage stage = (enum stage)(_i / WHO_COUNT);
    enum who who = (enum who)(_i % WHO_COUNT);
    struct expected expected = expect(stage, who);
    for (int event = 0; event < 5; event++) {
        char dynamic[40];
        char fixed[40];
        group_world_deinit(&world);
        group_world_init(&world);
        reach(stage, dynamic, fixed);
        int32_t generation = world.group.generation;
        const char *id = who == DYNAMIC ? dynamic : who == FIXED ? fixed : who == NOBODY ? "" : "stranger";
        const char *instance = who == FIXED || who == FENCED ? "i" : who == STRANGE_INSTANCE ? "j" : NULL;
        enum kafka_error got = KAFKA_NONE;
        enum kafka_error wanted = KAFKA_NONE;
        struct group_ask *sync;
        switch (event) {
        case 0:
            got = group_world_heartbeat(&world, id, instance, generation);
            wanted = expected.heartbeat;
            break;
        case 1:
            got = group_world_heartbeat(&world, id, instance, generation + 1);
            wanted = expected.late_heartbeat;
            break;
        case 2:
            sync = group_world_sync(&world, id, instance, generation, NULL);
            wanted = expected.sync;
            group_world_stored(&world, true);
            got = sync->is_answered ? sync->error : KAFKA_NONE; /* a follower may wait for the leader */
            break;
        case 3:
            got = group_check_commit(&world.group, world.now_us, bytes_from_text(id),
                                     instance != NULL ? bytes_from_text(instance) : BYTES_NONE, generation);
            wanted = expected.commit;
            break;
        default:
            got = group_world_leave(&world, id, instance);
            wanted = expected.leave;
            break;
        }
        ck_assert_msg(got == wanted, "%s, %s, event %d: %s instead of %s", stage_names[stage], who_names[who], event,
                      kafka_error_name(got), kafka_error_name(wanted));
    }
}
END_TEST

/* Goal: joins with an id are for members only; one without has a rebalance begin, unless a static member comes back to
 * a stable group. */
START_TEST(joins_in_every_state)
{
    enum stage stage = (enum stage)_i;
    char dynamic[40];
    char fixed[40];
    reach(stage, dynamic, fixed);
    ck_answered(ask_join(.member = "stranger"), KAFKA_UNKNOWN_MEMBER_ID);
    ck_answered(ask_join(.member = "stranger", .instance = "j"), KAFKA_UNKNOWN_MEMBER_ID);
    ck_answered(ask_join(.member = "stranger", .instance = "i"),
                stage == EMPTY ? KAFKA_UNKNOWN_MEMBER_ID : KAFKA_FENCED_INSTANCE_ID);
    ck_answered(ask_join(.session_ms = 999), KAFKA_INVALID_SESSION_TIMEOUT);
    ck_answered(ask_join(.session_ms = 100001), KAFKA_INVALID_SESSION_TIMEOUT);
    ck_answered(ask_join(.protocols = ","), KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    ck_answered(ask_join(.type = ""), KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    if (stage != EMPTY) {
        ck_answered(ask_join(.protocols = "sticky"), KAFKA_INCONSISTENT_GROUP_PROTOCOL);
        ck_answered(ask_join(.type = "connect"), KAFKA_INCONSISTENT_GROUP_PROTOCOL);
    }
    enum group_state before = world.group.state;
    struct group_ask *follower = ask_join(.member = fixed, .instance = "i");
    bool is_told = stage == COMPLETING || stage == STORING || stage == STABLE;
    if (stage == EMPTY) {
        ck_answered(follower, KAFKA_UNKNOWN_MEMBER_ID);
    } else if (is_told) { /* nothing has changed for it: the generation as it is */
        ck_answered(follower, KAFKA_NONE);
        ck_assert_int_eq(follower->generation, 1);
        ck_assert(!follower->has_members);
        ck_assert_int_eq(world.group.state, before);
    }
    struct group_ask *leader = ask_join(.member = dynamic);
    if (stage == COMPLETING || stage == STORING) {
        ck_answered(leader, KAFKA_NONE);
        ck_assert_uint_eq(leader->member_count, 2);
    } else if (stage == STABLE) {
        ck_assert(!leader->is_answered); /* it may have seen new partitions: all join again */
        ck_assert_int_eq(world.group.state, GROUP_PREPARING);
    }
    struct group_ask *changed = ask_join(.member = fixed, .instance = "i", .metadata = "other");
    if (is_told) {
        ck_assert(!changed->is_answered || changed->generation == 2);
    }
}
END_TEST

/* ---- Protocols ---- */

/* Goal: the protocol is one that all have, and of these the one that most like best. */
START_TEST(protocol_is_voted_for)
{
    world.limits.initial_delay_ms = 1000;
    struct group_ask *a = ask_join(.protocols = "only-a,range,sticky");
    (void)ask_join(.protocols = "sticky,range");
    (void)ask_join(.protocols = "sticky,range,other");
    group_world_advance(&world, 5000);
    ck_answered(a, KAFKA_NONE);
    ck_assert_str_eq(a->protocol, "sticky");
}
END_TEST

/* Goal: a member alone may change its protocols, and an empty group takes another type. */
START_TEST(lonely_member_may_change)
{
    struct group_ask *a = ask_join();
    ck_answered(a, KAFKA_NONE);
    struct group_ask *again = ask_join(.member = a->member, .protocols = "sticky");
    ck_answered(again, KAFKA_NONE);
    ck_assert_str_eq(again->protocol, "sticky");
    ck_assert_int_eq(group_world_leave(&world, a->member, NULL), KAFKA_NONE);
    ck_assert_int_eq(world.group.state, GROUP_EMPTY);
    ck_answered(ask_join(.type = "connect", .protocols = "compatible"), KAFKA_NONE);
}
END_TEST

/* ---- Sessions, leaving ---- */

/* Goal: silence ends a member at its session timeout and not before; who waits does not need to say anything. */
START_TEST(silence_ends_a_member)
{
    struct group_ask *old[2];
    group_world_make_stable(&world, 2, old);
    group_world_advance(&world, 5000);
    ck_assert_int_eq(group_world_heartbeat(&world, old[1]->member, NULL, 1), KAFKA_NONE);
    group_world_advance(&world, 4999);
    ck_assert_uint_eq(world.group.member_count, 2);
    group_world_advance(&world, 1);
    ck_assert_uint_eq(world.group.member_count, 1);
    ck_assert_int_eq(world.group.state, GROUP_PREPARING);
    struct group_ask *again = ask_join(.member = old[1]->member);
    ck_answered(again, KAFKA_NONE);
    ck_assert_str_eq(again->leader, old[1]->member);
    group_world_advance(&world, 10000);
    ck_assert_int_eq(world.group.state, GROUP_EMPTY);
    ck_assert_int_eq(world.group.generation, 3);
    ck_assert(!group_is_dormant(&world.group));
    group_world_stored(&world, true);
    ck_assert(group_is_dormant(&world.group));
}
END_TEST

/* Goal: members that were told of the generation and never ask for their part go after the rebalance timeout, though
 * they say that they live; the leader too. */
START_TEST(who_never_syncs_is_removed)
{
    bool is_leader_silent = _i == 1;
    world.limits.initial_delay_ms = 1000;
    struct group_ask *a = ask_join(.rebalance_ms = 5000);
    struct group_ask *b = ask_join(.rebalance_ms = 5000);
    group_world_advance(&world, 2000);
    struct group_ask *silent = is_leader_silent ? a : b;
    struct group_ask *synced = group_world_sync(&world, is_leader_silent ? b->member : a->member, NULL, 1, NULL);
    group_world_stored(&world, true);
    ck_assert(synced->is_answered == !is_leader_silent);
    ck_assert_int_eq(group_world_heartbeat(&world, silent->member, NULL, 1), KAFKA_NONE);
    group_world_advance(&world, 4999);
    ck_assert_uint_eq(world.group.member_count, 2);
    group_world_advance(&world, 1);
    ck_assert_int_eq(group_world_heartbeat(&world, silent->member, NULL, 1), KAFKA_UNKNOWN_MEMBER_ID);
    ck_assert_int_eq(world.group.state, GROUP_PREPARING);
    if (is_leader_silent) {
        ck_answered(synced, KAFKA_REBALANCE_IN_PROGRESS);
    }
}
END_TEST

/* Goal: leaving begins a rebalance at once, also of a static member by its instance alone, and of an unused id. */
START_TEST(leaving)
{
    struct group_ask *old[2];
    group_world_make_stable(&world, 2, old);
    struct group_ask *pending = ask_join(.is_id_required = true);
    ck_assert_int_eq(group_world_leave(&world, pending->member, NULL), KAFKA_NONE);
    ck_assert_int_eq(world.group.state, GROUP_STABLE);
    struct group_ask *fixed = ask_join(.instance = "i");
    ck_assert_int_eq(world.group.state, GROUP_PREPARING);
    ck_assert_int_eq(group_world_leave(&world, "", "j"), KAFKA_UNKNOWN_MEMBER_ID);
    ck_assert_int_eq(group_world_leave(&world, "", "i"), KAFKA_NONE);
    ck_answered(fixed, KAFKA_UNKNOWN_MEMBER_ID);
    ck_assert_int_eq(group_world_leave(&world, old[0]->member, NULL), KAFKA_NONE);
    struct group_ask *last = ask_join(.member = old[1]->member);
    ck_answered(last, KAFKA_NONE);
    ck_assert_int_eq(last->generation, 2);
}
END_TEST

/* Goal: a group that never had a generation leaves nothing to store. */
START_TEST(attempts_leave_no_trace)
{
    world.limits.initial_delay_ms = 1000;
    struct group_ask *only = ask_join();
    ck_assert_int_eq(group_world_leave(&world, only->offered, NULL), KAFKA_NONE);
    ck_answered(only, KAFKA_UNKNOWN_MEMBER_ID);
    group_world_advance(&world, 1000);
    ck_assert(group_is_dormant(&world.group));
    ck_assert_int_eq(world.group.generation, 0);
    ck_assert(group_due_us(&world.group) == GROUP_NEVER);
}
END_TEST

/* Goal: whoever is gone does not wait, and the group goes on without it when its session is over. */
START_TEST(withdrawn_members_do_not_hold_the_group)
{
    struct group_ask *old[2];
    group_world_make_stable(&world, 2, old);
    struct group_ask *a = ask_join(.member = old[0]->member);
    group_world_withdraw(&world, a);
    struct group_ask *b = ask_join(.member = old[1]->member);
    ck_assert(!b->is_answered);
    group_world_advance(&world, 9999);
    ck_assert(!b->is_answered);
    group_world_advance(&world, 1);
    ck_answered(b, KAFKA_NONE);
    ck_assert_uint_eq(world.group.member_count, 1);
}
END_TEST

/* ---- Limits ---- */

START_TEST(group_size_is_bounded)
{
    struct group_ask *old[10];
    group_world_make_stable(&world, 10, old);
    ck_answered(ask_join(), KAFKA_GROUP_MAX_SIZE_REACHED);
    ck_answered(ask_join(.is_id_required = true), KAFKA_GROUP_MAX_SIZE_REACHED);
    ck_assert(!ask_join(.member = old[0]->member)->is_answered);
}
END_TEST

/* Goal: what members say and what they are given has a bound each, and nothing changes when it is passed. */
START_TEST(metadata_is_bounded)
{
    struct group_ask *ask = &world.asks[world.ask_count++];
    *ask = (struct group_ask){.is_join = true};
    uint8_t *large = mem_alloc(GROUP_SIZE_MAX);
    struct group_protocol protocol = {bytes_from_text("range"), {large, GROUP_SIZE_MAX}};
    struct group_join join = {.offered_id = bytes_from_text("x"),
                              .protocol_type = bytes_from_text("consumer"),
                              .protocols = &protocol,
                              .protocol_count = 1,
                              .session_timeout_ms = 10000};
    group_join(&world.group, world.now_us, &join, &ask->wait, &world.answered);
    ck_assert_int_eq(ask->wait.error, KAFKA_GROUP_MAX_SIZE_REACHED);
    list_init(&world.answered);
    ask->is_answered = true;
    struct group_ask *member = ask_join();
    struct group_assignment assignments[2] = {{bytes_from_text("a"), {large, GROUP_ASSIGNED_SIZE_MAX / 2}},
                                              {bytes_from_text("b"), {large, GROUP_ASSIGNED_SIZE_MAX / 2 + 1}}};
    struct group_sync sync = {.member_id = bytes_from_text(member->member),
                              .generation = 1,
                              .assignments = assignments,
                              .assignment_count = 2};
    struct group_wait wait;
    group_sync(&world.group, world.now_us, &sync, &wait, &world.answered);
    ck_assert_int_eq(wait.error, KAFKA_GROUP_MAX_SIZE_REACHED);
    ck_assert(!world.group.is_assigned);
    list_init(&world.answered);
    mem_free(large);
}
END_TEST

/* ---- Subscriptions ---- */

START_TEST(subscriptions_are_read)
{
    static const uint8_t topics[] = {0, 3, 0, 0, 0, 2, 0, 1, 'a', 0, 2, 'b', 'c', 0, 0, 0, 0};
    struct group_protocol protocol = {bytes_from_text("range"), {topics, sizeof(topics)}};
    struct group_join join = {.offered_id = bytes_from_text("x"),
                              .protocol_type = bytes_from_text("consumer"),
                              .protocols = &protocol,
                              .protocol_count = 1,
                              .session_timeout_ms = 10000};
    struct group_wait wait;
    ck_assert(!group_subscribes(&world.group, bytes_from_text("a")));
    group_join(&world.group, world.now_us, &join, &wait, &world.answered);
    list_init(&world.answered);
    ck_assert(group_subscribes(&world.group, bytes_from_text("a")));
    ck_assert(group_subscribes(&world.group, bytes_from_text("bc")));
    ck_assert(!group_subscribes(&world.group, bytes_from_text("b")));
    (void)ask_join(.metadata = "garbage");
    ck_assert(group_subscribes(&world.group, bytes_from_text("b"))); /* who knows */
}
END_TEST

static Suite *group_suite(void)
{
    Suite *suite = suite_create("group");
    TCase *way = tcase_create("way");
    tcase_add_checked_fixture(way, setup, teardown);
    tcase_add_test(way, single_member_gets_its_assignment);
    tcase_add_test(way, followers_wait_for_the_leader);
    tcase_add_test(way, initial_delay_is_extended_up_to_the_rebalance_timeout);
    tcase_add_test(way, initial_delay_ends_without_newcomers);
    tcase_add_test(way, barrier_drops_those_who_do_not_join);
    tcase_add_test(way, pending_ids_hold_the_barrier);
    tcase_add_test(way, pending_ids_are_bounded);
    suite_add_tcase(suite, way);
    TCase *states = tcase_create("states");
    tcase_add_checked_fixture(states, setup, teardown);
    tcase_add_loop_test(states, answers_are_those_of_the_protocol, 0, STAGE_COUNT * WHO_COUNT);
    tcase_add_loop_test(states, joins_in_every_state, 0, STAGE_COUNT);
    suite_add_tcase(suite, states);
    TCase *rules = tcase_create("rules");
    tcase_add_checked_fixture(rules, setup, teardown);
    tcase_add_test(rules, protocol_is_voted_for);
    tcase_add_test(rules, lonely_member_may_change);
    tcase_add_test(rules, silence_ends_a_member);
    tcase_add_loop_test(rules, who_never_syncs_is_removed, 0, 2);
    tcase_add_test(rules, leaving);
    tcase_add_test(rules, attempts_leave_no_trace);
    tcase_add_test(rules, withdrawn_members_do_not_hold_the_group);
    tcase_add_test(rules, group_size_is_bounded);
    tcase_add_test(rules, metadata_is_bounded);
    tcase_add_test(rules, subscriptions_are_read);
    suite_add_tcase(suite, rules);
    return suite;
}

TEST_MAIN(group_suite)
