/* A Raft cluster in one process: replicas over simulated logs, links and clocks, and checkers that look at every step.
 *
 * Deterministic: everything follows from the seed. Time is virtual. A scenario (tests/unit/test_raft_cluster.c) says
 * what happens when; here is how things work: messages are lost, repeated and late as told, a log becomes durable after
 * a while, a crash loses what was not, a signal for a catch-up stages the sender's state and installs it.
 *
 * Checkers: one leader per term; one entry per (index, term) with one predecessor; one command per index on every
 * machine; a leader holds all that was ever committed; commit and applied never go back within a life; no term or vote
 * is forgotten; no leader has a lease when there is a later one; no message leaves before its term and vote are
 * durable, no success before its entries are. A violation is printed with the seed and counted; the run ends there.
 * Runs on: the test's thread. */
#pragma once

#include "base/map.h"
#include "replication/replica_shard.h"
#include "tests/lib/fake_log.h"

#include <stdio.h>

enum { NET_NODE_MAX = 8 };

struct net_options {
    unsigned node_count;         /* slots; each a place for a server */
    unsigned voter_count;        /* of the bootstrap membership: the first slots */
    unsigned heartbeat_ms, election_ms;
    unsigned loss;               /* messages of 1,000 that are lost */
    unsigned repeat;             /* of 1,000 that come twice */
    unsigned late;               /* of 1,000 that come up to late_ms_max later */
    unsigned delay_ms_max;       /* of the others */
    unsigned late_ms_max;
    unsigned sync_ms_max;        /* until a unit of the log is durable */
    unsigned install_ms_max;     /* until a catch-up is staged */
    size_t retain_size;          /* see replica_shard_params */
    unsigned signal;             /* of 1,000 deaths that other nodes hear of at once, as their links are reset */
};

struct net_state {               /* what a machine holds: enough to compare */
    uint64_t index;
    uint64_t hash;               /* of all commands so far */
};

struct net_checkpoint {          /* on the node's disk */
    struct replica_mark mark;
    struct net_state state;
};

struct net_staged {              /* what a catch-up brought, by the index that its WAL_INSTALL names */
    uint64_t index;
    struct net_state state;
};

struct net_node {
    struct raft_net *net;
    unsigned slot;
    uint64_t id;                 /* server id; a wiped slot gets a new one (R9f) */
    unsigned life;               /* counts starts: what belongs to an earlier one is stale */
    bool is_up;
    /* Disk. */
    struct fake_log log;
    bool has_checkpoint;
    struct net_checkpoint checkpoint;
    bool is_bootstrapped;        /* knows the bootstrap membership */
    struct net_staged *staged;   /* durable: states that came by catch-up */
    size_t staged_count, staged_capacity;
    /* While up. */
    struct env env;
    struct clock clock;
    struct rng rng;
    struct timers timers;
    struct tasks tasks;
    struct list task_queue;
    struct replica_shard *shard;
    struct replica *replica;
    struct replica_machine machine;
    struct net_state state;
    struct replica_status seen;  /* for the checks of monotony */
    uint64_t install_until_us[NET_NODE_MAX]; /* catch-up under way to that slot */
    bool is_checkpointing;
    bool is_stopping;
    uint64_t paused_until_us;    /* the process stands still: everything that happens to it waits */
};

struct net_log_entry {           /* what is known of one (index, term) */
    uint64_t hash;
    uint64_t prev_term;
};

struct raft_net {
    struct net_options options;
    uint64_t seed;
    uint64_t random;
    uint64_t now_us;
    uint64_t sequence, timer_sequence;
    struct net_event *events;    /* heap */
    size_t event_count, event_capacity;
    struct net_node nodes[NET_NODE_MAX];
    bool is_cut[NET_NODE_MAX][NET_NODE_MAX]; /* [from][to] */
    struct membership bootstrap;
    uint64_t next_id;
    struct metrics *metrics;
    /* Checkers. */
    uint64_t *leaders;           /* by term: server id */
    size_t leader_capacity;
    struct map entries;          /* (index, term) -> struct net_log_entry */
    uint64_t *committed;         /* by index: term */
    uint64_t *applied;           /* by index: hash of the state behind it */
    uint64_t *known;             /* by index: the term in which it was first seen to be committed */
    size_t committed_count, committed_capacity;
    unsigned violations;
    FILE *log;                   /* NULL: quiet */
    /* Counts, to see that things do happen. */
    uint64_t steps, elections, commits, installs, crashes, changes, proposals, checkpoints, messages, transfers;
    uint64_t signals, stops, disks_lost, tellings;
};

struct raft_net *raft_net_open(uint64_t seed, const struct net_options *options);
void raft_net_close(struct raft_net *net);

uint64_t raft_net_random(struct raft_net *net, uint64_t bound);         /* [0, bound) */
bool raft_net_chance(struct raft_net *net, unsigned of_thousand);
/* Runs events until `until_us`, or until a violation. */
void raft_net_run(struct raft_net *net, uint64_t until_us);

void raft_net_start(struct raft_net *net, unsigned slot);
void raft_net_crash(struct raft_net *net, unsigned slot);
/* Unless it has ended by itself till then. */
void raft_net_crash_later(struct raft_net *net, unsigned slot, uint64_t delay_us);
/* A down slot gets an empty disk and a new id; the member that was there is gone for ever. */
void raft_net_wipe(struct raft_net *net, unsigned slot);
void raft_net_pause(struct raft_net *net, unsigned slot, uint64_t us);  /* stops the process for a while */
/* `slot` hears that its links to `peer` are down, or up again, true or not. Crashes and starts tell that by themselves,
 * most of the time. That a process has ended is told, after a link went down, only when it has. */
void raft_net_signal(struct raft_net *net, unsigned slot, unsigned peer, bool is_up, uint64_t delay_us);
/* Stops a node in order: what it leads is handed over first. */
void raft_net_stop(struct raft_net *net, unsigned slot);
void raft_net_heal(struct raft_net *net);                               /* no cuts, no faults from now on */
/* The slot of a leader that is ready, of the highest term; -1. */
int raft_net_leader(const struct raft_net *net);
/* One command to the leader in `slot`. */
enum err raft_net_propose(struct raft_net *net, unsigned slot);
void raft_net_checkpoint(struct raft_net *net, unsigned slot);
void raft_net_copy_forward(struct raft_net *net, unsigned slot);
struct net_node *raft_net_find(struct raft_net *net, uint64_t id);      /* NULL: wiped */
/* Whether all members of the leader's membership that are up have applied all. */
bool raft_net_is_level(const struct raft_net *net);
/* After a call into a replica: runs its tasks, submits its log, checks it. */
void raft_net_settle(struct net_node *node);

/* raft_net_check.c */
void net_violation(struct raft_net *net, const char *format, ...) __attribute__((format(printf, 2, 3)));
void net_check_init(struct raft_net *net);
void net_check_deinit(struct raft_net *net);
void net_check_node(struct net_node *node);
void net_check_append(struct net_node *node, const struct wal_frame *frame);
void net_check_apply(struct net_node *node, const struct entry *entry);
void net_check_send(struct net_node *node, const struct replica_message *message);
