/* DescribeConfigs: nothing waits, nothing is changed; describe_configs.c has the answer. */

#include "broker/describe_configs.h"
#include "broker/request.h"

void handle_describe_configs(struct request *request)
{
    const struct describe_configs_source source = {request->shard->options, request->shard->reader, &request->arena};
    struct kafka_describe_configs_request message;
    struct kafka_describe_configs_response response;
    if (!request_decode(request, &kafka_describe_configs_request_schema, &message)) {
        return;
    }
    if (describe_configs(&source, &message, &response)) {
        request_respond(request, &kafka_describe_configs_response_schema, &response);
    } else {
        request_kill(request, "describe configs response over the memory limit");
    }
}
