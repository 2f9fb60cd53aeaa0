/* What replicas look like on their brokers: for operators, who ask one broker about all. PEER_STATUS.
 *
 * Runs on: shard 0. All memory is the caller's until cb. */
#pragma once

#include "broker/shard.h"
#include "proto/peer.pb-c.h"

struct peer_request;

#define STATUS_GROUP_COUNT_MAX 10000

struct status_ask {
    int32_t node;                          /* in: this broker or another */
    uint64_t *groups;                      /* in */
    size_t group_count;                    /* in */
    bool wants_digest;                     /* in */
    int64_t end_offset;                    /* in: of the digest */
    int64_t timeout_ms;                    /* in */
    void (*cb)(struct status_ask *ask);    /* in: never inside status_ask() */
    const Balsa__Peer__StatusReply *reply; /* out: borrowed during cb; NULL: no answer. One replica a group, in order */
    void *state;                           /* private */
};
void status_ask(struct shard *shard, struct status_ask *ask);
/* PEER_STATUS arrived: ends with peers_reply(). */
void status_request_arrived(struct shard *shard, struct peer_request *request);
