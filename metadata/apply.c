/* Each record has one function below. It first checks what may have changed since the proposal, says so in `result`
 * when the record comes to nothing, and otherwise writes all of its tables. A record that this version does not know is
 * an error of the store (ERR_UNSUPPORTED): going on would make this copy differ from the others. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "metadata/apply_internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define FIRST_GROUP 2 /* METADATA_GROUP is 1 */

void apply_changes_init(struct apply_changes *changes)
{
    *changes = (struct apply_changes){0};
}

void apply_changes_reset(struct apply_changes *changes)
{
    for (size_t i = 0; i < changes->count; i++) {
        mem_free((void *)(uintptr_t)changes->items[i].groups);
    }
    changes->count = 0;
}

void apply_changes_deinit(struct apply_changes *changes)
{
    apply_changes_reset(changes);
    mem_free(changes->items);
    *changes = (struct apply_changes){0};
}

void apply_changes_add(struct apply_changes *changes, struct metadata_change change)
{
    if (changes->count == changes->capacity) {
        changes->capacity = changes->capacity > 0 ? 2 * changes->capacity : 8;
        changes->items = mem_resize(changes->items, changes->capacity * sizeof(*changes->items));
    }
    changes->items[changes->count++] = change;
}

void apply_refuse(struct apply_result *result, enum kafka_error error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(result->text, sizeof(result->text), format, args);
    va_end(args);
    result->error = error;
}

enum err apply_load_state(struct kv_txn *txn, struct store_state *state)
{
    struct table_key key = key_state();
    struct bytes value;
    enum err err = kv_get(txn, table_key_bytes(&key), &value);
    if (err == ERR_NOT_FOUND) {
        *state = (struct store_state){.next_group = FIRST_GROUP};
        return OK;
    }
    return err == OK ? store_state_decode(value, state) : err;
}

enum err apply_save_state(struct kv_txn *txn, const struct store_state *state)
{
    struct table_key key = key_state();
    uint8_t value[STORE_STATE_SIZE];
    store_state_encode(state, value);
    return kv_put(txn, table_key_bytes(&key), (struct bytes){value, sizeof(value)});
}

enum err apply_put(struct kv_txn *txn, struct table_key key, struct bytes value)
{
    return kv_put(txn, table_key_bytes(&key), value);
}

enum err apply_get(struct kv_txn *txn, struct table_key key, struct bytes *value)
{
    return kv_get(txn, table_key_bytes(&key), value);
}

enum err apply_erase(struct kv_txn *txn, struct table_key key)
{
    return kv_delete(txn, table_key_bytes(&key));
}

enum err apply_erase_if_there(struct kv_txn *txn, struct table_key key)
{
    enum err err = apply_erase(txn, key);
    return err == ERR_NOT_FOUND ? OK : err;
}

enum err apply_put_topic(struct kv_txn *txn, const Balsa__Record__TopicValue *topic)
{
    struct uuid id;
    memcpy(id.bytes, topic->id.data, sizeof(id.bytes));
    size_t size = balsa__record__topic_value__get_packed_size(topic);
    uint8_t *packed = mem_alloc(size);
    balsa__record__topic_value__pack(topic, packed);
    enum err err = apply_put(txn, key_topic(&id), (struct bytes){packed, size});
    mem_free(packed);
    return err;
}

enum err apply_get_topic(struct kv_txn *txn, const struct uuid *id, Balsa__Record__TopicValue **topic)
{
    struct bytes value;
    enum err err = apply_get(txn, key_topic(id), &value);
    if (err != OK) {
        return err;
    }
    *topic = balsa__record__topic_value__unpack(NULL, value.size, value.data);
    return *topic != NULL ? OK : ERR_CORRUPT;
}

bool apply_uuid(const ProtobufCBinaryData *data, struct uuid *id)
{
    if (data->len != sizeof(id->bytes)) {
        return false;
    }
    memcpy(id->bytes, data->data, sizeof(id->bytes));
    return true;
}

enum err apply_put_partition(struct kv_txn *txn, const struct uuid *id, int32_t index,
                             const struct partition_value *partition)
{
    uint8_t value[PARTITION_VALUE_SIZE_MAX];
    size_t size = partition_value_encode(partition, value);
    return apply_put(txn, key_partition(id, index), (struct bytes){value, size});
}

