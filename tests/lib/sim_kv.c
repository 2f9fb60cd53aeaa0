/* A version of a store is a sorted array of counted pairs. A write transaction works on a copy of the array; a commit
 * puts the copy in the store's place. Readers hold the version that they began with. */
#include "tests/lib/sim_kv.h"

#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/sim_disk_internal.h"

enum {
    READER_COUNT_MAX = 4 * SHARD_COUNT_MAX, /* as base/kv.c */
    PAIR_OVERHEAD = 24,
    PAGE_SIZE = 4096,
    LARGE_SIZE = 2000, /* such a pair takes pages of its own in LMDB */
    RESERVE_SIZE = 8 * PAGE_SIZE,
};

struct pair {
    uint32_t references;
    size_t key_size;
    size_t value_size;
    uint8_t data[]; /* key, value */
};

struct version {
    uint32_t references;
    struct pair **pairs;
    size_t count;
    size_t capacity;
    size_t size;     /* what it would take in LMDB's file, about */
    uint64_t number; /* of commits before it; a power loss may give one back, as in LMDB */
};

struct store {
    struct sim_attachment attachment;
    struct version *current;
    struct version *before; /* what a power loss may go back to; NULL: nowhere */
    bool is_open;
    bool is_writing;
    bool is_damaged;
};

struct kv {
    struct store *store;
    struct sim_node *node;
    struct sim_disk *disk;
    char *path;
    size_t size_max;
    enum kv_mode mode;
    size_t reader_count;
    struct list txns;
    struct list link; /* of the process's stores */
};

struct kv_txn {
    struct kv *kv;
    struct version *version; /* NULL while reset */
    bool is_write;
    enum err err;
    size_t cursor_count;
    size_t changed_size;
    struct list link;
};

struct kv_cursor {
    struct kv_txn *txn;
    bool is_placed; /* `last` was returned; else it is where to start */
    size_t prefix_size;
    size_t last_size;
    uint8_t prefix[KV_KEY_SIZE_MAX];
    uint8_t last[KV_KEY_SIZE_MAX];
};

/* ---- Versions */

static void pair_release(struct pair *pair)
{
    pair->references--;
    if (pair->references == 0) {
        sim_free(pair);
    }
}

static struct bytes pair_key(const struct pair *pair)
{
    return (struct bytes){pair->data, pair->key_size};
}

