/* Records about brokers. A broker's value keeps what it told at registration and its state, which outlives
 * registrations: a broker that is being drained stays so when it starts again, with an emptied disk or not. */

#include "base/mem.h"
#include "metadata/apply_internal.h"
#include "metadata/broker_list.h"

static enum err put_broker(struct kv_txn *txn, const Balsa__Record__BrokerValue *broker)
{
    size_t size = balsa__record__broker_value__get_packed_size(broker);
    uint8_t *packed = mem_alloc(size);
    balsa__record__broker_value__pack(broker, packed);
    enum err err = apply_put(txn, key_broker(broker->registered->id), (struct bytes){packed, size});
    mem_free(packed);
    return err;
}

/* Caller frees with balsa__record__broker_value__free_unpacked(). */
static enum err get_broker(struct kv_txn *txn, int32_t id, Balsa__Record__BrokerValue **broker)
{
    struct bytes value;
    enum err err = apply_get(txn, key_broker(id), &value);
    if (err != OK) {
        return err;
    }
    *broker = balsa__record__broker_value__unpack(NULL, value.size, value.data);
    if (*broker != NULL && (*broker)->registered == NULL) {
        balsa__record__broker_value__free_unpacked(*broker, NULL);
        return ERR_CORRUPT;
    }
    return *broker != NULL ? OK : ERR_CORRUPT;
}

static enum err get_state(struct kv_txn *txn, int32_t id, Balsa__Record__BrokerState *state)
{
    Balsa__Record__BrokerValue *broker;
    enum err err = get_broker(txn, id, &broker);
    *state = BALSA__RECORD__BROKER_STATE__BROKER_ACTIVE;
    if (err == OK) {
        *state = broker->state;
        balsa__record__broker_value__free_unpacked(broker, NULL);
    }
    return err == ERR_NOT_FOUND ? OK : err;
}

enum err apply_broker_registered(struct kv_txn *txn, const Balsa__Record__BrokerRegistered *record,
                                 struct apply_changes *changes, struct apply_result *result)
{
    Balsa__Record__BrokerValue value = BALSA__RECORD__BROKER_VALUE__INIT;
    if (record->incarnation.len != 16 || record->id < 0 || record->server_id == 0) {
        apply_refuse(result, KAFKA_INVALID_REQUEST, "malformed registration of a broker");
        return OK;
    }
    value.registered = (Balsa__Record__BrokerRegistered *)(uintptr_t)record; /* packed only */
    enum err err = get_state(txn, record->id, &value.state);
    err = err == OK ? put_broker(txn, &value) : err;
    apply_changes_add(changes, (struct metadata_change){.kind = METADATA_BROKER_CHANGED, .broker = record->id});
    return err;
}

/* Whether some partition is on the broker or on its way there. */
static enum err is_in_use(struct kv_txn *txn, int32_t id, bool *is_used)
{
    struct table_key table = key_table('p');
    struct kv_cursor *cursor;
    struct bytes key;
    struct bytes value;
    *is_used = false;
    enum err err = kv_cursor_open(txn, table_key_bytes(&table), BYTES_NONE, &cursor);
    if (err != OK) {
        return err;
    }
    while (!*is_used && (err = kv_cursor_next(cursor, &key, &value)) == OK) {
        struct partition_value partition;
        err = partition_value_decode(value, &partition);
        if (err != OK) {
            break;
        }
        *is_used = brokers_contain(partition.replicas, partition.replica_count, id) ||
                   brokers_contain(partition.target, partition.target_count, id) ||
                   brokers_contain(partition.leaving, partition.leaving_count, id);
    }
    kv_cursor_close(cursor);
    return err == ERR_NOT_FOUND ? OK : err;
}

static enum err remove_broker(struct kv_txn *txn, int32_t id, struct apply_result *result)
{
    bool is_used;
    enum err err = is_in_use(txn, id, &is_used);
    if (err == OK && is_used) {
        apply_refuse(result, KAFKA_INVALID_REQUEST, "Broker %d still has replicas.", id);
        return OK;
    }
    err = err == OK ? apply_erase_if_there(txn, key_broker_configs(id)) : err;
    return err == OK ? apply_erase(txn, key_broker(id)) : err;
}

enum err apply_broker_changed(struct kv_txn *txn, const Balsa__Record__BrokerChanged *record,
                              struct apply_changes *changes, struct apply_result *result)
{
    Balsa__Record__BrokerValue *broker;
    enum err err = get_broker(txn, record->id, &broker);
    if (err == ERR_NOT_FOUND) {
        apply_refuse(result, KAFKA_BROKER_ID_NOT_REGISTERED, "Broker %d is not registered.", record->id);
        return OK;
    }
    if (err != OK) {
        return err;
    }
    if (record->state == BALSA__RECORD__BROKER_STATE__BROKER_REMOVED) {
        err = remove_broker(txn, record->id, result);
    } else {
        broker->state = record->state;
        err = put_broker(txn, broker);
    }
    balsa__record__broker_value__free_unpacked(broker, NULL);
    if (result->error == KAFKA_NONE) {
        apply_changes_add(changes, (struct metadata_change){.kind = METADATA_BROKER_CHANGED, .broker = record->id});
    }
    return err;
}
