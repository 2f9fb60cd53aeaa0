/* Topics and configurations: listed from the metadata as of now, changed by the Kafka requests for it. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/admin_internal.h"
#include "broker/admin_scan.h"
#include "broker/cluster.h"
#include "proto/codec.h"
#include "proto/kafka_api.h"
#include <string.h>

/* ---- Listing ---- */

struct topic_list {
    struct grpc_call *call;
    struct bytes prefix;
    Balsa__Admin__V1__ListTopicsResponse response;
    size_t capacity;
};

static Balsa__Admin__V1__Topic *topic_message(struct grpc_call *call, const struct store_topic *topic)
{
    struct store_reader *reader = admin_of(call)->shard->reader;
    Balsa__Admin__V1__Topic *message = admin_message(call, &balsa__admin__v1__topic__descriptor);
    struct store_partition first;
    char id[UUID_TEXT_SIZE];
    if (message == NULL) {
        return NULL;
    }
    uuid_to_text(&topic->id, id);
    message->name = admin_text(call, topic->name);
    message->id = admin_text(call, bytes_from_text(id));
    message->partitions = topic->partition_count;
    if (store_partition(reader, &call->arena, &topic->id, 0, &first) == OK) {
        message->replication_factor = (int32_t)first.replica_count;
    }
    return message;
}

static bool on_topic(void *context, const struct store_topic *topic)
{
    struct topic_list *list = context;
    Balsa__Admin__V1__ListTopicsResponse *response = &list->response;
    if (topic->name.size < list->prefix.size || memcmp(topic->name.data, list->prefix.data, list->prefix.size) != 0) {
        return true;
    }
    if (response->n_topics == list->capacity) {
        list->capacity = list->capacity > 0 ? 2 * list->capacity : 64;
        response->topics = mem_resize(response->topics, list->capacity * sizeof(*response->topics));
    }
    response->topics[response->n_topics] = topic_message(list->call, topic);
    return response->topics[response->n_topics++] != NULL;
}

void admin_list_topics(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__ListTopicsRequest *request = (const void *)message;
    struct store_reader *reader = admin_of(call)->shard->reader;
    struct topic_list list = {.call = call, .prefix = bytes_from_text(request->prefix)};
    balsa__admin__v1__list_topics_response__init(&list.response);
    store_reader_refresh(reader);
    enum err err = store_topics_each(reader, &call->arena, &list, on_topic);
    bool is_whole = list.response.n_topics == 0 || list.response.topics[list.response.n_topics - 1] != NULL;
    if (err != OK || !is_whole) {
        admin_too_large(call);
    } else {
        grpc_answer(call, &list.response.base);
    }
    mem_free(list.response.topics);
}

/* ---- One topic ---- */

struct topic_description {
    struct grpc_call *call;
    Balsa__Admin__V1__DescribeTopicResponse response;
    size_t capacity;
    struct admin_scan scan;
};

Balsa__Admin__V1__Partition *admin_partition_message(struct grpc_call *call, int32_t index,
                                                     const struct store_partition *partition)
{
    const struct shard *shard = admin_of(call)->shard;
    Balsa__Admin__V1__Partition *message = admin_message(call, &balsa__admin__v1__partition__descriptor);
    struct leader leader = leaders_get(shard->leaders, partition->group);
    if (message == NULL) {
        return NULL;
    }
    message->index = index;
    message->leader = leader.broker;
    message->leader_epoch = leader.epoch;
    message->raft_group = partition->group;
    admin_int32s(call, partition->replicas, partition->replica_count, &message->n_replicas, &message->replicas);
    admin_int32s(call, partition->replicas, partition->replica_count, &message->n_alive, &message->alive);
    admin_int32s(call, partition->target, partition->target_count, &message->n_target, &message->target);
    admin_int32s(call, partition->leaving, partition->leaving_count, &message->n_leaving, &message->leaving);
    size_t alive = 0;
    for (size_t i = 0; i < message->n_alive; i++) {
        if (cluster_is_alive(shard, message->alive[i])) {
            message->alive[alive++] = message->alive[i];
        }
    }
    message->n_alive = alive;
    return message;
}

static bool on_partition(struct admin_scan *scan, const struct uuid *topic, int32_t index,
                         const struct store_partition *partition)
{
    struct topic_description *work = container_of(scan, struct topic_description, scan);
    Balsa__Admin__V1__Partition *message = admin_partition_message(work->call, index, partition);
    (void)topic;
    if (message == NULL || work->response.n_partitions == work->capacity) { /* more were added since */
        return false;
    }
    work->response.partitions[work->response.n_partitions++] = message;
    return true;
}

