/* Happy path: the groups go to their shards, each fills in what it sees, the answer is packed for the wire. What is
 * asked of this broker takes the same way but for the wire. */

#include "broker/status.h"
#include "base/limits.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "broker/peer_method.h"
#include "broker/router.h"
#include "replication/catchup.h"
#include "replication/scrub.h"

struct status_item {
    struct scatter_item item;
    uint64_t group;
    struct scatter_part *part;
    struct digest digest;
    bool wants_digest;
    Balsa__Peer__ReplicaStatus status;
    uint64_t members[REPLICA_SERVER_COUNT_MAX], matches[REPLICA_SERVER_COUNT_MAX];
    uint32_t is_voter[REPLICA_SERVER_COUNT_MAX];
};

struct status_work {
    struct shard *shard;
    struct status_item *items;
    size_t count;
    struct scatter scatter;
    struct peer_request *request; /* NULL: asked here */
    struct status_ask *ask;
};

/* ---- One shard's part ---- */

static void fill_raft(struct status_item *item, struct replica *replica)
{
    struct replica_status raft;
    replica_status(replica, &raft);
    item->status.is_leader = raft.role == REPLICA_LEADER && raft.is_ready;
    item->status.term = raft.term;
    item->status.leader = raft.leader;
    item->status.last_index = raft.last_index;
    item->status.commit_index = raft.commit_index;
    for (unsigned i = 0; i < raft.membership.count; i++) {
        item->members[i] = raft.membership.servers[i].id;
        item->is_voter[i] = raft.membership.servers[i].is_voter;
        item->matches[i] = replica_match_index(replica, raft.membership.servers[i].id);
    }
    item->status.n_members = item->status.n_is_voter = item->status.n_matches = raft.membership.count;
    item->status.members = item->members;
    item->status.is_voter = item->is_voter;
    item->status.matches = item->matches;
}

static void fill_catchup(void *context, const struct catchup_progress *progress)
{
    struct status_item *item = context;
    if (progress->group == item->group && !progress->is_source) {
        item->status.catchup_done = progress->done_bytes;
        item->status.catchup_total = progress->total_bytes;
    }
}

static void part_step(struct scatter_part *part)
{
    if (--part->pending == 0) {
        scatter_part_done(part);
    }
}

static void on_digest(struct digest *digest, enum err err)
{
    struct status_item *item = container_of(digest, struct status_item, digest);
    if (err == OK) {
        item->status.digest_crc = digest->crc;
        item->status.digest_start = digest->start_offset;
        item->status.digest_end = digest->end_offset;
    }
    part_step(item->part);
}

static void fill(struct status_item *item, struct shard *shard)
{
    struct replica *replica = replicas_find(shard->replicas, item->group);
    struct partition *partition = shard_partition(shard, item->group);
    struct partition_offsets offsets;
    if (shard_is_damaged(shard, item->group)) {
        item->status.state = BALSA__PEER__REPLICA_STATUS__STATE__DAMAGED;
        return;
    }
    if (replica == NULL) {
        return;
    }
    item->status.state = BALSA__PEER__REPLICA_STATUS__STATE__OPEN;
    fill_raft(item, replica);
    catchups_each(shard->catchups, item, fill_catchup);
    if (partition == NULL) {
        return;
    }
    item->status.size = log_size(partition_log(partition));
    if (partition_offsets(partition, &offsets) == KAFKA_NONE ||
        partition_follower_offsets(partition, &offsets) == KAFKA_NONE) {
        item->status.log_start_offset = offsets.log_start_offset;
        item->status.high_watermark = offsets.high_watermark;
    }
    if (item->wants_digest) {
        item->part->pending++;
        item->digest.partition = partition;
        item->digest.cb = on_digest;
        digest_start(shard->env, &item->digest);
    }
}

static void part_start(struct scatter_part *part)
{
    part->pending = 1; /* itself, until all are begun */
    for (struct list *link = part->items.next; link != &part->items; link = link->next) {
        struct status_item *item =
            container_of(container_of(link, struct scatter_item, link), struct status_item, item);
        item->part = part;
        if (!part->shard->is_stopping) {
            fill(item, part->shard);
        }
    }
    part_step(part);
}

/* ---- All of it ---- */

static void work_answer(struct status_work *work, const Balsa__Peer__StatusReply *reply)
{
    if (work->request == NULL) {
        work->ask->reply = reply;
        work->ask->cb(work->ask);
        return;
    }
    struct shared *block = shared_new(balsa__peer__status_reply__get_packed_size(reply) + 1);
    size_t size = balsa__peer__status_reply__pack(reply, block->data);
    peers_reply(work->request, (struct slice){block, {block->data, size}}, true);
    shared_release(block);
}

