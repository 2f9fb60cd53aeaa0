/* Requests on their way to the controller: what is tried, what is answered, and when. The trip to another broker is the
 * test's: it sees each attempt and ends it as it likes. The broker itself is never the controller. */
#include "base/limits.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "broker/conn_internal.h"
#include "broker/forward_internal.h"
#include "broker/wish.h"
#include "metadata/apply.h"
#include "tests/lib/test.h"
#include "tests/lib/turn_env.h"
#include <string.h>

#define TRIP_COUNT_MAX 8

static char *dir;
static struct turn_env turn;
static struct waker waker;
static struct task wake_task;
static struct options options;
static struct broker broker;
static struct shard own_shard;
static struct conns conns;
static bool is_reachable;
static struct forward_trip *trips[TRIP_COUNT_MAX];
static size_t trip_count;
static struct forward_call call;
static unsigned called;
static char called_body[8];

/* In the place of broker/forward_peer.c. */
bool forward_trip_start(struct shard *from, struct forward_trip *trip)
{
    ck_assert_ptr_eq(from, &own_shard);
    if (is_reachable) {
        ck_assert_uint_lt(trip_count, TRIP_COUNT_MAX);
        trips[trip_count++] = trip;
    }
    return is_reachable;
}

void forward_request_arrived(struct shard *shard, struct peer_request *request)
{
    (void)shard;
    (void)request;
}

static void on_wake_task(struct task *task)
{
    (void)task;
    waker.on_wake(waker.context);
}

static void wake(struct waker *self)
{
    (void)self;
    env_task(&turn.env, &wake_task);
}

static void setup(void)
{
    struct errmsg msg;
    dir = test_dir_make();
    turn_env_init(&turn, 1);
    waker = (struct waker){.wake = wake};
    task_init(&wake_task, on_wake_task);
    turn.env.waker = &waker;
    broker = (struct broker){.options = &options, .shards = &own_shard, .shard_count = 1};
    ck_assert_int_eq(store_open(dir, &broker.store, &msg), OK);
    own_shard = (struct shard){.broker = &broker, .options = &options, .env = &turn.env, .metrics = turn.env.metrics};
    own_shard.mailbox = mailbox_open(&turn.env);
    own_shard.reader = store_reader_open(broker.store, &turn.env);
    own_shard.leaders = leaders_open(&turn.env);
    own_shard.forward = forward_open(&own_shard);
    conns = (struct conns){.shard = &own_shard, .env = &turn.env};
    budget_init(&conns.budget, &turn.env, MIB(1));
    pool_init(&conns.request_pool, sizeof(struct request), MIB(1));
    own_shard.conns = &conns;
    is_reachable = true;
    trip_count = 0;
    called = 0;
}

static void teardown(void)
{
    turn_env_run(&turn);
    forward_close(own_shard.forward);
    leaders_close(own_shard.leaders);
    store_reader_close(own_shard.reader);
    mailbox_close(own_shard.mailbox);
    store_close(broker.store);
    budget_deinit(&conns.budget);
    pool_deinit(&conns.request_pool);
    turn_env_deinit(&turn);
    test_dir_remove(dir);
}

static void set_applied(uint64_t index)
{
    struct kv_txn *txn;
    struct store_state state;
    struct errmsg msg;
    ck_assert_int_eq(kv_begin_write(store_kv(broker.store), &txn), OK);
    ck_assert_int_eq(apply_load_state(txn, &state), OK);
    state.applied_index = index;
    ck_assert_int_eq(apply_save_state(txn, &state), OK);
    ck_assert_int_eq(kv_commit(txn, &msg), OK);
    forward_metadata_applied(own_shard.forward);
}

/* ---- A wish of the broker itself */

static void on_called(struct forward_call *done)
{
    ck_assert_ptr_eq(done, &call);
    called++;
    size_t size = done->response.bytes.size < sizeof(called_body) ? done->response.bytes.size : sizeof(called_body);
    if (size > 0) {
        memcpy(called_body, done->response.bytes.data, size);
    }
}

static void call_start(bool is_repeatable)
{
    struct kafka_allocate_producer_ids_request message = {.broker_id = 3};
    call = (struct forward_call){.api_key = KAFKA_API_ALLOCATE_PRODUCER_IDS,
                                 .schema = &kafka_allocate_producer_ids_request_schema,
                                 .message = &message,
                                 .timeout_ms = 1000,
                                 .is_repeatable = is_repeatable,
                                 .cb = on_called};
    forward_call(&own_shard, &call);
    turn_env_run(&turn);
}

