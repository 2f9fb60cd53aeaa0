/* Nothing here keeps state; all input may be hostile. */

#include "broker/grpc_text.h"
#include <stdio.h>
#include <string.h>

#define TIMEOUT_DIGITS_MAX 8 /* as the protocol says */

const char *grpc_status_name(enum grpc_status status)
{
    switch (status) {
#define GRPC_STATUS_CASE(name, code) \
    case GRPC_##name:                \
        return #name;
        GRPC_STATUS_MAP(GRPC_STATUS_CASE)
#undef GRPC_STATUS_CASE
    }
    return "UNKNOWN";
}

/* Microseconds of a unit, 0 for none; nanoseconds are handled by who asks. */
static int64_t unit_us(uint8_t unit)
{
    switch (unit) {
    case 'H':
        return 3600LL * 1000000;
    case 'M':
        return 60LL * 1000000;
    case 'S':
        return 1000000;
    case 'm':
        return 1000;
    case 'u':
        return 1;
    default:
        return 0;
    }
}

bool grpc_timeout_parse(struct bytes text, int64_t *timeout_us)
{
    int64_t value = 0;
    if (text.size < 2 || text.size > TIMEOUT_DIGITS_MAX + 1) {
        return false;
    }
    for (size_t i = 0; i + 1 < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (text.data[i] - '0');
    }
    uint8_t unit = text.data[text.size - 1];
    if (unit == 'n') {
        *timeout_us = (value + 999) / 1000;
        return true;
    }
    *timeout_us = value * unit_us(unit);
    return unit_us(unit) > 0;
}

void grpc_timeout_print(int64_t timeout_us, char *text, size_t size)
{
    int64_t value = (timeout_us + 999) / 1000;
    assert(timeout_us > 0 && size >= 16);
    if (value <= 99999999) {
        (void)snprintf(text, size, "%lldm", (long long)value);
        return;
    }
    value = (value + 999) / 1000;
    (void)snprintf(text, size, "%lldS", (long long)(value <= 99999999 ? value : 99999999));
}

size_t grpc_message_escape(const char *text, char *target, size_t size)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t used = 0;
    for (const char *at = text; *at != '\0'; at++) {
        uint8_t byte = (uint8_t)*at;
        bool is_plain = byte >= ' ' && byte <= '~' && byte != '%';
        size_t needed = is_plain ? 1 : 3;
        if (needed + 1 > size - used) {
            break;
        }
        if (is_plain) {
            target[used++] = *at;
        } else {
            target[used++] = '%';
            target[used++] = digits[byte >> 4];
            target[used++] = digits[byte & 15];
        }
    }
    target[used] = '\0';
    return used;
}

static int hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') {
        return byte - '0';
    }
    uint8_t lower = byte | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

void grpc_message_unescape(struct bytes text, char *target, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < text.size && used + 1 < size; i++) {
        int high = text.data[i] == '%' && text.size - i > 2 ? hex_digit(text.data[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text.data[i + 2]) : -1;
        if (low >= 0) {
            target[used++] = (char)(high << 4 | low);
            i += 2;
        } else {
            target[used++] = (char)text.data[i];
        }
    }
    target[used] = '\0';
}

void grpc_prefix_put(uint8_t target[GRPC_PREFIX_SIZE], size_t message_size)
{
    assert(message_size <= UINT32_MAX);
    target[0] = 0;
    be32_put(target + 1, (uint32_t)message_size);
}

enum err grpc_message_next(struct bytes *bytes, size_t size_max, struct bytes *message)
{
    if (bytes->size < GRPC_PREFIX_SIZE) {
        return ERR_SHORT;
    }
    size_t size = be32_get(bytes->data + 1);
    if (bytes->data[0] > 1) {
        return ERR_CORRUPT;
    }
    if (bytes->data[0] == 1) {
        return ERR_UNSUPPORTED;
    }
    if (size > size_max) {
        return ERR_TOO_LARGE;
    }
    if (size > bytes->size - GRPC_PREFIX_SIZE) {
        return ERR_SHORT;
    }
    *message = (struct bytes){bytes->data + GRPC_PREFIX_SIZE, size};
    bytes->data += GRPC_PREFIX_SIZE + size;
    bytes->size -= GRPC_PREFIX_SIZE + size;
    return OK;
}
