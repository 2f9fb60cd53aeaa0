/* Who goes on when a leader's process ends: the line of succession, and one member's place in it. */
#include "replication/succession.h"
#include "tests/lib/replica_world.h"

enum {
    LEADER = 2,
    GROUPS = 300
};

/* ---- The line --------------------------------------------------------------------------------------------------- */

/* Goal: all survivors agree on the line: places are 0, 1, ... without a gap, each taken once, by voters whose links are
 * not down. Method: groups of one to five voters and two standbys, every leader, every set of servers that are down. */
START_TEST(line_has_each_living_voter_once)
{
    unsigned voters = (unsigned)_i + 1;
    struct membership membership = world_members(voters, 2);
    for (uint64_t leader = 1; leader <= voters; leader++) {
        for (unsigned mask = 0; mask < 1u << voters; mask++) {
            uint64_t down[5] = {leader};
            unsigned down_count = 1;
            for (unsigned i = 0; i < voters; i++) {
                if ((mask >> i & 1) != 0 && i + 1 != leader) {
                    down[down_count++] = i + 1;
                }
            }
            unsigned taken = 0;
            unsigned places = 0;
            for (uint64_t self = 1; self <= voters + 2; self++) {
                unsigned rank = succession_rank(&membership, 77, leader, self, down, down_count);
                if (rank != SUCCESSION_NONE) {
                    ck_assert_uint_le(self, voters);
                    ck_assert_uint_eq(taken >> rank & 1, 0);
                    taken |= 1u << rank;
                    places++;
                }
            }
            ck_assert_uint_eq(places, voters - down_count);
            ck_assert_uint_eq(taken, (1u << places) - 1);
        }
    }
}
END_TEST

/* Goal: the groups of a lost broker go to all others in about equal shares, however groups were placed. Method: 300
 * groups numbered in steps of 1 to 6, all led by the same server of three and of five. */
START_TEST(line_spreads_groups)
{
    for (unsigned voters = 3; voters <= 5; voters += 2) {
        struct membership membership = world_members(voters, 0);
        unsigned counts[6] = {0};
        uint64_t down = LEADER;
        for (unsigned i = 0; i < GROUPS; i++) {
            for (uint64_t self = 1; self <= voters; self++) {
                uint64_t group = 2 + (uint64_t)i * ((uint64_t)_i + 1);
                counts[self] += succession_rank(&membership, group, LEADER, self, &down, 1) == 0;
            }
        }
        ck_assert_uint_eq(counts[LEADER], 0);
        for (unsigned self = 1; self <= voters; self++) {
            if (self != LEADER) {
                ck_assert_uint_gt(counts[self], GROUPS / (voters - 1) * 7 / 10);
            }
        }
    }
}
END_TEST

/* ---- One member of three ---------------------------------------------------------------------------------------- */

/* Its process has ended: the link is lost, and the next attempt is refused. */
static void end(uint64_t server)
{
    replica_shard_peer_down(world.shard, server);
    replica_shard_peer_ended(world.shard, server);
}

static void lead_by(uint64_t peer, uint64_t term)
{
    world_receive((struct replica_message){
        .kind = REPLICA_APPEND, .peer = peer, .term = term, .append = {.prev_index = 1, .prev_term = 1}});
}

static uint64_t delay_us(void)
{
    struct membership membership = world_members(3, 0);
    uint64_t down = LEADER;
    unsigned rank = succession_rank(&membership, WORLD_GROUP, LEADER, 1, &down, 1);
    ck_assert_uint_lt(rank, 2);
    return (SUCCESSION_GRACE_MS + (uint64_t)rank * SUCCESSION_STEP_MS) * 1000;
}

/* A follower of server 2, all durable. */
static void open_follower(void)
{
    world_open(3, 0);
    world_settle();
    lead_by(LEADER, 2);
    world_settle();
    world.sent_count = 0;
}

