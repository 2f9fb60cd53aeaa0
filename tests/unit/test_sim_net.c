/* The simulated network: bytes in order whatever happens on the way, and every way in which a connection ends. */
#include "tests/lib/sim_net.h"

#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"

enum {
    NODE_COUNT = 2,
    PORT = 9092,
    ROOM = 5000,
    PIECE_COUNT = 40,
    PIECE_MAX = 20000
};

struct node {
    struct sim_disk *disk;
    struct sim_process *process;
    struct env *env;
    struct listener *listener;
    struct stream *stream;
    struct stream_connect connect;
    struct stream_write write;
    struct iovec iov[2];
    uint8_t *piece;
    uint8_t room[ROOM];
    uint64_t sent;
    uint64_t received;
    unsigned pieces;
    bool is_writing;
    bool is_connected;
    bool is_refused;
    bool hops; /* leaves its stream for another one of the same connection, on another shard */
    bool has_ended;
    bool is_closed;
    enum err err; /* of the last write, connect or end */
};

static struct sim_world *world;
static struct node nodes[NODE_COUNT];
static const char *const names[NODE_COUNT] = {"n1", "n2"};
static struct node *const client = &nodes[0];
static struct node *const server = &nodes[1];

static void open_all(uint64_t seed)
{
    static const char *const mounts[NODE_COUNT] = {"/n1", "/n2"};
    world = sim_world_open(seed);
    memset(nodes, 0, sizeof(nodes));
    for (size_t i = 0; i < NODE_COUNT; i++) {
        nodes[i].disk = sim_disk_open(world, mounts[i]);
        nodes[i].process = sim_process_open(world, nodes[i].disk, names[i]);
        nodes[i].env = sim_process_env(nodes[i].process, 0);
    }
}

static void close_all(void)
{
    for (size_t i = 0; i < NODE_COUNT; i++) {
        sim_process_kill(nodes[i].process);
        sim_process_close(nodes[i].process);
        sim_disk_close(nodes[i].disk);
    }
    sim_world_close(world);
}

static uint8_t pattern(uint64_t position)
{
    return (uint8_t)(position * 7 + position / 253);
}

static void on_alloc(void *owner, size_t size_hint, uint8_t **data, size_t *size)
{
    struct node *node = owner;
    (void)size_hint;
    *data = node->room;
    *size = sizeof(node->room);
}

static void hop(struct node *node);

static void on_read(void *owner, enum err err, size_t size)
{
    struct node *node = owner;
    size_t same = 0;
    ck_assert(!node->has_ended);
    if (err != OK) {
        node->has_ended = true;
        node->err = err;
        return;
    }
    ck_assert_uint_gt(size, 0);
    while (same < size && node->room[same] == pattern(node->received + same)) {
        same++;
    }
    ck_assert_uint_eq(same, size);
    node->received += size;
    if (node->hops && node->received % 3 == 0) {
        hop(node);
    }
}

static const struct stream_handlers handlers = {.on_alloc = on_alloc, .on_read = on_read};

static void hop(struct node *node)
{
    int token;
    struct env *other = sim_process_env(node->process, (unsigned)(node->received % 2));
    ck_assert_int_eq(node->env->net->stream_detach(node->stream, &token), OK);
    ck_assert_int_eq(other->net->adopt(other->net, token, &node->stream), OK);
    other->net->stream_start(node->stream, &handlers, node);
}

static void send_piece(struct node *node);

static void on_written(struct stream_write *req, enum err err)
{
    struct node *node = container_of(req, struct node, write);
    node->is_writing = false;
    mem_free(node->piece);
    node->piece = NULL;
    if (err != OK) {
        node->err = err;
        return;
    }
    send_piece(node);
}

static void send_piece(struct node *node)
{
    if (node->pieces == PIECE_COUNT) {
        return;
    }
    size_t size = 2 + (size_t)(env_random(node->env) % PIECE_MAX);
    node->piece = mem_alloc_raw(size);
    for (size_t i = 0; i < size; i++) {
        node->piece[i] = pattern(node->sent + i);
    }
    size_t half = size / 2;
    node->iov[0] = (struct iovec){.iov_base = node->piece, .iov_len = half};
    node->iov[1] = (struct iovec){.iov_base = node->piece + half, .iov_len = size - half};
    node->write = (struct stream_write){.iov = node->iov, .count = 2, .cb = on_written};
    node->sent += size;
    node->pieces++;
    node->is_writing = true;
    node->env->net->stream_write(node->stream, &node->write);
    ck_assert(node->is_writing);
}

