/* A life: open() -> start() -> load -> death, or stop() -> all shards closed -> finish(). */
#include "tests/lib/power_node.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"

enum {
    FIRST_GROUP = 2,
    PATHS_MAX = 256,
    PATH_MAX_SIZE = 128
};

static const struct partition_config CONFIG = {
    .log = {.segment_size_max = KIB(16), .segment_ms = INT64_C(3600000), .index_interval = 1024},
    .max_message_bytes = MIB(1),
    .timestamp_before_max_ms = INT64_MAX,
    .timestamp_after_max_ms = INT64_MAX,
    .retention_ms = -1,
    .retention_bytes = -1,
    .producer_expiration_ms = INT64_C(86400000),
};

void power_node_init(struct power_node *node, struct sim_world *world, struct sim_disk *disk)
{
    *node = (struct power_node){.world = world, .disk = disk};
    for (unsigned i = 0; i < POWER_SLOTS; i++) {
        node->slots[i].group = FIRST_GROUP + i;
    }
}

static struct replicas *replicas_of(const struct power_node *node, uint64_t group)
{
    return node->shards[replicas_shard(group, node->shard_count)].replicas;
}

static void die_of(struct power_node *node, const char *what, const struct errmsg *msg)
{
    (void)snprintf(node->failure, sizeof(node->failure), "%s: %s", what, msg->text);
    process_stop("%s: %s", what, msg->text);
}

/* ---- What replicas call */

static enum err machine_open(void *owner, enum group_type type, uint64_t group, struct bytes description,
                             struct bytes state, struct replica_machine **machine, struct errmsg *msg)
{
    struct power_shard *shard = owner;
    struct power_node *node = shard->node;
    struct power_slot *slot = &node->slots[(group - FIRST_GROUP) % POWER_SLOTS];
    struct partition_name name;
    assert(type == GROUP_PARTITION);
    if (slot->group != group) {
        (void)snprintf(node->failure, sizeof(node->failure), "group %llu is there, group %llu is expected",
                       (unsigned long long)group, (unsigned long long)slot->group);
    }
    enum err err = partition_description_decode(description, &name);
    if (err == OK) {
        err =
            partition_open(shard->env, shard->files, "/n1/topics", group, &name, &CONFIG, state, &slot->partition, msg);
    }
    if (err != OK) {
        slot->partition = NULL;
        (void)snprintf(node->failure, sizeof(node->failure), "group %llu: %s", (unsigned long long)group, msg->text);
        return err;
    }
    *machine = partition_machine(slot->partition);
    return OK;
}

static void damaged(void *owner, uint64_t group)
{
    struct power_node *node = ((struct power_shard *)owner)->node;
    node->slots[(group - FIRST_GROUP) % POWER_SLOTS].partition = NULL;
    (void)snprintf(node->failure, sizeof(node->failure), "group %llu damaged while running", (unsigned long long)group);
}

/* ---- Layouts */

struct paths {
    char text[PATHS_MAX][PATH_MAX_SIZE];
    bool is_directory[PATHS_MAX];
    unsigned count;
    const char *dir;
};

static void paths_add(const char *name, uint64_t size, bool is_directory, void *context)
{
    struct paths *paths = context;
    (void)size;
    assert(paths->count < PATHS_MAX);
    (void)snprintf(paths->text[paths->count], PATH_MAX_SIZE, "%s/%s", paths->dir, name);
    paths->is_directory[paths->count++] = is_directory;
}

/* As process_remove_tree(): nothing is synced. */
static void remove_layout(struct power_node *node, unsigned layout)
{
    struct disk *disk = sim_process_env(node->process, 0)->disk;
    char dir[PATH_MAX_SIZE];
    (void)snprintf(dir, sizeof(dir), "/n1/wal/%u", layout);
    struct paths *shards = mem_alloc(sizeof(*shards));
    shards->dir = dir;
    enum err err = disk->list(disk, dir, paths_add, shards);
    for (unsigned i = 0; err == OK && i < shards->count; i++) {
        struct paths *files = mem_alloc(sizeof(*files));
        files->dir = shards->text[i];
        err = disk->list(disk, files->dir, paths_add, files);
        for (unsigned k = 0; err == OK && k < files->count; k++) {
            err = disk->unlink(disk, files->text[k]);
        }
        mem_free(files);
        err = err == OK ? disk->unlink(disk, shards->text[i]) : err;
    }
    mem_free(shards);
    err = err == OK ? disk->unlink(disk, dir) : err;
    if (err != OK && err != ERR_NOT_FOUND) {
        process_stop("%s cannot be removed: %s", dir, err_text(err));
    }
}

