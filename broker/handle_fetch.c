/* Happy path: the partitions of the request, or of its session (fetch_session.h), are looked up in the metadata and
 * sent to their shards (fetch_read.c); the answer is built when all parts are back. A session learns what the consumer
 * is told only here: an answer that is never built has told nothing. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "broker/fetch_internal.h"
#include "broker/leader_hints.h"
#include "broker/read_replica.h"
#include "broker/resolve.h"
#include <string.h>

#define ANSWER_COUNT_FIRST 16

/* ---- Answer ---- */

/* OFFSET_NOT_AVAILABLE came with v11 (KIP-207); older clients hand it to the application. */
static enum kafka_error error_for(int16_t version, enum kafka_error error)
{
    return error == KAFKA_OFFSET_NOT_AVAILABLE && version < 11 ? KAFKA_NOT_LEADER_OR_FOLLOWER : error;
}

static void answer_partition(const struct fetch_work *work, const struct fetch_item *item, size_t *room, bool *is_first,
                             struct kafka_fetch_response_partition *out)
{
    codec_init_defaults(&kafka_fetch_response_partition_schema, out);
    out->partition_index = item->want.partition;
    out->error_code = (int16_t)error_for(work->request->api_version, item->error);
    out->high_watermark = item->offsets.high_watermark;
    out->last_stable_offset = item->offsets.last_stable_offset;
    out->log_start_offset = item->offsets.log_start_offset;
    out->preferred_read_replica = item->preferred;
    out->aborted_transactions_count = work->message.isolation_level == 1 ? 0 : -1;
    out->records = (struct slice){NULL, {(const uint8_t *)"", 0}};
    size_t size = item->slice.bytes.size;
    if (size > 0 && (size <= *room || *is_first)) {
        out->records = item->slice;
        *is_first = false;
        *room -= size < *room ? size : *room;
        metrics_add(work->request->shard->metrics, METRIC_FETCH_BYTES, (int64_t)size);
    }
    if (item->error != KAFKA_NONE) {
        metrics_add(work->request->shard->metrics, METRIC_FETCH_ERRORS, 1);
    }
}

static bool add_endpoints(const struct leader_hints *hints, struct arena *arena, struct kafka_fetch_response *response)
{
    if (hints->count == 0) {
        return true;
    }
    response->node_endpoints = codec_new(&kafka_fetch_response_endpoint_schema, hints->count, arena);
    for (size_t i = 0; response->node_endpoints != NULL && i < hints->count; i++) {
        const struct described_broker *node = &hints->nodes[i];
        response->node_endpoints[i] = (struct kafka_fetch_response_endpoint){
            .node_id = node->id, .host = node->host, .port = node->port, .rack = node->rack};
    }
    response->node_endpoints_count = (int32_t)hints->count;
    return response->node_endpoints != NULL;
}

/* Clients before v16 do not look for it. */
static void hint_leader(struct leader_hints *hints, const struct fetch_item *item,
                        struct kafka_fetch_response_partition *out)
{
    if (hints->request->api_version >= 16) {
        (void)leader_hints_add(hints, item->item.group, item->error, &out->current_leader.leader_id,
                               &out->current_leader.leader_epoch);
    }
}

struct answer {
    struct kafka_fetch_response *response;
    struct kafka_fetch_response_partition *partitions; /* of all topics, in order */
    size_t count;
    size_t capacity; /* of partitions, and of the response's topics */
    struct arena *arena;
};

