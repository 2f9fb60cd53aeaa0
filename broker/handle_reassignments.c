/* AlterPartitionReassignments: one wish with all partitions, decided by the controller; answered when the moves are
 * recorded, not when they are done. ListPartitionReassignments: what this broker's metadata say is under way. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/forward.h"
#include "broker/request.h"
#include "broker/wish.h"
#include "metadata/broker_list.h"

/* ---- AlterPartitionReassignments ---- */

struct alter_work {
    struct wish wish;
    struct request *request;
    struct kafka_alter_partition_reassignments_request message;
    struct kafka_alter_partition_reassignments_response response;
    struct controller_move move;
    struct kafka_alter_partition_reassignments_response_partition **places; /* of each wish in the answer */
};

static void alter_free(struct alter_work *work)
{
    mem_free((void *)(uintptr_t)work->move.moves);
    mem_free(work->move.results);
    mem_free(work->places);
    mem_free(work);
}

static void alter_respond(struct alter_work *work)
{
    for (size_t i = 0; i < work->move.count; i++) {
        const struct controller_result *result = &work->move.results[i];
        work->places[i]->error_code = (int16_t)result->error;
        work->places[i]->error_message = result->text[0] != '\0' ? bytes_from_text(result->text) : BYTES_NONE;
    }
    request_respond(work->request, &kafka_alter_partition_reassignments_response_schema, &work->response);
    alter_free(work);
}

static void alter_decided(struct wish *wish)
{
    struct alter_work *work = container_of(wish, struct alter_work, wish);
    if (request_is_undone(work->request, wish->refusal)) {
        request_not_controller(work->request);
        alter_free(work);
        return;
    }
    if (wish->refusal != KAFKA_NONE) {
        work->response.error_code = (int16_t)wish->refusal;
    }
    alter_respond(work);
}

static void alter_on_controlled(struct controller_move *move)
{
    wish_controlled(&container_of(move, struct alter_work, move)->wish, move->results, move->count);
}

static void alter_decide(struct wish *wish, struct controller *controller)
{
    struct alter_work *work = container_of(wish, struct alter_work, wish);
    if (controller == NULL) {
        work->move.count = 0;
        wish_decided(wish);
        return;
    }
    work->move.cb = alter_on_controlled;
    controller_move(controller, &work->move);
}

/* One partition's wish; one that is refused here gets its answer and is not sent. */
static void alter_add(struct alter_work *work, const struct uuid *topic,
                      const struct kafka_alter_partition_reassignments_request_partition *wished,
                      struct kafka_alter_partition_reassignments_response_partition *out,
                      struct controller_move_one *moves)
{
    out->partition_index = wished->partition_index;
    out->error_message = BYTES_NONE;
    if (topic == NULL && work->request->refusal != KAFKA_NONE) {
        out->error_code = (int16_t)work->request->refusal; /* this broker's copy may be old */
        return;
    }
    if (topic == NULL) {
        out->error_code = KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        out->error_message = bytes_from_text("The topic does not exist.");
        return;
    }
    work->places[work->move.count] = out;
    moves[work->move.count++] = (struct controller_move_one){
        .topic = *topic,
        .partition = wished->partition_index,
        .is_cancel = wished->replicas_count<0, .target = wished->replicas, .target_count = wished->replicas_count> 0
                         ? (size_t)wished->replicas_count
                         : 0};
}

static bool alter_decode_topic(struct alter_work *work, int32_t at, struct controller_move_one *moves)
{
    const struct kafka_alter_partition_reassignments_request_topic *topic = &work->message.topics[at];
    struct kafka_alter_partition_reassignments_response_topic *out = &work->response.responses[at];
    struct request *request = work->request;
    size_t count = (size_t)topic->partitions_count;
    struct uuid id;
    bool is_known = store_topic_id(request->shard->reader, topic->name, &id) == OK;
    out->name = topic->name;
    out->partitions_count = topic->partitions_count;
    if (count == 0) {
        return true;
    }
    out->partitions = codec_new(&kafka_alter_partition_reassignments_response_partition_schema, count, &request->arena);
    for (size_t i = 0; i < count && out->partitions != NULL; i++) {
        alter_add(work, is_known ? &id : NULL, &topic->partitions[i], &out->partitions[i], moves);
    }
    return out->partitions != NULL;
}

