/* Cursors: every type there and back, every truncation refused, varints at their edges. */
#include "base/bytes.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

static void write_one_of_each(struct writer *writer)
{
    write_u8(writer, 0xfe);
    write_i8(writer, -2);
    write_u16(writer, 0xfedc);
    write_i16(writer, INT16_MIN);
    write_u32(writer, 0xfedcba98);
    write_i32(writer, INT32_MIN);
    write_u64(writer, UINT64_C(0xfedcba9876543210));
    write_i64(writer, INT64_MIN);
    write_uvarint(writer, 300);
    write_varint(writer, -300);
    write_varlong(writer, INT64_MIN);
    write_bytes(writer, bytes_from_text("payload"));
}

enum {
    ONE_OF_EACH_SIZE = 2 * (1 + 2 + 4 + 8) + 2 + 2 + 10 + 7
};

/* Goal: what was written is read back, in big-endian order. */
START_TEST(fields_are_read_back)
{
    uint8_t memory[ONE_OF_EACH_SIZE];
    struct writer writer;
    struct reader reader;
    writer_init(&writer, memory, sizeof memory);
    write_one_of_each(&writer);
    ck_assert_int_eq(writer.err, OK);
    ck_assert_uint_eq(writer_size(&writer), sizeof memory);
    ck_assert_int_eq(
        memcmp(memory + 2, "\xfe\xdc\x80\x00\xfe\xdc\xba\x98\x80\x00\x00\x00\xfe\xdc\xba\x98\x76\x54\x32\x10\x80", 21),
        0);
    reader_init(&reader, (struct bytes){memory, sizeof memory});
    ck_assert_uint_eq(read_u8(&reader), 0xfe);
    ck_assert_int_eq(read_i8(&reader), -2);
    ck_assert_uint_eq(read_u16(&reader), 0xfedc);
    ck_assert_int_eq(read_i16(&reader), INT16_MIN);
    ck_assert_uint_eq(read_u32(&reader), 0xfedcba98);
    ck_assert_int_eq(read_i32(&reader), INT32_MIN);
    ck_assert(read_u64(&reader) == UINT64_C(0xfedcba9876543210));
    ck_assert(read_i64(&reader) == INT64_MIN);
    ck_assert_uint_eq(read_uvarint(&reader), 300);
    ck_assert_int_eq(read_varint(&reader), -300);
    ck_assert(read_varlong(&reader) == INT64_MIN);
    ck_assert(bytes_equal_text(read_bytes(&reader, 7), "payload"));
    ck_assert_uint_eq(reader.left, 0);
    ck_assert_int_eq(reader.err, OK);
}
END_TEST

/* Goal: bytes cut anywhere are refused, the failure sticks, and nothing beyond the end is touched. Method: every proper
 * prefix, in memory of exactly its size (so that AddressSanitizer watches its end); later reads give zero. */
START_TEST(reader_refuses_every_truncation)
{
    uint8_t whole[ONE_OF_EACH_SIZE];
    struct writer writer;
    writer_init(&writer, whole, sizeof whole);
    write_one_of_each(&writer);
    for (size_t size = 0; size < sizeof whole; size++) {
        uint8_t *memory = mem_alloc_raw(size + 1);
        memory = mem_resize(memory, size == 0 ? 1 : size);
        memcpy(memory, whole, size);
        struct reader reader;
        reader_init(&reader, (struct bytes){memory, size});
        (void)read_u8(&reader);
        (void)read_i8(&reader);
        (void)read_u16(&reader);
        (void)read_i16(&reader);
        (void)read_u32(&reader);
        (void)read_i32(&reader);
        (void)read_u64(&reader);
        (void)read_i64(&reader);
        (void)read_uvarint(&reader);
        (void)read_varint(&reader);
        (void)read_varlong(&reader);
        struct bytes payload = read_bytes(&reader, 7);
        ck_assert_msg(reader.err == ERR_SHORT, "cut at %zu: %s", size, err_name(reader.err));
        ck_assert_uint_eq(payload.size, 0);
        ck_assert_uint_eq(read_u8(&reader), 0);
        ck_assert_int_eq(read_varint(&reader), 0);
        ck_assert_uint_eq(read_bytes(&reader, 0).size, 0);
        reader_fail(&reader, ERR_CORRUPT);
        ck_assert_int_eq(reader.err, ERR_SHORT);
        mem_free(memory);
    }
}
END_TEST

/* Goal: a writer that is full says so, sticks, and leaves the byte behind its memory alone. Method: every size that is
 * too small; then a small write, which would fit again, must not be done either. */
