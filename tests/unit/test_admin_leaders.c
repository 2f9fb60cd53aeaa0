/* What a drain asks of the broker that is to lead nothing, here or far away: everything it has, in requests that are
 * taken, again what could not be answered yet. Metadata, partitions and the way to the other broker are the test's:
 * functions of other files stand here in place of theirs. */
#include "base/mem.h"
#include "broker/admin_internal.h"
#include "broker/admin_scan.h"
#include "broker/leadership.h"
#include "broker/peer_method.h"
#include "proto/peer.pb-c.h"
#include "replication/peers.h"
#include "tests/lib/test.h"
#include "tests/lib/turn_env.h"
#include <stdarg.h>
#include <string.h>

enum {
    SELF = 1,
    OTHER = 2,
    REPLICA_COUNT = 2 * LEADERSHIP_COUNT_MAX + 1234,
    LED_EVERY = 3 /* one of so many is led by who is drained */
};

static struct {
    struct turn_env turn;
    struct options options;
    struct shard shard;
    struct admin admin;
    struct grpc_call call;
    int32_t drained;
    struct admin_scan *scan;
    struct leadership_call *here; /* waits for an answer, */
    struct peer_call *far;        /* or this one */
    unsigned busy[REPLICA_COUNT]; /* so often a group is told to be asked again */
    unsigned asked[REPLICA_COUNT];
    bool is_led[REPLICA_COUNT];
    unsigned requests;
    bool is_finished;
    enum grpc_status status;
    uint64_t answer_asked, answer_begun;
} f;

/* ---- In place of others ---- */

void store_reader_refresh(struct store_reader *reader)
{
    (void)reader;
}

enum err store_broker(struct store_reader *reader, struct arena *arena, int32_t id, struct store_broker *broker)
{
    (void)reader;
    (void)arena;
    *broker = (struct store_broker){.id = id};
    return id == SELF || id == OTHER ? OK : ERR_NOT_FOUND;
}

bool admin_partition(struct grpc_call *call, const char *name, int32_t index, struct store_topic *topic,
                     struct store_partition *partition)
{
    (void)call;
    (void)name;
    (void)index;
    (void)topic;
    (void)partition;
    return false;
}

void admin_fail(struct grpc_call *call, enum kafka_error error, struct bytes text)
{
    (void)error;
    (void)text;
    grpc_finish(call, GRPC_INTERNAL, "failed");
}

int32_t admin_timeout_ms(const struct grpc_call *call)
{
    (void)call;
    return 1000;
}

void admin_scan_start(struct admin_scan *scan, struct shard *shard, const struct uuid *topic)
{
    ck_assert_ptr_null(topic);
    scan->shard = shard;
    f.scan = scan;
}

void leadership_call(struct shard *shard, struct leadership_call *call)
{
    (void)shard;
    ck_assert_ptr_null(f.here);
    f.here = call;
}

void peers_call(struct peers *peers, struct peer_call *call)
{
    (void)peers;
    ck_assert_ptr_null(f.far);
    ck_assert_int_eq(call->node, OTHER);
    ck_assert_uint_eq(call->method, PEER_TRANSFER);
    f.far = call;
}

void grpc_finish(struct grpc_call *call, enum grpc_status status, const char *format, ...)
{
    (void)call;
    (void)format;
    ck_assert(!f.is_finished);
    f.is_finished = true;
    f.status = status;
}

void grpc_answer(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__DrainBrokerResponse *answer = (const void *)message;
    ck_assert_ptr_eq(message->descriptor, &balsa__admin__v1__drain_broker_response__descriptor);
    f.answer_asked = answer->asked;
    f.answer_begun = answer->begun;
    grpc_finish(call, GRPC_OK, NULL);
}

/* ---- The broker that is drained ---- */

