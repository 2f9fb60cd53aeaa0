/* Happy path: something has changed; a moment later all partitions are read, those on draining brokers (and, when asked
 * for, those that make counts even) get targets, as many as may move at once; each PartitionsMoved is a change, which
 * brings the next plan. One record of moves is on its way at a time.
 * A drained broker stays registered while it is heard of, so that it can be told things and can be put to use again;
 * when it has been stopped it is forgotten.
 * Cost: without a draining broker or a wish for a rebalance, one look at the brokers per change. */

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "metadata/broker_list.h"
#include "metadata/controller_internal.h"
#include "metadata/planner.h"
#include <string.h>

#define PLAN_DELAY_US (100 * 1000) /* changes of this time are one change */
#define PLAN_INTERVAL_US (5 * 1000 * 1000)

struct plan_work {
    struct controller *controller;
    struct plan_broker *brokers;
    size_t broker_count;
    struct plan_partition *partitions;
    size_t count, capacity;
    size_t moving; /* already */
    struct arena arena;
    bool is_too_large;
    bool has_draining;
};

static bool is_alive(const struct controller *controller, int32_t id)
{
    const struct controller_params *params = &controller->params;
    return params->is_alive == NULL || params->is_alive(params->owner, id);
}

/* ---- What there is ---- */

static bool collect_broker(void *context, const struct store_broker *broker)
{
    struct plan_work *work = context;
    if (work->broker_count == CLUSTER_BROKER_COUNT_MAX) {
        return false;
    }
    work->brokers[work->broker_count++] = (struct plan_broker){
        .id = broker->id,
        .rack = broker->rack,
        .is_draining = broker->is_draining,
        .is_usable = !broker->is_draining && is_alive(work->controller, broker->id),
    };
    work->has_draining = work->has_draining || broker->is_draining;
    return true;
}

/* A partition under way is taken as what it will be, and left alone. */
static bool collect_partition(void *context, const struct uuid *topic, int32_t index,
                              const struct store_partition *stored)
{
    struct plan_work *work = context;
    if (work->count == work->capacity) {
        work->capacity = work->capacity > 0 ? 2 * work->capacity : 256;
        work->partitions = mem_resize(work->partitions, work->capacity * sizeof(*work->partitions));
    }
    bool is_moving = stored->target_count > 0;
    work->partitions[work->count++] = (struct plan_partition){
        .topic = *topic,
        .index = index,
        .replicas = is_moving ? stored->target : stored->replicas,
        .count = is_moving ? stored->target_count : stored->replica_count,
        .is_fixed = is_moving || stored->leaving_count > 0,
    };
    work->moving += is_moving || stored->leaving_count > 0;
    /* who is on the way out still counts as used: see find_drained() */
    return true;
}

static bool collect_brokers(struct plan_work *work)
{
    work->brokers = arena_alloc(&work->arena, CLUSTER_BROKER_COUNT_MAX * sizeof(*work->brokers));
    return work->brokers != NULL &&
           store_brokers_each(work->controller->params.reader, &work->arena, work, collect_broker) == OK;
}

static bool collect_partitions(struct plan_work *work)
{
    static const struct uuid FIRST = {{0}};
    return store_partitions_each(work->controller->params.reader, &work->arena, &FIRST, 0, work, collect_partition) ==
           OK;
}

/* ---- Moves ---- */

static void moves_on_proposed(struct metadata_propose *propose)
{
    struct controller_plan *plan = container_of(propose, struct controller_plan, moves);
    plan->is_proposing = false;
    if (propose->error != KAFKA_NONE) {
        trace(WARN, CONTROLLER, "planned moves were refused", KV("cause", (const char *)propose->error_text));
        plan->is_changed = true;
    }
}

static void propose_moves(struct plan_work *work, size_t moves)
{
    struct controller *controller = work->controller;
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    Balsa__Record__PartitionsMoving moving = BALSA__RECORD__PARTITIONS_MOVING__INIT;
    Balsa__Record__PartitionsMoving__Move *items = mem_alloc(moves * sizeof(*items));
    Balsa__Record__PartitionsMoving__Move **list = mem_alloc(moves * sizeof(*list));
    for (size_t i = 0; i < work->count; i++) {
        struct plan_partition *partition = &work->partitions[i];
        if (!partition->is_moved) {
            continue;
        }
        assert(moving.n_moves < moves);
        Balsa__Record__PartitionsMoving__Move *move = &items[moving.n_moves];
        balsa__record__partitions_moving__move__init(move);
        move->id = (ProtobufCBinaryData){sizeof(partition->topic.bytes), partition->topic.bytes};
        move->partition = partition->index;
        move->n_target = partition->count;
        move->target = partition->replicas;
        list[moving.n_moves++] = move;
    }
    moving.moves = list;
    record.kind_case = BALSA__RECORD__RECORD__KIND_PARTITIONS_MOVING;
    record.partitions_moving = &moving;
    trace(INFO, CONTROLLER, "replicas are moved", KV("partitions", (int64_t)moves),
          KV("moving_already", (int64_t)work->moving));
    controller->plan.is_proposing = true;
    controller->plan.moves.cb = moves_on_proposed;
    metadata_propose(controller->params.metadata, &record, &controller->plan.moves);
    mem_free(items);
    mem_free(list);
}

static bool is_on_draining(const struct plan_work *work, const struct plan_partition *partition)
{
    for (size_t i = 0; i < work->broker_count; i++) {
        if (work->brokers[i].is_draining &&
            brokers_contain(partition->replicas, partition->count, work->brokers[i].id)) {
            return true;
        }
    }
    return false;
}

