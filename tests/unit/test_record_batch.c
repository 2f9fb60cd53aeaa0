/* Record batches as clients send them: what is accepted, what is refused with which code, what is patched. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/shared.h"
#include "proto/records.h"
#include "tests/lib/golden_batches.h"
#include "tests/lib/test.h"

static const int64_t now_ms = 1700000000000;

static struct record_batch_rules lenient_rules(void)
{
    return (struct record_batch_rules){.size_max = MIB(1),
                                       .now_ms = now_ms,
                                       .timestamp_before_max_ms = INT64_MAX,
                                       .timestamp_after_max_ms = INT64_MAX,
                                       .is_zstd_allowed = true};
}

static struct bytes bytes_of(const struct shared *block)
{
    return (struct bytes){block->data, block->size};
}

/* Three records "a", "b", "c" with timestamps now, now + 2, now + 1; no keys when `is_key_null`. */
static struct shared *three_records(enum record_codec codec, bool is_key_null)
{
    struct record_builder *builder = record_builder_open(codec, now_ms);
    record_builder_producer(builder, 5, 0, 10);
    static const int64_t delta[] = {0, 2, 1};
    for (size_t i = 0; i < 3; i++) {
        struct bytes value = {(const uint8_t *)"abc" + i, 1};
        record_builder_add(builder, now_ms + delta[i], is_key_null && i == 1 ? NULL : &value, &value, NULL, 0);
    }
    return record_builder_finish(builder);
}

static void crc_redo(struct shared *block)
{
    int64_t max_timestamp = (int64_t)be64_get(block->data + 35);
    bool is_log_append_time = (be16_get(block->data + 21) & BATCH_LOG_APPEND_TIME) != 0;
    record_batch_set_max_timestamp(block->data, block->size, max_timestamp, is_log_append_time);
}

struct size_case {
    const char *name;
    uint32_t length;
    enum err err;
    size_t size;
};
static const struct size_case size_cases[] = {
    {"zero", 0, ERR_CORRUPT, 61},           {"one below a header", 48, ERR_CORRUPT, 61},
    {"just a header", 49, OK, 61},          {"one record byte", 50, OK, 62},
    {"largest", INT32_MAX, OK, 2147483659}, {"negative", 0x80000000u, ERR_CORRUPT, 61},
    {"-1", 0xffffffffu, ERR_CORRUPT, 61},
};

/* Goal: the length field is believed only within what a batch can be. Method: table of length fields, and too few
 * bytes. */
START_TEST(size_comes_from_a_sane_length)
{
    const struct size_case *c = &size_cases[_i];
    uint8_t head[RECORD_BATCH_OVERHEAD] = {0};
    be32_put(head + 8, c->length);
    size_t size = 0;
    ck_assert_msg(record_batch_size((struct bytes){head, sizeof(head)}, &size) == c->err, "%s", c->name);
    ck_assert_uint_eq(size, c->size);
    for (size_t cut = 0; cut < sizeof(head); cut++) {
        ck_assert_int_eq(record_batch_size((struct bytes){head, cut}, &size), ERR_SHORT);
        ck_assert_uint_eq(size, RECORD_BATCH_HEADER_SIZE);
    }
}
END_TEST

/* Goal: what clients send passes, and its header is decoded. Method: golden batches. */
START_TEST(golden_batches_pass)
{
    const struct golden_batch *golden = &golden_batches[_i];
    struct shared *block = golden_batch_read(golden);
    struct record_batch_rules rules = lenient_rules();
    struct record_batch batch;
    struct record_batch_fault fault;
    ck_assert_msg(record_batch_check(bytes_of(block), &rules, &batch, &fault) == KAFKA_NONE, "%s: %s", golden->name,
                  fault.text);
    ck_assert_ptr_null(fault.text);
    ck_assert_int_eq(batch.count, golden->count);
    ck_assert_int_eq(batch.last_offset_delta, golden->count - 1);
    ck_assert_int_eq(batch.attributes, golden->codec);
    ck_assert_int_eq(batch.producer_id, golden->producer_id);
    ck_assert_int_eq(batch.producer_epoch, golden->producer_epoch);
    ck_assert_int_eq(batch.base_sequence, golden->base_sequence);
    ck_assert_int_eq(batch.max_timestamp, golden_max_timestamp(golden->count));
    ck_assert_uint_eq(batch.records.size, block->size - RECORD_BATCH_HEADER_SIZE);
    ck_assert(record_batch_crc_ok(&batch));
    shared_release(block);
}
END_TEST

