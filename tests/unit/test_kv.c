/* The store over LMDB: the cases of every store, and what only a real one can show: processes that die, threads, files
 * that are not stores, a device that refuses. */
#include "base/kv.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/kv_cases.h"

/* Goal: an empty store can be copied, and so can one whose pages were mostly freed. */
START_TEST(copy_of_empty_and_of_shrunken_stores)
{
    char *path = NULL;
    ck_assert_int_gt(asprintf(&path, "%s/copy", case_dir), 0);
    ck_assert_int_eq(kv_copy(case_kv, path, NULL), OK);
    struct kv *copy = case_open(path, MIB(16));
    kv_close(copy);
    free(path);

    static const uint8_t block[5000];
    struct kv_txn *txn;
    char memory[16];
    for (int is_delete = 0; is_delete < 2; is_delete++) {
        ck_assert_int_eq(kv_begin_write(case_kv, &txn), OK);
        for (unsigned i = 0; i < 600; i++) {
            (void)snprintf(memory, sizeof memory, "%u/%04u", i % 3, i);
            struct bytes key = case_text(memory);
            ck_assert_int_eq(is_delete ? kv_delete(txn, key) : kv_put(txn, key, (struct bytes){block, sizeof block}),
                             OK);
        }
        ck_assert_int_eq(kv_commit(txn, NULL), OK);
    }
    case_put_now("key", "value");
    ck_assert_int_gt(asprintf(&path, "%s/copy2", case_dir), 0);
    ck_assert_int_eq(kv_copy(case_kv, path, NULL), OK);
    struct kv *original = case_kv;
    case_kv = case_open(path, MIB(16));
    ck_assert_str_eq(case_get_now("key"), "value");
    kv_close(case_kv);
    case_kv = original;
    char *file = NULL;
    struct stat small;
    ck_assert_int_gt(asprintf(&file, "%s/data.mdb", path), 0);
    ck_assert_int_eq(stat(file, &small), 0);
    ck_assert_int_lt(small.st_size, (long)KIB(64));
    free(file);
    free(path);
}
END_TEST

/* Goal: the second opening in a process is refused, and allowed again after a close. */
START_TEST(second_opening_in_a_process_is_refused)
{
    struct errmsg msg;
    struct kv *second = NULL;
    char *path = NULL;
    ck_assert_int_gt(asprintf(&path, "%s/../%s", case_dir, strrchr(case_dir, '/') + 1), 0);
    ck_assert_int_eq(kv_open(path, MIB(1), KV_DURABLE, &second, &msg), ERR_EXISTS);
    ck_assert_ptr_nonnull(strstr(msg.text, "in this process"));
    ck_assert_ptr_null(second);
    case_put_now("key", "value");
    kv_close(case_kv);
    case_kv = case_open(path, MIB(1));
    ck_assert_str_eq(case_get_now("key"), "value");
    free(path);
}
END_TEST

