/* Happy path: shard_open() builds the layers from the bottom up; machines of groups come from shard_machine_open().
 * Close, told by shard 0 in phases so that no shard's connection waits for a shard that is gone: first leadership
 * (shard_hand_over) while everything still runs, then all connections (shard_drain), then replicas (shard_stop), then
 * the loop ends; memory that other shards may point to is freed when all threads have ended (shard_close). */

#include "broker/shard.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/admin.h"
#include "broker/broker.h"
#include "broker/cluster.h"
#include "broker/conn.h"
#include "broker/coordinator.h"
#include "broker/fetch_session.h"
#include "broker/forward.h"
#include "broker/health.h"
#include "broker/leader_news.h"
#include "broker/leadership.h"
#include "broker/mover.h"
#include "broker/offsets_expiry.h"
#include "broker/producer_ids.h"
#include "broker/rebuild.h"
#include "broker/reconciler.h"
#include "broker/router.h"
#include "broker/shard_catchups.h"
#include "broker/shard_peers.h"
#include "broker/space.h"
#include "broker/topic_defaults.h"
#include "metadata/offsets.h"
#include "replication/cleaner.h"
#include "replication/scrub.h"
#include <stdio.h>
#include <string.h>

#define DRAIN_GRACE_MS 2000
#define HAND_OVER_TIMEOUT_MS 5000

unsigned shard_count(const struct shard *shard)
{
    return shard->broker->shard_count;
}

void shard_send(struct shard *shard, unsigned number, struct message *message)
{
    assert(number < shard->broker->shard_count);
    mailbox_send(shard->broker->shards[number].mailbox, message);
}

struct partition *shard_partition(struct shard *shard, uint64_t group)
{
    if (group == METADATA_GROUP) {
        return NULL;
    }
    struct replica_machine *machine = replicas_machine(shard->replicas, group);
    return machine != NULL ? partition_of_machine(machine) : NULL;
}

bool shard_is_linked(const struct shard *shard, int32_t node)
{
    return node == shard->options->node_id || (shard->peers != NULL && peers_is_up(shard->peers, node));
}

bool shard_is_damaged(struct shard *shard, uint64_t group)
{
    return replicas_is_damaged(shard->replicas, group);
}

static void shard_on_role(void *owner, uint64_t group, const struct replica_status *status)
{
    struct shard *shard = owner;
    if (!shard->is_stopping) {
        leader_news_role(shard->leader_news, group, status);
    }
    if (!shard->is_stopping && status->role == REPLICA_LEADER && status->is_ready) {
        mover_group(shard->mover, group);
    }
}

/* ---- Machines of groups ---- */

static enum err open_metadata_machine(struct shard *shard, struct bytes state, struct replica_machine **machine,
                                      struct errmsg *msg)
{
    struct metadata_events events = {shard, shard_metadata_changed, shard_metadata_role_changed};
    assert(shard->number == 0);
    enum err err = metadata_open(shard->env, shard->broker->store, state, &events, &shard->metadata, msg);
    if (err == OK) {
        *machine = metadata_machine(shard->metadata);
        offsets_set_metadata(shard->offsets, shard->metadata);
        if (shard->controller != NULL) {
            controller_set_metadata(shard->controller, shard->metadata);
        }
    }
    return err;
}

static enum err open_partition_machine(struct shard *shard, uint64_t group, struct bytes description,
                                       struct bytes state, struct replica_machine **machine, struct errmsg *msg)
{
    struct partition_config config;
    struct partition_name name;
    struct partition *partition;
    struct store_topic topic;
    struct arena arena;
    enum err err = partition_description_decode(description, &name);
    if (err != OK) {
        return fail(msg, ERR_DAMAGED, "local store: the description of group %llu does not decode",
                    (unsigned long long)group);
    }
    arena_init(&arena, MIB(1));
    bool is_known = store_topic_by_id(shard->reader, &arena, &name.topic_id, &topic) == OK;
    struct topic_config_defaults defaults = topic_defaults(shard->options, shard->reader, &arena);
    topic_config_partition(is_known ? &topic : NULL, &defaults, &config);
    err = partition_open(shard->env, shard->files, shard->broker->topics_dir, group, &name, &config, state, &partition,
                         msg);
    arena_deinit(&arena);
    if (err == OK) {
        partition_on_role(partition, shard, shard_on_role);
        *machine = partition_machine(partition);
    }
    return err;
}

