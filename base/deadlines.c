#include "base/deadlines.h"

#include "base/assert.h"
#include "base/mem.h"

static int64_t tick_of(int64_t us)
{
    return us / DEADLINE_TICK_US;
}

void deadlines_resume(struct deadlines *deadlines, int64_t now_us)
{
    assert(deadlines->count == 0);
    deadlines->tick = tick_of(now_us);
}

void deadlines_init(struct deadlines *deadlines)
{
    deadlines->tick = 0;
    deadlines->count = 0;
    for (unsigned i = 0; i < DEADLINE_SLOT_COUNT; i++) {
        list_init(&deadlines->slots[i]);
    }
}

static void slot_put(struct deadlines *deadlines, struct deadline *deadline)
{
    int64_t tick = tick_of(deadline->due_us) + 1; /* the whole tick is over: never early */
    int64_t last = deadlines->tick + DEADLINE_SLOT_COUNT - 1;
    tick = tick <= deadlines->tick ? deadlines->tick + 1 : tick;
    tick = tick > last ? last : tick;
    list_push(&deadlines->slots[(uint64_t)tick % DEADLINE_SLOT_COUNT], &deadline->link);
}

void deadlines_set(struct deadlines *deadlines, struct deadline *deadline, int64_t due_us)
{
    assert(deadline->cb != NULL);
    assert(list_is_empty(&deadline->link));
    deadline->due_us = due_us > 0 ? due_us : 0;
    deadlines->count++;
    slot_put(deadlines, deadline);
}

void deadlines_cancel(struct deadlines *deadlines, struct deadline *deadline)
{
    if (!list_is_empty(&deadline->link)) {
        list_remove(&deadline->link);
        deadlines->count--;
    }
}

/* One at a time off a list of its own: a callback may cancel the others, and what it sets lies in a slot to come. */
static void slot_run(struct deadlines *deadlines, struct list *slot, int64_t now_us)
{
    struct list turn;
    struct list *link;
    list_init(&turn);
    list_move_all(&turn, slot);
    while ((link = list_pop(&turn)) != NULL) {
        struct deadline *deadline = container_of(link, struct deadline, link);
        if (deadline->due_us > now_us) {
            slot_put(deadlines, deadline);
            continue;
        }
        deadlines->count--;
        deadline->cb(deadline);
    }
}

void deadlines_run(struct deadlines *deadlines, int64_t now_us)
{
    int64_t end = tick_of(now_us);
    if (end - deadlines->tick > DEADLINE_SLOT_COUNT) {
        deadlines->tick = end - DEADLINE_SLOT_COUNT; /* it stood still for a while: once round is all */
    }
    while (deadlines->tick < end) {
        deadlines->tick++;
        slot_run(deadlines, &deadlines->slots[(uint64_t)deadlines->tick % DEADLINE_SLOT_COUNT], now_us);
    }
}
