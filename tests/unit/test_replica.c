/* One replica over a log by hand (tests/lib/fake_log.h): what is stepped, written, applied and sent, and when. */
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/raft_rules.h"
#include "replication/replica_internal.h"
#include "tests/lib/fake_log.h"
#include "tests/lib/test.h"
#include "tests/lib/turn_env.h"

#include <string.h>

enum {
    GROUP = 3,
    SENT_MAX = 64,
    HEARTBEAT_MS = 400,
    ELECTION_MS = 2000
};

struct world {
    struct turn_env turn;
    struct fake_log log;
    struct replica_shard *shard;
    struct replica *replica;
    struct replica_machine machine;
    uint64_t applied[256]; /* first byte of each command, in order */
    unsigned applied_count, turns, roles;
    struct replica_status status; /* as told last */
    struct replica_message sent[SENT_MAX];
    unsigned sent_entries[SENT_MAX];
    size_t sent_sizes[SENT_MAX];
    unsigned sent_count;
    unsigned damaged;
    bool is_in_machine;
    unsigned submit_on_applied; /* proposals that the machine makes from applied() */
    uint64_t damage_at;         /* the machine reports damage at this command */
};

static struct world world;

static struct world *world_of(struct replica_machine *machine)
{
    return container_of(machine, struct world, machine);
}

static struct entry *command(unsigned number, size_t size)
{
    struct shared *block = shared_new(size);
    memset(block->data, (int)number, size);
    struct slice slice = {.block = block, .bytes = {block->data, size}};
    return entry_new(ENTRY_COMMAND, 0, 0, &slice, 1);
}

static enum err submit(unsigned number, size_t size)
{
    struct entry *entry = command(number, size);
    enum err err = replica_submit(world.replica, entry);
    if (err != OK) {
        entry_release(entry);
    }
    return err;
}

static void machine_apply(struct replica_machine *machine, const struct entry *entry)
{
    struct world *w = world_of(machine);
    ck_assert_uint_lt(w->applied_count, 256);
    w->applied[w->applied_count++] = entry->slices[0].bytes.data[0];
    if (entry->slices[0].bytes.data[0] == w->damage_at) {
        replica_damaged(w->replica, "bad page");
        ck_assert_uint_eq(w->damaged, 0); /* never inside */
    }
}

static void machine_applied(struct replica_machine *machine)
{
    struct world *w = world_of(machine);
    w->turns++;
    if (w->submit_on_applied > 0) {
        w->submit_on_applied--;
        ck_assert_int_eq((int)submit(200, 4), (int)OK);
    }
}

static void machine_role_changed(struct replica_machine *machine, const struct replica_status *status)
{
    struct world *w = world_of(machine);
    w->status = *status;
    w->roles++;
}

static const struct replica_machine_ops machine_ops = {
    .apply = machine_apply,
    .applied = machine_applied,
    .role_changed = machine_role_changed,
};

static void on_send(void *owner, struct replica *replica, const struct replica_message *message)
{
    (void)owner;
    (void)replica;
    ck_assert_uint_lt(world.sent_count, SENT_MAX);
    unsigned at = world.sent_count++;
    world.sent[at] = *message;
    world.sent_entries[at] = message->kind == REPLICA_APPEND ? message->append.entry_count : 0;
    world.sent_sizes[at] = 0;
    for (unsigned i = 0; i < world.sent_entries[at]; i++) {
        ck_assert_uint_eq(message->append.entries[i]->index, message->append.prev_index + 1 + i);
        world.sent_sizes[at] += message->append.entries[i]->size;
    }
}

static void on_damaged(void *owner, struct replica *replica, const char *cause)
{
    (void)owner;
    (void)replica;
    ck_assert_str_eq(cause, "bad page");
    world.damaged++;
}

