/* Happy path: connect -> session -> request with its message -> headers, messages, trailers -> the stream closes -> cb.
 * Whatever goes wrong ends the call with a status of its own: UNAVAILABLE before the server has heard of it,
 * DEADLINE_EXCEEDED when the time is up, UNKNOWN when what answers speaks no gRPC. */

#include "broker/grpc_client.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_GRACE_US (500 * 1000) /* for the server to say itself that the time is up */

struct grpc_client {
    struct env *env;
    char host[256];
    char authority[300];
    uint16_t port;
    struct stream_connect connect;
    bool is_connecting;
    struct stream *stream;
    nghttp2_session *http;
    struct task flush;
    struct task finish;
    struct timer deadline;
    struct dynbuf out;
    struct iovec iov;
    struct stream_write write;
    bool is_writing, is_closing, is_lost;
    struct grpc_client_call *call;
    int32_t stream_id;
    struct dynbuf request; /* prefix and message */
    size_t request_sent;
    struct dynbuf answer;
    bool has_status, is_answered;
    char http_status[4];
    void *close_owner;
    void (*close_cb)(void *owner);
    uint8_t in[KIB(64)];
};

static void on_flush(struct task *task);
static void on_finish(struct task *task);
static void on_deadline(struct timer *timer);

struct grpc_client *grpc_client_open(struct env *env, const char *host, uint16_t port)
{
    struct grpc_client *client = mem_alloc(sizeof(*client));
    client->env = env;
    client->port = port;
    (void)snprintf(client->host, sizeof(client->host), "%s", host);
    (void)snprintf(client->authority, sizeof(client->authority), strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u",
                   client->host, port);
    task_init(&client->flush, on_flush);
    task_init(&client->finish, on_finish);
    timer_init(&client->deadline, on_deadline);
    dynbuf_init(&client->out, GRPC_WRITE_SIZE + KIB(64));
    dynbuf_init(&client->request, GRPC_REQUEST_SIZE_MAX + GRPC_PREFIX_SIZE);
    dynbuf_init(&client->answer, GRPC_ANSWER_SIZE_MAX + KIB(64));
    return client;
}

/* ---- The end of a call ---- */

static void set_status(struct grpc_client *client, enum grpc_status status, const char *text)
{
    if (client->call == NULL || client->has_status) {
        return;
    }
    client->has_status = true;
    client->call->status = status;
    (void)snprintf(client->call->text, sizeof(client->call->text), "%s", text);
}

static void end(struct grpc_client *client, enum grpc_status status, const char *text)
{
    set_status(client, status, text);
    env_task(client->env, &client->finish);
}

static void on_finish(struct task *task)
{
    struct grpc_client *client = container_of(task, struct grpc_client, finish);
    struct grpc_client_call *call = client->call;
    env_timer_cancel(client->env, &client->deadline);
    if (call == NULL || client->is_connecting) {
        return;
    }
    client->call = NULL;
    call->is_unreached = !client->is_answered && call->status == GRPC_UNAVAILABLE;
    call->cb(call);
}

static void on_deadline(struct timer *timer)
{
    struct grpc_client *client = container_of(timer, struct grpc_client, deadline);
    char text[400];
    (void)snprintf(text, sizeof(text), "no answer from %s in time", client->authority);
    set_status(client, GRPC_DEADLINE_EXCEEDED, text);
    if (client->is_connecting) {
        client->env->net->connect_cancel(client->env->net, &client->connect);
    } else {
        end(client, GRPC_DEADLINE_EXCEEDED, text);
    }
}

static void on_lost(struct grpc_client *client, enum err err)
{
    char text[400];
    client->is_lost = true;
    (void)snprintf(text, sizeof(text), "the connection to %s was lost: %s", client->authority, err_text(err));
    end(client, GRPC_UNAVAILABLE, text);
}

/* ---- HTTP/2 ---- */

