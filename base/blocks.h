/* Small blocks of memory for what comes and goes with every request: a thread keeps those that it frees, by size, the
 * latest first, and so neither walks the allocator's lists nor touches the neighbours of a block to join them.
 *
 * Sizes are rounded up to BLOCK_STEP; above BLOCK_SIZE_MAX, before blocks_open() and with AddressSanitizer it is the
 * allocator's business alone. A block may be given by another thread than the one that took it.
 * Runs on: each thread has blocks of its own, BLOCK_SPARE_SIZE_MAX of each size at most. */
#pragma once

#include <stddef.h>

void blocks_open(void);
void blocks_trim(void);  /* frees what was not used since the call before: once in a while */
void blocks_close(void); /* frees all, keeps nothing any more */

void *block_take(size_t size) __attribute__((returns_nonnull)); /* size > 0; not zeroed */
void block_give(void *memory, size_t size);                     /* as taken, up to block_room(); NULL allowed */
size_t block_room(size_t size);                                 /* bytes of a block taken for `size`; any thread */
