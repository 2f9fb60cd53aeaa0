/* Answers by their descriptors. As text: plain fields of a message as lines, then each list of messages as a
 * table whose columns are the fields of its elements; columns that are empty in all rows are left out. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/ctl.h"
#include "broker/lines.h"
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#define COLUMN_COUNT_MAX 32

static const void *member(const ProtobufCMessage *message, unsigned offset)
{
    return (const char *)message + offset;
}

static size_t list_count(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    return *(const size_t *)member(message, field->quantifier_offset);
}

static size_t value_size(const ProtobufCFieldDescriptor *field)
{
    switch ((unsigned)field->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(int64_t);
    default:
        return sizeof(int32_t);
    }
}

static const void *list_item(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, size_t at)
{
    const char *list = *(const char *const *)member(message, field->offset);
    return list + at * value_size(field);
}

static const char *enum_text(const ProtobufCFieldDescriptor *field, const void *value)
{
    const ProtobufCEnumValue *found =
        protobuf_c_enum_descriptor_get_value(field->descriptor, (int)*(const int32_t *)value);
    return found != NULL ? found->name : "UNKNOWN";
}

static enum err print_number(const ProtobufCFieldDescriptor *field, const void *value, struct dynbuf *out)
{
    switch ((unsigned)field->type) {
    case PROTOBUF_C_TYPE_INT64:
        return dynbuf_printf(out, "%" PRId64, *(const int64_t *)value);
    case PROTOBUF_C_TYPE_UINT64:
        return dynbuf_printf(out, "%" PRIu64, *(const uint64_t *)value);
    case PROTOBUF_C_TYPE_UINT32:
        return dynbuf_printf(out, "%" PRIu32, *(const uint32_t *)value);
    case PROTOBUF_C_TYPE_DOUBLE:
        return dynbuf_printf(out, "%.1f", *(const double *)value);
    default:
        return dynbuf_printf(out, "%" PRId32, *(const int32_t *)value);
    }
}

/* ---- JSON ---- */

static enum err json_value(const ProtobufCFieldDescriptor *field, const void *value, struct dynbuf *out)
{
    switch ((unsigned)field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return json_text_put(out, bytes_from_text(*(const char *const *)value));
    case PROTOBUF_C_TYPE_BOOL:
        return dynbuf_printf(out, "%s", *(const protobuf_c_boolean *)value ? "true" : "false");
    case PROTOBUF_C_TYPE_ENUM:
        return json_text_put(out, bytes_from_text(enum_text(field, value)));
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *inner = *(const ProtobufCMessage *const *)value;
        return inner != NULL ? ctl_print_json(inner, out) : dynbuf_printf(out, "null");
    }
    default:
        return print_number(field, value, out);
    }
}

static enum err json_list(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, struct dynbuf *out)
{
    enum err err = dynbuf_printf(out, "[");
    for (size_t i = 0; i < list_count(message, field) && err == OK; i++) {
        err = i > 0 ? dynbuf_printf(out, ",") : OK;
        err = err == OK ? json_value(field, list_item(message, field, i), out) : err;
    }
    return err == OK ? dynbuf_printf(out, "]") : err;
}

enum err ctl_print_json(const ProtobufCMessage *message, struct dynbuf *out)
{
    enum err err = dynbuf_printf(out, "{");
    for (unsigned i = 0; i < message->descriptor->n_fields && err == OK; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        err = dynbuf_printf(out, "%s\"%s\":", i > 0 ? "," : "", field->name);
        if (err == OK) {
            err = field->label == PROTOBUF_C_LABEL_REPEATED ? json_list(message, field, out)
                                                            : json_value(field, member(message, field->offset), out);
        }
    }
    return err == OK ? dynbuf_printf(out, "}") : err;
}

/* ---- Text ---- */

static bool is_table(const ProtobufCFieldDescriptor *field)
{
    return field->label == PROTOBUF_C_LABEL_REPEATED && field->type == PROTOBUF_C_TYPE_MESSAGE;
}

static enum err print_cell(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, struct dynbuf *out);

/* A message within a row: its values, one behind the other, as an address is written: "PLAINTEXT:host:9092". */
static enum err print_inner(const ProtobufCMessage *message, struct dynbuf *out)
{
    enum err err = OK;
    bool is_first = true;
    for (unsigned i = 0; i < message->descriptor->n_fields && err == OK; i++) {
        size_t before = out->size;
        if (!is_first) {
            err = dynbuf_printf(out, ":");
        }
        size_t start = out->size;
        err = err == OK ? print_cell(message, &message->descriptor->fields[i], out) : err;
        if (out->size == start) {
            out->size = before;
        } else {
            is_first = false;
        }
    }
    return err;
}

static enum err print_value(const ProtobufCFieldDescriptor *field, const void *value, struct dynbuf *out)
{
    switch ((unsigned)field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return dynbuf_printf(out, "%s", *(const char *const *)value);
    case PROTOBUF_C_TYPE_BOOL:
        return dynbuf_printf(out, "%s", *(const protobuf_c_boolean *)value ? "yes" : "");
    case PROTOBUF_C_TYPE_ENUM:
        for (const char *at = enum_text(field, value); *at != '\0'; at++) {
            uint8_t byte = *at == '_' ? ' ' : (uint8_t)tolower((unsigned char)*at);
            if (dynbuf_put(out, (struct bytes){&byte, 1}) != OK) {
                return ERR_TOO_LARGE;
            }
        }
        return OK;
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *inner = *(const ProtobufCMessage *const *)value;
        return inner != NULL ? print_inner(inner, out) : OK;
    }
    default:
        return print_number(field, value, out);
    }
}

