/* Text in the format of java.util.Properties, as Kafka's server.properties is written: one entry a logical line,
 * comments with # or !, continuation by a backslash at the end, key and value parted by = or : or blanks, escapes \t \n
 * \r \f \uXXXX. Bytes above 127 are passed through as they are (UTF-8); escapes become UTF-8. Pure; any bytes are safe.
 * Source: java.util.Properties.load(). Stricter than Java in that NUL bytes and halves of surrogate pairs are
 * refused. */
#pragma once

#include "base/bytes.h"

#define PROPERTIES_KEY_SIZE_MAX 256
#define PROPERTIES_VALUE_SIZE_MAX 8192

/* `key` and `value` are borrowed for the call and NUL-terminated behind their size. `line` counts from 1: where the
 * entry starts. What it returns other than OK ends the parsing and is returned; the text is then its own. */
typedef enum err (*properties_cb)(void *context, const char *key, const char *value, unsigned line, struct errmsg *msg);

/* ERR_INVALID and ERR_TOO_LARGE name the line: "line 3: ...". */
MUST_CHECK enum err properties_parse(struct bytes text, void *context, properties_cb cb, struct errmsg *msg);