/* Room for one more, of a topic of its own. An answer to a session is mostly empty, whatever the session's size. */
static bool answer_reserve(struct answer *answer)
{
    if (answer->count < answer->capacity) {
        return true;
    }
    size_t capacity = answer->capacity * 2;
    struct kafka_fetch_response_partition *partitions =
        codec_new(&kafka_fetch_response_partition_schema, capacity, answer->arena);
    struct kafka_fetch_response_topic *topics = codec_new(&kafka_fetch_response_topic_schema, capacity, answer->arena);
    if (partitions == NULL || topics == NULL) {
        return false;
    }
    memcpy(partitions, answer->partitions, answer->count * sizeof(*partitions));
    memcpy(topics, answer->response->responses, (size_t)answer->response->responses_count * sizeof(*topics));
    answer->partitions = partitions;
    answer->response->responses = topics;
    answer->capacity = capacity;
    return true;
}

/* The partition that was filled in last is part of the answer. Those of one topic that follow each other share its
 * place. */
static void answer_keep(struct answer *answer, const struct fetch_item *item)
{
    struct kafka_fetch_response *response = answer->response;
    struct kafka_fetch_response_topic *topic =
        response->responses_count > 0 ? &response->responses[response->responses_count - 1] : NULL;
    if (topic == NULL || !bytes_equal(topic->topic, item->topic) || !uuid_equal(&topic->topic_id, &item->topic_id)) {
        topic = &response->responses[response->responses_count++];
        topic->topic = item->topic;
        topic->topic_id = item->topic_id;
    }
    topic->partitions_count++;
    answer->count++;
}

static void answer_finish(struct answer *answer)
{
    struct kafka_fetch_response_partition *partitions = answer->partitions;
    for (int32_t t = 0; t < answer->response->responses_count; t++) {
        answer->response->responses[t].partitions = partitions;
        partitions += answer->response->responses[t].partitions_count;
    }
}

/* In a session only what has changed; what this follower does not have yet is told when the time is up. */
static bool is_told(const struct fetch_work *work, struct fetch_item *item, struct fetch_session *session,
                    const struct kafka_fetch_response_partition *out)
{
    if (session == NULL) {
        return true;
    }
    if (!work->is_incremental) {
        item->kept = fetch_session_find(session, item->topic, &item->topic_id, item->want.partition);
    }
    bool is_patient = work->is_incremental && item->is_behind && !work->is_late;
    bool is_changed = !is_patient && fetch_session_tell(item->kept, out);
    if (out->records.bytes.size > 0) {
        fetch_session_served(session, item->kept);
    }
    return is_changed || !work->is_incremental;
}

static bool build_answer(struct fetch_work *work, struct fetch_session *session, struct kafka_fetch_response *response)
{
    struct answer answer = {.response = response, .arena = &work->request->arena};
    struct leader_hints hints;
    size_t room = work->max_bytes;
    bool is_first = true;
    leader_hints_init(&hints, work->request);
    response->session_id = session != NULL ? fetch_session_id(session) : FETCH_SESSION_NONE;
    answer.capacity = work->is_incremental && work->count > ANSWER_COUNT_FIRST ? ANSWER_COUNT_FIRST : work->count;
    if (work->count > 0) {
        answer.partitions = codec_new(&kafka_fetch_response_partition_schema, answer.capacity, answer.arena);
        response->responses = codec_new(&kafka_fetch_response_topic_schema, answer.capacity, answer.arena);
        if (answer.partitions == NULL || response->responses == NULL) {
            return false;
        }
    }
    for (size_t i = 0; i < work->count; i++) {
        struct fetch_item *item = &work->items[i];
        if (!answer_reserve(&answer)) {
            return false;
        }
        struct kafka_fetch_response_partition *out = &answer.partitions[answer.count];
        answer_partition(work, item, &room, &is_first, out);
        if (is_told(work, item, session, out)) {
            hint_leader(&hints, item, out);
            answer_keep(&answer, item);
        }
    }
    answer_finish(&answer);
    return add_endpoints(&hints, answer.arena, response);
}

