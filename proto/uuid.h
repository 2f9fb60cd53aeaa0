/* 16-byte identifiers of topics and directories. On the wire the bytes as they are; as text, base64 with '-' and '_'
 * and without padding, as Kafka prints them. All zero means "none". */
#pragma once

#include "base/bytes.h"

#define UUID_SIZE 16
#define UUID_TEXT_SIZE 23 /* 22 characters and NUL */

struct uuid {
    uint8_t bytes[UUID_SIZE];
};

#define UUID_ZERO ((struct uuid){{0}})

bool uuid_is_zero(const struct uuid *uuid);
bool uuid_equal(const struct uuid *a, const struct uuid *b);
void uuid_to_text(const struct uuid *uuid, char text[UUID_TEXT_SIZE]);
/* ERR_INVALID unless exactly 22 characters of that alphabet whose last four bits are zero; `uuid` is then untouched. */
MUST_CHECK enum err uuid_from_text(struct bytes text, struct uuid *uuid);
