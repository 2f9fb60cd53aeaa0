/* gRPC's texts and framing, and the HTTP/2 session fed by hand: what clients may send, whole, cut and wrong. The
 * client's side is nghttp2's own, so that frames and header compression are real. */
#include "base/limits.h"
#include "base/mem.h"
#include "broker/grpc_internal.h"
#include "proto/grpc_health.pb-c.h"
#include "tests/lib/test.h"
#include "tests/lib/turn_env.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Texts */

static const struct {
    const char *text;
    bool is_good;
    int64_t us;
} timeouts[] = {
    {"1H", true, 3600000000LL},
    {"2M", true, 120000000},
    {"3S", true, 3000000},
    {"2973m", true, 2973000},
    {"7u", true, 7},
    {"1n", true, 1},
    {"99999999H", true, 359999996400000000LL},
    {"0S", true, 0},
    {"", false, 0},
    {"S", false, 0},
    {"1", false, 0},
    {"1x", false, 0},
    {"-1S", false, 0},
    {"123456789S", false, 0},
    {"1 S", false, 0},
};

START_TEST(timeouts_are_read)
{
    int64_t us = 0;
    bool is_good = grpc_timeout_parse(bytes_from_text(timeouts[_i].text), &us);
    ck_assert_msg(is_good == timeouts[_i].is_good, "%s", timeouts[_i].text);
    ck_assert_msg(!is_good || us == timeouts[_i].us, "%s: %lld", timeouts[_i].text, (long long)us);
}
END_TEST

START_TEST(timeouts_are_written_so_that_they_are_read)
{
    static const int64_t values[] = {1, 999, 1000, 1500000, 99999999000LL, 100000000000LL, INT64_MAX / 2};
    for (size_t i = 0; i < array_count(values); i++) {
        char text[16];
        int64_t us;
        grpc_timeout_print(values[i], text, sizeof(text));
        ck_assert_msg(grpc_timeout_parse(bytes_from_text(text), &us), "%s", text);
        ck_assert_msg(us >= values[i] || values[i] > 99999999LL * 1000000, "%s", text);
    }
}
END_TEST

START_TEST(messages_are_escaped_and_back)
{
    char escaped[64];
    char back[64];
    ck_assert_uint_eq(grpc_message_escape("50% \n\xc3\xa9", escaped, sizeof(escaped)), strlen(escaped));
    ck_assert_str_eq(escaped, "50%25 %0A%C3%A9");
    grpc_message_unescape(bytes_from_text(escaped), back, sizeof(back));
    ck_assert_str_eq(back, "50% \n\xc3\xa9");
    grpc_message_unescape(bytes_from_text("%zz%4"), back, sizeof(back));
    ck_assert_str_eq(back, "%zz%4");
    for (size_t size = 1; size < sizeof(escaped); size++) { /* what does not fit is left away whole */
        size_t used = grpc_message_escape("%%%%", escaped, size);
        ck_assert_uint_eq(used % 3, 0);
        ck_assert_uint_lt(used, size);
    }
}
END_TEST

START_TEST(messages_are_taken_one_by_one)
{
    static const uint8_t two[] = {0, 0, 0, 0, 2, 'a', 'b', 0, 0, 0, 0, 0};
    struct bytes message;
    for (size_t size = 0; size <= sizeof(two); size++) {
        struct bytes left = {two, size};
        enum err first = grpc_message_next(&left, 2, &message);
        ck_assert_int_eq(first, size >= 7 ? OK : ERR_SHORT);
        ck_assert(first != OK || bytes_equal_text(message, "ab"));
        ck_assert_int_eq(first == OK ? grpc_message_next(&left, 2, &message) : ERR_SHORT, size >= 12 ? OK : ERR_SHORT);
    }
    ck_assert_int_eq(grpc_message_next(&(struct bytes){two, sizeof(two)}, 1, &message), ERR_TOO_LARGE);
    ck_assert_int_eq(grpc_message_next(&(struct bytes){(const uint8_t *)"\1\0\0\0\0", 5}, 1, &message),
                     ERR_UNSUPPORTED);
    ck_assert_int_eq(grpc_message_next(&(struct bytes){(const uint8_t *)"\2\0\0\0\0", 5}, 1, &message), ERR_CORRUPT);
}
END_TEST

