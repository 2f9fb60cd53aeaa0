/* Keys of the store's tables (metadata/store.h lists them), and the counters record. Private to metadata/. */
#pragma once

#include "base/bytes.h"
#include "replication/membership.h"
#include "proto/uuid.h"

#define STORE_VERSION 4
#define TABLE_KEY_SIZE_MAX 501 /* 'G' and a group id of 500 bytes is the longest */

struct table_key {
    uint8_t data[TABLE_KEY_SIZE_MAX];
    size_t size;
};

struct bytes table_key_bytes(const struct table_key *key);
struct table_key key_state(void);
struct table_key key_broker(int32_t id);
struct table_key key_broker_configs(int32_t id);    /* -1: of all brokers */
struct table_key key_topic_name(struct bytes name); /* name <= TOPIC_NAME_SIZE_MAX: the caller has checked */
struct table_key key_topic_folded(struct bytes name); /* the same for names that collide */
struct table_key key_topic(const struct uuid *id);
struct table_key key_partition(const struct uuid *id, int32_t index);
struct table_key key_partitions(const struct uuid *id); /* prefix of all partitions of a topic */
struct table_key key_moving(const struct uuid *id, int32_t index);
struct table_key key_group(uint64_t group);
struct table_key key_table(char table);                 /* prefix of a whole table */
struct table_key key_consumer_group(struct bytes id);   /* id <= GROUP_ID_SIZE_MAX: the caller has checked */
struct table_key key_consumer_group_number(uint64_t number);
struct table_key key_offset(uint64_t number, const struct uuid *topic, int32_t partition);
struct table_key key_offsets(uint64_t number);          /* prefix of all offsets of a consumer group */

/* A value of table 'p': group u64, bootstrap term u64, move epoch u32, counts u8 of replicas, target, leaving, servers;
 * then those: the first three broker ids i32, the last server ids u64. */
struct partition_value {
    uint64_t group;
    uint64_t bootstrap_term;
    uint32_t move_epoch;
    uint8_t replica_count, target_count, leaving_count, server_count;
    int32_t replicas[REPLICA_SERVER_COUNT_MAX];
    int32_t target[REPLICA_SERVER_COUNT_MAX];
    int32_t leaving[REPLICA_SERVER_COUNT_MAX];
    uint64_t servers[REPLICA_SERVER_COUNT_MAX];
};
#define PARTITION_VALUE_HEAD_SIZE ((size_t)24)
#define PARTITION_VALUE_SIZE_MAX (PARTITION_VALUE_HEAD_SIZE + (size_t)REPLICA_SERVER_COUNT_MAX * (3 * 4 + 8))
size_t partition_value_encode(const struct partition_value *value, uint8_t out[PARTITION_VALUE_SIZE_MAX]);
MUST_CHECK enum err partition_value_decode(struct bytes bytes, struct partition_value *value);
MUST_CHECK enum err partition_value_group(struct bytes value, uint64_t *group); /* no more than that is looked at */

/* A value of table 'G': the group's number u64, then the packed GroupValue. */
#define GROUP_VALUE_HEAD_SIZE ((size_t)8)
MUST_CHECK enum err group_value_split(struct bytes value, uint64_t *number, struct bytes *packed);

/* A key of table 'O', taken apart. */
struct store_offset_place;
MUST_CHECK enum err offset_place_decode(struct bytes key, struct store_offset_place *place);

/* A value of table 'O': offset i64, leader epoch i32, committed at i64, expires at i64; then the client's metadata. */
struct offset_value {
    int64_t offset;
    int32_t leader_epoch; /* -1: not told */
    int64_t commit_ms;
    int64_t expire_ms;    /* 0: by the broker's retention */
    struct bytes metadata;
};
#define OFFSET_VALUE_HEAD_SIZE ((size_t)28)
void offset_value_encode_head(const struct offset_value *value, uint8_t out[OFFSET_VALUE_HEAD_SIZE]);
MUST_CHECK enum err offset_value_decode(struct bytes bytes, struct offset_value *value); /* metadata borrows */

/* What a pair of tables 'G', 'N' or 'O' counts in store_state.groups_size: about what it takes in the file, where
 * pages are half full and a long value has pages of its own. */
uint64_t group_pair_size(size_t key_size, size_t value_size);

/* The one value under 'v': applied index and counters. */
struct store_state {
    uint64_t applied_index;
    uint64_t next_group;
    uint64_t next_producer_id;
    uint64_t term_floor;      /* bootstrap terms of new groups are above it */
    uint64_t topic_count;
    uint64_t partition_count;
    uint64_t next_consumer_group; /* numbers of consumer groups */
    uint64_t consumer_group_count;
    uint64_t offset_count;    /* with those of groups and topics that are gone, until they are removed */
    uint64_t groups_size;     /* see group_pair_size() */
    uint8_t cluster_id[22];
    bool has_cluster_id;
};
#define STORE_STATE_SIZE (1 + 10 * 8 + 1 + 22)
void store_state_encode(const struct store_state *state, uint8_t out[STORE_STATE_SIZE]);
MUST_CHECK enum err store_state_decode(struct bytes value, struct store_state *state);
