/* The connections of others, by hand: who is let in, what hostile bytes do, and that requests are answered in order of
 * urgency and within bounds. */
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "replication/raft_wire.h"
#include "tests/lib/peer_bench.h"
#include "tests/lib/test.h"

static struct peer_bench bench;

/* ---- Who is let in */

/* Goal: a hello is answered with a welcome, on the shard that it names; a newer connection of the same shard of the
 * same broker replaces the old one, one of another shard does not. */
START_TEST(a_hello_is_welcomed)
{
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    struct sent_frame frame;
    size_t position = 0;
    peer_bench_open(&bench);
    struct stream *first = peer_bench_accept(&bench);
    ck_assert(peer_bench_feed_hello(&bench, first, &bench.other));
    ck_assert_uint_eq(bench.handed_shard, 0);
    ck_assert(sent_frame_next(first, &position, &frame));
    ck_assert_uint_eq(frame.envelope->welcome->version, PEER_VERSION);
    ck_assert_int_eq(frame.envelope->welcome->identity->node, 1);
    ck_assert_uint_eq(frame.envelope->welcome->identity->server_id, bench.self.server_id);
    ck_assert_str_eq(frame.envelope->welcome->identity->host, "n1");
    sent_frame_free(&frame);
    ck_assert_int_gt(peers_heard_us(bench.peers, 2), 0);

    struct stream *second = peer_bench_accept(&bench);
    struct bytes bytes = {element, peer_hello_encode(&bench.other, 4, element)};
    ck_assert(peer_bench_feed(&bench, second, bytes, BYTES_NONE));
    ck_assert_uint_eq(bench.handed_shard, 1); /* 4 modulo 3 */
    ck_assert(!first->is_closed);
    struct stream *third = peer_bench_in(&bench);
    ck_assert(first->is_closed);
    ck_assert(!second->is_closed);
    ck_assert(!third->is_closed);
    peer_bench_close(&bench);
}
END_TEST

static void spoil_cluster(struct peer_identity *other)
{
    memcpy(other->cluster_id, "CCCCCCCCCCCCCCCCCCCCCC", CLUSTER_ID_TEXT_SIZE);
}
static void spoil_node(struct peer_identity *other)
{
    other->node = 1;
    other->server_id = (uint64_t)1 << 32 | 1;
}
static void spoil_self(struct peer_identity *other)
{
    *other = bench.self;
}
static void spoil_server_id(struct peer_identity *other)
{
    other->server_id = 77;
}
static void spoil_host(struct peer_identity *other)
{
    memcpy(other->host, "a\nb", 4);
}
static void spoil_cluster_text(struct peer_identity *other)
{
    memcpy(other->cluster_id, "short", 6);
}

static const struct stranger {
    void (*spoil)(struct peer_identity *other);
    int code;
    const char *text;
    bool is_silent;
} strangers[] = {
    {spoil_cluster, BALSA__PEER__REFUSAL__CODE__CLUSTER,
     "broker 2 at n2:9093 belongs to cluster CCCCCCCCCCCCCCCCCCCCCC, broker 1 at n1:9093 to cluster "
     "AAAAAAAAAAAAAAAAAAAAAA: give the one that is wrong an empty log.dirs, or correct "
     "controller.quorum.bootstrap.servers",
     false},
    {spoil_node, BALSA__PEER__REFUSAL__CODE__NODE, "two brokers have node.id 1, at n1:9093 and at n2:9093", false},
    {spoil_self, BALSA__PEER__REFUSAL__CODE__SELF, "connected to itself", true},
    {spoil_server_id, BALSA__PEER__REFUSAL__CODE__MALFORMED, "malformed", false},
    {spoil_host, BALSA__PEER__REFUSAL__CODE__MALFORMED, "malformed", false},
    {spoil_cluster_text, BALSA__PEER__REFUSAL__CODE__MALFORMED, "malformed", false},
};

