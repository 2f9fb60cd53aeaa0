/* Lines to records and records to text. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/shared.h"
#include "broker/lines.h"
#include "tests/lib/test.h"

#define TEXT(literal) ((struct bytes){(const uint8_t *)(literal), sizeof(literal) - 1})

/* Goal: bytes between line feeds, and the last ones only once there are no more. Method: a few lines, cut off. */
START_TEST(lines_end_with_a_line_feed)
{
    struct bytes left = TEXT("one\n\ntwo\0\n three");
    struct bytes line;
    ck_assert_int_eq(line_next(&left, false, &line), OK);
    ck_assert(bytes_equal_text(line, "one"));
    ck_assert_int_eq(line_next(&left, false, &line), OK);
    ck_assert_uint_eq(line.size, 0);
    ck_assert_int_eq(line_next(&left, false, &line), OK);
    ck_assert(bytes_equal(line, TEXT("two\0")));
    ck_assert_int_eq(line_next(&left, false, &line), ERR_SHORT);
    ck_assert_int_eq(line_next(&left, true, &line), OK);
    ck_assert(bytes_equal_text(line, " three"));
    ck_assert_int_eq(line_next(&left, true, &line), ERR_SHORT);
}
END_TEST

struct split_case {
    const char *text, *separator, *null_value;
    enum err err;
    const char *key, *value; /* NULL: null */
};

static const struct split_case split_cases[] = {
    {"a:b", NULL, NULL, OK, NULL, "a:b"},
    {"a:b", ":", NULL, OK, "a", "b"},
    {"a:b:c", ":", NULL, OK, "a", "b:c"},
    {"a::b", "::", NULL, OK, "a", "b"},
    {":", ":", NULL, OK, "", ""},
    {":", ":", "", OK, "", NULL},
    {"a:NULL", ":", "NULL", OK, "a", NULL},
    {"NULL:a", ":", "NULL", OK, "NULL", "a"},
    {"NULL", NULL, "NULL", OK, NULL, NULL},
    {"", NULL, NULL, OK, NULL, ""},
    {"ab", ":", NULL, ERR_INVALID, NULL, NULL},
    {"", ":", NULL, ERR_INVALID, NULL, NULL},
};

static bool is_text(struct bytes bytes, const char *text)
{
    return text == NULL ? bytes.data == NULL : bytes.data != NULL && bytes_equal_text(bytes, text);
}

START_TEST(line_is_key_and_value)
{
    const struct split_case *c = &split_cases[_i];
    struct line line;
    ck_assert_int_eq(line_split(bytes_from_text(c->text), c->separator, c->null_value, &line), c->err);
    if (c->err == OK) {
        ck_assert_msg(is_text(line.key, c->key) && is_text(line.value, c->value), "%s", c->text);
    }
}
END_TEST

struct print_case {
    const char *name;
    struct bytes key, value; /* data NULL: null */
    struct bytes headers[4];
    size_t header_count;
    const char *text, *json, *raw;
};

