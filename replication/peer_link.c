/* A link's way:
 *
 *      +-----------> RESTING --timer--> CONNECTING --connected, hello--> GREETING --welcome--> UP
 *      |               ^ ^ ^                |                               |                   |
 *      |  at once, then | | +---failed, 2 s--+                               |                   |
 *      |   5 ms .. 1 s  | +-----------refused, no answer for 5 s ------------+                   |
 *      |                +-------------- lost, nothing heard for 4 s -----------------------------+
 *
 * RESTING ends early when the other side connects to us.
 * The first attempts after a loss go to the address that the lost connection was with, whatever the name stands for
 * now: if nobody listens there, the process has ended (peers_params.ended). At its end the kernel closes the listener
 * and the connections one after the other, so an attempt may still be taken, and be reset; hence several.
 * Up and down are told last in each step, as the owner may close the link inside.
 * A seed's link has no node until the welcome; if that node has a link already, the seed's ends without a word, and so
 * does one that has reached ourselves. */
#include "replication/peers_internal.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "proto/peer.pb-c.h"

#include <stdio.h>
#include <string.h>

enum {
    BACKOFF_FIRST_US = 5000,
    PROBE_BACKOFF_US_MAX = 80000, /* 0, 5, 10, 20, 40, 80 ms, or up to half less: over within 160 */
    BACKOFF_MAX_US = 1000000,
    CONNECT_TICKS = 2,
    GREETING_TICKS = 5,
    SILENCE_TICKS = 4,
};

static void link_on_retry(struct timer *timer);
static void link_on_free(struct task *task);
static const struct peer_conn_events link_events;

/* ---- Life */

struct peer_link *peer_link_open(struct peers *peers, int32_t node, const char *host, uint16_t port)
{
    struct peer_link *link = mem_alloc(sizeof *link);
    link->peers = peers;
    link->node = node;
    (void)snprintf(link->host, sizeof link->host, "%s", host);
    link->port = port;
    map_init(&link->calls);
    list_init(&link->waiting);
    timer_init(&link->retry, link_on_retry);
    task_init(&link->free_task, link_on_free);
    list_push(&peers->links, &link->link);
    peers->link_count++;
    peers_opened(peers);
    env_timer(peers->env, &link->retry, 0);
    return link;
}

static void link_on_free(struct task *task)
{
    struct peer_link *link = container_of(task, struct peer_link, free_task);
    struct peers *peers = link->peers;
    assert(link->calls.count == 0);
    map_deinit(&link->calls);
    mem_free(link);
    peers_given_back(peers);
}

/* The connection is not used any more; calls end. Returns whether the link was up. */
static bool link_leave(struct peer_link *link, enum err err)
{
    bool was_up = link->state == PEER_LINK_UP;
    link->state = PEER_LINK_RESTING;
    if (link->conn != NULL) {
        peer_conn_close(link->conn);
        link->conn = NULL;
    }
    if (was_up) {
        metrics_add(link->peers->env->metrics, METRIC_PEER_LINKS, -1);
    }
    peer_calls_end(link, err);
    return was_up;
}

void peer_link_close(struct peer_link *link, enum err err)
{
    struct peers *peers = link->peers;
    assert(!link->is_removed);
    link->is_removed = true;
    list_remove(&link->link);
    peers->link_count--;
    if (link->node >= 0 && peers_link(peers, link->node) == link) {
        map_remove(&peers->nodes, (uint64_t)link->node);
    }
    env_timer_cancel(peers->env, &link->retry);
    (void)link_leave(link, err);
    if (link->is_connecting) {
        peers->env->net->connect_cancel(peers->env->net, &link->connect); /* frees in its callback */
    } else {
        env_task(peers->env, &link->free_task);
    }
}

/* ---- Connecting */

static void link_rest(struct peer_link *link, bool was_up)
{
    struct env *env = link->peers->env;
    int64_t delay_us = link->backoff_us;
    metrics_add(env->metrics, METRIC_PEER_ATTEMPTS_FAILED, !was_up);
    link->state = PEER_LINK_RESTING;
    if (delay_us > 0) { /* half of it by chance, so that brokers that started together do not stay in step */
        delay_us = delay_us / 2 + (int64_t)(env_random(env) % (uint64_t)(delay_us / 2 + 1));
    }
    int64_t next_us = link->backoff_us > 0 ? 2 * link->backoff_us : BACKOFF_FIRST_US;
    link->is_probing = link->is_probing && link->backoff_us <= PROBE_BACKOFF_US_MAX;
    link->backoff_us = next_us < BACKOFF_MAX_US ? next_us : BACKOFF_MAX_US;
    env_timer(env, &link->retry, delay_us);
}

/* Whether this cause is another one than the last. */
static bool is_new_cause(struct peer_link *link, const char *cause)
{
    if (strcmp(link->cause, cause) == 0) {
        return false;
    }
    (void)snprintf(link->cause, sizeof link->cause, "%s", cause);
    return true;
}

