/* Happy path: connect -> the request is written -> its answer is read whole, decoded -> cb. Whatever goes wrong ends
 * the call with its reason.
 *
 * Close sequence: the stream's last callback frees the client; before there is a stream, the end of connecting does. */

#include "broker/kafka_client.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/outbuf.h"
#include "proto/codec.h"
#include <stdio.h>

#define CLIENT_ID "balsactl"
#define SIZE_FIELD 4

struct kafka_client {
    struct env *env;
    char host[256];
    uint16_t port;
    struct stream_connect connect;
    struct stream *stream;
    bool is_connecting, is_closing, is_lost, is_answered;
    struct timer deadline;
    struct task finish;
    struct kafka_client_call *call;
    int32_t correlation_id;
    struct shared *frame; /* the request, until it is written */
    struct iovec iov;
    struct stream_write write;
    struct dynbuf input;
    struct arena arena;
    uint8_t in[KIB(64)];
};

static void on_finish(struct task *task);
static void on_deadline(struct timer *timer);

struct kafka_client *kafka_client_open(struct env *env, const char *host, uint16_t port)
{
    struct kafka_client *client = mem_alloc(sizeof(*client));
    client->env = env;
    client->port = port;
    (void)snprintf(client->host, sizeof(client->host), "%s", host);
    task_init(&client->finish, on_finish);
    timer_init(&client->deadline, on_deadline);
    dynbuf_init(&client->input, SIZE_FIELD + RESPONSE_SIZE_MAX + sizeof(client->in));
    arena_init(&client->arena, REQUEST_ARENA_SIZE_MAX);
    return client;
}

/* ---- The end of a call ---- */

static void end(struct kafka_client *client, enum err err)
{
    if (client->call != NULL && list_is_empty(&client->finish.link)) {
        client->call->err = err;
        client->is_answered = err == OK;
        env_task(client->env, &client->finish);
    }
}

static enum err decode(struct kafka_client *client)
{
    struct kafka_client_call *call = client->call;
    const struct kafka_api *api = kafka_api_find(call->api);
    struct kafka_response_header header;
    struct reader reader;
    reader_init(&reader, (struct bytes){client->input.data + SIZE_FIELD, client->input.size - SIZE_FIELD});
    enum err err = codec_decode(&kafka_response_header_schema, kafka_api_response_header(api, call->version), &reader,
                                &client->arena, &header);
    if (err == OK && header.correlation_id != client->correlation_id) {
        return ERR_CORRUPT;
    }
    void *response = arena_alloc(&client->arena, api->response->size);
    if (response == NULL) {
        return ERR_TOO_LARGE;
    }
    call->response = response;
    return err == OK ? codec_decode(api->response, call->version, &reader, &client->arena, response) : err;
}

static void on_finish(struct task *task)
{
    struct kafka_client *client = container_of(task, struct kafka_client, finish);
    struct kafka_client_call *call = client->call;
    if (client->is_answered && client->frame != NULL) {
        return; /* the request's memory is the stream's still: on_written() */
    }
    env_timer_cancel(client->env, &client->deadline);
    if (call->err == OK) {
        call->err = decode(client);
    }
    client->is_lost = client->is_lost || call->err != OK;
    client->call = NULL;
    call->cb(call);
}

static void on_deadline(struct timer *timer)
{
    struct kafka_client *client = container_of(timer, struct kafka_client, deadline);
    if (client->is_connecting) {
        client->env->net->connect_cancel(client->env->net, &client->connect);
    } else {
        end(client, ERR_TIMED_OUT);
    }
}

/* ---- The connection ---- */

static void on_alloc(void *owner, size_t size_hint, uint8_t **data, size_t *size)
{
    struct kafka_client *client = owner;
    (void)size_hint;
    *data = client->in;
    *size = sizeof(client->in);
}

static void on_read(void *owner, enum err err, size_t size)
{
    struct kafka_client *client = owner;
    if (client->is_closing) {
        return;
    }
    if (err != OK || client->call == NULL) {
        client->is_lost = true;
        end(client, err != OK ? err : ERR_CORRUPT);
        return;
    }
    err = dynbuf_put(&client->input, (struct bytes){client->in, size});
    if (err == OK && client->input.size >= SIZE_FIELD) {
        size_t whole = SIZE_FIELD + (size_t)be32_get(client->input.data);
        err = whole > client->input.size_max || whole < client->input.size ? ERR_CORRUPT : OK;
        if (err == OK && whole == client->input.size) {
            end(client, OK);
        }
    }
    if (err != OK) {
        end(client, err);
    }
}

