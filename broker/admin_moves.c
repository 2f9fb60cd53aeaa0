/* Moves of partitions: AlterPartitionReassignments with one partition. What it would do is told without doing it, since
 * Kafka's request has no dry run: topic, partition and brokers are looked up here as the controller looks them up. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/admin_internal.h"
#include "broker/cluster.h"
#include "proto/codec.h"
#include "proto/kafka_api.h"

static bool has(const int32_t *list, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == id) {
            return true;
        }
    }
    return false;
}

/* Those of `a` that `b` does not have. */
static void minus(struct grpc_call *call, const int32_t *a, size_t a_count, const int32_t *b, size_t b_count,
                  size_t *count, int32_t **target)
{
    *count = 0;
    *target = arena_alloc(&call->arena, (a_count + 1) * sizeof(**target));
    for (size_t i = 0; *target != NULL && i < a_count; i++) {
        if (!has(b, b_count, a[i])) {
            (*target)[(*count)++] = a[i];
        }
    }
}

/* False: the call was ended. */
static bool check_replicas(struct grpc_call *call, const int32_t *replicas, size_t count)
{
    const struct shard *shard = admin_of(call)->shard;
    struct store_broker broker;
    if (count == 0) {
        grpc_finish(call, GRPC_INVALID_ARGUMENT, "no replicas: name the brokers that are to have the partition");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (store_broker(shard->reader, &call->arena, replicas[i], &broker) != OK) {
            grpc_finish(call, GRPC_INVALID_ARGUMENT, "there is no broker %d: ClusterStatus lists those that there are",
                        replicas[i]);
            return false;
        }
        if (has(replicas, i, replicas[i])) {
            grpc_finish(call, GRPC_INVALID_ARGUMENT, "broker %d is named twice", replicas[i]);
            return false;
        }
    }
    return true;
}

struct move {
    Balsa__Admin__V1__MovePartitionResponse response;
};

/* The one result, or the error of all. */
static bool is_done(struct grpc_call *call, const void *response)
{
    const struct kafka_alter_partition_reassignments_response *kafka = response;
    if (kafka->error_code != KAFKA_NONE) {
        admin_fail(call, (enum kafka_error)kafka->error_code, kafka->error_message);
        return false;
    }
    if (kafka->responses_count != 1 || kafka->responses[0].partitions_count != 1) {
        admin_fail(call, KAFKA_UNKNOWN_SERVER_ERROR, BYTES_NONE);
        return false;
    }
    const struct kafka_alter_partition_reassignments_response_partition *one = &kafka->responses[0].partitions[0];
    if (one->error_code != KAFKA_NONE) {
        admin_fail(call, (enum kafka_error)one->error_code, one->error_message);
        return false;
    }
    return true;
}

static void on_moved(struct grpc_call *call, const void *response)
{
    const struct move *move = call->context;
    if (is_done(call, response)) {
        grpc_answer(call, &move->response.base);
    }
}

static void on_canceled(struct grpc_call *call, const void *response)
{
    Balsa__Admin__V1__CancelMoveResponse answer = BALSA__ADMIN__V1__CANCEL_MOVE_RESPONSE__INIT;
    if (is_done(call, response)) {
        grpc_answer(call, &answer.base);
    }
}

/* `replicas` NULL: cancel. */
static void ask(struct grpc_call *call, const char *name, int32_t index, const int32_t *replicas, size_t count,
                void (*done)(struct grpc_call *call, const void *response))
{
    struct kafka_alter_partition_reassignments_request kafka;
    struct kafka_alter_partition_reassignments_request_topic topic;
    struct kafka_alter_partition_reassignments_request_partition partition;
    codec_init_defaults(&kafka_alter_partition_reassignments_request_schema, &kafka);
    codec_init_defaults(&kafka_alter_partition_reassignments_request_topic_schema, &topic);
    codec_init_defaults(&kafka_alter_partition_reassignments_request_partition_schema, &partition);
    partition.partition_index = index;
    partition.replicas = (int32_t *)(uintptr_t)replicas; /* encoded only */
    partition.replicas_count = replicas != NULL ? (int32_t)count : -1;
    topic.name = bytes_from_text(name);
    topic.partitions = &partition;
    topic.partitions_count = 1;
    kafka.topics = &topic;
    kafka.topics_count = 1;
    kafka.timeout_ms = admin_timeout_ms(call);
    admin_ask(call, KAFKA_API_ALTER_REASSIGNMENTS, &kafka, done);
}

void admin_move_partition(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__MovePartitionRequest *request = (const void *)message;
    struct store_topic topic;
    struct store_partition partition;
    if (!admin_partition(call, request->topic, request->partition, &topic, &partition) ||
        !check_replicas(call, request->replicas, request->n_replicas)) {
        return;
    }
    struct move *move = arena_alloc(&call->arena, sizeof(*move));
    if (move == NULL) {
        admin_too_large(call);
        return;
    }
    balsa__admin__v1__move_partition_response__init(&move->response);
    admin_int32s(call, partition.replicas, partition.replica_count, &move->response.n_from, &move->response.from);
    minus(call, request->replicas, request->n_replicas, partition.replicas, partition.replica_count,
          &move->response.n_added, &move->response.added);
    minus(call, partition.replicas, partition.replica_count, request->replicas, request->n_replicas,
          &move->response.n_removed, &move->response.removed);
    call->context = move;
    if (request->dry_run) {
        grpc_answer(call, &move->response.base);
        return;
    }
    ask(call, request->topic, request->partition, request->replicas, request->n_replicas, on_moved);
}

void admin_cancel_move(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__CancelMoveRequest *request = (const void *)message;
    ask(call, request->topic, request->partition, NULL, 0, on_canceled);
}

/* ---- What moves ---- */

struct move_list {
    struct grpc_call *call;
    Balsa__Admin__V1__ListMovesResponse response;
    size_t capacity;
};

static bool on_moving(void *context, const struct uuid *id, int32_t index)
{
    struct move_list *list = context;
    struct grpc_call *call = list->call;
    struct store_reader *reader = admin_of(call)->shard->reader;
    struct store_partition partition;
    struct bytes name;
    if (list->response.n_moves == list->capacity) {
        list->capacity = list->capacity > 0 ? 2 * list->capacity : 64;
        list->response.moves = mem_resize(list->response.moves, list->capacity * sizeof(*list->response.moves));
    }
    Balsa__Admin__V1__Move *move = admin_message(call, &balsa__admin__v1__move__descriptor);
    list->response.moves[list->response.n_moves++] = move;
    if (move == NULL || store_partition(reader, &call->arena, id, index, &partition) != OK ||
        store_topic_name(reader, &call->arena, id, &name) != OK) {
        return false;
    }
    move->topic = admin_text(call, name);
    move->partition = admin_partition_message(call, index, &partition);
    return move->partition != NULL;
}

void admin_list_moves(struct grpc_call *call, const ProtobufCMessage *message)
{
    struct store_reader *reader = admin_of(call)->shard->reader;
    struct move_list list = {.call = call};
    (void)message;
    balsa__admin__v1__list_moves_response__init(&list.response);
    store_reader_refresh(reader);
    enum err err = store_moving_each(reader, &list, on_moving);
    size_t count = list.response.n_moves;
    if (err != OK ||
        (count > 0 && (list.response.moves[count - 1] == NULL || list.response.moves[count - 1]->partition == NULL))) {
        admin_too_large(call);
    } else {
        grpc_answer(call, &list.response.base);
    }
    mem_free(list.response.moves);
}
