/* Happy path: a token becomes a stream and a session; bytes are read through memory that the connections share; what a
 * session has to send goes out at the end of the turn, one write at a time, at most GRPC_WRITE_SIZE: what is behind it
 * waits in its calls, where it is bounded.
 * Close of one: what the session still has to say is written, the stream is closed, its callback frees all.
 * Close of all: calls that are in work end by themselves; streams are ended; then, or when the time is up, connections
 * are closed; a call whose service is still at work outlives its connection. */

#include "broker/grpc.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/grpc_internal.h"
#include <stdio.h>

#define SWEEP_US (1000 * 1000)
#define OUT_SIZE_MAX (GRPC_WRITE_SIZE + KIB(64))

struct grpc_conn {
    struct grpc *grpc;
    struct list link;
    struct stream *stream;
    struct grpc_session *session;
    struct task flush;
    struct dynbuf out;
    struct iovec iov;
    struct stream_write write;
    int64_t active_us; /* the client has sent or taken something */
    bool is_writing;
    bool is_ending; /* to be closed when all is written */
    bool is_closing;
    uint8_t in[KIB(16)];
};

static void on_flush(struct task *task);
static void on_sweep(struct timer *timer);
static void on_closed_task(struct task *task);

struct grpc *grpc_open(struct env *env, const struct grpc_service *services, size_t service_count)
{
    struct grpc *grpc = mem_alloc(sizeof(*grpc));
    grpc->env = env;
    grpc->services = services;
    grpc->service_count = service_count;
    for (size_t i = 0, rows = GRPC_ROW_FIRST; i < service_count; i++) {
        rows += services[i].method_count;
        assert(rows <= METRIC_GRPC_ERRORS_ROWS_MAX);
    }
    list_init(&grpc->conns);
    timer_init(&grpc->sweep, on_sweep);
    task_init(&grpc->closed, on_closed_task);
    env_timer(env, &grpc->sweep, SWEEP_US);
    return grpc;
}

size_t grpc_call_count(const struct grpc *grpc)
{
    return grpc->call_count;
}

/* ---- Errors, counted ---- */

static_assert((int)GRPC_UNAUTHENTICATED < (int)METRIC_GRPC_ERRORS_COLUMNS_MAX, "a column for each code");

void grpc_count_error(const struct grpc *grpc, size_t row, enum grpc_status status)
{
    if (status != GRPC_OK) {
        metrics_add_pair(grpc->env->metrics, METRIC_GRPC_ERRORS, row, (size_t)status);
    }
}

void grpc_error_labels(const struct grpc_service *services, size_t service_count, size_t row, size_t column, char *text,
                       size_t size)
{
    const char *code = grpc_status_name((enum grpc_status)column);
    size_t left = row - GRPC_ROW_FIRST;
    for (size_t i = 0; row >= GRPC_ROW_FIRST && i < service_count; left -= services[i].method_count, i++) {
        if (left < services[i].method_count) {
            (void)snprintf(text, size, "method=\"%s/%s\",code=\"%s\"", services[i].name, services[i].methods[left].name,
                           code);
            return;
        }
    }
    (void)snprintf(text, size, "method=\"none\",code=\"%s\"", code);
}

/* ---- One connection ---- */

static void on_stream_closed(void *owner)
{
    struct grpc_conn *conn = owner;
    struct grpc *grpc = conn->grpc;
    grpc_session_close(conn->session);
    grpc->env->tasks->cancel(grpc->env->tasks, &conn->flush);
    list_remove(&conn->link);
    dynbuf_deinit(&conn->out);
    mem_free(conn);
    grpc->conn_count--;
    if (grpc->is_closing) {
        env_task(grpc->env, &grpc->closed);
    }
}

static void conn_close(struct grpc_conn *conn)
{
    if (!conn->is_closing) {
        conn->is_closing = true;
        conn->grpc->env->net->stream_close(conn->stream, on_stream_closed);
    }
}

static void conn_wake(void *owner)
{
    struct grpc_conn *conn = owner;
    env_task(conn->grpc->env, &conn->flush);
}

static void on_written(struct stream_write *write, enum err err)
{
    struct grpc_conn *conn = container_of(write, struct grpc_conn, write);
    conn->is_writing = false;
    if (err != OK) {
        conn_close(conn);
    } else {
        conn->active_us = env_now_us(conn->grpc->env);
        conn_wake(conn);
    }
}

static void on_flush(struct task *task)
{
    struct grpc_conn *conn = container_of(task, struct grpc_conn, flush);
    if (conn->is_writing || conn->is_closing) {
        return;
    }
    dynbuf_reset(&conn->out);
    if (grpc_session_take(conn->session, &conn->out, GRPC_WRITE_SIZE) != OK) {
        conn->is_ending = true;
    }
    if (conn->out.size > 0) {
        conn->is_writing = true;
        conn->iov = (struct iovec){conn->out.data, conn->out.size};
        conn->write = (struct stream_write){.iov = &conn->iov, .count = 1, .cb = on_written};
        conn->grpc->env->net->stream_write(conn->stream, &conn->write);
        return;
    }
    dynbuf_deinit(&conn->out);
    bool is_done = conn->grpc->is_closing && grpc_session_call_count(conn->session) == 0;
    if (conn->is_ending || is_done || grpc_session_is_over(conn->session)) {
        conn_close(conn);
    }
}

