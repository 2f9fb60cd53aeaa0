/* The streams of sim_net.h and the packets that carry them.
 *
 * Happy path: a write is copied, in pieces, into packets as far as the window allows; it is complete when the last of
 * it is copied, as a socket buffer would take it. A packet arrives at the other end's `arrived` bytes and rings for a
 * read; what the reader takes opens the window again.
 *
 * Packets belong to the world: they arrive whoever has died, are held while their way is cut, and are answered with a
 * reset when nobody is there. A stream's own callbacks come from its `bell`, an event of its env.
 *
 * Ends of a stream: FIN (the other end closed; bytes before it are read first), RST (the other end died, closed with
 * bytes unread, or is not there: at once), silence (its host lost power: a reset much later). */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tests/lib/sim_net_internal.h"

enum {
    WINDOW_MIN = 4096,
    WINDOW_MAX = 256 * 1024,
    BELL_US_MAX = 50,
    RETRANSMIT_US_MAX = 200000,
    SILENCE_LOW_US = 10000000,
    SILENCE_HIGH_US = 100000000,
    READ_HINT = 65536,
};

static struct sim_world *world_of(const struct stream *stream)
{
    return stream->env->world;
}

int64_t sim_net_delay(struct sim_world *world)
{
    return sim_random_spread(&world->random, world->net_low_us, world->net_high_us);
}

bool sim_net_is_cut(const struct sim_world *world, const char *from, const char *to)
{
    for (const struct list *link = world->cuts.next; link != &world->cuts; link = link->next) {
        const struct cut *cut = container_of(link, struct cut, link);
        if (strcmp(cut->from, from) == 0 && strcmp(cut->to, to) == 0) {
            return true;
        }
    }
    return false;
}

void sim_net_print_address(const struct sim_process *process, char text[NET_ADDRESS_TEXT_SIZE])
{
    (void)snprintf(text, NET_ADDRESS_TEXT_SIZE, "10.0.%u.%u", process->number >> 8, process->number & 0xff);
}

/* ---- Packets */

void sim_packet_free(struct packet *packet)
{
    sim_event_cancel(packet->world, &packet->event);
    list_remove(&packet->link);
    sim_free(packet);
}

static void packet_on_arrival(struct sim_event *event);

static struct packet *packet_new(struct sim_world *world, enum packet_kind kind, size_t size, const char *from,
                                 const char *to)
{
    struct packet *packet = sim_resize(NULL, sizeof(*packet) + size);
    *packet = (struct packet){.world = world, .kind = kind, .size = size};
    memcpy(packet->from, from, strlen(from) + 1);
    memcpy(packet->to, to, strlen(to) + 1);
    sim_event_init(&packet->event, NULL, packet_on_arrival);
    list_init(&packet->link);
    list_push(&world->packets, &packet->link);
    return packet;
}

/* In order behind all that the stream has sent. */
static void packet_send(struct stream *stream, struct packet *packet)
{
    struct sim_world *world = packet->world;
    int64_t arrival_us = world->now_us + sim_net_delay(world);
    stream->last_us = arrival_us > stream->last_us ? arrival_us : stream->last_us + 1;
    packet->source = stream;
    packet->target = stream->other;
    sim_event_set(world, &packet->event, stream->last_us - world->now_us);
}

/* To `target`, from nobody: the host there knows of no such connection. */
void sim_stream_reset(struct stream *target, int64_t delay_us)
{
    struct packet *packet = packet_new(world_of(target), PACKET_RST, 0, target->there, target->env->process->name);
    packet->target = target;
    sim_event_set(packet->world, &packet->event, delay_us);
}

static void ring(struct stream *stream)
{
    if (!sim_event_is_set(&stream->bell)) {
        sim_event_set(world_of(stream), &stream->bell, sim_random_spread(&world_of(stream)->random, 0, BELL_US_MAX));
    }
}