static void world_open_shard(void)
{
    struct replica_shard_params params = {
        .env = &world.turn.env,
        .wal = fake_log_wal(&world.log),
        .server_id = 1,
        .heartbeat_ms = HEARTBEAT_MS,
        .election_ms = ELECTION_MS,
        .retain_size = 1,
        .send = on_send,
        .on_damaged = on_damaged,
    };
    world.shard = replica_shard_open(&params);
    world.machine = (struct replica_machine){.ops = &machine_ops};
}

static struct membership members(unsigned voters, unsigned standbys)
{
    struct membership membership = {.count = voters + standbys};
    for (unsigned i = 0; i < membership.count; i++) {
        membership.servers[i] = (struct replica_server){.id = i + 1, .is_voter = i < voters};
    }
    return membership;
}

/* A new group of `voters` voters and `standbys` standbys; server 1 is this one. */
static void world_open(unsigned voters, unsigned standbys)
{
    world = (struct world){.damage_at = UINT64_MAX};
    raft_rules_disabled = 0;
    trace_set_level(TRACE_RAFT, TRACE_ERROR);
    trace_set_level(TRACE_REPLICA, TRACE_ERROR);
    turn_env_init(&world.turn, 7);
    fake_log_init(&world.log);
    world_open_shard();
    struct membership membership = members(voters, standbys);
    struct entry *first = replica_bootstrap_entry(&membership, 1);
    struct replica_tail_entry tail = {first, 0};
    struct replica_params params = {
        .group = GROUP, .machine = &world.machine, .term = 1, .tail = &tail, .tail_count = 1};
    ck_assert_int_eq((int)replica_open(world.shard, &params, &world.replica, NULL), (int)OK);
    entry_release(first);
    replica_shard_start(world.shard);
}

static void world_stop(void)
{
    replica_close(world.replica);
    replica_shard_close(world.shard);
}

static void world_close(void)
{
    raft_rules_disabled = 0;
    world_stop();
    fake_log_deinit(&world.log);
    turn_env_deinit(&world.turn);
}

/* The end of a turn; then the log is durable, and what follows from that. */
static void sync_log(void)
{
    turn_env_run(&world.turn);
    fake_log_sync(&world.log);
    replica_shard_on_durable(world.shard, world.log.durable_lsn);
    turn_env_run(&world.turn);
}

static void settle(void)
{
    for (unsigned i = 0; i < 5; i++) {
        sync_log();
    }
}

static void receive(struct replica_message message)
{
    replica_receive(world.replica, &message);
    turn_env_run(&world.turn);
}

static void ack(uint64_t peer, uint64_t index)
{
    receive((struct replica_message){.kind = REPLICA_APPEND_RESULT,
                                     .peer = peer,
                                     .term = replica_term(world.replica),
                                     .append_result = {.last_index = index}});
}

static void vote_for_me(bool is_pre_vote)
{
    receive((struct replica_message){.kind = REPLICA_VOTE_RESULT,
                                     .peer = 2,
                                     .term = replica_term(world.replica) + (is_pre_vote ? 1 : 0),
                                     .vote_result = {.is_granted = true, .is_pre_vote = is_pre_vote}});
}

/* Server 1 of three becomes leader; nothing of it is durable yet. */
static void elect(void)
{
    sync_log();
    turn_env_advance(&world.turn, 2 * ELECTION_MS * 1000 + 200000);
    vote_for_me(true);
    vote_for_me(false);
    struct replica_status status;
    replica_status(world.replica, &status);
    ck_assert_int_eq((int)status.role, REPLICA_LEADER);
}

static void elect_and_commit(void)
{
    elect();
    settle();
    ack(2, 2);
    settle();
    ck_assert(replica_is_ready_leader(world.replica));
    world.sent_count = 0;
}

static unsigned frames_of(enum wal_kind kind)
{
    unsigned count = 0;
    for (size_t i = 0; i < world.log.count; i++) {
        count += world.log.frames[i].kind == kind;
    }
    return count;
}