static void on_accepted(void *owner, struct listener *listener, int accepted)
{
    struct node *node = owner;
    ck_assert_ptr_eq(listener, node->listener);
    if (node->is_refused) {
        node->env->net->refuse(node->env->net, accepted);
        return;
    }
    struct env *other = sim_process_env(node->process, 1); /* another shard takes it */
    ck_assert_int_eq(other->net->adopt(other->net, accepted, &node->stream), OK);
    char text[NET_ADDRESS_TEXT_SIZE];
    uint16_t port;
    other->net->stream_peer(node->stream, text, sizeof(text), &port);
    ck_assert_str_eq(text, "10.0.0.1");
    other->net->stream_local(node->stream, text, sizeof(text), &port);
    ck_assert_str_eq(text, "10.0.0.2");
    ck_assert_uint_eq(port, PORT);
    other->net->stream_start(node->stream, &handlers, node);
    node->is_connected = true;
}

static void on_connected(struct stream_connect *req, enum err err, struct stream *stream)
{
    struct node *node = container_of(req, struct node, connect);
    node->err = err;
    node->is_connected = true;
    if (err == OK) {
        node->stream = stream;
        node->env->net->stream_start(stream, &handlers, node);
        send_piece(node);
    }
}

static void server_start(void *context)
{
    struct node *node = context;
    ck_assert_int_eq(node->env->net->listen(node->env->net, "", PORT, node, on_accepted, &node->listener, NULL), OK);
}

static void client_start(void *context)
{
    struct node *node = context;
    node->connect = (struct stream_connect){.host = "n2", .port = PORT, .cb = on_connected};
    node->env->net->connect(node->env->net, &node->connect);
    ck_assert(!node->is_connected);
}

static void start(uint64_t seed)
{
    open_all(seed);
    ck_assert(sim_process_run(server->process, server_start, server));
    ck_assert(sim_process_run(client->process, client_start, client));
}

static bool is_all_received(void *context)
{
    (void)context;
    return client->pieces == PIECE_COUNT && server->received == client->sent;
}

static bool has_client_ended(void *context)
{
    (void)context;
    return client->has_ended;
}

static bool is_client_answered(void *context)
{
    (void)context;
    return client->is_connected;
}

static void on_closed(void *owner)
{
    struct node *node = owner;
    ck_assert(!node->is_closed);
    ck_assert(!node->is_writing);
    node->is_closed = true;
}

static void stream_end(void *context)
{
    struct node *node = context;
    node->env->net->stream_close(node->stream, on_closed);
    ck_assert(!node->is_closed);
}

static void listener_end(void *context)
{
    struct node *node = context;
    node->env->net->listener_close(node->listener, NULL);
}

static bool is_all_closed(void *context)
{
    (void)context;
    return client->is_closed && server->is_closed;
}

static bool has_server_ended(void *context)
{
    (void)context;
    return server->has_ended;
}

/* Goal: bytes arrive whole and in order, over cuts that heal and pauses, and while the connection changes its shard;
 * then both ends close in order and leave nothing. */
START_TEST(bytes_arrive_in_order_over_cuts_and_pauses)
{
    start((uint64_t)_i);
    server->hops = _i % 2 == 1;
    for (int round = 0; round < 20; round++) {
        switch (sim_world_below(world, 4)) {
        case 0:
            sim_net_cut(world, "n1", "n2");
            break;
        case 1:
            sim_net_cut(world, "n2", "n1");
            break;
        case 2:
            sim_process_pause(server->process);
            break;
        default:
            break;
        }
        (void)sim_world_run_until(world, is_all_received, NULL, 1 + (int64_t)sim_world_below(world, 5000));
        sim_net_heal(world, "n1", "n2");
        sim_net_heal_all(world);
        sim_process_resume(server->process);
        (void)sim_world_run_until(world, is_all_received, NULL, 1 + (int64_t)sim_world_below(world, 5000));
    }
    /* A connect that met a cut has timed out: that is an answer as well. */
    enum sim_end end = sim_world_run_until(world, is_all_received, NULL, 100000000);
    ck_assert(end == SIM_REACHED || client->err == ERR_TIMED_OUT);
    if (end == SIM_REACHED) {
        ck_assert(sim_process_run(client->process, stream_end, client));
        ck_assert_int_eq(sim_world_run_until(world, has_server_ended, NULL, 1000000), SIM_REACHED);
        ck_assert_int_eq(server->err, ERR_CLOSED);
        ck_assert(sim_process_run(server->process, stream_end, server));
        ck_assert_int_eq(sim_world_run_until(world, is_all_closed, NULL, 1000000), SIM_REACHED);
        ck_assert(sim_process_run(server->process, listener_end, server));
        ck_assert_int_eq(sim_world_run_until(world, NULL, NULL, 1000000), SIM_IDLE);
        sim_process_close(server->process);
        server->process = sim_process_open(world, server->disk, "n2");
    }
    close_all();
}
END_TEST

