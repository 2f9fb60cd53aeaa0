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

static Suite *shared_suite(void)
{
    Suite *suite = suite_create("shared");
    TCase *tcase = tcase_create("shared");
    tcase_add_test(tcase, slice_holds_its_block);
    tcase_add_test(tcase, slices_at_the_edges);
    tcase_add_test(tcase, unshared_block_is_resized);
    tcase_add_test(tcase, last_of_many_threads_frees);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(shared_suite)
