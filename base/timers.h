/* The set of timers of one env: a binary heap ordered by due time, then by the order of setting.
 *
 * Runs on:  one thread. Timers are the caller's memory; the heap holds pointers, so a set timer must not be freed.
 * Used by:  both implementations of the seam (base/uv_env.c and the simulator); all others set timers through env. */
#pragma once

#include "base/env.h"

struct timer_heap {
    struct timer **slots; /* 1-based: slot 0 is unused, so that heap_slot 0 can mean "not set" */
    size_t count;
    size_t capacity;
    uint64_t sequence;    /* of the next set */
};

void timer_heap_init(struct timer_heap *heap);
void timer_heap_deinit(struct timer_heap *heap); /* timers that are still set become unset */
/* Sets or moves. due_us is absolute. */
void timer_heap_set(struct timer_heap *heap, struct timer *timer, int64_t due_us);
void timer_heap_cancel(struct timer_heap *heap, struct timer *timer); /* no-op when not set */
/* When the first one is due; INT64_MAX when none is set. */
int64_t timer_heap_due_us(const struct timer_heap *heap);
/* Takes out the first timer if it is due at now_us and was set before `sequence_end` (timers set by the callbacks of
 * one run wait for the next run; UINT64_MAX takes them too). NULL if there is none. The caller calls its cb. */
struct timer *timer_heap_pop(struct timer_heap *heap, int64_t now_us, uint64_t sequence_end);
