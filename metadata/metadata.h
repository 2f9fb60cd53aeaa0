/* The metadata group's state machine: records agreed on by Raft, applied to the store by one deterministic function,
 * the applied index in the same transaction. Applies of a loop turn share one transaction; answers go out after its
 * commit.
 *
 * Runs on:  shard 0. Callbacks never fire inside the call that submitted them. */
#pragma once

#include "metadata/store.h"
#include "proto/errors.h"
#include "proto/record.pb-c.h"
#include "replication/replica.h"

#define METADATA_GROUP 1 /* Raft group id; partitions count from 2 on */

struct metadata;

/* What changed by the applies of one turn, after their commit: the reconciler's and the readers' news. */
struct metadata_change {
    enum {
        METADATA_TOPIC_CREATED,
        METADATA_TOPIC_DELETED,
        METADATA_PARTITIONS_ADDED,
        METADATA_PARTITIONS_CHANGED, /* one partition: it moves, has moved, or does not move any more */
        METADATA_CONFIGS_CHANGED,
        METADATA_BROKER_CONFIGS_CHANGED, /* of `broker`, -1: of all */
        METADATA_BROKER_CHANGED,
        METADATA_CLUSTER_CREATED,
        METADATA_REPLACED            /* all of it, by the leader's: what there is to know has to be read anew */
    } kind;
    struct uuid topic;
    int32_t partition; /* METADATA_PARTITIONS_CHANGED */
    int32_t broker;
    /* METADATA_TOPIC_DELETED: its groups, since the store has forgotten them */
    const uint64_t *groups;
    size_t group_count;
};
struct metadata_events {
    void *owner;
    void (*changed)(void *owner, const struct metadata_change *changes, size_t count);
    void (*role_changed)(void *owner, const struct replica_status *status);
};

/* `state` is what the group's last checkpoint captured; empty: none. ERR_DAMAGED: the store lacks what was
 * durable in it. */
MUST_CHECK enum err metadata_open(struct env *env, struct store *store, struct bytes state,
                                  const struct metadata_events *events, struct metadata **metadata, struct errmsg *msg);
struct replica_machine *metadata_machine(struct metadata *metadata);
struct metadata *metadata_of_machine(struct replica_machine *machine);

struct metadata_propose;
typedef void (*metadata_propose_cb)(struct metadata_propose *req);

struct metadata_propose {            /* Caller's memory until cb. */
    metadata_propose_cb cb;
    /* out: what apply decided; NOT_CONTROLLER: leadership is elsewhere, nothing was done; REQUEST_TIMED_OUT: in doubt,
     * leadership was lost on the way, or nothing was done, the log being over its budget */
    enum kafka_error error;
    char error_text[160];            /* out */
    uint64_t result;                 /* out: first id of a producer id block; index of the record otherwise */
    const struct entry *entry;       /* private: what was submitted, compared only */
    struct list link;                /* private */
};
/* Proposes one record. On success of Raft and apply: committed in the store, visible to every reader from its next
 * turn. */
void metadata_propose(struct metadata *metadata, const Balsa__Record__Record *record, struct metadata_propose *req);
bool metadata_is_leader(const struct metadata *metadata); /* and ready */