static void on_done(struct scatter *scatter)
{
    struct status_work *work = container_of(scatter, struct status_work, scatter);
    struct disk *disk = work->shard->env->disk;
    Balsa__Peer__StatusReply reply = BALSA__PEER__STATUS_REPLY__INIT;
    Balsa__Peer__ReplicaStatus **list = mem_alloc((work->count + 1) * sizeof(*list));
    scatter_deinit(scatter);
    for (size_t i = 0; i < work->count; i++) {
        list[i] = &work->items[i].status;
    }
    reply.n_replicas = work->count;
    reply.replicas = list;
    reply.is_space_low = work->shard->is_space_low;
    if (disk->free_space(disk, work->shard->options->log_dirs, &reply.free_bytes) != OK) {
        reply.free_bytes = 0;
    }
    work_answer(work, &reply);
    mem_free(list);
    mem_free(work->items);
    mem_free(work);
}

static void work_go(struct status_work *work, const uint64_t *groups, size_t count, bool wants_digest,
                    int64_t end_offset)
{
    work->items = mem_alloc((count + 1) * sizeof(*work->items));
    work->count = count;
    scatter_init(&work->scatter, work->shard);
    work->scatter.part_start = part_start;
    work->scatter.done = on_done;
    for (size_t i = 0; i < count; i++) {
        struct status_item *item = &work->items[i];
        balsa__peer__replica_status__init(&item->status);
        item->group = groups[i];
        item->status.group = groups[i];
        item->status.log_start_offset = item->status.high_watermark = item->status.digest_end = -1;
        item->wants_digest = wants_digest;
        item->digest.end_offset = end_offset;
        scatter_add(&work->scatter, &item->item, groups[i]);
    }
    scatter_go(&work->scatter);
}

void status_request_arrived(struct shard *shard, struct peer_request *request)
{
    struct bytes payload = request->payload.bytes;
    Balsa__Peer__StatusRequest *decoded = balsa__peer__status_request__unpack(NULL, payload.size, payload.data);
    struct status_work *work = mem_alloc(sizeof(*work));
    work->shard = shard;
    work->request = request;
    bool is_valid = decoded != NULL && decoded->n_groups <= STATUS_GROUP_COUNT_MAX;
    work_go(work, is_valid ? decoded->groups : NULL, is_valid ? decoded->n_groups : 0,
            is_valid && decoded->wants_digest, is_valid ? decoded->end_offset : -1);
    if (decoded != NULL) {
        balsa__peer__status_request__free_unpacked(decoded, NULL);
    }
}

/* ---- Asking ---- */

struct status_trip {
    struct peer_call call;
    struct status_ask *ask;
    struct shared *block;
};

static void on_reply(struct peer_call *call)
{
    struct status_trip *trip = container_of(call, struct status_trip, call);
    struct status_ask *ask = trip->ask;
    Balsa__Peer__StatusReply *reply = NULL;
    if (call->err == OK) {
        reply = balsa__peer__status_reply__unpack(NULL, call->reply.bytes.size, call->reply.bytes.data);
    }
    ask->reply = reply != NULL && reply->n_replicas == ask->group_count ? reply : NULL;
    ask->cb(ask);
    if (reply != NULL) {
        balsa__peer__status_reply__free_unpacked(reply, NULL);
    }
    shared_release(trip->block);
    mem_free(trip);
}

static void on_unreachable(struct task *task)
{
    struct peer_call *call = container_of(task, struct peer_call, task);
    call->err = ERR_CLOSED;
    on_reply(call);
}

void status_ask(struct shard *shard, struct status_ask *ask)
{
    assert(ask->group_count <= STATUS_GROUP_COUNT_MAX);
    if (ask->node == shard->options->node_id) {
        struct status_work *work = mem_alloc(sizeof(*work));
        work->shard = shard;
        work->ask = ask;
        work_go(work, ask->groups, ask->group_count, ask->wants_digest, ask->end_offset);
        return;
    }
    Balsa__Peer__StatusRequest request = BALSA__PEER__STATUS_REQUEST__INIT;
    struct status_trip *trip = mem_alloc(sizeof(*trip));
    request.groups = ask->groups;
    request.n_groups = ask->group_count;
    request.wants_digest = ask->wants_digest;
    request.end_offset = ask->end_offset;
    trip->ask = ask;
    trip->block = shared_new(balsa__peer__status_request__get_packed_size(&request) + 1);
    size_t size = balsa__peer__status_request__pack(&request, trip->block->data);
    trip->call = (struct peer_call){.node = ask->node,
                                    .method = PEER_STATUS,
                                    .payload = {trip->block, {trip->block->data, size}},
                                    .timeout_ms = ask->timeout_ms,
                                    .cb = on_reply};
    if (shard->peers != NULL) {
        peers_call(shard->peers, &trip->call);
    } else {
        task_init(&trip->call.task, on_unreachable);
        env_task(shard->env, &trip->call.task);
    }
}
