/* A batch is sent again until it is acknowledged: in order, with the boundaries and sequence numbers it had, as Kafka's
 * clients do. A refusal for its sequence number is right only for a batch behind one that has failed; the first one
 * that is not acknowledged must be what the broker expects, or a client would take a new epoch and write twice. */
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/records.h"
#include "tests/sim/clients_internal.h"

enum {
    BACKOFF_US = 100000,
    PAD_MAX = 900,
    WAITING_MAX = 2 * IN_FLIGHT_MAX,
    REQUEST_TIMEOUT_MS = 4000
};

struct attempt {
    struct link_call call;
    struct lane *lane;
    unsigned batch;
};

static void lane_on_backoff(struct timer *timer)
{
    struct lane *lane = container_of(timer, struct lane, backoff);
    lane->is_backing_off = false;
    lane_pump(lane);
}

static void lane_back_off(struct lane *lane)
{
    struct clients *clients = lane->producer->clients;
    if (!lane->is_backing_off) {
        lane->is_backing_off = true;
        env_timer(clients->env, &lane->backoff, 1000 + clients_below(clients, BACKOFF_US));
    }
    clients_refresh(clients);
}

/* ---- Outcomes */

static void batch_acked(struct lane *lane, unsigned number, int64_t base_offset)
{
    struct batch *batch = &lane->batches[number];
    struct history *history = lane->producer->clients->params.history;
    for (uint32_t i = 0; i < batch->count; i++) {
        history_acked(history, lane->producer->number, lane->partition, batch->first + i,
                      base_offset < 0 ? HISTORY_ACKED_SOMEWHERE : base_offset + i);
    }
    batch->state = BATCH_ACKED;
    while (lane->acked < lane->added && lane->batches[lane->acked].state == BATCH_ACKED) {
        lane->acked++;
    }
}

/* librdkafka concludes that what waits to be sent again before an acknowledged batch is in the log: the broker would
 * not have taken the later one otherwise. */
static void lane_conclude(struct lane *lane, unsigned number)
{
    for (unsigned i = lane->acked; i < number; i++) {
        if (lane->batches[i].state == BATCH_QUEUED && lane->batches[i].is_again) {
            batch_acked(lane, i, -1);
        }
    }
}

static void batch_failed(struct lane *lane, unsigned number)
{
    lane->batches[number].state = BATCH_QUEUED;
    lane_back_off(lane);
}

static void batch_refused(struct lane *lane, unsigned number, enum kafka_error error)
{
    bool is_order = error == KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER;
    if ((is_order && number == lane->acked) || (!is_order && !kafka_error_is_retriable(error))) {
        history_violation(lane->producer->clients->params.history, is_order ? "lost-write" : "refused",
                          "producer %u partition %u batch %u of %u, sequence %u: %s", lane->producer->number,
                          lane->partition, number, lane->added, lane->batches[number].first - lane->epoch_base,
                          kafka_error_name(error));
    }
    batch_failed(lane, number);
}

static void batch_answered(struct lane *lane, unsigned number, struct link_call *call)
{
    struct kafka_produce_response response;
    struct arena arena;
    arena_init(&arena, MIB(1));
    enum err err = codec_decode(&kafka_produce_response_schema, call->version, &call->answer, &arena, &response);
    assert(err == OK && response.responses_count == 1 && response.responses[0].partition_responses_count == 1);
    const struct kafka_produce_response_partition *partition = &response.responses[0].partition_responses[0];
    enum kafka_error error = (enum kafka_error)partition->error_code;
    if (error == KAFKA_NONE || error == KAFKA_DUPLICATE_SEQUENCE_NUMBER) {
        if (lane->producer->is_idempotent && lane->producer->resend == RESEND_PIPELINED) {
            lane_conclude(lane, number);
        }
        batch_acked(lane, number, error == KAFKA_NONE ? partition->base_offset : -1);
    } else {
        batch_refused(lane, number, error);
    }
    arena_deinit(&arena);
}

static void attempt_on_answer(struct link_call *call)
{
    struct attempt *attempt = container_of(call, struct attempt, call);
    struct lane *lane = attempt->lane;
    unsigned number = attempt->batch;
    assert(lane->in_flight > 0 && lane->batches[number].state == BATCH_SENT);
    lane->in_flight--;
    if (call->err == OK) {
        batch_answered(lane, number, call);
    } else {
        batch_failed(lane, number);
    }
    mem_free(attempt);
    lane_pump(lane);
}

/* ---- Sending */

/* What fills values: any 256 bytes of it are all there are. */
static uint8_t pattern[256 + PAD_MAX];

