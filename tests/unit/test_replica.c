/* One replica: what is stepped, written, applied and sent, and when. */
#include "tests/lib/replica_world.h"

/* ---- A group of one --------------------------------------------------------------------------------------------- */

/* Goal: a sole voter serves after one durable write, which holds its new term, its vote and its barrier (R8, R9d).
 * Method: open; look at the frames; make them durable. */
START_TEST(sole_voter_is_ready_after_one_write)
{
    world_open(1, 0);
    turn_env_run(&world.turn);
    ck_assert_uint_eq(world.log.count, 2);
    ck_assert_int_eq((int)world.log.frames[0].kind, WAL_HARD_STATE);
    ck_assert_uint_eq(world.log.frames[0].term, 2);
    ck_assert_uint_eq(world.log.frames[0].value, 1);
    ck_assert_int_eq((int)world.log.frames[1].kind, WAL_ENTRY);
    ck_assert_uint_eq(world.log.frames[1].index, 2);
    ck_assert_int_eq((int)world_submit(1, 4), (int)ERR_NOT_READY);
    world_sync();
    ck_assert(replica_is_ready_leader(world.replica));
    ck_assert(world.status.is_ready);
    ck_assert_int_eq(metrics_value(world.turn.env.metrics, METRIC_LEADERS), 1);
    world_close();
}
END_TEST

/* Goal: an alone broker at rest does nothing at all. Method: an hour passes; no timer was ever set. */
START_TEST(sole_voter_sets_no_timer)
{
    world_open(1, 0);
    world_settle();
    int64_t before = world_steps();
    turn_env_advance(&world.turn, 3600ull * 1000000);
    ck_assert_uint_eq(world.turn.timer_sets, 0);
    ck_assert_int_eq(world_steps(), before);
    world_close();
}
END_TEST

/* Goal: the proposals of a turn are one step and are applied in order, when they are durable and not before.
 * Method: 20 proposals in one turn. */
START_TEST(proposals_of_a_turn_are_one_step)
{
    world_open(1, 0);
    world_settle();
    int64_t before = world_steps();
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_int_eq((int)world_submit(i, 10), (int)OK);
        ck_assert_uint_eq(world.applied_count, 0);
    }
    turn_env_run(&world.turn);
    ck_assert_int_eq(world_steps(), before + 1);
    ck_assert_uint_eq(world.applied_count, 0);
    world_sync();
    ck_assert_int_eq(world_steps(), before + 2);
    ck_assert_uint_eq(world.applied_count, 20);
    ck_assert_uint_eq(world.turns, 3); /* those of the first entry and the barrier, and this one */
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_uint_eq(world.applied[i], i);
    }
    ck_assert_uint_eq(world_frames(WAL_COMMIT), 2); /* one a turn with applies */
    struct replica_status status;
    replica_status(world.replica, &status);
    ck_assert_uint_eq(status.applied_index, 22);
    ck_assert_uint_eq(status.first_index, 23); /* alone: nobody needs what is applied */
    ck_assert_uint_eq(replica_shard_tail_size(world.shard), 0);
    ck_assert_int_eq(metrics_value(world.turn.env.metrics, METRIC_TAIL_BYTES), 0);
    world_close();
}
END_TEST

/* Goal: a machine may propose from its own callbacks. Method: each applied() proposes one more, three times. */
START_TEST(machine_may_submit_while_it_applies)
{
    world_open(1, 0);
    world_settle();
    world.submit_on_applied = 3;
    ck_assert_int_eq((int)world_submit(1, 4), (int)OK);
    world_settle();
    ck_assert_uint_eq(world.applied_count, 4);
    world_close();
}
END_TEST

/* Goal: what waits to be committed is bounded, in entries and bytes, and opens again. Method: propose to the limits
 * while the log does not become durable. */
