/* Whole shards (replicas, Raft, WAL, partitions, segments, checkpoints) on the simulated disk, through power losses,
 * kills and crashes inside a disk operation, with shard counts that change between lives.
 *
 * Goal:   every acknowledged batch is there afterwards, once, at the offset that was acknowledged, with its bytes;
 * offsets are dense; nothing is there that was not sent. Method: an idempotent client outside of the process remembers
 * what was acknowledged and sends again, in order, what was not; after the last life everything is read back. A seed
 * decides all. More:   POWER_SEEDS=n runs seeds 1..n (each has LIVES deaths), POWER_SEED=s one. */
#include "tests/lib/sim_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/identity.h"
#include "proto/records.h"
#include "replication/partition.h"
#include "replication/replicas.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"

enum {
    SHARDS_MAX = 3,
    PARTITIONS = 4,
    BATCHES_MAX = 4000, /* of one partition and run */
    IN_FLIGHT_MAX = 5,  /* as Kafka allows an idempotent producer */
    LIVES = 8,
    SEEDS_DEFAULT = 12,
    FIRST_GROUP = 2,
};

/* ---- The client: lives outside of the process */

struct sent {
    int32_t count; /* records */
    uint32_t salt; /* of their bytes */
    int32_t sequence;
    int64_t offset; /* acknowledged; -1 */
};

struct client {
    struct sent batches[BATCHES_MAX];
    unsigned sent;      /* made so far */
    unsigned acked;     /* all before it are acknowledged */
    unsigned submitted; /* all before it are with the broker of this life */
    int32_t next_sequence;
};

static struct client clients[PARTITIONS];

/* ---- The broker: one process, some shards */

struct node_shard {
    struct env *env;
    struct log_files *files;
    struct replicas *replicas;
    struct node *node;
    bool is_layout_ready;
};

struct node {
    struct sim_world *world;
    struct sim_disk *disk;
    struct sim_process *process;
    struct kv *local;
    struct identity identity;
    unsigned shard_count;
    unsigned layout;
    unsigned layouts_ready;
    struct node_shard shards[SHARDS_MAX];
    struct partition *partitions[PARTITIONS];
    char failure[2 * ERRMSG_SIZE];
};

static struct node node;

static const struct partition_config CONFIG = {
    .log = {.segment_size_max = KIB(64), .segment_ms = INT64_C(3600000), .index_interval = 1024},
    .max_message_bytes = MIB(1),
    .timestamp_before_max_ms = INT64_MAX,
    .timestamp_after_max_ms = INT64_MAX,
    .retention_ms = -1,
    .retention_bytes = -1,
    .producer_expiration_ms = INT64_C(86400000),
};

static struct node_shard *shard_of(uint64_t group)
{
    return &node.shards[replicas_shard(group, node.shard_count)];
}

static enum err machine_open(void *owner, enum group_type type, uint64_t group, struct bytes description,
                             struct bytes state, struct replica_machine **machine, struct errmsg *msg)
{
    struct node_shard *shard = owner;
    struct partition_name name;
    struct partition *partition;
    assert(type == GROUP_PARTITION);
    enum err err = partition_description_decode(description, &name);
    if (err == OK) {
        err = partition_open(shard->env, shard->files, "/n1/topics", group, &name, &CONFIG, state, &partition, msg);
    }
    if (err != OK) {
        (void)snprintf(node.failure, sizeof(node.failure), "group %llu: %s", (unsigned long long)group, msg->text);
        return err;
    }
    node.partitions[group - FIRST_GROUP] = partition;
    *machine = partition_machine(partition);
    return OK;
}

static void layout_ready(void *owner)
{
    struct node_shard *shard = owner;
    struct errmsg msg = {""};
    shard->is_layout_ready = true;
    if (++node.layouts_ready < node.shard_count) {
        return;
    }
    if (identity_put_layout(node.local, node.layout, node.shard_count, &msg) != OK) {
        process_stop("layout: %s", msg.text);
    }
    for (unsigned i = 0; i < node.shard_count; i++) {
        replicas_layout_committed(node.shards[i].replicas);
    }
}

