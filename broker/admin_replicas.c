/* The replicas of one partition, as their brokers see them; with digests in a second round, up to an offset that all of
 * them have. */

#include "base/mem.h"
#include "broker/admin_internal.h"
#include "broker/admin_round.h"
#include <stdio.h>

#define APPLY_WAIT_US (100 * 1000) /* followers hear of what is committed with the next message of their leader */
#define APPLY_WAIT_COUNT 20

struct partition_work {
    struct grpc_call *call;
    struct store_partition partition;
    int32_t index;
    bool wants_digest;
    int32_t nodes[3 * REPLICA_SERVER_COUNT_MAX];
    size_t node_count;
    struct admin_round round;
    struct timer timer;
    unsigned waits;
};

static void add_nodes(struct partition_work *work, const int32_t *nodes, size_t count)
{
    for (size_t i = 0; i < count && work->node_count < array_count(work->nodes); i++) {
        bool is_new = true;
        for (size_t n = 0; n < work->node_count; n++) {
            is_new = is_new && work->nodes[n] != nodes[i];
        }
        if (is_new) {
            work->nodes[work->node_count++] = nodes[i];
        }
    }
}

/* `end_offset` of digests; -1: none are wanted. */
static void start_round(struct partition_work *work, int64_t end_offset, void (*done)(struct admin_round *round))
{
    work->round.wants_digest = end_offset >= 0;
    admin_round_init(&work->round, admin_of(work->call)->shard, admin_timeout_ms(work->call));
    work->round.end_offset = end_offset;
    work->round.done = done;
    for (size_t i = 0; i < work->node_count; i++) {
        admin_round_add(&work->round, work->nodes[i], work->partition.group);
    }
    admin_round_go(&work->round);
}

static const Balsa__Peer__ReplicaStatus *leader_of(const struct partition_work *work)
{
    for (size_t i = 0; i < work->node_count; i++) {
        const Balsa__Peer__ReplicaStatus *status =
            admin_round_replica(&work->round, work->nodes[i], work->partition.group);
        if (status != NULL && status->is_leader) {
            return status;
        }
    }
    return NULL;
}

static void fill_from_leader(const Balsa__Peer__ReplicaStatus *leader, Balsa__Admin__V1__Replica *message)
{
    for (size_t i = 0; leader != NULL && i < leader->n_members; i++) {
        if (replica_server_node(leader->members[i]) != message->node_id) {
            continue;
        }
        message->is_voter = i < leader->n_is_voter && leader->is_voter[i] != 0;
        uint64_t match = i < leader->n_matches ? leader->matches[i] : 0;
        message->behind = message->is_leader || match >= leader->last_index ? 0 : leader->last_index - match;
    }
}

static Balsa__Admin__V1__Replica *replica_message(struct partition_work *work, int32_t node)
{
    const Balsa__Peer__ReplicaStatus *status = admin_round_replica(&work->round, node, work->partition.group);
    Balsa__Admin__V1__Replica *message = admin_message(work->call, &balsa__admin__v1__replica__descriptor);
    if (message == NULL) {
        return NULL;
    }
    message->node_id = node;
    message->log_start_offset = message->high_watermark = -1;
    if (status == NULL) {
        return message;
    }
    message->state = status->state == BALSA__PEER__REPLICA_STATUS__STATE__OPEN ? BALSA__ADMIN__V1__REPLICA__STATE__OPEN
                     : status->state == BALSA__PEER__REPLICA_STATUS__STATE__DAMAGED
                         ? BALSA__ADMIN__V1__REPLICA__STATE__DAMAGED
                         : BALSA__ADMIN__V1__REPLICA__STATE__ABSENT;
    message->is_leader = status->is_leader;
    message->log_start_offset = status->log_start_offset;
    message->high_watermark = status->high_watermark;
    message->size = status->size;
    message->catchup_done = status->catchup_done;
    message->catchup_total = status->catchup_total;
    if (work->wants_digest && status->digest_end >= 0) {
        char text[16];
        (void)snprintf(text, sizeof(text), "%08x", status->digest_crc);
        message->digest = admin_text(work->call, bytes_from_text(text));
        message->digest_start = status->digest_start;
        message->digest_end = status->digest_end;
    }
    return message;
}

