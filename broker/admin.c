/* Start: the service answers from the moment that shards are open, so that an operator can ask a broker that waits for
 * its seeds what it waits for. Stop: after the connections of clients, whose requests the methods use. */

#include "broker/admin.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/admin_internal.h"
#include "broker/broker.h"
#include "broker/grpc_health.h"
#include "broker/grpc_reflection.h"
#include <string.h>

#define CLOSE_GRACE_MS 1000

#define REQUEST(name) &balsa__admin__v1__##name##__descriptor

static const struct grpc_method methods[] = {
    {"ClusterStatus", REQUEST(cluster_status_request), admin_cluster_status, GRPC_UNARY, NULL, NULL},
    {"ListTopics", REQUEST(list_topics_request), admin_list_topics, GRPC_UNARY, NULL, NULL},
    {"DescribeTopic", REQUEST(describe_topic_request), admin_describe_topic, GRPC_UNARY, NULL, NULL},
    {"CreateTopic", REQUEST(create_topic_request), admin_create_topic, GRPC_UNARY, NULL, NULL},
    {"DeleteTopic", REQUEST(delete_topic_request), admin_delete_topic, GRPC_UNARY, NULL, NULL},
    {"AddPartitions", REQUEST(add_partitions_request), admin_add_partitions, GRPC_UNARY, NULL, NULL},
    {"DescribeConfigs", REQUEST(describe_configs_request), admin_describe_configs, GRPC_UNARY, NULL, NULL},
    {"AlterConfig", REQUEST(alter_config_request), admin_alter_config, GRPC_UNARY, NULL, NULL},
    {"PartitionStatus", REQUEST(partition_status_request), admin_partition_status, GRPC_UNARY, NULL, NULL},
    {"Explain", REQUEST(explain_request), admin_explain, GRPC_UNARY, NULL, NULL},
    {"Watch", REQUEST(watch_request), admin_watch, GRPC_SERVER_STREAM, admin_watch_canceled, NULL},
    {"ListGroups", REQUEST(list_groups_request), admin_list_groups, GRPC_UNARY, NULL, NULL},
    {"DescribeGroup", REQUEST(describe_group_request), admin_describe_group, GRPC_UNARY, NULL, NULL},
    {"ResetOffsets", REQUEST(reset_offsets_request), admin_reset_offsets, GRPC_UNARY, NULL, NULL},
    {"DeleteGroup", REQUEST(delete_group_request), admin_delete_group, GRPC_UNARY, NULL, NULL},
    {"MovePartition", REQUEST(move_partition_request), admin_move_partition, GRPC_UNARY, NULL, NULL},
    {"CancelMove", REQUEST(cancel_move_request), admin_cancel_move, GRPC_UNARY, NULL, NULL},
    {"ListMoves", REQUEST(list_moves_request), admin_list_moves, GRPC_UNARY, NULL, NULL},
    {"TransferLeader", REQUEST(transfer_leader_request), admin_transfer_leader, GRPC_UNARY, NULL, NULL},
    {"DrainBroker", REQUEST(drain_broker_request), admin_drain_broker, GRPC_UNARY, NULL, NULL},
    {"DecommissionBroker", REQUEST(decommission_broker_request), admin_decommission_broker, GRPC_UNARY, NULL, NULL},
    {"ResumeBroker", REQUEST(resume_broker_request), admin_resume_broker, GRPC_UNARY, NULL, NULL},
    {"QuorumStatus", REQUEST(quorum_status_request), admin_quorum_status, GRPC_UNARY, NULL, NULL},
    {"QuorumTransfer", REQUEST(quorum_transfer_request), admin_quorum_transfer, GRPC_UNARY, NULL, NULL},
    {"SetLogLevel", REQUEST(set_log_level_request), admin_set_log_level, GRPC_UNARY, NULL, NULL},
};

static const char *const names[] = {"balsa.admin.v1.Admin"};

/* `admin` and `health` NULL: for their names. */
static void list_services(struct admin *admin, struct grpc_health *health, struct grpc_service *services)
{
    services[0] = (struct grpc_service){names[0], methods, array_count(methods), admin};
    services[1] = grpc_health_service(health);
    grpc_reflection_services(&services[2]);
}

void admin_error_labels(size_t row, size_t column, char *text, size_t size)
{
    struct grpc_service services[ADMIN_SERVICE_COUNT];
    list_services(NULL, NULL, services);
    grpc_error_labels(services, ADMIN_SERVICE_COUNT, row, column, text, size);
}

