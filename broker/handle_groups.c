/* Requests about consumer groups: decided by the coordinator, on shard 0 (broker/coordinator.h). */

#include "broker/coordinator_internal.h"

void handle_join_group(struct request *request)
{
    group_call_send(request, &kafka_join_group_request_schema, sizeof(struct kafka_join_group_request),
                    coordinator_join);
}

void handle_sync_group(struct request *request)
{
    group_call_send(request, &kafka_sync_group_request_schema, sizeof(struct kafka_sync_group_request),
                    coordinator_sync);
}

void handle_heartbeat(struct request *request)
{
    group_call_send(request, &kafka_heartbeat_request_schema, sizeof(struct kafka_heartbeat_request),
                    coordinator_heartbeat);
}

void handle_leave_group(struct request *request)
{
    group_call_send(request, &kafka_leave_group_request_schema, sizeof(struct kafka_leave_group_request),
                    coordinator_leave);
}

void handle_describe_groups(struct request *request)
{
    group_call_send(request, &kafka_describe_groups_request_schema, sizeof(struct kafka_describe_groups_request),
                    coordinator_describe);
}

void handle_list_groups(struct request *request)
{
    group_call_send(request, &kafka_list_groups_request_schema, sizeof(struct kafka_list_groups_request),
                    coordinator_list);
}