static void on_alloc(void *owner, size_t size_hint, uint8_t **data, size_t *size)
{
    struct grpc_conn *conn = owner;
    (void)size_hint;
    *data = conn->in;
    *size = sizeof(conn->in);
}

static void on_read(void *owner, enum err err, size_t size)
{
    struct grpc_conn *conn = owner;
    if (conn->is_closing) {
        return;
    }
    conn->active_us = env_now_us(conn->grpc->env);
    if (err != OK) {
        conn_close(conn);
    } else if (!conn->is_ending && grpc_session_feed(conn->session, (struct bytes){conn->in, size}) != OK) {
        conn->is_ending = true;
        conn->grpc->env->net->stream_pause(conn->stream);
        metrics_add(conn->grpc->env->metrics, METRIC_CONNECTIONS_KILLED, 1);
        trace(DEBUG, NET, "a client of the admin service does not speak HTTP/2");
        conn_wake(conn);
    }
}

static const struct stream_handlers handlers = {on_alloc, on_read};

void grpc_accept(struct grpc *grpc, int token)
{
    struct net *net = grpc->env->net;
    struct stream *stream;
    if (grpc->is_closing || grpc->conn_count >= GRPC_CONN_COUNT_MAX) {
        net->refuse(net, token);
        metrics_add(grpc->env->metrics, METRIC_CONNECTIONS_REFUSED, 1);
        return;
    }
    if (net->adopt(net, token, &stream) != OK) {
        metrics_add(grpc->env->metrics, METRIC_CONNECTIONS_REFUSED, 1);
        return;
    }
    struct grpc_conn *conn = mem_alloc(sizeof(*conn));
    const struct grpc_session_events events = {conn, conn_wake};
    conn->grpc = grpc;
    conn->stream = stream;
    conn->active_us = env_now_us(grpc->env);
    task_init(&conn->flush, on_flush);
    dynbuf_init(&conn->out, OUT_SIZE_MAX);
    list_push(&grpc->conns, &conn->link);
    grpc->conn_count++;
    conn->session = grpc_session_open(grpc, &events);
    net->stream_start(stream, &handlers, conn); /* settings wait for what the client says first: it may be HTTP/1 */
}

/* ---- All of them ---- */

static void on_sweep(struct timer *timer)
{
    struct grpc *grpc = container_of(timer, struct grpc, sweep);
    int64_t now_us = env_now_us(grpc->env);
    for (struct list *link = grpc->conns.next; link != &grpc->conns; link = link->next) {
        struct grpc_conn *conn = container_of(link, struct grpc_conn, link);
        bool is_stalled = conn->is_writing && now_us - conn->active_us > GRPC_STALL_MS * 1000LL;
        bool is_late = grpc->is_closing && now_us >= grpc->close_us;
        if (is_stalled || is_late) {
            metrics_add(grpc->env->metrics, METRIC_CONNECTIONS_KILLED, is_stalled);
            conn_close(conn);
        } else if (!conn->is_ending && grpc_session_call_count(conn->session) == 0 &&
                   now_us - conn->active_us > GRPC_IDLE_MS * 1000LL) {
            conn->is_ending = true;
            metrics_add(grpc->env->metrics, METRIC_CONNECTIONS_IDLE, 1);
            grpc_session_go_away(conn->session);
        }
    }
    int64_t left_us = grpc->is_closing ? grpc->close_us - now_us : SWEEP_US;
    env_timer(grpc->env, &grpc->sweep, left_us > 0 && left_us < SWEEP_US ? left_us : SWEEP_US);
}

static void on_closed_task(struct task *task)
{
    struct grpc *grpc = container_of(task, struct grpc, closed);
    if (grpc->conn_count > 0 || grpc->call_count > 0) {
        return;
    }
    void *owner = grpc->close_owner;
    void (*cb)(void *owner) = grpc->close_cb;
    assert(grpc->memory == 0);
    env_timer_cancel(grpc->env, &grpc->sweep);
    mem_free(grpc);
    cb(owner);
}

void grpc_close(struct grpc *grpc, int64_t grace_ms, void *owner, void (*cb)(void *owner))
{
    assert(!grpc->is_closing);
    grpc->is_closing = true;
    grpc->close_us = env_now_us(grpc->env) + grace_ms * 1000;
    grpc->close_owner = owner;
    grpc->close_cb = cb;
    for (struct list *link = grpc->conns.next; link != &grpc->conns; link = link->next) {
        struct grpc_conn *conn = container_of(link, struct grpc_conn, link);
        struct list *calls = &conn->session->calls;
        for (struct list *call = calls->next; call != calls; call = call->next) {
            grpc_call_stop(container_of(call, struct grpc_call_state, link));
        }
        grpc_session_go_away(conn->session);
        conn_wake(conn);
    }
    env_timer(grpc->env, &grpc->sweep, grace_ms * 1000);
    env_task(grpc->env, &grpc->closed);
}
