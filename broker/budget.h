/* Bytes that requests and responses of one shard may hold together. Over it nothing new is taken: whoever wants more
 * waits in line and is woken when bytes come back. What is held already is never refused (it must get through to
 * be given back), so `used` may pass `size_max`, by one step of one taker: everybody asks before each step.
 *
 * Runs on: one shard, except budget_reserve() and budget_return(), by which parts of its requests that work on other
 *          shards take and give. */
#pragma once

#include "base/env.h"
#include <stdatomic.h>

struct budget {
    struct env *env;
    _Atomic size_t used;
    size_t size_max;
    struct list waiters;
    struct task wake;
};

struct budget_waiter {
    void (*cb)(struct budget_waiter *waiter); /* try again now; may wait again */
    struct list link;       /* private; empty when not waiting */
};

void budget_init(struct budget *budget, struct env *env, size_t size_max);
void budget_deinit(struct budget *budget);
size_t budget_used(const struct budget *budget);
/* Whether `share` percent of the budget leaves room for more. */
bool budget_has_room(const struct budget *budget, unsigned share);
void budget_take(struct budget *budget, size_t size);
void budget_give(struct budget *budget, size_t size);
/* Takes up to `wanted` bytes, at most half of what `share` percent of the budget leaves; but `least`, wanted or not, as
 * long as there is any room at all. Returns what was taken, 0 when there is none. Any thread, with its own metrics. */
size_t budget_reserve(struct budget *budget, struct metrics *metrics, size_t wanted, size_t least, unsigned share);
/* Gives back without waking: the shard does that with what it gives next, or with budget_wake(). Any thread. */
void budget_return(struct budget *budget, struct metrics *metrics, size_t size);
void budget_add(struct budget *budget, struct metrics *metrics, size_t size); /* budget_take() of any thread */
void budget_wait(struct budget *budget, struct budget_waiter *waiter);
void budget_waiter_cancel(struct budget_waiter *waiter);
void budget_wake(struct budget *budget); /* those who wait try again at the end of the turn, if there is room */
