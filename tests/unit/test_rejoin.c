/* A broker that drops its identity: what is set aside, and that a crash anywhere on the way is gone on from. */
#include "broker/rejoin.h"

#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/process.h"
#include "tests/lib/test.h"

enum {
    PATH_MAX_SIZE = 512
};

static const char *const PARTS[] = {"wal", "topics", "metadata", "local"};
static char *dir;

static void setup(void)
{
    dir = test_dir_make();
}

static void teardown(void)
{
    test_dir_remove(dir);
}

static void path_of(char *path, const char *parent, const char *name)
{
    (void)snprintf(path, PATH_MAX_SIZE, "%s/%s%s", dir, parent, name);
}

/* A directory with one file in it, named `what`. */
static void make(const char *parent, const char *name, const char *what)
{
    char path[PATH_MAX_SIZE];
    char file[PATH_MAX_SIZE + 32];
    struct errmsg msg;
    path_of(path, parent, name);
    ck_assert_int_eq(process_make_dir(path, &msg), OK);
    (void)snprintf(file, sizeof(file), "%s/%s", path, what);
    FILE *made = fopen(file, "w");
    ck_assert_ptr_nonnull(made);
    ck_assert_int_eq(fclose(made), 0);
}

static bool has(const char *parent, const char *name, const char *what)
{
    char path[PATH_MAX_SIZE];
    char file[PATH_MAX_SIZE + 32];
    path_of(path, parent, name);
    (void)snprintf(file, sizeof(file), "%s/%s", path, what);
    return access(file, F_OK) == 0;
}

static void finish(void)
{
    struct errmsg msg;
    enum err err = rejoin_finish(dir, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
}

/* Goal: all is set aside in one directory, and the new local store is in place, wherever a crash came. Method: each
 * count of parts moved before; with an earlier directory that is whole. */
START_TEST(a_crash_is_gone_on_from)
{
    bool is_second = _i >= 5;
    int moved = _i % 5;
    const char *aside = is_second ? "damaged-2/" : "damaged-1/";
    if (is_second) {
        make("damaged-1/", "local", "first");
    }
    for (int i = 0; i < 4; i++) {
        make(i < moved ? aside : "", PARTS[i], "old");
    }
    make("", "rejoin", "new");
    finish();
    for (int i = 0; i < 4; i++) {
        ck_assert_msg(has(aside, PARTS[i], "old"), "%s", PARTS[i]);
        ck_assert_msg(!has("", PARTS[i], "old"), "%s", PARTS[i]);
    }
    ck_assert(has("", "local", "new"));
    ck_assert(!has("", "rejoin", "new"));
    ck_assert(!is_second || has("damaged-1/", "local", "first"));
    finish();
    ck_assert(has("", "local", "new"));
}
END_TEST

/* Goal: nothing is touched without a decision. Method: a store that was being made when the process died. */
START_TEST(an_undecided_one_changes_nothing)
{
    make("", "wal", "old");
    make("", "local", "old");
    make("", "rejoin.new", "half");
    finish();
    ck_assert(has("", "wal", "old"));
    ck_assert(has("", "local", "old"));
}
END_TEST

static Suite *rejoin_suite(void)
{
    Suite *suite = suite_create("rejoin");
    TCase *tcase = tcase_create("rejoin");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, a_crash_is_gone_on_from, 0, 9);
    tcase_add_test(tcase, an_undecided_one_changes_nothing);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(rejoin_suite)
