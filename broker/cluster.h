/* The broker among brokers: forms the cluster or joins one, registers, keeps the links' addresses in step with the
 * metadata, tells the others what this broker leads, knows who is alive and who leads the metadata.
 *
 * Founding. Seeds are controller.quorum.bootstrap.servers (1, 3 or 5 addresses of peer listeners; none: a cluster of this
 * broker alone). A broker without a metadata group asks all seeds who they are (PEER_WHO):
 *   - one of them is in a cluster: that is the cluster. If this broker's server id is among its founders, the metadata
 *     group is created with the same bootstrap membership (it was never here, so it has never voted); else it joins: the
 *     metadata leader registers it (PEER_JOIN) and adds it to the metadata group as standby.
 *   - all seeds have answered that they are in none, and this broker is one of them with the lowest node id: it is the
 *     founder. It makes a cluster id and the membership {all seeds' server ids}, records both, and tells the others
 *     (PEER_FOUND) until each has them.
 *   - some seed does not answer, none is in a cluster: wait, and say whom for. All of them, not a majority: a founder
 *     that lost its disk while another was away must never found a second cluster beside the first.
 * The cluster id is recorded in the local store before the metadata group is created ('U' version u8, cluster id 22,
 * founder count u8, server ids u64, CRC-32C). From then on links to other clusters are refused on both sides.
 *
 * Serving starts when this broker's own copy of the metadata has its registration (id, incarnation, endpoints).
 * Alive: a node is alive while something was heard of it within broker.session.timeout.ms.
 *
 * Runs on: shard 0, but for cluster_told_leaders(), any shard. */
#pragma once

#include "broker/shard.h"
#include "replication/peers.h"

struct cluster;

struct cluster *cluster_open(struct shard *shard);
void cluster_close(struct cluster *cluster);
/* Shards are open: begins to found, join or simply go on. */
void cluster_start(struct cluster *cluster);

/* Of shard->peers, on shard 0. */
void cluster_peer_up(struct cluster *cluster, const struct peer_identity *identity);
void cluster_peer_down(struct cluster *cluster, int32_t node, uint64_t server_id, bool is_reset);
void cluster_request(struct cluster *cluster, struct peer_request *request); /* FOUND, WHO, JOIN */

/* The metadata group's events: role changes (who leads it), and applied changes (brokers' addresses). */
void cluster_metadata_role(struct cluster *cluster, const struct replica_status *status);
void cluster_metadata_changed(struct cluster *cluster);

/* Node id of the metadata leader as known here; -1: unknown. Any shard may ask its own copy: leaders_get(METADATA_GROUP). */
int32_t cluster_controller(const struct cluster *cluster);
bool cluster_is_alive(const struct cluster *cluster, int32_t node);
/* Told by shard 0 to every shard when it changes, kept there in shard->alive: sorted node ids. */