static enum err shard_machine_open(void *owner, enum group_type type, uint64_t group, struct bytes description,
                                   struct bytes state, struct replica_machine **machine, struct errmsg *msg)
{
    struct shard *shard = owner;
    switch (type) {
    case GROUP_METADATA:
        return open_metadata_machine(shard, state, machine, msg);
    case GROUP_PARTITION:
        return open_partition_machine(shard, group, description, state, machine, msg);
    default:
        return fail(msg, ERR_UNSUPPORTED, "group %llu is of unknown type %d", (unsigned long long)group, (int)type);
    }
}

/* In a work job: the store's commits so far, which asked for groups to be made or removed, are durable. */
static enum err shard_before_change(void *owner, struct errmsg *msg)
{
    const struct shard *shard = owner;
    return kv_sync(store_kv(shard->broker->store), msg);
}

struct to_shard_0 {
    struct message message;
    struct broker *broker;
};

static void send_to_shard_0(struct shard *shard, message_cb cb)
{
    struct to_shard_0 *sent = mem_alloc(sizeof(*sent));
    sent->broker = shard->broker;
    sent->message.cb = cb;
    shard_send(shard, 0, &sent->message);
}

static void on_layout_ready(struct message *message)
{
    struct to_shard_0 *sent = container_of(message, struct to_shard_0, message);
    broker_layout_ready(sent->broker);
    mem_free(sent);
}

static void shard_layout_ready(void *owner)
{
    send_to_shard_0(owner, on_layout_ready);
}

/* What this broker has led it has lost, in the same term: others lead in the next one. */
static void shard_damaged(void *owner, uint64_t group)
{
    struct shard *shard = owner;
    struct leader leader = leaders_get(shard->leaders, group);
    if (group == METADATA_GROUP) {
        const struct replica_status nobody = {.role = REPLICA_FOLLOWER};
        shard->metadata = NULL; /* closed */
        coordinator_role_changed(shard->coordinator, &nobody);
        offsets_set_metadata(shard->offsets, NULL);
        if (shard->controller != NULL) {
            controller_set_metadata(shard->controller, NULL);
        }
    }
    if (leader.broker == shard->options->node_id) {
        const struct replica_status status = {.role = REPLICA_FOLLOWER, .term = (uint64_t)leader.epoch};
        shard_on_role(shard, group, &status);
    }
}

/* ---- Timers ---- */

static void retention_of_group(void *context, uint64_t group, struct replica_machine *machine)
{
    (void)context;
    if (machine != NULL && group != METADATA_GROUP) {
        partition_retention(partition_of_machine(machine));
    }
}

static void shard_on_retention_timer(struct timer *timer)
{
    struct shard *shard = container_of(timer, struct shard, retention_timer);
    replicas_each(shard->replicas, NULL, retention_of_group);
    env_timer(shard->env, &shard->retention_timer, shard->options->retention_check_interval_ms * 1000);
}

/* ---- Life ---- */

static enum err open_replicas(struct shard *shard, struct errmsg *msg)
{
    const struct broker *broker = shard->broker;
    const struct options *options = shard->options;
    struct replicas_params params = {
        .env = shard->env,
        .local = broker->local,
        .dir = options->log_dirs,
        .shard_count = broker->shard_count,
        .layout = broker->layout,
        .old_layout = broker->old_layout,
        .old_shard_count = broker->old_shard_count,
        .is_first_start = broker->old_shard_count == 0,
        .server_id = broker->server_id,
        .heartbeat_ms = (unsigned)options->heartbeat_ms,
        .election_ms = (unsigned)options->election_ms,
        .wal = {.file_size = options->wal_file_size,
                .file_size_first = WAL_FILE_SIZE_FIRST,
                .file_count_max = (unsigned)(options->wal_size_max / options->wal_file_size),
                /* A restart reads two of them, where no group waits for others; write_out leaves little to each. */
                .checkpoint_size = options->wal_size_max / 8},
        .checkpoint_interval_ms = options->checkpoint_interval_ms,
        .owner = shard,
        .send = options->has_peer_listener ? shard_peers_send : NULL,
        .before_change = shard_before_change,
        .layout_ready = shard_layout_ready,
        .damaged = shard_damaged,
        .machine_open = shard_machine_open,
    };
    return replicas_open(&params, &shard->replicas, msg);
}

