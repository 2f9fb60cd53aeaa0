/* Packets are plain memory of the test: what they carry is copied out of one process and into the other. */
#include "tests/lib/catchup_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/catchup_wire.h"
#include "replication/replica_shard.h"
#include "tests/lib/test.h"

enum {
    SLICE_US = 1000,
    PACKET_US_MAX = 3000
};

struct packet {
    struct list link;
    int64_t due_us;
    unsigned from, to, from_life;
    unsigned callee; /* of what stands for a reply that has not come: whose it would be, plus 1 */
    enum {
        PACKET_RAFT,
        PACKET_CALL,
        PACKET_REPLY
    } kind;
    struct replica_message message;
    unsigned entry_count;
    struct {
        enum entry_kind kind;
        uint64_t index, term;
        size_t size;
    } * entries;
    struct peer_call *call; /* of the caller's process */
    enum err err;
    uint8_t *data;
    size_t size;
};

static unsigned number_of(uint64_t server_id)
{
    return (unsigned)(server_id >> 32) - 1;
}

bool catchup_node_is_up(const struct catchup_node *node)
{
    return node->process != NULL && sim_process_end(node->process) == SIM_ALIVE;
}

static void packet_free(struct packet *packet)
{
    list_remove(&packet->link);
    free(packet->entries);
    free(packet->data);
    free(packet);
}

static struct packet *packet_new(struct catchup_node *from, unsigned to, int64_t delay_us)
{
    struct catchup_world *world = from->world;
    struct packet *packet = calloc(1, sizeof(*packet));
    ck_assert_ptr_nonnull(packet);
    packet->from = from->number;
    packet->from_life = from->life;
    packet->to = to;
    packet->due_us = sim_world_now_us(world->sim) + delay_us + (int64_t)sim_world_below(world->sim, PACKET_US_MAX);
    list_init(&packet->link);
    list_push(&world->packets, &packet->link);
    return packet;
}

static void packet_set_data(struct packet *packet, struct bytes bytes)
{
    packet->data = malloc(bytes.size + 1);
    ck_assert_ptr_nonnull(packet->data);
    if (bytes.size > 0) {
        memcpy(packet->data, bytes.data, bytes.size);
    }
    packet->size = bytes.size;
}

static bool is_lost(struct catchup_world *world)
{
    return sim_world_below(world->sim, 1000) < world->lost_per_thousand;
}

/* ---- Raft messages */

static void on_send(void *owner, uint64_t group, const struct replica_message *message)
{
    struct catchup_node *node = owner;
    struct catchup_world *world = node->world;
    unsigned to = number_of(message->peer);
    ck_assert_uint_eq(group, CATCHUP_GROUP);
    world->installs_sent += message->kind == REPLICA_INSTALL;
    if (to >= CATCHUP_NODES || is_lost(world)) {
        return;
    }
    struct packet *packet = packet_new(node, to, 0);
    packet->kind = PACKET_RAFT;
    packet->message = *message;
    packet->message.peer = node->server_id;
    if (message->kind != REPLICA_APPEND || message->append.entry_count == 0) {
        return;
    }
    size_t size = 0;
    packet->entry_count = message->append.entry_count;
    packet->entries = calloc(packet->entry_count, sizeof(*packet->entries));
    for (unsigned i = 0; i < packet->entry_count; i++) {
        const struct entry *entry = message->append.entries[i];
        packet->entries[i].kind = entry->kind;
        packet->entries[i].index = entry->index;
        packet->entries[i].term = entry->term;
        packet->entries[i].size = entry->size;
        size += entry->size;
    }
    packet->data = malloc(size + 1);
    for (unsigned i = 0; i < packet->entry_count; i++) {
        const struct entry *entry = message->append.entries[i];
        for (unsigned k = 0; k < entry->slice_count; k++) {
            memcpy(packet->data + packet->size, entry->slices[k].bytes.data, entry->slices[k].bytes.size);
            packet->size += entry->slices[k].bytes.size;
        }
    }
}