static unsigned sent_of(enum replica_message_kind kind)
{
    unsigned count = 0;
    for (unsigned i = 0; i < world.sent_count; i++) {
        count += world.sent[i].kind == kind;
    }
    return count;
}

static int64_t steps(void)
{
    return metrics_value(world.turn.env.metrics, METRIC_RAFT_STEPS);
}

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
    ck_assert_int_eq((int)submit(1, 4), (int)ERR_NOT_READY);
    sync_log();
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
    settle();
    int64_t before = steps();
    turn_env_advance(&world.turn, 3600ull * 1000000);
    ck_assert_uint_eq(world.turn.timer_sets, 0);
    ck_assert_int_eq(steps(), before);
    world_close();
}
END_TEST

/* Goal: the proposals of a turn are one step and are applied in order, when they are durable and not before.
 * Method: 20 proposals in one turn. */
START_TEST(proposals_of_a_turn_are_one_step)
{
    world_open(1, 0);
    settle();
    int64_t before = steps();
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_int_eq((int)submit(i, 10), (int)OK);
        ck_assert_uint_eq(world.applied_count, 0);
    }
    turn_env_run(&world.turn);
    ck_assert_int_eq(steps(), before + 1);
    ck_assert_uint_eq(world.applied_count, 0);
    sync_log();
    ck_assert_int_eq(steps(), before + 2);
    ck_assert_uint_eq(world.applied_count, 20);
    ck_assert_uint_eq(world.turns, 3); /* those of the first entry and the barrier, and this one */
    for (unsigned i = 0; i < 20; i++) {
        ck_assert_uint_eq(world.applied[i], i);
    }
    ck_assert_uint_eq(frames_of(WAL_COMMIT), 2); /* one a turn with applies */
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
    settle();
    world.submit_on_applied = 3;
    ck_assert_int_eq((int)submit(1, 4), (int)OK);
    settle();
    ck_assert_uint_eq(world.applied_count, 4);
    world_close();
}
END_TEST

/* Goal: what waits to be committed is bounded, in entries and bytes, and opens again. Method: propose to the limits
 * while the log does not become durable. */
START_TEST(proposals_over_the_bounds_are_refused)
{
    world_open(1, 0);
    settle();
    unsigned taken = 0;
    while (submit(1, 1) == OK) {
        taken++;
        ck_assert_uint_le(taken, GROUP_UNCOMMITTED_COUNT_MAX);
    }
    ck_assert_uint_eq(taken, GROUP_UNCOMMITTED_COUNT_MAX);
    ck_assert_int_eq((int)submit(1, 1), (int)ERR_BUSY);
    turn_env_run(&world.turn);
    ck_assert_int_eq((int)submit(1, 1), (int)ERR_BUSY);
    world.applied_count = 0;
    world_close();

    world_open(1, 0);
    settle();
    taken = 0;
    while (submit(1, MIB(4)) == OK) {
        taken++;
    }
    ck_assert_uint_eq(taken, 7); /* of 8 the last would be over, by what an entry costs besides its payload */
    sync_log();
    ck_assert_int_eq((int)submit(2, MIB(4)), (int)OK);
    world.log.is_stalled = true;
    ck_assert_int_eq((int)submit(2, 1), (int)ERR_BUSY);
    world.log.is_stalled = false;
    ck_assert_int_eq((int)submit(2, 1), (int)OK);
    ck_assert_int_eq(metrics_value(world.turn.env.metrics, METRIC_PROPOSALS_REFUSED), 2);
    world_close();
}
END_TEST

