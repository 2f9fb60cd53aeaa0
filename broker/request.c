/* A request belongs to its connection's line from its last byte on. Answering it builds the frame (size, header, body)
 * and lets the connection write at the end of the turn; the size field is patched when the body's size is known. */

#include "broker/request.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/conn_internal.h"

#define RESPONSE_ROOM_MIN KIB(64)

struct request *request_new(struct conn *conn, struct shared *frame, size_t size)
{
    struct request *request = mem_alloc(sizeof(*request));
    request->shard = conn->conns->shard;
    request->conn = conn;
    request->frame = frame;
    request->received_us = env_now_us(conn->conns->env);
    request->charge = frame->size;
    list_init(&request->link);
    reader_init(&request->body, (struct bytes){frame->data, size});
    arena_init(&request->arena, REQUEST_ARENA_SIZE_MAX);
    return request;
}

/* The first four bytes tell API and version, which tell the header's version. An ApiVersions request from the future is
 * let through: its handler answers in version 0 (KIP-511). */
bool request_read_header(struct request *request)
{
    struct kafka_request_header header;
    struct bytes peeked = {request->body.at, request->body.left};
    if (peeked.size < 4) {
        return false;
    }
    request->api_key = (int16_t)be16_get(peeked.data);
    request->api_version = (int16_t)be16_get(peeked.data + 2);
    const struct kafka_api *api = kafka_api_find(request->api_key);
    bool is_served = api != NULL && api_handler(request->api_key) != NULL &&
                     (kafka_api_accepts(api, request->api_version) || request->api_key == KAFKA_API_API_VERSIONS);
    if (!is_served) {
        metrics_add(request->shard->metrics, METRIC_REQUESTS_REFUSED, 1);
        trace(INFO, KAFKA, "request not served", KV("api", request->api_key), KV("version", request->api_version));
        return false;
    }
    enum err err = codec_decode(&kafka_request_header_schema, kafka_api_request_header(api, request->api_version),
                                &request->body, &request->arena, &header);
    request->correlation_id = header.correlation_id;
    request->client_id = header.client_id;
    return err == OK;
}

bool request_is_serial(const struct request *request)
{
    return request->api_key != KAFKA_API_PRODUCE;
}

void request_free(struct request *request)
{
    budget_give(&request->conn->conns->budget, request->charge);
    if (request->is_answered && !request->is_silent) {
        outbuf_deinit(&request->response);
    }
    arena_deinit(&request->arena);
    shared_release(request->frame);
    mem_free(request);
}

bool request_decode(struct request *request, const struct schema *schema, void *message)
{
    enum err err = codec_decode(schema, request->api_version, &request->body, &request->arena, message);
    if (err == OK) {
        return true;
    }
    metrics_add(request->shard->metrics, METRIC_REQUESTS_REFUSED, 1);
    trace(INFO, KAFKA, "malformed request", KV("api", request->api_key), KV("version", request->api_version),
          KV("client", request->client_id), KV("cause", err_text(err)));
    request_kill(request, "malformed request");
    return false;
}

/* Marks it answered; the line moves at the end of the turn. Arguments have been let go by the caller. */
static void request_end(struct request *request)
{
    struct conn *conn = request->conn;
    assert(request->is_dispatched);
    assert(!request->is_answered);
    assert(conn->in_work > 0);
    request->is_answered = true;
    conn->in_work--;
    conn->in_work_serial -= request_is_serial(request);
    arena_reset(&request->arena);
    conn_schedule(conn);
}

void request_respond_version(struct request *request, int16_t version, const struct schema *schema, const void *message)
{
    struct conn *conn = request->conn;
    const struct kafka_api *api = kafka_api_find(request->api_key);
    struct kafka_response_header header = {.correlation_id = request->correlation_id};
    outbuf_init(&request->response, RESPONSE_SIZE_MAX + RESPONSE_SIZE_MAX);
    uint8_t *size = outbuf_reserve(&request->response, 4);
    codec_encode(&kafka_response_header_schema, kafka_api_response_header(api, version), &header, &request->response);
    codec_encode(schema, version, message, &request->response);
    request_end(request);
    if (request->response.err != OK) {
        trace(ERROR, KAFKA, "response too large", KV("api", request->api_key), KV("client", request->client_id));
        conn_close(conn, "response too large");
        return;
    }
    be32_put(size, (uint32_t)(request->response.size - 4));
    request->charge += request->response.size;
    budget_take(&conn->conns->budget, request->response.size);
    conn->unsent_size += request->response.size;
}

void request_respond(struct request *request, const struct schema *schema, const void *message)
{
    request_respond_version(request, request->api_version, schema, message);
}

void request_respond_none(struct request *request)
{
    request->is_silent = true;
    request_end(request);
}

void request_kill(struct request *request, const char *reason)
{
    struct conn *conn = request->conn;
    request_respond_none(request);
    conn_close(conn, reason);
}

size_t request_response_room(const struct request *request)
{
    size_t room = budget_room(&request->conn->conns->budget, CONN_LARGE_SHARE) / 2;
    return room > RESPONSE_ROOM_MIN ? room : RESPONSE_ROOM_MIN;
}

void request_local_address(struct request *request, char *host, size_t size, uint16_t *port,
                           const struct option_listener **listener)
{
    struct conn *conn = request->conn;
    *listener = conn->listener;
    *port = 0;
    if (size > 0) {
        host[0] = '\0';
    }
    if (!conn->is_closing) {
        conn->conns->env->net->stream_local(conn->stream, host, size, port);
    }
}