START_TEST(writer_refuses_every_size_too_small)
{
    for (size_t size = 0; size < ONE_OF_EACH_SIZE; size++) {
        uint8_t memory[ONE_OF_EACH_SIZE + 1];
        struct writer writer;
        memset(memory, 0x55, sizeof memory);
        writer_init(&writer, memory, size);
        write_one_of_each(&writer);
        ck_assert_int_eq(writer.err, ERR_TOO_LARGE);
        size_t written = writer_size(&writer);
        ck_assert_uint_le(written, size);
        write_u8(&writer, 1);
        write_uvarint(&writer, 1);
        write_varlong(&writer, 1);
        ck_assert_uint_eq(writer_size(&writer), written);
        for (size_t i = written; i < sizeof memory; i++) {
            ck_assert_msg(memory[i] == 0x55, "size %zu, byte %zu", size, i);
        }
        writer_fail(&writer, ERR_INVALID);
        ck_assert_int_eq(writer.err, ERR_TOO_LARGE);
    }
}
END_TEST

/* Goal: cursors over nothing work: no read fits, empty reads and writes succeed. */
START_TEST(cursors_over_nothing)
{
    struct reader reader;
    struct writer writer;
    reader_init(&reader, BYTES_NONE);
    ck_assert_uint_eq(read_bytes(&reader, 0).size, 0);
    read_skip(&reader, 0);
    ck_assert_int_eq(reader.err, OK);
    read_skip(&reader, 1);
    ck_assert_int_eq(reader.err, ERR_SHORT);
    writer_init(&writer, NULL, 0);
    write_bytes(&writer, BYTES_NONE);
    ck_assert_int_eq(writer.err, OK);
    ck_assert_uint_eq(writer_size(&writer), 0);
    write_u8(&writer, 1);
    ck_assert_int_eq(writer.err, ERR_TOO_LARGE);
}
END_TEST

/* Goal: sizes near the top of size_t do not wrap around. */
START_TEST(huge_sizes_do_not_wrap)
{
    uint8_t memory[8] = {0};
    struct reader reader;
    reader_init(&reader, (struct bytes){memory, sizeof memory});
    (void)read_bytes(&reader, SIZE_MAX);
    ck_assert_int_eq(reader.err, ERR_SHORT);
    reader_init(&reader, (struct bytes){memory, sizeof memory});
    read_skip(&reader, SIZE_MAX - 3);
    ck_assert_int_eq(reader.err, ERR_SHORT);
}
END_TEST

static const uint64_t varint_edges[] = {
    0,
    1,
    2,
    0x3f,
    0x40,
    0x7f,
    0x80,
    0x81,
    0x3fff,
    0x4000,
    0x1fffff,
    0x200000,
    0x0fffffff,
    0x10000000,
    0x7fffffff,
    0x80000000,
    0xffffffff,
    UINT64_C(0x100000000),
    UINT64_C(0x7ffffffff),
    UINT64_C(0x3ffffffffff),
    UINT64_C(0x1ffffffffffff),
    UINT64_C(0xffffffffffffff),
    UINT64_C(0x7fffffffffffffff),
    UINT64_C(0x8000000000000000),
    UINT64_MAX,
};

/* Goal: varints at the edges of each size come back, and take the size that was told beforehand. */
START_TEST(varints_at_their_edges)
{
    uint64_t edge = varint_edges[_i];
    for (int sign = 0; sign < 2; sign++) {
        int64_t value = (int64_t)(sign ? ~edge : edge);
        uint8_t memory[32];
        struct writer writer;
        struct reader reader;
        writer_init(&writer, memory, sizeof memory);
        write_varlong(&writer, value);
        ck_assert_uint_eq(writer_size(&writer), varlong_size(value));
        size_t first = writer_size(&writer);
        write_varint(&writer, (int32_t)value);
        ck_assert_uint_eq(writer_size(&writer) - first, varint_size((int32_t)value));
        size_t second = writer_size(&writer);
        write_uvarint(&writer, (uint32_t)value);
        ck_assert_uint_eq(writer_size(&writer) - second, uvarint_size((uint32_t)value));
        reader_init(&reader, (struct bytes){memory, writer_size(&writer)});
        ck_assert(read_varlong(&reader) == value);
        ck_assert_int_eq(read_varint(&reader), (int32_t)value);
        ck_assert_uint_eq(read_uvarint(&reader), (uint32_t)value);
        ck_assert_int_eq(reader.err, OK);
        ck_assert_uint_eq(reader.left, 0);
    }
}
END_TEST