#define HEAD "2\t0\t2026-01-01T00:00:00.123Z\t"
#define JSON "{\"partition\":2,\"offset\":0,\"timestamp\":1767225600123,"
/* clang-format off */
static const struct print_case print_cases[] = {
    {"nulls", {NULL, 0}, {NULL, 0}, {{NULL, 0}}, 0,
     HEAD "(null)\t(null)\n", JSON "\"key\":null,\"value\":null,\"headers\":[]}\n", "\n"},
    {"text", TEXT("k"), TEXT("v \303\244"), {{NULL, 0}}, 0,
     HEAD "k\tv \303\244\n", JSON "\"key\":\"k\",\"value\":\"v \303\244\",\"headers\":[]}\n", "v \303\244\n"},
    {"escapes", TEXT(""), TEXT("\t\n\\\"\x1b"), {{NULL, 0}}, 0,
     HEAD "\t\\t\\n\\\\\"\\x1b\n", JSON "\"key\":\"\",\"value\":\"\\u0009\\u000a\\\\\\\"\\u001b\",\"headers\":[]}\n",
     "\t\n\\\"\x1b\n"},
    {"no text", TEXT("\xff"), TEXT("ab\xc0\x80"), {{NULL, 0}}, 0,
     HEAD "\\xff\tab\\xc0\\x80\n", JSON "\"key_base64\":\"/w==\",\"value_base64\":\"YWLAgA==\",\"headers\":[]}\n",
     "ab\xc0\x80\n"},
    {"surrogates, too long, too high, cut, a control character of eight bits",
     TEXT("\xed\xa0\x80\xe0\x80\x80"), TEXT("\xf4\x90\x80\x80\xe2\x82\xc2\x9b"), {{NULL, 0}}, 0,
     HEAD "\\xed\\xa0\\x80\\xe0\\x80\\x80\t\\xf4\\x90\\x80\\x80\\xe2\\x82\\xc2\\x9b\n",
     JSON "\"key_base64\":\"7aCA4ICA\",\"value_base64\":\"9JCAgOKCwps=\",\"headers\":[]}\n",
     "\xf4\x90\x80\x80\xe2\x82\xc2\x9b\n"},
    {"headers", TEXT("k"), TEXT("v"), {TEXT("a"), TEXT("1"), TEXT("a"), {NULL, 0}}, 2,
     HEAD "k\tv\ta=1,a=(null)\n", JSON "\"key\":\"k\",\"value\":\"v\",\"headers\":["
     "{\"name\":\"a\",\"value\":\"1\"},{\"name\":\"a\",\"value\":null}]}\n", "v\n"},
};
/* clang-format on */

static void assert_printed(const struct record *record, enum record_format format, const char *name, const char *wanted)
{
    struct dynbuf out;
    dynbuf_init(&out, KIB(4));
    ck_assert_int_eq(record_print(record, 2, format, &out), OK);
    ck_assert_msg(bytes_equal_text(dynbuf_bytes(&out), wanted), "%s: %.*s", name, (int)out.size,
                  (const char *)out.data);
    dynbuf_deinit(&out);
}

/* Goal: what a record is can be read, and in JSON be got back. Method: records as a batch has them, each in all three
 * formats. */
START_TEST(record_is_printed)
{
    const struct print_case *c = &print_cases[_i];
    struct record_builder *builder = record_builder_open(CODEC_NONE, 1767225600123);
    record_builder_add(builder, 1767225600123, c->key.data != NULL ? &c->key : NULL,
                       c->value.data != NULL ? &c->value : NULL, c->headers, c->header_count);
    struct shared *block = record_builder_finish(builder);
    struct record_batch batch;
    struct record_iterator iterator;
    struct record record;
    ck_assert_int_eq(record_batch_view((struct bytes){block->data, block->size}, &batch), OK);
    ck_assert_int_eq(record_iterator_init(&iterator, &batch, KIB(4)), OK);
    ck_assert_int_eq(record_iterator_next(&iterator, &record), OK);
    assert_printed(&record, RECORD_TEXT, c->name, c->text);
    assert_printed(&record, RECORD_JSON, c->name, c->json);
    assert_printed(&record, RECORD_RAW, c->name, c->raw);
    record_iterator_deinit(&iterator);
    shared_release(block);
}
END_TEST

/* Goal: headers that are none are told of. Method: more of them than there are bytes. */
START_TEST(damaged_headers_are_refused)
{
    struct record record = {.is_key_null = true, .is_value_null = true, .header_count = 2, .headers = TEXT("\2a\2")};
    struct dynbuf out;
    dynbuf_init(&out, KIB(4));
    ck_assert_int_eq(record_print(&record, 0, RECORD_TEXT, &out), ERR_CORRUPT);
    ck_assert_int_eq(record_print(&record, 0, RECORD_JSON, &out), ERR_CORRUPT);
    dynbuf_deinit(&out);
}
END_TEST

static Suite *lines_suite(void)
{
    Suite *suite = suite_create("lines");
    TCase *lines = tcase_create("lines");
    tcase_add_test(lines, lines_end_with_a_line_feed);
    tcase_add_loop_test(lines, line_is_key_and_value, 0, (int)array_count(split_cases));
    suite_add_tcase(suite, lines);
    TCase *printed = tcase_create("printed");
    tcase_add_loop_test(printed, record_is_printed, 0, (int)array_count(print_cases));
    tcase_add_test(printed, damaged_headers_are_refused);
    suite_add_tcase(suite, printed);
    return suite;
}

TEST_MAIN(lines_suite)
