/* Happy path: one LMDB environment with its one unnamed database; a transaction here is a
 *             transaction there.
 * Failure:    the first error that dooms a write transaction is kept in it and is what the commit
 *             returns, whatever LMDB says about later calls. A commit of a doomed transaction
 *             aborts it.
 * Close:      kv_close() asserts that no transaction is left, as LMDB would unmap the file under
 *             it. */
#include "base/kv.h"

#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/list.h"
#include "base/mem.h"

enum {
    FILE_MODE = 0640,
    DIRECTORY_MODE = 0750,
    READER_COUNT_MAX = 4 * SHARD_COUNT_MAX, /* one a shard, and background jobs and copies */
};

struct kv {
    MDB_env *env;
    MDB_dbi dbi;
    dev_t device; /* with `inode`: the directory, to find it opened twice */
    ino_t inode;
    uint32_t txn_count;      /* atomic */
    struct list link;        /* in `stores` */
    uint64_t allocated_size; /* of the file; 0: not looked at */
};

struct kv_txn {
    struct kv *kv;
    MDB_txn *txn;
    bool is_write;
    bool is_reset;
    enum err err; /* what doomed it; sticks */
    uint32_t cursor_count;
    uint64_t write_count; /* changes so far: a cursor that saw fewer looks for its place again */
    pthread_t thread;
};

struct kv_cursor {
    struct kv_txn *txn;
    MDB_cursor *cursor;
    bool is_placed; /* `last` is the key returned last; else the key to start from */
    bool is_there;  /* LMDB's cursor stands at `last`, as of write_count */
    uint64_t write_count;
    size_t prefix_size;
    size_t last_size;
    uint8_t prefix[KV_KEY_SIZE_MAX];
    uint8_t last[KV_KEY_SIZE_MAX];
};

static pthread_mutex_t stores_lock = PTHREAD_MUTEX_INITIALIZER;
static struct list stores = {&stores, &stores};

static enum err translate(int code)
{
    if (code >= 0) {
        return err_from_errno(code);
    }
    switch (code) {
    case MDB_NOTFOUND:
        return ERR_NOT_FOUND;
    case MDB_KEYEXIST:
        return ERR_EXISTS;
    case MDB_MAP_FULL:
        return ERR_NO_SPACE;
    case MDB_TXN_FULL:
        return ERR_TOO_LARGE;
    case MDB_READERS_FULL:
        return ERR_BUSY;
    case MDB_VERSION_MISMATCH:
        return ERR_UNSUPPORTED;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE: /* of a compact copy: the tree and the list of free pages disagree */
        return ERR_CORRUPT;
    default: /* MDB_PANIC: an earlier commit failed half-way; or a code that our use excludes */
        return ERR_IO;
    }
}

/* ---- Opening and closing --------------------------------------------------------------------- */

/* Makes "path/name" durable. These calls bypass env.h because LMDB does so too: a store is a place
 * in the real file system, in the simulator as well. */
static enum err sync_file(const char *path, const char *name, struct errmsg *msg)
{
    size_t size = strlen(path) + 1 + strlen(name) + 1;
    char *file = mem_alloc(size);
    (void)snprintf(file, size, "%s/%s", path, name);
    enum err err = OK;
    int fd = open(file, O_RDONLY | O_CLOEXEC); /* tidy: open: see above */
    if (fd < 0) {
        err = fail(msg, err_from_errno(errno), "open %s: %s", file, strerror(errno));
        goto err_after_alloc;
    }
    if (fsync(fd) != 0) { /* tidy: fsync: see above */
        err = fail(msg, err_from_errno(errno), "fsync %s: %s", file, strerror(errno));
    }
    (void)close(fd);
err_after_alloc:
    mem_free(file);
    return err;
}

/* The names in the store's directory and its own name: LMDB syncs only what is in its files. */
static enum err sync_names(const char *path, struct errmsg *msg)
{
    enum err err = sync_file(path, ".", msg);
    return err == OK ? sync_file(path, "..", msg) : err;
}

