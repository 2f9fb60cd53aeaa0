/* Decoding, and defaults. A struct begins as a copy of its defaults; one walk over its descriptors reads the fields
 * that the version has; then the tagged section overrides what it names. A failed read sticks in the reader, so only
 * loops that depend on the input look at it. Depth is the depth of the schema, which kgen bounds: no input can make it
 * recurse deeper. */
#include "proto/codec.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/shared.h"
#include "proto/uuid.h"

struct decoder {
    struct reader *reader;
    struct arena *arena;
    int16_t version;
    bool is_flexible;
};

static const uint8_t empty[1];

/* Least bytes of an array's element on the wire. */
static size_t element_wire_size_min(const struct schema_field *field, bool is_flexible)
{
    static const uint8_t sizes[] = {
        [SCHEMA_BOOL] = 1,   [SCHEMA_INT8] = 1,   [SCHEMA_INT16] = 2,   [SCHEMA_ERROR] = 2,   [SCHEMA_UINT16] = 2,
        [SCHEMA_INT32] = 4,  [SCHEMA_UINT32] = 4, [SCHEMA_INT64] = 8,   [SCHEMA_FLOAT64] = 8, [SCHEMA_UUID] = 16,
        [SCHEMA_STRING] = 2, [SCHEMA_BYTES] = 4,  [SCHEMA_RECORDS] = 4,
    };
    if (field->type == SCHEMA_STRUCT) {
        return field->schema->wire_size_min;
    }
    assert(field->type < array_count(sizes));
    return is_flexible && field->type >= SCHEMA_STRING ? 1 : sizes[field->type];
}

/* ---------------------------------------------------------------- defaults */

void codec_init_defaults(const struct schema *schema, void *message)
{
    memcpy(message, schema->defaults, schema->size);
}

void *codec_new(const struct schema *schema, size_t count, struct arena *arena)
{
    assert(count > 0);
    if (count > SIZE_MAX / schema->size) {
        return NULL;
    }
    uint8_t *items = arena_alloc(arena, count * schema->size);
    for (size_t i = 0; items != NULL && i < count; i++) {
        codec_init_defaults(schema, items + i * schema->size);
    }
    return items;
}

/* ---------------------------------------------------------------- decoding */

static void decode_struct(struct decoder *decoder, const struct schema *schema, uint8_t *message);

/* Size of a string, bytes or records, or count of an array; -1: null. Never more than is left, and 0 after a
 * failure. */
static int32_t decode_size(struct decoder *decoder, const struct schema_field *field, bool is_short, bool is_nullable)
{
    struct reader *reader = decoder->reader;
    int64_t size;
    if (decoder->is_flexible && !field->is_classic) {
        size = (int64_t)read_uvarint(reader) - 1;
    } else {
        size = is_short ? read_i16(reader) : read_i32(reader);
    }
    if (reader->err != OK) {
        return 0;
    }
    if (size < -1 || (size == -1 && !is_nullable)) {
        reader_fail(reader, ERR_CORRUPT);
        return 0;
    }
    if (size > 0 && (size > INT32_MAX || (size_t)size > reader->left)) {
        reader_fail(reader, ERR_SHORT);
        return 0;
    }
    return (int32_t)size;
}

/* Null is NULL, empty is not. */
static struct bytes decode_bytes(struct decoder *decoder, const struct schema_field *field, bool is_nullable)
{
    int32_t size = decode_size(decoder, field, field->type == SCHEMA_STRING, is_nullable);
    if (size <= 0) {
        return (struct bytes){size < 0 ? NULL : empty, 0};
    }
    return read_bytes(decoder->reader, (size_t)size);
}

/* int8 1 or -1 in front of a struct that may be null (KIP-893). */
static void decode_pointer(struct decoder *decoder, const struct schema_field *field, void *at)
{
    *(void **)at = NULL;
    int8_t presence = read_i8(decoder->reader);
    if (decoder->reader->err != OK || presence == -1) {
        return;
    }
    if (presence != 1) {
        reader_fail(decoder->reader, ERR_CORRUPT);
        return;
    }
    uint8_t *message = arena_alloc(decoder->arena, field->schema->size);
    if (message == NULL) {
        reader_fail(decoder->reader, ERR_TOO_LARGE);
        return;
    }
    decode_struct(decoder, field->schema, message);
    *(void **)at = message;
}

static void decode_uuid(struct reader *reader, struct uuid *uuid)
{
    struct bytes bytes = read_bytes(reader, UUID_SIZE);
    if (bytes.size == UUID_SIZE) {
        memcpy(uuid->bytes, bytes.data, UUID_SIZE);
    }
}

