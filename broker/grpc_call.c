/* Happy path: headers -> message bytes are gathered -> the client's end of the stream -> the request is unpacked, the
 * method begins -> answers are packed behind each other -> nghttp2 takes them as the client's windows allow -> the
 * status goes as trailers.
 *
 *            headers          whole request         grpc_finish()         stream closed
 *   (opened) ───────> waiting ─────────────> in work ────────────> ended ──────────────> (freed)
 *                        │                      │                    ^
 *                        └── refused ───────────┼────────────────────┤
 *                                               └── canceled ── grpc_finish(), into the void
 *
 * A call that was never begun has nobody to finish it: it is ended by what refused it. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "broker/grpc_internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define IN_SIZE_MAX (GRPC_REQUEST_SIZE_MAX + GRPC_PREFIX_SIZE + KIB(64))
#define OUT_SIZE_MAX (GRPC_ANSWER_SIZE_MAX + GRPC_PREFIX_SIZE)

static void on_deadline(struct timer *timer);

/* ---- Life ---- */

static void account(struct grpc_call_state *state)
{
    size_t held = state->in.capacity + state->out.capacity + (state->is_finished ? 0 : state->call.arena.used);
    state->grpc->memory += held - state->held;
    state->held = held;
}

struct grpc_call_state *grpc_call_open(struct grpc_session *session, int32_t stream)
{
    struct grpc_call_state *state = mem_alloc(sizeof(*state));
    state->grpc = session->grpc;
    state->session = session;
    state->stream = stream;
    state->call.state = state;
    state->call.deadline_us = INT64_MAX;
    arena_init(&state->call.arena, GRPC_ARENA_SIZE_MAX);
    dynbuf_init(&state->in, IN_SIZE_MAX);
    dynbuf_init(&state->out, OUT_SIZE_MAX);
    timer_init(&state->deadline, on_deadline);
    list_push(&session->calls, &state->link);
    session->call_count++;
    session->grpc->call_count++;
    return state;
}

static void maybe_free(struct grpc_call_state *state)
{
    struct grpc *grpc = state->grpc;
    if (state->session != NULL || !state->is_finished) {
        return;
    }
    env_timer_cancel(grpc->env, &state->deadline);
    dynbuf_deinit(&state->in);
    dynbuf_deinit(&state->out);
    account(state);
    mem_free(state);
    grpc->call_count--;
    if (grpc->is_closing) {
        env_task(grpc->env, &grpc->closed);
    }
}

/* ---- Answers ---- */

#define HEADER(header_name, header_value, header_value_size)                             \
    {                                                                                    \
        .name = (uint8_t *)(uintptr_t)(header_name), .namelen = sizeof(header_name) - 1, \
        .value = (uint8_t *)(uintptr_t)(header_value), .valuelen = (header_value_size),  \
    }

/* What follows the answers; at most 2. */
static size_t trailers(struct grpc_call_state *state, nghttp2_nv *target, char *code, size_t code_size, char *text,
                       size_t text_size)
{
    size_t code_length = (size_t)snprintf(code, code_size, "%d", (int)state->status);
    target[0] = (nghttp2_nv)HEADER("grpc-status", code, code_length);
    size_t text_length = grpc_message_escape(state->text, text, text_size);
    target[1] = (nghttp2_nv)HEADER("grpc-message", text, text_length);
    return text_length > 0 ? 2 : 1;
}

static ssize_t read_answer(nghttp2_session *http, int32_t stream, uint8_t *target, size_t size, uint32_t *flags,
                           nghttp2_data_source *source, void *context)
{
    struct grpc_call_state *state = source->ptr;
    size_t left = state->out.size - state->out_sent;
    size_t taken = left < size ? left : size;
    (void)context;
    if (taken > 0) {
        memcpy(target, state->out.data + state->out_sent, taken);
        state->out_sent += taken;
    }
    if (state->out_sent < state->out.size) {
        return (ssize_t)taken;
    }
    dynbuf_deinit(&state->out);
    state->out_sent = 0;
    account(state);
    if (!state->is_ended) {
        return taken > 0 ? (ssize_t)taken : NGHTTP2_ERR_DEFERRED;
    }
    nghttp2_nv headers[2];
    char code[16];
    char text[3 * GRPC_STATUS_TEXT_SIZE];
    size_t count = trailers(state, headers, code, sizeof(code), text, sizeof(text));
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (nghttp2_submit_trailer(http, stream, headers, count) != 0) {
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)taken;
}

