/* Leadership that is handed over by an operator's wish: the broker that leads is asked, here or by PEER_TRANSFER, as
 * ElectLeaders does it. Each method asks one broker: for one partition, for the metadata, or for all that it leads. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/admin_internal.h"
#include "broker/admin_scan.h"
#include "broker/cluster.h"
#include "broker/leadership.h"
#include "broker/peer_method.h"
#include "proto/peer.pb-c.h"

#define AGAIN_US (100 * 1000) /* a group whose leadership or members are changing just now takes no other wish */
#define AGAIN_COUNT 50
#define EARLY_COUNT 3

struct transfer {
    struct grpc_call *call;
    int32_t from; /* the broker that is asked */
    struct leadership_call here;
    size_t capacity;
    struct peer_call peer;
    struct shared *block;
    enum kafka_error *errors; /* of here.items */
    void (*done)(struct transfer *transfer);
    struct admin_scan scan;
    struct timer timer;
    unsigned tries;
    /* Of a drain. */
    uint64_t *groups; /* all that may have to go; here.items are those that are asked for now */
    size_t group_count, group_capacity, group_next;
    uint64_t asked, begun;
};

static void transfer_free(struct transfer *transfer)
{
    mem_free(transfer->here.items);
    mem_free(transfer->errors);
    mem_free(transfer->groups);
    mem_free(transfer);
}

static void transfer_add(struct transfer *transfer, uint64_t group, uint64_t server)
{
    struct leadership_call *here = &transfer->here;
    if (here->count == transfer->capacity) {
        transfer->capacity = transfer->capacity > 0 ? 2 * transfer->capacity : 16;
        here->items = mem_resize(here->items, transfer->capacity * sizeof(*here->items));
    }
    here->items[here->count++] = (struct leadership_item){.group = group, .server = server};
}

static void transfer_unreachable(struct transfer *transfer)
{
    grpc_finish(transfer->call, GRPC_UNAVAILABLE,
                "broker %d leads, and this broker cannot reach it now, or had no answer: ask again, or ask that one",
                transfer->from);
    transfer_free(transfer);
}

static void on_here(struct leadership_call *here)
{
    struct transfer *transfer = container_of(here, struct transfer, here);
    for (size_t i = 0; i < here->count; i++) {
        transfer->errors[i] = here->items[i].error;
    }
    transfer->done(transfer);
}

static void on_reply(struct peer_call *peer)
{
    struct transfer *transfer = container_of(peer, struct transfer, peer);
    Balsa__Peer__TransferReply *reply = NULL;
    shared_release(transfer->block);
    if (peer->err == OK) {
        reply = balsa__peer__transfer_reply__unpack(NULL, peer->reply.bytes.size, peer->reply.bytes.data);
    }
    if (reply == NULL || reply->n_results != transfer->here.count) {
        transfer_unreachable(transfer);
    } else {
        for (size_t i = 0; i < reply->n_results; i++) {
            transfer->errors[i] = (enum kafka_error)reply->results[i];
        }
        transfer->done(transfer);
    }
    if (reply != NULL) {
        balsa__peer__transfer_reply__free_unpacked(reply, NULL);
    }
}

static void ask_peer(struct transfer *transfer)
{
    struct shard *shard = admin_of(transfer->call)->shard;
    Balsa__Peer__TransferRequest request = BALSA__PEER__TRANSFER_REQUEST__INIT;
    size_t count = transfer->here.count;
    uint64_t *lists = mem_alloc(2 * (count + 1) * sizeof(*lists));
    request.n_groups = count;
    request.groups = lists;
    request.n_targets = count;
    request.targets = lists + count;
    for (size_t i = 0; i < count; i++) {
        request.groups[i] = transfer->here.items[i].group;
        request.targets[i] = transfer->here.items[i].server;
    }
    transfer->block = shared_new(balsa__peer__transfer_request__get_packed_size(&request));
    balsa__peer__transfer_request__pack(&request, transfer->block->data);
    mem_free(lists);
    transfer->peer = (struct peer_call){.node = transfer->from,
                                        .method = PEER_TRANSFER,
                                        .payload = {transfer->block, {transfer->block->data, transfer->block->size}},
                                        .timeout_ms = admin_timeout_ms(transfer->call),
                                        .cb = on_reply};
    peers_call(shard->peers, &transfer->peer);
}

