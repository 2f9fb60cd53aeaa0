/* One question to several brokers at once: what their replicas of some groups look like (broker/status.h).
 * Runs on: shard 0. */
#pragma once

#include "broker/grpc.h"
#include "broker/status.h"

struct admin_round {                      /* Caller's memory until done; the lists too. */
    void (*done)(struct admin_round *round);
    /* private */
    struct admin_round_ask *asks;
    size_t count;
    size_t pending;
    struct shard *shard;
    int64_t timeout_ms;
    bool wants_digest;
    int64_t end_offset;
};

void admin_round_init(struct admin_round *round, struct shard *shard, int64_t timeout_ms);
/* Asks `node` about the group as well; 0: about no group, for what the broker says of itself. */
void admin_round_add(struct admin_round *round, int32_t node, uint64_t group);
/* `done` is called when all have answered or failed, never inside the call. */
void admin_round_go(struct admin_round *round);
/* In done: what `node` said; NULL: no answer. Valid until admin_round_deinit(). */
const Balsa__Peer__StatusReply *admin_round_reply(const struct admin_round *round, int32_t node);
const Balsa__Peer__ReplicaStatus *admin_round_replica(const struct admin_round *round, int32_t node, uint64_t group);
void admin_round_deinit(struct admin_round *round);
