/* The links of a shard (replication/peers.h), put between the brokers' other parts: Raft messages to and from
 * replicas, requests to their handlers by method, what becomes of links to those who want to know.
 *
 * Messages and requests of groups that live on another shard (shard counts may differ between brokers) are handed
 * over: entries go with their message, as their counts are not atomic; a request is answered there with peers_reply()
 * as if it had come in there.
 * Runs on: the shard's thread. */
#pragma once

#include "broker/shard.h"

struct shard_peers;

/* Before replicas are opened. Without a listener for brokers there are no links: shard->peers is NULL. */
void shard_peers_open(struct shard *shard);
/* Ends the links; cb when nothing of them is left. No shard has been stopped by then. */
void shard_peers_close(struct shard *shard, void (*cb)(struct shard *shard));
void shard_peers_free(struct shard *shard);        /* with the shard */
/* A connection of the listener for brokers; shard 0. */
void shard_peers_accept(struct shard *shard, int token);
/* replicas_params.send; the owner is the shard. */
void shard_peers_send(void *owner, uint64_t group, const struct replica_message *message);
