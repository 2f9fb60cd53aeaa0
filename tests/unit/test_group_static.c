/* Static members (KIP-345, KIP-814), and what becomes of a group when its coordinator does not store, or goes. */
#include "metadata/group.h"
#include "tests/lib/group_world.h"
#include "tests/lib/test.h"
#include <stdio.h>

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

/* Two static members, "a" leads; both have a part. */
static void make_static(struct group_ask **a, struct group_ask **b)
{
    char text[100];
    world.limits.initial_delay_ms = 1000;
    *a = ask_join(.instance = "a");
    *b = ask_join(.instance = "b");
    group_world_advance(&world, 2000);
    (void)snprintf(text, sizeof(text), "%s=1,%s=2", (*a)->member, (*b)->member);
    (void)group_world_sync(&world, (*a)->member, "a", 1, text);
    (void)group_world_sync(&world, (*b)->member, "b", 1, NULL);
    group_world_stored(&world, true);
    ck_assert_int_eq(world.group.state, GROUP_STABLE);
}

/* Goal: a follower that restarts goes on with its part, nobody else notices, and its former self is fenced. */
START_TEST(follower_restarts_without_a_rebalance)
{
    struct group_ask *a;
    struct group_ask *b;
    make_static(&a, &b);
    struct group_ask *back = ask_join(.instance = "b", .metadata = "fresh");
    ck_assert(!back->is_answered); /* another coordinator must know its new id */
    ck_assert_int_eq(group_world_heartbeat(&world, a->member, "a", 1), KAFKA_NONE);
    group_world_stored(&world, true);
    ck_answered(back, KAFKA_NONE);
    ck_assert_int_eq(back->generation, 1);
    ck_assert_str_eq(back->member, back->offered);
    ck_assert_str_eq(back->leader, a->member);
    ck_assert(!back->has_members);
    ck_assert_int_eq(world.group.state, GROUP_STABLE);
    struct group_ask *sync = group_world_sync(&world, back->member, "b", 1, NULL);
    ck_answered(sync, KAFKA_NONE);
    ck_assert_str_eq(sync->assignment, "2");
    ck_assert_int_eq(group_world_heartbeat(&world, b->member, "b", 1), KAFKA_FENCED_INSTANCE_ID);
    ck_answered(ask_join(.member = b->member, .instance = "b"), KAFKA_FENCED_INSTANCE_ID);
    ck_answered(group_world_sync(&world, b->member, "b", 1, NULL), KAFKA_FENCED_INSTANCE_ID);
}
END_TEST

/* Goal: a leader that restarts must not assign anew: before JoinGroup 9 it is told another leader, from then on that it
 * leads and skips. */
START_TEST(leader_restarts_without_a_rebalance)
{
    struct group_ask *a;
    struct group_ask *b;
    bool can_skip = _i == 1;
    make_static(&a, &b);
    struct group_ask *back = ask_join(.instance = "a", .can_skip = can_skip);
    group_world_stored(&world, true);
    ck_answered(back, KAFKA_NONE);
    ck_assert_int_eq(back->generation, 1);
    ck_assert_str_eq(back->leader, can_skip ? back->member : a->member);
    ck_assert(back->skips == can_skip);
    ck_assert_uint_eq(back->member_count, can_skip ? 2 : 0);
    struct group_ask *sync = group_world_sync(&world, back->member, "a", 1, NULL);
    ck_answered(sync, KAFKA_NONE);
    ck_assert_str_eq(sync->assignment, "1");
}
END_TEST

/* Goal: the id that was being stored is fenced by a third start; each start is answered. */
START_TEST(restart_during_a_restart)
{
    struct group_ask *a;
    struct group_ask *b;
    make_static(&a, &b);
    struct group_ask *second = ask_join(.instance = "b");
    struct group_ask *third = ask_join(.instance = "b");
    ck_answered(second, KAFKA_FENCED_INSTANCE_ID);
    group_world_stored(&world, true);
    ck_answered(third, KAFKA_NONE);
    ck_assert_str_eq(third->member, third->offered);
}
END_TEST

/* Goal: where the protocol would become another, or a rebalance is under way, a restart is a join like others. */
START_TEST(restart_that_changes_the_protocol_rebalances)
{
    struct group_ask *a = ask_join(.instance = "a", .protocols = "range,sticky");
    (void)group_world_sync(&world, a->member, "a", 1, NULL);
    group_world_stored(&world, true);
    struct group_ask *back = ask_join(.instance = "a", .protocols = "sticky");
    ck_answered(back, KAFKA_NONE);
    ck_assert_int_eq(back->generation, 2);
    ck_assert_str_eq(back->protocol, "sticky");
    struct group_ask *again = ask_join(.instance = "a", .protocols = "sticky"); /* while syncs are awaited */
    ck_answered(again, KAFKA_NONE);
    ck_assert_int_eq(again->generation, 3);
}
END_TEST