/* ---- A session */

static struct turn_env turn;
static struct grpc *grpc;
static struct grpc_session *server;
static nghttp2_session *client;
static struct grpc_call *held; /* of method Hold */
static unsigned canceled;
static bool is_closed;
static int32_t stream;
static struct {
    char status[256], text[256], http[256];
    struct dynbuf data;
    bool is_closed;
    uint32_t code;
} seen;

static void method_echo(struct grpc_call *call, const ProtobufCMessage *message)
{
    grpc_answer(call, message);
}

static void method_hold(struct grpc_call *call, const ProtobufCMessage *message)
{
    (void)message;
    held = call;
}

static void hold_canceled(struct grpc_call *call)
{
    ck_assert_ptr_eq(call, held);
    canceled++;
}

static void stream_canceled(struct grpc_call *call)
{
    canceled++;
    grpc_finish(call, GRPC_CANCELLED, NULL);
}

static void chat_ended(struct grpc_call *call)
{
    grpc_finish(call, GRPC_OK, NULL);
}

static void method_chat(struct grpc_call *call, const ProtobufCMessage *message)
{
    ck_assert(grpc_reply(call, message));
}

#define REQUEST &grpc__health__v1__health_check_request__descriptor
static const struct grpc_method methods[] = {
    {"Echo", REQUEST, method_echo, GRPC_UNARY, NULL, NULL},
    {"Hold", REQUEST, method_hold, GRPC_UNARY, hold_canceled, NULL},
    {"Chat", REQUEST, method_chat, GRPC_BIDIRECTIONAL, stream_canceled, chat_ended},
};
static const struct grpc_service services[] = {{"t.T", methods, array_count(methods), NULL}};

static int on_header(nghttp2_session *http, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *context)
{
    struct bytes key = {name, name_size};
    char text[256];
    (void)http;
    (void)frame;
    (void)flags;
    (void)context;
    (void)snprintf(text, sizeof(text), "%.*s", (int)value_size, (const char *)value);
    if (bytes_equal_text(key, "grpc-status")) {
        (void)snprintf(seen.status, sizeof(seen.status), "%s", text);
    } else if (bytes_equal_text(key, "grpc-message")) {
        (void)snprintf(seen.text, sizeof(seen.text), "%s", text);
    } else if (bytes_equal_text(key, ":status")) {
        (void)snprintf(seen.http, sizeof(seen.http), "%s", text);
    }
    return 0;
}

static int on_data(nghttp2_session *http, uint8_t flags, int32_t id, const uint8_t *data, size_t size, void *context)
{
    (void)http;
    (void)flags;
    (void)id;
    (void)context;
    ck_assert_int_eq(dynbuf_put(&seen.data, (struct bytes){data, size}), OK);
    return 0;
}

static int on_stream_close(nghttp2_session *http, int32_t id, uint32_t code, void *context)
{
    (void)http;
    (void)id;
    (void)context;
    seen.is_closed = true;
    seen.code = code;
    return 0;
}

static void on_wake(void *owner)
{
    (void)owner;
}

static void on_closed(void *owner)
{
    (void)owner;
    is_closed = true;
}

