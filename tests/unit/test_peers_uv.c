/* Links over real sockets: one loop plays two brokers, the second one with two shards. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/uv_env.h"
#include "replication/peers.h"
#include "replication/raft_wire.h"
#include "tests/lib/test.h"

enum {
    BROKER_COUNT = 2,
    SHARD_MAX = 2,
    LIMIT_US = 20000000
};

struct broker_end {
    struct peer_identity self;
    struct peers *peers[SHARD_MAX];
    unsigned shard_count;
    struct listener *listener;
    unsigned up_count, down_count, reset_count, refused_count, request_count, handed_count;
    char refused_cause[ERRMSG_SIZE];
    uint64_t received;      /* messages */
    uint64_t received_size; /* bytes of entries, all as they were sent */
    unsigned closed_count;
};

static struct uv_env *uv;
static struct env *env;
static struct metrics *metrics;
static struct broker_end brokers[BROKER_COUNT];
static struct broker_end *const a = &brokers[0];
static struct broker_end *const b = &brokers[1];
static struct timer limit;

static void on_limit(struct timer *timer)
{
    (void)timer;
    ck_abort_msg("it takes too long");
}

static uint8_t pattern(uint64_t index, size_t at)
{
    return (uint8_t)(index * 31 + at * 7 + at / 251);
}

static void on_receive(void *owner, uint64_t group, const struct replica_message *message)
{
    struct broker_end *broker = owner;
    ck_assert_uint_eq(group, 7);
    ck_assert_int_eq(message->kind, REPLICA_APPEND);
    for (unsigned i = 0; i < message->append.entry_count; i++) {
        struct bytes bytes = entry_payload(message->append.entries[i], NULL);
        size_t same = 0;
        while (same < bytes.size && bytes.data[same] == pattern(message->append.entries[i]->index, same)) {
            same++;
        }
        ck_assert_uint_eq(same, bytes.size);
        broker->received_size += bytes.size;
    }
    broker->received++;
    raft_wire_release(message);
}

static void on_request(void *owner, struct peer_request *request)
{
    struct broker_end *broker = owner;
    broker->request_count++;
    peers_reply(request, request->payload, false);
}

static void on_up(void *owner, const struct peer_identity *identity)
{
    struct broker_end *broker = owner;
    ck_assert_int_ne(identity->node, broker->self.node);
    broker->up_count++;
}

static void on_down(void *owner, int32_t node, uint64_t server_id, bool is_reset)
{
    struct broker_end *broker = owner;
    (void)node;
    (void)server_id;
    broker->down_count++;
    broker->reset_count += is_reset;
}

static void on_refused(void *owner, const char *host, uint16_t port, const char *cause)
{
    struct broker_end *broker = owner;
    (void)host;
    (void)port;
    broker->refused_count++;
    memcpy(broker->refused_cause, cause, strlen(cause) + 1);
}

static void hand_over(void *owner, unsigned shard, int token, const struct peer_hello *hello)
{
    struct broker_end *broker = owner;
    broker->handed_count++;
    peers_adopt(broker->peers[shard], token, hello);
}

static void on_accept(void *owner, struct listener *listener, int token)
{
    struct broker_end *broker = owner;
    (void)listener;
    peers_accept(broker->peers[0], token, hand_over);
}

static void broker_open(unsigned number, unsigned shard_count)
{
    struct broker_end *broker = &brokers[number];
    broker->shard_count = shard_count;
    broker->self = (struct peer_identity){.node = (int32_t)number + 1, .host = "127.0.0.1"};
    broker->self.server_id = (uint64_t)(number + 1) << 32 | 99;
    memcpy(broker->self.cluster_id, "AAAAAAAAAAAAAAAAAAAAAA", CLUSTER_ID_TEXT_SIZE);
    for (unsigned shard = 0; shard < shard_count; shard++) {
        struct peers_params params = {
            .env = env,
            .shard = shard,
            .shard_count = shard_count,
            .self = &broker->self,
            .owner = broker,
            .receive = on_receive,
            .request = on_request,
            .up = on_up,
            .down = on_down,
            .refused = on_refused,
        };
        broker->peers[shard] = peers_open(&params);
    }
    ck_assert_int_eq(env->net->listen(env->net, "127.0.0.1", 0, broker, on_accept, &broker->listener, NULL), OK);
    broker->self.port = env->net->listener_port(broker->listener);
}

