/* One call at a time, at random pauses. Two topics of its own come and go under the same names; their names and
 * offsets tell whether anything of a deleted one is left, or anything of a living one is lost:
 *
 *   ABSENT --created--> PRESENT: written to, trimmed --delete asked--> DELETING --done, or unknown--> ABSENT
 *
 * A call that failed may have happened all the same, or may still happen: only when none is in doubt, "exists already"
 * and "unknown" are wrong answers, and a name with such a past is not used again. */
#include "tests/sim/operator.h"

#include <stdio.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/records.h"

enum {
    PAUSE_US = 3000000,
    TIMEOUT_MS = 4000,
    FORMER_US_MAX = 20000000,
    BATCH_RECORDS = 10,
    TOPICS = 2
};

enum topic_state {
    TOPIC_ABSENT,
    TOPIC_PRESENT,
    TOPIC_DELETING
};

struct topic {
    char name[8];
    enum topic_state state;
    bool is_in_doubt; /* a call about its existence failed since the state was known */
    int64_t created_us;
    bool has_former;      /* there was one of the same name */
    bool is_spoilt;       /* ... or in any life under this name */
    int64_t acked, asked; /* records of this life: surely there, and at most */
};

struct operator
{
    struct clients *clients;
    struct links *links;
    struct timer timer;
    struct link_call call;
    bool is_calling;
    bool is_stopping;
    struct topic topics[TOPICS];
    struct topic *topic; /* of the call */
    unsigned name_count;
    unsigned unregistered; /* bit n: broker n + 1 was to be forgotten */
};

static struct history *operator_history(const struct operator* operator)
{
    return operator->clients->params.history;
}

static int64_t operator_below(struct operator* operator, int64_t limit)
{
    return clients_below(operator->clients, limit);
}

static void operator_call(struct operator* operator, int16_t api, int16_t version, link_cb cb, const void *request)
{
    operator->is_calling = true;
    operator->call =(struct link_call){.api = api, .version = version, .timeout_us = CALL_TIMEOUT_US, .cb = cb};
    links_call(operator->links, clients_any_node(operator->clients), &operator->call, request);
}

static void operator_done(struct operator* operator)
{
    operator->is_calling = false;
    env_timer(operator->clients->env, &operator->timer, operator_below(operator, PAUSE_US));
}

/* False: there is no answer. */
static bool answer_decode(struct link_call *call, const struct schema *schema, struct arena *arena, void *response)
{
    if (call->err != OK) {
        return false;
    }
    enum err err = codec_decode(schema, call->version, &call->answer, arena, response);
    assert(err == OK);
    return true;
}

/* ---- Topics */

static void topic_is(struct operator* operator, struct topic * topic, enum topic_state state)
{
    topic->has_former = topic->has_former || (topic->state != TOPIC_ABSENT && state == TOPIC_ABSENT);
    if (state == TOPIC_ABSENT && topic->is_spoilt) {
        topic->has_former = false;
        (void)snprintf(topic->name, sizeof(topic->name), "x%u", operator->name_count++);
        topic->is_spoilt = false;
    }
    topic->state = state;
    topic->is_in_doubt = false;
    topic->created_us = env_now_us(operator->clients->env);
    topic->acked = 0;
    topic->asked = 0;
}

/* A controller that was paused has such a refusal confirmed (metadata/controller.h), so one answer is enough. */
static void topic_surprises(struct operator* operator, const struct topic * topic, const char *violation,
                            const char *what)
{
    history_violation(operator_history(operator), violation, "topic %s %s", topic->name, what);
}

static void topic_is_doubtful(struct topic *topic)
{
    topic->is_in_doubt = true;
    topic->is_spoilt = true;
}

