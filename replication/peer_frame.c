/* Happy path: head, then both parts in one block; the envelope is unpacked into the caller's arena, whose limit is
 * what a small hostile envelope may make of itself; payload is cut off piece by piece as the elements say.
 * Elements are packed by protobuf-c as an envelope with nothing else in it: envelopes are added up by being put one
 * behind the other. */
#include "replication/peer_frame.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "proto/peer.pb-c.h"

#include <string.h>

void peer_frame_head_put(const struct peer_frame_head *head, uint8_t *target)
{
    be32_put(target, PEER_FRAME_MAGIC);
    be32_put(target + 4, head->envelope_size);
    be32_put(target + 8, head->payload_size);
    be32_put(target + 12, head->crc);
}

enum err peer_frame_head_get(const uint8_t *source, size_t size_max, struct peer_frame_head *head)
{
    if (be32_get(source) != PEER_FRAME_MAGIC) {
        return ERR_CORRUPT;
    }
    head->envelope_size = be32_get(source + 4);
    head->payload_size = be32_get(source + 8);
    head->crc = be32_get(source + 12);
    if (head->envelope_size > PEER_ENVELOPE_SIZE_MAX || head->envelope_size > size_max ||
        head->payload_size > size_max - head->envelope_size) {
        return ERR_TOO_LARGE;
    }
    return OK;
}

/* ---- Unpacking */

static void *arena_take(void *context, size_t size)
{
    return arena_alloc(context, size > 0 ? size : 1);
}

static void arena_give(void *context, void *memory)
{
    (void)context;
    (void)memory;
}

enum err peer_frame_open(const struct peer_frame_head *head, struct shared *block, struct arena *arena,
                         struct peer_frame *frame)
{
    ProtobufCAllocator allocator = {.alloc = arena_take, .free = arena_give, .allocator_data = arena};
    struct bytes all = block != NULL ? (struct bytes){block->data, block->size} : BYTES_NONE;
    assert(all.size == (size_t)head->envelope_size + head->payload_size);
    if (crc32c(0, all) != head->crc) {
        return ERR_CORRUPT;
    }
    frame->block = block;
    frame->payload = (struct bytes){head->payload_size > 0 ? all.data + head->envelope_size : NULL, head->payload_size};
    frame->envelope = balsa__peer__envelope__unpack(&allocator, head->envelope_size, all.data);
    return frame->envelope != NULL ? OK : ERR_CORRUPT;
}

enum err peer_frame_take(struct peer_frame *frame, uint32_t size, struct slice *slice)
{
    *slice = (struct slice){NULL, BYTES_NONE};
    if (size > frame->payload.size) {
        return ERR_CORRUPT;
    }
    if (size == 0) {
        return OK;
    }
    if (size < frame->block->size / 4) {
        slice->block = shared_new(size);
        memcpy(slice->block->data, frame->payload.data, size);
        slice->bytes = (struct bytes){slice->block->data, size};
    } else {
        slice->block = shared_acquire(frame->block);
        slice->bytes = (struct bytes){frame->payload.data, size};
    }
    frame->payload.data += size;
    frame->payload.size -= size;
    return OK;
}

/* ---- Who it is */

static bool is_cluster_id(const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t size = strlen(text);
    return size == 0 || (size == CLUSTER_ID_TEXT_SIZE - 1 && strspn(text, digits) == size);
}

/* Goes into traces, and to the resolver. */
static bool is_host(const char *text)
{
    size_t size = strlen(text);
    for (size_t i = 0; i < size; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return false;
        }
    }
    return size < sizeof(((struct peer_identity *)NULL)->host);
}

enum err peer_identity_decode(const struct Balsa__Peer__Identity *wire, struct peer_identity *identity)
{
    if (wire == NULL || wire->node < 0 || wire->server_id >> 32 != (uint64_t)wire->node ||
        (uint32_t)wire->server_id == 0 || wire->incarnation.len != sizeof identity->incarnation ||
        wire->port > UINT16_MAX || !is_cluster_id(wire->cluster_id) || !is_host(wire->host)) {
        return ERR_CORRUPT;
    }
    *identity = (struct peer_identity){.node = wire->node, .server_id = wire->server_id, .port = (uint16_t)wire->port};
    memcpy(identity->incarnation, wire->incarnation.data, sizeof identity->incarnation);
    memcpy(identity->cluster_id, wire->cluster_id, strlen(wire->cluster_id));
    memcpy(identity->host, wire->host, strlen(wire->host));
    return OK;
}

