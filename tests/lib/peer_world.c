#include "tests/lib/peer_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "replication/raft_wire.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"

/* ---- What a node does with what it is told */

struct shard_owner { /* of params.owner */
    struct peer_node *node;
    unsigned shard;
};
static struct shard_owner owners[PEER_NODE_MAX][PEER_SHARD_MAX];

static void on_receive(void *context, uint64_t group, const struct replica_message *message)
{
    struct shard_owner *owner = context;
    struct peer_node *node = owner->node;
    if (node->drops_seen) {
        raft_wire_release(message);
        node->seen_count++;
        return;
    }
    ck_assert_uint_lt(node->seen_count, PEER_SEEN_MAX);
    node->seen[node->seen_count++] = (struct peer_seen){owner->shard, group, *message};
}

static void on_request(void *context, struct peer_request *request)
{
    struct shard_owner *owner = context;
    struct peer_node *node = owner->node;
    if (node->holds_requests) {
        ck_assert_uint_lt(node->request_count, array_count(node->requests));
        node->requests[node->request_count++] = request;
        return;
    }
    peers_reply(request, request->payload, false);
}

static unsigned number_of(int32_t node)
{
    ck_assert_int_ge(node, 1);
    ck_assert_int_le(node, PEER_NODE_MAX);
    return (unsigned)node - 1;
}

static void on_up(void *context, const struct peer_identity *identity)
{
    struct shard_owner *owner = context;
    owner->node->up_count[number_of(identity->node)]++;
}

static void on_down(void *context, int32_t node, uint64_t server_id, bool is_reset)
{
    struct shard_owner *owner = context;
    ck_assert_uint_eq(server_id >> 32, (uint64_t)node);
    owner->node->down_count[number_of(node)]++;
    owner->node->reset_count[number_of(node)] += is_reset;
}

static void on_refused(void *context, const char *host, uint16_t port, const char *cause)
{
    struct shard_owner *owner = context;
    (void)host;
    (void)port;
    owner->node->refused_count++;
    (void)snprintf(owner->node->refused_cause, sizeof owner->node->refused_cause, "%s", cause);
}

static void hand_over(void *context, unsigned shard, int token, const struct peer_hello *hello)
{
    struct shard_owner *owner = context;
    peers_adopt(owner->node->peers[shard], token, hello);
}

static void on_accept(void *context, struct listener *listener, int token)
{
    struct peer_node *node = context;
    ck_assert_ptr_eq(listener, node->listener);
    peers_accept(node->peers[0], token, hand_over);
}

/* ---- Life */

static void node_start(void *context)
{
    struct peer_node *node = context;
    for (unsigned shard = 0; shard < node->world->shard_count; shard++) {
        owners[node->number][shard] = (struct shard_owner){node, shard};
        struct peers_params params = {
            .env = node->envs[shard],
            .shard = shard,
            .shard_count = node->world->shard_count,
            .self = &node->self,
            .owner = &owners[node->number][shard],
            .receive = on_receive,
            .request = on_request,
            .up = on_up,
            .down = on_down,
            .refused = on_refused,
        };
        node->peers[shard] = peers_open(&params);
    }
    struct net *net = node->envs[0]->net;
    ck_assert_int_eq(net->listen(net, "", PEER_PORT, node, on_accept, &node->listener, NULL), OK);
}

void peer_node_start(struct peer_node *node)
{
    char name[16];
    (void)snprintf(name, sizeof name, "n%u", node->number + 1);
    node->process = sim_process_open(node->world->world, node->disk, name);
    for (unsigned shard = 0; shard < node->world->shard_count; shard++) {
        node->envs[shard] = sim_process_env(node->process, shard);
    }
    peer_node_run(node, node_start, node);
}

void peer_node_kill(struct peer_node *node)
{
    node->seen_count = 0;
    node->request_count = 0;
    sim_process_kill(node->process);
    sim_process_close(node->process);
    node->process = NULL;
}