START_TEST(proposals_over_the_bounds_are_refused)
{
    world_open(1, 0);
    world_settle();
    unsigned taken = 0;
    while (world_submit(1, 1) == OK) {
        taken++;
        ck_assert_uint_le(taken, GROUP_UNCOMMITTED_COUNT_MAX);
    }
    ck_assert_uint_eq(taken, GROUP_UNCOMMITTED_COUNT_MAX);
    ck_assert_int_eq((int)world_submit(1, 1), (int)ERR_BUSY);
    turn_env_run(&world.turn);
    ck_assert_int_eq((int)world_submit(1, 1), (int)ERR_BUSY);
    world.applied_count = 0;
    world_close();

    world_open(1, 0);
    world_settle();
    taken = 0;
    while (world_submit(1, MIB(4)) == OK) {
        taken++;
    }
    ck_assert_uint_eq(taken, 7); /* of 8 the last would be over, by what an entry costs besides its payload */
    world_sync();
    ck_assert_int_eq((int)world_submit(2, MIB(4)), (int)OK);
    world.log.is_stalled = true;
    ck_assert_int_eq((int)world_submit(2, 1), (int)ERR_BUSY);
    world.log.is_stalled = false;
    ck_assert_int_eq((int)world_submit(2, 1), (int)OK);
    ck_assert_int_eq(metrics_value(world.turn.env.metrics, METRIC_PROPOSALS_REFUSED), 2);
    world_close();
}
END_TEST

/* Goal: a shard takes no more than its share of the log, but little ones; and takes more when that is applied. Method:
 * propose while the log does not become durable; a member that does not lead counts nothing. */
START_TEST(intake_of_a_shard_is_bounded)
{
    world_intake_size = KIB(200);
    world_open(1, 0);
    world_settle();
    for (unsigned round = 0; round < 3; round++) {
        unsigned taken = 0;
        while (world_submit(1, KIB(20)) == OK) {
            taken++;
        }
        ck_assert_uint_eq(taken, 10); /* with what an entry costs besides, the tenth is over */
        turn_env_run(&world.turn);
        ck_assert_int_eq((int)world_submit(1, 10), (int)ERR_BUSY);
        world_settle();
    }
    ck_assert_uint_eq(world.applied_count, 30);
    ck_assert_int_eq((int)world_submit(1, MIB(1)), (int)OK); /* one larger than the share goes alone */
    ck_assert_int_eq((int)world_submit(1, 10), (int)ERR_BUSY);
    world_settle();
    world_close();
    world_intake_size = 0;
}
END_TEST

/* The next entry from the leader, server 2, of `size` bytes. Returns whether it was taken. */
static bool follow(size_t size, uint64_t commit)
{
    struct replica_status status;
    replica_status(world.replica, &status);
    uint64_t last = status.last_index;
    uint8_t payload[KIB(20)] = {1};
    struct entry *entry = entry_new_copy(ENTRY_COMMAND, last + 1, 2, (struct bytes){payload, size});
    struct replica_message message = {.kind = REPLICA_APPEND, .peer = 2, .term = 2};
    message.append.prev_index = last;
    message.append.prev_term = last == 1 ? 1 : 2;
    message.append.commit_index = commit;
    message.append.entries = &entry;
    message.append.entry_count = 1;
    world_receive(message);
    entry_release(entry);
    replica_status(world.replica, &status);
    return status.last_index > last;
}

/* Goal: what waits in the groups that a shard follows is bounded by its share of the log, whoever sends it, but each
 * group has a little in any case; and there is room again when that is applied. Method: a leader's entries that do not
 * become committed; then they are. */
START_TEST(what_a_shard_follows_is_bounded)
{
    bool is_little = _i == 1;
    world_follow_size = is_little ? KIB(10) : KIB(200);
    world_open(3, 0);
    world_settle();
    uint64_t commit = 1;
    for (unsigned round = 0; round < 3; round++) {
        unsigned taken = 0;
        while (follow(KIB(20), commit)) {
            taken++;
            world_settle();
            ck_assert_uint_le(taken, 20);
        }
        ck_assert_uint_eq(taken, is_little ? 4 : 10); /* with what an entry costs besides, this one is over */
        commit += taken;
        (void)follow(10, commit); /* not taken, but it says what is committed */
        world_settle();
        ck_assert_uint_eq(world.applied_count, (round + 1) * taken);
    }
    world_close();
    world_follow_size = 0;
}
END_TEST

/* Goal: damage that the machine finds takes the replica out at the end of the turn. Method: at the second of three. */
START_TEST(damage_stops_the_replica_at_the_end_of_the_turn)
{
    world_open(1, 0);
    world_settle();
    world.damage_at = 6;
    ck_assert_int_eq((int)world_submit(5, 4), (int)OK);
    ck_assert_int_eq((int)world_submit(6, 4), (int)OK);
    ck_assert_int_eq((int)world_submit(7, 4), (int)OK);
    world_settle();
    ck_assert_uint_eq(world.damaged, 1);
    ck_assert_uint_eq(world.applied_count, 2);
    ck_assert_int_eq((int)world_submit(8, 4), (int)ERR_NOT_LEADER);
    struct replica_status status;
    replica_status(world.replica, &status);
    ck_assert_int_eq((int)status.role, REPLICA_FOLLOWER);
    ck_assert_int_eq(metrics_value(world.turn.env.metrics, METRIC_LEADERS), 0);
    world_close();
}
END_TEST

