/* What the files of apply share. Private to them. */
#pragma once

#include "metadata/apply.h"
#include "proto/record.pb-c.h"

enum err apply_put(struct kv_txn *txn, struct table_key key, struct bytes value);
enum err apply_get(struct kv_txn *txn, struct table_key key, struct bytes *value);
enum err apply_erase(struct kv_txn *txn, struct table_key key);
enum err apply_erase_if_there(struct kv_txn *txn, struct table_key key);
enum err apply_put_partition(struct kv_txn *txn, const struct uuid *id, int32_t index,
                             const struct partition_value *partition);
enum err apply_put_topic(struct kv_txn *txn, const Balsa__Record__TopicValue *topic);
/* Caller frees with balsa__record__topic_value__free_unpacked(). */
enum err apply_get_topic(struct kv_txn *txn, const struct uuid *id, Balsa__Record__TopicValue **topic);
bool apply_uuid(const ProtobufCBinaryData *data, struct uuid *id); /* false: not 16 bytes */
void apply_changes_add(struct apply_changes *changes, struct metadata_change change);
__attribute__((format(printf, 3, 4))) void apply_refuse(struct apply_result *result, enum kafka_error error,
                                                        const char *format, ...);

/* apply_brokers.c */
enum err apply_broker_registered(struct kv_txn *txn, const Balsa__Record__BrokerRegistered *record,
                                 struct apply_changes *changes, struct apply_result *result);
enum err apply_broker_changed(struct kv_txn *txn, const Balsa__Record__BrokerChanged *record,
                              struct apply_changes *changes, struct apply_result *result);
/* apply_configs.c */
enum err apply_topic_configs_changed(struct kv_txn *txn, const Balsa__Record__TopicConfigsChanged *record,
                                     struct apply_changes *changes, struct apply_result *result);
enum err apply_broker_configs_changed(struct kv_txn *txn, const Balsa__Record__BrokerConfigsChanged *record,
                                      struct apply_changes *changes, struct apply_result *result);
/* apply_moves.c */
enum err apply_partitions_moving(struct kv_txn *txn, const Balsa__Record__PartitionsMoving *record,
                                 struct apply_changes *changes, struct apply_result *result);
enum err apply_partitions_moved(struct kv_txn *txn, const Balsa__Record__PartitionsMoved *record,
                                struct apply_changes *changes);
/* apply_groups.c */
enum err apply_group_changed(struct kv_txn *txn, struct store_state *state, const Balsa__Record__GroupChanged *record,
                             struct apply_result *result);
enum err apply_groups_removed(struct kv_txn *txn, struct store_state *state, const Balsa__Record__GroupsRemoved *record,
                              struct apply_result *result);
enum err apply_offsets_committed(struct kv_txn *txn, struct store_state *state,
                                 const Balsa__Record__OffsetsCommitted *record, struct apply_result *result);
enum err apply_offsets_removed(struct kv_txn *txn, struct store_state *state,
                               const Balsa__Record__OffsetsRemoved *record);