static size_t pair_cost(size_t key_size, size_t value_size)
{
    size_t size = key_size + value_size + PAIR_OVERHEAD;
    return size < LARGE_SIZE ? size : (size + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
}

static struct version *version_copy(const struct version *source)
{
    struct version *copy = sim_alloc(sizeof(*copy));
    copy->references = 1;
    if (source != NULL && source->count > 0) {
        copy->count = source->count;
        copy->capacity = source->count + 8;
        copy->size = source->size;
        copy->pairs = sim_alloc(copy->capacity * sizeof(struct pair *));
        memcpy(copy->pairs, source->pairs, copy->count * sizeof(struct pair *));
        for (size_t i = 0; i < copy->count; i++) {
            copy->pairs[i]->references++;
        }
    }
    return copy;
}

static struct version *version_acquire(struct version *version)
{
    version->references++;
    return version;
}

static void version_release(struct version *version)
{
    if (version == NULL) {
        return;
    }
    version->references--;
    if (version->references > 0) {
        return;
    }
    for (size_t i = 0; i < version->count; i++) {
        pair_release(version->pairs[i]);
    }
    sim_free(version->pairs);
    sim_free(version);
}

/* Slot of the first key >= `key`. */
static size_t version_slot(const struct version *version, struct bytes key, bool *is_there)
{
    size_t low = 0;
    size_t high = version->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (bytes_compare(pair_key(version->pairs[middle]), key) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    *is_there = low < version->count && bytes_equal(pair_key(version->pairs[low]), key);
    return low;
}

static void version_remove(struct version *version, size_t slot)
{
    struct pair *pair = version->pairs[slot];
    version->size -= pair_cost(pair->key_size, pair->value_size);
    version->count--;
    memmove(&version->pairs[slot], &version->pairs[slot + 1], (version->count - slot) * sizeof(struct pair *));
    pair_release(pair);
}

static void version_insert(struct version *version, size_t slot, struct bytes key, struct bytes value)
{
    struct pair *pair = sim_alloc(sizeof(*pair) + key.size + value.size);
    *pair = (struct pair){.references = 1, .key_size = key.size, .value_size = value.size};
    memcpy(pair->data, key.data, key.size);
    if (value.size > 0) {
        memcpy(pair->data + key.size, value.data, value.size);
    }
    if (version->count == version->capacity) {
        version->capacity = version->capacity == 0 ? 8 : 2 * version->capacity;
        version->pairs = sim_resize(version->pairs, version->capacity * sizeof(struct pair *));
    }
    memmove(&version->pairs[slot + 1], &version->pairs[slot], (version->count - slot) * sizeof(struct pair *));
    version->pairs[slot] = pair;
    version->count++;
    version->size += pair_cost(key.size, value.size);
}

/* ---- Stores */

static void store_power_loss(struct sim_attachment *attachment, struct sim_random *random)
{
    struct store *store = container_of(attachment, struct store, attachment);
    if (store->before != NULL && sim_random_below(random, 2) == 0) {
        version_release(store->current);
        store->current = store->before;
        store->before = NULL;
    }
    version_release(store->before);
    store->before = NULL;
}

static void store_close(struct sim_attachment *attachment)
{
    struct store *store = container_of(attachment, struct store, attachment);
    version_release(store->current);
    version_release(store->before);
    sim_free(store);
}

static struct store *store_of(const struct sim_node *node)
{
    return node->attachment == NULL ? NULL : container_of(node->attachment, struct store, attachment);
}

static struct store *store_attach(struct sim_disk *disk, struct sim_node *node, const struct version *version)
{
    struct store *store = sim_alloc(sizeof(*store));
    store->attachment = (struct sim_attachment){.power_loss = store_power_loss, .close = store_close};
    store->current = version_copy(version);
    node->attachment = &store->attachment;
    list_push(&disk->names.attached, &node->link);
    return store;
}

/* The directory of a store, made if it is missing, with its names durable, and "data.mdb" in it. */
static enum err store_find(struct sim_disk *disk, const char *path, bool is_new, struct sim_node **node_out)
{
    struct sim_node *parent;
    const char *name;
    enum err err = sim_names_parent(&disk->names, sim_disk_inner_path(disk, path), &parent, &name);
    if (err != OK) {
        return err;
    }
    struct sim_node *directory = sim_node_find(parent, name);
    if (directory == NULL) {
        char copy[256];
        memcpy(copy, name, sizeof(copy));
        err = sim_disk_op_whole(disk, SIM_OP_MKDIR, path);
        if (err != OK) {
            return err;
        }
        directory = sim_names_create(&disk->names, parent, copy, true);
    }
    if (!directory->is_directory) {
        return ERR_IO;
    }
    struct sim_node *node = sim_node_find(directory, "data.mdb");
    if (node == NULL) {
        err = sim_disk_op_whole(disk, SIM_OP_CREATE, path);
        if (err != OK) {
            return err;
        }
        node = sim_names_create(&disk->names, directory, "data.mdb", false);
        if (!is_new) {
            (void)store_attach(disk, node, NULL);
        }
    } else if (is_new) {
        return ERR_EXISTS;
    }
    if (sim_node_find(directory, "lock.mdb") == NULL) {
        (void)sim_names_create(&disk->names, directory, "lock.mdb", false);
    }
    err = sim_disk_op_whole(disk, SIM_OP_SYNC_DIR, path);
    if (err != OK) {
        return err;
    }
    sim_names_sync(&disk->names, directory);
    sim_names_sync(&disk->names, parent);
    *node_out = node;
    return OK;
}

enum err kv_open(const char *path, size_t size_max, enum kv_mode mode, struct kv **kv_out, struct errmsg *msg)
{
    struct sim_disk *disk = sim_disk_of_path(path);
    struct sim_process *process = sim_process_current();
    struct sim_node *node;
    assert(disk != NULL);
    enum err err = sim_disk_op_whole(disk, SIM_OP_PREAD, path);
    if (err == OK) {
        err = store_find(disk, path, false, &node);
    }
    if (err != OK) {
        return fail(msg, err, "open store %s: %s", path, err_text(err));
    }
    struct store *store = store_of(node);
    if (store == NULL || store->is_damaged) {
        return fail(msg, ERR_CORRUPT, "open store %s: damaged", path);
    }
    if (store->is_open) {
        return fail(msg, ERR_EXISTS, "store %s is open in this process already", path);
    }
    struct kv *kv = mem_alloc(sizeof(*kv));
    *kv = (struct kv){.store = store, .node = sim_node_acquire(node), .disk = disk, .mode = mode};
    kv->path = mem_strdup(path);
    kv->size_max = size_max > store->current->size ? size_max : store->current->size;
    list_init(&kv->txns);
    list_init(&kv->link);
    if (process != NULL) {
        list_push(&process->stores, &kv->link);
    }
    store->is_open = true;
    *kv_out = kv;
    return OK;
}

void kv_close(struct kv *kv)
{
    assert(list_is_empty(&kv->txns));
    kv->store->is_open = false;
    sim_node_release(kv->node);
    list_remove(&kv->link);
    mem_free(kv->path);
    mem_free(kv);
}

/* Its memory goes with the process; what the disk holds of it has to be given back. */
void sim_kv_on_death(struct sim_process *process)
{
    while (!list_is_empty(&process->stores)) {
        struct kv *kv = container_of(process->stores.next, struct kv, link);
        for (struct list *link = kv->txns.next; link != &kv->txns; link = link->next) {
            version_release(container_of(link, struct kv_txn, link)->version);
        }
        kv->store->is_open = false;
        kv->store->is_writing = false;
        sim_node_release(kv->node);
        list_remove(&kv->link);
    }
}

bool sim_kv_damage(struct sim_disk *disk, const char *path)
{
    const struct sim_node *directory = sim_names_find(&disk->names, sim_disk_inner_path(disk, path));
    const struct sim_node *node = directory == NULL ? NULL : sim_node_find(directory, "data.mdb");
    struct store *store = node == NULL ? NULL : store_of(node);
    if (store != NULL) {
        store->is_damaged = true;
    }
    return store != NULL;
}

enum err kv_sync(struct kv *kv, struct errmsg *msg)
{
    enum err err = sim_disk_op_whole(kv->disk, SIM_OP_SYNC, kv->path);
    if (err != OK) {
        return fail(msg, err, "sync store: %s", err_text(err));
    }
    version_release(kv->store->before);
    kv->store->before = NULL;
    return OK;
}

enum err kv_copy(struct kv *kv, const char *path, struct errmsg *msg)
{
    struct sim_node *node;
    assert(sim_disk_of_path(path) == kv->disk);
    enum err err = store_find(kv->disk, path, true, &node);
    if (err != OK) {
        return fail(msg, err, "copy store to %s: %s", path, err_text(err));
    }
    (void)store_attach(kv->disk, node, kv->store->current);
    return OK;
}

/* ---- Transactions */

static enum err begin(struct kv *kv, bool is_write, struct kv_txn **txn_out)
{
    if (!is_write && kv->reader_count == READER_COUNT_MAX) {
        return ERR_BUSY;
    }
    assert(!is_write || !kv->store->is_writing); /* a second writer would wait for ever on this one thread */
    struct kv_txn *txn = mem_alloc(sizeof(*txn));
    txn->kv = kv;
    txn->is_write = is_write;
    txn->version = is_write ? version_copy(kv->store->current) : version_acquire(kv->store->current);
    kv->store->is_writing = kv->store->is_writing || is_write;
    kv->reader_count += is_write ? 0 : 1;
    list_push(&kv->txns, &txn->link);
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

static void txn_end(struct kv_txn *txn)
{
    assert(txn->cursor_count == 0);
    version_release(txn->version);
    if (txn->is_write) {
        txn->kv->store->is_writing = false;
    } else {
        txn->kv->reader_count--;
    }
    list_remove(&txn->link);
    mem_free(txn);
}

enum err kv_commit(struct kv_txn *txn, struct errmsg *msg)
{
    struct kv *kv = txn->kv;
    struct store *store = kv->store;
    enum err err = txn->err;
    assert(txn->is_write);
    if (err != OK) {
        (void)fail(msg, err, "commit to store: an earlier write failed: %s", err_text(err));
    } else if (txn->changed_size > 0) {
        err = sim_disk_op_whole(kv->disk, SIM_OP_COMMIT, kv->path);
        if (err != OK) {
            (void)fail(msg, err, "commit to store: %s", err_text(err));
        } else {
            version_release(store->before);
            store->before = store->current;
            store->current = version_acquire(txn->version);
            store->current->number = store->before->number + 1;
            if (kv->mode == KV_DURABLE) {
                version_release(store->before);
                store->before = NULL;
            }
        }
    }
    txn_end(txn);
    return err;
}

void kv_abort(struct kv_txn *txn)
{
    txn_end(txn);
}

void kv_reset(struct kv_txn *txn)
{
    assert(!txn->is_write);
    assert(txn->cursor_count == 0);
    assert(txn->version != NULL);
    version_release(txn->version);
    txn->version = NULL;
}

enum err kv_renew(struct kv_txn *txn)
{
    if (txn->version != NULL) {
        kv_reset(txn);
    }
    txn->version = version_acquire(txn->kv->store->current);
    return OK;
}

uint64_t kv_txn_snapshot(const struct kv_txn *txn)
{
    assert(!txn->is_write);
    assert(txn->version != NULL);
    return txn->version->number + 1;
}

/* ---- Values */

static enum err check(const struct kv_txn *txn, struct bytes key)
{
    assert(txn->version != NULL);
    return key.size < 1 || key.size > KV_KEY_SIZE_MAX ? ERR_INVALID : txn->err;
}

enum err kv_get(struct kv_txn *txn, struct bytes key, struct bytes *value)
{
    enum err err = check(txn, key);
    if (err != OK) {
        return err;
    }
    bool is_there;
    size_t slot = version_slot(txn->version, key, &is_there);
    if (!is_there) {
        return ERR_NOT_FOUND;
    }
    const struct pair *pair = txn->version->pairs[slot];
    *value = (struct bytes){pair->data + pair->key_size, pair->value_size};
    return OK;
}

enum err kv_put(struct kv_txn *txn, struct bytes key, struct bytes value)
{
    assert(txn->is_write);
    enum err err = check(txn, key);
    if (err != OK) {
        return err;
    }
    if (value.size > KV_VALUE_SIZE_MAX) {
        return ERR_TOO_LARGE;
    }
    size_t cost = pair_cost(key.size, value.size);
    /* What is replaced is not reused before the commit, as pages are not in LMDB. */
    if (txn->version->size + txn->changed_size + cost + RESERVE_SIZE > txn->kv->size_max) {
        txn->err = ERR_NO_SPACE;
        return ERR_NO_SPACE;
    }
    bool is_there;
    size_t slot = version_slot(txn->version, key, &is_there);
    struct pair *before = is_there ? txn->version->pairs[slot] : NULL;
    if (before != NULL) {
        before->references++; /* key or value may lie in it */
        version_remove(txn->version, slot);
        txn->changed_size += pair_cost(before->key_size, before->value_size);
    }
    version_insert(txn->version, slot, key, value);
    if (before != NULL) {
        pair_release(before);
    }
    txn->changed_size += 1;
    return OK;
}

enum err kv_delete(struct kv_txn *txn, struct bytes key)
{
    assert(txn->is_write);
    enum err err = check(txn, key);
    if (err != OK) {
        return err;
    }
    bool is_there;
    size_t slot = version_slot(txn->version, key, &is_there);
    if (!is_there) {
        return ERR_NOT_FOUND;
    }
    version_remove(txn->version, slot);
    txn->changed_size += 1;
    return OK;
}

/* ---- Cursors */

enum err kv_cursor_open(struct kv_txn *txn, struct bytes prefix, struct bytes from, struct kv_cursor **cursor_out)
{
    assert(txn->version != NULL);
    if (prefix.size > KV_KEY_SIZE_MAX || from.size > KV_KEY_SIZE_MAX) {
        return ERR_INVALID;
    }
    if (txn->err != OK) {
        return txn->err;
    }
    struct kv_cursor *cursor = mem_alloc(sizeof(*cursor));
    struct bytes start = bytes_compare(from, prefix) > 0 ? from : prefix;
    cursor->txn = txn;
    cursor->prefix_size = prefix.size;
    cursor->last_size = start.size;
    if (prefix.size > 0) {
        memcpy(cursor->prefix, prefix.data, prefix.size);
    }
    if (start.size > 0) {
        memcpy(cursor->last, start.data, start.size);
    }
    txn->cursor_count++;
    *cursor_out = cursor;
    return OK;
}

enum err kv_cursor_next(struct kv_cursor *cursor, struct bytes *key, struct bytes *value)
{
    const struct kv_txn *txn = cursor->txn;
    assert(txn->version != NULL);
    if (txn->err != OK) {
        return txn->err;
    }
    bool is_there;
    size_t slot = version_slot(txn->version, (struct bytes){cursor->last, cursor->last_size}, &is_there);
    slot += is_there && cursor->is_placed ? 1 : 0;
    if (slot == txn->version->count) {
        return ERR_NOT_FOUND;
    }
    const struct pair *pair = txn->version->pairs[slot];
    struct bytes found = pair_key(pair);
    if (found.size < cursor->prefix_size || memcmp(found.data, cursor->prefix, cursor->prefix_size) != 0) {
        return ERR_NOT_FOUND;
    }
    memcpy(cursor->last, found.data, found.size);
    cursor->last_size = found.size;
    cursor->is_placed = true;
    *key = found;
    *value = (struct bytes){pair->data + pair->key_size, pair->value_size};
    return OK;
}

enum err kv_cursor_delete(struct kv_cursor *cursor)
{
    assert(cursor->is_placed);
    return kv_delete(cursor->txn, (struct bytes){cursor->last, cursor->last_size});
}

void kv_cursor_close(struct kv_cursor *cursor)
{
    assert(cursor->txn->cursor_count > 0);
    cursor->txn->cursor_count--;
    mem_free(cursor);
}
