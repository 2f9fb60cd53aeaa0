/* The descriptors are read where they lie, field by field: protobuf's wire format, of which only the nesting is needed.
 * They are ours, made at build time, so what does not fit stops the walk and needs no message.
 * Source: google/protobuf/descriptor.proto for the field numbers. */

#include "broker/grpc_reflection.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/grpc_descriptors.h"
#include "proto/grpc_reflection_v1.pb-c.h"
#include <stdio.h>

#define SERVICE_COUNT_MAX 16
#define FILE_COUNT_MAX 16

/* Numbers of fields that are walked. */
enum {
    SET_FILE = 1,
    FILE_NAME = 1,
    FILE_PACKAGE = 2,
    FILE_DEPENDENCY = 3,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    ANY_NAME = 1,
    MESSAGE_FIELD = 2,
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    MESSAGE_ONEOF = 8,
    SERVICE_METHOD = 2,
};

/* ---- Protobuf's wire format ---- */

static uint64_t next_varint(struct reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = read_u8(reader);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            return value;
        }
    }
    reader_fail(reader, ERR_CORRUPT);
    return 0;
}

/* The next field that has a size, with its number; others are stepped over. False: there is none. */
static bool next_field(struct reader *reader, uint32_t *number, struct bytes *value)
{
    while (reader->left > 0) {
        uint64_t key = next_varint(reader);
        switch (key & 7) {
        case 0:
            (void)next_varint(reader);
            break;
        case 1:
            read_skip(reader, 8);
            break;
        case 2:
            *number = (uint32_t)(key >> 3);
            *value = read_bytes(reader, next_varint(reader));
            return reader->err == OK;
        case 5:
            read_skip(reader, 4);
            break;
        default:
            return false;
        }
    }
    return false;
}

/* The `skip`-th field with this number. */
static bool find_field(struct bytes message, uint32_t wanted, size_t skip, struct bytes *value)
{
    struct reader reader;
    uint32_t number;
    reader_init(&reader, message);
    while (next_field(&reader, &number, value)) {
        if (number == wanted && skip-- == 0) {
            return true;
        }
    }
    *value = BYTES_NONE;
    return false;
}

/* ---- Lookups ---- */

static bool next_file(size_t number, struct bytes *file)
{
    return find_field((struct bytes){grpc_descriptors, grpc_descriptors_size}, SET_FILE, number, file);
}

struct bytes grpc_reflection_file(struct bytes name)
{
    struct bytes file;
    struct bytes file_name;
    for (size_t i = 0; next_file(i, &file); i++) {
        if (find_field(file, FILE_NAME, 0, &file_name) && bytes_equal(file_name, name)) {
            return file;
        }
    }
    return BYTES_NONE;
}

/* Whether `symbol` begins with the name, as a whole word; `rest` is what is behind it and its dot. */
static bool strip(struct bytes symbol, struct bytes name, struct bytes *rest)
{
    if (symbol.size < name.size || !bytes_equal((struct bytes){symbol.data, name.size}, name)) {
        return false;
    }
    *rest = (struct bytes){symbol.data + name.size, symbol.size - name.size};
    if (rest->size == 0) {
        return true;
    }
    bool is_word = rest->data[0] == '.';
    *rest = (struct bytes){rest->data + 1, rest->size - 1};
    return is_word;
}

static bool has_named(struct bytes message, uint32_t number, struct bytes symbol)
{
    struct bytes part;
    struct bytes name;
    struct bytes rest;
    for (size_t i = 0; find_field(message, number, i, &part); i++) {
        if (find_field(part, ANY_NAME, 0, &name) && strip(symbol, name, &rest) && rest.size == 0) {
            return true;
        }
    }
    return false;
}

/* Names of an enum's values lie beside it. Enums have no parts that a symbol goes into. */
static bool message_has(struct bytes message, struct bytes symbol, unsigned depth)
{
    struct bytes nested;
    struct bytes name;
    struct bytes rest;
    if (has_named(message, MESSAGE_FIELD, symbol) || has_named(message, MESSAGE_ENUM, symbol) ||
        has_named(message, MESSAGE_ONEOF, symbol)) {
        return true;
    }
    for (size_t i = 0; depth > 0 && find_field(message, MESSAGE_NESTED, i, &nested); i++) {
        if (find_field(nested, ANY_NAME, 0, &name) && strip(symbol, name, &rest) &&
            (rest.size == 0 || message_has(nested, rest, depth - 1))) {
            return true;
        }
    }
    return false;
}

static bool file_has(struct bytes file, struct bytes symbol)
{
    struct bytes package;
    struct bytes part;
    struct bytes name;
    struct bytes rest;
    if (!find_field(file, FILE_PACKAGE, 0, &package) || !strip(symbol, package, &symbol)) {
        return false;
    }
    for (size_t i = 0; find_field(file, FILE_MESSAGE, i, &part); i++) {
        if (find_field(part, ANY_NAME, 0, &name) && strip(symbol, name, &rest) &&
            (rest.size == 0 || message_has(part, rest, 8))) {
            return true;
        }
    }
    for (size_t i = 0; find_field(file, FILE_SERVICE, i, &part); i++) {
        if (find_field(part, ANY_NAME, 0, &name) && strip(symbol, name, &rest) &&
            (rest.size == 0 || has_named(part, SERVICE_METHOD, rest))) {
            return true;
        }
    }
    return has_named(file, FILE_ENUM, symbol);
}

struct bytes grpc_reflection_symbol(struct bytes symbol)
{
    struct bytes file;
    for (size_t i = 0; next_file(i, &file); i++) {
        if (file_has(file, symbol)) {
            return file;
        }
    }
    return BYTES_NONE;
}

