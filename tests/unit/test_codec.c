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

#define ROUNDS 30
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
static enum err decode_copy(const struct schema *schema, int16_t version, struct bytes bytes, size_t arena_max,
                            size_t *left)
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
            ck_assert_msg(err == OK && reader.left == 0, "%s v%d seed %d: %s, %zu left", schema->name, version,
                          (int)seed, err_name(err), reader.left);
            struct shared *second = encode(schema, version, received);
            ck_assert_msg(first->size == second->size && memcmp(first->data, second->data, first->size) == 0,
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
        struct codec_random random = {.state = (uint64_t)version, .arena = &arena, .count_max = 2};
        codec_random_message(&random, schema, version, sent);
        struct shared *frame = encode(schema, version, sent);
        for (size_t size = 0; size < frame->size; size += size < 600 ? 1 : 97) {
            size_t left;
            enum err err = decode_copy(schema, version, (struct bytes){frame->data, size}, ARENA_MAX, &left);
            ck_assert_msg(err != OK, "%s v%d cut at %zu of %zu", schema->name, version, size, frame->size);
        }
        shared_release(frame);
        arena_deinit(&arena);
    }
    mem_free(sent);
}
END_TEST

/* ---------------------------------------------------------------- single inputs */

struct input_case {
    const char *name;
    const struct schema *schema;
    int16_t version;
    const char *hex; /* blanks are ignored */
    enum err err;
    size_t left; /* after success */
};

/* An ApiVersions response without keys, up to its tagged fields: error, array, throttle time. */
#define TAGGED "0000 01 00000000 "

static const struct input_case input_cases[] = {
    {"no array where there may be none", &kafka_metadata_request_schema, 1, "ffffffff", OK, 0},
    {"no array where there must be one", &kafka_metadata_request_schema, 0, "ffffffff", ERR_CORRUPT, 0},
    {"compact null array, null allowed", &kafka_metadata_request_schema, 9, "00 01 00 00 00", OK, 0},
    {"negative count", &kafka_metadata_request_schema, 1, "fffffffe", ERR_CORRUPT, 0},
    {"count of 2 G", &kafka_metadata_request_schema, 1, "7fffffff 0001 61", ERR_SHORT, 0},
    {"compact count of 4 G", &kafka_metadata_request_schema, 9, "ffffffff0f 00 00", ERR_SHORT, 0},
    {"compact count above 32 bits", &kafka_metadata_request_schema, 9, "ffffffff1f 00 00", ERR_CORRUPT, 0},
    {"compact count without end", &kafka_metadata_request_schema, 9, "808080808000", ERR_CORRUPT, 0},
    {"more elements than bytes", &kafka_metadata_request_schema, 1, "00000003 0000 00", ERR_SHORT, 0},
    {"null string where there must be one", &kafka_metadata_request_schema, 1, "00000001 ffff", ERR_CORRUPT, 0},
    {"compact null string, same", &kafka_metadata_request_schema, 9, "02 00 00 00 00 00 00", ERR_CORRUPT, 0},
    {"negative string", &kafka_metadata_request_schema, 1, "00000001 8000", ERR_CORRUPT, 0},
    {"string longer than the frame", &kafka_metadata_request_schema, 1, "00000001 0003 6162", ERR_SHORT, 0},
    {"bytes behind the message", &kafka_metadata_request_schema, 1, "00000000 cafe", OK, 2},
    {"version below", &kafka_produce_request_schema, 2, "00", ERR_UNSUPPORTED, 0},
    {"version above", &kafka_produce_request_schema, 14, "00", ERR_UNSUPPORTED, 0},
    {"negative version", &kafka_metadata_request_schema, -1, "00000000", ERR_UNSUPPORTED, 0},
    {"unknown tag", &kafka_api_versions_response_schema, 3, TAGGED "01 64 03 aabbcc", OK, 0},
    {"unknown tag twice", &kafka_api_versions_response_schema, 3, TAGGED "02 64 00 64 00", OK, 0},
    {"tags in falling order", &kafka_api_versions_response_schema, 3, TAGGED "02 03 01 01 01 08 0000000000000007", OK,
     0},
    {"known tag twice", &kafka_api_versions_response_schema, 3, TAGGED "02 03 01 01 03 01 01", ERR_CORRUPT, 0},
    {"4 G tags", &kafka_api_versions_response_schema, 3, TAGGED "ffffffff0f 64 00", ERR_SHORT, 0},
    {"tag larger than the frame", &kafka_api_versions_response_schema, 3, TAGGED "01 64 05 00", ERR_SHORT, 0},
    {"tag of 4 G", &kafka_api_versions_response_schema, 3, TAGGED "01 64 ffffffff0f 00", ERR_SHORT, 0},
    {"field larger than its tag", &kafka_api_versions_response_schema, 3, TAGGED "01 01 04 00000000 00000000",
     ERR_CORRUPT, 0},
    {"field smaller than its tag", &kafka_api_versions_response_schema, 3, TAGGED "01 03 02 0100", ERR_CORRUPT, 0},
    {"array in a tag counts on bytes behind it", &kafka_api_versions_response_schema, 3,
     TAGGED "01 00 01 03 00000000000000", ERR_CORRUPT, 0},
    {"no struct where there may be none", &kafka_describe_topic_partitions_request_schema, 0, "01 00000001 ff 00", OK,
     0},
    {"struct where there may be none", &kafka_describe_topic_partitions_request_schema, 0,
     "01 00000001 01 0261 00000001 00 00", OK, 0},
    {"neither struct nor none", &kafka_describe_topic_partitions_request_schema, 0, "01 00000001 00 00", ERR_CORRUPT,
     0},
    {"no client id", &kafka_request_header_schema, 2, "0003 0009 00000001 ffff 00", OK, 0},
    {"classic client id in the flexible header", &kafka_request_header_schema, 2, "0003 0009 00000001 0001 61 00", OK,
     0},
};

