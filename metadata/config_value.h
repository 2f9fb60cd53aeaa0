/* Values of configuration keys, of topics and of the broker alike: Kafka's types, one rule a key, and the text
 * that tells what was expected. Values come from clients and files: any bytes are safe. Pure. */
#pragma once

#include "base/bytes.h"

enum config_type { /* numbers as in DescribeConfigs v3+ */
    CONFIG_BOOL = 1,
    CONFIG_STRING = 2,
    CONFIG_INT = 3,
    CONFIG_SHORT = 4,
    CONFIG_LONG = 5,
    CONFIG_DOUBLE = 6,
    CONFIG_LIST = 7,
    CONFIG_CLASS = 8,
    CONFIG_PASSWORD = 9,
};
enum config_use {
    CONFIG_HONOURED,
    CONFIG_NO_EFFECT,   /* accepted, stored, reported; documented as without effect */
    CONFIG_DEFAULT_ONLY /* any value but the default is refused, with the reason */
};

/* What values a key takes, beyond its type. All zero: whatever the type allows. */
struct config_rule {
    int64_t min, max;                        /* of numbers, inclusive; both 0: the type's whole range */
    const char *choices;                     /* "a|b": the value is one of them; of a list, each element */
    bool (*is_accepted)(struct bytes value); /* instead of all else; `expected` then says what it wants */
    const char *expected;
};

/* Without blanks at both ends: what Kafka looks at. */
struct bytes config_trim(struct bytes value);
/* As Java parses them, after trimming. False: not a value of the type; the target is then untouched. */
MUST_CHECK bool config_parse_bool(struct bytes value, bool *result);
MUST_CHECK bool config_parse_long(struct bytes value, int64_t *result);
MUST_CHECK bool config_parse_double(struct bytes value, double *result);
/* A version of Kafka's formats: 0.10.2, 2.8, 3.0-IV1. */
bool config_is_version(struct bytes value);
/* Takes the next element off a comma-separated list; false at its end. An empty list has none. */
bool config_list_next(struct bytes *list, struct bytes *element);
bool config_list_has(struct bytes list, const char *element);

bool config_is_valid(enum config_type type, const struct config_rule *rule, struct bytes value);
/* "an integer from 1 to 9", "true or false", "one of: gzip, zstd". NUL-terminated, cut to `size`. */
void config_expected(enum config_type type, const struct config_rule *rule, char *text, size_t size);
const char *config_type_name(enum config_type type);

/* A value as it may be shown: printable ASCII, cut with "..."; NUL-terminated. */
#define CONFIG_SHOWN_SIZE 68
struct config_shown {
    char text[CONFIG_SHOWN_SIZE];
};
struct config_shown config_show(struct bytes value);
