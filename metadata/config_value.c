/* Numbers are read digit by digit: the value is no C string, and Java knows neither hexadecimal nor octal here. */

#include "metadata/config_value.h"
#include "base/assert.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOUBLE_SIZE_MAX 64

static bool is_blank(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

struct bytes config_trim(struct bytes value)
{
    while (value.size > 0 && is_blank(value.data[0])) {
        value.data++;
        value.size--;
    }
    while (value.size > 0 && is_blank(value.data[value.size - 1])) {
        value.size--;
    }
    return value;
}

static bool equals_ignoring_case(struct bytes value, const char *text)
{
    if (value.size != strlen(text)) {
        return false;
    }
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.data[i];
        c = c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
        if (c != (uint8_t)text[i]) {
            return false;
        }
    }
    return true;
}

bool config_parse_bool(struct bytes value, bool *result)
{
    value = config_trim(value);
    bool is_true = equals_ignoring_case(value, "true");
    if (!is_true && !equals_ignoring_case(value, "false")) {
        return false;
    }
    *result = is_true;
    return true;
}

bool config_parse_long(struct bytes value, int64_t *result)
{
    value = config_trim(value);
    bool is_negative = value.size > 0 && value.data[0] == '-';
    size_t i = value.size > 0 && (value.data[0] == '-' || value.data[0] == '+') ? 1 : 0;
    int64_t number = 0; /* kept negative: the smallest number has no positive twin */
    if (i == value.size) {
        return false;
    }
    for (; i < value.size; i++) {
        if (value.data[i] < '0' || value.data[i] > '9' || __builtin_mul_overflow(number, (int64_t)10, &number) ||
            __builtin_sub_overflow(number, (int64_t)(value.data[i] - '0'), &number)) {
            return false;
        }
    }
    if (!is_negative && number == INT64_MIN) {
        return false;
    }
    *result = is_negative ? number : -number;
    return true;
}

bool config_parse_double(struct bytes value, double *result)
{
    char text[DOUBLE_SIZE_MAX];
    char *end;
    value = config_trim(value);
    if (value.size == 0 || value.size >= sizeof(text)) {
        return false;
    }
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] == '\0' || strchr("0123456789+-.eE", value.data[i]) == NULL) {
            return false;
        }
    }
    memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    double number = strtod(text, &end);
    if (*end != '\0') {
        return false;
    }
    *result = number;
    return true;
}

bool config_list_next(struct bytes *list, struct bytes *element)
{
    if (list->data == NULL || config_trim(*list).size == 0) {
        return false;
    }
    const uint8_t *comma = memchr(list->data, ',', list->size);
    if (comma == NULL) {
        *element = config_trim(*list);
        *list = BYTES_NONE;
        return true;
    }
    size_t size = (size_t)(comma - list->data);
    *element = config_trim((struct bytes){list->data, size});
    *list = (struct bytes){comma + 1, list->size - size - 1};
    return true;
}

bool config_list_has(struct bytes list, const char *element)
{
    struct bytes item;
    while (config_list_next(&list, &item)) {
        if (bytes_equal_text(item, element)) {
            return true;
        }
    }
    return false;
}

bool config_is_version(struct bytes value)
{
    if (value.size == 0 || value.data[0] < '0' || value.data[0] > '9' || memchr(value.data, '.', value.size) == NULL) {
        return false;
    }
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.data[i];
        if (c == '\0' || strchr("0123456789.-IV", c) == NULL) {
            return false;
        }
    }
    return true;
}

/* Next of "a|b"; false at the end. */
static bool choice_next(const char **choices, struct bytes *choice)
{
    if (**choices == '\0') {
        return false;
    }
    const char *bar = strchr(*choices, '|');
    size_t size = bar != NULL ? (size_t)(bar - *choices) : strlen(*choices);
    *choice = (struct bytes){(const uint8_t *)*choices, size};
    *choices += bar != NULL ? size + 1 : size;
    return true;
}

static bool is_choice(const char *choices, struct bytes value)
{
    struct bytes choice;
    while (choice_next(&choices, &choice)) {
        if (bytes_equal(choice, value)) {
            return true;
        }
    }
    return false;
}