/* Bytes from hex, in a block that the caller releases. */
static struct shared *from_hex(const char *hex)
{
    struct shared *block = shared_new(strlen(hex));
    size_t digits = 0;
    for (const char *at = hex; *at != 0; at++) {
        if (*at != ' ') {
            uint8_t digit = (uint8_t)(*at <= '9' ? *at - '0' : *at - 'a' + 10);
            block->data[digits / 2] = (uint8_t)(digits % 2 == 0 ? digit << 4 : block->data[digits / 2] | digit);
            digits++;
        }
    }
    block->size = digits / 2;
    return block;
}

/* Goal: each rule of the wire format, kept or broken, has its answer. Method: one small input for each. */
START_TEST(decode_judges_each_input)
{
    const struct input_case *c = &input_cases[_i];
    struct shared *block = from_hex(c->hex);
    size_t left;
    enum err err = decode_copy(c->schema, c->version, (struct bytes){block->data, block->size}, ARENA_MAX, &left);
    ck_assert_msg(err == c->err, "%s: %s", c->name, err_name(err));
    ck_assert_msg(err != OK || left == c->left, "%s: %zu left", c->name, left);
    shared_release(block);
}
END_TEST

/* Goal: a request never takes more memory than its arena has, and a frame of n bytes never more than a fixed multiple
 *       of n.
 * Method: an array of empty names fills 100,000 bytes; arenas of all sizes up to what it needs. */
START_TEST(decode_stays_within_the_arena)
{
    enum {
        COUNT = 50000,
        FRAME = 4 + 2 * COUNT
    };
    struct shared *block = shared_new(FRAME);
    memset(block->data, 0, FRAME);
    be32_put(block->data, COUNT);
    struct bytes frame = {block->data, FRAME};
    size_t left;
    for (size_t size_max = 0; size_max < COUNT * sizeof(struct kafka_metadata_request_topic); size_max += 99991) {
        ck_assert_int_eq(decode_copy(&kafka_metadata_request_schema, 1, frame, size_max, &left), ERR_TOO_LARGE);
    }
    ck_assert_int_eq(decode_copy(&kafka_metadata_request_schema, 1, frame, MIB(4), &left), OK);
    shared_release(block);
}
END_TEST

