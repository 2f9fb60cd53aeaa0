/* Happy path: a request's groups go to their shards, each shard begins the transfers of its own and answers at once;
 * that it came about is seen by who asked in the news of leaders. */

#include "broker/leadership.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/mover.h"
#include "proto/peer.pb-c.h"
#include "replication/peers.h"

/* Entries that a new leader may still lack when it is chosen: nothing is taken meanwhile, so they come in a moment;
 * under load nobody ever has all of them. */
#define LAG_MAX 16

/* ---- One group ---- */

static bool can_take_over(const struct shard *shard, const struct replica *replica, const struct replica_status *status,
                          uint64_t server)
{
    const struct replica_server *member = membership_find(&status->membership, server);
    return member != NULL && member->is_voter && shard_is_linked(shard, replica_server_node(server)) &&
           replica_match_index(replica, server) + LAG_MAX >= status->commit_index;
}

static uint64_t choose(const struct shard *shard, const struct replica *replica, const struct replica_status *status)
{
    for (unsigned i = 0; i < status->membership.count; i++) {
        uint64_t server = status->membership.servers[i].id;
        if (server != shard->broker->server_id && can_take_over(shard, replica, status, server)) {
            return server;
        }
    }
    return 0;
}

enum kafka_error leadership_hand_over(struct shard *shard, uint64_t group, uint64_t server)
{
    struct replica *replica = replicas_find(shard->replicas, group);
    struct replica_status status;
    if (replica == NULL || !replica_is_ready_leader(replica)) {
        return KAFKA_NOT_LEADER_OR_FOLLOWER;
    }
    if (server == shard->broker->server_id) {
        return KAFKA_ELECTION_NOT_NEEDED;
    }
    if (mover_is_at_work(shard->mover, group)) {
        return KAFKA_REBALANCE_IN_PROGRESS;
    }
    replica_status(replica, &status);
    if (server == 0) {
        server = choose(shard, replica, &status);
    }
    if (server == 0 || !can_take_over(shard, replica, &status, server)) {
        return KAFKA_PREFERRED_LEADER_NOT_AVAILABLE;
    }
    return replica_transfer(replica, server) == OK ? KAFKA_NONE : KAFKA_REBALANCE_IN_PROGRESS;
}

/* ---- Groups of all shards ---- */

static void call_part_start(struct scatter_part *part)
{
    for (struct list *link = part->items.next; link != &part->items; link = link->next) {
        struct leadership_item *item =
            container_of(container_of(link, struct scatter_item, link), struct leadership_item, item);
        item->error = leadership_hand_over(part->shard, item->group, item->server);
    }
    scatter_part_done(part);
}

static void call_done(struct scatter *scatter)
{
    struct leadership_call *call = container_of(scatter, struct leadership_call, scatter);
    scatter_deinit(scatter);
    call->cb(call);
}

void leadership_call(struct shard *shard, struct leadership_call *call)
{
    scatter_init(&call->scatter, shard);
    call->scatter.part_start = call_part_start;
    call->scatter.done = call_done;
    for (size_t i = 0; i < call->count; i++) {
        scatter_add(&call->scatter, &call->items[i].item, call->items[i].group);
    }
    scatter_go(&call->scatter);
}

/* ---- From another broker ---- */

struct arrived {
    struct leadership_call call;
    struct peer_request *request;
};

static void arrived_reply(struct arrived *arrived)
{
    Balsa__Peer__TransferReply reply = BALSA__PEER__TRANSFER_REPLY__INIT;
    uint32_t *results = mem_alloc((arrived->call.count + 1) * sizeof(*results));
    for (size_t i = 0; i < arrived->call.count; i++) {
        results[i] = (uint32_t)arrived->call.items[i].error;
    }
    reply.n_results = arrived->call.count;
    reply.results = results;
    struct shared *block = shared_new(balsa__peer__transfer_reply__get_packed_size(&reply) + 1);
    size_t size = balsa__peer__transfer_reply__pack(&reply, block->data);
    peers_reply(arrived->request, (struct slice){block, {block->data, size}}, false);
    shared_release(block);
    mem_free(results);
    mem_free(arrived->call.items);
    mem_free(arrived);
}

static void arrived_done(struct leadership_call *call)
{
    arrived_reply(container_of(call, struct arrived, call));
}

void leadership_request_arrived(struct shard *shard, struct peer_request *request)
{
    struct arrived *arrived = mem_alloc(sizeof(*arrived));
    struct bytes payload = request->payload.bytes;
    Balsa__Peer__TransferRequest *decoded = balsa__peer__transfer_request__unpack(NULL, payload.size, payload.data);
    bool is_valid = decoded != NULL && decoded->n_groups == decoded->n_targets &&
                    decoded->n_groups <= LEADERSHIP_COUNT_MAX && !shard->is_stopping;
    arrived->request = request;
    arrived->call.count = is_valid ? decoded->n_groups : 0;
    arrived->call.items = mem_alloc((arrived->call.count + 1) * sizeof(*arrived->call.items));
    arrived->call.cb = arrived_done;
    for (size_t i = 0; i < arrived->call.count; i++) {
        arrived->call.items[i].group = decoded->groups[i];
        arrived->call.items[i].server = decoded->targets[i];
    }
    if (decoded != NULL) {
        balsa__peer__transfer_request__free_unpacked(decoded, NULL);
    }
    if (is_valid) {
        leadership_call(shard, &arrived->call);
    } else {
        arrived_reply(arrived);
    }
}
