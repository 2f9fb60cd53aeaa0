/* Happy path: on shard 0 a token becomes a connection that may say hello; it is checked and given to the shard where
 * it belongs, which answers with the welcome. Then frames bring Raft messages, which go to the owner, and calls, which
 * become requests; a reply goes back on the same connection.
 *
 * A newer connection of the same shard of the same broker replaces the old one: the other side has given that up.
 * Failure: a stranger is told why, then closed; one that says nothing is closed after GREETING_TICKS. A request whose
 * connection is lost is replied to into the void. */
#include "replication/peers_internal.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "proto/peer.pb-c.h"
#include "replication/raft_wire.h"

#include <stdio.h>
#include <string.h>

enum {
    GREETING_TICKS = 5,
    SILENCE_TICKS = 10,       /* longer than that of who connects, so that it is there that silence is noticed */
    ALIVE_US = 3000000,       /* another broker with the same node id that was heard since then is alive */
    TOLD_AGAIN_US = 60000000, /* the same refusal is traced once in that time */
};

/* ---- Life */

static void in_on_free(struct task *task)
{
    struct peer_in *in = container_of(task, struct peer_in, free_task);
    struct peers *peers = in->peers;
    mem_free(in);
    peers_given_back(peers);
}

static struct peer_in *in_open(struct peers *peers, struct stream *stream, const struct peer_conn_events *events)
{
    struct peer_in *in = mem_alloc(sizeof *in);
    in->peers = peers;
    in->heard_us = env_now_us(peers->env);
    list_init(&in->link);
    list_init(&in->requests);
    task_init(&in->free_task, in_on_free);
    peers_opened(peers);
    peers_opened(peers); /* and the connection */
    in->conn = peer_conn_open(&peers->shared, stream, events, in);
    return in;
}

/* The connection is somebody else's business by now. */
static void in_drop(struct peer_in *in)
{
    struct list *link;
    while ((link = list_pop(&in->requests)) != NULL) {
        container_of(link, struct peer_request, link)->in = NULL;
    }
    in->conn = NULL;
    list_remove(&in->link);
    if (in->has_hello) {
        in->peers->in_count--;
    } else {
        in->peers->hello_count--;
    }
    env_task(in->peers->env, &in->free_task);
}

void peer_in_close(struct peer_in *in, bool again)
{
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    struct peer_conn *conn = in->conn;
    in_drop(in);
    if (again) {
        size_t size = peer_refusal_encode(BALSA__PEER__REFUSAL__CODE__AGAIN, "", element);
        if (peer_conn_put(conn, (struct bytes){element, size})) {
            peer_conn_end(conn);
            return;
        }
    }
    peer_conn_close(conn);
}

static void in_on_lost(void *owner, bool is_reset, const char *cause)
{
    struct peer_in *in = owner;
    if (in->has_hello) {
        metrics_add(in->peers->env->metrics, METRIC_PEER_IN_LOST, 1);
        trace(DEBUG, PEER, "connection lost", KV("node", in->hello.identity.node), KV("cause", cause));
    } else if (!is_reset) {
        char host[NET_ADDRESS_TEXT_SIZE];
        uint16_t port;
        peer_conn_address(in->conn, host, &port);
        trace(WARN, PEER, "connection refused", KV("host", (const char *)host), KV("port", port), KV("cause", cause));
    }
    peer_in_close(in, false);
}

void peer_in_tick(struct peer_in *in)
{
    if (!in->has_hello) {
        if (++in->ticks >= GREETING_TICKS) {
            metrics_add(in->peers->env->metrics, METRIC_PEER_REFUSED, 1);
            peer_in_close(in, false);
        }
    } else if (peer_conn_tick(in->conn) >= SILENCE_TICKS) {
        metrics_add(in->peers->env->metrics, METRIC_PEER_IN_LOST, 1);
        peer_in_close(in, false);
    }
}

/* ---- Hello, on shard 0 */

static void in_refuse(struct peer_in *in, int code, const char *cause)
{
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    char host[NET_ADDRESS_TEXT_SIZE];
    uint16_t port;
    struct peers *peers = in->peers;
    struct peer_conn *conn = in->conn;
    int64_t now_us = env_now_us(peers->env);
    bool is_told = now_us - peers->refused_told_us < TOLD_AGAIN_US && strcmp(cause, peers->refused_cause) == 0;
    size_t size = peer_refusal_encode(code, cause, element);
    peer_conn_address(conn, host, &port);
    metrics_add(peers->env->metrics, METRIC_PEER_REFUSED, 1);
    in_drop(in);
    (void)peer_conn_put(conn, (struct bytes){element, size});
    peer_conn_end(conn);
    if (code != BALSA__PEER__REFUSAL__CODE__SELF && !is_told) {
        (void)snprintf(peers->refused_cause, sizeof peers->refused_cause, "%s", cause);
        peers->refused_told_us = now_us;
        trace(WARN, PEER, "connection refused", KV("host", (const char *)host), KV("port", port), KV("cause", cause));
        peers->params.refused(peers->params.owner, host, port, cause);
    }
}

