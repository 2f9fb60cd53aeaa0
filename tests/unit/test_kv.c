/* The store: transactions, lifetimes and limits, a model to compare random work with, and what a killed writer or a
 * full map leaves behind. */
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
#include "tests/lib/test.h"

static char *dir;
static struct kv *kv;

static struct kv *open_at(const char *path, size_t size_max)
{
    struct kv *opened = NULL;
    struct errmsg msg;
    enum err err = kv_open(path, size_max, KV_ORDERED, &opened, &msg);
    ck_assert_msg(err == OK, "%s: %s", err_name(err), err == OK ? "" : msg.text);
    return opened;
}

static void setup(void)
{
    dir = test_dir_make();
    kv = open_at(dir, MIB(16));
}

static void teardown(void)
{
    kv_close(kv);
    test_dir_remove(dir);
}

static struct bytes text(const char *value)
{
    return bytes_from_text(value);
}

static void put(struct kv_txn *txn, const char *key, const char *value)
{
    ck_assert_int_eq(kv_put(txn, text(key), text(value)), OK);
}

static void put_now(const char *key, const char *value)
{
    struct kv_txn *txn;
    ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
    put(txn, key, value);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
}

/* "value" or the name of the error. */
static const char *get(struct kv_txn *txn, const char *key)
{
    static char copy[64];
    struct bytes value;
    enum err err = kv_get(txn, text(key), &value);
    if (err != OK) {
        return err_name(err);
    }
    (void)snprintf(copy, sizeof copy, "%.*s", (int)value.size, (const char *)value.data);
    return copy;
}

static const char *get_now(const char *key)
{
    struct kv_txn *txn;
    ck_assert_int_eq(kv_begin_read(kv, &txn), OK);
    const char *value = get(txn, key);
    kv_abort(txn);
    return value;
}

/* Goal: what is committed is there in a new process's view; what is aborted is not. Method: commit one
 * key, abort another, close, open again. */
START_TEST(commit_survives_reopening_and_abort_does_not)
{
    struct kv_txn *txn;
    put_now("kept", "1");
    ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
    put(txn, "lost", "2");
    put(txn, "kept", "3");
    ck_assert_str_eq(get(txn, "kept"), "3");
    kv_abort(txn);
    ck_assert_int_eq(kv_sync(kv, NULL), OK);
    kv_close(kv);
    kv = open_at(dir, MIB(16));
    ck_assert_str_eq(get_now("kept"), "1");
    ck_assert_str_eq(get_now("lost"), "ERR_NOT_FOUND");
}
END_TEST

/* Goal: a reader sees one moment, however much is committed meanwhile, and the newest one after a renewal. */
START_TEST(reader_keeps_its_snapshot_until_renewed)
{
    struct kv_txn *reader;
    put_now("key", "old");
    ck_assert_int_eq(kv_begin_read(kv, &reader), OK);
    put_now("key", "new");
    ck_assert_str_eq(get(reader, "key"), "old");
    kv_reset(reader);
    ck_assert_int_eq(kv_renew(reader), OK);
    ck_assert_str_eq(get(reader, "key"), "new");
    put_now("key", "newest");
    ck_assert_int_eq(kv_renew(reader), OK); /* without a reset of its own */
    ck_assert_str_eq(get(reader, "key"), "newest");
    kv_reset(reader);
    kv_abort(reader);
}
END_TEST

/* Goal: a thread may hold several read transactions beside its write transaction. */
START_TEST(one_thread_holds_many_transactions)
{
    struct kv_txn *readers[100];
    struct kv_txn *writer;
    for (size_t i = 0; i < array_count(readers); i++) {
        ck_assert_int_eq(kv_begin_read(kv, &readers[i]), OK);
    }
    ck_assert_int_eq(kv_begin_write(kv, &writer), OK);
    put(writer, "key", "value");
    ck_assert_int_eq(kv_commit(writer, NULL), OK);
    for (size_t i = 0; i < array_count(readers); i++) {
        ck_assert_str_eq(get(readers[i], "key"), "ERR_NOT_FOUND");
        kv_abort(readers[i]);
    }
}
END_TEST

