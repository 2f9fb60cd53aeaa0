/* Messages of copied fields and referenced payload: content against a plain copy, fragments against the promises. */
#include "base/outbuf.h"

#include <stdlib.h>
#include <string.h>

#include "base/dynbuf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

static uint32_t next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

static void check_content(const struct outbuf *out, struct bytes expected)
{
    struct shared *flat = outbuf_flatten(out);
    ck_assert_uint_eq(out->size, expected.size);
    ck_assert(bytes_equal((struct bytes){flat->data, flat->size}, expected));
    for (size_t i = 0; i < out->fragment_count; i++) {
        const struct outbuf_fragment *fragment = &out->fragments[i];
        ck_assert_uint_gt(fragment->size, 0);
        if (fragment->block != NULL) {
            ck_assert(fragment->data >= fragment->block->data);
            ck_assert(fragment->data + fragment->size <= fragment->block->data + fragment->block->size);
        }
    }
    shared_release(flat);
}

/* Goal: fields are big-endian and lie in one fragment. */
START_TEST(fields_form_one_fragment)
{
    struct outbuf out;
    outbuf_init(&out, KIB(1));
    outbuf_i8(&out, -1);
    outbuf_i16(&out, 0x0102);
    outbuf_i32(&out, 0x03040506);
    outbuf_i64(&out, 0x0708090a0b0c0d0e);
    outbuf_uvarint(&out, 0);
    outbuf_uvarint(&out, 300);
    outbuf_uvarint(&out, UINT32_MAX);
    outbuf_put(&out, bytes_from_text("abc"));
    outbuf_put(&out, BYTES_NONE);
    ck_assert_uint_eq(out.fragment_count, 1);
    static const char expected[] =
        "\xff\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x00\xac\x02\xff\xff\xff\xff\x0f"
        "abc";
    check_content(&out, (struct bytes){(const uint8_t *)expected, sizeof expected - 1});
    outbuf_deinit(&out);
}
END_TEST

/* Goal: any mix of fields, copies, reservations and slices comes out in order. Method: random work doubled into a plain
 * buffer, one seed a run; reservations are patched at the end, as sizes in front of a message are. */
START_TEST(any_mix_comes_out_in_order)
{
    enum {
        STEP_COUNT = 400,
        PATCH_COUNT = 64
    };
    static uint8_t noise[20000];
    uint64_t random = (uint64_t)_i + 1;
    uint8_t *patches[PATCH_COUNT];
    size_t patch_positions[PATCH_COUNT];
    size_t patch_count = 0;
    struct outbuf out;
    struct dynbuf expected;
    struct shared *block = shared_new(sizeof noise);
    for (size_t i = 0; i < sizeof noise; i++) {
        noise[i] = (uint8_t)next(&random);
    }
    memcpy(block->data, noise, sizeof noise);
    outbuf_init(&out, MIB(16));
    dynbuf_init(&expected, MIB(16));
    for (int step = 0; step < STEP_COUNT; step++) {
        size_t limit = next(&random) % 3 == 0 ? sizeof noise : 600;
        size_t size = next(&random) % limit;
        struct bytes bytes = {noise + next(&random) % (sizeof noise - size), size};
        switch (next(&random) % 4) {
        case 0:
            outbuf_put(&out, bytes);
            ck_assert_int_eq(dynbuf_put(&expected, bytes), OK);
            break;
        case 1: {
            struct slice slice = slice_of(block, (size_t)(bytes.data - noise), size);
            outbuf_put_slice(&out, slice);
            slice_release(&slice);
            ck_assert_int_eq(dynbuf_put(&expected, bytes), OK);
            break;
        }
        case 2: {
            uint8_t field[4];
            be32_put(field, (uint32_t)step);
            outbuf_i32(&out, step);
            ck_assert_int_eq(dynbuf_put(&expected, (struct bytes){field, 4}), OK);
            break;
        }
        default:
            size = size % 4096 + 1;
            if (patch_count < PATCH_COUNT) {
                patch_positions[patch_count] = expected.size;
                patches[patch_count] = outbuf_reserve(&out, size);
                memset(patches[patch_count++], 0, size);
                ck_assert_int_eq(dynbuf_reserve(&expected, size), OK);
                memset(expected.data + expected.size, 0, size);
                expected.size += size;
            }
            break;
        }
    }
    shared_release(block);
    for (size_t i = 0; i < patch_count; i++) {
        patches[i][0] = (uint8_t)(i + 1);
        expected.data[patch_positions[i]] = (uint8_t)(i + 1);
    }
    check_content(&out, dynbuf_bytes(&expected));
    outbuf_deinit(&out);
    dynbuf_deinit(&expected);
}
END_TEST