void peer_world_open(struct peer_world *world, uint64_t seed, unsigned node_count, unsigned shard_count)
{
    *world = (struct peer_world){.node_count = node_count, .shard_count = shard_count};
    world->world = sim_world_open(seed);
    for (unsigned i = 0; i < node_count; i++) {
        struct peer_node *node = &world->nodes[i];
        char mount[16];
        (void)snprintf(mount, sizeof mount, "/n%u", i + 1);
        node->world = world;
        node->number = i;
        node->disk = sim_disk_open(world->world, mount);
        node->seen = calloc(PEER_SEEN_MAX, sizeof node->seen[0]); /* tidy: calloc: outlives the process */
        node->self =
            (struct peer_identity){.cluster_id = "AAAAAAAAAAAAAAAAAAAAAA", .node = (int32_t)i + 1, .port = PEER_PORT};
        memset(node->self.incarnation, (int)(i + 1), sizeof node->self.incarnation);
        node->self.server_id = (uint64_t)(i + 1) << 32 | (0x01010101u * (i + 1));
        (void)snprintf(node->self.host, sizeof node->self.host, "n%u", i + 1);
        peer_node_start(node);
    }
}

static void on_peers_closed(void *context)
{
    struct peer_node *node = context;
    node->closed_count++;
}

static void node_close(void *context)
{
    struct peer_node *node = context;
    node->drops_seen = true;
    for (size_t i = 0; i < node->seen_count; i++) {
        raft_wire_release(&node->seen[i].message);
    }
    for (unsigned shard = 0; shard < node->world->shard_count; shard++) {
        peers_close(node->peers[shard], node, on_peers_closed);
    }
    for (unsigned i = 0; i < node->request_count; i++) {
        if (node->requests[i] != NULL) {
            peers_reply(node->requests[i], (struct slice){NULL, BYTES_NONE}, false);
        }
    }
    node->envs[0]->net->listener_close(node->listener, NULL);
}

static bool are_closed(void *context)
{
    struct peer_world *world = context;
    for (unsigned i = 0; i < world->node_count; i++) {
        if (world->nodes[i].process != NULL && world->nodes[i].closed_count < world->shard_count) {
            return false;
        }
    }
    return true;
}

void peer_world_close(struct peer_world *world)
{
    sim_net_heal_all(world->world);
    for (unsigned i = 0; i < world->node_count; i++) {
        if (world->nodes[i].process != NULL) {
            peer_node_run(&world->nodes[i], node_close, &world->nodes[i]);
        }
    }
    peer_world_until(world, are_closed, world, 5000000);
    peer_world_run(world, 1000000);
    for (unsigned i = 0; i < world->node_count; i++) {
        if (world->nodes[i].process != NULL) {
            sim_process_close(world->nodes[i].process);
        }
        sim_disk_close(world->nodes[i].disk);
        free(world->nodes[i].seen); /* tidy: free: as it was taken */
    }
    sim_world_close(world->world);
}

void peer_world_run(struct peer_world *world, int64_t us)
{
    enum sim_end end = sim_world_run_until(world->world, NULL, NULL, us);
    ck_assert_int_ne(end, SIM_DIED);
}

void peer_world_until(struct peer_world *world, bool (*is_reached)(void *context), void *context, int64_t limit_us)
{
    enum sim_end end =
        is_reached(context) ? SIM_REACHED : sim_world_run_until(world->world, is_reached, context, limit_us);
    ck_assert_int_eq(end, SIM_REACHED);
}

/* ---- Calls as the node's process */

void peer_node_run(struct peer_node *node, void (*fn)(void *context), void *context)
{
    ck_assert(sim_process_run(node->process, fn, context));
}

struct args {
    struct peer_node *node;
    const struct peer_node *other;
    unsigned shard;
    int32_t number;
    uint64_t group;
    const struct replica_message *message;
    struct peer_call *call;
    unsigned method;
    struct bytes payload;
    bool result;
};

static void do_set(void *context)
{
    struct args *args = context;
    peers_set(args->node->peers[args->shard], args->other->self.node, args->other->self.host, args->other->self.port);
}