/* Goal: damage that the machine finds takes the replica out at the end of the turn. Method: at the second of three. */
START_TEST(damage_stops_the_replica_at_the_end_of_the_turn)
{
    world_open(1, 0);
    settle();
    world.damage_at = 6;
    ck_assert_int_eq((int)submit(5, 4), (int)OK);
    ck_assert_int_eq((int)submit(6, 4), (int)OK);
    ck_assert_int_eq((int)submit(7, 4), (int)OK);
    settle();
    ck_assert_uint_eq(world.damaged, 1);
    ck_assert_uint_eq(world.applied_count, 2);
    ck_assert_int_eq((int)submit(8, 4), (int)ERR_NOT_LEADER);
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
    sync_log();
    raft_rules_disabled = is_ruled ? 0 : 1u << RULE_GATE;
    turn_env_advance(&world.turn, 2 * ELECTION_MS * 1000 + 200000);
    ck_assert_uint_eq(sent_of(REPLICA_VOTE), 2);
    ck_assert(world.sent[0].vote.is_pre_vote);
    world.sent_count = 0;
    vote_for_me(true);
    ck_assert_uint_eq(replica_term(world.replica), 2);
    ck_assert_uint_eq(sent_of(REPLICA_VOTE), is_ruled ? 0 : 2);
    sync_log();
    ck_assert_uint_eq(sent_of(REPLICA_VOTE), 2);
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
    elect_and_commit();
    raft_rules_disabled = is_ruled ? 0 : 1u << RULE_GATE_CHANGE;
    struct membership next = members(3, 1);
    ck_assert_int_eq((int)replica_change(world.replica, &next), (int)OK);
    turn_env_run(&world.turn);
    ck_assert(is_ruled == (sent_of(REPLICA_APPEND) == 0));
    sync_log();
    ck_assert_uint_gt(sent_of(REPLICA_APPEND), 0);
    ck_assert_int_eq((int)replica_change(world.replica, &next), (int)ERR_BUSY);
    ack(2, 3);
    settle();
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
    elect_and_commit();
    raft_rules_disabled = is_ruled ? 0 : 1u << RULE_SPLIT_SIZE;
    for (unsigned i = 0; i < 12; i++) {
        ck_assert_int_eq((int)submit(i, KIB(300)), (int)OK);
    }
    ck_assert_int_eq((int)submit(12, MIB(2)), (int)OK);
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
    ck_assert(is_ruled == (sent_of(REPLICA_APPEND) > 2));
    world_close();
}
END_TEST

/* Goal: applied entries that are gone from memory are not sent; the follower gets a catch-up. Method: nothing is
 * retained; 3 has not answered since the start, and now says that it has nothing. */
