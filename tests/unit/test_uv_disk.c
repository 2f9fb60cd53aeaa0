/* Files, durable writes and background reads of the libuv seam, on whatever file system $TEST_DIR is on. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/uv_env.h"
#include "tests/lib/test.h"

enum {
    WRITE_COUNT = 100
};

static struct uv_env *uv;
static struct env *env;
static struct disk *disk;
static char *dir;

static void setup(void)
{
    ck_assert_int_eq(uv_env_open(0, NULL, &uv, NULL), OK);
    env = uv_env_env(uv);
    disk = env->disk;
    dir = test_dir_make();
}

static void teardown(void)
{
    uv_env_close(uv);
    test_dir_remove(dir);
}

static const char *path_of(const char *name)
{
    static char paths[4][512];
    static size_t turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
    return path;
}

static int open_file(const char *name, unsigned flags)
{
    int file = -1;
    struct errmsg msg;
    enum err err = disk->open(disk, path_of(name), flags, &file, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    return file;
}

/* Goal: a gathered write longer than one system call's worth of fragments arrives whole. Method: 200 fragments of
 * growing size, empty ones among them, read back in one piece and past the end. */
START_TEST(gathered_write_is_read_back)
{
    enum {
        FRAGMENT_COUNT = 200
    };
    static uint8_t source[FRAGMENT_COUNT * FRAGMENT_COUNT];
    static uint8_t target[sizeof(source)];
    struct iovec iov[FRAGMENT_COUNT];
    size_t size = 0;
    for (size_t i = 0; i < FRAGMENT_COUNT; i++) {
        iov[i] = (struct iovec){.iov_base = source + size, .iov_len = i % 7 == 3 ? 0 : i};
        size += iov[i].iov_len;
    }
    for (size_t i = 0; i < size; i++) {
        source[i] = (uint8_t)(i * 31 + i / 251);
    }
    int file = open_file("a", DISK_CREATE);
    ck_assert_int_eq(disk->pwritev(disk, file, 10, iov, FRAGMENT_COUNT), OK);
    ck_assert_int_eq(disk->sync(disk, file), OK);
    uint64_t file_size;
    ck_assert_int_eq(disk->size(disk, file, &file_size), OK);
    ck_assert_uint_eq(file_size, size + 10);
    size_t got;
    ck_assert_int_eq(disk->pread(disk, file, 10, target, sizeof(target), &got), OK);
    ck_assert_uint_eq(got, size);
    ck_assert_mem_eq(target, source, size);
    memset(target, 0, sizeof(target));
    ck_assert_int_eq(disk->pread_nowait(disk, file, 10, target, 1000, &got), OK);
    ck_assert_uint_eq(got, 1000);
    ck_assert_mem_eq(target, source, 1000);
    ck_assert_int_eq(disk->pread_nowait(disk, file, file_size, target, 1000, &got), OK);
    ck_assert_uint_eq(got, 0);
    ck_assert_int_eq(disk->truncate(disk, file, 100), OK);
    ck_assert_int_eq(disk->pread(disk, file, 90, target, 1000, &got), OK);
    ck_assert_uint_eq(got, 10);
    disk->close(disk, file);
}
END_TEST

struct listing {
    size_t count;
    uint64_t size;
    bool has_directory;
};

static void listing_add(const char *name, uint64_t size, bool is_directory, void *context)
{
    struct listing *listing = context;
    listing->count++;
    if (is_directory) {
        ck_assert_str_eq(name, "x");
        listing->has_directory = true;
    } else {
        listing->size += size;
        ck_assert_int_eq(disk->unlink(disk, path_of(name)), OK);
    }
}

