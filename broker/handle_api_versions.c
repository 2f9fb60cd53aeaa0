/* ApiVersions: the table of proto/kafka_api.h as it stands. A version from the future is answered in version 0 with
 * UNSUPPORTED_VERSION and the range of ApiVersions itself (KIP-511), so that the client tries again with one we
 * speak. */

#include "base/mem.h"
#include "broker/request.h"
#include <ctype.h>

static bool software_name_is_valid(struct bytes text)
{
    if (text.size == 0 || !isalnum(text.data[0]) || !isalnum(text.data[text.size - 1])) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (!isalnum(text.data[i]) && text.data[i] != '-' && text.data[i] != '.') {
            return false;
        }
    }
    return true;
}

static void respond_unsupported(struct request *request)
{
    const struct kafka_api *api = kafka_api_find(KAFKA_API_API_VERSIONS);
    struct kafka_api_versions_response_api range;
    struct kafka_api_versions_response response;
    codec_init_defaults(&kafka_api_versions_response_schema, &response);
    codec_init_defaults(&kafka_api_versions_response_api_schema, &range);
    range.api_key = api->key;
    range.min_version = api->version_min_advertised;
    range.max_version = api->version_max;
    response.error_code = KAFKA_UNSUPPORTED_VERSION;
    response.api_keys = &range;
    response.api_keys_count = 1;
    request_respond_version(request, 0, &kafka_api_versions_response_schema, &response);
}

void handle_api_versions(struct request *request)
{
    struct kafka_api_versions_request message;
    struct kafka_api_versions_response response;
    struct kafka_api_versions_response_api ranges[KAFKA_API_COUNT];
    if (!kafka_api_accepts(kafka_api_find(KAFKA_API_API_VERSIONS), request->api_version)) {
        respond_unsupported(request);
        return;
    }
    if (!request_decode(request, &kafka_api_versions_request_schema, &message)) {
        return;
    }
    codec_init_defaults(&kafka_api_versions_response_schema, &response);
    if (request->api_version >= 3 && (!software_name_is_valid(message.client_software_name) ||
                                      !software_name_is_valid(message.client_software_version))) {
        response.error_code = KAFKA_INVALID_REQUEST;
        request_respond(request, &kafka_api_versions_response_schema, &response);
        return;
    }
    for (size_t i = 0; i < array_count(kafka_apis); i++) {
        codec_init_defaults(&kafka_api_versions_response_api_schema, &ranges[i]);
        ranges[i].api_key = kafka_apis[i].key;
        ranges[i].min_version = kafka_apis[i].version_min_advertised;
        ranges[i].max_version = kafka_apis[i].version_max;
    }
    response.api_keys = ranges;
    response.api_keys_count = (int32_t)array_count(kafka_apis);
    request_respond(request, &kafka_api_versions_response_schema, &response);
}