static size_t plan_drains(struct plan_work *work, size_t room)
{
    size_t moves = 0;
    for (size_t i = 0; i < work->count && moves < room; i++) {
        struct plan_partition *partition = &work->partitions[i];
        if (partition->is_fixed || !is_on_draining(work, partition)) {
            continue;
        }
        if (plan_drain(work->brokers, work->broker_count, partition)) {
            moves++;
        } else {
            work->controller->plan.is_blocked = true;
        }
    }
    return moves;
}

/* Draining brokers that no partition needs any more. */
static void find_drained(struct plan_work *work)
{
    struct controller_plan *plan = &work->controller->plan;
    plan->drained_count = 0;
    for (size_t i = 0; i < work->broker_count && work->moving == 0; i++) {
        const struct plan_broker *broker = &work->brokers[i];
        if (broker->is_draining && broker->replica_count == 0 && plan->drained_count < array_count(plan->drained)) {
            plan->drained[plan->drained_count++] = broker->id;
        }
    }
}

static void make_plan(struct plan_work *work)
{
    struct controller_plan *plan = &work->controller->plan;
    size_t move_max = work->controller->params.moves_max;
    plan->is_blocked = false;
    plan_count(work->brokers, work->broker_count, work->partitions, work->count);
    find_drained(work);
    size_t room = move_max > work->moving ? move_max - work->moving : 0;
    size_t moves = plan_drains(work, room);
    if (plan->is_rebalancing && moves == 0 && room > 0 && !plan->is_blocked) {
        moves = plan_rebalance(work->brokers, work->broker_count, work->partitions, work->count, room);
        if (moves == 0 && work->moving == 0) {
            plan->is_rebalancing = false;
            trace(INFO, CONTROLLER, "replicas are spread evenly");
        }
    }
    if (moves > 0) {
        propose_moves(work, moves);
    }
}

static void plan_now(struct controller *controller)
{
    struct controller_plan *plan = &controller->plan;
    struct plan_work work = {.controller = controller};
    arena_init(&work.arena, CONTROLLER_ARENA_SIZE_MAX);
    plan->is_changed = false;
    store_reader_refresh(controller->params.reader);
    if (!collect_brokers(&work)) {
        trace(ERROR, CONTROLLER, "brokers cannot be read");
    } else if (!work.has_draining && !plan->is_rebalancing) {
        plan->drained_count = 0;
        plan->is_blocked = false;
    } else if (!collect_partitions(&work)) {
        trace(ERROR, CONTROLLER, "partitions cannot be read for a plan");
    } else {
        make_plan(&work);
    }
    mem_free(work.partitions);
    arena_deinit(&work.arena);
}

/* ---- Forgetting brokers ---- */

static void removal_on_proposed(struct metadata_propose *propose)
{
    container_of(propose, struct controller_plan, removal)->is_removing = false;
}

static void remove_silent(struct controller *controller)
{
    struct controller_plan *plan = &controller->plan;
    for (size_t i = 0; i < plan->drained_count && !plan->is_removing; i++) {
        Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
        Balsa__Record__BrokerChanged changed = BALSA__RECORD__BROKER_CHANGED__INIT;
        if (is_alive(controller, plan->drained[i])) {
            continue;
        }
        trace(INFO, CONTROLLER, "drained broker is silent and forgotten", KV("broker", plan->drained[i]));
        changed.id = plan->drained[i];
        changed.state = BALSA__RECORD__BROKER_STATE__BROKER_REMOVED;
        record.kind_case = BALSA__RECORD__RECORD__KIND_BROKER_CHANGED;
        record.broker_changed = &changed;
        plan->drained[i] = plan->drained[--plan->drained_count];
        plan->is_removing = true;
        plan->removal.cb = removal_on_proposed;
        metadata_propose(controller->params.metadata, &record, &plan->removal);
    }
}

/* ---- When ---- */

static void plan_on_timer(struct timer *timer)
{
    struct controller_plan *plan = container_of(timer, struct controller_plan, timer);
    struct controller *controller = container_of(plan, struct controller, plan);
    if (controller->params.metadata != NULL && metadata_is_leader(controller->params.metadata)) {
        remove_silent(controller); /* found by an earlier pass: who is alive is known by now */
        if (!plan->is_proposing && (plan->is_changed || plan->is_blocked)) {
            plan_now(controller);
        }
    }
    env_timer(controller->params.env, &plan->timer, PLAN_INTERVAL_US);
}

void controller_plan_init(struct controller *controller)
{
    struct controller_plan *plan = &controller->plan;
    plan->is_changed = true;
    timer_init(&plan->timer, plan_on_timer);
    env_timer(controller->params.env, &plan->timer, PLAN_DELAY_US);
}

void controller_plan_deinit(struct controller *controller)
{
    assert(!controller->plan.is_proposing);
    assert(!controller->plan.is_removing);
    env_timer_cancel(controller->params.env, &controller->plan.timer);
}

void controller_changed(struct controller *controller)
{
    struct controller_plan *plan = &controller->plan;
    if (!plan->is_changed && !plan->is_stopped) {
        plan->is_changed = true;
        env_timer(controller->params.env, &plan->timer, PLAN_DELAY_US);
    }
}

void controller_stop(struct controller *controller)
{
    controller->plan.is_stopped = true;
    env_timer_cancel(controller->params.env, &controller->plan.timer);
}

void controller_rebalance(struct controller *controller)
{
    controller->plan.is_rebalancing = true;
    controller_changed(controller);
}
