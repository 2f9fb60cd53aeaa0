/* Happy path: adopt or connect makes a stream; stream_start() begins reading into the owner's memory; a write is tried
 * at once and what the socket did not take is left to libuv; stream_close() ends it all.
 *
 * Callbacks of writes come in order and never inside stream_write(): a write that succeeded at once is put on
 * `completed` and owed to the end of the turn; a write that libuv finishes goes behind it on the same list, which is
 * then run.
 *
 * A detached stream is closed in the same way; its connection lives on under a copy of the descriptor.
 *
 * Close sequence: stream_close() stops reading and closes the handle; libuv cancels what it still had (ERR_CANCELED);
 * in the close callback whatever is on `completed` is run, then the owner's callback, then the stream is freed. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "base/uv_internal.h"

/* A peer that vanished is noticed after about a minute and a half of silence. */
enum {
    KEEPALIVE_IDLE_S = 60,
    KEEPALIVE_INTERVAL_S = 10,
    KEEPALIVE_COUNT = 3
};
enum {
    TRY_COUNT_MAX = 1024
}; /* IOV_MAX of Linux */

struct stream {
    uv_tcp_t tcp;
    struct uv_env *uv;
    const struct stream_handlers *handlers; /* NULL before stream_start() */
    void *owner;
    stream_close_cb close_cb;
    bool is_reading;
    bool has_ended; /* on_read was given an error or the end: there is no reading on */
    bool is_closing;
    struct list completed; /* struct stream_write */
    struct uv_owed owed;   /* runs `completed` */
};

/* What libuv still has of a write: the rest of the fragments that the socket did not take at once. */
struct uv_stream_write {
    uv_write_t request;
    struct stream *stream;
    struct stream_write *write;
};

static_assert(sizeof(uv_buf_t) == sizeof(struct iovec), "uv_buf_t is an iovec on Unix");
static_assert(offsetof(uv_buf_t, base) == offsetof(struct iovec, iov_base), "uv_buf_t is an iovec on Unix");
static_assert(offsetof(uv_buf_t, len) == offsetof(struct iovec, iov_len), "uv_buf_t is an iovec on Unix");

/* ---- Reading */

static void stream_pause(struct stream *stream);

static void stream_on_alloc(uv_handle_t *handle, size_t size_hint, uv_buf_t *buf)
{
    struct stream *stream = container_of((uv_tcp_t *)handle, struct stream, tcp);
    uint8_t *data = NULL;
    size_t size = 0;
    stream->handlers->on_alloc(stream->owner, size_hint, &data, &size);
    assert(data != NULL || size == 0);
    buf->base = (char *)data;
    buf->len = size;
}

static void stream_on_read(uv_stream_t *handle, ssize_t count, const uv_buf_t *buf)
{
    struct stream *stream = container_of((uv_tcp_t *)handle, struct stream, tcp);
    (void)buf;
    if (count == 0) {
        return; /* nothing there after all */
    }
    if (count == UV_ENOBUFS) { /* the owner had no room: libuv has not read */
        stream_pause(stream);
        return;
    }
    if (count > 0) {
        stream->handlers->on_read(stream->owner, OK, (size_t)count);
        return;
    }
    stream->has_ended = true;
    stream->is_reading = false;
    uv_read_stop(handle);
    stream->handlers->on_read(stream->owner, uv_err((int)count), 0);
}

static void stream_pause(struct stream *stream)
{
    if (stream->is_reading) {
        stream->is_reading = false;
        uv_read_stop((uv_stream_t *)&stream->tcp);
    }
}

static void stream_resume(struct stream *stream)
{
    assert(stream->handlers != NULL);
    assert(!stream->is_closing);
    if (stream->is_reading || stream->has_ended) {
        return;
    }
    stream->is_reading = true;
    int status = uv_read_start((uv_stream_t *)&stream->tcp, stream_on_alloc, stream_on_read);
    assert(status == 0); /* refused only for a handle that is closing or not connected */
}

