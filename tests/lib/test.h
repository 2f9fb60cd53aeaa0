/* What every unit test starts from: the runner, a scratch directory, and a fault counter.
 *
 * A test file is one binary:
 *
 *     static Suite *segment_suite(void) { ... }
 *     TEST_MAIN(segment_suite)
 *
 * Runs on:  the test's own thread. Under a sanitizer `make check` sets CK_FORK=no, so all cases share one process and
 *           one leak check at its end; without it Check forks per case, and a case that dies leaves the others alone.
 * Options:  the binary takes no arguments; CK_RUN_CASE and CK_RUN_SUITE choose, CK_VERBOSITY=verbose names cases. */
#ifndef TESTS_LIB_TEST_H
#define TESTS_LIB_TEST_H

#include <stdbool.h>
#include <stddef.h>

#include <check.h>
/* Check's old name for ck_abort_msg(), which would hide the one of base/err.h. */
#undef fail
/* Check writes the place of each assertion that holds into a file, to tell the last one when a case dies of a signal.
 * Some tests make millions: half of their time, and more under a sanitizer, went there. The case is told all the same.
 */
#define _mark_point(file, line) ((void)0)

typedef Suite *(*test_suite_fn)(void);

/* Runs the suites and prints failures and Check's summary. Returns the process's exit status: 0 if all passed. */
int test_run(const test_suite_fn *suites, size_t count);

#define TEST_MAIN(...)                                                      \
    int main(void)                                                          \
    {                                                                       \
        const test_suite_fn suites[] = {__VA_ARGS__};                       \
        return test_run(suites, sizeof suites / sizeof suites[0]);          \
    }

/* A new empty directory, under $TEST_DIR or, without it, $TMPDIR or /tmp. Returns its absolute path, which the caller
 * gives back with test_dir_remove(). A failure to make it ends the test. */
char *test_dir_make(void);

/* Removes the directory and all that is in it, and frees `path`. Symbolic links are removed, never followed. */
void test_dir_remove(char *path);

/* Makes the n-th call of something fail. A sweep runs the same scenario with at = 1, 2, 3, ... until fault_was_hit()
 * is false: then the scenario has fewer calls than that, and every one of them has been made to fail once. */
struct fault {
    unsigned at;       /* in: the call that fails first, counted from 1; 0 never fails */
    unsigned repeat;   /* in: how many calls in a row fail; FAULT_FOREVER: all from then on */
    unsigned calls;    /* out: calls so far */
};
#define FAULT_FOREVER 0u

void fault_init(struct fault *fault, unsigned at, unsigned repeat);

/* Counts one call. Returns whether this one is to fail. */
bool fault_tick(struct fault *fault);

/* Whether a failure has been handed out. */
bool fault_was_hit(const struct fault *fault);

#endif