static void damaged(void *owner, uint64_t group)
{
    (void)owner;
    (void)snprintf(node.failure, sizeof(node.failure), "group %llu damaged while running", (unsigned long long)group);
}

struct creation {
    struct replica_create create;
    struct dynbuf description;
};

static void on_created(struct replica_create *req, enum err err)
{
    struct creation *creation = container_of(req, struct creation, create);
    if (err != OK && err != ERR_EXISTS) {
        (void)snprintf(node.failure, sizeof(node.failure), "create: %s", req->msg.text);
    }
    dynbuf_deinit(&creation->description);
    mem_free(creation);
}

static void create_groups(void)
{
    for (uint64_t i = 0; i < PARTITIONS; i++) {
        uint64_t group = FIRST_GROUP + i;
        if (node.partitions[i] != NULL) {
            continue;
        }
        struct partition_name name = {bytes_from_text("power"), (int32_t)i, {{1}}};
        struct creation *creation = mem_alloc(sizeof(*creation));
        dynbuf_init(&creation->description, KIB(1));
        partition_description_encode(&name, &creation->description);
        creation->create = (struct replica_create){.type = GROUP_PARTITION,
                                                   .group = group,
                                                   .description = dynbuf_bytes(&creation->description),
                                                   .term = 1,
                                                   .cb = on_created};
        creation->create.membership.count = 1;
        creation->create.membership.servers[0] = (struct replica_server){node.identity.server_id, true};
        replicas_create(shard_of(group)->replicas, &creation->create);
    }
}

static void die_of(const char *what, const struct errmsg *msg)
{
    (void)snprintf(node.failure, sizeof(node.failure), "%s: %s", what, msg->text);
    process_stop("%s: %s", what, msg->text);
}

static enum err shard_open(unsigned number, struct errmsg *msg)
{
    struct node_shard *shard = &node.shards[number];
    shard->node = &node;
    shard->env = sim_process_env(node.process, number);
    shard->files = log_files_open(shard->env, 8);
    shard->is_layout_ready = false;
    struct replicas_params params = {
        .env = shard->env,
        .local = node.local,
        .dir = "/n1",
        .shard_count = node.shard_count,
        .layout = node.layout,
        .old_layout = node.identity.layout,
        .old_shard_count = node.identity.shard_count,
        .is_first_start = node.identity.shard_count == 0,
        .server_id = node.identity.server_id,
        .heartbeat_ms = 400,
        .election_ms = 2000,
        .wal = {.file_size = MIB(32), .file_size_first = MIB(4), .file_count_max = 8, .checkpoint_size = KIB(256)},
        .checkpoint_interval_ms = 50,
        .owner = shard,
        .layout_ready = layout_ready,
        .damaged = damaged,
        .machine_open = machine_open,
    };
    return replicas_open(&params, &shard->replicas, msg);
}

/* What a start removes: logs of a new layout whose start did not come to its end. */
static void remove_one(const char *path, uint64_t size, bool is_directory, void *context)
{
    char(*paths)[256] = context;
    (void)size;
    for (unsigned i = 0; !is_directory && i < 64; i++) {
        if (paths[i][0] == '\0') {
            (void)snprintf(paths[i], sizeof(paths[i]), "%s", path);
            return;
        }
    }
}

static void remove_layout(unsigned layout)
{
    char dir[64];
    static char paths[64][256];
    memset(paths, 0, sizeof(paths));
    (void)snprintf(dir, sizeof(dir), "/n1/wal/%u", layout);
    sim_disk_walk(node.disk, dir, remove_one, paths);
    for (unsigned i = 0; i < 64 && paths[i][0] != '\0'; i++) {
        (void)sim_disk_remove(node.disk, paths[i]);
    }
}