static void setup(void)
{
    nghttp2_session_callbacks *callbacks;
    const struct grpc_session_events events = {NULL, on_wake};
    turn_env_init(&turn, 1);
    memset(&seen, 0, sizeof(seen));
    dynbuf_init(&seen.data, MIB(8));
    held = NULL;
    canceled = 0;
    is_closed = false;
    grpc = grpc_open(&turn.env, services, array_count(services));
    server = grpc_session_open(grpc, &events);
    ck_assert_int_eq(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    ck_assert_int_eq(nghttp2_session_client_new(&client, callbacks, NULL), 0);
    nghttp2_session_callbacks_del(callbacks);
    ck_assert_int_eq(nghttp2_submit_settings(client, NGHTTP2_FLAG_NONE, NULL, 0), 0);
}

static void teardown(void)
{
    if (server != NULL) {
        grpc_session_close(server);
    }
    if (held != NULL) {
        grpc_finish(held, GRPC_OK, NULL);
    }
    nghttp2_session_del(client);
    grpc_close(grpc, 1000, NULL, on_closed);
    turn_env_run(&turn);
    ck_assert_msg(is_closed, "calls or memory are left");
    dynbuf_deinit(&seen.data);
    turn_env_deinit(&turn);
}

/* By the names on the page. */
static size_t row_of(const char *path)
{
    char wanted[64];
    char text[128];
    size_t row = METRIC_GRPC_ERRORS_ROWS_MAX;
    (void)snprintf(wanted, sizeof(wanted), "method=\"%s\",code=\"OK\"", path + 1);
    do {
        ck_assert_uint_gt(row, 0);
        grpc_error_labels(services, array_count(services), --row, GRPC_OK, text, sizeof(text));
    } while (strcmp(text, wanted) != 0);
    return row;
}

/* Whether these are all errors that were counted: `count` of one method with one code. */
static bool errors_are(size_t row, int code, int64_t count)
{
    int64_t sum = 0;
    for (size_t i = 0; i < (size_t)METRIC_GRPC_ERRORS_ROWS_MAX * METRIC_GRPC_ERRORS_COLUMNS_MAX; i++) {
        sum += metrics_pair_value(turn.env.metrics, METRIC_GRPC_ERRORS, i / METRIC_GRPC_ERRORS_COLUMNS_MAX,
                                  i % METRIC_GRPC_ERRORS_COLUMNS_MAX);
    }
    return sum == count && metrics_pair_value(turn.env.metrics, METRIC_GRPC_ERRORS, row, (size_t)code) == count;
}

/* Both sides until neither has anything to say; `step` bytes of the client's at a time. */
static void exchange(size_t step)
{
    bool is_quiet = false;
    while (!is_quiet) {
        const uint8_t *data;
        struct dynbuf out;
        ssize_t size = nghttp2_session_mem_send(client, &data);
        is_quiet = size <= 0;
        for (ssize_t at = 0; at < size; at += (ssize_t)step) {
            size_t piece = (size_t)(size - at) < step ? (size_t)(size - at) : step;
            ck_assert_int_eq(grpc_session_feed(server, (struct bytes){data + at, piece}), OK);
        }
        dynbuf_init(&out, MIB(1));
        ck_assert_int_eq(grpc_session_take(server, &out, KIB(64)), OK);
        is_quiet = is_quiet && out.size == 0;
        if (out.size > 0) {
            ck_assert_int_eq(nghttp2_session_mem_recv(client, out.data, out.size), (ssize_t)out.size);
        }
        dynbuf_deinit(&out);
        turn_env_run(&turn);
    }
}

struct body {
    struct bytes bytes;
    size_t sent;
    bool stays_open;
};

static ssize_t read_body(nghttp2_session *http, int32_t id, uint8_t *target, size_t size, uint32_t *flags,
                         nghttp2_data_source *source, void *context)
{
    struct body *body = source->ptr;
    size_t left = body->bytes.size - body->sent;
    size_t taken = left < size ? left : size;
    (void)http;
    (void)id;
    (void)context;
    if (taken == 0 && body->stays_open) {
        return NGHTTP2_ERR_DEFERRED;
    }
    memcpy(target, body->bytes.data + body->sent, taken);
    body->sent += taken;
    if (body->sent == body->bytes.size && !body->stays_open) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)taken;
}

static void put_header(nghttp2_nv *target, const char *name, const char *value)
{
    *target = (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value),
                           NGHTTP2_NV_FLAG_NONE};
}

static void call_with(const char *path, const char *type, const char *timeout, const char *encoding, struct body *body)
{
    nghttp2_nv headers[7];
    nghttp2_data_provider provider = {.source.ptr = body, .read_callback = read_body};
    size_t count = 0;
    put_header(&headers[count++], ":method", "POST");
    put_header(&headers[count++], ":scheme", "http");
    put_header(&headers[count++], ":path", path);
    put_header(&headers[count++], ":authority", "x");
    put_header(&headers[count++], "content-type", type);
    if (timeout != NULL) {
        put_header(&headers[count++], "grpc-timeout", timeout);
    }
    if (encoding != NULL) {
        put_header(&headers[count++], "grpc-encoding", encoding);
    }
    stream = nghttp2_submit_request(client, NULL, headers, count, &provider, NULL);
    ck_assert_int_gt(stream, 0);
}

#define GRPC_TYPE "application/grpc"
#define HELLO "\0\0\0\0\7\x0a\5hello"
static const struct bytes hello = {(const uint8_t *)HELLO, sizeof(HELLO) - 1};

