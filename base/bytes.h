/* Borrowed bytes, big-endian fields, and the two cursors that all wire and disk formats are read and written with.
 *
 * `struct bytes` never owns. A reader checks every read; the first failure sticks (later reads return 0 and empty
 * bytes), so a decoder reads on and tests once at its end. A writer works over fixed memory and sticks in the same way.
 * All integers on the wire and on disk are big-endian, as in Kafka. */
#pragma once

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

/* Reading cursor. `err` is OK until the first read that does not fit (ERR_SHORT) or is malformed (ERR_CORRUPT). */
struct reader {
    const uint8_t *at;
    size_t left;
    enum err err;
};

void reader_init(struct reader *reader, struct bytes bytes);
void reader_fail(struct reader *reader, enum err err);     /* keeps an earlier failure */
uint8_t read_u8(struct reader *reader);
int8_t read_i8(struct reader *reader);
int16_t read_i16(struct reader *reader);
uint16_t read_u16(struct reader *reader);
int32_t read_i32(struct reader *reader);
uint32_t read_u32(struct reader *reader);
int64_t read_i64(struct reader *reader);
uint64_t read_u64(struct reader *reader);
uint32_t read_uvarint(struct reader *reader);              /* unsigned LEB128, at most 5 bytes */
int32_t read_varint(struct reader *reader);                /* zigzag */
int64_t read_varlong(struct reader *reader);               /* zigzag, at most 10 bytes */
struct bytes read_bytes(struct reader *reader, size_t size); /* borrowed from the source */
void read_skip(struct reader *reader, size_t size);

/* Writing cursor over caller's memory. `err` is OK until the first write that does not fit (ERR_TOO_LARGE). */
struct writer {
    uint8_t *start;
    uint8_t *at;
    size_t left;
    enum err err;
};

void writer_init(struct writer *writer, void *memory, size_t size);
size_t writer_size(const struct writer *writer);           /* bytes written so far */
void write_u8(struct writer *writer, uint8_t value);
void write_i8(struct writer *writer, int8_t value);
void write_i16(struct writer *writer, int16_t value);
void write_u16(struct writer *writer, uint16_t value);
void write_i32(struct writer *writer, int32_t value);
void write_u32(struct writer *writer, uint32_t value);
void write_i64(struct writer *writer, int64_t value);
void write_u64(struct writer *writer, uint64_t value);
void write_uvarint(struct writer *writer, uint32_t value);
void write_varint(struct writer *writer, int32_t value);
void write_varlong(struct writer *writer, int64_t value);
void write_bytes(struct writer *writer, struct bytes bytes);
size_t uvarint_size(uint32_t value);
size_t varint_size(int32_t value);
size_t varlong_size(int64_t value);
