/* A producer takes its id, adds batches to its lanes at random times, and now and then, when all is acknowledged, asks
 * for another id or epoch and numbers its sequences from 0 again.
 *
 * Some have small batches, some have what a real client gathers under load: hundreds of records, many batches at
 * once. */
#include "base/arena.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "tests/sim/clients_internal.h"

enum {
    PAUSE_US = 100000,
    BURST_PAUSE_US = 3000000,
    BURST_MAX = 10, /* batches */
    AGAIN_US = 100000,
    RENEWALS = 10 /* one pause in so many */
};

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
            producer->is_renewing = false;
        }
    }
    arena_deinit(&arena);
    for (unsigned i = 0; i < producer->clients->params.partition_count && producer->is_ready; i++) {
        producer->lanes[i].epoch_base = producer->lanes[i].next_value;
    }
    env_timer(producer->clients->env, &producer->timer, AGAIN_US);
}

static void producer_init_id(struct producer *producer)
{
    bool has_id = producer->is_renewing && clients_below(producer->clients, 2) == 0;
    struct kafka_init_producer_id_request request = {.producer_id = has_id ? producer->id : -1,
                                                     .producer_epoch = (int16_t)(has_id ? producer->epoch : -1)};
    producer->init = (struct link_call){
        .api = KAFKA_API_INIT_PRODUCER_ID, .version = 4, .timeout_us = CALL_TIMEOUT_US, .cb = init_on_answer};
    links_call(producer->links, clients_any_node(producer->clients), &producer->init, &request);
}

static int64_t producer_pause_us(struct producer *producer)
{
    if (producer->records_max <= PRODUCER_SMALL_BATCH) {
        return clients_below(producer->clients, PAUSE_US);
    }
    if (producer->burst == 0) {
        producer->burst = 1 + (unsigned)clients_below(producer->clients, BURST_MAX);
        return clients_below(producer->clients, BURST_PAUSE_US);
    }
    producer->burst--;
    return clients_below(producer->clients, 2000);
}

static void producer_on_timer(struct timer *timer)
{
    struct producer *producer = container_of(timer, struct producer, timer);
    struct clients *clients = producer->clients;
    bool is_settled = producer_is_settled(producer);
    if (!producer->is_ready || (producer->is_renewing && is_settled)) {
        producer_init_id(producer);
        return;
    }
    if (producer->is_idempotent && clients_below(clients, RENEWALS) == 0) {
        producer->is_renewing = true;
    }
    if (clients->is_producing && !producer->is_renewing) {
        lane_add(&producer->lanes[clients_below(clients, (int64_t)clients->params.partition_count)]);
    }
    env_timer(clients->env, timer, producer_pause_us(producer));
}

void producer_start(struct clients *clients, unsigned number, bool is_idempotent)
{
    struct producer *producer = &clients->producers[number - 1];
    bool is_large = clients_below(clients, 6) == 0;
    producer->clients = clients;
    producer->links = links_open(clients->env);
    producer->number = number;
    producer->is_idempotent = is_idempotent;
    producer->is_ready = !is_idempotent;
    producer->resend = clients_below(clients, 2) == 0 ? RESEND_PIPELINED : RESEND_ONE_BY_ONE;
    producer->records_max = is_large ? PRODUCER_LARGE_BATCH : PRODUCER_SMALL_BATCH;
    producer->pad_max = is_large ? 40 : 900;
    history_add_producer(clients->params.history, number, is_idempotent);
    for (unsigned i = 0; i < clients->params.partition_count; i++) {
        lane_init(&producer->lanes[i], producer, i);
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