START_TEST(a_call_is_answered_however_it_is_cut)
{
    for (size_t step = 1; step < 40; step++) {
        struct body body = {hello, 0, false};
        memset(seen.status, 0, sizeof(seen.status));
        dynbuf_reset(&seen.data);
        call_with("/t.T/Echo", GRPC_TYPE "+proto", "5S", NULL, &body);
        exchange(step);
        ck_assert_str_eq(seen.status, "0");
        ck_assert(bytes_equal(dynbuf_bytes(&seen.data), hello));
    }
    ck_assert(errors_are(GRPC_ROW_NONE, GRPC_OK, 0));
}
END_TEST

#define BYTES(text)                               \
    {                                             \
        (const uint8_t *)(text), sizeof(text) - 1 \
    }
static const struct {
    const char *path, *type, *timeout, *encoding;
    struct bytes body;
    const char *status, *http;
} wrong[] = {
    {"/t.T/None", GRPC_TYPE, NULL, NULL, BYTES(HELLO), "12", "200"},
    {"/t.U/Echo", GRPC_TYPE, NULL, NULL, BYTES(HELLO), "12", "200"},
    {"/t.T/Echo", "text/html", NULL, NULL, BYTES(HELLO), "", "415"},
    {"/t.T/Echo", GRPC_TYPE, "soon", NULL, BYTES(HELLO), "13", "200"},
    {"/t.T/Echo", GRPC_TYPE, NULL, NULL, BYTES(""), "12", "200"},
    {"/t.T/Echo", GRPC_TYPE, NULL, NULL, BYTES(HELLO HELLO), "12", "200"},
    {"/t.T/Echo", GRPC_TYPE, NULL, NULL, BYTES("\0\0\0\0\7\x0a"), "13", "200"},
    {"/t.T/Echo", GRPC_TYPE, NULL, NULL, BYTES("\0\0\0\0\2\x0a\5"), "13", "200"},
    {"/t.T/Echo", GRPC_TYPE, NULL, NULL, BYTES("\1\0\0\0\0"), "13", "200"},
    {"/t.T/Echo", GRPC_TYPE, NULL, "gzip", BYTES("\1\0\0\0\0"), "12", "200"},
    {"/t.T/Echo", GRPC_TYPE, NULL, NULL, BYTES("\0\xff\xff\xff\xff"), "8", "200"},
    {"/t.T/Chat", GRPC_TYPE, NULL, NULL, BYTES("\0\0\0\0\2\x0a\5"), "13", "200"},
    {"/t.T/Chat", GRPC_TYPE, NULL, NULL, BYTES("\0\0"), "13", "200"},
};

START_TEST(what_is_wrong_with_a_call_has_its_status)
{
    struct body body = {wrong[_i].body, 0, false};
    call_with(wrong[_i].path, wrong[_i].type, wrong[_i].timeout, wrong[_i].encoding, &body);
    exchange(SIZE_MAX / 4);
    ck_assert_msg(strcmp(seen.status, wrong[_i].status) == 0, "%d: status %s, %s", _i, seen.status, seen.text);
    ck_assert_str_eq(seen.http, wrong[_i].http);
    ck_assert(seen.is_closed);
    int code = strcmp(wrong[_i].http, "200") == 0 ? (int)strtol(wrong[_i].status, NULL, 10) : GRPC_UNKNOWN;
    ck_assert(errors_are(_i < 2 ? GRPC_ROW_NONE : row_of(wrong[_i].path), code, 1));
}
END_TEST

START_TEST(a_refused_call_need_not_be_sent_to_its_end)
{
    struct body body = {hello, 0, true};
    call_with("/t.T/None", GRPC_TYPE, NULL, NULL, &body);
    exchange(SIZE_MAX / 4);
    ck_assert_str_eq(seen.status, "12");
    ck_assert(seen.is_closed);
    ck_assert_uint_eq(seen.code, NGHTTP2_NO_ERROR);
}
END_TEST