/* Ends the newest attempt; with a response of five bytes of header and "body" when it is an answer. */
static void trip_end(enum forward_outcome outcome, uint64_t index)
{
    static const uint8_t response[] = "\0\0\0\7\0body";
    struct slice slice = {NULL, BYTES_NONE};
    ck_assert_uint_gt(trip_count, 0);
    if (outcome == FORWARD_ANSWERED) {
        slice.block = shared_new(sizeof(response) - 1);
        memcpy(slice.block->data, response, sizeof(response) - 1);
        slice.bytes = (struct bytes){slice.block->data, slice.block->size};
    }
    forward_trip_end(trips[trip_count - 1], outcome, slice, index);
    slice_release(&slice);
    turn_env_run(&turn);
}

/* Goal: the controller gets the request with a header that its handler can read, and its answer comes back without
 * one. */
START_TEST(a_call_is_answered_with_the_body)
{
    call_start(false);
    ck_assert_uint_eq(trip_count, 1);
    struct reader reader;
    struct arena arena;
    struct kafka_request_header header;
    struct kafka_allocate_producer_ids_request message;
    arena_init(&arena, KIB(4));
    reader_init(&reader, trips[0]->job->frame.bytes);
    ck_assert_int_eq(codec_decode(&kafka_request_header_schema, 2, &reader, &arena, &header), OK);
    ck_assert_int_eq(header.request_api_key, KAFKA_API_ALLOCATE_PRODUCER_IDS);
    ck_assert_int_eq(codec_decode(&kafka_allocate_producer_ids_request_schema, 0, &reader, &arena, &message), OK);
    ck_assert_int_eq(message.broker_id, 3);
    ck_assert_uint_eq(reader.left, 0);
    arena_deinit(&arena);
    trip_end(FORWARD_ANSWERED, 0);
    ck_assert_uint_eq(called, 1);
    ck_assert_int_eq(call.err, OK);
    ck_assert_uint_eq(call.response.bytes.size, 4);
    ck_assert_mem_eq(called_body, "body", 4);
}
END_TEST

/* Goal: without a controller the request waits for one, and is sent as soon as it can be reached. */
START_TEST(a_call_waits_for_a_controller)
{
    is_reachable = false;
    call_start(false);
    turn_env_advance(&turn, 500 * 1000);
    ck_assert_uint_eq(trip_count, 0);
    ck_assert_uint_eq(called, 0);
    is_reachable = true;
    turn_env_advance(&turn, 20 * 1000);
    ck_assert_uint_eq(trip_count, 1);
    trip_end(FORWARD_ANSWERED, 0);
    ck_assert_int_eq(call.err, OK);
    ck_assert_int_eq(metrics_value(turn.env.metrics, METRIC_FORWARD_RETRIES), 1); /* however long it waits */
}
END_TEST

/* Goal: it does not wait for ever, and was never sent. */
START_TEST(a_call_ends_without_a_controller)
{
    is_reachable = false;
    call_start(true);
    turn_env_advance(&turn, 990 * 1000);
    ck_assert_uint_eq(called, 0);
    turn_env_advance(&turn, 30 * 1000);
    ck_assert_uint_eq(called, 1);
    ck_assert_int_eq(call.err, ERR_NOT_LEADER);
    ck_assert_uint_eq(trip_count, 0);
}
END_TEST

/* Goal: a broker that is not the controller any more has done nothing: the next one is asked, until time is up. */
START_TEST(a_call_is_sent_on_when_nothing_was_done)
{
    call_start(false);
    trip_end(FORWARD_NO_CONTROLLER, 0);
    ck_assert_uint_eq(called, 0);
    turn_env_advance(&turn, 20 * 1000);
    ck_assert_uint_eq(trip_count, 2);
    trip_end(FORWARD_NO_CONTROLLER, 0);
    turn_env_advance(&turn, 20 * 1000);
    ck_assert_uint_eq(trip_count, 3);
    turn_env_advance(&turn, 2000 * 1000);
    ck_assert_uint_eq(called, 0); /* one is under way: its end is waited for */
    trip_end(FORWARD_NO_CONTROLLER, 0);
    ck_assert_uint_eq(called, 1);
    ck_assert_int_eq(call.err, ERR_NOT_LEADER);
}
END_TEST

