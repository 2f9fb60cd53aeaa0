#include "tests/lib/codec_random.h"

#include <string.h>

#include "base/assert.h"
#include "base/shared.h"
#include "proto/codec.h"
#include "proto/uuid.h"

/* splitmix64 (Steele, Lea, Flood 2014). */
uint64_t codec_random_next(struct codec_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static bool one_in(struct codec_random *random, uint32_t n)
{
    return codec_random_next(random) % n == 0;
}

/* All bits equally likely, but small and extreme values much more often. */
static uint64_t random_integer(struct codec_random *random)
{
    uint64_t value = codec_random_next(random);
    switch (codec_random_next(random) % 5) {
    case 0:
        return value % 4;
    case 1:
        return UINT64_MAX;
    case 2:
        return 1ull << value % 64;
    case 3:
        return (1ull << value % 64) - 1;
    default:
        return value;
    }
}

static void *random_alloc(struct codec_random *random, size_t size)
{
    void *memory = arena_alloc(random->arena, size == 0 ? 1 : size);
    assert(memory != NULL);
    return memory;
}

/* Text if it must be: other implementations refuse strings that are not UTF-8. */
static struct bytes random_bytes(struct codec_random *random, bool is_text)
{
    static const uint16_t size_maxes[] = {1, 1, 12, 12, 12, 130, 300, 3000};
    size_t size = codec_random_next(random) % size_maxes[codec_random_next(random) % 8];
    uint8_t *data = random_alloc(random, size);
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)codec_random_next(random);
        data[i] = is_text ? (uint8_t)(' ' + byte % 95) : byte;
    }
    return (struct bytes){data, size};
}

static void random_value(struct codec_random *random, const struct schema_field *field, int16_t version,
                         bool may_be_null, void *at)
{
    bool is_null = may_be_null && one_in(random, 3);
    uint64_t integer = random_integer(random);
    switch ((enum schema_type)field->type) {
    case SCHEMA_BOOL:
        *(bool *)at = (integer & 1) != 0;
        break;
    case SCHEMA_INT8:
        *(uint8_t *)at = (uint8_t)integer;
        break;
    case SCHEMA_INT16:
    case SCHEMA_ERROR:
    case SCHEMA_UINT16:
        *(uint16_t *)at = (uint16_t)integer;
        break;
    case SCHEMA_INT32:
    case SCHEMA_UINT32:
        *(uint32_t *)at = (uint32_t)integer;
        break;
    case SCHEMA_INT64:
        *(uint64_t *)at = integer;
        break;
    case SCHEMA_FLOAT64:
        *(double *)at = (double)(int32_t)integer / 16;
        break;
    case SCHEMA_UUID:
        for (size_t i = 0; i < UUID_SIZE; i++) {
            ((struct uuid *)at)->bytes[i] = one_in(random, 4) ? 0 : (uint8_t)codec_random_next(random);
        }
        break;
    case SCHEMA_STRING:
    case SCHEMA_BYTES:
        *(struct bytes *)at = is_null ? BYTES_NONE : random_bytes(random, field->type == SCHEMA_STRING);
        break;
    case SCHEMA_RECORDS:
        *(struct slice *)at = (struct slice){NULL, is_null ? BYTES_NONE : random_bytes(random, false)};
        break;
    case SCHEMA_STRUCT:
        codec_random_message(random, field->schema, version, at);
        break;
    case SCHEMA_POINTER:
        *(void **)at = NULL;
        if (!is_null) {
            *(void **)at = random_alloc(random, field->schema->size);
            codec_random_message(random, field->schema, version, *(void **)at);
        }
        break;
    }
}

static void random_field(struct codec_random *random, const struct schema_field *field, int16_t version,
                         uint8_t *message)
{
    bool may_be_null = schema_field_is_nullable(field, version);
    if (!field->is_array) {
        random_value(random, field, version, may_be_null, message + field->offset);
        return;
    }
    int32_t count = (int32_t)(codec_random_next(random) % (random->count_max + 1));
    if (may_be_null && one_in(random, 3)) {
        count = -1;
    }
    uint8_t *items = NULL;
    size_t size = schema_element_size(field);
    if (count > 0) {
        items = random_alloc(random, (size_t)count * size);
    }
    for (int32_t i = 0; i < count; i++) {
        random_value(random, field, version, false, items + (size_t)i * size);
    }
    *(void **)(void *)(message + field->offset) = items;
    *(int32_t *)(void *)(message + field->count_offset) = count;
}

void codec_random_message(struct codec_random *random, const struct schema *schema, int16_t version, void *message)
{
    codec_init_defaults(schema, message);
    for (size_t i = 0; i < schema->field_count; i++) {
        const struct schema_field *field = &schema->fields[i];
        bool is_left_default = field->tag != SCHEMA_TAG_NONE && one_in(random, 3);
        if (schema_field_in(field, version) && !is_left_default) {
            random_field(random, field, version, message);
        }
    }
}
