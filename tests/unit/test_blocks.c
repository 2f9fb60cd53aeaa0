/* Small blocks: what a thread keeps, and what it may be given. */
#include "base/blocks.h"
#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

#include <pthread.h>
#include <string.h>

/* Goal: a block that was given is the next one of its size, and of no other. Method: sizes on both sides of a step. */
START_TEST(the_latest_given_is_taken_first)
{
    blocks_open();
    void *small = block_take(BLOCK_STEP);
    void *larger = block_take(BLOCK_STEP + 1);
    memset(small, 1, block_room(BLOCK_STEP));
    memset(larger, 2, block_room(BLOCK_STEP + 1));
    block_give(small, BLOCK_STEP);
    block_give(larger, BLOCK_STEP + 1);
    void *again = block_take(BLOCK_STEP - 1);
    void *larger_again = block_take(2 * BLOCK_STEP);
    ck_assert(MEM_IS_WATCHED || (again == small && larger_again == larger));
    block_give(again, BLOCK_STEP - 1);
    block_give(larger_again, 2 * BLOCK_STEP);
    block_give(NULL, 5);
    blocks_close();
}
END_TEST

/* Goal: sizes that are not kept, and blocks taken before anything is kept, go back to the allocator or are kept,
 * without a byte lost. Method: AddressSanitizer and the leak check; every byte that is promised is written. */
START_TEST(any_size_at_any_time)
{
    static const size_t sizes[] = {1, BLOCK_STEP, BLOCK_SIZE_MAX - 1, BLOCK_SIZE_MAX, BLOCK_SIZE_MAX + 1, MIB(1)};
    void *blocks[array_count(sizes)];
    for (size_t i = 0; i < array_count(sizes); i++) {
        ck_assert_uint_ge(block_room(sizes[i]), sizes[i]);
        ck_assert(sizes[i] > BLOCK_SIZE_MAX || block_room(sizes[i]) % BLOCK_STEP == 0);
        blocks[i] = block_take(sizes[i]);
        memset(blocks[i], 3, block_room(sizes[i]));
    }
    blocks_open();
    for (size_t i = 0; i < array_count(sizes); i++) {
        block_give(blocks[i], sizes[i]);
        blocks[i] = block_take(sizes[i]);
        memset(blocks[i], 4, block_room(sizes[i]));
    }
    blocks_trim();
    blocks_trim();
    blocks_close();
    for (size_t i = 0; i < array_count(sizes); i++) {
        block_give(blocks[i], sizes[i]);
    }
}
END_TEST

static void *thread_give(void *block)
{
    blocks_open();
    block_give(block, 100);
    void *taken = block_take(100);
    ck_assert(MEM_IS_WATCHED || taken == block);
    block_give(taken, 100);
    blocks_close();
    return NULL;
}

/* Goal: a block may end in another thread. Method: that one keeps it, and frees it at its close. */
START_TEST(given_by_another_thread)
{
    pthread_t thread;
    blocks_open();
    ck_assert_int_eq(pthread_create(&thread, NULL, thread_give, block_take(100)), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    blocks_close();
}
END_TEST

static Suite *blocks_suite(void)
{
    Suite *suite = suite_create("blocks");
    TCase *tcase = tcase_create("blocks");
    tcase_add_test(tcase, the_latest_given_is_taken_first);
    tcase_add_test(tcase, any_size_at_any_time);
    tcase_add_test(tcase, given_by_another_thread);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(blocks_suite)
