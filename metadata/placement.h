/* Where replicas go: a pure function of brokers and racks, the same on every caller.
 * Rules: replicas of a partition on distinct brokers, over as many racks as possible; leaders and replicas spread
 * evenly, starting at `seed` so that small topics do not pile up on the first broker. */
#pragma once

#include "base/bytes.h"

struct placement_broker {
    int32_t id;
    struct bytes rack;       /* empty: none */
    uint32_t replica_count;  /* now, for balance */
};

/* Fills replicas[partition * replication_factor + n]. ERR_INVALID: fewer brokers than replication_factor. */
MUST_CHECK enum err placement_assign(const struct placement_broker *brokers, size_t broker_count, uint64_t seed,
                                     int32_t first_partition, int32_t partition_count, int16_t replication_factor,
                                     int32_t *replicas);
