/* Happy path: a listener polls its own non-blocking socket and hands out accepted descriptors as tokens, so that any
 * shard can adopt them; a connect resolves the name off the loop, tries the addresses in turn and hands out a stream.
 *
 * Failure: out of descriptors, the spare one is given up to accept and close one connection (its peer sees the close
 * instead of silence); if even that does not help, the listener rests for a while instead of spinning.
 *
 * A connect moves through: resolving -> trying address 0 -> ... -> trying address n-1 -> finished. The end (success,
 * the last failure, timeout, cancel) is recorded once, what is still out is closed or canceled, and the callback comes
 * from the list of owed callbacks when nothing of it is left in libuv. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "base/uv_internal.h"

enum {
    REST_US = 100000,
    FULL_TRACE_US = 1000000
};

/* ---- Listeners */

struct listener {
    uv_poll_t poll;
    struct uv_net *net;
    int fd;
    bool is_closing;
    void *owner;
    listener_cb cb;
    stream_close_cb close_cb;
    struct timer rest; /* set while the listener does not accept, for want of resources */
};

static void trace_full(struct uv_net *net, int number)
{
    int64_t now_us = env_now_us(&net->uv->env);
    if (now_us - net->full_traced_us >= FULL_TRACE_US) {
        net->full_traced_us = now_us;
        trace(WARN, NET, "connections refused: cannot accept", KV("errno", number),
              KV("cause", strerrordesc_np(number)));
    }
}

static int open_spare(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Whether one waiting connection could be accepted and closed. */
static bool refuse_one(struct listener *listener)
{
    struct uv_net *net = listener->net;
    if (net->spare_fd < 0) {
        return false;
    }
    close(net->spare_fd);
    int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    bool is_refused = fd >= 0;
    if (is_refused) {
        close(fd);
        if (net->uv->env.metrics != NULL) {
            metrics_add(net->uv->env.metrics, METRIC_CONNECTIONS_REFUSED, 1);
        }
    }
    net->spare_fd = open_spare();
    return is_refused;
}

static void listener_on_poll(uv_poll_t *poll, int status, int events);

static void listener_on_rested(struct timer *timer)
{
    struct listener *listener = container_of(timer, struct listener, rest);
    uv_poll_start(&listener->poll, UV_READABLE, listener_on_poll);
}

static void listener_rest(struct listener *listener)
{
    uv_poll_stop(&listener->poll);
    env_timer(&listener->net->uv->env, &listener->rest, REST_US);
}

static void listener_on_poll(uv_poll_t *poll, int status, int events)
{
    struct listener *listener = container_of(poll, struct listener, poll);
    (void)events;
    if (status != 0) {
        trace_full(listener->net, -status);
        listener_rest(listener);
        return;
    }
    for (int i = 0; i < NET_ACCEPT_COUNT_MAX && !listener->is_closing; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            listener->cb(listener->owner, listener, fd);
            continue;
        }
        int number = errno;
        if (number == EAGAIN) {
            return;
        }
        if (number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM) {
            trace_full(listener->net, number);
            if (!refuse_one(listener)) {
                listener_rest(listener);
                return;
            }
        }
        /* Else the connection died before it was accepted (accept(2), "Error handling"): on to the next. */
    }
}

static enum err resolve_local(const char *host, uint16_t port, struct addrinfo **addresses, struct errmsg *msg)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char service[8];
    snprintf(service, sizeof(service), "%u", port);
    int status = getaddrinfo(host, service, &hints, addresses);
    if (status != 0) {
        return fail(msg, ERR_ADDRESS, "listen on %s:%u: %s", host, port,
                    status == EAI_SYSTEM ? strerrordesc_np(errno) : gai_strerror(status));
    }
    return OK;
}

/* A bound, listening, non-blocking socket, or -1 and errno. */
static int open_listening(const struct addrinfo *address)
{
    const int on = 1;
    const int off = 0;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->ai_family == AF_INET6) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off,
                         sizeof(off)); /* "::" takes IPv4 clients too, as in Java */
    }
    if (bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, NET_BACKLOG) != 0) {
        int number = errno;
        close(fd);
        errno = number;
        return -1;
    }
    return fd;
}

