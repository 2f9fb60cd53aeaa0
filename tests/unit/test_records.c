/* Records inside batches: reading what another implementation wrote, surviving what nobody should write. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/shared.h"
#include "proto/compress.h"
#include "proto/records.h"
#include "tests/lib/golden_batches.h"
#include "tests/lib/test.h"

static void view(const struct shared *block, struct record_batch *batch)
{
    ck_assert_int_eq(record_batch_view((struct bytes){block->data, block->size}, batch), OK);
}

/* Goal: all codecs and framings that clients use are read. Method: batches of another implementation, record by
 * record. */
START_TEST(golden_batches_yield_their_records)
{
    const struct golden_batch *golden = &golden_batches[_i];
    struct shared *block = golden_batch_read(golden);
    struct record_batch batch;
    view(block, &batch);
    record_batch_set_offset(block->data, 1000, 3);
    view(block, &batch);
    struct record_iterator iterator;
    ck_assert_int_eq(record_iterator_init(&iterator, &batch, RECORDS_PLAIN_SIZE_MAX), OK);
    struct record record;
    for (int32_t i = 0; i < golden->count; i++) {
        ck_assert_msg(record_iterator_next(&iterator, &record) == OK, "%s: record %d", golden->name, i);
        ck_assert_int_eq(record.offset, 1000 + i);
        ck_assert_msg(golden_record_matches(i, &record), "%s: record %d differs", golden->name, i);
    }
    ck_assert_int_eq(record_iterator_next(&iterator, &record), ERR_NOT_FOUND);
    ck_assert_int_eq(record_iterator_next(&iterator, &record), ERR_NOT_FOUND);
    record_iterator_deinit(&iterator);
    shared_release(block);
}
END_TEST

/* Reads all records there are; the number of them. */
static int32_t drain(const struct record_batch *batch, size_t size_max, enum err *err)
{
    struct record_iterator iterator;
    struct record record;
    int32_t count = 0;
    *err = record_iterator_init(&iterator, batch, size_max);
    while (*err == OK) {
        *err = record_iterator_next(&iterator, &record);
        count += *err == OK;
    }
    record_iterator_deinit(&iterator);
    return count;
}

/* Goal: a cut batch is an error, never a read past its end. Method: every prefix of the records of each golden
 * batch. A cut gzip member, lz4 frame or raw block may only be noticed at its end, so no whole list may come out. */
START_TEST(cut_records_are_refused)
{
    struct shared *block = golden_batch_read(&golden_batches[_i]);
    struct record_batch batch;
    view(block, &batch);
    size_t whole = batch.records.size;
    for (size_t size = whole > 3000 ? whole - 3000 : 0; size < whole; size++) {
        uint8_t *copy = mem_alloc(size + 1);
        memcpy(copy, batch.records.data, size);
        struct record_batch cut = batch;
        cut.records = (struct bytes){copy, size};
        enum err err = OK;
        (void)drain(&cut, RECORDS_PLAIN_SIZE_MAX, &err);
        ck_assert_msg(err == ERR_CORRUPT, "%s cut at %zu of %zu: %s", golden_batches[_i].name, size, whole,
                      err_name(err));
        mem_free(copy);
    }
    shared_release(block);
}
END_TEST

/* Goal: damaged compressed bytes end in an error or in records, never in anything else. Method: flips of single
 * bytes. */
START_TEST(damaged_records_are_survived)
{
    struct shared *block = golden_batch_read(&golden_batches[_i]);
    struct record_batch batch;
    view(block, &batch);
    uint8_t *records = block->data + RECORD_BATCH_HEADER_SIZE;
    for (size_t at = 0; at < batch.records.size; at++) {
        records[at] ^= (uint8_t)(1u << (at % 8));
        enum err err = OK;
        int32_t count = drain(&batch, MIB(1), &err);
        ck_assert_int_le(count, batch.count);
        ck_assert_msg(err == ERR_NOT_FOUND || err == ERR_CORRUPT || err == ERR_TOO_LARGE, "%s", err_name(err));
        records[at] ^= (uint8_t)(1u << (at % 8));
    }
    shared_release(block);
}
END_TEST

struct framing_case {
    const char *name;
    const char *bytes;
    size_t size;
    int32_t count;
    enum err err; /* at the first record that is bad; ERR_NOT_FOUND: none is */
};

/* length | attributes, timestamp delta, offset delta | key | value | headers; zigzag: 1 is -1, 2 is 1, ... */
#define FRAMING(name, bytes, count, err)           \
    {                                              \
        name, bytes, sizeof(bytes) - 1, count, err \
    }
