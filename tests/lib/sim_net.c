/* The network of sim_net.h but for its streams: who listens where, connections made and refused, ways that are cut. */
#include "tests/lib/sim_net.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/sim_net_internal.h"

enum {
    DELAY_LOW_US = 20,
    DELAY_HIGH_US = 2000,
    ACCEPT_US_MAX = 50,
    EPHEMERAL_PORT_FIRST = 32768,
};

struct listener {
    struct sim_env *env;
    uint16_t port;
    void *owner;
    listener_cb cb;
    stream_close_cb close_cb;
    bool is_closing;
    struct sim_event event; /* of closing */
    struct list link;
};

struct sim_connect {
    struct sim_event event;
    struct stream_connect *req;
    struct stream *stream; /* the end of it, when it succeeded */
    enum err err;
    bool is_answered; /* the event is the callback */
    struct list link;
};

struct arrival { /* a connection for the listener's callback */
    struct sim_event event;
    struct listener *listener;
    struct stream *stream;
    struct list link; /* of the listener's env's arrivals */
};

/* ---- Who is where */

/* The latest process under that name or address, as `asker` sees it, alive or not; NULL: there never was one. */
static struct sim_process *process_find(struct sim_process *asker, const char *host)
{
    struct sim_process *found = NULL;
    if (strcmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 || strcmp(host, asker->name) == 0) {
        return asker;
    }
    for (struct list *link = asker->world->processes.next; link != &asker->world->processes; link = link->next) {
        struct sim_process *process = container_of(link, struct sim_process, link);
        char text[NET_ADDRESS_TEXT_SIZE];
        sim_net_print_address(process, text);
        if ((strcmp(host, process->name) == 0 || strcmp(host, text) == 0) &&
            (found == NULL || found->end != SIM_ALIVE)) {
            found = process;
        }
    }
    return found;
}

static struct listener *listener_find(struct sim_process *process, uint16_t port)
{
    for (struct list *e = process->envs.next; e != &process->envs; e = e->next) {
        struct sim_env *env = container_of(e, struct sim_env, link);
        for (struct list *link = env->net.listeners.next; link != &env->net.listeners; link = link->next) {
            struct listener *listener = container_of(link, struct listener, link);
            if (listener->port == port && !listener->is_closing) {
                return listener;
            }
        }
    }
    return NULL;
}

/* ---- Accepting */

static struct sim_env *env_of(struct net *net)
{
    return container_of(net, struct sim_env, net.net);
}

static enum err net_listen(struct net *net, const char *host, uint16_t port, void *owner, listener_cb cb,
                           struct listener **listener_out, struct errmsg *msg)
{
    struct sim_env *env = env_of(net);
    if (port != 0 && listener_find(env->process, port) != NULL) {
        return fail(msg, ERR_ADDRESS, "listen on %s:%u: address already in use", host == NULL ? "*" : host, port);
    }
    for (uint16_t next = EPHEMERAL_PORT_FIRST; port == 0; next++) {
        port = listener_find(env->process, next) == NULL ? next : 0;
    }
    struct listener *listener = sim_alloc(sizeof(*listener));
    *listener = (struct listener){.env = env, .port = port, .owner = owner, .cb = cb};
    list_push(&env->net.listeners, &listener->link);
    *listener_out = listener;
    return OK;
}

static uint16_t net_listener_port(struct listener *listener)
{
    return listener->port;
}

static void listener_on_closed(struct sim_event *event)
{
    struct listener *listener = container_of(event, struct listener, event);
    void *owner = listener->owner;
    stream_close_cb cb = listener->close_cb;
    list_remove(&listener->link);
    sim_free(listener);
    if (cb != NULL) {
        cb(owner);
    }
}

static void arrival_free(struct arrival *arrival)
{
    sim_event_cancel(arrival->event.env->world, &arrival->event);
    list_remove(&arrival->link);
    sim_free(arrival);
}

static void arrival_on_event(struct sim_event *event)
{
    struct arrival *arrival = container_of(event, struct arrival, event);
    struct listener *listener = arrival->listener;
    struct stream *stream = arrival->stream;
    arrival_free(arrival);
    listener->cb(listener->owner, listener, stream->token);
}

/* Connections that wait to be accepted are reset. */
static void net_listener_close(struct listener *listener, stream_close_cb cb)
{
    struct sim_env *env = listener->env;
    struct list *next;
    assert(!listener->is_closing);
    listener->is_closing = true;
    listener->close_cb = cb;
    for (struct list *link = env->net.arrivals.next; link != &env->net.arrivals; link = next) {
        next = link->next;
        struct arrival *arrival = container_of(link, struct arrival, link);
        if (arrival->listener == listener) {
            sim_stream_abandon(arrival->stream, false);
            arrival_free(arrival);
        }
    }
    sim_event_init(&listener->event, env, listener_on_closed);
    sim_event_set(env->world, &listener->event, sim_random_spread(&env->world->random, 0, ACCEPT_US_MAX));
}

