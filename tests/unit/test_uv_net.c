/* Listeners, connects and streams of the libuv seam, over loopback. One loop plays both ends. */
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/uv_env.h"
#include "tests/lib/test.h"

enum {
    ECHO_SIZE = 8 << 20,
    READ_SIZE = 64 << 10,
    END_COUNT_MAX = 64
};

struct end { /* of a connection */
    struct stream *stream;
    uint8_t room[READ_SIZE];
    uint64_t received;
    unsigned alloc_count;
    bool may_lack_room;
    bool is_paused;
    bool is_echo;
    bool hops; /* leaves its stream for another one of the same connection, again and again */
    unsigned hop_count;
    bool has_ended;
    bool is_closed;
    enum err err;
};

struct echo { /* one answer on its way */
    struct stream_write write;
    struct iovec iov;
    struct end *end;
    uint8_t data[];
};

static struct uv_env *uv;
static struct env *env;
static struct net *net;
static struct listener *listener;
static struct end server;
static struct end client;
static struct stream_connect connecting;
static struct timer timer;
static struct stream_write request;
static struct iovec request_iov[3];
static size_t callbacks;
static enum err last_err;
static int accepted_count;
static bool listener_is_closed;

static void setup(void)
{
    uv_process_prepare(1); /* SIGPIPE */
    ck_assert_int_eq(uv_env_open(0, NULL, &uv, NULL), OK);
    env = uv_env_env(uv);
    net = env->net;
    listener = NULL;
    memset(&server, 0, sizeof(server));
    memset(&client, 0, sizeof(client));
    callbacks = 0;
    accepted_count = 0;
    listener_is_closed = false;
}

static void teardown(void)
{
    uv_env_run(uv);
    ck_assert(listener == NULL || listener_is_closed);
    uv_env_close(uv);
}

static void on_listener_closed(void *owner)
{
    ck_assert_ptr_eq(owner, &listener);
    listener_is_closed = true;
}

static void on_closed(void *owner)
{
    struct end *end = owner;
    ck_assert(!end->is_closed);
    end->is_closed = true;
}

/* The owner of a stream that was not started is NULL. */
static void on_unstarted_closed(void *owner)
{
    ck_assert_ptr_null(owner);
}

static void finish(void)
{
    net->listener_close(listener, on_listener_closed);
    uv_env_stop(uv);
}

static void on_alloc(void *owner, size_t size_hint, uint8_t **data, size_t *size)
{
    struct end *end = owner;
    ck_assert_uint_gt(size_hint, 0);
    if (end->may_lack_room && ++end->alloc_count % 7 == 0) { /* no room: a pause */
        end->is_paused = true;
        *size = 0;
        env_timer(env, &timer, 100);
        return;
    }
    *data = end->room;
    *size = sizeof(end->room);
}

static void on_echoed(struct stream_write *req, enum err err)
{
    (void)err;
    mem_free(container_of(req, struct echo, write));
    callbacks++;
}

static uint8_t pattern(uint64_t position)
{
    return (uint8_t)(position * 7 + position / 253);
}

static void on_resume(struct timer *unused)
{
    (void)unused;
    client.is_paused = false;
    net->stream_resume(client.stream);
}

static void hop(struct end *end);

static void on_read(void *owner, enum err err, size_t size)
{
    struct end *end = owner;
    ck_assert(!end->is_paused);
    ck_assert(!end->has_ended);
    if (err != OK) {
        end->has_ended = true;
        end->err = err;
        net->stream_close(end->stream, on_closed);
        return;
    }
    if (end->is_echo) {
        struct echo *echo = mem_alloc_raw(sizeof(*echo) + size);
        memcpy(echo->data, end->room, size);
        echo->iov = (struct iovec){.iov_base = echo->data, .iov_len = size};
        echo->write = (struct stream_write){.iov = &echo->iov, .count = 1, .cb = on_echoed};
        size_t before = callbacks;
        net->stream_write(end->stream, &echo->write);
        ck_assert_uint_eq(before, callbacks);
        return;
    }
    size_t same = 0; /* one assertion, as Check writes each of them to a file */
    while (same < size && end->room[same] == pattern(end->received + same)) {
        same++;
    }
    ck_assert_uint_eq(same, size);
    end->received += size;
    if (end->received == ECHO_SIZE) {
        net->stream_close(end->stream, on_closed);
    } else if (end->hops) {
        hop(end);
    } else if (end->received % 5 == 0) {
        end->is_paused = true; /* whatever comes now is refused by the assertion above */
        net->stream_pause(end->stream);
        env_timer(env, &timer, 100);
    }
}

static const struct stream_handlers handlers = {.on_alloc = on_alloc, .on_read = on_read};