/* Goal: a static member that is away stays through rebalances until its session is over. */
START_TEST(absent_static_member_stays)
{
    struct group_ask *a;
    struct group_ask *b;
    make_static(&a, &b);
    struct group_ask *c = ask_join(.session_ms = 100000, .rebalance_ms = 3000);
    struct group_ask *again = ask_join(.member = a->member, .instance = "a");
    ck_assert(!c->is_answered);
    group_world_advance(&world, 9000);
    ck_assert(!again->is_answered);
    group_world_advance(&world, 1000); /* "b" is gone, so all are there */
    ck_answered(again, KAFKA_NONE);
    ck_answered(c, KAFKA_NONE);
    ck_assert_uint_eq(again->member_count, 2);
}
END_TEST

/* Goal: the barrier opens at its time without a static member, which is still in the group, and may come later. */
START_TEST(absent_static_member_does_not_hold_the_barrier)
{
    struct group_ask *a = ask_join(.instance = "a", .session_ms = 100000, .rebalance_ms = 3000);
    (void)group_world_sync(&world, a->member, "a", 1, NULL);
    group_world_stored(&world, true);
    struct group_ask *b = ask_join(.rebalance_ms = 3000);
    group_world_advance(&world, 3000);
    ck_answered(b, KAFKA_NONE);
    ck_assert_str_eq(b->leader, b->member);
    ck_assert_uint_eq(b->member_count, 2);
    ck_assert_int_eq(group_world_heartbeat(&world, a->member, "a", 1), KAFKA_ILLEGAL_GENERATION);
    struct group_ask *again = ask_join(.member = a->member, .instance = "a");
    ck_answered(again, KAFKA_NONE); /* nothing has changed for the others */
    ck_assert_int_eq(again->generation, 2);
}
END_TEST

/* Goal: when only static members that are away are left, nobody leads, and the group waits for one. */
START_TEST(all_static_members_away)
{
    struct group_ask *a;
    struct group_ask *b;
    world.limits.session_timeout_max_ms = 1000000;
    world.limits.initial_delay_ms = 1000;
    a = ask_join(.instance = "a", .session_ms = 900000, .rebalance_ms = 3000);
    b = ask_join(.rebalance_ms = 3000);
    group_world_advance(&world, 2000);
    ck_answered(b, KAFKA_NONE);
    ck_assert_int_eq(group_world_leave(&world, b->member, NULL), KAFKA_NONE);
    group_world_advance(&world, 60000);
    ck_assert_int_eq(world.group.state, GROUP_PREPARING);
    ck_assert_int_eq(world.group.generation, 1);
    struct group_ask *again = ask_join(.member = a->member, .instance = "a", .session_ms = 900000);
    ck_answered(again, KAFKA_NONE);
    ck_assert_int_eq(again->generation, 2);
}
END_TEST

/* ---- Storing ---- */

/* Goal: an assignment that could not be stored is nobody's: all are told to find the coordinator, and join again. */
START_TEST(failed_store_begins_anew)
{
    struct group_ask *a = ask_join();
    struct group_ask *sync = group_world_sync(&world, a->member, NULL, 1, NULL);
    group_world_stored(&world, false);
    ck_answered(sync, KAFKA_COORDINATOR_NOT_AVAILABLE);
    ck_assert_int_eq(world.group.state, GROUP_PREPARING);
    struct group_ask *again = ask_join(.member = a->member);
    ck_answered(again, KAFKA_NONE);
    ck_assert_int_eq(again->generation, 2);
}
END_TEST

/* Goal: an empty group, and a static member's new id, are stored sooner or later. */
START_TEST(failed_store_is_repeated)
{
    struct group_ask *a;
    struct group_ask *b;
    make_static(&a, &b);
    struct group_ask *back = ask_join(.instance = "b");
    group_world_stored(&world, false);
    ck_answered(back, KAFKA_COORDINATOR_NOT_AVAILABLE);
    ck_assert(world.group.version > world.group.stored_version);
    struct group_ask *again = ask_join(.instance = "b");
    group_world_stored(&world, true);
    ck_answered(again, KAFKA_NONE);
    group_world_advance(&world, 20000);
    ck_assert_int_eq(world.group.state, GROUP_EMPTY);
    group_world_stored(&world, false);
    ck_assert(!group_is_dormant(&world.group));
    group_world_stored(&world, true);
    ck_assert(group_is_dormant(&world.group));
}
END_TEST

/* Goal: a rebalance that begins while the assignment is being stored has all join again; the late news changes
 * nothing. */