/* Goal: large slices are referenced, small ones and those without a block are copied; fields around share one chunk as
 * long as they fit in it: what is copied fills the first, of 256 bytes, and goes on in the second. */
START_TEST(large_payload_is_not_copied)
{
    struct outbuf out;
    struct shared *block = shared_new(10000);
    memset(block->data, 'p', 10000);
    struct slice large = slice_of(block, 0, 512);
    struct slice small = slice_of(block, 0, 511);
    struct slice foreign = {NULL, {block->data, 600}};
    outbuf_init(&out, MIB(1));
    outbuf_i32(&out, 1);
    outbuf_put_slice(&out, large);
    outbuf_i32(&out, 2);
    outbuf_put_slice(&out, small);
    outbuf_put_slice(&out, foreign);
    ck_assert_uint_eq(out.fragment_count, 4);
    ck_assert_ptr_eq(out.fragments[1].data, block->data);
    ck_assert_ptr_eq(out.fragments[0].block, out.fragments[2].block);
    ck_assert_uint_eq(block->references, 4);
    slice_release(&large);
    slice_release(&small);
    shared_release(block);
    ck_assert_uint_eq(block->references, 1);
    outbuf_deinit(&out);
}
END_TEST

/* Goal: a message over its limit fails as a whole, whichever call exceeds it, and stays failed. */
START_TEST(limit_sticks)
{
    struct shared *block = shared_new(1000);
    memset(block->data, 0, 1000);
    for (int kind = 0; kind < 4; kind++) {
        struct outbuf out;
        struct slice slice = slice_of(block, 0, 1000);
        outbuf_init(&out, 100);
        outbuf_put(&out, (struct bytes){block->data, 99});
        switch (kind) {
        case 0:
            outbuf_i16(&out, 1);
            break;
        case 1:
            outbuf_put(&out, (struct bytes){block->data, 2});
            break;
        case 2:
            ck_assert_ptr_null(outbuf_reserve(&out, 4096));
            break;
        default:
            outbuf_put_slice(&out, slice);
            break;
        }
        ck_assert_int_eq(out.err, ERR_TOO_LARGE);
        outbuf_i8(&out, 1); /* would fit */
        outbuf_uvarint(&out, 1);
        ck_assert_ptr_null(outbuf_reserve(&out, 1));
        ck_assert_uint_eq(out.size, 99);
        ck_assert_int_eq(out.err, ERR_TOO_LARGE);
        outbuf_deinit(&out);
        ck_assert_int_eq(out.err, OK);
        slice_release(&slice);
    }
    shared_release(block);
}
END_TEST

/* Goal: exactly the limit is allowed. */
START_TEST(limit_is_inclusive)
{
    struct outbuf out;
    outbuf_init(&out, 8);
    outbuf_i64(&out, 1);
    outbuf_put(&out, BYTES_NONE);
    ck_assert_int_eq(out.err, OK);
    ck_assert_uint_eq(out.size, 8);
    outbuf_deinit(&out);
}
END_TEST

/* Goal: the first small fields lie in the owner's memory, what follows in blocks, all in order. */
START_TEST(given_memory_comes_first)
{
    uint8_t memory[16];
    uint8_t expected[16 + 4 * 200];
    struct outbuf out;
    outbuf_init_with(&out, KIB(1), memory, sizeof(memory));
    outbuf_i64(&out, 0x0101010101010101);
    ck_assert_uint_eq(out.fragment_count, 1);
    ck_assert_ptr_eq(out.fragments[0].data, memory);
    ck_assert_ptr_null(out.fragments[0].block);
    outbuf_i64(&out, 0x0101010101010101);
    ck_assert_uint_eq(out.fragment_count, 1);
    for (int i = 0; i < 200; i++) {
        outbuf_i32(&out, 0x01010101);
    }
    ck_assert_uint_gt(out.fragment_count, 1);
    ck_assert_ptr_nonnull(out.fragments[1].block);
    memset(expected, 1, sizeof(expected));
    check_content(&out, (struct bytes){expected, sizeof(expected)});
    outbuf_deinit(&out);
}
END_TEST

static Suite *outbuf_suite(void)
{
    Suite *suite = suite_create("outbuf");
    TCase *tcase = tcase_create("outbuf");
    tcase_add_test(tcase, fields_form_one_fragment);
    tcase_add_loop_test(tcase, any_mix_comes_out_in_order, 0, 20);
    tcase_add_test(tcase, large_payload_is_not_copied);
    tcase_add_test(tcase, limit_sticks);
    tcase_add_test(tcase, limit_is_inclusive);
    tcase_add_test(tcase, given_memory_comes_first);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(outbuf_suite)