static enum err make_directory(const char *path, struct errmsg *msg)
{
    if (mkdir(path, DIRECTORY_MODE) != 0 && errno != EEXIST) { /* tidy: mkdir: as sync_file() */
        return fail(msg, err_from_errno(errno), "make directory %s: %s", path, strerror(errno));
    }
    return OK;
}

/* LMDB locks its files by process: a second environment over the same ones, when closed, would
 * take the locks of the first with it. */
static bool register_store(struct kv *kv)
{
    bool is_first = true;
    (void)pthread_mutex_lock(&stores_lock);
    for (struct list *link = stores.next; link != &stores; link = link->next) {
        const struct kv *other = container_of(link, struct kv, link);
        if (other->device == kv->device && other->inode == kv->inode) {
            is_first = false;
        }
    }
    if (is_first) {
        list_push(&stores, &kv->link);
    }
    (void)pthread_mutex_unlock(&stores_lock);
    return is_first;
}

static void unregister_store(struct kv *kv)
{
    (void)pthread_mutex_lock(&stores_lock);
    list_remove(&kv->link);
    (void)pthread_mutex_unlock(&stores_lock);
}

static int open_database(struct kv *kv)
{
    MDB_txn *txn;
    int code = mdb_txn_begin(kv->env, NULL, MDB_RDONLY, &txn);
    if (code != 0) {
        return code;
    }
    code = mdb_dbi_open(txn, NULL, 0, &kv->dbi);
    mdb_txn_abort(txn); /* the handle of the unnamed database does not depend on it */
    return code;
}

static int open_env(struct kv *kv, const char *path, size_t size_max, enum kv_mode mode)
{
    int code = mdb_env_create(&kv->env);
    if (code != 0) {
        return code;
    }
    /* MDB_NOTLS: reader slots belong to transactions, so that a thread may have several. */
    unsigned flags = MDB_NOTLS | (mode == KV_ORDERED ? MDB_NOMETASYNC : 0);
    int dead_count = 0;
    if ((code = mdb_env_set_mapsize(kv->env, size_max)) == 0 &&
        (code = mdb_env_set_maxreaders(kv->env, READER_COUNT_MAX)) == 0 &&
        (code = mdb_env_open(kv->env, path, flags, FILE_MODE)) == 0 &&
        /* Slots of killed processes would keep pages from reuse for ever. */
        (code = mdb_reader_check(kv->env, &dead_count)) == 0) {
        code = open_database(kv);
    }
    if (code != 0) {
        mdb_env_close(kv->env);
    }
    return code;
}

enum err kv_open(const char *path, size_t size_max, enum kv_mode mode, struct kv **kv_out, struct errmsg *msg)
{
    enum err err = make_directory(path, msg);
    if (err != OK) {
        return err;
    }
    struct stat stat_of_path;
    if (stat(path, &stat_of_path) != 0) { /* tidy: stat: as sync_file() */
        return fail(msg, err_from_errno(errno), "stat %s: %s", path, strerror(errno));
    }
    struct kv *kv = mem_alloc(sizeof *kv);
    kv->device = stat_of_path.st_dev;
    kv->inode = stat_of_path.st_ino;
    list_init(&kv->link);
    if (!register_store(kv)) {
        err = fail(msg, ERR_EXISTS, "store %s is open in this process already", path);
        goto err_after_alloc;
    }
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    size_max = size_max > SIZE_MAX - page_size ? SIZE_MAX : size_max + page_size - 1;
    int code = open_env(kv, path, size_max / page_size * page_size, mode);
    if (code != 0) {
        err = fail(msg, translate(code), "open store %s: %s", path, mdb_strerror(code));
        goto err_after_register;
    }
    err = sync_names(path, msg);
    if (err != OK) {
        goto err_after_env;
    }
    *kv_out = kv;
    return OK;

err_after_env:
    mdb_env_close(kv->env);
err_after_register:
    unregister_store(kv);
err_after_alloc:
    mem_free(kv);
    assert(err != OK);
    return err;
}

