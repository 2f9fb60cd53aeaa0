/* Records about consumer groups. A group has a number, and its offsets stand under the number: removing a group,
 * however many offsets it has, removes two pairs, and what is made again under its id starts with nothing. Offsets of a
 * number or of a topic that is gone are not there for any reader; broker/offsets_expiry.c has them
 * removed bit by bit. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "metadata/apply_internal.h"
#include <string.h>

static struct bytes bytes_of(const ProtobufCBinaryData *data)
{
    return (struct bytes){data->data, data->len};
}

static void count_pair(struct store_state *state, const struct table_key *key, size_t value_size)
{
    state->groups_size += group_pair_size(key->size, value_size);
}

static void discount_pair(struct store_state *state, const struct table_key *key, size_t value_size)
{
    uint64_t size = group_pair_size(key->size, value_size);
    assert(state->groups_size >= size);
    state->groups_size -= size;
}

/* Puts a pair and keeps the count. `old_size`: of the value it had, SIZE_MAX for none. */
static enum err put_counted(struct kv_txn *txn, struct store_state *state, const struct table_key *key, size_t old_size,
                            struct bytes value)
{
    if (old_size != SIZE_MAX) {
        discount_pair(state, key, old_size);
    }
    count_pair(state, key, value.size);
    return apply_put(txn, *key, value);
}

static bool is_full(const struct store_state *state)
{
    return state->groups_size >= GROUPS_SIZE_MAX;
}

/* ERR_NOT_FOUND. `packed` borrows until the next write. */
static enum err get_group(struct kv_txn *txn, struct bytes id, uint64_t *number, struct bytes *packed)
{
    struct bytes value;
    enum err err = apply_get(txn, key_consumer_group(id), &value);
    return err == OK ? group_value_split(value, number, packed) : err;
}

static enum err put_group(struct kv_txn *txn, struct store_state *state, uint64_t number, size_t old_size,
                          const Balsa__Record__GroupValue *group)
{
    struct table_key key = key_consumer_group(bytes_of(&group->group));
    size_t size = GROUP_VALUE_HEAD_SIZE + balsa__record__group_value__get_packed_size(group);
    uint8_t *value = mem_alloc(size);
    be64_put(value, number);
    balsa__record__group_value__pack(group, value + GROUP_VALUE_HEAD_SIZE);
    enum err err = put_counted(txn, state, &key, old_size, (struct bytes){value, size});
    mem_free(value);
    return err;
}

static enum err make_group(struct kv_txn *txn, struct store_state *state, const Balsa__Record__GroupValue *group,
                           uint64_t *number)
{
    *number = state->next_consumer_group++;
    struct table_key key = key_consumer_group_number(*number);
    state->consumer_group_count++;
    enum err err = put_counted(txn, state, &key, SIZE_MAX, bytes_of(&group->group));
    return err == OK ? put_group(txn, state, *number, SIZE_MAX, group) : err;
}

enum err apply_group_changed(struct kv_txn *txn, struct store_state *state, const Balsa__Record__GroupChanged *record,
                             struct apply_result *result)
{
    const Balsa__Record__GroupValue *group = record->value;
    struct bytes packed;
    uint64_t number;
    if (group == NULL || group->group.len > GROUP_ID_SIZE_MAX) {
        apply_refuse(result, KAFKA_INVALID_GROUP_ID, "A group id has at most %d bytes.", GROUP_ID_SIZE_MAX);
        return OK;
    }
    enum err err = get_group(txn, bytes_of(&group->group), &number, &packed);
    if (err == OK) {
        return put_group(txn, state, number, GROUP_VALUE_HEAD_SIZE + packed.size, group);
    }
    if (err == ERR_NOT_FOUND && is_full(state)) {
        apply_refuse(result, KAFKA_GROUP_MAX_SIZE_REACHED, "The cluster's room for groups and offsets is used up.");
        return OK;
    }
    return err == ERR_NOT_FOUND ? make_group(txn, state, group, &number) : err;
}

