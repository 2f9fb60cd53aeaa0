/* Small fields fill chunks one after the other; neighbours in a chunk are one fragment. A referenced slice is a
 * fragment of its own, after which the fields go on in the same chunk: a response with few payloads needs one chunk.
 * The first chunk is small, since most answers are and many of them wait at a time; each further one is larger. */
#include "base/outbuf.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum {
    CHUNK_SIZE_FIRST = 256,
    CHUNK_SIZE_MAX = 4096,    /* also the largest reservation */
    REFERENCE_SIZE_MIN = 512, /* below, a copy is cheaper than one more element of the gathering write */
};

void outbuf_init(struct outbuf *out, size_t size_max)
{
    *out = (struct outbuf){.size_max = size_max, .err = OK};
    out->fragments = out->few;
    out->fragment_capacity = OUTBUF_FEW_FRAGMENTS;
}

void outbuf_init_with(struct outbuf *out, size_t size_max, uint8_t *memory, size_t size)
{
    outbuf_init(out, size_max);
    out->at = memory;
    out->left = out->chunk_size = size;
}

static void fragments_free(struct outbuf *out)
{
    if (out->fragments != out->few) {
        mem_free(out->fragments);
    }
}

void outbuf_deinit(struct outbuf *out)
{
    for (size_t i = 0; i < out->fragment_count; i++) {
        shared_release(out->fragments[i].block);
    }
    fragments_free(out);
    shared_release(out->chunk);
    outbuf_init(out, out->size_max);
}

/* Counts `size` more bytes. False, with `err` set, when they are too many or something failed
 * before. */
static bool admit(struct outbuf *out, size_t size)
{
    if (out->err != OK) {
        return false;
    }
    assert(out->size <= out->size_max);
    if (size > out->size_max - out->size) {
        out->err = ERR_TOO_LARGE;
        return false;
    }
    out->size += size;
    return true;
}

/* Takes over one reference to the block. */
static void fragment_add(struct outbuf *out, struct shared *block, const uint8_t *data, size_t size)
{
    assert(out->fragments != NULL && out->fragment_count <= out->fragment_capacity);
    if (out->fragment_count == out->fragment_capacity) {
        size_t capacity = 2 * out->fragment_capacity;
        struct outbuf_fragment *fragments = mem_alloc_raw(capacity * sizeof *fragments);
        memcpy(fragments, out->fragments, out->fragment_count * sizeof *fragments);
        fragments_free(out);
        out->fragments = fragments;
        out->fragment_capacity = capacity;
    }
    assert(out->fragment_count < out->fragment_capacity);
    out->fragments[out->fragment_count++] = (struct outbuf_fragment){block, data, size};
}

/* A chunk with room for `size` bytes, four times as large as the last one. */
static void chunk_renew(struct outbuf *out, size_t size)
{
    assert(size <= CHUNK_SIZE_MAX);
    size_t chunk_size = out->chunk_size == 0 ? CHUNK_SIZE_FIRST : 4 * out->chunk_size;
    while (chunk_size < size) {
        chunk_size *= 4;
    }
    shared_release(out->chunk);
    out->chunk_size = chunk_size < CHUNK_SIZE_MAX ? chunk_size : CHUNK_SIZE_MAX;
    out->chunk = shared_new(out->chunk_size);
    out->at = out->chunk->data;
    out->left = out->chunk_size;
}

/* The next `size` bytes of the chunk, which has room for them, as part of the last fragment or as
 * a new one. */
static uint8_t *chunk_take(struct outbuf *out, size_t size)
{
    assert(size <= out->left);
    uint8_t *data = out->at;
    struct outbuf_fragment *last = out->fragment_count > 0 ? &out->fragments[out->fragment_count - 1] : NULL;
    if (last != NULL && last->block == out->chunk && last->data + last->size == data) {
        last->size += size;
    } else {
        fragment_add(out, out->chunk == NULL ? NULL : shared_acquire(out->chunk), data, size);
    }
    out->at += size;
    out->left -= size;
    return data;
}

uint8_t *outbuf_reserve(struct outbuf *out, size_t size)
{
    assert(size > 0 && size <= CHUNK_SIZE_MAX);
    if (!admit(out, size)) {
        return NULL;
    }
    if (size > out->left) {
        chunk_renew(out, size);
    }
    return chunk_take(out, size);
}

void outbuf_put(struct outbuf *out, struct bytes bytes)
{
    if (bytes.size == 0 || !admit(out, bytes.size)) {
        return;
    }
    size_t head = bytes.size < out->left ? bytes.size : out->left;
    if (head > 0) {
        memcpy(chunk_take(out, head), bytes.data, head);
    }
    size_t rest = bytes.size - head;
    if (rest == 0) {
        return;
    }
    if (rest < CHUNK_SIZE_MAX) {
        chunk_renew(out, rest);
        memcpy(chunk_take(out, rest), bytes.data + head, rest);
        return;
    }
    struct shared *block = shared_new(rest);
    memcpy(block->data, bytes.data + head, rest);
    fragment_add(out, block, block->data, rest);
}

void outbuf_put_slice(struct outbuf *out, struct slice slice)
{
    if (slice.block == NULL || slice.bytes.size < REFERENCE_SIZE_MIN) {
        outbuf_put(out, slice.bytes);
        return;
    }
    assert(slice.bytes.data >= slice.block->data);
    assert(slice.bytes.size <= slice.block->size - (size_t)(slice.bytes.data - slice.block->data));
    if (admit(out, slice.bytes.size)) {
        fragment_add(out, shared_acquire(slice.block), slice.bytes.data, slice.bytes.size);
    }
}

void outbuf_i8(struct outbuf *out, int8_t value)
{
    uint8_t *at = outbuf_reserve(out, 1);
    if (at != NULL) {
        at[0] = (uint8_t)value;
    }
}

void outbuf_i16(struct outbuf *out, int16_t value)
{
    uint8_t *at = outbuf_reserve(out, 2);
    if (at != NULL) {
        be16_put(at, (uint16_t)value);
    }
}

void outbuf_i32(struct outbuf *out, int32_t value)
{
    uint8_t *at = outbuf_reserve(out, 4);
    if (at != NULL) {
        be32_put(at, (uint32_t)value);
    }
}

void outbuf_i64(struct outbuf *out, int64_t value)
{
    uint8_t *at = outbuf_reserve(out, 8);
    if (at != NULL) {
        be64_put(at, (uint64_t)value);
    }
}

void outbuf_uvarint(struct outbuf *out, uint32_t value)
{
    size_t size = uvarint_size(value);
    uint8_t *at = outbuf_reserve(out, size);
    if (at != NULL) {
        struct writer writer;
        writer_init(&writer, at, size);
        write_uvarint(&writer, value);
        assert(writer.err == OK && writer.left == 0);
    }
}

struct shared *outbuf_flatten(const struct outbuf *out)
{
    assert(out->err == OK);
    struct shared *block = shared_new(out->size);
    size_t size = 0;
    for (size_t i = 0; i < out->fragment_count; i++) {
        const struct outbuf_fragment *fragment = &out->fragments[i];
        memcpy(block->data + size, fragment->data, fragment->size);
        size += fragment->size;
    }
    assert(size == out->size);
    return block;
}
