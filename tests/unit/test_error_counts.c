/* What is refused with an error code in an answer is counted as the answer is encoded (proto/codec.h), and gets its
 * names on the page of metrics (broker/request.h, broker/admin.h). */
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/metrics.h"
#include "base/outbuf.h"
#include "broker/admin.h"
#include "broker/request.h"
#include "proto/errors.h"
#include "tests/lib/codec_random.h"
#include "tests/lib/test.h"

#include <ctype.h>
#include <string.h>

#define CODES_MAX 64
#define FRAME_MAX MIB(16)

struct seen {
    struct codec_errors errors;
    int16_t codes[CODES_MAX];
    size_t count;
};

static void on_seen(struct codec_errors *errors, int16_t code)
{
    struct seen *seen = container_of(errors, struct seen, errors);
    seen->codes[seen->count % CODES_MAX] = code;
    seen->count++;
}

static struct shared *encode(const struct schema *schema, int16_t version, const void *message, struct seen *seen)
{
    struct outbuf out;
    outbuf_init(&out, FRAME_MAX);
    if (seen != NULL) {
        *seen = (struct seen){.errors = {on_seen}};
        codec_encode_answer(schema, version, message, &out, &seen->errors);
    } else {
        codec_encode(schema, version, message, &out);
    }
    ck_assert_int_eq(out.err, OK);
    struct shared *flat = outbuf_flatten(&out);
    outbuf_deinit(&out);
    return flat;
}

/* Error codes that are not 0, found by name in a decoded message, which has nothing that its version lacks. */
static size_t count_by_name(const struct schema *schema, const uint8_t *message)
{
    size_t count = 0;
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct schema_field *field = &schema->fields[i];
        const uint8_t *at = message + field->offset;
        if (strstr(field->name, "error_code") != NULL) {
            count += *(const int16_t *)(const void *)at != 0;
        } else if (field->type == SCHEMA_STRUCT && field->is_array) {
            int32_t items = *(const int32_t *)(const void *)(message + field->count_offset);
            for (int32_t j = 0; j < items; j++) {
                count += count_by_name(field->schema,
                                       *(const uint8_t *const *)(const void *)at + (size_t)j * field->schema->size);
            }
        } else if (field->type == SCHEMA_STRUCT) {
            count += count_by_name(field->schema, at);
        } else if (field->type == SCHEMA_POINTER && *(void *const *)(const void *)at != NULL) {
            count += count_by_name(field->schema, *(const uint8_t *const *)(const void *)at);
        }
    }
    return count;
}

/* Goal: in every answer of every version each code on the wire is counted once, however deep, and the bytes are those
 * of an answer that is not counted. Method: random answers; what a client decodes is searched by field names. */
START_TEST(every_code_on_the_wire_is_seen_once)
{
    const struct schema *schema = kafka_message_pairs[_i].response;
    void *sent = mem_alloc(schema->size);
    void *received = mem_alloc(schema->size);
    for (int16_t version = schema->version_min; version <= schema->version_max; version++) {
        for (uint64_t seed = 0; seed < 20; seed++) {
            struct arena arena;
            struct seen seen;
            struct reader reader;
            arena_init(&arena, FRAME_MAX);
            struct codec_random random = {.state = seed, .arena = &arena, .count_max = 3};
            codec_random_message(&random, schema, version, sent);
            struct shared *counted = encode(schema, version, sent, &seen);
            struct shared *plain = encode(schema, version, sent, NULL);
            ck_assert(counted->size == plain->size && memcmp(counted->data, plain->data, plain->size) == 0);
            reader_init(&reader, (struct bytes){plain->data, plain->size});
            ck_assert_int_eq(codec_decode(schema, version, &reader, &arena, received), OK);
            size_t wanted = count_by_name(schema, received);
            ck_assert_msg(seen.count == wanted, "%s v%d seed %d: %zu of %zu", schema->name, version, (int)seed,
                          seen.count, wanted);
            shared_release(counted);
            shared_release(plain);
            arena_deinit(&arena);
        }
    }
    mem_free(sent);
    mem_free(received);
}
END_TEST

static bool has_error(const struct schema *schema)
{
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct schema_field *field = &schema->fields[i];
        if (field->type == SCHEMA_ERROR || (field->schema != NULL && has_error(field->schema))) {
            return true;
        }
    }
    return false;
}

/* Goal: each answer can tell an error, and no request is taken for one. */
START_TEST(answers_have_errors_and_requests_have_none)
{
    const struct kafka_message_pair *pair = &kafka_message_pairs[_i];
    ck_assert_msg(has_error(pair->response), "%s", pair->name);
    ck_assert_msg(!has_error(pair->request), "%s", pair->name);
}
END_TEST

/* Goal: a code that is 0 tells nothing; tagged fields, which are encoded twice, and fields of other versions count as
 * often as they are sent. */
