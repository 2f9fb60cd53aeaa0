#include "tests/lib/peer_bench.h"

#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "replication/raft_wire.h"
#include "tests/lib/test.h"

static void on_receive(void *owner, uint64_t group, const struct replica_message *message)
{
    struct peer_bench *bench = owner;
    (void)group;
    bench->received++;
    raft_wire_release(message);
}

static void on_request(void *owner, struct peer_request *request)
{
    struct peer_bench *bench = owner;
    ck_assert_uint_lt(bench->request_count, BENCH_REQUEST_MAX);
    bench->requests[bench->request_count++] = request;
}

static void on_up(void *owner, const struct peer_identity *identity)
{
    struct peer_bench *bench = owner;
    (void)identity;
    bench->up_count++;
}

static void on_down(void *owner, int32_t node, uint64_t server_id, bool is_reset)
{
    struct peer_bench *bench = owner;
    ck_assert_uint_eq(server_id >> 32, (uint64_t)node);
    bench->down_count++;
    bench->reset_count += is_reset;
}

static void on_ended(void *owner, int32_t node, uint64_t server_id)
{
    struct peer_bench *bench = owner;
    ck_assert_uint_eq(server_id >> 32, (uint64_t)node);
    bench->ended_count++;
}

static void on_refused(void *owner, const char *host, uint16_t port, const char *cause)
{
    struct peer_bench *bench = owner;
    (void)host;
    (void)port;
    bench->refused_count++;
    (void)snprintf(bench->refused_cause, sizeof bench->refused_cause, "%s", cause);
}

static void hand_over(void *owner, unsigned shard, int token, const struct peer_hello *hello)
{
    struct peer_bench *bench = owner;
    bench->handed_count++;
    bench->handed_shard = shard;
    peers_adopt(bench->peers, token, hello);
}

static void on_closed(void *owner)
{
    struct peer_bench *bench = owner;
    bench->is_closed = true;
}

static void identity_fill(struct peer_identity *identity, int32_t node)
{
    *identity = (struct peer_identity){
        .cluster_id = "AAAAAAAAAAAAAAAAAAAAAA", .node = node, .server_id = (uint64_t)node << 32 | 77, .port = 9093};
    (void)snprintf(identity->host, sizeof identity->host, "n%d", node);
}

void peer_bench_open(struct peer_bench *bench)
{
    *bench = (struct peer_bench){0};
    identity_fill(&bench->self, 1);
    identity_fill(&bench->other, 2);
    turn_env_init(&bench->turn, 1);
    fake_net_init(&bench->net, &bench->turn);
    struct peers_params params = {
        .env = &bench->turn.env,
        .shard_count = 3,
        .self = &bench->self,
        .owner = bench,
        .receive = on_receive,
        .request = on_request,
        .up = on_up,
        .down = on_down,
        .ended = on_ended,
        .refused = on_refused,
    };
    bench->peers = peers_open(&params);
}

void peer_bench_close(struct peer_bench *bench)
{
    bench->net.is_stuck = false;
    peers_close(bench->peers, bench, on_closed);
    for (unsigned i = 0; i < bench->request_count; i++) {
        if (bench->requests[i] != NULL) {
            peers_reply(bench->requests[i], (struct slice){NULL, BYTES_NONE}, false);
        }
    }
    fake_net_turn(&bench->net);
    ck_assert(bench->is_closed);
    ck_assert_int_eq(peer_bench_metric(bench, METRIC_PEER_QUEUE_BYTES), 0);
    ck_assert_int_eq(peer_bench_metric(bench, METRIC_PEER_LINKS), 0);
    fake_net_deinit(&bench->net);
    turn_env_deinit(&bench->turn);
}

int64_t peer_bench_metric(const struct peer_bench *bench, enum metric metric)
{
    return metrics_value(bench->turn.env.metrics, metric);
}

void peer_bench_advance(struct peer_bench *bench, int64_t us)
{
    const int64_t step_us = 10000;
    for (int64_t left = us; left > 0; left -= step_us) {
        turn_env_advance(&bench->turn, (uint64_t)(left < step_us ? left : step_us));
        fake_net_turn(&bench->net);
    }
}

