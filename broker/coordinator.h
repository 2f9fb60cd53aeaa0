/* The coordinator of consumer groups: lives where the metadata leader lives, on its shard 0.
 *
 * A handler sends a call to shard 0 and gets it back on its own shard. What the store says of groups and offsets is
 * read by any shard (metadata/store_groups.h), but only the coordinator knows whether it is the newest.
 * Runs on: shard 0, but for coordinator_send(). */
#pragma once

#include "broker/shard.h"

struct coordinator;

struct coordinator *coordinator_open(struct shard *shard);
void coordinator_close(struct coordinator *coordinator);

/* 0: this broker is the coordinator and knows all groups; else COORDINATOR_LOAD_IN_PROGRESS or NOT_COORDINATOR. */
enum kafka_error coordinator_check(const struct coordinator *coordinator);
/* Whether this member may commit offsets of this group now: 0, COORDINATOR_LOAD_IN_PROGRESS, NOT_COORDINATOR,
 * ILLEGAL_GENERATION, UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS, FENCED_INSTANCE_ID. Generation below 0 with an empty
 * member id: not a member (simple consumers, admin tools), which may as long as the group has none. A success is a sign
 * of life of the member. */
enum kafka_error coordinator_check_commit(struct coordinator *coordinator, struct bytes group, struct bytes member_id,
                                          struct bytes instance_id, int32_t generation);
/* Without members: also a group that is not there. */
bool coordinator_group_is_empty(const struct coordinator *coordinator, struct bytes group);
/* Whether some member of the group is subscribed to the topic, as far as protocol type "consumer" tells. */
bool coordinator_subscribes(const struct coordinator *coordinator, struct bytes group, struct bytes topic);
/* The group has been removed from the store: unless it has got members meanwhile, nothing of it is kept. */
void coordinator_forget(struct coordinator *coordinator, struct bytes group);

/* A call from a handler's shard to the coordinator of this broker and back. */
struct coordinator_call {                                                        /* Caller's memory until `back`. */
    void (*run)(struct coordinator_call *call, struct coordinator *coordinator); /* in: on shard 0 */
    void (*back)(struct coordinator_call *call); /* in: on the origin shard, whose reader sees what was committed */
    /* private */
    struct message message;
    struct shard *origin;
    struct shard *home;
};
void coordinator_send(struct coordinator_call *call, struct shard *origin);
void coordinator_return(struct coordinator_call *call); /* ends run(), then or later. Shard 0 */
