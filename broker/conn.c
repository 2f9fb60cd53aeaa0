/* Happy path: a token becomes a stream and a connection; reading and writing are in conn_read.c and conn_write.c; the
 * end of the peer closes it.
 * Close of one: the stream is closed, its callback comes; requests in work are answered into the void; the last of both
 * frees the memory. When it was the peer who left, requests whose effect it wants (request_outlives_peer) are carried
 * out first: a client that sends with acks=0 may leave as soon as its bytes are in the socket.
 * Sweep, once a second: connections idle for connections.max.idle.ms are closed. If somebody has been waiting for
 * memory for STALL_US, clients are sitting on it: of those that have held some for as long without a byte in or out, or
 * with a frame that trickles, the largest are closed until half of the budget is free again. */

#include "broker/conn.h"
#include "base/assert.h"
#include "base/blocks.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/conn_internal.h"

#define SWEEP_US (1000 * 1000)
#define STALL_US (2 * 1000 * 1000)
#define FRAME_RATE_MIN KIB(64) /* a second: slower clients hold memory for minutes */

static void conns_on_sweep(struct timer *timer);
static void conns_on_closed_task(struct task *task);
static void conns_on_grace(struct timer *timer);

struct conns *conns_open(struct shard *shard)
{
    struct conns *conns = mem_alloc(sizeof(*conns));
    conns->shard = shard;
    conns->env = shard->env;
    budget_init(&conns->budget, shard->env, (size_t)shard->options->request_memory_max / shard_count(shard));
    conns->frame_size_max = shard->options->request_size_max;
    if (conns->frame_size_max > (int64_t)(conns->budget.size_max / 100 * CONN_LARGE_SHARE)) {
        conns->frame_size_max = (int64_t)(conns->budget.size_max / 100 * CONN_LARGE_SHARE);
    }
    conns->count_max = (size_t)shard->options->connections_max / shard_count(shard) + 1;
    list_init(&conns->list);
    list_init(&conns->closing);
    conns->scratch = mem_alloc_raw(CONN_SCRATCH_SIZE);
    pool_init(&conns->request_pool, sizeof(struct request), REQUEST_SPARE_SIZE_MAX);
    timer_init(&conns->sweep, conns_on_sweep);
    timer_init(&conns->grace, conns_on_grace);
    task_init(&conns->closed, conns_on_closed_task);
    env_timer(conns->env, &conns->sweep, SWEEP_US);
    return conns;
}

size_t conns_count(const struct conns *conns)
{
    return conns->count;
}

/* ---- One connection ---- */

static void conn_on_task(struct task *task)
{
    struct conn *conn = container_of(task, struct conn, task);
    conn_dispatch(conn);
    if (!conn->is_closing) {
        conn_flush(conn);
        conn_read_resume(conn);
    }
    conn_maybe_free(conn);
}

void conn_schedule(struct conn *conn)
{
    env_task(conn->conns->env, &conn->task);
}

void conn_touch(struct conn *conn)
{
    conn->active_us = env_now_us(conn->conns->env);
    list_remove(&conn->link);
    list_push(&conn->conns->list, &conn->link);
}

void conn_wait(struct conn *conn)
{
    if (conn->waiting_since_us == 0) {
        conn->waiting_since_us = env_now_us(conn->conns->env);
    }
    budget_wait(&conn->conns->budget, &conn->waiter);
}

static void conn_on_waiter(struct budget_waiter *waiter)
{
    conn_schedule(container_of(waiter, struct conn, waiter));
}

void conns_accept(struct conns *conns, int accepted, const struct option_listener *listener)
{
    struct net *net = conns->env->net;
    struct stream *stream;
    if (conns->is_closing || conns->count >= conns->count_max) {
        net->refuse(net, accepted);
        metrics_add(conns->env->metrics, METRIC_CONNECTIONS_REFUSED, 1);
        return;
    }
    if (net->adopt(net, accepted, &stream) != OK) {
        metrics_add(conns->env->metrics, METRIC_CONNECTIONS_REFUSED, 1);
        return;
    }
    struct conn *conn = mem_alloc(sizeof(*conn));
    conn->conns = conns;
    conn->stream = stream;
    conn->listener = listener;
    conn->active_us = env_now_us(conns->env);
    conn->waiter.cb = conn_on_waiter;
    list_init(&conn->waiter.link);
    list_init(&conn->requests);
    conn->undispatched = &conn->requests;
    list_init(&conn->writing);
    list_init(&conn->link);
    list_push(&conns->list, &conn->link);
    task_init(&conn->task, conn_on_task);
    conns->count++;
    metrics_add(conns->env->metrics, METRIC_CONNECTIONS, 1);
    net->stream_start(stream, &CONN_STREAM_HANDLERS, conn);
}