static void complete(struct stream *stream, struct stream_write *req, enum err err)
{
    req->err = err;
    list_remove(&req->link);
    list_push(&stream->completed, &req->link);
    ring(stream);
}

static void break_stream(struct stream *stream, enum err err)
{
    struct list *link;
    stream->broken = err;
    stream->end = err;
    stream->arrived_size = 0; /* a reset overtakes what was not read */
    if (stream->other != NULL) {
        stream->other->other = NULL; /* what it still sends arrives nowhere, and is answered by a reset */
        stream->other = NULL;
    }
    while ((link = list_pop(&stream->writes)) != NULL) {
        complete(stream, container_of(link, struct stream_write, link), err);
    }
    ring(stream);
}

/* A host without power says nothing. After a kill the system is there and answers for the process. */
static bool is_host_dark(struct sim_world *world, const char *name)
{
    for (struct list *link = world->processes.prev; link != &world->processes; link = link->prev) {
        const struct sim_process *process = container_of(link, struct sim_process, link);
        if (strcmp(process->name, name) == 0) {
            return process->is_power_lost && process->end != SIM_ALIVE;
        }
    }
    return false;
}

static void packet_on_arrival(struct sim_event *event)
{
    struct packet *packet = container_of(event, struct packet, event);
    struct stream *target = packet->target;
    if (sim_net_is_cut(packet->world, packet->from, packet->to)) {
        packet->is_held = true;
        return;
    }
    if (target == NULL || target->is_closing) {
        if (packet->kind != PACKET_RST && packet->source != NULL && packet->source->broken == OK &&
            !is_host_dark(packet->world, packet->to)) {
            sim_stream_reset(packet->source, sim_net_delay(packet->world));
        }
    } else if (packet->kind == PACKET_RST) {
        if (target->broken == OK) {
            break_stream(target, ERR_IO);
        }
    } else if (packet->kind == PACKET_FIN) {
        target->end = target->end == OK ? ERR_CLOSED : target->end;
        ring(target);
    } else if (target->broken == OK) {
        size_t size = target->arrived_size + packet->size;
        if (size > target->arrived_capacity) {
            target->arrived_capacity = size > 2 * target->arrived_capacity ? size : 2 * target->arrived_capacity;
            target->arrived = sim_resize(target->arrived, target->arrived_capacity);
        }
        memcpy(target->arrived + target->arrived_size, packet->data, packet->size);
        target->arrived_size += packet->size;
        ring(target);
    }
    sim_packet_free(packet);
}

/* ---- Writing and reading */

/* Copies up to `size` bytes of the request from its byte `done` on; returns how many were left to copy. */
static size_t gather(const struct stream_write *req, size_t done, uint8_t *data, size_t size)
{
    size_t copied = 0;
    for (size_t i = 0; i < req->count; i++) {
        size_t length = req->iov[i].iov_len;
        if (done >= length) {
            done -= length;
            continue;
        }
        size_t step = length - done < size - copied ? length - done : size - copied;
        if (data != NULL) {
            memcpy(data + copied, (const uint8_t *)req->iov[i].iov_base + done, step);
        }
        copied += step;
        done = 0;
        if (copied == size) {
            break;
        }
    }
    return copied;
}

