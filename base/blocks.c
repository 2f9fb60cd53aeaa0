#include "base/blocks.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/pool.h"

#include <stdbool.h>

#define CLASS_COUNT (BLOCK_SIZE_MAX / BLOCK_STEP)

static _Thread_local struct blocks {
    bool is_open;
    struct pool pools[CLASS_COUNT];
} blocks;

size_t block_room(size_t size)
{
    return size <= BLOCK_SIZE_MAX ? (size + BLOCK_STEP - 1) / BLOCK_STEP * BLOCK_STEP : size;
}

static struct pool *pool_of(size_t size)
{
    assert(size > 0);
    return blocks.is_open && size <= BLOCK_SIZE_MAX ? &blocks.pools[(size - 1) / BLOCK_STEP] : NULL;
}

void blocks_open(void)
{
    for (size_t i = 0; i < CLASS_COUNT; i++) {
        pool_init(&blocks.pools[i], (i + 1) * BLOCK_STEP, BLOCK_SPARE_SIZE_MAX);
    }
    blocks.is_open = true;
}

void blocks_trim(void)
{
    for (size_t i = 0; i < CLASS_COUNT && blocks.is_open; i++) {
        pool_trim(&blocks.pools[i]);
    }
}

void blocks_close(void)
{
    for (size_t i = 0; i < CLASS_COUNT && blocks.is_open; i++) {
        pool_deinit(&blocks.pools[i]);
    }
    blocks.is_open = false;
}

void *block_take(size_t size)
{
    struct pool *pool = pool_of(size);
    return pool != NULL ? pool_take(pool) : mem_alloc_raw(block_room(size));
}

void block_give(void *memory, size_t size)
{
    struct pool *pool = pool_of(size);
    if (pool != NULL && memory != NULL) {
        pool_give(pool, memory);
    } else {
        mem_free(memory);
    }
}