/* Goal: what is in doubt is never sent twice. */
START_TEST(a_call_in_doubt_ends)
{
    call_start(false);
    trip_end(FORWARD_IN_DOUBT, 0);
    ck_assert_uint_eq(called, 1);
    ck_assert_int_eq(call.err, ERR_TIMED_OUT);
    turn_env_advance(&turn, 5000 * 1000);
    ck_assert_uint_eq(trip_count, 1);
    ck_assert_int_eq(metrics_value(turn.env.metrics, METRIC_FORWARD_RETRIES), 0);
    ck_assert_int_eq(metrics_value(turn.env.metrics, METRIC_FORWARD_IN_DOUBT), 1);
}
END_TEST

/* Goal: unless doing it twice does no harm. */
START_TEST(a_repeatable_call_in_doubt_is_sent_again)
{
    call_start(true);
    trip_end(FORWARD_IN_DOUBT, 0);
    turn_env_advance(&turn, 20 * 1000);
    ck_assert_uint_eq(trip_count, 2);
    trip_end(FORWARD_ANSWERED, 0);
    ck_assert_int_eq(call.err, OK);
    ck_assert_int_eq(metrics_value(turn.env.metrics, METRIC_FORWARD_RETRIES), 1);
    ck_assert_int_eq(metrics_value(turn.env.metrics, METRIC_FORWARD_IN_DOUBT), 0);
}
END_TEST

/* Goal: who is answered sees here what was done there. */
START_TEST(an_answer_waits_for_this_brokers_metadata)
{
    set_applied(41);
    call_start(false);
    trip_end(FORWARD_ANSWERED, 42);
    turn_env_advance(&turn, 100 * 1000);
    ck_assert_uint_eq(called, 0);
    set_applied(42);
    turn_env_run(&turn);
    ck_assert_uint_eq(called, 1);
    ck_assert_int_eq(call.err, OK);
}
END_TEST

/* Goal: but not for ever. */
START_TEST(an_answer_does_not_wait_for_ever)
{
    call_start(false);
    trip_end(FORWARD_ANSWERED, 42);
    turn_env_advance(&turn, (FORWARD_CATCH_UP_MS - 100) * 1000ULL);
    ck_assert_uint_eq(called, 0);
    turn_env_advance(&turn, 200 * 1000);
    ck_assert_uint_eq(called, 1);
    ck_assert_int_eq(call.err, OK);
}
END_TEST

/* Goal: an answer that is none is no answer. */
START_TEST(a_cut_answer_is_an_error)
{
    call_start(false);
    struct shared *block = shared_new(3);
    memset(block->data, 0, 3);
    forward_trip_end(trips[0], FORWARD_ANSWERED, (struct slice){block, {block->data, 3}}, 0);
    shared_release(block);
    turn_env_run(&turn);
    ck_assert_uint_eq(called, 1);
    ck_assert_int_eq(call.err, ERR_SHORT);
}
END_TEST

/* Goal: a stop ends those who wait at once and those under way after a grace; their late end does no harm. */
START_TEST(a_stop_ends_all)
{
    call_start(false);
    forward_stop(own_shard.forward);
    turn_env_advance(&turn, 1000 * 1000);
    ck_assert_uint_eq(called, 0);
    turn_env_advance(&turn, 1000 * 1000);
    ck_assert_uint_eq(called, 1);
    ck_assert_int_eq(call.err, ERR_TIMED_OUT);
    forward_trip_end(trips[0], FORWARD_ANSWERED, (struct slice){NULL, BYTES_NONE}, 7);
    turn_env_run(&turn);
    ck_assert_uint_eq(called, 1);
    call_start(false);
    ck_assert_uint_eq(called, 2);
    ck_assert_int_eq(call.err, ERR_NOT_LEADER);
    ck_assert_uint_eq(trip_count, 1);
}
END_TEST

