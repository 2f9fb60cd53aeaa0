/* Our side of a link by hand: what leaves in a write and in which order, what is held back, dropped or busy, how links
 * are made, kept alive and given up. */
#include <string.h>

#include "base/mem.h"
#include "replication/raft_wire.h"
#include "tests/lib/peer_bench.h"
#include "tests/lib/test.h"

static struct peer_bench bench;

/* ---- Sending */

static void heartbeat(uint64_t group, uint64_t commit)
{
    struct replica_message message = {.kind = REPLICA_APPEND, .peer = bench.other.server_id, .term = 5};
    message.append.prev_index = 10;
    message.append.prev_term = 5;
    message.append.commit_index = commit;
    peers_send(bench.peers, group, &message);
}

static void append(uint64_t group, uint64_t commit, size_t size)
{
    struct shared *block = shared_new(size);
    memset(block->data, (int)commit, size);
    struct slice slice = {block, {block->data, size}};
    struct entry *entry = entry_new(ENTRY_COMMAND, 11, 5, &slice, 1);
    struct entry *entries[1] = {entry};
    struct replica_message message = {.kind = REPLICA_APPEND, .peer = bench.other.server_id, .term = 5};
    message.append.prev_index = 10;
    message.append.prev_term = 5;
    message.append.commit_index = commit;
    message.append.entries = entries;
    message.append.entry_count = 1;
    peers_send(bench.peers, group, &message);
    entry_release(entry);
}

