/* Happy path: a timer looks for the next partition with an order that is due, in the order of group ids; its
 *             compaction goes through steps, each a job; at its end the partition takes it over. Every backoff_ms the
 *             leaders are asked as well.
 *
 *             nothing due                 step done, more to do
 *   IDLE ---------timer--------> IDLE    +--------------------+
 *     |                                  v                    |
 *     +---due: partition_compaction_begin--> STEPPING (job) --+--done, failed, not wanted--> IDLE
 *                                                                (what is not taken: discarded in a job)
 * Close: the job that runs is waited for, what it has written is discarded. */
#include "replication/cleaner.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/compaction.h"
#include "replication/partition.h"

#define TICK_US (INT64_C(1000) * 1000)

struct cleaner {
    struct env *env;
    struct replicas *replicas;
    struct cleaner_params params;
    uint32_t key_count_max;
    struct timer timer;
    int64_t asked_us;              /* when leaders were asked last */
    uint64_t group;                /* looked at last */
    struct partition *partition;   /* at work: it does not close before partition_compaction_end() */
    struct compaction *compaction; /* NULL: idle */
    struct work work;
    bool is_running; /* the job */
    bool is_done;
    bool is_discarding;
    bool is_closing;
    enum err err;
    struct errmsg msg;
    void *owner;
    void (*cb)(void *owner);
};

static void cleaner_step(struct cleaner *cleaner);

/* ---- Who is next ---- */

struct next_group {
    uint64_t after;
    uint64_t found; /* 0: none */
};

static void consider(void *context, uint64_t group, struct replica_machine *machine)
{
    struct next_group *next = context;
    if (machine != NULL && partition_is_machine(machine) && group > next->after &&
        (next->found == 0 || group < next->found) && partition_compactions_due(partition_of_machine(machine)) > 0) {
        next->found = group;
    }
}

static void ask(void *context, uint64_t group, struct replica_machine *machine)
{
    const struct cleaner *cleaner = context;
    (void)group;
    if (machine != NULL && partition_is_machine(machine)) {
        partition_compaction(partition_of_machine(machine), cleaner->key_count_max);
    }
}

static void cleaner_end(struct cleaner *cleaner)
{
    void (*cb)(void *owner) = cleaner->cb;
    void *owner = cleaner->owner;
    mem_free(cleaner);
    cb(owner);
}

/* ---- The job ---- */

static void cleaner_on_run(struct work *work)
{
    struct cleaner *cleaner = container_of(work, struct cleaner, work);
    if (cleaner->is_discarding) {
        compaction_discard(cleaner->compaction);
        return;
    }
    cleaner->err = compaction_step(cleaner->compaction, COMPACTION_STEP_SIZE, &cleaner->is_done, &cleaner->msg);
}

static void cleaner_submit(struct cleaner *cleaner)
{
    cleaner->is_running = true;
    cleaner->work.run = cleaner_on_run;
    cleaner->env->workers->submit(cleaner->env->workers, &cleaner->work);
}

static void cleaner_finish(struct cleaner *cleaner)
{
    partition_compaction_end(cleaner->partition, cleaner->compaction, cleaner->err, &cleaner->msg);
    cleaner->partition = NULL;
    cleaner->compaction = NULL;
    if (cleaner->is_closing) {
        cleaner_end(cleaner);
    } else {
        env_timer(cleaner->env, &cleaner->timer, 0);
    }
}

static void cleaner_on_done(struct work *work)
{
    struct cleaner *cleaner = container_of(work, struct cleaner, work);
    cleaner->is_running = false;
    bool is_wanted = !cleaner->is_closing && partition_compaction_is_wanted(cleaner->partition, cleaner->compaction);
    if (cleaner->is_discarding || (cleaner->err == OK && cleaner->is_done && is_wanted)) {
        cleaner_finish(cleaner);
    } else if (cleaner->err != OK || !is_wanted) {
        cleaner->err = cleaner->err == OK || !is_wanted ? ERR_CANCELED : cleaner->err;
        cleaner->is_discarding = true;
        cleaner_submit(cleaner);
    } else {
        int64_t rate = cleaner->params.bytes_per_second;
        int64_t delay_us = rate > 0 ? (int64_t)COMPACTION_STEP_SIZE * 1000000 / rate : 0;
        env_timer(cleaner->env, &cleaner->timer, delay_us);
    }
}

static struct partition *partition_at(const struct cleaner *cleaner, uint64_t group)
{
    struct replica_machine *machine = replicas_machine(cleaner->replicas, group);
    return machine != NULL && partition_is_machine(machine) ? partition_of_machine(machine) : NULL;
}

/* Begins with the next partition that has something to do; false: none has. */
static bool cleaner_begin(struct cleaner *cleaner)
{
    struct next_group next = {.after = cleaner->group};
    replicas_each(cleaner->replicas, &next, consider);
    cleaner->group = next.found;
    struct partition *partition = next.found != 0 ? partition_at(cleaner, next.found) : NULL;
    if (partition == NULL) {
        return false;
    }
    cleaner->compaction = partition_compaction_begin(partition, cleaner->params.reserve_path, cleaner->params.reserve);
    cleaner->partition = partition;
    cleaner->is_done = false;
    cleaner->is_discarding = false;
    cleaner->err = OK;
    return cleaner->compaction != NULL;
}

static void cleaner_step(struct cleaner *cleaner)
{
    int64_t now_us = env_now_us(cleaner->env);
    if (cleaner->compaction != NULL) {
        cleaner_submit(cleaner);
        return;
    }
    if (cleaner->params.is_asking && now_us - cleaner->asked_us >= cleaner->params.backoff_ms * 1000) {
        cleaner->asked_us = now_us;
        replicas_each(cleaner->replicas, cleaner, ask);
    }
    if (cleaner_begin(cleaner)) {
        cleaner_submit(cleaner);
    } else {
        int64_t backoff_us = cleaner->params.backoff_ms * 1000;
        env_timer(cleaner->env, &cleaner->timer, backoff_us < TICK_US ? backoff_us : TICK_US);
    }
}

static void cleaner_on_timer(struct timer *timer)
{
    cleaner_step(container_of(timer, struct cleaner, timer));
}

/* ---- Life ---- */

struct cleaner *cleaner_open(struct env *env, struct replicas *replicas, const struct cleaner_params *params)
{
    struct cleaner *cleaner = mem_alloc(sizeof(*cleaner));
    assert(params->backoff_ms > 0);
    cleaner->env = env;
    cleaner->replicas = replicas;
    cleaner->params = *params;
    cleaner->key_count_max = key_map_count_max(params->memory_size);
    cleaner->work.done = cleaner_on_done;
    cleaner->asked_us = env_now_us(env);
    timer_init(&cleaner->timer, cleaner_on_timer);
    env_timer(env, &cleaner->timer, TICK_US);
    return cleaner;
}

void cleaner_close(struct cleaner *cleaner, void *owner, void (*cb)(void *owner))
{
    cleaner->is_closing = true;
    cleaner->owner = owner;
    cleaner->cb = cb;
    env_timer_cancel(cleaner->env, &cleaner->timer);
    if (cleaner->is_running) {
        return;
    }
    if (cleaner->compaction == NULL) {
        cleaner_end(cleaner);
        return;
    }
    cleaner->err = ERR_CANCELED; /* between two steps */
    cleaner->is_discarding = true;
    cleaner_submit(cleaner);
}
