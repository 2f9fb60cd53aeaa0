/* Bytes that requests and responses of one shard may hold together. Over it nothing new is taken: whoever wants more
 * waits in line and is woken when bytes come back. What is held already is never refused (it must get through to
 * be given back), so `used` may pass `size_max` by what is in work.
 *
 * Runs on: one shard. */
#pragma once

#include "base/env.h"

struct budget {
    struct env *env;
    size_t used;
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
/* Whether `share` percent of the budget leaves room for more. */
bool budget_has_room(const struct budget *budget, unsigned share);
size_t budget_room(const struct budget *budget, unsigned share);
void budget_take(struct budget *budget, size_t size);
void budget_give(struct budget *budget, size_t size);
void budget_wait(struct budget *budget, struct budget_waiter *waiter);
void budget_waiter_cancel(struct budget_waiter *waiter);
