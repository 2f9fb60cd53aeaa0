/* Happy path: a topic's partitions are read from this turn's snapshot; a group of ours that is not open is created, one
 * that is open gets the topic's present configs. Creations and removals answer through replicas' callbacks; the
 * requests are freed there. A creation that fails is tried again by the next pass over everything, and so is one that
 * waits because the disk is below its reserve.
 * Races: a group is removed only when the store, read after the removal was committed, does not know it (group ids are
 *        never used again), or does not have this broker in any list of the partition, which it says only when the
 *        Raft group has no such member any more (metadata/apply_moves.c). While a creation or removal is in work
 *        nothing else is done with the group; then the store is looked at again. What the store asks for is made
 *        durable before the local store follows (replicas_params.before_change), so a power loss cannot bring back a
 *        store that knows less than the replicas do. */

#include "broker/reconciler.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/mover.h"
#include "broker/topic_defaults.h"
#include "metadata/broker_list.h"
#include "replication/catchup.h"

#define PASS_ARENA_SIZE_MAX MIB(64)
#define RETRY_US (5 * 1000 * 1000)

struct reconciler {
    struct shard *shard;
    struct map creating; /* group -> struct creation */
    struct map removing;
    struct timer retry;
    bool is_passed;   /* all topics, once this broker had joined */
    bool is_retrying; /* what could not be made waits for `retry` */
};

struct creation {
    struct replica_create create;
    struct reconciler *reconciler;
    struct dynbuf description;
};

struct removal {
    struct replica_remove remove;
    struct reconciler *reconciler;
    bool is_damaged;
};

static void reconciler_on_retry(struct timer *timer)
{
    struct reconciler *reconciler = container_of(timer, struct reconciler, retry);
    reconciler->is_retrying = false;
    reconciler_all(reconciler);
}

static void retry_later(struct reconciler *reconciler)
{
    reconciler->is_retrying = true;
    env_timer(reconciler->shard->env, &reconciler->retry, RETRY_US);
}

bool reconciler_is_settled(const struct reconciler *reconciler)
{
    return reconciler->is_passed && reconciler->creating.count == 0 && !reconciler->is_retrying;
}

struct reconciler *reconciler_open(struct shard *shard)
{
    struct reconciler *reconciler = mem_alloc(sizeof(*reconciler));
    reconciler->shard = shard;
    map_init(&reconciler->creating);
    map_init(&reconciler->removing);
    timer_init(&reconciler->retry, reconciler_on_retry);
    return reconciler;
}

void reconciler_close(struct reconciler *reconciler)
{
    assert(reconciler->creating.count == 0);
    env_timer_cancel(reconciler->shard->env, &reconciler->retry);
    map_deinit(&reconciler->creating);
    map_deinit(&reconciler->removing);
    mem_free(reconciler);
}

static void reconcile_group(struct reconciler *reconciler, uint64_t group, bool is_here);

static void on_removed(struct replica_remove *req, enum err err)
{
    struct removal *removal = container_of(req, struct removal, remove);
    struct reconciler *reconciler = removal->reconciler;
    uint64_t group = req->group;
    bool is_deleted = req->is_deleted;
    if (removal->is_damaged && err == OK && reconciler->shard->catchups != NULL) {
        catchup_bury_group(reconciler->shard->catchups, group); /* nobody else knows them, and it may come back now */
    }
    trace(DEBUG, REPLICA, "replica removed", KV("group", (int64_t)group), KV("result", err_name(err)));
    (void)map_remove(&reconciler->removing, group);
    mem_free(removal);
    if (err != ERR_DAMAGED) {
        reconcile_group(reconciler, group, !is_deleted); /* it may be wanted again, or deleted by now */
    }
}

static void remove_group(struct reconciler *reconciler, uint64_t group, bool is_deleted)
{
    if (map_get(&reconciler->removing, group) != NULL) {
        return;
    }
    struct removal *removal = mem_alloc(sizeof(*removal));
    removal->reconciler = reconciler;
    removal->is_damaged = shard_is_damaged(reconciler->shard, group);
    removal->remove = (struct replica_remove){.group = group, .is_deleted = is_deleted, .cb = on_removed};
    map_put(&reconciler->removing, group, removal);
    replicas_remove(reconciler->shard->replicas, &removal->remove);
}