/* Goal: a wish that cannot be encoded is refused, as it may come from a hostile request. */
START_TEST(a_call_that_is_too_large_is_refused)
{
    struct kafka_create_topics_request message;
    struct kafka_create_topics_request_topic *topics = mem_alloc(1000 * sizeof(*topics));
    char *name = mem_alloc(30000);
    codec_init_defaults(&kafka_create_topics_request_schema, &message);
    memset(name, 'a', 30000);
    for (size_t i = 0; i < 1000; i++) {
        codec_init_defaults(&kafka_create_topics_request_topic_schema, &topics[i]);
        topics[i].name = (struct bytes){(const uint8_t *)name, 30000};
    }
    message.topics = topics;
    message.topics_count = 1000;
    call = (struct forward_call){.api_key = KAFKA_API_CREATE_TOPICS,
                                 .api_version = 7,
                                 .schema = &kafka_create_topics_request_schema,
                                 .message = &message,
                                 .timeout_ms = 1000,
                                 .cb = on_called};
    forward_call(&own_shard, &call);
    ck_assert_uint_eq(called, 0);
    turn_env_run(&turn);
    ck_assert_uint_eq(called, 1);
    ck_assert_int_eq(call.err, ERR_UNSUPPORTED);
    mem_free(topics);
    mem_free(name);
}
END_TEST

/* ---- A client's request */

static void on_conn_task(struct task *task)
{
    (void)task;
}

/* A CreateTopics request of one topic, as if it had come in on `conn` and its turn had come. */
static struct request *request_start(struct conn *conn, int32_t timeout_ms)
{
    struct kafka_create_topics_request message;
    struct kafka_create_topics_request_topic topic;
    struct kafka_request_header header = {.request_api_key = KAFKA_API_CREATE_TOPICS,
                                          .request_api_version = 5,
                                          .correlation_id = 77,
                                          .client_id = bytes_from_text("test")};
    struct outbuf out;
    *conn = (struct conn){.conns = &conns, .in_work = 1, .in_work_serial = 1};
    task_init(&conn->task, on_conn_task);
    codec_init_defaults(&kafka_create_topics_request_schema, &message);
    codec_init_defaults(&kafka_create_topics_request_topic_schema, &topic);
    topic.name = bytes_from_text("orders");
    topic.num_partitions = 1;
    topic.replication_factor = 1;
    message.topics = &topic;
    message.topics_count = 1;
    message.timeout_ms = timeout_ms;
    outbuf_init(&out, KIB(4));
    codec_encode(&kafka_request_header_schema, 2, &header, &out);
    codec_encode(&kafka_create_topics_request_schema, 5, &message, &out);
    struct shared *frame = outbuf_flatten(&out);
    outbuf_deinit(&out);
    budget_take(&conns.budget, frame->size);
    struct request *request = request_new(conn, frame, frame->size);
    ck_assert(request_read_header(request));
    request->is_dispatched = true;
    handle_create_topics(request);
    turn_env_run(&turn);
    return request;
}

static void request_end(struct request *request, struct conn *conn)
{
    turn.env.tasks->cancel(turn.env.tasks, &conn->task);
    request_free(request, 0);
    ck_assert_uint_eq(conns.budget.used, 0);
}

/* Error code of the only topic in the answer. */
static enum kafka_error answered_error(struct request *request)
{
    struct kafka_response_header header;
    struct kafka_create_topics_response response;
    struct reader reader;
    struct arena arena;
    ck_assert(request->is_answered && !request->is_silent);
    struct shared *bytes = outbuf_flatten(&request->response);
    arena_init(&arena, KIB(64));
    reader_init(&reader, (struct bytes){bytes->data + 4, bytes->size - 4});
    ck_assert_uint_eq(be32_get(bytes->data), bytes->size - 4);
    ck_assert_int_eq(codec_decode(&kafka_response_header_schema, 1, &reader, &arena, &header), OK);
    ck_assert_int_eq(header.correlation_id, 77);
    ck_assert_int_eq(codec_decode(&kafka_create_topics_response_schema, 5, &reader, &arena, &response), OK);
    ck_assert_int_eq(response.topics_count, 1);
    enum kafka_error error = (enum kafka_error)response.topics[0].error_code;
    arena_deinit(&arena);
    shared_release(bytes);
    return error;
}