/* Goal: what cannot be a store is refused with a text that names it, and leaks nothing. */
START_TEST(opening_refuses_what_is_not_a_store)
{
    struct errmsg msg;
    struct kv *none = NULL;
    char *path = NULL;
    ck_assert_int_gt(asprintf(&path, "%s/foreign", case_dir), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    char *file = NULL;
    ck_assert_int_gt(asprintf(&file, "%s/data.mdb", path), 0);
    FILE *stream = fopen(file, "w");
    for (int i = 0; i < 20000; i++) {
        (void)fputc(i % 251, stream);
    }
    (void)fclose(stream);
    ck_assert_int_eq(kv_open(path, MIB(1), KV_DURABLE, &none, &msg), ERR_CORRUPT);
    ck_assert_ptr_nonnull(strstr(msg.text, path));
    ck_assert_int_eq(kv_open(path, MIB(1), KV_DURABLE, &none, NULL), ERR_CORRUPT);
    free(file);
    free(path);
}
END_TEST

/* Goal: a writer killed at any moment leaves the last commit, and its lock and reader slots hold up nobody. Method: a
 * child commits a counter twice over in one transaction; it is killed after a growing number of commits. */
START_TEST(killed_writer_leaves_the_last_commit)
{
    kv_close(case_kv);
    int channel[2];
    ck_assert_int_eq(pipe(channel), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct kv_txn *reader;
        struct kv_txn *txn;
        case_kv = case_open(case_dir, MIB(16));
        if (kv_begin_read(case_kv, &reader) != OK) {
            _exit(1);
        }
        for (uint32_t i = 1;; i++) {
            struct bytes value = {(const uint8_t *)&i, sizeof i};
            if (kv_begin_write(case_kv, &txn) != OK || kv_put(txn, case_text("first"), value) != OK ||
                kv_put(txn, case_text("second"), value) != OK || kv_commit(txn, NULL) != OK ||
                write(channel[1], &i, sizeof i) != sizeof i) {
                _exit(1);
            }
        }
    }
    uint32_t seen = 0;
    for (int i = 0; i < 5 + 7 * _i; i++) {
        ck_assert_int_eq(read(channel[0], &seen, sizeof seen), (int)sizeof seen);
    }
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    (void)close(channel[0]);
    (void)close(channel[1]);

    case_kv = case_open(case_dir, MIB(16));
    struct kv_txn *txn;
    struct bytes first;
    struct bytes second;
    ck_assert_int_eq(kv_begin_write(case_kv, &txn), OK);
    ck_assert_int_eq(kv_get(txn, case_text("first"), &first), OK);
    ck_assert_int_eq(kv_get(txn, case_text("second"), &second), OK);
    ck_assert(bytes_equal(first, second));
    uint32_t value;
    memcpy(&value, first.data, sizeof value);
    ck_assert_uint_ge(value, seen);
    kv_abort(txn);
}
END_TEST

enum {
    THREAD_COMMIT_COUNT = 150
};
static atomic_bool is_done;

static void *write_pairs(void *unused)
{
    (void)unused;
    for (uint32_t i = 0; i < THREAD_COMMIT_COUNT; i++) {
        struct kv_txn *txn;
        struct bytes old;
        uint32_t value = 0;
        ck_assert_int_eq(kv_begin_write(case_kv, &txn), OK);
        if (kv_get(txn, case_text("first"), &old) == OK) {
            memcpy(&value, old.data, sizeof value);
        }
        value++;
        ck_assert_int_eq(kv_put(txn, case_text("first"), (struct bytes){(const uint8_t *)&value, sizeof value}), OK);
        ck_assert_int_eq(kv_put(txn, case_text("second"), (struct bytes){(const uint8_t *)&value, sizeof value}), OK);
        ck_assert_int_eq(kv_commit(txn, NULL), OK);
    }
    return NULL;
}

static void *read_pairs(void *unused)
{
    (void)unused;
    struct kv_txn *txn;
    uint32_t before = 0;
    ck_assert_int_eq(kv_begin_read(case_kv, &txn), OK);
    while (!atomic_load(&is_done)) {
        struct bytes first;
        struct bytes second;
        ck_assert_int_eq(kv_renew(txn), OK);
        if (kv_get(txn, case_text("first"), &first) == OK) {
            uint32_t value;
            ck_assert_int_eq(kv_get(txn, case_text("second"), &second), OK);
            ck_assert(bytes_equal(first, second));
            memcpy(&value, first.data, sizeof value);
            ck_assert_uint_ge(value, before);
            before = value;
        }
        kv_reset(txn);
    }
    kv_abort(txn);
    return NULL;
}

/* Goal: two writers exclude one another and readers see whole transactions only. Method: both writers count up the same
 * pair of keys while two readers compare it. */
START_TEST(threads_see_whole_transactions)
{
    pthread_t writers[2];
    pthread_t readers[2];
    atomic_store(&is_done, false);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_create(&writers[i], NULL, write_pairs, NULL), 0);
        ck_assert_int_eq(pthread_create(&readers[i], NULL, read_pairs, NULL), 0);
    }
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_join(writers[i], NULL), 0);
    }
    atomic_store(&is_done, true);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(pthread_join(readers[i], NULL), 0);
    }
    struct kv_txn *txn;
    struct bytes value;
    uint32_t count;
    ck_assert_int_eq(kv_begin_read(case_kv, &txn), OK);
    ck_assert_int_eq(kv_get(txn, case_text("first"), &value), OK);
    memcpy(&count, value.data, sizeof count);
    ck_assert_uint_eq(count, 2 * THREAD_COMMIT_COUNT);
    kv_abort(txn);
}
END_TEST

/* Goal: a commit that the device refuses returns its error, stores nothing of the transaction, and the next one works.
 * Method: a limit on file size makes the write of new pages fail, as a broken disk does. */
START_TEST(commit_that_cannot_write_fails_as_a_whole)
{
    static const uint8_t block[100000];
    struct rlimit before;
    struct kv_txn *txn;
    struct errmsg msg;
    case_put_now("key", "value");
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit low = {KIB(32), before.rlim_max};
    ck_assert_int_eq(kv_begin_write(case_kv, &txn), OK);
    case_put(txn, "key", "changed");
    ck_assert_int_eq(kv_put(txn, case_text("large"), (struct bytes){block, sizeof block}), OK);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
    enum err err = kv_commit(txn, &msg);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, SIG_DFL);
    ck_assert_int_eq(err, ERR_IO);
    ck_assert_ptr_nonnull(strstr(msg.text, "commit to store"));
    ck_assert_str_eq(case_get_now("key"), "value");
    ck_assert_str_eq(case_get_now("large"), "ERR_NOT_FOUND");
    case_put_now("key", "later");
    ck_assert_str_eq(case_get_now("key"), "later");
}
END_TEST

static const struct case_place files = {.make = test_dir_make, .remove = test_dir_remove};

static Suite *kv_suite(void)
{
    Suite *suite = suite_create("kv");
    TCase *tcase = case_all(&files);
    tcase_add_test(tcase, copy_of_empty_and_of_shrunken_stores);
    tcase_add_test(tcase, second_opening_in_a_process_is_refused);
    tcase_add_test(tcase, opening_refuses_what_is_not_a_store);
    tcase_add_loop_test(tcase, killed_writer_leaves_the_last_commit, 0, 5);
    tcase_add_test(tcase, threads_see_whole_transactions);
    tcase_add_test(tcase, commit_that_cannot_write_fails_as_a_whole);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(kv_suite)