/* Space behind the last page is taken in advance: a commit must not fail because the disk is full, as the metadata has
 * to go on then. Where the file system cannot do that, or has no space left, nothing is different. */
static void keep_headroom(struct kv *kv)
{
    MDB_envinfo info;
    MDB_stat stat_of_env;
    int fd;
    if (mdb_env_info(kv->env, &info) != 0 || mdb_env_stat(kv->env, &stat_of_env) != 0 ||
        mdb_env_get_fd(kv->env, &fd) != 0) {
        return;
    }
    uint64_t end = (uint64_t)(info.me_last_pgno + 1) * stat_of_env.ms_psize;
    if (end + STORE_HEADROOM_SIZE / 2 <= __atomic_load_n(&kv->allocated_size, __ATOMIC_RELAXED)) {
        return;
    }
    /* tidy: fallocate: as sync_file() */
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)end, STORE_HEADROOM_SIZE) == 0) {
        __atomic_store_n(&kv->allocated_size, end + STORE_HEADROOM_SIZE, __ATOMIC_RELAXED);
    }
}

void kv_close(struct kv *kv)
{
    assert(__atomic_load_n(&kv->txn_count, __ATOMIC_ACQUIRE) == 0);
    mdb_env_close(kv->env);
    unregister_store(kv);
    mem_free(kv);
}

enum err kv_sync(struct kv *kv, struct errmsg *msg)
{
    int code = mdb_env_sync(kv->env, 1);
    return code == 0 ? OK : fail(msg, translate(code), "sync store: %s", mdb_strerror(code));
}

enum err kv_copy(struct kv *kv, const char *path, struct errmsg *msg)
{
    enum err err = make_directory(path, msg);
    if (err != OK) {
        return err;
    }
    int code = mdb_env_copy2(kv->env, path, MDB_CP_COMPACT);
    if (code != 0) {
        return fail(msg, translate(code), "copy store to %s: %s", path, mdb_strerror(code));
    }
    err = sync_file(path, "data.mdb", msg);
    return err == OK ? sync_names(path, msg) : err;
}

/* ---- Transactions ---------------------------------------------------------------------------- */

static enum err begin(struct kv *kv, bool is_write, struct kv_txn **txn_out)
{
    MDB_txn *mdb_txn;
    int code = mdb_txn_begin(kv->env, NULL, is_write ? 0 : MDB_RDONLY, &mdb_txn);
    if (code != 0) {
        return translate(code);
    }
    struct kv_txn *txn = mem_alloc(sizeof *txn);
    *txn = (struct kv_txn){.kv = kv, .txn = mdb_txn, .is_write = is_write, .thread = pthread_self()};
    (void)__atomic_add_fetch(&kv->txn_count, 1, __ATOMIC_RELAXED);
    *txn_out = txn;
    return OK;
}

enum err kv_begin_read(struct kv *kv, struct kv_txn **txn)
{
    return begin(kv, false, txn);
}

enum err kv_begin_write(struct kv *kv, struct kv_txn **txn)
{
    return begin(kv, true, txn);
}

static void check_txn(const struct kv_txn *txn)
{
    assert(pthread_equal(txn->thread, pthread_self()));
    assert(!txn->is_reset);
}

static void txn_free(struct kv_txn *txn)
{
    (void)__atomic_sub_fetch(&txn->kv->txn_count, 1, __ATOMIC_RELEASE);
    mem_free(txn);
}