static void expect_campaign(uint64_t term)
{
    world_sync();
    ck_assert_uint_eq(world_sent(REPLICA_VOTE), 2);
    const struct replica_message *vote = &world.sent[world.sent_count - 1];
    ck_assert_int_eq((int)vote->kind, REPLICA_VOTE);
    ck_assert(vote->vote.is_disruptive);
    ck_assert(!vote->vote.is_pre_vote);
    ck_assert_uint_eq(vote->vote.deposed_term, 2);
    ck_assert_uint_eq(vote->vote.released_ms, UINT64_MAX);
    ck_assert_uint_eq(vote->term, term);
    ck_assert_int_eq(metrics_value(world.turn.env.metrics, METRIC_SUCCESSIONS), 1);
}

/* And the election timeout is not over. */
static void expect_nothing(void)
{
    turn_env_advance(&world.turn, ELECTION_MS * 1000 / 2);
    world_settle();
    ck_assert_uint_eq(world_sent(REPLICA_VOTE), 0);
    ck_assert_int_eq(metrics_value(world.turn.env.metrics, METRIC_SUCCESSIONS), 0);
}

/* Goal: a successor campaigns long before an election timeout, without asking first, and not before its new term and
 * vote are durable. Method: the leader ends; its place in the line comes. */
START_TEST(successor_campaigns_at_once)
{
    open_follower();
    end(LEADER);
    turn_env_advance(&world.turn, delay_us() - 1000);
    ck_assert_uint_eq(world_frames(WAL_HARD_STATE), 1);
    turn_env_advance(&world.turn, 2 * SUCCESSION_SLICE_MS * 1000);
    ck_assert_uint_eq(world_frames(WAL_HARD_STATE), 2);
    ck_assert_uint_eq(world_sent(REPLICA_VOTE), 0);
    expect_campaign(3);
    world_close();
}
END_TEST

/* Goal: a lost link alone is no reason to campaign, nor is news of an end that came late: the link is back, or the
 * server leads again, in a later term. Method: each of them, and then nothing for most of a timeout. */
START_TEST(only_an_end_is_one)
{
    open_follower();
    replica_shard_peer_down(world.shard, LEADER);
    switch (_i) {
    case 1:
        replica_shard_peer_up(world.shard, LEADER);
        replica_shard_peer_ended(world.shard, LEADER);
        break;
    case 2:
        lead_by(LEADER, 3);
        replica_shard_peer_ended(world.shard, LEADER);
        break;
    case 3:
        lead_by(3, 3);
        replica_shard_peer_ended(world.shard, LEADER);
        break;
    default:
        break;
    }
    expect_nothing();
    world_close();
}
END_TEST

/* Goal: what is still read of a leader that has ended does not make its successor wait. */
START_TEST(last_words_say_nothing)
{
    open_follower();
    replica_shard_peer_down(world.shard, LEADER);
    lead_by(LEADER, 2);
    replica_shard_peer_ended(world.shard, LEADER);
    lead_by(LEADER, 2);
    turn_env_advance(&world.turn, delay_us() + 2 * SUCCESSION_SLICE_MS * 1000);
    expect_campaign(3);
    world_close();
}
END_TEST

enum reason {
    LINK_IS_BACK,
    OTHER_LEADER_IS_HEARD,
    OTHER_LINK,
    VOTE_IS_GIVEN,
    REASONS
};

/* Goal: an attempt that is needless is called off. Method: the leader ends, or another server, then before the member's
 * time comes it is back, or another leader is heard, or the member votes for the one before it. */
START_TEST(needless_attempt_is_called_off)
{
    open_follower();
    end(_i == OTHER_LINK ? 3 : LEADER);
    turn_env_advance(&world.turn, 1000);
    switch (_i) {
    case LINK_IS_BACK:
        replica_shard_peer_up(world.shard, LEADER);
        break;
    case OTHER_LEADER_IS_HEARD:
        lead_by(3, 3);
        break;
    case VOTE_IS_GIVEN:
        world_receive((struct replica_message){
            .kind = REPLICA_VOTE,
            .peer = 3,
            .term = 3,
            .vote =
                {.last_index = 1, .last_term = 1, .is_disruptive = true, .deposed_term = 2, .released_ms = UINT64_MAX},
        });
        break;
    default:
        break;
    }
    expect_nothing();
    world_close();
}
END_TEST