static double decode_real(struct reader *reader)
{
    uint64_t bits = read_u64(reader);
    double value;
    static_assert(sizeof(value) == sizeof(bits), "float64 is IEEE 754 binary64");
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void decode_value(struct decoder *decoder, const struct schema_field *field, bool is_nullable, void *at)
{
    struct reader *reader = decoder->reader;
    switch ((enum schema_type)field->type) {
    case SCHEMA_BOOL:
        *(bool *)at = read_u8(reader) != 0;
        break;
    case SCHEMA_INT8:
        *(int8_t *)at = read_i8(reader);
        break;
    case SCHEMA_INT16:
    case SCHEMA_ERROR:
    case SCHEMA_UINT16:
        *(uint16_t *)at = read_u16(reader);
        break;
    case SCHEMA_INT32:
    case SCHEMA_UINT32:
        *(uint32_t *)at = read_u32(reader);
        break;
    case SCHEMA_INT64:
        *(int64_t *)at = read_i64(reader);
        break;
    case SCHEMA_FLOAT64:
        *(double *)at = decode_real(reader);
        break;
    case SCHEMA_UUID:
        decode_uuid(reader, at);
        break;
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
        *(struct bytes *)at = decode_bytes(decoder, field, is_nullable);
        break;
    case SCHEMA_RECORDS:
        *(struct slice *)at = (struct slice){NULL, decode_bytes(decoder, field, is_nullable)};
        break;
    case SCHEMA_STRUCT:
        decode_struct(decoder, field->schema, at);
        break;
    case SCHEMA_POINTER:
        decode_pointer(decoder, field, at);
        break;
    }
}

/* Elements are never null: no Kafka message allows it. */
static void decode_array(struct decoder *decoder, const struct schema_field *field, uint8_t *message)
{
    struct reader *reader = decoder->reader;
    int32_t count = decode_size(decoder, field, false, schema_field_is_nullable(field, decoder->version));
    *(void **)(void *)(message + field->offset) = NULL;
    *(int32_t *)(void *)(message + field->count_offset) = count;
    if (count <= 0) {
        return;
    }
    size_t size = schema_element_size(field);
    size_t wire_size_min = element_wire_size_min(field, decoder->is_flexible);
    assert(wire_size_min > 0);
    if ((size_t)count > reader->left / wire_size_min) {
        reader_fail(reader, ERR_SHORT);
        return;
    }
    uint8_t *items = arena_alloc(decoder->arena, (size_t)count * size);
    if (items == NULL) {
        reader_fail(reader, ERR_TOO_LARGE);
        return;
    }
    for (int32_t i = 0; i < count && reader->err == OK; i++) {
        decode_value(decoder, field, false, items + (size_t)i * size);
    }
    *(void **)(void *)(message + field->offset) = items;
}

static void decode_field(struct decoder *decoder, const struct schema_field *field, uint8_t *message)
{
    if (field->is_array) {
        decode_array(decoder, field, message);
    } else {
        decode_value(decoder, field, schema_field_is_nullable(field, decoder->version), message + field->offset);
    }
}

/* The field of a tag in this version; NULL: unknown, to be skipped. */
static const struct schema_field *find_tag(const struct schema *schema, int16_t version, uint32_t tag)
{
    for (size_t i = schema->plain_count; i < schema->field_count; i++) {
        const struct schema_field *field = &schema->fields[i];
        if ((uint32_t)field->tag == tag && schema_field_in(field, version)) {
            return field;
        }
    }
    return NULL;
}

/* One tagged field, which must fill its declared size exactly: reading goes through a reader of that size. */
static void decode_tag(struct decoder *decoder, const struct schema_field *field, struct bytes bytes, uint8_t *message)
{
    struct reader *outer = decoder->reader;
    struct reader inner;
    reader_init(&inner, bytes);
    decoder->reader = &inner;
    decode_field(decoder, field, message);
    decoder->reader = outer;
    if (inner.err == OK && inner.left > 0) {
        reader_fail(&inner, ERR_CORRUPT);
    }
    if (inner.err != OK) {
        reader_fail(outer, inner.err == ERR_SHORT ? ERR_CORRUPT : inner.err);
    }
}

/* Any order is taken, as by Kafka's own broker. A known tag may come once: otherwise a small request could fill the
 * arena. */
static void decode_tags(struct decoder *decoder, const struct schema *schema, uint8_t *message)
{
    struct reader *reader = decoder->reader;
    uint32_t count = read_uvarint(reader);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < count && reader->err == OK; i++) {
        uint32_t tag = read_uvarint(reader);
        struct bytes bytes = read_bytes(reader, read_uvarint(reader));
        const struct schema_field *field = find_tag(schema, decoder->version, tag);
        if (reader->err != OK || field == NULL) {
            continue;
        }
        assert(field->tag >= 0 && field->tag < 64);
        if ((seen & 1ull << field->tag) != 0) {
            reader_fail(reader, ERR_CORRUPT);
            return;
        }
        seen |= 1ull << field->tag;
        decode_tag(decoder, field, bytes, message);
    }
}

static void decode_struct(struct decoder *decoder, const struct schema *schema, uint8_t *message)
{
    codec_init_defaults(schema, message);
    for (size_t i = 0; i < schema->plain_count; i++) {
        const struct schema_field *field = &schema->fields[i];
        if (schema_field_in(field, decoder->version)) {
            decode_field(decoder, field, message);
        }
    }
    if (decoder->is_flexible) {
        decode_tags(decoder, schema, message);
    }
}

enum err codec_decode(const struct schema *schema, int16_t version, struct reader *reader, struct arena *arena,
                      void *message)
{
    if (version < schema->version_min || version > schema->version_max) {
        codec_init_defaults(schema, message);
        reader_fail(reader, ERR_UNSUPPORTED);
        return reader->err;
    }
    struct decoder decoder = {reader, arena, version, version >= schema->flexible_min};
    decode_struct(&decoder, schema, message);
    return reader->err;
}