/* Inside the process: what broker.c does at a start. */
static void node_start(void *context)
{
    struct errmsg msg = {""};
    (void)context;
    if (kv_open("/n1/local", MIB(64), KV_DURABLE, &node.local, &msg) != OK) {
        die_of("local store", &msg);
    }
    if (identity_open(node.local, 1, &node.identity, &msg) != OK) {
        die_of("identity", &msg);
    }
    node.layout = node.identity.layout;
    if (node.identity.shard_count != 0 && node.identity.shard_count != node.shard_count) {
        node.layout++;
    }
    if (node.identity.shard_count != node.shard_count) {
        remove_layout(node.layout);
    }
    struct disk *disk = sim_process_env(node.process, 0)->disk;
    if (disk->mkdir(disk, "/n1/topics") != OK || disk->sync_dir(disk, "/n1") != OK) {
        die_of("topics", &msg);
    }
    for (unsigned i = 0; i < node.shard_count; i++) {
        if (shard_open(i, &msg) != OK) {
            die_of("shard", &msg);
        }
    }
    if (node.identity.shard_count == 0 && identity_put_layout(node.local, node.layout, node.shard_count, &msg) != OK) {
        die_of("layout", &msg);
    }
    create_groups();
}

/* ---- Producing */

struct attempt { /* memory of the process */
    struct partition_produce produce;
    unsigned client;
    unsigned batch;
    struct shared *block;
};

static struct shared *batch_build(unsigned partition, const struct sent *sent)
{
    uint8_t data[600];
    struct record_builder *builder = record_builder_open(CODEC_NONE, 1000);
    record_builder_producer(builder, 100 + partition, 0, sent->sequence);
    for (int32_t i = 0; i < sent->count; i++) {
        size_t size = (sent->salt + (uint32_t)i * 7) % sizeof(data);
        memset(data, (int)(sent->salt % 251), sizeof(data));
        struct bytes value = {data, size < 8 ? 8 : size};
        be32_put(data, (uint32_t)sent->sequence + (uint32_t)i);
        be32_put(data + 4, sent->salt);
        record_builder_add(builder, 1000, NULL, &value, NULL, 0);
    }
    return record_builder_finish(builder);
}

static void on_produced(struct partition_produce *req)
{
    struct attempt *attempt = container_of(req, struct attempt, produce);
    struct client *client = &clients[attempt->client];
    struct sent *sent = &client->batches[attempt->batch];
    if (req->error == KAFKA_NONE) {
        if (sent->offset >= 0 && sent->offset != req->base_offset) {
            (void)snprintf(node.failure, sizeof(node.failure), "partition %u batch %u acknowledged at %lld and at %lld",
                           attempt->client, attempt->batch, (long long)sent->offset, (long long)req->base_offset);
        }
        sent->offset = req->base_offset;
        trace(DEBUG, SIM, "acknowledged", KV("partition", attempt->client), KV("batch", attempt->batch),
              KV("offset", req->base_offset), KV("duplicate", req->is_duplicate));
        while (client->acked < client->sent && client->batches[client->acked].offset >= 0) {
            client->acked++;
        }
    } else if (attempt->batch < client->submitted) {
        client->submitted = client->acked; /* goes again, in order */
    }
    shared_release(attempt->block);
    mem_free(attempt);
}

static void submit(unsigned partition, unsigned batch)
{
    struct attempt *attempt = mem_alloc(sizeof(*attempt));
    attempt->client = partition;
    attempt->batch = batch;
    attempt->block = batch_build(partition, &clients[partition].batches[batch]);
    attempt->produce.batch = (struct slice){attempt->block, {attempt->block->data, attempt->block->size}};
    attempt->produce.is_zstd_allowed = true;
    attempt->produce.cb = on_produced;
    partition_produce(node.partitions[partition], &attempt->produce);
}

/* Inside the process: sends what is due of one partition. */
static void node_produce(void *context)
{
    unsigned partition = *(unsigned *)context;
    struct client *client = &clients[partition];
    struct partition_offsets offsets;
    if (node.partitions[partition] == NULL || partition_offsets(node.partitions[partition], &offsets) != KAFKA_NONE) {
        return;
    }
    if (client->submitted < client->acked) {
        client->submitted = client->acked;
    }
    while (client->submitted < client->sent && client->submitted < client->acked + IN_FLIGHT_MAX) {
        submit(partition, client->submitted++);
    }
}

