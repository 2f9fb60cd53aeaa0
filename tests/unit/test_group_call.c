/* A group's call between the connection's shard and shard 0: every order in which its messages can arrive, the answer
 * can be given and the client can go away. The functions of request.c, shard.c and coordinator.c that it needs stand
 * here: two queues and counters. That the call is freed, once and not too early, is AddressSanitizer's to tell. */
#include "broker/group_call.h"

#include <string.h>

#include "base/mem.h"
#include "tests/lib/test.h"

enum {
    STEPS_MAX = 32,
    QUEUE_SIZE = 8
};

enum manner { /* of the answer */
    AT_ONCE,
    LATER,
    TOO_LARGE_AT_ONCE, /* there is no memory for it */
    TOO_LARGE_LATER
};

struct step { /* one of the two */
    struct message *message;
    struct coordinator_call *call;
};

struct queue {
    struct step steps[QUEUE_SIZE];
    unsigned first, count;
};

static struct {
    enum manner manner;
    struct shard origin, home;
    struct request request;
    struct queue to_origin, to_home;
    struct group_call *waiting; /* on shard 0 */
    bool is_decodable;
    bool has_gone;
    unsigned withdrawn, responded, killed, let_go, runs;
} f;

/* The orders, like an odometer: what was chosen at each step, and of how many. */
static struct {
    unsigned chosen[STEPS_MAX], options[STEPS_MAX], depth;
} order;

/* ---- Around it ---- */

static void push(struct queue *queue, struct step step)
{
    ck_assert_uint_lt(queue->first + queue->count, QUEUE_SIZE);
    queue->steps[queue->first + queue->count++] = step;
}

void shard_send(struct shard *shard, unsigned number, struct message *message)
{
    (void)shard;
    push(number == f.home.number ? &f.to_home : &f.to_origin, (struct step){.message = message});
}

void coordinator_send(struct coordinator_call *call, struct shard *origin)
{
    call->origin = origin;
    call->home = &f.home;
    push(&f.to_home, (struct step){.call = call});
}

void coordinator_return(struct coordinator_call *call)
{
    push(&f.to_origin, (struct step){.call = call});
}

void coordinator_withdraw(struct coordinator *coordinator, struct group_call *call)
{
    (void)coordinator;
    ck_assert_ptr_eq(call, f.waiting);
    f.waiting = NULL;
    f.withdrawn++;
    group_call_answer(call, NULL, "");
}

bool request_decode(struct request *request, const struct schema *schema, void *message)
{
    (void)request;
    (void)schema;
    (void)message;
    return f.is_decodable;
}

struct slice request_encode(const struct request *request, const struct schema *schema, const void *message)
{
    (void)request;
    (void)schema;
    (void)message;
    struct shared *block = shared_new(4);
    memset(block->data, 0, 4);
    return (struct slice){block, {block->data, 4}};
}

void request_respond_raw(struct request *request, struct slice response)
{
    ck_assert_ptr_null(request->on_gone);
    ck_assert_ptr_nonnull(response.block);
    f.responded++;
}

void request_kill(struct request *request, const char *reason)
{
    (void)reason;
    ck_assert_ptr_null(request->on_gone);
    f.killed++;
}

void request_let_go(struct request *request)
{
    ck_assert_ptr_eq(request, &f.request);
    ck_assert_uint_eq(f.responded + f.killed, 0);
    f.let_go++;
}

void request_peer_address(struct request *request, char *host, size_t size)
{
    (void)request;
    ck_assert_uint_ge(size, NET_ADDRESS_TEXT_SIZE);
    host[0] = '\0';
}

static void answer(struct group_call *call)
{
    bool is_too_large = f.manner == TOO_LARGE_AT_ONCE || f.manner == TOO_LARGE_LATER;
    group_call_answer(call, NULL, is_too_large ? NULL : "");
}

static void run(struct group_call *call, struct coordinator *coordinator)
{
    (void)coordinator;
    ck_assert_ptr_nonnull(call->message);
    ck_assert_str_eq(call->client_host, "/");
    f.runs++;
    if (f.manner == AT_ONCE || f.manner == TOO_LARGE_AT_ONCE) {
        answer(call);
    } else {
        f.waiting = call;
    }
}

/* ---- One order ---- */

static void deliver(struct queue *queue)
{
    struct step step = queue->steps[queue->first++];
    queue->count--;
    if (step.message != NULL) {
        step.message->cb(step.message);
    } else if (queue == &f.to_home) {
        step.call->run(step.call, NULL);
    } else {
        step.call->back(step.call);
    }
}

static void give_answer(void)
{
    struct group_call *call = f.waiting;
    ck_assert_ptr_null(call->message); /* its memory may be gone */
    f.waiting = NULL;
    answer(call);
}

