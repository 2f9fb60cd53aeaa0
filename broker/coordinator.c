/*
 *               the metadata is led here           ready, and all groups are read
 *   ELSEWHERE ───────────────────────────> LOADING ──────────────────────────────> HERE
 *       ^                                     │                                     │
 *       └──── led elsewhere, another term, the process drains: all is forgotten ────┘
 *
 * Loading takes GROUP_LOAD_COUNT groups a turn, so that heartbeats of Raft are not held up by many groups. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/coordinator_internal.h"
#include "metadata/store_groups.h"
#include <string.h>

static void coordinator_on_task(struct task *task);
static void coordinator_on_load_timer(struct timer *timer);

struct coordinator *coordinator_open(struct shard *shard)
{
    struct coordinator *coordinator = mem_alloc(sizeof(*coordinator));
    const struct options *options = shard->options;
    coordinator->shard = shard;
    coordinator->limits = (struct group_limits){
        .session_timeout_min_ms = options->group_session_min_ms,
        .session_timeout_max_ms = options->group_session_max_ms,
        .initial_delay_ms = options->group_initial_delay_ms,
        .member_count_max = (size_t)options->group_size_max < GROUP_MEMBER_COUNT_MAX ? (size_t)options->group_size_max
                                                                                     : GROUP_MEMBER_COUNT_MAX,
    };
    coordinator->seed = env_random(shard->env);
    map_init(&coordinator->map);
    list_init(&coordinator->groups);
    task_init(&coordinator->task, coordinator_on_task);
    timer_init(&coordinator->load_timer, coordinator_on_load_timer);
    return coordinator;
}

void coordinator_close(struct coordinator *coordinator)
{
    struct env *env = coordinator->shard->env;
    assert(list_is_empty(&coordinator->groups));
    env_timer_cancel(env, &coordinator->load_timer);
    env->tasks->cancel(env->tasks, &coordinator->task);
    map_deinit(&coordinator->map);
    mem_free((void *)(uintptr_t)coordinator->loaded.data);
    mem_free(coordinator);
}

/* ---- Leadership ---- */

static void forget_loaded(struct coordinator *coordinator)
{
    mem_free((void *)(uintptr_t)coordinator->loaded.data);
    coordinator->loaded = BYTES_NONE;
}

static void step_down(struct coordinator *coordinator)
{
    if (coordinator->state != COORDINATOR_ELSEWHERE) {
        trace(INFO, GROUP, "group coordination ends here", KV("term", coordinator->term),
              KV("groups", coordinator->count));
    }
    coordinator->state = COORDINATOR_ELSEWHERE;
    while (!list_is_empty(&coordinator->groups)) {
        hosted_drop(container_of(coordinator->groups.next, struct hosted_group, link), KAFKA_NOT_COORDINATOR);
    }
    env_timer_cancel(coordinator->shard->env, &coordinator->load_timer);
    forget_loaded(coordinator);
}

struct load {
    struct coordinator *coordinator;
    struct arena arena;
    size_t count;
    struct bytes last; /* owned */
};

static void keep_id(struct bytes *kept, struct bytes id)
{
    mem_free((void *)(uintptr_t)kept->data);
    uint8_t *data = mem_alloc_raw(id.size + 1);
    memcpy(data, id.data, id.size);
    *kept = (struct bytes){data, id.size};
}

static bool load_group(void *context, uint64_t number, const Balsa__Record__GroupValue *value)
{
    struct load *load = context;
    struct coordinator *coordinator = load->coordinator;
    struct bytes id = {value->group.data, value->group.len};
    bool is_new = coordinator->loaded.data == NULL || !bytes_equal(coordinator->loaded, id);
    (void)number;
    if (is_new && value->n_members > 0 && hosted_load(coordinator, id, value) != OK) {
        trace(ERROR, GROUP, "a stored group makes no sense, its members have to join anew", KV("group", id));
    }
    keep_id(&load->last, id);
    arena_reset(&load->arena);
    return ++load->count < GROUP_LOAD_COUNT;
}

/* One slice; true: that was all. */
static bool load_some(struct coordinator *coordinator)
{
    struct load load = {.coordinator = coordinator};
    struct store_reader *reader = coordinator->shard->reader;
    arena_init(&load.arena, 2 * ENTRY_SIZE_MAX);
    store_reader_refresh(reader);
    enum err err = store_consumer_groups_each(reader, &load.arena, coordinator->loaded, NULL, &load, load_group);
    arena_deinit(&load.arena);
    if (err != OK) {
        process_stop("metadata store: reading groups: %s", err_text(err));
    }
    forget_loaded(coordinator);
    coordinator->loaded = load.last;
    return load.count < GROUP_LOAD_COUNT;
}