static const struct framing_case framing_cases[] = {
    FRAMING("empty key and value", "\x0c\0\0\0\0\0\0", 1, ERR_NOT_FOUND),
    FRAMING("null key and value", "\x0c\0\0\0\1\1\0", 1, ERR_NOT_FOUND),
    FRAMING("one header, null value", "\x12\0\0\0\1\1\2\2h\1", 1, ERR_NOT_FOUND),
    FRAMING("record attributes are ignored", "\x0c\x7f\0\0\1\1\0", 1, ERR_NOT_FOUND),
    FRAMING("no records at all", "", 0, ERR_NOT_FOUND),
    FRAMING("fewer records than counted", "\x0c\0\0\0\1\1\0", 2, ERR_CORRUPT),
    FRAMING("more bytes than counted records", "\x0c\0\0\0\1\1\0\x0c\0\0\2\1\1\0", 1, ERR_CORRUPT),
    FRAMING("length past the end", "\x0e\0\0\0\1\1\0", 1, ERR_CORRUPT),
    FRAMING("negative length", "\x01\0\0\0\1\1\0", 1, ERR_CORRUPT),
    FRAMING("length of six bytes", "\xff\xff\xff\xff\xff\x01\0\0\0\1\1\0", 1, ERR_CORRUPT),
    FRAMING("length leaves a byte over", "\x0e\0\0\0\1\1\0\0", 1, ERR_CORRUPT),
    FRAMING("length too small", "\x0a\0\0\0\1\1\0", 1, ERR_CORRUPT),
    FRAMING("length zero", "\0", 1, ERR_CORRUPT),
    FRAMING("key length -2", "\x0c\0\0\0\3\1\0", 1, ERR_CORRUPT),
    FRAMING("value length -2", "\x0c\0\0\0\1\3\0", 1, ERR_CORRUPT),
    FRAMING("key past the record", "\x0c\0\0\0\x0e\1\0", 1, ERR_CORRUPT),
    FRAMING("header count -1", "\x0c\0\0\0\1\1\1", 1, ERR_CORRUPT),
    FRAMING("header count of a billion", "\x14\0\0\0\1\1\x80\xa8\xd6\xb9\x07", 1, ERR_CORRUPT),
    FRAMING("null header key", "\x10\0\0\0\1\1\2\1\1", 1, ERR_CORRUPT),
    FRAMING("offset delta -1", "\x0c\0\0\1\1\1\0", 1, ERR_CORRUPT),
    FRAMING("offset delta behind the last", "\x0c\0\0\4\1\1\0", 1, ERR_CORRUPT),
};

/* Goal: records are accepted only if every length adds up. Method: hand-made records, uncompressed. */
START_TEST(framing_is_checked)
{
    const struct framing_case *c = &framing_cases[_i];
    struct record_batch batch = {.count = c->count, .last_offset_delta = c->count > 0 ? c->count - 1 : 0};
    uint8_t *copy = mem_alloc(c->size + 1);
    memcpy(copy, c->bytes, c->size);
    batch.records = (struct bytes){copy, c->size};
    enum err err = OK;
    (void)drain(&batch, 1, &err);
    ck_assert_msg(err == c->err, "%s: %s", c->name, err_name(err));
    mem_free(copy);
}
END_TEST

/* Goal: what is built can be read. Method: builder and iterator for each codec, from none to many records. */
START_TEST(builder_and_iterator_agree)
{
    enum record_codec codec = (enum record_codec)(_i % CODEC_COUNT);
    static const int32_t counts[] = {0, 1, 2, 1000};
    for (size_t k = 0; k < array_count(counts); k++) {
        struct record_builder *builder = record_builder_open(codec, 5000);
        record_builder_producer(builder, 7, 1, 40);
        struct bytes key = bytes_from_text("key");
        struct bytes pairs[2] = {bytes_from_text("name"), {NULL, 0}};
        for (int32_t i = 0; i < counts[k]; i++) {
            record_builder_add(builder, 5000 + (i % 10), i % 2 ? &key : NULL, i % 3 ? &key : NULL, pairs,
                               (size_t)i % 2);
        }
        struct shared *block = record_builder_finish(builder);
        struct record_batch batch;
        enum err err = record_batch_view((struct bytes){block->data, block->size}, &batch);
        ck_assert_int_eq(err, counts[k] == 0 ? ERR_CORRUPT : OK);
        if (err == OK) {
            ck_assert(record_batch_crc_ok(&batch));
            ck_assert_int_eq(batch.attributes, codec);
            ck_assert_int_eq(batch.producer_id, 7);
            ck_assert_int_eq(batch.base_sequence, 40);
            ck_assert_int_eq(drain(&batch, MIB(1), &err), counts[k]);
            ck_assert_int_eq(err, ERR_NOT_FOUND);
        }
        shared_release(block);
    }
}
END_TEST

