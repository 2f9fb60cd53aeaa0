#include "proto/uuid.h"

#include <string.h>

#include "base/assert.h"

#define UUID_TEXT_CHARS (UUID_TEXT_SIZE - 1)

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* Value of one character, or -1. */
static int digit_of(uint8_t c)
{
    const char *at = c == 0 ? NULL : strchr(alphabet, c);
    return at == NULL ? -1 : (int)(at - alphabet);
}

bool uuid_is_zero(const struct uuid *uuid)
{
    static const struct uuid zero;
    return uuid_equal(uuid, &zero);
}

bool uuid_equal(const struct uuid *a, const struct uuid *b)
{
    return memcmp(a->bytes, b->bytes, UUID_SIZE) == 0;
}

void uuid_to_text(const struct uuid *uuid, char text[UUID_TEXT_SIZE])
{
    size_t size = 0;
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < UUID_SIZE; i++) {
        bits = bits << 8 | uuid->bytes[i];
        count += 8;
        while (count >= 6) {
            count -= 6;
            text[size++] = alphabet[bits >> count & 63];
        }
    }
    text[size++] = alphabet[bits << (6 - count) & 63];
    assert(size == UUID_TEXT_CHARS);
    text[size] = 0;
}

enum err uuid_from_text(struct bytes text, struct uuid *uuid)
{
    if (text.size != UUID_TEXT_CHARS) {
        return ERR_INVALID;
    }
    struct uuid result;
    size_t size = 0;
    uint32_t bits = 0;
    unsigned count = 0;
    for (size_t i = 0; i < text.size; i++) {
        int digit = digit_of(text.data[i]);
        if (digit < 0) {
            return ERR_INVALID;
        }
        bits = bits << 6 | (uint32_t)digit;
        count += 6;
        if (count >= 8) {
            count -= 8;
            result.bytes[size++] = (uint8_t)(bits >> count);
        }
    }
    assert(size == UUID_SIZE);
    if ((bits & ((1u << count) - 1)) != 0) {
        return ERR_INVALID;
    }
    *uuid = result;
    return OK;
}
