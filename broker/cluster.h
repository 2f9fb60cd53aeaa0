/* The broker among brokers: forms the cluster or joins one, registers, keeps the links' addresses in step with the
 * metadata, has the metadata's members be what they should, knows who is alive.
 *
 * Founding. Seeds are controller.quorum.bootstrap.servers (1, 3 or 5 addresses of peer listeners; none: a cluster of
 * this broker alone, which others may join when it has a peer listener). A broker without a metadata replica asks all
 * seeds who they are (PEER_WHO), again and again, until founding_decide() knows:
 *   - one of them is in a cluster: that is the cluster. If this broker's server id is among its founders, the metadata
 *     group is created with the same bootstrap membership (it was never here, so it has never voted); else it joins:
 *     its metadata replica starts with nothing and the metadata leader has it as standby.
 *   - all seeds have answered that they are in none, and this broker is the one of them with the lowest node id: it
 *     makes a cluster id and the membership {all seeds' server ids}. Nobody is told; who asks next finds the cluster.
 * The cluster is recorded in the local store (identity.h, 'U') before the metadata replica is created, and questions
 * that come in meanwhile wait. From then on links to other clusters are refused on both sides.
 *
 * Joining. Until this broker's own copy of the metadata has its registration as it should be (id, incarnation,
 * endpoints, rack), it asks the metadata leader to register it (PEER_JOIN); a leader registers itself. Then it serves.
 * Alive: a broker is alive while something was heard of it within broker.session.timeout.ms, and for a moment after
 * this broker's start.
 *
 * Runs on: shard 0, but for what is said. */
#pragma once

#include "broker/shard.h"
#include "replication/peers.h"

struct cluster;

/* Reads which cluster this is, from the local store. */
MUST_CHECK enum err cluster_open(struct shard *shard, struct cluster **cluster, struct errmsg *msg);
/* Begins to found, join or simply go on: shards are open, the peer listener is. */
void cluster_start(struct cluster *cluster);
void cluster_stop(struct cluster *cluster);  /* the process drains: nothing is begun any more */
/* cb when no background work is under way any more, maybe inside the call. */
void cluster_wait(struct cluster *cluster, void *owner, void (*cb)(void *owner));
void cluster_close(struct cluster *cluster); /* replicas and links are closed */

/* Of shard 0's links. */
void cluster_peer_up(struct cluster *cluster, const struct peer_identity *identity);
void cluster_peer_down(struct cluster *cluster, int32_t node, uint64_t server_id, bool is_reset);
void cluster_request(struct cluster *cluster, struct peer_request *request); /* WHO, JOIN */
/* A broker asks or tells something: it may know a cluster that this one, which is in none, was in before. */
void cluster_heard_of(struct cluster *cluster, int32_t node);

/* The metadata group's events: who leads it, and applied changes of brokers. May be called inside the replica. */
void cluster_metadata_role(struct cluster *cluster, const struct replica_status *status);
void cluster_metadata_changed(struct cluster *cluster);

/* Whether a broker was heard of lately: as this shard was told by shard 0; this broker itself always. Any shard. */
bool cluster_is_alive(const struct shard *shard, int32_t node);
