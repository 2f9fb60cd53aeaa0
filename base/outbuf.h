/* A message under construction for a socket: small fields are copied into chunks, large payload is referenced.
 * The result is a list of fragments for one gathering write.
 * Runs on: one thread. Ownership: slices put in are acquired here and released by outbuf_deinit(). */
#pragma once

#include "base/shared.h"

struct outbuf_fragment {
    struct shared *block; /* holds the bytes; one reference owned by the outbuf; NULL: the memory of its owner */
    const uint8_t *data;
    size_t size;
};

#define OUTBUF_FEW_FRAGMENTS 2 /* that need no memory of their own */

struct outbuf { /* Stays where it was initialised. */
    struct outbuf_fragment *fragments;
    size_t fragment_count;
    size_t fragment_capacity;
    /* private: where small fields go */
    struct shared *chunk; /* NULL: the owner's memory, or none yet; one reference of its own */
    size_t chunk_size;
    uint8_t *at;
    size_t left;
    struct outbuf_fragment few[OUTBUF_FEW_FRAGMENTS];
    size_t size;      /* total bytes so far */
    size_t size_max;
    enum err err;     /* ERR_TOO_LARGE once over size_max; sticks */
};

void outbuf_init(struct outbuf *out, size_t size_max);
/* The same with the caller's memory for the first small fields; it is used until outbuf_deinit(). */
void outbuf_init_with(struct outbuf *out, size_t size_max, uint8_t *memory, size_t size);
void outbuf_deinit(struct outbuf *out);
void outbuf_put(struct outbuf *out, struct bytes bytes);     /* copies */
/* Contiguous room, to be filled (or patched later) by the caller; 1..4096 bytes; valid until deinit; NULL on error. */
uint8_t *outbuf_reserve(struct outbuf *out, size_t size);
/* References slice.block if the slice is large (>= 512 bytes) and has a block, else copies. The caller's reference
 * stays the caller's. */
void outbuf_put_slice(struct outbuf *out, struct slice slice);
void outbuf_i8(struct outbuf *out, int8_t value);
void outbuf_i16(struct outbuf *out, int16_t value);
void outbuf_i32(struct outbuf *out, int32_t value);
void outbuf_i64(struct outbuf *out, int64_t value);
void outbuf_uvarint(struct outbuf *out, uint32_t value);
/* Copies everything into one block, for tests and small messages. `err` must be OK; the block is the caller's. */
struct shared *outbuf_flatten(const struct outbuf *out);
