/* Damaged replicas are rebuilt from their peers, without help.
 *
 * A replica whose log or segments are damaged has lost what it once acknowledged; it is out of service, so it neither
 * votes nor takes entries. It may come back only as a new member, when its group counts on it no more:
 *
 *   damaged, out of service --PEER_LOST, each second--> leader: removes it from the members; committed
 *            |                     <--- gone ----------
 *            v
 *   removed here (term and vote are kept: replicas_remove) -> created with nothing -> the leader, whose metadata still
 *   want it, adds it as standby, catches it up, lets it vote (mover.h)
 *
 * Why it must wait: were it to come back empty while it is still a voter, a leader might fill it from the beginning,
 * and it would vote for one who lacks entries that were committed with its help. Once the removal is committed,
 * whoever lacks it has no majority, even with its vote.
 * A group that is alone on its broker has nobody to ask: it stays out of service, and says so.
 * Runs on: its shard. */
#pragma once

#include "broker/shard.h"

struct rebuild;
struct rebuild *rebuild_open(struct shard *shard);
void rebuild_stop(struct rebuild *rebuild);  /* nothing more is asked; the links are closed */
void rebuild_close(struct rebuild *rebuild); /* replicas are closed */
/* PEER_LOST: group u64 -> status u8: 0 the sender is no member, or a new one; 1 not yet, or not led here. */
void rebuild_request(struct rebuild *rebuild, struct peer_request *request);
