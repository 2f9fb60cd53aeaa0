/* One request's memory: alignment, zeroes, the budget, and reuse. */
#include "base/arena.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

static bool is_filled(const uint8_t *data, size_t size, uint8_t byte)
{
    return size == 0 || (data[0] == byte && memcmp(data, data + 1, size - 1) == 0);
}

/* Goal: pieces of any size are zeroed, aligned to 16, and apart. Method: sizes around every chunk size, each piece
 * filled
 * with its number and all checked at the end; a second round over reset (dirty) memory. */
START_TEST(pieces_are_zeroed_aligned_and_apart)
{
    static const size_t sizes[] = {1,    15,   16,   17,   100,  2000, 2016, 2032, 2033,  4000,  4064,  5000,
                                   8000, 8191, 8192, 8193, 9000, 3,    0,    7,    65000, 65536, 70000, 1 << 20};
    uint8_t *pieces[array_count(sizes)];
    struct arena arena;
    arena_init(&arena, MIB(4));
    for (int round = 0; round < 3; round++) {
        size_t total = 0;
        for (size_t i = 0; i < array_count(sizes); i++) {
            size_t size = sizes[(i + (size_t)_i) % array_count(sizes)];
            pieces[i] = arena_alloc(&arena, size);
            ck_assert_ptr_nonnull(pieces[i]);
            ck_assert_uint_eq((uintptr_t)pieces[i] % 16, 0);
            ck_assert(is_filled(pieces[i], size, 0));
            memset(pieces[i], (int)i + 1, size);
            total += size;
            ck_assert_uint_ge(arena.used, total);
        }
        for (size_t i = 0; i < array_count(sizes); i++) {
            size_t size = sizes[(i + (size_t)_i) % array_count(sizes)];
            ck_assert(is_filled(pieces[i], size, (uint8_t)(i + 1)));
        }
        arena_reset(&arena);
        ck_assert_uint_eq(arena.used, 0);
    }
    arena_deinit(&arena);
}
END_TEST

/* Goal: the budget holds for every size, near the top of size_t too, and a refused piece costs nothing. */
START_TEST(budget_is_never_exceeded)
{
    struct arena arena;
    static const uint8_t data[200];
    arena_init(&arena, 100);
    ck_assert_ptr_null(arena_alloc(&arena, 101));
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX));
    ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX - 15));
    ck_assert_ptr_null(arena_text(&arena, (struct bytes){data, 100}));
    ck_assert_ptr_null(arena_copy(&arena, (struct bytes){data, 101}).data);
    ck_assert_uint_eq(arena.used, 0);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 90));
    ck_assert_ptr_null(arena_alloc(&arena, 16));
    ck_assert_ptr_null(arena_alloc(&arena, 0));
    arena_reset(&arena);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 96));
    arena_deinit(&arena);
    ck_assert_ptr_nonnull(arena_alloc(&arena, 96)); /* empty, with its budget as before */
    arena_deinit(&arena);
    arena_init(&arena, 0);
    ck_assert_ptr_null(arena_alloc(&arena, 0));
    ck_assert_ptr_null(arena_text(&arena, BYTES_NONE));
    arena_deinit(&arena);
}
END_TEST

/* Goal: copies are the caller's own; an empty one is not mistaken for a refusal. */
START_TEST(copies_are_whole)
{
    struct arena arena;
    char source[] = "topic";
    arena_init(&arena, KIB(1));
    struct bytes copy = arena_copy(&arena, bytes_from_text(source));
    char *text = arena_text(&arena, (struct bytes){(const uint8_t *)source, 3});
    source[0] = 'x';
    ck_assert(bytes_equal_text(copy, "topic"));
    ck_assert_str_eq(text, "top");
    ck_assert_str_eq(arena_text(&arena, BYTES_NONE), "");
    copy = arena_copy(&arena, BYTES_NONE);
    ck_assert_ptr_nonnull(copy.data);
    ck_assert_uint_eq(copy.size, 0);
    arena_deinit(&arena);
}
END_TEST

/* Goal: a reset arena serves the same request again without the heap. Method: the first piece comes from the same
 * place. */
START_TEST(reset_keeps_one_chunk)
{
    struct arena arena;
    arena_init(&arena, MIB(1));
    for (size_t i = 0; i < 100; i++) {
        ck_assert_ptr_nonnull(arena_alloc(&arena, 1000));
    }
    arena_reset(&arena);
    void *first = arena_alloc(&arena, 1000);
    arena_reset(&arena);
    ck_assert_ptr_eq(arena_alloc(&arena, 1000), first);
    arena_deinit(&arena);
}
END_TEST

/* Goal: the owner's memory is used first, for as long as it lasts, and is whole again after arena_deinit(). */
START_TEST(given_memory_comes_first)
{
    _Alignas(ARENA_ALIGNMENT) uint8_t memory[512];
    struct arena arena;
    for (int round = 0; round < 2; round++) {
        arena_init_with(&arena, KIB(64), memory, sizeof(memory));
        const uint8_t *first = arena_alloc(&arena, 100);
        ck_assert(first > memory && first < memory + sizeof(memory) - 100);
        ck_assert(is_filled(first, 100, 0));
        const uint8_t *other = arena_alloc(&arena, 600);
        ck_assert(other < memory || other >= memory + sizeof(memory));
        ck_assert_uint_eq(arena.used, 112 + 608);
        ck_assert_ptr_null(arena_alloc(&arena, KIB(64)));
        arena_deinit(&arena);
        memset(memory, 0xff, sizeof(memory));
    }
}
END_TEST

static Suite *arena_suite(void)
{
    Suite *suite = suite_create("arena");
    TCase *tcase = tcase_create("arena");
    tcase_add_loop_test(tcase, pieces_are_zeroed_aligned_and_apart, 0, 24);
    tcase_add_test(tcase, budget_is_never_exceeded);
    tcase_add_test(tcase, copies_are_whole);
    tcase_add_test(tcase, reset_keeps_one_chunk);
    tcase_add_test(tcase, given_memory_comes_first);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(arena_suite)
