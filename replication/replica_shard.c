/* Whose turn it is: replicas that have something to do are marked, and one task at the end of the loop turn serves
 * them.
 *
 * Time: one timer for all replicas. A replica with a deadline sits in the slot of a wheel (tick_ms wide) where that
 * deadline falls; when the slot comes round it is looked at, and put further on if its deadline has moved since, which
 * is the common case (each heartbeat moves it) and costs nothing at the time. Without replicas that wait for time (a
 * broker that is alone) the timer is not set at all. The wheel is up to two ticks late, which makes no difference to
 * heartbeats and elections; who has less than a tick left when it says so is in a list with a timer of its own. */
#include "replication/replica_internal.h"

#include "base/assert.h"
#include "base/mem.h"

#define TICK_SOON 0
#define SOON_TICK_COUNT 4 /* so far behind the wheel is nothing soon: heartbeats are eight apart */

static void shard_on_timer(struct timer *timer);
static void shard_on_soon(struct timer *timer);
static void shard_on_flush(struct task *task);

struct replica_shard *replica_shard_open(const struct replica_shard_params *params)
{
    assert(params->server_id != 0);
    assert(params->heartbeat_ms > 0);
    assert(params->election_ms >= 5 * params->heartbeat_ms); /* R14 */
    struct replica_shard *shard = mem_alloc(sizeof *shard);
    shard->params = *params;
    raft_core_update_init(&shard->update);
    list_init(&shard->dirty);
    list_init(&shard->waiting);
    list_init(&shard->replicas);
    succession_init(shard);
    hand_over_init(shard);
    task_init(&shard->flush, shard_on_flush);
    timer_init(&shard->timer, shard_on_timer);
    timer_init(&shard->soon_timer, shard_on_soon);
    list_init(&shard->soon);
    shard->soon_ms = UINT64_MAX;
    shard->tick_ms = params->heartbeat_ms / 8 > 0 ? params->heartbeat_ms / 8 : 1;
    shard->tick = shard_now_ms(shard) / shard->tick_ms;
    for (unsigned i = 0; i < TIMER_SLOT_COUNT; i++) {
        list_init(&shard->slots[i]);
    }
    return shard;
}

void replica_shard_close(struct replica_shard *shard)
{
    assert(shard->replica_count == 0);
    env_timer_cancel(shard->params.env, &shard->timer);
    env_timer_cancel(shard->params.env, &shard->soon_timer);
    shard->params.env->tasks->cancel(shard->params.env->tasks, &shard->flush);
    succession_deinit(shard);
    hand_over_deinit(shard);
    raft_core_update_deinit(&shard->update);
    mem_free(shard);
}

void replica_shard_set_full(struct replica_shard *shard, bool is_full, size_t allowance)
{
    if (is_full && !shard->is_full) {
        shard->full_allowance = allowance;
    }
    shard->is_full = is_full;
    if (!shard->has_held) {
        return;
    }
    shard->has_held = false;
    for (struct list *link = shard->replicas.next; link != &shard->replicas; link = link->next) {
        shard_mark_dirty(container_of(link, struct replica, shard_link));
    }
}

bool replica_shard_is_full(const struct replica_shard *shard)
{
    return shard->is_full;
}

size_t replica_shard_tail_size(const struct replica_shard *shard)
{
    return shard->tail_size;
}

uint64_t shard_now_ms(const struct replica_shard *shard)
{
    return (uint64_t)(env_now_us(shard->params.env) / 1000);
}

/* ---- Whose turn ------------------------------------------------------------------------------------------------- */

void shard_add(struct replica_shard *shard, struct replica *replica)
{
    replica->shard = shard;
    list_init(&replica->heir.link);
    list_push(&shard->replicas, &replica->shard_link);
    list_init(&replica->dirty_link);
    list_init(&replica->waiting_link);
    list_init(&replica->timer_link);
    replica->deadline_ms = UINT64_MAX;
    shard->replica_count++;
}

void shard_remove(struct replica *replica)
{
    shard_set_deadline(replica, UINT64_MAX);
    succession_cancel(replica);
    list_remove(&replica->shard_link);
    list_remove(&replica->dirty_link);
    list_remove(&replica->waiting_link);
}

void shard_mark_dirty(struct replica *replica)
{
    struct replica_shard *shard = replica->shard;
    if (list_is_empty(&replica->dirty_link)) {
        list_push(&shard->dirty, &replica->dirty_link);
        env_task(shard->params.env, &shard->flush);
    }
}

void shard_mark_waiting(struct replica *replica)
{
    if (list_is_empty(&replica->waiting_link)) {
        list_push(&replica->shard->waiting, &replica->waiting_link);
    }
}

static void shard_on_flush(struct task *task)
{
    struct replica_shard *shard = container_of(task, struct replica_shard, flush);
    struct list turn;
    list_init(&turn);
    list_move_all(&turn, &shard->dirty); /* those marked from here on are served in the next run of the task */
    shard->step_ms = shard_now_ms(shard);
    struct list *link;
    while ((link = list_pop(&turn)) != NULL) {
        replica_flush(container_of(link, struct replica, dirty_link));
    }
}

void replica_shard_on_durable(struct replica_shard *shard, uint64_t durable_lsn)
{
    assert(durable_lsn >= shard->durable_lsn);
    shard->durable_lsn = durable_lsn;
    struct list *link;
    while ((link = list_pop(&shard->waiting)) != NULL) {
        shard_mark_dirty(container_of(link, struct replica, waiting_link));
    }
}

