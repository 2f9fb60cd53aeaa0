/* The seam of one shard by hand: a clock that moves when told, timers that fire then, tasks that run at the end of a
 * turn. No disk, no network, no threads.
 * Runs on: the test's thread. */
#pragma once

#include "base/env.h"
#include "base/timers.h"

struct turn_env {
    struct env env;
    struct clock clock;
    struct rng rng;
    struct timers timers;
    struct tasks tasks;
    struct list queue;
    struct timer_heap heap;
    uint64_t random;
    uint64_t now_us;
    int64_t wall_start_ms;      /* the wall clock when now_us was 0; a test may move it */
    unsigned timer_sets;        /* calls of env_timer() so far */
};

void turn_env_init(struct turn_env *turn, uint64_t seed);
void turn_env_deinit(struct turn_env *turn);
void turn_env_run(struct turn_env *turn);                  /* the end of a turn: all tasks */
void turn_env_advance(struct turn_env *turn, uint64_t us); /* fires what comes due, each followed by its turn's end */
