/* DescribeAcls, CreateAcls, DeleteAcls: there is no authorizer, and that is what they say, as Kafka does without one.
 * User interfaces ask for rules on their first page and go on with this answer. */

#include "broker/request.h"

#define NO_AUTHORIZER "No Authorizer is configured."

void handle_describe_acls(struct request *request)
{
    struct kafka_describe_acls_request message;
    struct kafka_describe_acls_response response;
    if (!request_decode(request, &kafka_describe_acls_request_schema, &message)) {
        return;
    }
    codec_init_defaults(&kafka_describe_acls_response_schema, &response);
    response.error_code = KAFKA_SECURITY_DISABLED;
    response.error_message = bytes_from_text(NO_AUTHORIZER);
    request_respond(request, &kafka_describe_acls_response_schema, &response);
}

void handle_create_acls(struct request *request)
{
    struct kafka_create_acls_request message;
    struct kafka_create_acls_response response;
    if (!request_decode(request, &kafka_create_acls_request_schema, &message)) {
        return;
    }
    codec_init_defaults(&kafka_create_acls_response_schema, &response);
    size_t count = (size_t)message.creations_count;
    if (count > 0) {
        response.results = codec_new(&kafka_create_acls_response_result_schema, count, &request->arena);
        if (response.results == NULL) {
            request_kill(request, "create acls response over the memory limit");
            return;
        }
    }
    response.results_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        response.results[i].error_code = KAFKA_SECURITY_DISABLED;
        response.results[i].error_message = bytes_from_text(NO_AUTHORIZER);
    }
    request_respond(request, &kafka_create_acls_response_schema, &response);
}

void handle_delete_acls(struct request *request)
{
    struct kafka_delete_acls_request message;
    struct kafka_delete_acls_response response;
    if (!request_decode(request, &kafka_delete_acls_request_schema, &message)) {
        return;
    }
    codec_init_defaults(&kafka_delete_acls_response_schema, &response);
    size_t count = (size_t)message.filters_count;
    if (count > 0) {
        response.filter_results = codec_new(&kafka_delete_acls_response_result_schema, count, &request->arena);
        if (response.filter_results == NULL) {
            request_kill(request, "delete acls response over the memory limit");
            return;
        }
    }
    response.filter_results_count = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        response.filter_results[i].error_code = KAFKA_SECURITY_DISABLED;
        response.filter_results[i].error_message = bytes_from_text(NO_AUTHORIZER);
    }
    request_respond(request, &kafka_delete_acls_response_schema, &response);
}
