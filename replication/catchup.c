/* Life and time of a shard's catch-ups; the sides are in catchup_source.c and catchup_target.c.
 * Close: requests are answered, jobs and calls under way end (calls when the links close), then the callback. */
#include "replication/catchup_internal.h"

#include "base/assert.h"
#include "base/mem.h"

#define TICK_US (INT64_C(1) * 1000000)
#define SWEEP_US (INT64_C(600) * 1000000)
#define RATE_BURST_US INT64_C(1000000)
#define PIECE_SHARE 4                /* one part of the disk's time is taken, three are left to others */
#define PIECE_US_MAX INT64_C(250000) /* a disk so slow is stuck: no reason to wait for ever after it */

int64_t catchup_rate_take(struct catchup_rate *rate, int64_t now_us, size_t size)
{
    if (rate->bytes_per_second == 0) {
        int64_t from_us = rate->paid_us > now_us ? rate->paid_us : now_us;
        rate->paid_us = from_us + PIECE_SHARE * rate->piece_us;
        return from_us - now_us;
    }
    if (rate->paid_us < now_us - RATE_BURST_US) {
        rate->paid_us = now_us - RATE_BURST_US;
    }
    int64_t delay_us = rate->paid_us > now_us ? rate->paid_us - now_us : 0;
    rate->paid_us += (int64_t)((double)size * 1e6 / (double)rate->bytes_per_second);
    return delay_us;
}

void catchup_rate_note(struct catchup_rate *rate, int64_t took_us)
{
    rate->piece_us = took_us < PIECE_US_MAX ? took_us : PIECE_US_MAX;
}

static void catchups_on_task(struct task *task)
{
    struct catchups *catchups = container_of(task, struct catchups, task);
    catchup_refused_answer(catchups);
    if (!catchups->is_first_swept && !catchups->is_closing) {
        catchups->is_first_swept = true;
        catchup_sweep(catchups);
    }
    catchup_targets_start(catchups);
    catchups_step_close(catchups);
}

static void catchups_on_timer(struct timer *timer)
{
    struct catchups *catchups = container_of(timer, struct catchups, timer);
    int64_t now_us = env_now_us(catchups->params.env);
    catchup_sources_tick(catchups, now_us);
    catchup_targets_tick(catchups, now_us);
    if (now_us >= catchups->sweep_due_us) {
        catchups->sweep_due_us = now_us + SWEEP_US;
        catchup_sweep(catchups);
    }
    env_timer(catchups->params.env, &catchups->timer, TICK_US);
}

struct catchups *catchups_open(const struct catchups_params *params)
{
    struct catchups *catchups = mem_alloc(sizeof(*catchups));
    catchups->params = *params;
    catchups->topics_dir = mem_strdup(params->topics_dir);
    catchups_set_rate(catchups, params->bytes_per_second);
    map_init(&catchups->targets);
    list_init(&catchups->target_list);
    list_init(&catchups->sources);
    list_init(&catchups->refused);
    task_init(&catchups->task, catchups_on_task);
    timer_init(&catchups->timer, catchups_on_timer);
    catchups->sweep_due_us = env_now_us(params->env) + SWEEP_US;
    catchups->staging_until_us = catchups->sweep_due_us;
    env_timer(params->env, &catchups->timer, TICK_US);
    env_task(params->env, &catchups->task);
    return catchups;
}

void catchups_set_rate(struct catchups *catchups, int64_t bytes_per_second)
{
    catchups->params.bytes_per_second = bytes_per_second;
    catchups->in.bytes_per_second = bytes_per_second;
    catchups->out.bytes_per_second = bytes_per_second;
}

void catchups_step_close(struct catchups *catchups)
{
    if (!catchups->is_closing || catchups->is_sweeping || !list_is_empty(&catchups->sources) ||
        !list_is_empty(&catchups->target_list) || !list_is_empty(&catchups->refused) || catchups->close_cb == NULL) {
        return;
    }
    void (*cb)(void *owner) = catchups->close_cb;
    void *owner = catchups->close_owner;
    catchups->params.env->tasks->cancel(catchups->params.env->tasks, &catchups->task);
    map_deinit(&catchups->targets);
    mem_free(catchups->topics_dir);
    mem_free(catchups);
    cb(owner);
}

void catchups_close(struct catchups *catchups, void *owner, void (*cb)(void *owner))
{
    assert(!catchups->is_closing);
    catchups->is_closing = true;
    env_timer_cancel(catchups->params.env, &catchups->timer);
    catchup_sources_close(catchups);
    catchup_targets_close(catchups);
    catchups->close_owner = owner;
    catchups->close_cb = cb;
    env_task(catchups->params.env, &catchups->task); /* never inside the call */
}

void catchups_each(const struct catchups *catchups, void *context,
                   void (*cb)(void *context, const struct catchup_progress *progress))
{
    catchup_targets_each(catchups, context, cb);
    catchup_sources_each(catchups, context, cb);
}
