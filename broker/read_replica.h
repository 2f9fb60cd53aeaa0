/* Which broker a consumer should read a partition from (KIP-392): with replica.selector.class set to Kafka's
 * RackAwareReplicaSelector, one of the consumer's rack that is alive and not far behind; else the leader. */
#pragma once

#include "broker/request.h"

/* Whether consumers that name their rack may read from what this broker follows. */
bool read_replica_is_wanted(const struct shard *shard, struct bytes rack);
/* Live brokers in `rack`, in the request's arena; none when this broker is in it itself. On the request's shard. */
const int32_t *read_replica_nearby(struct request *request, struct bytes rack, size_t *count);
/* On the partition's shard, which leads it: one of `nearby`; -1: none. */
int32_t read_replica_choose(struct partition *partition, const int32_t *nearby, size_t count);
