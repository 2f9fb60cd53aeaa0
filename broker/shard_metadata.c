/* Shard 0's side of the metadata group: created at the very first start; when it leads and is ready, the broker
 * registers itself, and then the process serves. Changes are told to every shard, each of which looks at the store
 * itself. */

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/forward.h"
#include "broker/reconciler.h"
#include <string.h>

#define FIRST_TERM 1

static void on_created(struct replica_create *req, enum err err)
{
    if (err != OK) {
        process_stop("metadata group: %s: %s", err_text(err), req->msg.text);
    }
    mem_free(req);
}

void shard_metadata_create(struct shard *shard)
{
    struct replica_create *req = mem_alloc(sizeof(*req));
    *req =
        (struct replica_create){.type = GROUP_METADATA, .group = METADATA_GROUP, .term = FIRST_TERM, .cb = on_created};
    req->membership.count = 1;
    req->membership.servers[0] = (struct replica_server){shard->broker->server_id, true};
    replicas_create(shard->replicas, req);
}

/* ---- Registration ---- */

struct registration {
    struct controller_register request;
    struct store_broker broker;
    struct store_endpoint endpoints[OPTION_LISTENERS_MAX];
    struct shard *shard;
};

static void on_registered(struct controller_register *req, enum kafka_error error)
{
    struct registration *registration = container_of(req, struct registration, request);
    struct shard *shard = registration->shard;
    mem_free(registration);
    if (error != KAFKA_NONE) {
        /* another leader: it will be asked again */
        trace(WARN, CONTROLLER, "broker not registered", KV("error", error));
        return;
    }
    broker_metadata_ready(shard->broker);
}

static void register_broker(struct shard *shard)
{
    const struct options *options = shard->options;
    struct registration *registration = mem_alloc(sizeof(*registration));
    struct store_broker *broker = &registration->broker;
    registration->shard = shard;
    broker->id = options->node_id;
    broker->server_id = shard->broker->server_id;
    memcpy(broker->incarnation, shard->broker->incarnation, sizeof(broker->incarnation));
    broker->rack = bytes_from_text(options->rack);
    broker->endpoints = registration->endpoints;
    broker->endpoint_count = options->listener_count;
    for (unsigned i = 0; i < options->listener_count; i++) {
        const struct option_listener *listener = &options->listeners[i];
        registration->endpoints[i] = (struct store_endpoint){
            .listener = bytes_from_text(listener->name),
            .host = bytes_from_text(listener->advertised_host),
            .port = listener->advertised_port != 0 ? listener->advertised_port : listener->port,
        };
    }
    registration->request.broker = broker;
    registration->request.cb = on_registered;
    controller_register_broker(shard->controller, &registration->request);
}

static uint64_t group_term(void *owner, uint64_t group)
{
    struct shard *shard = owner;
    struct leader leader = leaders_get(shard->leaders, group);
    return leader.epoch > 0 ? (uint64_t)leader.epoch : 0;
}

struct ready {
    struct task task;
    struct shard *shard;
};

/* A task of its own: role_changed is called from within the replica and must only note things. */
static void on_ready(struct task *task)
{
    struct ready *ready = container_of(task, struct ready, task);
    struct shard *shard = ready->shard;
    mem_free(ready);
    store_reader_refresh(shard->reader);
    if (shard->controller == NULL) {
        struct controller_params params = {
            .env = shard->env,
            .metadata = shard->metadata,
            .reader = shard->reader,
            .defaults = options_topic_defaults(shard->options),
            .partitions_default = shard->options->num_partitions,
            .replication_factor_default = shard->options->default_replication_factor,
            .group_term = group_term,
            .moves_max = shard->options->moves_max,
            .owner = shard,
        };
        shard->controller = controller_open(&params);
    }
    register_broker(shard);
}

void shard_metadata_role_changed(void *owner, const struct replica_status *status)
{
    struct shard *shard = owner;
    if (shard->is_stopping || status->role != REPLICA_LEADER || !status->is_ready) {
        return;
    }
    struct ready *ready = mem_alloc(sizeof(*ready));
    ready->shard = shard;
    task_init(&ready->task, on_ready);
    env_task(shard->env, &ready->task);
}

/* ---- News of changes ---- */

struct change_news {
    struct message message;
    struct shard *target;
    struct uuid topic;
    int32_t partition; /* -1: all */
    bool is_deleted;
    uint64_t *groups;
    size_t group_count;
};

static void change_on_message(struct message *message)
{
    struct change_news *news = container_of(message, struct change_news, message);
    struct shard *shard = news->target;
    if (!shard->is_stopping) {
        store_reader_refresh(shard->reader);
        if (news->is_deleted) {
            reconciler_remove(shard->reconciler, news->groups, news->group_count);
        } else if (news->partition >= 0) {
            reconciler_partition(shard->reconciler, &news->topic, news->partition);
        } else {
            reconciler_topic(shard->reconciler, &news->topic);
        }
    }
    mem_free(news->groups);
    mem_free(news);
}

static void tell_shard(struct shard *shard, unsigned number, const struct metadata_change *change)
{
    struct change_news *news = mem_alloc(sizeof(*news));
    news->target = &shard->broker->shards[number];
    news->topic = change->topic;
    news->is_deleted = change->kind == METADATA_TOPIC_DELETED;
    news->partition = change->kind == METADATA_PARTITIONS_CHANGED ? change->partition : -1;
    news->group_count = change->group_count;
    if (change->group_count > 0) {
        news->groups = mem_alloc(change->group_count * sizeof(*news->groups));
        memcpy(news->groups, change->groups, change->group_count * sizeof(*news->groups));
    }
    news->message.cb = change_on_message;
    shard_send(shard, number, &news->message);
}

void shard_metadata_changed(void *owner, const struct metadata_change *changes, size_t count)
{
    struct shard *shard = owner;
    store_reader_refresh(shard->reader);
    if (shard->controller != NULL) {
        controller_changed(shard->controller);
    }
    for (size_t i = 0; i < count; i++) {
        if (changes[i].kind == METADATA_BROKER_CHANGED || changes[i].kind == METADATA_CLUSTER_CREATED) {
            continue;
        }
        for (unsigned n = 0; n < shard->broker->shard_count; n++) {
            tell_shard(shard, n, &changes[i]);
        }
    }
    forward_metadata_applied(shard->forward); /* whoever is answered by it has these news first */
}
