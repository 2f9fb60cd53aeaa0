/* Messages as text, for logs of refused requests, tests and tools. Payload never appears: records and opaque bytes are
 * shown as their size. */
#include <inttypes.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/shared.h"
#include "proto/codec.h"
#include "proto/uuid.h"

/* The first failure sticks. */
struct printer {
    struct dynbuf *text;
    int16_t version;
    enum err err;
};

static void print_struct(struct printer *printer, const struct schema *schema, const uint8_t *message);

static void print_bytes(struct printer *printer, struct bytes bytes)
{
    if (printer->err == OK) {
        printer->err = dynbuf_put(printer->text, bytes);
    }
}

static void print_text(struct printer *printer, const char *text)
{
    print_bytes(printer, bytes_from_text(text));
}

static void print_number(struct printer *printer, int64_t number)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRId64, number);
    print_text(printer, text);
}

/* Everything but plain ASCII is escaped: the text goes to terminals and logs. */
static void print_string(struct printer *printer, struct bytes string)
{
    if (string.data == NULL) {
        print_text(printer, "null");
        return;
    }
    print_text(printer, "\"");
    for (size_t i = 0; i < string.size && printer->err == OK; i++) {
        uint8_t c = string.data[i];
        if (c == '"' || c == '\\' || c < ' ' || c > '~') {
            char escape[8];
            snprintf(escape, sizeof(escape), "\\x%02x", c);
            print_text(printer, escape);
        } else {
            print_bytes(printer, (struct bytes){&c, 1});
        }
    }
    print_text(printer, "\"");
}

static void print_opaque(struct printer *printer, struct bytes bytes)
{
    if (bytes.data == NULL) {
        print_text(printer, "null");
        return;
    }
    print_text(printer, "<");
    print_number(printer, (int64_t)bytes.size);
    print_text(printer, " bytes>");
}

static void print_real(struct printer *printer, double value)
{
    char text[32];
    snprintf(text, sizeof(text), "%.17g", value);
    print_text(printer, text);
}

static void print_uuid(struct printer *printer, const struct uuid *uuid)
{
    char text[UUID_TEXT_SIZE];
    uuid_to_text(uuid, text);
    print_text(printer, text);
}

static void print_value(struct printer *printer, const struct schema_field *field, const void *at)
{
    switch ((enum schema_type)field->type) {
    case SCHEMA_BOOL:
        print_text(printer, *(const bool *)at ? "true" : "false");
        break;
    case SCHEMA_INT8:
        print_number(printer, *(const int8_t *)at);
        break;
    case SCHEMA_INT16:
    case SCHEMA_ERROR:
        print_number(printer, *(const int16_t *)at);
        break;
    case SCHEMA_UINT16:
        print_number(printer, *(const uint16_t *)at);
        break;
    case SCHEMA_INT32:
        print_number(printer, *(const int32_t *)at);
        break;
    case SCHEMA_UINT32:
        print_number(printer, *(const uint32_t *)at);
        break;
    case SCHEMA_INT64:
        print_number(printer, *(const int64_t *)at);
        break;
    case SCHEMA_FLOAT64:
        print_real(printer, *(const double *)at);
        break;
    case SCHEMA_UUID:
        print_uuid(printer, at);
        break;
    case SCHEMA_STRING:
        print_string(printer, *(const struct bytes *)at);
        break;
    case SCHEMA_BYTES:
        print_opaque(printer, *(const struct bytes *)at);
        break;
    case SCHEMA_RECORDS:
        print_opaque(printer, ((const struct slice *)at)->bytes);
        break;
    case SCHEMA_STRUCT:
        print_struct(printer, field->schema, at);
        break;
    case SCHEMA_POINTER:
        if (*(void *const *)at == NULL) {
            print_text(printer, "null");
        } else {
            print_struct(printer, field->schema, *(void *const *)at);
        }
        break;
    }
}

static void print_array(struct printer *printer, const struct schema_field *field, const uint8_t *message)
{
    const uint8_t *items = *(void *const *)(const void *)(message + field->offset);
    int32_t count = *(const int32_t *)(const void *)(message + field->count_offset);
    if (count < 0) {
        print_text(printer, "null");
        return;
    }
    size_t size = schema_element_size(field);
    print_text(printer, "[");
    for (int32_t i = 0; i < count && printer->err == OK; i++) {
        print_text(printer, i > 0 ? ", " : "");
        print_value(printer, field, items + (size_t)i * size);
    }
    print_text(printer, "]");
}

static void print_struct(struct printer *printer, const struct schema *schema, const uint8_t *message)
{
    const char *separator = "";
    print_text(printer, "{");
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct schema_field *field = &schema->fields[i];
        if (!schema_field_in(field, printer->version)) {
            continue;
        }
        print_text(printer, separator);
        print_text(printer, field->name);
        print_text(printer, ": ");
        if (field->is_array) {
            print_array(printer, field, message);
        } else {
            print_value(printer, field, message + field->offset);
        }
        separator = ", ";
    }
    print_text(printer, "}");
}

enum err codec_print(const struct schema *schema, int16_t version, const void *message, struct dynbuf *text)
{
    assert(version >= schema->version_min);
    assert(version <= schema->version_max);
    struct printer printer = {text, version, OK};
    print_struct(&printer, schema, message);
    return printer.err;
}
