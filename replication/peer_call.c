/* Happy path: a call gets a number, goes out with its payload, and waits in its link's map; the reply with that number
 * ends it. Every end is told by the call's own task, so never inside a call of ours and never while a frame is taken
 * apart.
 * Failure: no link, a link that is lost, too many, too late: the call ends with an error; a reply that comes after
 * that finds nobody and is thrown away. */
#include "replication/peers_internal.h"

#include "base/assert.h"
#include "base/mem.h"
#include "proto/peer.pb-c.h"

static void call_on_told(struct task *task)
{
    struct peer_call *call = container_of(task, struct peer_call, task);
    struct peers *peers = call->peers;
    struct slice reply = call->reply;
    call->cb(call);
    slice_release(&reply);
    peers_given_back(peers);
}

/* It is in no map. */
static void call_end(struct peer_call *call, enum err err)
{
    struct env *env = call->peers->env;
    call->err = err;
    env_timer_cancel(env, &call->timer);
    if (err != OK) {
        metrics_add(env->metrics, METRIC_PEER_CALL_ERRORS, 1);
    }
    env_task(env, &call->task);
}

static void call_forget(struct peer_link *link, struct peer_call *call)
{
    void *removed = map_remove(&link->calls, call->id);
    assert(removed == call);
    list_remove(&call->link);
}

static void call_on_timeout(struct timer *timer)
{
    struct peer_call *call = container_of(timer, struct peer_call, timer);
    struct peer_link *link = peers_link(call->peers, call->node);
    assert(link != NULL); /* its calls end with it */
    call_forget(link, call);
    call_end(call, ERR_TIMED_OUT);
}

void peer_calls_end(struct peer_link *link, enum err err)
{
    while (!list_is_empty(&link->waiting)) {
        struct peer_call *call = container_of(link->waiting.next, struct peer_call, link);
        call_forget(link, call);
        call_end(call, err);
    }
}

static enum err call_send(struct peer_link *link, struct peer_call *call)
{
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    size_t size = call->payload.bytes.size;
    if (link == NULL || link->state != PEER_LINK_UP) {
        return ERR_CLOSED;
    }
    if (size > PEER_CALL_SIZE_MAX) {
        return ERR_TOO_LARGE;
    }
    if (link->calls.count >= PEER_CALL_COUNT_MAX) {
        return ERR_BUSY;
    }
    struct bytes bytes = {element, peer_call_encode(call->id, call->method, size, element)};
    return peer_conn_put_call(link->conn, PEER_LANE_CALLS, bytes, call->payload) ? OK : ERR_BUSY;
}

void peers_call(struct peers *peers, struct peer_call *call)
{
    struct peer_link *link = peers_link(peers, call->node);
    assert(call->cb != NULL);
    call->peers = peers;
    call->id = ++peers->last_call_id;
    call->reply = (struct slice){NULL, BYTES_NONE};
    timer_init(&call->timer, call_on_timeout);
    task_init(&call->task, call_on_told);
    list_init(&call->link);
    peers_opened(peers);
    metrics_add(peers->env->metrics, METRIC_PEER_CALLS, 1);
    enum err err = call_send(link, call);
    if (err != OK) {
        call_end(call, err);
        return;
    }
    map_put(&link->calls, call->id, call);
    list_push(&link->waiting, &call->link);
    env_timer(peers->env, &call->timer, call->timeout_ms * 1000);
}

void peers_tell(struct peers *peers, int32_t node, unsigned method, struct slice payload)
{
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    struct peer_link *link = peers_link(peers, node);
    assert(payload.bytes.size <= PEER_CALL_SIZE_MAX);
    bool is_put = false;
    if (link != NULL && link->state == PEER_LINK_UP) {
        struct bytes bytes = {element, peer_call_encode(0, method, payload.bytes.size, element)};
        is_put = peer_conn_put_call(link->conn, PEER_LANE_CALLS, bytes, payload);
    }
    metrics_add(peers->env->metrics, METRIC_PEER_NEWS_DROPPED, !is_put);
}

bool peer_calls_on_frame(struct peer_link *link, struct peer_frame *frame, const char **cause)
{
    for (size_t i = 0; i < frame->envelope->n_replies; i++) {
        const Balsa__Peer__Reply *reply = frame->envelope->replies[i];
        struct slice payload;
        if (peer_frame_take(frame, reply->size, &payload) != OK) {
            *cause = "a reply without its payload";
            return false;
        }
        struct peer_call *call = map_get(&link->calls, reply->id);
        if (call == NULL) {
            metrics_add(link->peers->env->metrics, METRIC_PEER_REPLIES_DROPPED, 1);
            slice_release(&payload);
            continue;
        }
        call_forget(link, call);
        call->reply = payload;
        call_end(call, reply->is_busy ? ERR_BUSY : OK);
    }
    return true;
}
