/* Words to fields, by the request's descriptor. A list field takes commas and may be given again; a Config is
 * name=value. Every word must find its place, and every number be one. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/ctl.h"
#include "metadata/config_value.h"
#include <string.h>

#define LIST_COUNT_MAX 1024

static void *member(ProtobufCMessage *message, unsigned offset)
{
    return (char *)message + offset;
}

static enum err parse_integer(const ProtobufCFieldDescriptor *field, struct bytes text, int64_t *value,
                              struct errmsg *msg)
{
    bool is_unsigned = field->type == PROTOBUF_C_TYPE_UINT32 || field->type == PROTOBUF_C_TYPE_UINT64;
    bool is_32 = field->type == PROTOBUF_C_TYPE_INT32 || field->type == PROTOBUF_C_TYPE_UINT32;
    if (!config_parse_long(text, value) || (is_unsigned && *value < 0) ||
        (is_32 && (*value > INT32_MAX || *value < INT32_MIN))) {
        return fail(msg, ERR_INVALID, "%s: '%.*s' is no number", field->name, (int)text.size, (const char *)text.data);
    }
    return OK;
}

static enum err put_message(const ProtobufCFieldDescriptor *field, struct bytes text, struct arena *arena, void *target,
                            struct errmsg *msg)
{
    const uint8_t *equals = text.size > 0 ? memchr(text.data, '=', text.size) : NULL;
    if (field->descriptor != &balsa__admin__v1__config__descriptor || equals == NULL) {
        return fail(msg, ERR_INVALID, "%s: '%.*s': expected name=value", field->name, (int)text.size,
                    (const char *)text.data);
    }
    Balsa__Admin__V1__Config *config = arena_alloc(arena, sizeof(*config));
    if (config == NULL) {
        return ERR_TOO_LARGE;
    }
    balsa__admin__v1__config__init(config);
    size_t name_size = (size_t)(equals - text.data);
    config->name = arena_text(arena, (struct bytes){text.data, name_size});
    config->value = arena_text(arena, (struct bytes){equals + 1, text.size - name_size - 1});
    memcpy(target, &config, sizeof(config));
    return OK;
}

/* Writes one value to `target`, which has room for one. */
static enum err put_value(const ProtobufCFieldDescriptor *field, struct bytes text, struct arena *arena, void *target,
                          struct errmsg *msg)
{
    int64_t number = 0;
    enum err err = OK;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        return put_message(field, text, arena, target, msg);
    }
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        char *copy = arena_text(arena, text);
        memcpy(target, &copy, sizeof(copy));
        return copy != NULL ? OK : ERR_TOO_LARGE;
    }
    if (field->type == PROTOBUF_C_TYPE_BOOL) {
        bool is_true = bytes_equal_text(text, "true");
        if (!is_true && !bytes_equal_text(text, "false")) {
            return fail(msg, ERR_INVALID, "%s: expected true or false", field->name);
        }
        protobuf_c_boolean flag = is_true;
        memcpy(target, &flag, sizeof(flag));
        return OK;
    }
    err = parse_integer(field, text, &number, msg);
    if (field->type == PROTOBUF_C_TYPE_INT64 || field->type == PROTOBUF_C_TYPE_UINT64) {
        memcpy(target, &number, sizeof(number));
    } else {
        int32_t small = (int32_t)number;
        memcpy(target, &small, sizeof(small));
    }
    return err;
}

static size_t value_size(const ProtobufCFieldDescriptor *field)
{
    switch ((unsigned)field->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        return sizeof(int64_t);
    default:
        return sizeof(int32_t);
    }
}

static enum err put_list(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, struct bytes text,
                         struct arena *arena, struct errmsg *msg)
{
    size_t *count = member(message, field->quantifier_offset);
    void **list = member(message, field->offset);
    size_t size = value_size(field);
    bool is_split = field->type != PROTOBUF_C_TYPE_MESSAGE; /* a configuration's value may have commas */
    if (*list == NULL) {
        *list = arena_alloc(arena, LIST_COUNT_MAX * size);
    }
    do {
        struct bytes part = text;
        const uint8_t *comma = is_split && text.size > 0 ? memchr(text.data, ',', text.size) : NULL;
        if (comma != NULL) {
            part.size = (size_t)(comma - text.data);
        }
        text.data += part.size + (comma != NULL);
        text.size -= part.size + (comma != NULL);
        if (*list == NULL || *count == LIST_COUNT_MAX) {
            return fail(msg, ERR_INVALID, "%s: more than %d", field->name, LIST_COUNT_MAX);
        }
        enum err err = put_value(field, part, arena, (char *)*list + *count * size, msg);
        if (err != OK) {
            return err;
        }
        (*count)++;
    } while (text.size > 0);
    return OK;
}

