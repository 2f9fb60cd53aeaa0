/* What Raft costs a broker besides the disk: sole-voter groups, and a leader of three, over a log in memory that is
 * durable at once. One thread, CPU time per entry.
 *
 * Printed: entries a second for different numbers of groups and of proposals a turn; time to open 1,000 and 5,000
 * groups; memory of an idle group. */
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/replica_shard.h"
#include "tests/lib/turn_env.h"

#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    GROUP_MAX = 5000,
    PAYLOAD = 1024
};

/* A log that keeps nothing. */
struct null_log {
    uint64_t lsn;
    uint64_t frames;
    uint64_t bytes;
};

static uint64_t null_append(struct wal *wal, const struct wal_frame *frame)
{
    struct null_log *log = (struct null_log *)(void *)wal;
    uint64_t lsn = log->lsn;
    uint64_t size = 48;
    for (unsigned i = 0; i < frame->slice_count; i++) {
        size += frame->slices[i].bytes.size;
    }
    log->lsn += size;
    log->bytes += size;
    log->frames++;
    return lsn;
}

static uint64_t null_end_lsn(const struct wal *wal)
{
    return ((const struct null_log *)(const void *)wal)->lsn;
}

static bool null_is_stalled(const struct wal *wal)
{
    (void)wal;
    return false;
}

struct bench {
    struct turn_env turn;
    struct null_log log;
    struct replica_shard *shard;
    struct replica *replicas[GROUP_MAX];
    struct replica_machine machines[GROUP_MAX];
    unsigned group_count;
    struct shared *payload;
    uint64_t messages;
};

static struct bench bench;
static uint64_t applied;

static void machine_apply(struct replica_machine *machine, const struct entry *entry)
{
    (void)machine;
    (void)entry;
    applied++;
}

static void machine_applied(struct replica_machine *machine)
{
    (void)machine;
}

static void machine_role_changed(struct replica_machine *machine, const struct replica_status *status)
{
    (void)machine;
    (void)status;
}

static const struct replica_machine_ops machine_ops = {
    .apply = machine_apply,
    .applied = machine_applied,
    .role_changed = machine_role_changed,
};

/* Followers of a leader: they acknowledge what they get, at once. */
static void on_send(void *owner, struct replica *replica, const struct replica_message *message)
{
    (void)owner;
    (void)replica;
    (void)message;
    bench.messages++;
}

