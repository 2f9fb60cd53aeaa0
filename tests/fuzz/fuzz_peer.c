/* Goal: nothing that another broker, or anybody who can reach the port, sends hurts a shard's links.
 * Input: bytes of control, each followed by what it needs:
 *   0 raw: u16 size, bytes as they are                       1 frame: u16, u16, an envelope and payload, made a frame
 *   2 the other side closes        3 a second passes         4 a new connection (accept), or a wait for the next
 *   connect
 *   5 reply to the oldest request  6 send something          7 remove or set the link
 * The first byte chooses: 0 as one who has just been accepted, 1 as a broker whose hello was taken, 2 as one who was
 * connected to.
 * Method: the shard's links over a network by hand; afterwards they are closed and all memory must be back. */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/peer_frame.h"
#include "replication/raft_wire.h"
#include "tests/lib/fake_net.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    REQUEST_MAX = 64,
    STREAM_SOFT_MAX = FAKE_STREAM_MAX - 8
};

struct world {
    struct turn_env turn;
    struct fake_net net;
    struct peers *peers;
    struct peer_identity self;
    struct peer_request *requests[REQUEST_MAX];
    unsigned request_count;
    struct peer_call call;
    bool is_calling;
    bool is_closed;
};

/* Every byte is there: for the sanitizer to see. */
static void touch(struct bytes bytes)
{
    static volatile uint8_t sum;
    for (size_t i = 0; i < bytes.size; i++) {
        sum = (uint8_t)(sum + bytes.data[i]);
    }
}

static void on_receive(void *owner, uint64_t group, const struct replica_message *message)
{
    (void)owner;
    assert(group != 0);
    assert(message->peer != 0);
    if (message->kind == REPLICA_APPEND) {
        for (unsigned i = 0; i < message->append.entry_count; i++) {
            const struct entry *entry = message->append.entries[i];
            assert(entry->index == message->append.prev_index + 1 + i);
            assert(entry->term > 0 && entry->term <= message->term);
            touch(entry_payload(entry, NULL));
        }
    }
    raft_wire_release(message);
}

static void on_request(void *owner, struct peer_request *request)
{
    struct world *world = owner;
    touch(request->payload.bytes);
    if (world->request_count == REQUEST_MAX) {
        peers_reply(request, request->payload, true);
        return;
    }
    world->requests[world->request_count++] = request;
}

static void on_up(void *owner, const struct peer_identity *identity)
{
    struct world *world = owner;
    assert(identity->node != world->self.node);
    assert(strlen(identity->host) > 0);
}

static void on_down(void *owner, int32_t node, uint64_t server_id, bool is_reset)
{
    (void)owner;
    (void)is_reset;
    assert(server_id >> 32 == (uint64_t)node);
}

static void on_refused(void *owner, const char *host, uint16_t port, const char *cause)
{
    (void)owner;
    (void)port;
    assert(strlen(host) > 0);
    assert(strlen(cause) < ERRMSG_SIZE);
}

static void hand_over(void *owner, unsigned shard, int token, const struct peer_hello *hello)
{
    struct world *world = owner;
    assert(shard < 3);
    peers_adopt(world->peers, token, hello);
}

static void on_closed(void *owner)
{
    struct world *world = owner;
    world->is_closed = true;
}

static void on_called(struct peer_call *call)
{
    struct world *world = container_of(call, struct world, call);
    world->is_calling = false;
    touch(call->reply.bytes);
}

static struct peer_identity other_identity(void)
{
    struct peer_identity other = {.node = 7, .server_id = (uint64_t)7 << 32 | 5, .host = "other", .port = 1};
    return other;
}

static void feed_frame(struct stream *stream, struct bytes envelope, struct bytes payload)
{
    uint8_t head[PEER_FRAME_HEAD_SIZE];
    const struct peer_frame_head frame = {(uint32_t)envelope.size, (uint32_t)payload.size,
                                          crc32c(crc32c(0, envelope), payload)};
    peer_frame_head_put(&frame, head);
    (void)fake_stream_feed(stream, (struct bytes){head, sizeof head});
    (void)fake_stream_feed(stream, envelope);
    (void)fake_stream_feed(stream, payload);
}

static void begin(struct world *world, unsigned mode)
{
    struct peer_identity other = other_identity();
    uint8_t element[PEER_ELEMENT_SIZE_MAX];
    if (mode == 2) {
        peers_set(world->peers, 7, "other", 1);
        turn_env_advance(&world->turn, 1);
        fake_net_turn(&world->net);
        return;
    }
    if (world->net.stream_count >= STREAM_SOFT_MAX) {
        return;
    }
    peers_accept(world->peers, fake_net_accept(&world->net), hand_over);
    if (mode == 1) {
        size_t size = peer_hello_encode(&other, 0, element);
        feed_frame(fake_net_last(&world->net), (struct bytes){element, size}, BYTES_NONE);
        fake_net_turn(&world->net);
    }
}

