/* The format of java.util.Properties. */
#include <string.h>

#include "base/dynbuf.h"
#include "base/limits.h"
#include "base/mem.h"
#include "broker/properties.h"
#include "tests/lib/test.h"

#define B(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

/* Writes each entry as [key|value@line]. */
static enum err list_entry(void *context, const char *key, const char *value, unsigned line, struct errmsg *msg)
{
    (void)msg;
    return dynbuf_printf(context, "[%s|%s@%u]", key, value, line);
}

struct text_case {
    const char *name;
    struct bytes text;
    const char *entries;
};

/* What java.util.Properties.load() makes of each, by its documentation. */
static const struct text_case text_cases[] = {
    {"nothing", B(""), ""},
    {"blank lines", B("\n \t\f\r\n\r"), ""},
    {"equals", B("a=b"), "[a|b@1]"},
    {"colon", B("a:b"), "[a|b@1]"},
    {"blank", B("a b"), "[a|b@1]"},
    {"blanks around the sign", B("  a \t = \f b  \n"), "[a|b  @1]"},
    {"one sign only", B("a = = b"), "[a|= b@1]"},
    {"sign in the value", B("a=b=c:d"), "[a|b=c:d@1]"},
    {"no value", B("a\nb="), "[a|@1][b|@2]"},
    {"no key", B("=b"), "[|b@1]"},
    {"neither", B("="), "[|@1]"},
    {"continuation of nothing", B("\\\n# x\na=b"), "[a|b@3]"},
    {"continuation of nothing, then an entry", B(" \\\r\n  a=b"), "[a|b@2]"},
    {"comments", B("# x\n ! y\na=b#c"), "[a|b#c@3]"},
    {"comment is not continued", B("# x\\\na=b"), "[a|b@2]"},
    {"line ends", B("a=1\rb=2\r\nc=3\n\nd=4"), "[a|1@1][b|2@2][c|3@3][d|4@5]"},
    {"continuation", B("a=b\\\n   c\\\r\n\td\ne=f"), "[a|bcd@1][e|f@4]"},
    {"continued key", B("a\\\n  b=c"), "[ab|c@1]"},
    {"continued around the sign", B("a\\\n =\\\n b"), "[a|b@1]"},
    {"continued by an empty line", B("a=b\\\n\nc=d"), "[a|b@1][c|d@3]"},
    {"comment sign in a continuation", B("a=b\\\n#c"), "[a|b#c@1]"},
    {"two backslashes do not continue", B("a=b\\\\\nc=d"), "[a|b\\@1][c|d@2]"},
    {"three do", B("a=b\\\\\\\nc=d"), "[a|b\\c=d@1]"},
    {"escapes", B("a=\\t\\n\\r\\f\\\\\\x\\\"\\'"), "[a|\t\n\r\f\\x\"'@1]"},
    {"escaped signs in a key", B("a\\=\\:\\ \\#b=c"), "[a=: #b|c@1]"},
    {"escaped first character", B("\\#a=b"), "[#a|b@1]"},
    {"escaped blank starts a value", B("a=\\  b"), "[a|  b@1]"},
    {"unicode", B("a=\\u0041\\u00e4\\u20AC\\ud83d\\ude00"), "[a|A\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80@1]"},
    {"unicode, continued", B("a=\\u00\\\n  e4\\ud83d\\\n\\ude00"), "[a|\xc3\xa4\xf0\x9f\x98\x80@1]"},
    {"only one u", B("a=\\u00410"), "[a|A0@1]"},
    {"other bytes", B("a=\xc3\xa4"), "[a|\xc3\xa4@1]"},
    {"backslash at the very end", B("a=b\\"), "[a|b@1]"},
    {"twice", B("a=1\na=2"), "[a|1@1][a|2@2]"},
    {"Kafka's own", B("listeners=PLAINTEXT://:9092\nlog.dirs=/tmp/kafka-logs\n"),
     "[listeners|PLAINTEXT://:9092@1][log.dirs|/tmp/kafka-logs@2]"},
};

/* Goal: files of a Kafka broker mean the same here. Method: texts and the entries that Java finds in them. */
START_TEST(entries_are_those_of_java)
{
    const struct text_case *c = &text_cases[_i];
    struct dynbuf entries;
    struct errmsg msg = {""};
    dynbuf_init(&entries, KIB(4));
    ck_assert_msg(properties_parse(c->text, &entries, list_entry, &msg) == OK, "%s: %s", c->name, msg.text);
    ck_assert_msg(bytes_equal_text(dynbuf_bytes(&entries), c->entries), "%s: %.*s", c->name, (int)entries.size,
                  (const char *)entries.data);
    dynbuf_deinit(&entries);
}
END_TEST

struct bad_case {
    struct bytes text;
    const char *message;
};