static void on_created(struct replica_create *req, enum err err)
{
    struct creation *creation = container_of(req, struct creation, create);
    struct reconciler *reconciler = creation->reconciler;
    if (err != OK && err != ERR_CANCELED) {
        metrics_add(reconciler->shard->metrics, METRIC_REPLICA_RETRIES, 1);
        trace(ERROR, REPLICA, "replica not created, tried again", KV("group", (int64_t)req->group),
              KV("cause", (const char *)(req->msg.text[0] != '\0' ? req->msg.text : err_text(err))));
        retry_later(reconciler);
    }
    uint64_t group = req->group;
    (void)map_remove(&reconciler->creating, group);
    dynbuf_deinit(&creation->description);
    mem_free(creation);
    if (err == OK) {
        reconcile_group(reconciler, group, true); /* it may not be wanted any more */
    }
}

/* Whether this server is one of those that the group was made with. All others join with nothing: the leader adds
 * them. */
static bool is_founder(const struct store_partition *partition, uint64_t server)
{
    for (size_t i = 0; i < partition->server_count; i++) {
        if (partition->servers[i] == server) {
            return true;
        }
    }
    return false;
}

static void founding_membership(const struct store_partition *partition, struct membership *membership)
{
    membership->count = (unsigned)partition->server_count;
    for (size_t i = 0; i < partition->server_count; i++) {
        membership->servers[i] = (struct replica_server){partition->servers[i], true};
    }
}

static void create(struct reconciler *reconciler, const struct store_topic *topic, int32_t index,
                   const struct store_partition *partition)
{
    struct creation *creation = mem_alloc(sizeof(*creation));
    struct partition_name name = {topic->name, index, topic->id};
    creation->reconciler = reconciler;
    dynbuf_init(&creation->description, KIB(1));
    partition_description_encode(&name, &creation->description);
    creation->create = (struct replica_create){.type = GROUP_PARTITION,
                                               .group = partition->group,
                                               .description = dynbuf_bytes(&creation->description),
                                               .cb = on_created};
    if (is_founder(partition, reconciler->shard->broker->server_id)) {
        founding_membership(partition, &creation->create.membership);
        creation->create.term = partition->bootstrap_term;
    }
    map_put(&reconciler->creating, partition->group, creation);
    replicas_create(reconciler->shard->replicas, &creation->create);
}

/* Whether this broker has a replica now, gets one, or still may be a member because it was to get one. */
static bool is_assigned_here(const struct reconciler *reconciler, const struct store_partition *partition)
{
    int32_t node = reconciler->shard->options->node_id;
    return brokers_contain(partition->replicas, partition->replica_count, node) ||
           brokers_contain(partition->target, partition->target_count, node) ||
           brokers_contain(partition->leaving, partition->leaving_count, node);
}

static void reconcile_partition(struct reconciler *reconciler, struct arena *arena, const struct store_topic *topic,
                                int32_t index, const struct partition_config *config)
{
    struct shard *shard = reconciler->shard;
    struct store_partition stored;
    uint64_t group;
    if (store_partition_group(shard->reader, &topic->id, index, &group) != OK ||
        replicas_shard(group, shard_count(shard)) != shard->number ||
        store_partition(shard->reader, arena, &topic->id, index, &stored) != OK) {
        return;
    }
    bool is_ours = is_assigned_here(reconciler, &stored);
    bool is_damaged = replicas_is_damaged(shard->replicas, group);
    struct partition *open = shard_partition(shard, group);
    if (!is_ours && (open != NULL || is_damaged)) {
        remove_group(reconciler, group, false);
    } else if (is_ours && open != NULL) {
        partition_set_config(open, config);
        if (partition_machine(open)->replica != NULL && replica_is_ready_leader(partition_machine(open)->replica)) {
            mover_group(shard->mover, group);
        }
    } else if (is_ours && !is_damaged && map_get(&reconciler->creating, group) == NULL &&
               map_get(&reconciler->removing, group) == NULL) {
        if (shard->is_space_low) {
            retry_later(reconciler);
            return;
        }
        create(reconciler, topic, index, &stored);
    }
}