/* Goal: readers beyond the table are refused, and served again once others have ended. */
START_TEST(too_many_readers_are_refused)
{
    struct kv_txn *readers[1024];
    size_t count = 0;
    enum err err = OK;
    while (count < array_count(readers) && (err = kv_begin_read(kv, &readers[count])) == OK) {
        count++;
    }
    ck_assert_int_eq(err, ERR_BUSY);
    ck_assert_uint_eq(count, 256);
    kv_abort(readers[--count]);
    ck_assert_int_eq(kv_begin_read(kv, &readers[count++]), OK);
    while (count > 0) {
        kv_abort(readers[--count]);
    }
}
END_TEST

/* Goal: key sizes are checked at both ends, in every call, and a refused key does no harm to the transaction. */
START_TEST(keys_are_1_to_511_bytes)
{
    static const uint8_t zeros[KV_KEY_SIZE_MAX + 1];
    struct bytes longest = {zeros, KV_KEY_SIZE_MAX};
    struct bytes wrong[] = {BYTES_NONE, {zeros, 0}, {zeros, KV_KEY_SIZE_MAX + 1}};
    struct kv_txn *txn;
    struct bytes value;
    ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
    for (size_t i = 0; i < array_count(wrong); i++) {
        ck_assert_int_eq(kv_put(txn, wrong[i], text("x")), ERR_INVALID);
        ck_assert_int_eq(kv_get(txn, wrong[i], &value), ERR_INVALID);
        ck_assert_int_eq(kv_delete(txn, wrong[i]), ERR_INVALID);
    }
    struct kv_cursor *cursor;
    ck_assert_int_eq(kv_cursor_open(txn, wrong[2], BYTES_NONE, &cursor), ERR_INVALID);
    ck_assert_int_eq(kv_cursor_open(txn, BYTES_NONE, wrong[2], &cursor), ERR_INVALID);
    ck_assert_int_eq(kv_put(txn, longest, text("x")), OK);
    ck_assert_int_eq(kv_put(txn, (struct bytes){zeros, 1}, BYTES_NONE), OK);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
    ck_assert_int_eq(kv_begin_read(kv, &txn), OK);
    ck_assert_int_eq(kv_get(txn, longest, &value), OK);
    ck_assert_int_eq(kv_get(txn, (struct bytes){zeros, 1}, &value), OK);
    ck_assert_uint_eq(value.size, 0);
    ck_assert_int_eq(kv_cursor_open(txn, longest, longest, &cursor), OK);
    struct bytes key;
    ck_assert_int_eq(kv_cursor_next(cursor, &key, &value), OK);
    ck_assert_int_eq(kv_cursor_next(cursor, &key, &value), ERR_NOT_FOUND);
    kv_cursor_close(cursor);
    kv_abort(txn);
}
END_TEST

/* Goal: values far above a page come back whole. */
START_TEST(large_values_are_kept_whole)
{
    struct bytes value;
    struct kv_txn *txn;
    size_t size = MIB(3) + 17;
    uint8_t *data = mem_alloc(size);
    for (size_t i = 0; i < size; i++) {
        data[i] = (uint8_t)(i * 31 >> 3);
    }
    ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
    ck_assert_int_eq(kv_put(txn, text("large"), (struct bytes){data, size}), OK);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
    ck_assert_int_eq(kv_begin_read(kv, &txn), OK);
    ck_assert_int_eq(kv_get(txn, text("large"), &value), OK);
    ck_assert(bytes_equal(value, (struct bytes){data, size}));
    kv_abort(txn);
    mem_free(data);
}
END_TEST

/* Goal: a full store refuses the transaction as a whole, keeps what it had, and serves again once something was
 * deleted.
 * Method: fill one transaction until a put fails, then look, delete, and write again. */
