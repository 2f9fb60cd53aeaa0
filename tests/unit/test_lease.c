/* How long a leader may tell what it has without asking: by hand, and as a replica that was stopped. */
#include "replication/lease.h"
#include "tests/lib/replica_world.h"

enum {
    SELF = 1,
    HELD_MS = ELECTION_MS * 3 / 4,
};

static struct lease lease;
static uint64_t released_ms;

static void setup(void)
{
    memset(&lease, 0, sizeof(lease));
    released_ms = 0;
}

static bool is_held(unsigned voters, unsigned standbys, uint64_t now_ms)
{
    struct membership membership = world_members(voters, standbys);
    struct lease_time time = {.now_ms = now_ms, .election_ms = ELECTION_MS, .released_ms = released_ms};
    return lease_is_held(&lease, 5, &membership, SELF, &time);
}

/* Goal: a majority of the voters, this one included, must have taken what was sent within three quarters of an election
 * timeout.
 * Method: each count of voters, heard one after the other, and looked at before and after. */
START_TEST(a_majority_holds_it)
{
    for (unsigned voters = 1; voters <= 7; voters++) {
        setup();
        for (unsigned heard = 1; heard <= voters; heard++) {
            if (heard > 1) {
                lease_heard(&lease, 5, heard, 1000);
            }
            ck_assert_int_eq(is_held(voters, 0, 1000 + HELD_MS - 1), heard > voters / 2);
        }
        ck_assert_int_eq(is_held(voters, 0, 1000 + HELD_MS), voters == 1);
    }
}
END_TEST

/* Goal: what does not count: other terms, standbys, servers that are no members, and promises that were given back. */
START_TEST(others_do_not_count)
{
    lease_heard(&lease, 4, 2, 1000);
    ck_assert(!is_held(3, 0, 1000));
    lease_heard(&lease, 5, 9, 1000);
    ck_assert(!is_held(3, 0, 1000));
    lease_heard(&lease, 5, 4, 1000); /* the standby of three voters and one */
    ck_assert(!is_held(3, 1, 1000));
    lease_heard(&lease, 5, 2, 1000);
    ck_assert(is_held(3, 1, 1000));
    released_ms = 1000;
    ck_assert(!is_held(3, 1, 1000));
    lease_heard(&lease, 5, 2, 1001);
    ck_assert(is_held(3, 1, 1001));
    released_ms = 0;
    for (uint64_t server = 100; server < 150; server++) {
        lease_heard(&lease, 5, server, 1000); /* many come and go */
    }
    lease_heard(&lease, 5, 3, 1000);
    ck_assert(is_held(3, 0, 1000));
}
END_TEST

/* Goal: an answer to something older, which was late, takes nothing back. */
START_TEST(answers_may_change_places)
{
    lease_heard(&lease, 5, 2, 1100);
    lease_heard(&lease, 5, 2, 1000);
    ck_assert(is_held(3, 0, 1100 + HELD_MS - 1));
    ck_assert(!is_held(3, 0, 1100 + HELD_MS));
}
END_TEST

/* An answer that was on its way for a while, or lay in a socket: what it answers was sent `ms` ago. */
static void ack_late(uint64_t peer, uint64_t ms)
{
    world_receive((struct replica_message){
        .kind = REPLICA_APPEND_RESULT,
        .peer = peer,
        .term = replica_term(world.replica),
        .append_result = {.last_index = 2, .echo_ms = world_now_ms() - ms},
    });
}

/* The clock goes on, and nothing of this thread does. */
static void stop_ms(uint64_t ms)
{
    world.turn.now_us += ms * 1000;
}

static void hear_all(void)
{
    turn_env_advance(&world.turn, 1000 * (uint64_t)HEARTBEAT_MS);
    world_ack(2, 2);
    world_ack(3, 2);
    ck_assert(replica_is_leading(world.replica));
}

/* Goal:   a leader that was stopped tells nothing before a majority has answered what it sent since; what stood in the
 *         sockets is no such answer, nor is one that has no time, or one of the future.
 * Method: three voters; stopped for two seconds; old answers come then, in several turns; then a new one. */
