/* OffsetCommit: the coordinator checks the member, shard 0 the partitions against its store; what is accepted goes with
 * other commits into one record of the metadata (metadata/offsets.h) and is answered when the store has it. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/coordinator.h"
#include "broker/request.h"
#include "metadata/offsets.h"

typedef Balsa__Record__OffsetsCommitted__Partition record_partition;
typedef Balsa__Record__OffsetsCommitted__Topic record_topic;

struct commit_work {
    struct coordinator_call call;
    struct request *request;
    struct kafka_offset_commit_request message;
    struct kafka_offset_commit_response response;
    size_t partition_count; /* of all topics */
    /* What is proposed: one block of memory, cut up in the order of the request. */
    struct offsets_commit commit;
    Balsa__Record__OffsetsCommitted__Commit record;
    record_topic *topics; /* [message.topics_count] */
    record_topic **topic_list;
    record_partition *partitions; /* [partition_count] */
    record_partition **partition_list;
    struct uuid *ids; /* [message.topics_count] */
};

/* ---- On the request's shard ---- */

static void work_free(struct commit_work *work)
{
    mem_free(work->topics);
    mem_free(work->topic_list);
    mem_free(work->partitions);
    mem_free(work->partition_list);
    mem_free(work->ids);
    mem_free(work);
}

/* The answer names what was asked, without errors so far. */
static bool prepare_response(struct commit_work *work)
{
    struct kafka_offset_commit_response *response = &work->response;
    struct arena *arena = &work->request->arena;
    codec_init_defaults(&kafka_offset_commit_response_schema, response);
    response->topics_count = work->message.topics_count;
    if (response->topics_count <= 0) {
        response->topics_count = 0;
        return true;
    }
    response->topics = codec_new(&kafka_offset_commit_response_topic_schema, (size_t)work->message.topics_count, arena);
    for (int32_t t = 0; response->topics != NULL && t < work->message.topics_count; t++) {
        const struct kafka_offset_commit_request_topic *topic = &work->message.topics[t];
        struct kafka_offset_commit_response_topic *out = &response->topics[t];
        out->name = topic->name;
        out->partitions_count = topic->partitions_count > 0 ? topic->partitions_count : 0;
        if (out->partitions_count == 0) {
            continue;
        }
        out->partitions =
            codec_new(&kafka_offset_commit_response_partition_schema, (size_t)out->partitions_count, arena);
        if (out->partitions == NULL) {
            return false;
        }
        for (int32_t p = 0; p < out->partitions_count; p++) {
            out->partitions[p].partition_index = topic->partitions[p].partition_index;
        }
    }
    return response->topics != NULL;
}

/* `error` for all that has none of its own. */
static void refuse_all(struct commit_work *work, enum kafka_error error)
{
    for (int32_t t = 0; t < work->response.topics_count; t++) {
        struct kafka_offset_commit_response_topic *topic = &work->response.topics[t];
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            if (topic->partitions[p].error_code == KAFKA_NONE) {
                topic->partitions[p].error_code = (int16_t)error;
            }
        }
    }
}

static void commit_respond(struct commit_work *work)
{
    struct request *request = work->request;
    int64_t failed = 0;
    for (int32_t t = 0; t < work->response.topics_count; t++) {
        for (int32_t p = 0; p < work->response.topics[t].partitions_count; p++) {
            failed += work->response.topics[t].partitions[p].error_code != KAFKA_NONE;
        }
    }
    metrics_add(request->shard->metrics, METRIC_OFFSET_COMMITS, 1);
    metrics_add(request->shard->metrics, METRIC_OFFSETS_COMMITTED, (int64_t)work->partition_count - failed);
    metrics_add(request->shard->metrics, METRIC_OFFSETS_REFUSED, failed);
    metrics_observe(request->shard->metrics, METRIC_OFFSET_COMMIT_US,
                    env_now_us(request->shard->env) - request->received_us);
    request_respond(request, &kafka_offset_commit_response_schema, &work->response);
    work_free(work);
}

static void commit_back(struct coordinator_call *call)
{
    commit_respond(container_of(call, struct commit_work, call));
}

/* ---- On shard 0 ---- */

static enum kafka_error check_partition(struct shard *shard, const struct uuid *topic,
                                        const struct kafka_offset_commit_request_partition *partition)
{
    uint64_t group;
    if (partition->committed_metadata.size > shard->options->offset_metadata_size_max) {
        return KAFKA_OFFSET_METADATA_TOO_LARGE;
    }
    enum err err = partition->partition_index >= 0
                       ? store_partition_group(shard->reader, topic, partition->partition_index, &group)
                       : ERR_NOT_FOUND;
    return err == OK              ? KAFKA_NONE
           : err == ERR_NOT_FOUND ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
                                  : KAFKA_UNKNOWN_SERVER_ERROR;
}

static void fill_partition(record_partition *out, const struct kafka_offset_commit_request_partition *partition)
{
    balsa__record__offsets_committed__partition__init(out);
    out->index = partition->partition_index;
    out->offset = partition->committed_offset;
    out->leader_epoch = partition->committed_leader_epoch;
    out->metadata.data = (uint8_t *)(uintptr_t)partition->committed_metadata.data; /* packed only */
    out->metadata.len = partition->committed_metadata.size;
}