static void deliver_raft(struct catchup_node *node, const struct packet *packet)
{
    struct replica *replica = node->replicas != NULL ? replicas_find(node->replicas, CATCHUP_GROUP) : NULL;
    struct replica_message message = packet->message;
    if (replica == NULL) {
        return;
    }
    if (message.kind == REPLICA_INSTALL) {
        if (node->catchups != NULL) {
            catchup_signal(node->catchups, CATCHUP_GROUP, &message);
        }
        return;
    }
    struct entry **entries = mem_alloc((packet->entry_count + 1) * sizeof(struct entry *));
    size_t at = 0;
    for (unsigned i = 0; i < packet->entry_count; i++) {
        struct bytes bytes = {packet->data + at, packet->entries[i].size};
        entries[i] = entry_new_copy(packet->entries[i].kind, packet->entries[i].index, packet->entries[i].term, bytes);
        at += bytes.size;
    }
    if (message.kind == REPLICA_APPEND) {
        message.append.entries = packet->entry_count > 0 ? entries : NULL;
        message.append.entry_count = packet->entry_count;
    }
    replica_receive(replica, &message);
    for (unsigned i = 0; i < packet->entry_count; i++) {
        entry_release(entries[i]);
    }
    mem_free(entries);
}

/* ---- Calls */

static void reply_err(struct catchup_node *node, struct peer_call *call, enum err err, int64_t delay_us)
{
    struct packet *packet = packet_new(node, node->number, delay_us);
    packet->kind = PACKET_REPLY;
    packet->call = call;
    packet->err = err;
}

static void on_call(void *owner, struct peer_call *call)
{
    struct catchup_node *node = owner;
    struct catchup_world *world = node->world;
    unsigned to = (unsigned)call->node - 1;
    struct catchup_call decoded;
    ck_assert_uint_lt(to, CATCHUP_NODES);
    ck_assert_int_eq(catchup_call_decode(call->payload.bytes, &decoded), OK);
    world->begins += decoded.op == CATCHUP_BEGIN;
    world->reads += decoded.op == CATCHUP_READ;
    world->read_bytes += decoded.op == CATCHUP_READ ? decoded.size : 0;
    if (is_lost(world) || (world->drop != NULL && world->drop(world, decoded.op))) {
        reply_err(node, call, ERR_TIMED_OUT, 500000);
        return;
    }
    if (!catchup_node_is_up(&world->nodes[to])) {
        reply_err(node, call, ERR_CLOSED, 0);
        return;
    }
    struct packet *packet = packet_new(node, to, world->call_us);
    packet->kind = PACKET_CALL;
    packet->call = call;
    packet_set_data(packet, call->payload.bytes);
}

struct serving {
    struct catchup_request req;
    struct catchup_node *node;
    unsigned from, from_life;
    struct peer_call *call;
};

/* The reply comes, so its stand-in goes. */
static void drop_pending(struct catchup_world *world, unsigned from, unsigned from_life, const struct peer_call *call)
{
    struct list *next;
    for (struct list *link = world->packets.next; link != &world->packets; link = next) {
        struct packet *packet = container_of(link, struct packet, link);
        next = link->next;
        if (packet->callee > 0 && packet->to == from && packet->from_life == from_life && packet->call == call) {
            packet_free(packet);
        }
    }
}

static void on_served(struct catchup_request *req, struct slice reply)
{
    struct serving *serving = container_of(req, struct serving, req);
    drop_pending(serving->node->world, serving->from, serving->from_life, serving->call);
    struct packet *packet = packet_new(serving->node, serving->from, serving->node->world->call_us);
    packet->kind = PACKET_REPLY;
    packet->call = serving->call;
    packet->from_life = serving->from_life;
    packet_set_data(packet, reply.bytes);
    slice_release(&req->payload);
    mem_free(serving);
}

static void deliver_call(struct catchup_node *node, const struct packet *packet)
{
    if (node->catchups == NULL) {
        return; /* it is stopping: the caller's time runs out, or it is told when the process ends */
    }
    struct serving *serving = mem_alloc(sizeof(*serving));
    struct shared *block = shared_new(packet->size);
    memcpy(block->data, packet->data, packet->size);
    serving->req.payload = (struct slice){block, {block->data, block->size}};
    serving->req.peer = node->world->nodes[packet->from].server_id;
    serving->req.cb = on_served;
    serving->node = node;
    serving->from = packet->from;
    serving->from_life = packet->from_life;
    serving->call = packet->call;
    catchup_serve(node->catchups, &serving->req);
}

static void deliver_reply(const struct packet *packet)
{
    struct shared *block = shared_new(packet->size + 1);
    memcpy(block->data, packet->data != NULL ? packet->data : (const uint8_t *)"", packet->size);
    packet->call->err = packet->err;
    packet->call->reply = (struct slice){block, {block->data, packet->size}};
    packet->call->cb(packet->call);
    shared_release(block);
}

