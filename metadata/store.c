/* Happy path: the first read of a loop turn renews the shard's snapshot; a task at the end of the turn gives it back,
 * so that the writer can reuse freed pages; what was read borrows from the mapping until then. What requests ask for
 * most, names of topics and groups of partitions, is held across turns for as long as nobody commits.
 * Failure: a value that does not decode is damage of the store; LMDB's pages carry no checksum, so it is told apart
 * from "absent" (ERR_CORRUPT) and callers answer with a server error. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "metadata/store_cache.h"
#include "metadata/store_internal.h"
#include "proto/record.pb-c.h"
#include <string.h>

struct store {
    struct kv *kv;
    char *path;
};

struct store_reader {
    struct store *store;
    struct env *env;
    struct kv_txn *txn;
    bool is_fresh;    /* renewed in this turn */
    struct task turn; /* gives the snapshot back */
    struct store_cache cache;
};

enum err store_open(const char *path, struct store **out, struct errmsg *msg)
{
    struct store *store = mem_alloc(sizeof(*store));
    enum err err = kv_open(path, STORE_SIZE_MAX, KV_ORDERED, &store->kv, msg);
    if (err != OK) {
        mem_free(store);
        return err;
    }
    store->path = mem_strdup(path);
    *out = store;
    return OK;
}

void store_close(struct store *store)
{
    kv_close(store->kv);
    mem_free(store->path);
    mem_free(store);
}

const char *store_path(const struct store *store)
{
    return store->path;
}

enum err store_is_empty(struct store *store, bool *is_empty, struct errmsg *msg)
{
    struct table_key key = key_state();
    struct kv_txn *txn;
    struct bytes value;
    enum err err = kv_begin_read(store->kv, &txn);
    if (err == OK) {
        err = kv_get(txn, table_key_bytes(&key), &value);
        kv_abort(txn);
    }
    *is_empty = err == ERR_NOT_FOUND;
    return err == OK || *is_empty ? OK : fail(msg, err, "store %s: %s", store->path, err_text(err));
}

struct kv *store_kv(struct store *store)
{
    return store->kv;
}

static void reader_on_turn(struct task *task)
{
    store_reader_refresh(container_of(task, struct store_reader, turn));
}

struct store_reader *store_reader_open(struct store *store, struct env *env)
{
    struct store_reader *reader = mem_alloc(sizeof(*reader));
    reader->store = store;
    reader->env = env;
    task_init(&reader->turn, reader_on_turn);
    store_cache_init(&reader->cache);
    enum err err = kv_begin_read(store->kv, &reader->txn);
    if (err != OK) {
        process_stop("metadata store: no read transaction: %s", err_text(err));
    }
    kv_reset(reader->txn);
    return reader;
}

void store_reader_close(struct store_reader *reader)
{
    reader->env->tasks->cancel(reader->env->tasks, &reader->turn);
    kv_abort(reader->txn);
    store_cache_deinit(&reader->cache);
    mem_free(reader);
}

void store_reader_refresh(struct store_reader *reader)
{
    if (reader->is_fresh) {
        kv_reset(reader->txn);
        reader->is_fresh = false;
    }
}

struct kv_txn *store_reader_txn(struct store_reader *reader)
{
    if (!reader->is_fresh) {
        enum err err = kv_renew(reader->txn);
        if (err != OK) {
            process_stop("metadata store: cannot renew a read transaction: %s", err_text(err));
        }
        reader->is_fresh = true;
        store_cache_renew(&reader->cache, kv_txn_snapshot(reader->txn));
        env_task(reader->env, &reader->turn);
    }
    return reader->txn;
}

/* Of this turn's snapshot: without one it would still be of an earlier turn's. */
static struct store_cache *reader_cache(struct store_reader *reader)
{
    (void)store_reader_txn(reader);
    return &reader->cache;
}

enum err store_reader_get(struct store_reader *reader, struct table_key key, struct bytes *value)
{
    return kv_get(store_reader_txn(reader), table_key_bytes(&key), value);
}

struct store_state store_reader_state(struct store_reader *reader)
{
    struct store_state state = {0};
    struct bytes value;
    if (store_reader_get(reader, key_state(), &value) == OK && store_state_decode(value, &state) != OK) {
        state = (struct store_state){0};
    }
    return state;
}

uint64_t store_applied_index(struct store_reader *reader)
{
    return store_reader_state(reader).applied_index;
}

uint64_t store_topic_count(struct store_reader *reader)
{
    return store_reader_state(reader).topic_count;
}

uint64_t store_partition_count(struct store_reader *reader)
{
    return store_reader_state(reader).partition_count;
}

