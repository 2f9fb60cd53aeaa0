/* FindCoordinator: all groups are coordinated by the leader of the metadata. Told by its address on the listener that
 * the client came in on. There is no coordinator of transactions. */

#include "broker/describe.h"
#include "broker/request.h"

#define KEY_GROUP 0
#define KEY_TRANSACTION 1
#define KEYS_BATCHED 4 /* from this version on there are many keys */

static enum kafka_error find(struct request *request, int8_t key_type, struct described_broker *broker)
{
    *broker = (struct described_broker){.id = -1, .port = -1};
    if (key_type != KEY_GROUP) {
        return key_type == KEY_TRANSACTION ? KAFKA_COORDINATOR_NOT_AVAILABLE : KAFKA_INVALID_REQUEST;
    }
    int32_t leader = leaders_get(request->shard->leaders, METADATA_GROUP).broker;
    bool is_found =
        leader >= 0 && describe_is_alive(request->shard, leader) && describe_broker(request, leader, broker);
    if (!is_found) {
        *broker = (struct described_broker){.id = -1, .port = -1};
    }
    return is_found ? KAFKA_NONE : KAFKA_COORDINATOR_NOT_AVAILABLE;
}

static const char *cause(int8_t key_type, enum kafka_error error)
{
    return key_type == KEY_TRANSACTION ? "There is no coordinator of transactions." : kafka_error_text(error);
}

static bool fill_many(const struct kafka_find_coordinator_request *message, enum kafka_error error,
                      const struct described_broker *broker, struct arena *arena,
                      struct kafka_find_coordinator_response *response)
{
    size_t count = message->coordinator_keys_count > 0 ? (size_t)message->coordinator_keys_count : 0;
    if (count == 0) {
        return true;
    }
    response->coordinators = codec_new(&kafka_find_coordinator_response_coordinator_schema, count, arena);
    for (size_t i = 0; response->coordinators != NULL && i < count; i++) {
        struct kafka_find_coordinator_response_coordinator *out =
            &response->coordinators[response->coordinators_count++];
        out->key = message->coordinator_keys[i];
        out->node_id = broker->id;
        out->host = broker->host;
        out->port = broker->port;
        out->error_code = (int16_t)error;
        out->error_message = error != KAFKA_NONE ? bytes_from_text(cause(message->key_type, error)) : BYTES_NONE;
    }
    return response->coordinators != NULL;
}

void handle_find_coordinator(struct request *request)
{
    struct kafka_find_coordinator_request message;
    struct kafka_find_coordinator_response response;
    struct described_broker broker;
    if (!request_decode(request, &kafka_find_coordinator_request_schema, &message)) {
        return;
    }
    enum kafka_error error = find(request, message.key_type, &broker);
    codec_init_defaults(&kafka_find_coordinator_response_schema, &response);
    if (request->api_version < KEYS_BATCHED) {
        response.error_code = (int16_t)error;
        response.error_message = error != KAFKA_NONE ? bytes_from_text(cause(message.key_type, error)) : BYTES_NONE;
        response.node_id = broker.id;
        response.host = broker.host;
        response.port = broker.port;
    } else if (!fill_many(&message, error, &broker, &request->arena, &response)) {
        request_kill(request, "find coordinator response over the memory limit");
        return;
    }
    request_respond(request, &kafka_find_coordinator_response_schema, &response);
}