static void pattern_make(void)
{
    for (size_t i = 0; i < sizeof(pattern); i++) {
        pattern[i] = (uint8_t)i;
    }
}

static struct shared *batch_build(const struct lane *lane, const struct batch *batch)
{
    uint8_t data[8 + PAD_MAX];
    const struct producer *producer = lane->producer;
    struct record_builder *builder = record_builder_open(CODEC_NONE, 1000);
    if (producer->is_idempotent) {
        record_builder_producer(builder, producer->id, producer->epoch, (int32_t)(batch->first - lane->epoch_base));
    }
    for (uint32_t i = 0; i < batch->count; i++) {
        uint32_t number = batch->first + i;
        struct bytes value = {data, 8 + number * 131 % producer->pad_max};
        memcpy(data + 8, &pattern[(number + 8) % 256], value.size - 8);
        be32_put(data, producer->number);
        be32_put(data + 4, number);
        struct bytes key = {data, history_is_update(number) ? 4 : 8};
        bool is_compacted = history_is_compacted(producer->clients->params.history);
        record_builder_add(builder, 1000, is_compacted ? &key : NULL, &value, NULL, 0);
    }
    return record_builder_finish(builder);
}

static void batch_send(struct lane *lane, unsigned number)
{
    struct attempt *attempt = mem_alloc(sizeof(*attempt));
    struct shared *block = batch_build(lane, &lane->batches[number]);
    struct kafka_produce_request_partition partition = {.index = (int32_t)lane->partition,
                                                        .records = {block, {block->data, block->size}}};
    struct kafka_produce_request_topic topic = {
        .name = bytes_from_text(SIM_TOPIC), .partition_data = &partition, .partition_data_count = 1};
    struct kafka_produce_request request = {
        .acks = -1, .timeout_ms = REQUEST_TIMEOUT_MS, .topic_data = &topic, .topic_data_count = 1};
    attempt->lane = lane;
    attempt->batch = number;
    attempt->call = (struct link_call){
        .api = KAFKA_API_PRODUCE, .version = 9, .timeout_us = CALL_TIMEOUT_US, .cb = attempt_on_answer};
    lane->batches[number].state = BATCH_SENT;
    lane->batches[number].is_again = true;
    lane->in_flight++;
    links_call(lane->producer->links, lane->node, &attempt->call, &request);
    shared_release(block);
}

static bool may_send(const struct lane *lane, unsigned number)
{
    const struct batch *batch = &lane->batches[number];
    if (lane->in_flight == IN_FLIGHT_MAX) {
        return false;
    }
    if (lane->producer->resend == RESEND_PIPELINED) {
        return true;
    }
    return !batch->is_again || lane->in_flight == 0;
}

/* Whether batches may go to the partition's leader now. */
static bool lane_follows_leader(struct lane *lane)
{
    unsigned node = lane->producer->clients->leaders[lane->partition].node;
    if (node == 0) {
        lane_back_off(lane);
        return false;
    }
    if (node != lane->node && lane->in_flight > 0 && lane->producer->resend == RESEND_PIPELINED) {
        return false; /* until the former leader has answered, or its connection is gone */
    }
    lane->node = node;
    return true;
}

void lane_pump(struct lane *lane)
{
    if (!lane->producer->is_ready || lane->is_backing_off || lane->acked == lane->added || !lane_follows_leader(lane)) {
        return;
    }
    for (unsigned i = lane->acked; i < lane->added && i < lane->acked + IN_FLIGHT_MAX; i++) {
        if (lane->batches[i].state != BATCH_QUEUED) {
            continue;
        }
        if (!may_send(lane, i)) {
            return;
        }
        batch_send(lane, i);
    }
}

void lane_add(struct lane *lane)
{
    struct clients *clients = lane->producer->clients;
    uint32_t count = 1 + (uint32_t)clients_below(clients, (int64_t)lane->producer->records_max);
    if (lane->added >= lane->acked + WAITING_MAX || lane->next_value + count > VALUES_MAX) {
        return;
    }
    if (lane->added == lane->capacity) {
        lane->capacity = lane->capacity > 0 ? 2 * lane->capacity : 256;
        lane->batches = mem_resize(lane->batches, lane->capacity * sizeof(*lane->batches));
    }
    lane->batches[lane->added++] = (struct batch){.first = lane->next_value, .count = (uint16_t)count};
    lane->next_value += count;
    history_sent(clients->params.history, lane->producer->number, lane->partition, lane->next_value - 1);
    lane_pump(lane);
}

void lane_init(struct lane *lane, struct producer *producer, unsigned partition)
{
    pattern_make();
    lane->producer = producer;
    lane->partition = partition;
    timer_init(&lane->backoff, lane_on_backoff);
}
