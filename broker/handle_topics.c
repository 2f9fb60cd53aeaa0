/* CreateTopics, DeleteTopics, CreatePartitions: decoded here, decided by the controller on shard 0, answered when the
 * change is committed, applied, and (for new partitions) led. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/forward.h"
#include "broker/topic_defaults.h"
#include "broker/wish.h"
#include <stdio.h>
#include <string.h>

#define LEADERS_TIMEOUT_MAX_MS 30000

static int64_t leaders_timeout(int32_t timeout_ms)
{
    int64_t timeout = timeout_ms > 0 ? timeout_ms : 0;
    return timeout < LEADERS_TIMEOUT_MAX_MS ? timeout : LEADERS_TIMEOUT_MAX_MS;
}

static struct bytes result_text(const struct controller_result *result)
{
    return result->text[0] != '\0' ? bytes_from_text(result->text) : BYTES_NONE;
}

/* ---- CreateTopics ---- */

struct create_work {
    struct wish_create wish;
    struct request *request;
    struct kafka_create_topics_request message;
    struct controller_result *results; /* [message.topics_count] */
    size_t *places;                    /* of each wished topic in the request */
};

static bool name_is_repeated(const struct kafka_create_topics_request *message, int32_t at)
{
    for (int32_t i = 0; i < message->topics_count; i++) {
        if (i != at && bytes_equal(message->topics[i].name, message->topics[at].name)) {
            return true;
        }
    }
    return false;
}

static void refuse(struct controller_result *result, enum kafka_error error, const char *text)
{
    result->error = error;
    (void)snprintf(result->text, sizeof(result->text), "%s", text);
}

/* Manual assignment: partitions 0..n-1, each once. */
static bool decode_assignments(struct arena *arena, const struct kafka_create_topics_request_topic *topic,
                               struct controller_topic *out)
{
    size_t count = (size_t)topic->assignments_count;
    const int32_t **lists = arena_alloc(arena, count * sizeof(*lists));
    size_t *sizes = arena_alloc(arena, count * sizeof(*sizes));
    if (lists == NULL || sizes == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const struct kafka_create_topics_request_assignment *assignment = &topic->assignments[i];
        int32_t index = assignment->partition_index;
        if (index < 0 || (size_t)index >= count || lists[index] != NULL || assignment->broker_ids_count <= 0) {
            return false;
        }
        lists[index] = assignment->broker_ids;
        sizes[index] = (size_t)assignment->broker_ids_count;
    }
    out->assignments = lists;
    out->assignment_sizes = sizes;
    out->partition_count = (int32_t)count;
    return true;
}

static bool decode_topic(struct create_work *work, int32_t at, struct controller_topic *out)
{
    const struct kafka_create_topics_request_topic *topic = &work->message.topics[at];
    struct controller_result *result = &work->results[at];
    struct arena *arena = &work->request->arena;
    *out = (struct controller_topic){
        .name = topic->name, .partition_count = topic->num_partitions, .replication_factor = topic->replication_factor};
    if (name_is_repeated(&work->message, at)) {
        refuse(result, KAFKA_INVALID_REQUEST, "The request names this topic twice.");
    } else if (topic->assignments_count > 0 && (topic->num_partitions != -1 || topic->replication_factor != -1)) {
        refuse(result, KAFKA_INVALID_REQUEST,
               "Both numPartitions or replicationFactor and replicasAssignments were set. "
               "Both cannot be used at the same time.");
    } else if (topic->assignments_count > 0 && !decode_assignments(arena, topic, out)) {
        refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT,
               "Partitions of an assignment must be 0, 1, 2, ..., each with brokers.");
    }
    if (result->error != KAFKA_NONE) {
        return false;
    }
    struct store_config *configs = arena_alloc(arena, (size_t)(topic->configs_count + 1) * sizeof(*configs));
    if (configs == NULL) {
        refuse(result, KAFKA_INVALID_REQUEST, "The request is too large.");
        return false;
    }
    for (int32_t i = 0; i < topic->configs_count; i++) {
        configs[i] = (struct store_config){topic->configs[i].name, topic->configs[i].value};
        if (topic->configs[i].value.data == NULL) {
            refuse(result, KAFKA_INVALID_CONFIG, "A config of a new topic cannot be null.");
            return false;
        }
    }
    out->configs = configs;
    out->config_count = (size_t)topic->configs_count;
    return true;
}

