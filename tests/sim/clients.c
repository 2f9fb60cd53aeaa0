/* Happy path: the topic is created through any broker, then producers and readers start; who leads is asked of any
 * broker, each second and after every refusal. */
#include "tests/sim/clients_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "tests/sim/groups.h"
#include "tests/sim/operator.h"

enum {
    REFRESH_US = 1000000,
    REFRESH_TIMEOUT_US = 1000000,
    RETRY_US = 200000
};

unsigned clients_any_node(struct clients *clients)
{
    return 1 + (unsigned)(env_random(clients->env) % clients->params.node_count);
}

int64_t clients_below(struct clients *clients, int64_t limit)
{
    return (int64_t)(env_random(clients->env) % (uint64_t)limit);
}

/* ---- Who leads */

static void take_topic(struct clients *clients, const struct kafka_metadata_response_topic *topic)
{
    for (int32_t i = 0; i < topic->partitions_count; i++) {
        const struct kafka_metadata_response_partition *partition = &topic->partitions[i];
        struct leadership *leader = &clients->leaders[partition->partition_index];
        if (partition->leader_id >= 1 && partition->leader_epoch >= leader->epoch) {
            *leader = (struct leadership){(unsigned)partition->leader_id, partition->leader_epoch};
        }
    }
}

static void refresh_on_answer(struct link_call *call)
{
    struct clients *clients = container_of(call, struct clients, refresh);
    struct kafka_metadata_response response;
    struct arena arena;
    clients->is_refreshing = false;
    env_timer(clients->env, &clients->timer, REFRESH_US);
    if (call->err != OK) {
        return;
    }
    arena_init(&arena, MIB(8));
    enum err err = codec_decode(&kafka_metadata_response_schema, call->version, &call->answer, &arena, &response);
    assert(err == OK);
    for (int32_t i = 0; i < response.topics_count; i++) {
        if (bytes_equal_text(response.topics[i].name, SIM_TOPIC) && response.topics[i].error_code == KAFKA_NONE) {
            take_topic(clients, &response.topics[i]);
        }
    }
    arena_deinit(&arena);
}

static void refresh_now(struct clients *clients)
{
    struct kafka_metadata_request_topic topic = {.name = bytes_from_text(SIM_TOPIC)};
    struct kafka_metadata_request request = {.topics = &topic, .topics_count = 1};
    clients->is_refreshing = true;
    clients->refresh = (struct link_call){
        .api = KAFKA_API_METADATA, .version = 12, .timeout_us = REFRESH_TIMEOUT_US, .cb = refresh_on_answer};
    links_call(clients->links, clients_any_node(clients), &clients->refresh, &request);
}

static void refresh_on_timer(struct timer *timer)
{
    struct clients *clients = container_of(timer, struct clients, timer);
    if (!clients->is_refreshing) {
        refresh_now(clients);
    }
}

void clients_refresh(struct clients *clients)
{
    if (clients->has_topic && !clients->is_refreshing) {
        env_timer(clients->env, &clients->timer, 10000 + clients_below(clients, 40000));
    }
}

/* ---- The topic */

static void start_all(struct clients *clients)
{
    clients->has_topic = true;
    clients->is_producing = true;
    clients->timer.cb = refresh_on_timer;
    refresh_now(clients);
    for (unsigned i = 1; i <= clients->params.producer_count; i++) {
        producer_start(clients, i, i <= clients->params.idempotent_count);
    }
    for (unsigned i = 0; i < clients->params.partition_count; i++) {
        reader_start(clients, i);
    }
    for (unsigned node = 1; node <= clients->params.node_count; node++) {
        onlooker_start(clients, node);
    }
    clients->operator= operator_open(clients);
    clients->groups = groups_open(clients);
}

static void create_on_answer(struct link_call *call)
{
    struct clients *clients = container_of(call, struct clients, create);
    struct kafka_create_topics_response response;
    struct arena arena;
    int16_t error = KAFKA_NOT_CONTROLLER;
    arena_init(&arena, MIB(8));
    if (call->err == OK) {
        enum err err =
            codec_decode(&kafka_create_topics_response_schema, call->version, &call->answer, &arena, &response);
        assert(err == OK && response.topics_count == 1);
        error = response.topics[0].error_code;
    }
    arena_deinit(&arena);
    if (error == KAFKA_NONE || error == KAFKA_TOPIC_ALREADY_EXISTS) {
        start_all(clients);
    } else {
        env_timer(clients->env, &clients->timer, RETRY_US);
    }
}

