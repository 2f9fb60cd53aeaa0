/* A broker cut down to its storage on the simulated disk: shards with replicas, Raft, write-ahead logs, partitions,
 * segments, checkpoints and the local store, started and stopped as broker/broker.c does it. It has *slots*, each with
 * one partition: some last, the others are removed and made anew (with another group) while it runs.
 *
 * `struct power_node` is the test's memory and outlives processes; what a life owns is in it as pointers that
 * power_node_open() forgets. Functions marked "inside" are called through sim_process_run(). */
#pragma once

#include "base/kv.h"
#include "broker/identity.h"
#include "replication/partition.h"
#include "replication/replicas.h"
#include "tests/lib/sim_disk.h"

enum {
    POWER_SHARDS_MAX = 4,
    POWER_SLOTS = 6,
    POWER_SLOTS_LASTING = 4, /* the first ones are never removed */
};

struct power_node;

struct power_shard {
    struct power_node *node;
    struct env *env;
    struct log_files *files;
    struct replicas *replicas;
};

struct power_slot {
    uint64_t group;              /* in the slot now; its removal makes it the next one */
    struct partition *partition; /* of this life; NULL: not open, or leaving */
    bool is_leaving;             /* its removal was asked for, in this life or an earlier one */
    bool is_busy;                /* creation or removal is under way in this life */
};

struct power_node {
    struct sim_world *world;
    struct sim_disk *disk;
    struct sim_process *process;
    struct kv *local;
    struct identity identity;
    unsigned shard_count;
    unsigned layout;
    unsigned layouts_ready;
    unsigned layouts_changed; /* committed changes of the shard count, all lives */
    unsigned removed;         /* groups, all lives */
    unsigned closed;          /* shards */
    bool is_started;
    bool is_stopping;
    struct power_shard shards[POWER_SHARDS_MAX];
    struct power_slot slots[POWER_SLOTS];
    void (*on_gone)(unsigned slot); /* its group is removed for good; the next one starts empty */
    char failure[2 * ERRMSG_SIZE];  /* what must not happen without a fault of the disk; "": nothing */
};

void power_node_init(struct power_node *node, struct sim_world *world, struct sim_disk *disk);
void power_node_open(struct power_node *node, unsigned shard_count); /* a new life */
/* Inside: opens all; closes all (then run until every shard is closed); gives back the rest. */
void power_node_start(void *context);
void power_node_stop(void *context);
void power_node_finish(void *context);
/* Inside: makes what is not there; goes on with removals that an earlier life began. */
void power_node_fill(void *context);
void power_node_remove(struct power_node *node, unsigned number); /* inside */