void peer_node_set(struct peer_node *node, unsigned shard, const struct peer_node *other)
{
    peer_node_run(node, do_set, &(struct args){.node = node, .shard = shard, .other = other});
}

static void do_seed(void *context)
{
    struct args *args = context;
    peers_add_seed(args->node->peers[args->shard], args->other->self.host, args->other->self.port);
}

void peer_node_seed(struct peer_node *node, unsigned shard, const struct peer_node *other)
{
    peer_node_run(node, do_seed, &(struct args){.node = node, .shard = shard, .other = other});
}

static void do_remove(void *context)
{
    struct args *args = context;
    peers_remove(args->node->peers[args->shard], args->number);
}

void peer_node_remove(struct peer_node *node, unsigned shard, int32_t other)
{
    peer_node_run(node, do_remove, &(struct args){.node = node, .shard = shard, .number = other});
}

static void do_restart(void *context)
{
    struct args *args = context;
    for (unsigned shard = 0; shard < args->node->world->shard_count; shard++) {
        peers_restart(args->node->peers[shard]);
    }
}

void peer_node_restart(struct peer_node *node)
{
    peer_node_run(node, do_restart, &(struct args){.node = node});
}

static void do_call(void *context)
{
    struct args *args = context;
    peers_call(args->node->peers[args->shard], args->call);
}

void peer_node_call(struct peer_node *node, unsigned shard, struct peer_call *call)
{
    peer_node_run(node, do_call, &(struct args){.node = node, .shard = shard, .call = call});
}

static void do_tell(void *context)
{
    struct args *args = context;
    struct shared *block = shared_new(args->payload.size);
    memcpy(block->data, args->payload.data, args->payload.size);
    struct slice slice = {block, {block->data, block->size}};
    peers_tell(args->node->peers[args->shard], args->number, args->method, slice);
    slice_release(&slice);
}

void peer_node_tell(struct peer_node *node, unsigned shard, int32_t other, unsigned method, struct bytes payload)
{
    peer_node_run(node, do_tell,
                  &(struct args){.node = node, .shard = shard, .number = other, .method = method, .payload = payload});
}

static void do_send(void *context)
{
    struct args *args = context;
    peers_send(args->node->peers[args->shard], args->group, args->message);
}

void peer_node_send(struct peer_node *node, unsigned shard, const struct peer_node *other, uint64_t group,
                    const struct replica_message *message)
{
    struct replica_message sent = *message;
    sent.peer = other->self.server_id;
    peer_node_run(node, do_send, &(struct args){.node = node, .shard = shard, .group = group, .message = &sent});
}

static void do_reply(void *context)
{
    struct args *args = context;
    struct peer_request *request = args->node->requests[args->number];
    args->node->requests[args->number] = NULL;
    peers_reply(request, request->payload, true);
}

void peer_node_reply(struct peer_node *node, unsigned request)
{
    peer_node_run(node, do_reply, &(struct args){.node = node, .number = (int32_t)request});
}

static void do_is_up(void *context)
{
    struct args *args = context;
    args->result = peers_is_up(args->node->peers[args->shard], args->number);
}

bool peer_node_is_linked(struct peer_node *node, unsigned shard, const struct peer_node *other)
{
    struct args args = {.node = node, .shard = shard, .number = other->self.node};
    peer_node_run(node, do_is_up, &args);
    return args.result;
}

static bool are_linked(void *context)
{
    struct peer_world *world = context;
    for (unsigned i = 0; i < world->node_count; i++) {
        for (unsigned k = 0; k < world->node_count; k++) {
            if (i != k && !peers_is_up(world->nodes[i].peers[0], world->nodes[k].self.node)) {
                return false;
            }
        }
    }
    return true;
}

void peer_world_link_all(struct peer_world *world)
{
    for (unsigned i = 0; i < world->node_count; i++) {
        for (unsigned k = 0; k < world->node_count; k++) {
            if (i != k) {
                peer_node_set(&world->nodes[i], 0, &world->nodes[k]);
            }
        }
    }
    peer_world_until(world, are_linked, world, 5000000);
}
