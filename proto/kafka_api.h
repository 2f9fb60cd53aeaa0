/* The Kafka APIs that are served, and in which versions: what ApiVersions tells clients, and how a request is read.
 *
 * An API that is not in this table does not exist for clients. The ranges are data, chosen API by API, not derived from
 * a Kafka release; proto/README.md has the reasons and the rules that hold between them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/kafka_messages.h"

/* X(constant, key, "Name", message prefix, accepted from, to, advertised from, first flexible version).
 * Advertised and accepted end at the same version. Produce 0-2 is advertised and refused: librdkafka before 2.12 turns
 * compression off when it does not see them (KAFKA-18659). */
/* clang-format off */
#define KAFKA_API_MAP(X)                                                                           \
    X(PRODUCE, 0, "Produce", kafka_produce, 3, 13, 0, 9)                                           \
    X(FETCH, 1, "Fetch", kafka_fetch, 4, 17, 4, 12)                                                \
    X(LIST_OFFSETS, 2, "ListOffsets", kafka_list_offsets, 1, 10, 1, 6)                             \
    X(METADATA, 3, "Metadata", kafka_metadata, 0, 13, 0, 9)                                        \
    X(OFFSET_COMMIT, 8, "OffsetCommit", kafka_offset_commit, 2, 9, 2, 8)                           \
    X(OFFSET_FETCH, 9, "OffsetFetch", kafka_offset_fetch, 1, 9, 1, 6)                              \
    X(FIND_COORDINATOR, 10, "FindCoordinator", kafka_find_coordinator, 0, 5, 0, 3)                 \
    X(JOIN_GROUP, 11, "JoinGroup", kafka_join_group, 0, 9, 0, 6)                                   \
    X(HEARTBEAT, 12, "Heartbeat", kafka_heartbeat, 0, 4, 0, 4)                                     \
    X(LEAVE_GROUP, 13, "LeaveGroup", kafka_leave_group, 0, 5, 0, 4)                                \
    X(SYNC_GROUP, 14, "SyncGroup", kafka_sync_group, 0, 5, 0, 4)                                   \
    X(DESCRIBE_GROUPS, 15, "DescribeGroups", kafka_describe_groups, 0, 6, 0, 5)                    \
    X(LIST_GROUPS, 16, "ListGroups", kafka_list_groups, 0, 5, 0, 3)                                \
    X(API_VERSIONS, 18, "ApiVersions", kafka_api_versions, 0, 4, 0, 3)                             \
    X(CREATE_TOPICS, 19, "CreateTopics", kafka_create_topics, 0, 7, 0, 5)                          \
    X(DELETE_TOPICS, 20, "DeleteTopics", kafka_delete_topics, 0, 6, 0, 4)                          \
    X(DELETE_RECORDS, 21, "DeleteRecords", kafka_delete_records, 0, 2, 0, 2)                       \
    X(INIT_PRODUCER_ID, 22, "InitProducerId", kafka_init_producer_id, 0, 5, 0, 2)                  \
    X(OFFSET_FOR_LEADER_EPOCH, 23, "OffsetForLeaderEpoch", kafka_offset_for_leader_epoch, 2, 4, 2, 4)\
    X(DESCRIBE_ACLS, 29, "DescribeAcls", kafka_describe_acls, 0, 3, 0, 2)                          \
    X(CREATE_ACLS, 30, "CreateAcls", kafka_create_acls, 0, 3, 0, 2)                                \
    X(DELETE_ACLS, 31, "DeleteAcls", kafka_delete_acls, 0, 3, 0, 2)                                \
    X(DESCRIBE_CONFIGS, 32, "DescribeConfigs", kafka_describe_configs, 0, 4, 0, 4)                 \
    X(ALTER_CONFIGS, 33, "AlterConfigs", kafka_alter_configs, 0, 2, 0, 2)                          \
    X(DESCRIBE_LOG_DIRS, 35, "DescribeLogDirs", kafka_describe_log_dirs, 0, 4, 0, 2)               \
    X(CREATE_PARTITIONS, 37, "CreatePartitions", kafka_create_partitions, 0, 3, 0, 2)              \
    X(DELETE_GROUPS, 42, "DeleteGroups", kafka_delete_groups, 0, 2, 0, 2)                          \
    X(ELECT_LEADERS, 43, "ElectLeaders", kafka_elect_leaders, 0, 2, 0, 2)                          \
    X(INCREMENTAL_ALTER_CONFIGS, 44, "IncrementalAlterConfigs", kafka_incremental_alter_configs, 0, 1, 0, 1)\
    X(ALTER_REASSIGNMENTS, 45, "AlterPartitionReassignments", kafka_alter_partition_reassignments, 0, 0, 0, 0)\
    X(LIST_REASSIGNMENTS, 46, "ListPartitionReassignments", kafka_list_partition_reassignments, 0, 0, 0, 0)\
    X(OFFSET_DELETE, 47, "OffsetDelete", kafka_offset_delete, 0, 0, 0, INT16_MAX)                  \
    X(DESCRIBE_CLUSTER, 60, "DescribeCluster", kafka_describe_cluster, 0, 1, 0, 0)                 \
    X(DESCRIBE_PRODUCERS, 61, "DescribeProducers", kafka_describe_producers, 0, 0, 0, 0)           \
    X(UNREGISTER_BROKER, 64, "UnregisterBroker", kafka_unregister_broker, 0, 0, 0, 0)        \
    X(DESCRIBE_TOPIC_PARTITIONS, 75, "DescribeTopicPartitions", kafka_describe_topic_partitions, 0, 0, 0, 0)
