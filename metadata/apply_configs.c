/* Records about configurations. Values were checked by the controller and are stored as they come: a rule that another
 * version has must not make copies differ. */

#include "base/mem.h"
#include "metadata/apply_internal.h"
#include <string.h>

/* What a record changes: the same in both kinds. */
struct configs_change {
    Balsa__Record__Config **set;
    size_t set_count;
    char **unset;
    size_t unset_count;
};

static bool is_replaced(const struct configs_change *change, const char *name)
{
    for (size_t i = 0; i < change->unset_count; i++) {
        if (strcmp(change->unset[i], name) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < change->set_count; i++) {
        if (strcmp(change->set[i]->name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Old ones that stay, then those that are set. The list is the caller's to free, its items are not. */
static Balsa__Record__Config **merge(Balsa__Record__Config **old, size_t old_count, const struct configs_change *change,
                                     size_t *count)
{
    Balsa__Record__Config **merged = mem_alloc((old_count + change->set_count + 1) * sizeof(Balsa__Record__Config *));
    *count = 0;
    for (size_t i = 0; i < old_count; i++) {
        if (!is_replaced(change, old[i]->name)) {
            merged[(*count)++] = old[i];
        }
    }
    for (size_t i = 0; i < change->set_count; i++) {
        merged[(*count)++] = change->set[i];
    }
    return merged;
}

enum err apply_topic_configs_changed(struct kv_txn *txn, const Balsa__Record__TopicConfigsChanged *record,
                                     struct apply_changes *changes, struct apply_result *result)
{
    const struct configs_change change = {record->set, record->n_set, record->unset, record->n_unset};
    Balsa__Record__TopicValue *old;
    struct uuid id = {{0}};
    enum err err = apply_uuid(&record->id, &id) ? apply_get_topic(txn, &id, &old) : ERR_NOT_FOUND;
    if (err == ERR_NOT_FOUND) {
        apply_refuse(result, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "This topic does not exist (any more).");
        return OK;
    }
    if (err != OK) {
        return err;
    }
    Balsa__Record__TopicValue topic = *old;
    topic.configs = merge(old->configs, old->n_configs, &change, &topic.n_configs);
    err = apply_put_topic(txn, &topic);
    apply_changes_add(changes, (struct metadata_change){.kind = METADATA_CONFIGS_CHANGED, .topic = id});
    mem_free(topic.configs);
    balsa__record__topic_value__free_unpacked(old, NULL);
    return err;
}

static enum err put_broker_configs(struct kv_txn *txn, int32_t broker, const Balsa__Record__BrokerConfigsValue *value)
{
    if (value->n_configs == 0) {
        return apply_erase_if_there(txn, key_broker_configs(broker));
    }
    size_t size = balsa__record__broker_configs_value__get_packed_size(value);
    uint8_t *packed = mem_alloc(size);
    balsa__record__broker_configs_value__pack(value, packed);
    enum err err = apply_put(txn, key_broker_configs(broker), (struct bytes){packed, size});
    mem_free(packed);
    return err;
}

/* Caller frees with balsa__record__broker_configs_value__free_unpacked(). */
static enum err get_broker_configs(struct kv_txn *txn, int32_t broker, Balsa__Record__BrokerConfigsValue **configs)
{
    struct bytes value = {NULL, 0};
    enum err err = apply_get(txn, key_broker_configs(broker), &value);
    if (err != OK && err != ERR_NOT_FOUND) {
        return err;
    }
    *configs = balsa__record__broker_configs_value__unpack(NULL, value.size, value.data); /* nothing: an empty one */
    return *configs != NULL ? OK : ERR_CORRUPT;
}

enum err apply_broker_configs_changed(struct kv_txn *txn, const Balsa__Record__BrokerConfigsChanged *record,
                                      struct apply_changes *changes, struct apply_result *result)
{
    const struct configs_change change = {record->set, record->n_set, record->unset, record->n_unset};
    Balsa__Record__BrokerConfigsValue *old;
    struct bytes broker;
    enum err err = record->broker == -1 ? OK : apply_get(txn, key_broker(record->broker), &broker);
    if (err == ERR_NOT_FOUND) {
        apply_refuse(result, KAFKA_BROKER_ID_NOT_REGISTERED, "No broker with id %d found.", record->broker);
        return OK;
    }
    err = err == OK ? get_broker_configs(txn, record->broker, &old) : err;
    if (err != OK) {
        return err;
    }
    Balsa__Record__BrokerConfigsValue value = BALSA__RECORD__BROKER_CONFIGS_VALUE__INIT;
    value.configs = merge(old->configs, old->n_configs, &change, &value.n_configs);
    err = put_broker_configs(txn, record->broker, &value);
    apply_changes_add(changes,
                      (struct metadata_change){.kind = METADATA_BROKER_CONFIGS_CHANGED, .broker = record->broker});
    mem_free(value.configs);
    balsa__record__broker_configs_value__free_unpacked(old, NULL);
    return err;
}
