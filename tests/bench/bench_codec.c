/* Time per message of the codec: the produce request and the fetch answer that make up the load of a broker. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/outbuf.h"
#include "proto/codec.h"
#include "proto/kafka_messages.h"

#define PARTITION_COUNT 1000
#define RECORDS_SIZE 4096

static double now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e9 + (double)at.tv_nsec;
}

static struct shared *encode(const struct schema *schema, int16_t version, const void *message)
{
    struct outbuf out;
    outbuf_init(&out, MIB(64));
    codec_encode(schema, version, message, &out);
    assert(out.err == OK);
    struct shared *flat = outbuf_flatten(&out);
    outbuf_deinit(&out);
    return flat;
}

static void bench_decode(const char *name, const struct schema *schema, int16_t version, const struct shared *frame,
                         int rounds)
{
    static uint8_t message[4096] __attribute__((aligned(16)));
    assert(schema->size <= sizeof(message));
    struct arena arena;
    arena_init(&arena, MIB(32));
    double start = now_ns();
    for (int i = 0; i < rounds; i++) {
        struct reader reader;
        reader_init(&reader, (struct bytes){frame->data, frame->size});
        enum err err = codec_decode(schema, version, &reader, &arena, message);
        assert(err == OK && reader.left == 0);
        arena_reset(&arena);
    }
    printf("  decode %-40s v%-3d %8zu bytes %10.0f ns\n", name, version, frame->size, (now_ns() - start) / rounds);
    arena_deinit(&arena);
}

static void on_error(struct codec_errors *errors, int16_t code)
{
    (void)errors;
    (void)code;
}

/* Of answers, as the broker encodes them. */
static void bench_encode(const char *name, const struct schema *schema, int16_t version, const void *message,
                         int rounds)
{
    struct codec_errors errors = {on_error};
    size_t size = 0;
    double start = now_ns();
    for (int i = 0; i < rounds; i++) {
        struct outbuf out;
        outbuf_init(&out, MIB(64));
        codec_encode_answer(schema, version, message, &out, &errors);
        assert(out.err == OK);
        size = out.size;
        outbuf_deinit(&out);
    }
    printf("  encode %-40s v%-3d %8zu bytes %10.0f ns\n", name, version, size, (now_ns() - start) / rounds);
}

static void bench_produce(const struct slice *records)
{
    struct kafka_produce_request_partition partition = {.index = 3, .records = *records};
    struct kafka_produce_request_topic topic = {
        .name = bytes_from_text("orders"), .partition_data = &partition, .partition_data_count = 1};
    struct kafka_produce_request request = {
        .acks = -1, .timeout_ms = 30000, .topic_data = &topic, .topic_data_count = 1};
    for (int16_t version = 7; version <= 13; version += 2) {
        struct shared *frame = encode(&kafka_produce_request_schema, version, &request);
        bench_decode("produce request, 1 partition", &kafka_produce_request_schema, version, frame, 2000000);
        shared_release(frame);
    }
    struct kafka_produce_response_partition answer;
    codec_init_defaults(&kafka_produce_response_partition_schema, &answer);
    struct kafka_produce_response_topic answer_topic = {
        .name = bytes_from_text("orders"), .partition_responses = &answer, .partition_responses_count = 1};
    struct kafka_produce_response response = {.responses = &answer_topic, .responses_count = 1};
    bench_encode("produce response, 1 partition", &kafka_produce_response_schema, 9, &response, 1000000);
}

static void bench_fetch(const struct slice *records)
{
    static struct kafka_fetch_response_partition partitions[PARTITION_COUNT];
    static struct kafka_fetch_request_partition wanted[PARTITION_COUNT];
    struct kafka_fetch_response_topic topic = {.topic = bytes_from_text("orders"), .partitions = partitions};
    struct kafka_fetch_response response;
    codec_init_defaults(&kafka_fetch_response_schema, &response);
    response.responses = &topic;
    response.responses_count = 1;
    for (int i = 0; i < PARTITION_COUNT; i++) {
        codec_init_defaults(&kafka_fetch_response_partition_schema, &partitions[i]);
        codec_init_defaults(&kafka_fetch_request_partition_schema, &wanted[i]);
        partitions[i].partition_index = wanted[i].partition = i;
    }
    for (int count = 1; count <= PARTITION_COUNT; count *= PARTITION_COUNT) {
        topic.partitions_count = count;
        const char *name = count == 1 ? "fetch response, 1 partition" : "fetch response, 1000 partitions, empty";
        bench_encode(name, &kafka_fetch_response_schema, 11, &response, 2000000 / count);
        bench_encode(name, &kafka_fetch_response_schema, 13, &response, 2000000 / count);
    }
    for (int i = 0; i < PARTITION_COUNT; i++) {
        partitions[i].records = *records;
    }
    bench_encode("fetch response, 1000 partitions, 4 KiB", &kafka_fetch_response_schema, 13, &response, 2000);

    struct kafka_fetch_request_topic wanted_topic = {.topic = bytes_from_text("orders"), .partitions = wanted};
    wanted_topic.partitions_count = PARTITION_COUNT;
    struct kafka_fetch_request request;
    codec_init_defaults(&kafka_fetch_request_schema, &request);
    request.topics = &wanted_topic;
    request.topics_count = 1;
    struct shared *frame = encode(&kafka_fetch_request_schema, 13, &request);
    bench_decode("fetch request, 1000 partitions", &kafka_fetch_request_schema, 13, frame, 2000);
    shared_release(frame);
}

int main(void)
{
    struct shared *block = shared_new(RECORDS_SIZE);
    memset(block->data, 'r', block->size);
    struct slice records = slice_of(block, 0, RECORDS_SIZE);
    bench_produce(&records);
    bench_fetch(&records);
    slice_release(&records);
    shared_release(block);
    return 0;
}
