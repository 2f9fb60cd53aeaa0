/* Blocks of one size that one thread takes and gives back all the time, the latest first: what was in use a moment ago
 * is still in the processor's cache, and no list of the allocator is walked for it.
 * Runs on: one thread at a time. With AddressSanitizer nothing is kept, so that a block used after its end is found. */
#pragma once

#include <stddef.h>

struct pool_block;

struct pool {
    struct pool_block *spare; /* the latest first */
    size_t block_size;
    size_t spare_count_max;
    size_t spare_count;
    size_t unused_count; /* spare all the time since the last pool_trim() */
};

void pool_init(struct pool *pool, size_t block_size, size_t spare_size_max); /* bytes of spare blocks */
void pool_deinit(struct pool *pool);            /* frees what is spare; blocks taken are the takers' still */
void *pool_take(struct pool *pool) __attribute__((returns_nonnull)); /* not zeroed; aligned as mem_alloc() */
void pool_give(struct pool *pool, void *memory);
void pool_trim(struct pool *pool);              /* frees what was not used since the call before: once in a while */
