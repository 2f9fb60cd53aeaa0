/* Encoding. Fields go through a small stage on the stack, so that the outbuf is asked once per kilobyte and not once
 * per integer; an encoder without an outbuf only counts, which gives the size of a message or of a tagged field. */
#include <string.h>

#include "base/assert.h"
#include "base/shared.h"
#include "proto/codec.h"
#include "proto/uuid.h"

#define STAGE_SIZE 1024
#define STAGE_FIXED_MAX 16 /* largest fixed-size value: a uuid */
#define STAGE_COPY_MAX 256 /* longer bytes go to the outbuf directly */

struct encoder {
    struct outbuf *out;          /* NULL: count only */
    struct codec_errors *errors; /* NULL: nobody wants to know */
    size_t flushed;              /* bytes that left the stage, and bytes that went around it */
    size_t used;
    int16_t version;
    bool is_flexible;
    uint8_t stage[STAGE_SIZE];
};

static void encode_struct(struct encoder *encoder, const struct schema *schema, const uint8_t *message);
static void encode_field(struct encoder *encoder, const struct schema_field *field, const uint8_t *message);

static void encoder_init(struct encoder *encoder, struct outbuf *out, int16_t version, bool is_flexible)
{
    encoder->out = out;
    encoder->errors = NULL;
    encoder->flushed = 0;
    encoder->used = 0;
    encoder->version = version;
    encoder->is_flexible = is_flexible;
}

static void encoder_flush(struct encoder *encoder)
{
    if (encoder->out != NULL && encoder->used > 0) {
        outbuf_put(encoder->out, (struct bytes){encoder->stage, encoder->used});
    }
    encoder->flushed += encoder->used;
    encoder->used = 0;
}

/* Room for `size` bytes, counted as used. */
static inline uint8_t *encoder_room(struct encoder *encoder, size_t size)
{
    assert(size <= STAGE_COPY_MAX);
    if (size > STAGE_SIZE - encoder->used) {
        encoder_flush(encoder);
    }
    uint8_t *at = encoder->stage + encoder->used;
    encoder->used += size;
    return at;
}