/* ---- Elements */

static size_t envelope_pack(const Balsa__Peer__Envelope *envelope, uint8_t *target)
{
    assert(balsa__peer__envelope__get_packed_size(envelope) <= PEER_ELEMENT_SIZE_MAX);
    return balsa__peer__envelope__pack(envelope, target);
}

/* protobuf-c's structs have no const; nothing is written through them. */
static void identity_fill(const struct peer_identity *self, Balsa__Peer__Identity *wire)
{
    balsa__peer__identity__init(wire);
    wire->cluster_id = (char *)(uintptr_t)self->cluster_id;
    wire->node = self->node;
    wire->server_id = self->server_id;
    wire->incarnation.data = (uint8_t *)(uintptr_t)self->incarnation;
    wire->incarnation.len = sizeof self->incarnation;
    wire->host = (char *)(uintptr_t)self->host;
    wire->port = self->port;
}

size_t peer_hello_encode(const struct peer_identity *self, unsigned shard, uint8_t *target)
{
    Balsa__Peer__Envelope envelope = BALSA__PEER__ENVELOPE__INIT;
    Balsa__Peer__Hello hello = BALSA__PEER__HELLO__INIT;
    Balsa__Peer__Identity identity;
    identity_fill(self, &identity);
    hello.version = PEER_VERSION;
    hello.version_min = PEER_VERSION;
    hello.identity = &identity;
    hello.shard = shard;
    envelope.hello = &hello;
    return envelope_pack(&envelope, target);
}

size_t peer_welcome_encode(const struct peer_identity *self, uint8_t *target)
{
    Balsa__Peer__Envelope envelope = BALSA__PEER__ENVELOPE__INIT;
    Balsa__Peer__Welcome welcome = BALSA__PEER__WELCOME__INIT;
    Balsa__Peer__Identity identity;
    identity_fill(self, &identity);
    welcome.version = PEER_VERSION;
    welcome.identity = &identity;
    envelope.welcome = &welcome;
    return envelope_pack(&envelope, target);
}

size_t peer_refusal_encode(int code, const char *cause, uint8_t *target)
{
    Balsa__Peer__Envelope envelope = BALSA__PEER__ENVELOPE__INIT;
    Balsa__Peer__Refusal refusal = BALSA__PEER__REFUSAL__INIT;
    refusal.code = (Balsa__Peer__Refusal__Code)code;
    refusal.cause = (char *)(uintptr_t)cause;
    envelope.refusal = &refusal;
    return envelope_pack(&envelope, target);
}

size_t peer_call_encode(uint64_t id, unsigned method, size_t size, uint8_t *target)
{
    Balsa__Peer__Envelope envelope = BALSA__PEER__ENVELOPE__INIT;
    Balsa__Peer__Call call = BALSA__PEER__CALL__INIT;
    Balsa__Peer__Call *calls[] = {&call};
    assert(size <= PEER_CALL_SIZE_MAX);
    call.id = id;
    call.method = method;
    call.size = (uint32_t)size;
    envelope.n_calls = 1;
    envelope.calls = calls;
    return envelope_pack(&envelope, target);
}

size_t peer_reply_encode(uint64_t id, size_t size, bool is_busy, uint8_t *target)
{
    Balsa__Peer__Envelope envelope = BALSA__PEER__ENVELOPE__INIT;
    Balsa__Peer__Reply reply = BALSA__PEER__REPLY__INIT;
    Balsa__Peer__Reply *replies[] = {&reply};
    assert(size <= PEER_CALL_SIZE_MAX);
    reply.id = id;
    reply.size = (uint32_t)size;
    reply.is_busy = is_busy;
    envelope.n_replies = 1;
    envelope.replies = replies;
    return envelope_pack(&envelope, target);
}

size_t peer_time_encode(uint64_t sent_ms, uint8_t *target)
{
    Balsa__Peer__Envelope envelope = BALSA__PEER__ENVELOPE__INIT;
    envelope.sent_ms = sent_ms;
    return envelope_pack(&envelope, target);
}