/* Another broker that is alive has the node id: one of the two must go. */
static bool is_node_taken(const struct peers *peers, const struct peer_identity *identity, struct errmsg *msg)
{
    int64_t since_us = env_now_us(peers->env) - ALIVE_US;
    for (struct list *at = peers->ins.next; at != &peers->ins; at = at->next) {
        const struct peer_in *in = container_of(at, struct peer_in, link);
        const struct peer_identity *other = &in->hello.identity;
        if (other->node == identity->node && other->server_id != identity->server_id && in->heard_us > since_us) {
            (void)fail(msg, ERR_INVALID,
                       "two brokers have node.id %d, at %s:%u and at %s:%u: give one of them another node.id and an "
                       "empty log.dirs",
                       identity->node, other->host, other->port, identity->host, identity->port);
            return true;
        }
    }
    return false;
}

/* False: refused. */
static bool hello_read(struct peer_in *in, const Balsa__Peer__Hello *hello)
{
    struct peer_identity *identity = &in->hello.identity;
    struct errmsg msg;
    int code = BALSA__PEER__REFUSAL__CODE__NODE;
    if (hello->version_min > PEER_VERSION || hello->version < PEER_VERSION) {
        (void)fail(&msg, ERR_UNSUPPORTED,
                   "a broker speaks versions %u to %u of the protocol between brokers, another one version %d: they "
                   "are of releases that cannot be mixed",
                   hello->version_min, hello->version, PEER_VERSION);
        in_refuse(in, BALSA__PEER__REFUSAL__CODE__VERSION, msg.text);
        return false;
    }
    if (peer_identity_decode(hello->identity, identity) != OK) {
        in_refuse(in, BALSA__PEER__REFUSAL__CODE__MALFORMED, "a hello that is malformed");
        return false;
    }
    in->hello.shard = hello->shard;
    in->hello.version = PEER_VERSION;
    if (identity->host[0] == '\0') {
        char host[NET_ADDRESS_TEXT_SIZE];
        uint16_t port;
        peer_conn_address(in->conn, host, &port);
        (void)snprintf(identity->host, sizeof identity->host, "%s", host);
    }
    if (!peers_may_link(in->peers, identity, &code, &msg) || is_node_taken(in->peers, identity, &msg)) {
        in_refuse(in, code, msg.text);
        return false;
    }
    return true;
}

static bool hello_on_frame(void *owner, struct peer_frame *frame, const char **cause)
{
    struct peer_in *in = owner;
    struct peers *peers = in->peers;
    const Balsa__Peer__Envelope *envelope = frame->envelope;
    struct peer_hello hello;
    int token;
    if (envelope->hello == NULL || envelope->n_raft > 0 || envelope->n_calls > 0 || envelope->n_replies > 0 ||
        frame->payload.size > 0) {
        *cause = "no hello";
        return false;
    }
    if (!hello_read(in, envelope->hello)) {
        return true;
    }
    struct peer_conn *conn = in->conn;
    hello = in->hello;
    in_drop(in);
    if (peer_conn_detach(conn, &token)) {
        peers->hand_over(peers->params.owner, hello.shard % peers->params.shard_count, token, &hello);
    }
    return true;
}

static const struct peer_conn_events hello_events = {.frame = hello_on_frame, .lost = in_on_lost};

void peers_accept(struct peers *peers, int token,
                  void (*hand_over)(void *owner, unsigned shard, int token, const struct peer_hello *hello))
{
    struct net *net = peers->env->net;
    struct stream *stream;
    if (peers->is_closing || peers->hello_count >= PEER_HELLO_COUNT_MAX) {
        metrics_add(peers->env->metrics, METRIC_PEER_REFUSED, 1);
        net->refuse(net, token);
        return;
    }
    peers->hand_over = hand_over;
    if (net->adopt(net, token, &stream) != OK) {
        metrics_add(peers->env->metrics, METRIC_PEER_REFUSED, 1);
        return;
    }
    struct peer_in *in = in_open(peers, stream, &hello_events);
    list_push(&peers->hellos, &in->link);
    peers->hello_count++;
}

/* ---- Frames */

static bool in_on_raft(struct peer_in *in, struct peer_frame *frame, const char **cause)
{
    const struct peers_params *params = &in->peers->params;
    for (size_t i = 0; i < frame->envelope->n_raft && in->conn != NULL; i++) {
        struct replica_message message = {.peer = in->hello.identity.server_id};
        uint64_t group;
        if (raft_wire_decode(frame->envelope->raft[i], frame->block, &frame->payload, &group, &message) != OK) {
            *cause = "a Raft message that is malformed";
            return false;
        }
        if (message.kind == REPLICA_APPEND) {
            message.append.sent_ms = frame->envelope->sent_ms;
        }
        params->receive(params->owner, group, &message);
    }
    return true;
}