static void trace_unreachable(struct peer_link *link, const char *cause)
{
    if (is_new_cause(link, cause)) {
        trace(INFO, PEER, "broker not reached", KV("node", link->node), KV("host", (const char *)link->host),
              KV("port", link->port), KV("cause", cause));
    }
}

/* Told once per change; last in its step. */
static void link_refused(struct peer_link *link, const char *cause)
{
    const struct peers_params *params = &link->peers->params;
    bool was_up = link_leave(link, ERR_CLOSED);
    link->backoff_us = BACKOFF_MAX_US;
    link_rest(link, was_up);
    if (is_new_cause(link, cause)) {
        trace(ERROR, PEER, "no link: refused", KV("host", (const char *)link->host), KV("port", link->port),
              KV("cause", cause));
        params->refused(params->owner, link->host, link->port, cause);
    }
}

static void link_not_reached(struct peer_link *link, enum err err)
{
    const struct peers_params *params = &link->peers->params;
    bool has_ended = link->is_probing && err == ERR_REFUSED;
    const char *cause = err == ERR_REFUSED ? "nobody listens there"
                        : err == ERR_IO    ? "the network is not there"
                                           : err_text(err);
    trace_unreachable(link, err == ERR_CANCELED ? err_text(ERR_TIMED_OUT) : cause);
    link->is_probing = false;
    link_rest(link, false);
    if (has_ended && params->ended != NULL) {
        params->ended(params->owner, link->node, link->identity.server_id);
    }
}

static void link_on_connected(struct stream_connect *req, enum err err, struct stream *stream)
{
    struct peer_link *link = container_of(req, struct peer_link, connect);
    struct peers *peers = link->peers;
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    link->is_connecting = false;
    if (link->is_removed) {
        if (err == OK) {
            peers->env->net->stream_close(stream, NULL);
        }
        env_task(peers->env, &link->free_task);
        return;
    }
    if (err != OK) {
        link_not_reached(link, err);
        return;
    }
    link->state = PEER_LINK_GREETING;
    link->ticks = 0;
    peers_opened(peers);
    link->conn = peer_conn_open(&peers->shared, stream, &link_events, link);
    size_t size = peer_hello_encode(peers->params.self, peers->params.shard, element);
    (void)peer_conn_put(link->conn, (struct bytes){element, size});
}

static void link_on_retry(struct timer *timer)
{
    struct peer_link *link = container_of(timer, struct peer_link, retry);
    struct net *net = link->peers->env->net;
    assert(link->state == PEER_LINK_RESTING);
    assert(!link->is_connecting);
    link->state = PEER_LINK_CONNECTING;
    link->ticks = 0;
    memcpy(link->connect_host, link->host, sizeof link->connect_host);
    link->connect = (struct stream_connect){
        .host = link->is_probing ? link->address : link->connect_host, .port = link->port, .cb = link_on_connected};
    link->is_connecting = true;
    net->connect(net, &link->connect);
}

/* ---- Losing */

static void link_lose(struct peer_link *link, bool is_reset, const char *cause)
{
    struct peers *peers = link->peers;
    int32_t node = link->node;
    uint64_t server_id = link->identity.server_id;
    bool was_up = link_leave(link, ERR_CLOSED);
    link->is_probing = link->is_probing || (was_up && link->address[0] != '\0');
    link_rest(link, was_up);
    if (!was_up) {
        trace_unreachable(link, cause);
        return;
    }
    metrics_add(peers->env->metrics, METRIC_PEER_LOST, 1);
    trace(INFO, PEER, "link lost", KV("node", node), KV("cause", cause));
    peers->params.down(peers->params.owner, node, server_id, is_reset);
}

static void link_on_lost(void *owner, bool is_reset, const char *cause)
{
    link_lose(owner, is_reset, cause);
}

void peer_link_restart(struct peer_link *link)
{
    link->backoff_us = 0;
    if (link->conn != NULL) {
        link_lose(link, false, "connects again");
    } else if (link->state == PEER_LINK_RESTING) {
        env_timer(link->peers->env, &link->retry, 0);
    }
}

void peer_link_move(struct peer_link *link, const char *host, uint16_t port)
{
    (void)snprintf(link->host, sizeof link->host, "%s", host);
    link->port = port;
    link->cause[0] = '\0';
    link->backoff_us = 0;
    link->is_probing = false;
    if (link->state == PEER_LINK_RESTING) {
        env_timer(link->peers->env, &link->retry, 0);
    } else if (link->is_connecting) {
        link->peers->env->net->connect_cancel(link->peers->env->net, &link->connect);
    }
}

/* Whoever has just connected to us is there. The backoff stays, for one that reaches us and is never reached. */
void peer_link_wake(struct peer_link *link)
{
    if (link->state == PEER_LINK_RESTING) {
        env_timer(link->peers->env, &link->retry, 0);
    }
}

/* ---- Greeting */