/* Goal: what is sent in a turn is one write, whatever it is; an empty turn writes nothing. */
START_TEST(a_turn_is_one_write)
{
    struct sent_frame frame;
    size_t position = 0;
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_link(&bench);
    fake_net_turn(&bench.net);
    ck_assert_uint_eq(stream->write_count, 0);
    for (uint64_t group = 1; group <= 100; group++) {
        heartbeat(group, group);
        append(group + 100, group, 100);
    }
    fake_net_turn(&bench.net);
    ck_assert_uint_eq(stream->write_count, 1);
    ck_assert(sent_frame_next(stream, &position, &frame));
    ck_assert_uint_eq(frame.envelope->n_raft, 200);
    ck_assert_uint_eq(frame.payload.size, 100 * 100);
    sent_frame_free(&frame);
    ck_assert(!sent_frame_next(stream, &position, &frame));
    ck_assert_int_eq(peer_bench_metric(&bench, METRIC_PEER_MESSAGES_SENT), 200);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: payload leaves in frames of PEER_WRITE_SIZE, a larger entry alone of its kind; heartbeats of groups without
 * payload overtake, those of a group with payload stay behind it.
 * Method: a write that does not end; behind it 5 MiB of one group, its heartbeat, another group's heartbeat. */
START_TEST(heartbeats_overtake_payload_of_other_groups)
{
    struct sent_frame frame;
    size_t position = 0;
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_link(&bench);
    bench.net.is_stuck = true;
    heartbeat(9, 9);
    fake_net_turn(&bench.net);
    for (unsigned i = 1; i <= 10; i++) {
        append(1, i, KIB(512));
    }
    append(1, 11, MIB(3));
    append(1, 12, 10);
    heartbeat(1, 13);
    heartbeat(2, 1);
    fake_net_turn(&bench.net);
    ck_assert_uint_eq(stream->write_count, 1);
    bench.net.is_stuck = false;
    fake_net_turn(&bench.net);

    ck_assert(sent_frame_next(stream, &position, &frame));
    sent_frame_free(&frame);
    uint64_t next = 1;
    bool has_seen_other = false;
    for (unsigned n = 0; sent_frame_next(stream, &position, &frame); n++) {
        size_t largest = 0;
        for (size_t i = 0; i < frame.envelope->n_raft; i++) {
            const Balsa__Peer__Raft *raft = frame.envelope->raft[i];
            if (raft->group == 2) {
                ck_assert_uint_eq(n, 0);
                has_seen_other = true;
                continue;
            }
            ck_assert_uint_eq(raft->append->commit_index, next);
            next++;
            if (raft->append->n_sizes > 0 && raft->append->sizes[0] > largest) {
                largest = raft->append->sizes[0];
            }
        }
        ck_assert_uint_lt(frame.payload.size, PEER_WRITE_SIZE + largest);
        sent_frame_free(&frame);
    }
    ck_assert(has_seen_other);
    ck_assert_uint_eq(next, 14);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: a side that does not read makes nothing grow: messages are dropped and counted, and what was taken arrives.
 * Method: a write that does not end; entries and heartbeats until long after the bounds. */
START_TEST(a_queue_has_a_bound)
{
    struct sent_frame frame;
    size_t position = 0;
    size_t sent = 0;
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_link(&bench);
    bench.net.is_stuck = true;
    for (unsigned i = 0; i < 400; i++) {
        append(1 + i % 3, i, KIB(100));
        fake_net_turn(&bench.net);
    }
    ck_assert_int_gt(peer_bench_metric(&bench, METRIC_PEER_MESSAGES_DROPPED), 200);
    ck_assert_int_le(peer_bench_metric(&bench, METRIC_PEER_QUEUE_BYTES), (int64_t)PEER_QUEUE_SIZE_MAX);
    int64_t dropped = peer_bench_metric(&bench, METRIC_PEER_MESSAGES_DROPPED);
    for (unsigned i = 0; i < 200000; i++) {
        heartbeat(1000 + i % 5000, i);
    }
    ck_assert_int_gt(peer_bench_metric(&bench, METRIC_PEER_MESSAGES_DROPPED), dropped + 100000);
    bench.net.is_stuck = false;
    fake_net_turn(&bench.net);
    while (sent_frame_next(stream, &position, &frame)) {
        sent += frame.envelope->n_raft;
        sent_frame_free(&frame);
    }
    ck_assert_uint_eq(sent, (size_t)peer_bench_metric(&bench, METRIC_PEER_MESSAGES_SENT));
    ck_assert_uint_eq(sent + (size_t)peer_bench_metric(&bench, METRIC_PEER_MESSAGES_DROPPED), 200400);
    ck_assert_int_eq(peer_bench_metric(&bench, METRIC_PEER_QUEUE_BYTES), 0);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: a message for another incarnation of the broker, or for one without a link, is dropped. */
START_TEST(messages_for_others_are_dropped)
{
    peer_bench_open(&bench);
    heartbeat(1, 1);
    struct stream *stream = peer_bench_link(&bench);
    bench.other.server_id++;
    heartbeat(1, 1);
    bench.other.server_id += (uint64_t)1 << 32;
    heartbeat(1, 1);
    fake_net_turn(&bench.net);
    ck_assert_uint_eq(stream->write_count, 0);
    ck_assert_int_eq(peer_bench_metric(&bench, METRIC_PEER_MESSAGES_DROPPED), 3);
    peers_tell(bench.peers, 9, 1, (struct slice){NULL, BYTES_NONE});
    ck_assert_int_eq(peer_bench_metric(&bench, METRIC_PEER_NEWS_DROPPED), 1);
    peer_bench_close(&bench);
}
END_TEST

/* ---- Calls */

static unsigned called[8]; /* by error */

static void on_called(struct peer_call *call)
{
    called[call->err == OK             ? 0
           : call->err == ERR_BUSY     ? 1
           : call->err == ERR_CLOSED   ? 2
           : call->err == ERR_CANCELED ? 3
                                       : 4]++;
}

/* Goal: calls have a bound, by number and by bytes; those within it end with the link, or with a reply; a reply that
 * nobody waits for is thrown away. */
START_TEST(calls_have_a_bound)
{
    static struct peer_call calls[PEER_CALL_COUNT_MAX + 10];
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    memset(called, 0, sizeof called);
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_link(&bench);
    for (size_t i = 0; i < array_count(calls); i++) {
        calls[i] = (struct peer_call){.node = 2, .method = 1, .timeout_ms = 60000, .cb = on_called};
        peers_call(bench.peers, &calls[i]);
    }
    ck_assert_uint_eq(called[1], 0);
    fake_net_turn(&bench.net);
    ck_assert_uint_eq(called[1], 10);

    struct bytes bytes = {element, peer_reply_encode(calls[0].id, 3, false, element)};
    ck_assert(peer_bench_feed(&bench, stream, bytes, bytes_from_text("abc")));
    ck_assert_uint_eq(called[0], 1);
    ck_assert(peer_bench_feed(&bench, stream, bytes, bytes_from_text("abc")));
    ck_assert_uint_eq(called[0], 1);
    ck_assert_int_eq(peer_bench_metric(&bench, METRIC_PEER_REPLIES_DROPPED), 1);
    bytes.size = peer_reply_encode(calls[1].id, 0, true, element);
    ck_assert(peer_bench_feed(&bench, stream, bytes, BYTES_NONE));
    ck_assert_uint_eq(called[1], 11);

    fake_stream_end(stream, ERR_CLOSED);
    fake_net_turn(&bench.net);
    ck_assert_uint_eq(called[2], PEER_CALL_COUNT_MAX - 2);
    ck_assert_uint_eq(bench.reset_count, 1);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: calls that wait when everything is closed are canceled; one too large is refused; bytes are bounded. */
START_TEST(calls_end_with_everything)
{
    static struct peer_call calls[6];
    struct shared *block = shared_new(MIB(15));
    memset(block->data, 1, block->size);
    memset(called, 0, sizeof called);
    peer_bench_open(&bench);
    (void)peer_bench_link(&bench);
    bench.net.is_stuck = true;
    for (size_t i = 0; i < array_count(calls); i++) {
        calls[i] = (struct peer_call){.node = 2, .method = 1, .timeout_ms = 60000, .cb = on_called};
    }
    peers_call(bench.peers, &calls[0]);
    fake_net_turn(&bench.net);
    calls[1].payload = (struct slice){block, {block->data, block->size}};
    calls[2].payload = calls[1].payload;
    peers_call(bench.peers, &calls[1]);
    peers_call(bench.peers, &calls[2]);
    calls[3].payload = (struct slice){block, {block->data, PEER_CALL_SIZE_MAX + 1}};
    peers_call(bench.peers, &calls[3]);
    fake_net_turn(&bench.net);
    ck_assert_uint_eq(called[1], 1);
    ck_assert_uint_eq(called[4], 1);
    peer_bench_close(&bench);
    ck_assert_uint_eq(called[3], 2);
    ck_assert_uint_eq(block->references, 1);
    shared_release(block);
}
END_TEST

/* ---- Links come and go */

/* Goal: a link that says nothing gets a ping each second, one that hears nothing is given up after 4 to 6 seconds, and
 * that is not taken for the end of the process. */
START_TEST(silence_is_noticed)
{
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_link(&bench);
    for (unsigned i = 0; i < 10; i++) {
        peer_bench_advance(&bench, 1000000);
        ck_assert_uint_ge(stream->write_count, i); /* the hello counts in the first second */
        ck_assert_uint_le(stream->write_count, i + 1);
        ck_assert(peer_bench_feed(&bench, stream, BYTES_NONE, BYTES_NONE));
    }
    ck_assert_int_ge(peers_heard_us(bench.peers, 2), (int64_t)bench.turn.now_us - 1);
    bench.net.connect_err = ERR_IO;
    peer_bench_advance(&bench, 3900000);
    ck_assert_uint_eq(bench.down_count, 0);
    peer_bench_advance(&bench, 2000000);
    ck_assert_uint_eq(bench.down_count, 1);
    ck_assert_uint_eq(bench.reset_count, 0);
    ck_assert(stream->is_closed);
    ck_assert(!peers_is_up(bench.peers, 2));
    peer_bench_close(&bench);
}
END_TEST

/* Goal: a lost link connects at once; then ever more slowly, but within a second and a bit.
 * Method: connects that fail, counted over a time. */
START_TEST(reconnecting_backs_off)
{
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_link(&bench);
    bench.net.connect_err = ERR_IO;
    unsigned before = bench.net.connect_count;
    fake_stream_end(stream, ERR_IO);
    peer_bench_advance(&bench, 10000);
    ck_assert_uint_eq(bench.net.connect_count, before + 1);
    peer_bench_advance(&bench, 1000000);
    ck_assert_uint_ge(bench.net.connect_count, before + 7);
    ck_assert_uint_le(bench.net.connect_count, before + 11);
    ck_assert_int_eq(peer_bench_metric(&bench, METRIC_PEER_ATTEMPTS_FAILED), bench.net.connect_count - before);
    before = bench.net.connect_count;
    peer_bench_advance(&bench, 20000000);
    ck_assert_uint_ge(bench.net.connect_count, before + 18);
    ck_assert_uint_le(bench.net.connect_count, before + 44);
    bench.net.connect_err = OK;
    peer_bench_advance(&bench, 1100000);
    ck_assert(peer_bench_feed_welcome(&bench, fake_net_last(&bench.net), &bench.other));
    ck_assert(peers_is_up(bench.peers, 2));
    peer_bench_close(&bench);
}
END_TEST

/* Goal:   a process has ended when nobody listens at the address that its link was with, and that alone: told once a
 *         loss, and for what is found right after it.
 * Method: a lost link, then a connect that fails in each way; then refusals for some seconds. */
START_TEST(an_end_is_told_once)
{
    static const struct {
        enum err err;
        unsigned ended;
    } rows[] = {{ERR_REFUSED, 1}, {ERR_IO, 0}, {ERR_TIMED_OUT, 0}, {ERR_ADDRESS, 0}};
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        peer_bench_open(&bench);
        struct stream *stream = peer_bench_link(&bench);
        bench.net.connect_err = rows[i].err;
        fake_stream_end(stream, ERR_CLOSED);
        peer_bench_advance(&bench, 10000);
        ck_assert_uint_eq(bench.down_count, 1);
        ck_assert_uint_eq(bench.ended_count, rows[i].ended);
        bench.net.connect_err = ERR_REFUSED;
        peer_bench_advance(&bench, 5000000);
        ck_assert_uint_eq(bench.ended_count, rows[i].ended);
        peer_bench_close(&bench);
    }
}
END_TEST

/* Goal: a listener that goes a moment after the connections is waited for, but not for long. Method: the first attempts
 * are taken and reset, three of them or as many as a second has; then nobody listens. */
START_TEST(an_end_may_come_in_two_steps)
{
    peer_bench_open(&bench);
    fake_stream_end(peer_bench_link(&bench), ERR_CLOSED);
    unsigned before = bench.net.connect_count;
    for (unsigned ms = 0; _i == 0 ? bench.net.connect_count < before + 3 : ms < 1000; ms += 10) {
        peer_bench_advance(&bench, 10000);
        struct stream *stream = fake_net_last(&bench.net);
        if (stream != NULL && !stream->is_closed) {
            fake_stream_end(stream, ERR_CLOSED);
        }
    }
    ck_assert_uint_eq(bench.ended_count, 0);
    bench.net.connect_err = ERR_REFUSED;
    peer_bench_advance(&bench, 1500000);
    ck_assert_uint_eq(bench.ended_count, _i == 0);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: the attempts that may tell an end go to the address of the lost connection; then the name counts again. */
START_TEST(an_end_is_looked_for_where_it_was)
{
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_link(&bench);
    fake_stream_end(stream, ERR_CLOSED);
    bench.net.connect_err = ERR_IO;
    peer_bench_advance(&bench, 10000);
    ck_assert_str_eq(bench.net.last_host, "127.0.0.9");
    peer_bench_advance(&bench, 1000000);
    ck_assert_str_eq(bench.net.last_host, "n2");
    peer_bench_close(&bench);
}
END_TEST

/* Goal: a hello without an answer is given up after five seconds. */
START_TEST(a_hello_without_an_answer_is_given_up)
{
    peer_bench_open(&bench);
    peers_set(bench.peers, 2, "n2", 9093);
    peer_bench_advance(&bench, 10000);
    struct stream *stream = fake_net_last(&bench.net);
    ck_assert_uint_eq(stream->write_count, 1);
    peer_bench_advance(&bench, 3900000);
    ck_assert(!stream->is_closed);
    peer_bench_advance(&bench, 2000000);
    ck_assert(stream->is_closed);
    ck_assert_ptr_ne(fake_net_last(&bench.net), stream);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: one with another server id is another broker: down of the one, up of the other. */
START_TEST(a_wiped_broker_is_another_one)
{
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_link(&bench);
    fake_stream_end(stream, ERR_CLOSED);
    ck_assert_uint_eq(bench.down_count, 1);
    bench.other.server_id++;
    peer_bench_advance(&bench, 10000);
    ck_assert(peer_bench_feed_welcome(&bench, fake_net_last(&bench.net), &bench.other));
    ck_assert_uint_eq(bench.up_count, 2);
    struct peer_identity identity;
    ck_assert(peers_identity(bench.peers, 2, &identity));
    ck_assert_uint_eq(identity.server_id, bench.other.server_id);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: a seed becomes the link of the node that answers; a second one with the same node ends without a word, and so
 * does one that is ourselves. */
START_TEST(seeds_become_links)
{
    peer_bench_open(&bench);
    peers_add_seed(bench.peers, "s1", 1);
    peers_add_seed(bench.peers, "s1", 1);
    peer_bench_advance(&bench, 10000);
    ck_assert_uint_eq(bench.net.connect_count, 1);
    ck_assert(peer_bench_feed_welcome(&bench, fake_net_last(&bench.net), &bench.other));
    ck_assert(peers_is_up(bench.peers, 2));

    peers_add_seed(bench.peers, "s2", 1);
    peer_bench_advance(&bench, 10000);
    ck_assert(peer_bench_feed_welcome(&bench, fake_net_last(&bench.net), &bench.other));
    ck_assert(fake_net_last(&bench.net)->is_closed);

    peers_add_seed(bench.peers, "s3", 1);
    peer_bench_advance(&bench, 10000);
    ck_assert(peer_bench_feed_welcome(&bench, fake_net_last(&bench.net), &bench.self));
    ck_assert(fake_net_last(&bench.net)->is_closed);
    unsigned connects = bench.net.connect_count;
    peer_bench_advance(&bench, 100000);
    ck_assert_uint_eq(bench.net.connect_count, connects);
    ck_assert_uint_eq(bench.up_count, 1);
    ck_assert_uint_eq(bench.refused_count, 0);

    /* The same node at an address that is told: the live link stays. */
    peers_set(bench.peers, 2, "elsewhere", 5);
    peer_bench_advance(&bench, 100000);
    ck_assert_uint_eq(bench.net.connect_count, connects);
    ck_assert(peers_is_up(bench.peers, 2));
    peer_bench_close(&bench);
}
END_TEST

/* Goal: a broker that is no longer wanted has no link, no callback and no attempts, in whatever state its link was. */
START_TEST(a_removed_broker_is_left_alone)
{
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_link(&bench);
    peers_remove(bench.peers, 2);
    peer_bench_advance(&bench, 10000);
    ck_assert(stream->is_closed);
    ck_assert_uint_eq(bench.down_count, 0);
    peers_remove(bench.peers, 2);

    peers_set(bench.peers, 2, "n2", 1);
    turn_env_advance(&bench.turn, 1); /* connecting */
    peers_remove(bench.peers, 2);
    peer_bench_advance(&bench, 10000);
    ck_assert(fake_net_last(&bench.net)->is_closed);

    peers_set(bench.peers, 2, "n2", 1);
    peers_remove(bench.peers, 2);       /* before that */
    peers_set(bench.peers, 1, "n1", 1); /* ourselves: nothing to do */
    unsigned connects = bench.net.connect_count;
    peer_bench_advance(&bench, 2000000);
    ck_assert_uint_eq(bench.net.connect_count, connects);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: after peers_restart() a link is made anew with what the identity says then, and incoming connections are told
 * to come again, which the other side does not take for the end of the process. */
START_TEST(a_restart_tells_the_new_identity)
{
    struct sent_frame frame;
    size_t position = 0;
    peer_bench_open(&bench);
    struct stream *stream = peer_bench_link(&bench);
    struct stream *in = peer_bench_in(&bench);
    memcpy(bench.self.cluster_id, "BBBBBBBBBBBBBBBBBBBBBB", CLUSTER_ID_TEXT_SIZE);
    memcpy(bench.other.cluster_id, "BBBBBBBBBBBBBBBBBBBBBB", CLUSTER_ID_TEXT_SIZE);
    peers_restart(bench.peers);
    ck_assert_uint_eq(bench.down_count, 0);
    peer_bench_advance(&bench, 20000);
    ck_assert_uint_eq(bench.down_count, 1);
    ck_assert_uint_eq(bench.reset_count, 0);
    ck_assert(stream->is_closed);
    ck_assert(in->is_closed);
    ck_assert(sent_frame_next(in, &position, &frame));
    ck_assert_int_eq(frame.envelope->refusal->code, BALSA__PEER__REFUSAL__CODE__AGAIN);
    sent_frame_free(&frame);

    struct stream *again = fake_net_last(&bench.net);
    position = 0;
    ck_assert(sent_frame_next(again, &position, &frame));
    ck_assert_str_eq(frame.envelope->hello->identity->cluster_id, "BBBBBBBBBBBBBBBBBBBBBB");
    sent_frame_free(&frame);
    ck_assert(peer_bench_feed_welcome(&bench, again, &bench.other));

    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    struct bytes bytes = {element, peer_refusal_encode(BALSA__PEER__REFUSAL__CODE__AGAIN, "", element)};
    ck_assert(peer_bench_feed(&bench, again, bytes, BYTES_NONE));
    ck_assert_uint_eq(bench.down_count, 2);
    ck_assert_uint_eq(bench.reset_count, 0);
    ck_assert_uint_eq(bench.refused_count, 0);
    peer_bench_close(&bench);
}
END_TEST

/* ---- Refused */

/* Goal: a refusal is told once per change and tried again slowly. */
START_TEST(a_refusal_is_told_once)
{
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    peer_bench_open(&bench);
    peers_set(bench.peers, 2, "n2", 9093);
    for (unsigned i = 0; i < 6; i++) {
        peer_bench_advance(&bench, 1010000);
        const char *cause = i < 3 ? "broker 2 belongs to\nanother" : "another cause";
        struct bytes bytes = {element, peer_refusal_encode(BALSA__PEER__REFUSAL__CODE__CLUSTER, cause, element)};
        ck_assert(peer_bench_feed(&bench, fake_net_last(&bench.net), bytes, BYTES_NONE));
        ck_assert_uint_eq(bench.refused_count, i < 3 ? 1 : 2);
    }
    ck_assert_str_eq(bench.refused_cause, "another cause");
    ck_assert_uint_eq(bench.net.connect_count, 6);
    peer_bench_close(&bench);
}
END_TEST

/* Goal: one that answers as who it should not be is refused by us, with a text that says what to do. */
START_TEST(a_stranger_that_answers_is_refused)
{
    static const struct {
        int32_t node;
        const char *cluster;
        const char *text;
    } cases[] = {
        {2, "CCCCCCCCCCCCCCCCCCCCCC", "belongs to cluster CCCCCCCCCCCCCCCCCCCCCC"},
        {1, "AAAAAAAAAAAAAAAAAAAAAA", "two brokers have node.id 1"},
        {3, "AAAAAAAAAAAAAAAAAAAAAA", "broker 3 answers at n2:9093, where broker 2 should be"},
    };
    peer_bench_open(&bench);
    peers_set(bench.peers, 2, "n2", 9093);
    peer_bench_advance(&bench, 10000);
    bench.other.node = cases[_i].node;
    bench.other.server_id = (uint64_t)cases[_i].node << 32 | 1234;
    memcpy(bench.other.cluster_id, cases[_i].cluster, CLUSTER_ID_TEXT_SIZE);
    ck_assert(peer_bench_feed_welcome(&bench, fake_net_last(&bench.net), &bench.other));
    ck_assert_uint_eq(bench.refused_count, 1);
    ck_assert_msg(strstr(bench.refused_cause, cases[_i].text) != NULL, "%s", bench.refused_cause);
    ck_assert_uint_eq(bench.up_count, 0);
    ck_assert(fake_net_last(&bench.net)->is_closed);
    peer_bench_close(&bench);
}
END_TEST

static Suite *peer_link_suite(void)
{
    Suite *suite = suite_create("peer_link");
    TCase *sending = tcase_create("sending");
    tcase_add_test(sending, a_turn_is_one_write);
    tcase_add_test(sending, heartbeats_overtake_payload_of_other_groups);
    tcase_add_test(sending, a_queue_has_a_bound);
    tcase_add_test(sending, messages_for_others_are_dropped);
    tcase_add_test(sending, calls_have_a_bound);
    tcase_add_test(sending, calls_end_with_everything);
    tcase_set_timeout(sending, 60);
    suite_add_tcase(suite, sending);
    TCase *life = tcase_create("life");
    tcase_add_test(life, silence_is_noticed);
    tcase_add_test(life, reconnecting_backs_off);
    tcase_add_test(life, an_end_is_told_once);
    tcase_add_loop_test(life, an_end_may_come_in_two_steps, 0, 2);
    tcase_add_test(life, an_end_is_looked_for_where_it_was);
    tcase_add_test(life, a_hello_without_an_answer_is_given_up);
    tcase_add_test(life, a_wiped_broker_is_another_one);
    tcase_add_test(life, seeds_become_links);
    tcase_add_test(life, a_removed_broker_is_left_alone);
    tcase_add_test(life, a_restart_tells_the_new_identity);
    tcase_add_test(life, a_refusal_is_told_once);
    tcase_add_loop_test(life, a_stranger_that_answers_is_refused, 0, 3);
    suite_add_tcase(suite, life);
    return suite;
}

TEST_MAIN(peer_link_suite)
