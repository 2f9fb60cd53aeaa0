/* The cluster's state in LMDB: tables over base/kv, read by every shard, written by apply alone.
 *
 * Tables (first byte of the key; integers big-endian, so that keys sort):
 *   'v'                          store version, applied index, cluster id, counters
 *   'b' broker id i32            BrokerValue
 *   'c' broker id i32, -1: all    BrokerConfigsValue: what was altered while brokers run
 *   't' name                     topic id (16 bytes)
 *   'n' name, '.' as '_'         name of the topic that has it: no other may (Kafka's metrics cannot tell them apart)
 *   'i' topic id                 TopicValue
 *   'p' topic id, index i32      struct partition_value (metadata/tables.h)
 *   'm' topic id, index i32      nothing: partitions of 'p' with a target or somebody leaving
 *   'g' group u64                topic id, index i32
 *   'G' consumer group's id      its number u64, GroupValue (metadata/store_groups.h)
 *   'N' number u64               the consumer group's id
 *   'O' number u64, topic id, partition i32   struct offset_value (metadata/tables.h)
 * Runs on:  a `store` belongs to the process; a `store_reader` to one shard, its snapshot is renewed once a loop turn.
 *           What a reader returns borrows from the snapshot: valid until the end of the turn. Decoded values live in
 *           the arena given. */
#pragma once

#include "base/arena.h"
#include "base/env.h"
#include "base/kv.h"
#include "proto/uuid.h"

struct store;
struct store_reader;

MUST_CHECK enum err store_open(const char *path, struct store **store, struct errmsg *msg);
void store_close(struct store *store);
const char *store_path(const struct store *store); /* its directory */
/* Whether nothing was ever applied. */
MUST_CHECK enum err store_is_empty(struct store *store, bool *is_empty, struct errmsg *msg);
struct kv *store_kv(struct store *store);

struct store_reader *store_reader_open(struct store *store, struct env *env);
/* The next read of this turn sees the newest commit: for the shard that has just committed. */
void store_reader_refresh(struct store_reader *reader);
void store_reader_close(struct store_reader *reader);

#define CLUSTER_ID_SIZE 22

struct store_config {
    struct bytes name;
    struct bytes value;
};
struct store_configs {
    struct store_config *items;
    size_t count;
};
struct store_topic {
    struct uuid id;
    struct bytes name;
    int32_t partition_count;
    struct store_config *configs;
    size_t config_count;
};
struct store_partition {
    uint64_t group;
    uint64_t bootstrap_term;
    int32_t *replicas;        /* brokers, the preferred leader first */
    size_t replica_count;
    int32_t *target;          /* what replicas are to become */
    size_t target_count;      /* 0: not moving */
    int32_t *leaving;         /* in neither, but may still be members: of a target that was cancelled or replaced */
    size_t leaving_count;
    uint32_t move_epoch;      /* counts the moves wished for, cancels too */
    uint64_t *servers;        /* members that the Raft group was made with, as voters */
    size_t server_count;      /* 0: the partition has been moved; who has no replica yet joins with nothing */
};
struct store_endpoint {
    struct bytes listener;
    struct bytes host; /* empty: the address the client came in on */
    uint16_t port;
};
struct store_broker {
    int32_t id;
    uint64_t server_id;
    uint8_t incarnation[16];
    struct bytes rack;
    bool is_draining;         /* to be emptied: gets no new replicas */
    struct store_endpoint *endpoints;
    size_t endpoint_count;
    struct store_endpoint peer; /* for brokers, never told to clients; port 0: none */
};

/* All: ERR_NOT_FOUND when absent, ERR_TOO_LARGE when the arena is full. */
uint64_t store_applied_index(struct store_reader *reader);
MUST_CHECK enum err store_cluster_id(struct store_reader *reader, char id[CLUSTER_ID_SIZE + 1]); /* NUL-terminated */
MUST_CHECK enum err store_topic_by_name(struct store_reader *reader, struct arena *arena, struct bytes name,
                                        struct store_topic *topic);
MUST_CHECK enum err store_topic_by_id(struct store_reader *reader, struct arena *arena, const struct uuid *id,
                                      struct store_topic *topic);
/* cheap: one get, or none if the newest commit is the one of the last time */
MUST_CHECK enum err store_topic_id(struct store_reader *reader, struct bytes name, struct uuid *id);
/* The existing topic, `name` or another, that a topic `name` would collide with (metadata/topic_name.h). */
MUST_CHECK enum err store_topic_colliding(struct store_reader *reader, struct bytes name, struct bytes *other);
MUST_CHECK enum err store_topic_name(struct store_reader *reader, struct arena *arena, const struct uuid *id,
                                     struct bytes *name);
MUST_CHECK enum err store_partition(struct store_reader *reader, struct arena *arena, const struct uuid *id,
                                    int32_t index, struct store_partition *partition);
/* hot path: as cheap, no decoding */
MUST_CHECK enum err store_partition_group(struct store_reader *reader, const struct uuid *id, int32_t index,
                                          uint64_t *group);
MUST_CHECK enum err store_group(struct store_reader *reader, uint64_t group, struct uuid *id, int32_t *index);
MUST_CHECK enum err store_broker(struct store_reader *reader, struct arena *arena, int32_t id,
                                 struct store_broker *broker);
/* What was altered of a broker, -1: of all; none is no error. */
MUST_CHECK enum err store_broker_configs(struct store_reader *reader, struct arena *arena, int32_t id,
                                         struct store_configs *configs);
/* Calls cb for each in key order until it returns false. Values live in `arena`, which the caller may reset inside
 * cb. */
MUST_CHECK enum err store_topics_each(struct store_reader *reader, struct arena *arena, void *context,
                                      bool (*cb)(void *context, const struct store_topic *topic));
MUST_CHECK enum err store_brokers_each(struct store_reader *reader, struct arena *arena, void *context,
                                       bool (*cb)(void *context, const struct store_broker *broker));
/* Every partition, in order of topic ids and indexes, from (from, from_index) on; as above. */
MUST_CHECK enum err store_partitions_each(struct store_reader *reader, struct arena *arena, const struct uuid *from,
                                          int32_t from_index, void *context,
                                          bool (*cb)(void *context, const struct uuid *topic, int32_t index,
                                                     const struct store_partition *partition));
/* Those with a target or somebody leaving. */
MUST_CHECK enum err store_moving_each(struct store_reader *reader, void *context,
                                      bool (*cb)(void *context, const struct uuid *topic, int32_t index));
uint64_t store_topic_count(struct store_reader *reader);
uint64_t store_partition_count(struct store_reader *reader); /* of the whole cluster */