START_TEST(time_is_up_and_the_service_hears_of_it)
{
    struct body body = {hello, 0, false};
    call_with("/t.T/Hold", GRPC_TYPE, "100m", NULL, &body);
    exchange(SIZE_MAX / 4);
    ck_assert_ptr_nonnull(held);
    turn_env_advance(&turn, 101000);
    exchange(SIZE_MAX / 4);
    ck_assert_str_eq(seen.status, "4");
    ck_assert_uint_eq(canceled, 1);
    ck_assert(held->is_canceled);
    ck_assert(errors_are(row_of("/t.T/Hold"), GRPC_DEADLINE_EXCEEDED, 1));
}
END_TEST

START_TEST(a_cancelled_call_is_finished_into_the_void)
{
    struct body body = {hello, 0, false};
    call_with("/t.T/Hold", GRPC_TYPE, NULL, NULL, &body);
    exchange(SIZE_MAX / 4);
    ck_assert_int_eq(nghttp2_submit_rst_stream(client, NGHTTP2_FLAG_NONE, stream, NGHTTP2_CANCEL), 0);
    exchange(SIZE_MAX / 4);
    ck_assert_uint_eq(canceled, 1);
    ck_assert_uint_eq(grpc_call_count(grpc), 1);
    grpc_finish(held, GRPC_OK, NULL);
    held = NULL;
    ck_assert_uint_eq(grpc_call_count(grpc), 0);
    ck_assert(errors_are(row_of("/t.T/Hold"), GRPC_CANCELLED, 1));
}
END_TEST

START_TEST(a_lost_connection_cancels_its_calls)
{
    struct body body = {hello, 0, false};
    call_with("/t.T/Hold", GRPC_TYPE, NULL, NULL, &body);
    exchange(SIZE_MAX / 4);
    grpc_session_close(server);
    server = NULL;
    ck_assert_uint_eq(canceled, 1);
    ck_assert_uint_eq(grpc_call_count(grpc), 1);
}
END_TEST

START_TEST(a_chat_answers_each_message_at_once)
{
    struct body body = {hello, 0, true};
    call_with("/t.T/Chat", GRPC_TYPE, NULL, NULL, &body);
    exchange(SIZE_MAX / 4);
    ck_assert(bytes_equal(dynbuf_bytes(&seen.data), hello));
    ck_assert_str_eq(seen.status, "");
    body.stays_open = false;
    ck_assert_int_eq(nghttp2_session_resume_data(client, stream), 0);
    exchange(SIZE_MAX / 4);
    ck_assert_str_eq(seen.status, "0");
}
END_TEST

START_TEST(http1_is_told_what_is_spoken)
{
    struct dynbuf out;
    dynbuf_init(&out, KIB(64));
    ck_assert_int_eq(grpc_session_feed(server, bytes_from_text("GET / HTTP/1.1\r\nHost: x\r\n\r\n")), ERR_CORRUPT);
    ck_assert_int_eq(grpc_session_take(server, &out, KIB(16)), OK);
    ck_assert_msg(strncmp((const char *)out.data, "HTTP/1.1 505", 12) == 0, "%.20s", (const char *)out.data);
    dynbuf_deinit(&out);
}
END_TEST

static Suite *grpc_suite(void)
{
    Suite *suite = suite_create("grpc");
    TCase *texts = tcase_create("texts");
    tcase_add_loop_test(texts, timeouts_are_read, 0, (int)array_count(timeouts));
    tcase_add_test(texts, timeouts_are_written_so_that_they_are_read);
    tcase_add_test(texts, messages_are_escaped_and_back);
    tcase_add_test(texts, messages_are_taken_one_by_one);
    suite_add_tcase(suite, texts);
    TCase *session = tcase_create("session");
    tcase_add_checked_fixture(session, setup, teardown);
    tcase_add_test(session, a_call_is_answered_however_it_is_cut);
    tcase_add_loop_test(session, what_is_wrong_with_a_call_has_its_status, 0, (int)array_count(wrong));
    tcase_add_test(session, a_refused_call_need_not_be_sent_to_its_end);
    tcase_add_test(session, time_is_up_and_the_service_hears_of_it);
    tcase_add_test(session, a_cancelled_call_is_finished_into_the_void);
    tcase_add_test(session, a_lost_connection_cancels_its_calls);
    tcase_add_test(session, a_chat_answers_each_message_at_once);
    tcase_add_test(session, http1_is_told_what_is_spoken);
    suite_add_tcase(suite, session);
    return suite;
}

TEST_MAIN(grpc_suite)