static enum err net_listen(struct net *net, const char *host, uint16_t port, void *owner, listener_cb cb,
                           struct listener **listener_out, struct errmsg *msg)
{
    struct uv_net *uv_net = container_of(net, struct uv_net, net);
    bool is_any = host == NULL || host[0] == '\0';
    struct addrinfo *addresses;
    enum err err = OK;
    int fd = -1;
    int number = EADDRNOTAVAIL;
    /* Any address: IPv6 first, as it takes both; a kernel without IPv6 has only the other. */
    const char *hosts[2] = {is_any ? "::" : host, is_any ? "0.0.0.0" : NULL};
    for (size_t i = 0; i < 2 && hosts[i] != NULL && fd < 0; i++) {
        err = resolve_local(hosts[i], port, &addresses, msg);
        if (err != OK) {
            continue;
        }
        for (const struct addrinfo *address = addresses; address != NULL && fd < 0; address = address->ai_next) {
            fd = open_listening(address);
            number = errno;
        }
        freeaddrinfo(addresses);
    }
    if (fd < 0) {
        return err != OK ? err
                         : fail(msg, uv_err(-number), "listen on %s:%u: %s", is_any ? "*" : host, port,
                                strerrordesc_np(number));
    }
    struct listener *listener = mem_alloc(sizeof(*listener));
    listener->net = uv_net;
    listener->fd = fd;
    listener->owner = owner;
    listener->cb = cb;
    timer_init(&listener->rest, listener_on_rested);
    int status = uv_poll_init(&uv_net->uv->loop, &listener->poll, fd);
    if (status != 0) {
        close(fd);
        mem_free(listener);
        return fail(msg, uv_err(status), "listen on %s:%u: %s", is_any ? "*" : host, port, uv_strerror(status));
    }
    uv_poll_start(&listener->poll, UV_READABLE, listener_on_poll);
    *listener_out = listener;
    return OK;
}

static uint16_t net_listener_port(struct listener *listener)
{
    union uv_address address = {.any.sa_family = AF_UNSPEC};
    socklen_t length = sizeof(address);
    int failed = getsockname(listener->fd, &address.any, &length);
    assert(failed == 0);
    return ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
}

static void listener_on_closed(uv_handle_t *handle)
{
    struct listener *listener = container_of((uv_poll_t *)handle, struct listener, poll);
    if (listener->close_cb != NULL) {
        listener->close_cb(listener->owner);
    }
    mem_free(listener);
}

static void net_listener_close(struct listener *listener, stream_close_cb cb)
{
    assert(!listener->is_closing);
    listener->is_closing = true;
    listener->close_cb = cb;
    env_timer_cancel(&listener->net->uv->env, &listener->rest);
    uv_close((uv_handle_t *)&listener->poll, listener_on_closed);
    close(listener->fd); /* the loop has let go of it: whoever connects is refused from now on */
}

static void net_refuse(struct net *net, int accepted)
{
    (void)net;
    close(accepted);
}

/* ---- Connects */

struct uv_connect {
    struct uv_env *uv;
    struct stream_connect *req;
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    struct timer timeout;
    struct uv_owed owed; /* the end */
    bool is_resolving;
    bool is_finished;
    enum err err;
    struct stream *stream; /* being tried, or the result */
    union uv_address addresses[NET_ADDRESS_COUNT_MAX];
    size_t address_count;
    size_t next; /* address to try */
};

static void connect_try(struct uv_connect *connect);

/* The end: the first one counts. The callback waits until libuv has given the request back. */
static void connect_finish(struct uv_connect *connect, enum err err)
{
    if (connect->is_finished) {
        return;
    }
    connect->is_finished = true;
    connect->err = err;
    env_timer_cancel(&connect->uv->env, &connect->timeout);
    if (connect->is_resolving) {
        (void)uv_cancel((uv_req_t *)&connect->resolve); /* connect_on_resolved() comes in any case */
        return;
    }
    if (err != OK && connect->stream != NULL) {
        uv_stream_drop(connect->stream); /* connect_on_connected() comes with UV_ECANCELED */
        connect->stream = NULL;
        return;
    }
    uv_env_owe(connect->uv, &connect->owed);
}

static void connect_on_owed(struct uv_owed *owed)
{
    struct uv_connect *connect = container_of(owed, struct uv_connect, owed);
    struct stream_connect *req = connect->req;
    struct stream *stream = connect->stream;
    enum err err = connect->err;
    assert((err == OK) == (stream != NULL));
    mem_free(connect);
    req->handle = NULL;
    req->cb(req, err, stream);
}

static void connect_on_timeout(struct timer *timer)
{
    connect_finish(container_of(timer, struct uv_connect, timeout), ERR_TIMED_OUT);
}

/* TCP connects a socket to itself when the kernel picks the wanted port as the local one: nobody listens there. */
static bool is_own_end(uv_tcp_t *tcp)
{
    union uv_address here;
    union uv_address there;
    int here_length = sizeof(here);
    int there_length = sizeof(there);
    memset(&here, 0, sizeof(here));
    memset(&there, 0, sizeof(there));
    return uv_tcp_getsockname(tcp, &here.any, &here_length) == 0 &&
           uv_tcp_getpeername(tcp, &there.any, &there_length) == 0 && here_length == there_length &&
           memcmp(&here, &there, (size_t)here_length) == 0;
}

