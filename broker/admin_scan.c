/* Each slice reads the snapshot of its own turn: what is made or removed between two slices may be seen or not. */

#include "broker/admin_scan.h"
#include "base/limits.h"
#include "base/mem.h"

#define SLICE_COUNT 4000 /* partitions: some milliseconds */

static bool on_partition(void *context, const struct uuid *topic, int32_t index,
                         const struct store_partition *partition)
{
    struct admin_scan *scan = context;
    if (scan->is_one_topic && !uuid_equal(topic, &scan->next)) {
        scan->is_over = true;
        return false;
    }
    if (scan->left == 0) {
        scan->is_more = true;
        scan->next = *topic;
        scan->next_index = index;
        return false;
    }
    scan->left--;
    scan->is_over = !scan->each(scan, topic, index, partition);
    arena_reset(&scan->arena);
    return !scan->is_over;
}

static void on_slice(struct timer *timer)
{
    struct admin_scan *scan = container_of(timer, struct admin_scan, timer);
    scan->left = SLICE_COUNT;
    scan->is_more = false;
    store_reader_refresh(scan->shard->reader);
    enum err err =
        store_partitions_each(scan->shard->reader, &scan->arena, &scan->next, scan->next_index, scan, on_partition);
    if (err == OK && scan->is_more) {
        env_timer(scan->shard->env, &scan->timer, 0);
        return;
    }
    arena_deinit(&scan->arena);
    scan->done(scan);
}

void admin_scan_start(struct admin_scan *scan, struct shard *shard, const struct uuid *topic)
{
    scan->shard = shard;
    scan->next = topic != NULL ? *topic : UUID_ZERO;
    scan->next_index = 0;
    scan->is_one_topic = topic != NULL;
    scan->is_over = false;
    arena_init(&scan->arena, MIB(1));
    timer_init(&scan->timer, on_slice);
    env_timer(shard->env, &scan->timer, 0);
}