/* Goal: entries on their way to the disk delay an attempt and do not prevent it. Method: an entry arrives and the
 * leader ends; it becomes durable 100 ms after the member's time. */
START_TEST(campaign_waits_for_the_log)
{
    open_follower();
    struct shared *block = shared_new(4);
    struct slice slice = {.block = block, .bytes = {block->data, 4}};
    struct entry *entry = entry_new(ENTRY_COMMAND, 2, 2, &slice, 1);
    world_receive((struct replica_message){
        .kind = REPLICA_APPEND,
        .peer = LEADER,
        .term = 2,
        .append = {.prev_index = 1, .prev_term = 1, .entries = &entry, .entry_count = 1},
    });
    entry_release(entry);
    end(LEADER);
    turn_env_advance(&world.turn, delay_us() + 100000);
    ck_assert_uint_eq(world_frames(WAL_HARD_STATE), 1);
    world_sync();
    turn_env_advance(&world.turn, 2 * SUCCESSION_SLICE_MS * 1000);
    expect_campaign(3);
    world_close();
}
END_TEST

/* Goal: a candidate that was refused because its log is shorter is followed at once by the one who refused it.
 * Method: server 3 asks with an older log, 1 ms after the leader has ended. */
START_TEST(refusal_brings_the_next_one_forward)
{
    open_follower();
    end(LEADER);
    turn_env_advance(&world.turn, 1000);
    world_receive((struct replica_message){
        .kind = REPLICA_VOTE,
        .peer = 3,
        .term = 3,
        .vote = {.last_index = 0, .last_term = 0, .is_disruptive = true, .deposed_term = 2, .released_ms = UINT64_MAX},
    });
    turn_env_advance(&world.turn, SUCCESSION_GRACE_MS * 1000 + 2 * SUCCESSION_SLICE_MS * 1000);
    expect_campaign(4);
    world_close();
}
END_TEST

/* Goal: a process that comes and goes cannot make a member campaign more than once an election timeout. Method: after
 * an attempt the leader is heard again in a later term, and ends every 10 ms for most of a timeout. */
START_TEST(attempts_are_rare)
{
    open_follower();
    end(LEADER);
    turn_env_advance(&world.turn, delay_us() + SUCCESSION_SLICE_MS * 1000);
    expect_campaign(3);
    lead_by(LEADER, 4);
    world_settle();
    for (unsigned i = 0; i < ELECTION_MS / 10 - 60; i++) {
        replica_shard_peer_up(world.shard, LEADER);
        end(LEADER);
        turn_env_advance(&world.turn, 10000);
    }
    ck_assert_int_eq(metrics_value(world.turn.env.metrics, METRIC_SUCCESSIONS), 1);
    world_close();
}
END_TEST

/* Goal: standbys, leaders and members that know no leader do not campaign. Method: each of them hears of the loss. */
START_TEST(others_stay_quiet)
{
    switch (_i) {
    case 0: /* knows no leader */
        world_open(3, 0);
        world_settle();
        break;
    case 1: /* leads */
        world_open(3, 0);
        world_elect_and_commit();
        break;
    default: /* the only voter besides it is the leader: nobody could be asked */
        world_open(1, 2);
        world_settle();
        break;
    }
    world.sent_count = 0;
    end(LEADER);
    end(3);
    end(1); /* oneself: means nothing */
    expect_nothing();
    world_close();
}
END_TEST

/* ---- Handing over before a stop --------------------------------------------------------------------------------- */

static unsigned handed_over, handed_left;

static void on_handed_over(void *owner, unsigned left)
{
    ck_assert_ptr_eq(owner, &world);
    handed_over++;
    handed_left = left;
}

