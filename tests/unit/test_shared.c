/* Reference counts, slices, and the hand-over between threads. */
#include "base/shared.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

/* Goal: a slice outlives the reference it was made from, and empties itself on release. Method: AddressSanitizer and
 * its
 * leak check decide. */
START_TEST(slice_holds_its_block)
{
    struct shared *block = shared_new(100);
    memset(block->data, 'x', 100);
    struct slice slice = slice_of(block, 10, 20);
    struct slice other = slice_acquire(slice);
    ck_assert_uint_eq(block->references, 3);
    shared_release(block);
    slice_release(&slice);
    ck_assert_ptr_null(slice.block);
    ck_assert_uint_eq(slice.bytes.size, 0);
    ck_assert_uint_eq(other.bytes.size, 20);
    ck_assert_uint_eq(other.bytes.data[19], 'x');
    slice_release(&other);
    slice_release(&other);
    shared_release(NULL);
}
END_TEST

/* Goal: slices reach both ends of a block, also when they are empty; bytes that live elsewhere need no block. */
START_TEST(slices_at_the_edges)
{
    struct shared *block = shared_new(8);
    struct slice whole = slice_of(block, 0, 8);
    struct slice end = slice_of(block, 8, 0);
    ck_assert_ptr_eq(end.bytes.data, block->data + 8);
    slice_release(&whole);
    slice_release(&end);
    shared_release(block);
    struct shared *empty = shared_new(0);
    struct slice none = slice_of(empty, 0, 0);
    slice_release(&none);
    shared_release(empty);
    struct slice outside = slice_acquire((struct slice){NULL, bytes_from_text("static")});
    ck_assert(bytes_equal_text(outside.bytes, "static"));
    slice_release(&outside);
}
END_TEST

/* Goal: a block that is not shared yet can grow and shrink, and keeps its bytes; data is aligned to 16. */
START_TEST(unshared_block_is_resized)
{
    struct shared *block = shared_new(3);
    memcpy(block->data, "abc", 3);
    block = shared_resize(block, 100000);
    ck_assert_uint_eq(block->size, 100000);
    ck_assert_int_eq(memcmp(block->data, "abc", 3), 0);
    block->data[99999] = 1;
    block = shared_resize(block, 2);
    ck_assert_int_eq(memcmp(block->data, "ab", 2), 0);
    ck_assert_uint_eq((uintptr_t)block->data % 16, 0);
    shared_release(block);
}
END_TEST

enum {
    THREAD_COUNT = 4,
    ROUND_COUNT = 20000
};

static void *acquire_and_release(void *memory)
{
    struct shared *block = memory;
    unsigned sum = 0;
    for (unsigned i = 0; i < ROUND_COUNT; i++) {
        struct slice slice = slice_of(block, i % 64, 1);
        sum += slice.bytes.data[0];
        slice_release(&slice);
    }
    ck_assert_uint_eq(sum, ROUND_COUNT);
    shared_release(block); /* the last thread frees it */
    return NULL;
}

/* Goal: threads share a block without a lock, and whichever is last frees it after all others have read. Method: each
 * thread owns one reference; ThreadSanitizer sees the hand-over, AddressSanitizer the single release. */
START_TEST(last_of_many_threads_frees)
{
    pthread_t threads[THREAD_COUNT];
    struct shared *block = shared_new(64);
    memset(block->data, 1, 64);
    for (size_t i = 0; i < THREAD_COUNT; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, acquire_and_release, shared_acquire(block)), 0);
    }
    shared_release(block);
    for (size_t i = 0; i < THREAD_COUNT; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
}
END_TEST

/* Goal:   what a thread keeps has the sizes and the total it may have, is used again, and goes when it is not.
 * Method: addresses tell whether a block is the one of before. With AddressSanitizer nothing is kept: only contents
 *         and leaks are looked at then. */
START_TEST(freed_blocks_are_used_again)
{
    enum {
        COUNT = 40
    };
    struct shared *blocks[COUNT];
    shared_cache_open();
    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = shared_new(KIB(300) + KIB(10) * i);
        memset(blocks[i]->data, (int)i, blocks[i]->size);
    }
    for (size_t i = 0; i < COUNT; i++) {
        ck_assert_uint_eq(blocks[i]->data[blocks[i]->size - 1], i);
        shared_release(blocks[i]);
    }
    struct shared *small = shared_new(KIB(64));
    memset(small->data, 'a', small->size);
    struct shared *grown = shared_resize(small, KIB(600));
    ck_assert_uint_eq(grown->size, KIB(600));
    ck_assert_uint_eq(grown->data[0], 'a');
    ck_assert_uint_eq(grown->data[KIB(64) - 1], 'a');
    ck_assert(grown->capacity >= grown->size && grown->capacity - grown->size <= grown->size / 4);
    struct shared *large = shared_new(MIB(5));
    shared_release(large);
    shared_release(grown);
    for (int i = 0; i < 3; i++) {
        shared_cache_trim();
    }
    shared_release(shared_new(KIB(256)));
    shared_cache_close();
    shared_release(shared_new(KIB(256)));
}
END_TEST

static Suite *shared_suite(void)
{
    Suite *suite = suite_create("shared");
    TCase *tcase = tcase_create("shared");
    tcase_add_test(tcase, slice_holds_its_block);
    tcase_add_test(tcase, slices_at_the_edges);
    tcase_add_test(tcase, unshared_block_is_resized);
    tcase_add_test(tcase, last_of_many_threads_frees);
    tcase_add_test(tcase, freed_blocks_are_used_again);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(shared_suite)
