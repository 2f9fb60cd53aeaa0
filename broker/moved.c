/* Happy path: shard => shard 0 -> the controller here, or a call to the broker it is on. Whatever fails on the way ends
 * the report quietly. */

#include "broker/moved.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/forward_internal.h"
#include "broker/peer_method.h"
#include "proto/peer.pb-c.h"
#include "replication/peers.h"
#include <string.h>

#define CALL_TIMEOUT_MS 2000

struct moved_report {
    struct message message;
    struct shard *home; /* shard 0 */
    struct controller_moved_one *items;
    size_t count;
    struct controller_moved controlled;
    struct peer_call call;
    struct shared *block;
};

static void report_free(struct moved_report *report)
{
    if (report->block != NULL) {
        shared_release(report->block);
    }
    mem_free(report->items);
    mem_free(report);
}

static void report_on_controlled(struct controller_moved *req)
{
    if (req->error != KAFKA_NONE) {
        metrics_add(container_of(req, struct moved_report, controlled)->home->metrics, METRIC_MOVE_STEPS_REFUSED, 1);
        trace(DEBUG, CONTROLLER, "moved partitions are not recorded yet", KV("error", req->error));
    }
    report_free(container_of(req, struct moved_report, controlled));
}

static void report_on_reply(struct peer_call *call)
{
    report_free(container_of(call, struct moved_report, call));
}

static struct shared *report_encode(const struct moved_report *report)
{
    Balsa__Peer__MovedRequest request = BALSA__PEER__MOVED_REQUEST__INIT;
    Balsa__Peer__Moved *items = mem_alloc(report->count * sizeof(*items));
    Balsa__Peer__Moved **list = mem_alloc(report->count * sizeof(*list));
    for (size_t i = 0; i < report->count; i++) {
        struct controller_moved_one *one = &report->items[i];
        balsa__peer__moved__init(&items[i]);
        items[i].topic_id = (ProtobufCBinaryData){sizeof(one->topic.bytes), one->topic.bytes};
        items[i].partition = (uint32_t)one->partition;
        items[i].n_replicas = one->replica_count;
        items[i].replicas = one->replicas;
        items[i].epoch = one->epoch;
        list[i] = &items[i];
    }
    request.n_moved = report->count;
    request.moved = list;
    struct shared *block = shared_new(balsa__peer__moved_request__get_packed_size(&request));
    balsa__peer__moved_request__pack(&request, block->data);
    mem_free(items);
    mem_free(list);
    return block;
}

static void report_on_message(struct message *message)
{
    struct moved_report *report = container_of(message, struct moved_report, message);
    struct shard *shard = report->home;
    int32_t node = leaders_get(shard->leaders, METADATA_GROUP).broker;
    if (shard->is_stopping) {
        report_free(report);
    } else if (forward_is_controller(shard)) {
        report->controlled =
            (struct controller_moved){.moved = report->items, .count = report->count, .cb = report_on_controlled};
        controller_moved(shard->controller, &report->controlled);
    } else if (shard->peers != NULL && node >= 0 && node != shard->options->node_id) {
        report->block = report_encode(report);
        report->call = (struct peer_call){.node = node,
                                          .method = PEER_MOVED,
                                          .payload = {report->block, {report->block->data, report->block->size}},
                                          .timeout_ms = CALL_TIMEOUT_MS,
                                          .cb = report_on_reply};
        peers_call(shard->peers, &report->call);
    } else {
        report_free(report);
    }
}

void moved_report(struct shard *shard, const struct controller_moved_one *moved, size_t count)
{
    struct moved_report *report = mem_alloc(sizeof(*report));
    assert(count > 0 && count <= MOVED_COUNT_MAX);
    report->home = &shard->broker->shards[0];
    report->count = count;
    report->items = mem_alloc(count * sizeof(*report->items));
    memcpy(report->items, moved, count * sizeof(*report->items));
    report->message.cb = report_on_message;
    shard_send(shard, 0, &report->message);
}

/* ---- On the controller's broker ---- */

struct moved_work {
    struct peer_request *request;
    struct controller_moved_one *items;
    struct controller_moved controlled;
};

static void work_reply(struct moved_work *work, size_t count, enum kafka_error error)
{
    Balsa__Peer__MovedReply reply = BALSA__PEER__MOVED_REPLY__INIT;
    uint32_t *results = mem_alloc((count + 1) * sizeof(*results));
    for (size_t i = 0; i < count; i++) {
        results[i] = (uint32_t)error;
    }
    reply.n_results = count;
    reply.results = results;
    struct shared *block = shared_new(balsa__peer__moved_reply__get_packed_size(&reply) + 1);
    size_t size = balsa__peer__moved_reply__pack(&reply, block->data);
    peers_reply(work->request, (struct slice){block, {block->data, size}}, false);
    shared_release(block);
    mem_free(results);
    mem_free(work->items);
    mem_free(work);
}

static void work_on_controlled(struct controller_moved *req)
{
    work_reply(container_of(req, struct moved_work, controlled), req->count, req->error);
}

static bool item_decode(const Balsa__Peer__Moved *moved, struct controller_moved_one *one)
{
    if (moved->topic_id.len != sizeof(one->topic.bytes) || moved->partition > INT32_MAX || moved->n_replicas == 0 ||
        moved->n_replicas > REPLICA_SERVER_COUNT_MAX) {
        return false;
    }
    *one = (struct controller_moved_one){
        .partition = (int32_t)moved->partition, .replica_count = moved->n_replicas, .epoch = moved->epoch};
    memcpy(one->topic.bytes, moved->topic_id.data, sizeof(one->topic.bytes));
    memcpy(one->replicas, moved->replicas, moved->n_replicas * sizeof(int32_t));
    return true;
}

/* Malformed: everything is refused, as its sender is broken or of another version. */
static bool work_decode(struct moved_work *work, size_t *count)
{
    struct bytes payload = work->request->payload.bytes;
    Balsa__Peer__MovedRequest *decoded = balsa__peer__moved_request__unpack(NULL, payload.size, payload.data);
    bool is_valid = decoded != NULL && decoded->n_moved > 0 && decoded->n_moved <= MOVED_COUNT_MAX;
    *count = is_valid ? decoded->n_moved : 0;
    work->items = mem_alloc((*count + 1) * sizeof(*work->items));
    for (size_t i = 0; i < *count && is_valid; i++) {
        is_valid = item_decode(decoded->moved[i], &work->items[i]);
    }
    if (decoded != NULL) {
        balsa__peer__moved_request__free_unpacked(decoded, NULL);
    }
    return is_valid;
}

void moved_request_arrived(struct shard *shard, struct peer_request *request)
{
    struct moved_work *work = mem_alloc(sizeof(*work));
    size_t count;
    work->request = request;
    if (!work_decode(work, &count)) {
        work_reply(work, count, KAFKA_INVALID_REQUEST);
    } else if (!forward_is_controller(shard)) {
        work_reply(work, count, KAFKA_NOT_CONTROLLER);
    } else {
        work->controlled = (struct controller_moved){.moved = work->items, .count = count, .cb = work_on_controlled};
        controller_moved(shard->controller, &work->controlled);
    }
}