static void deliver(void *context)
{
    const struct packet *packet = context;
    struct catchup_node *node = (struct catchup_node *)(uintptr_t)packet->message.peer; /* set by deliver_due() */
    switch (packet->kind) {
    case PACKET_RAFT:
        break;
    case PACKET_CALL:
        deliver_call(node, packet);
        break;
    case PACKET_REPLY:
    default:
        deliver_reply(packet);
        break;
    }
}

struct raft_delivery {
    struct catchup_node *node;
    const struct packet *packet;
};

static void deliver_one(void *context)
{
    struct raft_delivery *delivery = context;
    deliver_raft(delivery->node, delivery->packet);
}

/* A caller whose process has ended hears nothing; one whose callee has, that it is gone. */
static void lose_calls(struct catchup_world *world, unsigned number)
{
    struct list *next;
    for (struct list *link = world->packets.next; link != &world->packets; link = next) {
        struct packet *packet = container_of(link, struct packet, link);
        next = link->next;
        if (packet->kind == PACKET_CALL && packet->to == number) {
            packet->kind = PACKET_REPLY;
            packet->err = ERR_CLOSED;
            packet->to = packet->from;
        } else if (packet->callee == number + 1) {
            packet->due_us = sim_world_now_us(world->sim); /* the link is lost */
            packet->err = ERR_CLOSED;
        }
    }
}

static void deliver_due(struct catchup_world *world)
{
    struct list *next;
    int64_t now_us = sim_world_now_us(world->sim);
    for (struct list *link = world->packets.next; link != &world->packets; link = next) {
        struct packet *packet = container_of(link, struct packet, link);
        next = link->next;
        if (packet->due_us > now_us) {
            continue;
        }
        struct catchup_node *node = &world->nodes[packet->to];
        bool is_stale = packet->kind == PACKET_REPLY && packet->from_life != node->life;
        list_remove(&packet->link); /* what it leads to may put others there */
        if (catchup_node_is_up(node) && !is_stale) {
            struct raft_delivery delivery = {node, packet};
            if (packet->kind == PACKET_RAFT) {
                (void)sim_process_run(node->process, deliver_one, &delivery);
            } else {
                if (packet->kind == PACKET_CALL) {
                    struct packet *pending = packet_new(node, packet->from, 20000000);
                    pending->kind = PACKET_REPLY;
                    pending->call = packet->call;
                    pending->from_life = packet->from_life;
                    pending->err = ERR_TIMED_OUT;
                    pending->callee = node->number + 1;
                }
                packet->message.peer = (uint64_t)(uintptr_t)node;
                (void)sim_process_run(node->process, deliver, packet);
            }
        }
        packet_free(packet);
        next = world->packets.next; /* the list may have changed: from the front again */
    }
}

/* ---- Nodes */

static const struct partition_config CONFIG = {
    .log = {.segment_size_max = KIB(16), .segment_ms = INT64_C(3600000), .index_interval = 1024},
    .max_message_bytes = MIB(1),
    .timestamp_before_max_ms = INT64_MAX,
    .timestamp_after_max_ms = INT64_MAX,
    .retention_ms = -1,
    .retention_bytes = -1,
    .is_deleted_by_retention = true,
    .producer_expiration_ms = INT64_C(86400000),
};

static enum err machine_open(void *owner, enum group_type type, uint64_t group, struct bytes description,
                             struct bytes state, struct replica_machine **machine, struct errmsg *msg)
{
    struct catchup_node *node = owner;
    struct partition_name name;
    struct partition_config config = CONFIG;
    char topics[64];
    ck_assert_int_eq(type, GROUP_PARTITION);
    ck_assert_int_eq(partition_description_decode(description, &name), OK);
    config.log.segment_size_max = node->world->segment_size;
    (void)snprintf(topics, sizeof(topics), "/n%u/topics", node->number + 1);
    enum err err = partition_open(node->env, node->files, topics, group, &name, &config, state, &node->partition, msg);
    if (err == OK) {
        *machine = partition_machine(node->partition);
    }
    return err;
}

static void on_damaged(void *owner, uint64_t group)
{
    struct catchup_node *node = owner;
    (void)group;
    node->partition = NULL;
    node->damages++;
}

struct creation {
    struct replica_create req;
    struct catchup_node *node;
    struct dynbuf description;
};

