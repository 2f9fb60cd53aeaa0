/* Happy path: set puts a timer at the end and moves it up, pop takes slot 1 and moves the last one down in its place.
 * A timer knows its slot, so that cancel and move cost O(log n) without a search. */
#include "base/timers.h"

#include "base/assert.h"
#include "base/mem.h"

enum {
    CAPACITY_FIRST = 64
};

void timer_heap_init(struct timer_heap *heap)
{
    *heap = (struct timer_heap){0};
}

void timer_heap_deinit(struct timer_heap *heap)
{
    for (size_t slot = 1; slot <= heap->count; slot++) {
        heap->slots[slot]->heap_slot = 0;
    }
    mem_free(heap->slots);
    *heap = (struct timer_heap){0};
}

static bool timer_is_before(const struct timer *a, const struct timer *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->sequence < b->sequence;
}

static void slot_put(struct timer_heap *heap, size_t slot, struct timer *timer)
{
    heap->slots[slot] = timer;
    timer->heap_slot = slot;
}

static void move_up(struct timer_heap *heap, struct timer *timer)
{
    size_t slot = timer->heap_slot;
    while (slot > 1 && timer_is_before(timer, heap->slots[slot / 2])) {
        slot_put(heap, slot, heap->slots[slot / 2]);
        slot /= 2;
    }
    slot_put(heap, slot, timer);
}

static void move_down(struct timer_heap *heap, struct timer *timer)
{
    size_t slot = timer->heap_slot;
    for (;;) {
        size_t child = 2 * slot;
        if (child > heap->count) {
            break;
        }
        if (child < heap->count && timer_is_before(heap->slots[child + 1], heap->slots[child])) {
            child++;
        }
        if (timer_is_before(timer, heap->slots[child])) {
            break;
        }
        slot_put(heap, slot, heap->slots[child]);
        slot = child;
    }
    slot_put(heap, slot, timer);
}

void timer_heap_set(struct timer_heap *heap, struct timer *timer, int64_t due_us)
{
    assert(timer->cb != NULL);
    if (timer->heap_slot == 0) {
        if (heap->count + 1 >= heap->capacity) {
            heap->capacity = heap->capacity == 0 ? CAPACITY_FIRST : 2 * heap->capacity;
            heap->slots = mem_resize(heap->slots, heap->capacity * sizeof(struct timer *));
        }
        heap->count++;
        slot_put(heap, heap->count, timer);
    }
    assert(timer->heap_slot <= heap->count && heap->slots[timer->heap_slot] == timer);
    timer->due_us = due_us;
    timer->sequence = heap->sequence++;
    move_up(heap, timer);
    move_down(heap, timer);
}

void timer_heap_cancel(struct timer_heap *heap, struct timer *timer)
{
    size_t slot = timer->heap_slot;
    if (slot == 0) {
        return;
    }
    assert(slot <= heap->count && heap->slots[slot] == timer);
    struct timer *last = heap->slots[heap->count];
    heap->count--;
    timer->heap_slot = 0;
    if (last != timer) {
        slot_put(heap, slot, last);
        move_up(heap, last);
        move_down(heap, last);
    }
}

int64_t timer_heap_due_us(const struct timer_heap *heap)
{
    return heap->count == 0 ? INT64_MAX : heap->slots[1]->due_us;
}

struct timer *timer_heap_pop(struct timer_heap *heap, int64_t now_us, uint64_t sequence_end)
{
    if (heap->count == 0) {
        return NULL;
    }
    struct timer *timer = heap->slots[1];
    if (timer->due_us > now_us || timer->sequence >= sequence_end) {
        return NULL;
    }
    timer_heap_cancel(heap, timer);
    return timer;
}
