/* Borrowed bytes, big-endian fields, and the two cursors that all wire and disk formats are read and written with.
 *
 * `struct bytes` never owns. A reader checks every read; the first failure sticks (later reads return 0 and empty
 * bytes), so a decoder reads on and tests once at its end. A writer works over fixed memory and sticks in the same way.
 * All integers on the wire and on disk are big-endian, as in Kafka. */
#pragma once

#include "base/assert.h"
#include "base/err.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    const uint8_t *data;
    size_t size;
};

#define BYTES_NONE ((struct bytes){NULL, 0})

struct bytes bytes_from_text(const char *text);            /* without the NUL */
bool bytes_equal(struct bytes a, struct bytes b);
bool bytes_equal_text(struct bytes a, const char *text);
int bytes_compare(struct bytes a, struct bytes b);         /* as memcmp, shorter first */
uint64_t bytes_hash(struct bytes bytes, uint64_t seed);

static inline uint16_t be16_get(const uint8_t *p) { return (uint16_t)((unsigned)p[0] << 8 | p[1]); }
static inline uint32_t be32_get(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
}
static inline uint64_t be64_get(const uint8_t *p) { return (uint64_t)be32_get(p) << 32 | be32_get(p + 4); }
static inline void be16_put(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}
static inline void be32_put(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}
static inline void be64_put(uint8_t *p, uint64_t v)
{
    be32_put(p, (uint32_t)(v >> 32));
    be32_put(p + 4, (uint32_t)v);
}

/* Reading cursor. `err` is OK until the first read that does not fit (ERR_SHORT) or is malformed (ERR_CORRUPT).
 * A failure empties the cursor, so that one comparison a read finds both the end and an earlier failure. */
struct reader {
    const uint8_t *at;
    size_t left;
    enum err err;
};

void reader_init(struct reader *reader, struct bytes bytes);
/* Keeps an earlier failure; err is not OK. Inline, so that analysers see that a failed read never leaves err at OK. */
static inline void reader_fail(struct reader *reader, enum err err)
{
    assert(err != OK);
    if (reader->err == OK) {
        reader->err = err;
    }
    reader->left = 0;
}
uint64_t read_uvarint_slow(struct reader *reader, unsigned size_max); /* private: more than one byte */

static inline uint8_t read_u8(struct reader *reader)
{
    if (reader->left < 1) {
        reader_fail(reader, ERR_SHORT);
        return 0;
    }
    uint8_t value = reader->at[0];
    reader->at += 1;
    reader->left -= 1;
    return value;
}
static inline uint16_t read_u16(struct reader *reader)
{
    if (reader->left < 2) {
        reader_fail(reader, ERR_SHORT);
        return 0;
    }
    uint16_t value = be16_get(reader->at);
    reader->at += 2;
    reader->left -= 2;
    return value;
}
static inline uint32_t read_u32(struct reader *reader)
{
    if (reader->left < 4) {
        reader_fail(reader, ERR_SHORT);
        return 0;
    }
    uint32_t value = be32_get(reader->at);
    reader->at += 4;
    reader->left -= 4;
    return value;
}
static inline uint64_t read_u64(struct reader *reader)
{
    if (reader->left < 8) {
        reader_fail(reader, ERR_SHORT);
        return 0;
    }
    uint64_t value = be64_get(reader->at);
    reader->at += 8;
    reader->left -= 8;
    return value;
}
static inline int8_t read_i8(struct reader *reader) { return (int8_t)read_u8(reader); }
static inline int16_t read_i16(struct reader *reader) { return (int16_t)read_u16(reader); }
static inline int32_t read_i32(struct reader *reader) { return (int32_t)read_u32(reader); }
static inline int64_t read_i64(struct reader *reader) { return (int64_t)read_u64(reader); }

/* Unsigned LEB128, at most 5 bytes. More, or bits beyond 32, are ERR_CORRUPT; needless zero groups are accepted, as
 * Kafka accepts them. */