static void reply_busy(struct peer_in *in, uint64_t id)
{
    metrics_add(in->peers->env->metrics, METRIC_PEER_CALLS_REFUSED, 1);
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    (void)peer_conn_put(in->conn, (struct bytes){element, peer_reply_encode(id, 0, true, element)});
}

static void in_on_call(struct peer_in *in, const Balsa__Peer__Call *call, struct slice payload)
{
    struct peers *peers = in->peers;
    if (in->request_count >= PEER_CALL_COUNT_MAX || payload.bytes.size > PEER_REQUEST_SIZE_MAX - in->request_size) {
        slice_release(&payload);
        if (call->id != 0) {
            reply_busy(in, call->id);
        } else {
            metrics_add(peers->env->metrics, METRIC_PEER_CALLS_REFUSED, 1);
        }
        return;
    }
    struct peer_request *request = mem_alloc(sizeof *request);
    request->peers = peers;
    request->node = in->hello.identity.node;
    request->server_id = in->hello.identity.server_id;
    request->method = call->method;
    request->payload = payload;
    request->is_told = call->id == 0;
    request->id = call->id;
    request->in = in;
    list_push(&in->requests, &request->link);
    in->request_count++;
    in->request_size += payload.bytes.size;
    peers->params.request(peers->params.owner, request);
}

static bool in_on_frame(void *owner, struct peer_frame *frame, const char **cause)
{
    struct peer_in *in = owner;
    const Balsa__Peer__Envelope *envelope = frame->envelope;
    in->heard_us = env_now_us(in->peers->env);
    if (envelope->hello != NULL || envelope->welcome != NULL || envelope->refusal != NULL || envelope->n_replies > 0) {
        *cause = "a frame of one who was connected to";
        return false;
    }
    if (!in_on_raft(in, frame, cause)) {
        return false;
    }
    for (size_t i = 0; i < envelope->n_calls && in->conn != NULL; i++) {
        struct slice payload;
        if (peer_frame_take(frame, envelope->calls[i]->size, &payload) != OK) {
            *cause = "a call without its payload";
            return false;
        }
        in_on_call(in, envelope->calls[i], payload);
    }
    *cause = "payload that belongs to nothing";
    return in->conn == NULL || frame->payload.size == 0;
}

static const struct peer_conn_events in_events = {.frame = in_on_frame, .lost = in_on_lost};

void peers_adopt(struct peers *peers, int token, const struct peer_hello *hello)
{
    struct net *net = peers->env->net;
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    struct stream *stream;
    struct list *next;
    for (struct list *at = peers->ins.next; at != &peers->ins; at = next) {
        struct peer_in *old = container_of(at, struct peer_in, link);
        next = at->next;
        if (old->hello.identity.node == hello->identity.node && old->hello.shard == hello->shard) {
            peer_in_close(old, false);
        }
    }
    if (peers->is_closing || peers->in_count >= PEER_IN_COUNT_MAX) {
        metrics_add(peers->env->metrics, METRIC_PEER_REFUSED, 1);
        net->refuse(net, token);
        return;
    }
    if (net->adopt(net, token, &stream) != OK) {
        metrics_add(peers->env->metrics, METRIC_PEER_REFUSED, 1);
        return;
    }
    struct peer_in *in = in_open(peers, stream, &in_events);
    in->hello = *hello;
    in->has_hello = true;
    list_push(&peers->ins, &in->link);
    peers->in_count++;
    peer_conn_trust(in->conn);
    size_t size = peer_welcome_encode(peers->params.self, element);
    (void)peer_conn_put(in->conn, (struct bytes){element, size});
    struct peer_link *link = peers_link(peers, hello->identity.node);
    if (link != NULL) {
        peer_link_wake(link); /* a broker that can be heard but not answered would take part in no election */
    }
}

/* ---- Replies */

void peer_in_reply(struct peer_request *request, struct slice payload, bool is_bulk)
{
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    struct peer_in *in = request->in;
    if (in == NULL) {
        metrics_add(request->peers->env->metrics, METRIC_PEER_REPLIES_DROPPED, !request->is_told);
    } else {
        list_remove(&request->link);
        in->request_count--;
        in->request_size -= request->payload.bytes.size;
        if (!request->is_told) {
            size_t size = peer_reply_encode(request->id, payload.bytes.size, false, element);
            if (!peer_conn_put_call(in->conn, is_bulk ? PEER_LANE_BULK : PEER_LANE_CALLS, (struct bytes){element, size},
                                    payload)) {
                reply_busy(in, request->id);
            }
        }
    }
    slice_release(&request->payload);
    mem_free(request);
}
