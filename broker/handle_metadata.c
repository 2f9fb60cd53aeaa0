/* Metadata: brokers and topics as this shard's snapshot and its table of leaders have them.
 * A topic that is missing is created first when client and configuration allow it; the answer then waits (bounded)
 * until its partitions are led, so that simple clients need not ask twice. Creating one that another request has
 * created meanwhile is no error: the answer is made from the store in any case. The same wait, a short one, for what
 * has no leader just now: it was created through another broker, or its leader has handed over or died
 * (leaders_due_ms). */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/describe.h"
#include "broker/forward.h"
#include "broker/wish.h"
#include "metadata/topic_name.h"

#define AUTO_CREATE_TIMEOUT_MS 2000
#define LEADERS_DUE_MS 1000 /* news of leaders that are under way, altogether: some may be lost while others come */

struct metadata_work {
    struct forward_call call;
    struct leaders_wait wait;
    uint64_t *groups;
    int64_t due_ms, until_us; /* how long news of leaders are waited for */
    struct request *request;
    struct kafka_metadata_request message;
    struct kafka_metadata_response response;
    struct bytes *missing; /* names of topics to create */
    size_t missing_count;
    size_t topic_capacity;
};

/* ---- Answer ---- */

static bool fill_partition(struct metadata_work *work, const struct uuid *id, int32_t index,
                           struct kafka_metadata_response_partition *out)
{
    struct described_partition partition;
    out->partition_index = index;
    if (!describe_partition(work->request, id, index, &partition)) {
        return false;
    }
    out->error_code = (int16_t)partition.error;
    out->leader_id = partition.leader;
    out->leader_epoch = partition.leader_epoch;
    out->replica_nodes = partition.replicas;
    out->replica_nodes_count = partition.replica_count;
    out->isr_nodes = partition.in_sync;
    out->isr_nodes_count = partition.in_sync_count;
    out->offline_replicas = partition.offline;
    out->offline_replicas_count = partition.offline_count;
    return true;
}

static bool fill_topic(struct metadata_work *work, const struct store_topic *topic,
                       struct kafka_metadata_response_topic *out)
{
    out->name = topic->name;
    out->topic_id = topic->id;
    out->is_internal = describe_is_internal(topic->name);
    if (work->message.include_topic_authorized_operations) {
        out->topic_authorized_operations = AUTHORIZED_TOPIC_OPERATIONS;
    }
    size_t count = (size_t)topic->partition_count;
    out->partitions = codec_new(&kafka_metadata_response_partition_schema, count, &work->request->arena);
    if (out->partitions == NULL) {
        return false;
    }
    out->partitions_count = topic->partition_count;
    for (int32_t index = 0; index < topic->partition_count; index++) {
        if (!fill_partition(work, &topic->id, index, &out->partitions[index])) {
            return false;
        }
    }
    return true;
}

static bool fill_asked(struct metadata_work *work, const struct kafka_metadata_request_topic *asked,
                       struct kafka_metadata_response_topic *out)
{
    struct store_reader *reader = work->request->shard->reader;
    struct arena *arena = &work->request->arena;
    struct store_topic topic;
    bool is_by_name = asked->name.data != NULL;
    out->name = asked->name;
    out->topic_id = asked->topic_id;
    if (is_by_name && topic_name_fault(asked->name) != NULL) {
        out->error_code = KAFKA_INVALID_TOPIC_EXCEPTION;
        return true;
    }
    enum err err = is_by_name ? store_topic_by_name(reader, arena, asked->name, &topic)
                              : store_topic_by_id(reader, arena, &asked->topic_id, &topic);
    if (err == ERR_NOT_FOUND) {
        out->error_code = is_by_name ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION : KAFKA_UNKNOWN_TOPIC_ID;
        return true;
    }
    return err == OK && fill_topic(work, &topic, out);
}

static bool fill_each(void *context, const struct store_topic *topic)
{
    struct metadata_work *work = context;
    size_t at = (size_t)work->response.topics_count;
    return at < work->topic_capacity && ++work->response.topics_count > 0 &&
           fill_topic(work, topic, &work->response.topics[at]);
}

static bool wants_all(const struct metadata_work *work)
{
    int32_t count = work->message.topics_count;
    return count < 0 || (count == 0 && work->request->api_version == 0);
}

