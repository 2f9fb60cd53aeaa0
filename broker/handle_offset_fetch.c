/* OffsetFetch: shard 0 makes sure that this broker still is the coordinator and has all that was acknowledged; then the
 * request's own shard reads its store. What was never committed, also of a group or a topic that is not there, is -1
 * without an error: consumers take an error for the end of them.
 *
 * All versions are worked on in the shape of 8 and later, many groups; before that one group and its errors, to
 * version 1 those of partitions. The answer borrows from this turn's snapshot and is encoded in this turn. */

#include "base/canary.h"
#include "base/limits.h"
#include "base/mem.h"
#include "broker/coordinator.h"
#include "broker/request.h"
#include "metadata/offsets.h"
#include "metadata/store_groups.h"

typedef struct kafka_offset_fetch_request_group asked_group;
typedef struct kafka_offset_fetch_request_group_topic asked_topic;
typedef struct kafka_offset_fetch_response_group answer_group;
typedef struct kafka_offset_fetch_response_group_topic answer_topic;
typedef struct kafka_offset_fetch_response_group_partition answer_partition;

struct fetch_work {
    struct coordinator_call call;
    struct offsets_commit barrier;
    struct request *request;
    struct kafka_offset_fetch_request message;
    asked_group single; /* versions before 8 */
    const asked_group *groups;
    size_t group_count;
    enum kafka_error error;
};

/* ---- Reading ---- */

static void fill_partition(answer_partition *out, int32_t index, const struct store_offset *offset)
{
    out->partition_index = index;
    out->committed_offset = offset != NULL ? offset->offset : -1;
    out->committed_leader_epoch = offset != NULL ? offset->leader_epoch : -1;
    out->metadata = offset != NULL && offset->metadata.size > 0 ? offset->metadata : bytes_from_text("");
}

static bool read_topic(struct request *request, const uint64_t *number, const asked_topic *asked, answer_topic *out)
{
    struct store_reader *reader = request->shard->reader;
    struct uuid id;
    bool is_known = number != NULL && store_topic_id(reader, asked->name, &id) == OK;
    out->name = asked->name;
    if (asked->partition_indexes_count <= 0) {
        return true;
    }
    out->partitions = codec_new(&kafka_offset_fetch_response_group_partition_schema,
                                (size_t)asked->partition_indexes_count, &request->arena);
    if (out->partitions == NULL) {
        return false;
    }
    out->partitions_count = asked->partition_indexes_count;
    for (int32_t i = 0; i < asked->partition_indexes_count; i++) {
        struct store_offset offset;
        int32_t index = asked->partition_indexes[i];
        bool is_there = is_known && store_offset(reader, *number, &id, index, &offset) == OK;
        fill_partition(&out->partitions[i], index, is_there ? &offset : NULL);
    }
    return true;
}

static bool read_topics(struct request *request, const uint64_t *number, const asked_group *asked, answer_group *out)
{
    if (asked->topics_count == 0) {
        return true;
    }
    out->topics =
        codec_new(&kafka_offset_fetch_response_group_topic_schema, (size_t)asked->topics_count, &request->arena);
    out->topics_count = asked->topics_count;
    for (int32_t t = 0; out->topics != NULL && t < asked->topics_count; t++) {
        if (!read_topic(request, number, &asked->topics[t], &out->topics[t])) {
            return false;
        }
    }
    return out->topics != NULL;
}

/* A walk over all offsets of a group, twice: to count, then to fill. Those of topics that are gone are passed over. */
struct all {
    struct request *request;
    answer_group *out; /* NULL: counting */
    struct uuid topic; /* of the offset before */
    bool has_topic;    /* and it exists */
    bool is_first;
    bool is_too_large;
    size_t topic_count; /* the last one's first partition is at ... */
    size_t partition_count;
    answer_partition *partitions; /* of all topics, one behind the other */
};