/* Goal: a cut batch is refused. Method: every proper prefix of each golden batch, for check and view. */
START_TEST(every_prefix_is_refused)
{
    struct shared *block = golden_batch_read(&golden_batches[_i]);
    struct record_batch_rules rules = lenient_rules();
    struct record_batch batch;
    struct record_batch_fault fault;
    for (size_t size = 0; size < block->size; size++) {
        uint8_t *copy = mem_alloc(size + 1);
        memcpy(copy, block->data, size);
        enum kafka_error error = record_batch_check((struct bytes){copy, size}, &rules, &batch, &fault);
        ck_assert_int_eq(error, size == 0 ? KAFKA_INVALID_RECORD : KAFKA_CORRUPT_MESSAGE);
        ck_assert_int_eq(fault.error, error);
        ck_assert_ptr_nonnull(fault.text);
        ck_assert_int_eq(record_batch_view((struct bytes){copy, size}, &batch), ERR_SHORT);
        mem_free(copy);
    }
    shared_release(block);
}
END_TEST

/* Goal: damage on the way is never stored. Method: each bit of each small golden batch, flipped: only the leader
 * epoch, which the broker writes itself, may differ without being noticed. */
START_TEST(every_bit_flip_is_caught)
{
    struct shared *block = golden_batch_read(&golden_batches[_i]);
    struct record_batch_rules rules = lenient_rules();
    struct record_batch batch;
    struct record_batch_fault fault;
    for (size_t bit = 0; bit < 8 * block->size; bit++) {
        uint8_t mask = (uint8_t)(1u << (bit % 8));
        block->data[bit / 8] ^= mask;
        enum kafka_error error = record_batch_check(bytes_of(block), &rules, &batch, &fault);
        size_t at = bit / 8;
        if (at < 8 || at == 16) {
            ck_assert_int_eq(error, KAFKA_INVALID_RECORD);
        } else if (at < 12) {
            ck_assert(error == KAFKA_INVALID_RECORD || error == KAFKA_CORRUPT_MESSAGE);
        } else if (at < 16) {
            ck_assert_int_eq(error, KAFKA_NONE);
        } else {
            ck_assert_int_eq(error, KAFKA_CORRUPT_MESSAGE);
        }
        block->data[bit / 8] ^= mask;
    }
    shared_release(block);
}
END_TEST

enum field {
    FIELD_NONE,
    FIELD_I8,
    FIELD_I16,
    FIELD_I32,
    FIELD_I64
};

struct fault_row {
    const char *name;
    struct {
        size_t at;
        enum field field;
        int64_t value;
    } patch[2];
    bool is_crc_left; /* the CRC is not made right again */
    enum kafka_error error;
    enum record_codec codec;
};

