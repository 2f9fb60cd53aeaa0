/* Happy path: nghttp2 reads frames and calls back here; each stream has its call as user data.
 * Bounds: nghttp2 has its own for header blocks (64 KiB), unanswered pings and settings (1,000), and streams that are
 * reset at once; streams and the calls of the server are bounded here.
 * A client that does not begin with HTTP/2 gets one line of HTTP/1 that says so. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "broker/grpc_internal.h"

static const char NO_HTTP2[] = "HTTP/1.1 505 HTTP Version Not Supported\r\nConnection: close\r\n"
                               "Content-Type: text/plain\r\n\r\nThis port speaks gRPC, over HTTP/2 without upgrade.\n";

/* ---- nghttp2's memory ---- */

static void *memory_take(size_t size, void *context)
{
    (void)context;
    return mem_alloc_raw(size > 0 ? size : 1);
}

static void memory_give(void *memory, void *context)
{
    (void)context;
    mem_free(memory);
}

static void *memory_take_zeroed(size_t count, size_t size, void *context)
{
    (void)context;
    return mem_alloc(count * size > 0 ? count * size : 1);
}

static void *memory_resize(void *memory, size_t size, void *context)
{
    (void)context;
    return mem_resize(memory, size > 0 ? size : 1);
}

/* ---- Callbacks ---- */

static int on_begin_headers(nghttp2_session *http, const nghttp2_frame *frame, void *context)
{
    struct grpc_session *session = context;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    if (session->grpc->call_count >= GRPC_CALL_COUNT_MAX) {
        grpc_count_error(session->grpc, GRPC_ROW_NONE, GRPC_UNAVAILABLE); /* as its client takes it */
        return nghttp2_submit_rst_stream(http, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
    }
    struct grpc_call_state *state = grpc_call_open(session, frame->hd.stream_id);
    return nghttp2_session_set_stream_user_data(http, frame->hd.stream_id, state);
}

static int on_header(nghttp2_session *http, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *context)
{
    struct grpc_call_state *state = nghttp2_session_get_stream_user_data(http, frame->hd.stream_id);
    (void)flags;
    (void)context;
    if (state != NULL && frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        grpc_call_header(state, (struct bytes){name, name_size}, (struct bytes){value, value_size});
    }
    return 0;
}

static int on_data(nghttp2_session *http, uint8_t flags, int32_t stream, const uint8_t *data, size_t size,
                   void *context)
{
    struct grpc_call_state *state = nghttp2_session_get_stream_user_data(http, stream);
    (void)flags;
    (void)context;
    if (state != NULL) {
        grpc_call_data(state, (struct bytes){data, size});
    }
    return 0;
}

static int on_frame(nghttp2_session *http, const nghttp2_frame *frame, void *context)
{
    bool is_request = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    struct grpc_call_state *state = is_request ? nghttp2_session_get_stream_user_data(http, frame->hd.stream_id) : NULL;
    (void)context;
    if (state == NULL) {
        return 0;
    }
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        grpc_call_headers_over(state);
    }
    if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        grpc_call_input_over(state);
    }
    return 0;
}

/* A call may be answered before its client has sent everything: then the client need not. */
static int on_frame_sent(nghttp2_session *http, const nghttp2_frame *frame, void *context)
{
    (void)context;
    if (frame->hd.type == NGHTTP2_HEADERS && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
        nghttp2_session_get_stream_remote_close(http, frame->hd.stream_id) == 0) {
        return nghttp2_submit_rst_stream(http, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
}

static int on_stream_closed(nghttp2_session *http, int32_t stream, uint32_t code, void *context)
{
    struct grpc_call_state *state = nghttp2_session_get_stream_user_data(http, stream);
    (void)code;
    (void)context;
    if (state != NULL) {
        grpc_call_stream_closed(state);
    }
    return 0;
}

/* ---- Life ---- */

static nghttp2_session *open_http(struct grpc_session *session)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *http;
    nghttp2_mem memory = {NULL, memory_take, memory_give, memory_take_zeroed, memory_resize};
    int code = nghttp2_session_callbacks_new(&callbacks);
    assert(code == 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_sent);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_closed);
    code = nghttp2_session_server_new3(&http, callbacks, session, NULL, &memory);
    assert(code == 0);
    nghttp2_session_callbacks_del(callbacks);
    return http;
}

struct grpc_session *grpc_session_open(struct grpc *grpc, const struct grpc_session_events *events)
{
    static const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, GRPC_STREAM_COUNT_MAX},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, GRPC_HEADER_SIZE_MAX},
    };
    struct grpc_session *session = mem_alloc(sizeof(*session));
    session->grpc = grpc;
    session->events = *events;
    list_init(&session->calls);
    session->http = open_http(session);
    int code = nghttp2_submit_settings(session->http, NGHTTP2_FLAG_NONE, settings, array_count(settings));
    assert(code == 0);
    return session;
}

void grpc_session_close(struct grpc_session *session)
{
    while (!list_is_empty(&session->calls)) {
        grpc_call_stream_closed(container_of(session->calls.next, struct grpc_call_state, link));
    }
    nghttp2_session_del(session->http);
    mem_free(session);
}

void grpc_wake(struct grpc_session *session)
{
    session->events.wake(session->events.owner);
}

/* ---- Bytes ---- */

enum err grpc_session_feed(struct grpc_session *session, struct bytes bytes)
{
    if (session->is_broken) {
        return ERR_CORRUPT;
    }
    ssize_t taken = nghttp2_session_mem_recv(session->http, bytes.data, bytes.size);
    grpc_wake(session);
    if (taken >= 0) {
        return OK;
    }
    session->is_broken = true;
    session->is_http1 = taken == NGHTTP2_ERR_BAD_CLIENT_MAGIC;
    return ERR_CORRUPT;
}

enum err grpc_session_take(struct grpc_session *session, struct dynbuf *out, size_t wanted)
{
    if (session->is_http1) {
        session->is_http1 = false;
        return dynbuf_put(out, bytes_from_text(NO_HTTP2));
    }
    while (out->size < wanted && !(session->is_broken && nghttp2_session_want_write(session->http) == 0)) {
        const uint8_t *data;
        ssize_t size = nghttp2_session_mem_send(session->http, &data);
        if (size == 0) {
            break;
        }
        enum err err = size < 0 ? ERR_CORRUPT : dynbuf_put(out, (struct bytes){data, (size_t)size});
        if (err != OK) {
            session->is_broken = true;
            return err;
        }
    }
    return OK;
}

void grpc_session_go_away(struct grpc_session *session)
{
    (void)nghttp2_submit_goaway(session->http, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(session->http), NGHTTP2_NO_ERROR, NULL, 0);
    grpc_wake(session);
}

size_t grpc_session_call_count(const struct grpc_session *session)
{
    return session->call_count;
}

bool grpc_session_is_over(struct grpc_session *session)
{
    return session->is_broken ||
           (nghttp2_session_want_read(session->http) == 0 && nghttp2_session_want_write(session->http) == 0);
}