START_TEST(full_store_refuses_the_whole_transaction)
{
    static const uint8_t block[8000];
    char *path = NULL;
    ck_assert_int_gt(asprintf(&path, "%s/small", dir), 0);
    struct kv *small = open_at(path, KIB(512));
    struct kv_txn *txn;
    char key[16];
    for (int i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof key, "old%d", i);
        ck_assert_int_eq(kv_begin_write(small, &txn), OK);
        ck_assert_int_eq(kv_put(txn, text(key), (struct bytes){block, sizeof block}), OK);
        ck_assert_int_eq(kv_commit(txn, NULL), OK);
    }
    ck_assert_int_eq(kv_begin_write(small, &txn), OK);
    enum err err = OK;
    int count = 0;
    for (; err == OK && count < 1000; count++) {
        (void)snprintf(key, sizeof key, "new%d", count);
        err = kv_put(txn, text(key), (struct bytes){block, sizeof block});
    }
    struct errmsg msg;
    struct bytes value;
    struct kv_cursor *cursor;
    ck_assert_int_eq(err, ERR_NO_SPACE);
    ck_assert_int_gt(count, 10);
    ck_assert_int_eq(kv_put(txn, text("more"), text("1")), ERR_NO_SPACE);
    ck_assert_int_eq(kv_delete(txn, text("old1")), ERR_NO_SPACE);
    ck_assert_int_eq(kv_get(txn, text("old1"), &value), ERR_NO_SPACE);
    ck_assert_int_eq(kv_cursor_open(txn, BYTES_NONE, BYTES_NONE, &cursor), ERR_NO_SPACE);
    ck_assert_int_eq(kv_commit(txn, &msg), ERR_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(msg.text, "no space"));

    ck_assert_int_eq(kv_begin_read(small, &txn), OK);
    ck_assert_int_eq(kv_get(txn, text("old9"), &value), OK);
    ck_assert_int_eq(kv_get(txn, text("new0"), &value), ERR_NOT_FOUND);
    kv_abort(txn);
    for (int i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof key, "old%d", i);
        ck_assert_int_eq(kv_begin_write(small, &txn), OK);
        ck_assert_int_eq(kv_delete(txn, text(key)), OK);
        ck_assert_int_eq(kv_put(txn, text("new"), (struct bytes){block, sizeof block}), OK);
        ck_assert_int_eq(kv_commit(txn, NULL), OK);
    }
    kv_close(small);
    free(path);
}
END_TEST

/* Goal: a cursor sees exactly the keys of its prefix, in order, from where it was told. */
START_TEST(cursor_walks_its_prefix_only)
{
    static const char *const keys[] = {"a", "b", "b\x01", "ba", "bb", "bb1", "bc", "c", "b\xff", "b\xff\xff"};
    static const struct {
        const char *prefix;
        const char *from;
        const char *expected;
    } cases[] = {
        {"b", "", "b,b\x01,ba,bb,bb1,bc,b\xff,b\xff\xff,"},
        {"b", "bb", "bb,bb1,bc,b\xff,b\xff\xff,"},
        {"b", "bb0", "bb1,bc,b\xff,b\xff\xff,"},
        {"b", "a", "b,b\x01,ba,bb,bb1,bc,b\xff,b\xff\xff,"},
        {"b", "c", ""},
        {"bb", "", "bb,bb1,"},
        {"b\xff", "", "b\xff,b\xff\xff,"},
        {"", "", "a,b,b\x01,ba,bb,bb1,bc,b\xff,b\xff\xff,c,"},
        {"", "bd", "b\xff,b\xff\xff,c,"},
        {"d", "", ""},
    };
    for (size_t i = 0; i < array_count(keys); i++) {
        put_now(keys[i], "value");
    }
    struct kv_txn *txn;
    ck_assert_int_eq(kv_begin_read(kv, &txn), OK);
    for (size_t i = 0; i < array_count(cases); i++) {
        char seen[128] = "";
        struct kv_cursor *cursor;
        struct bytes key;
        struct bytes value;
        enum err err;
        ck_assert_int_eq(kv_cursor_open(txn, text(cases[i].prefix), text(cases[i].from), &cursor), OK);
        while ((err = kv_cursor_next(cursor, &key, &value)) == OK) {
            size_t size = strlen(seen);
            (void)snprintf(seen + size, sizeof seen - size, "%.*s,", (int)key.size, (const char *)key.data);
        }
        ck_assert_int_eq(err, ERR_NOT_FOUND);
        ck_assert_int_eq(kv_cursor_next(cursor, &key, &value), ERR_NOT_FOUND);
        ck_assert_str_eq(seen, cases[i].expected);
        kv_cursor_close(cursor);
    }
    kv_abort(txn);
}
END_TEST

