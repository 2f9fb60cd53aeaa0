/* Who leads a partition is Raft's affair, but can be wished for: leadership goes to the first of the assignment (the
 * preferred leader) when a client asks for it (ElectLeaders), or from time to time by itself, so that leaders are
 * spread as placement has spread them; and a broker can ask another to give up what it leads (PEER_TRANSFER).
 *
 * Only who has the log and is alive is handed to, so nothing is lost and nobody waits; while replicas of a partition
 * move its leadership is the mover's.
 * Runs on: as said. */
#pragma once

#include "broker/shard.h"
#include "broker/router.h"

struct peer_request;

/* ---- On the group's shard ---- */

/* Begins to hand the group to `server` (0: to any voter that can take over). NOT_LEADER_OR_FOLLOWER: it is not led;
 * ELECTION_NOT_NEEDED: it is led by `server`; PREFERRED_LEADER_NOT_AVAILABLE: it is no voter, dead or behind;
 * REBALANCE_IN_PROGRESS: a transfer or a change is under way, try again. */
enum kafka_error leadership_hand_over(struct shard *shard, uint64_t group, uint64_t server);

/* Looks every leader.imbalance.check.interval.seconds at what is led here, and hands on what others are preferred for,
 * a few partitions a second. */
struct balancer;
struct balancer *balancer_open(struct shard *shard);
void balancer_stop(struct balancer *balancer); /* before replicas are closed */
void balancer_close(struct balancer *balancer);

/* ---- From any shard, for groups of this broker ---- */

struct leadership_item {
    struct scatter_item item;  /* private */
    uint64_t group;            /* in */
    uint64_t server;           /* in: 0: any */
    enum kafka_error error;    /* out */
};
struct leadership_call {       /* Caller's memory until cb. */
    struct leadership_item *items;
    size_t count;
    void (*cb)(struct leadership_call *call);
    struct scatter scatter;    /* private */
};
void leadership_call(struct shard *shard, struct leadership_call *call);

/* PEER_TRANSFER arrived, on any shard: ends with peers_reply(). */
void leadership_request_arrived(struct shard *shard, struct peer_request *request);
#define LEADERSHIP_COUNT_MAX 10000 /* groups of one request */