static void layout_ready(void *owner)
{
    struct power_node *node = ((struct power_shard *)owner)->node;
    struct errmsg msg = {""};
    if (++node->layouts_ready < node->shard_count || node->is_stopping) {
        return;
    }
    if (identity_put_layout(node->local, node->layout, node->shard_count, &msg) != OK) {
        die_of(node, "layout", &msg);
    }
    node->layouts_changed++;
    remove_layout(node, node->identity.layout);
    for (unsigned i = 0; i < node->shard_count; i++) {
        replicas_layout_committed(node->shards[i].replicas);
    }
}

/* ---- Groups */

struct creation {
    struct replica_create create;
    struct dynbuf description;
    struct power_node *node;
};

static void on_created(struct replica_create *req, enum err err)
{
    struct creation *creation = container_of(req, struct creation, create);
    struct power_node *node = creation->node;
    node->slots[(req->group - FIRST_GROUP) % POWER_SLOTS].is_busy = false;
    if (err != OK && err != ERR_CANCELED) {
        (void)snprintf(node->failure, sizeof(node->failure), "create: %s: %s", err_text(err), req->msg.text);
    }
    dynbuf_deinit(&creation->description);
    mem_free(creation);
}

static void group_create(struct power_node *node, unsigned number)
{
    struct power_slot *slot = &node->slots[number];
    struct partition_name name = {bytes_from_text("power"), (int32_t)number, {{1}}};
    struct creation *creation = mem_alloc(sizeof(*creation));
    creation->node = node;
    dynbuf_init(&creation->description, KIB(1));
    partition_description_encode(&name, &creation->description);
    creation->create = (struct replica_create){.type = GROUP_PARTITION,
                                               .group = slot->group,
                                               .description = dynbuf_bytes(&creation->description),
                                               .term = 1,
                                               .cb = on_created};
    creation->create.membership.count = 1;
    creation->create.membership.servers[0] = (struct replica_server){node->identity.server_id, true};
    slot->is_busy = true;
    replicas_create(replicas_of(node, slot->group), &creation->create);
}

struct removal {
    struct replica_remove remove;
    struct power_node *node;
};

static void slot_gone(struct power_node *node, unsigned number)
{
    struct power_slot *slot = &node->slots[number];
    *slot = (struct power_slot){.group = slot->group + POWER_SLOTS};
    node->removed++;
    node->on_gone(number);
}

static void on_removed(struct replica_remove *req, enum err err)
{
    struct removal *removal = container_of(req, struct removal, remove);
    struct power_node *node = removal->node;
    unsigned number = (unsigned)((req->group - FIRST_GROUP) % POWER_SLOTS);
    if (err == OK) {
        slot_gone(node, number);
    } else if (err != ERR_CANCELED) {
        (void)snprintf(node->failure, sizeof(node->failure), "remove: %s", err_text(err));
    }
    mem_free(removal);
}

void power_node_remove(struct power_node *node, unsigned number)
{
    struct power_slot *slot = &node->slots[number];
    assert(!slot->is_busy && slot->partition != NULL);
    slot->partition = NULL;
    slot->is_leaving = true;
    slot->is_busy = true;
    struct removal *removal = mem_alloc(sizeof(*removal));
    removal->node = node;
    removal->remove = (struct replica_remove){.group = slot->group, .is_deleted = true, .cb = on_removed};
    replicas_remove(replicas_of(node, slot->group), &removal->remove);
}

