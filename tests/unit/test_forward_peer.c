/* Forwarded requests as they come over a link: whatever the bytes, there is one reply, and a reply is believed only as
 * far as it goes. */
#include "base/limits.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "broker/forward_internal.h"
#include "proto/peer.pb-c.h"
#include "replication/peers.h"
#include "tests/lib/test.h"
#include <string.h>

static struct slice made;
static unsigned replies;
static int32_t replied_error;
static struct broker broker;
static struct shard shard; /* leads nothing */

static void teardown(void)
{
    slice_release(&made);
}

/* u32 size, head, "rest". */
static void make(const ProtobufCMessage *head)
{
    size_t size = protobuf_c_message_get_packed_size(head);
    made.block = shared_new(4 + size + 4);
    be32_put(made.block->data, (uint32_t)size);
    (void)protobuf_c_message_pack(head, made.block->data + 4);
    memcpy(made.block->data + 4 + size, "rest", 4);
    made.bytes = (struct bytes){made.block->data, made.block->size};
}

/* A copy of exactly these bytes, so that a read behind them is seen. */
static struct slice cut(size_t size)
{
    struct shared *block = shared_new(size);
    memcpy(block->data, made.bytes.data, size);
    return (struct slice){block, {block->data, size}};
}

static enum forward_outcome outcome_of(int32_t error)
{
    Balsa__Peer__ForwardReply head = BALSA__PEER__FORWARD_REPLY__INIT;
    struct slice response;
    uint64_t index;
    head.error = error;
    head.metadata_index = 77;
    make(&head.base);
    enum forward_outcome outcome = forward_reply_read(made, &response, &index);
    slice_release(&made);
    return outcome;
}

/* Goal: an answer is the bytes behind the head, with the index. */
START_TEST(a_reply_is_read)
{
    Balsa__Peer__ForwardReply head = BALSA__PEER__FORWARD_REPLY__INIT;
    struct slice response = {NULL, BYTES_NONE};
    uint64_t index = 0;
    head.metadata_index = 1234567890123;
    make(&head.base);
    ck_assert_int_eq((int)forward_reply_read(made, &response, &index), (int)FORWARD_ANSWERED);
    ck_assert_uint_eq(index, 1234567890123);
    ck_assert_uint_eq(response.bytes.size, 4);
    ck_assert_mem_eq(response.bytes.data, "rest", 4);
}
END_TEST

/* Goal: an error says that nothing was done; only what the controller does not take is not asked again. */
START_TEST(errors_are_told_apart)
{
    ck_assert_int_eq((int)outcome_of(KAFKA_NOT_CONTROLLER), (int)FORWARD_NO_CONTROLLER);
    ck_assert_int_eq((int)outcome_of(KAFKA_UNSUPPORTED_VERSION), (int)FORWARD_REFUSED);
    ck_assert_int_eq((int)outcome_of(KAFKA_INVALID_REQUEST), (int)FORWARD_REFUSED);
}
END_TEST

/* Goal: a reply that is cut is in doubt, an empty one is that of a broker that stops. Method: every prefix. */
START_TEST(cut_replies_are_in_doubt)
{
    Balsa__Peer__ForwardReply head = BALSA__PEER__FORWARD_REPLY__INIT;
    head.metadata_index = 1234567890123;
    make(&head.base);
    for (size_t size = 0; size < made.bytes.size - 4; size++) {
        struct slice response = {NULL, BYTES_NONE};
        uint64_t index = 0;
        struct slice reply = cut(size);
        enum forward_outcome due = size == 0 ? FORWARD_NO_CONTROLLER : FORWARD_IN_DOUBT;
        ck_assert_msg(forward_reply_read(reply, &response, &index) == due, "cut to %zu", size);
        slice_release(&reply);
    }
}
END_TEST

/* Goal: no bytes lead astray. Method: each byte of a good reply takes all values. */
START_TEST(damaged_replies_are_survived)
{
    Balsa__Peer__ForwardReply head = BALSA__PEER__FORWARD_REPLY__INIT;
    head.error = KAFKA_NOT_CONTROLLER;
    head.cause = (char *)(uintptr_t) "cause";
    head.metadata_index = 1234567890123;
    make(&head.base);
    for (size_t at = 0; at < made.bytes.size; at++) {
        for (unsigned value = 0; value < 256; value++) {
            struct slice response = {NULL, BYTES_NONE};
            uint64_t index = 0;
            struct slice reply = cut(made.bytes.size);
            reply.block->data[at] = (uint8_t)value;
            enum forward_outcome outcome = forward_reply_read(reply, &response, &index);
            ck_assert(outcome != FORWARD_ANSWERED || response.bytes.size <= reply.bytes.size);
            slice_release(&reply);
        }
    }
}
END_TEST

static void on_reply(struct peer_request *request, struct slice payload, bool is_bulk)
{
    struct bytes head = {payload.bytes.data + 4, be32_get(payload.bytes.data)};
    (void)request;
    ck_assert(!is_bulk);
    Balsa__Peer__ForwardReply *message = balsa__peer__forward_reply__unpack(NULL, head.size, head.data);
    ck_assert_ptr_nonnull(message);
    replies++;
    replied_error = message->error;
    balsa__peer__forward_reply__free_unpacked(message, NULL);
}

/* Goal: one who is not the controller has done nothing and says so; what is cut is refused. Method: every prefix. */
START_TEST(requests_are_replied_to_whatever_they_are)
{
    Balsa__Peer__ForwardRequest head = BALSA__PEER__FORWARD_REQUEST__INIT;
    head.timeout_ms = 30000;
    broker = (struct broker){.shards = &shard, .shard_count = 1};
    shard = (struct shard){.broker = &broker, .metrics = metrics_open()};
    make(&head.base);
    size_t head_end = made.bytes.size - 4;
    for (size_t size = 0; size <= made.bytes.size; size++) {
        struct slice payload = cut(size);
        struct peer_request request = {.payload = payload, .reply = on_reply};
        replies = 0;
        forward_request_arrived(&shard, &request);
        ck_assert_uint_eq(replies, 1);
        ck_assert_int_eq(replied_error, size < head_end ? KAFKA_INVALID_REQUEST : KAFKA_NOT_CONTROLLER);
        slice_release(&payload);
    }
    ck_assert_int_eq(metrics_value(shard.metrics, METRIC_FORWARD_REFUSED), (int64_t)made.bytes.size + 1);
    metrics_close(shard.metrics);
}
END_TEST

static Suite *forward_peer_suite(void)
{
    Suite *suite = suite_create("forward_peer");
    TCase *tcase = tcase_create("bytes");
    tcase_add_checked_fixture(tcase, NULL, teardown);
    tcase_add_test(tcase, a_reply_is_read);
    tcase_add_test(tcase, errors_are_told_apart);
    tcase_add_test(tcase, cut_replies_are_in_doubt);
    tcase_add_test(tcase, damaged_replies_are_survived);
    tcase_add_test(tcase, requests_are_replied_to_whatever_they_are);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(forward_peer_suite)