static bool fill_topics(struct metadata_work *work)
{
    struct kafka_metadata_response *response = &work->response;
    struct store_reader *reader = work->request->shard->reader;
    struct arena *arena = &work->request->arena;
    size_t count = wants_all(work) ? (size_t)store_topic_count(reader) : (size_t)work->message.topics_count;
    if (count == 0) {
        return true;
    }
    response->topics = codec_new(&kafka_metadata_response_topic_schema, count, arena);
    if (response->topics == NULL) {
        return false;
    }
    if (wants_all(work)) {
        work->topic_capacity = count;
        return store_topics_each(reader, arena, work, fill_each) == OK && (size_t)response->topics_count == count;
    }
    response->topics_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        if (!fill_asked(work, &work->message.topics[i], &response->topics[i])) {
            return false;
        }
    }
    return true;
}

static bool fill_brokers(struct metadata_work *work)
{
    struct kafka_metadata_response *response = &work->response;
    size_t count;
    const struct described_broker *brokers = describe_brokers(work->request, &count);
    if (brokers == NULL) {
        return false;
    }
    response->brokers = codec_new(&kafka_metadata_response_broker_schema, count, &work->request->arena);
    if (response->brokers == NULL) {
        return false;
    }
    response->brokers_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        response->brokers[i] = (struct kafka_metadata_response_broker){
            .node_id = brokers[i].id, .host = brokers[i].host, .port = brokers[i].port, .rack = brokers[i].rack};
    }
    return true;
}

static void metadata_respond(struct metadata_work *work)
{
    struct request *request = work->request;
    struct kafka_metadata_response *response = &work->response;
    codec_init_defaults(&kafka_metadata_response_schema, response);
    response->cluster_id = describe_cluster_id(request);
    response->controller_id = describe_controller(request->shard);
    if (work->message.include_cluster_authorized_operations) {
        response->cluster_authorized_operations = AUTHORIZED_CLUSTER_OPERATIONS;
    }
    if (fill_brokers(work) && fill_topics(work)) {
        request_respond(request, &kafka_metadata_response_schema, response);
    } else {
        request_kill(request, "metadata response over the memory limit");
    }
    mem_free(work->groups);
    mem_free(work);
}

/* ---- Auto-creation ---- */

static void on_led(struct leaders_wait *wait)
{
    metadata_respond(container_of(wait, struct metadata_work, wait));
}

/* Whatever the controller has said: what is in the store now is the answer. */
static void on_created(struct forward_call *call)
{
    struct metadata_work *work = container_of(call, struct metadata_work, call);
    struct shard *shard = work->request->shard;
    size_t count = 0;
    for (size_t i = 0; i < work->missing_count; i++) {
        struct uuid id;
        if (store_topic_id(shard->reader, work->missing[i], &id) == OK) {
            count = wish_topic_groups(shard, &id, 0, &work->groups, count);
        }
    }
    work->wait = (struct leaders_wait){.groups = work->groups, .count = count, .cb = on_led};
    leaders_wait_for(shard->leaders, &work->wait, FORWARD_LEADERS_MS);
}

static void create_missing(struct metadata_work *work)
{
    struct request *request = work->request;
    struct kafka_create_topics_request message;
    codec_init_defaults(&kafka_create_topics_request_schema, &message);
    message.topics = codec_new(&kafka_create_topics_request_topic_schema, work->missing_count, &request->arena);
    if (message.topics == NULL) {
        request_kill(request, "metadata request over the memory limit");
        mem_free(work);
        return;
    }
    message.topics_count = (int32_t)work->missing_count;
    message.timeout_ms = AUTO_CREATE_TIMEOUT_MS;
    for (size_t i = 0; i < work->missing_count; i++) {
        message.topics[i].name = work->missing[i];
        message.topics[i].num_partitions = -1;
        message.topics[i].replication_factor = -1;
    }
    work->call = (struct forward_call){.api_key = KAFKA_API_CREATE_TOPICS,
                                       .api_version = kafka_api_find(KAFKA_API_CREATE_TOPICS)->version_max,
                                       .schema = &kafka_create_topics_request_schema,
                                       .message = &message,
                                       .timeout_ms = AUTO_CREATE_TIMEOUT_MS,
                                       .cb = on_created};
    forward_call(request->shard, &work->call);
}

