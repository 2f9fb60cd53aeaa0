/* One shard of the broker: its loop, connections, replicas and copies of soft state, put together. Other shards are
 * reached by messages only; a group's shard is replicas_shard(group, shard_count).
 *
 * Runs on: the shard's own thread, except shard_send(). */
#pragma once

#include "base/env.h"
#include "base/mailbox.h"
#include "broker/leaders.h"
#include "broker/options.h"
#include "broker/slow_log.h"
#include "metadata/controller.h"
#include "replication/partition.h"
#include "replication/peers.h"
#include "replication/replicas.h"

struct admin;
struct broker;
struct balancer;
struct catchups;
struct cluster;
struct conns;
struct fetch_sessions;
struct coordinator;
struct forward;
struct leader_news;
struct mover;
struct offsets;
struct offsets_expiry;
struct producer_ids;
struct rebuild;
struct reconciler;
struct router;
struct cleaner;
struct scrub;
struct shard_peers;
struct space;

struct shard {
    unsigned number;
    struct broker *broker;              /* process-wide: the array of shards, options, store, local kv */
    const struct options *options;
    struct env *env;
    struct mailbox *mailbox;
    struct metrics *metrics;
    struct replicas *replicas;
    struct catchups *catchups;
    struct log_files *files;
    struct store_reader *reader;        /* metadata as of this turn */
    struct leaders *leaders;
    struct conns *conns;
    struct fetch_sessions *fetch_sessions;
    struct producer_ids *producer_ids;
    struct router *router;
    struct reconciler *reconciler;
    struct rebuild *rebuild;
    struct scrub *scrub;
    struct cleaner *cleaner;
    struct leader_news *leader_news;
    struct mover *mover;
    struct balancer *balancer;
    struct peers *peers;                /* NULL: no listener for brokers, or closed */
    struct peer_identity peer_self;     /* what `peers` tells; after a change peers_restart() */
    /* As told by shard 0: node ids of brokers heard of lately, sorted, and of those that links are kept to. */
    int32_t *alive, *linked;
    size_t alive_count, linked_count;
    /* Shard 0 only, else NULL. */
    struct metadata *metadata;
    struct controller *controller;
    struct cluster *cluster;
    struct forward *forward;
    struct coordinator *coordinator;    /* of consumer groups */
    struct admin *admin;
    struct offsets *offsets;            /* on their way into the metadata */
    struct offsets_expiry *offsets_expiry;
    struct slow_log slow_log;
    /* Produce is refused with a retriable error while the disk is below its reserve. */
    bool is_space_low;
    struct space *space;
    /* private to shard.c */
    struct timer retention_timer;
    bool is_stopping;
    struct shard_peers *links;          /* private to shard_peers.c */
};

unsigned shard_count(const struct shard *shard);
/* Sends a message to shard `number` (also to itself): delivered in order, never inside the call. Any thread. */
void shard_send(struct shard *shard, unsigned number, struct message *message);
/* The partition of a group that lives on this shard; NULL: not here, closed or damaged. */
struct partition *shard_partition(struct shard *shard, uint64_t group);
/* Whether `node` can be reached by this shard now: itself, or a link to it works. */
bool shard_is_linked(const struct shard *shard, int32_t node);
bool shard_is_damaged(struct shard *shard, uint64_t group);

/* ---- Life, called by broker.c ---- */

/* Opens everything but connections; blocks until the WAL is replayed. On the shard's thread. */
MUST_CHECK enum err shard_open(struct shard *shard, struct broker *broker, unsigned number, struct env *env,
                               struct errmsg *msg);
void shard_close(struct shard *shard);          /* after all loops have ended */

/* On the shard's thread. */
void shard_serve(struct shard *shard);          /* the metadata is ready: make replicas what it says */
void shard_hand_over(struct shard *shard);      /* leads nothing any more, then broker_handed_over() on shard 0 */
void shard_drain(struct shard *shard);          /* closes connections, then tells shard 0 by broker_drained() */
void shard_unlink(struct shard *shard);         /* closes links, then tells shard 0 by broker_unlinked() */
void shard_stop(struct shard *shard);           /* closes replicas, then ends the loop */
/* The metadata group's events, on shard 0: shard_metadata.c. */
void shard_metadata_changed(void *owner, const struct metadata_change *changes, size_t count);
void shard_metadata_role_changed(void *owner, const struct replica_status *status);