START_TEST(rebalance_while_storing)
{
    struct group_ask *a = ask_join();
    struct group_ask *sync = group_world_sync(&world, a->member, NULL, 1, NULL);
    (void)ask_join();
    ck_answered(sync, KAFKA_REBALANCE_IN_PROGRESS);
    group_world_stored(&world, true);
    ck_assert_int_eq(world.group.state, GROUP_PREPARING);
}
END_TEST

/* ---- Another coordinator ---- */

/* Goal: members go on in their generation with what they have; sessions start anew; who was waiting asks again. */
START_TEST(another_coordinator_goes_on)
{
    struct group_ask *a;
    struct group_ask *b;
    make_static(&a, &b);
    group_world_advance(&world, 9000);
    group_world_fail_over(&world);
    ck_assert_int_eq(world.group.state, GROUP_STABLE);
    group_world_advance(&world, 9000);
    ck_assert_int_eq(group_world_heartbeat(&world, a->member, "a", 1), KAFKA_NONE);
    struct group_ask *sync = group_world_sync(&world, b->member, "b", 1, NULL);
    ck_answered(sync, KAFKA_NONE);
    ck_assert_str_eq(sync->assignment, "2");
    struct group_ask *again = ask_join(.member = a->member, .instance = "a"); /* the leader still leads */
    ck_assert(!again->is_answered);
    (void)ask_join(.member = b->member, .instance = "b");
    ck_answered(again, KAFKA_NONE);
    ck_assert_int_eq(again->generation, 2);
}
END_TEST

START_TEST(empty_group_keeps_its_generation)
{
    struct group_ask *a = ask_join();
    ck_assert_int_eq(group_world_leave(&world, a->member, NULL), KAFKA_NONE);
    group_world_fail_over(&world);
    ck_assert_int_eq(world.group.state, GROUP_EMPTY);
    ck_assert(group_is_dormant(&world.group));
    ck_assert_int_eq(ask_join()->generation, 3);
}
END_TEST

/* Goal: stored values that make no sense are refused and leave an empty group. */
START_TEST(senseless_values_are_refused)
{
    Balsa__Record__GroupProtocol protocol = BALSA__RECORD__GROUP_PROTOCOL__INIT;
    Balsa__Record__GroupProtocol *protocols[] = {&protocol};
    Balsa__Record__GroupMember member = BALSA__RECORD__GROUP_MEMBER__INIT;
    Balsa__Record__GroupMember *members[] = {&member, &member};
    Balsa__Record__GroupValue value = BALSA__RECORD__GROUP_VALUE__INIT;
    uint8_t x[] = "x";
    protocol.name = member.id = value.leader = value.protocol = value.protocol_type = (ProtobufCBinaryData){1, x};
    value.members = members;
    value.n_members = 1;
    ck_assert_int_eq(group_restore(&world.group, 0, &value), ERR_CORRUPT); /* a member without protocols */
    member.protocols = protocols;
    member.n_protocols = 1;
    value.n_members = 2;
    ck_assert_int_eq(group_restore(&world.group, 0, &value), ERR_CORRUPT); /* twice the same */
    value.n_members = 1;
    value.leader.len = 0;
    ck_assert_int_eq(group_restore(&world.group, 0, &value), ERR_CORRUPT); /* nobody leads */
    value.leader.len = 1;
    value.protocol.len = 0;
    ck_assert_int_eq(group_restore(&world.group, 0, &value), ERR_CORRUPT); /* a protocol that nobody has */
    ck_assert_uint_eq(world.group.member_count, 0);
    value.protocol.len = 1;
    ck_assert_int_eq(group_restore(&world.group, 0, &value), OK);
}
END_TEST

static Suite *group_static_suite(void)
{
    Suite *suite = suite_create("group_static");
    TCase *members = tcase_create("static members");
    tcase_add_checked_fixture(members, setup, teardown);
    tcase_add_test(members, follower_restarts_without_a_rebalance);
    tcase_add_loop_test(members, leader_restarts_without_a_rebalance, 0, 2);
    tcase_add_test(members, restart_during_a_restart);
    tcase_add_test(members, restart_that_changes_the_protocol_rebalances);
    tcase_add_test(members, absent_static_member_stays);
    tcase_add_test(members, absent_static_member_does_not_hold_the_barrier);
    tcase_add_test(members, all_static_members_away);
    suite_add_tcase(suite, members);
    TCase *storing = tcase_create("storing");
    tcase_add_checked_fixture(storing, setup, teardown);
    tcase_add_test(storing, failed_store_begins_anew);
    tcase_add_test(storing, failed_store_is_repeated);
    tcase_add_test(storing, rebalance_while_storing);
    tcase_add_test(storing, another_coordinator_goes_on);
    tcase_add_test(storing, empty_group_keeps_its_generation);
    tcase_add_test(storing, senseless_values_are_refused);
    suite_add_tcase(suite, storing);
    return suite;
}

TEST_MAIN(group_static_suite)
