/* Reference-counted immutable blocks, and slices of them: how payload travels from a socket to the log, to followers
 * and back to sockets without being copied.
 * Runs on: any thread; the count is atomic. The holder of the only reference may still write (before it shares). */
#pragma once

#include "base/bytes.h"

struct shared {
    uint32_t references; /* atomic */
    uint32_t capacity;   /* bytes allocated for data; SHARED_CACHED_SIZE_MAX + 1: more than that */
    size_t size;
    uint8_t data[] __attribute__((aligned(16)));
};

struct slice {
    struct shared *block; /* NULL: bytes live elsewhere for long enough (static, or empty) */
    struct bytes bytes;   /* within block->data */
};

struct shared *shared_new(size_t size);            /* one reference; not zeroed */
struct shared *shared_resize(struct shared *block, size_t size); /* only while the count is 1; may move */
struct shared *shared_acquire(struct shared *block);
void shared_release(struct shared *block);         /* NULL allowed */
/* Small blocks are base/blocks.h's. Blocks from SHARED_CACHED_SIZE_MIN to SHARED_CACHED_SIZE_MAX that a thread frees
 * are kept for it, up to SHARED_CACHE_SIZE_MAX: their pages are there, those of a new one must each be asked from the
 * system. A block is taken for a size that it does not exceed by more than a quarter. Before shared_cache_open(), and
 * with AddressSanitizer, nothing is kept. */
void shared_cache_open(void);
void shared_cache_trim(void);  /* frees what was not used since the call before: once in a while */
void shared_cache_close(void); /* frees all, keeps nothing any more */

struct slice slice_of(struct shared *block, size_t position, size_t size); /* acquires */
struct slice slice_acquire(struct slice slice);    /* same bytes, one more reference */
void slice_release(struct slice *slice);           /* empties it */
