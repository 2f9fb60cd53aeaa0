/* Reports that partitions have the members wished for, from the shard of their leader to the controller (PEER_MOVED).
 * Not answered: who reports looks into the metadata, and reports again if nothing has come of it. */
#pragma once

#include "broker/shard.h"

struct peer_request;

/* From any shard. `moved` is copied; 1..MOVED_COUNT_MAX. */
void moved_report(struct shard *shard, const struct controller_moved_one *moved, size_t count);
/* PEER_MOVED arrived, on shard 0: ends with peers_reply(). */
void moved_request_arrived(struct shard *shard, struct peer_request *request);