static void closed_if_empty(struct conns *conns)
{
    if (conns->is_closing && conns->count == 0 && conns->held == 0) {
        env_task(conns->env, &conns->closed);
    }
}

void conns_hold(struct conns *conns)
{
    conns->held++;
}

void conns_release(struct conns *conns)
{
    assert(conns->held > 0);
    conns->held--;
    closed_if_empty(conns);
}

static bool is_effect_waiting(const struct conn *conn)
{
    for (const struct list *link = conn->undispatched; link != &conn->requests; link = link->next) {
        if (request_outlives_peer(container_of(link, struct request, link))) {
            return true;
        }
    }
    return false;
}

void conn_maybe_free(struct conn *conn)
{
    struct conns *conns = conn->conns;
    if (!conn->is_closed || conn->in_work > 0 || conn->is_writing || (conn->is_draining && is_effect_waiting(conn))) {
        return;
    }
    struct list *link;
    while ((link = list_pop(&conn->requests)) != NULL) {
        request_free(container_of(link, struct request, link), env_now_us(conns->env));
    }
    conns->env->tasks->cancel(conns->env->tasks, &conn->task);
    list_remove(&conn->link);
    mem_free(conn->iov);
    mem_free(conn);
    conns->count--;
    metrics_add(conns->env->metrics, METRIC_CONNECTIONS, -1);
    closed_if_empty(conns);
}

/* Those whose answers may be long in coming need not wait for them. */
static void tell_requests(struct conn *conn)
{
    struct list *link = conn->requests.next;
    while (link != &conn->requests) {
        struct request *request = container_of(link, struct request, link);
        link = link->next;
        if (request->is_dispatched && !request->is_answered && request->on_gone != NULL) {
            request->on_gone(request);
        }
    }
}

static void conn_on_stream_closed(void *owner)
{
    struct conn *conn = owner;
    conn->is_closed = true;
    tell_requests(conn);
    conn_schedule(conn); /* frees it, unless requests are in work */
}

/* reason NULL: in good order. */
static void close_as(struct conn *conn, enum metric metric, const char *reason)
{
    if (conn->is_closing) {
        return;
    }
    conn->is_closing = true;
    if (reason != NULL) {
        trace(DEBUG, KAFKA, "connection closed", KV("reason", reason));
        metrics_add(conn->conns->env->metrics, metric, 1);
    }
    budget_waiter_cancel(&conn->waiter);
    conn_drop_frame(conn);
    list_remove(&conn->link);
    list_push(&conn->conns->closing, &conn->link);
    conn->conns->env->net->stream_close(conn->stream, conn_on_stream_closed);
}

void conn_close(struct conn *conn, const char *reason)
{
    close_as(conn, METRIC_CONNECTIONS_KILLED, reason);
}

void conn_end(struct conn *conn, enum err err)
{
    if (!conn->is_closing) {
        conn->is_draining = true;
        close_as(conn, METRIC_CONNECTIONS_LOST, err == ERR_CLOSED ? NULL : err_text(err));
    }
}

/* ---- Sweep ---- */

static void close_idle(struct conns *conns)
{
    int64_t limit = env_now_us(conns->env) - conns->shard->options->connections_max_idle_ms * 1000;
    struct list *link = conns->list.next;
    while (link != &conns->list) {
        struct conn *conn = container_of(link, struct conn, link);
        link = link->next;
        if (conn->active_us > limit) {
            return;
        }
        if (conn->request_count == 0) {
            close_as(conn, METRIC_CONNECTIONS_IDLE, "idle");
        }
    }
}

/* Bytes that a client holds without our doing: a frame in part, answers not taken. */
static size_t conn_held(const struct conn *conn)
{
    return (conn->frame != NULL ? conn->frame->size : 0) + conn->unsent_size;
}