/* Goal: the controller gets the client's own bytes, and the client the controller's. */
START_TEST(a_request_goes_and_its_answer_comes_as_it_is)
{
    struct conn conn;
    struct request *request = request_start(&conn, 1000);
    ck_assert_uint_eq(trip_count, 1);
    ck_assert(bytes_equal(trips[0]->job->frame.bytes, request->frame_bytes));
    ck_assert(!request->is_answered);
    trip_end(FORWARD_ANSWERED, 0);
    ck_assert(request->is_answered);
    struct shared *bytes = outbuf_flatten(&request->response);
    ck_assert_uint_eq(bytes->size, 4 + 9);
    ck_assert_mem_eq(bytes->data, "\0\0\0\11\0\0\0\7\0body", 13);
    shared_release(bytes);
    request_end(request, &conn);
}
END_TEST

/* Goal: the client is told what is known of its request: nothing was done, or in doubt. */
START_TEST(a_request_that_was_not_answered_is_answered_here)
{
    static const struct {
        enum forward_outcome outcome;
        enum kafka_error error;
    } cases[] = {{FORWARD_NO_CONTROLLER, KAFKA_NOT_CONTROLLER}, {FORWARD_IN_DOUBT, KAFKA_REQUEST_TIMED_OUT}};
    struct conn conn;
    struct request *request = request_start(&conn, 1000);
    turn_env_advance(&turn, 1500 * 1000);
    trip_end(cases[_i].outcome, 0);
    ck_assert_int_eq(answered_error(request), cases[_i].error);
    request_end(request, &conn);
}
END_TEST

/* Goal: without a timeout of its own a request waits FORWARD_WAIT_MS for a controller. */
START_TEST(a_request_without_timeout_waits_for_a_controller)
{
    struct conn conn;
    is_reachable = false;
    struct request *request = request_start(&conn, 0);
    turn_env_advance(&turn, (FORWARD_WAIT_MS - 100) * 1000ULL);
    ck_assert(!request->is_answered);
    turn_env_advance(&turn, 200 * 1000);
    ck_assert_int_eq(answered_error(request), KAFKA_NOT_CONTROLLER);
    request_end(request, &conn);
}
END_TEST

/* ---- Detached */

static unsigned run_count;

static void on_run(struct request_run *run)
{
    (void)run;
    run_count++;
}

static struct slice run_frame(int16_t api_key, int16_t version, const struct schema *schema, const void *message)
{
    struct kafka_request_header header = {.request_api_key = api_key, .request_api_version = version};
    struct outbuf out;
    outbuf_init(&out, KIB(4));
    codec_encode(&kafka_request_header_schema, 2, &header, &out);
    if (schema != NULL) {
        codec_encode(schema, version, message, &out);
    }
    struct shared *block = outbuf_flatten(&out);
    outbuf_deinit(&out);
    return (struct slice){block, {block->data, block->size}};
}

/* Goal: a detached request ends with its callback, whatever is in it, and gives back its memory. A broker that does
 * not lead the metadata says so. Method: a good one, one cut short, an API and a version that do not exist. */
START_TEST(a_detached_request_always_ends)
{
    struct kafka_allocate_producer_ids_request message = {.broker_id = 3};
    const struct schema *schema = &kafka_allocate_producer_ids_request_schema;
    const struct {
        int16_t api_key, version;
        const struct schema *schema;
        enum err err;
    } cases[] = {
        {KAFKA_API_ALLOCATE_PRODUCER_IDS, 0, schema, ERR_NOT_LEADER},
        {KAFKA_API_ALLOCATE_PRODUCER_IDS, 0, NULL, ERR_CORRUPT},
        {KAFKA_API_ALLOCATE_PRODUCER_IDS, 9, NULL, ERR_UNSUPPORTED},
        {999, 0, NULL, ERR_UNSUPPORTED},
    };
    struct request_run run = {.cb = on_run};
    run_count = 0;
    run.frame = run_frame(cases[_i].api_key, cases[_i].version, cases[_i].schema, &message);
    request_run(&own_shard, &run);
    ck_assert_uint_eq(run_count, 0);
    ck_assert_uint_gt(conns.budget.used, 0);
    turn_env_run(&turn);
    ck_assert_uint_eq(run_count, 1);
    ck_assert_int_eq(run.err, cases[_i].err);
    ck_assert_uint_eq(conns.held, 0);
    ck_assert_uint_eq(conns.budget.used, 0);
    slice_release(&run.frame);
}
END_TEST