static void client_add(unsigned partition)
{
    struct client *client = &clients[partition];
    if (client->sent == BATCHES_MAX || client->sent >= client->acked + IN_FLIGHT_MAX) {
        return;
    }
    struct sent *sent = &client->batches[client->sent++];
    sent->count = 1 + (int32_t)sim_world_below(node.world, 4);
    sent->salt = (uint32_t)sim_world_random(node.world);
    sent->sequence = client->next_sequence;
    sent->offset = -1;
    client->next_sequence += sent->count;
}

/* ---- Checking */

static void check_batch(unsigned partition, const struct record_batch *batch, unsigned number)
{
    struct client *client = &clients[partition];
    ck_assert_msg(number < client->sent, "partition %u: batch %u was never sent", partition, number);
    const struct sent *sent = &client->batches[number];
    struct shared *expected = batch_build(partition, sent);
    struct record_batch original;
    ck_assert_int_eq(record_batch_view((struct bytes){expected->data, expected->size}, &original), OK);
    ck_assert_msg(batch->base_sequence == sent->sequence, "partition %u: batch %u has sequence %d, sent %d", partition,
                  number, batch->base_sequence, sent->sequence);
    ck_assert_msg(batch->crc == original.crc && bytes_equal(batch->records, original.records),
                  "partition %u: batch %u has other bytes than were sent", partition, number);
    ck_assert_msg(sent->offset == -1 || sent->offset == batch->base_offset,
                  "partition %u: batch %u acknowledged at %lld is at %lld", partition, number, (long long)sent->offset,
                  (long long)batch->base_offset);
    shared_release(expected);
}

/* Inside the process: reads one partition from its start. */
static void node_check(void *context)
{
    unsigned partition = *(unsigned *)context;
    struct log *log = partition_log(node.partitions[partition]);
    int64_t offset = log_start_offset(log);
    unsigned number = 0;
    while (offset < log_end_offset(log)) {
        struct log_read read = {.offset = offset, .size_max = KIB(64), .is_first_whole = true};
        enum err err;
        while ((err = log_read_now(log, &read)) == ERR_WOULD_BLOCK) {
            sim_disk_set_cold(node.disk, 0);
        }
        ck_assert_msg(err == OK, "partition %u offset %lld: %s", partition, (long long)offset, read.msg.text);
        struct bytes left = read.slice.bytes;
        ck_assert(left.size > 0);
        while (left.size > 0) {
            struct record_batch batch;
            ck_assert_int_eq(record_batch_view(left, &batch), OK);
            ck_assert_msg(batch.base_offset == offset, "partition %u: offset %lld follows %lld", partition,
                          (long long)batch.base_offset, (long long)offset);
            check_batch(partition, &batch, number++);
            offset += batch.last_offset_delta + 1;
            left.data += batch.bytes.size;
            left.size -= batch.bytes.size;
        }
        slice_release(&read.slice);
    }
    ck_assert_msg(number >= clients[partition].acked, "partition %u: %u batches are there, %u were acknowledged",
                  partition, number, clients[partition].acked);
}

/* ---- Lives */

static void check_alive(uint64_t seed, const char *when)
{
    enum sim_process_end end = sim_process_end(node.process);
    ck_assert_msg(end != SIM_STOPPED && node.failure[0] == '\0', "seed %llu, %s: %s %s", (unsigned long long)seed, when,
                  node.failure, end == SIM_STOPPED ? sim_process_end_text(node.process) : "");
}

static void life_begin(void)
{
    memset(node.partitions, 0, sizeof(node.partitions));
    memset(node.shards, 0, sizeof(node.shards));
    node.layouts_ready = 0;
    node.shard_count = 1 + (unsigned)sim_world_below(node.world, SHARDS_MAX);
    for (unsigned i = 0; i < PARTITIONS; i++) {
        clients[i].submitted = clients[i].acked;
    }
    node.process = sim_process_open(node.world, node.disk, "n1");
}