static void on_scanned(struct admin_scan *scan)
{
    struct topic_description *work = container_of(scan, struct topic_description, scan);
    if (work->response.n_partitions < work->capacity) {
        admin_too_large(work->call);
    } else {
        grpc_answer(work->call, &work->response.base);
    }
    mem_free(work);
}

static void fill_configs(struct grpc_call *call, const struct store_topic *topic,
                         Balsa__Admin__V1__DescribeTopicResponse *response)
{
    response->configs = arena_alloc(&call->arena, (topic->config_count + 1) * sizeof(*response->configs));
    for (size_t i = 0; response->configs != NULL && i < topic->config_count; i++) {
        Balsa__Admin__V1__Config *config = admin_message(call, &balsa__admin__v1__config__descriptor);
        if (config != NULL) {
            config->name = admin_text(call, topic->configs[i].name);
            config->value = admin_text(call, topic->configs[i].value);
            response->configs[response->n_configs++] = config;
        }
    }
}

void admin_describe_topic(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__DescribeTopicRequest *request = (const void *)message;
    struct store_topic topic;
    if (!admin_topic(call, request->name, &topic)) {
        return;
    }
    struct topic_description *work = mem_alloc(sizeof(*work));
    work->call = call;
    work->capacity = (size_t)topic.partition_count;
    balsa__admin__v1__describe_topic_response__init(&work->response);
    work->response.topic = topic_message(call, &topic);
    work->response.partitions = arena_alloc(&call->arena, (work->capacity + 1) * sizeof(*work->response.partitions));
    fill_configs(call, &topic, &work->response);
    work->scan.each = on_partition;
    work->scan.done = on_scanned;
    admin_scan_start(&work->scan, admin_of(call)->shard, &topic.id);
}

/* ---- Changing ---- */

static void on_created(struct grpc_call *call, const void *response)
{
    const struct kafka_create_topics_response *kafka = response;
    const struct kafka_create_topics_response_topic *topic = kafka->topics_count == 1 ? &kafka->topics[0] : NULL;
    Balsa__Admin__V1__CreateTopicResponse answer = BALSA__ADMIN__V1__CREATE_TOPIC_RESPONSE__INIT;
    Balsa__Admin__V1__Topic created = BALSA__ADMIN__V1__TOPIC__INIT;
    char id[UUID_TEXT_SIZE];
    if (topic == NULL || topic->error_code != KAFKA_NONE) {
        enum kafka_error error = topic != NULL ? (enum kafka_error)topic->error_code : KAFKA_UNKNOWN_SERVER_ERROR;
        admin_fail(call, error, topic != NULL ? topic->error_message : BYTES_NONE);
        return;
    }
    uuid_to_text(&topic->topic_id, id);
    created.name = admin_text(call, topic->name);
    created.id = uuid_is_zero(&topic->topic_id) ? created.id : id;
    created.partitions = topic->num_partitions;
    created.replication_factor = topic->replication_factor;
    answer.topic = &created;
    grpc_answer(call, &answer.base);
}

void admin_create_topic(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__CreateTopicRequest *request = (const void *)message;
    struct kafka_create_topics_request kafka;
    struct kafka_create_topics_request_topic topic;
    if (request->partitions < 0 || request->replication_factor < 0 || request->replication_factor > INT16_MAX) {
        grpc_finish(call, GRPC_INVALID_ARGUMENT,
                    "partitions %d, replication_factor %d: expected 1 or more, or 0 for the default",
                    request->partitions, request->replication_factor);
        return;
    }
    codec_init_defaults(&kafka_create_topics_request_schema, &kafka);
    codec_init_defaults(&kafka_create_topics_request_topic_schema, &topic);
    topic.name = bytes_from_text(request->name);
    topic.num_partitions = request->partitions > 0 ? request->partitions : -1;
    topic.replication_factor = (int16_t)(request->replication_factor > 0 ? request->replication_factor : -1);
    topic.configs = arena_alloc(&call->arena, (request->n_configs + 1) * sizeof(*topic.configs));
    for (size_t i = 0; topic.configs != NULL && i < request->n_configs; i++) {
        topic.configs[topic.configs_count++] = (struct kafka_create_topics_request_config){
            bytes_from_text(request->configs[i]->name), bytes_from_text(request->configs[i]->value)};
    }
    kafka.topics = &topic;
    kafka.topics_count = 1;
    kafka.timeout_ms = admin_timeout_ms(call);
    kafka.validate_only = request->dry_run;
    admin_ask(call, KAFKA_API_CREATE_TOPICS, &kafka, on_created);
}

