/* Brokers are put in a ring that alternates racks. Partition p's first replica is ring[(seed + p) % n]; the others
 * follow around the ring by a stride that changes every n partitions, so that the followers of one leader differ; a
 * broker whose rack is already used is passed over while an unused rack is left. Everything is a function of the
 * arguments. */

#include "metadata/placement.h"
#include "base/assert.h"
#include "base/mem.h"
#include <stdlib.h>
#include <string.h>

struct ring_slot {
    const struct placement_broker *broker;
    size_t rack; /* number of its rack; brokers without a rack share one */
    size_t turn; /* how many brokers of the same rack come before it */
};

static int compare_brokers(const void *left, const void *right)
{
    const struct ring_slot *a = left;
    const struct ring_slot *b = right;
    int order = bytes_compare(a->broker->rack, b->broker->rack);
    return order != 0 ? order : (a->broker->id > b->broker->id) - (a->broker->id < b->broker->id);
}

static int compare_turns(const void *left, const void *right)
{
    const struct ring_slot *a = left;
    const struct ring_slot *b = right;
    if (a->turn != b->turn) {
        return a->turn > b->turn ? 1 : -1;
    }
    return (a->rack > b->rack) - (a->rack < b->rack);
}

/* Ring of brokers with racks alternating: first of each rack, second of each rack, ... Returns the count of racks. */
static size_t ring_build(const struct placement_broker *brokers, size_t count, struct ring_slot *ring)
{
    size_t racks = 0;
    for (size_t i = 0; i < count; i++) {
        ring[i] = (struct ring_slot){.broker = &brokers[i]};
    }
    qsort(ring, count, sizeof(*ring), compare_brokers);
    for (size_t i = 0; i < count; i++) {
        bool is_same = i > 0 && bytes_equal(ring[i].broker->rack, ring[i - 1].broker->rack);
        ring[i].turn = is_same ? ring[i - 1].turn + 1 : 0;
        racks += is_same ? 0 : 1;
        ring[i].rack = racks - 1;
    }
    qsort(ring, count, sizeof(*ring), compare_turns);
    return racks;
}

static bool rack_is_used(const struct ring_slot *ring, const size_t *chosen, size_t chosen_count, size_t candidate)
{
    for (size_t i = 0; i < chosen_count; i++) {
        if (ring[chosen[i]].rack == ring[candidate].rack) {
            return true;
        }
    }
    return false;
}

static bool broker_is_used(const size_t *chosen, size_t chosen_count, size_t candidate)
{
    for (size_t i = 0; i < chosen_count; i++) {
        if (chosen[i] == candidate) {
            return true;
        }
    }
    return false;
}

/* First slot from `from` on around the ring that is free, in an unused rack if any is left. */
static size_t ring_pick(const struct ring_slot *ring, size_t count, size_t racks, const size_t *chosen,
                        size_t chosen_count, size_t from)
{
    assert(count > 0);
    bool wants_new_rack = chosen_count < racks;
    for (size_t step = 0; step < count; step++) {
        size_t candidate = (from + step) % count;
        if (!broker_is_used(chosen, chosen_count, candidate) &&
            !(wants_new_rack && rack_is_used(ring, chosen, chosen_count, candidate))) {
            return candidate;
        }
    }
    assert(!wants_new_rack); /* fewer chosen than racks: some rack is unused, and its brokers are free */
    return from % count;
}

enum err placement_assign(const struct placement_broker *brokers, size_t broker_count, uint64_t seed,
                          int32_t first_partition, int32_t partition_count, int16_t replication_factor,
                          int32_t *replicas)
{
    size_t factor = (size_t)replication_factor;
    if (replication_factor < 1 || factor > broker_count || first_partition < 0 || partition_count < 0) {
        return ERR_INVALID;
    }
    struct ring_slot *ring = mem_alloc(broker_count * sizeof(*ring));
    size_t *chosen = mem_alloc(factor * sizeof(*chosen));
    size_t racks = ring_build(brokers, broker_count, ring);

    for (int32_t p = 0; p < partition_count; p++) {
        uint64_t number = seed + (uint64_t)first_partition + (uint64_t)p;
        size_t stride = broker_count > 1 ? (size_t)(number / broker_count % (broker_count - 1)) : 0;
        chosen[0] = (size_t)(number % broker_count);
        for (size_t n = 1; n < factor; n++) {
            chosen[n] = ring_pick(ring, broker_count, racks, chosen, n, chosen[0] + stride + n);
        }
        for (size_t n = 0; n < factor; n++) {
            replicas[(size_t)p * factor + n] = ring[chosen[n]].broker->id;
        }
    }
    mem_free(chosen);
    mem_free(ring);
    return OK;
}