/* Goal: names behave as the contract says, errors included. */
START_TEST(names_are_made_moved_listed_and_removed)
{
    int file;
    struct errmsg msg;
    ck_assert_int_eq(disk->open(disk, path_of("none"), 0, &file, &msg), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(msg.text, path_of("none")));
    file = open_file("a", DISK_CREATE | DISK_EXCLUSIVE);
    ck_assert_int_eq(disk->truncate(disk, file, 1234), OK);
    disk->close(disk, file);
    ck_assert_int_eq(disk->open(disk, path_of("a"), DISK_CREATE | DISK_EXCLUSIVE, &file, NULL), ERR_EXISTS);
    ck_assert_int_eq(disk->mkdir(disk, path_of("x/y/z")), OK);
    ck_assert_int_eq(disk->mkdir(disk, path_of("x/y/z")), OK);
    ck_assert_int_eq(disk->mkdir(disk, path_of("a")), ERR_EXISTS);
    ck_assert_int_ne(disk->mkdir(disk, path_of("a/b")), OK);
    ck_assert_int_ne(disk->unlink(disk, path_of("x")), OK);
    ck_assert_int_eq(disk->unlink(disk, path_of("x/y/z")), OK);
    ck_assert_int_eq(disk->rename(disk, path_of("a"), path_of("b")), OK);
    ck_assert_int_eq(disk->rename(disk, path_of("a"), path_of("b")), ERR_NOT_FOUND);
    ck_assert_int_eq(disk->link(disk, path_of("b"), path_of("a")), OK);
    ck_assert_int_eq(disk->link(disk, path_of("b"), path_of("a")), ERR_EXISTS);
    ck_assert_int_eq(disk->link(disk, path_of("none"), path_of("c")), ERR_NOT_FOUND);
    ck_assert_int_eq(disk->link(disk, path_of("x"), path_of("c")), ERR_UNSUPPORTED);
    ck_assert_int_eq(disk->unlink(disk, path_of("a")), OK);
    ck_assert_int_eq(disk->sync_dir(disk, dir), OK);
    ck_assert_int_eq(disk->sync_dir(disk, path_of("none")), ERR_NOT_FOUND);
    file = open_file("b", DISK_READ_ONLY);
    struct iovec iov = {.iov_base = (char[]){"x"}, .iov_len = 1};
    ck_assert_int_ne(disk->pwritev(disk, file, 0, &iov, 1), OK);
    disk->close(disk, file);
    struct listing listing = {0};
    ck_assert_int_eq(disk->list(disk, dir, listing_add, &listing), OK);
    ck_assert_uint_eq(listing.count, 2);
    ck_assert_uint_eq(listing.size, 1234);
    ck_assert(listing.has_directory);
    ck_assert_int_eq(disk->open(disk, path_of("b"), 0, &file, NULL), ERR_NOT_FOUND);
    uint64_t free_size = 0;
    ck_assert_int_eq(disk->free_space(disk, dir, &free_size), OK);
    ck_assert_uint_gt(free_size, 0);
}
END_TEST

static struct disk_write writes[WRITE_COUNT];
static size_t write_count; /* callbacks so far */
static enum err write_errs[WRITE_COUNT];

static void write_on_done(struct disk_write *req, enum err err)
{
    ck_assert_ptr_eq(req, &writes[write_count]);
    write_errs[write_count] = err;
    write_count++;
}

static void write_all(int file, uint8_t *blocks, size_t count)
{
    write_count = 0;
    for (size_t i = 0; i < count; i++) {
        writes[i] = (struct disk_write){
            .file = file,
            .position = i * DISK_ALIGNMENT,
            .bytes = {blocks + i * DISK_ALIGNMENT, DISK_ALIGNMENT},
            .cb = write_on_done,
        };
        disk->write(disk, &writes[i]);
        ck_assert_uint_eq(write_count, 0);
    }
    uv_env_stop(uv);
    uv_env_run(uv);
    ck_assert_uint_eq(write_count, count);
}

/* Goal: durable writes complete in order, through an O_DSYNC file, and a stopped loop waits for them. Method: a hundred
 * blocks at once, read back through another descriptor. */
