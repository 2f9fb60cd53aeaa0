/* Happy path: main() of TEST_MAIN calls test_run(), which hands all suites to one Check runner.
 * Failure:    scratch directories abort the test, as nothing can be learned without one. */
#include "tests/lib/test.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    REMOVE_FILES_OPEN_MAX = 16
};

int test_run(const test_suite_fn *suites, size_t count)
{
    SRunner *runner = srunner_create(NULL);
    for (size_t i = 0; i < count; i++) {
        srunner_add_suite(runner, suites[i]());
    }
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static const char *scratch_root(void)
{
    const char *root = getenv("TEST_DIR");
    if (root == NULL || root[0] == '\0') {
        root = getenv("TMPDIR");
    }
    return root == NULL || root[0] == '\0' ? "/tmp" : root;
}

char *test_dir_make(void)
{
    char *path = NULL;
    if (asprintf(&path, "%s/balsa-test-XXXXXX", scratch_root()) < 0) {
        abort();
    }
    if (mkdtemp(path) == NULL) {
        (void)fprintf(stderr, "scratch directory %s: %s\n", path, strerror(errno));
        abort();
    }
    char *absolute = realpath(path, NULL);
    if (absolute == NULL) {
        abort();
    }
    free(path);
    return absolute;
}

static int remove_entry(const char *path, const struct stat *stat, int kind, struct FTW *ftw)
{
    (void)stat;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void test_dir_remove(char *path)
{
    if (nftw(path, remove_entry, REMOVE_FILES_OPEN_MAX, FTW_DEPTH | FTW_PHYS) != 0) {
        (void)fprintf(stderr, "remove %s: %s\n", path, strerror(errno));
        abort();
    }
    free(path);
}

void fault_init(struct fault *fault, unsigned at, unsigned repeat)
{
    *fault = (struct fault){.at = at, .repeat = repeat};
}

bool fault_tick(struct fault *fault)
{
    fault->calls++;
    if (fault->at == 0 || fault->calls < fault->at) {
        return false;
    }
    return fault->repeat == FAULT_FOREVER || fault->calls - fault->at < fault->repeat;
}

bool fault_was_hit(const struct fault *fault)
{
    return fault->at != 0 && fault->calls >= fault->at;
}