enum err store_cluster_id(struct store_reader *reader, char id[CLUSTER_ID_SIZE + 1])
{
    struct store_state state = store_reader_state(reader);
    if (!state.has_cluster_id) {
        return ERR_NOT_FOUND;
    }
    memcpy(id, state.cluster_id, CLUSTER_ID_SIZE);
    id[CLUSTER_ID_SIZE] = '\0';
    return OK;
}

void *decode_alloc(void *data, size_t size)
{
    struct decode_memory *memory = data;
    void *piece = arena_alloc(memory->arena, size > 0 ? size : 1);
    memory->is_full = memory->is_full || piece == NULL;
    return piece;
}

void decode_free(void *data, void *piece)
{
    (void)data;
    (void)piece;
}

static enum err configs_from_records(Balsa__Record__Config **records, size_t count, struct arena *arena,
                                     struct store_configs *configs)
{
    *configs = (struct store_configs){NULL, count};
    if (count > 0) {
        configs->items = arena_alloc(arena, count * sizeof(*configs->items));
        if (configs->items == NULL) {
            return ERR_TOO_LARGE;
        }
    }
    for (size_t i = 0; i < count; i++) {
        configs->items[i].name = bytes_from_text(records[i]->name);
        configs->items[i].value = bytes_from_text(records[i]->value);
    }
    return OK;
}

static enum err topic_from_value(struct bytes value, struct arena *arena, struct store_topic *topic)
{
    struct decode_memory memory = {.arena = arena};
    ProtobufCAllocator allocator = {decode_alloc, decode_free, &memory};
    Balsa__Record__TopicValue *decoded = balsa__record__topic_value__unpack(&allocator, value.size, value.data);
    if (memory.is_full) {
        return ERR_TOO_LARGE;
    }
    if (decoded == NULL || decoded->id.len != sizeof(topic->id.bytes)) {
        return ERR_CORRUPT;
    }
    memcpy(topic->id.bytes, decoded->id.data, sizeof(topic->id.bytes));
    topic->name = bytes_from_text(decoded->name);
    topic->partition_count = (int32_t)decoded->partition_count;
    struct store_configs configs;
    enum err err = configs_from_records(decoded->configs, decoded->n_configs, arena, &configs);
    topic->configs = configs.items;
    topic->config_count = configs.count;
    return err;
}

enum err store_broker_configs(struct store_reader *reader, struct arena *arena, int32_t id,
                              struct store_configs *configs)
{
    struct decode_memory memory = {.arena = arena};
    ProtobufCAllocator allocator = {decode_alloc, decode_free, &memory};
    struct bytes value;
    *configs = (struct store_configs){NULL, 0};
    enum err err = store_reader_get(reader, key_broker_configs(id), &value);
    if (err != OK) {
        return err == ERR_NOT_FOUND ? OK : err;
    }
    Balsa__Record__BrokerConfigsValue *decoded =
        balsa__record__broker_configs_value__unpack(&allocator, value.size, value.data);
    if (decoded == NULL) {
        return memory.is_full ? ERR_TOO_LARGE : ERR_CORRUPT;
    }
    return configs_from_records(decoded->configs, decoded->n_configs, arena, configs);
}

enum err store_topic_by_id(struct store_reader *reader, struct arena *arena, const struct uuid *id,
                           struct store_topic *topic)
{
    struct bytes value;
    enum err err = store_reader_get(reader, key_topic(id), &value);
    return err == OK ? topic_from_value(value, arena, topic) : err;
}

enum err store_topic_id(struct store_reader *reader, struct bytes name, struct uuid *id)
{
    struct bytes value;
    if (name.size == 0 || name.size > TOPIC_NAME_SIZE_MAX) {
        return ERR_NOT_FOUND;
    }
    if (store_cache_get_topic(reader_cache(reader), name, id)) {
        return OK;
    }
    enum err err = store_reader_get(reader, key_topic_name(name), &value);
    if (err != OK) {
        return err;
    }
    if (value.size != sizeof(id->bytes)) {
        return ERR_CORRUPT;
    }
    memcpy(id->bytes, value.data, sizeof(id->bytes));
    store_cache_put_topic(reader_cache(reader), name, id);
    return OK;
}

enum err store_topic_colliding(struct store_reader *reader, struct bytes name, struct bytes *other)
{
    if (name.size == 0 || name.size > TOPIC_NAME_SIZE_MAX) {
        return ERR_NOT_FOUND;
    }
    return store_reader_get(reader, key_topic_folded(name), other);
}

enum err store_topic_by_name(struct store_reader *reader, struct arena *arena, struct bytes name,
                             struct store_topic *topic)
{
    struct uuid id;
    enum err err = store_topic_id(reader, name, &id);
    return err == OK ? store_topic_by_id(reader, arena, &id, topic) : err;
}

