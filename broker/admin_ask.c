/* Kafka requests made by the admin service. What the controller decides goes by forward_call(), as auto-creation does;
 * the rest by request_run(), as if a client of this broker had sent it.
 * The call is ended in each case: by `done`, or here with what went wrong. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/admin_internal.h"
#include "broker/forward.h"
#include "broker/request.h"

#define TIMEOUT_MAX_MS 30000
#define FRAME_SIZE_MAX MIB(16)

struct ask {
    struct grpc_call *call;
    const struct kafka_api *api;
    void (*done)(struct grpc_call *call, const void *response);
    struct forward_call forward;
    struct request_run run;
};

static bool is_for_controller(int16_t api_key)
{
    return api_key == KAFKA_API_CREATE_TOPICS || api_key == KAFKA_API_DELETE_TOPICS ||
           api_key == KAFKA_API_CREATE_PARTITIONS || api_key == KAFKA_API_ALTER_REASSIGNMENTS ||
           api_key == KAFKA_API_UNREGISTER_BROKER || api_key == KAFKA_API_RESUME_BROKER ||
           api_key == KAFKA_API_INCREMENTAL_ALTER_CONFIGS || api_key == KAFKA_API_LIST_GROUPS ||
           api_key == KAFKA_API_DESCRIBE_GROUPS || api_key == KAFKA_API_DELETE_GROUPS ||
           api_key == KAFKA_API_OFFSET_FETCH || api_key == KAFKA_API_OFFSET_COMMIT; /* the coordinator is there */
}

int32_t admin_timeout_ms(const struct grpc_call *call)
{
    if (call->deadline_us == INT64_MAX) {
        return TIMEOUT_MAX_MS;
    }
    int64_t left_ms = (call->deadline_us - env_now_us(admin_of(call)->shard->env)) / 1000;
    left_ms -= left_ms / 8; /* to say why there was no answer, before the client's time is up */
    return left_ms < 1 ? 1 : left_ms < TIMEOUT_MAX_MS ? (int32_t)left_ms : TIMEOUT_MAX_MS;
}

static void fail_ask(struct grpc_call *call, enum err err)
{
    if (err == ERR_NOT_LEADER) {
        grpc_finish(
            call, GRPC_UNAVAILABLE,
            "no controller could be asked, so nothing was done: a majority of the metadata's voters must be up");
    } else if (err == ERR_TIMED_OUT) {
        grpc_finish(call, GRPC_DEADLINE_EXCEEDED,
                    "the controller was asked and did not answer: look whether it was done before asking again");
    } else {
        grpc_finish(call, GRPC_INTERNAL, "the request was not taken: %s", err_text(err));
    }
}

static void ask_answered(struct ask *ask, struct bytes body)
{
    struct grpc_call *call = ask->call;
    struct reader reader;
    body = arena_copy(&call->arena, body); /* what is decoded borrows from it, and may be asked on with */
    reader_init(&reader, body);
    void *response = arena_alloc(&call->arena, ask->api->response->size);
    enum err err = ERR_TOO_LARGE;
    if (body.data != NULL && response != NULL) {
        err = codec_decode(ask->api->response, ask->api->version_max, &reader, &call->arena, response);
    }
    if (err == ERR_TOO_LARGE) {
        admin_too_large(call);
    } else if (err != OK) {
        fail_ask(call, err);
    } else {
        ask->done(call, response);
    }
}

static void on_forwarded(struct forward_call *forward)
{
    struct ask *ask = container_of(forward, struct ask, forward);
    if (forward->err != OK) {
        fail_ask(ask->call, forward->err);
    } else {
        ask_answered(ask, forward->response.bytes);
    }
    mem_free(ask);
}

static void on_run(struct request_run *run)
{
    struct ask *ask = container_of(run, struct ask, run);
    struct kafka_response_header header;
    struct reader reader;
    enum err err = run->err;
    if (err == OK) {
        reader_init(&reader, run->response.bytes);
        err = codec_decode(&kafka_response_header_schema, kafka_api_response_header(ask->api, ask->api->version_max),
                           &reader, &ask->call->arena, &header);
    }
    if (err != OK) {
        fail_ask(ask->call, err);
    } else {
        ask_answered(ask, (struct bytes){reader.at, reader.left});
    }
    mem_free(ask);
}