static void stream_start(struct stream *stream, const struct stream_handlers *handlers, void *owner)
{
    assert(stream->handlers == NULL);
    stream->handlers = handlers;
    stream->owner = owner;
    stream_resume(stream);
}

/* ---- Writing */

static void complete(struct stream *stream, struct stream_write *req, enum err err)
{
    req->err = err;
    list_push(&stream->completed, &req->link);
}

static void run_completed(struct stream *stream)
{
    struct list batch;
    list_init(&batch);
    list_move_all(&batch, &stream->completed);
    for (struct list *link = list_pop(&batch); link != NULL; link = list_pop(&batch)) {
        struct stream_write *req = container_of(link, struct stream_write, link);
        req->cb(req, req->err);
    }
}

static void stream_on_owed(struct uv_owed *owed)
{
    run_completed(container_of(owed, struct stream, owed));
}

static void stream_on_written(uv_write_t *request, int status)
{
    struct uv_stream_write *rest = container_of(request, struct uv_stream_write, request);
    struct stream *stream = rest->stream;
    complete(stream, rest->write, uv_err(status));
    mem_free(rest);
    run_completed(stream);
}

/* Leaves what is behind the first `done` bytes to libuv, which copies the array of fragments. */
static int write_rest(struct stream *stream, struct stream_write *req, size_t done)
{
    size_t first = 0;
    while (done > 0 && done >= req->iov[first].iov_len) {
        done -= req->iov[first].iov_len;
        first++;
    }
    struct uv_stream_write *rest = mem_alloc(sizeof(*rest));
    rest->stream = stream;
    rest->write = req;
    const uv_buf_t *bufs = (const uv_buf_t *)(const void *)&req->iov[first];
    uv_buf_t *cut = NULL;
    if (done > 0) {
        size_t size = (req->count - first) * sizeof(cut[0]);
        cut = mem_alloc_raw(size);
        memcpy(cut, bufs, size);
        cut[0].base += done;
        cut[0].len -= done;
        bufs = cut;
    }
    int status =
        uv_write(&rest->request, (uv_stream_t *)&stream->tcp, bufs, (unsigned)(req->count - first), stream_on_written);
    mem_free(cut);
    if (status != 0) {
        mem_free(rest);
    }
    return status;
}

static void stream_write(struct stream *stream, struct stream_write *req)
{
    assert(!stream->is_closing);
    assert(req->count > 0);
    size_t size = 0;
    for (size_t i = 0; i < req->count; i++) {
        size += req->iov[i].iov_len;
    }
    unsigned count = req->count < TRY_COUNT_MAX ? (unsigned)req->count : TRY_COUNT_MAX;
    /* UV_EAGAIN as well while an earlier write is queued, so the order is kept. */
    int status = uv_try_write((uv_stream_t *)&stream->tcp, (const uv_buf_t *)(const void *)req->iov, count);
    if (status >= 0 && (size_t)status == size) {
        complete(stream, req, OK);
        uv_env_owe(stream->uv, &stream->owed);
        return;
    }
    if (status >= 0 || status == UV_EAGAIN) {
        status = write_rest(stream, req, status > 0 ? (size_t)status : 0);
        if (status == 0) {
            return;
        }
    }
    complete(stream, req, uv_err(status));
    uv_env_owe(stream->uv, &stream->owed);
}

/* ---- Life */

static void stream_on_closed(uv_handle_t *handle)
{
    struct stream *stream = container_of((uv_tcp_t *)handle, struct stream, tcp);
    list_remove(&stream->owed.link);
    run_completed(stream);
    assert(list_is_empty(&stream->completed));
    if (stream->close_cb != NULL) {
        stream->close_cb(stream->owner);
    }
    mem_free(stream);
}

static void stream_close(struct stream *stream, stream_close_cb cb)
{
    assert(!stream->is_closing);
    stream_pause(stream);
    stream->is_closing = true;
    stream->close_cb = cb;
    uv_close((uv_handle_t *)&stream->tcp, stream_on_closed);
}