/* A client that speaks no gRPC is told so in HTTP's way. */
static void submit_http_status(struct grpc_call_state *state, const char *status)
{
    nghttp2_nv headers[] = {HEADER(":status", status, 3)};
    (void)nghttp2_submit_response(state->session->http, state->stream, headers, 1, NULL);
}

static void submit_answer(struct grpc_call_state *state)
{
    nghttp2_session *http = state->session->http;
    nghttp2_nv headers[4] = {HEADER(":status", "200", 3), HEADER("content-type", "application/grpc", 16)};
    char code[16];
    char text[3 * GRPC_STATUS_TEXT_SIZE];
    size_t count = 2;
    state->is_answered = true;
    if (!state->is_post || !state->is_grpc) {
        submit_http_status(state, state->is_post ? "415" : "405");
        return;
    }
    if (state->is_ended && state->out.size == 0) {
        count += trailers(state, &headers[2], code, sizeof(code), text, sizeof(text));
        (void)nghttp2_submit_response(http, state->stream, headers, count, NULL);
        return;
    }
    nghttp2_data_provider provider = {.source.ptr = state, .read_callback = read_answer};
    (void)nghttp2_submit_response(http, state->stream, headers, count, &provider);
}

static void transmit(struct grpc_call_state *state)
{
    if (state->session == NULL) {
        return;
    }
    if (!state->is_answered) {
        submit_answer(state);
    } else {
        (void)nghttp2_session_resume_data(state->session->http, state->stream);
    }
    grpc_wake(state->session);
}

static void end_call(struct grpc_call_state *state, enum grpc_status status, const char *text)
{
    if (state->is_ended) {
        return;
    }
    state->is_ended = true;
    state->status = status;
    grpc_count_error(state->grpc, state->row, status);
    (void)snprintf(state->text, sizeof(state->text), "%s", text);
    dynbuf_deinit(&state->in);
    account(state);
    if (state->session != NULL) {
        state->stalled_size = state->out.size - state->out_sent;
        env_timer(state->grpc->env, &state->deadline, GRPC_STALL_MS * 1000LL);
        transmit(state);
    }
}

static void cancel(struct grpc_call_state *state)
{
    if (!state->is_begun || state->is_finished || state->call.is_canceled) {
        return;
    }
    state->call.is_canceled = true;
    if (state->call.method != NULL && state->call.method->canceled != NULL) {
        state->call.method->canceled(&state->call);
    }
}

/* The transport ends the call. */
static void refuse(struct grpc_call_state *state, enum grpc_status status, const char *text)
{
    if (!state->is_begun && !state->is_finished) {
        state->is_finished = true;
        arena_deinit(&state->call.arena);
    }
    end_call(state, status, text);
    cancel(state); /* may free it */
}

bool grpc_reply(struct grpc_call *call, const ProtobufCMessage *message)
{
    struct grpc_call_state *state = call->state;
    size_t size = protobuf_c_message_get_packed_size(message);
    size_t limit = call->method->shape == GRPC_UNARY ? GRPC_ANSWER_SIZE_MAX : GRPC_STREAM_SIZE_MAX;
    assert(!state->is_finished);
    if (call->is_canceled || state->is_ended) {
        return true;
    }
    size_t left = state->out.size - state->out_sent;
    if (size > GRPC_ANSWER_SIZE_MAX || (left > 0 && size + left > limit) ||
        state->grpc->memory + size > GRPC_MEMORY_MAX) {
        return false;
    }
    if (state->out_sent > 0) {
        dynbuf_consume(&state->out, state->out_sent);
        state->out_sent = 0;
    }
    if (dynbuf_reserve(&state->out, GRPC_PREFIX_SIZE + size) != OK) {
        return false;
    }
    grpc_prefix_put(state->out.data + state->out.size, size);
    (void)protobuf_c_message_pack(message, state->out.data + state->out.size + GRPC_PREFIX_SIZE);
    state->out.size += GRPC_PREFIX_SIZE + size;
    account(state);
    if (call->method->shape != GRPC_UNARY) { /* a unary one goes with its status */
        transmit(state);
    }
    return true;
}