enum err store_topic_name(struct store_reader *reader, struct arena *arena, const struct uuid *id, struct bytes *name)
{
    struct store_topic topic;
    enum err err = store_topic_by_id(reader, arena, id, &topic);
    if (err == OK) {
        *name = topic.name;
    }
    return err;
}

enum err store_partition_group(struct store_reader *reader, const struct uuid *id, int32_t index, uint64_t *group)
{
    struct bytes value;
    if (store_cache_get_partition(reader_cache(reader), id, index, group)) {
        return OK;
    }
    enum err err = store_reader_get(reader, key_partition(id, index), &value);
    err = err == OK ? partition_value_group(value, group) : err;
    if (err == OK) {
        store_cache_put_partition(reader_cache(reader), id, index, *group);
    }
    return err;
}

static void *arena_clone(struct arena *arena, const void *data, size_t size)
{
    void *copy = arena_alloc(arena, size > 0 ? size : 1);
    if (copy != NULL && size > 0) {
        memcpy(copy, data, size);
    }
    return copy;
}

static enum err partition_from_value(struct bytes value, struct arena *arena, struct store_partition *partition)
{
    struct partition_value decoded;
    enum err err = partition_value_decode(value, &decoded);
    if (err != OK) {
        return err;
    }
    *partition = (struct store_partition){.group = decoded.group,
                                          .bootstrap_term = decoded.bootstrap_term,
                                          .move_epoch = decoded.move_epoch,
                                          .replica_count = decoded.replica_count,
                                          .target_count = decoded.target_count,
                                          .leaving_count = decoded.leaving_count,
                                          .server_count = decoded.server_count};
    partition->replicas = arena_clone(arena, decoded.replicas, decoded.replica_count * sizeof(int32_t));
    partition->target = arena_clone(arena, decoded.target, decoded.target_count * sizeof(int32_t));
    partition->leaving = arena_clone(arena, decoded.leaving, decoded.leaving_count * sizeof(int32_t));
    partition->servers = arena_clone(arena, decoded.servers, decoded.server_count * sizeof(uint64_t));
    bool is_whole = partition->replicas != NULL && partition->target != NULL && partition->leaving != NULL &&
                    partition->servers != NULL;
    return is_whole ? OK : ERR_TOO_LARGE;
}

enum err store_partition(struct store_reader *reader, struct arena *arena, const struct uuid *id, int32_t index,
                         struct store_partition *partition)
{
    struct bytes value;
    enum err err = store_reader_get(reader, key_partition(id, index), &value);
    return err == OK ? partition_from_value(value, arena, partition) : err;
}

enum err store_group(struct store_reader *reader, uint64_t group, struct uuid *id, int32_t *index)
{
    struct bytes value;
    struct reader cursor;
    enum err err = store_reader_get(reader, key_group(group), &value);
    if (err != OK) {
        return err;
    }
    reader_init(&cursor, value);
    struct bytes topic = read_bytes(&cursor, sizeof(id->bytes));
    *index = read_i32(&cursor);
    if (cursor.err != OK) {
        return ERR_CORRUPT;
    }
    memcpy(id->bytes, topic.data, sizeof(id->bytes));
    return OK;
}

static struct store_endpoint endpoint_from_record(const Balsa__Record__Endpoint *record)
{
    return (struct store_endpoint){
        .listener = bytes_from_text(record->listener),
        .host = bytes_from_text(record->host),
        .port = (uint16_t)record->port,
    };
}

static enum err broker_from_value(struct bytes value, struct arena *arena, struct store_broker *broker)
{
    struct decode_memory memory = {.arena = arena};
    ProtobufCAllocator allocator = {decode_alloc, decode_free, &memory};
    Balsa__Record__BrokerValue *whole = balsa__record__broker_value__unpack(&allocator, value.size, value.data);
    if (memory.is_full) {
        return ERR_TOO_LARGE;
    }
    if (whole == NULL || whole->registered == NULL ||
        whole->registered->incarnation.len != sizeof(broker->incarnation)) {
        return ERR_CORRUPT;
    }
    const Balsa__Record__BrokerRegistered *decoded = whole->registered;
    broker->is_draining = whole->state == BALSA__RECORD__BROKER_STATE__BROKER_DRAINING;
    broker->id = decoded->id;
    broker->server_id = decoded->server_id;
    memcpy(broker->incarnation, decoded->incarnation.data, sizeof(broker->incarnation));
    broker->rack = bytes_from_text(decoded->rack);
    broker->endpoint_count = decoded->n_endpoints;
    broker->endpoints = arena_alloc(arena, (decoded->n_endpoints + 1) * sizeof(*broker->endpoints));
    if (broker->endpoints == NULL) {
        return ERR_TOO_LARGE;
    }
    for (size_t i = 0; i < decoded->n_endpoints; i++) {
        broker->endpoints[i] = endpoint_from_record(decoded->endpoints[i]);
    }
    broker->peer = decoded->peer != NULL ? endpoint_from_record(decoded->peer) : (struct store_endpoint){.port = 0};
    return OK;
}