static enum err put_new_partition(struct kv_txn *txn, struct store_state *state, const struct uuid *id, int32_t index,
                                  const Balsa__Record__Assignment *assignment)
{
    uint8_t place[sizeof(id->bytes) + sizeof(int32_t)];
    struct writer writer;
    struct partition_value partition = {.group = state->next_group++, .bootstrap_term = state->term_floor + 1};

    assert(assignment->n_replicas <= REPLICA_SERVER_COUNT_MAX);
    assert(assignment->n_servers == assignment->n_replicas);
    partition.replica_count = (uint8_t)assignment->n_replicas;
    partition.server_count = (uint8_t)assignment->n_servers;
    memcpy(partition.replicas, assignment->replicas, assignment->n_replicas * sizeof(int32_t));
    memcpy(partition.servers, assignment->servers, assignment->n_servers * sizeof(uint64_t));
    enum err err = apply_put_partition(txn, id, index, &partition);
    if (err != OK) {
        return err;
    }
    writer_init(&writer, place, sizeof(place));
    write_bytes(&writer, (struct bytes){id->bytes, sizeof(id->bytes)});
    write_i32(&writer, index);
    assert(writer.err == OK);
    state->partition_count++;
    return apply_put(txn, key_group(partition.group), (struct bytes){place, sizeof(place)});
}

static bool assignments_are_valid(Balsa__Record__Assignment **assignments, size_t count, struct apply_result *result)
{
    for (size_t i = 0; i < count; i++) {
        if (assignments[i]->n_replicas == 0 || assignments[i]->n_replicas > REPLICA_SERVER_COUNT_MAX) {
            apply_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT,
                         "partition %zu has %zu replicas, 1 to %d are possible", i, assignments[i]->n_replicas,
                         REPLICA_SERVER_COUNT_MAX);
            return false;
        }
        if (assignments[i]->n_servers != assignments[i]->n_replicas) {
            apply_refuse(result, KAFKA_INVALID_REPLICA_ASSIGNMENT, "partition %zu has %zu replicas on %zu servers", i,
                         assignments[i]->n_replicas, assignments[i]->n_servers);
            return false;
        }
    }
    return true;
}

static enum err apply_cluster_created(struct kv_txn *txn, struct store_state *state,
                                      const Balsa__Record__ClusterCreated *record, struct apply_changes *changes,
                                      struct apply_result *result)
{
    (void)txn;
    if (state->has_cluster_id) {
        return OK; /* the first one counts */
    }
    if (strlen(record->cluster_id) != sizeof(state->cluster_id)) {
        apply_refuse(result, KAFKA_INVALID_REQUEST, "a cluster id has %zu characters", sizeof(state->cluster_id));
        return OK;
    }
    memcpy(state->cluster_id, record->cluster_id, sizeof(state->cluster_id));
    state->has_cluster_id = true;
    apply_changes_add(changes, (struct metadata_change){.kind = METADATA_CLUSTER_CREATED});
    return OK;
}

static enum err apply_topic_created(struct kv_txn *txn, struct store_state *state,
                                    const Balsa__Record__TopicCreated *record, struct apply_changes *changes,
                                    struct apply_result *result)
{
    struct bytes name = bytes_from_text(record->name);
    struct bytes value;
    struct uuid id;
    if (name.size == 0 || name.size > TOPIC_NAME_SIZE_MAX || !apply_uuid(&record->id, &id)) {
        apply_refuse(result, KAFKA_INVALID_TOPIC_EXCEPTION, "malformed topic record");
        return OK;
    }
    enum err err = apply_get(txn, key_topic_name(name), &value);
    if (err == OK) {
        apply_refuse(result, KAFKA_TOPIC_ALREADY_EXISTS, "Topic '%.*s' already exists.",
                     (int)(name.size < 100 ? name.size : 100), record->name);
        return OK;
    }
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    err = apply_get(txn, key_topic_folded(name), &value);
    if (err == OK) {
        apply_refuse(result, KAFKA_INVALID_TOPIC_EXCEPTION, "Topic '%.*s' collides with existing topic: %.*s",
                     (int)(name.size < 50 ? name.size : 50), record->name, (int)(value.size < 50 ? value.size : 50),
                     (const char *)value.data);
        return OK;
    }
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    if (record->n_assignments == 0 || record->n_assignments > TOPIC_PARTITION_COUNT_MAX ||
        state->partition_count + record->n_assignments > CLUSTER_PARTITION_COUNT_MAX) {
        apply_refuse(result, KAFKA_INVALID_PARTITIONS,
                     "%zu partitions: a topic has 1 to %d, the cluster %d in all (%llu now)", record->n_assignments,
                     TOPIC_PARTITION_COUNT_MAX, CLUSTER_PARTITION_COUNT_MAX,
                     (unsigned long long)state->partition_count);
        return OK;
    }
    if (!assignments_are_valid(record->assignments, record->n_assignments, result)) {
        return OK;
    }
    err = apply_put(txn, key_topic_name(name), (struct bytes){id.bytes, sizeof(id.bytes)});
    err = err == OK ? apply_put(txn, key_topic_folded(name), name) : err;
    for (size_t i = 0; err == OK && i < record->n_assignments; i++) {
        err = put_new_partition(txn, state, &id, (int32_t)i, record->assignments[i]);
    }
    if (err != OK) {
        return err;
    }
    Balsa__Record__TopicValue topic = BALSA__RECORD__TOPIC_VALUE__INIT;
    topic.id = record->id;
    topic.name = record->name;
    topic.partition_count = (uint32_t)record->n_assignments;
    topic.n_configs = record->n_configs;
    topic.configs = record->configs;
    state->topic_count++;
    apply_changes_add(changes, (struct metadata_change){.kind = METADATA_TOPIC_CREATED, .topic = id});
    return apply_put_topic(txn, &topic);
}

