/* A few brokers cut down to one partition each, replicated between them: replicas, Raft, write-ahead logs, segments,
 * checkpoints and catch-ups, on simulated disks. Raft messages and the calls of catch-ups go through the test's hands,
 * which lose and delay them.
 *
 * The struct is the test's memory and outlives processes. */
#pragma once

#include "replication/catchup.h"
#include "replication/partition.h"
#include "tests/lib/sim_disk.h"

enum { CATCHUP_NODES = 3, CATCHUP_GROUP = 2 };

struct catchup_node {
    struct catchup_world *world;
    unsigned number;                     /* from 0 */
    uint64_t server_id;
    struct sim_disk *disk;
    struct sim_process *process;         /* NULL: down */
    unsigned life;
    bool is_founded;                     /* the group was created here once */
    bool is_joiner;                      /* comes with nothing */
    /* Of this life. */
    struct env *env;
    struct kv *local;
    struct log_files *files;
    struct replicas *replicas;
    struct catchups *catchups;
    struct partition *partition;
    unsigned damages;
    char failure[ERRMSG_SIZE];           /* of the start */
};

struct catchup_world {
    struct sim_world *sim;
    struct catchup_node nodes[CATCHUP_NODES];
    unsigned voters;                     /* the first nodes found the group */
    unsigned lost_per_thousand;          /* of calls and messages */
    size_t retain_size;
    uint64_t segment_size;
    int64_t bytes_per_second;
    int64_t call_us;                     /* a call takes as long again */
    struct list packets;
    uint64_t acked;                      /* batches */
    uint64_t asked;
    uint64_t sequence;
    unsigned begins, reads, installs_sent; /* calls seen, signals seen */
    uint64_t read_bytes;                 /* asked for by READs */
    uint64_t tail_max;                   /* bytes in memory of any shard, at most */
    bool (*drop)(struct catchup_world *world, unsigned op); /* NULL: none; op: enum catchup_op */
};

void catchup_world_open(struct catchup_world *world, uint64_t seed, unsigned voters);
void catchup_world_close(struct catchup_world *world);
void catchup_node_start(struct catchup_world *world, unsigned number);
void catchup_node_kill(struct catchup_world *world, unsigned number);
void catchup_node_power_loss(struct catchup_world *world, unsigned number);
void catchup_node_stop(struct catchup_world *world, unsigned number); /* in order */
void catchup_world_run(struct catchup_world *world, int64_t ms);
/* Runs until `is_reached`, at most `ms`. */
bool catchup_world_until(struct catchup_world *world, bool (*is_reached)(struct catchup_world *world), int64_t ms);
int catchup_world_leader(struct catchup_world *world); /* ready; -1 */
/* One batch of about `size` bytes to the leader, if there is one. */
void catchup_world_produce(struct catchup_world *world, size_t size);
/* Produces until `count` more are acknowledged. */
void catchup_world_fill(struct catchup_world *world, unsigned count, size_t size);
void catchup_world_trim(struct catchup_world *world, int64_t offset);
/* Leader: proposes `number` as standby, or as voter. */
void catchup_world_add(struct catchup_world *world, unsigned number, bool is_voter);
void catchup_node_checkpoint(struct catchup_world *world, unsigned number);
void catchup_node_remove(struct catchup_world *world, unsigned number); /* its replica; the others are not told */
bool catchup_node_is_up(const struct catchup_node *node);
struct replica_status catchup_node_status(struct catchup_world *world, unsigned number);
/* All nodes that are up have applied the same, and have the same bytes. */
bool catchup_world_is_level(struct catchup_world *world);
/* Digest of a node's segment bytes, and its offsets. */
uint32_t catchup_node_digest(struct catchup_world *world, unsigned number, int64_t *start_offset, int64_t *end_offset);