static const struct {
    const char *name;
    struct bytes bytes;
    bool is_long;
    enum err err;
    int64_t value; /* unsigned for uvarint, zigzag decoded for varlong */
    size_t left;
} varint_cases[] = {
#define RAW(text)                                 \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }
    {"golden 300", RAW("\xac\x02"), false, OK, 300, 0},
    {"golden -300", RAW("\xd7\x04"), true, OK, -300, 0},
    {"one byte, more behind", RAW("\x05\xff"), false, OK, 5, 1},
    {"needless zero group", RAW("\x81\x00"), false, OK, 1, 0},
    {"needless zero groups", RAW("\x81\x80\x80\x80\x00"), false, OK, 1, 0},
    {"largest of 32 bits", RAW("\xff\xff\xff\xff\x0f"), false, OK, 0xffffffff, 0},
    {"33rd bit", RAW("\xff\xff\xff\xff\x1f"), false, ERR_CORRUPT, 0, 0},
    {"six bytes", RAW("\xff\xff\xff\xff\x8f\x00"), false, ERR_CORRUPT, 0, 0},
    {"empty", RAW(""), false, ERR_SHORT, 0, 0},
    {"cut", RAW("\xff"), false, ERR_SHORT, 0, 0},
    {"cut after four", RAW("\xff\xff\xff\xff"), false, ERR_SHORT, 0, 0},
    {"smallest of 64 bits", RAW("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), true, OK, INT64_MIN, 0},
    {"largest of 64 bits", RAW("\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"), true, OK, INT64_MAX, 0},
    {"65th bit", RAW("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), true, ERR_CORRUPT, 0, 0},
    {"eleven bytes", RAW("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00"), true, ERR_CORRUPT, 0, 0},
    {"cut after nine", RAW("\xff\xff\xff\xff\xff\xff\xff\xff\xff"), true, ERR_SHORT, 0, 0},
#undef RAW
};

/* Goal: hostile varints are told from short ones, and neither overflows. */
START_TEST(malformed_varints_are_refused)
{
    const char *name = varint_cases[_i].name;
    struct reader reader;
    reader_init(&reader, varint_cases[_i].bytes);
    int64_t value = varint_cases[_i].is_long ? read_varlong(&reader) : (int64_t)read_uvarint(&reader);
    ck_assert_msg(reader.err == varint_cases[_i].err, "%s: %s", name, err_name(reader.err));
    ck_assert_msg(value == varint_cases[_i].value, "%s: %lld", name, (long long)value);
    ck_assert_msg(reader.left == varint_cases[_i].left, "%s: %zu left", name, reader.left);
}
END_TEST

/* Goal: order is that of memcmp, with a prefix before what it begins; empty bytes compare whatever their pointer. */
START_TEST(bytes_are_ordered)
{
    static const char *const sorted[] = {"", "a", "a\x01", "ab", "b", "\x80", "\xff"};
    for (size_t i = 0; i < array_count(sorted); i++) {
        for (size_t j = 0; j < array_count(sorted); j++) {
            int order = bytes_compare(bytes_from_text(sorted[i]), bytes_from_text(sorted[j]));
            ck_assert_msg((order > 0) == (i > j) && (order < 0) == (i < j), "%zu and %zu", i, j);
            ck_assert_int_eq(bytes_equal_text(bytes_from_text(sorted[i]), sorted[j]), i == j);
        }
    }
    ck_assert(bytes_equal(BYTES_NONE, bytes_from_text("")));
    ck_assert_int_eq(bytes_compare(BYTES_NONE, bytes_from_text("")), 0);
    ck_assert_int_lt(bytes_compare(BYTES_NONE, bytes_from_text("x")), 0);
}
END_TEST

/* Goal: a hash tells apart what differs in any bit, in size or in seed, and spreads over low bits. Method: all
 * single-bit
 * changes of inputs of every small size; then counters into 1024 buckets. */
START_TEST(hash_tells_small_changes_apart)
{
    uint8_t data[40] = {0};
    for (size_t size = 0; size <= sizeof data; size++) {
        struct bytes bytes = {data, size};
        uint64_t hash = bytes_hash(bytes, 1);
        ck_assert(hash == bytes_hash(bytes, 1));
        ck_assert(hash != bytes_hash(bytes, 2));
        ck_assert(size == 0 || hash != bytes_hash((struct bytes){data, size - 1}, 1));
        for (size_t bit = 0; bit < size * 8; bit++) {
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            uint64_t changed = bytes_hash(bytes, 1);
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            int distance = __builtin_popcountll(hash ^ changed);
            ck_assert_msg(distance >= 8 && distance <= 56, "size %zu bit %zu: %d bits differ", size, bit, distance);
        }
    }
    unsigned buckets[1024] = {0};
    for (uint32_t i = 0; i < 1024 * 64; i++) {
        be32_put(data, i);
        buckets[bytes_hash((struct bytes){data, 4}, 0) % array_count(buckets)]++;
    }
    for (size_t i = 0; i < array_count(buckets); i++) {
        ck_assert_msg(buckets[i] > 20 && buckets[i] < 130, "bucket %zu: %u", i, buckets[i]);
    }
}
END_TEST

static Suite *bytes_suite(void)
{
    Suite *suite = suite_create("bytes");
    TCase *tcase = tcase_create("bytes");
    tcase_add_test(tcase, fields_are_read_back);
    tcase_add_test(tcase, reader_refuses_every_truncation);
    tcase_add_test(tcase, writer_refuses_every_size_too_small);
    tcase_add_test(tcase, cursors_over_nothing);
    tcase_add_test(tcase, huge_sizes_do_not_wrap);
    tcase_add_loop_test(tcase, varints_at_their_edges, 0, array_count(varint_edges));
    tcase_add_loop_test(tcase, malformed_varints_are_refused, 0, array_count(varint_cases));
    tcase_add_test(tcase, bytes_are_ordered);
    tcase_add_test(tcase, hash_tells_small_changes_apart);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(bytes_suite)
