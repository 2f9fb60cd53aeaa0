/* Brokers that are nothing but their links (replication/peers.h), in the simulator: each a process with a listener and
 * one `struct peers` a shard. What arrives is kept for the test to look at.
 *
 *     struct peer_world world;
 *     peer_world_open(&world, seed, 2, 1);
 *     peer_node_set(&world.nodes[0], 0, &world.nodes[1]);
 *     peer_world_run(&world, 1000000);
 *
 * Runs on: the test's thread; functions named peer_node_* run as the node's process. */
#pragma once

#include "base/limits.h"
#include "replication/peers.h"
#include "tests/lib/sim_net.h"

enum {
    PEER_NODE_MAX = 4,
    PEER_SHARD_MAX = 3,
    PEER_SEEN_MAX = 20000,
    PEER_PORT = 9093,
};

struct peer_seen {                     /* a Raft message that arrived */
    unsigned shard;
    uint64_t group;
    struct replica_message message;    /* with its entries */
};

struct peer_node {
    struct peer_world *world;
    unsigned number;
    struct sim_disk *disk;
    struct sim_process *process;
    struct env *envs[PEER_SHARD_MAX];
    struct peers *peers[PEER_SHARD_MAX];
    struct peer_identity self;
    struct listener *listener;
    struct peer_seen *seen;            /* the test's memory */
    size_t seen_count;
    bool drops_seen;                   /* what arrives is counted only */
    unsigned up_count[PEER_NODE_MAX], down_count[PEER_NODE_MAX], reset_count[PEER_NODE_MAX];
    unsigned refused_count;
    char refused_cause[ERRMSG_SIZE];
    struct peer_request *requests[PEER_CALL_COUNT_MAX + 8]; /* held back, while holds_requests */
    unsigned request_count;
    bool holds_requests;               /* else each is replied to with its own payload */
    unsigned closed_count;
};

struct peer_world {
    struct sim_world *world;
    unsigned node_count, shard_count;
    struct peer_node nodes[PEER_NODE_MAX];
};

void peer_world_open(struct peer_world *world, uint64_t seed, unsigned node_count, unsigned shard_count);
void peer_world_close(struct peer_world *world);       /* everything must have been given back */
void peer_world_run(struct peer_world *world, int64_t us);
/* Runs until `is_reached`, which must happen within limit_us. */
void peer_world_until(struct peer_world *world, bool (*is_reached)(void *context), void *context, int64_t limit_us);

void peer_node_start(struct peer_node *node);          /* a new life: same identity */
void peer_node_kill(struct peer_node *node);
void peer_node_set(struct peer_node *node, unsigned shard, const struct peer_node *other);
void peer_node_seed(struct peer_node *node, unsigned shard, const struct peer_node *other);
void peer_node_remove(struct peer_node *node, unsigned shard, int32_t other);
void peer_node_restart(struct peer_node *node);        /* peers_restart() of all shards */
void peer_node_call(struct peer_node *node, unsigned shard, struct peer_call *call);
void peer_node_tell(struct peer_node *node, unsigned shard, int32_t other, unsigned method, struct bytes payload);
/* message->peer is set; entries are those of the node, see peer_node_run(). */
void peer_node_send(struct peer_node *node, unsigned shard, const struct peer_node *other, uint64_t group,
                    const struct replica_message *message);
void peer_node_run(struct peer_node *node, void (*fn)(void *context), void *context);
void peer_node_reply(struct peer_node *node, unsigned request); /* one that was held back */
bool peer_node_is_linked(struct peer_node *node, unsigned shard, const struct peer_node *other);
/* Shard 0 of each has a link to each other. */
void peer_world_link_all(struct peer_world *world);