static bool all_begin_topic(struct all *all)
{
    struct request *request = all->request;
    if (all->out != NULL) {
        answer_topic *topic = &all->out->topics[all->topic_count];
        if (store_topic_name(request->shard->reader, &request->arena, &all->topic, &topic->name) != OK) {
            all->is_too_large = true;
            return false;
        }
        topic->partitions = &all->partitions[all->partition_count];
    }
    all->topic_count++;
    return true;
}

static bool all_on_offset(void *context, const struct uuid *topic, int32_t index, const struct store_offset *offset)
{
    struct all *all = context;
    if (all->is_first || !uuid_equal(topic, &all->topic)) {
        uint64_t group;
        all->is_first = false;
        all->topic = *topic;
        all->has_topic = store_partition_group(all->request->shard->reader, topic, 0, &group) == OK;
        if (all->has_topic && !all_begin_topic(all)) {
            return false;
        }
    }
    if (!all->has_topic) {
        return true;
    }
    if (all->out != NULL) {
        fill_partition(&all->partitions[all->partition_count], index, offset);
        all->out->topics[all->topic_count - 1].partitions_count++;
    }
    all->partition_count++;
    return true;
}

static bool read_all(struct request *request, const uint64_t *number, answer_group *out)
{
    struct store_reader *reader = request->shard->reader;
    struct all counted = {.request = request, .is_first = true};
    struct all filled = {.request = request, .is_first = true, .out = out};
    if (number == NULL) {
        return true;
    }
    if (store_offsets_each(reader, *number, &counted, all_on_offset) != OK) {
        return false;
    }
    if (counted.partition_count == 0) {
        return true;
    }
    out->topics = codec_new(&kafka_offset_fetch_response_group_topic_schema, counted.topic_count, &request->arena);
    filled.partitions =
        codec_new(&kafka_offset_fetch_response_group_partition_schema, counted.partition_count, &request->arena);
    if (out->topics == NULL || filled.partitions == NULL) {
        return false;
    }
    enum err err = store_offsets_each(reader, *number, &filled, all_on_offset);
    out->topics_count = (int32_t)filled.topic_count;
    return err == OK && !filled.is_too_large;
}

static bool read_group(struct request *request, const asked_group *asked, enum kafka_error error, answer_group *out)
{
    uint64_t number;
    out->group_id = asked->group_id;
    if (error == KAFKA_NONE && asked->group_id.size > GROUP_ID_SIZE_MAX) {
        error = KAFKA_INVALID_GROUP_ID;
    }
    if (error != KAFKA_NONE) {
        out->error_code = (int16_t)error;
        return request->api_version > 1 || read_topics(request, NULL, asked, out); /* version 1: of partitions */
    }
    bool is_there = store_consumer_group_number(request->shard->reader, asked->group_id, &number) == OK;
    const uint64_t *found = is_there ? &number : NULL;
    return asked->topics_count < 0 ? read_all(request, found, out) : read_topics(request, found, asked, out);
}

/* ---- Answer ---- */

/* The one group in the shape of versions before 8. */
static bool fill_single(struct request *request, const answer_group *group,
                        struct kafka_offset_fetch_response *response)
{
    response->error_code = group->error_code;
    if (group->topics_count == 0) {
        return true;
    }
    response->topics =
        codec_new(&kafka_offset_fetch_response_topic_schema, (size_t)group->topics_count, &request->arena);
    response->topics_count = group->topics_count;
    for (int32_t t = 0; response->topics != NULL && t < group->topics_count; t++) {
        const answer_topic *from = &group->topics[t];
        struct kafka_offset_fetch_response_topic *out = &response->topics[t];
        out->name = from->name;
        if (from->partitions_count == 0) {
            continue;
        }
        out->partitions =
            codec_new(&kafka_offset_fetch_response_partition_schema, (size_t)from->partitions_count, &request->arena);
        if (out->partitions == NULL) {
            return false;
        }
        out->partitions_count = from->partitions_count;
        for (int32_t p = 0; p < from->partitions_count; p++) {
            out->partitions[p] = (struct kafka_offset_fetch_response_partition){
                .partition_index = from->partitions[p].partition_index,
                .committed_offset = from->partitions[p].committed_offset,
                .committed_leader_epoch = from->partitions[p].committed_leader_epoch,
                .metadata = from->partitions[p].metadata,
                .error_code = request->api_version < 2 ? group->error_code : (int16_t)KAFKA_NONE};
        }
    }
    return response->topics != NULL;
}

