/* Groups in memory. A step of a group ends in hosted_settle(): answers go out, the state is stored if it must be (one
 * record at a time a group), the timer is set to what the group waits for, and a group without anybody is forgotten. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/coordinator_internal.h"
#include "metadata/store_groups.h"
#include <string.h>

#define STORE_RETRY_US (250 * 1000)
#define SAVE_SIZE_MAX MIB(32) /* pointers beside what a group holds */

/* A record of a group on its way. */
struct group_store {
    struct metadata_propose propose;
    struct hosted_group *hosted; /* NULL: forgotten meanwhile */
    uint64_t version;
};

static void hosted_on_timer(struct timer *timer);

/* ---- Finding, making, forgetting ---- */

struct hosted_group *hosted_find(const struct coordinator *coordinator, struct bytes id)
{
    struct hosted_group *hosted = map_get(&coordinator->map, bytes_hash(id, coordinator->seed));
    while (hosted != NULL && !bytes_equal(hosted->id, id)) {
        hosted = hosted->next;
    }
    return hosted;
}

static struct hosted_group *hosted_make(struct coordinator *coordinator, struct bytes id)
{
    struct hosted_group *hosted = mem_alloc(sizeof(*hosted) + id.size);
    uint8_t *copy = (uint8_t *)(hosted + 1);
    memcpy(copy, id.data, id.size); /* an id is never empty */
    hosted->coordinator = coordinator;
    hosted->id = (struct bytes){copy, id.size};
    hosted->hash = bytes_hash(id, coordinator->seed);
    hosted->next = map_get(&coordinator->map, hosted->hash);
    group_init(&hosted->group, &coordinator->limits);
    timer_init(&hosted->timer, hosted_on_timer);
    map_put(&coordinator->map, hosted->hash, hosted);
    list_init(&hosted->link);
    list_push(&coordinator->groups, &hosted->link);
    coordinator->count++;
    metrics_add(coordinator->shard->metrics, METRIC_GROUPS, 1);
    return hosted;
}

static void unhash(struct hosted_group *hosted)
{
    struct map *map = &hosted->coordinator->map;
    struct hosted_group *first = map_get(map, hosted->hash);
    if (first != hosted) {
        while (first->next != hosted) {
            first = first->next;
        }
        first->next = hosted->next;
    } else if (hosted->next != NULL) {
        map_put(map, hosted->hash, hosted->next);
    } else {
        (void)map_remove(map, hosted->hash);
    }
}

/* Nobody waits. */
static void hosted_free(struct hosted_group *hosted)
{
    struct coordinator *coordinator = hosted->coordinator;
    env_timer_cancel(coordinator->shard->env, &hosted->timer);
    if (hosted->store != NULL) {
        hosted->store->hosted = NULL;
    }
    unhash(hosted);
    list_remove(&hosted->link);
    coordinator->count--;
    coordinator->size -= hosted->counted;
    metrics_add(coordinator->shard->metrics, METRIC_GROUPS, -1);
    group_deinit(&hosted->group);
    mem_free(hosted);
}

static void answer_all(struct hosted_group *hosted, struct list *answered)
{
    struct list *link;
    while ((link = list_pop(answered)) != NULL) {
        struct group_wait *wait = container_of(link, struct group_wait, link);
        coordinator_answer_wait(container_of(wait, struct group_call, wait), hosted);
    }
}

void hosted_drop(struct hosted_group *hosted, enum kafka_error error)
{
    struct list answered;
    list_init(&answered);
    group_dismiss(&hosted->group, error, &answered);
    answer_all(hosted, &answered);
    hosted_free(hosted);
}

enum err hosted_load(struct coordinator *coordinator, struct bytes id, const Balsa__Record__GroupValue *value)
{
    struct hosted_group *hosted = hosted_make(coordinator, id);
    struct list answered;
    list_init(&answered);
    enum err err = group_restore(&hosted->group, env_now_us(coordinator->shard->env), value);
    hosted->told_generation = hosted->group.generation;
    if (err != OK) {
        hosted_free(hosted);
        return err;
    }
    hosted_settle(hosted, &answered);
    return OK;
}

struct hosted_group *hosted_get(struct coordinator *coordinator, struct bytes id)
{
    struct hosted_group *hosted = hosted_find(coordinator, id);
    if (hosted != NULL) {
        return hosted;
    }
    if (coordinator->count >= GROUP_COUNT_MAX || coordinator->size >= GROUPS_MEMORY_MAX) {
        trace(WARN, GROUP, "no room for another group", KV("groups", coordinator->count),
              KV("bytes", coordinator->size));
        return NULL;
    }
    Balsa__Record__GroupValue *value;
    struct arena arena;
    uint64_t number;
    hosted = hosted_make(coordinator, id);
    arena_init(&arena, 2 * ENTRY_SIZE_MAX);
    store_reader_refresh(coordinator->shard->reader); /* it may have been stored, and forgotten, in this turn */
    if (store_consumer_group(coordinator->shard->reader, &arena, id, &number, &value) == OK &&
        group_restore(&hosted->group, env_now_us(coordinator->shard->env), value) != OK) {
        trace(ERROR, GROUP, "a stored group makes no sense, its members have to join anew", KV("group", id));
    }
    hosted->told_generation = hosted->group.generation;
    arena_deinit(&arena);
    return hosted;
}

