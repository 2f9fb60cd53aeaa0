/* One shard of the broker: its loop, connections, replicas and copies of soft state, put together. Other shards are
 * reached by messages only; a group's shard is replicas_shard(group, shard_count).
 *
 * Runs on: the shard's own thread, except shard_send(). */
#pragma once

#include "base/mailbox.h"
#include "base/uv_env.h"
#include "broker/leaders.h"
#include "broker/options.h"
#include "metadata/controller.h"
#include "replication/replicas.h"

struct broker;
struct conns;
struct reconciler;

struct shard {
    unsigned number;
    struct broker *broker;              /* process-wide: the array of shards, options, store, local kv */
    const struct options *options;
    struct env *env;
    struct mailbox *mailbox;
    struct metrics *metrics;
    struct replicas *replicas;
    struct log_files *files;
    struct store_reader *reader;        /* metadata as of this turn */
    struct leaders *leaders;
    struct conns *conns;
    /* Shard 0 only, else NULL. */
    struct metadata *metadata;
    struct controller *controller;
    struct reconciler *reconciler;
    /* Produce is refused with a retriable error while the disk is below its reserve. */
    bool is_space_low;
};

unsigned shard_count(const struct shard *shard);
/* Sends a message to shard `number` (also to itself): delivered in order, never inside the call. Any thread. */
void shard_send(struct shard *shard, unsigned number, struct message *message);
/* The partition of a group that lives on this shard; NULL: not here, closed or damaged. */
struct partition *shard_partition(struct shard *shard, uint64_t group);
bool shard_is_damaged(struct shard *shard, uint64_t group);
