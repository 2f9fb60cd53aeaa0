#include "broker/lines.h"
#include "base/trace.h"
#include <inttypes.h>
#include <string.h>

/* ---- Lines to records ---- */

enum err line_next(struct bytes *left, bool is_last, struct bytes *line)
{
    const uint8_t *feed = left->size > 0 ? memchr(left->data, '\n', left->size) : NULL;
    if (feed == NULL && (!is_last || left->size == 0)) {
        return ERR_SHORT;
    }
    *line = (struct bytes){left->data, feed != NULL ? (size_t)(feed - left->data) : left->size};
    size_t used = line->size + (feed != NULL);
    left->data += used;
    left->size -= used;
    return OK;
}

enum err line_split(struct bytes text, const char *separator, const char *null_value, struct line *line)
{
    *line = (struct line){BYTES_NONE, text};
    if (separator != NULL) {
        size_t size = strlen(separator);
        const uint8_t *found = memmem(text.data, text.size, separator, size);
        if (found == NULL) {
            return ERR_INVALID;
        }
        line->key = (struct bytes){text.data, (size_t)(found - text.data)};
        line->value = (struct bytes){found + size, text.size - line->key.size - size};
    }
    if (null_value != NULL && bytes_equal_text(line->value, null_value)) {
        line->value = BYTES_NONE;
    }
    return OK;
}

/* ---- Bytes as text ---- */