static const struct fault_row fault_rows[] = {
    {"untouched", {{0}}, false, KAFKA_NONE, CODEC_NONE},
    {"leader epoch is anything", {{12, FIELD_I32, 77}}, false, KAFKA_NONE, CODEC_NONE},
    {"magic 1", {{16, FIELD_I8, 1}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"magic 0", {{16, FIELD_I8, 0}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"magic 3", {{16, FIELD_I8, 3}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"length one short: bytes behind", {{8, FIELD_I32, 60}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"length one long", {{8, FIELD_I32, 200}}, false, KAFKA_CORRUPT_MESSAGE, CODEC_NONE},
    {"length negative", {{8, FIELD_I32, -1}}, false, KAFKA_CORRUPT_MESSAGE, CODEC_NONE},
    {"CRC wrong", {{17, FIELD_I32, 0}}, true, KAFKA_CORRUPT_MESSAGE, CODEC_NONE},
    {"codec 5", {{21, FIELD_I16, 5}}, false, KAFKA_UNSUPPORTED_COMPRESSION_TYPE, CODEC_NONE},
    {"codec 6", {{21, FIELD_I16, 6}}, false, KAFKA_UNSUPPORTED_COMPRESSION_TYPE, CODEC_NONE},
    {"codec 7", {{21, FIELD_I16, 7}}, false, KAFKA_UNSUPPORTED_COMPRESSION_TYPE, CODEC_NONE},
    {"base offset 1", {{0, FIELD_I64, 1}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"base offset -1", {{0, FIELD_I64, -1}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"count 0", {{57, FIELD_I32, 0}, {23, FIELD_I32, -1}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"count negative", {{57, FIELD_I32, -3}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"count smallest, delta largest",
     {{57, FIELD_I32, INT32_MIN}, {23, FIELD_I32, INT32_MAX}},
     false,
     KAFKA_INVALID_RECORD,
     CODEC_NONE},
    {"count one more than records", {{57, FIELD_I32, 4}, {23, FIELD_I32, 3}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"count one less than records", {{57, FIELD_I32, 2}, {23, FIELD_I32, 1}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"last delta larger than count", {{23, FIELD_I32, 3}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"last delta smaller than count", {{23, FIELD_I32, 1}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"last delta of a compressed batch", {{23, FIELD_I32, 3}}, false, KAFKA_INVALID_RECORD, CODEC_LZ4},
    {"control bit", {{21, FIELD_I16, BATCH_CONTROL}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"delete horizon bit", {{21, FIELD_I16, BATCH_DELETE_HORIZON}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"transactional bit is another's business", {{21, FIELD_I16, BATCH_TRANSACTIONAL}}, false, KAFKA_NONE, CODEC_NONE},
    {"log append time bit", {{21, FIELD_I16, BATCH_LOG_APPEND_TIME}}, false, KAFKA_INVALID_TIMESTAMP, CODEC_NONE},
    {"producer without sequence", {{53, FIELD_I32, -1}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"producer without epoch", {{51, FIELD_I16, -1}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"no producer, no sequence", {{43, FIELD_I64, -1}, {53, FIELD_I32, -1}}, false, KAFKA_NONE, CODEC_NONE},
    {"offset delta of record 0 is 1", {{64, FIELD_I8, 2}}, false, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"codec bits of a batch that is not compressed", {{21, FIELD_I16, CODEC_GZIP}}, false, KAFKA_NONE, CODEC_NONE},
    /* The first of two faults is the answer. */
    {"magic before CRC", {{16, FIELD_I8, 1}, {17, FIELD_I32, 0}}, true, KAFKA_INVALID_RECORD, CODEC_NONE},
    {"CRC before codec", {{21, FIELD_I16, 5}}, true, KAFKA_CORRUPT_MESSAGE, CODEC_NONE},
    {"length before codec", {{8, FIELD_I32, 200}, {21, FIELD_I16, 5}}, false, KAFKA_CORRUPT_MESSAGE, CODEC_NONE},
    {"codec before base offset",
     {{21, FIELD_I16, 5}, {0, FIELD_I64, 1}},
     false,
     KAFKA_UNSUPPORTED_COMPRESSION_TYPE,
     CODEC_NONE},
    {"control bit before log append time",
     {{21, FIELD_I16, BATCH_CONTROL | BATCH_LOG_APPEND_TIME}},
     false,
     KAFKA_INVALID_RECORD,
     CODEC_NONE},
    {"log append time before records",
     {{21, FIELD_I16, BATCH_LOG_APPEND_TIME}, {64, FIELD_I8, 2}},
     false,
     KAFKA_INVALID_TIMESTAMP,
     CODEC_NONE},
};

static void patch_apply(uint8_t *data, size_t at, enum field field, int64_t value)
{
    switch (field) {
    case FIELD_I8:
        data[at] = (uint8_t)value;
        break;
    case FIELD_I16:
        be16_put(data + at, (uint16_t)value);
        break;
    case FIELD_I32:
        be32_put(data + at, (uint32_t)value);
        break;
    case FIELD_I64:
        be64_put(data + at, (uint64_t)value);
        break;
    case FIELD_NONE:
        break;
    }
}

/* Goal: each rule for produced batches has its code, in Kafka's order. Method: one good batch, one or two fields
 * patched, the CRC made right again unless it is the point. */
START_TEST(each_fault_has_its_code)
{
    const struct fault_row *row = &fault_rows[_i];
    struct shared *block = three_records(row->codec, false);
    for (size_t i = 0; i < 2; i++) {
        patch_apply(block->data, row->patch[i].at, row->patch[i].field, row->patch[i].value);
    }
    if (!row->is_crc_left) {
        crc_redo(block);
    }
    struct record_batch_rules rules = lenient_rules();
    struct record_batch batch;
    struct record_batch_fault fault;
    enum kafka_error error = record_batch_check(bytes_of(block), &rules, &batch, &fault);
    ck_assert_msg(error == row->error, "%s: %s, %s", row->name, kafka_error_name(error), fault.text);
    ck_assert_int_eq(fault.error, error);
    shared_release(block);
}
END_TEST

/* Goal: exactly one batch. Method: a batch twice, and with one byte behind it. */
START_TEST(more_than_one_batch_is_refused)
{
    struct shared *one = three_records(CODEC_NONE, false);
    uint8_t *two = mem_alloc(2 * one->size);
    memcpy(two, one->data, one->size);
    memcpy(two + one->size, one->data, one->size);
    struct record_batch_rules rules = lenient_rules();
    struct record_batch batch;
    struct record_batch_fault fault;
    for (size_t extra = 1; extra <= one->size; extra++) {
        struct bytes bytes = {two, one->size + extra};
        ck_assert_int_eq(record_batch_check(bytes, &rules, &batch, &fault), KAFKA_INVALID_RECORD);
    }
    ck_assert_int_eq(record_batch_view((struct bytes){two, 2 * one->size}, &batch), OK);
    ck_assert_uint_eq(batch.bytes.size, one->size);
    mem_free(two);
    shared_release(one);
}
END_TEST

/* Goal: max.message.bytes counts the whole batch, and goes before the CRC. Method: limits around the size, CRC
 * broken. */
START_TEST(size_limit_is_exact)
{
    struct shared *block = three_records(CODEC_NONE, false);
    struct record_batch_rules rules = lenient_rules();
    struct record_batch batch;
    struct record_batch_fault fault;
    rules.size_max = block->size;
    ck_assert_int_eq(record_batch_check(bytes_of(block), &rules, &batch, &fault), KAFKA_NONE);
    rules.size_max = block->size - 1;
    ck_assert_int_eq(record_batch_check(bytes_of(block), &rules, &batch, &fault), KAFKA_MESSAGE_TOO_LARGE);
    block->data[block->size - 1] ^= 1;
    ck_assert_int_eq(record_batch_check(bytes_of(block), &rules, &batch, &fault), KAFKA_MESSAGE_TOO_LARGE);
    shared_release(block);
}
END_TEST

/* Goal: zstd only from clients that know that readers may not. Method: both settings of the rule, all codecs. */
START_TEST(zstd_needs_a_new_request)
{
    struct shared *block = three_records((enum record_codec)_i, false);
    struct record_batch_rules rules = lenient_rules();
    struct record_batch batch;
    struct record_batch_fault fault;
    ck_assert_int_eq(record_batch_check(bytes_of(block), &rules, &batch, &fault), KAFKA_NONE);
    rules.is_zstd_allowed = false;
    ck_assert_int_eq(record_batch_check(bytes_of(block), &rules, &batch, &fault),
                     _i == CODEC_ZSTD ? KAFKA_UNSUPPORTED_COMPRESSION_TYPE : KAFKA_NONE);
    shared_release(block);
}
END_TEST

/* Goal: compacted topics have keys, compressed or not, and the answer names the record. Method: the second of three
 * without. */
START_TEST(compacted_topics_need_keys)
{
    struct record_batch_rules rules = lenient_rules();
    struct record_batch batch;
    struct record_batch_fault fault;
    for (int is_key_null = 0; is_key_null < 2; is_key_null++) {
        struct shared *block = three_records((enum record_codec)_i, is_key_null == 1);
        rules.is_compacted = false;
        ck_assert_int_eq(record_batch_check(bytes_of(block), &rules, &batch, &fault), KAFKA_NONE);
        rules.is_compacted = true;
        enum kafka_error error = record_batch_check(bytes_of(block), &rules, &batch, &fault);
        ck_assert_int_eq(error, is_key_null ? KAFKA_INVALID_RECORD : KAFKA_NONE);
        ck_assert_int_eq(fault.record_index, is_key_null ? 1 : -1);
        shared_release(block);
    }
}
END_TEST

/* Goal: a compressed batch that must be read but cannot be is refused. Method: broken inside, CRC right. */
START_TEST(compacted_topics_refuse_what_cannot_be_read)
{
    enum record_codec codec = (enum record_codec)_i;
    struct record_batch_rules rules = lenient_rules();
    rules.is_compacted = true;
    struct record_batch batch;
    struct record_batch_fault fault;
    struct shared *block = three_records(codec, false);
    memset(block->data + RECORD_BATCH_HEADER_SIZE, 0x5a, block->size - RECORD_BATCH_HEADER_SIZE);
    crc_redo(block);
    ck_assert_int_eq(record_batch_check(bytes_of(block), &rules, &batch, &fault), KAFKA_INVALID_RECORD);
    shared_release(block);
}
END_TEST

struct window_case {
    const char *name;
    int64_t before, after;
    int64_t timestamp;
    bool is_allowed;
};
static const struct window_case window_cases[] = {
    {"now", 0, 0, now_ms, true},
    {"one late", 0, 0, now_ms - 1, false},
    {"one early", 0, 0, now_ms + 1, false},
    {"at the lower end", 1000, 0, now_ms - 1000, true},
    {"below the lower end", 1000, 0, now_ms - 1001, false},
    {"at the upper end", 0, 3600000, now_ms + 3600000, true},
    {"above the upper end", 0, 3600000, now_ms + 3600001, false},
    {"no timestamp", 0, 0, -1, true},
    {"the earliest there is", 1000, 0, INT64_MIN, false},
    {"the earliest, anything goes", INT64_MAX, 0, INT64_MIN, true},
    {"the latest there is", 0, 1000, INT64_MAX, false},
    {"the latest, anything goes", 0, INT64_MAX, INT64_MAX, true},
    {"1970", INT64_MAX, 0, 0, true},
};

/* Goal: the window of timestamps is exact and does not overflow. Method: one record, plain and compressed; log
 * append time topics do not look. */
START_TEST(timestamps_lie_in_their_window)
{
    const struct window_case *c = &window_cases[_i];
    for (int codec = CODEC_NONE; codec <= CODEC_LZ4; codec += CODEC_LZ4) {
        struct record_builder *builder = record_builder_open((enum record_codec)codec, c->timestamp);
        struct bytes value = bytes_from_text("v");
        record_builder_add(builder, c->timestamp, NULL, &value, NULL, 0);
        struct shared *block = record_builder_finish(builder);
        struct record_batch_rules rules = lenient_rules();
        rules.timestamp_before_max_ms = c->before;
        rules.timestamp_after_max_ms = c->after;
        struct record_batch batch;
        struct record_batch_fault fault;
        enum kafka_error error = record_batch_check(bytes_of(block), &rules, &batch, &fault);
        ck_assert_msg(error == (c->is_allowed ? KAFKA_NONE : KAFKA_INVALID_TIMESTAMP), "%s: %s", c->name,
                      kafka_error_name(error));
        rules.is_log_append_time = true;
        ck_assert_int_eq(record_batch_check(bytes_of(block), &rules, &batch, &fault), KAFKA_NONE);
        shared_release(block);
    }
}
END_TEST

struct max_case {
    const char *name;
    enum record_codec codec;
    bool is_compacted;
    int64_t sent;
    int64_t stored;
};
static const struct max_case max_cases[] = {
    {"right", CODEC_NONE, false, now_ms + 2, now_ms + 2},
    {"too small", CODEC_NONE, false, now_ms, now_ms + 2},
    {"none", CODEC_NONE, false, -1, now_ms + 2},
    {"too large", CODEC_NONE, false, now_ms + 99, now_ms + 2},
    {"compressed, right", CODEC_GZIP, false, now_ms + 2, now_ms + 2},
    {"compressed, none", CODEC_GZIP, false, -1, now_ms + 2},
    {"compressed, below the base", CODEC_GZIP, false, now_ms - 5, now_ms + 2},
    {"compressed, too large, believed", CODEC_GZIP, false, now_ms + 99, now_ms + 99},
    {"compressed but read", CODEC_GZIP, true, now_ms + 99, now_ms + 2},
};

/* Goal: a MaxTimestamp that the client left wrong is put right where that is cheap. Method: patched field; what
 * check says to store is then stored, and the batch passes again. */
START_TEST(max_timestamp_is_put_right)
{
    const struct max_case *c = &max_cases[_i];
    struct shared *block = three_records(c->codec, false);
    record_batch_set_max_timestamp(block->data, block->size, c->sent, false);
    struct record_batch_rules rules = lenient_rules();
    rules.is_compacted = c->is_compacted;
    struct record_batch batch;
    struct record_batch_fault fault;
    ck_assert_int_eq(record_batch_check(bytes_of(block), &rules, &batch, &fault), KAFKA_NONE);
    ck_assert_msg(batch.max_timestamp == c->stored, "%s: %+lld", c->name, (long long)(batch.max_timestamp - now_ms));
    record_batch_set_max_timestamp(block->data, block->size, batch.max_timestamp, false);
    ck_assert_int_eq(record_batch_check(bytes_of(block), &rules, &batch, &fault), KAFKA_NONE);
    ck_assert_int_eq(batch.max_timestamp, c->stored);
    shared_release(block);
}
END_TEST

/* Goal: what the broker patches keeps the batch whole. Method: offset and epoch leave the CRC right; log append time
 * renews it, keeps all other attributes, and can be taken back. */
START_TEST(patches_keep_the_batch_whole)
{
    struct shared *block = golden_batch_read(&golden_batches[_i]);
    struct record_batch before;
    struct record_batch after;
    ck_assert_int_eq(record_batch_view(bytes_of(block), &before), OK);
    record_batch_set_offset(block->data, INT64_MAX - 7, 12345);
    ck_assert_int_eq(record_batch_view(bytes_of(block), &after), OK);
    ck_assert(record_batch_crc_ok(&after));
    ck_assert_int_eq(after.base_offset, INT64_MAX - 7);
    ck_assert_int_eq(after.leader_epoch, 12345);
    ck_assert_uint_eq(after.crc, before.crc);
    record_batch_set_max_timestamp(block->data, block->size, 99, true);
    ck_assert_int_eq(record_batch_view(bytes_of(block), &after), OK);
    ck_assert(record_batch_crc_ok(&after));
    ck_assert_uint_ne(after.crc, before.crc);
    ck_assert_int_eq(after.attributes, before.attributes | BATCH_LOG_APPEND_TIME);
    ck_assert_int_eq(after.max_timestamp, 99);
    ck_assert_int_eq(after.base_timestamp, before.base_timestamp);
    record_batch_set_max_timestamp(block->data, block->size, before.max_timestamp, false);
    ck_assert_int_eq(record_batch_view(bytes_of(block), &after), OK);
    ck_assert_uint_eq(after.crc, before.crc);
    shared_release(block);
}
END_TEST

/* Goal: sequence numbers wrap to 0 behind INT32_MAX, as in Kafka. Method: table. */
START_TEST(sequences_wrap)
{
    ck_assert_int_eq(sequence_add(0, 0), 0);
    ck_assert_int_eq(sequence_add(0, 1), 1);
    ck_assert_int_eq(sequence_add(INT32_MAX, 0), INT32_MAX);
    ck_assert_int_eq(sequence_add(INT32_MAX, 1), 0);
    ck_assert_int_eq(sequence_add(INT32_MAX - 1, 3), 1);
    ck_assert_int_eq(sequence_add(INT32_MAX, INT32_MAX), INT32_MAX - 1);
}
END_TEST

static Suite *record_batch_suite(void)
{
    Suite *suite = suite_create("record_batch");
    TCase *golden = tcase_create("golden");
    tcase_set_timeout(golden, 60);
    tcase_add_loop_test(golden, golden_batches_pass, 0, GOLDEN_BATCH_COUNT);
    tcase_add_loop_test(golden, every_prefix_is_refused, 0, GOLDEN_BATCH_COUNT);
    tcase_add_loop_test(golden, every_bit_flip_is_caught, 2, GOLDEN_BATCH_COUNT);
    tcase_add_loop_test(golden, patches_keep_the_batch_whole, 0, GOLDEN_BATCH_COUNT);
    suite_add_tcase(suite, golden);
    TCase *check = tcase_create("check");
    tcase_add_loop_test(check, size_comes_from_a_sane_length, 0, array_count(size_cases));
    tcase_add_loop_test(check, each_fault_has_its_code, 0, array_count(fault_rows));
    tcase_add_test(check, more_than_one_batch_is_refused);
    tcase_add_test(check, size_limit_is_exact);
    tcase_add_loop_test(check, zstd_needs_a_new_request, 0, CODEC_COUNT);
    tcase_add_loop_test(check, compacted_topics_need_keys, 0, CODEC_COUNT);
    tcase_add_loop_test(check, compacted_topics_refuse_what_cannot_be_read, CODEC_GZIP, CODEC_COUNT);
    tcase_add_loop_test(check, timestamps_lie_in_their_window, 0, array_count(window_cases));
    tcase_add_loop_test(check, max_timestamp_is_put_right, 0, array_count(max_cases));
    tcase_add_test(check, sequences_wrap);
    suite_add_tcase(suite, check);
    return suite;
}

TEST_MAIN(record_batch_suite)