static void pump(struct stream *stream)
{
    struct sim_world *world = world_of(stream);
    while (!list_is_empty(&stream->writes)) {
        struct stream_write *req = container_of(stream->writes.next, struct stream_write, link);
        size_t left = gather(req, stream->first_done, NULL, SIZE_MAX);
        if (left == 0) {
            stream->first_done = 0;
            complete(stream, req, OK);
            continue;
        }
        if (stream->unread >= stream->window) {
            return;
        }
        size_t room = stream->window - stream->unread;
        size_t size = left < room ? left : room;
        if (sim_random_below(&world->random, 4) == 0) {
            size = 1 + (size_t)sim_random_below(&world->random, size);
        }
        struct packet *packet = packet_new(world, PACKET_DATA, size, stream->env->process->name, stream->there);
        size_t copied = gather(req, stream->first_done, packet->data, size);
        assert(copied == size);
        stream->first_done += size;
        stream->unread += size;
        packet_send(stream, packet);
    }
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

static void read_bytes_once(struct stream *stream)
{
    struct sim_world *world = world_of(stream);
    uint8_t *data = NULL;
    size_t size = 0;
    stream->handlers->on_alloc(stream->owner, READ_HINT, &data, &size);
    assert(data != NULL || size == 0);
    if (size == 0) {
        stream->is_reading = false;
        return;
    }
    size = size < stream->arrived_size ? size : stream->arrived_size;
    if (sim_random_below(&world->random, 8) == 0) {
        size = 1 + (size_t)sim_random_below(&world->random, size);
    }
    memcpy(data, stream->arrived, size);
    stream->arrived_size -= size;
    memmove(stream->arrived, stream->arrived + size, stream->arrived_size);
    if (stream->other != NULL) {
        stream->other->unread -= size;
        pump(stream->other);
    }
    stream->handlers->on_read(stream->owner, OK, size);
}

static void stream_free(struct stream *stream)
{
    struct sim_world *world = world_of(stream);
    for (struct list *link = world->packets.next; link != &world->packets; link = link->next) {
        struct packet *packet = container_of(link, struct packet, link);
        packet->source = packet->source == stream ? NULL : packet->source;
        packet->target = packet->target == stream ? NULL : packet->target;
    }
    if (stream->other != NULL) {
        stream->other->other = NULL;
    }
    sim_event_cancel(world, &stream->bell);
    list_remove(&stream->link);
    sim_free(stream->arrived);
    sim_free(stream->there);
    sim_free(stream);
}

void sim_stream_on_bell(struct sim_event *event)
{
    struct stream *stream = container_of(event, struct stream, bell);
    run_completed(stream);
    if (stream->is_closing) {
        if (!list_is_empty(&stream->completed)) {
            ring(stream); /* closed by a callback just now, which canceled more */
            return;
        }
        void *owner = stream->owner;
        stream_close_cb cb = stream->close_cb;
        stream_free(stream);
        if (cb != NULL) {
            cb(owner);
        }
        return;
    }
    if (stream->is_reading && stream->arrived_size > 0) {
        read_bytes_once(stream);
    } else if (stream->is_reading && stream->end != OK) {
        stream->has_ended = true;
        stream->is_reading = false;
        stream->handlers->on_read(stream->owner, stream->end, 0);
    }
    bool has_more = stream->is_reading && (stream->arrived_size > 0 || stream->end != OK);
    if (has_more || stream->is_closing || !list_is_empty(&stream->completed)) {
        ring(stream);
    }
}

struct stream *sim_stream_new(struct sim_env *env, const struct sim_process *there)
{
    struct stream *stream = sim_alloc(sizeof(*stream));
    stream->env = env;
    stream->there = sim_strdup(there->name);
    stream->window = (size_t)sim_random_spread(&env->world->random, WINDOW_MIN, WINDOW_MAX);
    list_init(&stream->writes);
    list_init(&stream->completed);
    sim_event_init(&stream->bell, env, sim_stream_on_bell);
    sim_net_print_address(env->process, stream->local_text);
    sim_net_print_address(there, stream->peer_text);
    list_push(&env->net.streams, &stream->link);
    return stream;
}

/* ---- Streams: what the seam offers */

static void stream_pause(struct stream *stream)
{
    stream->is_reading = false;
}

static void stream_resume(struct stream *stream)
{
    assert(stream->handlers != NULL);
    assert(!stream->is_closing);
    if (!stream->has_ended) {
        stream->is_reading = true;
        ring(stream);
    }
}

static void stream_start(struct stream *stream, const struct stream_handlers *handlers, void *owner)
{
    assert(stream->handlers == NULL);
    stream->handlers = handlers;
    stream->owner = owner;
    stream_resume(stream);
}

static void stream_write(struct stream *stream, struct stream_write *req)
{
    assert(!stream->is_closing);
    assert(req->count > 0);
    list_init(&req->link);
    if (stream->broken != OK) {
        complete(stream, req, stream->broken);
        return;
    }
    list_push(&stream->writes, &req->link);
    pump(stream);
}

/* TCP answers with a reset when bytes are left unread, and with an end when not. */
static void stream_close(struct stream *stream, stream_close_cb cb)
{
    struct list *link;
    assert(!stream->is_closing);
    if (stream->broken == OK) {
        struct packet *packet = packet_new(world_of(stream), stream->arrived_size > 0 ? PACKET_RST : PACKET_FIN, 0,
                                           stream->env->process->name, stream->there);
        packet_send(stream, packet);
    }
    while ((link = list_pop(&stream->writes)) != NULL) {
        complete(stream, container_of(link, struct stream_write, link), ERR_CANCELED);
    }
    stream->is_reading = false;
    stream->is_closing = true;
    stream->close_cb = cb;
    ring(stream);
}

static enum err stream_detach(struct stream *stream, int *token)
{
    assert(!stream->is_closing);
    assert(!stream->has_ended);
    assert(list_is_empty(&stream->writes));
    assert(list_is_empty(&stream->completed));
    stream->is_reading = false;
    stream->handlers = NULL;
    stream->owner = NULL;
    stream->token = ++stream->env->process->accepted_count;
    *token = stream->token;
    return OK;
}

static void stream_peer(struct stream *stream, char *text, size_t size, uint16_t *port)
{
    assert(size >= NET_ADDRESS_TEXT_SIZE);
    memcpy(text, stream->peer_text, NET_ADDRESS_TEXT_SIZE);
    *port = stream->peer_port;
}

static void stream_local(struct stream *stream, char *text, size_t size, uint16_t *port)
{
    assert(size >= NET_ADDRESS_TEXT_SIZE);
    memcpy(text, stream->local_text, NET_ADDRESS_TEXT_SIZE);
    *port = stream->local_port;
}

/* Without a word to its owner: it has none, or it is dead. */
void sim_stream_abandon(struct stream *stream, bool is_silent)
{
    if (stream->other != NULL && stream->broken == OK) {
        struct sim_world *world = world_of(stream);
        sim_stream_reset(stream->other, is_silent ? sim_random_spread(&world->random, SILENCE_LOW_US, SILENCE_HIGH_US)
                                                  : sim_net_delay(world));
    }
    stream_free(stream);
}

/* What was held goes on: sent again some time later, and with it all that is on its way behind it. */
void sim_packets_release(struct sim_world *world)
{
    int64_t again_us = sim_random_spread(&world->random, 1, RETRANSMIT_US_MAX);
    for (struct list *link = world->packets.next; link != &world->packets; link = link->next) {
        struct packet *packet = container_of(link, struct packet, link);
        struct stream *target = packet->target;
        if (sim_net_is_cut(world, packet->from, packet->to) ||
            !(packet->is_held || (target != NULL && target->is_delayed))) {
            continue;
        }
        packet->is_held = false;
        sim_event_set(world, &packet->event, again_us++);
        if (target != NULL) {
            target->is_delayed = true;
        }
        if (packet->source != NULL && packet->source->last_us < packet->event.due_us) {
            packet->source->last_us = packet->event.due_us;
        }
    }
    for (struct list *link = world->packets.next; link != &world->packets; link = link->next) {
        const struct packet *packet = container_of(link, struct packet, link);
        if (packet->target != NULL) {
            packet->target->is_delayed = false;
        }
    }
}

void sim_stream_fill(struct net *net)
{
    net->stream_start = stream_start;
    net->stream_pause = stream_pause;
    net->stream_resume = stream_resume;
    net->stream_write = stream_write;
    net->stream_close = stream_close;
    net->stream_detach = stream_detach;
    net->stream_peer = stream_peer;
    net->stream_local = stream_local;
}