/* ---- Messages and the log --------------------------------------------------------------------------------------- */

/* Goal: nothing of a new term leaves before term and vote are durable (R2). Method: pre-vote (no new term: leaves at
 * once), then the real election, with the log held back. */
START_TEST(messages_wait_for_term_and_vote)
{
    bool is_ruled = _i == 0;
    world_open(3, 0);
    world_sync();
    raft_rules_disabled = is_ruled ? 0 : 1u << RULE_GATE;
    turn_env_advance(&world.turn, 2 * ELECTION_MS * 1000 + 200000);
    ck_assert_uint_eq(world_sent(REPLICA_VOTE), 2);
    ck_assert(world.sent[0].vote.is_pre_vote);
    world.sent_count = 0;
    world_vote_for_me(true);
    ck_assert_uint_eq(replica_term(world.replica), 2);
    ck_assert_uint_eq(world_sent(REPLICA_VOTE), is_ruled ? 0 : 2);
    world_sync();
    ck_assert_uint_eq(world_sent(REPLICA_VOTE), 2);
    ck_assert(!world.sent[0].vote.is_pre_vote);
    world_close();
}
END_TEST

/* Goal: a membership change leaves the leader only when its own log holds it (R23). Method: a leader of three adds a
 * standby; its log is held back. */
START_TEST(messages_wait_for_the_own_membership_change)
{
    bool is_ruled = _i == 0;
    world_open(3, 0);
    world_elect_and_commit();
    raft_rules_disabled = is_ruled ? 0 : 1u << RULE_GATE_CHANGE;
    struct membership next = world_members(3, 1);
    ck_assert_int_eq((int)replica_change(world.replica, &next), (int)OK);
    turn_env_run(&world.turn);
    ck_assert(is_ruled == (world_sent(REPLICA_APPEND) == 0));
    world_sync();
    ck_assert_uint_gt(world_sent(REPLICA_APPEND), 0);
    ck_assert_int_eq((int)replica_change(world.replica, &next), (int)ERR_BUSY);
    world_ack(2, 3);
    world_settle();
    struct replica_status status;
    replica_status(world.replica, &status);
    ck_assert_uint_eq(status.membership.count, 4);
    ck_assert_uint_eq(status.membership_index, 3);
    ck_assert(status.is_membership_committed);
    world_close();
}
END_TEST

/* Goal: large ranges go out in pieces that do not hold up heartbeats (R15). Method: 12 proposals of 300 KiB and one of
 * 2 MiB in one turn. */
START_TEST(large_appends_are_split)
{
    bool is_ruled = _i == 0;
    world_open(3, 0);
    world_elect_and_commit();
    raft_rules_disabled = is_ruled ? 0 : 1u << RULE_SPLIT_SIZE;
    for (unsigned i = 0; i < 12; i++) {
        ck_assert_int_eq((int)world_submit(i, KIB(300)), (int)OK);
    }
    ck_assert_int_eq((int)world_submit(12, MIB(2)), (int)OK);
    turn_env_run(&world.turn);
    unsigned entries = 0;
    uint64_t next = 2;
    for (unsigned i = 0; i < world.sent_count; i++) {
        if (world.sent[i].kind == REPLICA_APPEND && world.sent[i].peer == 2 && world.sent_entries[i] > 0) {
            ck_assert_uint_eq(world.sent[i].append.prev_index, next);
            ck_assert(!is_ruled || world.sent_sizes[i] <= APPEND_SIZE_MAX || world.sent_entries[i] == 1);
            next += world.sent_entries[i];
            entries += world.sent_entries[i];
        }
    }
    ck_assert_uint_eq(entries, 13);
    ck_assert(is_ruled == (world_sent(REPLICA_APPEND) > 2));
    world_close();
}
END_TEST

/* Goal: applied entries that are gone from memory are not sent; the follower gets a catch-up. Method: nothing is
 * retained; 3 has not answered since the start, and now says that it has nothing. */