START_TEST(a_leader_that_was_stopped_is_none_for_readers)
{
    world_open(3, 0);
    world_elect_and_commit();
    hear_all();
    stop_ms(2000);
    ck_assert(!replica_is_leading(world.replica));
    ack_late(2, 2000);
    ack_late(3, 1990);
    ck_assert(replica_is_ready_leader(world.replica));
    ck_assert(!replica_is_leading(world.replica));
    turn_env_advance(&world.turn, 100000);
    ack_late(3, HELD_MS);
    ck_assert(!replica_is_leading(world.replica));
    ack_late(3, world_now_ms());
    world_receive((struct replica_message){
        .kind = REPLICA_APPEND_RESULT,
        .peer = 3,
        .term = replica_term(world.replica),
        .append_result = {.last_index = 2, .echo_ms = world_now_ms() + 1},
    });
    ck_assert(!replica_is_leading(world.replica));
    ack_late(3, HELD_MS - 1);
    ck_assert(replica_is_leading(world.replica));
    world_close();
}
END_TEST

/* Goal: a leader that hears nobody is none for readers before another one can be elected; links that it has lost say
 * nothing of what was promised to it. */
START_TEST(a_leader_that_is_cut_off_is_none_for_readers)
{
    world_open(3, 0);
    world_elect_and_commit();
    hear_all();
    turn_env_advance(&world.turn, 1000 * (uint64_t)(HELD_MS - 1));
    ck_assert(replica_is_leading(world.replica));
    turn_env_advance(&world.turn, 1000);
    ck_assert(!replica_is_leading(world.replica));
    world_ack(2, 2);
    world_ack(3, 2);
    ck_assert(replica_is_leading(world.replica));
    replica_shard_peer_down(world.shard, 2);
    replica_shard_peer_down(world.shard, 3);
    ck_assert(replica_is_leading(world.replica));
    world_close();
}
END_TEST

/* Goal:   a leader that has told another one to campaign counts on nothing that was promised before, nor for as long as
 *         the order may be carried out.
 * Method: three voters; leadership is handed to server 2, which never moves; server 3 goes on answering. */
START_TEST(a_leader_that_hands_over_is_none_for_readers)
{
    world_open(3, 0);
    world_elect_and_commit();
    hear_all();
    ck_assert_int_eq((int)replica_transfer(world.replica, 2), (int)OK);
    world_settle();
    ck_assert_uint_eq(world_sent(REPLICA_TIMEOUT_NOW), 1);
    const struct replica_message *order = &world.sent[world.sent_count - 1];
    ck_assert_uint_eq(order->timeout_now.released_ms, world_now_ms() + ELECTION_MS);
    for (unsigned ms = 0; ms <= ELECTION_MS; ms += ELECTION_MS / 10) {
        ck_assert(!replica_is_leading(world.replica));
        world_ack(3, 2);
        ck_assert(!replica_is_leading(world.replica));
        turn_env_advance(&world.turn, 1000 * (uint64_t)(ELECTION_MS / 10));
    }
    ck_assert(replica_is_ready_leader(world.replica));
    world_ack(3, 2);
    ck_assert(replica_is_leading(world.replica));
    world_close();
}
END_TEST

/* Goal: nothing of this is asked of who is alone. */
START_TEST(a_sole_voter_always_leads)
{
    world_open(1, 0);
    world_settle();
    stop_ms(1000000);
    ck_assert(replica_is_leading(world.replica));
    world_close();
}
END_TEST

static Suite *lease_suite(void)
{
    Suite *suite = suite_create("lease");
    TCase *tcase = tcase_create("lease");
    tcase_add_checked_fixture(tcase, setup, NULL);
    tcase_add_test(tcase, a_majority_holds_it);
    tcase_add_test(tcase, others_do_not_count);
    tcase_add_test(tcase, answers_may_change_places);
    tcase_add_test(tcase, a_leader_that_was_stopped_is_none_for_readers);
    tcase_add_test(tcase, a_leader_that_is_cut_off_is_none_for_readers);
    tcase_add_test(tcase, a_leader_that_hands_over_is_none_for_readers);
    tcase_add_test(tcase, a_sole_voter_always_leads);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(lease_suite)
