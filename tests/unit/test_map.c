/* The hash map against a model, over key patterns that weak mixing would pile up. */
#include "base/map.h"

#include <stdlib.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

static uint64_t next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 20;
}

static void *value_of(uint64_t number)
{
    return (void *)(uintptr_t)(number + 1);
}

/* Goal: an empty map answers everything, and holds no memory. */
START_TEST(empty_map_answers)
{
    struct map map;
    size_t cursor = 0;
    uint64_t key;
    map_init(&map);
    ck_assert_ptr_null(map_get(&map, 0));
    ck_assert_ptr_null(map_remove(&map, UINT64_MAX));
    ck_assert_ptr_null(map_next(&map, &cursor, &key));
    ck_assert_ptr_null(map.slots);
    map_deinit(&map);
}
END_TEST

/* Goal: get, put, replace and remove agree with a model at any moment. Method: random work on few keys, so that they
 * come and go often, with a full comparison now and then; keys include both ends of the range. */
START_TEST(map_agrees_with_model)
{
    enum {
        KEY_COUNT = 300
    };
    void *model[KEY_COUNT] = {NULL};
    uint64_t random = (uint64_t)_i + 1;
    uint64_t factor = (uint64_t[]){1, 4096, UINT64_C(1) << 32, UINT64_C(1) << 56, UINT64_MAX}[_i % 5];
    struct map map;
    map_init(&map);
    size_t count = 0;
    for (unsigned step = 0; step < 5000; step++) {
        uint64_t number = next(&random) % KEY_COUNT;
        uint64_t key = number * factor;
        if (factor == UINT64_C(1) << 56 && number > 255) {
            continue; /* would be the same key again */
        }
        switch (next(&random) % 3) {
        case 0:
            count += model[number] == NULL;
            model[number] = value_of(step);
            map_put(&map, key, model[number]);
            break;
        case 1:
            ck_assert_ptr_eq(map_remove(&map, key), model[number]);
            count -= model[number] != NULL;
            model[number] = NULL;
            break;
        default:
            ck_assert_ptr_eq(map_get(&map, key), model[number]);
            break;
        }
        ck_assert_uint_eq(map.count, count);
        ck_assert(map.used < map.capacity || map.capacity == 0);
    }
    size_t seen = 0;
    size_t cursor = 0;
    uint64_t key;
    for (void *value; (value = map_next(&map, &cursor, &key)) != NULL; seen++) {
        ck_assert_ptr_eq(value, model[factor == UINT64_MAX ? 0 - key : key / factor]);
    }
    ck_assert_uint_eq(seen, count);
    ck_assert_uint_le(map.capacity, 1024); /* coming and going does not make it grow */
    map_deinit(&map);
}
END_TEST

/* Goal: the entry just returned may be removed, and every other one is still visited once. */
START_TEST(removal_during_iteration_skips_nothing)
{
    enum {
        KEY_COUNT = 5000
    };
    struct map map;
    uint8_t seen[KEY_COUNT] = {0};
    size_t cursor = 0;
    uint64_t key;
    map_init(&map);
    for (uint64_t i = 0; i < KEY_COUNT; i++) {
        map_put(&map, i, value_of(i));
    }
    while (map_next(&map, &cursor, &key) != NULL) {
        seen[key]++;
        if (key % 3 != (uint64_t)_i) {
            ck_assert_ptr_eq(map_remove(&map, key), value_of(key));
        }
    }
    for (uint64_t i = 0; i < KEY_COUNT; i++) {
        ck_assert_uint_eq(seen[i], 1);
        ck_assert_ptr_eq(map_get(&map, i), i % 3 == (uint64_t)_i ? value_of(i) : NULL);
    }
    map_deinit(&map);
}
END_TEST

/* Goal: emptied, it has no tombstones left to slow down a miss. */
START_TEST(emptied_map_has_no_tombstones)
{
    struct map map;
    map_init(&map);
    for (uint64_t i = 0; i < 1000; i++) {
        map_put(&map, i << 40, value_of(i));
    }
    for (uint64_t i = 0; i < 1000; i++) {
        ck_assert_ptr_eq(map_remove(&map, i << 40), value_of(i));
    }
    ck_assert_uint_eq(map.count, 0);
    ck_assert_uint_eq(map.used, 0);
    map_deinit(&map);
}
END_TEST

/* Goal: keys as they occur (consecutive, multiples of powers of two) do not pile up. Method: the longest run of used
 * slots
 * bounds every probe; it stays small for each stride. */
START_TEST(regular_keys_spread)
{
    unsigned shift = (unsigned)_i;
    struct map map;
    map_init(&map);
    for (uint64_t i = 0; i < 6000; i++) {
        map_put(&map, i << shift, value_of(i));
    }
    /* The cursor's position before and after a step tells how the slots lie. */
    size_t run = 0;
    size_t run_max = 0;
    size_t before = 0;
    size_t cursor = 0;
    uint64_t key;
    while (map_next(&map, &cursor, &key) != NULL) {
        run = cursor == before + 1 ? run + 1 : 1;
        run_max = run > run_max ? run : run_max;
        before = cursor;
    }
    ck_assert_msg(run_max < 200, "stride 2^%u: %zu slots in a row", shift, run_max);
    map_deinit(&map);
}
END_TEST

static Suite *map_suite(void)
{
    Suite *suite = suite_create("map");
    TCase *tcase = tcase_create("map");
    tcase_add_test(tcase, empty_map_answers);
    tcase_add_loop_test(tcase, map_agrees_with_model, 0, 20);
    tcase_add_loop_test(tcase, removal_during_iteration_skips_nothing, 0, 3);
    tcase_add_test(tcase, emptied_map_has_no_tombstones);
    tcase_add_loop_test(tcase, regular_keys_spread, 0, 52);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(map_suite)
