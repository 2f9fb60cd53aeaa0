/* Happy path: open reads the record -> start chooses the state -> one timer drives founding and joining -> the
 * registration is here -> the broker serves, and a slower timer looks after who is alive and who is a member.
 * Everything is repeated until it holds; nothing waits for one answer. */

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/cluster_internal.h"
#include "broker/peer_method.h"
#include <stdio.h>
#include <string.h>

#define SAID_AFTER_US (2 * 1000 * 1000) /* what passes by itself is not worth a line */

static void cluster_on_timer(struct timer *timer);
static void cluster_on_quiet_timer(struct timer *timer);
static void cluster_on_role(struct task *task);

enum err cluster_open(struct shard *shard, struct cluster **out, struct errmsg *msg)
{
    struct cluster *cluster = mem_alloc(sizeof(*cluster));
    cluster->shard = shard;
    cluster->controller = -1;
    cluster->started_us = env_now_us(shard->env);
    timer_init(&cluster->timer, cluster_on_timer);
    timer_init(&cluster->quiet_timer, cluster_on_quiet_timer);
    task_init(&cluster->role_task, cluster_on_role);
    map_init(&cluster->ended);
    enum err err = identity_get_cluster(shard->broker->local, &cluster->identity, msg);
    if (err != OK) {
        mem_free(cluster);
        return err;
    }
    *out = cluster;
    return OK;
}

void cluster_close(struct cluster *cluster)
{
    assert(!cluster->is_joining);
    assert(cluster->held_count == 0);
    cluster->shard->env->tasks->cancel(cluster->shard->env->tasks, &cluster->role_task);
    cluster_alive_close(cluster);
    mem_free(cluster->alive);
    mem_free(cluster->held);
    mem_free(cluster);
}

void cluster_stop(struct cluster *cluster)
{
    cluster->is_stopping = true;
    env_timer_cancel(cluster->shard->env, &cluster->timer);
    env_timer_cancel(cluster->shard->env, &cluster->quiet_timer);
    cluster_release_held(cluster);
}

void cluster_wait(struct cluster *cluster, void *owner, void (*cb)(void *owner))
{
    assert(cluster->is_stopping);
    if (!cluster->is_recording) {
        cb(owner);
        return;
    }
    cluster->idle_owner = owner;
    cluster->idle_cb = cb;
}

/* ---- Small things ---- */

struct replica *cluster_replica(const struct cluster *cluster)
{
    return cluster->shard->replicas != NULL ? replicas_find(cluster->shard->replicas, METADATA_GROUP) : NULL;
}

bool cluster_is_leader(const struct cluster *cluster)
{
    return cluster->shard->metadata != NULL && metadata_is_leader(cluster->shard->metadata);
}

int32_t cluster_controller(const struct cluster *cluster)
{
    struct leader leader = leaders_get(cluster->shard->leaders, METADATA_GROUP);
    return cluster_is_leader(cluster) ? cluster->shard->options->node_id
           : leader.broker >= 0       ? leader.broker
                                      : cluster->controller;
}

struct bytes cluster_pack(const ProtobufCMessage *message, struct shared **block)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    *block = shared_new(size);
    (void)protobuf_c_message_pack(message, (*block)->data);
    return (struct bytes){(*block)->data, size};
}

void cluster_hold(struct cluster *cluster, struct peer_request *request)
{
    cluster->held = mem_resize(cluster->held, (cluster->held_count + 1) * sizeof(*cluster->held));
    cluster->held[cluster->held_count++] = request;
}

void cluster_release_held(struct cluster *cluster)
{
    struct peer_request **held = cluster->held;
    size_t count = cluster->held_count;
    cluster->held = NULL;
    cluster->held_count = 0;
    for (size_t i = 0; i < count; i++) {
        cluster_request(cluster, held[i]);
    }
    mem_free(held);
}

void cluster_reply(struct peer_request *request, const ProtobufCMessage *message)
{
    struct slice payload;
    payload.bytes = cluster_pack(message, &payload.block);
    peers_reply(request, payload, false);
    slice_release(&payload);
}

void cluster_say(struct cluster *cluster, bool is_error, const char *cause)
{
    int64_t now = env_now_us(cluster->shard->env);
    if (strcmp(cluster->cause, cause) != 0) {
        (void)snprintf(cluster->cause, sizeof(cluster->cause), "%s", cause);
        cluster->cause_since_us = now;
    }
    if (now - cluster->cause_since_us < SAID_AFTER_US || strcmp(cluster->told, cause) == 0) {
        return;
    }
    (void)snprintf(cluster->told, sizeof(cluster->told), "%s", cause);
    if (is_error) {
        trace(ERROR, CONTROLLER, "no cluster can be founded", KV("cause", cause));
    } else {
        trace(INFO, CONTROLLER, "waits to be in a cluster", KV("cause", cause));
    }
}

/* ---- Time ---- */

/* A broker without a listener for brokers has nobody to look after. */
static bool has_links(const struct cluster *cluster)
{
    return cluster->shard->peers != NULL;
}

