/* DescribeCluster: what Metadata says of brokers, without topics. endpoint_type 2 asks for controllers, which have no
 * listeners of their own here: every broker takes every admin call. */

#include "broker/describe.h"
#include "broker/request.h"

#define ENDPOINT_BROKERS 1

void handle_describe_cluster(struct request *request)
{
    struct kafka_describe_cluster_request message;
    struct kafka_describe_cluster_response response;
    size_t count;
    if (!request_decode(request, &kafka_describe_cluster_request_schema, &message)) {
        return;
    }
    codec_init_defaults(&kafka_describe_cluster_response_schema, &response);
    response.endpoint_type = message.endpoint_type;
    if (message.endpoint_type != ENDPOINT_BROKERS) {
        response.error_code = KAFKA_UNSUPPORTED_ENDPOINT_TYPE;
        response.error_message = bytes_from_text("Only brokers have endpoints.");
        request_respond(request, &kafka_describe_cluster_response_schema, &response);
        return;
    }
    const struct described_broker *brokers = describe_brokers(request, &count);
    if (brokers != NULL) {
        response.brokers = codec_new(&kafka_describe_cluster_response_broker_schema, count, &request->arena);
    }
    if (brokers == NULL || response.brokers == NULL) {
        request_kill(request, "describe cluster response over the memory limit");
        return;
    }
    response.brokers_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        response.brokers[i] = (struct kafka_describe_cluster_response_broker){
            .broker_id = brokers[i].id, .host = brokers[i].host, .port = brokers[i].port, .rack = brokers[i].rack};
    }
    response.cluster_id = describe_cluster_id(request);
    response.controller_id = describe_controller(request->shard);
    if (message.include_cluster_authorized_operations) {
        response.cluster_authorized_operations = AUTHORIZED_CLUSTER_OPERATIONS;
    }
    request_respond(request, &kafka_describe_cluster_response_schema, &response);
}
