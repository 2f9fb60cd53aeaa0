/*            interval, or topics deleted            end of table 'O'            end of table 'G'
 *   RESTING ------------------------> OFFSETS ------------------> GROUPS ------------------> RESTING
 *                                      |  ^                        |  ^
 *                                      v  | removed                v  | removed
 *                                  offsets_remove()            offsets_remove()
 *
 * A slice ends after so many pairs, or when there is enough to remove; the next one goes on behind it. What a slice
 * found is checked by apply against what came in between. Whoever is not the coordinator (any more) rests.
 * Failure mode: what cannot be read, of an offset, its group or its topic, is no reason to remove anything and none to
 * end the walk: it is passed over, counted, and told. */

#include "broker/offsets_expiry.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/coordinator.h"
#include "metadata/offsets.h"
#include "metadata/store_groups.h"
#include <string.h>

#define SLICE_OFFSET_COUNT 1000
#define SLICE_GROUP_COUNT 100
#define SLICE_PAUSE_US 1000
#define GROUP_ARENA_SIZE (8 * ENTRY_SIZE_MAX) /* a group decoded: it came in one entry */

enum expiry_phase {
    EXPIRY_RESTING,
    EXPIRY_OFFSETS,
    EXPIRY_GROUPS
};

/* What a slice knows of the group and the topic of the offset before; nothing of what could not be read. */
struct expiry_known {
    uint64_t number;
    bool has_group; /* `number` and what follows are set */
    bool is_group_there;
    bool has_members;
    int64_t changed_ms; /* 0: it never had members */
    struct bytes id;
    struct uuid topic;
    bool has_topic; /* `topic` and what follows are set */
    bool is_topic_there;
    bool is_subscribed; /* by this group */
    struct arena arena; /* id, and the topic's name */
};

struct offsets_expiry {
    struct shard *shard;
    struct timer timer;
    enum expiry_phase phase;
    bool is_hurried; /* another walk begins soon after this one */
    bool is_removing;
    bool is_stopping;
    struct store_offset_place place; /* EXPIRY_OFFSETS: where the next slice begins */
    uint8_t last[GROUP_ID_SIZE_MAX]; /* EXPIRY_GROUPS: behind this id */
    size_t last_size;
    bool has_last;
    /* of a slice */
    size_t seen_count;
    size_t unreadable_count; /* more, passed over */
    bool is_last;            /* the table has ended */
    int64_t now_ms;
    struct expiry_known known;
    struct offsets_removal removals[OFFSETS_REMOVED_COUNT_MAX];
    struct group_removal groups[SLICE_GROUP_COUNT];
    struct arena group_ids;
    struct offsets_remove remove;
};

static_assert(SLICE_OFFSET_COUNT <= OFFSETS_REMOVED_COUNT_MAX, "what a slice finds goes in one record");

static void rest(struct offsets_expiry *expiry)
{
    int64_t interval_us = expiry->shard->options->offsets_check_interval_ms * 1000;
    int64_t delay_us = expiry->is_hurried ? SLICE_PAUSE_US : interval_us;
    expiry->phase = EXPIRY_RESTING;
    expiry->is_hurried = false;
    if (!expiry->is_stopping) {
        env_timer(expiry->shard->env, &expiry->timer, delay_us);
    }
}

/* Not the coordinator, or something has failed: that is for the next interval. */
static void give_up(struct offsets_expiry *expiry)
{
    expiry->is_hurried = false;
    rest(expiry);
}

static void go_on(struct offsets_expiry *expiry)
{
    if (expiry->phase == EXPIRY_RESTING) {
        rest(expiry);
    } else if (!expiry->is_stopping) {
        env_timer(expiry->shard->env, &expiry->timer, SLICE_PAUSE_US);
    }
}

static void expiry_on_removed(struct offsets_remove *remove)
{
    struct offsets_expiry *expiry = container_of(remove, struct offsets_expiry, remove);
    expiry->is_removing = false;
    if (remove->error != KAFKA_NONE) {
        metrics_add(expiry->shard->metrics, METRIC_OFFSETS_EXPIRY_RETRIES, 1);
        give_up(expiry);
        return;
    }
    metrics_add(expiry->shard->metrics, METRIC_OFFSETS_EXPIRED, (int64_t)remove->count);
    store_reader_refresh(expiry->shard->reader);
    for (size_t i = 0; i < remove->group_count; i++) {
        uint64_t number;
        if (store_consumer_group_number(expiry->shard->reader, remove->groups[i].group, &number) == ERR_NOT_FOUND) {
            coordinator_forget(expiry->shard->coordinator, remove->groups[i].group);
        }
    }
    go_on(expiry);
}