/* Goal: a stranger is told why, both sides can log what to do, and its connection is closed. */
START_TEST(a_stranger_is_told_why)
{
    const struct stranger *stranger = &strangers[_i];
    struct sent_frame frame;
    size_t position = 0;
    peer_bench_open(&bench);
    struct peer_identity other = bench.other;
    stranger->spoil(&other);
    struct stream *stream = peer_bench_accept(&bench);
    ck_assert(peer_bench_feed_hello(&bench, stream, &other));
    ck_assert(sent_frame_next(stream, &position, &frame));
    ck_assert_ptr_nonnull(frame.envelope->refusal);
    ck_assert_int_eq(frame.envelope->refusal->code, stranger->code);
    ck_assert_msg(strstr(frame.envelope->refusal->cause, stranger->text) != NULL, "%s", frame.envelope->refusal->cause);
    sent_frame_free(&frame);
    ck_assert(stream->is_closed);
    ck_assert_uint_eq(bench.refused_count, stranger->is_silent ? 0 : 1);
    ck_assert_uint_eq(bench.handed_count, 0);

    /* The same again is not told again. */
    stream = peer_bench_accept(&bench);
    ck_assert(peer_bench_feed_hello(&bench, stream, &other));
    ck_assert_uint_eq(bench.refused_count, stranger->is_silent ? 0 : 1);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: one without a cluster, on either side, is let in: it is about to join. */
START_TEST(who_is_in_no_cluster_is_let_in)
{
    peer_bench_open(&bench);
    memset((_i == 0 ? &bench.self : &bench.other)->cluster_id, 0, CLUSTER_ID_TEXT_SIZE);
    (void)peer_bench_in(&bench);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: two living brokers with one node id do not take turns: the second is refused, until the first is silent. */
START_TEST(the_second_broker_with_a_node_id_is_refused)
{
    peer_bench_open(&bench);
    struct stream *first = peer_bench_in(&bench);
    struct peer_identity second = bench.other;
    second.server_id++;
    struct stream *stream = peer_bench_accept(&bench);
    ck_assert(peer_bench_feed_hello(&bench, stream, &second));
    ck_assert(stream->is_closed);
    ck_assert_msg(strstr(bench.refused_cause, "two brokers have node.id 2") != NULL, "%s", bench.refused_cause);
    ck_assert(!first->is_closed);
    peer_bench_advance(&bench, 4000000);
    stream = peer_bench_accept(&bench);
    ck_assert(peer_bench_feed_hello(&bench, stream, &second));
    ck_assert(!stream->is_closed);
    ck_assert(first->is_closed);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: versions that have none in common do not talk. */
START_TEST(another_version_is_refused)
{
    static const uint8_t hello[] = {0x0a, 0x04, 0x08, 0x03, 0x10, 0x02}; /* version 3, version_min 2 */
    struct sent_frame frame;
    size_t position = 0;
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_accept(&bench);
    ck_assert(peer_bench_feed(&bench, stream, (struct bytes){hello, sizeof hello}, BYTES_NONE));
    ck_assert(sent_frame_next(stream, &position, &frame));
    ck_assert_int_eq(frame.envelope->refusal->code, BALSA__PEER__REFUSAL__CODE__VERSION);
    sent_frame_free(&frame);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: those who say nothing are few and not for long. */
START_TEST(who_says_nothing_is_closed)
{
    struct stream *streams[FAKE_STREAM_MAX];
    peer_bench_open(&bench);
    for (unsigned i = 0; i < FAKE_STREAM_MAX; i++) {
        streams[i] = peer_bench_accept(&bench);
    }
    ck_assert_uint_eq(bench.net.refused_count, FAKE_STREAM_MAX > PEER_HELLO_COUNT_MAX ? 1 : 0);
    peer_bench_advance(&bench, 3500000);
    ck_assert(!streams[0]->is_closed);
    peer_bench_advance(&bench, 3000000);
    for (unsigned i = 0; i < FAKE_STREAM_MAX; i++) {
        ck_assert(streams[i]->is_closed);
    }
    peer_bench_close(&bench);
}
END_TEST

/* Goal: without a free descriptor a connection is closed, not lost. */
START_TEST(a_connection_that_cannot_be_handed_over_is_closed)
{
    peer_bench_open(&bench);
    bench.net.detach_fails = true;
    struct stream *stream = peer_bench_accept(&bench);
    ck_assert(peer_bench_feed_hello(&bench, stream, &bench.other));
    ck_assert(stream->is_closed);
    ck_assert_uint_eq(bench.handed_count, 0);
    peer_bench_close(&bench);
}
END_TEST

/* ---- Hostile bytes */

/* A good frame: a Raft message with an entry of 40 bytes, and a call. */
static size_t good_frame(uint8_t *target)
{
    uint8_t payload[43];
    struct replica_message message = {.kind = REPLICA_APPEND, .term = 3};
    memset(payload, 'p', sizeof payload);
    struct entry *entry = entry_new_copy(ENTRY_COMMAND, 1, 1, (struct bytes){payload, 40});
    struct entry *entries[1] = {entry};
    message.append.entries = entries;
    message.append.entry_count = 1;
    uint8_t *envelope = target + PEER_FRAME_HEAD_SIZE;
    size_t size = raft_wire_encode(5, &message, envelope);
    size += peer_call_encode(9, 1, 3, envelope + size);
    memcpy(envelope + size, payload, sizeof payload);
    struct bytes both = {envelope, size + sizeof payload};
    const struct peer_frame_head head = {(uint32_t)size, sizeof payload, crc32c(0, both)};
    peer_frame_head_put(&head, target);
    entry_release(entry);
    return PEER_FRAME_HEAD_SIZE + both.size;
}

/* Goal: a frame cut anywhere delivers nothing and leaves nothing. */
START_TEST(a_cut_frame_delivers_nothing)
{
    uint8_t bytes[RAFT_WIRE_SIZE_MAX + 2048];
    size_t size = good_frame(bytes);
    for (size_t cut = 0; cut <= size; cut++) {
        peer_bench_open(&bench);
        struct stream *stream = peer_bench_in(&bench);
        ck_assert_uint_eq(fake_stream_feed(stream, (struct bytes){bytes, cut}), cut);
        fake_net_turn(&bench.net);
        ck_assert_uint_eq(bench.received, cut == size ? 1 : 0);
        ck_assert_uint_eq(bench.request_count, cut == size ? 1 : 0);
        fake_stream_end(stream, ERR_CLOSED);
        peer_bench_close(&bench);
    }
}
END_TEST

/* Goal: a frame with one bit changed delivers nothing: it closes the connection, or waits for bytes that never come.
 * */
START_TEST(a_changed_bit_delivers_nothing)
{
    uint8_t bytes[RAFT_WIRE_SIZE_MAX + 2048];
    size_t size = good_frame(bytes);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        peer_bench_open(&bench);
        struct stream *stream = peer_bench_in(&bench);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        (void)fake_stream_feed(stream, (struct bytes){bytes, size});
        fake_net_turn(&bench.net);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        ck_assert_uint_eq(bench.received, 0);
        ck_assert_uint_eq(bench.request_count, 0);
        ck_assert(stream->is_closed || bit / 8 < 12); /* the sizes may ask for more */
        fake_stream_end(stream, ERR_IO);
        peer_bench_close(&bench);
    }
}
END_TEST

/* Goal: sizes beyond a bound close the connection before memory is taken; smaller bounds hold before the hello. */
START_TEST(sizes_have_a_bound)
{
    static const struct {
        uint32_t envelope, payload;
        bool is_in, is_taken;
    } cases[] = {
        {PEER_HELLO_SIZE_MAX, 0, false, true},
        {PEER_HELLO_SIZE_MAX, 1, false, false},
        {UINT32_MAX, UINT32_MAX, false, false},
        {UINT32_MAX, 1, true, false},
        {PEER_ENVELOPE_SIZE_MAX, PEER_FRAME_SIZE_MAX - PEER_ENVELOPE_SIZE_MAX, true, true},
        {PEER_ENVELOPE_SIZE_MAX + 1, 0, true, false},
        {1, PEER_FRAME_SIZE_MAX, true, false},
        {0, UINT32_MAX, true, false},
    };
    uint8_t head[PEER_FRAME_HEAD_SIZE];
    const struct peer_frame_head frame = {cases[_i].envelope, cases[_i].payload, 0};
    peer_bench_open(&bench);
    struct stream *stream = cases[_i].is_in ? peer_bench_in(&bench) : peer_bench_accept(&bench);
    peer_frame_head_put(&frame, head);
    (void)fake_stream_feed(stream, (struct bytes){head, sizeof head});
    fake_net_turn(&bench.net);
    ck_assert_int_eq(!stream->is_closed, cases[_i].is_taken);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: frames that only the other side of a connection may send, and payload that is too much or too little, close
 * it. */
START_TEST(frames_out_of_place_close_the_connection)
{
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    size_t size = 0;
    size_t payload = 0;
    peer_bench_open(&bench);
    struct stream *stream = _i == 0 ? peer_bench_accept(&bench) : peer_bench_in(&bench);
    switch (_i) {
    case 0: /* a call before the hello */
        size = peer_call_encode(1, 1, 0, element);
        break;
    case 1: /* a second hello */
        size = peer_hello_encode(&bench.other, 0, element);
        break;
    case 2:
        size = peer_welcome_encode(&bench.other, element);
        break;
    case 3:
        size = peer_reply_encode(1, 0, false, element);
        break;
    case 4: /* payload that is not there */
        size = peer_call_encode(1, 1, 5, element);
        payload = 4;
        break;
    case 5: /* payload that belongs to nothing */
        size = peer_call_encode(1, 1, 5, element);
        payload = 6;
        break;
    default: /* not an envelope */
        memset(element, 0xff, 9);
        size = 9;
        break;
    }
    (void)peer_bench_feed(&bench, stream, (struct bytes){element, size}, (struct bytes){element, payload});
    ck_assert(stream->is_closed);
    ck_assert_int_gt(peer_bench_metric(&bench, METRIC_PEER_REFUSED), 0);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: an envelope of a few megabytes cannot become gigabytes.
 * Method: as many empty Raft messages as fit, two bytes each. */
START_TEST(a_small_envelope_stays_small)
{
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_in(&bench);
    struct shared *block = shared_new(PEER_ENVELOPE_SIZE_MAX);
    for (size_t i = 0; i < block->size; i += 2) {
        block->data[i] = 4 << 3 | 2;
        block->data[i + 1] = 0;
    }
    (void)peer_bench_feed(&bench, stream, (struct bytes){block->data, block->size}, BYTES_NONE);
    ck_assert(stream->is_closed);
    ck_assert_uint_eq(bench.received, 0);
    shared_release(block);
    peer_bench_close(&bench);
}
END_TEST

/* ---- Requests */

static void feed_call(struct stream *stream, uint64_t id, size_t size)
{
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    struct shared *block = shared_new(size > 0 ? size : 1);
    memset(block->data, (int)id, block->size);
    struct bytes bytes = {element, peer_call_encode(id, 3, size, element)};
    ck_assert(peer_bench_feed(&bench, stream, bytes, (struct bytes){block->data, size}));
    shared_release(block);
}

/* Goal: replies come back with their payload; bulk waits behind the others. */
START_TEST(bulk_waits_behind_other_replies)
{
    struct sent_frame frame;
    size_t position = 0;
    static const uint64_t order[] = {1, 4, 2, 3};
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_in(&bench);
    for (uint64_t id = 1; id <= 4; id++) {
        feed_call(stream, id, 1000000);
    }
    bench.net.is_stuck = true;
    for (unsigned i = 0; i < 4; i++) {
        peers_reply(bench.requests[i], bench.requests[i]->payload, i == 1 || i == 2);
        bench.requests[i] = NULL;
        fake_net_turn(&bench.net);
    }
    bench.net.is_stuck = false;
    fake_net_turn(&bench.net);
    for (unsigned i = 0; i < 4;) {
        size_t at = 0;
        ck_assert(sent_frame_next(stream, &position, &frame));
        for (size_t k = 0; k < frame.envelope->n_replies; k++, i++) {
            ck_assert_uint_eq(frame.envelope->replies[k]->id, order[i]);
            ck_assert_uint_eq(frame.envelope->replies[k]->size, 1000000);
            ck_assert_uint_eq(frame.payload.data[at], order[i]);
            at += frame.envelope->replies[k]->size;
        }
        ck_assert_uint_eq(at, frame.payload.size);
        sent_frame_free(&frame);
    }
    peer_bench_close(&bench);
}
END_TEST

/* Goal: requests in work have a bound, by number and by bytes; beyond it they are busy, and news are thrown away. */
START_TEST(requests_have_a_bound)
{
    struct sent_frame frame;
    size_t position = 0;
    unsigned busy = 0;
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_in(&bench);
    if (_i == 0) {
        for (uint64_t id = 1; id <= PEER_CALL_COUNT_MAX + 5; id++) {
            feed_call(stream, id, 0);
        }
        ck_assert_uint_eq(bench.request_count, PEER_CALL_COUNT_MAX);
    } else {
        for (uint64_t id = 1; id <= 9; id++) {
            feed_call(stream, id, MIB(16));
        }
        ck_assert_uint_eq(bench.request_count, PEER_REQUEST_SIZE_MAX / MIB(16));
    }
    feed_call(stream, 0, _i == 0 ? 0 : 1);
    while (sent_frame_next(stream, &position, &frame)) {
        for (size_t k = 0; k < frame.envelope->n_replies; k++) {
            busy += frame.envelope->replies[k]->is_busy != 0;
        }
        sent_frame_free(&frame);
    }
    ck_assert_uint_eq(busy, 5);
    ck_assert_int_eq(peer_bench_metric(&bench, METRIC_PEER_CALLS_REFUSED), 6); /* and one that wants no reply */
    peer_bench_close(&bench);
}
END_TEST

/* Goal: a request outlives its connection; its reply then goes nowhere. News need a reply like a call, which is not
 * sent. */
START_TEST(a_reply_may_come_too_late)
{
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_in(&bench);
    feed_call(stream, 1, 10);
    feed_call(stream, 0, 10);
    ck_assert(!bench.requests[0]->is_told);
    ck_assert(bench.requests[1]->is_told);
    peers_reply(bench.requests[1], (struct slice){NULL, BYTES_NONE}, false);
    fake_net_turn(&bench.net);
    ck_assert_uint_eq(stream->write_count, 0);
    fake_stream_end(stream, ERR_IO);
    fake_net_turn(&bench.net);
    ck_assert_int_eq(peer_bench_metric(&bench, METRIC_PEER_IN_LOST), 1);
    peers_reply(bench.requests[0], bench.requests[0]->payload, false);
    ck_assert_int_eq(peer_bench_metric(&bench, METRIC_PEER_REPLIES_DROPPED), 1);
    bench.request_count = 0;
    peer_bench_close(&bench);
}
END_TEST

static Suite *peer_in_suite(void)
{
    Suite *suite = suite_create("peer_in");
    TCase *hello = tcase_create("hello");
    tcase_add_test(hello, a_hello_is_welcomed);
    tcase_add_loop_test(hello, a_stranger_is_told_why, 0, (int)array_count(strangers));
    tcase_add_loop_test(hello, who_is_in_no_cluster_is_let_in, 0, 2);
    tcase_add_test(hello, the_second_broker_with_a_node_id_is_refused);
    tcase_add_test(hello, another_version_is_refused);
    tcase_add_test(hello, who_says_nothing_is_closed);
    tcase_add_test(hello, a_connection_that_cannot_be_handed_over_is_closed);
    suite_add_tcase(suite, hello);
    TCase *hostile = tcase_create("hostile");
    tcase_set_timeout(hostile, 60);
    tcase_add_test(hostile, a_cut_frame_delivers_nothing);
    tcase_add_test(hostile, a_changed_bit_delivers_nothing);
    tcase_add_loop_test(hostile, sizes_have_a_bound, 0, 8);
    tcase_add_loop_test(hostile, frames_out_of_place_close_the_connection, 0, 7);
    tcase_add_test(hostile, a_small_envelope_stays_small);
    suite_add_tcase(suite, hostile);
    TCase *requests = tcase_create("requests");
    tcase_set_timeout(requests, 60);
    tcase_add_test(requests, bulk_waits_behind_other_replies);
    tcase_add_loop_test(requests, requests_have_a_bound, 0, 2);
    tcase_add_test(requests, a_reply_may_come_too_late);
    suite_add_tcase(suite, requests);
    return suite;
}

TEST_MAIN(peer_in_suite)
