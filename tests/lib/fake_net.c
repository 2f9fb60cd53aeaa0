#include "tests/lib/fake_net.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"

static struct fake_net *fake_of(struct net *net)
{
    return container_of(net, struct fake_net, net);
}

static struct stream *stream_new(struct fake_net *net)
{
    assert(net->stream_count < FAKE_STREAM_MAX);
    struct stream *stream = &net->streams[net->stream_count++];
    *stream = (struct stream){.net = net};
    list_init(&stream->writes);
    list_init(&stream->canceled);
    dynbuf_init(&stream->sent, MIB(256));
    return stream;
}

static struct stream *token_find(struct fake_net *net, int token)
{
    for (unsigned i = 0; i < net->stream_count; i++) {
        if (net->streams[i].token == token) {
            return &net->streams[i];
        }
    }
    return NULL;
}

static enum err net_adopt(struct net *net, int accepted, struct stream **stream)
{
    *stream = token_find(fake_of(net), accepted);
    assert(*stream != NULL);
    (*stream)->token = 0;
    return OK;
}

static void net_refuse(struct net *net, int accepted)
{
    struct stream *stream = token_find(fake_of(net), accepted);
    assert(stream != NULL);
    stream->token = 0;
    stream->is_closed = true;
    fake_of(net)->refused_count++;
}

static void net_connect(struct net *net, struct stream_connect *req)
{
    struct fake_net *fake = fake_of(net);
    struct fake_connect *connect = &fake->connects[fake->connect_count++ % FAKE_STREAM_MAX];
    assert(connect->req == NULL);
    *connect = (struct fake_connect){req, false};
    (void)snprintf(fake->last_host, sizeof fake->last_host, "%s", req->host);
    req->handle = connect;
}

static void net_connect_cancel(struct net *net, struct stream_connect *req)
{
    struct fake_connect *connect = req->handle;
    (void)net;
    connect->is_canceled = true;
}

static void stream_start(struct stream *stream, const struct stream_handlers *handlers, void *owner)
{
    assert(stream->handlers == NULL);
    stream->handlers = handlers;
    stream->owner = owner;
    stream->is_reading = true;
}

static void stream_pause(struct stream *stream)
{
    stream->is_reading = false;
}

static void stream_resume(struct stream *stream)
{
    stream->is_reading = !stream->has_ended;
}

static void stream_write(struct stream *stream, struct stream_write *req)
{
    assert(!stream->is_closing);
    for (size_t i = 0; i < req->count; i++) {
        enum err err = dynbuf_put(&stream->sent, (struct bytes){req->iov[i].iov_base, req->iov[i].iov_len});
        assert(err == OK);
    }
    stream->write_count++;
    list_init(&req->link);
    list_push(&stream->writes, &req->link);
}

static void stream_close(struct stream *stream, stream_close_cb cb)
{
    assert(!stream->is_closing);
    stream->is_closing = true;
    stream->is_reading = false;
    stream->close_cb = cb;
    list_move_all(&stream->canceled, &stream->writes);
}

static void stream_name(struct stream *stream, char *text, size_t size, uint16_t *port)
{
    (void)stream;
    assert(size >= NET_ADDRESS_TEXT_SIZE);
    memcpy(text, "127.0.0.9", 10);
    *port = 999;
}

static enum err stream_detach(struct stream *stream, int *token)
{
    assert(!stream->is_closing && !stream->has_ended);
    assert(list_is_empty(&stream->writes));
    if (stream->net->detach_fails) {
        return ERR_IO;
    }
    stream->handlers = NULL;
    stream->is_reading = false;
    stream->token = ++stream->net->last_token;
    *token = stream->token;
    return OK;
}

void fake_net_init(struct fake_net *net, struct turn_env *turn)
{
    *net = (struct fake_net){.turn = turn};
    net->net = (struct net){
        .adopt = net_adopt,
        .refuse = net_refuse,
        .connect = net_connect,
        .connect_cancel = net_connect_cancel,
        .stream_start = stream_start,
        .stream_pause = stream_pause,
        .stream_resume = stream_resume,
        .stream_write = stream_write,
        .stream_close = stream_close,
        .stream_peer = stream_name,
        .stream_local = stream_name,
        .stream_detach = stream_detach,
    };
    turn->env.net = &net->net;
}

void fake_net_deinit(struct fake_net *net)
{
    for (unsigned i = 0; i < net->stream_count; i++) {
        assert(net->streams[i].is_closed);
        dynbuf_deinit(&net->streams[i].sent);
    }
}

static bool complete_writes(struct list *writes, enum err err)
{
    struct list batch;
    bool is_any = false;
    struct list *link;
    list_init(&batch);
    list_move_all(&batch, writes);
    while ((link = list_pop(&batch)) != NULL) {
        struct stream_write *req = container_of(link, struct stream_write, link);
        req->cb(req, err);
        is_any = true;
    }
    return is_any;
}

static bool stream_turn(struct stream *stream)
{
    bool is_any = complete_writes(&stream->canceled, ERR_CANCELED);
    is_any |= !stream->net->is_stuck && complete_writes(&stream->writes, OK);
    if (stream->is_closing && !stream->is_closed && list_is_empty(&stream->canceled)) {
        stream->is_closed = true;
        if (stream->close_cb != NULL) {
            stream->close_cb(stream->owner);
        }
        is_any = true;
    }
    return is_any;
}

static bool connect_turn(struct fake_net *net, struct fake_connect *connect)
{
    struct stream_connect *req = connect->req;
    if (req == NULL) {
        return false;
    }
    enum err err = connect->is_canceled ? ERR_CANCELED : net->connect_err;
    *connect = (struct fake_connect){NULL, false};
    req->cb(req, err, err == OK ? stream_new(net) : NULL);
    return true;
}

void fake_net_turn(struct fake_net *net)
{
    bool is_any = true;
    while (is_any) {
        is_any = false;
        turn_env_run(net->turn);
        for (unsigned i = 0; i < FAKE_STREAM_MAX; i++) {
            is_any |= connect_turn(net, &net->connects[i]);
        }
        for (unsigned i = 0; i < net->stream_count; i++) {
            is_any |= stream_turn(&net->streams[i]);
        }
    }
    turn_env_run(net->turn);
}

int fake_net_accept(struct fake_net *net)
{
    struct stream *stream = stream_new(net);
    stream->token = ++net->last_token;
    return stream->token;
}

struct stream *fake_net_last(struct fake_net *net)
{
    return net->stream_count > 0 ? &net->streams[net->stream_count - 1] : NULL;
}

size_t fake_stream_feed(struct stream *stream, struct bytes bytes)
{
    size_t taken = 0;
    while (taken < bytes.size && stream->is_reading) {
        uint8_t *data = NULL;
        size_t size = 0;
        stream->handlers->on_alloc(stream->owner, 65536, &data, &size);
        assert(data != NULL && size > 0);
        size = size < bytes.size - taken ? size : bytes.size - taken;
        memcpy(data, bytes.data + taken, size);
        taken += size;
        stream->handlers->on_read(stream->owner, OK, size);
    }
    return taken;
}

void fake_stream_end(struct stream *stream, enum err err)
{
    if (stream->is_reading) {
        stream->is_reading = false;
        stream->has_ended = true;
        stream->handlers->on_read(stream->owner, err, 0);
    }
}