static const struct bad_case bad_cases[] = {
    {B("a=b\nc=\\u12"), "line 2: \\u needs four hexadecimal digits"},
    {B("a=\\u00g0"), "line 1: \\u needs four hexadecimal digits"},
    {B("a=\\ud83d"), "line 1: \\u with half of a surrogate pair"},
    {B("a=\\ud83dx"), "line 1: \\u with half of a surrogate pair"},
    {B("a=\\ud83d\\u0041"), "line 1: \\u with half of a surrogate pair"},
    {B("a=\\ude00"), "line 1: \\u with half of a surrogate pair"},
    {B("a=\0"), "line 1: a NUL byte"},
    {B("\n\n\\u0000=x"), "line 3: a NUL byte"},
};

/* Goal: what has no meaning is refused where it stands. */
START_TEST(bad_text_is_refused)
{
    const struct bad_case *c = &bad_cases[_i];
    struct dynbuf entries;
    struct errmsg msg = {""};
    dynbuf_init(&entries, KIB(4));
    ck_assert_int_eq(properties_parse(c->text, &entries, list_entry, &msg), ERR_INVALID);
    ck_assert_str_eq(msg.text, c->message);
    dynbuf_deinit(&entries);
}
END_TEST

static enum err count_entry(void *context, const char *key, const char *value, unsigned line, struct errmsg *msg)
{
    size_t *size = context;
    (void)line;
    (void)msg;
    *size = strlen(key) + strlen(value);
    return OK;
}

/* Goal: keys and values are bounded. Method: the largest, and one byte more, of each. */
START_TEST(fields_are_bounded)
{
    uint8_t text[PROPERTIES_VALUE_SIZE_MAX + 8];
    struct errmsg msg = {""};
    size_t size = 0;
    memset(text, 'x', sizeof(text));
    ck_assert_int_eq(properties_parse((struct bytes){text, PROPERTIES_KEY_SIZE_MAX}, &size, count_entry, &msg), OK);
    ck_assert_uint_eq(size, PROPERTIES_KEY_SIZE_MAX);
    ck_assert_int_eq(properties_parse((struct bytes){text, PROPERTIES_KEY_SIZE_MAX + 1}, &size, count_entry, &msg),
                     ERR_TOO_LARGE);
    ck_assert_str_eq(msg.text, "line 1: more than 256 characters");
    text[1] = '=';
    ck_assert_int_eq(properties_parse((struct bytes){text, PROPERTIES_VALUE_SIZE_MAX + 2}, &size, count_entry, &msg),
                     OK);
    ck_assert_uint_eq(size, PROPERTIES_VALUE_SIZE_MAX + 1);
    ck_assert_int_eq(properties_parse((struct bytes){text, PROPERTIES_VALUE_SIZE_MAX + 3}, &size, count_entry, &msg),
                     ERR_TOO_LARGE);
    ck_assert_str_eq(msg.text, "line 1: more than 8192 characters");
}
END_TEST

static enum err refuse_second(void *context, const char *key, const char *value, unsigned line, struct errmsg *msg)
{
    unsigned *calls = context;
    (void)key;
    (void)value;
    return ++*calls == 2 ? fail(msg, ERR_BUSY, "entry at %u", line) : OK;
}

/* Goal: the caller can stop. Method: the second of three entries is refused. */
START_TEST(refusal_ends_the_parsing)
{
    unsigned calls = 0;
    struct errmsg msg = {""};
    ck_assert_int_eq(properties_parse(B("a=1\n\nb=2\nc=3"), &calls, refuse_second, &msg), ERR_BUSY);
    ck_assert_uint_eq(calls, 2);
    ck_assert_str_eq(msg.text, "entry at 3");
}
END_TEST

/* Goal: no cut of a text reads beyond it. Method: every prefix of every case, in memory of exactly its size. */
START_TEST(every_prefix_is_safe)
{
    const struct text_case *c = &text_cases[_i];
    for (size_t size = 1; size < c->text.size; size++) {
        uint8_t *copy = mem_alloc_raw(size);
        struct dynbuf entries;
        memcpy(copy, c->text.data, size);
        dynbuf_init(&entries, KIB(4));
        enum err err = properties_parse((struct bytes){copy, size}, &entries, list_entry, NULL);
        ck_assert_msg(err == OK || err == ERR_INVALID, "%s cut at %zu", c->name, size);
        dynbuf_deinit(&entries);
        mem_free(copy);
    }
}
END_TEST

static Suite *properties_suite(void)
{
    Suite *suite = suite_create("properties");
    TCase *texts = tcase_create("texts");
    tcase_add_loop_test(texts, entries_are_those_of_java, 0, (int)array_count(text_cases));
    tcase_add_loop_test(texts, every_prefix_is_safe, 0, (int)array_count(text_cases));
    tcase_add_loop_test(texts, bad_text_is_refused, 0, (int)array_count(bad_cases));
    tcase_add_test(texts, fields_are_bounded);
    tcase_add_test(texts, refusal_ends_the_parsing);
    suite_add_tcase(suite, texts);
    return suite;
}

TEST_MAIN(properties_suite)
