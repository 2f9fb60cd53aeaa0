/* Blocks of one size, kept for reuse. */
#include "base/pool.h"

#include <string.h>

#include "base/mem.h"
#include "tests/lib/test.h"

enum {
    BLOCK_SIZE = 1000,
    SPARE_MAX = 4,
};

static bool keeps(const struct pool *pool)
{
    return pool->spare_count_max > 0;
}

/* Goal:   the block given back last is the one taken first, and no more than spare_size_max is kept.
 * Method: blocks are taken, filled, given back and taken again; leaks are the sanitizers' to find. */
START_TEST(latest_is_taken_first)
{
    struct pool pool;
    void *blocks[SPARE_MAX + 3];
    pool_init(&pool, BLOCK_SIZE, SPARE_MAX * BLOCK_SIZE + 1);
    for (size_t i = 0; i < array_count(blocks); i++) {
        blocks[i] = pool_take(&pool);
        memset(blocks[i], (int)i, BLOCK_SIZE);
    }
    for (size_t i = 0; i < array_count(blocks); i++) {
        ck_assert_uint_eq(((uint8_t *)blocks[i])[BLOCK_SIZE - 1], i);
        pool_give(&pool, blocks[i]);
    }
    ck_assert_uint_eq(pool.spare_count, keeps(&pool) ? SPARE_MAX : 0);
    for (size_t i = 0; keeps(&pool) && i < SPARE_MAX; i++) {
        void *block = pool_take(&pool);
        ck_assert_ptr_eq(block, blocks[SPARE_MAX - 1 - i]);
        mem_free(block);
    }
    ck_assert_uint_eq(pool.spare_count, 0);
    pool_deinit(&pool);
}
END_TEST

/* Goal: pool_trim() frees what was spare all the time since the call before, and nothing that was used meanwhile. */
START_TEST(unused_blocks_go)
{
    struct pool pool;
    void *blocks[SPARE_MAX];
    pool_init(&pool, BLOCK_SIZE, SPARE_MAX * BLOCK_SIZE);
    for (size_t i = 0; i < SPARE_MAX; i++) {
        blocks[i] = pool_take(&pool);
    }
    for (size_t i = 0; i < SPARE_MAX; i++) {
        pool_give(&pool, blocks[i]);
    }
    size_t kept = keeps(&pool) ? SPARE_MAX : 0;
    pool_trim(&pool);
    ck_assert_uint_eq(pool.spare_count, kept);
    pool_give(&pool, pool_take(&pool));
    pool_trim(&pool);
    ck_assert_uint_eq(pool.spare_count, keeps(&pool) ? 1 : 0);
    pool_trim(&pool);
    ck_assert_uint_eq(pool.spare_count, 0);
    pool_trim(&pool);
    pool_give(&pool, pool_take(&pool));
    pool_deinit(&pool);
}
END_TEST

static Suite *pool_suite(void)
{
    Suite *suite = suite_create("pool");
    TCase *tcase = tcase_create("pool");
    tcase_add_test(tcase, latest_is_taken_first);
    tcase_add_test(tcase, unused_blocks_go);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(pool_suite)
