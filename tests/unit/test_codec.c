/* The codec over all schemas: what it writes it reads back, and nothing that comes from outside can hurt it. */
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/outbuf.h"
#include "proto/codec.h"
#include "proto/kafka_messages.h"
#include "tests/lib/codec_random.h"
#include "tests/lib/test.h"

#define ROUNDS    30
#define ARENA_MAX MIB(16)
#define FRAME_MAX MIB(16)

/* All messages in one list: request and response of each API, then the headers. */
#define MESSAGE_COUNT (2 * KAFKA_MESSAGE_PAIR_COUNT + 2)

static const struct schema *message_schema(int index)
{
    if (index >= 2 * KAFKA_MESSAGE_PAIR_COUNT) {
        return index % 2 == 0 ? &kafka_request_header_schema : &kafka_response_header_schema;
    }
    const struct kafka_message_pair *pair = &kafka_message_pairs[index / 2];
    return index % 2 == 0 ? pair->request : pair->response;
}

static struct shared *encode(const struct schema *schema, int16_t version, const void *message)
{
    struct outbuf out;
    outbuf_init(&out, FRAME_MAX);
    codec_encode(schema, version, message, &out);
    ck_assert_int_eq(out.err, OK);
    struct shared *flat = outbuf_flatten(&out);
    ck_assert_uint_eq(flat->size, codec_size(schema, version, message));
    outbuf_deinit(&out);
    return flat;
}

/* Decodes from a heap copy of exactly that size, so that a sanitizer sees any read behind it. */
static enum err decode_copy(const struct schema *schema, int16_t version, struct bytes bytes,
                            size_t arena_max, size_t *left)
{
    uint8_t *copy = mem_alloc_raw(bytes.size + 1);
    memcpy(copy + 1, bytes.data, bytes.size);
    struct arena arena;
    arena_init(&arena, arena_max);
    struct reader reader;
    reader_init(&reader, (struct bytes){copy + 1, bytes.size});
    void *message = mem_alloc(schema->size);
    enum err err = codec_decode(schema, version, &reader, &arena, message);
    *left = reader.left;
    mem_free(message);
    arena_deinit(&arena);
    mem_free(copy);
    return err;
}

/* Goal: what is written is read back as the same. Method: random messages of every schema and version; the bytes of the
 * decoded message must equal the first ones, and nothing may be left. */
START_TEST(decode_gives_back_what_encode_wrote)
    {
        const struct schema *schema = message_schema(_i);
        void *sent = mem_alloc(schema->size);
        void *received = mem_alloc(schema->size);
        for (int16_t version = schema->version_min; version <= schema->version_max; version++) {
            for (uint64_t seed = 0; seed < ROUNDS; seed++) {
                struct arena arena;
                arena_init(&arena, ARENA_MAX);
                struct codec_random random = {.state = seed, .arena = &arena, .count_max = 3};
                codec_random_message(&random, schema, version, sent);
                struct shared *first = encode(schema, version, sent);
                struct reader reader;
                reader_init(&reader, (struct bytes){first->data, first->size});
                enum err err = codec_decode(schema, version, &reader, &arena, received);
                ck_assert_msg(err == OK && reader.left == 0, "%s v%d seed %d: %s, %zu left",
                              schema->name, version, (int)seed, err_name(err), reader.left);
                struct shared *second = encode(schema, version, received);
                ck_assert_msg(first->size == second->size &&
                                  memcmp(first->data, second->data, first->size) == 0,
                              "%s v%d seed %d: other bytes", schema->name, version, (int)seed);
                shared_release(first);
                shared_release(second);
                arena_deinit(&arena);
            }
        }
        mem_free(sent);
        mem_free(received);
    }
END_TEST

/* Goal: a cut message is never taken for a whole one. Method: every proper prefix of random messages. */
START_TEST(decode_rejects_every_truncation)
    {
        const struct schema *schema = message_schema(_i);
        void *sent = mem_alloc(schema->size);
        for (int16_t version = schema->version_min; version <= schema->version_max; version++) {
            struct arena arena;
            arena_init(&arena, ARENA_MAX);
            struct codec_random random = {
                .state = (uint64_t)version, .arena = &arena, .count_max = 2};
            codec_random_message(&random, schema, version, sent);
            struct shared *frame = encode(schema, version, sent);
            for (size_t size = 0; size < frame->size; size += size < 600 ? 1 : 97) {
                size_t left;
                enum err err = decode_copy(schema, version, (struct bytes){frame->data, size},
                                           ARENA_MAX, &left);
                ck_assert_msg(err != OK, "%s v%d cut at %zu of %zu", schema->name, version, size,
                              frame->size);
            }
            shared_release(frame);
            arena_deinit(&arena);
        }
        mem_free(sent);
    }
END_TEST

static Suite *codec_suite(void)
{
    Suite *suite = suite_create("codec");
    TCase *every = tcase_create("every schema");
    tcase_set_timeout(every, 60);
    tcase_add_loop_test(every, decode_gives_back_what_encode_wrote, 0, MESSAGE_COUNT);
    tcase_add_loop_test(every, decode_rejects_every_truncation, 0, MESSAGE_COUNT);
    suite_add_tcase(suite, every);
    return suite;
}

TEST_MAIN(codec_suite)