static void hand_over(void)
{
    handed_over = 0;
    replica_shard_hand_over(world.shard, 3 * ELECTION_MS, &world, on_handed_over);
    ck_assert_uint_eq(handed_over, 0); /* never inside */
    turn_env_advance(&world.turn, 1000);
}

/* Goal: who leads nothing, or could give it to nobody, stops without waiting. Method: a group of one; one of three that
 * follows; a leader whose two followers are down. */
START_TEST(nothing_to_hand_over_takes_no_time)
{
    switch (_i) {
    case 0:
        world_open(1, 1);
        world_settle();
        break;
    case 1:
        open_follower();
        break;
    default:
        world_open(3, 0);
        world_elect_and_commit();
        replica_shard_peer_down(world.shard, 2);
        replica_shard_peer_down(world.shard, 3);
        break;
    }
    hand_over();
    ck_assert_uint_eq(handed_over, 1);
    ck_assert_uint_eq(handed_left, 0);
    world_close();
}
END_TEST

/* Goal: leadership goes to the voter that has most of the log, and the stop waits until that one leads. Method:
 * server 3 has one entry more than server 2; then it asks for a vote, then it is heard. */
START_TEST(group_goes_to_who_has_most_of_the_log)
{
    world_open(3, 0);
    world_elect_and_commit();
    ck_assert_int_eq((int)world_submit(1, 4), (int)OK);
    world_settle();
    world_ack(3, 3);
    world_settle();
    world.sent_count = 0;
    hand_over();
    ck_assert_uint_eq(world_sent(REPLICA_TIMEOUT_NOW), 1);
    const struct replica_message *order = &world.sent[world.sent_count - 1];
    ck_assert_int_eq((int)order->kind, REPLICA_TIMEOUT_NOW);
    ck_assert_uint_eq(order->peer, 3);
    uint64_t released_ms = order->timeout_now.released_ms;
    ck_assert_int_eq((int)world_submit(2, 4), (int)ERR_NOT_READY);
    uint64_t term = replica_term(world.replica);
    world_receive((struct replica_message){
        .kind = REPLICA_VOTE,
        .peer = 3,
        .term = term + 1,
        .vote = {.last_index = 3,
                 .last_term = term,
                 .is_disruptive = true,
                 .deposed_term = term,
                 .released_ms = released_ms},
    });
    world_settle();
    turn_env_advance(&world.turn, 50000);
    ck_assert_uint_eq(handed_over, 0);
    world_receive((struct replica_message){.kind = REPLICA_APPEND,
                                           .peer = 3,
                                           .term = term + 1,
                                           .append = {.prev_index = 3, .prev_term = term, .commit_index = 3}});
    turn_env_advance(&world.turn, 10000);
    ck_assert_uint_eq(handed_over, 1);
    ck_assert_uint_eq(handed_left, 0);
    world_close();
}
END_TEST

/* Goal: a stop waits no longer than it was told to. Method: nobody follows the order to campaign; both are asked. */
START_TEST(hand_over_ends_in_time)
{
    unsigned asked[4] = {0};
    world_open(3, 0);
    world_elect_and_commit();
    world_ack(3, 2);
    world_settle();
    hand_over();
    for (unsigned ms = 0; ms < 3 * ELECTION_MS; ms += 100) {
        for (unsigned i = 0; i < world.sent_count; i++) {
            asked[world.sent[i].kind == REPLICA_TIMEOUT_NOW ? world.sent[i].peer : 0]++;
        }
        world.sent_count = 0;
        ck_assert_uint_eq(handed_over, 0);
        world_ack(2, 2);
        world_ack(3, 2);
        turn_env_advance(&world.turn, 100000);
    }
    ck_assert_uint_eq(handed_over, 1);
    ck_assert_uint_eq(handed_left, 1);
    ck_assert_uint_gt(asked[2], 0);
    ck_assert_uint_gt(asked[3], 0);
    world_close();
}
END_TEST

/* ---- Many groups ------------------------------------------------------------------------------------------------ */

static void quiet_apply(struct replica_machine *machine, const struct entry *entry)
{
    (void)machine;
    (void)entry;
}