static void on_created(struct replica_create *req, enum err err)
{
    struct creation *creation = container_of(req, struct creation, req);
    ck_assert(err == OK || err == ERR_EXISTS || err == ERR_CANCELED);
    creation->node->is_founded |= err == OK;
    dynbuf_deinit(&creation->description);
    mem_free(creation);
}

static void found(struct catchup_node *node)
{
    struct partition_name name = {bytes_from_text("t"), 0, {{1}}};
    struct creation *creation = mem_alloc(sizeof(*creation));
    creation->node = node;
    dynbuf_init(&creation->description, KIB(1));
    partition_description_encode(&name, &creation->description);
    creation->req = (struct replica_create){.type = GROUP_PARTITION,
                                            .group = CATCHUP_GROUP,
                                            .description = dynbuf_bytes(&creation->description),
                                            .cb = on_created};
    if (!node->is_joiner) {
        creation->req.term = 1;
        creation->req.membership.count = node->world->voters;
        for (unsigned i = 0; i < node->world->voters; i++) {
            creation->req.membership.servers[i] = (struct replica_server){node->world->nodes[i].server_id, true};
        }
    }
    replicas_create(node->replicas, &creation->req);
}

static void node_start(void *context)
{
    struct catchup_node *node = context;
    struct errmsg msg = {""};
    char path[64];
    char topics[64];
    char dir[16];
    (void)snprintf(path, sizeof(path), "/n%u/local", node->number + 1);
    (void)snprintf(topics, sizeof(topics), "/n%u/topics", node->number + 1);
    (void)snprintf(dir, sizeof(dir), "/n%u", node->number + 1);
    node->env = sim_process_env(node->process, 0);
    if (kv_open(path, MIB(64), KV_DURABLE, &node->local, &msg) != OK ||
        node->env->disk->mkdir(node->env->disk, topics) != OK ||
        node->env->disk->sync_dir(node->env->disk, dir) != OK) {
        process_stop("start: %s", msg.text);
    }
    node->files = log_files_open(node->env, 16);
    struct replicas_params params = {
        .env = node->env,
        .local = node->local,
        .dir = dir,
        .shard_count = 1,
        .old_shard_count = 1,
        .is_first_start = node->life == 1 || !node->is_founded,
        .server_id = node->server_id,
        .heartbeat_ms = 100,
        .election_ms = 500,
        .wal = {.file_size = MIB(2), .file_size_first = MIB(2), .file_count_max = 16, .checkpoint_size = MIB(1)},
        .checkpoint_interval_ms = 500,
        .owner = node,
        .send = on_send,
        .damaged = on_damaged,
        .machine_open = machine_open,
    };
    if (replicas_open(&params, &node->replicas, &msg) != OK) {
        process_stop("replicas: %s", msg.text);
    }
    struct catchups_params catchups = {
        .env = node->env,
        .replicas = node->replicas,
        .topics_dir = topics,
        .bytes_per_second = node->world->bytes_per_second,
        .owner = node,
        .call = on_call,
    };
    node->catchups = catchups_open(&catchups);
    if (replicas_find(node->replicas, CATCHUP_GROUP) == NULL && !replicas_is_damaged(node->replicas, CATCHUP_GROUP)) {
        found(node);
    }
}

void catchup_node_start(struct catchup_world *world, unsigned number)
{
    struct catchup_node *node = &world->nodes[number];
    node->life++;
    node->partition = NULL;
    node->replicas = NULL;
    node->catchups = NULL;
    node->process = sim_process_open(world->sim, node->disk, "n");
    (void)sim_process_run(node->process, node_start, node);
}

static void node_gone(struct catchup_world *world, unsigned number)
{
    struct catchup_node *node = &world->nodes[number];
    if (sim_process_end(node->process) != SIM_ALIVE) {
        (void)snprintf(node->failure, sizeof(node->failure), "%s", sim_process_end_text(node->process));
    }
    sim_process_close(node->process);
    node->process = NULL;
    lose_calls(world, number);
}

void catchup_node_kill(struct catchup_world *world, unsigned number)
{
    if (catchup_node_is_up(&world->nodes[number])) {
        sim_process_kill(world->nodes[number].process);
    }
    node_gone(world, number);
}

void catchup_node_power_loss(struct catchup_world *world, unsigned number)
{
    sim_disk_power_loss(world->nodes[number].disk);
    node_gone(world, number);
}