START_TEST(durable_writes_complete_in_order)
{
    uint8_t *blocks = mem_aligned(DISK_ALIGNMENT, (size_t)WRITE_COUNT * DISK_ALIGNMENT);
    uint8_t block[DISK_ALIGNMENT];
    int file = open_file("wal", DISK_CREATE | DISK_DIRECT);
    ck_assert_int_ne(fcntl(file, F_GETFL) & O_DSYNC, 0);
    for (size_t i = 0; i < (size_t)WRITE_COUNT * DISK_ALIGNMENT; i++) {
        blocks[i] = (uint8_t)(i / DISK_ALIGNMENT + i);
    }
    write_all(file, blocks, WRITE_COUNT);
    disk->close(disk, file);
    file = open_file("wal", DISK_READ_ONLY);
    for (size_t i = 0; i < WRITE_COUNT; i++) {
        size_t got;
        ck_assert_int_eq(write_errs[i], OK);
        ck_assert_int_eq(disk->pread(disk, file, i * DISK_ALIGNMENT, block, sizeof(block), &got), OK);
        ck_assert_uint_eq(got, sizeof(block));
        ck_assert_mem_eq(block, blocks + i * DISK_ALIGNMENT, sizeof(block));
    }
    disk->close(disk, file);
    mem_free(blocks);
}
END_TEST

/* Goal: no durable write is called good after one that failed. Method: a file size limit makes the block beyond it fail
 * with EFBIG; then blocks below the limit follow. */
START_TEST(failed_durable_write_fails_all_later_ones)
{
    struct rlimit before;
    uint8_t *blocks = mem_aligned(DISK_ALIGNMENT, 10 * DISK_ALIGNMENT);
    int file = open_file("wal", DISK_CREATE | DISK_DIRECT);
    ck_assert_ptr_ne(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {.rlim_cur = 5 * DISK_ALIGNMENT, .rlim_max = before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    write_all(file, blocks, 10);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    for (size_t i = 0; i < 10; i++) {
        ck_assert_msg((write_errs[i] == OK) == (i < 5), "write %zu: %s", i, err_name(write_errs[i]));
    }
    write_all(file, blocks, 1);
    ck_assert_int_ne(write_errs[0], OK);
    disk->close(disk, file);
    mem_free(blocks);
}
END_TEST

static struct disk_read reads[3];
static size_t read_count;

static void read_on_done(struct disk_read *req, enum err err)
{
    read_count++;
    if (req == &reads[2]) {
        ck_assert_int_ne(err, OK);
        return;
    }
    ck_assert_int_eq(err, OK);
    ck_assert_uint_eq(req->got, req == &reads[0] ? 4 : 2);
    ck_assert_mem_eq(req->data, &"balsa"[req->position], req -> got);
}

/* Goal: background reads give what is there, short at the end of the file, an error on a bad descriptor. */
START_TEST(background_reads_answer)
{
    uint8_t data[3][4];
    int file = open_file("a", DISK_CREATE);
    struct iovec iov = {.iov_base = (char[]){"balsa"}, .iov_len = 5};
    ck_assert_int_eq(disk->pwritev(disk, file, 0, &iov, 1), OK);
    const int directory = open(dir, O_RDONLY);
    read_count = 0;
    for (size_t i = 0; i < 3; i++) {
        reads[i] = (struct disk_read){.file = i == 2 ? directory : file,
                                      .position = i == 1 ? 3 : 0,
                                      .data = data[i],
                                      .size = 4,
                                      .cb = read_on_done};
        disk->read(disk, &reads[i]);
    }
    ck_assert_uint_eq(read_count, 0);
    uv_env_stop(uv);
    uv_env_run(uv);
    ck_assert_uint_eq(read_count, 3);
    disk->close(disk, file);
    disk->close(disk, directory);
}
END_TEST

static Suite *uv_disk_suite(void)
{
    Suite *suite = suite_create("uv_disk");
    TCase *tcase = tcase_create("disk");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, gathered_write_is_read_back);
    tcase_add_test(tcase, names_are_made_moved_listed_and_removed);
    tcase_add_test(tcase, durable_writes_complete_in_order);
    tcase_add_test(tcase, failed_durable_write_fails_all_later_ones);
    tcase_add_test(tcase, background_reads_answer);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(uv_disk_suite)
