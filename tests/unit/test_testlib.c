/* The helpers that the other tests lean on. */
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/test.h"

struct fault_case {
    const char *name;
    unsigned at;
    unsigned repeat;
    const char *calls; /* one letter per call: '.' passes, 'x' fails */
};

static const struct fault_case fault_cases[] = {
    {"never", 0, 1, "....."},
    {"first", 1, 1, "x...."},
    {"third", 3, 1, "..x.."},
    {"third and fourth", 3, 2, "..xx."},
    {"from the second on", 2, FAULT_FOREVER, ".xxxx"},
    {"beyond the end", 9, 1, "....."},
};

/* Goal: a sweep may rely on exactly the named calls failing. Method: patterns of five calls. */
START_TEST(fault_fails_exactly_the_calls_it_names)
{
    const struct fault_case *c = &fault_cases[_i];
    struct fault fault;
    fault_init(&fault, c->at, c->repeat);
    for (size_t i = 0; i < strlen(c->calls); i++) {
        ck_assert_msg(fault_tick(&fault) == (c->calls[i] == 'x'), "%s: call %zu", c->name, i + 1);
    }
    ck_assert_msg(fault_was_hit(&fault) == (strchr(c->calls, 'x') != NULL), "%s: hit", c->name);
}
END_TEST

/* Goal: a test leaves nothing behind and harms nothing outside. Method: a directory holding a nested file and a
 * symbolic link to a second directory; removing the first keeps the second. */
START_TEST(dir_remove_takes_all_within_and_nothing_outside)
{
    char *outside = test_dir_make();
    char *inside = test_dir_make();
    ck_assert_str_ne(outside, inside);
    ck_assert_int_eq(chdir(inside), 0);
    ck_assert_int_eq(mkdir("nested", 0700), 0);
    ck_assert_int_eq(symlink("nowhere", "nested/dangling"), 0);
    ck_assert_int_eq(symlink(outside, "link"), 0);
    ck_assert_int_eq(chdir("/"), 0);

    char gone[256];
    ck_assert_uint_lt(strlen(inside), sizeof gone);
    memcpy(gone, inside, strlen(inside) + 1);
    test_dir_remove(inside);
    ck_assert_int_ne(access(gone, F_OK), 0);
    ck_assert_int_eq(access(outside, F_OK), 0);
    test_dir_remove(outside);
}
END_TEST

static Suite *testlib_suite(void)
{
    Suite *suite = suite_create("testlib");
    TCase *fault = tcase_create("fault");
    tcase_add_loop_test(fault, fault_fails_exactly_the_calls_it_names, 0,
                        (int)(sizeof fault_cases / sizeof fault_cases[0]));
    suite_add_tcase(suite, fault);
    TCase *dir = tcase_create("dir");
    tcase_add_test(dir, dir_remove_takes_all_within_and_nothing_outside);
    suite_add_tcase(suite, dir);
    return suite;
}

TEST_MAIN(testlib_suite)
