/* Happy path: bytes arrive in the shard's scratch memory; each whole frame in it becomes a request with a block of its
 * own; a frame that is only there in part gets a block, which then is what the socket is read into. What was read is
 * dispatched before the next connection is read, while it is in the processor's cache. Back-pressure:
 * reading pauses while CONNECTION_PIPELINE_MAX requests wait, while too much is unsent, or while the budget has no room
 * for the next piece; it resumes from the same conditions, never by polling. The budget is asked before each read: who
 * was asked once and found room may be one of thousands. Hostile: a size that is negative, zero or over
 * socket.request.max.bytes closes the connection before memory is taken; a block grows with the bytes that arrive, not
 * with those that are promised. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "broker/conn_internal.h"
#include <string.h>

#define FRAME_FIRST_SIZE KIB(64) /* of a block for a frame in parts */
#define FRAME_GROWTH_MAX MIB(1)  /* a block becomes four times as large, but grows at most by this */
#define UNSENT_SIZE_MAX MIB(1)   /* answers not yet taken by the client; more requests wait behind them */

static bool pipeline_is_full(const struct conn *conn)
{
    return conn->request_count >= CONNECTION_PIPELINE_MAX || conn->unsent_size > UNSENT_SIZE_MAX;
}

static void pause_begins(struct conn *conn)
{
    conn->is_paused = true;
    conn->paused_us = env_now_us(conn->conns->env);
    metrics_add(conn->conns->env->metrics, METRIC_READ_PAUSES, 1);
}

static void pause_reading(struct conn *conn)
{
    if (!conn->is_paused) {
        pause_begins(conn);
        conn->conns->env->net->stream_pause(conn->stream);
    }
}

/* Whether the next read may happen, as far as memory goes; waits for the budget otherwise. */
static bool has_memory(struct conn *conn)
{
    bool is_large = conn->frame != NULL && conn->frame_size > CONN_SCRATCH_SIZE;
    if (budget_has_room(&conn->conns->budget, is_large ? CONN_LARGE_SHARE : CONN_FRAME_SHARE)) {
        if (!conn->is_dispatch_waiting) {
            conn->waiting_since_us = 0;
        }
        return true;
    }
    conn_wait(conn);
    return false;
}

void conn_read_resume(struct conn *conn)
{
    if (conn->is_closing || pipeline_is_full(conn) || !has_memory(conn)) {
        return;
    }
    if (conn->is_paused) {
        conn->is_paused = false;
        /* The time in which we did not read is not the client's: neither silent nor slow for it (conn_dawdles). */
        conn->frame_started_us += env_now_us(conn->conns->env) - conn->paused_us;
        conn_touch(conn);
        conn->conns->env->net->stream_resume(conn->stream);
    }
}

void conn_drop_frame(struct conn *conn)
{
    if (conn->frame != NULL) {
        budget_give(&conn->conns->budget, conn->frame->size);
        shared_release(conn->frame);
        conn->frame = NULL;
    }
}

/* ---- Frames ---- */

static bool size_is_valid(struct conn *conn, int32_t size)
{
    return size > 0 && size <= conn->conns->frame_size_max;
}

/* Takes over the charge and the block. False: the connection is being closed. */
static bool frame_complete(struct conn *conn, struct shared *frame, size_t size)
{
    struct request *request = request_new(conn, frame, size);
    list_push(&conn->requests, &request->link);
    if (conn->undispatched == &conn->requests) {
        conn->undispatched = &request->link;
    }
    conn->request_count++;
    if (!request_read_header(request)) {
        conn_close(conn, "malformed request header");
        return false;
    }
    conn_schedule(conn);
    return true;
}

static void frame_begin(struct conn *conn, size_t size)
{
    size_t first = size < FRAME_FIRST_SIZE ? size : FRAME_FIRST_SIZE;
    conn->frame = shared_new(first);
    conn->frame_size = size;
    conn->frame_got = 0;
    conn->frame_started_us = conn->active_us;
    budget_take(&conn->conns->budget, first);
}

static void frame_grow(struct conn *conn)
{
    size_t old = conn->frame->size;
    size_t step = 3 * old < FRAME_GROWTH_MAX ? 3 * old : FRAME_GROWTH_MAX;
    size_t size = step < conn->frame_size - old ? old + step : conn->frame_size;
    conn->frame = shared_resize(conn->frame, size);
    budget_take(&conn->conns->budget, size - old);
}

static bool frame_finish_if_complete(struct conn *conn)
{
    if (conn->frame_got < conn->frame_size) {
        return true;
    }
    struct shared *frame = conn->frame;
    conn->frame = NULL;
    return frame_complete(conn, frame, conn->frame_size);
}

