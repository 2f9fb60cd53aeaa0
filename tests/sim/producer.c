/* A batch is sent again, with all behind it, until it is acknowledged: in order, under the same sequence numbers, one
 * at a time, as Kafka's clients do. A broker that knows nothing of a producer takes any sequence number for its first:
 * were five sent again together and the first of them refused while there is no leader yet, the fifth would get in
 * before it. */
#include "base/arena.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/records.h"
#include "tests/sim/clients_internal.h"

enum {
    PAUSE_US = 40000,
    BACKOFF_US = 100000,
    PAD_MAX = 900,
    BATCH_RECORDS_MAX = 5
};

struct attempt {
    struct link_call call;
    struct lane *lane;
    unsigned batch;
    unsigned generation;
};

static void lane_pump(struct lane *lane);

static void lane_on_backoff(struct timer *timer)
{
    struct lane *lane = container_of(timer, struct lane, backoff);
    lane->is_backing_off = false;
    lane_pump(lane);
}

static void lane_again(struct lane *lane)
{
    struct clients *clients = lane->producer->clients;
    lane->generation++;
    lane->sent_again = lane->sent > lane->sent_again ? lane->sent : lane->sent_again;
    lane->sent = lane->acked;
    lane->is_backing_off = true;
    env_timer(clients->env, &lane->backoff, 1000 + clients_below(clients, BACKOFF_US));
    clients_refresh(clients);
}

static void lane_acked(struct lane *lane, unsigned number, int64_t base_offset)
{
    struct batch *batch = &lane->batches[number];
    struct history *history = lane->producer->clients->params.history;
    for (uint32_t i = 0; i < batch->count && base_offset >= 0; i++) {
        history_acked(history, lane->producer->number, lane->partition, batch->first + i, base_offset + i);
    }
    batch->is_acked = true;
    while (lane->acked < lane->added && lane->batches[lane->acked].is_acked) {
        lane->acked++;
    }
    if (lane->sent < lane->acked) {
        lane->sent = lane->acked;
    }
}

static void lane_refused(struct lane *lane, const struct attempt *attempt, enum kafka_error error)
{
    if (attempt->generation != lane->generation || lane->batches[attempt->batch].is_acked) {
        return;
    }
    bool is_order = error == KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER;
    if ((is_order && attempt->batch == lane->acked) || (!is_order && !kafka_error_is_retriable(error))) {
        history_violation(lane->producer->clients->params.history, is_order ? "lost-write" : "refused",
                          "producer %u partition %u batch %u: %s", lane->producer->number, lane->partition,
                          attempt->batch, kafka_error_name(error));
    }
    lane_again(lane);
}

static void attempt_on_answer(struct link_call *call)
{
    struct attempt *attempt = container_of(call, struct attempt, call);
    struct lane *lane = attempt->lane;
    struct kafka_produce_response response;
    struct arena arena;
    arena_init(&arena, MIB(1));
    if (call->err != OK) {
        if (attempt->generation == lane->generation && !lane->batches[attempt->batch].is_acked) {
            lane_again(lane);
        }
    } else {
        enum err err = codec_decode(&kafka_produce_response_schema, call->version, &call->answer, &arena, &response);
        assert(err == OK && response.responses_count == 1 && response.responses[0].partition_responses_count == 1);
        const struct kafka_produce_response_partition *partition = &response.responses[0].partition_responses[0];
        enum kafka_error error = (enum kafka_error)partition->error_code;
        if (error == KAFKA_NONE || error == KAFKA_DUPLICATE_SEQUENCE_NUMBER) {
            lane_acked(lane, attempt->batch, error == KAFKA_NONE ? partition->base_offset : -1);
            lane_pump(lane);
        } else {
            lane_refused(lane, attempt, error);
        }
    }
    arena_deinit(&arena);
    mem_free(attempt);
}

static struct shared *batch_build(const struct lane *lane, const struct batch *batch)
{
    uint8_t data[8 + PAD_MAX];
    const struct producer *producer = lane->producer;
    struct record_builder *builder = record_builder_open(CODEC_NONE, 1000);
    if (producer->is_idempotent) {
        record_builder_producer(builder, producer->id, producer->epoch, (int32_t)batch->first);
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        uint32_t number = batch->first + i;
        struct bytes value = {data, 8 + number * 131 % PAD_MAX};
        for (size_t n = 0; n < value.size; n++) {
            data[n] = (uint8_t)(number + n);
        }
        be32_put(data, producer->number);
        be32_put(data + 4, number);
        record_builder_add(builder, 1000, NULL, &value, NULL, 0);
    }
    return record_builder_finish(builder);
}