static void create_on_timer(struct timer *timer)
{
    struct clients *clients = container_of(timer, struct clients, timer);
    struct kafka_create_topics_request_topic topic = {.name = bytes_from_text(SIM_TOPIC),
                                                      .num_partitions = (int32_t)clients->params.partition_count,
                                                      .replication_factor = clients->params.replication_factor};
    struct kafka_create_topics_request_config compacted[] = {
        {.name = bytes_from_text("cleanup.policy"), .value = bytes_from_text("compact")},
        {.name = bytes_from_text("segment.ms"), .value = bytes_from_text("4000")},
        {.name = bytes_from_text("min.cleanable.dirty.ratio"), .value = bytes_from_text("0.01")},
        {.name = bytes_from_text("delete.retention.ms"), .value = bytes_from_text("0")},
    };
    if (history_is_compacted(clients->params.history)) {
        topic.configs = compacted;
        topic.configs_count = (int32_t)array_count(compacted);
    }
    struct kafka_create_topics_request request = {.topics = &topic, .topics_count = 1, .timeout_ms = 4000};
    clients->create = (struct link_call){
        .api = KAFKA_API_CREATE_TOPICS, .version = 7, .timeout_us = CALL_TIMEOUT_US, .cb = create_on_answer};
    links_call(clients->links, clients_any_node(clients), &clients->create, &request);
}

struct clients *clients_open(const struct clients_params *params)
{
    struct clients *clients = mem_alloc(sizeof(*clients));
    clients->params = *params;
    clients->env = sim_process_env(params->process, 0);
    clients->links = links_open(clients->env);
    timer_init(&clients->timer, create_on_timer);
    env_timer(clients->env, &clients->timer, 0);
    return clients;
}

bool clients_has_topic(const struct clients *clients)
{
    return clients->has_topic;
}

void clients_stop_producing(struct clients *clients)
{
    clients->is_producing = false;
    operator_stop(clients->operator);
    groups_stop(clients->groups);
}

bool clients_are_settled(const struct clients *clients)
{
    for (unsigned i = 0; i < clients->params.producer_count; i++) {
        if (!producer_is_settled(&clients->producers[i])) {
            return false;
        }
    }
    return operator_is_settled(clients->operator) && groups_are_settled(clients->groups);
}

void clients_read_all(struct clients *clients)
{
    if (history_is_compacted(clients->params.history)) {
        history_forget_readings(clients->params.history);
    }
    for (unsigned i = 0; i < clients->params.partition_count; i++) {
        clients->readers[i].is_final = true;
        clients->readers[i].is_complete = false;
        clients->readers[i].position = 0;
    }
}

bool clients_have_read_all(const struct clients *clients)
{
    for (unsigned i = 0; i < clients->params.partition_count; i++) {
        if (!clients->readers[i].is_complete) {
            return false;
        }
    }
    return true;
}

int64_t clients_end_offset(const struct clients *clients, unsigned partition)
{
    return clients->readers[partition].high_watermark;
}

unsigned clients_unregistered(const struct clients *clients)
{
    return clients->operator!= NULL ? operator_unregistered(clients->operator) : 0;
}

void clients_describe(const struct clients *clients, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, clients->has_topic ? "" : "the topic is not created;");
    for (unsigned p = 0; p < clients->params.partition_count && used < size; p++) {
        const struct leadership *leader = &clients->leaders[p];
        const struct reader_lane *reader = &clients->readers[p];
        used += (size_t)snprintf(text + used, size - used, " partition %u: leader %u epoch %d, read %lld of %lld;", p,
                                 leader->node, leader->epoch, (long long)reader->position,
                                 (long long)reader->high_watermark);
    }
    for (unsigned i = 0; i < clients->params.producer_count && used < size; i++) {
        const struct producer *producer = &clients->producers[i];
        for (unsigned p = 0; p < clients->params.partition_count && used < size; p++) {
            const struct lane *lane = &producer->lanes[p];
            if (lane->acked < lane->added || !producer->is_ready) {
                used += (size_t)snprintf(text + used, size - used,
                                         " producer %u%s partition %u: %u of %u acknowledged;", producer->number,
                                         producer->is_ready ? "" : " (no id)", p, lane->acked, lane->added);
            }
        }
    }
    if (clients->groups != NULL && used < size) {
        (void)groups_describe(clients->groups, text + used, size - used);
    }
}