static bool is_alike(const Balsa__Admin__V1__PartitionStatusResponse *response)
{
    const Balsa__Admin__V1__Replica *first = response->replicas[0];
    for (size_t i = 0; i < response->n_replicas; i++) {
        const Balsa__Admin__V1__Replica *one = response->replicas[i];
        if (one->digest[0] == '\0' || !bytes_equal_text(bytes_from_text(one->digest), first->digest) ||
            one->digest_end != first->digest_end) {
            return false;
        }
    }
    return true;
}

static void partition_answer(struct admin_round *round)
{
    struct partition_work *work = container_of(round, struct partition_work, round);
    struct grpc_call *call = work->call;
    Balsa__Admin__V1__PartitionStatusResponse response = BALSA__ADMIN__V1__PARTITION_STATUS_RESPONSE__INIT;
    Balsa__Admin__V1__Replica *replicas[3 * REPLICA_SERVER_COUNT_MAX];
    const Balsa__Peer__ReplicaStatus *leader = leader_of(work);
    response.partition = admin_partition_message(call, work->index, &work->partition);
    response.replicas = replicas;
    for (size_t i = 0; i < work->node_count; i++) {
        Balsa__Admin__V1__Replica *message = replica_message(work, work->nodes[i]);
        if (message != NULL) {
            fill_from_leader(leader, message);
            replicas[response.n_replicas++] = message;
        }
    }
    response.is_alike = work->wants_digest && response.n_replicas > 0 && is_alike(&response);
    admin_round_deinit(round);
    if (response.partition == NULL || response.n_replicas < work->node_count) {
        admin_too_large(call);
    } else {
        grpc_answer(call, &response.base);
    }
}

static void on_waited(struct timer *timer);

/* All have answered: digests up to where each of them has everything, which is to be as much as the leader has. */
static void digest_next(struct admin_round *round)
{
    struct partition_work *work = container_of(round, struct partition_work, round);
    const Balsa__Peer__ReplicaStatus *leader = leader_of(work);
    int64_t end_offset = INT64_MAX;
    for (size_t i = 0; i < work->node_count; i++) {
        const Balsa__Peer__ReplicaStatus *status = admin_round_replica(round, work->nodes[i], work->partition.group);
        if (status != NULL && status->high_watermark >= 0 && status->high_watermark < end_offset) {
            end_offset = status->high_watermark;
        }
    }
    if (end_offset == INT64_MAX) {
        partition_answer(round);
        return;
    }
    bool is_behind = leader != NULL && end_offset < leader->high_watermark;
    admin_round_deinit(round);
    if (is_behind && work->waits++ < APPLY_WAIT_COUNT) {
        timer_init(&work->timer, on_waited);
        env_timer(admin_of(work->call)->shard->env, &work->timer, APPLY_WAIT_US);
    } else {
        start_round(work, end_offset, partition_answer);
    }
}

static void on_waited(struct timer *timer)
{
    start_round(container_of(timer, struct partition_work, timer), -1, digest_next);
}

void admin_partition_status(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__PartitionStatusRequest *request = (const void *)message;
    struct store_topic topic;
    struct partition_work *work = arena_alloc(&call->arena, sizeof(*work));
    if (work == NULL) {
        admin_too_large(call);
        return;
    }
    if (!admin_partition(call, request->topic, request->partition, &topic, &work->partition)) {
        return;
    }
    work->call = call;
    work->index = request->partition;
    work->wants_digest = request->digest;
    add_nodes(work, work->partition.replicas, work->partition.replica_count);
    add_nodes(work, work->partition.target, work->partition.target_count);
    add_nodes(work, work->partition.leaving, work->partition.leaving_count);
    start_round(work, -1, request->digest ? digest_next : partition_answer);
}
