/* Chance and the event queue of the simulator: a binary heap ordered by time, then by chance. */
#include "base/assert.h"
#include "tests/lib/sim_internal.h"

enum {
    HEAP_FIRST = 256
};

/* ---- Chance: xoshiro256**, seeded by splitmix64 (Blackman and Vigna, prng.di.unimi.it) */

void sim_random_init(struct sim_random *random, uint64_t seed)
{
    for (size_t i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9E3779B97F4A7C15U);
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
        random->state[i] = z ^ (z >> 31);
    }
}

uint64_t sim_random_next(struct sim_random *random)
{
    uint64_t *s = random->state;
    uint64_t result = sim_rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = sim_rotate(s[3], 45);
    return result;
}

uint64_t sim_random_below(struct sim_random *random, uint64_t limit)
{
    assert(limit > 0);
    return sim_random_next(random) % limit;
}

bool sim_random_is(struct sim_random *random, uint32_t per_million)
{
    return per_million > 0 && sim_random_below(random, 1000000) < per_million;
}

int64_t sim_random_spread(struct sim_random *random, int64_t low, int64_t high)
{
    int64_t span = high - low;
    unsigned bits = 0;
    assert(span >= 0);
    while (bits < 63 && (span >> bits) > 0) {
        bits++;
    }
    int64_t limit = (int64_t)1 << sim_random_below(random, bits + 1);
    int64_t value = (int64_t)sim_random_below(random, (uint64_t)limit);
    return low + (value < span ? value : span);
}

/* ---- Events */

static bool event_is_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->due_us != b->due_us ? a->due_us < b->due_us : a->tie < b->tie;
}

static void heap_put(struct sim_world *world, size_t slot, struct sim_event *event)
{
    world->heap[slot] = event;
    event->slot = slot;
}

static void heap_up(struct sim_world *world, struct sim_event *event)
{
    size_t slot = event->slot;
    while (slot > 1 && event_is_before(event, world->heap[slot / 2])) {
        heap_put(world, slot, world->heap[slot / 2]);
        slot /= 2;
    }
    heap_put(world, slot, event);
}

static void heap_down(struct sim_world *world, struct sim_event *event)
{
    size_t slot = event->slot;
    for (size_t child = 2 * slot; child <= world->heap_count; child = 2 * slot) {
        if (child < world->heap_count && event_is_before(world->heap[child + 1], world->heap[child])) {
            child++;
        }
        if (!event_is_before(world->heap[child], event)) {
            break;
        }
        heap_put(world, slot, world->heap[child]);
        slot = child;
    }
    heap_put(world, slot, event);
}

static void heap_remove(struct sim_world *world, struct sim_event *event)
{
    size_t slot = event->slot;
    struct sim_event *last = world->heap[world->heap_count];
    assert(world->heap[slot] == event);
    world->heap_count--;
    event->slot = 0;
    if (last != event) {
        heap_put(world, slot, last);
        heap_up(world, last);
        heap_down(world, last);
    }
}

void sim_event_init(struct sim_event *event, struct sim_env *env, void (*run)(struct sim_event *event))
{
    *event = (struct sim_event){.run = run, .env = env};
    list_init(&event->link);
}

bool sim_event_is_set(const struct sim_event *event)
{
    return event->slot != 0 || event->is_held;
}

void sim_event_set(struct sim_world *world, struct sim_event *event, int64_t delay_us)
{
    assert(delay_us >= 0);
    sim_event_cancel(world, event);
    event->due_us = delay_us > INT64_MAX - world->now_us ? INT64_MAX : world->now_us + delay_us;
    event->tie = sim_random_next(&world->random);
    if (world->heap_count + 1 >= world->heap_capacity) {
        world->heap_capacity = world->heap_capacity == 0 ? HEAP_FIRST : 2 * world->heap_capacity;
        world->heap = sim_resize(world->heap, world->heap_capacity * sizeof(struct sim_event *));
    }
    world->heap_count++;
    heap_put(world, world->heap_count, event);
    heap_up(world, event);
    if (event->env != NULL) {
        list_push(&event->env->events, &event->link);
    }
}

void sim_event_cancel(struct sim_world *world, struct sim_event *event)
{
    if (event->slot != 0) {
        heap_remove(world, event);
    }
    event->is_held = false;
    list_remove(&event->link);
}
