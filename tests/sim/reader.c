/* Follows a partition from offset 0 with long polls; now and then it starts over. It names the epoch of the leader it
 * knows, so that a deposed leader refuses, and what it is told of the high watermark may only rise. */
#include "base/arena.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/records.h"
#include "tests/sim/checks.h"
#include "tests/sim/clients_internal.h"

enum {
    AGAIN_US = 50000,
    FETCH_SIZE = 20000,
    START_OVER = 400 /* one fetch in so many */
};

static void take_batch(struct reader_lane *reader, const struct record_batch *batch)
{
    struct history *history = reader->clients->params.history;
    struct record_iterator iterator;
    struct record record;
    if (!record_batch_crc_ok(batch)) {
        history_violation(history, "inconsistent-offsets", "partition %u offset %lld: CRC of a batch is wrong",
                          reader->partition, (long long)batch->base_offset);
        return;
    }
    enum err err = record_iterator_init(&iterator, batch, MIB(1));
    assert(err == OK);
    while ((err = record_iterator_next(&iterator, &record)) == OK) {
        if (record.value.size < 8) {
            history_violation(history, "invented", "partition %u offset %lld: no value of ours", reader->partition,
                              (long long)record.offset);
            break;
        }
        struct value value = {(uint16_t)be32_get(record.value.data), be32_get(record.value.data + 4)};
        history_read(history, reader->partition, record.offset, value);
    }
    record_iterator_deinit(&iterator);
}

static void take_records(struct reader_lane *reader, struct bytes left)
{
    struct history *history = reader->clients->params.history;
    size_t size;
    while (record_batch_size(left, &size) == OK && size <= left.size) {
        struct record_batch batch;
        enum err err = record_batch_view(left, &batch);
        assert(err == OK);
        int64_t end = batch.base_offset + batch.last_offset_delta + 1;
        if (!check_poll_batch(history, reader->partition, reader->position, batch.base_offset, end)) {
            return;
        }
        take_batch(reader, &batch);
        reader->position = end;
        left = (struct bytes){left.data + size, left.size - size};
    }
}

static void take_partition(struct reader_lane *reader, const struct kafka_fetch_response_partition *partition)
{
    check_poll_watermark(reader->clients->params.history, reader->partition, reader->high_watermark,
                         partition->high_watermark);
    reader->high_watermark = partition->high_watermark;
    history_told(reader->clients->params.history, reader->partition, reader->high_watermark);
    if (reader->asked != reader->position) {
        return; /* it has been told to start over meanwhile */
    }
    take_records(reader, partition->records.bytes);
    if (reader->is_final && reader->position == reader->high_watermark) {
        reader->is_complete = true;
    }
}

static void fetch_refused(struct reader_lane *reader, enum kafka_error error)
{
    if (error == KAFKA_OFFSET_OUT_OF_RANGE || !(kafka_error_is_retriable(error) || error == KAFKA_FENCED_LEADER_EPOCH ||
                                                error == KAFKA_UNKNOWN_LEADER_EPOCH)) {
        check_poll_refused(reader->clients->params.history, reader->partition, reader->position,
                           kafka_error_name(error));
    }
    clients_refresh(reader->clients);
}

static void fetch_on_answer(struct link_call *call)
{
    struct reader_lane *reader = container_of(call, struct reader_lane, call);
    struct clients *clients = reader->clients;
    struct kafka_fetch_response response;
    struct arena arena;
    int64_t pause_us = AGAIN_US;
    arena_init(&arena, MIB(1));
    if (call->err == OK) {
        enum err err = codec_decode(&kafka_fetch_response_schema, call->version, &call->answer, &arena, &response);
        assert(err == OK);
        if (response.error_code == KAFKA_NONE && response.responses_count == 1 &&
            response.responses[0].partitions_count == 1) {
            const struct kafka_fetch_response_partition *partition = &response.responses[0].partitions[0];
            if (partition->error_code == KAFKA_NONE) {
                take_partition(reader, partition);
                pause_us = 1000;
            } else {
                fetch_refused(reader, (enum kafka_error)partition->error_code);
            }
        }
    } else {
        clients_refresh(clients);
    }
    arena_deinit(&arena);
    env_timer(clients->env, &reader->timer, 1 + clients_below(clients, pause_us));
}

static void reader_on_timer(struct timer *timer)
{
    struct reader_lane *reader = container_of(timer, struct reader_lane, timer);
    struct clients *clients = reader->clients;
    const struct leadership *leader = &clients->leaders[reader->partition];
    if (leader->node == 0) {
        clients_refresh(clients);
        env_timer(clients->env, timer, AGAIN_US);
        return;
    }
    if (!reader->is_final && clients_below(clients, START_OVER) == 0) {
        reader->position = 0;
    }
    reader->asked = reader->position;
    struct kafka_fetch_request_partition partition = {.partition = (int32_t)reader->partition,
                                                      .current_leader_epoch = leader->epoch,
                                                      .fetch_offset = reader->position,
                                                      .last_fetched_epoch = -1,
                                                      .log_start_offset = -1,
                                                      .partition_max_bytes = FETCH_SIZE};
    struct kafka_fetch_request_topic topic = {
        .topic = bytes_from_text(SIM_TOPIC), .partitions = &partition, .partitions_count = 1};
    struct kafka_fetch_request request = {.replica_id = -1,
                                          .max_wait_ms = 300,
                                          .min_bytes = 1,
                                          .max_bytes = FETCH_SIZE,
                                          .session_epoch = -1,
                                          .topics = &topic,
                                          .topics_count = 1};
    reader->call =
        (struct link_call){.api = KAFKA_API_FETCH, .version = 12, .timeout_us = CALL_TIMEOUT_US, .cb = fetch_on_answer};
    links_call(clients->links, leader->node, &reader->call, &request);
}

void reader_start(struct clients *clients, unsigned partition)
{
    struct reader_lane *reader = &clients->readers[partition];
    reader->clients = clients;
    reader->partition = partition;
    timer_init(&reader->timer, reader_on_timer);
    env_timer(clients->env, &reader->timer, 0);
}