/* The session that the answer belongs to: made now, or as the request left it. */
static enum kafka_error find_session(struct fetch_work *work, struct fetch_session **session)
{
    struct shard *shard = work->request->shard;
    *session = NULL;
    if (work->is_incremental) {
        *session = fetch_sessions_find(shard->fetch_sessions, &work->message);
        return *session != NULL ? KAFKA_NONE : KAFKA_INVALID_FETCH_SESSION_EPOCH;
    }
    if (work->message.session_epoch == FETCH_SESSION_EPOCH_NEW && work->request->api_version >= 7) {
        *session =
            fetch_sessions_create(shard->fetch_sessions, &work->message, work->is_by_id, env_now_us(shard->env) / 1000);
        metrics_add(shard->metrics, METRIC_FETCH_SESSIONS_REFUSED, *session == NULL);
    }
    return KAFKA_NONE;
}

static void work_free(struct fetch_work *work)
{
    for (size_t i = 0; i < work->count; i++) {
        slice_release(&work->items[i].slice);
    }
    mem_free(work->parts);
    mem_free(work->items);
    mem_free(work);
}

static void fetch_on_done(struct scatter *scatter)
{
    struct fetch_work *work = container_of(scatter, struct fetch_work, scatter);
    struct request *request = work->request;
    struct kafka_fetch_response response;
    struct fetch_session *session;
    metrics_observe(request->shard->metrics, METRIC_FETCH_US, env_now_us(request->shard->env) - request->received_us);
    scatter_deinit(scatter);
    for (unsigned i = 0; i < shard_count(request->shard); i++) {
        request_unreserve(request, request->shard->metrics, work->parts[i].reserved);
        request_keep(request, work->parts[i].held - work->parts[i].bytes_read);
    }
    codec_init_defaults(&kafka_fetch_response_schema, &response);
    work->is_late = env_now_us(request->shard->env) - request->received_us >= (int64_t)work->message.max_wait_ms * 1000;
    enum kafka_error error = find_session(work, &session);
    response.error_code = (int16_t)error;
    if (error != KAFKA_NONE || build_answer(work, session, &response)) {
        request_respond(request, &kafka_fetch_response_schema, &response);
    } else {
        request_kill(request, "fetch response over the memory limit");
    }
    work_free(work);
}

/* ---- Request ---- */

static size_t partition_count(const struct kafka_fetch_request *message)
{
    size_t count = 0;
    for (int32_t t = 0; t < message->topics_count; t++) {
        count += (size_t)message->topics[t].partitions_count;
    }
    return count;
}

static size_t fetch_max_bytes(const struct fetch_work *work)
{
    size_t asked = work->message.max_bytes > 0 ? (size_t)work->message.max_bytes : 0;
    size_t limit = (size_t)work->request->shard->options->fetch_size_max;
    limit = asked < limit ? asked : limit;
    return limit < FETCH_GRANT_SIZE_MAX ? limit : FETCH_GRANT_SIZE_MAX;
}

static void respond_error(struct request *request, enum kafka_error error)
{
    struct kafka_fetch_response response;
    codec_init_defaults(&kafka_fetch_response_schema, &response);
    response.error_code = (int16_t)error;
    request_respond(request, &kafka_fetch_response_schema, &response);
}

/* Looks one partition up and sends it on its way; `resolved` is of its topic. */
static void add_item(struct fetch_work *work, struct fetch_item *item, const struct resolved_topic *resolved,
                     struct bytes topic, const struct uuid *topic_id)
{
    uint64_t group;
    item->topic = topic;
    item->topic_id = *topic_id;
    item->offsets = PARTITION_OFFSETS_NONE;
    item->preferred = -1;
    item->error = resolve_partition(work->request, resolved, item->want.partition, &group);
    if (item->error == KAFKA_NONE) {
        scatter_add(&work->scatter, &item->item, group);
    } else {
        work->has_early_error = true;
    }
}