START_TEST(follower_behind_the_memory_gets_a_catch_up)
{
    world_open(3, 0);
    elect_and_commit();
    for (unsigned i = 0; i < 10; i++) {
        ck_assert_int_eq((int)submit(i, 100), (int)OK);
        settle();
        ack(2, 3 + i);
    }
    ck_assert_uint_eq(world.applied_count, 10);
    world.sent_count = 0;
    uint64_t term = replica_term(world.replica);
    for (unsigned i = 0; i < 3; i++) {
        for (uint64_t rejected = 12; rejected > 0; rejected--) {
            receive((struct replica_message){.kind = REPLICA_APPEND_RESULT,
                                             .peer = 3,
                                             .term = term,
                                             .append_result = {.rejected = rejected, .last_index = 0}});
        }
        ack(2, 12);
        turn_env_advance(&world.turn, HEARTBEAT_MS * 1000);
        world.sent_count = world.sent_count > SENT_MAX / 2 ? 0 : world.sent_count;
    }
    ck_assert_uint_gt(sent_of(REPLICA_INSTALL), 0);
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
    elect_and_commit();
    ck_assert_int_eq((int)submit(1, 4), (int)OK);
    ck_assert_int_eq((int)submit(2, 4), (int)OK);
    struct replica_message newer = {
        .kind = REPLICA_APPEND, .peer = 2, .term = 9, .append = {.prev_index = 2, .prev_term = 2, .commit_index = 2}};
    replica_receive(world.replica, &newer);
    turn_env_run(&world.turn);
    ck_assert_int_eq((int)world.status.role, REPLICA_FOLLOWER);
    ck_assert_uint_eq(world.status.term, 9);
    ck_assert_uint_eq(world.status.leader, 2);
    ck_assert_int_eq((int)submit(3, 4), (int)ERR_NOT_LEADER);
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
    elect_and_commit();
    ck_assert_int_eq((int)replica_transfer(world.replica, 1), (int)ERR_INVALID);
    ck_assert_int_eq((int)replica_transfer(world.replica, 9), (int)ERR_INVALID);
    ck_assert_int_eq((int)submit(1, 4), (int)OK);
    ck_assert_int_eq((int)replica_transfer(world.replica, 2), (int)OK);
    ck_assert_int_eq((int)replica_transfer(world.replica, 2), (int)ERR_BUSY);
    settle();
    ck_assert_int_eq((int)submit(2, 4), (int)ERR_NOT_READY);
    ck_assert_uint_eq(sent_of(REPLICA_TIMEOUT_NOW), 0);
    ack(2, 3);
    settle();
    ck_assert_uint_eq(sent_of(REPLICA_TIMEOUT_NOW), 1);
    ck_assert_uint_eq(world.applied_count, 1);
    ck_assert_int_eq((int)submit(2, 4), (int)ERR_NOT_READY);
    for (unsigned i = 0; i < 12; i++) { /* 2 does not campaign, but answers */
        turn_env_advance(&world.turn, HEARTBEAT_MS * 1000);
        ack(2, 3);
        world.sent_count = 0;
    }
    ck_assert_int_eq((int)submit(2, 4), (int)OK);
    world_close();
}
END_TEST

/* ---- Checkpoints ------------------------------------------------------------------------------------------------ */

static void recover_apply(void *owner, const struct entry *entry)
{
    (void)owner;
    (void)entry;
}

/* What a restart would find with `mark` as checkpoint. */
static struct fake_recovery recover(const struct replica_mark *mark, const struct membership *bootstrap)
{
    struct fake_recovery recovery = {
        .term = mark->hard_term,
        .vote = mark->hard_vote,
        .applied_index = mark->index,
        .applied_term = mark->term,
        .membership = mark->membership,
        .membership_index = mark->membership_index,
        .apply = recover_apply,
    };
    if (mark->index == 0) {
        fake_recovery_push(&recovery, replica_bootstrap_entry(bootstrap, 1), 0);
    }
    fake_log_recover(&world.log, GROUP, &recovery);
    return recovery;
}

/* Goal: a checkpoint lets the log forget exactly what it may. Method: mark with entries applied and entries waiting;
 * drop all frames below; a restart finds the same log. */
START_TEST(mark_names_the_lowest_frame_that_is_needed)
{
    struct membership three = members(3, 0);
    world_open(3, 0);
    elect_and_commit();
    for (unsigned i = 0; i < 4; i++) {
        ck_assert_int_eq((int)submit(i, 8), (int)OK);
        settle();
    }
    ack(2, 4);
    settle();
    struct replica_mark mark;
    replica_mark(world.replica, &mark);
    ck_assert_uint_eq(mark.index, 4);
    ck_assert_uint_eq(mark.term, 2);
    ck_assert_uint_eq(mark.hard_term, 2);
    ck_assert_uint_eq(mark.hard_vote, 1);
    ck_assert(membership_equal(&mark.membership, &three));
    size_t before = world.log.count;
    fake_log_release(&world.log, mark.lsn);
    ck_assert_uint_lt(world.log.count, before);
    replica_checkpointed(world.replica, mark.index);
    struct fake_recovery recovery = recover(&mark, &three);
    ck_assert_uint_eq(recovery.term, 2);
    ck_assert_uint_eq(recovery.applied_index + recovery.tail_count, 6);
    fake_recovery_deinit(&recovery);
    ack(2, 6);
    settle();
    replica_mark(world.replica, &mark);
    fake_log_release(&world.log, mark.lsn);
    recovery = recover(&mark, &three);
    ck_assert_uint_eq(recovery.applied_index, 6);
    ck_assert_uint_eq(recovery.tail_count, 0);
    fake_recovery_deinit(&recovery);
    world_close();
}
END_TEST

