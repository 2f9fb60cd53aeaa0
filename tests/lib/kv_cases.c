/* The cases of kv_cases.h, over whatever implementation the test is linked with. */
#include "tests/lib/kv_cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"

char *case_dir;
struct kv *case_kv;
static const struct case_place *chosen;

struct kv *case_open(const char *path, size_t size_max)
{
    struct kv *opened = NULL;
    struct errmsg msg;
    enum err err = kv_open(path, size_max, KV_ORDERED, &opened, &msg);
    ck_assert_msg(err == OK, "%s: %s", err_name(err), err == OK ? "" : msg.text);
    return opened;
}

static void setup(void)
{
    case_dir = chosen->make();
    case_kv = case_open(case_dir, MIB(16));
}

static void teardown(void)
{
    kv_close(case_kv);
    chosen->remove(case_dir);
}

struct bytes case_text(const char *value)
{
    return bytes_from_text(value);
}

void case_put(struct kv_txn *txn, const char *key, const char *value)
{
    ck_assert_int_eq(kv_put(txn, case_text(key), case_text(value)), OK);
}

void case_put_now(const char *key, const char *value)
{
    struct kv_txn *txn;
    ck_assert_int_eq(kv_begin_write(case_kv, &txn), OK);
    case_put(txn, key, value);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
}

const char *case_get(struct kv_txn *txn, const char *key)
{
    static char copy[64];
    struct bytes value;
    enum err err = kv_get(txn, case_text(key), &value);
    if (err != OK) {
        return err_name(err);
    }
    (void)snprintf(copy, sizeof copy, "%.*s", (int)value.size, (const char *)value.data);
    return copy;
}

const char *case_get_now(const char *key)
{
    struct kv_txn *txn;
    ck_assert_int_eq(kv_begin_read(case_kv, &txn), OK);
    const char *value = case_get(txn, key);
    kv_abort(txn);
    return value;
}

/* Goal: what is committed is there in a new process's view; what is aborted is not. Method: commit one
 * key, abort another, close, open again. */
START_TEST(commit_survives_reopening_and_abort_does_not)
{
    struct kv_txn *txn;
    case_put_now("kept", "1");
    ck_assert_int_eq(kv_begin_write(case_kv, &txn), OK);
    case_put(txn, "lost", "2");
    case_put(txn, "kept", "3");
    ck_assert_str_eq(case_get(txn, "kept"), "3");
    kv_abort(txn);
    ck_assert_int_eq(kv_sync(case_kv, NULL), OK);
    kv_close(case_kv);
    case_kv = case_open(case_dir, MIB(16));
    ck_assert_str_eq(case_get_now("kept"), "1");
    ck_assert_str_eq(case_get_now("lost"), "ERR_NOT_FOUND");
}
END_TEST

/* Goal: a reader sees one moment, however much is committed meanwhile, and the newest one after a renewal. */
START_TEST(reader_keeps_its_snapshot_until_renewed)
{
    struct kv_txn *reader;
    case_put_now("key", "old");
    ck_assert_int_eq(kv_begin_read(case_kv, &reader), OK);
    case_put_now("key", "new");
    ck_assert_str_eq(case_get(reader, "key"), "old");
    kv_reset(reader);
    ck_assert_int_eq(kv_renew(reader), OK);
    ck_assert_str_eq(case_get(reader, "key"), "new");
    case_put_now("key", "newest");
    ck_assert_int_eq(kv_renew(reader), OK); /* without a reset of its own */
    ck_assert_str_eq(case_get(reader, "key"), "newest");
    kv_reset(reader);
    kv_abort(reader);
}
END_TEST

/* Goal: snapshots have the same number if and only if nothing was committed between them, in a new store as well. */
START_TEST(snapshots_are_numbered)
{
    struct kv_txn *reader;
    struct kv_txn *writer;
    ck_assert_int_eq(kv_begin_read(case_kv, &reader), OK);
    uint64_t first = kv_txn_snapshot(reader);
    ck_assert_uint_ne(first, 0);
    case_put_now("key", "value");
    ck_assert_uint_eq(kv_txn_snapshot(reader), first);
    ck_assert_int_eq(kv_renew(reader), OK);
    uint64_t second = kv_txn_snapshot(reader);
    ck_assert_uint_gt(second, first);
    ck_assert_int_eq(kv_begin_write(case_kv, &writer), OK);
    case_put(writer, "key", "aborted");
    kv_abort(writer);
    ck_assert_int_eq(kv_renew(reader), OK);
    ck_assert_uint_eq(kv_txn_snapshot(reader), second);
    case_put_now("key", "value"); /* a change of nothing is one too */
    ck_assert_int_eq(kv_renew(reader), OK);
    ck_assert_uint_gt(kv_txn_snapshot(reader), second);
    kv_abort(reader);
}
END_TEST