static void hop(struct end *end)
{
    int token;
    ck_assert_int_eq(net->stream_detach(end->stream, &token), OK);
    ck_assert_int_eq(net->adopt(net, token, &end->stream), OK);
    net->stream_start(end->stream, &handlers, end);
    end->hop_count++;
}

static void on_accepted(void *owner, struct listener *from, int accepted)
{
    ck_assert_ptr_eq(owner, &listener);
    ck_assert_ptr_eq(from, listener);
    accepted_count++;
    ck_assert_int_eq(net->adopt(net, accepted, &server.stream), OK);
    char text[NET_ADDRESS_TEXT_SIZE];
    uint16_t port;
    net->stream_local(server.stream, text, sizeof(text), &port);
    ck_assert_uint_eq(port, net->listener_port(listener));
    ck_assert_msg(strcmp(text, "127.0.0.1") == 0 || strcmp(text, "::1") == 0, "%s", text);
    net->stream_peer(server.stream, text, sizeof(text), &port);
    ck_assert_uint_ne(port, 0);
    net->stream_start(server.stream, &handlers, &server);
    finish();
}

static void listen_on(const char *host)
{
    struct errmsg msg;
    enum err err = net->listen(net, host, 0, &listener, on_accepted, &listener, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
}

static void connect_to(const char *host, uint16_t port, stream_connect_cb cb)
{
    connecting = (struct stream_connect){.host = host, .port = port, .cb = cb};
    client.stream = NULL;
    net->connect(net, &connecting);
    ck_assert_ptr_null(client.stream);
}

static void on_sent(struct stream_write *req, enum err err)
{
    ck_assert_ptr_eq(req, &request);
    ck_assert_int_eq(err, OK);
    mem_free(request_iov[0].iov_base);
}

static void send_pattern(void)
{
    uint8_t *data = mem_alloc_raw(ECHO_SIZE);
    for (size_t i = 0; i < ECHO_SIZE; i++) {
        data[i] = pattern(i);
    }
    request_iov[0] = (struct iovec){.iov_base = data, .iov_len = 1000};
    request_iov[1] = (struct iovec){.iov_base = data + 1000, .iov_len = ECHO_SIZE / 2};
    request_iov[2] = (struct iovec){.iov_base = data + 1000 + ECHO_SIZE / 2, .iov_len = ECHO_SIZE / 2 - 1000};
    request = (struct stream_write){.iov = request_iov, .count = 3, .cb = on_sent};
    net->stream_write(client.stream, &request);
}

static void echo_on_connected(struct stream_connect *req, enum err err, struct stream *stream)
{
    ck_assert_ptr_eq(req, &connecting);
    ck_assert_int_eq(err, OK);
    client.stream = stream;
    net->stream_start(stream, &handlers, &client);
    send_pattern();
}

static const char *const hosts[][2] = {{"127.0.0.1", "127.0.0.1"}, {"localhost", "localhost"}, {NULL, "127.0.0.1"}};

/* Goal: what is written arrives whole and in order, with the reader pausing at odd moments. Method: 8 MiB to an echo
 * and back, by address, by name and through a listener on any address. */
START_TEST(echo_returns_every_byte_in_order)
{
    server.is_echo = true;
    client.may_lack_room = true;
    timer_init(&timer, on_resume);
    listen_on(hosts[_i][0]);
    connect_to(hosts[_i][1], net->listener_port(listener), echo_on_connected);
    uv_env_run(uv);
    ck_assert_uint_eq(client.received, ECHO_SIZE);
    ck_assert(client.is_closed);
    ck_assert(server.is_closed);
    ck_assert_int_eq(server.err, ERR_CLOSED);
}
END_TEST

static void send_on_connected(struct stream_connect *req, enum err err, struct stream *stream)
{
    (void)req;
    ck_assert_int_eq(err, OK);
    client.stream = stream;
    net->stream_start(stream, &handlers, &client);
    send_pattern();
}

/* Goal: a connection that is detached and adopted loses no byte. Method: the reader of 8 MiB does both at odd moments,
 * inside on_read, with more bytes waiting. */
START_TEST(detach_and_adopt_lose_no_byte)
{
    server.hops = true;
    listen_on("127.0.0.1");
    connect_to("127.0.0.1", net->listener_port(listener), send_on_connected);
    uv_env_run(uv);
    ck_assert_uint_eq(server.received, ECHO_SIZE);
    ck_assert_uint_gt(server.hop_count, 0);
    ck_assert(server.is_closed);
    ck_assert_int_eq(client.err, ERR_CLOSED);
}
END_TEST

static void expect_on_connected(struct stream_connect *req, enum err err, struct stream *stream)
{
    (void)req;
    ck_assert_ptr_null(stream);
    last_err = err;
    callbacks++;
}

/* Goal: refused and unknown hosts are errors given by the callback, never inside the call. Method: the port of a
 * listener that was closed; a name that cannot exist (RFC 6761). */
START_TEST(connect_fails_by_callback)
{
    listen_on("127.0.0.1");
    uint16_t port = net->listener_port(listener);
    finish();
    connect_to(_i == 0 ? "127.0.0.1" : "balsa.invalid", port, expect_on_connected);
    ck_assert_uint_eq(callbacks, 0);
    uv_env_run(uv);
    ck_assert_uint_eq(callbacks, 1);
    ck_assert_int_eq(last_err, _i == 0 ? ERR_REFUSED : ERR_ADDRESS);
}
END_TEST

/* Goal: a connect can be canceled while resolving, while connecting, and between success and its callback. */
START_TEST(connect_is_canceled)
{
    listen_on("127.0.0.1");
    uint16_t port = net->listener_port(listener);
    finish();
    connect_to(_i == 0 ? "localhost" : "127.0.0.1", port, expect_on_connected);
    net->connect_cancel(net, &connecting);
    ck_assert_uint_eq(callbacks, 0);
    uv_env_run(uv);
    ck_assert_uint_eq(callbacks, 1);
    ck_assert_int_eq(last_err, ERR_CANCELED);
}
END_TEST

static struct stream_write small_writes[3];
static char small_text[3] = "abc";
static const struct iovec small_iov = {.iov_base = small_text, .iov_len = sizeof(small_text)};

static void on_flood_written(struct stream_write *req, enum err err)
{
    ck_assert(!client.is_closed);
    if (req == &request) {
        ck_assert_int_eq(err, ERR_CANCELED);
        mem_free(request_iov[0].iov_base);
        ck_assert_uint_eq(callbacks, 1);
    } else {
        ck_assert_ptr_eq(req, &small_writes[callbacks == 0 ? 0 : callbacks - 1]);
        ck_assert_int_eq(err, callbacks == 0 ? OK : ERR_CANCELED);
    }
    callbacks++;
}

static int held = -1; /* accepted, and kept open until the client has closed */

static void refuse_held(void)
{
    net->refuse(net, held);
    held = -1;
    finish();
}

static void on_flood_closed(void *owner)
{
    on_closed(owner);
    if (held >= 0) {
        refuse_held();
    }
}

static void on_refused(void *owner, struct listener *from, int accepted)
{
    (void)owner;
    (void)from;
    accepted_count++;
    held = accepted;
    if (client.is_closed) {
        refuse_held();
    }
}

static void flood_on_connected(struct stream_connect *req, enum err err, struct stream *stream)
{
    (void)req;
    ck_assert_int_eq(err, OK);
    client.stream = stream;
    net->stream_start(stream, &handlers, &client);
    for (size_t i = 0; i < 3; i++) {
        small_writes[i] = (struct stream_write){.iov = &small_iov, .count = 1, .cb = on_flood_written};
    }
    net->stream_write(stream, &small_writes[0]);
    send_pattern(); /* more than two socket buffers take */
    request.cb = on_flood_written;
    net->stream_write(stream, &small_writes[1]);
    net->stream_write(stream, &small_writes[2]);
    net->stream_close(stream, on_flood_closed);
    ck_assert_uint_eq(callbacks, 0);
    ck_assert(!client.is_closed);
}

/* Goal: closing cancels the writes that wait, in order, then calls back last. Method: a small write that the socket
 * takes, a large one that it cannot take, two small ones behind, and a close in the same breath. */
START_TEST(close_cancels_pending_writes_first)
{
    struct errmsg msg;
    ck_assert_int_eq(net->listen(net, "127.0.0.1", 0, &listener, on_refused, &listener, &msg), OK);
    connect_to("127.0.0.1", net->listener_port(listener), flood_on_connected);
    uv_env_run(uv);
    ck_assert_uint_eq(callbacks, 4);
    ck_assert(client.is_closed);
}
END_TEST

static void on_any_written(struct stream_write *req, enum err err)
{
    (void)req;
    last_err = err;
    callbacks++;
    if (err == OK) {
        net->stream_write(client.stream, &small_writes[0]);
    } else {
        net->stream_close(client.stream, on_unstarted_closed);
    }
}

static void endless_on_connected(struct stream_connect *req, enum err err, struct stream *stream)
{
    (void)req;
    ck_assert_int_eq(err, OK);
    client.stream = stream;
    small_writes[0] = (struct stream_write){.iov = &small_iov, .count = 1, .cb = on_any_written};
    net->stream_write(stream, &small_writes[0]);
}

static void on_enough(struct timer *unused)
{
    (void)unused;
    net->stream_close(server.stream, on_closed);
    net->listener_close(listener, on_listener_closed);
    uv_env_stop(uv);
}

static void sink_on_read(void *owner, enum err err, size_t size)
{
    (void)owner;
    (void)err;
    (void)size;
}

static const struct stream_handlers sink = {.on_alloc = on_alloc, .on_read = sink_on_read};

static void sink_on_accepted(void *owner, struct listener *from, int accepted)
{
    (void)owner;
    (void)from;
    ck_assert_int_eq(net->adopt(net, accepted, &server.stream), OK);
    net->stream_start(server.stream, &sink, &server);
    timer_init(&timer, on_enough);
    env_timer(env, &timer, 5000);
}

/* Goal: a writer whose every write succeeds at once does not hold the loop, and a peer that is gone ends it with an
 * error. Method: each callback writes again, to a reader on the same loop; a timer ends it by closing the reader. */
START_TEST(endless_writer_leaves_the_loop_to_others)
{
    ck_assert_int_eq(net->listen(net, "127.0.0.1", 0, &listener, sink_on_accepted, &listener, NULL), OK);
    connect_to("127.0.0.1", net->listener_port(listener), endless_on_connected);
    uv_env_run(uv);
    ck_assert(server.is_closed);
    ck_assert_uint_gt(callbacks, 1);
    ck_assert_int_ne(last_err, OK);
}
END_TEST

/* Goal: what cannot be listened on says so with host, port and cause. */
START_TEST(listen_failures_name_the_address)
{
    struct errmsg msg = {{0}};
    struct listener *other = NULL;
    char port[16];
    listen_on("127.0.0.1");
    uint16_t used = net->listener_port(listener);
    snprintf(port, sizeof(port), ":%u", used);
    ck_assert_int_eq(net->listen(net, "127.0.0.1", used, NULL, on_accepted, &other, &msg), ERR_ADDRESS);
    ck_assert_msg(strstr(msg.text, port) != NULL && strstr(msg.text, "in use") != NULL, "%s", msg.text);
    ck_assert_int_eq(net->listen(net, "192.0.2.1", 0, NULL, on_accepted, &other, &msg), ERR_ADDRESS);
    ck_assert_msg(strstr(msg.text, "192.0.2.1") != NULL, "%s", msg.text);
    ck_assert_int_eq(net->listen(net, "balsa.invalid", 0, NULL, on_accepted, &other, &msg), ERR_ADDRESS);
    ck_assert_msg(strstr(msg.text, "balsa.invalid") != NULL, "%s", msg.text);
    finish();
}
END_TEST

/* Goal: out of descriptors, a connection is closed instead of left waiting, and accepting goes on afterwards. Method: a
 * blocking client socket made before all other descriptors are used up. */
static int plain_client = -1;
static int fillers[64];
static size_t filler_count;

static void full_on_timer(struct timer *unused)
{
    (void)unused;
    char byte;
    ssize_t got = recv(plain_client, &byte, 1, MSG_DONTWAIT);
    if (got < 0) {
        env_timer(env, &timer, 1000);
        return;
    }
    ck_assert_int_eq(got, 0); /* closed by the listener */
    ck_assert_int_eq(accepted_count, 0);
    close(plain_client);
    while (filler_count > 0) {
        close(fillers[--filler_count]);
    }
    connect_to("127.0.0.1", net->listener_port(listener), flood_on_connected);
}

START_TEST(connection_is_refused_when_descriptors_run_out)
{
    struct rlimit before;
    ck_assert_int_eq(net->listen(net, "127.0.0.1", 0, &listener, on_refused, &listener, NULL), OK);
    plain_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(net->listener_port(listener))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ck_assert_int_eq(connect(plain_client, (struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    struct rlimit small = {.rlim_cur = (rlim_t)plain_client + 20, .rlim_max = before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &small), 0);
    filler_count = 0;
    for (int fd; (fd = dup(plain_client)) >= 0;) {
        close(fd);
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        fillers[filler_count++] = fd;
    }
    timer_init(&timer, full_on_timer);
    env_timer(env, &timer, 0);
    uv_env_run(uv);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    ck_assert_int_eq(accepted_count, 1);
}
END_TEST

static Suite *uv_net_suite(void)
{
    Suite *suite = suite_create("uv_net");
    TCase *tcase = tcase_create("loopback");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, echo_returns_every_byte_in_order, 0, 3);
    tcase_add_test(tcase, detach_and_adopt_lose_no_byte);
    tcase_add_loop_test(tcase, connect_fails_by_callback, 0, 2);
    tcase_add_loop_test(tcase, connect_is_canceled, 0, 2);
    tcase_add_test(tcase, close_cancels_pending_writes_first);
    tcase_add_test(tcase, endless_writer_leaves_the_loop_to_others);
    tcase_add_test(tcase, listen_failures_name_the_address);
    tcase_add_test(tcase, connection_is_refused_when_descriptors_run_out);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(uv_net_suite)