static enum err put(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, const char *word,
                    struct arena *arena, struct errmsg *msg)
{
    struct bytes text = bytes_from_text(word);
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        return put_list(message, field, text, arena, msg);
    }
    return put_value(field, text, arena, member(message, field->offset), msg);
}

static const ProtobufCFieldDescriptor *find_flag(const struct ctl_command *command, const char *word)
{
    char flag[64];
    for (unsigned i = 0; i < command->request->n_fields; i++) {
        ctl_flag(command->request->fields[i].name, flag, sizeof(flag));
        if (strcmp(word + 2, flag) == 0) {
            return &command->request->fields[i];
        }
    }
    return NULL;
}

static enum err put_flag(const struct ctl_command *command, char **words, size_t count, size_t *at, struct arena *arena,
                         ProtobufCMessage *request, struct errmsg *msg)
{
    const ProtobufCFieldDescriptor *field = find_flag(command, words[*at]);
    if (field == NULL) {
        return fail(msg, ERR_INVALID, "unknown flag %s", words[*at]);
    }
    if (field->type == PROTOBUF_C_TYPE_BOOL) {
        return put(request, field, "true", arena, msg);
    }
    if (*at + 1 == count) {
        return fail(msg, ERR_INVALID, "%s needs a value", words[*at]);
    }
    (*at)++;
    return put(request, field, words[*at], arena, msg);
}

enum err ctl_build(const struct ctl_command *command, char **words, size_t count, struct arena *arena,
                   ProtobufCMessage **request, struct errmsg *msg)
{
    size_t position = 0;
    enum err err = OK;
    *request = arena_alloc(arena, command->request->sizeof_message);
    if (*request == NULL) {
        return ERR_TOO_LARGE;
    }
    protobuf_c_message_init(command->request, *request);
    for (size_t i = 0; i < count && err == OK; i++) {
        if (strncmp(words[i], "--", 2) == 0) {
            err = put_flag(command, words, count, &i, arena, *request, msg);
        } else if (position == CTL_FIELDS_MAX || command->fields[position] == NULL) {
            err = fail(msg, ERR_INVALID, "'%s' is one word too many", words[i]);
        } else {
            const char *name = command->fields[position++];
            err = put(*request, protobuf_c_message_descriptor_get_field_by_name(command->request, name), words[i],
                      arena, msg);
        }
    }
    /* Only listings can do without their first word. */
    bool is_optional = strstr(command->words, " list") != NULL || strncmp(command->words, "config", 6) == 0;
    if (err == OK && position < CTL_FIELDS_MAX && command->fields[position] != NULL && !is_optional) {
        char flag[64];
        ctl_flag(command->fields[position], flag, sizeof(flag));
        return fail(msg, ERR_INVALID, "<%s> is missing", flag);
    }
    return err;
}

bool ctl_parse_address(struct bytes text, char *host, size_t size, uint16_t *port)
{
    const uint8_t *colon = text.size > 0 ? memrchr(text.data, ':', text.size) : NULL;
    int64_t number;
    if (colon == NULL) {
        return false;
    }
    struct bytes name = {text.data, (size_t)(colon - text.data)};
    struct bytes port_text = {colon + 1, text.size - name.size - 1};
    if (name.size > 2 && name.data[0] == '[' && name.data[name.size - 1] == ']') {
        name = (struct bytes){name.data + 1, name.size - 2};
    }
    if (name.size == 0 || name.size >= size || !config_parse_long(port_text, &number) || number < 1 ||
        number > UINT16_MAX) {
        return false;
    }
    memcpy(host, name.data, name.size);
    host[name.size] = '\0';
    *port = (uint16_t)number;
    return true;
}