/* Goal: with LogAppendTime the records' own timestamps count for nothing. Method: patch a golden batch. */
START_TEST(log_append_time_overrides_timestamps)
{
    struct shared *block = golden_batch_read(&golden_batches[1]);
    record_batch_set_max_timestamp(block->data, block->size, 42, true);
    struct record_batch batch;
    view(block, &batch);
    struct record_iterator iterator;
    struct record record;
    ck_assert_int_eq(record_iterator_init(&iterator, &batch, 1), OK);
    for (int32_t i = 0; i < batch.count; i++) {
        ck_assert_int_eq(record_iterator_next(&iterator, &record), OK);
        ck_assert_int_eq(record.timestamp, 42);
    }
    record_iterator_deinit(&iterator);
    shared_release(block);
}
END_TEST

/* Goal: the limit is exact. Method: the plain size, one more and one less, for each codec. */
START_TEST(unpacking_stops_at_its_limit)
{
    enum record_codec codec = (enum record_codec)_i;
    uint8_t *plain = mem_alloc(100000);
    for (size_t i = 0; i < 100000; i++) {
        plain[i] = (uint8_t)(i * i >> 7);
    }
    struct dynbuf packed;
    dynbuf_init(&packed, MIB(1));
    ck_assert_int_eq(compress_pack(codec, (struct bytes){plain, 100000}, &packed), OK);
    for (int delta = -1; delta <= 1; delta++) {
        struct dynbuf out;
        dynbuf_init(&out, (size_t)(100000 + delta));
        enum err err = compress_unpack(codec, dynbuf_bytes(&packed), &out);
        ck_assert_msg(err == (delta < 0 ? ERR_TOO_LARGE : OK), "codec %d, limit %+d: %s", _i, delta, err_name(err));
        ck_assert_uint_le(out.capacity, (size_t)(100000 + delta));
        if (err == OK) {
            ck_assert(bytes_equal(dynbuf_bytes(&out), (struct bytes){plain, 100000}));
        }
        dynbuf_deinit(&out);
    }
    dynbuf_deinit(&packed);
    mem_free(plain);
}
END_TEST

/* Goal: a bomb costs no more than the limit. Method: 48 MiB of zeros, packed by each codec, may become 1 MiB. */
START_TEST(bombs_are_refused)
{
    enum record_codec codec = (enum record_codec)_i;
    uint8_t *plain = mem_alloc(MIB(48));
    struct dynbuf packed;
    dynbuf_init(&packed, MIB(96));
    ck_assert_int_eq(compress_pack(codec, (struct bytes){plain, MIB(48)}, &packed), OK);
    struct dynbuf out;
    dynbuf_init(&out, MIB(1));
    ck_assert_int_eq(compress_unpack(codec, dynbuf_bytes(&packed), &out), ERR_TOO_LARGE);
    ck_assert_uint_le(out.capacity, MIB(1));
    dynbuf_deinit(&out);
    dynbuf_deinit(&packed);
    mem_free(plain);
}
END_TEST

struct packed_case {
    const char *name;
    enum record_codec codec;
    const char *bytes;
    size_t size;
    enum err err;
};

#define PACKED(name, codec, bytes, err)            \
    {                                              \
        name, codec, bytes, sizeof(bytes) - 1, err \
    }
