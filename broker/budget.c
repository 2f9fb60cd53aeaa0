/* Waiters are woken from a task at the end of the turn, first come first served, as many as there is room for; each
 * asks again before it takes. */

#include "broker/budget.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"

#define WAITER_SIZE KIB(64) /* what one is expected to take: a read into the shard's scratch memory */

static void budget_on_wake(struct task *task)
{
    struct budget *budget = container_of(task, struct budget, wake);
    struct list pending;
    struct list *link;
    list_init(&pending);
    list_move_all(&pending, &budget->waiters);
    size_t used = budget_used(budget);
    size_t count = used < budget->size_max ? (budget->size_max - used) / WAITER_SIZE + 1 : 0;
    while (count-- > 0 && budget_has_room(budget, 100) && (link = list_pop(&pending)) != NULL) {
        struct budget_waiter *waiter = container_of(link, struct budget_waiter, link);
        waiter->cb(waiter);
    }
    list_move_all(&pending, &budget->waiters); /* those that wait again stand behind those that were not reached */
    list_move_all(&budget->waiters, &pending);
}

void budget_init(struct budget *budget, struct env *env, size_t size_max)
{
    budget->env = env;
    atomic_init(&budget->used, 0);
    budget->size_max = size_max;
    list_init(&budget->waiters);
    task_init(&budget->wake, budget_on_wake);
}

void budget_deinit(struct budget *budget)
{
    assert(budget_used(budget) == 0);
    assert(list_is_empty(&budget->waiters));
    budget->env->tasks->cancel(budget->env->tasks, &budget->wake);
}

size_t budget_used(const struct budget *budget)
{
    return atomic_load_explicit(&budget->used, memory_order_relaxed);
}

static size_t room_below(size_t used, size_t limit)
{
    return used < limit ? limit - used : 0;
}

bool budget_has_room(const struct budget *budget, unsigned share)
{
    return room_below(budget_used(budget), budget->size_max / 100 * share) > 0;
}

void budget_add(struct budget *budget, struct metrics *metrics, size_t size)
{
    atomic_fetch_add_explicit(&budget->used, size, memory_order_relaxed);
    metrics_add(metrics, METRIC_MEMORY_REQUESTS, (int64_t)size);
}

void budget_return(struct budget *budget, struct metrics *metrics, size_t size)
{
    size_t before = atomic_fetch_sub_explicit(&budget->used, size, memory_order_relaxed);
    assert(size <= before);
    metrics_add(metrics, METRIC_MEMORY_REQUESTS, -(int64_t)size);
}

void budget_take(struct budget *budget, size_t size)
{
    budget_add(budget, budget->env->metrics, size);
}

void budget_give(struct budget *budget, size_t size)
{
    budget_return(budget, budget->env->metrics, size);
    budget_wake(budget);
}

size_t budget_reserve(struct budget *budget, struct metrics *metrics, size_t wanted, size_t least, unsigned share)
{
    size_t used = budget_used(budget);
    size_t size;
    do {
        size_t room = room_below(used, budget->size_max / 100 * share) / 2;
        size = wanted < room ? wanted : room;
        if (size < least) {
            size = least;
        }
        if (room_below(used, budget->size_max) == 0) {
            return 0;
        }
    } while (!atomic_compare_exchange_weak_explicit(&budget->used, &used, used + size, memory_order_relaxed,
                                                    memory_order_relaxed));
    metrics_add(metrics, METRIC_MEMORY_REQUESTS, (int64_t)size);
    return size;
}

void budget_wait(struct budget *budget, struct budget_waiter *waiter)
{
    if (list_is_empty(&waiter->link)) {
        list_push(&budget->waiters, &waiter->link);
    }
}

void budget_waiter_cancel(struct budget_waiter *waiter)
{
    list_remove(&waiter->link);
}

void budget_wake(struct budget *budget)
{
    if (!list_is_empty(&budget->waiters) && budget_has_room(budget, 100)) {
        env_task(budget->env, &budget->wake);
    }
}
