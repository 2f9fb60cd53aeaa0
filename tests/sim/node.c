/* A life: node_start() -> load -> kill, power loss, process_stop() inside, or node_stop() -> all shards closed. */
#include "tests/sim/node.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "broker/rejoin.h"
#include "replication/catchup.h"

enum {
    DRIFT_PPM_MAX = 20000 /* a bad quartz has 100; a virtual machine may have anything */
};

struct node_life {
    struct broker broker;
    struct options options;
    struct node *node;
};

/* ---- The host of a broker */

static struct node *node_of(struct broker *broker)
{
    return container_of(broker, struct node_life, broker)->node;
}

static void on_shard_closed(struct shard *shard)
{
    node_of(shard->broker)->closed_shards++;
}

static void on_cannot_listen(struct broker *broker, const struct option_listener *listener, const struct errmsg *msg)
{
    (void)broker;
    process_stop("listener %s: %s", listener->name, msg->text);
}

static const struct broker_host HOST = {.shard_closed = on_shard_closed, .cannot_listen = on_cannot_listen};

/* ---- Life */

void node_init(struct node *node, struct sim_world *world, unsigned number, unsigned seed_count)
{
    *node = (struct node){.world = world, .number = number, .seed_count = seed_count, .shard_count = 1};
    (void)snprintf(node->name, sizeof(node->name), "n%u", number);
    (void)snprintf(node->mount, sizeof(node->mount), "/n%u", number);
    node->disk = sim_disk_open(world, node->mount);
}

void node_deinit(struct node *node)
{
    node_kill(node);
    sim_disk_close(node->disk);
}

static void set(struct options *options, const char *key, const char *value)
{
    struct errmsg msg = {""};
    if (options_set(options, key, value, OPTION_FLAG, "simulator", &msg) != OK) {
        process_stop("%s", msg.text);
    }
}

static void set_seeds(struct options *options, const struct node *node)
{
    char seeds[16 * NODES_MAX] = "";
    size_t size = 0;
    for (unsigned i = 1; i <= node->seed_count; i++) {
        size += (size_t)snprintf(seeds + size, sizeof(seeds) - size, "%sn%u:%d", i > 1 ? "," : "", i, NODE_PEER_PORT);
    }
    set(options, "controller.quorum.bootstrap.servers", seeds);
}

static void configure(struct options *options, const struct node *node)
{
    char text[160];
    struct errmsg msg = {""};
    (void)snprintf(text, sizeof(text), "%u", node->number);
    set(options, "node.id", text);
    (void)snprintf(text, sizeof(text), "%s/data", node->mount);
    set(options, "log.dirs", text);
    (void)snprintf(text, sizeof(text), "PLAINTEXT://%s:%d,PEER://%s:%d", node->name, NODE_KAFKA_PORT, node->name,
                   NODE_PEER_PORT);
    set(options, "listeners", text);
    set(options, "controller.listener.names", "PEER");
    set_seeds(options, node);
    (void)snprintf(text, sizeof(text), "%u", node->shard_count);
    set(options, "balsa.shards", text);
    (void)snprintf(text, sizeof(text), "%d", NODE_REQUEST_SIZE_MAX);
    set(options, "socket.request.max.bytes", text);
    (void)snprintf(text, sizeof(text), "%lld", (long long)node->request_memory_max);
    set(options, "queued.max.request.bytes", text);
    set(options, "default.replication.factor", "3");
    set(options, "auto.create.topics.enable", "false");
    set(options, "balsa.wal.file.bytes", "33554432");
    set(options, "balsa.wal.max.bytes", "134217728");
    set(options, "balsa.checkpoint.interval.ms", "2000");
    set(options, "log.segment.bytes", "1048576");
    (void)snprintf(text, sizeof(text), "%d", NODE_DISK_RESERVE);
    set(options, "balsa.disk.reserve.bytes", text);
    set(options, "log.cleaner.backoff.ms", "1500");
    if (options_finish(options, &msg) != OK) {
        process_stop("%s", msg.text);
    }
}

/* As broker/threads.c does: the next life is another broker's. */
static void drop_identity(struct node *node, struct broker *broker)
{
    struct errmsg msg = {""};
    if (broker->local == NULL || broker->shards[0].reader == NULL) {
        return;
    }
    if (rejoin_prepare(broker, &msg) == OK) {
        node->is_dropped = true;
    }
}

/* Another one than before on the same disk: it has rejoined. */
static void note_incarnation(struct node *node, const struct broker *broker)
{
    static const uint8_t none[sizeof(node->incarnation)];
    if (memcmp(broker->incarnation, none, sizeof(none)) == 0) {
        return; /* it did not get that far */
    }
    if (memcmp(node->incarnation, none, sizeof(none)) != 0 &&
        memcmp(node->incarnation, broker->incarnation, sizeof(none)) != 0) {
        node->has_dropped = true;
    }
    memcpy(node->incarnation, broker->incarnation, sizeof(none));
}