enum err kv_commit(struct kv_txn *txn, struct errmsg *msg)
{
    check_txn(txn);
    assert(txn->is_write);
    assert(txn->cursor_count == 0);
    enum err err = txn->err;
    if (err != OK) {
        (void)fail(msg, err, "commit to store: an earlier write failed: %s", err_text(err));
        mdb_txn_abort(txn->txn);
    } else {
        int code = mdb_txn_commit(txn->txn);
        if (code != 0) {
            err = fail(msg, translate(code), "commit to store: %s", mdb_strerror(code));
        } else {
            keep_headroom(txn->kv);
        }
    }
    txn_free(txn);
    return err;
}

void kv_abort(struct kv_txn *txn)
{
    assert(pthread_equal(txn->thread, pthread_self()));
    assert(txn->cursor_count == 0);
    mdb_txn_abort(txn->txn);
    txn_free(txn);
}

void kv_reset(struct kv_txn *txn)
{
    check_txn(txn);
    assert(!txn->is_write);
    assert(txn->cursor_count == 0);
    mdb_txn_reset(txn->txn);
    txn->is_reset = true;
}

enum err kv_renew(struct kv_txn *txn)
{
    if (!txn->is_reset) {
        kv_reset(txn);
    }
    assert(pthread_equal(txn->thread, pthread_self()));
    int code = mdb_txn_renew(txn->txn);
    if (code != 0) {
        return translate(code);
    }
    txn->is_reset = false;
    return OK;
}

uint64_t kv_txn_snapshot(const struct kv_txn *txn)
{
    check_txn(txn);
    assert(!txn->is_write);
    return (uint64_t)mdb_txn_id(txn->txn) + 1; /* a new store begins at 0 */
}

/* ---- Values ---------------------------------------------------------------------------------- */

static bool is_key(struct bytes key)
{
    return key.size >= 1 && key.size <= KV_KEY_SIZE_MAX;
}

static MDB_val to_val(struct bytes bytes)
{
    /* LMDB's type has no const; it does not write through what it is given. */
    return (MDB_val){bytes.size, (void *)(uintptr_t)bytes.data};
}

static struct bytes from_val(const MDB_val *val)
{
    return (struct bytes){val->mv_data, val->mv_size};
}

/* Result of a call that changes the store. Any failure but "no such key" may leave the tree of the
 * transaction half-changed. */
static enum err written(struct kv_txn *txn, int code)
{
    enum err err = translate(code);
    if (err == OK) {
        txn->write_count++;
    } else if (err != ERR_NOT_FOUND) {
        txn->err = err;
    }
    return err;
}

enum err kv_get(struct kv_txn *txn, struct bytes key, struct bytes *value)
{
    check_txn(txn);
    if (!is_key(key)) {
        return ERR_INVALID;
    }
    if (txn->err != OK) {
        return txn->err;
    }
    MDB_val key_val = to_val(key);
    MDB_val value_val;
    int code = mdb_get(txn->txn, txn->kv->dbi, &key_val, &value_val);
    if (code == 0) {
        *value = from_val(&value_val);
    }
    return translate(code);
}

enum err kv_put(struct kv_txn *txn, struct bytes key, struct bytes value)
{
    check_txn(txn);
    assert(txn->is_write);
    if (!is_key(key)) {
        return ERR_INVALID;
    }
    if (value.size > KV_VALUE_SIZE_MAX) {
        return ERR_TOO_LARGE;
    }
    if (txn->err != OK) {
        return txn->err;
    }
    MDB_val key_val = to_val(key);
    MDB_val value_val = to_val(value);
    return written(txn, mdb_put(txn->txn, txn->kv->dbi, &key_val, &value_val, 0));
}

enum err kv_delete(struct kv_txn *txn, struct bytes key)
{
    check_txn(txn);
    assert(txn->is_write);
    if (!is_key(key)) {
        return ERR_INVALID;
    }
    if (txn->err != OK) {
        return txn->err;
    }
    MDB_val key_val = to_val(key);
    return written(txn, mdb_del(txn->txn, txn->kv->dbi, &key_val, NULL));
}

