/* Waiters are woken from a task at the end of the turn, first come first served, as long as there is room. */

#include "broker/budget.h"
#include "base/assert.h"
#include "base/mem.h"

static void budget_on_wake(struct task *task)
{
    struct budget *budget = container_of(task, struct budget, wake);
    struct list pending;
    struct list *link;
    list_init(&pending);
    list_move_all(&pending, &budget->waiters);
    while (budget_has_room(budget, 100) && (link = list_pop(&pending)) != NULL) {
        struct budget_waiter *waiter = container_of(link, struct budget_waiter, link);
        waiter->cb(waiter);
    }
    list_move_all(&pending, &budget->waiters); /* those that wait again stand behind those that were not reached */
    list_move_all(&budget->waiters, &pending);
}

void budget_init(struct budget *budget, struct env *env, size_t size_max)
{
    *budget = (struct budget){.env = env, .size_max = size_max};
    list_init(&budget->waiters);
    task_init(&budget->wake, budget_on_wake);
}

void budget_deinit(struct budget *budget)
{
    assert(budget->used == 0);
    assert(list_is_empty(&budget->waiters));
    budget->env->tasks->cancel(budget->env->tasks, &budget->wake);
}

bool budget_has_room(const struct budget *budget, unsigned share)
{
    return budget->used < budget->size_max / 100 * share;
}

size_t budget_room(const struct budget *budget, unsigned share)
{
    size_t limit = budget->size_max / 100 * share;
    return budget->used < limit ? limit - budget->used : 0;
}

void budget_take(struct budget *budget, size_t size)
{
    budget->used += size;
    metrics_add(budget->env->metrics, METRIC_MEMORY_REQUESTS, (int64_t)size);
}

void budget_give(struct budget *budget, size_t size)
{
    assert(size <= budget->used);
    budget->used -= size;
    metrics_add(budget->env->metrics, METRIC_MEMORY_REQUESTS, -(int64_t)size);
    if (!list_is_empty(&budget->waiters)) {
        env_task(budget->env, &budget->wake);
    }
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