static void coordinator_on_load_timer(struct timer *timer)
{
    struct coordinator *coordinator = container_of(timer, struct coordinator, load_timer);
    assert(coordinator->state == COORDINATOR_LOADING);
    if (!load_some(coordinator)) {
        env_timer(coordinator->shard->env, timer, 0);
        return;
    }
    forget_loaded(coordinator);
    coordinator->state = COORDINATOR_HERE;
    trace(INFO, GROUP, "groups are coordinated here", KV("term", coordinator->term), KV("groups", coordinator->count));
}

static void coordinator_on_task(struct task *task)
{
    struct coordinator *coordinator = container_of(task, struct coordinator, task);
    bool is_led = coordinator->is_leader && !coordinator->is_stopping && coordinator->shard->metadata != NULL;
    if (!is_led || coordinator->term != coordinator->role_term) {
        step_down(coordinator);
    }
    if (!is_led) {
        return;
    }
    coordinator->term = coordinator->role_term;
    if (coordinator->state == COORDINATOR_ELSEWHERE) {
        coordinator->state = COORDINATOR_LOADING;
    }
    bool is_started = coordinator->load_timer.heap_slot != 0 || coordinator->loaded.data != NULL;
    if (coordinator->state == COORDINATOR_LOADING && coordinator->is_ready && !is_started) {
        env_timer(coordinator->shard->env, &coordinator->load_timer, 0);
    }
}

void coordinator_role_changed(struct coordinator *coordinator, const struct replica_status *status)
{
    coordinator->is_leader = status->role == REPLICA_LEADER;
    coordinator->is_ready = coordinator->is_leader && status->is_ready;
    coordinator->role_term = status->term;
    env_task(coordinator->shard->env, &coordinator->task);
}

void coordinator_stop(struct coordinator *coordinator)
{
    coordinator->is_stopping = true;
    step_down(coordinator);
}

/* ---- What others ask ---- */

enum kafka_error coordinator_check(const struct coordinator *coordinator)
{
    switch (coordinator->state) {
    case COORDINATOR_HERE:
        return coordinator->shard->metadata != NULL ? KAFKA_NONE : KAFKA_NOT_COORDINATOR;
    case COORDINATOR_LOADING:
        return KAFKA_COORDINATOR_LOAD_IN_PROGRESS;
    case COORDINATOR_ELSEWHERE:
        break;
    }
    return KAFKA_NOT_COORDINATOR;
}

enum kafka_error coordinator_check_commit(struct coordinator *coordinator, struct bytes group, struct bytes member_id,
                                          struct bytes instance_id, int32_t generation)
{
    enum kafka_error error = coordinator_check(coordinator);
    if (error != KAFKA_NONE) {
        return error;
    }
    struct hosted_group *hosted = hosted_find(coordinator, group);
    if (hosted == NULL) {
        return generation < 0 ? KAFKA_NONE : KAFKA_ILLEGAL_GENERATION;
    }
    instance_id = instance_id.size > 0 ? instance_id : BYTES_NONE;
    return group_check_commit(&hosted->group, env_now_us(coordinator->shard->env), member_id, instance_id, generation);
}

bool coordinator_group_is_empty(const struct coordinator *coordinator, struct bytes group)
{
    const struct hosted_group *hosted = hosted_find(coordinator, group);
    return hosted == NULL || hosted->group.member_count == 0;
}

bool coordinator_subscribes(const struct coordinator *coordinator, struct bytes group, struct bytes topic)
{
    const struct hosted_group *hosted = hosted_find(coordinator, group);
    return hosted != NULL && group_subscribes(&hosted->group, topic);
}

void coordinator_forget(struct coordinator *coordinator, struct bytes group)
{
    struct hosted_group *hosted = hosted_find(coordinator, group);
    if (hosted != NULL && hosted->group.member_count == 0) {
        hosted_drop(hosted, KAFKA_UNKNOWN_MEMBER_ID);
    }
}

/* ---- Calls ---- */

static void call_on_back(struct message *message)
{
    struct coordinator_call *call = container_of(message, struct coordinator_call, message);
    store_reader_refresh(call->origin->reader);
    call->back(call);
}

static void call_on_arrived(struct message *message)
{
    struct coordinator_call *call = container_of(message, struct coordinator_call, message);
    call->run(call, call->home->coordinator);
}

void coordinator_send(struct coordinator_call *call, struct shard *origin)
{
    call->origin = origin;
    call->home = &origin->broker->shards[0];
    call->message.cb = call_on_arrived;
    shard_send(origin, 0, &call->message);
}

void coordinator_return(struct coordinator_call *call)
{
    call->message.cb = call_on_back;
    shard_send(call->home, call->origin->number, &call->message);
}