static void send_something(struct world *world, uint8_t what)
{
    struct entry *entry = entry_new_copy(ENTRY_COMMAND, 2, 1, bytes_from_text("payload"));
    struct entry *entries[1] = {entry};
    struct replica_message message = {.kind = REPLICA_APPEND, .peer = other_identity().server_id, .term = 1};
    message.append.prev_index = 1;
    message.append.prev_term = 1;
    message.append.entries = entries;
    message.append.entry_count = what & 1;
    peers_send(world->peers, 1 + (what >> 1 & 3), &message);
    entry_release(entry);
    if (!world->is_calling && (what & 8) != 0) {
        world->is_calling = true;
        world->call = (struct peer_call){.node = 7, .method = 1, .timeout_ms = 100, .cb = on_called};
        peers_call(world->peers, &world->call);
    }
}

static void reply_oldest(struct world *world)
{
    if (world->request_count > 0) {
        struct peer_request *request = world->requests[0];
        memmove(world->requests, world->requests + 1, --world->request_count * sizeof(world->requests[0]));
        peers_reply(request, request->payload, world->request_count % 2 == 0);
    }
}

static void step(struct world *world, struct reader *reader, unsigned mode)
{
    struct stream *stream = fake_net_last(&world->net);
    bool is_fed = stream != NULL && stream->handlers != NULL;
    uint8_t control = read_u8(reader);
    if (world->net.stream_count >= STREAM_SOFT_MAX) {
        world->net.connect_err = ERR_IO;
    }
    switch (control & 7) {
    case 0: {
        struct bytes bytes = read_bytes(reader, read_u16(reader));
        if (is_fed) {
            (void)fake_stream_feed(stream, bytes);
        }
        break;
    }
    case 1: {
        size_t envelope_size = read_u16(reader);
        size_t payload_size = read_u16(reader);
        struct bytes envelope = read_bytes(reader, envelope_size);
        struct bytes payload = read_bytes(reader, payload_size);
        if (is_fed) {
            feed_frame(stream, envelope, payload);
        }
        break;
    }
    case 2:
        if (is_fed) {
            fake_stream_end(stream, (control & 8) != 0 ? ERR_IO : ERR_CLOSED);
        }
        break;
    case 3:
        turn_env_advance(&world->turn, 1000000);
        break;
    case 4:
        begin(world, mode);
        break;
    case 5:
        reply_oldest(world);
        break;
    case 6:
        send_something(world, control >> 3);
        break;
    default:
        if ((control & 8) != 0) {
            peers_remove(world->peers, 7);
        } else {
            peers_set(world->peers, 7, "another", 2);
            peers_restart(world->peers);
        }
        break;
    }
    fake_net_turn(&world->net);
}

static void end(struct world *world)
{
    peers_close(world->peers, world, on_closed);
    while (world->request_count > 0) {
        reply_oldest(world);
    }
    fake_net_turn(&world->net);
    turn_env_advance(&world->turn, 2000000);
    fake_net_turn(&world->net);
    assert(world->is_closed);
    assert(!world->is_calling);
    assert(metrics_value(world->turn.env.metrics, METRIC_PEER_QUEUE_BYTES) == 0);
    assert(metrics_value(world->turn.env.metrics, METRIC_PEER_LINKS) == 0);
    fake_net_deinit(&world->net);
    turn_env_deinit(&world->turn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world world;
    struct reader reader;
    reader_init(&reader, (struct bytes){data, size});
    trace_set_level(TRACE_PEER, TRACE_ERROR);
    world = (struct world){.self = {.cluster_id = "AAAAAAAAAAAAAAAAAAAAAA", .node = 1, .host = "self", .port = 1}};
    world.self.server_id = (uint64_t)1 << 32 | 1;
    turn_env_init(&world.turn, 1);
    fake_net_init(&world.net, &world.turn);
    struct peers_params params = {
        .env = &world.turn.env,
        .shard_count = 3,
        .self = &world.self,
        .owner = &world,
        .receive = on_receive,
        .request = on_request,
        .up = on_up,
        .down = on_down,
        .refused = on_refused,
    };
    world.peers = peers_open(&params);
    unsigned mode = read_u8(&reader) % 3;
    begin(&world, mode);
    while (reader.left > 0) {
        step(&world, &reader, mode);
    }
    end(&world);
    return 0;
}