START_TEST(old_and_flexible_versions)
{
    struct kafka_create_topics_response_topic topics[3] = {
        {.error_code = KAFKA_INVALID_TOPIC_EXCEPTION},
        {.error_code = KAFKA_NONE},
        {.error_code = KAFKA_TOPIC_ALREADY_EXISTS, .topic_config_error_code = KAFKA_TOPIC_AUTHORIZATION_FAILED},
    };
    struct kafka_create_topics_response response = {.topics = topics, .topics_count = 3};
    struct seen seen;
    shared_release(encode(&kafka_create_topics_response_schema, 0, &response, &seen));
    ck_assert_uint_eq(seen.count, 2);
    ck_assert_int_eq(seen.codes[0], KAFKA_INVALID_TOPIC_EXCEPTION);
    ck_assert_int_eq(seen.codes[1], KAFKA_TOPIC_ALREADY_EXISTS);
    shared_release(encode(&kafka_create_topics_response_schema, 7, &response, &seen));
    ck_assert_uint_eq(seen.count, 3);
    ck_assert_int_eq(seen.codes[2], KAFKA_TOPIC_AUTHORIZATION_FAILED);
    response.topics_count = 0;
    shared_release(encode(&kafka_create_topics_response_schema, 7, &response, &seen));
    ck_assert_uint_eq(seen.count, 0);

    struct kafka_offset_fetch_response_group group = {.error_code = KAFKA_NOT_COORDINATOR};
    struct kafka_offset_fetch_response offsets = {
        .error_code = KAFKA_UNKNOWN_SERVER_ERROR, .groups = &group, .groups_count = 1};
    shared_release(encode(&kafka_offset_fetch_response_schema, 1, &offsets, &seen));
    ck_assert_uint_eq(seen.count, 0);
    shared_release(encode(&kafka_offset_fetch_response_schema, 7, &offsets, &seen));
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_int_eq(seen.codes[0], -1);
    shared_release(encode(&kafka_offset_fetch_response_schema, 8, &offsets, &seen));
    ck_assert_uint_eq(seen.count, 1);
    ck_assert_int_eq(seen.codes[0], KAFKA_NOT_COORDINATOR);
}
END_TEST

/* Goal: codes get the row of their API and their own column; one that Kafka does not have is no reason to die. */
START_TEST(codes_find_their_place)
{
    struct metrics *metrics = metrics_open();
    const struct kafka_api *api = kafka_api_find(KAFKA_API_JOIN_GROUP);
    request_count_error(metrics, api, KAFKA_INVALID_SESSION_TIMEOUT);
    request_count_error(metrics, api, KAFKA_INVALID_SESSION_TIMEOUT);
    request_count_error(metrics, kafka_api_find_internal(KAFKA_API_ALLOCATE_PRODUCER_IDS), -1);
    request_count_error(metrics, api, INT16_MAX);
    request_count_error(metrics, api, INT16_MIN);
    struct dynbuf text;
    dynbuf_init(&text, MIB(1));
    ck_assert_int_eq(metrics_print_pair(&metrics, 1, METRIC_ERRORS, request_error_labels, &text), OK);
    ck_assert_int_eq(dynbuf_put(&text, (struct bytes){(const uint8_t *)"", 1}), OK);
    const char *rows = strstr((const char *)text.data, "counter\n");
    ck_assert_str_eq(rows, "counter\n"
                           "balsa_errors_total{api=\"JoinGroup\",error=\"INVALID_SESSION_TIMEOUT\"} 2\n"
                           "balsa_errors_total{api=\"JoinGroup\",error=\"UNKNOWN\"} 2\n"
                           "balsa_errors_total{api=\"AllocateProducerIds\",error=\"UNKNOWN_SERVER_ERROR\"} 1\n");
    dynbuf_deinit(&text);
    metrics_close(metrics);
}
END_TEST

static bool is_label(const char *text)
{
    size_t quotes = 0;
    for (; *text != '\0'; text++) {
        quotes += *text == '"';
        if (quotes % 2 == 1 && *text != '"' && !isalnum((unsigned char)*text) && strchr("_./", *text) == NULL) {
            return false;
        }
    }
    return quotes == 4;
}

static void check_labels(metric_labels labels, size_t rows, size_t columns)
{
    char(*texts)[256] = mem_alloc(rows * columns * sizeof(*texts));
    for (size_t i = 0; i < rows * columns; i++) {
        labels(i / columns, i % columns, texts[i], sizeof(texts[i]));
        ck_assert_msg(is_label(texts[i]), "%s", texts[i]);
        for (size_t j = i % columns; j < i; j += columns) { /* of the same column */
            ck_assert_msg(strcmp(texts[i], texts[j]) != 0, "%s twice", texts[i]);
        }
    }
    mem_free(texts);
}

/* Goal: no two series have the same name, and none has a character that needs escaping. */
START_TEST(series_have_names_of_their_own)
{
    check_labels(request_error_labels, KAFKA_API_COUNT_ALL, KAFKA_ERROR_COUNT + 1);
    check_labels(admin_error_labels, 1 + 25 + 2 + 2, 17); /* none, admin, health, reflection */
}
END_TEST

static Suite *error_counts_suite(void)
{
    Suite *suite = suite_create("error_counts");
    TCase *tcase = tcase_create("error_counts");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, every_code_on_the_wire_is_seen_once, 0, KAFKA_MESSAGE_PAIR_COUNT);
    tcase_add_loop_test(tcase, answers_have_errors_and_requests_have_none, 0, KAFKA_MESSAGE_PAIR_COUNT);
    tcase_add_test(tcase, old_and_flexible_versions);
    tcase_add_test(tcase, codes_find_their_place);
    tcase_add_test(tcase, series_have_names_of_their_own);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(error_counts_suite)