static struct stream *token_find(struct sim_process *process, int token)
{
    for (struct list *e = process->envs.next; e != &process->envs; e = e->next) {
        struct sim_env *env = container_of(e, struct sim_env, link);
        for (struct list *link = env->net.streams.next; link != &env->net.streams; link = link->next) {
            struct stream *stream = container_of(link, struct stream, link);
            if (stream->token == token) {
                return stream;
            }
        }
    }
    return NULL;
}

static enum err net_adopt(struct net *net, int accepted, struct stream **stream_out)
{
    struct sim_env *env = env_of(net);
    struct stream *stream = token_find(env->process, accepted);
    assert(stream != NULL); /* each token once */
    stream->token = 0;
    sim_event_cancel(env->world, &stream->bell);
    sim_event_init(&stream->bell, env, sim_stream_on_bell);
    list_remove(&stream->link);
    stream->env = env;
    list_push(&env->net.streams, &stream->link);
    *stream_out = stream;
    return OK;
}

static void net_refuse(struct net *net, int accepted)
{
    struct stream *stream = token_find(env_of(net)->process, accepted);
    assert(stream != NULL);
    sim_stream_abandon(stream, false);
}

/* ---- Connecting */

static void connect_free(struct sim_connect *connect)
{
    sim_event_cancel(connect->event.env->world, &connect->event);
    list_remove(&connect->link);
    sim_free(connect);
}

/* Both ends, the far one waiting for its listener. */
static struct stream *connection_make(struct sim_env *env, struct listener *listener)
{
    struct sim_world *world = env->world;
    struct sim_process *process = listener->env->process;
    struct stream *near = sim_stream_new(env, process);
    struct stream *far = sim_stream_new(listener->env, env->process);
    near->other = far;
    far->other = near;
    near->peer_port = far->local_port = listener->port;
    near->local_port = far->peer_port =
        (uint16_t)(EPHEMERAL_PORT_FIRST + sim_random_below(&world->random, EPHEMERAL_PORT_FIRST));
    far->token = ++process->accepted_count;
    struct arrival *arrival = sim_alloc(sizeof(*arrival));
    arrival->listener = listener;
    arrival->stream = far;
    sim_event_init(&arrival->event, listener->env, arrival_on_event);
    list_push(&listener->env->net.arrivals, &arrival->link);
    sim_event_set(world, &arrival->event, sim_random_spread(&world->random, 0, ACCEPT_US_MAX));
    return near;
}

static void connect_on_event(struct sim_event *event)
{
    struct sim_connect *connect = container_of(event, struct sim_connect, event);
    struct sim_env *env = event->env;
    struct stream_connect *req = connect->req;
    if (connect->is_answered) {
        struct stream *stream = connect->stream;
        enum err err = connect->err;
        connect_free(connect);
        req->handle = NULL;
        req->cb(req, err, stream);
        return;
    }
    struct sim_process *process = process_find(env->process, req->host);
    connect->is_answered = true;
    if (process == NULL) {
        connect->err = ERR_REFUSED; /* the address is there, nobody has ever listened */
    } else if (sim_net_is_cut(env->world, env->process->name, process->name) ||
               sim_net_is_cut(env->world, process->name, env->process->name) ||
               (process->end != SIM_ALIVE && process->is_power_lost)) { /* whose kernel could refuse? */
        connect->err = ERR_TIMED_OUT;
        sim_event_set(env->world, event, NET_CONNECT_TIMEOUT_US);
        return;
    } else {
        struct listener *listener = process->end == SIM_ALIVE ? listener_find(process, req->port) : NULL;
        connect->err = listener == NULL ? ERR_REFUSED : OK;
        connect->stream = listener == NULL ? NULL : connection_make(env, listener);
    }
    sim_event_set(env->world, event, sim_net_delay(env->world));
}

static void net_connect(struct net *net, struct stream_connect *req)
{
    struct sim_env *env = env_of(net);
    struct sim_connect *connect = sim_alloc(sizeof(*connect));
    connect->req = req;
    req->handle = connect;
    list_push(&env->net.connects, &connect->link);
    sim_event_init(&connect->event, env, connect_on_event);
    sim_event_set(env->world, &connect->event, sim_net_delay(env->world));
}

