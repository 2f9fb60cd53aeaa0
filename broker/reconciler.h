/* Makes a shard's replicas what the metadata says they should be: creates, reconfigures, removes.
 *
 * Runs on: its shard. Every shard looks at the store itself and takes the groups that are its own. */
#pragma once

#include "broker/shard.h"

struct reconciler;
struct reconciler *reconciler_open(struct shard *shard);
void reconciler_close(struct reconciler *reconciler);  /* nothing is in work: replicas are closed */

/* every topic, and groups that the store does not know any more */
void reconciler_all(struct reconciler *reconciler);
/* The same, now that this broker has joined and its store is current. */
void reconciler_joined(struct reconciler *reconciler);
/* Whether every replica that the store wants here is made; false until this broker has joined. */
bool reconciler_is_settled(const struct reconciler *reconciler);
void reconciler_topic(struct reconciler *reconciler, const struct uuid *id); /* created, grown or reconfigured */
void reconciler_partition(struct reconciler *reconciler, const struct uuid *id, int32_t index); /* moves */
/* A damaged replica that its group does not count on any more: it goes, and comes back with nothing (rebuild.h). */
void reconciler_rebuild(struct reconciler *reconciler, uint64_t group);
void reconciler_remove(struct reconciler *reconciler, const uint64_t *groups, size_t count);