START_TEST(follower_behind_the_memory_gets_a_catch_up)
{
    world_open(3, 0);
    world_elect_and_commit();
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_int_eq((int)world_submit(i, 100), (int)OK);
        world_settle();
        world_ack(2, 3 + i);
    }
    ck_assert_uint_eq(world.applied_count, 10);
    world.sent_count = 0;
    uint64_t term = replica_term(world.replica);
    for (unsigned i = 0; i < 3; i++) {
        for (uint64_t rejected = 12; rejected > 0; rejected--) {
            world_receive((struct replica_message){.kind = REPLICA_APPEND_RESULT,
                                                   .peer = 3,
                                                   .term = term,
                                                   .append_result = {.rejected = rejected, .last_index = 0}});
        }
        world_ack(2, 12);
        turn_env_advance(&world.turn, HEARTBEAT_MS * 1000);
        world.sent_count = world.sent_count > SENT_MAX / 2 ? 0 : world.sent_count;
    }
    ck_assert_uint_gt(world_sent(REPLICA_INSTALL), 0);
    for (unsigned i = 0; i < world.sent_count; i++) {
        if (world.sent[i].kind == REPLICA_INSTALL) {
            ck_assert_uint_eq(world.sent[i].peer, 3);
            ck_assert_uint_ge(world.sent[i].install.last_index, 2);
            ck_assert_uint_eq(world.sent[i].install.membership.count, 3);
        }
    }
    world_close();
}
END_TEST

/* Goal: losing leadership drops what was not stepped and tells the machine. Method: two proposals, then a newer term
 * in the same turn. */
START_TEST(proposals_of_a_lost_term_are_dropped)
{
    world_open(3, 0);
    world_elect_and_commit();
    ck_assert_int_eq((int)world_submit(1, 4), (int)OK);
    ck_assert_int_eq((int)world_submit(2, 4), (int)OK);
    struct replica_message newer = {
        .kind = REPLICA_APPEND, .peer = 2, .term = 9, .append = {.prev_index = 2, .prev_term = 2, .commit_index = 2}};
    replica_receive(world.replica, &newer);
    turn_env_run(&world.turn);
    ck_assert_int_eq((int)world.status.role, REPLICA_FOLLOWER);
    ck_assert_uint_eq(world.status.term, 9);
    ck_assert_uint_eq(world.status.leader, 2);
    ck_assert_int_eq((int)world_submit(3, 4), (int)ERR_NOT_LEADER);
    struct replica_status status;
    replica_status(world.replica, &status);
    ck_assert_uint_eq(status.last_index, 2);
    world_close();
}
END_TEST

/* Goal: a hand-over stops the intake until the target has the log, then asks it to campaign; without an answer the
 * intake is open again after an election timeout (R13). */
START_TEST(transfer_stops_the_intake_for_a_while)
{
    world_open(3, 0);
    world_elect_and_commit();
    ck_assert_int_eq((int)replica_transfer(world.replica, 1), (int)ERR_INVALID);
    ck_assert_int_eq((int)replica_transfer(world.replica, 9), (int)ERR_INVALID);
    ck_assert_int_eq((int)world_submit(1, 4), (int)OK);
    ck_assert_int_eq((int)replica_transfer(world.replica, 2), (int)OK);
    ck_assert_int_eq((int)replica_transfer(world.replica, 2), (int)ERR_BUSY);
    world_settle();
    ck_assert_int_eq((int)world_submit(2, 4), (int)ERR_NOT_READY);
    ck_assert_uint_eq(world_sent(REPLICA_TIMEOUT_NOW), 0);
    world_ack(2, 3);
    world_settle();
    ck_assert_uint_eq(world_sent(REPLICA_TIMEOUT_NOW), 1);
    ck_assert_uint_eq(world.applied_count, 1);
    ck_assert_int_eq((int)world_submit(2, 4), (int)ERR_NOT_READY);
    for (unsigned i = 0; i < 12; i++) { /* 2 does not campaign, but answers */
        turn_env_advance(&world.turn, HEARTBEAT_MS * 1000);
        world_ack(2, 3);
        world.sent_count = 0;
    }
    ck_assert_int_eq((int)world_submit(2, 4), (int)OK);
    world_close();
}
END_TEST

/* ---- Time ------------------------------------------------------------------------------------------------------- */

/* Goal: followers campaign within one to two election timeouts, leaders pulse at each heartbeat, not more often.
 * Method: 20 s of each. */
