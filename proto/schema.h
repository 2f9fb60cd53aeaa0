/* Descriptors of Kafka messages: what scripts/kgen writes from proto/kafka/<api>.msg, and the codec walks.
 *
 * A schema describes one C struct and its wire form in all versions of its message at once. Everything is static const;
 * any thread may read it. The language of the .msg files and the wire rules are in proto/README.md. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Wire type -> member of the C struct. An array is a pointer `x` and an int32_t `x_count` (-1: null). */
enum schema_type {
    SCHEMA_BOOL,    /* bool */
    SCHEMA_INT8,    /* int8_t */
    SCHEMA_INT16,   /* int16_t */
    SCHEMA_ERROR,   /* int16_t, one of Kafka's error codes: an int16 of an answer whose name ends in error_code */
    SCHEMA_UINT16,  /* uint16_t */
    SCHEMA_INT32,   /* int32_t */
    SCHEMA_UINT32,  /* uint32_t */
    SCHEMA_INT64,   /* int64_t */
    SCHEMA_FLOAT64, /* double */
    SCHEMA_UUID,    /* struct uuid */
    SCHEMA_STRING,  /* struct bytes; data NULL: null */
    SCHEMA_BYTES,   /* struct bytes; data NULL: null */
    SCHEMA_RECORDS, /* struct slice; bytes.data NULL: null */
    SCHEMA_STRUCT,  /* struct x, embedded */
    SCHEMA_POINTER, /* struct x *, NULL: null; only where the schema allows null */
};

#define SCHEMA_TAG_NONE (-1)
#define SCHEMA_NEVER_FLEXIBLE INT16_MAX

struct schema;

struct schema_field {
    const char *name;
    const struct schema *schema; /* SCHEMA_STRUCT, SCHEMA_POINTER; else NULL */
    uint8_t type;                /* enum schema_type; of the elements if is_array */
    bool is_array;
    bool is_classic; /* never in compact form, whatever the message says (client_id of the request header) */
    bool is_default_null;
    int16_t tag;         /* SCHEMA_TAG_NONE: a plain field */
    int16_t version_min; /* versions that have the field, both ends included */
    int16_t version_max;
    int16_t null_min; /* versions in which it may be null; min > max: never */
    int16_t null_max;
    uint32_t offset;         /* of the member, within the C struct */
    uint32_t count_offset;   /* of its count if is_array */
    int64_t default_integer; /* all integers, and bool as 0 or 1 */
    double default_real;
    const char *default_text; /* strings; NULL means "" */
};

struct schema {
    const char *name;                  /* "kafka_produce_request", as the C struct's tag */
    const struct schema_field *fields; /* plain ones in wire order, then tagged ones by ascending tag */
    uint16_t plain_count;
    uint16_t field_count;
    int16_t version_min; /* of the message, both ends included */
    int16_t version_max;
    int16_t flexible_min;   /* first version in compact form with tags, or SCHEMA_NEVER_FLEXIBLE */
    uint32_t size;          /* of the C struct */
    uint32_t wire_size_min; /* least bytes of one value, over all versions; > 0 for elements of arrays */
    const void *defaults;   /* a C struct with all fields at their default */
};

static inline bool schema_field_in(const struct schema_field *field, int16_t version)
{
    return version >= field->version_min && version <= field->version_max;
}

static inline bool schema_field_is_nullable(const struct schema_field *field, int16_t version)
{
    return version >= field->null_min && version <= field->null_max;
}

/* Size in C memory of one element of an array field. */
size_t schema_element_size(const struct schema_field *field);