static void go_away(void)
{
    f.has_gone = true;
    f.request.on_gone(&f.request);
}

enum action {
    TO_HOME,
    TO_ORIGIN,
    ANSWER,
    GO
};

static unsigned possible(enum action actions[4])
{
    unsigned count = 0;
    if (f.to_home.count > 0) {
        actions[count++] = TO_HOME;
    }
    if (f.to_origin.count > 0) {
        actions[count++] = TO_ORIGIN;
    }
    if (f.waiting != NULL) {
        actions[count++] = ANSWER;
    }
    if (count > 0 && !f.has_gone && f.request.on_gone != NULL) {
        actions[count++] = GO;
    }
    return count;
}

static void begin(enum manner manner, size_t arena_size)
{
    memset(&f, 0, sizeof(f));
    f.manner = manner;
    f.is_decodable = true;
    f.origin.number = 1;
    f.request.shard = &f.origin;
    arena_init(&f.request.arena, arena_size);
    order.depth = 0;
}

static void play(void)
{
    enum action actions[4];
    unsigned count;
    group_call_send(&f.request, NULL, 100, run);
    while ((count = possible(actions)) > 0) {
        ck_assert_uint_lt(order.depth, STEPS_MAX);
        order.options[order.depth] = count;
        switch (actions[order.chosen[order.depth++]]) {
        case TO_HOME:
            deliver(&f.to_home);
            break;
        case TO_ORIGIN:
            deliver(&f.to_origin);
            break;
        case ANSWER:
            give_answer();
            break;
        case GO:
            go_away();
            break;
        }
    }
    arena_deinit(&f.request.arena);
}

static bool has_next_order(void)
{
    while (order.depth > 0) {
        unsigned last = --order.depth;
        if (order.chosen[last] + 1 < order.options[last]) {
            order.chosen[last]++;
            return true;
        }
        order.chosen[last] = 0;
    }
    return false;
}

/* ---- Claims ---- */

static const struct {
    const char *name;
    enum manner manner;
    bool is_held;
    bool is_killed;
    unsigned orders_min;
} manner_cases[] = {
    {"answered at once", AT_ONCE, false, false, 3},
    {"answered later", LATER, true, false, 10},
    {"too large, at once", TOO_LARGE_AT_ONCE, false, true, 3},
    {"too large, later", TOO_LARGE_LATER, true, true, 10},
};

/* Goal: in every order the request is run once, held if it waits, and ended once; a client that has gone is withdrawn
 * at most once, and only what waits is. */
START_TEST(every_order_ends_once)
{
    const char *name = manner_cases[_i].name;
    unsigned orders = 0;
    unsigned withdrawn = 0;
    memset(&order, 0, sizeof(order));
    do {
        begin(manner_cases[_i].manner, KIB(4));
        play();
        bool is_killed = manner_cases[_i].is_killed && f.withdrawn == 0;
        ck_assert_msg(f.runs == 1, "%s, order %u: run %u times", name, orders, f.runs);
        ck_assert_msg(f.let_go == (manner_cases[_i].is_held ? 1 : 0), "%s, order %u: held %u", name, orders, f.let_go);
        ck_assert_msg(f.responded == !is_killed && f.killed == is_killed, "%s, order %u: answered %u, killed %u", name,
                      orders, f.responded, f.killed);
        ck_assert_msg(f.withdrawn <= f.has_gone, "%s, order %u: withdrawn %u", name, orders, f.withdrawn);
        withdrawn += f.withdrawn;
        orders++;
    } while (has_next_order());
    ck_assert_msg(orders >= manner_cases[_i].orders_min, "%s: %u orders", name, orders);
    ck_assert_msg((withdrawn > 0) == manner_cases[_i].is_held, "%s: %u withdrawn", name, withdrawn);
}
END_TEST

/* Goal: a request that cannot be decoded, or not kept, goes no further. */
START_TEST(unreadable_requests_go_nowhere)
{
    memset(&order, 0, sizeof(order));
    begin(AT_ONCE, _i == 0 ? KIB(4) : 10);
    f.is_decodable = false;
    play();
    ck_assert_uint_eq(f.runs + f.responded + f.to_home.first, 0);
    ck_assert_uint_eq(f.killed, _i == 0 ? 0 : 1); /* request_decode() has ended the first */
}
END_TEST

static Suite *group_call_suite(void)
{
    Suite *suite = suite_create("group_call");
    TCase *tcase = tcase_create("orders");
    tcase_add_loop_test(tcase, every_order_ends_once, 0, (int)array_count(manner_cases));
    tcase_add_loop_test(tcase, unreadable_requests_go_nowhere, 0, 2);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(group_call_suite)