/* v5+: all configs of the new topic with their values. */
static void answer_configs(struct create_work *work, const struct kafka_create_topics_request_topic *topic,
                           struct kafka_create_topics_response_topic *out)
{
    struct arena *arena = &work->request->arena;
    struct topic_config_defaults defaults =
        topic_defaults(work->request->shard->options, work->request->shard->reader, arena);
    struct store_topic described = {.name = topic->name, .config_count = (size_t)topic->configs_count};
    size_t count;
    const struct topic_config_key *keys = topic_config_keys(&count);
    described.configs = arena_alloc(arena, (described.config_count + 1) * sizeof(*described.configs));
    out->configs = codec_new(&kafka_create_topics_response_config_schema, count, arena);
    if (described.configs == NULL || out->configs == NULL) {
        return;
    }
    for (size_t i = 0; i < described.config_count; i++) {
        described.configs[i] = (struct store_config){topic->configs[i].name, topic->configs[i].value};
    }
    out->configs_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        const char *value = topic_config_value(&keys[i], &described, &defaults, arena, &out->configs[i].config_source);
        out->configs[i].name = bytes_from_text(keys[i].name);
        out->configs[i].value = bytes_from_text(value);
    }
}

static void create_free(struct create_work *work)
{
    mem_free(work->results);
    mem_free(work->places);
    mem_free(work);
}

static void create_respond(struct create_work *work)
{
    struct request *request = work->request;
    struct kafka_create_topics_response response;
    codec_init_defaults(&kafka_create_topics_response_schema, &response);
    size_t count = (size_t)work->message.topics_count;
    if (count > 0) {
        response.topics = codec_new(&kafka_create_topics_response_topic_schema, count, &request->arena);
    }
    if (count > 0 && response.topics == NULL) {
        request_kill(request, "create topics response over the memory limit");
    } else {
        response.topics_count = (int32_t)count;
        for (size_t i = 0; i < count; i++) {
            struct kafka_create_topics_response_topic *out = &response.topics[i];
            const struct controller_result *result = &work->results[i];
            out->name = work->message.topics[i].name;
            out->error_code = (int16_t)result->error;
            out->error_message = result_text(result);
            out->configs_count = -1;
            if (result->error == KAFKA_NONE) {
                out->topic_id = result->id;
                out->num_partitions = result->partition_count;
                out->replication_factor = result->replication_factor;
                answer_configs(work, &work->message.topics[i], out);
            }
        }
        request_respond(request, &kafka_create_topics_response_schema, &response);
    }
    create_free(work);
}

static void create_on_done(struct wish_create *wish)
{
    struct create_work *work = container_of(wish, struct create_work, wish);
    for (size_t i = 0; i < wish->create.count; i++) {
        work->results[work->places[i]] = wish->create.results[i];
    }
    mem_free(wish->create.results);
    if (request_is_undone(work->request, wish->wish.refusal)) {
        request_not_controller(work->request);
        create_free(work);
        return;
    }
    create_respond(work);
}