void grpc_finish(struct grpc_call *call, enum grpc_status status, const char *format, ...)
{
    struct grpc_call_state *state = call->state;
    char text[GRPC_STATUS_TEXT_SIZE] = "";
    assert(state->is_begun && !state->is_finished);
    if (format != NULL) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
    }
    state->is_finished = true;
    arena_deinit(&call->arena);
    end_call(state, status, text);
    account(state);
    maybe_free(state);
}

void grpc_answer(struct grpc_call *call, const ProtobufCMessage *message)
{
    if (grpc_reply(call, message)) {
        grpc_finish(call, GRPC_OK, NULL);
    } else {
        grpc_finish(
            call, GRPC_RESOURCE_EXHAUSTED,
            "the answer is larger than %zu bytes, or too many large answers are under way: ask for less, or again",
            (size_t)GRPC_ANSWER_SIZE_MAX);
    }
}

/* ---- Time ---- */

/* What an ended call holds for a client that does not take it is given up. */
static void look_at_stalled(struct grpc_call_state *state)
{
    size_t left = state->out.size - state->out_sent;
    if (left == state->stalled_size) {
        (void)nghttp2_submit_rst_stream(state->session->http, NGHTTP2_FLAG_NONE, state->stream, NGHTTP2_CANCEL);
        grpc_wake(state->session);
        return;
    }
    state->stalled_size = left;
    env_timer(state->grpc->env, &state->deadline, GRPC_STALL_MS * 1000LL);
}

static void on_deadline(struct timer *timer)
{
    struct grpc_call_state *state = container_of(timer, struct grpc_call_state, deadline);
    if (state->is_ended) {
        look_at_stalled(state);
        return;
    }
    bool is_up = env_now_us(state->grpc->env) >= state->call.deadline_us;
    refuse(state, GRPC_DEADLINE_EXCEEDED, is_up ? "the call's time was up" : "the request did not arrive in time");
}

/* A request has to arrive within its deadline and GRPC_REQUEST_MS, then the deadline alone counts. */
static void set_timer(struct grpc_call_state *state)
{
    struct env *env = state->grpc->env;
    int64_t delay_us = INT64_MAX;
    if (state->call.deadline_us != INT64_MAX) {
        delay_us = state->call.deadline_us - env_now_us(env);
    }
    if (!state->is_begun && delay_us > GRPC_REQUEST_MS * 1000LL) {
        delay_us = GRPC_REQUEST_MS * 1000LL;
    }
    if (delay_us == INT64_MAX) {
        env_timer_cancel(env, &state->deadline);
    } else {
        env_timer(env, &state->deadline, delay_us > 0 ? delay_us : 0);
    }
}

/* ---- The request ---- */

static void find_method(struct grpc_call_state *state, struct bytes path)
{
    const struct grpc *grpc = state->grpc;
    const uint8_t *slash = path.size > 1 ? memchr(path.data + 1, '/', path.size - 1) : NULL;
    if (path.size == 0 || path.data[0] != '/' || slash == NULL) {
        return;
    }
    struct bytes service = {path.data + 1, (size_t)(slash - path.data) - 1};
    struct bytes name = {slash + 1, path.size - service.size - 2};
    size_t row = GRPC_ROW_FIRST;
    for (size_t i = 0; i < grpc->service_count; row += grpc->services[i].method_count, i++) {
        if (!bytes_equal_text(service, grpc->services[i].name)) {
            continue;
        }
        for (size_t m = 0; m < grpc->services[i].method_count; m++) {
            if (bytes_equal_text(name, grpc->services[i].methods[m].name)) {
                state->call.owner = grpc->services[i].owner;
                state->call.method = &grpc->services[i].methods[m];
                state->row = row + m;
            }
        }
    }
}