static bool alter_decode(struct alter_work *work)
{
    struct arena *arena = &work->request->arena;
    size_t topics = (size_t)work->message.topics_count;
    size_t sum = 0;
    for (size_t i = 0; i < topics; i++) {
        sum += (size_t)work->message.topics[i].partitions_count;
    }
    struct controller_move_one *moves = mem_alloc((sum + 1) * sizeof(*moves));
    work->move.moves = moves;
    work->move.results = mem_alloc((sum + 1) * sizeof(*work->move.results));
    work->places = mem_alloc((sum + 1) * sizeof(void *));
    codec_init_defaults(&kafka_alter_partition_reassignments_response_schema, &work->response);
    work->response.error_message = BYTES_NONE;
    if (topics > 0) {
        work->response.responses = codec_new(&kafka_alter_partition_reassignments_response_topic_schema, topics, arena);
        if (work->response.responses == NULL) {
            return false;
        }
    }
    work->response.responses_count = work->message.topics_count;
    for (int32_t i = 0; i < work->message.topics_count; i++) {
        if (!alter_decode_topic(work, i, moves)) {
            return false;
        }
    }
    return true;
}

void handle_alter_partition_reassignments(struct request *request)
{
    if (forward_to_controller(request)) {
        return;
    }
    struct alter_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_alter_partition_reassignments_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    if (!alter_decode(work)) {
        request_kill(request, "reassignments response over the memory limit");
        alter_free(work);
        return;
    }
    if (work->move.count == 0) {
        alter_respond(work);
        return;
    }
    work->wish.refusal = request->refusal;
    work->wish.decide = alter_decide;
    work->wish.decided = alter_decided;
    wish_send(&work->wish, request->shard);
}

/* ---- ListPartitionReassignments ---- */

struct listed {
    struct uuid topic;
    int32_t index;
};

struct list_work {
    struct request *request;
    struct kafka_list_partition_reassignments_request message;
    struct listed *found; /* grouped by topic */
    size_t count, capacity;
};

static bool list_add(void *context, const struct uuid *topic, int32_t index)
{
    struct list_work *work = context;
    if (work->count == work->capacity) {
        work->capacity = work->capacity > 0 ? 2 * work->capacity : 64;
        work->found = mem_resize(work->found, work->capacity * sizeof(*work->found));
    }
    work->found[work->count++] = (struct listed){*topic, index};
    return true;
}

/* Asked for by name: those of them that move. */
static void list_add_asked(struct list_work *work)
{
    struct request *request = work->request;
    for (int32_t i = 0; i < work->message.topics_count; i++) {
        const struct kafka_list_partition_reassignments_request_topic *asked = &work->message.topics[i];
        struct uuid id;
        if (store_topic_id(request->shard->reader, asked->name, &id) != OK) {
            continue;
        }
        for (int32_t n = 0; n < asked->partition_indexes_count; n++) {
            struct store_partition partition;
            int32_t index = asked->partition_indexes[n];
            if (store_partition(request->shard->reader, &request->arena, &id, index, &partition) == OK &&
                (partition.target_count > 0 || partition.leaving_count > 0)) {
                (void)list_add(work, &id, index);
            }
        }
    }
}

static size_t append_others(int32_t *ids, size_t count, const int32_t *more, size_t more_count)
{
    for (size_t i = 0; i < more_count; i++) {
        if (!brokers_contain(ids, count, more[i])) {
            ids[count++] = more[i];
        }
    }
    return count;
}

static size_t select_missing(const int32_t *ids, size_t count, const int32_t *in, size_t in_count, int32_t *out)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (!brokers_contain(in, in_count, ids[i])) {
            out[sum++] = ids[i];
        }
    }
    return sum;
}

/* As Kafka: replicas are all that the partition has work with, the others those that come and go. After a cancel
 * nobody comes, and those who are leaving go. */
