/* Plans moves of replicas: off brokers that are being drained, and towards even counts. Pure functions of brokers and
 * assignments; what comes out is proposed by the controller as PartitionsMoving.
 *
 * Rules of every move: replicas of a partition go from one broker to another that is usable and does not have it; the
 * partition is afterwards in as many racks as can be (drains), or in no fewer than before (evening out); the new broker
 * takes the place of the old one in the order, so that the others keep their preference. */
#pragma once

#include "base/bytes.h"
#include "proto/uuid.h"

struct plan_broker {
    int32_t id;
    struct bytes rack;      /* empty: none; brokers without a rack share one */
    bool is_usable;         /* alive and active: may get replicas */
    bool is_draining;       /* its replicas have to go */
    uint32_t replica_count; /* now, and as the plan changes it */
    uint32_t first_count;   /* of those, where it stands first: preferred leaderships */
};

struct plan_partition {
    struct uuid topic;
    int32_t index;
    int32_t *replicas;      /* as the plan changes them */
    size_t count;
    bool is_moved;          /* out: by the plan */
    bool is_fixed;          /* in: is moving already, left alone */
};

/* Counts replicas of all partitions into the brokers. */
void plan_count(struct plan_broker *brokers, size_t broker_count, const struct plan_partition *partitions,
                size_t count);

/* Replaces the draining brokers of one partition by the usable ones with the fewest replicas. Whether something
 * changed: not if there is no place for any of them. */
bool plan_drain(struct plan_broker *brokers, size_t broker_count, struct plan_partition *partition);

/* Evens out replica counts over usable brokers with as few moves as there can be: each takes one replica from a broker
 * that has at least two more than the one that gets it. Moves at most `move_max` partitions, each once; the rest is for
 * the next call. Returns how many. */
size_t plan_rebalance(struct plan_broker *brokers, size_t broker_count, struct plan_partition *partitions, size_t count,
                      size_t move_max);
