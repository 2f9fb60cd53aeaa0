/* Who this broker is, and how its logs are laid out, in the local store:
 *   'N'  version u8, node id i32, incarnation 16 bytes, CRC-32C    written once, at the first start
 *   'L'  version u8, layout u32, shard count u32, CRC-32C          replaced when the shard count changes
 *   'U'  version u8, cluster id 22 bytes, founder count u8, their server ids u64, CRC-32C
 *                                                                  written once, when a cluster is founded or joined
 * Runs on: the main thread at start; identity_put_layout() in a blocking call of shard 0, identity_put_cluster() in a
 *          work job. */
#pragma once

#include "base/kv.h"

#define IDENTITY_FOUNDER_COUNT_MAX 5
#define IDENTITY_CLUSTER_TEXT_SIZE 23 /* 22 characters and NUL */

struct identity_cluster {                          /* the cluster that this directory belongs to, for ever */
    char id[IDENTITY_CLUSTER_TEXT_SIZE];           /* empty: none yet */
    uint64_t founders[IDENTITY_FOUNDER_COUNT_MAX]; /* server ids: first voters of the metadata, in this order */
    unsigned founder_count;
};

struct identity {
    int32_t node_id;
    uint8_t incarnation[16];
    uint64_t server_id;      /* Raft server id: node id and the incarnation's first bytes; never 0 */
    unsigned layout;
    unsigned shard_count;    /* of the layout; 0: first start */
};

/* Reads the identity, or makes a new one. ERR_INVALID: the directory belongs to another node.id. */
MUST_CHECK enum err identity_open(struct kv *local, int32_t node_id, struct identity *identity, struct errmsg *msg);
MUST_CHECK enum err identity_put_layout(struct kv *local, unsigned layout, unsigned shard_count, struct errmsg *msg);
/* `id` is empty when nothing is recorded. ERR_DAMAGED: it cannot be read, so this broker must not start. */
MUST_CHECK enum err identity_get_cluster(struct kv *local, struct identity_cluster *cluster, struct errmsg *msg);
MUST_CHECK enum err identity_put_cluster(struct kv *local, const struct identity_cluster *cluster, struct errmsg *msg);
bool identity_is_founder(const struct identity_cluster *cluster, uint64_t server_id);