/* Reads the size field, which may come in pieces. False: not complete yet, or the connection is being closed. */
static bool take_head(struct conn *conn, struct bytes *bytes, int32_t *size)
{
    while (conn->head_size < sizeof(conn->head) && bytes->size > 0) {
        conn->head[conn->head_size++] = *bytes->data++;
        bytes->size--;
    }
    if (conn->head_size < sizeof(conn->head)) {
        return false;
    }
    conn->head_size = 0;
    *size = (int32_t)be32_get(conn->head);
    if (!size_is_valid(conn, *size)) {
        conn_close(conn, "frame size out of bounds");
        return false;
    }
    return true;
}

/* All bytes of one read from the scratch memory. */
static void take_bytes(struct conn *conn, struct bytes bytes)
{
    while (bytes.size > 0 && !conn->is_closing) {
        if (conn->frame == NULL) {
            int32_t size;
            if (!take_head(conn, &bytes, &size)) {
                return;
            }
            frame_begin(conn, (size_t)size);
        }
        if (conn->frame_got == conn->frame->size && conn->frame_got < conn->frame_size) {
            frame_grow(conn);
        }
        size_t room = conn->frame->size - conn->frame_got;
        size_t part = bytes.size < room ? bytes.size : room;
        memcpy(conn->frame->data + conn->frame_got, bytes.data, part);
        conn->frame_got += part;
        bytes.data += part;
        bytes.size -= part;
        if (!frame_finish_if_complete(conn)) {
            return;
        }
    }
}

static void conn_on_alloc(void *owner, size_t size_hint, uint8_t **data, size_t *size)
{
    struct conn *conn = owner;
    (void)size_hint;
    if (!has_memory(conn)) {
        pause_begins(conn);
        *size = 0;
        return;
    }
    conn->is_reading_frame = conn->frame != NULL && conn->frame_size - conn->frame_got > CONN_SCRATCH_SIZE / 2;
    if (!conn->is_reading_frame) {
        *data = conn->conns->scratch;
        *size = CONN_SCRATCH_SIZE;
        return;
    }
    if (conn->frame_got == conn->frame->size) {
        frame_grow(conn);
    }
    *data = conn->frame->data + conn->frame_got;
    *size = conn->frame->size - conn->frame_got;
}

static void conn_on_read(void *owner, enum err err, size_t size)
{
    struct conn *conn = owner;
    if (conn->is_closing) {
        return;
    }
    if (err != OK) {
        conn_end(conn, err);
        return;
    }
    conn_touch(conn);
    if (conn->is_reading_frame) {
        conn->frame_got += size;
        (void)frame_finish_if_complete(conn);
    } else {
        take_bytes(conn, (struct bytes){conn->conns->scratch, size});
    }
    conn_dispatch(conn);
    if (!conn->is_closing && (pipeline_is_full(conn) || !has_memory(conn))) {
        pause_reading(conn);
    }
}

const struct stream_handlers CONN_STREAM_HANDLERS = {conn_on_alloc, conn_on_read};

/* ---- Dispatch ---- */

/* Produce requests of a connection overlap; anything else is answered before the next one starts, as in Kafka, so that
 * one connection holds at most one large answer. Work takes memory too: it is asked for before, as for reading. Frames
 * alone never fill the budget, so what a request waits for here is given back by work that ends or by a client that
 * reads, or dawdles and is closed. */
static bool may_dispatch(struct conn *conn, const struct request *request)
{
    bool is_turn = request_is_serial(request) ? conn->in_work == 0 && conn->unsent_size <= UNSENT_SIZE_MAX
                                              : conn->in_work_serial == 0;
    conn->is_dispatch_waiting = is_turn && !conn->is_closing && !budget_has_room(&conn->conns->budget, 100);
    if (conn->is_dispatch_waiting) {
        conn_wait(conn);
    }
    return is_turn && !conn->is_dispatch_waiting;
}

void conn_dispatch(struct conn *conn)
{
    while ((!conn->is_closing || conn->is_draining) && conn->undispatched != &conn->requests) {
        struct request *request = container_of(conn->undispatched, struct request, link);
        if (conn->is_draining && !request_outlives_peer(request)) {
            conn->undispatched = request->link.next;
            continue;
        }
        if (!may_dispatch(conn, request)) {
            return;
        }
        conn->undispatched = request->link.next;
        request->is_dispatched = true;
        conn->in_work++;
        conn->in_work_serial += request_is_serial(request);
        api_handler(request->api_key)(request); /* may answer, and so free, the request and those before it */
    }
}