/* Goal: an answer comes back whole. Method: ApiVersions, which needs nothing. */
START_TEST(a_detached_request_is_answered)
{
    struct kafka_api_versions_request message;
    struct request_run run = {.cb = on_run};
    codec_init_defaults(&kafka_api_versions_request_schema, &message);
    message.client_software_name = bytes_from_text("a");
    message.client_software_version = bytes_from_text("1");
    run_count = 0;
    run.frame = run_frame(KAFKA_API_API_VERSIONS, 3, &kafka_api_versions_request_schema, &message);
    request_run(&own_shard, &run);
    turn_env_run(&turn);
    ck_assert_uint_eq(run_count, 1);
    ck_assert_int_eq(run.err, OK);
    ck_assert_uint_eq(conns.budget.used, 0);
    slice_release(&run.frame);
}
END_TEST

/* ---- What the controller said ---- */

static void on_wish_decided(struct wish *wish)
{
    (void)wish;
    called++;
}

/* Goal: a request of which nothing was done, as the controller hands over or was deposed, counts as not asked; one of
 * which something was done or refused does not. Method: results of two items in all such combinations. */
START_TEST(what_a_leaving_controller_refuses_is_undone)
{
    static const enum kafka_error errors[] = {KAFKA_NONE, KAFKA_NOT_CONTROLLER, KAFKA_REQUEST_TIMED_OUT,
                                              KAFKA_TOPIC_ALREADY_EXISTS};
    for (size_t i = 0; i < array_count(errors) * array_count(errors) + 1; i++) {
        bool is_empty = i == array_count(errors) * array_count(errors);
        enum kafka_error first = errors[i % array_count(errors)];
        enum kafka_error second = errors[i / array_count(errors) % array_count(errors)];
        struct controller_result results[2] = {{.error = first}, {.error = second}};
        struct wish wish = {.origin = &own_shard, .target = &own_shard, .decided = on_wish_decided};
        wish_controlled(&wish, results, is_empty ? 0 : 2);
        turn_env_run(&turn);
        ck_assert_uint_eq(called, i + 1);
        bool is_undone = !is_empty && first == KAFKA_NOT_CONTROLLER && second == KAFKA_NOT_CONTROLLER;
        ck_assert_int_eq(wish.refusal, is_undone ? KAFKA_NOT_CONTROLLER : KAFKA_NONE);
    }
}
END_TEST

static Suite *forward_suite(void)
{
    Suite *suite = suite_create("forward");
    TCase *calls = tcase_create("calls");
    tcase_add_checked_fixture(calls, setup, teardown);
    tcase_add_test(calls, a_call_is_answered_with_the_body);
    tcase_add_test(calls, a_call_waits_for_a_controller);
    tcase_add_test(calls, a_call_ends_without_a_controller);
    tcase_add_test(calls, a_call_is_sent_on_when_nothing_was_done);
    tcase_add_test(calls, a_call_in_doubt_ends);
    tcase_add_test(calls, a_repeatable_call_in_doubt_is_sent_again);
    tcase_add_test(calls, an_answer_waits_for_this_brokers_metadata);
    tcase_add_test(calls, an_answer_does_not_wait_for_ever);
    tcase_add_test(calls, a_cut_answer_is_an_error);
    tcase_add_test(calls, a_stop_ends_all);
    tcase_add_test(calls, a_call_that_is_too_large_is_refused);
    suite_add_tcase(suite, calls);
    TCase *requests = tcase_create("requests");
    tcase_add_checked_fixture(requests, setup, teardown);
    tcase_add_test(requests, a_request_goes_and_its_answer_comes_as_it_is);
    tcase_add_loop_test(requests, a_request_that_was_not_answered_is_answered_here, 0, 2);
    tcase_add_test(requests, a_request_without_timeout_waits_for_a_controller);
    suite_add_tcase(suite, requests);
    TCase *detached = tcase_create("detached");
    tcase_add_checked_fixture(detached, setup, teardown);
    tcase_add_loop_test(detached, a_detached_request_always_ends, 0, 4);
    tcase_add_test(detached, a_detached_request_is_answered);
    tcase_add_test(detached, what_a_leaving_controller_refuses_is_undone);
    suite_add_tcase(suite, detached);
    return suite;
}

TEST_MAIN(forward_suite)