enum err store_broker(struct store_reader *reader, struct arena *arena, int32_t id, struct store_broker *broker)
{
    struct bytes value;
    enum err err = store_reader_get(reader, key_broker(id), &value);
    return err == OK ? broker_from_value(value, arena, broker) : err;
}

enum err store_topics_each(struct store_reader *reader, struct arena *arena, void *context,
                           bool (*cb)(void *context, const struct store_topic *topic))
{
    struct table_key prefix = key_table('t');
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    enum err err = kv_cursor_open(store_reader_txn(reader), table_key_bytes(&prefix), BYTES_NONE, &cursor);
    if (err != OK) {
        return err;
    }
    while ((err = kv_cursor_next(cursor, &key, &value)) == OK) {
        struct store_topic topic;
        struct uuid id;
        if (value.size != sizeof(id.bytes)) {
            err = ERR_CORRUPT;
            break;
        }
        memcpy(id.bytes, value.data, sizeof(id.bytes));
        err = store_topic_by_id(reader, arena, &id, &topic);
        err = err == ERR_NOT_FOUND ? ERR_CORRUPT : err; /* a name without a topic */
        if (err != OK || !cb(context, &topic)) {
            break;
        }
    }
    kv_cursor_close(cursor);
    return err == ERR_NOT_FOUND ? OK : err;
}

enum err store_brokers_each(struct store_reader *reader, struct arena *arena, void *context,
                            bool (*cb)(void *context, const struct store_broker *broker))
{
    struct table_key prefix = key_table('b');
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    enum err err = kv_cursor_open(store_reader_txn(reader), table_key_bytes(&prefix), BYTES_NONE, &cursor);
    if (err != OK) {
        return err;
    }
    while ((err = kv_cursor_next(cursor, &key, &value)) == OK) {
        struct store_broker broker;
        err = broker_from_value(value, arena, &broker);
        if (err != OK || !cb(context, &broker)) {
            break;
        }
    }
    kv_cursor_close(cursor);
    return err == ERR_NOT_FOUND ? OK : err;
}

static enum err partition_place(struct bytes key, struct uuid *topic, int32_t *index)
{
    struct reader cursor;
    reader_init(&cursor, key);
    (void)read_u8(&cursor); /* the table */
    struct bytes id = read_bytes(&cursor, sizeof(topic->bytes));
    *index = read_i32(&cursor);
    if (cursor.err != OK) {
        return ERR_CORRUPT;
    }
    memcpy(topic->bytes, id.data, sizeof(topic->bytes));
    return OK;
}

enum err store_partitions_each(struct store_reader *reader, struct arena *arena, const struct uuid *from,
                               int32_t from_index, void *context,
                               bool (*cb)(void *context, const struct uuid *topic, int32_t index,
                                          const struct store_partition *partition))
{
    struct table_key prefix = key_table('p');
    struct table_key start = key_partition(from, from_index);
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    enum err err = kv_cursor_open(store_reader_txn(reader), table_key_bytes(&prefix), table_key_bytes(&start), &cursor);
    if (err != OK) {
        return err;
    }
    while ((err = kv_cursor_next(cursor, &key, &value)) == OK) {
        struct store_partition partition;
        struct uuid topic;
        int32_t index;
        err = partition_place(key, &topic, &index);
        err = err == OK ? partition_from_value(value, arena, &partition) : err;
        if (err != OK || !cb(context, &topic, index, &partition)) {
            break;
        }
    }
    kv_cursor_close(cursor);
    return err == ERR_NOT_FOUND ? OK : err;
}

enum err store_moving_each(struct store_reader *reader, void *context,
                           bool (*cb)(void *context, const struct uuid *topic, int32_t index))
{
    struct table_key prefix = key_table('m');
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    enum err err = kv_cursor_open(store_reader_txn(reader), table_key_bytes(&prefix), BYTES_NONE, &cursor);
    if (err != OK) {
        return err;
    }
    while ((err = kv_cursor_next(cursor, &key, &value)) == OK) {
        struct uuid topic;
        int32_t index;
        err = partition_place(key, &topic, &index);
        if (err != OK || !cb(context, &topic, index)) {
            break;
        }
    }
    kv_cursor_close(cursor);
    return err == ERR_NOT_FOUND ? OK : err;
}
