/* Which handler serves which API. The versions are in proto/kafka_api.h. */

#include "broker/request.h"

request_handler api_handler(int16_t api_key)
{
    switch (api_key) {
    case KAFKA_API_PRODUCE:
        return handle_produce;
    case KAFKA_API_FETCH:
        return handle_fetch;
    case KAFKA_API_LIST_OFFSETS:
        return handle_list_offsets;
    case KAFKA_API_METADATA:
        return handle_metadata;
    case KAFKA_API_API_VERSIONS:
        return handle_api_versions;
    case KAFKA_API_OFFSET_COMMIT:
        return handle_offset_commit;
    case KAFKA_API_OFFSET_FETCH:
        return handle_offset_fetch;
    case KAFKA_API_CREATE_TOPICS:
        return handle_create_topics;
    case KAFKA_API_DELETE_TOPICS:
        return handle_delete_topics;
    case KAFKA_API_INIT_PRODUCER_ID:
        return handle_init_producer_id;
    case KAFKA_API_OFFSET_FOR_LEADER_EPOCH:
        return handle_offset_for_leader_epoch;
    case KAFKA_API_DESCRIBE_CONFIGS:
        return handle_describe_configs;
    case KAFKA_API_CREATE_PARTITIONS:
        return handle_create_partitions;
    case KAFKA_API_DELETE_GROUPS:
        return handle_delete_groups;
    case KAFKA_API_ELECT_LEADERS:
        return handle_elect_leaders;
    case KAFKA_API_ALTER_REASSIGNMENTS:
        return handle_alter_partition_reassignments;
    case KAFKA_API_LIST_REASSIGNMENTS:
        return handle_list_partition_reassignments;
    case KAFKA_API_OFFSET_DELETE:
        return handle_offset_delete;
    case KAFKA_API_UNREGISTER_BROKER:
        return handle_unregister_broker;
    case KAFKA_API_DELETE_RECORDS:
        return handle_delete_records;
    case KAFKA_API_DESCRIBE_ACLS:
        return handle_describe_acls;
    case KAFKA_API_CREATE_ACLS:
        return handle_create_acls;
    case KAFKA_API_DELETE_ACLS:
        return handle_delete_acls;
    case KAFKA_API_DESCRIBE_LOG_DIRS:
        return handle_describe_log_dirs;
    case KAFKA_API_DESCRIBE_PRODUCERS:
        return handle_describe_producers;
    case KAFKA_API_DESCRIBE_TOPIC_PARTITIONS:
        return handle_describe_topic_partitions;
    case KAFKA_API_ALTER_CONFIGS:
        return handle_alter_configs;
    case KAFKA_API_INCREMENTAL_ALTER_CONFIGS:
        return handle_incremental_alter_configs;
    case KAFKA_API_DESCRIBE_CLUSTER:
        return handle_describe_cluster;
    case KAFKA_API_FIND_COORDINATOR:
        return handle_find_coordinator;
    case KAFKA_API_JOIN_GROUP:
        return handle_join_group;
    case KAFKA_API_HEARTBEAT:
        return handle_heartbeat;
    case KAFKA_API_LEAVE_GROUP:
        return handle_leave_group;
    case KAFKA_API_SYNC_GROUP:
        return handle_sync_group;
    case KAFKA_API_DESCRIBE_GROUPS:
        return handle_describe_groups;
    case KAFKA_API_LIST_GROUPS:
        return handle_list_groups;
    case KAFKA_API_ALLOCATE_PRODUCER_IDS: /* not in kafka_apis: never a client's */
        return handle_allocate_producer_ids;
    case KAFKA_API_RESUME_BROKER: /* nor this */
        return handle_unregister_broker;
    default:
        return NULL;
    }
}