static void run_here(struct ask *ask, const void *message)
{
    struct shard *shard = admin_of(ask->call)->shard;
    int16_t version = ask->api->version_max;
    struct kafka_request_header header = {
        .request_api_key = ask->api->key, .request_api_version = version, .client_id = bytes_from_text("admin")};
    struct outbuf out;
    outbuf_init(&out, FRAME_SIZE_MAX);
    codec_encode(&kafka_request_header_schema, kafka_api_request_header(ask->api, version), &header, &out);
    codec_encode(ask->api->request, version, message, &out);
    if (out.err != OK || !request_has_room(shard)) {
        grpc_finish(ask->call, GRPC_RESOURCE_EXHAUSTED, "this broker has no memory left for the request: try again");
        mem_free(ask);
    } else {
        struct shared *block = outbuf_flatten(&out);
        ask->run.frame = (struct slice){block, {block->data, block->size}};
        ask->run.cb = on_run;
        request_run(shard, &ask->run);
        shared_release(block);
    }
    outbuf_deinit(&out);
}

void admin_ask(struct grpc_call *call, int16_t api_key, const void *message,
               void (*done)(struct grpc_call *call, const void *response))
{
    struct ask *ask = mem_alloc(sizeof(*ask));
    ask->call = call;
    ask->api = kafka_api_find_internal(api_key);
    ask->done = done;
    if (!is_for_controller(api_key)) {
        run_here(ask, message);
        return;
    }
    ask->forward = (struct forward_call){.api_key = api_key,
                                         .api_version = ask->api->version_max,
                                         .schema = ask->api->request,
                                         .message = message,
                                         .timeout_ms = admin_timeout_ms(call),
                                         .cb = on_forwarded};
    forward_call(admin_of(call)->shard, &ask->forward);
}

/* ---- Kafka's errors as statuses ---- */

static enum grpc_status status_of(enum kafka_error error)
{
    static const struct {
        enum kafka_error error;
        enum grpc_status status;
    } statuses[] = {
        {KAFKA_UNKNOWN_TOPIC_OR_PARTITION, GRPC_NOT_FOUND},
        {KAFKA_UNKNOWN_TOPIC_ID, GRPC_NOT_FOUND},
        {KAFKA_BROKER_ID_NOT_REGISTERED, GRPC_NOT_FOUND},
        {KAFKA_GROUP_ID_NOT_FOUND, GRPC_NOT_FOUND},
        {KAFKA_RESOURCE_NOT_FOUND, GRPC_NOT_FOUND},
        {KAFKA_TOPIC_ALREADY_EXISTS, GRPC_ALREADY_EXISTS},
        {KAFKA_INVALID_TOPIC_EXCEPTION, GRPC_INVALID_ARGUMENT},
        {KAFKA_INVALID_PARTITIONS, GRPC_INVALID_ARGUMENT},
        {KAFKA_INVALID_REPLICATION_FACTOR, GRPC_INVALID_ARGUMENT},
        {KAFKA_INVALID_REPLICA_ASSIGNMENT, GRPC_INVALID_ARGUMENT},
        {KAFKA_INVALID_CONFIG, GRPC_INVALID_ARGUMENT},
        {KAFKA_INVALID_REQUEST, GRPC_INVALID_ARGUMENT},
        {KAFKA_INVALID_GROUP_ID, GRPC_INVALID_ARGUMENT},
        {KAFKA_OFFSET_OUT_OF_RANGE, GRPC_OUT_OF_RANGE},
        {KAFKA_REQUEST_TIMED_OUT, GRPC_DEADLINE_EXCEEDED},
        {KAFKA_NO_REASSIGNMENT_IN_PROGRESS, GRPC_FAILED_PRECONDITION},
        {KAFKA_NON_EMPTY_GROUP, GRPC_FAILED_PRECONDITION},
        {KAFKA_GROUP_SUBSCRIBED_TO_TOPIC, GRPC_FAILED_PRECONDITION},
        {KAFKA_ELECTION_NOT_NEEDED, GRPC_FAILED_PRECONDITION},
        {KAFKA_PREFERRED_LEADER_NOT_AVAILABLE, GRPC_FAILED_PRECONDITION},
        {KAFKA_POLICY_VIOLATION, GRPC_FAILED_PRECONDITION},
        {KAFKA_UNSUPPORTED_VERSION, GRPC_UNIMPLEMENTED},
    };
    for (size_t i = 0; i < array_count(statuses); i++) {
        if (statuses[i].error == error) {
            return statuses[i].status;
        }
    }
    return kafka_error_is_retriable(error) ? GRPC_UNAVAILABLE : GRPC_INTERNAL;
}

void admin_fail(struct grpc_call *call, enum kafka_error error, struct bytes text)
{
    struct bytes told = text.size > 0 ? text : bytes_from_text(kafka_error_text(error));
    grpc_finish(call, status_of(error), "%.*s (%s)", (int)told.size, (const char *)told.data, kafka_error_name(error));
}
