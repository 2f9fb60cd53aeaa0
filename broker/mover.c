/* Happy path: a group is noted; the timer, which runs while anything is noted, takes what is due, compares members and
 * wish, takes one step, and comes back to it soon; with members as wished a partition that moves is reported to the
 * controller (broker/moved.h), again from time to time until the metadata say that it has moved; then it is let go.
 * Leadership lost: the group is let go; the next leader notes it.
 * Steps are refused now and then (a change not committed yet, a leadership transfer under way): tried again. */

#include "broker/mover.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/moved.h"
#include "broker/mover_step.h"
#include <string.h>

#define TICK_US (20 * 1000)
#define TICK_GROUP_COUNT_MAX 256  /* looked at in one tick: a loop turn stays short */
#define STEP_DELAY_US (20 * 1000) /* a change takes about one round trip and one sync */
#define WAIT_DELAY_MIN_US (50 * 1000)
#define WAIT_DELAY_MAX_US (1000 * 1000)
#define OVERDUE_US (10 * 1000 * 1000)
#define REPORT_INTERVAL_US (2 * 1000 * 1000)
#define TICK_ARENA_SIZE_MAX MIB(16)

struct moving {
    uint64_t group;
    struct list link;
    int64_t due_us;
    int64_t delay_us;
    uint64_t waits_for;    /* server; and since when */
    const char *wait_text; /* what was traced last */
    int64_t waits_since_us;
    int64_t reported_us; /* 0: not yet */
    uint64_t lag;        /* entries that the slowest new member lacks */
    bool is_catching_up;
    bool waits_for_room;
};

struct mover {
    struct shard *shard;
    struct map groups; /* group -> struct moving */
    struct list list;  /* the one to look at next in front */
    struct timer timer;
    bool is_stopped;
    size_t catching_up;
};

struct known_server {
    int32_t node;
    uint64_t id;
    bool is_live;
};

/* What all groups of one tick share. */
struct tick {
    struct mover *mover;
    struct arena arena; /* of the group in work */
    struct arena brokers_arena;
    struct known_server *servers;
    size_t server_count;
    struct controller_moved_one *moved;
    size_t moved_count;
    int64_t now_us;
};

static void mover_on_timer(struct timer *timer);

struct mover *mover_open(struct shard *shard)
{
    struct mover *mover = mem_alloc(sizeof(*mover));
    mover->shard = shard;
    map_init(&mover->groups);
    list_init(&mover->list);
    timer_init(&mover->timer, mover_on_timer);
    return mover;
}

static void forget(struct mover *mover, struct moving *moving)
{
    mover->catching_up -= moving->is_catching_up;
    list_remove(&moving->link);
    (void)map_remove(&mover->groups, moving->group);
    mem_free(moving);
}

void mover_stop(struct mover *mover)
{
    mover->is_stopped = true;
    env_timer_cancel(mover->shard->env, &mover->timer);
    while (!list_is_empty(&mover->list)) {
        forget(mover, container_of(mover->list.next, struct moving, link));
    }
}

void mover_close(struct mover *mover)
{
    assert(mover->is_stopped);
    map_deinit(&mover->groups);
    mem_free(mover);
}

static void tick_at(struct mover *mover, int64_t delay_us)
{
    env_timer(mover->shard->env, &mover->timer, delay_us > TICK_US ? delay_us : TICK_US);
}

void mover_group(struct mover *mover, uint64_t group)
{
    struct moving *moving = map_get(&mover->groups, group);
    if (group == METADATA_GROUP || mover->is_stopped) {
        return; /* its members: broker/metadata_members.h */
    }
    if (moving == NULL) {
        moving = mem_alloc(sizeof(*moving));
        moving->group = group;
        list_init(&moving->link);
        list_push(&mover->list, &moving->link);
        map_put(&mover->groups, group, moving);
    }
    moving->due_us = 0;
    moving->delay_us = WAIT_DELAY_MIN_US;
    moving->reported_us = 0;
    tick_at(mover, TICK_US);
}

static void note_if_led(void *context, uint64_t group, struct replica_machine *machine)
{
    if (machine != NULL && group != METADATA_GROUP && replica_is_ready_leader(machine->replica)) {
        mover_group(context, group);
    }
}

void mover_broker(struct mover *mover, int32_t id)
{
    (void)id;
    replicas_each(mover->shard->replicas, mover, note_if_led);
}

/* ---- What is, and what is wanted ---- */

static bool collect_server(void *context, const struct store_broker *broker)
{
    struct tick *tick = context;
    const struct shard *shard = tick->mover->shard;
    if (tick->server_count == CLUSTER_BROKER_COUNT_MAX) {
        return false;
    }
    bool is_live = shard_is_linked(shard, broker->id);
    tick->servers[tick->server_count++] = (struct known_server){broker->id, broker->server_id, is_live};
    return true;
}

static const struct known_server *server_of_node(const struct tick *tick, int32_t node)
{
    for (size_t i = 0; i < tick->server_count; i++) {
        if (tick->servers[i].node == node) {
            return &tick->servers[i];
        }
    }
    return NULL;
}