/* The directory of all partitions and its name are durable before a checkpoint says that something is in it. */
static enum err make_topics_dir(struct shard *shard, struct errmsg *msg)
{
    struct disk *disk = shard->env->disk;
    enum err err = disk->mkdir(disk, shard->broker->topics_dir);
    err = err == OK ? disk->sync_dir(disk, shard->options->log_dirs) : err;
    return err == OK ? OK : fail(msg, err, "%s: %s", shard->broker->topics_dir, err_text(err));
}

static void open_scrub(struct shard *shard)
{
    int64_t rate = shard->options->scrub_bytes_per_second;
    rate = rate > 0 ? (rate + shard_count(shard) - 1) / shard_count(shard) : 0;
    shard->scrub = scrub_open(shard->env, shard->replicas, rate);
}

static size_t fetch_session_slots(const struct shard *shard)
{
    return ((size_t)shard->options->fetch_session_slots + shard_count(shard) - 1) / shard_count(shard);
}

static void open_cleaner(struct shard *shard)
{
    const struct options *options = shard->options;
    int64_t count = shard_count(shard);
    int64_t rate = options->cleaner_bytes_per_second;
    struct cleaner_params params = {
        .memory_size = options->cleaner_memory_size > 0 ? (uint64_t)(options->cleaner_memory_size / count) : 0,
        .is_asking = options->is_cleaner_enabled,
        .backoff_ms = options->cleaner_backoff_ms > 0 ? options->cleaner_backoff_ms : 1,
        .bytes_per_second = rate > 0 ? rate / count + 1 : 0,
        .reserve_path = options->log_dirs,
        .reserve = options->disk_reserve > 0 ? (uint64_t)options->disk_reserve : 0,
    };
    shard->cleaner = cleaner_open(shard->env, shard->replicas, &params);
}

enum err shard_open(struct shard *shard, struct broker *broker, unsigned number, struct env *env, struct errmsg *msg)
{
    shard->number = number;
    shard->broker = broker;
    shard->options = broker->options;
    shard->env = env;
    shard->metrics = env->metrics;
    timer_init(&shard->retention_timer, shard_on_retention_timer);

    shard->mailbox = mailbox_open(shard->env);
    shard->router = router_open(shard);
    shard->files = log_files_open(shard->env, LOG_FILES_COUNT_MAX / broker->shard_count);
    shard->space = space_open(shard);
    shard->reader = store_reader_open(broker->store, shard->env);
    shard->leaders = leaders_open(shard->env);
    shard->leader_news = leader_news_open(shard);
    shard->reconciler = reconciler_open(shard);
    shard->rebuild = rebuild_open(shard);
    shard->producer_ids = producer_ids_open(shard);
    shard->mover = mover_open(shard);
    shard->balancer = balancer_open(shard);
    shard->forward = number == 0 ? forward_open(shard) : NULL;
    shard->coordinator = number == 0 ? coordinator_open(shard) : NULL;
    shard->offsets = number == 0 ? offsets_open(env) : NULL;
    shard->offsets_expiry = number == 0 ? offsets_expiry_open(shard) : NULL;
    shard_peers_open(shard);
    enum err err = number == 0 ? cluster_open(shard, &shard->cluster, msg) : OK;
    err = err == OK ? make_topics_dir(shard, msg) : err;
    err = err == OK ? open_replicas(shard, msg) : err;
    if (err != OK) {
        return err;
    }
    shard_catchups_open(shard);
    open_scrub(shard);
    open_cleaner(shard);
    shard->conns = conns_open(shard);
    if (broker->health != NULL) {
        health_start(broker->health[number], shard);
    }
    shard->admin = number == 0 ? admin_open(shard) : NULL;
    shard->fetch_sessions =
        fetch_sessions_open(fetch_session_slots(shard), FETCH_SESSIONS_SIZE_MAX / shard_count(shard), shard->env->rng);
    space_start(shard->space);
    env_timer(shard->env, &shard->retention_timer, shard->options->retention_check_interval_ms * 1000);
    return OK;
}

void shard_serve(struct shard *shard)
{
    store_reader_refresh(shard->reader);
    reconciler_joined(shard->reconciler);
}

static void on_handed_over(struct message *message)
{
    struct to_shard_0 *sent = container_of(message, struct to_shard_0, message);
    broker_handed_over(sent->broker);
    mem_free(sent);
}