/* Goal: the multiple by which a decoded message can exceed its bytes is known. Method: the largest quotient over the
 * elements of all arrays in requests; a new schema that is worse is to be thought about. */
static size_t amplification(const struct schema *schema)
{
    size_t worst = 0;
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct schema_field *field = &schema->fields[i];
        if (field->schema == NULL) {
            continue;
        }
        ck_assert_uint_gt(field->schema->wire_size_min, 0);
        size_t factor = field->is_array ? field->schema->size / field->schema->wire_size_min : 0;
        size_t inner = amplification(field->schema);
        factor = factor > inner ? factor : inner;
        worst = worst > factor ? worst : factor;
    }
    return worst;
}

START_TEST(decoded_size_is_bounded_by_the_frame)
{
    const struct schema *schema = message_schema(_i);
    ck_assert_msg(_i % 2 == 1 || amplification(schema) <= 24, "%s: %zu", schema->name, amplification(schema));
}
END_TEST

/* ---------------------------------------------------------------- defaults, nulls, versions */

/* Goal: a version that lacks a field gives its default, not zero. Method: Fetch v4 lacks session, epochs, rack and
 * limits that later versions have; each default differs from zero or is a text. */
START_TEST(decode_gives_missing_fields_their_default)
{
    struct shared *block = from_hex("ffffffff 00000064 00000001 00000400 00 00000001 000174 00000001 00000007 "
                                    "0000000000000009 00000800");
    struct reader reader;
    reader_init(&reader, (struct bytes){block->data, block->size});
    struct arena arena;
    arena_init(&arena, ARENA_MAX);
    struct kafka_fetch_request request;
    ck_assert_int_eq(codec_decode(&kafka_fetch_request_schema, 4, &reader, &arena, &request), OK);
    ck_assert_uint_eq(reader.left, 0);
    ck_assert_int_eq(request.session_epoch, -1);
    ck_assert_int_eq(request.session_id, 0);
    ck_assert_int_eq(request.replica_state.replica_id, -1);
    ck_assert_int_eq(request.replica_state.replica_epoch, -1);
    ck_assert_ptr_null(request.cluster_id.data);
    ck_assert(request.rack_id.data != NULL && request.rack_id.size == 0);
    ck_assert_int_eq(request.forgotten_topics_data_count, 0);
    ck_assert_int_eq(request.topics_count, 1);
    ck_assert(bytes_equal_text(request.topics[0].topic, "t"));
    const struct kafka_fetch_request_partition *partition = &request.topics[0].partitions[0];
    ck_assert_int_eq(partition->partition, 7);
    ck_assert_int_eq(partition->fetch_offset, 9);
    ck_assert_int_eq(partition->partition_max_bytes, 2048);
    ck_assert_int_eq(partition->current_leader_epoch, -1);
    ck_assert_int_eq(partition->last_fetched_epoch, -1);
    ck_assert_int_eq(partition->log_start_offset, -1);
    arena_deinit(&arena);
    shared_release(block);
}
END_TEST

/* Goal: a message of defaults is what an empty message reads as. Method: for every schema and version, encode defaults,
 * decode into a struct full of rubbish, compare the bytes of both. */