static bool is_grpc_type(struct bytes value)
{
    static const char type[] = "application/grpc";
    size_t size = sizeof(type) - 1;
    return value.size >= size && memcmp(value.data, type, size) == 0 &&
           (value.size == size || value.data[size] == '+' || value.data[size] == ';');
}

void grpc_call_header(struct grpc_call_state *state, struct bytes name, struct bytes value)
{
    state->header_size += name.size + value.size + 32;
    if (bytes_equal_text(name, ":method")) {
        state->is_post = bytes_equal_text(value, "POST");
    } else if (bytes_equal_text(name, ":path")) {
        find_method(state, value);
    } else if (bytes_equal_text(name, "content-type")) {
        state->is_grpc = is_grpc_type(value);
    } else if (bytes_equal_text(name, "grpc-encoding")) {
        state->is_encoded = !bytes_equal_text(value, "identity");
    } else if (bytes_equal_text(name, "grpc-timeout")) {
        state->has_bad_timeout = !grpc_timeout_parse(value, &state->timeout_us);
        state->timeout_us = state->timeout_us > 0 ? state->timeout_us : 1;
    }
}

static void begin(struct grpc_call_state *state)
{
    state->is_begun = true;
    set_timer(state);
}

void grpc_call_headers_over(struct grpc_call_state *state)
{
    const struct grpc *grpc = state->grpc;
    if (!state->is_post || !state->is_grpc) {
        refuse(state, GRPC_UNKNOWN, "this is no gRPC request");
    } else if (state->header_size > GRPC_HEADER_SIZE_MAX) {
        refuse(state, GRPC_RESOURCE_EXHAUSTED, "the request's headers are larger than 16 KiB");
    } else if (state->has_bad_timeout) {
        refuse(state, GRPC_INTERNAL, "malformed grpc-timeout: up to 8 digits and one of H, M, S, m, u, n are expected");
    } else if (state->call.method == NULL) {
        refuse(state, GRPC_UNIMPLEMENTED, "there is no such method: reflection lists those that there are");
    } else if (grpc->is_closing) {
        refuse(state, GRPC_UNAVAILABLE, "this broker is stopping: ask another one");
    } else if (grpc->memory > GRPC_MEMORY_MAX) {
        refuse(state, GRPC_RESOURCE_EXHAUSTED, "too many calls are under way here: try again");
    } else {
        if (state->timeout_us > 0) {
            state->call.deadline_us = env_now_us(grpc->env) + state->timeout_us;
        }
        set_timer(state);
        if (state->call.method->shape == GRPC_BIDIRECTIONAL) {
            begin(state);
        }
    }
}

static void *arena_take(void *context, size_t size)
{
    return arena_alloc(context, size > 0 ? size : 1);
}

static void arena_give(void *context, void *memory)
{
    (void)context;
    (void)memory;
}

static void refuse_message(struct grpc_call_state *state, enum err err)
{
    char text[160];
    if (err == ERR_TOO_LARGE) {
        (void)snprintf(text, sizeof(text), "the request is larger than %zu bytes", (size_t)GRPC_REQUEST_SIZE_MAX);
        refuse(state, GRPC_RESOURCE_EXHAUSTED, text);
    } else if (err == ERR_UNSUPPORTED && state->is_encoded) {
        refuse(state, GRPC_UNIMPLEMENTED, "compressed messages are not taken: send them as they are");
    } else if (err == ERR_UNSUPPORTED) {
        refuse(state, GRPC_INTERNAL, "a message is marked as compressed, but there is no grpc-encoding");
    } else {
        refuse(state, GRPC_INTERNAL, "malformed message: a flag of 0 and four bytes of size are expected before it");
    }
}

/* NULL: the call was refused. */
static ProtobufCMessage *unpack(struct grpc_call_state *state, struct arena *arena, struct bytes message)
{
    ProtobufCAllocator allocator = {.alloc = arena_take, .free = arena_give, .allocator_data = arena};
    ProtobufCMessage *unpacked =
        protobuf_c_message_unpack(state->call.method->request, &allocator, message.size, message.data);
    if (unpacked == NULL) {
        char text[160];
        (void)snprintf(text, sizeof(text), "the request is no %s", state->call.method->request->name);
        refuse(state, GRPC_INTERNAL, text);
    }
    return unpacked;
}