static void create_on_answer(struct link_call *call)
{
    struct operator* operator= container_of(call, struct operator, call);
    struct topic *topic = operator->topic;
    struct kafka_create_topics_response response;
    struct arena arena;
    arena_init(&arena, MIB(8));
    if (!answer_decode(call, &kafka_create_topics_response_schema, &arena, &response)) {
        topic_is_doubtful(topic);
    } else if (response.topics[0].error_code == KAFKA_NONE) {
        topic_is(operator, topic, TOPIC_PRESENT);
    } else if (response.topics[0].error_code != KAFKA_TOPIC_ALREADY_EXISTS) {
        topic_is_doubtful(topic);
    } else if (topic->is_in_doubt) {
        topic_is(operator, topic, TOPIC_PRESENT);
    } else {
        topic_surprises(operator, topic, "resurrected", "was deleted and exists");
    }
    arena_deinit(&arena);
    operator_done(operator);
}

static void topic_create(struct operator* operator, struct topic * topic)
{
    struct kafka_create_topics_request_topic created = {
        .name = bytes_from_text(topic->name),
        .num_partitions = 1 + (int32_t)operator_below(operator, 2),
        .replication_factor = operator->clients->params.replication_factor };
    struct kafka_create_topics_request request = {.topics = &created, .topics_count = 1, .timeout_ms = TIMEOUT_MS};
    operator_call(operator, KAFKA_API_CREATE_TOPICS, 7, create_on_answer, &request);
}

static void delete_on_answer(struct link_call *call)
{
    struct operator* operator= container_of(call, struct operator, call);
    struct topic *topic = operator->topic;
    struct kafka_delete_topics_response response;
    struct arena arena;
    arena_init(&arena, MIB(8));
    if (!answer_decode(call, &kafka_delete_topics_response_schema, &arena, &response)) {
        topic_is_doubtful(topic);
    } else if (response.responses[0].error_code == KAFKA_NONE) {
        topic_is(operator, topic, TOPIC_ABSENT);
    } else if (response.responses[0].error_code != KAFKA_UNKNOWN_TOPIC_OR_PARTITION) {
        topic_is_doubtful(topic);
    } else if (topic->is_in_doubt) {
        topic_is(operator, topic, TOPIC_ABSENT);
    } else {
        topic_surprises(operator, topic, "lost-topic", "was created and is unknown");
    }
    arena_deinit(&arena);
    operator_done(operator);
}

static void topic_delete(struct operator* operator, struct topic * topic)
{
    struct bytes name = bytes_from_text(topic->name);
    struct kafka_delete_topics_request request = {
        .topic_names = &name, .topic_names_count = 1, .timeout_ms = TIMEOUT_MS};
    topic->state = TOPIC_DELETING;
    operator_call(operator, KAFKA_API_DELETE_TOPICS, 5, delete_on_answer, &request);
}

/* What a partition tells of its end must lie between what was acknowledged and what was asked in this life of the
 * topic. Produce (before version 13) and DeleteRecords name a topic by its name (KIP-516), and brokers hear of a
 * deletion after it was acknowledged: as long as a majority of the former life's replicas has not, they take such calls
 * for that life, and what they answer is true of it. So answers prove nothing until all brokers have heard, when there
 * was a former life: nobody is cut off, paused or down for longer than FORMER_US_MAX. False: so it is. */
static bool check_end(struct operator* operator, const char * what, int64_t end, int64_t at_most)
{
    const struct topic *topic = operator->topic;
    if (topic->has_former && env_now_us(operator->clients->env) - topic->created_us < FORMER_US_MAX) {
        return false;
    }
    if (end < topic->acked || end > at_most) {
        history_violation(operator_history(operator), end > at_most ? "resurrected" : "lost-write",
                          "topic %s partition 0: %s %lld, %lld to %lld are possible", topic->name, what, (long long)end,
                          (long long)topic->acked, (long long)at_most);
    }
    return true;
}

