/* The metadata group: every registered broker is asked what it has, and the leader's word, or that of the longest log
 * while there is no leader, says who is a member. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/admin_internal.h"
#include "broker/admin_round.h"
#include "broker/cluster.h"

#define ROUND_MS_MAX 2000 /* some may never answer */

struct quorum_work {
    struct grpc_call *call;
    int32_t nodes[CLUSTER_BROKER_COUNT_MAX];
    size_t node_count;
    struct admin_round round;
    Balsa__Admin__V1__QuorumStatusResponse response;
    Balsa__Admin__V1__QuorumMember *members[REPLICA_SERVER_COUNT_MAX];
};

static const Balsa__Peer__ReplicaStatus *replica_of(const struct quorum_work *work, int32_t node)
{
    return admin_round_replica(&work->round, node, METADATA_GROUP);
}

/* Who knows best: the leader of the highest term, else who has the longest log. */
static const Balsa__Peer__ReplicaStatus *best(const struct quorum_work *work)
{
    const Balsa__Peer__ReplicaStatus *found = NULL;
    for (size_t i = 0; i < work->node_count; i++) {
        const Balsa__Peer__ReplicaStatus *one = replica_of(work, work->nodes[i]);
        if (one == NULL || one->n_members == 0) {
            continue;
        }
        bool is_better = found == NULL || (one->is_leader && !found->is_leader) ||
                         (one->is_leader == found->is_leader &&
                          (one->is_leader ? one->term > found->term : one->last_index > found->last_index));
        found = is_better ? one : found;
    }
    return found;
}

static Balsa__Admin__V1__QuorumMember *member_message(struct quorum_work *work, const Balsa__Peer__ReplicaStatus *known,
                                                      size_t at)
{
    Balsa__Admin__V1__QuorumMember *message = admin_message(work->call, &balsa__admin__v1__quorum_member__descriptor);
    if (message == NULL) {
        return NULL;
    }
    uint64_t match = at < known->n_matches ? known->matches[at] : 0;
    message->server_id = known->members[at];
    message->node_id = replica_server_node(message->server_id);
    const Balsa__Peer__ReplicaStatus *one = replica_of(work, message->node_id);
    message->is_voter = at < known->n_is_voter && known->is_voter[at] != 0;
    message->is_answering = one != NULL && one->state == BALSA__PEER__REPLICA_STATUS__STATE__OPEN;
    message->is_leader = message->is_answering && one->is_leader && known->is_leader;
    message->behind =
        !known->is_leader || message->is_leader || match >= known->last_index ? 0 : known->last_index - match;
    return message;
}

static void insert_by_node(struct quorum_work *work, Balsa__Admin__V1__QuorumMember *message)
{
    size_t at = work->response.n_members++;
    while (at > 0 && work->members[at - 1]->node_id > message->node_id) {
        work->members[at] = work->members[at - 1];
        at--;
    }
    work->members[at] = message;
}

static void on_answered(struct admin_round *round)
{
    struct quorum_work *work = container_of(round, struct quorum_work, round);
    const Balsa__Peer__ReplicaStatus *known = best(work);
    for (size_t i = 0; known != NULL && i < known->n_members && i < REPLICA_SERVER_COUNT_MAX; i++) {
        Balsa__Admin__V1__QuorumMember *message = member_message(work, known, i);
        if (message == NULL) {
            break;
        }
        insert_by_node(work, message);
        work->response.voters += message->is_voter ? 1 : 0;
        work->response.voters_answering += message->is_voter && message->is_answering ? 1 : 0;
        work->response.controller = message->is_leader ? message->node_id : work->response.controller;
    }
    if (known != NULL) {
        work->response.term = known->term;
        work->response.last_index = known->last_index;
        work->response.commit_index = known->commit_index;
    }
    admin_round_deinit(round);
    grpc_answer(work->call, &work->response.base);
}

static bool on_broker(void *context, const struct store_broker *broker)
{
    struct quorum_work *work = context;
    if (work->node_count < CLUSTER_BROKER_COUNT_MAX) {
        work->nodes[work->node_count++] = broker->id;
    }
    return true;
}

void admin_quorum_status(struct grpc_call *call, const ProtobufCMessage *message)
{
    struct shard *shard = admin_of(call)->shard;
    struct quorum_work *work = arena_alloc(&call->arena, sizeof(*work));
    int32_t timeout_ms = admin_timeout_ms(call) / 2;
    (void)message;
    if (work == NULL) {
        admin_too_large(call);
        return;
    }
    balsa__admin__v1__quorum_status_response__init(&work->response);
    work->call = call;
    work->response.controller = -1;
    work->response.members = work->members;
    store_reader_refresh(shard->reader);
    if (store_brokers_each(shard->reader, &call->arena, work, on_broker) != OK) {
        admin_too_large(call);
        return;
    }
    admin_round_init(&work->round, shard, timeout_ms > ROUND_MS_MAX ? ROUND_MS_MAX : timeout_ms + 1);
    work->round.done = on_answered;
    admin_round_add(&work->round, shard->options->node_id, 0);
    for (size_t i = 0; i < work->node_count; i++) {
        admin_round_add(&work->round, work->nodes[i], METADATA_GROUP);
    }
    admin_round_go(&work->round);
}