static void inside_start(void *context)
{
    struct node *node = context;
    struct errmsg msg = {""};
    struct node_life *life = mem_alloc(sizeof(*life));
    struct broker *broker = &life->broker;
    node->life = life;
    life->node = node;
    options_init(&life->options);
    configure(&life->options, node);
    broker->host = &HOST;
    broker->options = &life->options;
    broker->shard_count = node->shard_count;
    broker->started_us = env_now_us(sim_process_env(node->process, 0));
    enum err err = broker_open(broker, &msg);
    note_incarnation(node, broker);
    for (unsigned i = 0; err == OK && i < node->shard_count; i++) {
        err = shard_open(&broker->shards[i], broker, i, sim_process_env(node->process, i), &msg);
    }
    if (err == ERR_DAMAGED) {
        drop_identity(node, broker);
    }
    if (err != OK) {
        process_stop("cannot start: %s", msg.text);
    }
    broker_opened(broker);
}

static void begin_life(struct node *node)
{
    assert(node->process == NULL);
    node->process = sim_process_open(node->world, node->disk, node->name);
    sim_process_set_drift(node->process, (int32_t)sim_world_below(node->world, 2 * DRIFT_PPM_MAX + 1) - DRIFT_PPM_MAX);
    node->request_memory_max = (int64_t)NODE_REQUEST_SIZE_MAX << (sim_world_below(node->world, 2) == 0 ? 0 : 5);
    node->closed_shards = 0;
    node->lives++;
    node->started_us = sim_world_now_us(node->world);
    node->is_paused = false;
    (void)sim_process_run(node->process, inside_start, node);
}

static void bury(struct node *node)
{
    sim_process_close(node->process);
    node->process = NULL;
    node->life = NULL;
    node->is_paused = false;
}

void node_start(struct node *node)
{
    node->is_dropped = false;
    begin_life(node);
    if (node->is_dropped) {
        bury(node);
        begin_life(node);
    }
}

void node_kill(struct node *node)
{
    if (node->process != NULL) {
        sim_process_kill(node->process);
        bury(node);
    }
}

void node_power_loss(struct node *node)
{
    sim_disk_power_loss(node->disk);
    if (node->process != NULL) {
        bury(node);
    }
}

void node_wipe(struct node *node)
{
    node_kill(node);
    sim_disk_close(node->disk);
    node->disk = sim_disk_open(node->world, node->mount);
    memset(node->incarnation, 0, sizeof(node->incarnation));
}

static void inside_stop(void *context)
{
    struct node *node = context;
    broker_stop(&node->life->broker);
}

void node_stop(struct node *node)
{
    if (node_is_running(node)) {
        (void)sim_process_run(node->process, inside_stop, node);
    }
}

void node_pause(struct node *node)
{
    if (node->process != NULL && !node->is_paused) {
        node->is_paused = true;
        sim_process_pause(node->process);
    }
}

void node_resume(struct node *node)
{
    if (node->process != NULL && node->is_paused) {
        node->is_paused = false;
        sim_process_resume(node->process);
    }
}

bool node_take_dropped(struct node *node)
{
    bool has_dropped = node->has_dropped;
    node->has_dropped = false;
    return has_dropped;
}

bool node_is_running(const struct node *node)
{
    return node->process != NULL && sim_process_end(node->process) == SIM_ALIVE;
}

static void note_target(void *context, const struct catchup_progress *progress)
{
    bool *is_catching_up = context;
    *is_catching_up = *is_catching_up || !progress->is_source;
}

bool node_is_catching_up(const struct node *node)
{
    bool is_catching_up = false;
    if (!node_is_running(node) || node->closed_shards > 0) {
        return false;
    }
    const struct broker *broker = node_broker(node);
    for (unsigned i = 0; i < broker->shard_count; i++) {
        if (broker->shards[i].catchups != NULL) {
            catchups_each(broker->shards[i].catchups, &is_catching_up, note_target);
        }
    }
    return is_catching_up;
}

const struct broker *node_broker(const struct node *node)
{
    return &node->life->broker;
}

static void inside_finish(void *context)
{
    struct node *node = context;
    struct node_life *life = node->life;
    broker_close(&life->broker);
    options_deinit(&life->options);
    mem_free(life);
}

bool node_reap(struct node *node, char cause[ERRMSG_SIZE])
{
    cause[0] = '\0';
    if (node->process == NULL) {
        return false;
    }
    if (sim_process_end(node->process) == SIM_ALIVE) {
        if (node->closed_shards < node->shard_count) {
            return false;
        }
        (void)sim_process_run(node->process, inside_finish, node);
    }
    if (sim_process_end(node->process) == SIM_CRASHED) {
        sim_disk_power_loss(node->disk);
    } else if (sim_process_end(node->process) != SIM_ALIVE) {
        (void)snprintf(cause, ERRMSG_SIZE, "%s", sim_process_end_text(node->process));
    }
    bury(node);
    return true;
}
