/* Brings the Raft members of the groups led here to what the metadata wishes: the servers, as they are registered now,
 * of a partition's target while it moves, else of its replicas. So a broker that has registered anew with an emptied
 * disk is replaced by itself in the same way as one broker by another.
 *
 * Looked at: each group when this broker begins to lead it, when its lists change, and when a broker registers; only
 * those that need a step stay on the mover's list, so an idle shard costs nothing. Catch-ups of new members at once are
 * bounded by balsa.catchups.max. What a group does next is decided by broker/mover_step.h.
 * Runs on: its shard. Nothing is done inside the calls but noting. */
#pragma once

#include "broker/shard.h"

struct mover;
struct mover *mover_open(struct shard *shard);
void mover_stop(struct mover *mover);  /* before replicas are closed: nothing is looked at any more */
void mover_close(struct mover *mover);

void mover_group(struct mover *mover, uint64_t group); /* led here from now on, or other wishes */
void mover_broker(struct mover *mover, int32_t id);    /* registered, with another server id maybe */

struct mover_progress {
    size_t groups;       /* led here whose members are not yet those wanted */
    size_t catching_up;  /* of those, with a new member that does not have the log yet */
    uint64_t entries;    /* that the new members lack together */
};
void mover_progress(const struct mover *mover, struct mover_progress *progress);
bool mover_is_at_work(const struct mover *mover, uint64_t group); /* leadership is better left alone */
