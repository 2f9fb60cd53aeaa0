/* Asks one broker, whoever leads, how far all partitions go, and names no epoch, as clients without KIP-320 do not. So
 * it is there when a leader that was stopped or cut off comes back and does not know of its successor. In turn it
 * fetches from where somebody was told that a partition goes up to: that must not be out of range.
 *
 * What was told to anybody before it asks is the least that it may be told (check_stale.c). */
#include "base/arena.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "tests/sim/checks.h"
#include "tests/sim/clients_internal.h"

enum {
    PAUSE_US = 300000,
    LOOK_TIMEOUT_US = 2000000, /* shorter than most pauses: what waits in the socket was asked after the succession */
    FETCH_SIZE = 1000
};

static void take(const struct onlooker *onlooker, int32_t partition, enum kafka_error error, int64_t end)
{
    struct history *history = onlooker->clients->params.history;
    assert(partition >= 0 && partition < (int32_t)onlooker->clients->params.partition_count);
    int64_t known = onlooker->known[partition];
    if (error == KAFKA_NONE) {
        check_stale(history, (unsigned)partition, onlooker->node, known, end);
        history_told(history, (unsigned)partition, end);
    } else if (error == KAFKA_OFFSET_OUT_OF_RANGE) {
        check_stale_range(history, (unsigned)partition, onlooker->node, known);
    }
}

static void again(struct onlooker *onlooker)
{
    struct clients *clients = onlooker->clients;
    env_timer(clients->env, &onlooker->timer, 1 + clients_below(clients, PAUSE_US));
}

static void look_before(struct onlooker *onlooker)
{
    for (unsigned i = 0; i < onlooker->clients->params.partition_count; i++) {
        onlooker->known[i] = history_end_told(onlooker->clients->params.history, i);
    }
}

/* ---- ListOffsets */

static void list_on_answer(struct link_call *call)
{
    struct onlooker *onlooker = container_of(call, struct onlooker, call);
    struct kafka_list_offsets_response response;
    struct arena arena;
    arena_init(&arena, KIB(64));
    if (call->err == OK) {
        enum err err =
            codec_decode(&kafka_list_offsets_response_schema, call->version, &call->answer, &arena, &response);
        assert(err == OK && response.topics_count == 1);
        for (int32_t i = 0; i < response.topics[0].partitions_count; i++) {
            const struct kafka_list_offsets_response_partition *partition = &response.topics[0].partitions[i];
            take(onlooker, partition->partition_index, (enum kafka_error)partition->error_code, partition->offset);
        }
    }
    arena_deinit(&arena);
    again(onlooker);
}

static void list(struct onlooker *onlooker)
{
    struct clients *clients = onlooker->clients;
    struct kafka_list_offsets_request_partition partitions[PARTITIONS_MAX];
    for (unsigned i = 0; i < clients->params.partition_count; i++) {
        partitions[i] = (struct kafka_list_offsets_request_partition){
            .partition_index = (int32_t)i, .current_leader_epoch = -1, .timestamp = -1};
    }
    struct kafka_list_offsets_request_topic topic = {.name = bytes_from_text(SIM_TOPIC),
                                                     .partitions = partitions,
                                                     .partitions_count = (int32_t)clients->params.partition_count};
    struct kafka_list_offsets_request request = {.replica_id = -1, .topics = &topic, .topics_count = 1};
    onlooker->call = (struct link_call){
        .api = KAFKA_API_LIST_OFFSETS, .version = 7, .timeout_us = LOOK_TIMEOUT_US, .cb = list_on_answer};
    links_call(onlooker->links, onlooker->node, &onlooker->call, &request);
}

/* ---- Fetch */

static void fetch_on_answer(struct link_call *call)
{
    struct onlooker *onlooker = container_of(call, struct onlooker, call);
    struct kafka_fetch_response response;
    struct arena arena;
    arena_init(&arena, KIB(64));
    if (call->err == OK) {
        enum err err = codec_decode(&kafka_fetch_response_schema, call->version, &call->answer, &arena, &response);
        assert(err == OK && response.responses_count == 1);
        for (int32_t i = 0; i < response.responses[0].partitions_count; i++) {
            const struct kafka_fetch_response_partition *partition = &response.responses[0].partitions[i];
            take(onlooker, partition->partition_index, (enum kafka_error)partition->error_code,
                 partition->high_watermark);
        }
    }
    arena_deinit(&arena);
    again(onlooker);
}

static void fetch(struct onlooker *onlooker)
{
    struct clients *clients = onlooker->clients;
    struct kafka_fetch_request_partition partitions[PARTITIONS_MAX];
    for (unsigned i = 0; i < clients->params.partition_count; i++) {
        partitions[i] = (struct kafka_fetch_request_partition){.partition = (int32_t)i,
                                                               .current_leader_epoch = -1,
                                                               .fetch_offset = onlooker->known[i],
                                                               .last_fetched_epoch = -1,
                                                               .log_start_offset = -1,
                                                               .partition_max_bytes = FETCH_SIZE};
    }
    struct kafka_fetch_request_topic topic = {.topic = bytes_from_text(SIM_TOPIC),
                                              .partitions = partitions,
                                              .partitions_count = (int32_t)clients->params.partition_count};
    struct kafka_fetch_request request = {
        .replica_id = -1, .max_bytes = FETCH_SIZE, .session_epoch = -1, .topics = &topic, .topics_count = 1};
    onlooker->call =
        (struct link_call){.api = KAFKA_API_FETCH, .version = 12, .timeout_us = LOOK_TIMEOUT_US, .cb = fetch_on_answer};
    links_call(onlooker->links, onlooker->node, &onlooker->call, &request);
}

/* ---- Life */

static void onlooker_on_timer(struct timer *timer)
{
    struct onlooker *onlooker = container_of(timer, struct onlooker, timer);
    look_before(onlooker);
    if (clients_below(onlooker->clients, 2) == 0) {
        list(onlooker);
    } else {
        fetch(onlooker);
    }
}

void onlooker_start(struct clients *clients, unsigned node)
{
    struct onlooker *onlooker = &clients->onlookers[node - 1];
    onlooker->clients = clients;
    onlooker->links = links_open(clients->env);
    onlooker->node = node;
    timer_init(&onlooker->timer, onlooker_on_timer);
    again(onlooker);
}