#define XERIAL "\x82SNAPPY\0\0\0\0\1\0\0\0\1"
static const struct packed_case packed_cases[] = {
    PACKED("gzip, nothing", CODEC_GZIP, "", ERR_CORRUPT),
    PACKED("gzip, text", CODEC_GZIP, "hello", ERR_CORRUPT),
    PACKED("gzip, zlib wrapper", CODEC_GZIP, "\x78\x9c\x03\0\0\0\0\1", ERR_CORRUPT),
    PACKED("lz4, nothing", CODEC_LZ4, "", ERR_CORRUPT),
    PACKED("lz4, wrong magic", CODEC_LZ4, "\x04\x22\x4d\x19\x60\x40\x82\0\0\0\0", ERR_CORRUPT),
    PACKED("lz4, empty frame", CODEC_LZ4, "\x04\x22\x4d\x18\x60\x40\x82\0\0\0\0", OK),
    PACKED("lz4, header check sum wrong", CODEC_LZ4, "\x04\x22\x4d\x18\x60\x40\x83\0\0\0\0", ERR_CORRUPT),
    PACKED("zstd, nothing", CODEC_ZSTD, "", ERR_CORRUPT),
    PACKED("zstd, window of 2 GiB", CODEC_ZSTD, "\x28\xb5\x2f\xfd\x00\xa8\x01\0\0", ERR_CORRUPT),
    PACKED("zstd, empty frame", CODEC_ZSTD, "\x28\xb5\x2f\xfd\x20\0\x01\0\0", OK),
    PACKED("zstd, bytes behind the frame", CODEC_ZSTD, "\x28\xb5\x2f\xfd\x20\0\x01\0\0x", ERR_CORRUPT),
    PACKED("snappy, nothing", CODEC_SNAPPY, "", ERR_CORRUPT),
    PACKED("snappy, empty block", CODEC_SNAPPY, "\0", OK),
    PACKED("snappy, 4 GiB declared in 5 bytes", CODEC_SNAPPY, "\xff\xff\xff\xff\x0f", ERR_CORRUPT),
    PACKED("snappy, 100 bytes declared, none there", CODEC_SNAPPY, "\x64\0\0\0", ERR_CORRUPT),
    PACKED("snappy, more declared than allowed", CODEC_SNAPPY,
           "\x81\x20\0\0" XERIAL XERIAL XERIAL XERIAL XERIAL XERIAL XERIAL XERIAL XERIAL, ERR_TOO_LARGE),
    PACKED("xerial, no blocks", CODEC_SNAPPY, XERIAL, OK),
    PACKED("xerial, block of size 2 GiB", CODEC_SNAPPY, XERIAL "\x7f\xff\xff\xff\1\0x", ERR_CORRUPT),
    PACKED("xerial, block of size -1", CODEC_SNAPPY, XERIAL "\xff\xff\xff\xff\1\0x", ERR_CORRUPT),
    PACKED("xerial, cut block size", CODEC_SNAPPY, XERIAL "\0\0", ERR_CORRUPT),
    PACKED("xerial, one byte", CODEC_SNAPPY, XERIAL "\0\0\0\3\1\0x", OK),
    PACKED("xerial, version 7", CODEC_SNAPPY, "\x82SNAPPY\0\0\0\0\7\0\0\0\7\0\0\0\3\1\0x", OK),
    PACKED("no such codec", CODEC_COUNT, "x", ERR_UNSUPPORTED),
};

/* Goal: malformed streams of each codec are told from good ones. Method: hand-made streams, a limit of 4096 bytes. */
START_TEST(packed_forms_are_checked)
{
    const struct packed_case *c = &packed_cases[_i];
    uint8_t *copy = mem_alloc(c->size + 1);
    memcpy(copy, c->bytes, c->size);
    struct dynbuf out;
    dynbuf_init(&out, 4096);
    enum err err = compress_unpack(c->codec, (struct bytes){copy, c->size}, &out);
    ck_assert_msg(err == c->err, "%s: %s", c->name, err_name(err));
    dynbuf_deinit(&out);
    mem_free(copy);
}
END_TEST

static Suite *records_suite(void)
{
    Suite *suite = suite_create("records");
    TCase *golden = tcase_create("golden");
    tcase_set_timeout(golden, 60);
    tcase_add_loop_test(golden, golden_batches_yield_their_records, 0, GOLDEN_BATCH_COUNT);
    tcase_add_loop_test(golden, cut_records_are_refused, 0, GOLDEN_BATCH_COUNT);
    tcase_add_loop_test(golden, damaged_records_are_survived, 0, GOLDEN_BATCH_COUNT);
    suite_add_tcase(suite, golden);
    TCase *records = tcase_create("records");
    tcase_add_loop_test(records, framing_is_checked, 0, array_count(framing_cases));
    tcase_add_loop_test(records, builder_and_iterator_agree, 0, CODEC_COUNT);
    tcase_add_test(records, log_append_time_overrides_timestamps);
    suite_add_tcase(suite, records);
    TCase *compress = tcase_create("compress");
    tcase_set_timeout(compress, 60);
    tcase_add_loop_test(compress, unpacking_stops_at_its_limit, CODEC_NONE, CODEC_COUNT);
    tcase_add_loop_test(compress, bombs_are_refused, CODEC_NONE, CODEC_COUNT);
    tcase_add_loop_test(compress, packed_forms_are_checked, 0, array_count(packed_cases));
    suite_add_tcase(suite, compress);
    return suite;
}

TEST_MAIN(records_suite)
