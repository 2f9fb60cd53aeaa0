#include "tests/lib/replica_world.h"

#include "base/trace.h"

#include <string.h>

struct world world;

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

enum err world_submit(unsigned number, size_t size)
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
        ck_assert_int_eq((int)world_submit(200, 4), (int)OK);
    }
}

static void machine_role_changed(struct replica_machine *machine, const struct replica_status *status)
{
    struct world *w = world_of(machine);
    w->status = *status;
    w->roles++;
}

const struct replica_machine_ops world_machine_ops = {
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

uint64_t world_intake_size, world_follow_size;

void world_open_shard(void)
{
    struct replica_shard_params params = {
        .env = &world.turn.env,
        .wal = fake_log_wal(&world.log),
        .server_id = 1,
        .heartbeat_ms = HEARTBEAT_MS,
        .election_ms = ELECTION_MS,
        .retain_size = 1,
        .intake_size = world_intake_size,
        .follow_size = world_follow_size,
        .send = on_send,
        .on_damaged = on_damaged,
    };
    world.shard = replica_shard_open(&params);
    world.machine = (struct replica_machine){.ops = &world_machine_ops};
}

struct membership world_members(unsigned voters, unsigned standbys)
{
    struct membership membership = {.count = voters + standbys};
    for (unsigned i = 0; i < membership.count; i++) {
        uint64_t id = i < voters ? (i + 1) % voters + 1 : i + 1;
        membership.servers[i] = (struct replica_server){.id = id, .is_voter = i < voters};
    }
    return membership;
}

/* A new group of `voters` voters and `standbys` standbys; server 1 is this one. */
void world_open(unsigned voters, unsigned standbys)
{
    world = (struct world){.damage_at = UINT64_MAX};
    raft_rules_disabled = 0;
    trace_set_level(TRACE_RAFT, TRACE_ERROR);
    trace_set_level(TRACE_REPLICA, TRACE_ERROR);
    turn_env_init(&world.turn, 7);
    fake_log_init(&world.log);
    world_open_shard();
    struct membership membership = world_members(voters, standbys);
    struct entry *first = replica_bootstrap_entry(&membership, 1);
    struct replica_tail_entry tail = {first, 0};
    struct replica_params params = {
        .group = WORLD_GROUP, .machine = &world.machine, .term = 1, .tail = &tail, .tail_count = 1};
    ck_assert_int_eq((int)replica_open(world.shard, &params, &world.replica, NULL), (int)OK);
    entry_release(first);
    replica_shard_start(world.shard);
}

void world_stop(void)
{
    replica_close(world.replica);
    replica_shard_close(world.shard);
}

void world_close(void)
{
    raft_rules_disabled = 0;
    world_stop();
    fake_log_deinit(&world.log);
    turn_env_deinit(&world.turn);
}

/* The end of a turn; then the log is durable, and what follows from that. */
void world_sync(void)
{
    turn_env_run(&world.turn);
    fake_log_sync(&world.log);
    replica_shard_on_durable(world.shard, world.log.durable_lsn);
    turn_env_run(&world.turn);
}

void world_settle(void)
{
    for (unsigned i = 0; i < 5; i++) {
        world_sync();
    }
}

void world_receive(struct replica_message message)
{
    replica_receive(world.replica, &message);
    turn_env_run(&world.turn);
}

uint64_t world_now_ms(void)
{
    return world.turn.now_us / 1000;
}

void world_ack(uint64_t peer, uint64_t index)
{
    world_receive((struct replica_message){.kind = REPLICA_APPEND_RESULT,
                                           .peer = peer,
                                           .term = replica_term(world.replica),
                                           .append_result = {.last_index = index, .echo_ms = world_now_ms()}});
}

void world_vote_for_me(bool is_pre_vote)
{
    world_receive((struct replica_message){.kind = REPLICA_VOTE_RESULT,
                                           .peer = 2,
                                           .term = replica_term(world.replica) + (is_pre_vote ? 1 : 0),
                                           .vote_result = {.is_granted = true, .is_pre_vote = is_pre_vote}});
}

/* Server 1 of three becomes leader; nothing of it is durable yet. */
void world_elect(void)
{
    world_sync();
    turn_env_advance(&world.turn, 2 * ELECTION_MS * 1000 + 200000);
    world_vote_for_me(true);
    world_vote_for_me(false);
    struct replica_status status;
    replica_status(world.replica, &status);
    ck_assert_int_eq((int)status.role, REPLICA_LEADER);
}

void world_elect_and_commit(void)
{
    world_elect();
    world_settle();
    world_ack(2, 2);
    world_settle();
    ck_assert(replica_is_ready_leader(world.replica));
    world.sent_count = 0;
}

unsigned world_frames(enum wal_kind kind)
{
    unsigned count = 0;
    for (size_t i = 0; i < world.log.count; i++) {
        count += world.log.frames[i].kind == kind;
    }
    return count;
}

unsigned world_sent(enum replica_message_kind kind)
{
    unsigned count = 0;
    for (unsigned i = 0; i < world.sent_count; i++) {
        count += world.sent[i].kind == kind;
    }
    return count;
}

int64_t world_steps(void)
{
    return metrics_value(world.turn.env.metrics, METRIC_RAFT_STEPS);
}
