/* Who leads what, told on: the role changes of a shard's replicas go to every shard of this process and, as far as this
 * broker leads or has ceased to lead, to every other broker; what others tell goes to every shard. News of a turn leave
 * as one message each. When a link to a broker comes up it is told all that this shard leads.
 *
 * A follower learns its leader from Raft, before the leader's own news are here.
 * Runs on: its shard. */
#pragma once

#include "broker/shard.h"
#include "replication/peers.h"

struct leader_news;

struct leader_news *leader_news_open(struct shard *shard);
void leader_news_close(struct leader_news *news);
/* Of a replica of this shard. */
void leader_news_role(struct leader_news *news, uint64_t group, const struct replica_status *status);
/* Of a group that is gone. */
void leader_news_removed(struct leader_news *news, uint64_t group);
/* This shard's link to the broker works. */
void leader_news_peer_up(struct leader_news *news, int32_t node);
/* PEER_LEADERS arrived; ends with peers_reply(). */
void leader_news_arrived(struct leader_news *news, struct peer_request *request);