/* Goal: a group that cannot commit does not pin the log, and copying its entries forward loses nothing at any crash.
 * Method: five uncommitted entries are copied; the log is cut after each frame of the copy in turn. */
START_TEST(copies_keep_the_log_at_every_cut)
{
    struct membership three = members(3, 0);
    world_open(3, 0);
    elect_and_commit();
    for (unsigned i = 0; i < 5; i++) {
        ck_assert_int_eq((int)submit(i, 8), (int)OK);
        settle();
    }
    struct replica_mark before;
    replica_mark(world.replica, &before);
    size_t kept = world.log.count;
    replica_copy_forward(world.replica);
    ck_assert_uint_eq(world.log.count, kept + 5);
    fake_log_sync(&world.log);
    struct replica_mark after;
    replica_mark(world.replica, &after);
    ck_assert_uint_gt(after.lsn, before.lsn);
    for (size_t cut = kept; cut <= kept + 5; cut++) {
        world.log.durable_count = cut;
        struct fake_recovery recovery = recover(&before, &three);
        ck_assert_uint_eq(recovery.applied_index, 2);
        ck_assert_uint_eq(recovery.tail_count, 5);
        for (unsigned i = 0; i < 5; i++) {
            ck_assert_uint_eq(recovery.tail[i].entry->index, 3 + i);
            ck_assert_uint_eq(recovery.tail[i].entry->slices[0].bytes.data[0], i);
        }
        fake_recovery_deinit(&recovery);
    }
    world.log.durable_count = world.log.count;
    fake_log_release(&world.log, after.lsn);
    ck_assert_uint_eq(world.log.count, 5);
    struct fake_recovery recovery = recover(&after, &three);
    ck_assert_uint_eq(recovery.tail_count, 5);
    fake_recovery_deinit(&recovery);
    ack(2, 7);
    settle();
    ck_assert_uint_eq(world.applied_count, 5);
    world_close();
}
END_TEST

/* Goal: the first entry is never lost to a new group that restarts before its first checkpoint (R11). Method: open
 * again at applied index 1, as a replay with a commit mark would; the log still starts at entry 1. */
START_TEST(restart_at_index_one_keeps_the_first_entry)
{
    struct membership two = members(2, 0);
    world_open(2, 0);
    sync_log();
    world_stop();
    world_open_shard();
    struct replica_params params = {
        .group = GROUP,
        .machine = &world.machine,
        .term = 1,
        .applied_index = 1,
        .applied_term = 1,
        .membership = two,
        .membership_index = 1,
    };
    ck_assert_int_eq((int)replica_open(world.shard, &params, &world.replica, NULL), (int)OK);
    sync_log();
    struct replica_status status;
    replica_status(world.replica, &status);
    ck_assert_uint_eq(status.first_index, 1);
    ck_assert_uint_eq(status.last_index, 1);
    ck_assert_uint_eq(status.applied_index, 1);
    ck_assert(membership_equal(&status.membership, &two));
    replica_checkpointed(world.replica, 1);
    world_close();
}
END_TEST

