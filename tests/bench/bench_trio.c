/* Three brokers in one process, as far as Raft goes: a shard of replicas each over a log in memory that is durable at
 * once, and frames between them as peers.c makes them (raft_wire, protobuf-c), one a turn and peer. Virtual time, so
 * that what is measured is CPU alone.
 *
 * Printed: CPU of groups at rest, per broker; memory of a replica; CPU and virtual time of a failover and of handing
 * everything over before a stop. */
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "proto/peer.pb-c.h"
#include "replication/raft_wire.h"
#include "replication/replica_shard.h"
#include "tests/lib/turn_env.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    BROKERS = 3,
    GROUP_MAX = 5000,
    FRAME_MAX = 32 << 20,
    HEARTBEAT_MS = 400,
    ELECTION_MS = 2000,
    STEP_US = 1000
};

struct frame { /* of this turn, to one peer */
    uint8_t *bytes;
    size_t size;
};

struct broker {
    struct turn_env turn;
    uint64_t lsn;
    struct replica_shard *shard;
    struct replica *replicas[GROUP_MAX];
    struct replica_machine machines[GROUP_MAX];
    struct frame frames[BROKERS];
    bool is_up;
};

static struct broker brokers[BROKERS];
static unsigned group_count;
static uint64_t frames_sent, messages_sent, bytes_sent;

/* ---- Under and above the replicas ------------------------------------------------------------------------------- */

static uint64_t log_append(struct wal *wal, const struct wal_frame *frame)
{
    uint64_t *lsn = (uint64_t *)(void *)wal;
    uint64_t at = *lsn;
    *lsn += 48;
    for (unsigned i = 0; i < frame->slice_count; i++) {
        *lsn += frame->slices[i].bytes.size;
    }
    return at;
}

static uint64_t log_end_lsn(const struct wal *wal)
{
    return *(const uint64_t *)(const void *)wal;
}

static bool log_is_stalled(const struct wal *wal)
{
    (void)wal;
    return false;
}