static int on_header(nghttp2_session *http, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *context)
{
    struct grpc_client *client = context;
    struct bytes key = {name, name_size};
    struct bytes text = {value, value_size};
    (void)http;
    (void)flags;
    if (client->call == NULL || frame->hd.stream_id != client->stream_id) {
        return 0;
    }
    client->is_answered = true;
    if (bytes_equal_text(key, ":status")) {
        (void)snprintf(client->http_status, sizeof(client->http_status), "%.*s", (int)text.size, (const char *)value);
    } else if (bytes_equal_text(key, "grpc-status") && !client->has_status) {
        char number[8];
        (void)snprintf(number, sizeof(number), "%.*s", (int)text.size, (const char *)value);
        client->has_status = true;
        client->call->status = (enum grpc_status)strtoul(number, NULL, 10);
    } else if (bytes_equal_text(key, "grpc-message")) {
        grpc_message_unescape(text, client->call->text, sizeof(client->call->text));
    }
    return 0;
}

static int on_data(nghttp2_session *http, uint8_t flags, int32_t stream, const uint8_t *data, size_t size,
                   void *context)
{
    struct grpc_client *client = context;
    (void)http;
    (void)flags;
    if (client->call == NULL || stream != client->stream_id || client->has_status) {
        return 0;
    }
    enum err err = dynbuf_put(&client->answer, (struct bytes){data, size});
    struct bytes left = dynbuf_bytes(&client->answer);
    struct bytes message;
    while (err == OK && (err = grpc_message_next(&left, GRPC_ANSWER_SIZE_MAX, &message)) == OK) {
        client->call->on_message(client->call, message);
    }
    dynbuf_consume(&client->answer, client->answer.size - left.size);
    if (err != ERR_SHORT) {
        end(client, GRPC_INTERNAL, "what came is no gRPC message");
    }
    return 0;
}

static int on_stream_closed(nghttp2_session *http, int32_t stream, uint32_t code, void *context)
{
    struct grpc_client *client = context;
    char text[400];
    (void)http;
    if (client->call == NULL || stream != client->stream_id) {
        return 0;
    }
    (void)snprintf(text, sizeof(text), "%s ended the call without a status (HTTP status %s, code %u)",
                   client->authority, client->http_status, code);
    end(client, GRPC_UNKNOWN, text);
    return 0;
}

static ssize_t read_request(nghttp2_session *http, int32_t stream, uint8_t *target, size_t size, uint32_t *flags,
                            nghttp2_data_source *source, void *context)
{
    struct grpc_client *client = context;
    size_t left = client->request.size - client->request_sent;
    size_t taken = left < size ? left : size;
    (void)http;
    (void)stream;
    (void)source;
    memcpy(target, client->request.data + client->request_sent, taken);
    client->request_sent += taken;
    if (taken == left) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)taken;
}

static void open_http(struct grpc_client *client)
{
    nghttp2_session_callbacks *callbacks;
    int code = nghttp2_session_callbacks_new(&callbacks);
    assert(code == 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_closed);
    code = nghttp2_session_client_new(&client->http, callbacks, client);
    assert(code == 0);
    nghttp2_session_callbacks_del(callbacks);
    code = nghttp2_submit_settings(client->http, NGHTTP2_FLAG_NONE, NULL, 0);
    assert(code == 0);
}

static nghttp2_nv header(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value),
                        NGHTTP2_NV_FLAG_NONE};
}

static void submit(struct grpc_client *client)
{
    char timeout[16];
    nghttp2_data_provider provider = {.read_callback = read_request};
    grpc_timeout_print(client->call->timeout_us, timeout, sizeof(timeout));
    nghttp2_nv headers[] = {
        header(":method", "POST"),
        header(":scheme", "http"),
        header(":path", client->call->path),
        header(":authority", client->authority),
        header("te", "trailers"),
        header("content-type", "application/grpc"),
        header("grpc-timeout", timeout),
    };
    client->stream_id = nghttp2_submit_request(client->http, NULL, headers, array_count(headers), &provider, NULL);
    if (client->stream_id < 0) {
        end(client, GRPC_UNAVAILABLE, nghttp2_strerror(client->stream_id));
    }
    env_task(client->env, &client->flush);
}

/* ---- The connection ---- */

static void on_written(struct stream_write *write, enum err err)
{
    struct grpc_client *client = container_of(write, struct grpc_client, write);
    client->is_writing = false;
    if (err != OK) {
        on_lost(client, err);
    } else {
        env_task(client->env, &client->flush);
    }
}