static void produce_on_answer(struct link_call *call)
{
    struct operator* operator= container_of(call, struct operator, call);
    struct kafka_produce_response response;
    struct arena arena;
    arena_init(&arena, MIB(1));
    if (answer_decode(call, &kafka_produce_response_schema, &arena, &response) &&
        response.responses[0].partition_responses[0].error_code == KAFKA_NONE) {
        int64_t base = response.responses[0].partition_responses[0].base_offset;
        if (check_end(operator, "records appended at", base, operator->topic->asked - BATCH_RECORDS)) {
            operator->topic->acked = base + BATCH_RECORDS;
        }
    }
    arena_deinit(&arena);
    operator_done(operator);
}

static void topic_write(struct operator* operator, struct topic * topic)
{
    struct bytes value = bytes_from_text("of a topic that goes");
    struct record_builder *builder = record_builder_open(CODEC_NONE, 1000);
    for (int i = 0; i < BATCH_RECORDS; i++) {
        record_builder_add(builder, 1000, NULL, &value, NULL, 0);
    }
    struct shared *block = record_builder_finish(builder);
    struct kafka_produce_request_partition partition = {.records = {block, {block->data, block->size}}};
    struct kafka_produce_request_topic written = {
        .name = bytes_from_text(topic->name), .partition_data = &partition, .partition_data_count = 1};
    struct kafka_produce_request request = {
        .acks = -1, .timeout_ms = TIMEOUT_MS, .topic_data = &written, .topic_data_count = 1};
    topic->asked += BATCH_RECORDS;
    operator_call(operator, KAFKA_API_PRODUCE, 9, produce_on_answer, &request);
    shared_release(block);
}

static void trim_on_answer(struct link_call *call)
{
    struct operator* operator= container_of(call, struct operator, call);
    struct kafka_delete_records_response response;
    struct arena arena;
    arena_init(&arena, MIB(1));
    if (answer_decode(call, &kafka_delete_records_response_schema, &arena, &response) &&
        response.topics[0].partitions[0].error_code == KAFKA_NONE) {
        (void)check_end(operator, "trimmed up to",
                        response.topics[0].partitions[0].low_watermark, operator->topic->asked);
    }
    arena_deinit(&arena);
    operator_done(operator);
}

static void topic_trim(struct operator* operator, struct topic * topic)
{
    struct kafka_delete_records_request_partition partition = {.partition_index = 0, .offset = -1};
    struct kafka_delete_records_request_topic trimmed = {
        .name = bytes_from_text(topic->name), .partitions = &partition, .partitions_count = 1};
    struct kafka_delete_records_request request = {.topics = &trimmed, .topics_count = 1, .timeout_ms = TIMEOUT_MS};
    operator_call(operator, KAFKA_API_DELETE_RECORDS, 2, trim_on_answer, &request);
}

static void topic_step(struct operator* operator, struct topic * topic)
{
    operator->topic = topic;
    int64_t chance = operator_below(operator, 8);
    if (topic->state == TOPIC_DELETING) {
        topic_delete(operator, topic);
    } else if (topic->state == TOPIC_ABSENT) {
        topic_create(operator, topic);
    } else if (chance < 5) {
        topic_write(operator, topic);
    } else if (chance == 5) {
        topic_trim(operator, topic);
    } else {
        topic_delete(operator, topic);
    }
}

/* ---- The clients' topic, and brokers */

static void on_any_answer(struct link_call *call)
{
    operator_done(
        container_of(call, struct operator, call)); /* refusals are right: a move under way, a broker that is down */
}