/* Printable characters only, or UTF-8's: nothing that ends a C string early or a line of a log. */
static bool is_text(struct bytes value)
{
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < 0x20 || value.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static void number_range(enum config_type type, const struct config_rule *rule, int64_t *min, int64_t *max)
{
    *min = rule->min;
    *max = rule->max;
    if (*min == 0 && *max == 0) {
        *min = type == CONFIG_INT ? INT32_MIN : type == CONFIG_SHORT ? INT16_MIN : INT64_MIN;
        *max = type == CONFIG_INT ? INT32_MAX : type == CONFIG_SHORT ? INT16_MAX : INT64_MAX;
    }
}

static bool list_is_valid(const struct config_rule *rule, struct bytes value)
{
    struct bytes element;
    while (rule->choices != NULL && config_list_next(&value, &element)) {
        if (!is_choice(rule->choices, element)) {
            return false;
        }
    }
    return true;
}

bool config_is_valid(enum config_type type, const struct config_rule *rule, struct bytes value)
{
    bool truth;
    int64_t number;
    int64_t min;
    int64_t max;
    double real;
    value = config_trim(value);
    if (!is_text(value)) {
        return false;
    }
    if (rule->is_accepted != NULL) {
        return rule->is_accepted(value);
    }
    if (rule->choices != NULL && type != CONFIG_LIST) {
        return is_choice(rule->choices, value);
    }
    switch (type) {
    case CONFIG_BOOL:
        return config_parse_bool(value, &truth);
    case CONFIG_INT:
    case CONFIG_SHORT:
    case CONFIG_LONG:
        number_range(type, rule, &min, &max);
        return config_parse_long(value, &number) && number >= min && number <= max;
    case CONFIG_DOUBLE:
        return config_parse_double(value, &real) &&
               ((rule->min == 0 && rule->max == 0) || (real >= (double)rule->min && real <= (double)rule->max));
    case CONFIG_LIST:
        return list_is_valid(rule, value);
    case CONFIG_STRING:
    case CONFIG_CLASS:
    case CONFIG_PASSWORD:
        return true;
    }
    return false;
}

static void expected_choices(const char *head, const char *choices, char *text, size_t size)
{
    struct bytes choice;
    size_t used = (size_t)snprintf(text, size, "%s", head);
    const char *separator = "";
    while (used < size && choice_next(&choices, &choice)) {
        used += (size_t)snprintf(text + used, size - used, "%s%.*s", separator, (int)choice.size, choice.data);
        separator = ", ";
    }
}

static void expected_number(enum config_type type, const struct config_rule *rule, char *text, size_t size)
{
    int64_t min;
    int64_t max;
    number_range(type, rule, &min, &max);
    if (type == CONFIG_LONG && min == INT64_MIN && max == INT64_MAX) {
        (void)snprintf(text, size, "an integer of 64 bits");
    } else if (type == CONFIG_LONG && max == INT64_MAX) {
        (void)snprintf(text, size, "an integer of at least %lld", (long long)min);
    } else {
        (void)snprintf(text, size, "an integer from %lld to %lld", (long long)min, (long long)max);
    }
}

void config_expected(enum config_type type, const struct config_rule *rule, char *text, size_t size)
{
    assert(size > 0);
    if (rule->expected != NULL) {
        (void)snprintf(text, size, "%s", rule->expected);
        return;
    }
    if (rule->choices != NULL) {
        expected_choices(type == CONFIG_LIST ? "a list of: " : "one of: ", rule->choices, text, size);
        return;
    }
    switch (type) {
    case CONFIG_BOOL:
        (void)snprintf(text, size, "true or false");
        break;
    case CONFIG_INT:
    case CONFIG_SHORT:
    case CONFIG_LONG:
        expected_number(type, rule, text, size);
        break;
    case CONFIG_DOUBLE:
        if (rule->min == 0 && rule->max == 0) {
            (void)snprintf(text, size, "a number");
        } else {
            (void)snprintf(text, size, "a number from %lld to %lld", (long long)rule->min, (long long)rule->max);
        }
        break;
    case CONFIG_LIST:
        (void)snprintf(text, size, "a comma-separated list");
        break;
    case CONFIG_STRING:
    case CONFIG_CLASS:
    case CONFIG_PASSWORD:
        (void)snprintf(text, size, "text without control characters");
        break;
    }
}

const char *config_type_name(enum config_type type)
{
    static const char *const names[] = {
        [CONFIG_BOOL] = "boolean", [CONFIG_STRING] = "string", [CONFIG_INT] = "int",
        [CONFIG_SHORT] = "short",  [CONFIG_LONG] = "long",     [CONFIG_DOUBLE] = "double",
        [CONFIG_LIST] = "list",    [CONFIG_CLASS] = "class",   [CONFIG_PASSWORD] = "password"};
    return names[type];
}

struct config_shown config_show(struct bytes value)
{
    struct config_shown shown;
    size_t room = sizeof(shown.text) - sizeof("...");
    size_t size = value.size < room ? value.size : room;
    for (size_t i = 0; i < size; i++) {
        shown.text[i] = value.data[i] >= 0x20 && value.data[i] < 0x7f ? (char)value.data[i] : '?';
    }
    (void)snprintf(shown.text + size, sizeof(shown.text) - size, "%s", value.size > room ? "..." : "");
    return shown;
}
