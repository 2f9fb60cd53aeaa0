/* Ordered key-value store with transactions: a thin wrapper over LMDB, and the only user of lmdb.h.
 *
 * Runs on:  any thread; a transaction stays on the thread that began it. One writer at a time (a second one waits, so
 *           writers hold it for microseconds); readers never wait and never block the writer.
 * Failure:  kv_commit() that fails durably -> the caller stops the process. Keys are 1..KV_KEY_SIZE_MAX bytes.
 * Caveats:  an environment is opened once per process; a long read transaction keeps freed pages from reuse. */
#pragma once

#include "base/bytes.h"

#define KV_KEY_SIZE_MAX 511

struct kv;
struct kv_txn;

enum kv_mode {
    KV_DURABLE,   /* commit returns when the transaction is on stable storage */
    KV_ORDERED,   /* a power loss may undo the last commit as a whole, never damage the store (LMDB's MDB_NOMETASYNC) */
};

/* Opens or creates the store in directory `path` (created if missing). size_max bounds the file. */
MUST_CHECK enum err kv_open(const char *path, size_t size_max, enum kv_mode mode, struct kv **kv, struct errmsg *msg);
void kv_close(struct kv *kv);
MUST_CHECK enum err kv_sync(struct kv *kv, struct errmsg *msg); /* all commits so far durable, in either mode */
/* Compact copy of the store into directory `path` (must be empty). Any thread; does not block the writer. */
MUST_CHECK enum err kv_copy(struct kv *kv, const char *path, struct errmsg *msg);

MUST_CHECK enum err kv_begin_read(struct kv *kv, struct kv_txn **txn);
MUST_CHECK enum err kv_begin_write(struct kv *kv, struct kv_txn **txn);
MUST_CHECK enum err kv_commit(struct kv_txn *txn, struct errmsg *msg); /* ends it in any case; ERR_NO_SPACE when full */
void kv_abort(struct kv_txn *txn);
/* Read transaction: gives the snapshot back / takes the newest one, without new allocation. */
void kv_reset(struct kv_txn *txn);
MUST_CHECK enum err kv_renew(struct kv_txn *txn);

/* The value lives in the mapping until the transaction ends or writes. ERR_NOT_FOUND. */
MUST_CHECK enum err kv_get(struct kv_txn *txn, struct bytes key, struct bytes *value);
MUST_CHECK enum err kv_put(struct kv_txn *txn, struct bytes key, struct bytes value);      /* replaces; ERR_NO_SPACE */
MUST_CHECK enum err kv_delete(struct kv_txn *txn, struct bytes key);                        /* ERR_NOT_FOUND */

/* Walks keys that start with `prefix`, from the first >= `from` (empty: the prefix itself), in order. */
struct kv_cursor;
MUST_CHECK enum err kv_cursor_open(struct kv_txn *txn, struct bytes prefix, struct bytes from, struct kv_cursor **cursor);
/* ERR_NOT_FOUND at the end. Deleting the pair just returned (kv_cursor_delete) is allowed in a write transaction. */
MUST_CHECK enum err kv_cursor_next(struct kv_cursor *cursor, struct bytes *key, struct bytes *value);
MUST_CHECK enum err kv_cursor_delete(struct kv_cursor *cursor);
void kv_cursor_close(struct kv_cursor *cursor);
