/* One table, indexed by code + 1: UNKNOWN_SERVER_ERROR is -1, the others count up from 0 without gaps. */
#include "proto/errors.h"

#include "base/assert.h"
#include <stddef.h>

struct kafka_error_row {
    int code;
    const char *name;
    bool is_retriable;
    const char *text;
};

static const struct kafka_error_row rows[] = {
#define KAFKA_ERROR(name, code, is_retriable, text) {code, #name, is_retriable, text},
#include "proto/errors.def"
#undef KAFKA_ERROR
};

static const struct kafka_error_row *row_of(enum kafka_error error)
{
    static const struct kafka_error_row unknown = {-1, "UNKNOWN", false, "Unknown error code"};
    int slot = (int)error - KAFKA_ERROR_FIRST;
    if (slot < 0 || (size_t)slot >= sizeof(rows) / sizeof(rows[0])) {
        return &unknown;
    }
    assert(rows[slot].code == (int)error);
    return &rows[slot];
}

const char *kafka_error_name(enum kafka_error error)
{
    return row_of(error)->name;
}

const char *kafka_error_text(enum kafka_error error)
{
    return row_of(error)->text;
}

bool kafka_error_is_retriable(enum kafka_error error)
{
    return row_of(error)->is_retriable;
}