static inline uint32_t read_uvarint(struct reader *reader)
{
    if (reader->left > 0 && reader->at[0] < 0x80) {
        reader->left -= 1;
        return *reader->at++;
    }
    return (uint32_t)read_uvarint_slow(reader, 5);
}
static inline int32_t read_varint(struct reader *reader)   /* zigzag */
{
    uint32_t value = read_uvarint(reader);
    return (int32_t)((value >> 1) ^ (0U - (value & 1)));
}
static inline int64_t read_varlong(struct reader *reader)  /* zigzag, at most 10 bytes */
{
    uint64_t value;
    if (reader->left > 0 && reader->at[0] < 0x80) {
        reader->left -= 1;
        value = *reader->at++;
    } else {
        value = read_uvarint_slow(reader, 10);
    }
    return (int64_t)((value >> 1) ^ (0U - (value & 1)));
}
static inline struct bytes read_bytes(struct reader *reader, size_t size) /* borrowed from the source */
{
    if (size > reader->left) {
        reader_fail(reader, ERR_SHORT);
        return BYTES_NONE;
    }
    struct bytes bytes = {reader->at, size};
    reader->at += size;
    reader->left -= size;
    return bytes;
}
static inline void read_skip(struct reader *reader, size_t size) { (void)read_bytes(reader, size); }

/* Writing cursor over caller's memory. `err` is OK until the first write that does not fit (ERR_TOO_LARGE); that write
 * and all later ones leave the memory alone. */
struct writer {
    uint8_t *start;
    uint8_t *at;
    size_t left;
    enum err err;
};

void writer_init(struct writer *writer, void *memory, size_t size);
void writer_fail(struct writer *writer, enum err err);     /* keeps an earlier failure; err is not OK */
void write_varlong(struct writer *writer, int64_t value);  /* zigzag */
void write_uvarint_slow(struct writer *writer, uint64_t value); /* private: more than one byte, or no room */

static inline size_t writer_size(const struct writer *writer) { return (size_t)(writer->at - writer->start); }

static inline void write_u8(struct writer *writer, uint8_t value)
{
    if (writer->left < 1) {
        writer_fail(writer, ERR_TOO_LARGE);
        return;
    }
    *writer->at++ = value;
    writer->left -= 1;
}
static inline void write_u16(struct writer *writer, uint16_t value)
{
    if (writer->left < 2) {
        writer_fail(writer, ERR_TOO_LARGE);
        return;
    }
    be16_put(writer->at, value);
    writer->at += 2;
    writer->left -= 2;
}
static inline void write_u32(struct writer *writer, uint32_t value)
{
    if (writer->left < 4) {
        writer_fail(writer, ERR_TOO_LARGE);
        return;
    }
    be32_put(writer->at, value);
    writer->at += 4;
    writer->left -= 4;
}
static inline void write_u64(struct writer *writer, uint64_t value)
{
    if (writer->left < 8) {
        writer_fail(writer, ERR_TOO_LARGE);
        return;
    }
    be64_put(writer->at, value);
    writer->at += 8;
    writer->left -= 8;
}
static inline void write_i8(struct writer *writer, int8_t value) { write_u8(writer, (uint8_t)value); }
static inline void write_i16(struct writer *writer, int16_t value) { write_u16(writer, (uint16_t)value); }
static inline void write_i32(struct writer *writer, int32_t value) { write_u32(writer, (uint32_t)value); }
static inline void write_i64(struct writer *writer, int64_t value) { write_u64(writer, (uint64_t)value); }
static inline void write_uvarint(struct writer *writer, uint32_t value)
{
    if (writer->left > 0 && value < 0x80) {
        *writer->at++ = (uint8_t)value;
        writer->left -= 1;
        return;
    }
    write_uvarint_slow(writer, value);
}
static inline void write_varint(struct writer *writer, int32_t value) /* zigzag */
{
    write_uvarint(writer, (uint32_t)value << 1 ^ (value < 0 ? UINT32_MAX : 0));
}
void write_bytes(struct writer *writer, struct bytes bytes);

static inline size_t uvarint_size(uint32_t value)
{
    return value == 0 ? 1 : ((size_t)(31 - __builtin_clz(value)) * 9 + 73) / 64;
}
static inline size_t varlong_size(int64_t value)
{
    uint64_t zigzag = (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
    return zigzag == 0 ? 1 : ((size_t)(63 - __builtin_clzll(zigzag)) * 9 + 73) / 64;
}
static inline size_t varint_size(int32_t value) { return varlong_size(value); }