/* To any brokers, in any order, or back to where it was. */
static void reassign(struct operator* operator)
{
    const struct clients_params *params = &operator->clients->params;
    int32_t replicas[NODES_MAX];
    int32_t count = 0;
    for (int32_t node = 1; node <= (int32_t)params->node_count; node++) {
        int32_t place = (int32_t)operator_below(operator, count + 1);
        replicas[count++] = replicas[place];
        replicas[place] = node;
    }
    bool is_canceled = operator_below(operator, 5) == 0;
    struct kafka_alter_partition_reassignments_request_partition partition = {
        .partition_index = (int32_t)operator_below(operator,(int64_t) params->partition_count),
        .replicas = is_canceled ? NULL : replicas,
        .replicas_count = is_canceled ? 0 : params->replication_factor};
    struct kafka_alter_partition_reassignments_request_topic topic = {
        .name = bytes_from_text(SIM_TOPIC), .partitions = &partition, .partitions_count = 1};
    struct kafka_alter_partition_reassignments_request request = {
        .timeout_ms = TIMEOUT_MS, .topics = &topic, .topics_count = 1};
    operator_call(operator, KAFKA_API_ALTER_REASSIGNMENTS, 0, on_any_answer, &request);
}

static void elect(struct operator* operator)
{
    int32_t partition = (int32_t)operator_below(operator,(int64_t) operator->clients->params.partition_count);
    struct kafka_elect_leaders_request_topic topic = {
        .topic = bytes_from_text(SIM_TOPIC), .partitions = &partition, .partitions_count = 1};
    struct kafka_elect_leaders_request request = {
        .topic_partitions = &topic, .topic_partitions_count = 1, .timeout_ms = TIMEOUT_MS};
    operator_call(operator, KAFKA_API_ELECT_LEADERS, 2, on_any_answer, &request);
}

/* Only brokers that are no seeds: enough for all replicas stay. A stop makes the cluster forget a drained broker, and
 * its next start is a new one's. */
static void decommission(struct operator* operator)
{
    const struct clients_params *params = &operator->clients->params;
    int64_t others = (int64_t)params->node_count - (int64_t)params->seed_count;
    struct kafka_unregister_broker_request request = {
        .broker_id = (int32_t)(params->seed_count + 1 + operator_below(operator, others))};
    operator->unregistered |= 1U <<(request.broker_id - 1);
    operator_call(operator, KAFKA_API_UNREGISTER_BROKER, 0, on_any_answer, &request);
}

static void operator_step(struct operator* operator)
{
    const struct clients_params *params = &operator->clients->params;
    int64_t chance = operator_below(operator, 10);
    if (chance == 0 && params->node_count > params->seed_count && params->seed_count >= 3) {
        decommission(operator);
    } else if (chance <= 2) {
        reassign(operator);
    } else if (chance == 3) {
        elect(operator);
    } else {
        topic_step(operator, & operator->topics[operator_below(operator, TOPICS)]);
    }
}

/* ---- Life */

static void operator_on_timer(struct timer *timer)
{
    struct operator* operator= container_of(timer, struct operator, timer);
    if (!operator->is_stopping) {
        operator_step(operator);
        return;
    }
    for (int i = 0; i < TOPICS; i++) {
        if (operator->topics[i].state == TOPIC_DELETING) {
            topic_step(operator, & operator->topics[i]);
            return;
        }
    }
}

struct operator* operator_open(struct clients *clients)
{
    struct operator* operator= mem_alloc(sizeof(*operator));
    operator->clients = clients;
    operator->links = links_open(clients->env);
    for (int i = 0; i < TOPICS; i++) {
        (void)snprintf(operator->topics[i].name, sizeof(operator->topics[i].name), "x%u", operator->name_count++);
    }
    timer_init(&operator->timer, operator_on_timer);
    env_timer(clients->env, &operator->timer, operator_below(operator, PAUSE_US));
    return operator;
}

void operator_stop(struct operator* operator)
{
    operator->is_stopping = true;
    if (!operator->is_calling) {
        env_timer(operator->clients->env, &operator->timer, 0);
    }
}

unsigned operator_unregistered(const struct operator* operator)
{
    return operator->unregistered;
}

bool operator_is_settled(const struct operator* operator)
{
    for (int i = 0; i < TOPICS; i++) {
        if (operator->topics[i].state == TOPIC_DELETING) {
            return false;
        }
    }
    return !operator->is_calling;
}
