/* Cluster and brokers, from the metadata as of now, and what shard 0 knows of who is alive and who leads. */

#include "base/limits.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/admin_internal.h"
#include "broker/admin_scan.h"
#include "broker/broker.h"
#include "broker/cluster.h"

struct cluster_status {
    struct grpc_call *call;
    Balsa__Admin__V1__ClusterStatusResponse response;
    struct map brokers; /* node id + 1 -> its message */
    size_t capacity;
    struct admin_scan scan;
};

static Balsa__Admin__V1__Endpoint *endpoint_message(struct grpc_call *call, const struct store_endpoint *endpoint)
{
    Balsa__Admin__V1__Endpoint *message = admin_message(call, &balsa__admin__v1__endpoint__descriptor);
    if (message != NULL) {
        message->listener = admin_text(call, endpoint->listener);
        message->host = admin_text(call, endpoint->host);
        message->port = endpoint->port;
    }
    return message;
}

static Balsa__Admin__V1__Broker *broker_message(struct grpc_call *call, const struct store_broker *broker)
{
    const struct shard *shard = admin_of(call)->shard;
    Balsa__Admin__V1__Broker *message = admin_message(call, &balsa__admin__v1__broker__descriptor);
    if (message == NULL) {
        return NULL;
    }
    message->node_id = broker->id;
    message->state = cluster_is_alive(shard, broker->id) ? BALSA__ADMIN__V1__BROKER__STATE__ALIVE
                                                         : BALSA__ADMIN__V1__BROKER__STATE__DEAD;
    message->is_draining = broker->is_draining;
    message->rack = admin_text(call, broker->rack);
    message->server_id = broker->server_id;
    message->peer = broker->peer.port != 0 ? endpoint_message(call, &broker->peer) : NULL;
    message->endpoints = arena_alloc(&call->arena, (broker->endpoint_count + 1) * sizeof(*message->endpoints));
    for (size_t i = 0; message->endpoints != NULL && i < broker->endpoint_count; i++) {
        message->endpoints[i] = endpoint_message(call, &broker->endpoints[i]);
        message->n_endpoints += message->endpoints[i] != NULL;
    }
    return message;
}

static bool on_broker(void *context, const struct store_broker *broker)
{
    struct cluster_status *status = context;
    Balsa__Admin__V1__Broker *message = broker_message(status->call, broker);
    if (message != NULL && status->response.n_brokers < CLUSTER_BROKER_COUNT_MAX) {
        status->response.brokers[status->response.n_brokers++] = message;
        map_put(&status->brokers, (uint64_t)broker->id + 1, message);
    }
    return message != NULL;
}

static bool on_partition(struct admin_scan *scan, const struct uuid *topic, int32_t index,
                         const struct store_partition *partition)
{
    struct cluster_status *status = container_of(scan, struct cluster_status, scan);
    const struct shard *shard = admin_of(status->call)->shard;
    struct leader leader = leaders_get(shard->leaders, partition->group);
    bool is_whole = true;
    (void)topic;
    (void)index;
    for (size_t i = 0; i < partition->replica_count; i++) {
        Balsa__Admin__V1__Broker *broker = map_get(&status->brokers, (uint64_t)partition->replicas[i] + 1);
        is_whole = is_whole && broker != NULL && broker->state == BALSA__ADMIN__V1__BROKER__STATE__ALIVE;
        if (broker != NULL) {
            broker->replicas++;
            broker->leaders += leader.broker == broker->node_id;
        }
    }
    status->response.partitions_without_leader += leader.broker < 0;
    status->response.partitions_under_replicated += !is_whole;
    status->response.partitions_moving += partition->target_count > 0 || partition->leaving_count > 0;
    return true;
}

static void on_scanned(struct admin_scan *scan)
{
    struct cluster_status *status = container_of(scan, struct cluster_status, scan);
    struct store_reader *reader = admin_of(status->call)->shard->reader;
    status->response.topics = store_topic_count(reader);
    status->response.partitions = store_partition_count(reader);
    status->response.metadata_index = store_applied_index(reader);
    grpc_answer(status->call, &status->response.base);
    map_deinit(&status->brokers);
    mem_free(status);
}

void admin_cluster_status(struct grpc_call *call, const ProtobufCMessage *message)
{
    struct shard *shard = admin_of(call)->shard;
    struct cluster_status *status = mem_alloc(sizeof(*status));
    char id[CLUSTER_ID_SIZE + 1];
    (void)message;
    store_reader_refresh(shard->reader);
    balsa__admin__v1__cluster_status_response__init(&status->response);
    status->call = call;
    map_init(&status->brokers);
    if (store_cluster_id(shard->reader, id) == OK) {
        status->response.cluster_id = admin_text(call, bytes_from_text(id));
    }
    struct leader controller = leaders_get(shard->leaders, METADATA_GROUP);
    status->response.node_id = shard->options->node_id;
    status->response.controller = controller.broker;
    status->response.is_serving = shard->broker->is_serving && !shard->broker->is_stopping;
    status->response.brokers = arena_alloc(&call->arena, CLUSTER_BROKER_COUNT_MAX * sizeof(*status->response.brokers));
    if (store_brokers_each(shard->reader, &call->arena, status, on_broker) != OK) {
        map_deinit(&status->brokers);
        mem_free(status);
        admin_too_large(call);
        return;
    }
    status->scan.each = on_partition;
    status->scan.done = on_scanned;
    admin_scan_start(&status->scan, shard, NULL);
}

void admin_set_log_level(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__SetLogLevelRequest *request = (const void *)message;
    Balsa__Admin__V1__SetLogLevelResponse response = BALSA__ADMIN__V1__SET_LOG_LEVEL_RESPONSE__INIT;
    if (!trace_set_level_text(request->component, request->level)) {
        grpc_finish(call, GRPC_INVALID_ARGUMENT,
                    "component '%s', level '%s': expected all or a component as log lines name it, and debug, info, "
                    "warn or error",
                    request->component, request->level);
        return;
    }
    trace(INFO, MAIN, "log level set", KV("of", (const char *)request->component),
          KV("to", (const char *)request->level));
    grpc_answer(call, &response.base);
}
