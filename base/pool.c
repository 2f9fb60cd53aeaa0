#include "base/pool.h"

#include "base/assert.h"
#include "base/mem.h"

struct pool_block {
    struct pool_block *next;
};

void pool_init(struct pool *pool, size_t block_size, size_t spare_size_max)
{
    assert(block_size >= sizeof(struct pool_block));
    *pool =
        (struct pool){.block_size = block_size, .spare_count_max = MEM_IS_WATCHED ? 0 : spare_size_max / block_size};
}

static void free_one(struct pool *pool)
{
    struct pool_block *block = pool->spare;
    pool->spare = block->next;
    pool->spare_count--;
    mem_free(block);
}

void pool_deinit(struct pool *pool)
{
    while (pool->spare != NULL) {
        free_one(pool);
    }
    assert(pool->spare_count == 0);
}

void *pool_take(struct pool *pool)
{
    struct pool_block *block = pool->spare;
    if (block == NULL) {
        return mem_alloc_raw(pool->block_size);
    }
    pool->spare = block->next;
    pool->spare_count--;
    if (pool->unused_count > pool->spare_count) {
        pool->unused_count = pool->spare_count;
    }
    return block;
}

void pool_give(struct pool *pool, void *memory)
{
    struct pool_block *block = memory;
    if (pool->spare_count == pool->spare_count_max) {
        mem_free(block);
        return;
    }
    block->next = pool->spare;
    pool->spare = block;
    pool->spare_count++;
}

void pool_trim(struct pool *pool)
{
    for (; pool->unused_count > 0; pool->unused_count--) {
        free_one(pool);
    }
    pool->unused_count = pool->spare_count;
}