struct admin *admin_open(struct shard *shard)
{
    struct admin *admin = mem_alloc(sizeof(*admin));
    admin->shard = shard;
    admin_watch_open(admin);
    admin->health = grpc_health_open(names, array_count(names));
    list_services(admin, admin->health, admin->services);
    admin->grpc = grpc_open(shard->env, admin->services, ADMIN_SERVICE_COUNT);
    return admin;
}

static void on_accept(void *owner, struct listener *listener, int token)
{
    struct admin *admin = owner;
    (void)listener;
    grpc_accept(admin->grpc, token);
}

void admin_listen(struct admin *admin)
{
    const struct options *options = admin->shard->options;
    struct net *net = admin->shard->env->net;
    for (unsigned i = 0; i < options->admin_listener_count; i++) {
        const struct option_listener *listener = &options->admin_listeners[i];
        struct listener **opened = &admin->listeners[admin->listener_count];
        struct errmsg msg = {""};
        if (net->listen(net, listener->host, listener->port, admin, on_accept, opened, &msg) == OK) {
            admin->listener_count++;
            trace(INFO, NET, "listening", KV("listener", (const char *)listener->name),
                  KV("host", (const char *)listener->host), KV("port", net->listener_port(*opened)));
        } else if (options->is_admin_asked_for) {
            trace(ERROR, NET, "cannot listen", KV("listener", (const char *)listener->name),
                  KV("cause", (const char *)msg.text));
            admin->shard->broker->host->cannot_listen(admin->shard->broker, listener, &msg);
        } else {
            trace(WARN, NET, "no admin service: its default port is taken, set balsa.admin.listeners",
                  KV("cause", (const char *)msg.text));
        }
    }
}

void admin_set_serving(struct admin *admin, bool is_serving)
{
    grpc_health_set(admin->health, is_serving);
}

static void on_grpc_closed(void *owner)
{
    struct admin *admin = owner;
    struct shard *shard = admin->shard;
    void (*cb)(struct shard *) = admin->close_cb;
    grpc_health_close(admin->health);
    admin_watch_close(admin);
    mem_free(admin);
    cb(shard);
}

static void on_listener_closed(void *owner)
{
    (void)owner;
}

void admin_close(struct admin *admin, void (*cb)(struct shard *shard))
{
    struct net *net = admin->shard->env->net;
    for (unsigned i = 0; i < admin->listener_count; i++) {
        net->listener_close(admin->listeners[i], on_listener_closed);
    }
    admin->close_cb = cb;
    grpc_close(admin->grpc, CLOSE_GRACE_MS, admin, on_grpc_closed);
}

/* ---- For methods ---- */

void *admin_message(struct grpc_call *call, const ProtobufCMessageDescriptor *descriptor)
{
    ProtobufCMessage *message = arena_alloc(&call->arena, descriptor->sizeof_message);
    if (message != NULL) {
        protobuf_c_message_init(descriptor, message);
    }
    return message;
}

char *admin_text(struct grpc_call *call, struct bytes bytes)
{
    char *text = bytes.size > 0 ? arena_text(&call->arena, bytes) : NULL;
    return text != NULL ? text : (char *)(uintptr_t)protobuf_c_empty_string;
}

void admin_too_large(struct grpc_call *call)
{
    grpc_finish(call, GRPC_RESOURCE_EXHAUSTED, "the answer is too large: ask for one topic, or for one partition");
}

void admin_int32s(struct grpc_call *call, const int32_t *source, size_t count, size_t *target_count, int32_t **target)
{
    *target = count > 0 ? arena_alloc(&call->arena, count * sizeof(**target)) : NULL;
    *target_count = *target != NULL ? count : 0;
    if (*target != NULL) {
        memcpy(*target, source, count * sizeof(*source));
    }
}

bool admin_topic(struct grpc_call *call, const char *name, struct store_topic *topic)
{
    struct store_reader *reader = admin_of(call)->shard->reader;
    store_reader_refresh(reader);
    if (store_topic_by_name(reader, &call->arena, bytes_from_text(name), topic) == OK) {
        return true;
    }
    grpc_finish(call, GRPC_NOT_FOUND, "there is no topic '%s': ListTopics names those that there are", name);
    return false;
}

bool admin_partition(struct grpc_call *call, const char *name, int32_t index, struct store_topic *topic,
                     struct store_partition *partition)
{
    struct store_reader *reader = admin_of(call)->shard->reader;
    if (!admin_topic(call, name, topic)) {
        return false;
    }
    if (index >= 0 && store_partition(reader, &call->arena, &topic->id, index, partition) == OK) {
        return true;
    }
    grpc_finish(call, GRPC_NOT_FOUND, "topic '%s' has no partition %d: it has 0 to %d", name, index,
                topic->partition_count - 1);
    return false;
}
