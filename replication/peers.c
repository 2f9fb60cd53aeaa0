/* Happy path: peers_set() and seeds make links, which connect by themselves; a seed's link becomes that of the node
 * that answers. Messages find their link by the node in the server id.
 *
 * Time: one timer of a second for all connections: pings, silence, and what takes too long are counted in its ticks,
 * so that a process that was stopped for a while does not take its own sleep for the others' silence.
 * Close: links and incoming connections are closed; when the last of their memory has been given back, cb. */
#include "replication/peers_internal.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "proto/peer.pb-c.h"

#include <string.h>

enum {
    TICK_US = 1000000
};

/* ---- Counting what is open */

void peers_opened(struct peers *peers)
{
    peers->open_count++;
}

void peers_given_back(struct peers *peers)
{
    assert(peers->open_count > 0);
    peers->open_count--;
    if (peers->is_closing && peers->open_count == 0) {
        env_task(peers->env, &peers->closed);
    }
}

static void on_conn_freed(void *context)
{
    peers_given_back(context);
}

/* ---- Life */

static void peers_on_tick(struct timer *timer);
static void peers_on_restart(struct task *task);
static void peers_on_closed(struct task *task);

struct peers *peers_open(const struct peers_params *params)
{
    assert(params->shard < params->shard_count);
    struct peers *peers = mem_alloc(sizeof *peers);
    peers->params = *params;
    peers->env = params->env;
    arena_init(&peers->arena, PEER_ENVELOPE_MEMORY_MAX);
    peers->shared = (struct peer_conn_owner){params->env, &peers->arena, peers, on_conn_freed};
    map_init(&peers->nodes);
    list_init(&peers->links);
    list_init(&peers->hellos);
    list_init(&peers->ins);
    timer_init(&peers->tick, peers_on_tick);
    task_init(&peers->restart, peers_on_restart);
    task_init(&peers->closed, peers_on_closed);
    env_timer(peers->env, &peers->tick, TICK_US);
    return peers;
}

static void close_all_in(struct list *ins, bool again)
{
    while (!list_is_empty(ins)) {
        peer_in_close(container_of(ins->next, struct peer_in, link), again);
    }
}

void peers_close(struct peers *peers, void *owner, void (*cb)(void *owner))
{
    assert(!peers->is_closing);
    peers->close_owner = owner;
    peers->close_cb = cb;
    env_timer_cancel(peers->env, &peers->tick);
    peers->env->tasks->cancel(peers->env->tasks, &peers->restart);
    while (!list_is_empty(&peers->links)) {
        peer_link_close(container_of(peers->links.next, struct peer_link, link), ERR_CANCELED);
    }
    close_all_in(&peers->hellos, false);
    close_all_in(&peers->ins, false);
    peers->is_closing = true;
    if (peers->open_count == 0) {
        env_task(peers->env, &peers->closed);
    }
}

static void peers_on_closed(struct task *task)
{
    struct peers *peers = container_of(task, struct peers, closed);
    void *owner = peers->close_owner;
    void (*cb)(void *owner) = peers->close_cb;
    if (peers->open_count > 0) {
        return; /* something was begun meanwhile: its end comes here again */
    }
    map_deinit(&peers->nodes);
    arena_deinit(&peers->arena);
    mem_free(peers);
    cb(owner);
}

/* ---- Time */

/* Callbacks may close links, so each is put to the end of its list before its turn; one may then have two turns. */
static void peers_on_tick(struct timer *timer)
{
    struct peers *peers = container_of(timer, struct peers, tick);
    env_timer(peers->env, &peers->tick, TICK_US);
    for (unsigned left = peers->link_count; left > 0 && !list_is_empty(&peers->links); left--) {
        struct list *link = list_pop(&peers->links);
        list_push(&peers->links, link);
        peer_link_tick(container_of(link, struct peer_link, link));
    }
    struct list *next;
    for (struct list *link = peers->hellos.next; link != &peers->hellos; link = next) {
        next = link->next;
        peer_in_tick(container_of(link, struct peer_in, link));
    }
    for (struct list *link = peers->ins.next; link != &peers->ins; link = next) {
        next = link->next;
        peer_in_tick(container_of(link, struct peer_in, link));
    }
}

static void peers_on_restart(struct task *task)
{
    struct peers *peers = container_of(task, struct peers, restart);
    close_all_in(&peers->ins, true);
    for (unsigned left = peers->link_count; left > 0 && !list_is_empty(&peers->links); left--) {
        struct list *link = list_pop(&peers->links);
        list_push(&peers->links, link);
        peer_link_restart(container_of(link, struct peer_link, link));
    }
}

void peers_restart(struct peers *peers)
{
    if (!peers->is_closing) {
        env_task(peers->env, &peers->restart);
    }
}

/* ---- Whom to be linked with */

struct peer_link *peers_link(const struct peers *peers, int32_t node)
{
    return map_get(&peers->nodes, (uint64_t)node);
}

static bool is_at(const struct peer_link *link, const char *host, uint16_t port)
{
    return link->port == port && strcmp(link->host, host) == 0;
}

/* A link to that address of which nobody has said which node it is of. */
static struct peer_link *unknown_at(const struct peers *peers, const char *host, uint16_t port)
{
    for (struct list *at = peers->links.next; at != &peers->links; at = at->next) {
        struct peer_link *link = container_of(at, struct peer_link, link);
        if (link->node < 0 && is_at(link, host, port)) {
            return link;
        }
    }
    return NULL;
}

