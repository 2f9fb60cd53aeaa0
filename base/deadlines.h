/* Deadlines that are hardly ever reached, thousands at a time: requests that wait, and are answered long before.
 * Setting one and taking it back touch only its neighbours; a timer of the heap (env.h) would move others about, and
 * those lie in requests that the processor's caches have forgotten.
 *
 * A wheel of DEADLINE_SLOT_COUNT slots, each DEADLINE_TICK_US wide: a deadline lies in the slot where it falls, or in
 * the furthest one, and is looked at when the wheel comes there: due, or further on. So it is up to two ticks late,
 * never early. Who owns the wheel lets it turn, by a timer of that width while anything is set.
 * Pure; runs on: one thread at a time. */
#pragma once

#include "base/list.h"

#include <stdint.h>

#define DEADLINE_TICK_US 16384
#define DEADLINE_SLOT_COUNT 256 /* four seconds */

struct deadline {
    struct list link; /* private, as the rest */
    int64_t due_us;
    void (*cb)(struct deadline *deadline);
};

struct deadlines {
    int64_t tick; /* the last one that was looked at */
    size_t count;
    struct list slots[DEADLINE_SLOT_COUNT];
};

void deadlines_init(struct deadlines *deadlines);
/* Nothing is set, and the wheel stood still: it goes on from here. */
void deadlines_resume(struct deadlines *deadlines, int64_t now_us);
static inline void deadline_init(struct deadline *deadline, void (*cb)(struct deadline *deadline))
{
    *deadline = (struct deadline){.due_us = 0, .cb = cb};
    list_init(&deadline->link);
}
/* `deadline` is not set. One that has passed comes with the next tick. */
void deadlines_set(struct deadlines *deadlines, struct deadline *deadline, int64_t due_us);
void deadlines_cancel(struct deadlines *deadlines, struct deadline *deadline); /* set or not */
static inline bool deadlines_is_empty(const struct deadlines *deadlines) { return deadlines->count == 0; }
/* Calls those that are due at `now_us`; each is not set any more when it is called, and may set or cancel any. */
void deadlines_run(struct deadlines *deadlines, int64_t now_us);
