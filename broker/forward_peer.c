/* From one broker to another: a request as it came, behind a head that says whose it is. Payload of PEER_FORWARD and
 * its reply: u32 size of the head, the head (proto/peer.proto), then the Kafka request, or response, with its header.
 *
 * Asked: no link to the controller, or the link takes no more calls: nothing was sent, the job waits. A reply with an
 * error
 *        says that nothing was done. A lost link, or no reply in time: in doubt.
 *        An empty reply is that of a broker that stops.
 * Asks:  a broker that is not the controller, or has no room, refuses at once; it never sends a request on. */

#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/forward_internal.h"
#include "broker/peer_method.h"
#include "proto/peer.pb-c.h"
#include "replication/peers.h"
#include <string.h>

#define HEAD_SIZE_MAX KIB(4)
#define REPLY_GRACE_MS 5000 /* beyond the request's own timeout, which counts from when the controller has it */

/* One block of head and bytes; one reference. */
static struct slice put_together(const ProtobufCMessage *head, struct bytes bytes)
{
    size_t head_size = protobuf_c_message_get_packed_size(head);
    struct shared *block = shared_new(4 + head_size + bytes.size);
    be32_put(block->data, (uint32_t)head_size);
    (void)protobuf_c_message_pack(head, block->data + 4);
    if (bytes.size > 0) {
        memcpy(block->data + 4 + head_size, bytes.data, bytes.size);
    }
    return (struct slice){block, {block->data, block->size}};
}

/* False: not of that form. Both point into `payload`. */
static bool take_apart(struct bytes payload, struct bytes *head, struct bytes *rest)
{
    struct reader reader;
    reader_init(&reader, payload);
    uint32_t size = read_u32(&reader);
    if (reader.err != OK || size > HEAD_SIZE_MAX) {
        return false;
    }
    *head = read_bytes(&reader, size);
    *rest = (struct bytes){reader.at, reader.left};
    return reader.err == OK;
}

/* ---- Asking */

struct sent {
    struct peer_call call;
    struct forward_trip *trip;
    struct slice payload;
};

static enum forward_outcome outcome_of_error(int32_t error)
{
    return error == KAFKA_UNSUPPORTED_VERSION || error == KAFKA_INVALID_REQUEST ? FORWARD_REFUSED
                                                                                : FORWARD_NO_CONTROLLER;
}

/* A reply that makes no sense was sent by somebody who had the request, an empty one by a broker that stops: it did
 * nothing. */
enum forward_outcome forward_reply_read(struct slice reply, struct slice *response, uint64_t *index)
{
    struct bytes head;
    struct bytes rest;
    if (reply.bytes.size == 0) {
        return FORWARD_NO_CONTROLLER;
    }
    if (!take_apart(reply.bytes, &head, &rest)) {
        return FORWARD_IN_DOUBT;
    }
    Balsa__Peer__ForwardReply *message = balsa__peer__forward_reply__unpack(NULL, head.size, head.data);
    if (message == NULL) {
        return FORWARD_IN_DOUBT;
    }
    *response = (struct slice){reply.block, rest};
    *index = message->metadata_index;
    int32_t error = message->error;
    balsa__peer__forward_reply__free_unpacked(message, NULL);
    return error == KAFKA_NONE ? FORWARD_ANSWERED : outcome_of_error(error);
}

static void sent_on_reply(struct peer_call *call)
{
    struct sent *sent = container_of(call, struct sent, call);
    struct slice response = {NULL, BYTES_NONE};
    uint64_t index = 0;
    enum forward_outcome outcome = call->err == OK         ? forward_reply_read(call->reply, &response, &index)
                                   : call->err == ERR_BUSY ? FORWARD_NO_CONTROLLER
                                                           : FORWARD_IN_DOUBT;
    forward_trip_end(sent->trip, outcome, response, index);
    slice_release(&sent->payload);
    mem_free(sent);
}

bool forward_trip_start(struct shard *shard, struct forward_trip *trip)
{
    struct leader leader = leaders_get(shard->leaders, METADATA_GROUP);
    struct forward_job *job = trip->job;
    if (shard->peers == NULL || leader.broker < 0 || leader.broker == shard->options->node_id ||
        !peers_is_up(shard->peers, leader.broker)) {
        return false;
    }
    Balsa__Peer__ForwardRequest head = BALSA__PEER__FORWARD_REQUEST__INIT;
    struct sent *sent = mem_alloc(sizeof(*sent));
    head.timeout_ms = job->timeout_ms;
    sent->trip = trip;
    sent->payload = put_together(&head.base, job->frame.bytes);
    sent->call = (struct peer_call){.node = leader.broker,
                                    .method = PEER_FORWARD,
                                    .payload = sent->payload,
                                    .timeout_ms = job->timeout_ms + REPLY_GRACE_MS,
                                    .cb = sent_on_reply};
    job->node = leader.broker;
    peers_call(shard->peers, &sent->call);
    return true;
}

/* ---- Asked */

struct arrived {
    struct request_run run;
    struct shard *shard;
    struct peer_request *request;
};

static void reply(struct peer_request *request, enum kafka_error error, struct bytes response, uint64_t index)
{
    Balsa__Peer__ForwardReply head = BALSA__PEER__FORWARD_REPLY__INIT;
    head.error = (int32_t)error;
    head.metadata_index = index;
    struct slice payload = put_together(&head.base, response);
    peers_reply(request, payload, false);
    slice_release(&payload);
}

static enum kafka_error error_of_run(enum err err)
{
    switch ((int)err) {
    case OK:
        return KAFKA_NONE;
    case ERR_NOT_LEADER:
        return KAFKA_NOT_CONTROLLER;
    case ERR_UNSUPPORTED:
        return KAFKA_UNSUPPORTED_VERSION;
    default:
        return KAFKA_INVALID_REQUEST;
    }
}

static void arrived_on_run(struct request_run *run)
{
    struct arrived *arrived = container_of(run, struct arrived, run);
    struct store_reader *reader = arrived->shard->reader;
    store_reader_refresh(reader);
    metrics_add(arrived->shard->metrics, METRIC_FORWARD_REFUSED, run->err != OK);
    reply(arrived->request, error_of_run(run->err), run->response.bytes, store_applied_index(reader));
    slice_release(&run->frame);
    mem_free(arrived);
}

void forward_request_arrived(struct shard *shard, struct peer_request *request)
{
    struct bytes head;
    struct bytes frame;
    if (!take_apart(request->payload.bytes, &head, &frame)) {
        trace(WARN, CONTROLLER, "a forwarded request does not decode", KV("from", request->node));
        metrics_add(shard->metrics, METRIC_FORWARD_REFUSED, 1);
        reply(request, KAFKA_INVALID_REQUEST, BYTES_NONE, 0);
        return;
    }
    if (!forward_is_controller(shard) || !request_has_room(shard)) {
        metrics_add(shard->metrics, METRIC_FORWARD_REFUSED, 1);
        reply(request, KAFKA_NOT_CONTROLLER, BYTES_NONE, 0);
        return;
    }
    struct arrived *arrived = mem_alloc(sizeof(*arrived));
    arrived->shard = shard;
    arrived->request = request;
    arrived->run.frame.block = shared_new(frame.size); /* of its own: the payload may lie in a link's large block */
    memcpy(arrived->run.frame.block->data, frame.data, frame.size);
    arrived->run.frame.bytes = (struct bytes){arrived->run.frame.block->data, frame.size};
    arrived->run.cb = arrived_on_run;
    request_run(shard, &arrived->run);
}