static void transfer_go(struct transfer *transfer)
{
    struct shard *shard = admin_of(transfer->call)->shard;
    transfer->errors = mem_alloc((transfer->here.count + 1) * sizeof(*transfer->errors));
    if (transfer->here.count == 0) {
        transfer->done(transfer);
    } else if (transfer->from == shard->options->node_id) {
        transfer->here.cb = on_here;
        leadership_call(shard, &transfer->here);
    } else if (shard->peers == NULL) {
        transfer_unreachable(transfer);
    } else {
        ask_peer(transfer);
    }
}

static struct transfer *transfer_new(struct grpc_call *call, int32_t from, void (*done)(struct transfer *transfer))
{
    struct transfer *transfer = mem_alloc(sizeof(*transfer));
    transfer->call = call;
    transfer->from = from;
    transfer->done = done;
    return transfer;
}

/* ---- One partition ---- */

static void transfer_end(struct transfer *transfer, const ProtobufCMessage *answer)
{
    struct grpc_call *call = transfer->call;
    enum kafka_error error = transfer->errors[0];
    if (error == KAFKA_NONE || error == KAFKA_ELECTION_NOT_NEEDED) { /* not needed: it leads already */
        grpc_answer(call, answer);
    } else if (error == KAFKA_PREFERRED_LEADER_NOT_AVAILABLE) {
        grpc_finish(call, GRPC_FAILED_PRECONDITION,
                    "that broker cannot lead now: it is not alive, does not vote, or does not have all of the log yet");
    } else if (error == KAFKA_NOT_LEADER_OR_FOLLOWER) {
        grpc_finish(call, GRPC_UNAVAILABLE, "leadership has just moved: ask again");
    } else if (error == KAFKA_REBALANCE_IN_PROGRESS) {
        grpc_finish(call, GRPC_UNAVAILABLE, "another transfer, or a change of its replicas, is under way: ask again");
    } else {
        admin_fail(call, error, BYTES_NONE);
    }
    transfer_free(transfer);
}

static void on_transferred(struct transfer *transfer)
{
    Balsa__Admin__V1__TransferLeaderResponse answer = BALSA__ADMIN__V1__TRANSFER_LEADER_RESPONSE__INIT;
    answer.from = transfer->from;
    transfer_end(transfer, &answer.base);
}

static bool is_replica(const struct store_partition *partition, int32_t node)
{
    for (size_t i = 0; i < partition->replica_count; i++) {
        if (partition->replicas[i] == node) {
            return true;
        }
    }
    return false;
}

void admin_transfer_leader(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__TransferLeaderRequest *request = (const void *)message;
    const struct shard *shard = admin_of(call)->shard;
    struct store_topic topic;
    struct store_partition partition;
    struct store_broker broker;
    if (!admin_partition(call, request->topic, request->partition, &topic, &partition)) {
        return;
    }
    if (!is_replica(&partition, request->to) || store_broker(shard->reader, &call->arena, request->to, &broker) != OK) {
        grpc_finish(call, GRPC_INVALID_ARGUMENT,
                    "broker %d has no replica of the partition: DescribeTopic lists those that have, MovePartition "
                    "gives it one",
                    request->to);
        return;
    }
    struct leader leader = leaders_get(shard->leaders, partition.group);
    if (leader.broker < 0) {
        grpc_finish(call, GRPC_FAILED_PRECONDITION,
                    "the partition has no leader now: it gets one as soon as a majority of its replicas is up");
        return;
    }
    struct transfer *transfer = transfer_new(call, leader.broker, on_transferred);
    transfer_add(transfer, partition.group, broker.server_id);
    transfer_go(transfer);
}

/* ---- The metadata ---- */

static void on_quorum_transferred(struct transfer *transfer)
{
    Balsa__Admin__V1__QuorumTransferResponse answer = BALSA__ADMIN__V1__QUORUM_TRANSFER_RESPONSE__INIT;
    answer.from = transfer->from;
    transfer_end(transfer, &answer.base);
}

void admin_quorum_transfer(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__QuorumTransferRequest *request = (const void *)message;
    struct shard *shard = admin_of(call)->shard;
    struct store_broker broker;
    struct leader controller = leaders_get(shard->leaders, METADATA_GROUP);
    store_reader_refresh(shard->reader);
    if (store_broker(shard->reader, &call->arena, request->to, &broker) != OK) {
        grpc_finish(call, GRPC_NOT_FOUND, "there is no broker %d: QuorumStatus lists the members", request->to);
        return;
    }
    if (controller.broker < 0) {
        grpc_finish(call, GRPC_UNAVAILABLE,
                    "the metadata has no leader now, nothing was done: it gets one as soon as a majority of its voters "
                    "is up");
        return;
    }
    struct transfer *transfer = transfer_new(call, controller.broker, on_quorum_transferred);
    transfer_add(transfer, METADATA_GROUP, broker.server_id);
    transfer_go(transfer);
}