enum {
    MODEL_KEY_COUNT = 600
};

/* A deterministic pseudo-random sequence; the seed is the loop index of the test. */
static uint32_t next(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(*state >> 33);
}

static struct bytes model_key(unsigned i, char *memory, size_t size)
{
    int length = snprintf(memory, size, "%u/%04u", i % 3, i);
    return (struct bytes){(const uint8_t *)memory, (size_t)length};
}

/* Walks one prefix of the model while deleting, adding and replacing around the cursor; each key has to be seen once if
 * it was there when the cursor came by. */
static void walk_model(struct kv_txn *txn, bool present[MODEL_KEY_COUNT], unsigned prefix, uint64_t *random)
{
    char memory[16];
    char prefix_text[4];
    uint8_t filler[1500] = {0};
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    (void)snprintf(prefix_text, sizeof prefix_text, "%u/", prefix);
    ck_assert_int_eq(kv_cursor_open(txn, text(prefix_text), BYTES_NONE, &cursor), OK);
    for (unsigned i = prefix; i < MODEL_KEY_COUNT; i += 3) {
        if (!present[i]) {
            continue;
        }
        ck_assert_int_eq(kv_cursor_next(cursor, &key, &value), OK);
        ck_assert_msg(bytes_equal(key, model_key(i, memory, sizeof memory)), "expected %s, got %.*s", memory,
                      (int)key.size, (const char *)key.data);
        if (next(random) % 3 == 0) {
            ck_assert_int_eq(kv_cursor_delete(cursor), OK);
            ck_assert_int_eq(kv_cursor_delete(cursor), ERR_NOT_FOUND);
            present[i] = false;
        }
        for (unsigned j = 0; j < next(random) % 3; j++) {
            unsigned other = next(random) % MODEL_KEY_COUNT;
            struct bytes other_key = model_key(other, memory, sizeof memory);
            bool is_removal = next(random) % 2 == 0;
            if (is_removal) {
                ck_assert_int_eq(kv_delete(txn, other_key), present[other] ? OK : ERR_NOT_FOUND);
            } else {
                ck_assert_int_eq(kv_put(txn, other_key, (struct bytes){filler, next(random) % sizeof filler}), OK);
            }
            present[other] = !is_removal;
        }
    }
    ck_assert_int_eq(kv_cursor_next(cursor, &key, &value), ERR_NOT_FOUND);
    kv_cursor_close(cursor);
}

/* Goal: a cursor keeps its place whatever its transaction changes. Method: random work over several pages against an
 * array of flags, one seed a run. */
START_TEST(cursor_keeps_its_place_while_its_transaction_writes)
{
    bool present[MODEL_KEY_COUNT] = {false};
    uint64_t random = (uint64_t)_i + 1;
    char memory[16];
    struct kv_txn *txn;
    ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
    for (unsigned i = 0; i < MODEL_KEY_COUNT; i++) {
        present[i] = next(&random) % 2 == 0;
        if (present[i]) {
            ck_assert_int_eq(kv_put(txn, model_key(i, memory, sizeof memory), text("start")), OK);
        }
    }
    for (unsigned round = 0; round < 12; round++) {
        walk_model(txn, present, round % 3, &random);
        if (round % 4 == 3) {
            ck_assert_int_eq(kv_commit(txn, NULL), OK);
            ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
        }
    }
    kv_abort(txn);
}
END_TEST