/* clang-format on */

/* What brokers ask of each other in Kafka's encoding, inside a forwarded request: not in the table, so that for
 * clients it does not exist. */
/* clang-format off */
#define KAFKA_API_INTERNAL_MAP(X)                                                                  \
    X(ALLOCATE_PRODUCER_IDS, 67, "AllocateProducerIds", kafka_allocate_producer_ids, 0, 0, 0, 0)   \
    X(RESUME_BROKER, 1001, "ResumeBroker", kafka_unregister_broker, 0, 0, 0, 0)
/* clang-format on */

/* Wire keys: KAFKA_API_PRODUCE = 0, ... */
enum kafka_api_key {
#define KAFKA_API_ENUM(name, key, ...) KAFKA_API_##name = (key),
    KAFKA_API_MAP(KAFKA_API_ENUM)
    KAFKA_API_INTERNAL_MAP(KAFKA_API_ENUM)
#undef KAFKA_API_ENUM
};

struct kafka_api {
    int16_t key;
    uint16_t place;                 /* kafka_api_at(place) is this one */
    int16_t version_min;            /* accepted, both ends included */
    int16_t version_max;            /* accepted and advertised */
    int16_t version_min_advertised; /* <= version_min; versions between are refused */
    int16_t flexible_min;           /* first version with flexible headers */
    const char *name;               /* Kafka's: "OffsetForLeaderEpoch" */
    const struct schema *request;
    const struct schema *response;
};

/* Ascending by key. */
#define KAFKA_API_ONE(...) +1
enum {
    KAFKA_API_COUNT = KAFKA_API_MAP(KAFKA_API_ONE),
    KAFKA_API_COUNT_ALL = KAFKA_API_COUNT KAFKA_API_INTERNAL_MAP(KAFKA_API_ONE)
};
#undef KAFKA_API_ONE
extern const struct kafka_api kafka_apis[KAFKA_API_COUNT];

/* NULL if the API is not served. */
const struct kafka_api *kafka_api_find(int16_t key);

/* The same among those between brokers as well. */
const struct kafka_api *kafka_api_find_internal(int16_t key);

/* By number, those between brokers behind the others: 0 <= place < KAFKA_API_COUNT_ALL. */
const struct kafka_api *kafka_api_at(size_t place);

/* Whether requests of this version are answered, beyond an error code. */
bool kafka_api_accepts(const struct kafka_api *api, int16_t version);

/* Version of kafka_request_header (1, 2) that a request carries. Right for versions that are not accepted as well, so
 * that the header of an ApiVersions request from the future can be read (KIP-511). */
int16_t kafka_api_request_header(const struct kafka_api *api, int16_t version);

/* Version of kafka_response_header (0, 1) for an answer in this version. ApiVersions always has 0: its client does not
 * know yet what the broker speaks. */
int16_t kafka_api_response_header(const struct kafka_api *api, int16_t version);