static bool server_is_live(const struct tick *tick, uint64_t id)
{
    for (size_t i = 0; i < tick->server_count; i++) {
        if (tick->servers[i].id == id) {
            return tick->servers[i].is_live;
        }
    }
    return false; /* of a former life, or forgotten */
}

/* False: a wanted broker is not registered, which it must be by the rules of the metadata; nothing is done then. */
static bool make_view(const struct tick *tick, const struct replica *replica, const struct replica_status *status,
                      const struct store_partition *stored, struct mover_view *view)
{
    const struct shard *shard = tick->mover->shard;
    bool is_moving = stored->target_count > 0;
    const int32_t *wanted = is_moving ? stored->target : stored->replicas;
    *view = (struct mover_view){.now = status->membership,
                                .self = shard->broker->server_id,
                                .commit_index = status->commit_index,
                                .membership_index = status->membership_index};
    for (unsigned i = 0; i < status->membership.count; i++) {
        uint64_t id = status->membership.servers[i].id;
        view->members[i].match = replica_match_index(replica, id);
        view->members[i].is_live = server_is_live(tick, id);
    }
    view->wanted_count = (unsigned)(is_moving ? stored->target_count : stored->replica_count);
    for (unsigned i = 0; i < view->wanted_count; i++) {
        const struct known_server *server = server_of_node(tick, wanted[i]);
        if (server == NULL) {
            return false;
        }
        view->wanted[i] = server->id;
        view->is_wanted_live[i] = server->is_live;
    }
    return true;
}

/* One new member more may be given what it lacks. */
static bool has_room(const struct mover *mover)
{
    size_t room = mover->shard->options->catchups_max / shard_count(mover->shard);
    return mover->catching_up < (room > 0 ? room : 1);
}

static void set_catching_up(struct mover *mover, struct moving *moving, bool is_catching_up)
{
    mover->catching_up += is_catching_up;
    mover->catching_up -= moving->is_catching_up;
    moving->is_catching_up = is_catching_up;
}

static void note_progress(struct mover *mover, struct moving *moving, const struct mover_view *view,
                          uint64_t last_index)
{
    bool is_catching_up = mover_is_catching_up(view);
    moving->lag = 0;
    for (unsigned i = 0; i < view->now.count; i++) {
        uint64_t match = view->members[i].match;
        bool is_new = is_catching_up && !view->now.servers[i].is_voter && view->members[i].is_live;
        if (is_new && last_index > match && last_index - match > moving->lag) {
            moving->lag = last_index - match;
        }
    }
    set_catching_up(mover, moving, is_catching_up);
}

/* ---- One step ---- */

static void come_back(struct tick *tick, struct moving *moving, int64_t delay_us)
{
    struct mover *mover = tick->mover;
    moving->due_us = tick->now_us + delay_us;
    list_remove(&moving->link);
    list_push(&mover->list, &moving->link);
}

static void wait_for(struct tick *tick, struct moving *moving, const struct mover_step *step)
{
    if (moving->waits_for != step->server || moving->wait_text != step->text) {
        moving->waits_for = step->server;
        moving->wait_text = step->text;
        moving->waits_since_us = tick->now_us;
        moving->delay_us = WAIT_DELAY_MIN_US;
        trace(DEBUG, REPLICA, "members wait", KV("group", (int64_t)moving->group), KV("for", step->text),
              KV("server", (int64_t)step->server));
    }
    come_back(tick, moving, moving->delay_us);
    int64_t max_us =
        moving->is_catching_up ? WAIT_DELAY_MIN_US : WAIT_DELAY_MAX_US; /* few at once: others wait for it */
    moving->delay_us = 2 * moving->delay_us < max_us ? 2 * moving->delay_us : max_us;
}

static void act(struct tick *tick, struct moving *moving, struct replica *replica, struct mover_view *view,
                const struct mover_step *step)
{
    enum err err =
        step->action == MOVER_CHANGE ? replica_change(replica, &step->next) : replica_transfer(replica, step->server);
    if (err == OK) {
        trace(INFO, REPLICA, step->text, KV("group", (int64_t)moving->group),
              KV("broker", replica_server_node(step->server)));
        moving->waits_for = 0;
        moving->wait_text = NULL;
        if (step->action == MOVER_CHANGE) { /* the others of this very tick are to know */
            view->now = step->next;
            set_catching_up(tick->mover, moving, mover_is_catching_up(view));
        }
    }
    metrics_add(tick->mover->shard->metrics, METRIC_MOVE_STEPS_REFUSED, err != OK);
    come_back(tick, moving, STEP_DELAY_US);
}