/* Goal: a cursor can empty its range by deleting what it returns. */
START_TEST(cursor_deletes_a_whole_range)
{
    struct kv_txn *txn;
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    char memory[16];
    ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
    for (unsigned i = 0; i < MODEL_KEY_COUNT; i++) {
        ck_assert_int_eq(kv_put(txn, model_key(i, memory, sizeof memory), text("value")), OK);
    }
    ck_assert_int_eq(kv_cursor_open(txn, text("1/"), BYTES_NONE, &cursor), OK);
    unsigned count = 0;
    while (kv_cursor_next(cursor, &key, &value) == OK) {
        ck_assert_int_eq(kv_cursor_delete(cursor), OK);
        count++;
    }
    kv_cursor_close(cursor);
    ck_assert_uint_eq(count, MODEL_KEY_COUNT / 3);
    ck_assert_int_eq(kv_cursor_open(txn, BYTES_NONE, BYTES_NONE, &cursor), OK);
    for (count = 0; kv_cursor_next(cursor, &key, &value) == OK; count++) {
        ck_assert(key.data[0] != '1');
    }
    ck_assert_uint_eq(count, MODEL_KEY_COUNT / 3 * 2);
    kv_cursor_close(cursor);
    kv_abort(txn);
}
END_TEST

/* Goal: a copy holds one consistent moment and no more; a directory that has a store is left alone. */
START_TEST(copy_is_a_store_of_its_own)
{
    char *path = NULL;
    ck_assert_int_gt(asprintf(&path, "%s/copy", dir), 0);
    put_now("key", "before");
    ck_assert_int_eq(kv_copy(kv, path, NULL), OK);
    put_now("key", "after");
    struct errmsg msg;
    ck_assert_int_eq(kv_copy(kv, path, &msg), ERR_EXISTS);
    ck_assert_ptr_nonnull(strstr(msg.text, path));
    struct kv *original = kv;
    kv = open_at(path, MIB(16));
    ck_assert_str_eq(get_now("key"), "before");
    kv_close(kv);
    kv = original;
    ck_assert_str_eq(get_now("key"), "after");
    free(path);
}
END_TEST

/* Goal: an empty store can be copied, and so can one whose pages were mostly freed. */
START_TEST(copy_of_empty_and_of_shrunken_stores)
{
    char *path = NULL;
    ck_assert_int_gt(asprintf(&path, "%s/copy", dir), 0);
    ck_assert_int_eq(kv_copy(kv, path, NULL), OK);
    struct kv *copy = open_at(path, MIB(16));
    kv_close(copy);
    free(path);

    static const uint8_t block[5000];
    struct kv_txn *txn;
    char memory[16];
    for (int is_delete = 0; is_delete < 2; is_delete++) {
        ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
        for (unsigned i = 0; i < MODEL_KEY_COUNT; i++) {
            struct bytes key = model_key(i, memory, sizeof memory);
            ck_assert_int_eq(is_delete ? kv_delete(txn, key) : kv_put(txn, key, (struct bytes){block, sizeof block}),
                             OK);
        }
        ck_assert_int_eq(kv_commit(txn, NULL), OK);
    }
    put_now("key", "value");
    ck_assert_int_gt(asprintf(&path, "%s/copy2", dir), 0);
    ck_assert_int_eq(kv_copy(kv, path, NULL), OK);
    struct kv *original = kv;
    kv = open_at(path, MIB(16));
    ck_assert_str_eq(get_now("key"), "value");
    kv_close(kv);
    kv = original;
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
    ck_assert_int_gt(asprintf(&path, "%s/../%s", dir, strrchr(dir, '/') + 1), 0);
    ck_assert_int_eq(kv_open(path, MIB(1), KV_DURABLE, &second, &msg), ERR_EXISTS);
    ck_assert_ptr_nonnull(strstr(msg.text, "in this process"));
    ck_assert_ptr_null(second);
    put_now("key", "value");
    kv_close(kv);
    kv = open_at(path, MIB(1));
    ck_assert_str_eq(get_now("key"), "value");
    free(path);
}
END_TEST