static enum kafka_error give_up(uint64_t group)
{
    size_t i = (size_t)group - 1;
    ck_assert_uint_lt(i, REPLICA_COUNT);
    f.asked[i]++;
    if (!f.is_led[i]) {
        return KAFKA_NOT_LEADER_OR_FOLLOWER;
    }
    if (f.busy[i] > 0) {
        f.busy[i]--;
        return KAFKA_REBALANCE_IN_PROGRESS;
    }
    f.is_led[i] = false;
    leaders_set(f.shard.leaders, group, SELF + OTHER - f.drained, 2, SELF + OTHER - f.drained);
    return KAFKA_NONE;
}

static void answer_here(void)
{
    struct leadership_call *call = f.here;
    f.here = NULL;
    ck_assert_uint_le(call->count, LEADERSHIP_COUNT_MAX);
    for (size_t i = 0; i < call->count; i++) {
        call->items[i].error = give_up(call->items[i].group);
    }
    call->cb(call);
}

static void answer_far(void)
{
    Balsa__Peer__TransferReply reply = BALSA__PEER__TRANSFER_REPLY__INIT;
    struct peer_call *call = f.far;
    struct bytes payload = call->payload.bytes;
    Balsa__Peer__TransferRequest *asked = balsa__peer__transfer_request__unpack(NULL, payload.size, payload.data);
    f.far = NULL;
    ck_assert_ptr_nonnull(asked);
    ck_assert_uint_le(asked->n_groups, LEADERSHIP_COUNT_MAX);
    reply.n_results = asked->n_groups;
    reply.results = mem_alloc(asked->n_groups * sizeof(*reply.results));
    for (size_t i = 0; i < asked->n_groups; i++) {
        reply.results[i] = (uint32_t)give_up(asked->groups[i]);
    }
    uint8_t *packed = mem_alloc(balsa__peer__transfer_reply__get_packed_size(&reply));
    call->err = OK;
    call->reply.bytes = (struct bytes){packed, balsa__peer__transfer_reply__pack(&reply, packed)};
    call->cb(call);
    mem_free(packed);
    mem_free(reply.results);
    balsa__peer__transfer_request__free_unpacked(asked, NULL);
}

/* One request, when there is one. */
static void step(void)
{
    if (f.here != NULL || f.far != NULL) {
        f.requests++;
        (f.here != NULL ? answer_here : answer_far)();
    } else {
        int64_t due_us = timer_heap_due_us(&f.turn.heap);
        ck_assert_int_ne(due_us, INT64_MAX);
        turn_env_advance(&f.turn, (uint64_t)due_us - f.turn.now_us);
    }
}

static void finish(void)
{
    while (!f.is_finished) {
        step();
    }
    ck_assert(f.here == NULL && f.far == NULL && timer_heap_due_us(&f.turn.heap) == INT64_MAX);
}

static void drain(int32_t node, size_t replica_count)
{
    Balsa__Admin__V1__DrainBrokerRequest request = BALSA__ADMIN__V1__DRAIN_BROKER_REQUEST__INIT;
    int32_t replicas[] = {SELF, OTHER};
    f.drained = node;
    for (size_t i = 0; i < replica_count; i++) {
        f.is_led[i] = i % LED_EVERY == 0;
        leaders_set(f.shard.leaders, i + 1, f.is_led[i] ? node : SELF + OTHER - node, 1,
                    f.is_led[i] ? node : SELF + OTHER - node);
    }
    request.node_id = node;
    admin_drain_broker(&f.call, &request.base);
    bool wants_more = f.scan != NULL;
    for (size_t i = 0; wants_more && i < replica_count; i++) {
        struct store_partition partition = {
            .group = i + 1, .replicas = replicas, .replica_count = array_count(replicas)};
        wants_more = f.scan->each(f.scan, NULL, (int32_t)i, &partition);
    }
    if (f.scan != NULL) {
        f.scan->done(f.scan);
    }
}

static void setup(void)
{
    memset(&f, 0, sizeof(f));
    turn_env_init(&f.turn, 1);
    f.options.node_id = SELF;
    f.shard.options = &f.options;
    f.shard.env = &f.turn.env;
    f.shard.leaders = leaders_open(&f.turn.env);
    f.shard.peers = (struct peers *)&f; /* there are some; never looked at */
    f.admin.shard = &f.shard;
    f.call.owner = &f.admin;
    f.call.deadline_us = INT64_MAX;
}