static void on_deleted(struct grpc_call *call, const void *response)
{
    const struct kafka_delete_topics_response *kafka = response;
    Balsa__Admin__V1__DeleteTopicResponse answer = BALSA__ADMIN__V1__DELETE_TOPIC_RESPONSE__INIT;
    if (kafka->responses_count != 1) {
        admin_fail(call, KAFKA_UNKNOWN_SERVER_ERROR, BYTES_NONE);
    } else if (kafka->responses[0].error_code != KAFKA_NONE) {
        admin_fail(call, (enum kafka_error)kafka->responses[0].error_code, kafka->responses[0].error_message);
    } else {
        grpc_answer(call, &answer.base);
    }
}

void admin_delete_topic(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__DeleteTopicRequest *request = (const void *)message;
    struct kafka_delete_topics_request kafka;
    struct kafka_delete_topics_request_topic topic;
    codec_init_defaults(&kafka_delete_topics_request_schema, &kafka);
    codec_init_defaults(&kafka_delete_topics_request_topic_schema, &topic);
    topic.name = bytes_from_text(request->name);
    kafka.topics = &topic;
    kafka.topics_count = 1;
    kafka.timeout_ms = admin_timeout_ms(call);
    admin_ask(call, KAFKA_API_DELETE_TOPICS, &kafka, on_deleted);
}

static void on_added(struct grpc_call *call, const void *response)
{
    const struct kafka_create_partitions_response *kafka = response;
    Balsa__Admin__V1__AddPartitionsResponse answer = BALSA__ADMIN__V1__ADD_PARTITIONS_RESPONSE__INIT;
    if (kafka->results_count != 1) {
        admin_fail(call, KAFKA_UNKNOWN_SERVER_ERROR, BYTES_NONE);
    } else if (kafka->results[0].error_code != KAFKA_NONE) {
        admin_fail(call, (enum kafka_error)kafka->results[0].error_code, kafka->results[0].error_message);
    } else {
        grpc_answer(call, &answer.base);
    }
}

void admin_add_partitions(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__AddPartitionsRequest *request = (const void *)message;
    struct kafka_create_partitions_request kafka;
    struct kafka_create_partitions_request_topic topic;
    codec_init_defaults(&kafka_create_partitions_request_schema, &kafka);
    codec_init_defaults(&kafka_create_partitions_request_topic_schema, &topic);
    topic.name = bytes_from_text(request->name);
    topic.count = request->total;
    topic.assignments_count = -1;
    kafka.topics = &topic;
    kafka.topics_count = 1;
    kafka.timeout_ms = admin_timeout_ms(call);
    kafka.validate_only = request->dry_run;
    admin_ask(call, KAFKA_API_CREATE_PARTITIONS, &kafka, on_added);
}

/* ---- Configurations ---- */

#define RESOURCE_TOPIC 2
#define RESOURCE_BROKER 4

static void on_configs(struct grpc_call *call, const void *response)
{
    const struct kafka_describe_configs_response *kafka = response;
    Balsa__Admin__V1__DescribeConfigsResponse answer = BALSA__ADMIN__V1__DESCRIBE_CONFIGS_RESPONSE__INIT;
    if (kafka->results_count != 1 || kafka->results[0].error_code != KAFKA_NONE) {
        bool is_one = kafka->results_count == 1;
        admin_fail(call, is_one ? (enum kafka_error)kafka->results[0].error_code : KAFKA_UNKNOWN_SERVER_ERROR,
                   is_one ? kafka->results[0].error_message : BYTES_NONE);
        return;
    }
    size_t count = kafka->results[0].configs_count > 0 ? (size_t)kafka->results[0].configs_count : 0;
    answer.entries = arena_alloc(&call->arena, (count + 1) * sizeof(*answer.entries));
    for (size_t i = 0; answer.entries != NULL && i < count; i++) {
        const struct kafka_describe_configs_response_config *config = &kafka->results[0].configs[i];
        Balsa__Admin__V1__ConfigEntry *entry = admin_message(call, &balsa__admin__v1__config_entry__descriptor);
        if (entry == NULL) {
            break;
        }
        entry->name = admin_text(call, config->name);
        entry->value = admin_text(call, config->value);
        entry->documentation = admin_text(call, config->documentation);
        entry->is_read_only = config->read_only;
        entry->source = config->config_source >= 1 && config->config_source <= 5 /* Kafka's numbers are ours */
                            ? (Balsa__Admin__V1__ConfigEntry__Source)config->config_source
                            : BALSA__ADMIN__V1__CONFIG_ENTRY__SOURCE__UNKNOWN;
        answer.entries[answer.n_entries++] = entry;
    }
    if (answer.n_entries < count) {
        admin_too_large(call);
    } else {
        grpc_answer(call, &answer.base);
    }
}

