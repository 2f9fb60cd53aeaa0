/* What the files of the store's readers share. Private to them. */
#pragma once

#include "metadata/store.h"
#include "metadata/tables.h"

/* The snapshot of this turn. */
struct kv_txn *store_reader_txn(struct store_reader *reader);
enum err store_reader_get(struct store_reader *reader, struct table_key key, struct bytes *value);
struct store_state store_reader_state(struct store_reader *reader);

/* protobuf-c allocates through this: decoded values live in the caller's arena and are never freed one by one. It
 * tells a full arena and a damaged value in the same way; is_full tells them apart. */
struct decode_memory {
    struct arena *arena;
    bool is_full;
};
void *decode_alloc(void *data, size_t size);
void decode_free(void *data, void *piece);
