/* Brokers that leave, and come back before they have left: UnregisterBroker, and its counterpart between brokers. */

#include "base/mem.h"
#include "broker/admin_internal.h"
#include "broker/admin_scan.h"
#include "broker/cluster.h"
#include "proto/codec.h"
#include "proto/kafka_api.h"

struct decommission {
    struct grpc_call *call;
    int32_t node;
    bool is_dry_run;
    size_t replicas_max; /* of one partition */
    size_t brokers_left; /* that can take replicas */
    Balsa__Admin__V1__DecommissionBrokerResponse response;
    struct admin_scan scan;
};

static bool count_broker(void *context, const struct store_broker *broker)
{
    struct decommission *work = context;
    work->brokers_left +=
        broker->id != work->node && !broker->is_draining && cluster_is_alive(admin_of(work->call)->shard, broker->id);
    return true;
}

static bool on_partition(struct admin_scan *scan, const struct uuid *topic, int32_t index,
                         const struct store_partition *partition)
{
    struct decommission *work = container_of(scan, struct decommission, scan);
    (void)topic;
    (void)index;
    for (size_t i = 0; i < partition->replica_count; i++) {
        if (partition->replicas[i] == work->node) {
            work->response.replicas++;
            work->replicas_max =
                partition->replica_count > work->replicas_max ? partition->replica_count : work->replicas_max;
        }
    }
    return true;
}

static void on_decommissioned(struct grpc_call *call, const void *response)
{
    const struct kafka_unregister_broker_response *kafka = response;
    const struct decommission *work = call->context;
    if (kafka->error_code != KAFKA_NONE) {
        admin_fail(call, (enum kafka_error)kafka->error_code, kafka->error_message);
    } else {
        grpc_answer(call, &work->response.base);
    }
}

static void on_scanned(struct admin_scan *scan)
{
    struct decommission *work = container_of(scan, struct decommission, scan);
    struct grpc_call *call = work->call;
    struct kafka_unregister_broker_request kafka = {.broker_id = work->node};
    if (work->brokers_left < work->replicas_max) {
        grpc_finish(call, GRPC_FAILED_PRECONDITION,
                    "partitions with %zu replicas would have %zu brokers left that can take them: start or add brokers "
                    "first",
                    work->replicas_max, work->brokers_left);
    } else if (work->is_dry_run) {
        grpc_answer(call, &work->response.base);
    } else {
        admin_ask(call, KAFKA_API_UNREGISTER_BROKER, &kafka, on_decommissioned);
    }
}

/* False: the call was ended. */
static bool check_broker(struct grpc_call *call, int32_t node)
{
    const struct shard *shard = admin_of(call)->shard;
    struct store_broker broker;
    store_reader_refresh(shard->reader);
    if (store_broker(shard->reader, &call->arena, node, &broker) == OK) {
        return true;
    }
    grpc_finish(call, GRPC_NOT_FOUND, "there is no broker %d: ClusterStatus lists those that there are", node);
    return false;
}

void admin_decommission_broker(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__DecommissionBrokerRequest *request = (const void *)message;
    const struct shard *shard = admin_of(call)->shard;
    if (!check_broker(call, request->node_id)) {
        return;
    }
    struct decommission *work = arena_alloc(&call->arena, sizeof(*work));
    if (work == NULL) {
        admin_too_large(call);
        return;
    }
    balsa__admin__v1__decommission_broker_response__init(&work->response);
    work->call = call;
    work->node = request->node_id;
    work->is_dry_run = request->dry_run;
    call->context = work;
    if (store_brokers_each(shard->reader, &call->arena, work, count_broker) != OK) {
        admin_too_large(call);
        return;
    }
    work->scan.each = on_partition;
    work->scan.done = on_scanned;
    admin_scan_start(&work->scan, admin_of(call)->shard, NULL);
}

static void on_resumed(struct grpc_call *call, const void *response)
{
    const struct kafka_unregister_broker_response *kafka = response;
    Balsa__Admin__V1__ResumeBrokerResponse answer = BALSA__ADMIN__V1__RESUME_BROKER_RESPONSE__INIT;
    if (kafka->error_code != KAFKA_NONE) {
        admin_fail(call, (enum kafka_error)kafka->error_code, kafka->error_message);
    } else {
        grpc_answer(call, &answer.base);
    }
}

void admin_resume_broker(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__ResumeBrokerRequest *request = (const void *)message;
    struct kafka_unregister_broker_request kafka = {.broker_id = request->node_id};
    if (check_broker(call, request->node_id)) {
        admin_ask(call, KAFKA_API_RESUME_BROKER, &kafka, on_resumed);
    }
}