void admin_describe_configs(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__DescribeConfigsRequest *request = (const void *)message;
    struct kafka_describe_configs_request kafka;
    struct kafka_describe_configs_request_resource resource;
    char node[16];
    codec_init_defaults(&kafka_describe_configs_request_schema, &kafka);
    codec_init_defaults(&kafka_describe_configs_request_resource_schema, &resource);
    (void)snprintf(node, sizeof(node), "%d", admin_of(call)->shard->options->node_id);
    bool is_topic = request->topic[0] != '\0';
    resource.resource_type = is_topic ? RESOURCE_TOPIC : RESOURCE_BROKER;
    resource.resource_name = bytes_from_text(is_topic ? request->topic : node);
    resource.configuration_keys_count = request->n_names > 0 ? (int32_t)request->n_names : -1;
    resource.configuration_keys = arena_alloc(&call->arena, (request->n_names + 1) * sizeof(struct bytes));
    if (resource.configuration_keys == NULL) {
        admin_too_large(call);
        return;
    }
    for (size_t i = 0; i < request->n_names; i++) {
        resource.configuration_keys[i] = bytes_from_text(request->names[i]);
    }
    kafka.resources = &resource;
    kafka.resources_count = 1;
    kafka.include_documentation = true;
    admin_ask(call, KAFKA_API_DESCRIBE_CONFIGS, &kafka, on_configs);
}

static void on_altered(struct grpc_call *call, const void *response)
{
    const struct kafka_incremental_alter_configs_response *kafka = response;
    Balsa__Admin__V1__AlterConfigResponse answer = BALSA__ADMIN__V1__ALTER_CONFIG_RESPONSE__INIT;
    if (kafka->responses_count != 1) {
        admin_fail(call, KAFKA_UNKNOWN_SERVER_ERROR, BYTES_NONE);
    } else if (kafka->responses[0].error_code != KAFKA_NONE) {
        admin_fail(call, (enum kafka_error)kafka->responses[0].error_code, kafka->responses[0].error_message);
    } else {
        grpc_answer(call, &answer.base);
    }
}

#define OPERATION_SET 0
#define OPERATION_DELETE 1

void admin_alter_config(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__AlterConfigRequest *request = (const void *)message;
    struct kafka_incremental_alter_configs_request kafka;
    struct kafka_incremental_alter_configs_request_resource resource;
    codec_init_defaults(&kafka_incremental_alter_configs_request_schema, &kafka);
    codec_init_defaults(&kafka_incremental_alter_configs_request_resource_schema, &resource);
    if (request->n_set + request->n_unset == 0) {
        grpc_finish(call, GRPC_INVALID_ARGUMENT, "nothing to change: name what to set or to unset");
        return;
    }
    resource.resource_type = RESOURCE_TOPIC;
    resource.resource_name = bytes_from_text(request->topic);
    resource.configs = arena_alloc(&call->arena, (request->n_set + request->n_unset) * sizeof(*resource.configs));
    if (resource.configs == NULL) {
        admin_too_large(call);
        return;
    }
    for (size_t i = 0; i < request->n_set; i++) {
        resource.configs[resource.configs_count++] = (struct kafka_incremental_alter_configs_request_config){
            bytes_from_text(request->set[i]->name), OPERATION_SET, bytes_from_text(request->set[i]->value)};
    }
    for (size_t i = 0; i < request->n_unset; i++) {
        resource.configs[resource.configs_count++] = (struct kafka_incremental_alter_configs_request_config){
            bytes_from_text(request->unset[i]), OPERATION_DELETE, BYTES_NONE};
    }
    kafka.resources = &resource;
    kafka.resources_count = 1;
    kafka.validate_only = request->dry_run;
    admin_ask(call, KAFKA_API_INCREMENTAL_ALTER_CONFIGS, &kafka, on_altered);
}