static void quiet_applied(struct replica_machine *machine)
{
    (void)machine;
}

static void quiet_role_changed(struct replica_machine *machine, const struct replica_status *status)
{
    (void)machine;
    (void)status;
}

static const struct replica_machine_ops quiet_ops = {
    .apply = quiet_apply,
    .applied = quiet_applied,
    .role_changed = quiet_role_changed,
};

/* Goal: a thousand groups fail over within 200 ms in slices: at no moment more than one slice of them. Method: members
 * of 1,000 groups that follow server 2; frames counted every 5 ms after it has ended. */
START_TEST(thousand_groups_go_in_slices)
{
    enum {
        COUNT = 1000
    };
    static struct replica *replicas[COUNT];
    static struct replica_machine machines[COUNT];
    world_open(3, 0);
    struct membership membership = world_members(3, 0);
    for (unsigned i = 0; i < COUNT; i++) {
        struct entry *first = replica_bootstrap_entry(&membership, 1);
        struct replica_tail_entry tail = {first, 0};
        machines[i] = (struct replica_machine){.ops = &quiet_ops};
        struct replica_params params = {
            .group = 100 + i, .machine = &machines[i], .term = 1, .tail = &tail, .tail_count = 1};
        ck_assert_int_eq((int)replica_open(world.shard, &params, &replicas[i], NULL), (int)OK);
        entry_release(first);
        struct replica_message message = {
            .kind = REPLICA_APPEND, .peer = LEADER, .term = 2, .append = {.prev_index = 1, .prev_term = 1}};
        replica_receive(replicas[i], &message);
        if (i % 32 == 31) {
            world_sync();
            world.sent_count = 0;
        }
    }
    world_sync();
    world.sent_count = 0;
    unsigned before = world_frames(WAL_HARD_STATE);
    unsigned most = 0;
    end(LEADER);
    for (unsigned ms = 0; ms < 200; ms += SUCCESSION_SLICE_MS) {
        turn_env_advance(&world.turn, SUCCESSION_SLICE_MS * 1000);
        unsigned now = world_frames(WAL_HARD_STATE);
        most = now - before > most ? now - before : most;
        before = now;
    }
    int64_t campaigns = metrics_value(world.turn.env.metrics, METRIC_SUCCESSIONS);
    ck_assert_int_gt(campaigns, COUNT * 2 / 5); /* the first in the line, of about one half */
    ck_assert_uint_le(most, SUCCESSION_SLICE_COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        replica_close(replicas[i]);
    }
    world_close();
}
END_TEST

static Suite *succession_suite(void)
{
    Suite *suite = suite_create("succession");
    TCase *line = tcase_create("line");
    tcase_add_loop_test(line, line_has_each_living_voter_once, 0, 5);
    tcase_add_loop_test(line, line_spreads_groups, 0, 6);
    TCase *member = tcase_create("member");
    tcase_add_test(member, successor_campaigns_at_once);
    tcase_add_loop_test(member, only_an_end_is_one, 0, 4);
    tcase_add_test(member, last_words_say_nothing);
    tcase_add_loop_test(member, needless_attempt_is_called_off, 0, REASONS);
    tcase_add_test(member, campaign_waits_for_the_log);
    tcase_add_test(member, refusal_brings_the_next_one_forward);
    tcase_add_test(member, attempts_are_rare);
    tcase_add_loop_test(member, others_stay_quiet, 0, 3);
    tcase_add_test(member, thousand_groups_go_in_slices);
    TCase *stop = tcase_create("stop");
    tcase_add_loop_test(stop, nothing_to_hand_over_takes_no_time, 0, 3);
    tcase_add_test(stop, group_goes_to_who_has_most_of_the_log);
    tcase_add_test(stop, hand_over_ends_in_time);
    suite_add_tcase(suite, stop);
    suite_add_tcase(suite, line);
    suite_add_tcase(suite, member);
    return suite;
}

TEST_MAIN(succession_suite)