void handle_create_topics(struct request *request)
{
    if (forward_to_controller(request)) {
        return;
    }
    struct create_work *work = mem_alloc(sizeof(*work));
    size_t wished = 0;
    work->request = request;
    if (!request_decode(request, &kafka_create_topics_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    size_t count = (size_t)work->message.topics_count;
    if (!request_charge(request, count, sizeof(*work->results) + sizeof(*work->places))) {
        mem_free(work);
        return;
    }
    struct controller_topic *topics = arena_alloc(&request->arena, (count + 1) * sizeof(*topics));
    work->results = mem_alloc((count + 1) * sizeof(*work->results));
    work->places = mem_alloc((count + 1) * sizeof(*work->places));
    for (size_t i = 0; i < count; i++) {
        if (topics == NULL) {
            refuse(&work->results[i], KAFKA_INVALID_REQUEST, "The request is too large.");
        } else if (decode_topic(work, (int32_t)i, &topics[wished])) {
            work->places[wished++] = i;
        }
    }
    if (wished == 0) {
        create_respond(work);
        return;
    }
    work->wish.create = (struct controller_create){.topics = topics,
                                                   .count = wished,
                                                   .is_validate_only = work->message.validate_only,
                                                   .results = mem_alloc(wished * sizeof(struct controller_result))};
    work->wish.timeout_ms = leaders_timeout(work->message.timeout_ms);
    work->wish.cb = create_on_done;
    work->wish.wish.refusal = request->refusal;
    wish_create_topics(&work->wish, request->shard);
}

/* ---- DeleteTopics ---- */

struct delete_work {
    struct wish wish;
    struct request *request;
    struct kafka_delete_topics_request message;
    struct controller_delete delete;
    struct kafka_delete_topics_response response;
    struct uuid *ids; /* those to delete */
    size_t *places;
};

static void delete_free(struct delete_work *work)
{
    mem_free(work->ids);
    mem_free(work->places);
    mem_free(work->delete.results);
    mem_free(work);
}

/* NULL: it is asked for by its id. */
static const struct bytes *delete_name(const struct delete_work *work, size_t at)
{
    bool is_new = work->request->api_version >= 6;
    const struct bytes *name = is_new ? &work->message.topics[at].name : &work->message.topic_names[at];
    return name->data != NULL ? name : NULL;
}

static void delete_respond(struct delete_work *work)
{
    for (size_t i = 0; i < work->delete.count; i++) {
        struct kafka_delete_topics_response_topic *out = &work->response.responses[work->places[i]];
        enum kafka_error error = work->delete.results[i].error;
        bool is_id_unknown = error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION && delete_name(work, work->places[i]) == NULL;
        out->error_code = (int16_t)(is_id_unknown ? KAFKA_UNKNOWN_TOPIC_ID : error);
        out->error_message = result_text(&work->delete.results[i]);
    }
    request_respond(work->request, &kafka_delete_topics_response_schema, &work->response);
    delete_free(work);
}

static void delete_decided(struct wish *wish)
{
    struct delete_work *work = container_of(wish, struct delete_work, wish);
    if (request_is_undone(work->request, wish->refusal)) {
        request_not_controller(work->request);
        delete_free(work);
        return;
    }
    delete_respond(work);
}

static void delete_on_controlled(struct controller_delete *req)
{
    wish_controlled(&container_of(req, struct delete_work, delete)->wish, req->results, req->count);
}

/* What the origin's snapshot did not have is looked for once more: this shard's is the controller's. */
static void delete_find(struct delete_work *work, size_t i, struct store_reader *reader)
{
    const struct bytes *name = delete_name(work, work->places[i]);
    struct uuid *id = &work->ids[i];
    uint64_t group;
    if (name != NULL && store_topic_id(reader, *name, id) != OK) {
        *id = (struct uuid){0};
    } else if (name == NULL) {
        const struct uuid *asked = &work->message.topics[work->places[i]].topic_id;
        *id = store_partition_group(reader, asked, 0, &group) == OK ? *asked : (struct uuid){0};
    }
}

static void delete_decide(struct wish *wish, struct controller *controller)
{
    struct delete_work *work = container_of(wish, struct delete_work, wish);
    if (controller != NULL) {
        for (size_t i = 0; i < work->delete.count; i++) {
            if (uuid_is_zero(&work->ids[i])) {
                delete_find(work, i, wish->target->reader);
            }
        }
        controller_delete_topics(controller, &work->delete);
        return;
    }
    for (size_t i = 0; i < work->delete.count; i++) {
        work->delete.results[i].error = wish->refusal;
    }
    wish_decided(wish);
}

/* Fills the answer's name and id. All zero: no such topic is known here, which is for the controller to say. */
static struct uuid delete_resolve(struct delete_work *work, size_t at)
{
    struct shard *shard = work->request->shard;
    struct kafka_delete_topics_response_topic *out = &work->response.responses[at];
    const struct bytes *name = delete_name(work, at);
    struct uuid id = {0};
    if (name != NULL) {
        out->name = *name;
        id = store_topic_id(shard->reader, *name, &id) == OK ? id : (struct uuid){0};
        out->topic_id = id;
        return id;
    }
    out->name = BYTES_NONE;
    out->topic_id = work->message.topics[at].topic_id;
    return store_topic_name(shard->reader, &work->request->arena, &out->topic_id, &out->name) == OK ? out->topic_id
                                                                                                    : id;
}

static bool id_is_repeated(const struct delete_work *work, const struct uuid *id)
{
    for (size_t i = 0; i < work->delete.count; i++) {
        if (!uuid_is_zero(id) && memcmp(&work->ids[i], id, sizeof(*id)) == 0) {
            return true;
        }
    }
    return false;
}

void handle_delete_topics(struct request *request)
{
    if (forward_to_controller(request)) {
        return;
    }
    struct delete_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_delete_topics_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    codec_init_defaults(&kafka_delete_topics_response_schema, &work->response);
    size_t count = (size_t)(request->api_version >= 6 ? work->message.topics_count : work->message.topic_names_count);
    if (count > 0) {
        work->response.responses = codec_new(&kafka_delete_topics_response_topic_schema, count, &request->arena);
        if (work->response.responses == NULL) {
            request_kill(request, "delete topics response over the memory limit");
            mem_free(work);
            return;
        }
    }
    work->response.responses_count = (int32_t)count;
    if (!request_charge(request, count, sizeof(*work->ids) + sizeof(*work->places) + sizeof(*work->delete.results))) {
        mem_free(work);
        return;
    }
    work->ids = mem_alloc((count + 1) * sizeof(*work->ids));
    work->places = mem_alloc((count + 1) * sizeof(*work->places));
    for (size_t i = 0; i < count; i++) {
        struct uuid id = delete_resolve(work, i);
        if (id_is_repeated(work, &id)) {
            work->response.responses[i].error_code = KAFKA_INVALID_REQUEST;
            continue;
        }
        work->places[work->delete.count] = i;
        work->ids[work->delete.count++] = id;
    }
    work->delete.ids = work->ids;
    work->delete.results = mem_alloc((work->delete.count + 1) * sizeof(*work->delete.results));
    work->delete.cb = delete_on_controlled;
    if (work->delete.count == 0) {
        delete_respond(work);
        return;
    }
    work->wish.decide = delete_decide;
    work->wish.decided = delete_decided;
    work->wish.refusal = request->refusal;
    wish_send(&work->wish, request->shard);
}