static void net_connect_cancel(struct net *net, struct stream_connect *req)
{
    struct sim_env *env = env_of(net);
    struct sim_connect *connect = req->handle;
    assert(connect != NULL);
    if (connect->stream != NULL) {
        sim_stream_abandon(connect->stream, false);
        connect->stream = NULL;
    }
    connect->is_answered = true;
    connect->err = ERR_CANCELED;
    sim_event_set(env->world, &connect->event, sim_random_spread(&env->world->random, 0, ACCEPT_US_MAX));
}

/* ---- Faults */

void sim_net_cut(struct sim_world *world, const char *from, const char *to)
{
    if (!sim_net_is_cut(world, from, to)) {
        struct cut *cut = sim_alloc(sizeof(*cut));
        cut->from = sim_strdup(from);
        cut->to = sim_strdup(to);
        list_push(&world->cuts, &cut->link);
    }
}

static void cut_free(struct cut *cut)
{
    list_remove(&cut->link);
    sim_free(cut->from);
    sim_free(cut->to);
    sim_free(cut);
}

void sim_net_heal(struct sim_world *world, const char *from, const char *to)
{
    struct list *next;
    for (struct list *link = world->cuts.next; link != &world->cuts; link = next) {
        struct cut *cut = container_of(link, struct cut, link);
        next = link->next;
        if (strcmp(cut->from, from) == 0 && strcmp(cut->to, to) == 0) {
            cut_free(cut);
        }
    }
    sim_packets_release(world);
}

void sim_net_heal_all(struct sim_world *world)
{
    while (!list_is_empty(&world->cuts)) {
        cut_free(container_of(world->cuts.next, struct cut, link));
    }
    sim_packets_release(world);
}

void sim_net_reset(struct sim_process *process)
{
    for (struct list *e = process->envs.next; e != &process->envs; e = e->next) {
        struct sim_env *env = container_of(e, struct sim_env, link);
        for (struct list *link = env->net.streams.next; link != &env->net.streams; link = link->next) {
            struct stream *stream = container_of(link, struct stream, link);
            if (stream->broken == OK && stream->other != NULL && !stream->is_closing) {
                sim_stream_reset(stream->other, sim_net_delay(process->world));
                sim_stream_reset(stream, sim_net_delay(process->world));
            }
        }
    }
}

void sim_net_set_delay(struct sim_world *world, int64_t low_us, int64_t high_us)
{
    world->net_low_us = low_us;
    world->net_high_us = high_us;
}

/* ---- Life */

void sim_net_init(struct sim_world *world)
{
    list_init(&world->cuts);
    list_init(&world->packets);
    sim_net_set_delay(world, DELAY_LOW_US, DELAY_HIGH_US);
}

void sim_net_deinit(struct sim_world *world)
{
    while (!list_is_empty(&world->cuts)) {
        cut_free(container_of(world->cuts.next, struct cut, link));
    }
    while (!list_is_empty(&world->packets)) {
        sim_packet_free(container_of(world->packets.next, struct packet, link));
    }
}

void sim_net_fill(struct sim_env *env)
{
    env->net.net = (struct net){
        .listen = net_listen,
        .listener_port = net_listener_port,
        .listener_close = net_listener_close,
        .adopt = net_adopt,
        .refuse = net_refuse,
        .connect = net_connect,
        .connect_cancel = net_connect_cancel,
    };
    sim_stream_fill(&env->net.net);
    list_init(&env->net.listeners);
    list_init(&env->net.streams);
    list_init(&env->net.connects);
    list_init(&env->net.arrivals);
}

void sim_net_on_death(struct sim_process *process)
{
    for (struct list *e = process->envs.next; e != &process->envs; e = e->next) {
        struct sim_env *env = container_of(e, struct sim_env, link);
        while (!list_is_empty(&env->net.connects)) {
            connect_free(container_of(env->net.connects.next, struct sim_connect, link));
        }
        while (!list_is_empty(&env->net.arrivals)) {
            arrival_free(container_of(env->net.arrivals.next, struct arrival, link));
        }
        while (!list_is_empty(&env->net.streams)) {
            sim_stream_abandon(container_of(env->net.streams.next, struct stream, link), process->is_power_lost);
        }
        while (!list_is_empty(&env->net.listeners)) {
            struct listener *listener = container_of(env->net.listeners.next, struct listener, link);
            if (listener->is_closing) {
                sim_event_cancel(env->world, &listener->event);
            }
            list_remove(&listener->link);
            sim_free(listener);
        }
    }
}

void sim_net_env_close(struct sim_env *env)
{
    assert(list_is_empty(&env->net.listeners));
    assert(list_is_empty(&env->net.streams));
    assert(list_is_empty(&env->net.connects));
    assert(list_is_empty(&env->net.arrivals));
}