static void encode_uvarint(struct encoder *encoder, uint32_t value)
{
    while (value >= 0x80) {
        *encoder_room(encoder, 1) = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *encoder_room(encoder, 1) = (uint8_t)value;
}

static void encode_too_large(struct encoder *encoder)
{
    if (encoder->out != NULL && encoder->out->err == OK) {
        encoder->out->err = ERR_TOO_LARGE;
    }
}

/* Size of a string, bytes or records, or count of an array; -1: null. False: it does not fit, the value is left out. */
static bool encode_size(struct encoder *encoder, const struct schema_field *field, bool is_short, int64_t size)
{
    assert(size >= -1);
    bool is_compact = encoder->is_flexible && !field->is_classic;
    if (size > (is_short && !is_compact ? INT16_MAX : INT32_MAX)) {
        encode_too_large(encoder);
        return false;
    }
    if (is_compact) {
        encode_uvarint(encoder, (uint32_t)(size + 1));
    } else if (is_short) {
        be16_put(encoder_room(encoder, 2), (uint16_t)size);
    } else {
        be32_put(encoder_room(encoder, 4), (uint32_t)size);
    }
    return true;
}

/* `slice` without a block is copied; with one it is referenced when that pays (outbuf_put_slice). */
static void encode_bytes(struct encoder *encoder, const struct schema_field *field, bool is_nullable,
                         struct slice slice)
{
    struct bytes bytes = slice.bytes;
    bool is_null = bytes.data == NULL && is_nullable;
    assert(bytes.data != NULL || bytes.size == 0);
    assert(bytes.size <= INT64_MAX);
    if (!encode_size(encoder, field, field->type == SCHEMA_STRING, is_null ? -1 : (int64_t)bytes.size) ||
        bytes.size == 0) {
        return;
    }
    if (bytes.size <= STAGE_COPY_MAX) {
        memcpy(encoder_room(encoder, bytes.size), bytes.data, bytes.size);
        return;
    }
    encoder_flush(encoder);
    encoder->flushed += bytes.size;
    if (encoder->out != NULL) {
        outbuf_put_slice(encoder->out, slice);
    }
}

static void encode_pointer(struct encoder *encoder, const struct schema_field *field, const void *value)
{
    *encoder_room(encoder, 1) = (uint8_t)(value == NULL ? -1 : 1);
    if (value != NULL) {
        encode_struct(encoder, field->schema, value);
    }
}

/* Seen once each: a tagged field is encoded a first time to be counted, by an encoder without an outbuf. */
static void encode_error(struct encoder *encoder, int16_t code)
{
    if (code != 0 && encoder->errors != NULL) {
        encoder->errors->seen(encoder->errors, code);
    }
    be16_put(encoder_room(encoder, 2), (uint16_t)code);
}

static void encode_value(struct encoder *encoder, const struct schema_field *field, bool is_nullable, const void *at)
{
    switch ((enum schema_type)field->type) {
    case SCHEMA_BOOL:
        *encoder_room(encoder, 1) = *(const bool *)at ? 1 : 0;
        break;
    case SCHEMA_INT8:
        *encoder_room(encoder, 1) = *(const uint8_t *)at;
        break;
    case SCHEMA_ERROR:
        encode_error(encoder, *(const int16_t *)at);
        break;
    case SCHEMA_INT16:
    case SCHEMA_UINT16:
        be16_put(encoder_room(encoder, 2), *(const uint16_t *)at);
        break;
    case SCHEMA_INT32:
    case SCHEMA_UINT32:
        be32_put(encoder_room(encoder, 4), *(const uint32_t *)at);
        break;
    case SCHEMA_INT64:
        be64_put(encoder_room(encoder, 8), *(const uint64_t *)at);
        break;
    case SCHEMA_FLOAT64: {
        uint64_t bits;
        memcpy(&bits, at, sizeof(bits));
        be64_put(encoder_room(encoder, 8), bits);
        break;
    }
    case SCHEMA_UUID:
        memcpy(encoder_room(encoder, UUID_SIZE), at, UUID_SIZE);
        break;
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
        encode_bytes(encoder, field, is_nullable, (struct slice){NULL, *(const struct bytes *)at});
        break;
    case SCHEMA_RECORDS:
        encode_bytes(encoder, field, is_nullable, *(const struct slice *)at);
        break;
    case SCHEMA_STRUCT:
        encode_struct(encoder, field->schema, at);
        break;
    case SCHEMA_POINTER:
        encode_pointer(encoder, field, *(void *const *)at);
        break;
    }
}

static void encode_array(struct encoder *encoder, const struct schema_field *field, const uint8_t *message)
{
    const uint8_t *items = *(void *const *)(const void *)(message + field->offset);
    int32_t count = *(const int32_t *)(const void *)(message + field->count_offset);
    assert(count >= -1);
    assert(count <= 0 || items != NULL);
    if (count < 0 && !schema_field_is_nullable(field, encoder->version)) {
        count = 0;
    }
    encode_size(encoder, field, false, count);
    size_t stride = schema_element_size(field);
    for (int32_t i = 0; i < count; i++) {
        encode_value(encoder, field, false, items + (size_t)i * stride);
    }
}

static void encode_field(struct encoder *encoder, const struct schema_field *field, const uint8_t *message)
{
    if (field->is_array) {
        encode_array(encoder, field, message);
    } else {
        encode_value(encoder, field, schema_field_is_nullable(field, encoder->version), message + field->offset);
    }
}

/* ---------------------------------------------------------------- tagged fields: written only if not the default */

static bool is_default_struct(const struct schema *schema, int16_t version, const uint8_t *message);

static bool is_default_text(const struct schema_field *field, int16_t version, struct bytes bytes)
{
    if (bytes.data == NULL && schema_field_is_nullable(field, version)) {
        return field->is_default_null;
    }
    return !field->is_default_null && bytes_equal_text(bytes, field->default_text == NULL ? "" : field->default_text);
}

static bool is_default_value(const struct schema_field *field, int16_t version, const void *at)
{
    switch ((enum schema_type)field->type) {
    case SCHEMA_BOOL:
        return *(const bool *)at == (field->default_integer != 0);
    case SCHEMA_INT8:
        return *(const int8_t *)at == field->default_integer;
    case SCHEMA_INT16:
    case SCHEMA_ERROR:
        return *(const int16_t *)at == field->default_integer;
    case SCHEMA_UINT16:
        return *(const uint16_t *)at == field->default_integer;
    case SCHEMA_INT32:
        return *(const int32_t *)at == field->default_integer;
    case SCHEMA_UINT32:
        return *(const uint32_t *)at == field->default_integer;
    case SCHEMA_INT64:
        return *(const int64_t *)at == field->default_integer;
    case SCHEMA_FLOAT64:
        /* By bits: 0.0 and -0.0 differ on the wire. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
        return memcmp(at, &field->default_real, sizeof(double)) == 0;
    case SCHEMA_UUID:
        return uuid_is_zero(at);
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
        return is_default_text(field, version, *(const struct bytes *)at);
    case SCHEMA_RECORDS:
        return is_default_text(field, version, ((const struct slice *)at)->bytes);
    case SCHEMA_STRUCT:
        return is_default_struct(field->schema, version, at);
    case SCHEMA_POINTER:
        return *(void *const *)at == NULL;
    }
    return false;
}

static bool is_default_field(const struct schema_field *field, int16_t version, const uint8_t *message)
{
    if (!field->is_array) {
        return is_default_value(field, version, message + field->offset);
    }
    int32_t count = *(const int32_t *)(const void *)(message + field->count_offset);
    if (count < 0 && schema_field_is_nullable(field, version)) {
        return field->is_default_null;
    }
    return count <= 0 && !field->is_default_null;
}

static bool is_default_struct(const struct schema *schema, int16_t version, const uint8_t *message)
{
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct schema_field *field = &schema->fields[i];
        if (schema_field_in(field, version) && !is_default_field(field, version, message)) {
            return false;
        }
    }
    return true;
}

static bool is_tag_written(const struct schema_field *field, int16_t version, const uint8_t *message)
{
    return schema_field_in(field, version) && !is_default_field(field, version, message);
}

/* A tagged field's size stands before it: it is encoded twice, the first time to be counted. They are few and small. */
static void encode_tag(struct encoder *encoder, const struct schema_field *field, const uint8_t *message)
{
    struct encoder counter;
    encoder_init(&counter, NULL, encoder->version, encoder->is_flexible);
    encode_field(&counter, field, message);
    encoder_flush(&counter);
    if (counter.flushed > INT32_MAX) {
        encode_too_large(encoder);
        return;
    }
    encode_uvarint(encoder, (uint32_t)field->tag);
    encode_uvarint(encoder, (uint32_t)counter.flushed);
    encode_field(encoder, field, message);
}

static void encode_tags(struct encoder *encoder, const struct schema *schema, const uint8_t *message)
{
    uint64_t written = 0;
    uint32_t count = 0;
    assert(schema->field_count - schema->plain_count <= 64);
    for (size_t i = schema->plain_count; i < schema->field_count; i++) {
        if (is_tag_written(&schema->fields[i], encoder->version, message)) {
            written |= 1ull << (i - schema->plain_count);
            count++;
        }
    }
    encode_uvarint(encoder, count);
    for (size_t i = schema->plain_count; written != 0; i++, written >>= 1) {
        if ((written & 1) != 0) {
            encode_tag(encoder, &schema->fields[i], message);
        }
    }
}

static void encode_struct(struct encoder *encoder, const struct schema *schema, const uint8_t *message)
{
    for (size_t i = 0; i < schema->plain_count; i++) {
        const struct schema_field *field = &schema->fields[i];
        if (schema_field_in(field, encoder->version)) {
            encode_field(encoder, field, message);
        }
    }
    if (encoder->is_flexible) {
        encode_tags(encoder, schema, message);
    }
}

static size_t encode_message(const struct schema *schema, int16_t version, const void *message, struct outbuf *out,
                             struct codec_errors *errors)
{
    assert(version >= schema->version_min);
    assert(version <= schema->version_max);
    struct encoder encoder;
    encoder_init(&encoder, out, version, version >= schema->flexible_min);
    encoder.errors = errors;
    encode_struct(&encoder, schema, message);
    encoder_flush(&encoder);
    return encoder.flushed;
}

void codec_encode(const struct schema *schema, int16_t version, const void *message, struct outbuf *out)
{
    assert(out != NULL);
    encode_message(schema, version, message, out, NULL);
}

void codec_encode_answer(const struct schema *schema, int16_t version, const void *message, struct outbuf *out,
                         struct codec_errors *errors)
{
    assert(out != NULL);
    encode_message(schema, version, message, out, errors);
}

size_t codec_size(const struct schema *schema, int16_t version, const void *message)
{
    return encode_message(schema, version, message, NULL, NULL);
}
