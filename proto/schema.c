#include "proto/schema.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/shared.h"
#include "proto/uuid.h"

size_t schema_element_size(const struct schema_field *field)
{
    static const uint8_t sizes[] = {
        [SCHEMA_BOOL] = sizeof(bool),
        [SCHEMA_INT8] = sizeof(int8_t),
        [SCHEMA_INT16] = sizeof(int16_t),
        [SCHEMA_ERROR] = sizeof(int16_t),
        [SCHEMA_UINT16] = sizeof(uint16_t),
        [SCHEMA_INT32] = sizeof(int32_t),
        [SCHEMA_UINT32] = sizeof(uint32_t),
        [SCHEMA_INT64] = sizeof(int64_t),
        [SCHEMA_FLOAT64] = sizeof(double),
        [SCHEMA_UUID] = sizeof(struct uuid),
        [SCHEMA_STRING] = sizeof(struct bytes),
        [SCHEMA_BYTES] = sizeof(struct bytes),
        [SCHEMA_RECORDS] = sizeof(struct slice),
    };
    if (field->type == SCHEMA_STRUCT) {
        return field->schema->size;
    }
    assert(field->type < array_count(sizes));
    return sizes[field->type];
}