/* ---- Storing ---- */

static void store_on_proposed(struct metadata_propose *propose)
{
    struct group_store *store = container_of(propose, struct group_store, propose);
    struct hosted_group *hosted = store->hosted;
    bool is_ok = propose->error == KAFKA_NONE;
    uint64_t version = store->version;
    struct list answered;
    if (!is_ok) {
        trace(WARN, GROUP, "a group could not be stored", KV("error", kafka_error_name(propose->error)),
              KV("cause", propose->error_text));
    }
    mem_free(store);
    if (hosted == NULL) {
        return;
    }
    int64_t now_us = env_now_us(hosted->coordinator->shard->env);
    list_init(&answered);
    hosted->store = NULL;
    metrics_add(hosted->coordinator->shard->metrics, METRIC_GROUP_STORE_RETRIES, !is_ok);
    hosted->store_after_us = is_ok ? 0 : now_us + STORE_RETRY_US;
    group_stored(&hosted->group, now_us, version, is_ok, &answered);
    hosted_settle(hosted, &answered);
}

static void store_now(struct hosted_group *hosted)
{
    struct shard *shard = hosted->coordinator->shard;
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__GroupChanged changed = BALSA__RECORD__GROUP_CHANGED__INIT;
    Balsa__Record__GroupValue value = BALSA__RECORD__GROUP_VALUE__INIT;
    struct arena arena;
    arena_init(&arena, SAVE_SIZE_MAX);
    bool is_saved = group_save(&hosted->group, &arena, &value);
    assert(is_saved); /* its members and protocols are few */
    value.group = (ProtobufCBinaryData){hosted->id.size, (uint8_t *)(uintptr_t)hosted->id.data};
    value.changed_ms = env_wall_ms(shard->env);
    changed.value = &value;
    record.kind_case = BALSA__RECORD__RECORD__KIND_GROUP_CHANGED;
    record.group_changed = &changed;
    struct group_store *store = mem_alloc(sizeof(*store));
    store->hosted = hosted;
    store->version = hosted->group.version;
    store->propose.cb = store_on_proposed;
    hosted->store = store;
    metadata_propose(shard->metadata, &record, &store->propose);
    arena_deinit(&arena);
}

/* ---- After a step ---- */

static void tell_generation(struct hosted_group *hosted)
{
    const struct group *group = &hosted->group;
    if (group->generation == hosted->told_generation) {
        return;
    }
    hosted->told_generation = group->generation;
    metrics_add(hosted->coordinator->shard->metrics, METRIC_GROUP_REBALANCES, 1);
    trace(INFO, GROUP, "group has a new generation", KV("group", hosted->id), KV("generation", group->generation),
          KV("members", group->member_count), KV("protocol", group->protocol));
}

static void count_size(struct hosted_group *hosted)
{
    struct coordinator *coordinator = hosted->coordinator;
    size_t size = hosted->group.size + hosted->group.assigned_size;
    coordinator->size += size;
    coordinator->size -= hosted->counted;
    hosted->counted = size;
}

static void set_timer(struct hosted_group *hosted, int64_t now_us)
{
    struct env *env = hosted->coordinator->shard->env;
    const struct group *group = &hosted->group;
    int64_t due_us = group_due_us(group);
    if (hosted->store == NULL && group->version > group->stored_version && hosted->store_after_us < due_us) {
        due_us = hosted->store_after_us;
    }
    if (due_us == GROUP_NEVER) {
        env_timer_cancel(env, &hosted->timer);
    } else {
        env_timer(env, &hosted->timer, due_us > now_us ? due_us - now_us : 0);
    }
}

void hosted_settle(struct hosted_group *hosted, struct list *answered)
{
    struct coordinator *coordinator = hosted->coordinator;
    const struct group *group = &hosted->group;
    int64_t now_us = env_now_us(coordinator->shard->env);
    answer_all(hosted, answered);
    tell_generation(hosted);
    count_size(hosted);
    if (group_is_dormant(group) && hosted->store == NULL) {
        hosted_free(hosted);
        return;
    }
    bool must_store = group->version > group->stored_version && hosted->store == NULL;
    if (must_store && now_us >= hosted->store_after_us && coordinator->shard->metadata != NULL) {
        store_now(hosted);
    }
    set_timer(hosted, now_us);
}

static void hosted_on_timer(struct timer *timer)
{
    struct hosted_group *hosted = container_of(timer, struct hosted_group, timer);
    struct list answered;
    list_init(&answered);
    size_t before = hosted->group.member_count; /* time makes none */
    group_time(&hosted->group, env_now_us(hosted->coordinator->shard->env), &answered);
    metrics_add(hosted->coordinator->shard->metrics, METRIC_GROUP_MEMBERS_EXPIRED,
                (int64_t)(before - hosted->group.member_count));
    hosted_settle(hosted, &answered);
}

void coordinator_withdraw(struct coordinator *coordinator, struct group_call *call)
{
    struct hosted_group *hosted = call->hosted;
    struct list answered;
    list_init(&answered);
    group_withdraw(&hosted->group, env_now_us(coordinator->shard->env), &call->wait, &answered);
    hosted_settle(hosted, &answered);
}
