/* Keys are built by field, never by casting; a table is one letter, so that tables are ranges of one ordered store. */

#include "metadata/tables.h"
#include "base/assert.h"
#include "base/kv.h"
#include "base/limits.h"
#include "metadata/store_groups.h"
#include "metadata/topic_name.h"
#include <string.h>

#define PAGE_SIZE 4096 /* of LMDB */

static_assert(TOPIC_NAME_SIZE_MAX + 1 <= TABLE_KEY_SIZE_MAX, "a topic name fits in a key");
static_assert(GROUP_ID_SIZE_MAX + 1 <= TABLE_KEY_SIZE_MAX, "a group id fits in a key");
static_assert(TABLE_KEY_SIZE_MAX <= KV_KEY_SIZE_MAX, "a key fits in the store");

struct bytes table_key_bytes(const struct table_key *key)
{
    return (struct bytes){key->data, key->size};
}

struct table_key key_table(char table)
{
    struct table_key key;
    key.data[0] = (uint8_t)table;
    key.size = 1;
    return key;
}

static void key_add(struct table_key *key, const void *data, size_t size)
{
    assert(size <= sizeof(key->data) - key->size);
    if (size > 0) { /* of nothing there may be no data */
        memcpy(key->data + key->size, data, size);
    }
    key->size += size;
}

static void key_add_u32(struct table_key *key, uint32_t value)
{
    uint8_t field[4];
    be32_put(field, value);
    key_add(key, field, sizeof(field));
}

static void key_add_u64(struct table_key *key, uint64_t value)
{
    uint8_t field[8];
    be64_put(field, value);
    key_add(key, field, sizeof(field));
}

struct table_key key_state(void)
{
    return key_table('v');
}

struct table_key key_broker(int32_t id)
{
    struct table_key key = key_table('b');
    key_add_u32(&key, (uint32_t)id);
    return key;
}

struct table_key key_broker_configs(int32_t id)
{
    struct table_key key = key_table('c');
    key_add_u32(&key, (uint32_t)id);
    return key;
}

struct table_key key_topic_name(struct bytes name)
{
    struct table_key key = key_table('t');
    assert(name.size <= TOPIC_NAME_SIZE_MAX);
    key_add(&key, name.data, name.size);
    return key;
}

struct table_key key_topic_folded(struct bytes name)
{
    struct table_key key = key_table('n');
    assert(name.size <= TOPIC_NAME_SIZE_MAX);
    key_add(&key, name.data, name.size);
    topic_name_fold(key.data + 1, name.size);
    return key;
}

struct table_key key_topic(const struct uuid *id)
{
    struct table_key key = key_table('i');
    key_add(&key, id->bytes, sizeof(id->bytes));
    return key;
}

struct table_key key_partitions(const struct uuid *id)
{
    struct table_key key = key_table('p');
    key_add(&key, id->bytes, sizeof(id->bytes));
    return key;
}

struct table_key key_partition(const struct uuid *id, int32_t index)
{
    struct table_key key = key_partitions(id);
    key_add_u32(&key, (uint32_t)index);
    return key;
}

struct table_key key_moving(const struct uuid *id, int32_t index)
{
    struct table_key key = key_partition(id, index);
    key.data[0] = 'm';
    return key;
}

struct table_key key_group(uint64_t group)
{
    struct table_key key = key_table('g');
    key_add_u64(&key, group);
    return key;
}

struct table_key key_consumer_group(struct bytes id)
{
    struct table_key key = key_table('G');
    assert(id.size <= GROUP_ID_SIZE_MAX);
    key_add(&key, id.data, id.size);
    return key;
}

struct table_key key_consumer_group_number(uint64_t number)
{
    struct table_key key = key_table('N');
    key_add_u64(&key, number);
    return key;
}

struct table_key key_offsets(uint64_t number)
{
    struct table_key key = key_table('O');
    key_add_u64(&key, number);
    return key;
}

struct table_key key_offset(uint64_t number, const struct uuid *topic, int32_t partition)
{
    struct table_key key = key_offsets(number);
    key_add(&key, topic->bytes, sizeof(topic->bytes));
    key_add_u32(&key, (uint32_t)partition);
    return key;
}

static void write_brokers(struct writer *writer, const int32_t *brokers, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        write_i32(writer, brokers[i]);
    }
}

static void read_brokers(struct reader *reader, int32_t *brokers, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        brokers[i] = read_i32(reader);
    }
}

static bool counts_fit(const struct partition_value *value)
{
    return value->replica_count <= REPLICA_SERVER_COUNT_MAX && value->target_count <= REPLICA_SERVER_COUNT_MAX &&
           value->leaving_count <= REPLICA_SERVER_COUNT_MAX && value->server_count <= REPLICA_SERVER_COUNT_MAX;
}

size_t partition_value_encode(const struct partition_value *value, uint8_t out[PARTITION_VALUE_SIZE_MAX])
{
    struct writer writer;
    assert(counts_fit(value));
    writer_init(&writer, out, PARTITION_VALUE_SIZE_MAX);
    write_u64(&writer, value->group);
    write_u64(&writer, value->bootstrap_term);
    write_u32(&writer, value->move_epoch);
    write_u8(&writer, value->replica_count);
    write_u8(&writer, value->target_count);
    write_u8(&writer, value->leaving_count);
    write_u8(&writer, value->server_count);
    assert(writer_size(&writer) == PARTITION_VALUE_HEAD_SIZE);
    write_brokers(&writer, value->replicas, value->replica_count);
    write_brokers(&writer, value->target, value->target_count);
    write_brokers(&writer, value->leaving, value->leaving_count);
    for (unsigned i = 0; i < value->server_count; i++) {
        write_u64(&writer, value->servers[i]);
    }
    assert(writer.err == OK);
    return writer_size(&writer);
}