static void tell_unreadable(struct offsets_expiry *expiry, const char *event)
{
    if (expiry->unreadable_count > 0) {
        metrics_add(expiry->shard->metrics, METRIC_OFFSETS_UNREADABLE, (int64_t)expiry->unreadable_count);
        trace(ERROR, METADATA, event, KV("count", (int64_t)expiry->unreadable_count));
    }
}

static void remove_found(struct offsets_expiry *expiry)
{
    if (expiry->remove.count + expiry->remove.group_count == 0) {
        go_on(expiry);
        return;
    }
    trace(INFO, METADATA, "offsets removed: expired, or of what is gone", KV("offsets", (int64_t)expiry->remove.count),
          KV("groups", (int64_t)expiry->remove.group_count));
    expiry->is_removing = true;
    expiry->remove.cb = expiry_on_removed;
    offsets_remove(expiry->shard->offsets, &expiry->remove);
}

/* ---- Offsets ---- */

static bool look_at_group(struct offsets_expiry *expiry, uint64_t number)
{
    struct expiry_known *known = &expiry->known;
    Balsa__Record__GroupValue *group;
    struct bytes id;
    arena_reset(&known->arena);
    known->number = number;
    known->has_group = false;
    known->has_topic = false;
    known->is_group_there = false;
    enum err err = store_consumer_group_id(expiry->shard->reader, number, &id);
    if (err == ERR_NOT_FOUND) {
        known->has_group = true;
        return true;
    }
    err = err == OK ? store_consumer_group(expiry->shard->reader, &known->arena, id, &number, &group) : err;
    if (err != OK) {
        return false;
    }
    known->has_group = true;
    known->is_group_there = true;
    known->id = (struct bytes){group->group.data, group->group.len};
    known->has_members = group->n_members > 0 || !coordinator_group_is_empty(expiry->shard->coordinator, known->id);
    known->changed_ms = group->protocol_type.len > 0 ? group->changed_ms : 0;
    return true;
}

static bool look_at_topic(struct offsets_expiry *expiry, const struct uuid *topic)
{
    struct expiry_known *known = &expiry->known;
    struct bytes name;
    enum err err = store_topic_name(expiry->shard->reader, &known->arena, topic, &name);
    known->topic = *topic;
    known->has_topic = err == OK || err == ERR_NOT_FOUND;
    known->is_topic_there = err == OK;
    known->is_subscribed = err == OK && known->is_group_there && known->has_members &&
                           coordinator_subscribes(expiry->shard->coordinator, known->id, name);
    return known->has_topic;
}

static bool is_expired(const struct offsets_expiry *expiry, const struct store_offset *offset)
{
    const struct expiry_known *known = &expiry->known;
    if (!known->is_group_there || !known->is_topic_there) {
        return true;
    }
    if (known->has_members && known->is_subscribed) {
        return false;
    }
    if (offset->expire_ms != 0) {
        return expiry->now_ms >= offset->expire_ms;
    }
    bool is_left = !known->has_members && known->changed_ms > offset->commit_ms;
    int64_t since_ms = is_left ? known->changed_ms : offset->commit_ms;
    return expiry->now_ms - since_ms >= expiry->shard->options->offsets_retention_ms;
}

static bool expiry_on_offset(void *context, const struct store_offset_place *place, const struct store_offset *offset)
{
    struct offsets_expiry *expiry = context;
    struct expiry_known *known = &expiry->known;
    if (expiry->seen_count + expiry->unreadable_count >= SLICE_OFFSET_COUNT) {
        expiry->place = *place;
        expiry->is_last = false;
        return false;
    }
    bool is_readable = (known->has_group && known->number == place->group) || look_at_group(expiry, place->group);
    if (is_readable && (!known->has_topic || !uuid_equal(&known->topic, &place->topic))) {
        is_readable = look_at_topic(expiry, &place->topic);
    }
    if (!is_readable) {
        expiry->unreadable_count++;
        return true;
    }
    expiry->seen_count++;
    if (is_expired(expiry, offset)) {
        expiry->removals[expiry->remove.count++] =
            (struct offsets_removal){place->group, place->topic, place->partition, offset->commit_ms};
    }
    return true;
}

static void walk_offsets(struct offsets_expiry *expiry)
{
    expiry->known.has_group = false;
    expiry->known.has_topic = false;
    enum err err =
        store_offsets_walk(expiry->shard->reader, &expiry->place, &expiry->unreadable_count, expiry, expiry_on_offset);
    arena_reset(&expiry->known.arena);
    tell_unreadable(expiry, "offsets that cannot be read are passed over");
    if (err != OK) {
        trace(ERROR, METADATA, "offsets cannot be read", KV("cause", err_text(err)));
        give_up(expiry);
        return;
    }
    if (expiry->is_last) {
        expiry->phase = EXPIRY_GROUPS;
        expiry->has_last = false;
    }
    remove_found(expiry);
}