static void setup(void)
{
    uv_process_prepare(1);
    metrics = metrics_open();
    memset(brokers, 0, sizeof brokers);
    ck_assert_int_eq(uv_env_open(0, metrics, &uv, NULL), OK);
    env = uv_env_env(uv);
    timer_init(&limit, on_limit);
    env_timer(env, &limit, LIMIT_US);
    broker_open(0, 1);
    broker_open(1, 2);
}

static void on_closed(void *owner)
{
    struct broker_end *broker = owner;
    broker->closed_count++;
}

static void broker_close(struct broker_end *broker)
{
    for (unsigned shard = 0; shard < broker->shard_count; shard++) {
        peers_close(broker->peers[shard], broker, on_closed);
    }
    env->net->listener_close(broker->listener, NULL);
    broker->listener = NULL;
}

static void teardown(void)
{
    ck_assert_uint_eq(a->closed_count, 1);
    ck_assert_uint_eq(b->closed_count, 2);
    ck_assert_int_eq(metrics_value(metrics, METRIC_PEER_QUEUE_BYTES), 0);
    uv_env_close(uv);
    metrics_close(metrics);
}

/* ---- Steps */

/* The loop ends only when nothing is open, so whoever waits does what comes next from a callback. */
struct step {
    bool (*is_reached)(void);
    void (*then)(void);
};
static const struct step *steps;
static size_t step_count;
static size_t step_now;

static void on_step(struct timer *timer)
{
    while (step_now < step_count && steps[step_now].is_reached()) {
        steps[step_now++].then();
    }
    if (step_now < step_count) {
        env_timer(env, timer, 1000);
    }
}

static void finish(void)
{
    for (unsigned i = 0; i < BROKER_COUNT; i++) {
        if (brokers[i].listener != NULL) {
            broker_close(&brokers[i]);
        }
    }
    env_timer_cancel(env, &limit);
    uv_env_stop(uv);
}

static void run(const struct step *given, size_t count)
{
    static struct timer timer;
    timer_init(&timer, on_step);
    steps = given;
    step_count = count;
    step_now = 0;
    env_timer(env, &timer, 0);
    uv_env_run(uv);
    ck_assert_uint_eq(step_now, count);
}

static bool always(void)
{
    return true;
}

/* ---- Exchange */

static const size_t sizes[] = {1, 100, 65536, MIB(1), ENTRY_SIZE_MAX, 3};

static void connect_all(void)
{
    peers_set(a->peers[0], 2, "localhost", b->self.port);
    peers_set(b->peers[0], 1, "127.0.0.1", a->self.port);
    peers_set(b->peers[1], 1, "127.0.0.1", a->self.port);
}

static bool are_up(void)
{
    return a->up_count == 1 && b->up_count == 2;
}

static void send_entry(struct peers *peers, uint64_t server_id, uint64_t index, size_t size)
{
    struct shared *block = shared_new(size);
    for (size_t i = 0; i < size; i++) {
        block->data[i] = pattern(index, i);
    }
    struct slice slice = {block, {block->data, size}};
    struct entry *entry = entry_new(ENTRY_COMMAND, index, 1, &slice, 1);
    struct entry *entries[1] = {entry};
    struct replica_message message = {.kind = REPLICA_APPEND, .peer = server_id, .term = 1};
    message.append.prev_index = index - 1;
    message.append.prev_term = index > 1 ? 1 : 0;
    message.append.entries = entries;
    message.append.entry_count = 1;
    peers_send(peers, 7, &message);
    entry_release(entry);
}

static void send_all(void)
{
    for (size_t i = 0; i < array_count(sizes); i++) {
        /* the largest one alone is over what a queue holds beside others */
        size_t size = sizes[i] == ENTRY_SIZE_MAX ? MIB(10) : sizes[i];
        send_entry(a->peers[0], b->self.server_id, i + 1, size);
        send_entry(b->peers[1], a->self.server_id, i + 1, size / 2 + 1);
    }
}

