/* Compaction of a partition: who decides, what is remembered, what is done about it.
 *
 * Happy path: the leader sees enough that is dirty and proposes an order; every replica remembers it when the entry is
 *             applied, and holds its segments; the shard's cleaner carries it out in steps; what comes out takes the
 *             place of the old segments. The order is forgotten then, so a checkpoint has either the old segments and
 *             the order, or the new ones.
 * Failure:    no space: tried again later, the old segments are good meanwhile. Bytes that are bad: the replica is out
 *             of service. Too many orders that were not carried out: the same, and it is filled anew.
 * Close:      waits for the step that runs. */
#include "base/assert.h"
#include "base/limits.h"
#include "base/metrics.h"
#include "base/trace.h"
#include "replication/partition_command.h"
#include "replication/partition_internal.h"
#include <string.h>

#define RETRY_US (INT64_C(30) * 1000000)

/* ---- Orders ---- */

static void hold(struct partition *partition)
{
    const struct compactions *compactions = &partition->compactions;
    if (compactions->count == 0) {
        log_hold(partition->log, 0, 0);
    } else {
        log_hold(partition->log, compactions->orders[0].start_offset,
                 compactions->orders[compactions->count - 1].end_offset);
    }
}

/* The first `count` orders leave. */
static void forget_orders(struct compactions *compactions, size_t count)
{
    compactions->count -= count;
    memmove(compactions->orders, compactions->orders + count, compactions->count * sizeof(*compactions->orders));
}

/* Whatever the state before, all replicas decide alike: by the entries alone. */
void partition_compact_apply(struct partition *partition, struct compaction_order *order)
{
    struct compactions *compactions = &partition->compactions;
    order->start_offset = log_start_offset(partition->log);
    if (order->end_offset > log_end_offset(partition->log) || order->end_offset <= order->start_offset ||
        order->end_offset < compactions->ordered_end) {
        return; /* a leader's view was of an earlier log */
    }
    if (compactions->count == COMPACTION_ORDER_COUNT_MAX) {
        partition_damaged(partition, ERR_BUSY, "too many compactions were not carried out here");
        return;
    }
    compactions_push(compactions, order);
    hold(partition);
}

void partition_compact_trimmed(struct partition *partition)
{
    /* Only if those behind them do not read what they would have written: replicas that carried them out read that. */
    struct compactions *compactions = &partition->compactions;
    const struct compaction_order *orders = compactions->orders;
    size_t count = 0;
    for (size_t i = 0; i < compactions->count && orders[i].end_offset <= log_start_offset(partition->log); i++) {
        bool is_last = i + 1 == compactions->count;
        count = is_last || orders[i + 1].start_offset >= orders[i].end_offset ? i + 1 : count;
    }
    if (count > 0) {
        forget_orders(compactions, count);
        hold(partition);
    }
}

/* ---- The leader ---- */

static bool is_worth_it(const struct partition_config *config, const struct log_dirt *dirt, int64_t now_ms)
{
    if (dirt->dirty_size == 0) {
        return false;
    }
    double total = (double)dirt->clean_size + (double)dirt->dirty_size;
    int64_t waited_ms = now_ms > dirt->oldest_ms ? now_ms - dirt->oldest_ms : 0;
    return (double)dirt->dirty_size / total > config->min_cleanable_ratio || waited_ms >= config->max_compaction_lag_ms;
}

