/* A message under construction for a socket: small fields are copied into chunks, large payload is referenced.
 * The result is a list of fragments for one gathering write.
 * Runs on: one thread. Ownership: slices put in are acquired here and released by outbuf_deinit(). */
#pragma once

#include "base/shared.h"

struct outbuf_fragment {
    struct shared *block; /* holds the bytes; one reference owned by the outbuf */
    const uint8_t *data;
    size_t size;
};

struct outbuf {
    struct outbuf_fragment *fragments;
    size_t fragment_count;
    size_t fragment_capacity;
    size_t size;      /* total bytes so far */
    size_t size_max;
    enum err err;     /* ERR_TOO_LARGE once over size_max; sticks */
};

void outbuf_init(struct outbuf *out, size_t size_max);
void outbuf_deinit(struct outbuf *out);
void outbuf_put(struct outbuf *out, struct bytes bytes);     /* copies */
uint8_t *outbuf_reserve(struct outbuf *out, size_t size);    /* contiguous room, to be filled (or patched later) by the caller; size <= 4096; valid until deinit; NULL on error */
void outbuf_put_slice(struct outbuf *out, struct slice slice); /* references slice.block if large (>= 512 bytes) and block != NULL, else copies */
void outbuf_i8(struct outbuf *out, int8_t value);
void outbuf_i16(struct outbuf *out, int16_t value);
void outbuf_i32(struct outbuf *out, int32_t value);
void outbuf_i64(struct outbuf *out, int64_t value);
void outbuf_uvarint(struct outbuf *out, uint32_t value);
/* Copies everything into one block, for tests and small messages. */
struct shared *outbuf_flatten(const struct outbuf *out);
