/* What a test of catch-ups does to its group, and what it finds in it. */
#include "tests/lib/catchup_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "proto/records.h"
#include "replication/replica_shard.h"
#include "replication/segment.h"
#include "tests/lib/test.h"

/* ---- Load */

struct produce {
    struct partition_produce req;
    struct catchup_world *world;
    struct shared *block;
};

static void on_produced(struct partition_produce *req)
{
    struct produce *produce = container_of(req, struct produce, req);
    produce->world->acked += req->error == KAFKA_NONE;
    shared_release(produce->block);
    mem_free(produce);
}

struct load {
    struct catchup_world *world;
    struct catchup_node *node;
    size_t size;
    int64_t offset;
};

static void produce_one(void *context)
{
    const struct load *load = context;
    struct produce *produce = mem_alloc(sizeof(*produce));
    struct record_builder *builder = record_builder_open(CODEC_NONE, 1000);
    uint8_t *data = mem_alloc(load->size);
    struct bytes value = {data, load->size};
    memset(data, (int)(load->world->sequence % 251), load->size);
    be64_put(data, load->world->sequence++);
    record_builder_add(builder, 1000, NULL, &value, NULL, 0);
    mem_free(data);
    produce->world = load->world;
    produce->block = record_builder_finish(builder);
    produce->req.batch = (struct slice){produce->block, {produce->block->data, produce->block->size}};
    produce->req.cb = on_produced;
    load->world->asked++;
    partition_produce(load->node->partition, &produce->req);
}

void catchup_world_produce(struct catchup_world *world, size_t size)
{
    int leader = catchup_world_leader(world);
    if (leader >= 0) {
        struct load load = {world, &world->nodes[leader], size, 0};
        (void)sim_process_run(load.node->process, produce_one, &load);
    }
}

void catchup_world_fill(struct catchup_world *world, unsigned count, size_t size)
{
    uint64_t wanted = world->acked + count;
    for (unsigned i = 0; i < 200000 && world->acked < wanted; i++) {
        for (unsigned k = 0; k < 8 && world->acked + k < wanted; k++) {
            catchup_world_produce(world, size);
        }
        catchup_world_run(world, 5);
    }
    ck_assert_uint_ge(world->acked, wanted);
}

struct trim {
    struct partition_trim req;
};

static void on_trimmed(struct partition_trim *req)
{
    mem_free(container_of(req, struct trim, req));
}

static void trim_one(void *context)
{
    const struct load *load = context;
    struct trim *trim = mem_alloc(sizeof(*trim));
    trim->req = (struct partition_trim){.offset = load->offset, .cb = on_trimmed};
    partition_trim(load->node->partition, &trim->req);
}

void catchup_world_trim(struct catchup_world *world, int64_t offset)
{
    int leader = catchup_world_leader(world);
    ck_assert_int_ge(leader, 0);
    struct load load = {world, &world->nodes[leader], 0, offset};
    (void)sim_process_run(load.node->process, trim_one, &load);
    catchup_world_run(world, 200);
}

struct change {
    struct catchup_node *leader;
    uint64_t server;
    bool is_voter;
    enum err err;
};

static void change_one(void *context)
{
    struct change *change = context;
    struct replica *replica = replicas_find(change->leader->replicas, CATCHUP_GROUP);
    struct replica_status status;
    replica_status(replica, &status);
    struct membership next = status.membership;
    for (unsigned i = 0; i < next.count; i++) {
        if (next.servers[i].id == change->server) {
            next.servers[i].is_voter = change->is_voter;
            change->err = replica_change(replica, &next);
            return;
        }
    }
    next.servers[next.count++] = (struct replica_server){change->server, false};
    change->err = replica_change(replica, &next);
}

void catchup_world_add(struct catchup_world *world, unsigned number, bool is_voter)
{
    struct change change = {.server = world->nodes[number].server_id, .is_voter = is_voter, .err = ERR_BUSY};
    for (unsigned i = 0; i < 2000 && change.err != OK; i++) {
        int leader = catchup_world_leader(world);
        if (leader >= 0) {
            change.leader = &world->nodes[leader];
            ck_assert(sim_process_run(change.leader->process, change_one, &change));
        }
        catchup_world_run(world, 5);
    }
    ck_assert_int_eq(change.err, OK);
}

static void checkpoint_one(void *context)
{
    replicas_checkpoint(((struct catchup_node *)context)->replicas);
}

void catchup_node_checkpoint(struct catchup_world *world, unsigned number)
{
    ck_assert(sim_process_run(world->nodes[number].process, checkpoint_one, &world->nodes[number]));
    catchup_world_run(world, 50);
}

/* ---- What is there */

struct digest {
    struct catchup_node *node;
    struct log_state state;
    char dir[256];
};

static void take_state(void *context)
{
    struct digest *digest = context;
    struct log_state state;
    struct log *log = partition_log(digest->node->partition);
    ck_assert_int_eq(log_pin(log, &state), OK);
    log_unpin(log);
    digest->state = state;
    digest->state.segments = malloc((state.segment_count + 1) * sizeof(*state.segments));
    if (state.segment_count > 0) {
        memcpy(digest->state.segments, state.segments, state.segment_count * sizeof(*state.segments));
    }
    (void)snprintf(digest->dir, sizeof(digest->dir), "%s", log_dir(log));
    log_state_deinit(&state);
}

uint32_t catchup_node_digest(struct catchup_world *world, unsigned number, int64_t *start_offset, int64_t *end_offset)
{
    struct digest digest = {.node = &world->nodes[number]};
    uint32_t crc = 0;
    if (!sim_process_run(digest.node->process, take_state, &digest)) {
        return 0;
    }
    for (size_t i = 0; i < digest.state.segment_count; i++) {
        char path[SEGMENT_PATH_SIZE];
        size_t size = (size_t)digest.state.segments[i].size;
        uint8_t *data = malloc(size);
        struct segment_id id = {digest.state.segments[i].base_offset, digest.state.segments[i].version};
        segment_path(digest.dir, id, SEGMENT_LOG, path);
        ck_assert_msg(sim_disk_peek(digest.node->disk, path, 0, data, size), "%s is not there", path);
        crc = crc32c(crc, (struct bytes){data, size});
        free(data);
    }
    *start_offset = digest.state.start_offset;
    *end_offset = digest.state.end_offset;
    free(digest.state.segments);
    return crc;
}

bool catchup_world_is_level(struct catchup_world *world)
{
    int leader = catchup_world_leader(world);
    if (leader < 0) {
        return false;
    }
    struct replica_status first = catchup_node_status(world, (unsigned)leader);
    int64_t start_offset;
    int64_t end_offset;
    uint32_t crc = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < CATCHUP_NODES; i++) {
            struct replica_status status = catchup_node_status(world, i);
            if (!catchup_node_is_up(&world->nodes[i])) {
                continue;
            }
            if (pass == 0 && (status.applied_index != first.last_index || world->nodes[i].partition == NULL)) {
                return false;
            }
            if (pass == 1) {
                int64_t start;
                int64_t end;
                uint32_t other = catchup_node_digest(world, i, &start, &end);
                if (crc == 0) {
                    crc = other;
                    start_offset = start;
                    end_offset = end;
                }
                ck_assert_msg(other == crc && start == start_offset && end == end_offset,
                              "node %u has other records: [%lld, %lld)", i + 1, (long long)start, (long long)end);
            }
        }
    }
    return true;
}
