/* Which handler serves which API. The versions are in proto/kafka_api.h. */

#include "base/mem.h"
#include "broker/request.h"

static const request_handler handlers[] = {
    [KAFKA_API_PRODUCE] = handle_produce,
    [KAFKA_API_FETCH] = handle_fetch,
    [KAFKA_API_LIST_OFFSETS] = handle_list_offsets,
    [KAFKA_API_METADATA] = handle_metadata,
    [KAFKA_API_API_VERSIONS] = handle_api_versions,
    [KAFKA_API_OFFSET_COMMIT] = handle_offset_commit,
    [KAFKA_API_OFFSET_FETCH] = handle_offset_fetch,
    [KAFKA_API_CREATE_TOPICS] = handle_create_topics,
    [KAFKA_API_DELETE_TOPICS] = handle_delete_topics,
    [KAFKA_API_INIT_PRODUCER_ID] = handle_init_producer_id,
    [KAFKA_API_OFFSET_FOR_LEADER_EPOCH] = handle_offset_for_leader_epoch,
    [KAFKA_API_DESCRIBE_CONFIGS] = handle_describe_configs,
    [KAFKA_API_CREATE_PARTITIONS] = handle_create_partitions,
    [KAFKA_API_DELETE_GROUPS] = handle_delete_groups,
    [KAFKA_API_ELECT_LEADERS] = handle_elect_leaders,
    [KAFKA_API_ALTER_REASSIGNMENTS] = handle_alter_partition_reassignments,
    [KAFKA_API_LIST_REASSIGNMENTS] = handle_list_partition_reassignments,
    [KAFKA_API_OFFSET_DELETE] = handle_offset_delete,
    [KAFKA_API_UNREGISTER_BROKER] = handle_unregister_broker,
    [KAFKA_API_DELETE_RECORDS] = handle_delete_records,
    [KAFKA_API_DESCRIBE_ACLS] = handle_describe_acls,
    [KAFKA_API_CREATE_ACLS] = handle_create_acls,
    [KAFKA_API_DELETE_ACLS] = handle_delete_acls,
    [KAFKA_API_DESCRIBE_LOG_DIRS] = handle_describe_log_dirs,
    [KAFKA_API_DESCRIBE_PRODUCERS] = handle_describe_producers,
    [KAFKA_API_DESCRIBE_TOPIC_PARTITIONS] = handle_describe_topic_partitions,
    [KAFKA_API_ALTER_CONFIGS] = handle_alter_configs,
    [KAFKA_API_INCREMENTAL_ALTER_CONFIGS] = handle_incremental_alter_configs,
    [KAFKA_API_DESCRIBE_CLUSTER] = handle_describe_cluster,
    [KAFKA_API_FIND_COORDINATOR] = handle_find_coordinator,
    [KAFKA_API_JOIN_GROUP] = handle_join_group,
    [KAFKA_API_HEARTBEAT] = handle_heartbeat,
    [KAFKA_API_LEAVE_GROUP] = handle_leave_group,
    [KAFKA_API_SYNC_GROUP] = handle_sync_group,
    [KAFKA_API_DESCRIBE_GROUPS] = handle_describe_groups,
    [KAFKA_API_LIST_GROUPS] = handle_list_groups,
    [KAFKA_API_ALLOCATE_PRODUCER_IDS] = handle_allocate_producer_ids, /* not in kafka_apis: never a client's */
    [KAFKA_API_RESUME_BROKER] = handle_unregister_broker,             /* nor this */
};

request_handler api_handler(int16_t api_key)
{
    return api_key >= 0 && (size_t)api_key < array_count(handlers) ? handlers[api_key] : NULL;
}
