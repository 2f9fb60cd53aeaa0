/* Types, rules and their texts. */
#include <string.h>

#include "base/mem.h"
#include "metadata/config_value.h"
#include "tests/lib/test.h"

#define B(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})

static const struct config_rule any = {0};
static const struct config_rule percent = {.min = 0, .max = 100};
static const struct config_rule from_minus_one = {.min = -1, .max = INT64_MAX};
static const struct config_rule colours = {.choices = "red|green"};

struct value_case {
    const char *name;
    enum config_type type;
    const struct config_rule *rule;
    struct bytes value;
    bool is_valid;
};

static const struct value_case value_cases[] = {
    {"true", CONFIG_BOOL, &any, B("true"), true},
    {"any case", CONFIG_BOOL, &any, B(" FALSE\t"), true},
    {"no bool", CONFIG_BOOL, &any, B("yes"), false},
    {"empty bool", CONFIG_BOOL, &any, B(""), false},
    {"int max", CONFIG_INT, &any, B("2147483647"), true},
    {"int over", CONFIG_INT, &any, B("2147483648"), false},
    {"int min", CONFIG_INT, &any, B("-2147483648"), true},
    {"int under", CONFIG_INT, &any, B("-2147483649"), false},
    {"short max", CONFIG_SHORT, &any, B("32767"), true},
    {"short over", CONFIG_SHORT, &any, B("32768"), false},
    {"long max", CONFIG_LONG, &any, B("9223372036854775807"), true},
    {"long over", CONFIG_LONG, &any, B("9223372036854775808"), false},
    {"long min", CONFIG_LONG, &any, B("-9223372036854775808"), true},
    {"long under", CONFIG_LONG, &any, B("-9223372036854775809"), false},
    {"plus", CONFIG_LONG, &any, B("+5"), true},
    {"sign alone", CONFIG_LONG, &any, B("-"), false},
    {"two signs", CONFIG_LONG, &any, B("--5"), false},
    {"empty number", CONFIG_LONG, &any, B("  "), false},
    {"hexadecimal", CONFIG_LONG, &any, B("0x10"), false},
    {"fraction", CONFIG_INT, &any, B("1.0"), false},
    {"digits, then NUL", CONFIG_INT, &any, B("1\0"), false},
    {"inner blank", CONFIG_INT, &any, B("1 0"), false},
    {"lower bound", CONFIG_INT, &percent, B("0"), true},
    {"below it", CONFIG_INT, &percent, B("-1"), false},
    {"upper bound", CONFIG_INT, &percent, B("100"), true},
    {"above it", CONFIG_INT, &percent, B("101"), false},
    {"-1", CONFIG_LONG, &from_minus_one, B("-1"), true},
    {"-2", CONFIG_LONG, &from_minus_one, B("-2"), false},
    {"double", CONFIG_DOUBLE, &any, B("1.7976931348623157E308"), true},
    {"double in range", CONFIG_DOUBLE, &percent, B("99.9"), true},
    {"double out of range", CONFIG_DOUBLE, &percent, B("100.1"), false},
    {"no number", CONFIG_DOUBLE, &any, B("nan"), false},
    {"infinity", CONFIG_DOUBLE, &percent, B("1e999"), false},
    {"empty double", CONFIG_DOUBLE, &any, B(""), false},
    {"choice", CONFIG_STRING, &colours, B("red"), true},
    {"choice is exact", CONFIG_STRING, &colours, B("Red"), false},
    {"prefix of a choice", CONFIG_STRING, &colours, B("gree"), false},
    {"both choices", CONFIG_STRING, &colours, B("red|green"), false},
    {"list", CONFIG_LIST, &colours, B("red , green"), true},
    {"empty list", CONFIG_LIST, &colours, B(""), true},
    {"hole in a list", CONFIG_LIST, &colours, B("red,,green"), false},
    {"stranger in a list", CONFIG_LIST, &colours, B("red,blue"), false},
    {"text", CONFIG_STRING, &any, B("r\xc3\xa4um"), true},
    {"NUL in text", CONFIG_STRING, &any, B("a\0b"), false},
    {"newline in text", CONFIG_STRING, &any, B("a\nb"), false},
};