void partition_compaction(struct partition *partition, uint32_t key_count_max)
{
    const struct partition_config *config = &partition->config;
    struct compactions *compactions = &partition->compactions;
    if (partition_role_error(partition) != KAFKA_NONE || !config->is_compacted || compactions->count > 0 ||
        partition->is_compaction_proposed) {
        return;
    }
    int64_t start = log_start_offset(partition->log);
    int64_t first_dirty = compactions->end_offset > start ? compactions->end_offset : start;
    int64_t now_ms = env_wall_ms(partition->env);
    struct log_dirt dirt;
    log_dirt(partition->log, now_ms, first_dirty, config->log.segment_ms, config->min_compaction_lag_ms, &dirt);
    if (!is_worth_it(config, &dirt, now_ms)) {
        return;
    }
    struct compaction_order order = {
        .end_offset = dirt.end_offset,
        .delete_retention_ms = config->delete_retention_ms,
        .segment_size = (int64_t)config->log.segment_size_max,
        .key_count_max = key_count_max < COMPACTION_KEY_COUNT_MAX ? key_count_max : COMPACTION_KEY_COUNT_MAX,
    };
    be64_put(order.seed, env_random(partition->env));
    be64_put(order.seed + 8, env_random(partition->env));
    uint8_t data[PARTITION_COMMAND_COMPACT_SIZE];
    partition_command_compact_encode(&order, partition_next_append_ms(partition, env_wall_ms(partition->env)), data);
    struct partition_proposal *proposal = NULL;
    /* A group that takes no proposals now is asked again at the next round. */
    if (partition_submit(partition, (struct bytes){data, sizeof(data)}, &proposal) == OK) {
        partition->is_compaction_proposed = true;
    }
}

/* ---- Carrying out ---- */

size_t partition_compactions_due(const struct partition *partition)
{
    return partition->is_damaged ? 0 : partition->compactions.count;
}

struct compaction *partition_compaction_begin(struct partition *partition, const char *reserve_path, uint64_t reserve)
{
    if (partition_compactions_due(partition) == 0 || partition->log == NULL || partition->is_closing ||
        partition->is_compacting || env_now_us(partition->env) < partition->compaction_retry_us) {
        return NULL;
    }
    struct log_state state;
    if (log_pin(partition->log, &state) != OK) {
        return NULL;
    }
    struct compaction *compaction = compaction_open(partition->env, partition->log, &partition->compactions.orders[0],
                                                    partition->compactions.end_offset, &state, reserve_path, reserve);
    log_state_deinit(&state);
    partition->is_compacting = true;
    return compaction;
}

bool partition_compaction_is_wanted(const struct partition *partition, const struct compaction *compaction)
{
    return !partition->is_closing && !partition->is_damaged && partition->log == compaction_log(compaction) &&
           partition->compactions.count > 0 &&
           partition->compactions.orders[0].index == compaction_order(compaction)->index;
}

static void take(struct partition *partition, const struct compaction_result *result)
{
    struct compactions *compactions = &partition->compactions;
    log_replace(partition->log, result->input_count, result->segments, result->segment_count);
    compactions->end_offset = result->end_offset;
    partition->machine.wants_checkpoint = true; /* the old files go with the next one */
    forget_orders(compactions, 1);
    hold(partition);
    metrics_add(partition->env->metrics, METRIC_COMPACTIONS, 1);
    metrics_add(partition->env->metrics, METRIC_COMPACTION_READ_BYTES, (int64_t)result->bytes_read);
    metrics_add(partition->env->metrics, METRIC_COMPACTION_WRITTEN_BYTES, (int64_t)result->bytes_written);
    metrics_add(partition->env->metrics, METRIC_COMPACTION_REMOVED, result->records_removed);
    trace(INFO, PARTITION, "compacted", KV("group", (int64_t)partition->group), KV("end_offset", result->end_offset),
          KV("kept", result->records_kept), KV("removed", result->records_removed),
          KV("bytes", (int64_t)log_size(partition->log)));
}

void partition_compaction_end(struct partition *partition, struct compaction *compaction, enum err err,
                              const struct errmsg *msg)
{
    struct log *log = compaction_log(compaction);
    bool is_wanted = partition_compaction_is_wanted(partition, compaction);
    assert(partition->is_compacting);
    partition->is_compacting = false;
    if (err == OK && is_wanted) {
        take(partition, compaction_result(compaction));
    } else if (err == ERR_DAMAGED && is_wanted) {
        partition_damaged(partition, err, msg->text);
    } else if (err != OK && err != ERR_CANCELED && is_wanted) {
        metrics_add(partition->env->metrics, METRIC_COMPACTION_ERRORS, 1);
        partition->compaction_retry_us = env_now_us(partition->env) + RETRY_US;
        trace(WARN, PARTITION, "not compacted", KV("group", (int64_t)partition->group), KV("cause", msg->text));
    }
    compaction_close(compaction);
    log_unpin(log);
    env_task(partition->env, &partition->task); /* it may be waiting to close */
}