/* The link is of that node from now on. False: that node has one already. */
static bool link_take_node(struct peer_link *link, int32_t node)
{
    struct peers *peers = link->peers;
    struct peer_link *other = peers_link(peers, node);
    if (other != NULL && other != link) {
        return false;
    }
    if (link->node >= 0 && link->node != node) {
        map_remove(&peers->nodes, (uint64_t)link->node);
    }
    link->node = node;
    map_put(&peers->nodes, (uint64_t)node, link);
    return true;
}

static void link_up(struct peer_link *link, const struct peer_identity *identity)
{
    struct peers *peers = link->peers;
    link->identity = *identity;
    link->has_identity = true;
    link->state = PEER_LINK_UP;
    link->backoff_us = 0;
    link->cause[0] = '\0';
    link->is_probing = false;
    uint16_t port;
    peer_conn_address(link->conn, link->address, &port);
    peer_conn_trust(link->conn);
    metrics_add(peers->env->metrics, METRIC_PEER_LINKS, 1);
    trace(INFO, PEER, "link up", KV("node", link->node), KV("host", (const char *)link->host), KV("port", link->port));
    peers->params.up(peers->params.owner, &link->identity);
}

static bool link_on_welcome(struct peer_link *link, const Balsa__Peer__Welcome *welcome, const char **cause)
{
    struct peer_identity identity;
    struct errmsg msg;
    int code;
    if (welcome->version != PEER_VERSION || peer_identity_decode(welcome->identity, &identity) != OK) {
        *cause = "its welcome is malformed";
        return false;
    }
    if (identity.host[0] == '\0') {
        memcpy(identity.host, link->connect_host, sizeof identity.host);
        identity.port = link->connect.port;
    }
    if (!peers_may_link(link->peers, &identity, &code, &msg)) {
        if (code == BALSA__PEER__REFUSAL__CODE__SELF && !link->is_set) {
            peer_link_close(link, ERR_CLOSED);
        } else {
            link_refused(link, msg.text);
        }
        return true;
    }
    if (link->is_set && identity.node != link->node) {
        (void)fail(&msg, ERR_INVALID, "broker %d answers at %s:%u, where broker %d should be", identity.node,
                   link->connect_host, link->connect.port, link->node);
        link_refused(link, msg.text);
        return true;
    }
    if (!link_take_node(link, identity.node)) {
        peer_link_close(link, ERR_CLOSED);
        return true;
    }
    link_up(link, &identity);
    return true;
}

static bool link_on_refusal(struct peer_link *link, const Balsa__Peer__Refusal *refusal)
{
    char cause[ERRMSG_SIZE];
    if (refusal->code == BALSA__PEER__REFUSAL__CODE__SELF && !link->is_set) {
        peer_link_close(link, ERR_CLOSED);
        return true;
    }
    if (refusal->code == BALSA__PEER__REFUSAL__CODE__AGAIN) {
        link_lose(link, false, "the other side connects again");
        return true;
    }
    (void)snprintf(cause, sizeof cause, "%s", refusal->cause);
    for (char *c = cause; *c != '\0'; c++) {
        *c = *c >= ' ' && *c <= '~' ? *c : '?'; /* goes into a log */
    }
    if (link->state == PEER_LINK_UP) {
        link_lose(link, false, cause);
    } else {
        link_refused(link, cause);
    }
    return true;
}

static bool link_on_frame(void *owner, struct peer_frame *frame, const char **cause)
{
    struct peer_link *link = owner;
    const Balsa__Peer__Envelope *envelope = frame->envelope;
    link->heard_us = env_now_us(link->peers->env);
    if (envelope->refusal != NULL) {
        return link_on_refusal(link, envelope->refusal);
    }
    if (envelope->hello != NULL || envelope->n_raft > 0 || envelope->n_calls > 0) {
        *cause = "a frame of one who connects";
        return false;
    }
    if (link->state == PEER_LINK_GREETING) {
        if (envelope->welcome == NULL || envelope->n_replies > 0) {
            *cause = "no welcome";
            return false;
        }
        return link_on_welcome(link, envelope->welcome, cause);
    }
    if (envelope->welcome != NULL) {
        *cause = "a second welcome";
        return false;
    }
    if (!peer_calls_on_frame(link, frame, cause)) {
        return false;
    }
    *cause = "payload that belongs to nothing";
    return frame->payload.size == 0;
}

static const struct peer_conn_events link_events = {.frame = link_on_frame, .lost = link_on_lost};

/* ---- Time */

void peer_link_tick(struct peer_link *link)
{
    struct net *net = link->peers->env->net;
    switch (link->state) {
    case PEER_LINK_RESTING:
        break;
    case PEER_LINK_CONNECTING:
        if (++link->ticks == CONNECT_TICKS && link->is_connecting) {
            net->connect_cancel(net, &link->connect);
        }
        break;
    case PEER_LINK_GREETING:
        if (++link->ticks >= GREETING_TICKS) {
            link_lose(link, false, "no answer to the hello");
        }
        break;
    case PEER_LINK_UP:
        if (peer_conn_tick(link->conn) >= SILENCE_TICKS) {
            link_lose(link, false, "nothing heard");
        }
        break;
    default:
        assert(false);
    }
}