START_TEST(defaults_survive_the_wire)
{
    const struct schema *schema = message_schema(_i);
    void *sent = mem_alloc(schema->size);
    void *received = mem_alloc(schema->size);
    codec_init_defaults(schema, sent);
    for (int16_t version = schema->version_min; version <= schema->version_max; version++) {
        struct arena arena;
        arena_init(&arena, ARENA_MAX);
        struct shared *frame = encode(schema, version, sent);
        ck_assert_uint_ge(frame->size, schema->wire_size_min);
        struct reader reader;
        reader_init(&reader, (struct bytes){frame->data, frame->size});
        memset(received, 0xa5, schema->size);
        ck_assert_int_eq(codec_decode(schema, version, &reader, &arena, received), OK);
        for (int16_t other = schema->version_min; other <= schema->version_max; other++) {
            struct shared *one = encode(schema, other, sent);
            struct shared *two = encode(schema, other, received);
            ck_assert_msg(one->size == two->size && memcmp(one->data, two->data, one->size) == 0,
                          "%s v%d read, v%d written", schema->name, version, other);
            shared_release(one);
            shared_release(two);
        }
        shared_release(frame);
        arena_deinit(&arena);
    }
    mem_free(sent);
    mem_free(received);
}
END_TEST

static void expect_hex(const struct schema *schema, int16_t version, const void *message, const char *hex)
{
    struct shared *expected = from_hex(hex);
    struct shared *frame = encode(schema, version, message);
    bool is_equal = frame->size == expected->size && memcmp(frame->data, expected->data, frame->size) == 0;
    ck_assert_msg(is_equal, "%s v%d: not %s", schema->name, version, hex);
    shared_release(frame);
    shared_release(expected);
}

/* Goal: the bytes themselves, by hand from the protocol's description: tagged fields only when set, ascending; versions
 * leave out what they lack; null becomes empty where a version has no null. Method: small messages against written-out
 * bytes. */
START_TEST(encode_writes_the_bytes_of_the_protocol)
{
    struct kafka_api_versions_response versions;
    codec_init_defaults(&kafka_api_versions_response_schema, &versions);
    struct kafka_api_versions_response_api api = {18, 0, 4};
    versions.error_code = 35;
    versions.api_keys = &api;
    versions.api_keys_count = 1;
    expect_hex(&kafka_api_versions_response_schema, 0, &versions, "0023 00000001 0012 0000 0004");
    expect_hex(&kafka_api_versions_response_schema, 1, &versions, "0023 00000001 0012 0000 0004 00000000");
    expect_hex(&kafka_api_versions_response_schema, 3, &versions, "0023 02 0012 0000 0004 00 00000000 00");
    versions.zk_migration_ready = true;
    versions.finalized_features_epoch = 7;
    expect_hex(&kafka_api_versions_response_schema, 3, &versions,
               "0023 02 0012 0000 0004 00 00000000 02 01 08 0000000000000007 03 01 01");
    expect_hex(&kafka_api_versions_response_schema, 2, &versions, "0023 00000001 0012 0000 0004 00000000");

    struct kafka_metadata_request metadata;
    codec_init_defaults(&kafka_metadata_request_schema, &metadata);
    ck_assert(metadata.allow_auto_topic_creation);
    metadata.topics_count = -1;
    expect_hex(&kafka_metadata_request_schema, 0, &metadata, "00000000");
    expect_hex(&kafka_metadata_request_schema, 1, &metadata, "ffffffff");
    expect_hex(&kafka_metadata_request_schema, 9, &metadata, "00 01 00 00 00");
    struct kafka_metadata_request_topic topic = {.name = BYTES_NONE};
    metadata.topics = &topic;
    metadata.topics_count = 1;
    expect_hex(&kafka_metadata_request_schema, 1, &metadata, "00000001 0000");
    expect_hex(&kafka_metadata_request_schema, 9, &metadata, "02 01 00 01 00 00 00");
    expect_hex(&kafka_metadata_request_schema, 10, &metadata, "02 00000000000000000000000000000000 00 00 01 00 00 00");

    struct kafka_request_header header = {.request_api_key = 3, .request_api_version = 9, .correlation_id = 0x01020304};
    expect_hex(&kafka_request_header_schema, 1, &header, "0003 0009 01020304 ffff");
    header.client_id = bytes_from_text("me");
    expect_hex(&kafka_request_header_schema, 2, &header, "0003 0009 01020304 0002 6d65 00");
}
END_TEST