/* Goal: what cannot be a store is refused with a text that names it, and leaks nothing. */
START_TEST(opening_refuses_what_is_not_a_store)
{
    struct errmsg msg;
    struct kv *none = NULL;
    char *path = NULL;
    ck_assert_int_gt(asprintf(&path, "%s/missing/store", dir), 0);
    ck_assert_int_eq(kv_open(path, MIB(1), KV_DURABLE, &none, &msg), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(msg.text, path));
    free(path);

    ck_assert_int_gt(asprintf(&path, "%s/foreign", dir), 0);
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
    kv_close(kv);
    int channel[2];
    ck_assert_int_eq(pipe(channel), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct kv_txn *reader;
        struct kv_txn *txn;
        kv = open_at(dir, MIB(16));
        if (kv_begin_read(kv, &reader) != OK) {
            _exit(1);
        }
        for (uint32_t i = 1;; i++) {
            struct bytes value = {(const uint8_t *)&i, sizeof i};
            if (kv_begin_write(kv, &txn) != OK || kv_put(txn, text("first"), value) != OK ||
                kv_put(txn, text("second"), value) != OK || kv_commit(txn, NULL) != OK ||
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

    kv = open_at(dir, MIB(16));
    struct kv_txn *txn;
    struct bytes first;
    struct bytes second;
    ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
    ck_assert_int_eq(kv_get(txn, text("first"), &first), OK);
    ck_assert_int_eq(kv_get(txn, text("second"), &second), OK);
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
        ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
        if (kv_get(txn, text("first"), &old) == OK) {
            memcpy(&value, old.data, sizeof value);
        }
        value++;
        ck_assert_int_eq(kv_put(txn, text("first"), (struct bytes){(const uint8_t *)&value, sizeof value}), OK);
        ck_assert_int_eq(kv_put(txn, text("second"), (struct bytes){(const uint8_t *)&value, sizeof value}), OK);
        ck_assert_int_eq(kv_commit(txn, NULL), OK);
    }
    return NULL;
}

static void *read_pairs(void *unused)
{
    (void)unused;
    struct kv_txn *txn;
    uint32_t before = 0;
    ck_assert_int_eq(kv_begin_read(kv, &txn), OK);
    while (!atomic_load(&is_done)) {
        struct bytes first;
        struct bytes second;
        ck_assert_int_eq(kv_renew(txn), OK);
        if (kv_get(txn, text("first"), &first) == OK) {
            uint32_t value;
            ck_assert_int_eq(kv_get(txn, text("second"), &second), OK);
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
    ck_assert_int_eq(kv_begin_read(kv, &txn), OK);
    ck_assert_int_eq(kv_get(txn, text("first"), &value), OK);
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
    put_now("key", "value");
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit low = {KIB(32), before.rlim_max};
    ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
    put(txn, "key", "changed");
    ck_assert_int_eq(kv_put(txn, text("large"), (struct bytes){block, sizeof block}), OK);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &low), 0);
    enum err err = kv_commit(txn, &msg);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, SIG_DFL);
    ck_assert_int_eq(err, ERR_IO);
    ck_assert_ptr_nonnull(strstr(msg.text, "commit to store"));
    ck_assert_str_eq(get_now("key"), "value");
    ck_assert_str_eq(get_now("large"), "ERR_NOT_FOUND");
    put_now("key", "later");
    ck_assert_str_eq(get_now("key"), "later");
}
END_TEST

static Suite *kv_suite(void)
{
    Suite *suite = suite_create("kv");
    TCase *tcase = tcase_create("kv");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, commit_survives_reopening_and_abort_does_not);
    tcase_add_test(tcase, reader_keeps_its_snapshot_until_renewed);
    tcase_add_test(tcase, one_thread_holds_many_transactions);
    tcase_add_test(tcase, too_many_readers_are_refused);
    tcase_add_test(tcase, keys_are_1_to_511_bytes);
    tcase_add_test(tcase, large_values_are_kept_whole);
    tcase_add_test(tcase, full_store_refuses_the_whole_transaction);
    tcase_add_test(tcase, cursor_walks_its_prefix_only);
    tcase_add_loop_test(tcase, cursor_keeps_its_place_while_its_transaction_writes, 0, 20);
    tcase_add_test(tcase, cursor_deletes_a_whole_range);
    tcase_add_test(tcase, copy_is_a_store_of_its_own);
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