/* Deletes the topic's partitions and hands their groups to the reconciler through `groups` (owned by the change). */
static enum err delete_partitions(struct kv_txn *txn, struct store_state *state, const struct uuid *id, uint32_t count,
                                  uint64_t **groups)
{
    *groups = mem_alloc((count + 1) * sizeof(**groups));
    for (uint32_t i = 0; i < count; i++) {
        struct bytes value;
        uint64_t group = 0;
        enum err err = apply_get(txn, key_partition(id, (int32_t)i), &value);
        err = err == OK ? partition_value_group(value, &group) : err;
        err = err == OK ? apply_erase(txn, key_partition(id, (int32_t)i)) : err;
        err = err == OK ? apply_erase(txn, key_group(group)) : err;
        err = err == OK ? apply_erase_if_there(txn, key_moving(id, (int32_t)i)) : err;
        if (err != OK) {
            return err;
        }
        (*groups)[i] = group;
        assert(state->partition_count > 0);
        state->partition_count--;
    }
    return OK;
}

static enum err apply_topic_deleted(struct kv_txn *txn, struct store_state *state,
                                    const Balsa__Record__TopicDeleted *record, struct apply_changes *changes,
                                    struct apply_result *result)
{
    Balsa__Record__TopicValue *topic;
    struct uuid id = {{0}};
    uint64_t *groups = NULL;
    enum err err = apply_uuid(&record->id, &id) ? apply_get_topic(txn, &id, &topic) : ERR_NOT_FOUND;
    if (err == ERR_NOT_FOUND) {
        apply_refuse(result, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "This topic does not exist (any more).");
        return OK;
    }
    if (err != OK) {
        return err;
    }
    err = delete_partitions(txn, state, &id, topic->partition_count, &groups);
    err = err == OK ? apply_erase(txn, key_topic_name(bytes_from_text(topic->name))) : err;
    err = err == OK ? apply_erase(txn, key_topic_folded(bytes_from_text(topic->name))) : err;
    err = err == OK ? apply_erase(txn, key_topic(&id)) : err;
    apply_changes_add(changes, (struct metadata_change){.kind = METADATA_TOPIC_DELETED,
                                                        .topic = id,
                                                        .groups = groups,
                                                        .group_count = topic->partition_count});
    if (record->term_floor > state->term_floor) {
        state->term_floor = record->term_floor;
    }
    assert(state->topic_count > 0);
    state->topic_count--;
    balsa__record__topic_value__free_unpacked(topic, NULL);
    return err;
}

static enum err apply_partitions_added(struct kv_txn *txn, struct store_state *state,
                                       const Balsa__Record__PartitionsAdded *record, struct apply_changes *changes,
                                       struct apply_result *result)
{
    Balsa__Record__TopicValue *topic;
    struct uuid id = {{0}};
    enum err err = apply_uuid(&record->id, &id) ? apply_get_topic(txn, &id, &topic) : ERR_NOT_FOUND;
    if (err == ERR_NOT_FOUND) {
        apply_refuse(result, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "This topic does not exist (any more).");
        return OK;
    }
    if (err != OK) {
        return err;
    }
    if (topic->partition_count != record->old_count) {
        apply_refuse(result, KAFKA_INVALID_PARTITIONS, "Topic currently has %u partitions, no longer %u.",
                     topic->partition_count, record->old_count);
    } else if (topic->partition_count + record->n_assignments > TOPIC_PARTITION_COUNT_MAX ||
               state->partition_count + record->n_assignments > CLUSTER_PARTITION_COUNT_MAX) {
        apply_refuse(result, KAFKA_INVALID_PARTITIONS, "a topic has at most %d partitions, the cluster %d",
                     TOPIC_PARTITION_COUNT_MAX, CLUSTER_PARTITION_COUNT_MAX);
    } else if (assignments_are_valid(record->assignments, record->n_assignments, result)) {
        for (size_t i = 0; err == OK && i < record->n_assignments; i++) {
            err = put_new_partition(txn, state, &id, (int32_t)(record->old_count + i), record->assignments[i]);
        }
        topic->partition_count += (uint32_t)record->n_assignments;
        err = err == OK ? apply_put_topic(txn, topic) : err;
        apply_changes_add(changes, (struct metadata_change){.kind = METADATA_PARTITIONS_ADDED, .topic = id});
    }
    balsa__record__topic_value__free_unpacked(topic, NULL);
    return err;
}

