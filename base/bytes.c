/* The parts of the cursors that are not worth a copy at each caller: set-up, failures, long
 *                                                                    varints. */
#include "base/bytes.h"

#include <string.h>

#include "base/assert.h"

/* Odd constants with about as many ones as zeros: digits of the fractional parts of sqrt(2),
 *                                                 sqrt(3) and sqrt(5). */
#define HASH_SIZE_FACTOR UINT64_C(0x6a09e667f3bcc909)
#define HASH_WORD_FACTOR UINT64_C(0xbb67ae8584caa73b)
#define HASH_LAST_FACTOR UINT64_C(0x3c6ef372fe94f82b)

struct bytes bytes_from_text(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

bool bytes_equal_text(struct bytes a, const char *text)
{
    return bytes_equal(a, bytes_from_text(text));
}

int bytes_compare(struct bytes a, struct bytes b)
{
    size_t size = a.size < b.size ? a.size : b.size;
    int order = size == 0 ? 0 : memcmp(a.data, b.data, size);
    if (order != 0) {
        return order;
    }
    return a.size == b.size ? 0 : a.size < b.size ? -1 : 1;
}

/* Folds the 128-bit product of two words: each bit of the inputs reaches about half of the
 * result's bits. */
static uint64_t hash_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t bytes_hash(struct bytes bytes, uint64_t seed)
{
    uint64_t hash = seed ^ ((uint64_t)bytes.size + 1) * HASH_SIZE_FACTOR;
    const uint8_t *at = bytes.data;
    size_t left = bytes.size;
    while (left >= 8) {
        hash = hash_mix(hash ^ be64_get(at), HASH_WORD_FACTOR) ^ hash << 1;
        at += 8;
        left -= 8;
    }
    uint64_t word = 0;
    for (size_t i = 0; i < left; i++) {
        word = word << 8 | at[i];
    }
    return hash_mix(hash ^ word, HASH_LAST_FACTOR) ^ hash;
}

void reader_init(struct reader *reader, struct bytes bytes)
{
    assert(bytes.data != NULL || bytes.size == 0);
    /* Never NULL, so that a read of no bytes needs no case of its own. */
    reader->at = bytes.data != NULL ? bytes.data : (const uint8_t *)"";
    reader->left = bytes.size;
    reader->err = OK;
}

uint64_t read_uvarint_slow(struct reader *reader, unsigned size_max)
{
    assert(size_max == 5 || size_max == 10);
    /* What the last byte may hold of the 32 or 64 bits: the groups before it took 28 or 63. */
    const uint8_t last_max = size_max == 5 ? 0x0f : 0x01;
    uint64_t value = 0;
    for (unsigned i = 0; i < size_max; i++) {
        if (i >= reader->left) {
            reader_fail(reader, ERR_SHORT);
            return 0;
        }
        uint8_t byte = reader->at[i];
        if (i == size_max - 1 && byte > last_max) {
            break;
        }
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            reader->at += i + 1;
            reader->left -= i + 1;
            return value;
        }
    }
    reader_fail(reader, ERR_CORRUPT);
    return 0;
}

void writer_init(struct writer *writer, void *memory, size_t size)
{
    assert(memory != NULL || size == 0);
    *writer = (struct writer){.start = memory, .at = memory, .left = size, .err = OK};
}

void writer_fail(struct writer *writer, enum err err)
{
    assert(err != OK);
    if (writer->err == OK) {
        writer->err = err;
    }
    writer->left = 0;
}

void write_uvarint_slow(struct writer *writer, uint64_t value)
{
    uint8_t encoded[10];
    size_t size = 0;
    while (value >= 0x80) {
        encoded[size++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    encoded[size++] = (uint8_t)value;
    write_bytes(writer, (struct bytes){encoded, size});
}

void write_varlong(struct writer *writer, int64_t value)
{
    write_uvarint_slow(writer, (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0));
}

void write_bytes(struct writer *writer, struct bytes bytes)
{
    if (bytes.size > writer->left) {
        writer_fail(writer, ERR_TOO_LARGE);
        return;
    }
    if (bytes.size > 0) {
        memcpy(writer->at, bytes.data, bytes.size);
        writer->at += bytes.size;
        writer->left -= bytes.size;
    }
}