static void teardown(void)
{
    leaders_close(f.shard.leaders);
    turn_env_deinit(&f.turn);
}

static unsigned led_count(void)
{
    unsigned count = 0;
    for (size_t i = 0; i < REPLICA_COUNT; i++) {
        count += f.is_led[i];
    }
    return count;
}

/* ---- Cases ---- */

/* Goal:   a broker with more replicas than a request may name gives up all that it leads.
 * Method: this broker, and another one, with over two requests' replicas; each is asked for at least once. */
START_TEST(large_brokers_are_drained_whole)
{
    drain(_i == 0 ? SELF : OTHER, REPLICA_COUNT);
    unsigned led = led_count();
    finish();
    ck_assert_uint_eq(led_count(), 0);
    for (size_t i = 0; i < REPLICA_COUNT; i++) {
        ck_assert_msg(f.asked[i] > 0, "group %zu was not asked for", i + 1);
    }
    ck_assert_int_eq(f.status, GRPC_OK);
    ck_assert_uint_eq(f.answer_asked, led);
    ck_assert_uint_eq(f.answer_begun, led);
}
END_TEST

/* Goal: groups whose leadership or members are changing just now are asked for again, in every request. */
START_TEST(busy_groups_are_asked_again)
{
    for (size_t i = 0; i < REPLICA_COUNT; i += 100) {
        f.busy[i] = 1 + (unsigned)(i / 100 % 4);
    }
    drain(_i == 0 ? SELF : OTHER, REPLICA_COUNT);
    unsigned led = led_count();
    finish();
    ck_assert_uint_eq(led_count(), 0);
    ck_assert_uint_eq(f.answer_asked, led);
    ck_assert_uint_eq(f.answer_begun, led);
}
END_TEST

/* Goal: one that stays busy is given up after a while and counted as asked, and what comes behind it goes. */
START_TEST(groups_that_stay_busy_are_left)
{
    f.busy[0] = 1000;
    drain(SELF, REPLICA_COUNT);
    unsigned led = led_count();
    finish();
    ck_assert_uint_eq(led_count(), 1);
    ck_assert_uint_eq(f.answer_asked, led);
    ck_assert_uint_eq(f.answer_begun, led - 1);
}
END_TEST

/* Goal: when nobody waits for the answer any more, no further request is made. */
START_TEST(canceled_drains_end)
{
    drain(SELF, REPLICA_COUNT);
    f.call.is_canceled = true;
    finish();
    ck_assert_uint_eq(f.requests, 1);
}
END_TEST

/* Goal: nothing to give up is an answer, too; who is not there is an error; who cannot be reached is another one. */
START_TEST(small_and_wrong_drains_end_at_once)
{
    drain(SELF, 0);
    ck_assert(f.is_finished && f.status == GRPC_OK && f.answer_asked == 0);
    f.is_finished = false;
    f.scan = NULL;
    drain(7, 10);
    ck_assert(f.is_finished && f.status == GRPC_NOT_FOUND);
    f.is_finished = false;
    f.shard.peers = NULL;
    drain(OTHER, 10);
    ck_assert(f.is_finished && f.status == GRPC_UNAVAILABLE);
}
END_TEST

static Suite *admin_leaders_suite(void)
{
    Suite *suite = suite_create("admin_leaders");
    TCase *drains = tcase_create("drains");
    tcase_add_checked_fixture(drains, setup, teardown);
    tcase_add_loop_test(drains, large_brokers_are_drained_whole, 0, 2);
    tcase_add_loop_test(drains, busy_groups_are_asked_again, 0, 2);
    tcase_add_test(drains, groups_that_stay_busy_are_left);
    tcase_add_test(drains, canceled_drains_end);
    tcase_add_test(drains, small_and_wrong_drains_end_at_once);
    suite_add_tcase(suite, drains);
    return suite;
}

TEST_MAIN(admin_leaders_suite)
