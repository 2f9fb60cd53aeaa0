/* Happy path: a timer looks at the free space, ten times a second when it is scarce, and tells who has to do less.
 * Failure: the free space cannot be told: all stays as it was. */

#include "broker/space.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"

#define SCARCE_FACTOR 4 /* of the reserve */

struct space {
    struct shard *shard;
    struct timer timer;
    uint64_t reserve;
};

static void set_low(struct space *space, bool is_low, bool is_full, uint64_t free_size)
{
    struct shard *shard = space->shard;
    if (is_low != shard->is_space_low) {
        trace(WARN, SHARD, is_low ? "disk below its reserve, produce is refused" : "disk above its reserve again",
              KV("free_bytes", (int64_t)free_size));
    }
    shard->is_space_low = is_low;
    if (shard->replicas != NULL) {
        uint64_t allowance = space->reserve / SPACE_ALLOWANCE_SHARE;
        allowance = allowance < SPACE_ALLOWANCE_SIZE_MAX ? allowance : SPACE_ALLOWANCE_SIZE_MAX;
        replicas_set_full(shard->replicas, is_full, (size_t)allowance / shard_count(shard));
    }
}

static uint64_t look(struct space *space)
{
    struct shard *shard = space->shard;
    uint64_t free_size;
    if (shard->env->disk->free_space(shard->env->disk, shard->options->log_dirs, &free_size) != OK) {
        return UINT64_MAX;
    }
    bool is_held = log_files_are_held(shard->files);
    set_low(space, is_held || free_size < space->reserve, is_held || free_size < space->reserve / 2, free_size);
    return free_size;
}

static void space_on_timer(struct timer *timer)
{
    struct space *space = container_of(timer, struct space, timer);
    bool is_scarce = look(space) / SCARCE_FACTOR < space->reserve;
    env_timer(space->shard->env, &space->timer, is_scarce ? SPACE_CHECK_SCARCE_US : SPACE_CHECK_US);
}

/* A write has found the disk full. */
static void space_on_full(void *owner)
{
    struct space *space = owner;
    set_low(space, true, true, 0);
    env_timer(space->shard->env, &space->timer, SPACE_CHECK_SCARCE_US);
}

struct space *space_open(struct shard *shard)
{
    struct space *space = mem_alloc(sizeof(*space));
    space->shard = shard;
    space->reserve = (uint64_t)shard->options->disk_reserve;
    timer_init(&space->timer, space_on_timer);
    log_files_on_full(shard->files, space, space_on_full);
    (void)look(space);
    return space;
}

void space_start(struct space *space)
{
    env_timer(space->shard->env, &space->timer, 0);
}

void space_close(struct space *space)
{
    env_timer_cancel(space->shard->env, &space->timer);
    log_files_on_full(space->shard->files, NULL, NULL);
    mem_free(space);
}