/* Goal: a thread may hold several read transactions beside its write transaction. */
START_TEST(one_thread_holds_many_transactions)
{
    struct kv_txn *readers[100];
    struct kv_txn *writer;
    for (size_t i = 0; i < array_count(readers); i++) {
        ck_assert_int_eq(kv_begin_read(case_kv, &readers[i]), OK);
    }
    ck_assert_int_eq(kv_begin_write(case_kv, &writer), OK);
    case_put(writer, "key", "value");
    ck_assert_int_eq(kv_commit(writer, NULL), OK);
    for (size_t i = 0; i < array_count(readers); i++) {
        ck_assert_str_eq(case_get(readers[i], "key"), "ERR_NOT_FOUND");
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
    while (count < array_count(readers) && (err = kv_begin_read(case_kv, &readers[count])) == OK) {
        count++;
    }
    ck_assert_int_eq(err, ERR_BUSY);
    ck_assert_uint_eq(count, 256);
    kv_abort(readers[--count]);
    ck_assert_int_eq(kv_begin_read(case_kv, &readers[count++]), OK);
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
    ck_assert_int_eq(kv_begin_write(case_kv, &txn), OK);
    for (size_t i = 0; i < array_count(wrong); i++) {
        ck_assert_int_eq(kv_put(txn, wrong[i], case_text("x")), ERR_INVALID);
        ck_assert_int_eq(kv_get(txn, wrong[i], &value), ERR_INVALID);
        ck_assert_int_eq(kv_delete(txn, wrong[i]), ERR_INVALID);
    }
    struct kv_cursor *cursor;
    ck_assert_int_eq(kv_cursor_open(txn, wrong[2], BYTES_NONE, &cursor), ERR_INVALID);
    ck_assert_int_eq(kv_cursor_open(txn, BYTES_NONE, wrong[2], &cursor), ERR_INVALID);
    ck_assert_int_eq(kv_put(txn, longest, case_text("x")), OK);
    ck_assert_int_eq(kv_put(txn, (struct bytes){zeros, 1}, BYTES_NONE), OK);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
    ck_assert_int_eq(kv_begin_read(case_kv, &txn), OK);
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
    ck_assert_int_eq(kv_begin_write(case_kv, &txn), OK);
    ck_assert_int_eq(kv_put(txn, case_text("large"), (struct bytes){data, size}), OK);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
    ck_assert_int_eq(kv_begin_read(case_kv, &txn), OK);
    ck_assert_int_eq(kv_get(txn, case_text("large"), &value), OK);
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
    ck_assert_int_gt(asprintf(&path, "%s/small", case_dir), 0);
    struct kv *small = case_open(path, KIB(512));
    struct kv_txn *txn;
    char key[16];
    for (int i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof key, "old%d", i);
        ck_assert_int_eq(kv_begin_write(small, &txn), OK);
        ck_assert_int_eq(kv_put(txn, case_text(key), (struct bytes){block, sizeof block}), OK);
        ck_assert_int_eq(kv_commit(txn, NULL), OK);
    }
    ck_assert_int_eq(kv_begin_write(small, &txn), OK);
    enum err err = OK;
    int count = 0;
    for (; err == OK && count < 1000; count++) {
        (void)snprintf(key, sizeof key, "new%d", count);
        err = kv_put(txn, case_text(key), (struct bytes){block, sizeof block});
    }
    struct errmsg msg;
    struct bytes value;
    struct kv_cursor *cursor;
    ck_assert_int_eq(err, ERR_NO_SPACE);
    ck_assert_int_gt(count, 10);
    ck_assert_int_eq(kv_put(txn, case_text("more"), case_text("1")), ERR_NO_SPACE);
    ck_assert_int_eq(kv_delete(txn, case_text("old1")), ERR_NO_SPACE);
    ck_assert_int_eq(kv_get(txn, case_text("old1"), &value), ERR_NO_SPACE);
    ck_assert_int_eq(kv_cursor_open(txn, BYTES_NONE, BYTES_NONE, &cursor), ERR_NO_SPACE);
    ck_assert_int_eq(kv_commit(txn, &msg), ERR_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(msg.text, "no space"));

    ck_assert_int_eq(kv_begin_read(small, &txn), OK);
    ck_assert_int_eq(kv_get(txn, case_text("old9"), &value), OK);
    ck_assert_int_eq(kv_get(txn, case_text("new0"), &value), ERR_NOT_FOUND);
    kv_abort(txn);
    for (int i = 0; i < 10; i++) {
        (void)snprintf(key, sizeof key, "old%d", i);
        ck_assert_int_eq(kv_begin_write(small, &txn), OK);
        ck_assert_int_eq(kv_delete(txn, case_text(key)), OK);
        ck_assert_int_eq(kv_put(txn, case_text("new"), (struct bytes){block, sizeof block}), OK);
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
        case_put_now(keys[i], "value");
    }
    struct kv_txn *txn;
    ck_assert_int_eq(kv_begin_read(case_kv, &txn), OK);
    for (size_t i = 0; i < array_count(cases); i++) {
        char seen[128] = "";
        struct kv_cursor *cursor;
        struct bytes key;
        struct bytes value;
        enum err err;
        ck_assert_int_eq(kv_cursor_open(txn, case_text(cases[i].prefix), case_text(cases[i].from), &cursor), OK);
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
    ck_assert_int_eq(kv_cursor_open(txn, case_text(prefix_text), BYTES_NONE, &cursor), OK);
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
    ck_assert_int_eq(kv_begin_write(case_kv, &txn), OK);
    for (unsigned i = 0; i < MODEL_KEY_COUNT; i++) {
        present[i] = next(&random) % 2 == 0;
        if (present[i]) {
            ck_assert_int_eq(kv_put(txn, model_key(i, memory, sizeof memory), case_text("start")), OK);
        }
    }
    for (unsigned round = 0; round < 12; round++) {
        walk_model(txn, present, round % 3, &random);
        if (round % 4 == 3) {
            ck_assert_int_eq(kv_commit(txn, NULL), OK);
            ck_assert_int_eq(kv_begin_write(case_kv, &txn), OK);
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
    ck_assert_int_eq(kv_begin_write(case_kv, &txn), OK);
    for (unsigned i = 0; i < MODEL_KEY_COUNT; i++) {
        ck_assert_int_eq(kv_put(txn, model_key(i, memory, sizeof memory), case_text("value")), OK);
    }
    ck_assert_int_eq(kv_cursor_open(txn, case_text("1/"), BYTES_NONE, &cursor), OK);
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
    ck_assert_int_gt(asprintf(&path, "%s/copy", case_dir), 0);
    case_put_now("key", "before");
    ck_assert_int_eq(kv_copy(case_kv, path, NULL), OK);
    case_put_now("key", "after");
    struct errmsg msg;
    ck_assert_int_eq(kv_copy(case_kv, path, &msg), ERR_EXISTS);
    ck_assert_ptr_nonnull(strstr(msg.text, path));
    struct kv *original = case_kv;
    case_kv = case_open(path, MIB(16));
    ck_assert_str_eq(case_get_now("key"), "before");
    kv_close(case_kv);
    case_kv = original;
    ck_assert_str_eq(case_get_now("key"), "after");
    free(path);
}
END_TEST

/* Goal: a store is open once in a process, and may be opened again after a close. */
START_TEST(store_is_open_once)
{
    struct kv *second = NULL;
    ck_assert_int_eq(kv_open(case_dir, MIB(1), KV_DURABLE, &second, NULL), ERR_EXISTS);
    ck_assert_ptr_null(second);
    case_put_now("key", "value");
    kv_close(case_kv);
    case_kv = case_open(case_dir, MIB(16));
    ck_assert_str_eq(case_get_now("key"), "value");
}
END_TEST

/* Goal: the parent of a store has to be there; the text says which store it was. */
START_TEST(store_needs_its_parent)
{
    struct errmsg msg;
    struct kv *none = NULL;
    char *path = NULL;
    ck_assert_int_gt(asprintf(&path, "%s/missing/store", case_dir), 0);
    ck_assert_int_eq(kv_open(path, MIB(1), KV_DURABLE, &none, &msg), ERR_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(msg.text, path));
    free(path);
}
END_TEST

TCase *case_all(const struct case_place *place)
{
    chosen = place;
    TCase *tcase = tcase_create("kv");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, commit_survives_reopening_and_abort_does_not);
    tcase_add_test(tcase, reader_keeps_its_snapshot_until_renewed);
    tcase_add_test(tcase, snapshots_are_numbered);
    tcase_add_test(tcase, one_thread_holds_many_transactions);
    tcase_add_test(tcase, too_many_readers_are_refused);
    tcase_add_test(tcase, keys_are_1_to_511_bytes);
    tcase_add_test(tcase, large_values_are_kept_whole);
    tcase_add_test(tcase, full_store_refuses_the_whole_transaction);
    tcase_add_test(tcase, cursor_walks_its_prefix_only);
    tcase_add_loop_test(tcase, cursor_keeps_its_place_while_its_transaction_writes, 0, 20);
    tcase_add_test(tcase, cursor_deletes_a_whole_range);
    tcase_add_test(tcase, copy_is_a_store_of_its_own);
    tcase_add_test(tcase, store_is_open_once);
    tcase_add_test(tcase, store_needs_its_parent);
    return tcase;
}