static enum err print_cell(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, struct dynbuf *out)
{
    enum err err = OK;
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        return print_value(field, member(message, field->offset), out);
    }
    for (size_t i = 0; i < list_count(message, field) && err == OK; i++) {
        err = i > 0 ? dynbuf_printf(out, ",") : OK;
        err = err == OK ? print_value(field, list_item(message, field, i), out) : err;
    }
    return err;
}

struct column {
    const ProtobufCFieldDescriptor *outer; /* of a message whose fields are columns of their own; NULL: none */
    const ProtobufCFieldDescriptor *field;
    size_t width;
};

static const ProtobufCMessage *column_message(const ProtobufCMessage *row, const struct column *column)
{
    return column->outer == NULL ? row : *(const ProtobufCMessage *const *)member(row, column->outer->offset);
}

static enum err cell_of(const ProtobufCMessage *row, const struct column *column, struct dynbuf *cell)
{
    const ProtobufCMessage *message = column_message(row, column);
    dynbuf_reset(cell);
    return message != NULL ? print_cell(message, column->field, cell) : OK;
}

/* Columns of a row: its fields, and those of a message with lists (a partition within a move) in its place. */
static size_t find_columns(const ProtobufCMessageDescriptor *row, struct column *columns)
{
    size_t count = 0;
    for (unsigned i = 0; i < row->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &row->fields[i];
        bool is_opened = field->label != PROTOBUF_C_LABEL_REPEATED && field->type == PROTOBUF_C_TYPE_MESSAGE &&
                         field->descriptor == &balsa__admin__v1__partition__descriptor;
        const ProtobufCMessageDescriptor *inner = field->descriptor;
        for (unsigned n = 0; is_opened && n < inner->n_fields && count < COLUMN_COUNT_MAX; n++) {
            columns[count++] = (struct column){.outer = field, .field = &inner->fields[n]};
        }
        if (!is_opened && count < COLUMN_COUNT_MAX) {
            columns[count++] = (struct column){.field = field};
        }
    }
    return count;
}

static enum err print_padded(struct dynbuf *out, struct bytes text, size_t width, bool is_last)
{
    return dynbuf_printf(out, "%.*s%*s", (int)text.size, (const char *)text.data,
                         is_last ? 0 : (int)(width - text.size + 2), "");
}

static enum err print_heads(struct dynbuf *out, const struct column *columns, size_t count)
{
    enum err err = OK;
    for (size_t i = 0; i < count && err == OK; i++) {
        char head[64];
        size_t size = 0;
        for (const char *at = columns[i].field->name; *at != '\0' && size + 1 < sizeof(head); at++) {
            head[size++] = *at == '_' ? ' ' : (char)toupper((unsigned char)*at);
        }
        err = print_padded(out, (struct bytes){(const uint8_t *)head, size}, columns[i].width, i + 1 == count);
    }
    return err == OK ? dynbuf_printf(out, "\n") : err;
}

static enum err print_table(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, struct dynbuf *out)
{
    struct column columns[COLUMN_COUNT_MAX];
    struct dynbuf cell;
    size_t kept = 0;
    enum err err = OK;
    size_t rows = list_count(message, field);
    size_t count = find_columns(field->descriptor, columns);
    dynbuf_init(&cell, MIB(1));
    for (size_t i = 0; i < count && err == OK; i++) {
        for (size_t row = 0; row < rows && err == OK; row++) {
            err = cell_of(*(const ProtobufCMessage *const *)list_item(message, field, row), &columns[i], &cell);
            columns[i].width = cell.size > columns[i].width ? cell.size : columns[i].width;
        }
        size_t head = strlen(columns[i].field->name);
        if (columns[i].width > 0) {
            columns[i].width = head > columns[i].width ? head : columns[i].width;
            columns[kept++] = columns[i];
        }
    }
    err = err == OK && kept > 0 ? print_heads(out, columns, kept) : err;
    for (size_t row = 0; row < rows && err == OK; row++) {
        for (size_t i = 0; i < kept && err == OK; i++) {
            err = cell_of(*(const ProtobufCMessage *const *)list_item(message, field, row), &columns[i], &cell);
            err = err == OK ? print_padded(out, dynbuf_bytes(&cell), columns[i].width, i + 1 == kept) : err;
        }
        err = err == OK ? dynbuf_printf(out, "\n") : err;
    }
    dynbuf_deinit(&cell);
    return err;
}

static enum err print_line(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, struct dynbuf *out)
{
    struct dynbuf cell;
    char name[64];
    dynbuf_init(&cell, MIB(1));
    enum err err = print_cell(message, field, &cell);
    (void)snprintf(name, sizeof(name), "%s", field->name);
    for (char *at = name; *at != '\0'; at++) {
        *at = *at == '_' ? ' ' : *at;
    }
    if (err == OK && cell.size > 0) {
        err = dynbuf_printf(out, "%-26s %.*s\n", name, (int)cell.size, (const char *)cell.data);
    }
    dynbuf_deinit(&cell);
    return err;
}

enum err ctl_print_text(const ProtobufCMessage *message, struct dynbuf *out)
{
    enum err err = OK;
    for (unsigned i = 0; i < message->descriptor->n_fields && err == OK; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (field->label != PROTOBUF_C_LABEL_REPEATED && field->type == PROTOBUF_C_TYPE_MESSAGE) {
            const ProtobufCMessage *inner = *(const ProtobufCMessage *const *)member(message, field->offset);
            err = inner != NULL ? ctl_print_text(inner, out) : OK;
        } else if (!is_table(field)) {
            err = print_line(message, field, out);
        }
    }
    for (unsigned i = 0; i < message->descriptor->n_fields && err == OK; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        if (is_table(field) && list_count(message, field) > 0) {
            err = out->size > 0 ? dynbuf_printf(out, "\n") : OK;
            err = err == OK ? print_table(message, field, out) : err;
        }
    }
    return err;
}