static bool list_fill(struct list_work *work, const struct listed *listed,
                      struct kafka_list_partition_reassignments_response_partition *out)
{
    struct arena *arena = &work->request->arena;
    struct store_partition partition;
    int32_t *lists = arena_alloc(arena, 3 * (size_t)3 * REPLICA_SERVER_COUNT_MAX * sizeof(*lists));
    if (lists == NULL ||
        store_partition(work->request->shard->reader, arena, &listed->topic, listed->index, &partition) != OK) {
        return false;
    }
    int32_t *all = lists;
    int32_t *adding = lists + (size_t)3 * REPLICA_SERVER_COUNT_MAX;
    int32_t *removing = adding + (size_t)3 * REPLICA_SERVER_COUNT_MAX;
    size_t count = append_others(all, 0, partition.target, partition.target_count);
    count = append_others(all, count, partition.replicas, partition.replica_count);
    out->partition_index = listed->index;
    out->replicas = all;
    out->adding_replicas = adding;
    out->removing_replicas = removing;
    out->adding_replicas_count = (int32_t)select_missing(partition.target, partition.target_count, partition.replicas,
                                                         partition.replica_count, adding);
    size_t removed = 0;
    if (partition.target_count > 0) {
        removed = select_missing(partition.replicas, partition.replica_count, partition.target, partition.target_count,
                                 removing);
    }
    for (size_t i = 0; i < partition.leaving_count; i++) {
        removing[removed++] = partition.leaving[i];
    }
    out->removing_replicas_count = (int32_t)removed;
    out->replicas_count = (int32_t)append_others(all, count, partition.leaving, partition.leaving_count);
    return true;
}

static bool same_topic(const struct list_work *work, size_t a, size_t b)
{
    return memcmp(&work->found[a].topic, &work->found[b].topic, sizeof(work->found[a].topic)) == 0;
}

static bool list_fill_topic(struct list_work *work, size_t first, size_t end,
                            struct kafka_list_partition_reassignments_response_topic *out)
{
    struct arena *arena = &work->request->arena;
    if (store_topic_name(work->request->shard->reader, arena, &work->found[first].topic, &out->name) != OK) {
        return false;
    }
    out->partitions = codec_new(&kafka_list_partition_reassignments_response_partition_schema, end - first, arena);
    out->partitions_count = (int32_t)(end - first);
    for (size_t i = first; i < end && out->partitions != NULL; i++) {
        if (!list_fill(work, &work->found[i], &out->partitions[i - first])) {
            return false;
        }
    }
    return out->partitions != NULL;
}

static bool list_respond(struct list_work *work)
{
    struct kafka_list_partition_reassignments_response response;
    size_t topics = 0;
    for (size_t i = 0; i < work->count; i++) {
        topics += i == 0 || !same_topic(work, i, i - 1);
    }
    codec_init_defaults(&kafka_list_partition_reassignments_response_schema, &response);
    response.error_message = BYTES_NONE;
    if (topics > 0) {
        response.topics =
            codec_new(&kafka_list_partition_reassignments_response_topic_schema, topics, &work->request->arena);
        if (response.topics == NULL) {
            return false;
        }
    }
    for (size_t first = 0; first < work->count;) {
        size_t end = first + 1;
        while (end < work->count && same_topic(work, first, end)) {
            end++;
        }
        if (!list_fill_topic(work, first, end, &response.topics[response.topics_count++])) {
            return false;
        }
        first = end;
    }
    request_respond(work->request, &kafka_list_partition_reassignments_response_schema, &response);
    return true;
}

void handle_list_partition_reassignments(struct request *request)
{
    struct list_work work = {.request = request};
    if (!request_decode(request, &kafka_list_partition_reassignments_request_schema, &work.message)) {
        return;
    }
    if (work.message.topics_count >= 0) {
        list_add_asked(&work);
    } else if (store_moving_each(request->shard->reader, &work, list_add) != OK) {
        work.count = 0;
    }
    if (!list_respond(&work)) {
        request_kill(request, "reassignments response over the memory limit");
    }
    mem_free(work.found);
}