static void batch_send(struct lane *lane, unsigned number, unsigned node)
{
    struct attempt *attempt = mem_alloc(sizeof(*attempt));
    struct shared *block = batch_build(lane, &lane->batches[number]);
    struct kafka_produce_request_partition partition = {.index = (int32_t)lane->partition,
                                                        .records = {block, {block->data, block->size}}};
    struct kafka_produce_request_topic topic = {
        .name = bytes_from_text(SIM_TOPIC), .partition_data = &partition, .partition_data_count = 1};
    struct kafka_produce_request request = {
        .acks = -1, .timeout_ms = 4000, .topic_data = &topic, .topic_data_count = 1};
    attempt->lane = lane;
    attempt->batch = number;
    attempt->generation = lane->generation;
    attempt->call = (struct link_call){
        .api = KAFKA_API_PRODUCE, .version = 9, .timeout_us = CALL_TIMEOUT_US, .cb = attempt_on_answer};
    links_call(lane->producer->clients->links, node, &attempt->call, &request);
    shared_release(block);
}

static void lane_pump(struct lane *lane)
{
    unsigned node = lane->producer->clients->leaders[lane->partition].node;
    if (!lane->producer->is_ready || lane->is_backing_off) {
        return;
    }
    while (lane->sent < lane->added &&
           lane->sent < lane->acked + (lane->acked < lane->sent_again ? 1 : IN_FLIGHT_MAX)) {
        if (node == 0) {
            lane_again(lane);
            return;
        }
        if (lane->batches[lane->sent].is_acked) {
            lane->sent++;
            continue;
        }
        batch_send(lane, lane->sent++, node);
    }
}

static void lane_add(struct lane *lane)
{
    struct clients *clients = lane->producer->clients;
    uint32_t count = 1 + (uint32_t)clients_below(clients, BATCH_RECORDS_MAX);
    if (lane->added == BATCHES_MAX || lane->added >= lane->acked + IN_FLIGHT_MAX ||
        lane->next_value + count > VALUES_MAX) {
        return;
    }
    lane->batches[lane->added++] = (struct batch){.first = lane->next_value, .count = (uint16_t)count};
    lane->next_value += count;
    history_sent(clients->params.history, lane->producer->number, lane->partition, lane->next_value - 1);
    lane_pump(lane);
}

/* ---- Producers */

static void producer_on_timer(struct timer *timer);

static void init_on_answer(struct link_call *call)
{
    struct producer *producer = container_of(call, struct producer, init);
    struct kafka_init_producer_id_response response;
    struct arena arena;
    arena_init(&arena, MIB(1));
    if (call->err == OK) {
        enum err err =
            codec_decode(&kafka_init_producer_id_response_schema, call->version, &call->answer, &arena, &response);
        assert(err == OK);
        if (response.error_code == KAFKA_NONE) {
            producer->id = response.producer_id;
            producer->epoch = response.producer_epoch;
            producer->is_ready = true;
        }
    }
    arena_deinit(&arena);
    env_timer(producer->clients->env, &producer->timer, BACKOFF_US);
}

static void producer_init_id(struct producer *producer)
{
    struct kafka_init_producer_id_request request = {.producer_id = -1, .producer_epoch = -1};
    producer->init = (struct link_call){
        .api = KAFKA_API_INIT_PRODUCER_ID, .version = 4, .timeout_us = CALL_TIMEOUT_US, .cb = init_on_answer};
    links_call(producer->clients->links, clients_any_node(producer->clients), &producer->init, &request);
}

static void producer_on_timer(struct timer *timer)
{
    struct producer *producer = container_of(timer, struct producer, timer);
    struct clients *clients = producer->clients;
    if (!producer->is_ready) {
        producer_init_id(producer);
        return;
    }
    if (clients->is_producing) {
        lane_add(&producer->lanes[clients_below(clients, (int64_t)clients->params.partition_count)]);
    }
    env_timer(clients->env, timer, clients_below(clients, PAUSE_US));
}

void producer_start(struct clients *clients, unsigned number, bool is_idempotent)
{
    struct producer *producer = &clients->producers[number - 1];
    producer->clients = clients;
    producer->number = number;
    producer->is_idempotent = is_idempotent;
    producer->is_ready = !is_idempotent;
    history_add_producer(clients->params.history, number, is_idempotent);
    for (unsigned i = 0; i < clients->params.partition_count; i++) {
        producer->lanes[i].producer = producer;
        producer->lanes[i].partition = i;
        timer_init(&producer->lanes[i].backoff, lane_on_backoff);
    }
    timer_init(&producer->timer, producer_on_timer);
    env_timer(clients->env, &producer->timer, 0);
}

bool producer_is_settled(const struct producer *producer)
{
    for (unsigned i = 0; i < PARTITIONS_MAX; i++) {
        if (producer->lanes[i].acked < producer->lanes[i].added) {
            return false;
        }
    }
    return true;
}