static void shard_on_handed_over(void *owner, unsigned left)
{
    (void)left;
    send_to_shard_0(owner, on_handed_over);
}

void shard_hand_over(struct shard *shard)
{
    replicas_hand_over(shard->replicas, HAND_OVER_TIMEOUT_MS, shard, shard_on_handed_over);
}

static void on_drained(struct message *message)
{
    struct to_shard_0 *sent = container_of(message, struct to_shard_0, message);
    broker_drained(sent->broker);
    mem_free(sent);
}

static void shard_on_admin_closed(struct shard *shard)
{
    shard->admin = NULL;
    send_to_shard_0(shard, on_drained);
}

static void shard_on_conns_closed(void *owner)
{
    struct shard *shard = owner;
    shard->conns = NULL;
    if (shard->admin != NULL) {
        admin_close(shard->admin, shard_on_admin_closed);
    } else {
        send_to_shard_0(shard, on_drained);
    }
}

void shard_drain(struct shard *shard)
{
    leaders_stop(shard->leaders);
    if (shard->forward != NULL) {
        forward_stop(shard->forward);
    }
    if (shard->coordinator != NULL) {
        coordinator_stop(shard->coordinator);
        offsets_expiry_stop(shard->offsets_expiry);
    }
    if (shard->cluster != NULL) {
        cluster_stop(shard->cluster);
    }
    conns_close(shard->conns, DRAIN_GRACE_MS, shard, shard_on_conns_closed);
}

static void on_unlinked(struct message *message)
{
    struct to_shard_0 *sent = container_of(message, struct to_shard_0, message);
    broker_unlinked(sent->broker);
    mem_free(sent);
}

static void shard_on_peers_closed(struct shard *shard)
{
    send_to_shard_0(shard, on_unlinked);
}

void shard_unlink(struct shard *shard)
{
    shard_peers_close(shard, shard_on_peers_closed);
}

static void shard_finish(void *owner)
{
    struct shard *shard = owner;
    reconciler_close(shard->reconciler);
    rebuild_close(shard->rebuild);
    mover_close(shard->mover);
    balancer_close(shard->balancer);
    producer_ids_close(shard->producer_ids);
    space_close(shard->space);
    env_timer_cancel(shard->env, &shard->retention_timer);
    if (shard->forward != NULL) {
        forward_close(shard->forward);
    }
    if (shard->coordinator != NULL) {
        offsets_expiry_close(shard->offsets_expiry);
        coordinator_close(shard->coordinator);
        offsets_close(shard->offsets);
    }
    if (shard->cluster != NULL) {
        cluster_close(shard->cluster);
    }
    if (shard->controller != NULL) {
        controller_close(shard->controller);
    }
    log_files_close(shard->files);
    leader_news_close(shard->leader_news);
    fetch_sessions_close(shard->fetch_sessions);
    mem_free(shard->alive);
    mem_free(shard->linked);
    router_close(shard->router);
    leaders_close(shard->leaders);
    store_reader_close(shard->reader);
    shard->broker->host->shard_closed(shard);
}

static void shard_on_replicas_closed(void *owner)
{
    struct shard *shard = owner;
    shard->replicas = NULL;
    if (shard->cluster != NULL) {
        cluster_wait(shard->cluster, shard, shard_finish);
    } else {
        shard_finish(shard);
    }
}

static void shard_on_catchups_closed(struct shard *shard)
{
    replicas_close(shard->replicas, shard_on_replicas_closed);
}

static void shard_on_scrub_closed(void *owner)
{
    struct shard *shard = owner;
    shard->scrub = NULL;
    shard_catchups_close(shard, shard_on_catchups_closed);
}

static void shard_on_cleaner_closed(void *owner)
{
    struct shard *shard = owner;
    shard->cleaner = NULL;
    scrub_close(shard->scrub, shard, shard_on_scrub_closed);
}

void shard_stop(struct shard *shard)
{
    shard->is_stopping = true;
    if (shard->broker->health != NULL) {
        health_stop(shard->broker->health[shard->number]);
    }
    if (shard->controller != NULL) {
        controller_stop(shard->controller);
    }
    mover_stop(shard->mover);
    balancer_stop(shard->balancer);
    rebuild_stop(shard->rebuild);
    cleaner_close(shard->cleaner, shard, shard_on_cleaner_closed);
}

void shard_close(struct shard *shard)
{
    shard_peers_free(shard);
    mailbox_close(shard->mailbox);
}