/* Not a byte since `limit_us`, or a frame that comes so slowly that it makes no difference. Where we do not read, and
 * there is nothing for the client to take, that is no fault of its own. */
static bool conn_dawdles(const struct conn *conn, int64_t limit_us)
{
    if (conn->is_paused && conn->unsent_size == 0) {
        return false;
    }
    int64_t frame_us = env_now_us(conn->conns->env) - conn->frame_started_us;
    bool is_slow = conn->frame != NULL && conn->frame_started_us <= limit_us &&
                   (int64_t)conn->frame_got < frame_us * (int64_t)FRAME_RATE_MIN / 1000000;
    return is_slow || conn->active_us <= limit_us;
}

/* Of those that dawdle. But when frames in part and untaken answers are most of what is held, no work will give much
 * back: then some of those that nobody reads have to go as well, so that the others' frames get through. */
static struct conn *largest_holder(struct conns *conns, int64_t limit_us)
{
    struct conn *dawdler = NULL;
    struct conn *largest = NULL;
    size_t held = 0;
    for (struct list *link = conns->list.next; link != &conns->list; link = link->next) {
        struct conn *conn = container_of(link, struct conn, link);
        size_t size = conn_held(conn);
        held += size;
        if (size > 0 && conn_dawdles(conn, limit_us) && (dawdler == NULL || size > conn_held(dawdler))) {
            dawdler = conn;
        }
        if (size > 0 && conn->active_us <= limit_us && (largest == NULL || size > conn_held(largest))) {
            largest = conn;
        }
    }
    return dawdler == NULL && held > conns->budget.size_max / 2 ? largest : dawdler;
}

static bool somebody_waits(const struct conns *conns, int64_t limit_us)
{
    const struct list *head = &conns->budget.waiters;
    for (const struct list *link = head->next; link != head; link = link->next) {
        const struct conn *conn = container_of(link, struct conn, waiter.link);
        if (conn->waiting_since_us <= limit_us) {
            return true;
        }
    }
    return false;
}

static void close_holders(struct conns *conns)
{
    int64_t limit_us = env_now_us(conns->env) - STALL_US;
    struct conn *holder;
    if (!somebody_waits(conns, limit_us)) {
        return;
    }
    size_t freed = 0;
    while (freed + conns->budget.size_max / 2 < budget_used(&conns->budget) &&
           (holder = largest_holder(conns, limit_us)) != NULL) {
        freed += holder->unsent_size; /* comes back when the write is cancelled; a frame in part at once */
        conn_close(holder, "holds memory that others wait for");
    }
}

static void conns_on_sweep(struct timer *timer)
{
    struct conns *conns = container_of(timer, struct conns, sweep);
    close_idle(conns);
    close_holders(conns);
    shared_cache_trim();
    blocks_trim();
    pool_trim(&conns->request_pool);
    budget_wake(&conns->budget); /* for what other shards have returned */
    env_timer(conns->env, &conns->sweep, SWEEP_US);
}

/* ---- Closing all ---- */

static void conns_on_closed_task(struct task *task)
{
    struct conns *conns = container_of(task, struct conns, closed);
    conns_close_cb cb = conns->close_cb;
    void *owner = conns->close_owner;
    env_timer_cancel(conns->env, &conns->sweep);
    env_timer_cancel(conns->env, &conns->grace);
    budget_deinit(&conns->budget);
    pool_deinit(&conns->request_pool);
    mem_free(conns->scratch);
    mem_free(conns);
    cb(owner);
}

static void close_if(struct conns *conns, bool only_without_work)
{
    struct list *link = conns->list.next;
    while (link != &conns->list) {
        struct conn *conn = container_of(link, struct conn, link);
        link = link->next;
        if (!only_without_work || (conn->in_work == 0 && conn->unsent_size == 0)) {
            conn_close(conn, NULL);
        }
    }
}

static void conns_on_grace(struct timer *timer)
{
    close_if(container_of(timer, struct conns, grace), false);
}

void conns_close(struct conns *conns, int64_t grace_ms, void *owner, conns_close_cb cb)
{
    assert(!conns->is_closing);
    conns->is_closing = true;
    conns->close_owner = owner;
    conns->close_cb = cb;
    close_if(conns, true);
    env_timer(conns->env, &conns->grace, grace_ms * 1000);
    closed_if_empty(conns);
}