static bool fill_response(struct fetch_work *work, struct kafka_offset_fetch_response *response)
{
    struct request *request = work->request;
    codec_init_defaults(&kafka_offset_fetch_response_schema, response);
    if (work->group_count == 0) {
        return true;
    }
    answer_group *groups = codec_new(&kafka_offset_fetch_response_group_schema, work->group_count, &request->arena);
    for (size_t i = 0; groups != NULL && i < work->group_count; i++) {
        if (!read_group(request, &work->groups[i], work->error, &groups[i])) {
            return false;
        }
    }
    if (groups == NULL || request->api_version < 8) {
        return groups != NULL && fill_single(request, &groups[0], response);
    }
    response->groups = groups;
    response->groups_count = (int32_t)work->group_count;
    return true;
}

static void fetch_back(struct coordinator_call *call)
{
    struct fetch_work *work = container_of(call, struct fetch_work, call);
    struct kafka_offset_fetch_response response;
    if (fill_response(work, &response)) {
        request_respond(work->request, &kafka_offset_fetch_response_schema, &response);
    } else {
        request_kill(work->request, "offset fetch response over the memory limit");
    }
    mem_free(work);
}

/* ---- On shard 0 ---- */

static void fetch_on_confirmed(struct offsets_commit *barrier)
{
    struct fetch_work *work = container_of(barrier, struct fetch_work, barrier);
    work->error = barrier->error;
    coordinator_return(&work->call);
}

static void fetch_run(struct coordinator_call *call, struct coordinator *coordinator)
{
    struct fetch_work *work = container_of(call, struct fetch_work, call);
    work->error = coordinator_check(coordinator);
    if (work->error != KAFKA_NONE || canary_is(CANARY_OFFSETS_READ_OLD)) {
        coordinator_return(call);
        return;
    }
    work->barrier.cb = fetch_on_confirmed;
    offsets_commit(call->home->offsets, &work->barrier);
}

/* ---- Start ---- */

/* Versions before 8 in the shape of the others. */
static bool take_single(struct fetch_work *work)
{
    const struct kafka_offset_fetch_request *message = &work->message;
    asked_group *group = &work->single;
    group->group_id = message->group_id;
    group->topics_count = message->topics_count;
    work->groups = group;
    work->group_count = 1;
    if (message->topics_count <= 0) {
        return true;
    }
    group->topics =
        codec_new(&kafka_offset_fetch_request_group_topic_schema, (size_t)message->topics_count, &work->request->arena);
    for (int32_t t = 0; group->topics != NULL && t < message->topics_count; t++) {
        group->topics[t] = (asked_topic){message->topics[t].name, message->topics[t].partition_indexes,
                                         message->topics[t].partition_indexes_count};
    }
    return group->topics != NULL;
}

void handle_offset_fetch(struct request *request)
{
    struct fetch_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_offset_fetch_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    if (request->api_version >= 8) {
        work->groups = work->message.groups;
        work->group_count = work->message.groups_count > 0 ? (size_t)work->message.groups_count : 0;
    } else if (!take_single(work)) {
        request_kill(request, "offset fetch over the memory limit");
        mem_free(work);
        return;
    }
    work->call.run = fetch_run;
    work->call.back = fetch_back;
    coordinator_send(&work->call, request->shard);
}