START_TEST(timers_keep_their_rates)
{
    world_open(3, 0);
    world_sync();
    turn_env_advance(&world.turn, (ELECTION_MS - 100) * 1000);
    ck_assert_uint_eq(world.sent_count, 0);
    turn_env_advance(&world.turn, (ELECTION_MS + 300) * 1000);
    ck_assert_uint_eq(world_sent(REPLICA_VOTE), 2);
    world_vote_for_me(true);
    world_sync();
    world_vote_for_me(false);
    world_settle();
    world_ack(2, 2);
    world_settle();
    unsigned pulses = 0;
    for (unsigned i = 0; i < 200; i++) {
        world.sent_count = 0;
        turn_env_advance(&world.turn, 100000);
        pulses += world_sent(REPLICA_APPEND);
        world_ack(2, 2);
        world_ack(3, 2);
    }
    ck_assert_uint_ge(pulses, 2 * 20000 / (HEARTBEAT_MS + 100));
    ck_assert_uint_le(pulses, 2 * 20000 / HEARTBEAT_MS + 4);
    world_close();
}
END_TEST

/* Goal:   the first member of a new group asks for votes to the millisecond, not when the wheel comes round, and again.
 * Method: a group that is made while the shard runs, at every place of the wheel; nobody answers. */
START_TEST(new_groups_hurry)
{
    struct membership membership = {.count = 3, .servers = {{1, true}, {2, true}, {3, true}}};
    world_open(3, 0);
    world_sync();
    replica_close(world.replica);
    turn_env_advance(&world.turn, (uint64_t)_i * 1000);
    struct entry *first = replica_bootstrap_entry(&membership, 1);
    struct replica_tail_entry tail = {first, 0};
    struct replica_params params = {
        .group = WORLD_GROUP, .machine = &world.machine, .term = 1, .tail = &tail, .tail_count = 1};
    world.machine = (struct replica_machine){.ops = &world_machine_ops};
    ck_assert_int_eq((int)replica_open(world.shard, &params, &world.replica, NULL), (int)OK);
    entry_release(first);
    turn_env_run(&world.turn);
    turn_env_advance(&world.turn, 1000);
    ck_assert_uint_eq(world_sent(REPLICA_VOTE), 0);
    turn_env_advance(&world.turn, 1000);
    ck_assert_uint_eq(world_sent(REPLICA_VOTE), 2);
    for (unsigned i = 0; i < 1000; i++) {
        turn_env_advance(&world.turn, 1000);
    }
    ck_assert_uint_ge(world_sent(REPLICA_VOTE), 2 * 8);
    ck_assert_uint_le(world_sent(REPLICA_VOTE), 2 * 14);
    world_close();
}
END_TEST

static Suite *replica_suite(void)
{
    Suite *suite = suite_create("replica");
    TCase *alone = tcase_create("alone");
    tcase_add_test(alone, sole_voter_is_ready_after_one_write);
    tcase_add_test(alone, sole_voter_sets_no_timer);
    tcase_add_test(alone, proposals_of_a_turn_are_one_step);
    tcase_add_test(alone, machine_may_submit_while_it_applies);
    tcase_add_test(alone, proposals_over_the_bounds_are_refused);
    tcase_add_test(alone, intake_of_a_shard_is_bounded);
    tcase_add_test(alone, damage_stops_the_replica_at_the_end_of_the_turn);
    suite_add_tcase(suite, alone);
    TCase *messages = tcase_create("messages");
    tcase_add_loop_test(messages, messages_wait_for_term_and_vote, 0, 2);
    tcase_add_loop_test(messages, messages_wait_for_the_own_membership_change, 0, 2);
    tcase_add_loop_test(messages, large_appends_are_split, 0, 2);
    tcase_add_loop_test(messages, what_a_shard_follows_is_bounded, 0, 2);
    tcase_add_test(messages, follower_behind_the_memory_gets_a_catch_up);
    tcase_add_test(messages, proposals_of_a_lost_term_are_dropped);
    tcase_add_test(messages, transfer_stops_the_intake_for_a_while);
    suite_add_tcase(suite, messages);
    TCase *timing = tcase_create("timing");
    tcase_add_test(timing, timers_keep_their_rates);
    tcase_add_loop_test(timing, new_groups_hurry, 0, 30);
    suite_add_tcase(suite, timing);
    return suite;
}

TEST_MAIN(replica_suite)