/* Load for a while; ends when the process has died or the time is over. */
static void life_run(int64_t limit_us)
{
    int64_t end_us = sim_world_now_us(node.world) + limit_us;
    while (sim_process_end(node.process) == SIM_ALIVE && sim_world_now_us(node.world) < end_us) {
        unsigned partition = (unsigned)sim_world_below(node.world, PARTITIONS);
        client_add(partition);
        (void)sim_process_run(node.process, node_produce, &partition);
        (void)sim_world_run_until(node.world, NULL, NULL, (int64_t)sim_world_below(node.world, 2000));
    }
}

static void life_end(void)
{
    sim_disk_crash_at(node.disk, 0);
    if (sim_world_below(node.world, 3) > 0) {
        sim_disk_power_loss(node.disk);
    } else {
        sim_process_kill(node.process);
    }
    sim_process_close(node.process);
}

/* Everything sent is acknowledged, and every partition serves what it has. */
static bool is_settled(void)
{
    struct partition_offsets offsets;
    for (unsigned i = 0; i < PARTITIONS; i++) {
        if (clients[i].acked < clients[i].sent || node.partitions[i] == NULL ||
            partition_offsets(node.partitions[i], &offsets) != KAFKA_NONE) {
            return false;
        }
    }
    return true;
}

static void last_life(uint64_t seed)
{
    life_begin();
    (void)sim_process_run(node.process, node_start, NULL);
    check_alive(seed, "last start");
    for (unsigned turn = 0; turn < 20000 && !is_settled(); turn++) {
        unsigned partition = turn % PARTITIONS;
        (void)sim_process_run(node.process, node_produce, &partition);
        (void)sim_world_run_until(node.world, NULL, NULL, 1000);
        check_alive(seed, "last life");
    }
    ck_assert_msg(is_settled(), "seed %llu: no progress after the faults ended", (unsigned long long)seed);
    for (unsigned i = 0; i < PARTITIONS; i++) {
        (void)sim_process_run(node.process, node_check, &i);
    }
    sim_process_kill(node.process);
    sim_process_close(node.process);
}

static void run_seed(uint64_t seed)
{
    if (getenv("POWER_VERBOSE") != NULL) {
        printf("seed %llu\n", (unsigned long long)seed);
        (void)fflush(stdout);
    }
    memset(&node, 0, sizeof(node));
    memset(clients, 0, sizeof(clients));
    node.world = sim_world_open(seed);
    node.disk = sim_disk_open(node.world, "/n1");
    for (unsigned life = 0; life < LIVES; life++) {
        life_begin();
        if (sim_world_below(node.world, 2) == 0) {
            sim_disk_crash_at(node.disk, sim_disk_change_count(node.disk) + 1 + sim_world_below(node.world, 400));
        }
        (void)sim_process_run(node.process, node_start, NULL);
        life_run(1000 + (int64_t)sim_world_below(node.world, 150000));
        check_alive(seed, "life");
        life_end();
    }
    last_life(seed);
    sim_disk_close(node.disk);
    sim_world_close(node.world);
}

START_TEST(nothing_acknowledged_is_lost)
{
    const char *one = getenv("POWER_SEED");
    const char *count = getenv("POWER_SEEDS");
    if (one != NULL) {
        (void)trace_set_level_text("all", "debug");
        run_seed(strtoull(one, NULL, 10));
        return;
    }
    uint64_t limit = count != NULL ? strtoull(count, NULL, 10) : SEEDS_DEFAULT;
    uint64_t batches = 0;
    for (uint64_t seed = 1; seed <= limit; seed++) {
        run_seed(seed);
        for (unsigned i = 0; i < PARTITIONS; i++) {
            batches += clients[i].acked;
        }
    }
    printf("%llu seeds, %llu deaths, %llu batches acknowledged\n", (unsigned long long)limit,
           (unsigned long long)limit * LIVES, (unsigned long long)batches);
}
END_TEST

static Suite *power_loss_suite(void)
{
    Suite *suite = suite_create("power_loss");
    TCase *tcase = tcase_create("power_loss");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, nothing_acknowledged_is_lost);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(power_loss_suite)