void power_node_fill(void *context)
{
    struct power_node *node = context;
    for (unsigned i = 0; i < POWER_SLOTS; i++) {
        struct power_slot *slot = &node->slots[i];
        if (slot->is_busy || replicas_is_damaged(replicas_of(node, slot->group), slot->group)) {
            continue;
        }
        if (slot->is_leaving && slot->partition != NULL) {
            power_node_remove(node, i);
        } else if (slot->is_leaving) {
            slot_gone(node, i); /* it was out of the local store when the life before ended */
        } else if (slot->partition == NULL) {
            group_create(node, i);
        }
    }
}

/* ---- Lives */

void power_node_open(struct power_node *node, unsigned shard_count)
{
    assert(shard_count > 0 && shard_count <= POWER_SHARDS_MAX);
    memset(node->shards, 0, sizeof(node->shards));
    node->local = NULL;
    node->shard_count = shard_count;
    node->layouts_ready = 0;
    node->closed = 0;
    node->is_started = false;
    node->is_stopping = false;
    node->failure[0] = '\0';
    for (unsigned i = 0; i < POWER_SLOTS; i++) {
        node->slots[i].partition = NULL;
        node->slots[i].is_busy = false;
    }
    node->process = sim_process_open(node->world, node->disk, "n1");
}

static enum err shard_open(struct power_node *node, unsigned number, struct errmsg *msg)
{
    struct power_shard *shard = &node->shards[number];
    shard->node = node;
    shard->env = sim_process_env(node->process, number);
    shard->files = log_files_open(shard->env, 8);
    struct replicas_params params = {
        .env = shard->env,
        .local = node->local,
        .dir = "/n1",
        .shard_count = node->shard_count,
        .layout = node->layout,
        .old_layout = node->identity.layout,
        .old_shard_count = node->identity.shard_count,
        .is_first_start = node->identity.shard_count == 0,
        .server_id = node->identity.server_id,
        .heartbeat_ms = 400,
        .election_ms = 2000,
        .wal = {.file_size = KIB(256), .file_size_first = KIB(128), .file_count_max = 8, .checkpoint_size = KIB(256)},
        .checkpoint_interval_ms = 50,
        .owner = shard,
        .layout_ready = layout_ready,
        .damaged = damaged,
        .machine_open = machine_open,
    };
    return replicas_open(&params, &shard->replicas, msg);
}

void power_node_start(void *context)
{
    struct power_node *node = context;
    struct errmsg msg = {""};
    if (kv_open("/n1/local", MIB(64), KV_DURABLE, &node->local, &msg) != OK) {
        die_of(node, "local store", &msg);
    }
    if (identity_open(node->local, 1, &node->identity, &msg) != OK) {
        die_of(node, "identity", &msg);
    }
    node->layout = node->identity.layout;
    if (node->identity.shard_count != 0 && node->identity.shard_count != node->shard_count) {
        node->layout++;
    }
    if (node->identity.shard_count != node->shard_count) {
        remove_layout(node, node->layout);
    }
    struct disk *disk = sim_process_env(node->process, 0)->disk;
    if (disk->mkdir(disk, "/n1/topics") != OK || disk->sync_dir(disk, "/n1") != OK) {
        die_of(node, "topics", &msg);
    }
    for (unsigned i = 0; i < node->shard_count; i++) {
        if (shard_open(node, i, &msg) != OK) {
            die_of(node, "shard", &msg);
        }
    }
    if (node->identity.shard_count == 0 &&
        identity_put_layout(node->local, node->layout, node->shard_count, &msg) != OK) {
        die_of(node, "layout", &msg);
    }
    node->is_started = true;
    power_node_fill(node);
}

static void on_closed(void *owner)
{
    struct power_shard *shard = owner;
    shard->replicas = NULL;
    shard->node->closed++;
}

void power_node_stop(void *context)
{
    struct power_node *node = context;
    node->is_stopping = true;
    for (unsigned i = 0; i < node->shard_count; i++) {
        replicas_close(node->shards[i].replicas, on_closed);
    }
}

void power_node_finish(void *context)
{
    struct power_node *node = context;
    assert(node->closed == node->shard_count);
    for (unsigned i = 0; i < node->shard_count; i++) {
        log_files_close(node->shards[i].files);
    }
    kv_close(node->local);
}