static void done(struct tick *tick, struct moving *moving, const struct uuid *topic, int32_t index,
                 const struct store_partition *stored)
{
    if (stored->target_count == 0 && stored->leaving_count == 0) {
        forget(tick->mover, moving);
        return;
    }
    if (moving->reported_us == 0 || tick->now_us - moving->reported_us >= REPORT_INTERVAL_US) {
        bool is_moving = stored->target_count > 0;
        struct controller_moved_one *one = &tick->moved[tick->moved_count++];
        *one = (struct controller_moved_one){.topic = *topic, .partition = index, .epoch = stored->move_epoch};
        one->replica_count = is_moving ? stored->target_count : stored->replica_count;
        memcpy(one->replicas, is_moving ? stored->target : stored->replicas, one->replica_count * sizeof(int32_t));
        moving->reported_us = tick->now_us;
    }
    come_back(tick, moving, REPORT_INTERVAL_US);
}

static void look_at(struct tick *tick, struct moving *moving)
{
    struct mover *mover = tick->mover;
    struct shard *shard = mover->shard;
    struct replica *replica = replicas_find(shard->replicas, moving->group);
    struct replica_status status;
    struct store_partition stored;
    struct mover_view view;
    struct mover_step step;
    struct uuid topic;
    int32_t index;
    if (replica == NULL || !replica_is_ready_leader(replica) ||
        store_group(shard->reader, moving->group, &topic, &index) != OK ||
        store_partition(shard->reader, &tick->arena, &topic, index, &stored) != OK) {
        forget(mover, moving);
        return;
    }
    replica_status(replica, &status);
    if (!status.is_membership_committed) {
        come_back(tick, moving, STEP_DELAY_US);
        return;
    }
    if (!make_view(tick, replica, &status, &stored, &view)) {
        come_back(tick, moving, REPORT_INTERVAL_US);
        return;
    }
    note_progress(mover, moving, &view, status.last_index);
    view.may_add = has_room(mover);
    view.is_overdue = moving->waits_for != 0 && tick->now_us - moving->waits_since_us > OVERDUE_US;
    mover_next(&view, &step);
    moving->waits_for_room = step.is_for_room;
    switch (step.action) {
    case MOVER_DONE:
        done(tick, moving, &topic, index, &stored);
        break;
    case MOVER_WAIT:
        wait_for(tick, moving, &step);
        break;
    case MOVER_CHANGE:
    case MOVER_TRANSFER:
        act(tick, moving, replica, &view, &step);
        break;
    }
}

static int64_t due_us(const struct mover *mover, const struct moving *moving)
{
    return moving->waits_for_room && has_room(mover) ? 0 : moving->due_us;
}

/* Looks at those that are due, and says when the next one is. */
static int64_t look_at_due(struct tick *tick)
{
    struct mover *mover = tick->mover;
    int64_t next_us = INT64_MAX;
    unsigned looked = 0;
    for (size_t left = mover->groups.count; left > 0; left--) {
        struct moving *moving = container_of(mover->list.next, struct moving, link);
        bool is_due = due_us(mover, moving) <= tick->now_us;
        if (is_due && looked < TICK_GROUP_COUNT_MAX) {
            looked++;
            arena_reset(&tick->arena);
            look_at(tick, moving);
            continue;
        }
        list_remove(&moving->link);
        list_push(&mover->list, &moving->link);
    }
    for (struct list *link = mover->list.next; link != &mover->list; link = link->next) {
        int64_t at_us = due_us(mover, container_of(link, struct moving, link));
        next_us = at_us < next_us ? at_us : next_us;
    }
    return next_us;
}

static void mover_on_timer(struct timer *timer)
{
    struct mover *mover = container_of(timer, struct mover, timer);
    struct tick tick = {.mover = mover, .now_us = env_now_us(mover->shard->env)};
    int64_t next_us = tick.now_us + WAIT_DELAY_MAX_US;
    arena_init(&tick.arena, TICK_ARENA_SIZE_MAX);
    arena_init(&tick.brokers_arena, TICK_ARENA_SIZE_MAX);
    tick.servers = arena_alloc(&tick.brokers_arena, CLUSTER_BROKER_COUNT_MAX * sizeof(*tick.servers));
    tick.moved = arena_alloc(&tick.brokers_arena, TICK_GROUP_COUNT_MAX * sizeof(*tick.moved));
    assert(tick.servers != NULL && tick.moved != NULL);
    if (store_brokers_each(mover->shard->reader, &tick.brokers_arena, &tick, collect_server) == OK) {
        next_us = look_at_due(&tick);
    }
    if (tick.moved_count > 0) {
        moved_report(mover->shard, tick.moved, tick.moved_count);
    }
    arena_deinit(&tick.arena);
    arena_deinit(&tick.brokers_arena);
    if (!list_is_empty(&mover->list)) {
        tick_at(mover, next_us - tick.now_us);
    }
}

/* ---- For others ---- */

void mover_progress(const struct mover *mover, struct mover_progress *progress)
{
    *progress = (struct mover_progress){.groups = mover->groups.count, .catching_up = mover->catching_up};
    for (const struct list *link = mover->list.next; link != &mover->list; link = link->next) {
        progress->entries += container_of(link, struct moving, link)->lag;
    }
}

bool mover_is_at_work(const struct mover *mover, uint64_t group)
{
    return map_get(&mover->groups, group) != NULL;
}