static void on_damaged(void *owner, struct replica *replica, const char *cause)
{
    (void)owner;
    (void)replica;
    (void)fprintf(stderr, "damaged: %s\n", cause);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void settle(void)
{
    turn_env_run(&bench.turn);
    replica_shard_on_durable(bench.shard, bench.log.lsn);
    turn_env_run(&bench.turn);
}

static void bench_open(unsigned groups, unsigned voters)
{
    memset(&bench, 0, sizeof bench);
    turn_env_init(&bench.turn, 3);
    bench.log.lsn = 4096;
    struct replica_shard_params params = {
        .env = &bench.turn.env,
        .wal = {.wal = (struct wal *)(void *)&bench.log,
                .append = null_append,
                .end_lsn = null_end_lsn,
                .is_stalled = null_is_stalled},
        .server_id = 1,
        .heartbeat_ms = 400,
        .election_ms = 2000,
        .send = on_send,
        .on_damaged = on_damaged,
    };
    bench.shard = replica_shard_open(&params);
    struct membership membership = {.count = voters};
    for (unsigned i = 0; i < voters; i++) {
        membership.servers[i] = (struct replica_server){.id = i + 1, .is_voter = true};
    }
    for (unsigned i = 0; i < groups; i++) {
        struct entry *first = replica_bootstrap_entry(&membership, 1);
        struct replica_tail_entry tail = {first, 0};
        bench.machines[i].ops = &machine_ops;
        struct replica_params replica = {
            .group = i + 1, .machine = &bench.machines[i], .term = 1, .tail = &tail, .tail_count = 1};
        struct errmsg msg;
        if (replica_open(bench.shard, &replica, &bench.replicas[i], &msg) != OK) {
            (void)fprintf(stderr, "open: %s\n", msg.text);
        }
        entry_release(first);
    }
    bench.group_count = groups;
    replica_shard_start(bench.shard);
    settle();
    bench.payload = shared_new(PAYLOAD);
    memset(bench.payload->data, 7, PAYLOAD);
}

static void bench_close(void)
{
    for (unsigned i = 0; i < bench.group_count; i++) {
        replica_close(bench.replicas[i]);
    }
    replica_shard_close(bench.shard);
    shared_release(bench.payload);
    turn_env_deinit(&bench.turn);
}

static void propose(unsigned group)
{
    struct slice slice = slice_of(bench.payload, 0, PAYLOAD);
    struct entry *entry = entry_new(ENTRY_COMMAND, 0, 0, &slice, 1);
    if (replica_submit(bench.replicas[group], entry) != OK) {
        entry_release(entry);
    }
}

/* Acks of server 2, as a majority. */
static void acknowledge(unsigned group)
{
    struct replica_status status;
    replica_status(bench.replicas[group], &status);
    struct replica_message ack = {.kind = REPLICA_APPEND_RESULT,
                                  .peer = 2,
                                  .term = status.term,
                                  .append_result = {.last_index = status.last_index}};
    replica_receive(bench.replicas[group], &ack);
}

static void vote(unsigned group, bool is_pre_vote)
{
    struct replica_message message = {.kind = REPLICA_VOTE_RESULT,
                                      .peer = 2,
                                      .term = replica_term(bench.replicas[group]) + (is_pre_vote ? 1 : 0),
                                      .vote_result = {.is_granted = true, .is_pre_vote = is_pre_vote}};
    replica_receive(bench.replicas[group], &message);
}

static void elect_all(void)
{
    turn_env_advance(&bench.turn, 4200000);
    for (unsigned i = 0; i < bench.group_count; i++) {
        vote(i, true);
        vote(i, false);
    }
    settle();
    for (unsigned i = 0; i < bench.group_count; i++) {
        acknowledge(i);
    }
    settle();
}

static void run_proposals(unsigned groups, unsigned voters, unsigned per_turn)
{
    bench_open(groups, voters);
    if (voters > 1) {
        elect_all();
    }
    uint64_t total = 400000;
    uint64_t rounds = total / groups / per_turn;
    rounds = rounds > 0 ? rounds : 1;
    applied = 0;
    uint64_t start = now_ns();
    for (uint64_t round = 0; round < rounds; round++) {
        for (unsigned group = 0; group < groups; group++) {
            for (unsigned i = 0; i < per_turn; i++) {
                propose(group);
            }
        }
        settle();
        if (voters > 1) {
            for (unsigned group = 0; group < groups; group++) {
                acknowledge(group);
            }
            settle();
        }
    }
    uint64_t spent = now_ns() - start;
    (void)printf("%u of %u voter%s, %4u a turn: %8.0f entries/s, %6.0f ns an entry, %5.0f ns a turn and group\n",
                 groups, voters, voters > 1 ? "s" : " ", per_turn, (double)applied * 1e9 / (double)spent,
                 (double)spent / (double)(applied > 0 ? applied : 1), (double)spent / (double)(rounds * groups));
    bench_close();
}

static void run_open(unsigned groups)
{
    struct mallinfo2 before = mallinfo2();
    uint64_t start = now_ns();
    bench_open(groups, 1);
    uint64_t spent = now_ns() - start;
    struct mallinfo2 after = mallinfo2();
    unsigned ready = 0;
    for (unsigned i = 0; i < groups; i++) {
        ready += replica_is_ready_leader(bench.replicas[i]);
    }
    (void)printf("open %u groups until %u lead: %.1f ms, %.0f B of memory each\n", groups, ready, (double)spent / 1e6,
                 (double)(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / groups);
    bench_close();
}

/* Heartbeats of leaders of three, all followers answering: CPU for one second. */
static void run_idle(unsigned groups)
{
    bench_open(groups, 3);
    elect_all();
    bench.messages = 0;
    uint64_t start = now_ns();
    for (unsigned i = 0; i < 100; i++) {
        turn_env_advance(&bench.turn, 100000);
        if (i % 4 == 3) {
            for (unsigned group = 0; group < groups; group++) {
                acknowledge(group);
            }
            turn_env_run(&bench.turn);
        }
    }
    uint64_t spent = now_ns() - start;
    (void)printf("%u leaders of three at rest: %.2f %% of a core, %.0f messages/s\n", groups, (double)spent / 1e8,
                 (double)bench.messages / 10);
    bench_close();
}

int main(void)
{
    trace_set_level(TRACE_RAFT, TRACE_ERROR);
    trace_set_level(TRACE_REPLICA, TRACE_ERROR);
    run_proposals(1, 1, 1);
    run_proposals(1, 1, 64);
    run_proposals(100, 1, 1);
    run_proposals(100, 1, 8);
    run_proposals(1000, 1, 1);
    run_proposals(1000, 1, 8);
    run_proposals(1, 3, 1);
    run_proposals(1, 3, 64);
    run_proposals(1000, 3, 1);
    run_proposals(1000, 3, 8);
    run_open(1000);
    run_open(5000);
    run_idle(1000);
    run_idle(5000);
    return 0;
}