/* Adds one topic's partitions to the record, but for those that are refused; `next` counts those of all topics. */
static void add_topic(struct commit_work *work, struct shard *shard, int32_t at, size_t *next)
{
    const struct kafka_offset_commit_request_topic *asked = &work->message.topics[at];
    struct kafka_offset_commit_response_topic *answer = &work->response.topics[at];
    record_topic *topic = &work->topics[at];
    struct uuid *id = &work->ids[at];
    bool is_known = store_topic_id(shard->reader, asked->name, id) == OK;
    balsa__record__offsets_committed__topic__init(topic);
    topic->id.data = id->bytes;
    topic->id.len = sizeof(id->bytes);
    topic->partitions = &work->partition_list[*next];
    for (int32_t p = 0; p < answer->partitions_count; p++) {
        const struct kafka_offset_commit_request_partition *partition = &asked->partitions[p];
        enum kafka_error error = is_known ? check_partition(shard, id, partition) : KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
        answer->partitions[p].error_code = (int16_t)error;
        if (error == KAFKA_NONE) {
            fill_partition(&work->partitions[*next], partition);
            topic->partitions[topic->n_partitions++] = &work->partitions[*next];
            ++*next;
        }
    }
    if (topic->n_partitions > 0) {
        work->record.topics[work->record.n_topics++] = topic;
    }
}

static void commit_on_committed(struct offsets_commit *commit)
{
    struct commit_work *work = container_of(commit, struct commit_work, commit);
    if (commit->error != KAFKA_NONE) {
        refuse_all(work, commit->error);
    }
    coordinator_return(&work->call);
}

/* OffsetCommit 2 to 4: a client's own retention. */
static int64_t expire_ms(const struct commit_work *work, struct shard *shard)
{
    int64_t now_ms = env_wall_ms(shard->env);
    int64_t retention_ms = work->message.retention_time_ms;
    if (retention_ms < 0) {
        return 0;
    }
    return retention_ms < INT64_MAX - now_ms ? now_ms + retention_ms : INT64_MAX;
}

static void commit_run(struct coordinator_call *call, struct coordinator *coordinator)
{
    struct commit_work *work = container_of(call, struct commit_work, call);
    const struct kafka_offset_commit_request *message = &work->message;
    struct shard *shard = call->home;
    size_t next = 0;
    enum kafka_error error =
        coordinator_check_commit(coordinator, message->group_id, message->member_id, message->group_instance_id,
                                 message->generation_id_or_member_epoch);
    if (error != KAFKA_NONE) {
        refuse_all(work, error);
        coordinator_return(call);
        return;
    }
    balsa__record__offsets_committed__commit__init(&work->record);
    work->record.group.data = (uint8_t *)(uintptr_t)message->group_id.data; /* packed only */
    work->record.group.len = message->group_id.size;
    work->record.expire_ms = expire_ms(work, shard);
    work->record.topics = work->topic_list;
    for (int32_t t = 0; t < work->response.topics_count; t++) {
        add_topic(work, shard, t, &next);
    }
    if (work->record.n_topics == 0) {
        coordinator_return(call);
        return;
    }
    work->commit.commit = &work->record;
    work->commit.cb = commit_on_committed;
    offsets_commit(shard->offsets, &work->commit);
}

/* ---- Start ---- */

static bool prepare_record(struct commit_work *work)
{
    size_t topics = (size_t)work->response.topics_count;
    size_t topic_size = sizeof(record_topic) + sizeof(record_topic *) + sizeof(struct uuid);
    size_t partition_size = sizeof(record_partition) + sizeof(record_partition *);
    if (!request_charge(work->request, topics + work->partition_count,
                        topic_size > partition_size ? topic_size : partition_size)) {
        return false;
    }
    work->topics = mem_alloc((topics + 1) * sizeof(*work->topics));
    work->topic_list = mem_alloc((topics + 1) * sizeof(*work->topic_list));
    work->ids = mem_alloc((topics + 1) * sizeof(*work->ids));
    work->partitions = mem_alloc((work->partition_count + 1) * sizeof(*work->partitions));
    work->partition_list = mem_alloc((work->partition_count + 1) * sizeof(*work->partition_list));
    return true;
}

void handle_offset_commit(struct request *request)
{
    struct commit_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_offset_commit_request_schema, &work->message)) {
        work_free(work);
        return;
    }
    for (int32_t t = 0; t < work->message.topics_count; t++) {
        int32_t count = work->message.topics[t].partitions_count;
        work->partition_count += count > 0 ? (size_t)count : 0;
    }
    if (!prepare_response(work)) {
        request_kill(request, "offset commit over the memory limit");
        work_free(work);
        return;
    }
    if (work->message.group_id.size > GROUP_ID_SIZE_MAX) {
        refuse_all(work, KAFKA_INVALID_GROUP_ID);
        commit_respond(work);
        return;
    }
    if (!prepare_record(work)) {
        work_free(work);
        return;
    }
    work->call.run = commit_run;
    work->call.back = commit_back;
    coordinator_send(&work->call, request->shard);
}