static void machine_apply(struct replica_machine *machine, const struct entry *entry)
{
    (void)machine;
    (void)entry;
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

static void on_damaged(void *owner, struct replica *replica, const char *cause)
{
    (void)owner;
    (void)replica;
    (void)fprintf(stderr, "damaged: %s\n", cause);
}

static void on_send(void *owner, struct replica *replica, const struct replica_message *message)
{
    struct broker *broker = owner;
    struct frame *frame = &broker->frames[message->peer - 1];
    if (FRAME_MAX - frame->size < RAFT_WIRE_SIZE_MAX || message->kind == REPLICA_INSTALL) {
        return;
    }
    size_t size = raft_wire_encode(replica_group(replica), message, frame->bytes + frame->size);
    frame->size += size;
    messages_sent++;
    /* Entries of this benchmark have no payload: barriers only. */
}

/* ---- Turns ------------------------------------------------------------------------------------------------------ */

static void broker_settle(struct broker *broker)
{
    turn_env_run(&broker->turn);
    replica_shard_on_durable(broker->shard, broker->lsn);
    turn_env_run(&broker->turn);
}

static void deliver(unsigned from, struct broker *target, const struct frame *frame)
{
    Balsa__Peer__Envelope *envelope = balsa__peer__envelope__unpack(NULL, frame->size, frame->bytes);
    if (envelope == NULL) {
        (void)fprintf(stderr, "a frame is not read\n");
        return;
    }
    for (size_t i = 0; i < envelope->n_raft; i++) {
        uint64_t group;
        struct replica_message message = {.peer = from + 1};
        struct bytes payload = BYTES_NONE;
        if (raft_wire_decode(envelope->raft[i], NULL, &payload, &group, &message) == OK) {
            message.peer = from + 1;
            replica_receive(target->replicas[group - 1], &message);
            raft_wire_release(&message);
        }
    }
    balsa__peer__envelope__free_unpacked(envelope, NULL);
}

/* What the turns so far have sent arrives; until nothing is under way. */
static void exchange(void)
{
    for (bool is_moving = true; is_moving;) {
        is_moving = false;
        for (unsigned from = 0; from < BROKERS; from++) {
            for (unsigned to = 0; to < BROKERS; to++) {
                struct frame frame = brokers[from].frames[to];
                if (frame.size == 0) {
                    continue;
                }
                brokers[from].frames[to].bytes = malloc(FRAME_MAX);
                brokers[from].frames[to].size = 0;
                if (brokers[to].is_up) {
                    frames_sent++;
                    bytes_sent += frame.size;
                    deliver(from, &brokers[to], &frame);
                    broker_settle(&brokers[to]);
                }
                free(frame.bytes);
                is_moving = true;
            }
        }
    }
}

static void pass(uint64_t us)
{
    for (uint64_t done = 0; done < us; done += STEP_US) {
        for (unsigned i = 0; i < BROKERS; i++) {
            if (brokers[i].is_up) {
                turn_env_advance(&brokers[i].turn, STEP_US);
                broker_settle(&brokers[i]);
            }
        }
        exchange();
    }
}

static unsigned led(unsigned broker)
{
    unsigned count = 0;
    for (unsigned i = 0; i < group_count; i++) {
        count += brokers[broker].is_up && replica_is_ready_leader(brokers[broker].replicas[i]);
    }
    return count;
}

static unsigned led_by_all(void)
{
    return led(0) + led(1) + led(2);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* ---- Life ------------------------------------------------------------------------------------------------------- */

static void broker_open(unsigned number, unsigned groups)
{
    struct broker *broker = &brokers[number];
    memset(broker, 0, sizeof *broker);
    turn_env_init(&broker->turn, 3 + number);
    broker->lsn = 4096;
    broker->is_up = true;
    for (unsigned i = 0; i < BROKERS; i++) {
        broker->frames[i].bytes = malloc(FRAME_MAX);
    }
    struct replica_shard_params params = {
        .env = &broker->turn.env,
        .wal = {.wal = (struct wal *)(void *)&broker->lsn,
                .append = log_append,
                .end_lsn = log_end_lsn,
                .is_stalled = log_is_stalled},
        .server_id = number + 1,
        .heartbeat_ms = HEARTBEAT_MS,
        .election_ms = ELECTION_MS,
        .owner = broker,
        .send = on_send,
        .on_damaged = on_damaged,
    };
    broker->shard = replica_shard_open(&params);
    for (unsigned i = 0; i < groups; i++) {
        struct membership membership = {.count = BROKERS}; /* the first member leads first: in turn */
        for (unsigned k = 0; k < BROKERS; k++) {
            membership.servers[k] = (struct replica_server){.id = (i + k) % BROKERS + 1, .is_voter = true};
        }
        struct entry *first = replica_bootstrap_entry(&membership, 1);
        struct replica_tail_entry tail = {first, 0};
        broker->machines[i].ops = &machine_ops;
        struct replica_params replica = {
            .group = i + 1, .machine = &broker->machines[i], .term = 1, .tail = &tail, .tail_count = 1};
        struct errmsg msg;
        if (replica_open(broker->shard, &replica, &broker->replicas[i], &msg) != OK) {
            (void)fprintf(stderr, "open: %s\n", msg.text);
        }
        entry_release(first);
    }
    replica_shard_start(broker->shard);
    broker_settle(broker);
}

static void broker_close(unsigned number)
{
    struct broker *broker = &brokers[number];
    for (unsigned i = 0; i < group_count; i++) {
        replica_close(broker->replicas[i]);
    }
    replica_shard_close(broker->shard);
    turn_env_deinit(&broker->turn);
    for (unsigned i = 0; i < BROKERS; i++) {
        free(broker->frames[i].bytes);
    }
    broker->is_up = false;
}

static double heap_used(void)
{
    struct mallinfo2 info = mallinfo2();
    return (double)(info.uordblks);
}

static void open_all(unsigned groups)
{
    double before = heap_used();
    group_count = groups;
    for (unsigned i = 0; i < BROKERS; i++) {
        broker_open(i, groups);
    }
    for (unsigned i = 0; i < 60 && led_by_all() < groups; i++) {
        pass(100000);
    }
    pass(2000000);
    (void)printf("%u groups of three, %u led (%u, %u, %u); %.0f B of heap a replica\n", groups, led_by_all(), led(0),
                 led(1), led(2), (heap_used() - before) / groups / BROKERS);
}

static void run_idle(void)
{
    frames_sent = messages_sent = bytes_sent = 0;
    uint64_t start = now_ns();
    pass(10000000);
    double spent = (double)(now_ns() - start);
    (void)printf("  at rest: %.2f %% of a core each; %.0f messages/s in %.0f frames/s of %.0f B\n",
                 spent / 1e8 / BROKERS, (double)messages_sent / 10, (double)frames_sent / 10,
                 (double)bytes_sent / (double)(frames_sent > 0 ? frames_sent : 1));
}

static void on_handed_over(void *owner, unsigned left)
{
    *(unsigned *)owner = left;
}

static void run_hand_over(unsigned number)
{
    unsigned left = UINT32_MAX;
    unsigned before = led(number);
    uint64_t start = now_ns();
    uint64_t ms = 0;
    replica_shard_hand_over(brokers[number].shard, 5000, &left, on_handed_over);
    for (; left == UINT32_MAX && ms < 6000; ms++) {
        pass(1000);
    }
    (void)printf("  %u groups handed over, %u left: %u ms of virtual time, %.0f ms of CPU in all\n", before, left,
                 (unsigned)ms, (double)(now_ns() - start) / 1e6);
}

static void run_failover(unsigned number)
{
    unsigned before = led(number);
    broker_close(number);
    uint64_t start = now_ns();
    uint64_t ms = 0;
    uint64_t half_ms = 0;
    for (unsigned i = 0; i < BROKERS; i++) {
        if (i != number) {
            replica_shard_peer_down(brokers[i].shard, number + 1);
            replica_shard_peer_ended(brokers[i].shard, number + 1);
        }
    }
    for (; led_by_all() < group_count && ms < 10000; ms++) {
        half_ms += led_by_all() < group_count - before / 2;
        pass(1000);
    }
    (void)printf("  %u groups lost their leader: half led again after %u ms of virtual time, all after %u; %.0f ms of "
                 "CPU in all\n",
                 before, (unsigned)half_ms, (unsigned)ms, (double)(now_ns() - start) / 1e6);
}

static void run(unsigned groups)
{
    open_all(groups);
    run_idle();
    run_hand_over(0);
    pass(1000000);
    run_failover(1);
    for (unsigned i = 0; i < BROKERS; i++) {
        if (brokers[i].is_up) {
            broker_close(i);
        }
    }
}

int main(void)
{
    trace_set_level(TRACE_RAFT, TRACE_ERROR);
    trace_set_level(TRACE_REPLICA, TRACE_ERROR);
    run(1000);
    run(5000);
    return 0;
}