/* Refused are those that are refused at every address. */
static void connect_failed(struct uv_connect *connect, int status)
{
    enum err err = uv_err(status);
    bool is_first = connect->next == 1;
    connect->err = is_first || err != ERR_REFUSED ? err : connect->err;
    uv_stream_drop(connect->stream);
    connect->stream = NULL;
}

static void connect_on_connected(uv_connect_t *request, int status)
{
    struct uv_connect *connect = container_of(request, struct uv_connect, connect);
    if (connect->is_finished) {
        assert(connect->stream == NULL);
        uv_env_owe(connect->uv, &connect->owed);
        return;
    }
    if (status == 0 && is_own_end(uv_stream_tcp(connect->stream))) {
        status = UV_ECONNREFUSED;
    }
    if (status == 0) {
        uv_stream_ready(connect->stream);
        connect_finish(connect, OK);
        return;
    }
    connect_failed(connect, status);
    connect_try(connect);
}

static void connect_try(struct uv_connect *connect)
{
    while (connect->next < connect->address_count) {
        const struct sockaddr *address = &connect->addresses[connect->next].any;
        connect->next++;
        connect->stream = uv_stream_new(connect->uv);
        int status = uv_tcp_connect(&connect->connect, uv_stream_tcp(connect->stream), address, connect_on_connected);
        if (status == 0) {
            return;
        }
        connect_failed(connect, status);
    }
    connect_finish(connect, connect->err);
}

static void connect_on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *addresses)
{
    struct uv_connect *connect = container_of(request, struct uv_connect, resolve);
    connect->is_resolving = false;
    if (connect->is_finished) {
        uv_env_owe(connect->uv, &connect->owed);
    } else if (status != 0) {
        connect_finish(connect, uv_err(status));
    } else {
        for (const struct addrinfo *a = addresses; a != NULL && connect->address_count < NET_ADDRESS_COUNT_MAX;
             a = a->ai_next) {
            if (a->ai_addrlen > sizeof(connect->addresses[0])) {
                continue;
            }
            memcpy(&connect->addresses[connect->address_count], a->ai_addr, a->ai_addrlen);
            connect->address_count++;
        }
        connect_try(connect);
    }
    uv_freeaddrinfo(addresses);
}

static void net_connect(struct net *net, struct stream_connect *req)
{
    struct uv_env *uv = container_of(net, struct uv_net, net)->uv;
    struct uv_connect *connect = mem_alloc(sizeof(*connect));
    connect->uv = uv;
    connect->req = req;
    connect->err = ERR_ADDRESS;
    connect->owed.run = connect_on_owed;
    list_init(&connect->owed.link);
    timer_init(&connect->timeout, connect_on_timeout);
    req->handle = connect;
    env_timer(&uv->env, &connect->timeout, NET_CONNECT_TIMEOUT_US);

    union uv_address *first = &connect->addresses[0];
    if (uv_ip4_addr(req->host, req->port, &first->v4) == 0 || uv_ip6_addr(req->host, req->port, &first->v6) == 0) {
        connect->address_count = 1;
        connect_try(connect);
        return;
    }
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    char service[8];
    snprintf(service, sizeof(service), "%u", req->port);
    int status = uv_getaddrinfo(&uv->loop, &connect->resolve, connect_on_resolved, req->host, service, &hints);
    if (status != 0) {
        connect_finish(connect, uv_err(status));
        return;
    }
    connect->is_resolving = true;
}

static void net_connect_cancel(struct net *net, struct stream_connect *req)
{
    (void)net;
    struct uv_connect *connect = req->handle;
    assert(connect != NULL); /* its cb has not been called */
    if (connect->is_finished && connect->stream != NULL) {
        uv_stream_drop(connect->stream); /* connected, but its owner has not been told */
        connect->stream = NULL;
    }
    connect_finish(connect, ERR_CANCELED);
    connect->err = ERR_CANCELED;
}

/* ---- Life */

void uv_net_init(struct uv_net *net, struct uv_env *uv)
{
    net->uv = uv;
    net->spare_fd = open_spare();
    net->full_traced_us = env_now_us(&uv->env) - FULL_TRACE_US;
    net->net = (struct net){
        .listen = net_listen,
        .listener_port = net_listener_port,
        .listener_close = net_listener_close,
        .refuse = net_refuse,
        .connect = net_connect,
        .connect_cancel = net_connect_cancel,
    };
    uv_stream_fill_net(&net->net);
}

void uv_net_deinit(struct uv_net *net)
{
    if (net->spare_fd >= 0) {
        close(net->spare_fd);
    }
}