/* Goal: exactly the values of a type within the rule. Method: both sides of each bound, and what other parsers take. */
START_TEST(rule_decides_values)
{
    const struct value_case *c = &value_cases[_i];
    ck_assert_msg(config_is_valid(c->type, c->rule, c->value) == c->is_valid, "%s", c->name);
}
END_TEST

/* Goal: numbers mean what they say. Method: values near both ends. */
START_TEST(numbers_are_parsed)
{
    int64_t number = 7;
    ck_assert(config_parse_long(B("-9223372036854775808"), &number));
    ck_assert(number == INT64_MIN);
    ck_assert(config_parse_long(B("9223372036854775807"), &number));
    ck_assert(number == INT64_MAX);
    ck_assert(config_parse_long(B(" -42 "), &number));
    ck_assert_int_eq(number, -42);
    ck_assert(!config_parse_long(B("42x"), &number));
    ck_assert_int_eq(number, -42);
    ck_assert(!config_parse_long(BYTES_NONE, &number));
}
END_TEST

/* Goal: lists are taken apart as Kafka does. Method: count and names, with blanks and holes. */
START_TEST(lists_are_taken_apart)
{
    struct bytes list = B(" a ,b,, c ");
    struct bytes element;
    ck_assert(config_list_next(&list, &element) && bytes_equal_text(element, "a"));
    ck_assert(config_list_next(&list, &element) && bytes_equal_text(element, "b"));
    ck_assert(config_list_next(&list, &element) && bytes_equal_text(element, ""));
    ck_assert(config_list_next(&list, &element) && bytes_equal_text(element, "c"));
    ck_assert(!config_list_next(&list, &element));
    list = BYTES_NONE;
    ck_assert(!config_list_next(&list, &element));
    ck_assert(config_list_has(B("delete, compact"), "compact"));
    ck_assert(!config_list_has(B("deleted"), "delete"));
}
END_TEST

/* Goal: messages tell what would be right. Method: one of each form. */
START_TEST(expectation_is_told)
{
    char text[64];
    config_expected(CONFIG_INT, &percent, text, sizeof(text));
    ck_assert_str_eq(text, "an integer from 0 to 100");
    config_expected(CONFIG_LONG, &from_minus_one, text, sizeof(text));
    ck_assert_str_eq(text, "an integer of at least -1");
    config_expected(CONFIG_LONG, &any, text, sizeof(text));
    ck_assert_str_eq(text, "an integer of 64 bits");
    config_expected(CONFIG_SHORT, &any, text, sizeof(text));
    ck_assert_str_eq(text, "an integer from -32768 to 32767");
    config_expected(CONFIG_STRING, &colours, text, sizeof(text));
    ck_assert_str_eq(text, "one of: red, green");
    config_expected(CONFIG_LIST, &colours, text, sizeof(text));
    ck_assert_str_eq(text, "a list of: red, green");
    config_expected(CONFIG_BOOL, &any, text, sizeof(text));
    ck_assert_str_eq(text, "true or false");
    config_expected(CONFIG_LIST, &colours, text, 5); /* cut, and still a string */
    ck_assert_str_eq(text, "a li");
}
END_TEST

/* Goal: a value can be shown whatever it holds. Method: control characters, a long one, none. */
START_TEST(shown_value_is_harmless)
{
    uint8_t large[1000];
    memset(large, 'x', sizeof(large));
    ck_assert_str_eq(config_show(B("a\n\0\x7f\xff z")).text, "a???? z");
    struct config_shown shown = config_show((struct bytes){large, sizeof(large)});
    ck_assert_uint_eq(strlen(shown.text), CONFIG_SHOWN_SIZE - 1);
    ck_assert_str_eq(shown.text + CONFIG_SHOWN_SIZE - 5, "x...");
    ck_assert_str_eq(config_show(BYTES_NONE).text, "");
}
END_TEST

static Suite *config_value_suite(void)
{
    Suite *suite = suite_create("config_value");
    TCase *values = tcase_create("values");
    tcase_add_loop_test(values, rule_decides_values, 0, (int)array_count(value_cases));
    tcase_add_test(values, numbers_are_parsed);
    tcase_add_test(values, lists_are_taken_apart);
    suite_add_tcase(suite, values);
    TCase *texts = tcase_create("texts");
    tcase_add_test(texts, expectation_is_told);
    tcase_add_test(texts, shown_value_is_harmless);
    suite_add_tcase(suite, texts);
    return suite;
}

TEST_MAIN(config_value_suite)
