/* CRC-32C against published vectors and a bit-by-bit computation. */
#include "base/crc32c.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

static uint8_t pattern(int kind, size_t i)
{
    switch (kind) {
    case 0:
        return 0;
    case 1:
        return 0xff;
    case 2:
        return (uint8_t)i;
    default:
        return (uint8_t)(31 - i);
    }
}

/* Goal: the vectors of RFC 3720 B.4 (printed there byte-swapped), and the usual check value. */
START_TEST(published_vectors)
{
    static const uint32_t expected[] = {0x8a9136aa, 0x62a8ab43, 0x46dd794e, 0x113fdb5c};
    for (int kind = 0; kind < 4; kind++) {
        uint8_t data[32];
        for (size_t i = 0; i < sizeof data; i++) {
            data[i] = pattern(kind, i);
        }
        ck_assert_uint_eq(crc32c(0, (struct bytes){data, sizeof data}), expected[kind]);
    }
    ck_assert_uint_eq(crc32c(0, bytes_from_text("123456789")), 0xe3069283);
    ck_assert_uint_eq(crc32c(0, BYTES_NONE), 0);
    ck_assert_uint_eq(crc32c(0x12345678, BYTES_NONE), 0x12345678);
}
END_TEST

static uint32_t crc_by_bits(struct bytes bytes)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < bytes.size; i++) {
        crc ^= bytes.data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
        }
    }
    return ~crc;
}

/* Goal: every size, alignment and split gives the same as the definition. Method: all sizes up to past the widest
 * vector
 * path, each at 16 alignments; then each way to cut one input in two. */
START_TEST(any_size_alignment_and_split)
{
    enum {
        SIZE_MAX_TESTED = 1100
    };
    uint8_t *memory = mem_alloc(SIZE_MAX_TESTED + 16);
    for (size_t i = 0; i < SIZE_MAX_TESTED + 16; i++) {
        memory[i] = (uint8_t)(i * i * 7 + i / 5);
    }
    for (size_t size = 0; size <= SIZE_MAX_TESTED; size += size < 300 ? 1 : 37) {
        for (size_t shift = 0; shift < 16; shift++) {
            struct bytes bytes = {memory + shift, size};
            ck_assert_msg(crc32c(0, bytes) == crc_by_bits(bytes), "size %zu shift %zu", size, shift);
        }
    }
    struct bytes whole = {memory, SIZE_MAX_TESTED};
    for (size_t size = 0; size <= SIZE_MAX_TESTED; size++) {
        uint32_t first = crc32c(0, (struct bytes){memory, size});
        ck_assert(crc32c(first, (struct bytes){memory + size, SIZE_MAX_TESTED - size}) == crc32c(0, whole));
    }
    mem_free(memory);
}
END_TEST

static Suite *crc32c_suite(void)
{
    Suite *suite = suite_create("crc32c");
    TCase *tcase = tcase_create("crc32c");
    tcase_add_test(tcase, published_vectors);
    tcase_add_test(tcase, any_size_alignment_and_split);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(crc32c_suite)
