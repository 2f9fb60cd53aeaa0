/* Ordered key-value store with transactions: a thin wrapper over LMDB, and the only user of lmdb.h.
 *
 * Runs on:  any thread; a transaction stays on the thread that began it. One writer at a time (a second one waits, so
 *           writers hold it for microseconds); readers never wait and never block the writer.
 * Failure:  kv_commit() that fails durably (ERR_IO) -> the caller stops the process. A write that fails (ERR_NO_SPACE)
 *           dooms its transaction: later calls and the commit return the same code, and nothing of it is stored.
 *           Keys are 1..KV_KEY_SIZE_MAX bytes, else ERR_INVALID; values up to KV_VALUE_SIZE_MAX, else ERR_TOO_LARGE.
 * Caveats:  an environment is opened once per process (a second kv_open() returns ERR_EXISTS); a long read transaction
 *           keeps freed pages from reuse; the file holds no checksums, so damage within is found only where LMDB's own
 *           structure shows it. Cursors are closed before their transaction ends, renews or resets.
 * Source:   lmdb.h of LMDB 0.9.24, "Caveats". */
#pragma once

#include "base/bytes.h"

#define KV_KEY_SIZE_MAX 511           /* LMDB's compiled-in maximum */
#define KV_VALUE_SIZE_MAX 0xffffffffu /* LMDB keeps the size in 32 bits */

struct kv;
struct kv_txn;

enum kv_mode {
    KV_DURABLE,   /* commit returns when the transaction is on stable storage */
    KV_ORDERED,   /* a power loss may undo the last commit as a whole, never damage the store (LMDB's MDB_NOMETASYNC) */
};

/* Opens or creates the store in directory `path` (created if missing, its parent must be there; both are durable
 * afterwards). size_max bounds the file; a file that is larger already keeps its size. ERR_NOT_FOUND, ERR_DENIED,
 * ERR_CORRUPT (not a store, or damaged), ERR_UNSUPPORTED (another format), ERR_EXISTS (open in this process). */
MUST_CHECK enum err kv_open(const char *path, size_t size_max, enum kv_mode mode, struct kv **kv, struct errmsg *msg);
void kv_close(struct kv *kv); /* no transaction is open */
MUST_CHECK enum err kv_sync(struct kv *kv, struct errmsg *msg); /* all commits so far durable, in either mode */
/* Compact copy of the store into directory `path` (created if missing; ERR_EXISTS if a store is in it), durable when it
 * returns. Any thread; does not block the writer. A failed copy may leave a part behind: the caller removes it. */
MUST_CHECK enum err kv_copy(struct kv *kv, const char *path, struct errmsg *msg);

/* ERR_BUSY: too many readers at once (256). */
MUST_CHECK enum err kv_begin_read(struct kv *kv, struct kv_txn **txn);
MUST_CHECK enum err kv_begin_write(struct kv *kv, struct kv_txn **txn);
/* Ends a write transaction in any case. ERR_NO_SPACE when full: the store is as it was before. ERR_IO: see the top. */
MUST_CHECK enum err kv_commit(struct kv_txn *txn, struct errmsg *msg);
void kv_abort(struct kv_txn *txn);
/* Read transaction: gives the snapshot back / takes the newest one, without new allocation. Renewing one that was not
 * reset resets it first. Between the two only kv_renew() and kv_abort() are allowed. */
void kv_reset(struct kv_txn *txn);
MUST_CHECK enum err kv_renew(struct kv_txn *txn);
/* Names what a read transaction sees, until the store is closed: never 0, and greater in each later commit that changed
 * something. So two that are equal see the same. */
uint64_t kv_txn_snapshot(const struct kv_txn *txn);

/* The value lives in the mapping until the transaction ends or writes. ERR_NOT_FOUND. */
MUST_CHECK enum err kv_get(struct kv_txn *txn, struct bytes key, struct bytes *value);
MUST_CHECK enum err kv_put(struct kv_txn *txn, struct bytes key, struct bytes value);      /* replaces; ERR_NO_SPACE */
MUST_CHECK enum err kv_delete(struct kv_txn *txn, struct bytes key);                        /* ERR_NOT_FOUND */

/* Walks keys that start with `prefix` (empty: all), from the first >= `from` (empty: the prefix itself), in order. The
 * transaction may write meanwhile: the walk goes on behind the last key returned. `prefix` is copied. */
struct kv_cursor;
MUST_CHECK enum err kv_cursor_open(struct kv_txn *txn, struct bytes prefix, struct bytes from,
                                   struct kv_cursor **cursor);
/* ERR_NOT_FOUND at the end. Key and value live as long as those of kv_get(). Deleting the pair just returned
 * (kv_cursor_delete, ERR_NOT_FOUND if it is gone) is allowed in a write transaction. */
MUST_CHECK enum err kv_cursor_next(struct kv_cursor *cursor, struct bytes *key, struct bytes *value);
MUST_CHECK enum err kv_cursor_delete(struct kv_cursor *cursor);
void kv_cursor_close(struct kv_cursor *cursor);