/* ---- Time ------------------------------------------------------------------------------------------------------- */

static void timer_arm(struct replica_shard *shard)
{
    if (shard->is_started && !shard->is_timer_set && shard->timed_count > 0) {
        shard->is_timer_set = true;
        env_timer(shard->params.env, &shard->timer, (int64_t)shard->tick_ms * 1000);
    }
}

static void slot_remove(struct replica *replica)
{
    if (!list_is_empty(&replica->timer_link)) {
        list_remove(&replica->timer_link);
        replica->shard->timed_count -= replica->timer_tick != TICK_SOON;
    }
}

/* What is due already is the wheel's: it may not be able to do anything about it yet. */
static bool is_soon(const struct replica_shard *shard, uint64_t deadline_ms)
{
    if (!shard->is_started || deadline_ms >= (shard->tick + SOON_TICK_COUNT) * shard->tick_ms) {
        return false;
    }
    uint64_t now_ms = shard_now_ms(shard);
    return deadline_ms > now_ms && deadline_ms < now_ms + shard->tick_ms;
}

static void soon_put(struct replica *replica)
{
    struct replica_shard *shard = replica->shard;
    replica->timer_tick = TICK_SOON;
    list_push(&shard->soon, &replica->timer_link);
    if (replica->deadline_ms < shard->soon_ms) {
        uint64_t now_ms = shard_now_ms(shard);
        uint64_t left_ms = replica->deadline_ms > now_ms ? replica->deadline_ms - now_ms : 0;
        shard->soon_ms = replica->deadline_ms;
        env_timer(shard->params.env, &shard->soon_timer, (int64_t)left_ms * 1000);
    }
}

/* Into the slot of its deadline, or the furthest one. */
static void slot_put(struct replica *replica)
{
    struct replica_shard *shard = replica->shard;
    uint64_t tick = replica->deadline_ms / shard->tick_ms + 1; /* rounded up: never early */
    if (tick <= shard->tick) {
        tick = shard->tick + 1;
    }
    if (tick > shard->tick + TIMER_SLOT_COUNT - 1) {
        tick = shard->tick + TIMER_SLOT_COUNT - 1;
    }
    replica->timer_tick = tick;
    list_push(&shard->slots[tick % TIMER_SLOT_COUNT], &replica->timer_link);
    shard->timed_count++;
    timer_arm(shard);
}

void shard_set_deadline(struct replica *replica, uint64_t deadline_ms)
{
    struct replica_shard *shard = replica->shard;
    replica->deadline_ms = deadline_ms;
    if (deadline_ms == UINT64_MAX) {
        slot_remove(replica);
        return;
    }
    if (shard->timed_count == 0) {
        shard->tick = shard_now_ms(shard) / shard->tick_ms; /* the wheel stood still */
    }
    if (is_soon(shard, deadline_ms)) {
        slot_remove(replica);
        soon_put(replica);
    } else if (list_is_empty(&replica->timer_link)) {
        slot_put(replica);
    } else if (deadline_ms / shard->tick_ms + 1 < replica->timer_tick) {
        slot_remove(replica);
        slot_put(replica);
    }
}

/* Those that are not due have said something later since. */
static void shard_on_soon(struct timer *timer)
{
    struct replica_shard *shard = container_of(timer, struct replica_shard, soon_timer);
    uint64_t now_ms = shard_now_ms(shard);
    struct list all;
    struct list *link;
    shard->soon_ms = UINT64_MAX;
    list_init(&all);
    list_move_all(&all, &shard->soon);
    while ((link = list_pop(&all)) != NULL) {
        struct replica *replica = container_of(link, struct replica, timer_link);
        if (replica->deadline_ms > now_ms) {
            shard_set_deadline(replica, replica->deadline_ms);
            continue;
        }
        replica_tick(replica); /* sets a new deadline, or none */
        if (replica->deadline_ms != UINT64_MAX && list_is_empty(&replica->timer_link)) {
            slot_put(replica);
        }
    }
}

static void slot_handle(struct replica_shard *shard, struct list *slot, uint64_t now_ms)
{
    struct list due;
    list_init(&due);
    list_move_all(&due, slot);
    struct list *link;
    while ((link = list_pop(&due)) != NULL) {
        struct replica *replica = container_of(link, struct replica, timer_link);
        shard->timed_count--;
        if (replica->deadline_ms <= now_ms) {
            replica_tick(replica); /* sets a new deadline, or none */
        }
        if (replica->deadline_ms != UINT64_MAX && list_is_empty(&replica->timer_link)) {
            slot_put(replica);
        }
    }
}

static void shard_on_timer(struct timer *timer)
{
    struct replica_shard *shard = container_of(timer, struct replica_shard, timer);
    uint64_t now_ms = shard_now_ms(shard);
    uint64_t end = now_ms / shard->tick_ms;
    shard->is_timer_set = false;
    if (end > shard->tick + TIMER_SLOT_COUNT) {
        shard->tick = end - TIMER_SLOT_COUNT; /* the process was stopped for a while: one time round is all */
    }
    while (shard->tick < end) {
        shard->tick++;
        slot_handle(shard, &shard->slots[shard->tick % TIMER_SLOT_COUNT], now_ms);
    }
    timer_arm(shard);
}

void replica_shard_start(struct replica_shard *shard)
{
    shard->is_started = true;
    timer_arm(shard);
}