static bool can_add(const struct peers *peers, const char *host)
{
    return !peers->is_closing && peers->link_count < PEER_LINK_COUNT_MAX && host[0] != '\0' &&
           strlen(host) < sizeof(((struct peer_link *)NULL)->host);
}

void peers_add_seed(struct peers *peers, const char *host, uint16_t port)
{
    if (can_add(peers, host) && unknown_at(peers, host, port) == NULL) {
        (void)peer_link_open(peers, -1, host, port);
    }
}

void peers_set(struct peers *peers, int32_t node, const char *host, uint16_t port)
{
    assert(node >= 0);
    if (node == peers->params.self->node || !can_add(peers, host)) {
        return;
    }
    struct peer_link *link = peers_link(peers, node);
    if (link == NULL) {
        link = unknown_at(peers, host, port);
    }
    if (link == NULL) {
        link = peer_link_open(peers, node, host, port);
    } else if (!is_at(link, host, port)) {
        peer_link_move(link, host, port);
    }
    link->node = node;
    link->is_set = true;
    map_put(&peers->nodes, (uint64_t)node, link);
}

void peers_remove(struct peers *peers, int32_t node)
{
    struct peer_link *link = peers_link(peers, node);
    if (link != NULL) {
        peer_link_close(link, ERR_CLOSED);
    }
}

bool peers_may_link(const struct peers *peers, const struct peer_identity *other, int *code, struct errmsg *msg)
{
    const struct peer_identity *self = peers->params.self;
    if (other->server_id == self->server_id) {
        *code = BALSA__PEER__REFUSAL__CODE__SELF;
        (void)fail(msg, ERR_INVALID, "broker %d has connected to itself", self->node);
        return false;
    }
    if (other->node == self->node) {
        *code = BALSA__PEER__REFUSAL__CODE__NODE;
        (void)fail(msg, ERR_INVALID,
                   "two brokers have node.id %d, at %s:%u and at %s:%u: give one of them another node.id and an empty "
                   "log.dirs",
                   self->node, self->host, self->port, other->host, other->port);
        return false;
    }
    if (self->cluster_id[0] != '\0' && other->cluster_id[0] != '\0' &&
        strcmp(self->cluster_id, other->cluster_id) != 0) {
        *code = BALSA__PEER__REFUSAL__CODE__CLUSTER;
        (void)fail(
            msg, ERR_INVALID,
            "broker %d at %s:%u belongs to cluster %s, broker %d at %s:%u to cluster %s: give the one that is wrong "
            "an empty log.dirs, or correct controller.quorum.bootstrap.servers",
            other->node, other->host, other->port, other->cluster_id, self->node, self->host, self->port,
            self->cluster_id);
        return false;
    }
    return true;
}

/* ---- Questions */

bool peers_is_up(const struct peers *peers, int32_t node)
{
    const struct peer_link *link = peers_link(peers, node);
    return link != NULL && link->state == PEER_LINK_UP;
}

int64_t peers_heard_us(const struct peers *peers, int32_t node)
{
    const struct peer_link *link = peers_link(peers, node);
    int64_t heard_us = link != NULL ? link->heard_us : 0;
    for (struct list *at = peers->ins.next; at != &peers->ins; at = at->next) {
        const struct peer_in *in = container_of(at, struct peer_in, link);
        if (in->hello.identity.node == node && in->heard_us > heard_us) {
            heard_us = in->heard_us;
        }
    }
    return heard_us;
}

bool peers_identity(const struct peers *peers, int32_t node, struct peer_identity *identity)
{
    const struct peer_link *link = peers_link(peers, node);
    if (link != NULL && link->has_identity) {
        *identity = link->identity;
        return true;
    }
    for (struct list *at = peers->ins.next; at != &peers->ins; at = at->next) {
        const struct peer_in *in = container_of(at, struct peer_in, link);
        if (in->hello.identity.node == node) {
            *identity = in->hello.identity;
            return true;
        }
    }
    return false;
}

void peers_each(const struct peers *peers, void *context,
                void (*cb)(void *context, const struct peer_identity *peer, bool is_up))
{
    for (struct list *at = peers->links.next; at != &peers->links; at = at->next) {
        const struct peer_link *link = container_of(at, struct peer_link, link);
        if (link->has_identity) {
            cb(context, &link->identity, link->state == PEER_LINK_UP);
        }
    }
}

/* ---- Sending */

void peers_send(struct peers *peers, uint64_t group, const struct replica_message *message)
{
    struct peer_link *link = peers_link(peers, (int32_t)(message->peer >> 32));
    bool is_sent = link != NULL && link->state == PEER_LINK_UP && link->identity.server_id == message->peer &&
                   peer_conn_put_message(link->conn, group, message);
    metrics_add(peers->env->metrics, is_sent ? METRIC_PEER_MESSAGES_SENT : METRIC_PEER_MESSAGES_DROPPED, 1);
}

void peers_reply(struct peer_request *request, struct slice payload, bool is_bulk)
{
    if (request->reply != NULL) {
        request->reply(request, payload, is_bulk);
    } else {
        peer_in_reply(request, payload, is_bulk);
    }
}