static void reconcile_topic(struct reconciler *reconciler, struct arena *arena, const struct store_topic *topic,
                            int32_t first, int32_t end)
{
    struct topic_config_defaults defaults =
        topic_defaults(reconciler->shard->options, reconciler->shard->reader, arena);
    struct partition_config config;
    topic_config_partition(topic, &defaults, &config);
    for (int32_t index = first; index < end && index < topic->partition_count; index++) {
        reconcile_partition(reconciler, arena, topic, index, &config);
    }
}

static void reconcile_stored(struct reconciler *reconciler, const struct uuid *id, int32_t first, int32_t end)
{
    struct arena arena;
    struct store_topic topic;
    arena_init(&arena, PASS_ARENA_SIZE_MAX);
    if (store_topic_by_id(reconciler->shard->reader, &arena, id, &topic) == OK) {
        reconcile_topic(reconciler, &arena, &topic, first, end);
    }
    arena_deinit(&arena);
}

void reconciler_topic(struct reconciler *reconciler, const struct uuid *id)
{
    reconcile_stored(reconciler, id, 0, INT32_MAX);
}

void reconciler_partition(struct reconciler *reconciler, const struct uuid *id, int32_t index)
{
    reconcile_stored(reconciler, id, index, index + 1);
}

/* After a removal or a creation: what the store says of the group by now. `is_here`: something of it is, if only what
 * is kept of one that was moved away. */
static void reconcile_group(struct reconciler *reconciler, uint64_t group, bool is_here)
{
    struct shard *shard = reconciler->shard;
    struct uuid topic;
    int32_t index;
    if (shard->is_stopping) {
        return;
    }
    enum err err = store_group(shard->reader, group, &topic, &index);
    if (err == OK) {
        reconciler_partition(reconciler, &topic, index);
    } else if (err == ERR_NOT_FOUND && is_here) {
        remove_group(reconciler, group, true);
    }
}

void reconciler_rebuild(struct reconciler *reconciler, uint64_t group)
{
    remove_group(reconciler, group, false); /* then the store says whether it is still wanted here */
}

struct pass {
    struct reconciler *reconciler;
    struct arena *arena;
    uint64_t *stale;
    size_t stale_count;
    size_t stale_capacity;
};

static bool pass_topic(void *context, const struct store_topic *topic)
{
    struct pass *pass = context;
    struct arena arena;
    arena_init(&arena, PASS_ARENA_SIZE_MAX);
    reconcile_topic(pass->reconciler, &arena, topic, 0, INT32_MAX);
    arena_deinit(&arena);
    return true;
}

static void pass_group(void *context, uint64_t group, struct replica_machine *machine)
{
    struct pass *pass = context;
    struct uuid id;
    int32_t index;
    (void)machine;
    if (group == METADATA_GROUP || store_group(pass->reconciler->shard->reader, group, &id, &index) != ERR_NOT_FOUND) {
        return;
    }
    if (pass->stale_count == pass->stale_capacity) {
        pass->stale_capacity = pass->stale_capacity > 0 ? 2 * pass->stale_capacity : 16;
        pass->stale = mem_resize(pass->stale, pass->stale_capacity * sizeof(*pass->stale));
    }
    pass->stale[pass->stale_count++] = group;
}

void reconciler_all(struct reconciler *reconciler)
{
    struct arena arena;
    struct pass pass = {.reconciler = reconciler, .arena = &arena};
    arena_init(&arena, PASS_ARENA_SIZE_MAX);
    enum err err = store_topics_each(reconciler->shard->reader, &arena, &pass, pass_topic);
    if (err != OK) {
        trace(ERROR, METADATA, "pass over all topics ended early", KV("cause", err_text(err)));
    }
    replicas_each(reconciler->shard->replicas, &pass, pass_group);
    reconciler_remove(reconciler, pass.stale, pass.stale_count);
    mem_free(pass.stale);
    arena_deinit(&arena);
}

void reconciler_joined(struct reconciler *reconciler)
{
    reconciler_all(reconciler);
    reconciler->is_passed = true;
}

void reconciler_remove(struct reconciler *reconciler, const uint64_t *groups, size_t count)
{
    struct shard *shard = reconciler->shard;
    for (size_t i = 0; i < count; i++) {
        leaders_remove(shard->leaders, groups[i]);
        if (replicas_shard(groups[i], shard_count(shard)) == shard->number) {
            remove_group(reconciler, groups[i], true);
        }
    }
}
