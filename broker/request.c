/* A request belongs to its connection's line from its last byte on. Answering it builds the frame (size, header, body)
 * and lets the connection write at the end of the turn; the size field is patched when the body's size is known.
 * A detached one is answered the same way; a task at the end of the turn then gives the bytes to who runs it. */

#include "broker/request.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/conn_internal.h"
#include "broker/slow_log.h"
#include "proto/errors.h"
#include <stdio.h>
#include <string.h>

static_assert((int)KAFKA_API_COUNT_ALL <= (int)METRIC_ERRORS_ROWS_MAX, "a row for each API");
static_assert((int)KAFKA_ERROR_COUNT + 1 <= (int)METRIC_ERRORS_COLUMNS_MAX,
              "a column for each code, and one for others");

/* One batch of the default message.max.bytes: the first is sent whole. */
#define RESERVE_SIZE_MIN (MIB(1) + KIB(64))
#define RESPONSE_OVERHEAD KIB(1) /* of an answer beside its bytes: chunks of small fields, their fragments */
#define WORK_SHARE 8             /* a request decoded, and its items, may use a part of the budget each */
#define WORK_SIZE_MIN MIB(2)

static struct budget *request_budget(const struct request *request)
{
    return &request->shard->conns->budget;
}

/* Bytes that one request may have decoded, and for its items. */
static size_t work_size_max(const struct shard *shard)
{
    size_t size = shard->conns->budget.size_max / WORK_SHARE;
    size = size > WORK_SIZE_MIN ? size : WORK_SIZE_MIN;
    return size < REQUEST_ARENA_SIZE_MAX ? size : REQUEST_ARENA_SIZE_MAX;
}

/* Charges more for a request, until it is freed. */
static void charge(struct request *request, size_t size)
{
    request->charge += size;
    budget_take(request_budget(request), size);
}

static struct request *request_make(struct shard *shard, struct shared *frame, struct bytes bytes, int64_t now_us)
{
    struct request *request = pool_take(&shard->conns->request_pool);
    memset(request, 0, offsetof(struct request, answer));
    request->shard = shard;
    request->frame = frame;
    request->frame_bytes = bytes;
    request->received_us = now_us;
    list_init(&request->link);
    reader_init(&request->body, bytes);
    arena_init_with(&request->arena, work_size_max(shard), request->work, sizeof(request->work));
    charge(request, sizeof(*request));
    return request;
}

struct request *request_new(struct conn *conn, struct shared *frame, size_t size)
{
    struct bytes bytes = {frame->data, size};
    struct request *request = request_make(conn->conns->shard, frame, bytes, conn->active_us);
    request->conn = conn;
    request->charge += frame->size; /* which is charged already */
    return request;
}