/* The file and, behind it, those that it imports, as clients want to have them. */
static size_t with_imports(struct bytes file, ProtobufCBinaryData *target)
{
    struct bytes imported;
    size_t count = 0;
    target[count++] = (ProtobufCBinaryData){file.size, (uint8_t *)(uintptr_t)file.data};
    for (size_t i = 0; count < FILE_COUNT_MAX && find_field(file, FILE_DEPENDENCY, i, &imported); i++) {
        struct bytes found = grpc_reflection_file(imported);
        if (found.data != NULL) {
            target[count++] = (ProtobufCBinaryData){found.size, (uint8_t *)(uintptr_t)found.data};
        }
    }
    return count;
}

/* "package.Service" of every service in the descriptors. */
static size_t list_services(char names[][128])
{
    struct bytes file;
    struct bytes package;
    struct bytes service;
    struct bytes name;
    size_t count = 0;
    for (size_t i = 0; next_file(i, &file); i++) {
        (void)find_field(file, FILE_PACKAGE, 0, &package);
        for (size_t n = 0; count < SERVICE_COUNT_MAX && find_field(file, FILE_SERVICE, n, &service); n++) {
            (void)find_field(service, ANY_NAME, 0, &name);
            (void)snprintf(names[count++], 128, "%.*s.%.*s", (int)package.size, (const char *)package.data,
                           (int)name.size, (const char *)name.data);
        }
    }
    return count;
}

/* ---- The protocol ---- */

/* The messages of v1alpha are those of v1 under another name, so the code of v1 serves both. */
typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

static void answer(struct grpc_call *call, const reflection_request *request, reflection_response *response)
{
    response->valid_host = request->host;
    response->original_request = (reflection_request *)(uintptr_t)request;
    if (!grpc_reply(call, &response->base)) {
        grpc_finish(call, GRPC_RESOURCE_EXHAUSTED, "the client does not read its answers");
    }
}

static void answer_error(struct grpc_call *call, const reflection_request *request, enum grpc_status status,
                         const char *text)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    reflection_response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    error.error_code = (int32_t)status;
    error.error_message = (char *)(uintptr_t)text;
    response.message_response_case = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    response.error_response = &error;
    answer(call, request, &response);
}

static void answer_file(struct grpc_call *call, const reflection_request *request, struct bytes file)
{
    ProtobufCBinaryData files[FILE_COUNT_MAX];
    Grpc__Reflection__V1__FileDescriptorResponse found = GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    reflection_response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    if (file.data == NULL) {
        answer_error(call, request, GRPC_NOT_FOUND, "there is no such file or symbol here");
        return;
    }
    found.n_file_descriptor_proto = with_imports(file, files);
    found.file_descriptor_proto = files;
    response.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    response.file_descriptor_response = &found;
    answer(call, request, &response);
}

static void answer_services(struct grpc_call *call, const reflection_request *request)
{
    char names[SERVICE_COUNT_MAX][128];
    Grpc__Reflection__V1__ServiceResponse services[SERVICE_COUNT_MAX];
    Grpc__Reflection__V1__ServiceResponse *list[SERVICE_COUNT_MAX];
    Grpc__Reflection__V1__ListServiceResponse found = GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    reflection_response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    found.n_service = list_services(names);
    for (size_t i = 0; i < found.n_service; i++) {
        grpc__reflection__v1__service_response__init(&services[i]);
        services[i].name = names[i];
        list[i] = &services[i];
    }
    found.service = list;
    response.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    response.list_services_response = &found;
    answer(call, request, &response);
}

/* There are no extensions: proto3 has none. */
static void answer_extensions(struct grpc_call *call, const reflection_request *request)
{
    Grpc__Reflection__V1__ExtensionNumberResponse found = GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;
    reflection_response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    if (grpc_reflection_symbol(bytes_from_text(request->all_extension_numbers_of_type)).data == NULL) {
        answer_error(call, request, GRPC_NOT_FOUND, "there is no such type here");
        return;
    }
    found.base_type_name = request->all_extension_numbers_of_type;
    response.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ALL_EXTENSION_NUMBERS_RESPONSE;
    response.all_extension_numbers_response = &found;
    answer(call, request, &response);
}

static void receive(struct grpc_call *call, const ProtobufCMessage *message)
{
    const reflection_request *request = (const void *)message;
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        answer_file(call, request, grpc_reflection_file(bytes_from_text(request->file_by_filename)));
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        answer_file(call, request, grpc_reflection_symbol(bytes_from_text(request->file_containing_symbol)));
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        answer_services(call, request);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        answer_extensions(call, request);
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        answer_error(call, request, GRPC_NOT_FOUND, "there are no extensions here");
        break;
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET:
    case _GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__CASE_IS_INT_SIZE:
    default:
        grpc_finish(call, GRPC_INVALID_ARGUMENT, "the request asks for nothing: set one of message_request");
        break;
    }
}

static void ended(struct grpc_call *call)
{
    grpc_finish(call, GRPC_OK, NULL);
}

static void canceled(struct grpc_call *call)
{
    grpc_finish(call, GRPC_CANCELLED, NULL);
}

static const struct grpc_method methods[] = {
    {"ServerReflectionInfo", &grpc__reflection__v1__server_reflection_request__descriptor, receive, GRPC_BIDIRECTIONAL,
     canceled, ended},
};

void grpc_reflection_services(struct grpc_service target[GRPC_REFLECTION_COUNT])
{
    target[0] = (struct grpc_service){"grpc.reflection.v1.ServerReflection", methods, array_count(methods), NULL};
    target[1] = (struct grpc_service){"grpc.reflection.v1alpha.ServerReflection", methods, array_count(methods), NULL};
}