/* Size of the UTF-8 character at the start, 0 if there is none: RFC 3629, so no surrogates and no longer forms. */
static size_t utf8_size(struct bytes text)
{
    uint8_t first = text.data[0];
    size_t size = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    if (size == 0 || size > text.size) {
        return 0;
    }
    for (size_t i = 1; i < size; i++) {
        if ((text.data[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    uint8_t second = size > 1 ? text.data[1] : 0;
    bool is_bad = (first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
                  (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f);
    return is_bad ? 0 : size;
}

static bool is_utf8(struct bytes text)
{
    while (text.size > 0) {
        size_t size = utf8_size(text);
        if (size == 0) {
            return false;
        }
        text.data += size;
        text.size -= size;
    }
    return true;
}

static enum err put_text(struct dynbuf *out, const char *text)
{
    return dynbuf_put(out, bytes_from_text(text));
}

/* One line, whatever the bytes are; a terminal is told nothing by them. */
static enum err put_escaped(struct dynbuf *out, struct bytes text)
{
    enum err err = OK;
    while (text.size > 0 && err == OK) {
        uint8_t byte = text.data[0];
        size_t size = utf8_size(text);
        bool is_c1 = size == 2 && byte == 0xc2 && text.data[1] < 0xa0; /* control characters of eight bits */
        if (size == 0 || is_c1 || byte < ' ' || byte == 0x7f || byte == '\\') {
            size = 1;
            err = byte == '\\'   ? put_text(out, "\\\\")
                  : byte == '\n' ? put_text(out, "\\n")
                  : byte == '\t' ? put_text(out, "\\t")
                  : byte == '\r' ? put_text(out, "\\r")
                                 : dynbuf_printf(out, "\\x%02x", byte);
        } else {
            err = dynbuf_put(out, (struct bytes){text.data, size});
        }
        text.data += size;
        text.size -= size;
    }
    return err;
}

enum err json_text_put(struct dynbuf *out, struct bytes text)
{
    enum err err = put_text(out, "\"");
    for (size_t start = 0; start < text.size && err == OK;) {
        size_t end = start;
        while (end < text.size && text.data[end] >= ' ' && text.data[end] != '"' && text.data[end] != '\\') {
            end++;
        }
        err = dynbuf_put(out, (struct bytes){text.data + start, end - start});
        if (end < text.size && err == OK) {
            err = text.data[end] < ' ' ? dynbuf_printf(out, "\\u%04x", text.data[end])
                                       : dynbuf_printf(out, "\\%c", text.data[end]);
            end++;
        }
        start = end;
    }
    return err == OK ? put_text(out, "\"") : err;
}

static enum err put_base64(struct dynbuf *out, struct bytes bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    enum err err = put_text(out, "\"");
    for (size_t i = 0; i < bytes.size && err == OK; i += 3) {
        size_t left = bytes.size - i;
        uint32_t word = (uint32_t)bytes.data[i] << 16 | (left > 1 ? (uint32_t)bytes.data[i + 1] << 8 : 0) |
                        (left > 2 ? bytes.data[i + 2] : 0);
        uint8_t quad[] = {(uint8_t)digits[word >> 18], (uint8_t)digits[word >> 12 & 63],
                          left > 1 ? (uint8_t)digits[word >> 6 & 63] : '=',
                          left > 2 ? (uint8_t)digits[word & 63] : '='};
        err = dynbuf_put(out, (struct bytes){quad, sizeof(quad)});
    }
    return err == OK ? put_text(out, "\"") : err;
}

/* "name":text, or "name_base64":what is no text. */
static enum err put_json_field(struct dynbuf *out, const char *name, bool is_null, struct bytes bytes)
{
    if (is_null) {
        return dynbuf_printf(out, "\"%s\":null", name);
    }
    bool is_text = is_utf8(bytes);
    enum err err = dynbuf_printf(out, is_text ? "\"%s\":" : "\"%s_base64\":", name);
    return err != OK ? err : is_text ? json_text_put(out, bytes) : put_base64(out, bytes);
}

/* ---- Records to text ---- */

static enum err print_json(const struct record *record, int32_t partition, struct dynbuf *out)
{
    struct reader reader;
    struct record_header header;
    reader_init(&reader, record->headers);
    enum err err = dynbuf_printf(out, "{\"partition\":%" PRId32 ",\"offset\":%" PRId64 ",\"timestamp\":%" PRId64 ",",
                                 partition, record->offset, record->timestamp);
    err = err == OK ? put_json_field(out, "key", record->is_key_null, record->key) : err;
    err = err == OK ? put_text(out, ",") : err;
    err = err == OK ? put_json_field(out, "value", record->is_value_null, record->value) : err;
    err = err == OK ? put_text(out, ",\"headers\":[") : err;
    for (int32_t i = 0; i < record->header_count && err == OK; i++) {
        err = record_header_next(&reader, &header);
        err = err == OK ? put_text(out, i > 0 ? ",{" : "{") : err;
        err = err == OK ? put_json_field(out, "name", false, header.name) : err;
        err = err == OK ? put_text(out, ",") : err;
        err = err == OK ? put_json_field(out, "value", header.is_value_null, header.value) : err;
        err = err == OK ? put_text(out, "}") : err;
    }
    return err == OK ? put_text(out, "]}\n") : err;
}

static enum err put_nullable(struct dynbuf *out, bool is_null, struct bytes bytes)
{
    return is_null ? put_text(out, "(null)") : put_escaped(out, bytes);
}

static enum err print_text(const struct record *record, int32_t partition, struct dynbuf *out)
{
    struct reader reader;
    struct record_header header;
    char time[TRACE_TIME_SIZE];
    reader_init(&reader, record->headers);
    trace_time(record->timestamp, time, sizeof(time));
    enum err err = dynbuf_printf(out, "%" PRId32 "\t%" PRId64 "\t%s\t", partition, record->offset, time);
    err = err == OK ? put_nullable(out, record->is_key_null, record->key) : err;
    err = err == OK ? put_text(out, "\t") : err;
    err = err == OK ? put_nullable(out, record->is_value_null, record->value) : err;
    for (int32_t i = 0; i < record->header_count && err == OK; i++) {
        err = record_header_next(&reader, &header);
        err = err == OK ? put_text(out, i > 0 ? "," : "\t") : err;
        err = err == OK ? put_escaped(out, header.name) : err;
        err = err == OK ? put_text(out, "=") : err;
        err = err == OK ? put_nullable(out, header.is_value_null, header.value) : err;
    }
    return err == OK ? put_text(out, "\n") : err;
}

enum err record_print(const struct record *record, int32_t partition, enum record_format format, struct dynbuf *out)
{
    enum err err = OK;
    switch (format) {
    case RECORD_TEXT:
        return print_text(record, partition, out);
    case RECORD_JSON:
        return print_json(record, partition, out);
    case RECORD_RAW:
        err = dynbuf_put(out, record->value);
        return err == OK ? put_text(out, "\n") : err;
    }
    return ERR_INVALID;
}