/* What only brokers ask of each other comes detached; for clients it does not exist. */
static const struct kafka_api *request_api(const struct request *request)
{
    return request->run != NULL ? kafka_api_find_internal(request->api_key) : kafka_api_find(request->api_key);
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
    const struct kafka_api *api = request_api(request);
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

/* Clients send these last and close without waiting: records with acks=0, the last commit, a member's farewell. */
bool request_outlives_peer(const struct request *request)
{
    return request->api_key == KAFKA_API_PRODUCE || request->api_key == KAFKA_API_OFFSET_COMMIT ||
           request->api_key == KAFKA_API_LEAVE_GROUP;
}

void request_free(struct request *request, int64_t now_us)
{
    if (request->is_answered) {
        slow_log_look(&request->shard->slow_log, request, now_us);
    }
    budget_give(request_budget(request), request->charge);
    if (request->is_answered && !request->is_silent) {
        outbuf_deinit(&request->response);
    }
    arena_deinit(&request->arena);
    shared_release(request->frame);
    pool_give(&request->shard->conns->request_pool, request);
}

bool request_decode(struct request *request, const struct schema *schema, void *message)
{
    request->started_us = env_now_us(request->shard->env);
    enum err err = codec_decode(schema, request->api_version, &request->body, &request->arena, message);
    if (err == OK) {
        charge(request, request->arena.used);
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
    request->is_answered = true;
    request->answered_us = env_now_us(request->shard->env);
    arena_deinit(&request->arena);
    if (conn == NULL) {
        env_task(request->shard->env, &request->run->task);
        return;
    }
    assert(conn->in_work > 0);
    conn->in_work--;
    conn->in_work_serial -= request_is_serial(request);
    conn_schedule(conn);
}

static void response_begin(struct request *request)
{
    outbuf_init_with(&request->response, RESPONSE_SIZE_MAX + RESPONSE_SIZE_MAX, request->answer,
                     sizeof(request->answer));
}

/* The response is whole in request->response; `size` is where its size goes. */
static void response_end(struct request *request, uint8_t *size)
{
    struct conn *conn = request->conn;
    request_end(request);
    if (request->response.err != OK) {
        metrics_add(request->shard->metrics, METRIC_REQUESTS_DROPPED, 1);
        trace(ERROR, KAFKA, "response too large", KV("api", request->api_key), KV("client", request->client_id));
        if (conn != NULL) {
            conn_close(conn, "response too large");
        }
        return;
    }
    be32_put(size, (uint32_t)(request->response.size - 4));
    charge(request, request->response.size + RESPONSE_OVERHEAD);
    if (conn != NULL) {
        conn->unsent_size += request->response.size;
    }
}

/* ---- Answers, and the errors in them ---- */

struct answer_errors {
    struct codec_errors errors;
    struct metrics *metrics;
    const struct kafka_api *api;
};

void request_count_error(struct metrics *metrics, const struct kafka_api *api, int code)
{
    unsigned column = (unsigned)(code - KAFKA_ERROR_FIRST);
    metrics_add_pair(metrics, METRIC_ERRORS, api->place,
                     column < (unsigned)KAFKA_ERROR_COUNT ? column : (unsigned)KAFKA_ERROR_COUNT);
}

static void answer_on_error(struct codec_errors *errors, int16_t code)
{
    const struct answer_errors *answer = container_of(errors, struct answer_errors, errors);
    request_count_error(answer->metrics, answer->api, code);
}

void request_error_labels(size_t place, size_t column, char *text, size_t size)
{
    const char *error = kafka_error_name((enum kafka_error)((int)column + KAFKA_ERROR_FIRST));
    (void)snprintf(text, size, "api=\"%s\",error=\"%s\"", kafka_api_at(place)->name, error);
}

/* Header and body. */
static void encode_answer(const struct request *request, int16_t version, const struct schema *schema,
                          const void *message, struct outbuf *out)
{
    const struct kafka_api *api = request_api(request);
    struct kafka_response_header header = {.correlation_id = request->correlation_id};
    struct answer_errors answer = {{answer_on_error}, request->shard->metrics, api};
    codec_encode(&kafka_response_header_schema, kafka_api_response_header(api, version), &header, out);
    codec_encode_answer(schema, version, message, out, &answer.errors);
}

void request_respond_version(struct request *request, int16_t version, const struct schema *schema, const void *message)
{
    response_begin(request);
    uint8_t *size = outbuf_reserve(&request->response, 4);
    encode_answer(request, version, schema, message, &request->response);
    response_end(request, size);
}

struct slice request_encode(const struct request *request, const struct schema *schema, const void *message)
{
    struct slice response = {NULL, BYTES_NONE};
    struct outbuf out;
    outbuf_init(&out, RESPONSE_SIZE_MAX);
    encode_answer(request, request->api_version, schema, message, &out);
    if (out.err == OK) {
        response.block = outbuf_flatten(&out);
        response.bytes = (struct bytes){response.block->data, response.block->size};
    }
    outbuf_deinit(&out);
    return response;
}

void request_respond_raw(struct request *request, struct slice response)
{
    response_begin(request);
    uint8_t *size = outbuf_reserve(&request->response, 4);
    outbuf_put_slice(&request->response, response);
    response_end(request, size);
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
    metrics_add(request->shard->metrics, METRIC_REQUESTS_DROPPED, 1);
    request_respond_none(request);
    if (conn != NULL) {
        conn_close(conn, reason);
    }
}

bool request_is_undone(const struct request *request, enum kafka_error refusal)
{
    return request->run != NULL && refusal != KAFKA_NONE;
}

void request_not_controller(struct request *request)
{
    assert(request->run != NULL);
    request->is_undone = true;
    request_respond_none(request);
}

bool request_charge(struct request *request, size_t count, size_t item_size)
{
    if (count > work_size_max(request->shard) / item_size) {
        metrics_add(request->shard->metrics, METRIC_REQUESTS_REFUSED, 1);
        trace(WARN, KAFKA, "request with too many items for queued.max.request.bytes", KV("api", request->api_key),
              KV("client", request->client_id), KV("items", count));
        request_kill(request, "too many items in a request");
        return false;
    }
    charge(request, count * item_size);
    return true;
}

void *request_items(struct request *request, size_t head_size, size_t count, size_t item_size)
{
    if (!request_charge(request, count, item_size)) {
        return NULL;
    }
    size_t size = head_size + count * item_size;
    charge(request, head_size);
    request->arena.size_max += size + ARENA_ALIGNMENT;
    void *items = arena_alloc(&request->arena, size);
    assert(items != NULL);
    return items;
}

void request_keep(struct request *request, size_t size)
{
    charge(request, size);
}

size_t request_reserve(struct request *request, struct metrics *metrics, size_t wanted)
{
    return budget_reserve(request_budget(request), metrics, wanted, RESERVE_SIZE_MIN, CONN_LARGE_SHARE);
}

void request_reserve_more(struct request *request, struct metrics *metrics, size_t size)
{
    budget_add(request_budget(request), metrics, size);
}

void request_unreserve(struct request *request, struct metrics *metrics, size_t size)
{
    budget_return(request_budget(request), metrics, size);
}

void request_let_go(struct request *request)
{
    assert(request->is_dispatched);
    assert(!request->is_answered);
    size_t size_max = request->arena.size_max;
    request->is_held = true;
    arena_deinit(&request->arena);
    arena_init_with(&request->arena, size_max, request->work, sizeof(request->work));
    shared_release(request->frame);
    request->frame = NULL;
    request->frame_bytes = BYTES_NONE;
    request->client_id = BYTES_NONE;
    reader_init(&request->body, BYTES_NONE);
    budget_give(request_budget(request), request->charge - sizeof(*request));
    request->charge = sizeof(*request);
}

void request_peer_address(struct request *request, char *host, size_t size)
{
    struct conn *conn = request->conn;
    uint16_t port;
    assert(size >= NET_ADDRESS_TEXT_SIZE);
    host[0] = '\0';
    if (conn != NULL && !conn->is_closing) {
        conn->conns->env->net->stream_peer(conn->stream, host, size, &port);
    }
}

void request_local_address(struct request *request, char *host, size_t size, uint16_t *port,
                           const struct option_listener **listener)
{
    struct conn *conn = request->conn;
    *listener = conn != NULL ? conn->listener : &request->shard->options->listeners[0];
    *port = 0;
    if (size > 0) {
        host[0] = '\0';
    }
    if (conn != NULL && !conn->is_closing) {
        conn->conns->env->net->stream_local(conn->stream, host, size, port);
    }
}

/* ---- Detached ---- */

bool request_has_room(const struct shard *shard)
{
    return shard->conns != NULL && !shard->conns->is_closing && budget_has_room(&shard->conns->budget, 100);
}

/* Without the size before it. One reference. */
static struct slice take_response(struct request *request)
{
    struct shared *block = outbuf_flatten(&request->response);
    return (struct slice){block, {block->data + 4, block->size - 4}};
}

static void run_on_task(struct task *task)
{
    struct request_run *run = container_of(task, struct request_run, task);
    struct request *request = run->request;
    struct conns *conns = request->shard->conns;
    run->response = (struct slice){NULL, BYTES_NONE};
    if (request->is_undone) {
        run->err = ERR_NOT_LEADER;
    } else if (request->is_silent) {
        run->err = run->err != OK ? run->err : ERR_CORRUPT;
    } else if (request->response.err != OK) {
        run->err = request->response.err;
    } else {
        run->response = take_response(request);
    }
    struct slice response = run->response;
    request_free(request, env_now_us(request->shard->env));
    run->cb(run); /* may free it */
    slice_release(&response);
    conns_release(conns);
}

void request_run(struct shard *shard, struct request_run *run)
{
    struct shared *frame = shared_acquire(run->frame.block);
    struct request *request = request_make(shard, frame, run->frame.bytes, env_now_us(shard->env));
    assert(shard->conns != NULL && !shard->conns->is_closing);
    conns_hold(shard->conns);
    run->request = request;
    run->err = OK;
    task_init(&run->task, run_on_task);
    request->run = run;
    request->is_dispatched = true;
    charge(request, run->frame.bytes.size);
    if (!request_read_header(request)) {
        run->err = ERR_UNSUPPORTED;
        request_respond_none(request);
        return;
    }
    api_handler(request->api_key)(request);
}