static void apply_producer_ids_allocated(struct store_state *state, const Balsa__Record__ProducerIdsAllocated *record,
                                         struct apply_result *result)
{
    if (record->count == 0 || record->count > (uint64_t)INT64_MAX - state->next_producer_id) {
        apply_refuse(result, KAFKA_INVALID_REQUEST, "a block of %llu producer ids cannot be given out",
                     (unsigned long long)record->count);
        return;
    }
    result->result = state->next_producer_id;
    state->next_producer_id += record->count;
}

static enum err apply_decoded(struct kv_txn *txn, struct store_state *state, const Balsa__Record__Record *record,
                              struct apply_changes *changes, struct apply_result *result)
{
    switch (record->kind_case) {
    case BALSA__RECORD__RECORD__KIND_CLUSTER_CREATED:
        return apply_cluster_created(txn, state, record->cluster_created, changes, result);
    case BALSA__RECORD__RECORD__KIND_BROKER_REGISTERED:
        return apply_broker_registered(txn, record->broker_registered, changes, result);
    case BALSA__RECORD__RECORD__KIND_TOPIC_CREATED:
        return apply_topic_created(txn, state, record->topic_created, changes, result);
    case BALSA__RECORD__RECORD__KIND_TOPIC_DELETED:
        return apply_topic_deleted(txn, state, record->topic_deleted, changes, result);
    case BALSA__RECORD__RECORD__KIND_PARTITIONS_ADDED:
        return apply_partitions_added(txn, state, record->partitions_added, changes, result);
    case BALSA__RECORD__RECORD__KIND_TOPIC_CONFIGS_CHANGED:
        return apply_topic_configs_changed(txn, record->topic_configs_changed, changes, result);
    case BALSA__RECORD__RECORD__KIND_PRODUCER_IDS_ALLOCATED:
        apply_producer_ids_allocated(state, record->producer_ids_allocated, result);
        return OK;
    case BALSA__RECORD__RECORD__KIND_PARTITIONS_MOVING:
        return apply_partitions_moving(txn, record->partitions_moving, changes, result);
    case BALSA__RECORD__RECORD__KIND_PARTITIONS_MOVED:
        return apply_partitions_moved(txn, record->partitions_moved, changes);
    case BALSA__RECORD__RECORD__KIND_BROKER_CHANGED:
        return apply_broker_changed(txn, record->broker_changed, changes, result);
    case BALSA__RECORD__RECORD__KIND_GROUP_CHANGED:
        return apply_group_changed(txn, state, record->group_changed, result);
    case BALSA__RECORD__RECORD__KIND_GROUPS_REMOVED:
        return apply_groups_removed(txn, state, record->groups_removed, result);
    case BALSA__RECORD__RECORD__KIND_OFFSETS_COMMITTED:
        return apply_offsets_committed(txn, state, record->offsets_committed, result);
    case BALSA__RECORD__RECORD__KIND_OFFSETS_REMOVED:
        return apply_offsets_removed(txn, state, record->offsets_removed);
    case BALSA__RECORD__RECORD__KIND_BROKER_CONFIGS_CHANGED:
        return apply_broker_configs_changed(txn, record->broker_configs_changed, changes, result);
    case BALSA__RECORD__RECORD__KIND__NOT_SET:
    case _BALSA__RECORD__RECORD__KIND__CASE_IS_INT_SIZE:
        break;
    }
    return ERR_UNSUPPORTED;
}

enum err apply_record(struct kv_txn *txn, struct store_state *state, struct bytes record, struct apply_changes *changes,
                      struct apply_result *result)
{
    *result = (struct apply_result){.error = KAFKA_NONE};
    Balsa__Record__Record *decoded = balsa__record__record__unpack(NULL, record.size, record.data);
    if (decoded == NULL) {
        return ERR_CORRUPT;
    }
    enum err err = apply_decoded(txn, state, decoded, changes, result);
    balsa__record__record__free_unpacked(decoded, NULL);
    return err;
}