/* libuv cannot let go of a descriptor: it goes on under another number while its handle is closed. */
static enum err stream_detach(struct stream *stream, int *token)
{
    uv_os_fd_t fd = -1;
    assert(!stream->is_closing);
    assert(!stream->has_ended);
    assert(list_is_empty(&stream->completed));
    assert(uv_stream_get_write_queue_size((uv_stream_t *)&stream->tcp) == 0);
    int status = uv_fileno((uv_handle_t *)&stream->tcp, &fd);
    int copy = status == 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    if (copy < 0) {
        return ERR_IO;
    }
    *token = copy;
    stream_close(stream, NULL);
    return OK;
}

struct stream *uv_stream_new(struct uv_env *uv)
{
    struct stream *stream = mem_alloc(sizeof(*stream));
    stream->uv = uv;
    list_init(&stream->completed);
    list_init(&stream->owed.link);
    stream->owed.run = stream_on_owed;
    int status = uv_tcp_init(&uv->loop, &stream->tcp);
    assert(status == 0); /* makes no socket yet */
    return stream;
}

uv_tcp_t *uv_stream_tcp(struct stream *stream)
{
    return &stream->tcp;
}

/* Options that fail are no reason to refuse a connection: the peer may be gone already, reading will tell. */
void uv_stream_ready(struct stream *stream)
{
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&stream->tcp, &fd) != 0) {
        return;
    }
    const int on = 1;
    const int idle = KEEPALIVE_IDLE_S;
    const int interval = KEEPALIVE_INTERVAL_S;
    const int count = KEEPALIVE_COUNT;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

void uv_stream_drop(struct stream *stream)
{
    stream_close(stream, NULL);
}

static enum err net_adopt(struct net *net, int accepted, struct stream **stream)
{
    struct stream *adopted = uv_stream_new(container_of(net, struct uv_net, net)->uv);
    int status = uv_tcp_open(&adopted->tcp, accepted);
    if (status != 0) {
        close(accepted);
        uv_stream_drop(adopted);
        return uv_err(status);
    }
    uv_stream_ready(adopted);
    *stream = adopted;
    return OK;
}

/* ---- Names of the two ends */

static void print_address(const union uv_address *address, char *text, size_t size, uint16_t *port)
{
    static const char mapped[] = "::ffff:";
    const size_t mapped_size = sizeof(mapped) - 1;
    *port = 0;
    if (uv_ip_name(&address->any, text, size) != 0) {
        text[0] = '\0';
        return;
    }
    *port = ntohs(address->any.sa_family == AF_INET ? address->v4.sin_port : address->v6.sin6_port);
    /* An IPv4 client of a dual-stack listener is shown by its IPv4 address. */
    if (strncmp(text, mapped, mapped_size) == 0 && strchr(text, '.') != NULL) {
        memmove(text, text + mapped_size, strlen(text) - mapped_size + 1);
    }
}

static void stream_peer(struct stream *stream, char *text, size_t size, uint16_t *port)
{
    union uv_address address = {.any.sa_family = AF_UNSPEC};
    int length = sizeof(address);
    assert(size >= NET_ADDRESS_TEXT_SIZE);
    (void)uv_tcp_getpeername(&stream->tcp, &address.any, &length);
    print_address(&address, text, size, port);
}

static void stream_local(struct stream *stream, char *text, size_t size, uint16_t *port)
{
    union uv_address address = {.any.sa_family = AF_UNSPEC};
    int length = sizeof(address);
    assert(size >= NET_ADDRESS_TEXT_SIZE);
    (void)uv_tcp_getsockname(&stream->tcp, &address.any, &length);
    print_address(&address, text, size, port);
}

void uv_stream_fill_net(struct net *net)
{
    net->adopt = net_adopt;
    net->stream_start = stream_start;
    net->stream_pause = stream_pause;
    net->stream_resume = stream_resume;
    net->stream_write = stream_write;
    net->stream_close = stream_close;
    net->stream_detach = stream_detach;
    net->stream_peer = stream_peer;
    net->stream_local = stream_local;
}