/* ---- Groups ---- */

static bool stop_at_first(void *context, const struct uuid *topic, int32_t partition, const struct store_offset *offset)
{
    bool *has = context;
    (void)topic;
    (void)partition;
    (void)offset;
    *has = true;
    return false;
}

static bool is_unused(struct offsets_expiry *expiry, uint64_t number, const Balsa__Record__GroupValue *group)
{
    struct bytes id = {group->group.data, group->group.len};
    bool has_offsets = false;
    return group->n_members == 0 && coordinator_group_is_empty(expiry->shard->coordinator, id) &&
           store_offsets_each(expiry->shard->reader, number, &has_offsets, stop_at_first) == OK && !has_offsets;
}

static bool expiry_on_group(void *context, uint64_t number, const Balsa__Record__GroupValue *group)
{
    struct offsets_expiry *expiry = context;
    struct bytes id = {group->group.data, group->group.len};
    bool is_seen = expiry->has_last && bytes_equal(id, (struct bytes){expiry->last, expiry->last_size});
    if (!is_seen && is_unused(expiry, number, group)) {
        expiry->groups[expiry->remove.group_count++] = (struct group_removal){arena_copy(&expiry->group_ids, id), true};
    }
    if (id.size > 0) {
        memcpy(expiry->last, id.data, id.size);
    }
    expiry->last_size = id.size;
    expiry->has_last = true;
    arena_reset(&expiry->known.arena);
    expiry->is_last = ++expiry->seen_count + expiry->unreadable_count < SLICE_GROUP_COUNT;
    return expiry->is_last;
}

static void walk_groups(struct offsets_expiry *expiry)
{
    struct bytes from = {expiry->last, expiry->has_last ? expiry->last_size : 0};
    arena_reset(&expiry->group_ids);
    enum err err = store_consumer_groups_each(expiry->shard->reader, &expiry->known.arena, from,
                                              &expiry->unreadable_count, expiry, expiry_on_group);
    arena_reset(&expiry->known.arena);
    tell_unreadable(expiry, "groups that cannot be read are passed over");
    if (err != OK) {
        trace(ERROR, METADATA, "groups cannot be read", KV("cause", err_text(err)));
        give_up(expiry);
        return;
    }
    if (expiry->is_last) {
        expiry->phase = EXPIRY_RESTING;
    }
    remove_found(expiry);
}

/* ---- Slices ---- */

static void expiry_on_timer(struct timer *timer)
{
    struct offsets_expiry *expiry = container_of(timer, struct offsets_expiry, timer);
    if (coordinator_check(expiry->shard->coordinator) != KAFKA_NONE) {
        give_up(expiry);
        return;
    }
    expiry->seen_count = 0;
    expiry->unreadable_count = 0;
    expiry->is_last = true;
    expiry->now_ms = env_wall_ms(expiry->shard->env);
    expiry->remove = (struct offsets_remove){.removals = expiry->removals, .groups = expiry->groups};
    if (expiry->phase == EXPIRY_RESTING) {
        expiry->phase = EXPIRY_OFFSETS;
        expiry->place = (struct store_offset_place){0};
    }
    if (expiry->phase == EXPIRY_OFFSETS) {
        walk_offsets(expiry);
    } else {
        walk_groups(expiry);
    }
}

struct offsets_expiry *offsets_expiry_open(struct shard *shard)
{
    struct offsets_expiry *expiry = mem_alloc(sizeof(*expiry));
    expiry->shard = shard;
    timer_init(&expiry->timer, expiry_on_timer);
    arena_init(&expiry->known.arena, GROUP_ARENA_SIZE);
    arena_init(&expiry->group_ids, MIB(1));
    rest(expiry);
    return expiry;
}

void offsets_expiry_stop(struct offsets_expiry *expiry)
{
    expiry->is_stopping = true;
    env_timer_cancel(expiry->shard->env, &expiry->timer);
}

void offsets_expiry_close(struct offsets_expiry *expiry)
{
    assert(!expiry->is_removing);
    env_timer_cancel(expiry->shard->env, &expiry->timer);
    arena_deinit(&expiry->known.arena);
    arena_deinit(&expiry->group_ids);
    mem_free(expiry);
}

void offsets_expiry_hurry(struct offsets_expiry *expiry)
{
    if (expiry->is_stopping || coordinator_check(expiry->shard->coordinator) != KAFKA_NONE) {
        return;
    }
    if (expiry->phase == EXPIRY_RESTING && !expiry->is_removing) {
        env_timer(expiry->shard->env, &expiry->timer, SLICE_PAUSE_US);
    } else {
        expiry->is_hurried = true;
    }
}