/* ---- Removal ---- */

static enum err has_members(struct bytes packed, bool *has)
{
    Balsa__Record__GroupValue *group = balsa__record__group_value__unpack(NULL, packed.size, packed.data);
    if (group == NULL) {
        return ERR_CORRUPT;
    }
    *has = group->n_members > 0;
    balsa__record__group_value__free_unpacked(group, NULL);
    return OK;
}

static enum err has_offsets(struct kv_txn *txn, uint64_t number, bool *has)
{
    struct table_key prefix = key_offsets(number);
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    enum err err = kv_cursor_open(txn, table_key_bytes(&prefix), BYTES_NONE, &cursor);
    if (err != OK) {
        return err;
    }
    err = kv_cursor_next(cursor, &key, &value);
    kv_cursor_close(cursor);
    *has = err == OK;
    return err == ERR_NOT_FOUND ? OK : err;
}

static enum err erase_group(struct kv_txn *txn, struct store_state *state, struct bytes id, uint64_t number,
                            size_t packed_size)
{
    struct table_key key = key_consumer_group(id);
    struct table_key number_key = key_consumer_group_number(number);
    assert(state->consumer_group_count > 0);
    state->consumer_group_count--;
    discount_pair(state, &key, GROUP_VALUE_HEAD_SIZE + packed_size);
    discount_pair(state, &number_key, id.size);
    enum err err = apply_erase(txn, key);
    return err == OK ? apply_erase(txn, number_key) : err;
}

static enum err remove_group(struct kv_txn *txn, struct store_state *state, struct bytes id, bool if_unused,
                             struct apply_result *result)
{
    bool is_used = false;
    struct bytes packed;
    uint64_t number;
    enum err err = id.size <= GROUP_ID_SIZE_MAX ? get_group(txn, id, &number, &packed) : ERR_NOT_FOUND;
    if (err == ERR_NOT_FOUND) {
        apply_refuse(result, KAFKA_GROUP_ID_NOT_FOUND, "The group does not exist (any more).");
        return OK;
    }
    err = err == OK ? has_members(packed, &is_used) : err;
    if (err == OK && !is_used && if_unused) {
        err = has_offsets(txn, number, &is_used);
    }
    if (err == OK && is_used) {
        apply_refuse(result, KAFKA_NON_EMPTY_GROUP, "The group is in use.");
        return OK;
    }
    return err == OK ? erase_group(txn, state, id, number, packed.size) : err;
}

/* The first refusal is the result; what can be removed is. */
enum err apply_groups_removed(struct kv_txn *txn, struct store_state *state, const Balsa__Record__GroupsRemoved *record,
                              struct apply_result *result)
{
    enum err err = OK;
    for (size_t i = 0; err == OK && i < record->n_removals; i++) {
        const Balsa__Record__GroupsRemoved__Removal *removal = record->removals[i];
        struct apply_result one = {.error = KAFKA_NONE};
        err = remove_group(txn, state, bytes_of(&removal->group), removal->if_unused, &one);
        if (result->error == KAFKA_NONE) {
            *result = one;
        }
    }
    return err;
}

/* ---- Offsets ---- */

static enum err get_size(struct kv_txn *txn, const struct table_key *key, size_t *size)
{
    struct bytes value;
    enum err err = apply_get(txn, *key, &value);
    *size = err == OK ? value.size : SIZE_MAX;
    return err == ERR_NOT_FOUND ? OK : err;
}

static enum err put_offset(struct kv_txn *txn, struct store_state *state, const struct table_key *key,
                           const struct offset_value *offset)
{
    uint8_t small[OFFSET_VALUE_HEAD_SIZE + 100];
    size_t size = OFFSET_VALUE_HEAD_SIZE + offset->metadata.size;
    uint8_t *value = size <= sizeof(small) ? small : mem_alloc(size);
    size_t old_size;
    offset_value_encode_head(offset, value);
    if (offset->metadata.size > 0) {
        memcpy(value + OFFSET_VALUE_HEAD_SIZE, offset->metadata.data, offset->metadata.size);
    }
    enum err err = get_size(txn, key, &old_size);
    if (err == OK) {
        state->offset_count += old_size == SIZE_MAX;
        err = put_counted(txn, state, key, old_size, (struct bytes){value, size});
    }
    if (value != small) {
        mem_free(value);
    }
    return err;
}