static void on_replicas_closed(void *owner)
{
    struct catchup_node *node = owner;
    node->replicas = NULL;
    log_files_close(node->files);
    kv_close(node->local);
}

static void on_catchups_closed(void *owner)
{
    struct catchup_node *node = owner;
    node->catchups = NULL;
    replicas_close(node->replicas, on_replicas_closed);
}

static void node_stop(void *context)
{
    struct catchup_node *node = context;
    catchups_close(node->catchups, node, on_catchups_closed);
}

void catchup_node_stop(struct catchup_world *world, unsigned number)
{
    struct catchup_node *node = &world->nodes[number];
    (void)sim_process_run(node->process, node_stop, node);
    for (unsigned i = 0; i < 20000 && catchup_node_is_up(node) && node->replicas != NULL; i++) {
        catchup_world_run(world, 1);
    }
    ck_assert_ptr_null(node->replicas);
    catchup_world_run(world, 100); /* jobs that only free memory */
    sim_process_kill(node->process);
    node_gone(world, number);
}

static void on_removed(struct replica_remove *req, enum err err)
{
    ck_assert_int_eq(err, OK);
    mem_free(req);
}

static void remove_replica(void *context)
{
    struct catchup_node *node = context;
    struct replica_remove *req = mem_alloc(sizeof(*req));
    *req = (struct replica_remove){.group = CATCHUP_GROUP, .cb = on_removed};
    node->partition = NULL;
    replicas_remove(node->replicas, req);
}

void catchup_node_remove(struct catchup_world *world, unsigned number)
{
    (void)sim_process_run(world->nodes[number].process, remove_replica, &world->nodes[number]);
}

/* ---- World */

void catchup_world_open(struct catchup_world *world, uint64_t seed, unsigned voters)
{
    *world = (struct catchup_world){.sim = sim_world_open(seed), .voters = voters, .segment_size = KIB(16)};
    list_init(&world->packets);
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        struct catchup_node *node = &world->nodes[i];
        char mount[8];
        (void)snprintf(mount, sizeof(mount), "/n%u", i + 1);
        node->world = world;
        node->number = i;
        node->server_id = (uint64_t)(i + 1) << 32 | 7;
        node->is_joiner = i >= voters;
        node->disk = sim_disk_open(world->sim, mount);
    }
}

void catchup_world_close(struct catchup_world *world)
{
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        if (world->nodes[i].process != NULL) {
            catchup_node_kill(world, i);
        }
        sim_disk_close(world->nodes[i].disk);
    }
    while (!list_is_empty(&world->packets)) {
        packet_free(container_of(world->packets.next, struct packet, link));
    }
    sim_world_close(world->sim);
}

static void note_tails(struct catchup_world *world)
{
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        struct catchup_node *node = &world->nodes[i];
        if (catchup_node_is_up(node) && node->replicas != NULL) {
            uint64_t size = replicas_tail_size(node->replicas);
            world->tail_max = size > world->tail_max ? size : world->tail_max;
        }
    }
}

void catchup_world_run(struct catchup_world *world, int64_t ms)
{
    int64_t until_us = sim_world_now_us(world->sim) + ms * 1000;
    while (sim_world_now_us(world->sim) < until_us) {
        (void)sim_world_run_until(world->sim, NULL, NULL, SLICE_US);
        deliver_due(world);
        note_tails(world);
    }
}

bool catchup_world_until(struct catchup_world *world, bool (*is_reached)(struct catchup_world *world), int64_t ms)
{
    for (int64_t i = 0; i < ms; i += 5) {
        if (is_reached(world)) {
            return true;
        }
        catchup_world_run(world, 5);
    }
    return is_reached(world);
}

struct replica_status catchup_node_status(struct catchup_world *world, unsigned number)
{
    const struct catchup_node *node = &world->nodes[number];
    struct replica_status status = {0};
    struct replica *replica =
        catchup_node_is_up(node) && node->replicas != NULL ? replicas_find(node->replicas, CATCHUP_GROUP) : NULL;
    if (replica != NULL) {
        replica_status(replica, &status);
    }
    return status;
}

int catchup_world_leader(struct catchup_world *world)
{
    int leader = -1;
    uint64_t term = 0;
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        struct replica_status status = catchup_node_status(world, i);
        if (status.is_ready && status.term > term) {
            leader = (int)i;
            term = status.term;
        }
    }
    return leader;
}