/* ---- The other side */

bool peer_bench_feed(struct peer_bench *bench, struct stream *stream, struct bytes envelope, struct bytes payload)
{
    uint8_t head[PEER_FRAME_HEAD_SIZE];
    const struct peer_frame_head frame = {(uint32_t)envelope.size, (uint32_t)payload.size,
                                          crc32c(crc32c(0, envelope), payload)};
    peer_frame_head_put(&frame, head);
    size_t taken = fake_stream_feed(stream, (struct bytes){head, sizeof head});
    taken += fake_stream_feed(stream, envelope);
    taken += fake_stream_feed(stream, payload);
    fake_net_turn(&bench->net);
    return taken == sizeof head + envelope.size + payload.size;
}

bool peer_bench_feed_hello(struct peer_bench *bench, struct stream *stream, const struct peer_identity *identity)
{
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    struct bytes bytes = {element, peer_hello_encode(identity, 0, element)};
    return peer_bench_feed(bench, stream, bytes, BYTES_NONE);
}

bool peer_bench_feed_welcome(struct peer_bench *bench, struct stream *stream, const struct peer_identity *identity)
{
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    struct bytes bytes = {element, peer_welcome_encode(identity, element)};
    return peer_bench_feed(bench, stream, bytes, BYTES_NONE);
}

struct stream *peer_bench_link(struct peer_bench *bench)
{
    unsigned up_count = bench->up_count;
    peers_set(bench->peers, bench->other.node, bench->other.host, bench->other.port);
    peer_bench_advance(bench, 1);
    struct stream *stream = fake_net_last(&bench->net);
    ck_assert(peer_bench_feed_welcome(bench, stream, &bench->other));
    ck_assert_uint_eq(bench->up_count, up_count + 1);
    dynbuf_reset(&stream->sent);
    stream->write_count = 0;
    return stream;
}

struct stream *peer_bench_accept(struct peer_bench *bench)
{
    peers_accept(bench->peers, fake_net_accept(&bench->net), hand_over);
    return fake_net_last(&bench->net);
}

struct stream *peer_bench_in(struct peer_bench *bench)
{
    unsigned handed = bench->handed_count;
    struct stream *stream = peer_bench_accept(bench);
    ck_assert(peer_bench_feed_hello(bench, stream, &bench->other));
    ck_assert_uint_eq(bench->handed_count, handed + 1);
    dynbuf_reset(&stream->sent);
    stream->write_count = 0;
    return stream;
}

bool sent_frame_next(const struct stream *stream, size_t *position, struct sent_frame *frame)
{
    struct peer_frame_head head;
    const uint8_t *at = stream->sent.data + *position;
    size_t left = stream->sent.size - *position;
    if (left == 0) {
        return false;
    }
    ck_assert_uint_ge(left, PEER_FRAME_HEAD_SIZE);
    ck_assert_int_eq(peer_frame_head_get(at, PEER_FRAME_SIZE_MAX, &head), OK);
    size_t size = (size_t)head.envelope_size + head.payload_size;
    ck_assert_uint_ge(left - PEER_FRAME_HEAD_SIZE, size);
    ck_assert_uint_eq(crc32c(0, (struct bytes){at + PEER_FRAME_HEAD_SIZE, size}), head.crc);
    frame->envelope = balsa__peer__envelope__unpack(NULL, head.envelope_size, at + PEER_FRAME_HEAD_SIZE);
    ck_assert_ptr_nonnull(frame->envelope);
    frame->payload = (struct bytes){at + PEER_FRAME_HEAD_SIZE + head.envelope_size, head.payload_size};
    *position += PEER_FRAME_HEAD_SIZE + size;
    return true;
}

void sent_frame_free(struct sent_frame *frame)
{
    balsa__peer__envelope__free_unpacked(frame->envelope, NULL);
    frame->envelope = NULL;
}
