/* Who this broker is, and how its logs are laid out, in the local store:
 *   'N'  version u8, node id i32, incarnation 16 bytes, CRC-32C    written once, at the first start
 *   'L'  version u8, layout u32, shard count u32, CRC-32C          replaced when the shard count changes
 * Runs on: the main thread at start; identity_put_layout() in a blocking call of shard 0. */
#pragma once

#include "base/kv.h"

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
