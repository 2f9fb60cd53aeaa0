/* Happy path: 16 bytes of head, then one block for both parts, read with exact sizes, so that nothing of the next
 * frame is ever in hand when a connection is given to another shard, and payload is never copied.
 *
 * Failure: what breaks the protocol, and what the network says, is told once by `lost`; the owner closes.
 * Close: events stop, the stream is closed; its last callback gives back what was not sent and then the memory, in a
 * task, as the callback may come from inside an event. */
#include "replication/peer_conn_internal.h"

#include "base/assert.h"
#include "base/mem.h"

enum {
    ENDING_US = 1000000
};

static void conn_free(struct peer_conn *conn)
{
    struct peer_conn_owner shared = conn->shared;
    peer_conn_write_deinit(conn);
    shared_release(conn->block);
    mem_free(conn);
    shared.freed(shared.context);
}

static void conn_on_free(struct task *task)
{
    conn_free(container_of(task, struct peer_conn, free_task));
}

/* ---- Reading */

static void conn_lose(struct peer_conn *conn, bool is_reset, const char *cause)
{
    if (conn->is_ending) {
        peer_conn_close(conn);
        return;
    }
    conn->shared.env->net->stream_pause(conn->stream);
    conn->events->lost(conn->owner, is_reset, cause);
}

static void frame_done(struct peer_conn *conn)
{
    struct shared *block = conn->block;
    struct peer_frame frame;
    const char *cause = "a frame's check sum or envelope is wrong";
    conn->block = NULL;
    conn->block_got = 0;
    conn->head_got = 0;
    enum err err = peer_frame_open(&conn->frame, block, conn->shared.arena, &frame);
    bool is_good = err == OK && conn->events->frame(conn->owner, &frame, &cause);
    arena_reset(conn->shared.arena);
    shared_release(block);
    if (!is_good && conn->events != NULL) {
        metrics_add(conn->shared.env->metrics, METRIC_PEER_REFUSED, 1);
        conn_lose(conn, false, cause);
    }
}

static void head_done(struct peer_conn *conn)
{
    enum err err = peer_frame_head_get(conn->head, conn->size_max, &conn->frame);
    if (err != OK) {
        metrics_add(conn->shared.env->metrics, METRIC_PEER_REFUSED, 1);
        conn_lose(conn, false, err == ERR_CORRUPT ? "no frame of a broker" : "a frame over its limit");
        return;
    }
    size_t size = (size_t)conn->frame.envelope_size + conn->frame.payload_size;
    if (size > 0) {
        conn->block = shared_new(size);
    } else {
        frame_done(conn);
    }
}

static void conn_on_alloc(void *owner, size_t size_hint, uint8_t **data, size_t *size)
{
    struct peer_conn *conn = owner;
    (void)size_hint;
    if (conn->block == NULL) {
        *data = conn->head + conn->head_got;
        *size = sizeof conn->head - conn->head_got;
    } else {
        *data = conn->block->data + conn->block_got;
        *size = conn->block->size - conn->block_got;
    }
}

static void conn_on_read(void *owner, enum err err, size_t size)
{
    struct peer_conn *conn = owner;
    if (conn->events == NULL) {
        return;
    }
    if (err != OK) {
        conn_lose(conn, true, err == ERR_CLOSED ? "closed by the other side" : err_text(err));
        return;
    }
    conn->silent_ticks = 0;
    metrics_add(conn->shared.env->metrics, METRIC_PEER_BYTES_RECEIVED, (int64_t)size);
    if (conn->is_ending) {
        conn->head_got = 0; /* whatever it is, it comes too late */
        return;
    }
    if (conn->block == NULL) {
        conn->head_got += size;
        if (conn->head_got == sizeof conn->head) {
            head_done(conn);
        }
    } else {
        conn->block_got += size;
        if (conn->block_got == conn->block->size) {
            frame_done(conn);
        }
    }
}

static const struct stream_handlers handlers = {.on_alloc = conn_on_alloc, .on_read = conn_on_read};

/* ---- Life */

static void conn_on_ending(struct timer *timer)
{
    peer_conn_close(container_of(timer, struct peer_conn, ending));
}

struct peer_conn *peer_conn_open(const struct peer_conn_owner *shared, struct stream *stream,
                                 const struct peer_conn_events *events, void *owner)
{
    struct peer_conn *conn = mem_alloc(sizeof *conn);
    conn->shared = *shared;
    conn->stream = stream;
    conn->events = events;
    conn->owner = owner;
    conn->size_max = PEER_HELLO_SIZE_MAX;
    task_init(&conn->free_task, conn_on_free);
    timer_init(&conn->ending, conn_on_ending);
    peer_conn_write_init(conn);
    shared->env->net->stream_peer(stream, conn->address, sizeof conn->address, &conn->port);
    shared->env->net->stream_start(stream, &handlers, conn);
    return conn;
}

void peer_conn_trust(struct peer_conn *conn)
{
    conn->size_max = PEER_FRAME_SIZE_MAX;
}

static void conn_on_closed(void *owner)
{
    struct peer_conn *conn = owner;
    env_task(conn->shared.env, &conn->free_task);
}

void peer_conn_close(struct peer_conn *conn)
{
    assert(conn->events != NULL);
    conn->events = NULL;
    env_timer_cancel(conn->shared.env, &conn->ending);
    conn->shared.env->net->stream_close(conn->stream, conn_on_closed);
}

void peer_conn_end(struct peer_conn *conn)
{
    if (!peer_conn_has_unsent(conn)) {
        peer_conn_close(conn);
        return;
    }
    conn->is_ending = true;
    env_timer(conn->shared.env, &conn->ending, ENDING_US);
}

bool peer_conn_detach(struct peer_conn *conn, int *token)
{
    assert(!peer_conn_has_unsent(conn));
    assert(conn->head_got == 0 && conn->block == NULL);
    if (conn->shared.env->net->stream_detach(conn->stream, token) != OK) {
        peer_conn_close(conn);
        return false;
    }
    conn->events = NULL;
    env_task(conn->shared.env, &conn->free_task);
    return true;
}

void peer_conn_address(const struct peer_conn *conn, char text[NET_ADDRESS_TEXT_SIZE], uint16_t *port)
{
    for (size_t i = 0; i < NET_ADDRESS_TEXT_SIZE; i++) {
        text[i] = conn->address[i];
    }
    *port = conn->port;
}