/* Goal: what is stored must fit together, or nothing is opened. Method: one thing wrong at a time. */
START_TEST(open_refuses_a_log_that_does_not_fit)
{
    static const char *const names[] = {"gap", "term above the hard state's", "terms fall", "no membership at index 1"};
    world_open(1, 0);
    struct membership one = members(1, 0);
    struct entry *entries[3] = {replica_bootstrap_entry(&one, 1), entry_new(ENTRY_BARRIER, 2, 2, NULL, 0),
                                entry_new(ENTRY_BARRIER, 3, 2, NULL, 0)};
    struct replica_machine machine = {.ops = &machine_ops};
    struct replica_params params = {.group = 9, .machine = &machine, .term = 2};
    struct replica *replica;
    struct errmsg msg = {""};
    for (unsigned wrong = 0; wrong < array_count(names); wrong++) {
        struct replica_tail_entry tail[3] = {{entries[0], 0}, {entries[1], 10}, {entries[2], 20}};
        params.tail = tail;
        params.tail_count = 3;
        params.term = wrong == 1 ? 1 : 2;
        entries[2]->term = wrong == 2 ? 1 : 2;
        entries[2]->index = wrong == 0 ? 4 : 3;
        entries[0]->kind = wrong == 3 ? ENTRY_COMMAND : ENTRY_CHANGE;
        enum err err = replica_open(world.shard, &params, &replica, &msg);
        ck_assert_msg(err == ERR_INVALID || err == ERR_CORRUPT, "%s: %s", names[wrong], err_name(err));
        ck_assert_str_ne(msg.text, "");
    }
    for (unsigned i = 0; i < 3; i++) {
        entry_release(entries[i]);
    }
    world_close();
}
END_TEST

/* ---- Time ------------------------------------------------------------------------------------------------------- */

/* Goal: followers campaign within one to two election timeouts, leaders pulse at each heartbeat, not more often.
 * Method: 20 s of each. */
START_TEST(timers_keep_their_rates)
{
    world_open(3, 0);
    sync_log();
    turn_env_advance(&world.turn, (ELECTION_MS - 100) * 1000);
    ck_assert_uint_eq(world.sent_count, 0);
    turn_env_advance(&world.turn, (ELECTION_MS + 300) * 1000);
    ck_assert_uint_eq(sent_of(REPLICA_VOTE), 2);
    vote_for_me(true);
    sync_log();
    vote_for_me(false);
    settle();
    ack(2, 2);
    settle();
    unsigned pulses = 0;
    for (unsigned i = 0; i < 200; i++) {
        world.sent_count = 0;
        turn_env_advance(&world.turn, 100000);
        pulses += sent_of(REPLICA_APPEND);
        ack(2, 2);
        ack(3, 2);
    }
    ck_assert_uint_ge(pulses, 2 * 20000 / (HEARTBEAT_MS + 100));
    ck_assert_uint_le(pulses, 2 * 20000 / HEARTBEAT_MS + 4);
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
    tcase_add_test(alone, damage_stops_the_replica_at_the_end_of_the_turn);
    suite_add_tcase(suite, alone);
    TCase *messages = tcase_create("messages");
    tcase_add_loop_test(messages, messages_wait_for_term_and_vote, 0, 2);
    tcase_add_loop_test(messages, messages_wait_for_the_own_membership_change, 0, 2);
    tcase_add_loop_test(messages, large_appends_are_split, 0, 2);
    tcase_add_test(messages, follower_behind_the_memory_gets_a_catch_up);
    tcase_add_test(messages, proposals_of_a_lost_term_are_dropped);
    tcase_add_test(messages, transfer_stops_the_intake_for_a_while);
    suite_add_tcase(suite, messages);
    TCase *checkpoints = tcase_create("checkpoints");
    tcase_add_test(checkpoints, mark_names_the_lowest_frame_that_is_needed);
    tcase_add_test(checkpoints, copies_keep_the_log_at_every_cut);
    tcase_add_test(checkpoints, restart_at_index_one_keeps_the_first_entry);
    tcase_add_test(checkpoints, open_refuses_a_log_that_does_not_fit);
    suite_add_tcase(suite, checkpoints);
    TCase *timing = tcase_create("timing");
    tcase_add_test(timing, timers_keep_their_rates);
    suite_add_tcase(suite, timing);
    return suite;
}

TEST_MAIN(replica_suite)