static void cluster_on_timer(struct timer *timer)
{
    struct cluster *cluster = container_of(timer, struct cluster, timer);
    if (cluster->state == CLUSTER_FOUNDING) {
        cluster_found_tick(cluster);
    } else if (cluster->state == CLUSTER_MEMBER) {
        cluster_join_tick(cluster);
    }
    bool is_quiet = cluster->state == CLUSTER_MEMBER && cluster->shard->broker->is_serving;
    if (!is_quiet || has_links(cluster)) {
        env_timer(cluster->shard->env, &cluster->timer, is_quiet ? CLUSTER_QUIET_TICK_US : CLUSTER_TICK_US);
    }
}

static void cluster_on_quiet_timer(struct timer *timer)
{
    struct cluster *cluster = container_of(timer, struct cluster, quiet_timer);
    cluster_alive_tick(cluster);
    cluster_members_tick(cluster);
    env_timer(cluster->shard->env, &cluster->quiet_timer, CLUSTER_QUIET_TICK_US);
}

void cluster_start(struct cluster *cluster)
{
    struct shard *shard = cluster->shard;
    bool has_group = replicas_find(shard->replicas, METADATA_GROUP) != NULL;
    bool has_record = cluster->identity.id[0] != '\0';
    cluster_tell_alive(cluster);
    if (!has_links(cluster) && cluster->identity.founder_count > 1) {
        trace(ERROR, CONTROLLER, "this broker is one of a cluster but has no listener for brokers",
              KV("cluster", (const char *)cluster->identity.id),
              KV("mend", "set controller.listener.names and listeners as before"));
    }
    if (has_record && has_links(cluster)) {
        memcpy(shard->peer_self.cluster_id, cluster->identity.id, sizeof(cluster->identity.id));
        cluster_tell_identity(cluster);
    }
    for (unsigned i = 0; has_links(cluster) && i < shard->options->seed_count; i++) {
        peers_add_seed(shard->peers, shard->options->seeds[i].host, shard->options->seeds[i].port);
    }
    if (has_group) {
        cluster->state = CLUSTER_MEMBER;
        cluster_record_store(cluster);
        cluster_tell_links(cluster);
    } else if (has_record || !has_links(cluster)) {
        cluster_create(cluster);
    } else {
        cluster_found_start(cluster);
    }
    env_timer(shard->env, &cluster->timer, 0);
    if (has_links(cluster)) {
        env_timer(shard->env, &cluster->quiet_timer, 0);
    }
}

/* ---- The metadata group's events ---- */

static uint64_t group_term(void *owner, uint64_t group)
{
    struct shard *shard = owner;
    struct leader leader = leaders_get(shard->leaders, group);
    return leader.epoch > 0 ? (uint64_t)leader.epoch : 0;
}

static bool broker_is_alive(void *owner, int32_t node)
{
    return cluster_is_alive(owner, node);
}

static void open_controller(struct shard *shard)
{
    struct controller_params params = {
        .env = shard->env,
        .metadata = shard->metadata,
        .reader = shard->reader,
        .offsets = shard->offsets,
        .defaults = options_topic_defaults(shard->options),
        .partitions_default = shard->options->num_partitions,
        .replication_factor_default = shard->options->default_replication_factor,
        .group_term = group_term,
        .is_alive = broker_is_alive,
        .moves_max = shard->options->moves_max,
        .owner = shard,
    };
    shard->controller = controller_open(&params);
}

/* A task of its own: a role is told from within the replica and must only be noted there. */
static void cluster_on_role(struct task *task)
{
    struct cluster *cluster = container_of(task, struct cluster, role_task);
    struct shard *shard = cluster->shard;
    if (cluster->is_stopping) {
        return;
    }
    store_reader_refresh(shard->reader);
    bool is_leader = cluster_is_leader(cluster);
    if (!is_leader) {
        cluster->leader_since_us = 0;
    } else if (cluster->leader_since_us == 0) {
        cluster->leader_since_us = env_now_us(shard->env);
        if (shard->controller == NULL) {
            open_controller(shard);
        }
    }
    if (cluster->state == CLUSTER_MEMBER) {
        cluster_join_tick(cluster);
    }
}

void cluster_metadata_role(struct cluster *cluster, const struct replica_status *status)
{
    cluster->role = *status;
    env_task(cluster->shard->env, &cluster->role_task);
}

void cluster_metadata_changed(struct cluster *cluster)
{
    cluster_tell_links(cluster);
    cluster_record_store(cluster);
    env_task(cluster->shard->env, &cluster->role_task);
}

/* ---- Links ---- */

void cluster_peer_up(struct cluster *cluster, const struct peer_identity *identity)
{
    cluster_alive_up(cluster, identity->node);
    if (!cluster->is_stopping && cluster->state == CLUSTER_FOUNDING) {
        cluster_found_tick(cluster);
    }
}

void cluster_peer_down(struct cluster *cluster, int32_t node, uint64_t server_id, bool is_reset)
{
    (void)server_id;
    cluster_found_down(cluster, node);
    cluster_alive_down(cluster, node, is_reset);
}

void cluster_request(struct cluster *cluster, struct peer_request *request)
{
    if (cluster->is_stopping) {
        peers_reply(request, (struct slice){NULL, BYTES_NONE}, false);
        return;
    }
    if (request->method == PEER_WHO) {
        cluster_who(cluster, request);
    } else {
        assert(request->method == PEER_JOIN);
        cluster_join(cluster, request);
    }
}