/* ---------------------------------------------------------------- payload, limits, text */

/* Goal: fetched bytes go to the socket without a copy. Method: a large slice with a block must be a fragment that
 * points into that block; the message around it is right. */
START_TEST(encode_references_large_records)
{
    struct shared *block = shared_new(100000);
    memset(block->data, 'r', block->size);
    struct kafka_fetch_response_partition partition;
    codec_init_defaults(&kafka_fetch_response_partition_schema, &partition);
    partition.records = slice_of(block, 10, 99990);
    struct kafka_fetch_response_topic topic = {
        .topic = bytes_from_text("t"), .partitions = &partition, .partitions_count = 1};
    struct kafka_fetch_response response;
    codec_init_defaults(&kafka_fetch_response_schema, &response);
    response.responses = &topic;
    response.responses_count = 1;

    struct outbuf out;
    outbuf_init(&out, FRAME_MAX);
    codec_encode(&kafka_fetch_response_schema, 12, &response, &out);
    ck_assert_int_eq(out.err, OK);
    ck_assert_uint_eq(out.size, codec_size(&kafka_fetch_response_schema, 12, &response));
    size_t referenced = 0;
    for (size_t i = 0; i < out.fragment_count; i++) {
        if (out.fragments[i].block == block) {
            ck_assert_ptr_eq(out.fragments[i].data, block->data + 10);
            referenced += out.fragments[i].size;
        }
    }
    ck_assert_uint_eq(referenced, 99990);
    slice_release(&partition.records);
    outbuf_deinit(&out);
    shared_release(block);
}
END_TEST

/* Goal: what the format cannot carry is an error of the buffer, never a wrong frame. Method: a text over 32,767 bytes
 * in a classic and in a compact version; a message over the buffer's size at every size. */
START_TEST(encode_fails_by_the_buffer)
{
    uint8_t *text = mem_alloc(40000);
    struct kafka_heartbeat_request request = {.group_id = {text, 40000}, .member_id = bytes_from_text("m")};
    struct outbuf out;
    outbuf_init(&out, FRAME_MAX);
    codec_encode(&kafka_heartbeat_request_schema, 3, &request, &out);
    ck_assert_int_eq(out.err, ERR_TOO_LARGE);
    outbuf_deinit(&out);
    outbuf_init(&out, FRAME_MAX);
    codec_encode(&kafka_heartbeat_request_schema, 4, &request, &out);
    ck_assert_int_eq(out.err, OK);
    outbuf_deinit(&out);
    size_t size = codec_size(&kafka_heartbeat_request_schema, 4, &request);
    for (size_t size_max = 0; size_max < size; size_max += size_max < size - 100 ? 1009 : 1) {
        outbuf_init(&out, size_max);
        codec_encode(&kafka_heartbeat_request_schema, 4, &request, &out);
        ck_assert_int_eq(out.err, ERR_TOO_LARGE);
        ck_assert_uint_le(out.size, size_max);
        outbuf_deinit(&out);
    }
    mem_free(text);
}
END_TEST

/* Goal: handlers get elements with defaults, or NULL over the limit. */
START_TEST(new_gives_elements_with_defaults)
{
    struct arena arena;
    arena_init(&arena, KIB(4));
    struct kafka_produce_response_partition *partitions =
        codec_new(&kafka_produce_response_partition_schema, 3, &arena);
    ck_assert_ptr_nonnull(partitions);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(partitions[i].log_append_time_ms, -1);
        ck_assert_int_eq(partitions[i].current_leader.leader_id, -1);
        ck_assert_ptr_null(partitions[i].error_message.data);
    }
    ck_assert_ptr_null(codec_new(&kafka_produce_response_partition_schema, 1000, &arena));
    ck_assert_ptr_null(codec_new(&kafka_produce_response_partition_schema, SIZE_MAX / 2, &arena));
    arena_deinit(&arena);
}
END_TEST