static bool is_missing(struct metadata_work *work, const struct kafka_metadata_request_topic *asked)
{
    struct uuid id;
    if (asked->name.data == NULL || topic_name_fault(asked->name) != NULL) {
        return false;
    }
    for (size_t i = 0; i < work->missing_count; i++) {
        if (bytes_equal(work->missing[i], asked->name)) {
            return false;
        }
    }
    return store_topic_id(work->request->shard->reader, asked->name, &id) == ERR_NOT_FOUND;
}

static void collect_missing(struct metadata_work *work)
{
    int32_t count = work->message.topics_count;
    bool is_allowed = work->message.allow_auto_topic_creation && work->request->shard->options->auto_create_topics;
    if (!is_allowed || count <= 0) {
        return;
    }
    work->missing = arena_alloc(&work->request->arena, (size_t)count * sizeof(*work->missing));
    for (int32_t i = 0; work->missing != NULL && i < count; i++) {
        if (is_missing(work, &work->message.topics[i])) {
            work->missing[work->missing_count++] = work->message.topics[i].name;
        }
    }
}

/* ---- Leaders that are about to be known ---- */

/* Adds the groups of a topic whose leaders are; `count` are there. */
static size_t add_due(struct metadata_work *work, const struct uuid *id, size_t count)
{
    struct shard *shard = work->request->shard;
    size_t end = wish_topic_groups(shard, id, 0, &work->groups, count);
    for (size_t i = count; i < end; i++) {
        int64_t due_ms = leaders_due_ms(shard->leaders, work->groups[i]);
        work->due_ms = due_ms > work->due_ms ? due_ms : work->due_ms;
        if (due_ms > 0) {
            work->groups[count++] = work->groups[i];
        }
    }
    return count;
}

struct all_due {
    struct metadata_work *work;
    struct arena arena;
    size_t count;
};

static bool add_due_each(void *context, const struct store_topic *topic)
{
    struct all_due *all = context;
    all->count = add_due(all->work, &topic->id, all->count);
    arena_reset(&all->arena);
    return true;
}

/* Who asks for all topics may do so while others make some: kafkajs takes one that is not led yet for a failure of what
 * it was about itself. */
static size_t collect_all_due(struct metadata_work *work)
{
    struct all_due all = {.work = work};
    arena_init(&all.arena, 2 * ENTRY_SIZE_MAX);
    enum err err = store_topics_each(work->request->shard->reader, &all.arena, &all, add_due_each);
    arena_deinit(&all.arena);
    return err == OK ? all.count : 0; /* then the answer cannot be made either, and says so */
}

static size_t collect_due(struct metadata_work *work)
{
    size_t count = 0;
    for (int32_t i = 0; i < work->message.topics_count; i++) {
        const struct kafka_metadata_request_topic *asked = &work->message.topics[i];
        struct uuid id = asked->topic_id;
        if (asked->name.data == NULL || store_topic_id(work->request->shard->reader, asked->name, &id) == OK) {
            count = add_due(work, &id, count);
        }
    }
    return count;
}

static void wait_or_respond(struct metadata_work *work);

static void on_due(struct leaders_wait *wait)
{
    struct metadata_work *work = container_of(wait, struct metadata_work, wait);
    if (wait->is_complete) {
        wait_or_respond(work);
    } else {
        metadata_respond(work);
    }
}

static void wait_or_respond(struct metadata_work *work)
{
    struct shard *shard = work->request->shard;
    int64_t left_ms = (work->until_us - env_now_us(shard->env)) / 1000;
    work->due_ms = 0;
    size_t count = left_ms <= 0 ? 0 : wants_all(work) ? collect_all_due(work) : collect_due(work);
    if (count == 0) {
        metadata_respond(work);
        return;
    }
    work->wait = (struct leaders_wait){.groups = work->groups, .count = count, .cb = on_due};
    leaders_wait_for(shard->leaders, &work->wait, work->due_ms < left_ms ? work->due_ms : left_ms);
}

void handle_metadata(struct request *request)
{
    struct metadata_work *work = mem_alloc(sizeof(*work));
    work->request = request;
    if (!request_decode(request, &kafka_metadata_request_schema, &work->message)) {
        mem_free(work);
        return;
    }
    collect_missing(work);
    if (work->missing_count > 0) {
        create_missing(work);
        return;
    }
    work->until_us = env_now_us(request->shard->env) + (int64_t)LEADERS_DUE_MS * 1000;
    wait_or_respond(work);
}