/* Each message of a bidirectional method as it comes. */
static void receive_all(struct grpc_call_state *state)
{
    struct bytes left = dynbuf_bytes(&state->in);
    struct bytes message;
    enum err err = OK;
    while (!state->is_ended && (err = grpc_message_next(&left, GRPC_REQUEST_SIZE_MAX, &message)) == OK) {
        struct arena arena;
        arena_init(&arena, GRPC_ARENA_SIZE_MAX);
        const ProtobufCMessage *unpacked = unpack(state, &arena, message);
        if (unpacked != NULL) {
            state->call.method->receive(&state->call, unpacked);
        }
        arena_deinit(&arena);
    }
    if (state->is_ended) {
        return;
    }
    if (err != ERR_SHORT) {
        refuse_message(state, err);
        return;
    }
    dynbuf_consume(&state->in, state->in.size - left.size);
    account(state);
}

void grpc_call_data(struct grpc_call_state *state, struct bytes bytes)
{
    if (state->is_ended || state->is_input_over) {
        return;
    }
    if (state->grpc->memory + bytes.size > GRPC_MEMORY_MAX) {
        refuse(state, GRPC_RESOURCE_EXHAUSTED, "too many calls are under way here: try again");
        return;
    }
    if (dynbuf_put(&state->in, bytes) != OK) {
        refuse_message(state, ERR_TOO_LARGE);
        return;
    }
    account(state);
    if (state->call.method->shape == GRPC_BIDIRECTIONAL) {
        receive_all(state);
        return;
    }
    struct bytes all = dynbuf_bytes(&state->in);
    struct bytes message;
    enum err err = grpc_message_next(&all, GRPC_REQUEST_SIZE_MAX, &message);
    if (err != OK && err != ERR_SHORT) {
        refuse_message(state, err);
    }
}

void grpc_call_input_over(struct grpc_call_state *state)
{
    if (state->is_input_over || state->is_ended) {
        return;
    }
    state->is_input_over = true;
    if (state->call.method->shape == GRPC_BIDIRECTIONAL) {
        if (state->in.size > 0) {
            refuse(state, GRPC_INTERNAL, "the stream ended within a message");
        } else {
            state->call.method->ended(&state->call);
        }
        return;
    }
    struct bytes all = dynbuf_bytes(&state->in);
    struct bytes message;
    enum err err = grpc_message_next(&all, GRPC_REQUEST_SIZE_MAX, &message);
    if (err == ERR_SHORT && all.size > 0) {
        refuse(state, GRPC_INTERNAL, "the stream ended within the request");
        return;
    }
    if (err != OK || all.size > 0) {
        refuse(state, GRPC_UNIMPLEMENTED, "this method takes exactly one request");
        return;
    }
    const ProtobufCMessage *request = unpack(state, &state->call.arena, message);
    if (request != NULL) {
        dynbuf_deinit(&state->in);
        account(state);
        begin(state);
        state->call.method->receive(&state->call, request);
    }
}

void grpc_call_stop(struct grpc_call_state *state)
{
    if (state->call.method != NULL && state->call.method->shape != GRPC_UNARY) {
        refuse(state, GRPC_UNAVAILABLE, "this broker is stopping: ask another one");
    }
}

void grpc_call_stream_closed(struct grpc_call_state *state)
{
    struct grpc_session *session = state->session;
    list_remove(&state->link);
    session->call_count--;
    state->session = NULL;
    if (!state->is_begun && !state->is_finished) {
        state->is_finished = true;
        arena_deinit(&state->call.arena);
    }
    if (!state->is_ended) { /* by the client, or with its connection */
        grpc_count_error(state->grpc, state->row, GRPC_CANCELLED);
    }
    state->is_ended = true;
    env_timer_cancel(state->grpc->env, &state->deadline);
    dynbuf_deinit(&state->in);
    dynbuf_deinit(&state->out);
    state->out_sent = 0;
    account(state);
    if (!state->is_finished && !state->call.is_canceled) {
        cancel(state); /* may free it */
        return;
    }
    maybe_free(state);
}