static const struct stream_handlers handlers = {on_alloc, on_read};

static void on_written(struct stream_write *write, enum err err)
{
    struct kafka_client *client = container_of(write, struct kafka_client, write);
    shared_release(client->frame);
    client->frame = NULL;
    if (client->is_closing) {
        return;
    }
    if (client->is_answered) {
        env_task(client->env, &client->finish);
    } else if (err != OK) {
        client->is_lost = true;
        end(client, err);
    }
}

static void send_frame(struct kafka_client *client)
{
    client->call->is_sent = true;
    client->iov = (struct iovec){client->frame->data, client->frame->size};
    client->write = (struct stream_write){.iov = &client->iov, .count = 1, .cb = on_written};
    client->env->net->stream_write(client->stream, &client->write);
}

static void client_free(struct kafka_client *client)
{
    env_timer_cancel(client->env, &client->deadline);
    client->env->tasks->cancel(client->env->tasks, &client->finish);
    if (client->frame != NULL) {
        shared_release(client->frame);
    }
    dynbuf_deinit(&client->input);
    arena_deinit(&client->arena);
    mem_free(client);
}

static void on_closed(void *owner)
{
    client_free(owner);
}

static void on_connected(struct stream_connect *connect, enum err err, struct stream *stream)
{
    struct kafka_client *client = container_of(connect, struct kafka_client, connect);
    client->is_connecting = false;
    if (client->is_closing) {
        if (err == OK) {
            client->env->net->stream_close(stream, on_closed);
        } else {
            client_free(client);
        }
    } else if (err != OK) {
        end(client, err == ERR_CANCELED ? ERR_TIMED_OUT : err);
    } else {
        client->stream = stream;
        client->env->net->stream_start(stream, &handlers, client);
        send_frame(client);
    }
}

static enum err encode(struct kafka_client *client, const struct kafka_client_call *call)
{
    const struct kafka_api *api = kafka_api_find(call->api);
    struct kafka_request_header header = {.request_api_key = call->api,
                                          .request_api_version = call->version,
                                          .correlation_id = client->correlation_id,
                                          .client_id = bytes_from_text(CLIENT_ID)};
    struct outbuf out;
    outbuf_init(&out, REQUEST_SIZE_MAX);
    uint8_t *size = outbuf_reserve(&out, SIZE_FIELD);
    codec_encode(&kafka_request_header_schema, kafka_api_request_header(api, call->version), &header, &out);
    codec_encode(api->request, call->version, call->request, &out);
    enum err err = out.err;
    if (err == OK) {
        be32_put(size, (uint32_t)(out.size - SIZE_FIELD));
        client->frame = outbuf_flatten(&out);
    }
    outbuf_deinit(&out);
    return err;
}

void kafka_client_call(struct kafka_client *client, struct kafka_client_call *call)
{
    assert(client->call == NULL && !client->is_closing);
    client->call = call;
    client->correlation_id++;
    call->is_sent = false;
    client->is_answered = false;
    dynbuf_reset(&client->input);
    arena_reset(&client->arena);
    env_timer(client->env, &client->deadline, call->timeout_us);
    enum err err = client->is_lost ? ERR_CLOSED : encode(client, call);
    if (err != OK) {
        end(client, err);
    } else if (client->stream != NULL) {
        send_frame(client);
    } else {
        client->is_connecting = true;
        client->connect = (struct stream_connect){.host = client->host, .port = client->port, .cb = on_connected};
        client->env->net->connect(client->env->net, &client->connect);
    }
}

void kafka_client_close(struct kafka_client *client)
{
    assert(!client->is_closing);
    client->is_closing = true;
    client->call = NULL;
    env_timer_cancel(client->env, &client->deadline);
    client->env->tasks->cancel(client->env->tasks, &client->finish);
    if (client->stream != NULL) {
        client->env->net->stream_close(client->stream, on_closed);
    } else if (client->is_connecting) {
        client->env->net->connect_cancel(client->env->net, &client->connect);
    } else {
        client_free(client);
    }
}