static enum err commit_topic(struct kv_txn *txn, struct store_state *state, uint64_t number,
                             const Balsa__Record__OffsetsCommitted__Commit *commit,
                             const Balsa__Record__OffsetsCommitted__Topic *topic)
{
    struct uuid id;
    enum err err = OK;
    if (!apply_uuid(&topic->id, &id)) {
        return OK;
    }
    for (size_t i = 0; err == OK && i < topic->n_partitions; i++) {
        const Balsa__Record__OffsetsCommitted__Partition *partition = topic->partitions[i];
        struct table_key key = key_offset(number, &id, partition->index);
        struct offset_value offset = {.offset = partition->offset,
                                      .leader_epoch = partition->leader_epoch,
                                      .commit_ms = commit->commit_ms,
                                      .expire_ms = commit->expire_ms,
                                      .metadata = bytes_of(&partition->metadata)};
        err = put_offset(txn, state, &key, &offset);
    }
    return err;
}

static enum err commit_group(struct kv_txn *txn, struct store_state *state,
                             const Balsa__Record__OffsetsCommitted__Commit *commit)
{
    struct bytes packed;
    uint64_t number;
    if (commit->group.len > GROUP_ID_SIZE_MAX) {
        return OK;
    }
    enum err err = get_group(txn, bytes_of(&commit->group), &number, &packed);
    if (err == ERR_NOT_FOUND) {
        Balsa__Record__GroupValue group = BALSA__RECORD__GROUP_VALUE__INIT;
        group.group = commit->group;
        group.changed_ms = commit->commit_ms;
        err = make_group(txn, state, &group, &number);
    }
    for (size_t i = 0; err == OK && i < commit->n_topics; i++) {
        err = commit_topic(txn, state, number, commit, commit->topics[i]);
    }
    return err;
}

/* All or none: a record is small against what is left of the bound when it is taken. */
enum err apply_offsets_committed(struct kv_txn *txn, struct store_state *state,
                                 const Balsa__Record__OffsetsCommitted *record, struct apply_result *result)
{
    enum err err = OK;
    if (is_full(state)) {
        apply_refuse(result, KAFKA_INVALID_COMMIT_OFFSET_SIZE, "The cluster's room for groups and offsets is used up.");
        return OK;
    }
    for (size_t i = 0; err == OK && i < record->n_commits; i++) {
        err = commit_group(txn, state, record->commits[i]);
    }
    return err;
}

static enum err remove_offset(struct kv_txn *txn, struct store_state *state,
                              const Balsa__Record__OffsetsRemoved__Offset *removed)
{
    struct offset_value offset;
    struct bytes value;
    struct uuid topic;
    if (!apply_uuid(&removed->topic, &topic)) {
        return OK;
    }
    struct table_key key = key_offset(removed->group, &topic, removed->partition);
    enum err err = apply_get(txn, key, &value);
    if (err == ERR_NOT_FOUND) {
        return OK;
    }
    err = err == OK ? offset_value_decode(value, &offset) : err;
    if (err != OK || (removed->commit_ms != 0 && removed->commit_ms != offset.commit_ms)) {
        return err;
    }
    assert(state->offset_count > 0);
    state->offset_count--;
    discount_pair(state, &key, value.size);
    return apply_erase(txn, key);
}

enum err apply_offsets_removed(struct kv_txn *txn, struct store_state *state,
                               const Balsa__Record__OffsetsRemoved *record)
{
    enum err err = OK;
    for (size_t i = 0; err == OK && i < record->n_offsets; i++) {
        err = remove_offset(txn, state, record->offsets[i]);
    }
    return err;
}
