/* Text of a tool's standard input as records, and records as text: what balsactl produce takes and consume prints.
 * Pure. */
#pragma once

#include "base/dynbuf.h"
#include "proto/records.h"

struct line {            /* Borrows from the input. */
    struct bytes key, value; /* data NULL: null */
};

/* Takes the next line off `left`, without its LF. ERR_SHORT: none is whole; the last one of all may lack its LF. */
MUST_CHECK enum err line_next(struct bytes *left, bool is_last, struct bytes *line);
/* `separator` stands between key and value, NULL: the key is null. A value that is `null_value` is null; NULL: none is.
 * ERR_INVALID: no separator in the line. */
MUST_CHECK enum err line_split(struct bytes text, const char *separator, const char *null_value, struct line *line);

enum record_format {
    RECORD_TEXT, /* a line: partition, offset, time, key, value, headers, tabs between; what is no text as \xNN */
    RECORD_JSON, /* a line; what is not UTF-8 is in base64, in a field that ends with _base64 */
    RECORD_RAW,  /* the value as it is, and LF */
};

/* Appends text, which is UTF-8, as a JSON string. ERR_TOO_LARGE. */
MUST_CHECK enum err json_text_put(struct dynbuf *out, struct bytes text);
/* Appends. ERR_TOO_LARGE; ERR_CORRUPT: headers that are none. */
MUST_CHECK enum err record_print(const struct record *record, int32_t partition, enum record_format format,
                                 struct dynbuf *out);