/* Goal: text for people: all kinds of values, no payload, nothing that a terminal could take for a command, and a full
 * buffer is told. Method: one message, then the same into buffers that are too small. */
START_TEST(print_shows_all_but_payload)
{
    struct kafka_produce_request_partition partitions[2] = {{.index = 1}, {.index = 2}};
    partitions[0].records = (struct slice){NULL, bytes_from_text("secret")};
    struct kafka_produce_request_topic topic = {
        .name = bytes_from_text("a\"\x1b["), .partition_data = partitions, .partition_data_count = 2};
    struct kafka_produce_request request = {.acks = -1, .timeout_ms = 5, .topic_data = &topic, .topic_data_count = 1};
    const char *expected = "{transactional_id: null, acks: -1, timeout_ms: 5, topic_data: [{name: \"a\\x22\\x1b[\", "
                           "partition_data: [{index: 1, records: <6 bytes>}, {index: 2, records: null}]}]}";
    struct dynbuf text;
    dynbuf_init(&text, KIB(64));
    ck_assert_int_eq(codec_print(&kafka_produce_request_schema, 9, &request, &text), OK);
    ck_assert_msg(bytes_equal_text(dynbuf_bytes(&text), expected), "%.*s", (int)text.size, (const char *)text.data);
    dynbuf_deinit(&text);
    for (size_t size_max = 1; size_max < strlen(expected); size_max++) {
        dynbuf_init(&text, size_max);
        ck_assert_int_eq(codec_print(&kafka_produce_request_schema, 9, &request, &text), ERR_TOO_LARGE);
        dynbuf_deinit(&text);
    }
}
END_TEST

/* Goal: printing follows every schema. Method: random messages; text must come, and be printable. */
START_TEST(print_works_for_every_schema)
{
    const struct schema *schema = message_schema(_i);
    void *message = mem_alloc(schema->size);
    for (int16_t version = schema->version_min; version <= schema->version_max; version++) {
        struct arena arena;
        arena_init(&arena, ARENA_MAX);
        struct codec_random random = {.state = 77, .arena = &arena, .count_max = 3};
        codec_random_message(&random, schema, version, message);
        struct dynbuf text;
        dynbuf_init(&text, MIB(4));
        ck_assert_int_eq(codec_print(schema, version, message, &text), OK);
        for (size_t i = 0; i < text.size; i++) {
            ck_assert(text.data[i] >= ' ' && text.data[i] <= '~');
        }
        dynbuf_deinit(&text);
        arena_deinit(&arena);
    }
    mem_free(message);
}
END_TEST

static Suite *codec_suite(void)
{
    Suite *suite = suite_create("codec");
    TCase *every = tcase_create("every schema");
    tcase_set_timeout(every, 60);
    tcase_add_loop_test(every, decode_gives_back_what_encode_wrote, 0, MESSAGE_COUNT);
    tcase_add_loop_test(every, decode_rejects_every_truncation, 0, MESSAGE_COUNT);
    tcase_add_loop_test(every, defaults_survive_the_wire, 0, MESSAGE_COUNT);
    tcase_add_loop_test(every, decoded_size_is_bounded_by_the_frame, 0, MESSAGE_COUNT);
    tcase_add_loop_test(every, print_works_for_every_schema, 0, MESSAGE_COUNT);
    suite_add_tcase(suite, every);
    TCase *single = tcase_create("single messages");
    tcase_add_loop_test(single, decode_judges_each_input, 0, (int)array_count(input_cases));
    tcase_add_test(single, decode_stays_within_the_arena);
    tcase_add_test(single, decode_gives_missing_fields_their_default);
    tcase_add_test(single, encode_writes_the_bytes_of_the_protocol);
    tcase_add_test(single, encode_references_large_records);
    tcase_add_test(single, encode_fails_by_the_buffer);
    tcase_add_test(single, new_gives_elements_with_defaults);
    tcase_add_test(single, print_shows_all_but_payload);
    suite_add_tcase(suite, single);
    return suite;
}

TEST_MAIN(codec_suite)
