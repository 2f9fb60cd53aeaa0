/* A shard's catch-ups (replication/catchup.h) over its links. Runs on: the shard's thread. */
#pragma once

#include "broker/shard.h"

void shard_catchups_open(struct shard *shard);   /* replicas are open */
void shard_catchups_close(struct shard *shard, void (*cb)(struct shard *shard)); /* the links are closed */
void shard_catchups_request(struct shard *shard, struct peer_request *request);  /* PEER_CATCHUP */