static void add_named(struct fetch_work *work)
{
    struct fetch_item *item = work->items;
    for (int32_t t = 0; t < work->message.topics_count; t++) {
        const struct kafka_fetch_request_topic *topic = &work->message.topics[t];
        struct resolved_topic resolved;
        resolve_topic(work->request, topic->topic, work->is_by_id ? &topic->topic_id : NULL, &resolved);
        for (int32_t p = 0; p < topic->partitions_count; p++, item++) {
            item->want = fetch_want_of(&topic->partitions[p]);
            add_item(work, item, &resolved, topic->topic, &topic->topic_id);
        }
    }
}

/* The session may end before the answer is built, and its topics' names with it: they are copied. */
static bool add_kept(struct fetch_work *work, const struct fetch_session *session)
{
    struct fetch_session_partition *partition = fetch_session_next(session, NULL);
    const struct fetch_session_topic *topic = NULL;
    struct resolved_topic resolved;
    struct bytes name = BYTES_NONE;
    for (struct fetch_item *item = work->items; partition != NULL; item++) {
        if (partition->topic != topic) {
            topic = partition->topic;
            resolve_topic(work->request, topic->name, work->is_by_id ? &topic->id : NULL, &resolved);
            name = arena_copy(&work->request->arena, topic->name);
            if (name.data == NULL) {
                return false;
            }
        }
        item->want = partition->want;
        item->kept = partition;
        assert(topic != NULL); /* every partition has one */
        add_item(work, item, &resolved, name, &topic->id);
        partition = fetch_session_next(session, partition);
    }
    return true;
}

/* Answers whole what has no partitions to look at; the request is gone then. */
static bool resume(struct fetch_work *work, struct fetch_session **session)
{
    struct request *request = work->request;
    const struct kafka_fetch_request *message = &work->message;
    if (message->replica_id >= 0 || message->replica_state.replica_id >= 0) {
        respond_error(request, KAFKA_INVALID_REQUEST);
        return false;
    }
    enum kafka_error error = fetch_sessions_resume(request->shard->fetch_sessions, message, work->is_by_id,
                                                   env_now_us(request->shard->env) / 1000, session);
    if (error != KAFKA_NONE) {
        respond_error(request, error);
        return false;
    }
    work->is_incremental = *session != NULL;
    work->count = *session != NULL ? fetch_session_count(*session) : partition_count(message);
    return request_charge(request, work->count, sizeof(*work->items));
}

static void start(struct fetch_work *work, const struct fetch_session *session)
{
    struct request *request = work->request;
    work->items = mem_alloc((work->count + 1) * sizeof(*work->items));
    work->parts = mem_alloc(shard_count(request->shard) * sizeof(*work->parts));
    work->max_bytes = fetch_max_bytes(work);
    work->is_follower_read = read_replica_is_wanted(request->shard, work->message.rack_id);
    work->nearby = read_replica_nearby(request, work->message.rack_id, &work->nearby_count);
    scatter_init(&work->scatter, request->shard);
    work->scatter.part_start = fetch_part_start;
    work->scatter.part_cancel = fetch_part_cancel;
    work->scatter.part_back = fetch_part_back;
    work->scatter.done = fetch_on_done;
    if (session == NULL) {
        add_named(work);
    } else if (!add_kept(work, session)) {
        scatter_deinit(&work->scatter);
        request_kill(request, "fetch request over the memory limit");
        work_free(work);
        return;
    }
    scatter_go(&work->scatter);
}

void handle_fetch(struct request *request)
{
    struct fetch_work *work = mem_alloc(sizeof(*work));
    struct fetch_session *session;
    metrics_add(request->shard->metrics, METRIC_FETCH_REQUESTS, 1);
    work->request = request;
    work->is_by_id = request->api_version >= 13;
    if (!request_decode(request, &kafka_fetch_request_schema, &work->message) || !resume(work, &session)) {
        mem_free(work);
        return;
    }
    request->patience_us = work->message.max_wait_ms > 0 ? (int64_t)work->message.max_wait_ms * 1000 : 0;
    start(work, session);
}