static void on_flush(struct task *task)
{
    struct grpc_client *client = container_of(task, struct grpc_client, flush);
    const uint8_t *data;
    ssize_t size;
    if (client->is_writing || client->is_closing || client->is_lost) {
        return;
    }
    dynbuf_reset(&client->out);
    while (client->out.size < GRPC_WRITE_SIZE && (size = nghttp2_session_mem_send(client->http, &data)) > 0) {
        if (dynbuf_put(&client->out, (struct bytes){data, (size_t)size}) != OK) {
            break;
        }
    }
    if (client->out.size > 0) {
        client->is_writing = true;
        client->iov = (struct iovec){client->out.data, client->out.size};
        client->write = (struct stream_write){.iov = &client->iov, .count = 1, .cb = on_written};
        client->env->net->stream_write(client->stream, &client->write);
    }
}

static void on_alloc(void *owner, size_t size_hint, uint8_t **data, size_t *size)
{
    struct grpc_client *client = owner;
    (void)size_hint;
    *data = client->in;
    *size = sizeof(client->in);
}

static void on_read(void *owner, enum err err, size_t size)
{
    struct grpc_client *client = owner;
    if (client->is_closing) {
        return;
    }
    if (err != OK) {
        on_lost(client, err);
    } else if (nghttp2_session_mem_recv(client->http, client->in, size) < 0) {
        char text[400];
        (void)snprintf(text, sizeof(text), "%s does not speak HTTP/2: is it the port of balsa.admin.listeners?",
                       client->authority);
        end(client, GRPC_UNAVAILABLE, text);
    } else {
        env_task(client->env, &client->flush);
    }
}

static const struct stream_handlers handlers = {on_alloc, on_read};

static void on_connected(struct stream_connect *connect, enum err err, struct stream *stream)
{
    struct grpc_client *client = container_of(connect, struct grpc_client, connect);
    client->is_connecting = false;
    if (err != OK) {
        char text[400];
        (void)snprintf(text, sizeof(text), "cannot connect to %s: %s", client->authority, err_text(err));
        end(client, GRPC_UNAVAILABLE, text);
        return;
    }
    client->stream = stream;
    open_http(client);
    client->env->net->stream_start(stream, &handlers, client);
    submit(client);
}

void grpc_client_call(struct grpc_client *client, struct grpc_client_call *call)
{
    uint8_t prefix[GRPC_PREFIX_SIZE];
    size_t size = protobuf_c_message_get_packed_size(call->request);
    assert(client->call == NULL && !client->is_closing);
    client->call = call;
    client->has_status = client->is_answered = false;
    client->http_status[0] = '\0';
    client->request_sent = 0;
    call->text[0] = '\0';
    dynbuf_reset(&client->answer);
    dynbuf_reset(&client->request);
    env_timer(client->env, &client->deadline, call->timeout_us + DEADLINE_GRACE_US);
    if (dynbuf_reserve(&client->request, GRPC_PREFIX_SIZE + size) != OK) {
        end(client, GRPC_RESOURCE_EXHAUSTED, "the request is too large");
        return;
    }
    grpc_prefix_put(prefix, size);
    memcpy(client->request.data, prefix, sizeof(prefix));
    (void)protobuf_c_message_pack(call->request, client->request.data + sizeof(prefix));
    client->request.size = sizeof(prefix) + size;
    if (client->stream != NULL && !client->is_lost) {
        submit(client);
        return;
    }
    client->is_connecting = true;
    client->connect = (struct stream_connect){.host = client->host, .port = client->port, .cb = on_connected};
    client->env->net->connect(client->env->net, &client->connect);
}

static void on_closed(void *owner)
{
    struct grpc_client *client = owner;
    void *close_owner = client->close_owner;
    void (*cb)(void *owner) = client->close_cb;
    if (client->http != NULL) {
        nghttp2_session_del(client->http);
    }
    env_timer_cancel(client->env, &client->deadline);
    client->env->tasks->cancel(client->env->tasks, &client->flush);
    client->env->tasks->cancel(client->env->tasks, &client->finish);
    dynbuf_deinit(&client->out);
    dynbuf_deinit(&client->request);
    dynbuf_deinit(&client->answer);
    mem_free(client);
    cb(close_owner);
}

void grpc_client_close(struct grpc_client *client, void *owner, void (*cb)(void *owner))
{
    assert(client->call == NULL && !client->is_connecting);
    client->is_closing = true;
    client->close_owner = owner;
    client->close_cb = cb;
    if (client->stream != NULL) {
        client->env->net->stream_close(client->stream, on_closed);
    } else {
        on_closed(client);
    }
}