enum err partition_value_decode(struct bytes bytes, struct partition_value *value)
{
    struct reader reader;
    reader_init(&reader, bytes);
    value->group = read_u64(&reader);
    value->bootstrap_term = read_u64(&reader);
    value->move_epoch = read_u32(&reader);
    value->replica_count = read_u8(&reader);
    value->target_count = read_u8(&reader);
    value->leaving_count = read_u8(&reader);
    value->server_count = read_u8(&reader);
    if (reader.err != OK || !counts_fit(value)) {
        return ERR_CORRUPT;
    }
    read_brokers(&reader, value->replicas, value->replica_count);
    read_brokers(&reader, value->target, value->target_count);
    read_brokers(&reader, value->leaving, value->leaving_count);
    for (unsigned i = 0; i < value->server_count; i++) {
        value->servers[i] = read_u64(&reader);
    }
    return reader.err == OK && reader.left == 0 ? OK : ERR_CORRUPT;
}

/* The group stands first in the value, fixed in size, so that the hot path needs no decoding. */
enum err partition_value_group(struct bytes value, uint64_t *group)
{
    if (value.size < PARTITION_VALUE_HEAD_SIZE) {
        return ERR_CORRUPT;
    }
    *group = be64_get(value.data);
    return OK;
}

enum err group_value_split(struct bytes value, uint64_t *number, struct bytes *packed)
{
    if (value.size < GROUP_VALUE_HEAD_SIZE) {
        return ERR_CORRUPT;
    }
    *number = be64_get(value.data);
    *packed = (struct bytes){value.data + GROUP_VALUE_HEAD_SIZE, value.size - GROUP_VALUE_HEAD_SIZE};
    return OK;
}

enum err offset_place_decode(struct bytes key, struct store_offset_place *place)
{
    struct reader reader;
    reader_init(&reader, key);
    (void)read_u8(&reader); /* the table */
    place->group = read_u64(&reader);
    struct bytes topic = read_bytes(&reader, sizeof(place->topic.bytes));
    place->partition = read_i32(&reader);
    if (reader.err != OK || reader.left != 0) {
        return ERR_CORRUPT;
    }
    memcpy(place->topic.bytes, topic.data, sizeof(place->topic.bytes));
    return OK;
}

void offset_value_encode_head(const struct offset_value *value, uint8_t out[OFFSET_VALUE_HEAD_SIZE])
{
    struct writer writer;
    writer_init(&writer, out, OFFSET_VALUE_HEAD_SIZE);
    write_i64(&writer, value->offset);
    write_i32(&writer, value->leader_epoch);
    write_i64(&writer, value->commit_ms);
    write_i64(&writer, value->expire_ms);
    assert(writer.err == OK && writer_size(&writer) == OFFSET_VALUE_HEAD_SIZE);
}

enum err offset_value_decode(struct bytes bytes, struct offset_value *value)
{
    struct reader reader;
    reader_init(&reader, bytes);
    value->offset = read_i64(&reader);
    value->leader_epoch = read_i32(&reader);
    value->commit_ms = read_i64(&reader);
    value->expire_ms = read_i64(&reader);
    if (reader.err != OK) {
        return ERR_CORRUPT;
    }
    value->metadata = read_bytes(&reader, reader.left);
    return OK;
}

uint64_t group_pair_size(size_t key_size, size_t value_size)
{
    size_t size = key_size + value_size + 16;
    return size <= 1000 ? 2 * size : (uint64_t)(size + 2 * PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE;
}

void store_state_encode(const struct store_state *state, uint8_t out[STORE_STATE_SIZE])
{
    struct writer writer;
    writer_init(&writer, out, STORE_STATE_SIZE);
    write_u8(&writer, STORE_VERSION);
    write_u64(&writer, state->applied_index);
    write_u64(&writer, state->next_group);
    write_u64(&writer, state->next_producer_id);
    write_u64(&writer, state->term_floor);
    write_u64(&writer, state->topic_count);
    write_u64(&writer, state->partition_count);
    write_u64(&writer, state->next_consumer_group);
    write_u64(&writer, state->consumer_group_count);
    write_u64(&writer, state->offset_count);
    write_u64(&writer, state->groups_size);
    write_u8(&writer, state->has_cluster_id);
    write_bytes(&writer, (struct bytes){state->cluster_id, sizeof(state->cluster_id)});
    assert(writer.err == OK);
    assert(writer_size(&writer) == STORE_STATE_SIZE);
}

enum err store_state_decode(struct bytes value, struct store_state *state)
{
    struct reader reader;
    reader_init(&reader, value);
    uint8_t version = read_u8(&reader);
    state->applied_index = read_u64(&reader);
    state->next_group = read_u64(&reader);
    state->next_producer_id = read_u64(&reader);
    state->term_floor = read_u64(&reader);
    state->topic_count = read_u64(&reader);
    state->partition_count = read_u64(&reader);
    state->next_consumer_group = read_u64(&reader);
    state->consumer_group_count = read_u64(&reader);
    state->offset_count = read_u64(&reader);
    state->groups_size = read_u64(&reader);
    state->has_cluster_id = read_u8(&reader) != 0;
    struct bytes cluster_id = read_bytes(&reader, sizeof(state->cluster_id));
    if (reader.err != OK) {
        return ERR_CORRUPT;
    }
    memcpy(state->cluster_id, cluster_id.data, sizeof(state->cluster_id));
    return version == STORE_VERSION ? OK : ERR_UNSUPPORTED;
}
