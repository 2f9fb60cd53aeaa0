/* OffsetDelete: offsets of topics that no member of the group subscribes to. Shard 0 looks at coordinator and store,
 * then proposes, even if nothing is left to remove: that this broker still decides is known only when a majority
 * agrees. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/coordinator.h"
#include "broker/request.h"
#include "metadata/offsets.h"
#include "metadata/store_groups.h"

struct delete_work {
    struct coordinator_call call;
    struct request *request;
    struct kafka_offset_delete_request message;
    struct kafka_offset_delete_response response;
    struct offsets_remove remove;
    struct offsets_removal *removals;
    size_t partition_count; /* of all topics */
};

static void delete_free(struct delete_work *work)
{
    mem_free(work->removals);
    mem_free(work);
}

/* An error of the group leaves the topics out, as Kafka does. */
static void delete_back(struct coordinator_call *call)
{
    struct delete_work *work = container_of(call, struct delete_work, call);
    if (work->response.error_code != KAFKA_NONE) {
        work->response.topics_count = 0;
    }
    request_respond(work->request, &kafka_offset_delete_response_schema, &work->response);
    delete_free(work);
}

static void delete_on_removed(struct offsets_remove *remove)
{
    struct delete_work *work = container_of(remove, struct delete_work, remove);
    if (remove->error != KAFKA_NONE) {
        work->response.error_code = (int16_t)remove->error;
    }
    coordinator_return(&work->call);
}

/* GROUP_ID_NOT_FOUND; NON_EMPTY_GROUP: of members whose subscriptions nobody here can read. */
static enum kafka_error check_group(struct shard *shard, const struct coordinator *coordinator, struct bytes id,
                                    uint64_t *number)
{
    Balsa__Record__GroupValue *group;
    struct arena arena;
    bool is_empty = coordinator_group_is_empty(coordinator, id);
    enum kafka_error error = KAFKA_NONE;
    arena_init(&arena, ENTRY_SIZE_MAX * 8);
    enum err err = store_consumer_group(shard->reader, &arena, id, number, &group);
    if (err == ERR_NOT_FOUND) {
        *number = UINT64_MAX; /* nobody's: it has no offsets */
        error = is_empty ? KAFKA_GROUP_ID_NOT_FOUND : KAFKA_NONE;
    } else if (err != OK) {
        error = KAFKA_UNKNOWN_SERVER_ERROR;
    } else if (!is_empty) {
        struct bytes type = {group->protocol_type.data, group->protocol_type.len};
        error = bytes_equal_text(type, "consumer") ? KAFKA_NONE : KAFKA_NON_EMPTY_GROUP;
    }
    arena_deinit(&arena);
    return error;
}

static enum kafka_error check_partition(struct store_reader *reader, const struct uuid *topic, int32_t index)
{
    uint64_t group;
    enum err err = index >= 0 ? store_partition_group(reader, topic, index, &group) : ERR_NOT_FOUND;
    return err == OK              ? KAFKA_NONE
           : err == ERR_NOT_FOUND ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
                                  : KAFKA_UNKNOWN_SERVER_ERROR;
}

static void add_topic(struct delete_work *work, const struct coordinator *coordinator, int32_t at, uint64_t number)
{
    const struct kafka_offset_delete_request_topic *asked = &work->message.topics[at];
    struct kafka_offset_delete_response_topic *answer = &work->response.topics[at];
    struct store_reader *reader = work->call.home->reader;
    struct uuid id;
    bool is_known = store_topic_id(reader, asked->name, &id) == OK;
    bool is_in_use = is_known && !coordinator_group_is_empty(coordinator, work->message.group_id) &&
                     coordinator_subscribes(coordinator, work->message.group_id, asked->name);
    for (int32_t p = 0; p < answer->partitions_count; p++) {
        int32_t index = asked->partitions[p].partition_index;
        enum kafka_error error = is_known ? check_partition(reader, &id, index) : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        error = error == KAFKA_NONE && is_in_use ? KAFKA_GROUP_SUBSCRIBED_TO_TOPIC : error;
        answer->partitions[p].error_code = (int16_t)error;
        if (error == KAFKA_NONE) {
            work->removals[work->remove.count++] = (struct offsets_removal){number, id, index, 0};
        }
    }
}

static void delete_run(struct coordinator_call *call, struct coordinator *coordinator)
{
    struct delete_work *work = container_of(call, struct delete_work, call);
    struct shard *shard = call->home;
    uint64_t number;
    enum kafka_error error = coordinator_check(coordinator);
    if (error != KAFKA_NONE) {
        work->response.error_code = (int16_t)error;
        coordinator_return(call);
        return;
    }
    work->response.error_code = (int16_t)check_group(shard, coordinator, work->message.group_id, &number);
    for (int32_t t = 0; work->response.error_code == KAFKA_NONE && t < work->response.topics_count; t++) {
        add_topic(work, coordinator, t, number);
    }
    work->remove.removals = work->removals;
    work->remove.cb = delete_on_removed;
    offsets_remove(shard->offsets, &work->remove);
}

static bool delete_prepare(struct delete_work *work)
{
    struct kafka_offset_delete_response *response = &work->response;
    struct arena *arena = &work->request->arena;
    codec_init_defaults(&kafka_offset_delete_response_schema, response);
    if (work->message.topics_count <= 0) {
        return true;
    }
    response->topics_count = work->message.topics_count;
    response->topics = codec_new(&kafka_offset_delete_response_topic_schema, (size_t)work->message.topics_count, arena);
    for (int32_t t = 0; response->topics != NULL && t < work->message.topics_count; t++) {
        const struct kafka_offset_delete_request_topic *topic = &work->message.topics[t];
        struct kafka_offset_delete_response_topic *out = &response->topics[t];
        out->name = topic->name;
        if (topic->partitions_count <= 0) {
            continue;
        }
        out->partitions_count = topic->partitions_count;
        out->partitions =
            codec_new(&kafka_offset_delete_response_partition_schema, (size_t)topic->partitions_count, arena);
        if (out->partitions == NULL) {
            return false;
        }
        for (int32_t p = 0; p < topic->partitions_count; p++, work->partition_count++) {
            out->partitions[p].partition_index = topic->partitions[p].partition_index;
        }
    }
    return response->topics != NULL;
}

void handle_offset_delete(struct request *request)
{
    struct delete_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_offset_delete_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    if (!delete_prepare(work)) {
        request_kill(request, "offset delete over the memory limit");
        mem_free(work);
        return;
    }
    if (!request_charge(request, work->partition_count, sizeof(*work->removals))) {
        mem_free(work);
        return;
    }
    work->removals = mem_alloc((work->partition_count + 1) * sizeof(*work->removals));
    work->call.run = delete_run;
    work->call.back = delete_back;
    coordinator_send(&work->call, request->shard);
}
