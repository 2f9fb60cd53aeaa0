/* The coordinator of consumer groups: lives where the metadata leader lives, on its shard 0.
 *
 * Groups that have members are in memory, each a struct group (metadata/group.h) with a timer; the others are only in
 * the store. What must outlive the coordinator is a record before a member is told of it. When leadership arrives all
 * groups with members are read from the store, as stable, their sessions starting anew: nobody has to rejoin. When it
 * goes, whoever waits is answered NOT_COORDINATOR and all is forgotten.
 *
 * A handler sends a call to shard 0 and gets it back on its own shard. What the store says of groups and offsets is
 * read by any shard (metadata/store_groups.h), but only the coordinator knows whether it is the newest.
 * Runs on: shard 0, but for coordinator_send(). */
#pragma once

#include "broker/shard.h"

struct coordinator;
struct group_call;

struct coordinator *coordinator_open(struct shard *shard);
/* The process drains: as when leadership goes, and does not come back. */
void coordinator_stop(struct coordinator *coordinator);
void coordinator_close(struct coordinator *coordinator);
/* The metadata group's role here has changed. May be called inside the replica. */
void coordinator_role_changed(struct coordinator *coordinator, const struct replica_status *status);
/* A call that waits is to be answered now: its client has gone. */
void coordinator_withdraw(struct coordinator *coordinator, struct group_call *call);

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