static bool are_received(void)
{
    return a->received == array_count(sizes) && b->received == array_count(sizes);
}

static void send_largest(void)
{
    ck_assert_uint_eq(b->handed_count, 1);
    ck_assert_uint_eq(a->handed_count, 2);
    send_entry(a->peers[0], b->self.server_id, 99, ENTRY_SIZE_MAX);
}

static bool is_largest_received(void)
{
    return b->received == array_count(sizes) + 1;
}

/* Goal: entries of every size arrive as they were, both ways, through a connection that changed its shard. */
START_TEST(entries_arrive_over_sockets)
{
    static const struct step plan[] = {
        {always, connect_all}, {are_up, send_all}, {are_received, send_largest}, {is_largest_received, finish}};
    run(plan, array_count(plan));
}
END_TEST

static struct peer_call call;
static struct shared *payload;
static unsigned called_count;

static void on_called(struct peer_call *done)
{
    called_count++;
    ck_assert_int_eq(done->err, OK);
    ck_assert(bytes_equal(done->reply.bytes, done->payload.bytes));
}

static void send_call(void)
{
    payload = shared_new(MIB(3));
    for (size_t i = 0; i < payload->size; i++) {
        payload->data[i] = pattern(5, i);
    }
    call = (struct peer_call){.node = 2, .method = 4, .timeout_ms = 10000, .cb = on_called};
    call.payload = (struct slice){payload, {payload->data, payload->size}};
    peers_call(a->peers[0], &call);
}

static bool is_called(void)
{
    return called_count == 1;
}

static void close_b(void)
{
    shared_release(payload);
    broker_close(b);
}

static bool is_down(void)
{
    return a->down_count == 1;
}

static void check_reset(void)
{
    ck_assert_uint_eq(a->reset_count, 1);
    finish();
}

/* Goal: a call of 3 MiB and its reply; then one side ends and the other is told that it did. */
START_TEST(calls_and_ends_over_sockets)
{
    static const struct step plan[] = {
        {always, connect_all}, {are_up, send_call}, {is_called, close_b}, {is_down, check_reset}};
    called_count = 0;
    run(plan, array_count(plan));
}
END_TEST

static void connect_strangers(void)
{
    memcpy(b->self.cluster_id, "BBBBBBBBBBBBBBBBBBBBBB", CLUSTER_ID_TEXT_SIZE);
    peers_add_seed(a->peers[0], "127.0.0.1", a->self.port); /* ourselves */
    peers_add_seed(a->peers[0], "127.0.0.1", b->self.port);
}

static bool are_refused(void)
{
    return a->refused_count == 1 && b->refused_count == 1;
}

static void check_refused(void)
{
    ck_assert_str_eq(a->refused_cause, b->refused_cause);
    ck_assert_ptr_nonnull(strstr(a->refused_cause, "belongs to cluster AAAAAAAAAAAAAAAAAAAAAA"));
    memcpy(b->self.cluster_id, "AAAAAAAAAAAAAAAAAAAAAA", CLUSTER_ID_TEXT_SIZE);
}

static bool is_a_up(void)
{
    return a->up_count == 1;
}

/* Goal: the text of a refusal reaches who is refused, and when the cause is gone the link is made. */
START_TEST(refusals_cross_sockets)
{
    static const struct step plan[] = {{always, connect_strangers}, {are_refused, check_refused}, {is_a_up, finish}};
    run(plan, array_count(plan));
    ck_assert_uint_eq(a->refused_count, 1);
}
END_TEST

static Suite *peers_uv_suite(void)
{
    Suite *suite = suite_create("peers_uv");
    TCase *sockets = tcase_create("sockets");
    tcase_set_timeout(sockets, 60);
    tcase_add_checked_fixture(sockets, setup, teardown);
    tcase_add_test(sockets, entries_arrive_over_sockets);
    tcase_add_test(sockets, calls_and_ends_over_sockets);
    tcase_add_test(sockets, refusals_cross_sockets);
    suite_add_tcase(suite, sockets);
    return suite;
}

TEST_MAIN(peers_uv_suite)