/* ---- All that a broker leads ----
 *
 *   scan ──> a request of LEADERSHIP_COUNT_MAX groups ──> answered ──> the next ones ... ──> no more: the answer
 *                ^                                          │
 *                └── a pause <── some have to be asked again */

static void on_again(struct timer *timer)
{
    struct transfer *transfer = container_of(timer, struct transfer, timer);
    mem_free(transfer->errors);
    transfer_go(transfer);
}

/* As many more as a request may have. False: there are none. */
static bool drain_next(struct transfer *transfer)
{
    transfer->here.count = 0;
    transfer->tries = 0;
    while (transfer->here.count < LEADERSHIP_COUNT_MAX && transfer->group_next < transfer->group_count) {
        transfer_add(transfer, transfer->groups[transfer->group_next++], 0);
    }
    return transfer->here.count > 0;
}

static void on_drained(struct transfer *transfer)
{
    Balsa__Admin__V1__DrainBrokerResponse answer = BALSA__ADMIN__V1__DRAIN_BROKER_RESPONSE__INIT;
    const struct leaders *leaders = admin_of(transfer->call)->shard->leaders;
    size_t left = 0;
    for (size_t i = 0; i < transfer->here.count; i++) {
        enum kafka_error error = transfer->errors[i];
        bool is_led = leaders_get(leaders, transfer->here.items[i].group).broker == transfer->from;
        /* Who has just been elected says "not leader" until it is ready, and its news may not be here yet. */
        bool is_early = error == KAFKA_NOT_LEADER_OR_FOLLOWER && (is_led || transfer->tries < EARLY_COUNT);
        transfer->begun += error == KAFKA_NONE;
        transfer->asked += error != KAFKA_NOT_LEADER_OR_FOLLOWER && error != KAFKA_REBALANCE_IN_PROGRESS;
        if (is_early || error == KAFKA_REBALANCE_IN_PROGRESS) {
            transfer->here.items[left++] = transfer->here.items[i];
        }
    }
    transfer->here.count = left;
    bool is_again = left > 0 && transfer->tries++ < AGAIN_COUNT;
    if (!is_again) {
        transfer->asked += left;
    }
    if (!transfer->call->is_canceled && (is_again || drain_next(transfer))) {
        timer_init(&transfer->timer, on_again);
        env_timer(admin_of(transfer->call)->shard->env, &transfer->timer, is_again ? AGAIN_US : 0);
        return;
    }
    answer.asked = transfer->asked;
    answer.begun = transfer->begun;
    grpc_answer(transfer->call, &answer.base);
    transfer_free(transfer);
}

static bool on_partition(struct admin_scan *scan, const struct uuid *topic, int32_t index,
                         const struct store_partition *partition)
{
    struct transfer *transfer = container_of(scan, struct transfer, scan);
    (void)topic;
    (void)index;
    if (partition->replica_count > 1 && is_replica(partition, transfer->from)) { /* it knows best what it leads */
        if (transfer->group_count == transfer->group_capacity) {
            transfer->group_capacity = transfer->group_capacity > 0 ? 2 * transfer->group_capacity : 64;
            transfer->groups = mem_resize(transfer->groups, transfer->group_capacity * sizeof(*transfer->groups));
        }
        transfer->groups[transfer->group_count++] = partition->group;
    }
    return true;
}

static void on_scanned(struct admin_scan *scan)
{
    struct transfer *transfer = container_of(scan, struct transfer, scan);
    (void)drain_next(transfer);
    transfer_go(transfer);
}

void admin_drain_broker(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__DrainBrokerRequest *request = (const void *)message;
    struct shard *shard = admin_of(call)->shard;
    struct store_broker broker;
    store_reader_refresh(shard->reader);
    if (store_broker(shard->reader, &call->arena, request->node_id, &broker) != OK) {
        grpc_finish(call, GRPC_NOT_FOUND, "there is no broker %d: ClusterStatus lists those that there are",
                    request->node_id);
        return;
    }
    struct transfer *transfer = transfer_new(call, request->node_id, on_drained);
    transfer->scan.each = on_partition;
    transfer->scan.done = on_scanned;
    admin_scan_start(&transfer->scan, shard, NULL);
}
