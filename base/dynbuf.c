/* Grows by doubling, up to its maximum. The memory is one byte larger than `capacity` says, for
 * the NUL that formatted printing leaves behind the text. */
#include "base/dynbuf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum {
    CAPACITY_FIRST = 256
};

void dynbuf_init(struct dynbuf *buf, size_t size_max)
{
    assert(size_max > 0 && size_max < SIZE_MAX / 2);
    *buf = (struct dynbuf){.size_max = size_max};
}

void dynbuf_deinit(struct dynbuf *buf)
{
    mem_free(buf->data);
    *buf = (struct dynbuf){.size_max = buf->size_max};
}

enum err dynbuf_reserve(struct dynbuf *buf, size_t extra)
{
    assert(buf->size <= buf->capacity || buf->data == NULL);
    if (extra > buf->size_max - buf->size) {
        return ERR_TOO_LARGE;
    }
    size_t needed = buf->size + extra;
    if (needed <= buf->capacity && buf->data != NULL) {
        return OK;
    }
    size_t capacity = buf->capacity < CAPACITY_FIRST ? CAPACITY_FIRST : buf->capacity * 2;
    if (capacity < needed) {
        capacity = needed;
    }
    if (capacity > buf->size_max) {
        capacity = buf->size_max;
    }
    buf->data = mem_resize(buf->data, capacity + 1);
    buf->capacity = capacity;
    return OK;
}

enum err dynbuf_put(struct dynbuf *buf, struct bytes bytes)
{
    enum err err = dynbuf_reserve(buf, bytes.size);
    if (err != OK) {
        return err;
    }
    if (bytes.size > 0) {
        memcpy(buf->data + buf->size, bytes.data, bytes.size);
        buf->size += bytes.size;
    }
    return OK;
}

enum err dynbuf_printf(struct dynbuf *buf, const char *format, ...)
{
    enum err err = dynbuf_reserve(buf, 0);
    if (err != OK) {
        return err;
    }
    for (;;) {
        size_t room = buf->capacity - buf->size;
        va_list args;
        va_start(args, format);
        int size = vsnprintf((char *)buf->data + buf->size, room + 1, format, args);
        va_end(args);
        assert(size >= 0);
        if ((size_t)size <= room) {
            buf->size += (size_t)size;
            return OK;
        }
        err = dynbuf_reserve(buf, (size_t)size);
        if (err != OK) {
            return err;
        }
    }
}

void dynbuf_consume(struct dynbuf *buf, size_t size)
{
    assert(size <= buf->size);
    buf->size -= size;
    if (size > 0 && buf->size > 0) {
        memmove(buf->data, buf->data + size, buf->size);
    }
}

void dynbuf_reset(struct dynbuf *buf)
{
    buf->size = 0;
}

struct bytes dynbuf_bytes(const struct dynbuf *buf)
{
    return (struct bytes){buf->data, buf->size};
}