/* ---- Cursors --------------------------------------------------------------------------------- */

enum err kv_cursor_open(struct kv_txn *txn, struct bytes prefix, struct bytes from, struct kv_cursor **cursor_out)
{
    check_txn(txn);
    if (prefix.size > KV_KEY_SIZE_MAX || from.size > KV_KEY_SIZE_MAX) {
        return ERR_INVALID;
    }
    if (txn->err != OK) {
        return txn->err;
    }
    MDB_cursor *mdb_cursor;
    int code = mdb_cursor_open(txn->txn, txn->kv->dbi, &mdb_cursor);
    if (code != 0) {
        return translate(code);
    }
    struct kv_cursor *cursor = mem_alloc_raw(sizeof *cursor);
    cursor->txn = txn;
    cursor->cursor = mdb_cursor;
    cursor->is_placed = false;
    cursor->is_there = false;
    cursor->write_count = txn->write_count;
    cursor->prefix_size = prefix.size;
    if (prefix.size > 0) {
        memcpy(cursor->prefix, prefix.data, prefix.size);
    }
    struct bytes start = bytes_compare(from, prefix) > 0 ? from : prefix;
    cursor->last_size = start.size;
    if (start.size > 0) {
        memcpy(cursor->last, start.data, start.size);
    }
    txn->cursor_count++;
    *cursor_out = cursor;
    return OK;
}

/* Moves to the first key >= `last`, or behind it if it was returned already. LMDB keeps cursors in
 * step with changes of their transaction, but what MDB_NEXT means after a delete depends on the
 * pages around: a search does not. */
static int cursor_seek(struct kv_cursor *cursor, MDB_val *key, MDB_val *value)
{
    struct bytes last = {cursor->last, cursor->last_size};
    if (last.size == 0) {
        return mdb_cursor_get(cursor->cursor, key, value, MDB_FIRST);
    }
    *key = to_val(last);
    int code = mdb_cursor_get(cursor->cursor, key, value, MDB_SET_RANGE);
    if (code == 0 && cursor->is_placed && bytes_equal(from_val(key), last)) {
        code = mdb_cursor_get(cursor->cursor, key, value, MDB_NEXT);
    }
    return code;
}

enum err kv_cursor_next(struct kv_cursor *cursor, struct bytes *key, struct bytes *value)
{
    struct kv_txn *txn = cursor->txn;
    check_txn(txn);
    if (txn->err != OK) {
        return txn->err;
    }
    MDB_val key_val;
    MDB_val value_val;
    int code = cursor->is_there && cursor->write_count == txn->write_count
                   ? mdb_cursor_get(cursor->cursor, &key_val, &value_val, MDB_NEXT)
                   : cursor_seek(cursor, &key_val, &value_val);
    cursor->write_count = txn->write_count;
    cursor->is_there = false;
    if (code != 0) {
        return translate(code);
    }
    struct bytes found = from_val(&key_val);
    struct bytes prefix = {cursor->prefix, cursor->prefix_size};
    if (found.size < prefix.size || !bytes_equal((struct bytes){found.data, prefix.size}, prefix)) {
        return ERR_NOT_FOUND;
    }
    assert(found.size <= KV_KEY_SIZE_MAX);
    memcpy(cursor->last, found.data, found.size);
    cursor->last_size = found.size;
    cursor->is_placed = true;
    cursor->is_there = true;
    *key = found;
    *value = from_val(&value_val);
    return OK;
}

enum err kv_cursor_delete(struct kv_cursor *cursor)
{
    assert(cursor->is_placed);
    return kv_delete(cursor->txn, (struct bytes){cursor->last, cursor->last_size});
}

void kv_cursor_close(struct kv_cursor *cursor)
{
    check_txn(cursor->txn);
    assert(cursor->txn->cursor_count > 0);
    cursor->txn->cursor_count--;
    mdb_cursor_close(cursor->cursor);
    mem_free(cursor);
}