/* Goal: the other end's death is noticed: at once after a kill, late after a power loss, and never twice. */
START_TEST(death_of_a_process_is_seen_by_its_peers)
{
    bool is_power_loss = _i % 2 != 0;
    start((uint64_t)_i);
    (void)sim_world_run_until(world, is_all_received, NULL, 3000 + (int64_t)sim_world_below(world, 3000));
    if (is_power_loss) {
        sim_disk_power_loss(server->disk);
    } else {
        sim_process_kill(server->process);
    }
    int64_t died_us = sim_world_now_us(world);
    (void)sim_world_run_until(world, has_client_ended, NULL, 200000000);
    if (client->stream != NULL) {
        ck_assert(client->has_ended);
        ck_assert(client->err != OK && client->err != ERR_CLOSED);
        ck_assert(is_power_loss == (sim_world_now_us(world) - died_us > 1000000));
    } else {
        ck_assert_int_ne(client->err, OK);
    }
    close_all();
}
END_TEST

/* Goal: a reset breaks both ends. */
START_TEST(reset_breaks_both_ends)
{
    start((uint64_t)_i);
    while (!server->is_connected || !client->is_connected) {
        ck_assert_int_eq(sim_world_step(world), SIM_REACHED);
    }
    sim_net_reset(client->process);
    (void)sim_world_run_until(world, NULL, NULL, 1000000);
    ck_assert(client->has_ended);
    ck_assert(server->has_ended);
    ck_assert(!client->is_writing);
    close_all();
}
END_TEST

/* Goal: connects are refused by a port without listener and by a process that was killed, time out over a cut and where
 * power was lost, and are reset when their listener refuses them; all by callback. */
START_TEST(connects_fail_in_every_way)
{
    open_all(1);
    if (_i == 1) {
        sim_process_kill(server->process);
    }
    if (_i == 2) {
        sim_net_cut(world, "n2", "n1");
    }
    if (_i == 4) {
        sim_disk_power_loss(server->disk);
    } else if (_i >= 2) {
        server->is_refused = true;
        ck_assert(sim_process_run(server->process, server_start, server));
    }
    ck_assert(sim_process_run(client->process, client_start, client));
    ck_assert_int_eq(sim_world_run_until(world, is_client_answered, NULL, 100000000), SIM_REACHED);
    if (_i == 3) {
        (void)sim_world_run_until(world, has_client_ended, NULL, 1000000);
        ck_assert(client->has_ended);
    }
    static const enum err errs[] = {ERR_REFUSED, ERR_REFUSED, ERR_TIMED_OUT, ERR_IO, ERR_TIMED_OUT};
    ck_assert_int_eq(client->err, errs[_i]);
    close_all();
}
END_TEST

/* Goal: closing cancels the write that waits for a reader, then calls back last. */
START_TEST(close_cancels_pending_writes_first)
{
    start((uint64_t)_i);
    while (!server->is_connected || !client->is_connected) {
        ck_assert_int_eq(sim_world_step(world), SIM_REACHED);
    }
    server->env->net->stream_pause(server->stream);
    (void)sim_world_run_until(world, NULL, NULL, 1000000);
    ck_assert(client->is_writing || client->pieces == PIECE_COUNT);
    bool was_writing = client->is_writing;
    client->err = OK;
    ck_assert(sim_process_run(client->process, stream_end, client));
    (void)sim_world_run_until(world, NULL, NULL, 1000000);
    ck_assert(client->is_closed);
    ck_assert_int_eq(client->err, was_writing ? ERR_CANCELED : OK);
    close_all();
}
END_TEST

static void cancel_connect(void *context)
{
    struct node *node = context;
    node->env->net->connect_cancel(node->env->net, &node->connect);
    ck_assert(!node->is_connected);
}

/* Goal: a connect can be canceled at any moment before its callback. */
START_TEST(connect_is_canceled)
{
    start((uint64_t)_i);
    for (int i = 0; i < _i % 4 && !client->is_connected; i++) {
        (void)sim_world_step(world);
    }
    bool is_late = client->is_connected;
    if (!is_late) {
        ck_assert(sim_process_run(client->process, cancel_connect, client));
    }
    (void)sim_world_run_until(world, is_client_answered, NULL, 1000000);
    ck_assert_int_eq(client->err, is_late ? OK : ERR_CANCELED);
    ck_assert_ptr_eq(client->stream, is_late ? client->stream : NULL);
    close_all();
}
END_TEST

static Suite *sim_net_suite(void)
{
    Suite *suite = suite_create("sim_net");
    TCase *tcase = tcase_create("net");
    tcase_add_loop_test(tcase, bytes_arrive_in_order_over_cuts_and_pauses, 0, 50);
    tcase_add_loop_test(tcase, death_of_a_process_is_seen_by_its_peers, 0, 40);
    tcase_add_loop_test(tcase, reset_breaks_both_ends, 0, 20);
    tcase_add_loop_test(tcase, connects_fail_in_every_way, 0, 5);
    tcase_add_loop_test(tcase, close_cancels_pending_writes_first, 0, 20);
    tcase_add_loop_test(tcase, connect_is_canceled, 0, 20);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(sim_net_suite)
