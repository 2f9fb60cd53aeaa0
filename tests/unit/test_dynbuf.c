/* The growing buffer: content, the maximum, and formatted text at its edges. */
#include "base/dynbuf.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

/* Goal: put and consume behave as a queue of bytes. Method: a counter goes in and comes out in uneven portions. */
START_TEST(bytes_come_out_in_order)
{
    struct dynbuf buf;
    uint8_t in = 0;
    uint8_t out = 0;
    dynbuf_init(&buf, KIB(64));
    ck_assert_ptr_null(dynbuf_bytes(&buf).data);
    for (size_t round = 0; round < 500; round++) {
        uint8_t portion[97];
        size_t size = round * 31 % sizeof portion;
        for (size_t i = 0; i < size; i++) {
            portion[i] = in++;
        }
        ck_assert_int_eq(dynbuf_put(&buf, (struct bytes){portion, size}), OK);
        size_t taken = round * 17 % (buf.size + 1);
        for (size_t i = 0; i < taken; i++) {
            ck_assert_uint_eq(dynbuf_bytes(&buf).data[i], out++);
        }
        dynbuf_consume(&buf, taken);
    }
    ck_assert_uint_eq((uint8_t)(out + buf.size), in);
    dynbuf_consume(&buf, buf.size);
    ck_assert_uint_eq(buf.size, 0);
    dynbuf_deinit(&buf);
}
END_TEST

/* Goal: the maximum is reached exactly and never passed, and a refusal changes nothing. */
START_TEST(maximum_is_exact)
{
    static const uint8_t zeros[1000];
    struct dynbuf buf;
    dynbuf_init(&buf, 1000);
    ck_assert_int_eq(dynbuf_put(&buf, (struct bytes){zeros, 1000}), OK);
    ck_assert_int_eq(dynbuf_put(&buf, (struct bytes){zeros, 1}), ERR_TOO_LARGE);
    ck_assert_int_eq(dynbuf_printf(&buf, "x"), ERR_TOO_LARGE);
    ck_assert_int_eq(dynbuf_printf(&buf, "%s", ""), OK);
    ck_assert_int_eq(dynbuf_reserve(&buf, SIZE_MAX), ERR_TOO_LARGE);
    ck_assert_int_eq(dynbuf_put(&buf, BYTES_NONE), OK);
    ck_assert_uint_eq(buf.size, 1000);
    dynbuf_reset(&buf);
    ck_assert_int_eq(dynbuf_reserve(&buf, 1000), OK);
    ck_assert_int_eq(dynbuf_reserve(&buf, 1001), ERR_TOO_LARGE);
    ck_assert_uint_le(buf.capacity, 1000);
    dynbuf_deinit(&buf);
}
END_TEST

/* Goal: formatted text of every length fits when it should. Method: lengths around the first capacity and the maximum.
 */
START_TEST(formatted_text_of_every_length)
{
    char text[600];
    memset(text, 'x', sizeof text);
    for (int size = 0; size < (int)sizeof text; size++) {
        struct dynbuf buf;
        dynbuf_init(&buf, 512);
        ck_assert_int_eq(dynbuf_printf(&buf, "%.*s", size, text), size <= 512 ? OK : ERR_TOO_LARGE);
        ck_assert_uint_eq(buf.size, size <= 512 ? (size_t)size : 0);
        ck_assert(size > 512 || size == 0 || memcmp(buf.data, text, (size_t)size) == 0);
        if (size < 512) {
            ck_assert_int_eq(dynbuf_printf(&buf, "%d", 7), OK);
            ck_assert_uint_eq(buf.data[size], '7');
        }
        dynbuf_deinit(&buf);
    }
}
END_TEST

/* Goal: a buffer goes on after deinit as if it were new, and reset keeps the memory. */
START_TEST(reset_keeps_memory_and_deinit_does_not)
{
    struct dynbuf buf;
    dynbuf_init(&buf, KIB(4));
    ck_assert_int_eq(dynbuf_printf(&buf, "%s %d", "text", 1), OK);
    const uint8_t *data = buf.data;
    dynbuf_reset(&buf);
    ck_assert_int_eq(dynbuf_put(&buf, bytes_from_text("abc")), OK);
    ck_assert_ptr_eq(buf.data, data);
    ck_assert(bytes_equal_text(dynbuf_bytes(&buf), "abc"));
    dynbuf_deinit(&buf);
    ck_assert_ptr_null(dynbuf_bytes(&buf).data);
    ck_assert_int_eq(dynbuf_put(&buf, bytes_from_text("d")), OK);
    dynbuf_deinit(&buf);
}
END_TEST

static Suite *dynbuf_suite(void)
{
    Suite *suite = suite_create("dynbuf");
    TCase *tcase = tcase_create("dynbuf");
    tcase_add_test(tcase, bytes_come_out_in_order);
    tcase_add_test(tcase, maximum_is_exact);
    tcase_add_test(tcase, formatted_text_of_every_length);
    tcase_add_test(tcase, reset_keeps_memory_and_deinit_does_not);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(dynbuf_suite)
