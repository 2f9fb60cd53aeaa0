/* Both plans choose by counts, ties by id, so that they are functions of their arguments. A rebalance takes the pair of
 * brokers with the largest difference of counts that some partition can go between; each move makes the sum of the
 * squares of the counts smaller, so it ends. Cost: a pass over the partitions per pair tried. */

#include "metadata/planner.h"
#include "base/assert.h"
#include "base/mem.h"
#include "metadata/broker_list.h"
#include <stdlib.h>

static struct plan_broker *find(struct plan_broker *brokers, size_t count, int32_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (brokers[i].id == id) {
            return &brokers[i];
        }
    }
    return NULL;
}

void plan_count(struct plan_broker *brokers, size_t broker_count, const struct plan_partition *partitions, size_t count)
{
    for (size_t i = 0; i < broker_count; i++) {
        brokers[i].replica_count = 0;
        brokers[i].first_count = 0;
    }
    for (size_t p = 0; p < count; p++) {
        for (size_t n = 0; n < partitions[p].count; n++) {
            struct plan_broker *broker = find(brokers, broker_count, partitions[p].replicas[n]);
            if (broker != NULL) {
                broker->replica_count++;
                broker->first_count += n == 0;
            }
        }
    }
}

/* How many of the partition's replicas, but for the one in `place`, are in the rack. */
static size_t rack_uses(struct plan_broker *brokers, size_t broker_count, const struct plan_partition *partition,
                        size_t place, struct bytes rack)
{
    size_t uses = 0;
    for (size_t n = 0; n < partition->count; n++) {
        const struct plan_broker *broker = find(brokers, broker_count, partition->replicas[n]);
        uses += n != place && broker != NULL && bytes_equal(broker->rack, rack);
    }
    return uses;
}

static void replace(struct plan_broker *brokers, size_t broker_count, struct plan_partition *partition, size_t place,
                    struct plan_broker *target)
{
    struct plan_broker *source = find(brokers, broker_count, partition->replicas[place]);
    if (source != NULL) {
        assert(source->replica_count > 0);
        source->replica_count--;
        source->first_count -= place == 0;
    }
    target->replica_count++;
    target->first_count += place == 0;
    partition->replicas[place] = target->id;
    partition->is_moved = true;
}

/* ---- Draining ---- */

static bool is_better(const struct plan_broker *a, size_t a_uses, const struct plan_broker *b, size_t b_uses,
                      bool is_first)
{
    if (a_uses != b_uses) {
        return a_uses < b_uses;
    }
    if (a->replica_count != b->replica_count) {
        return a->replica_count < b->replica_count;
    }
    if (is_first && a->first_count != b->first_count) {
        return a->first_count < b->first_count;
    }
    return a->id < b->id;
}

/* Who takes over the replica in `place`: in the rack least used, then with the fewest replicas. NULL: nobody. */
static struct plan_broker *choose(struct plan_broker *brokers, size_t broker_count,
                                  const struct plan_partition *partition, size_t place)
{
    struct plan_broker *best = NULL;
    size_t best_uses = 0;
    for (size_t i = 0; i < broker_count; i++) {
        struct plan_broker *broker = &brokers[i];
        if (!broker->is_usable || brokers_contain(partition->replicas, partition->count, broker->id)) {
            continue;
        }
        size_t uses = rack_uses(brokers, broker_count, partition, place, broker->rack);
        if (best == NULL || is_better(broker, uses, best, best_uses, place == 0)) {
            best = broker;
            best_uses = uses;
        }
    }
    return best;
}

bool plan_drain(struct plan_broker *brokers, size_t broker_count, struct plan_partition *partition)
{
    bool is_changed = false;
    for (size_t place = 0; place < partition->count && !partition->is_fixed; place++) {
        const struct plan_broker *source = find(brokers, broker_count, partition->replicas[place]);
        if (source == NULL || !source->is_draining) {
            continue;
        }
        struct plan_broker *target = choose(brokers, broker_count, partition, place);
        if (target != NULL) {
            replace(brokers, broker_count, partition, place, target);
            is_changed = true;
        }
    }
    return is_changed;
}

/* ---- Evening out ---- */

/* Number of racks the partition is in, with `target` in `place` (NULL: as it is). */
static size_t rack_count(struct plan_broker *brokers, size_t broker_count, const struct plan_partition *partition,
                         size_t place, const struct plan_broker *target)
{
    size_t racks = 0;
    for (size_t n = 0; n < partition->count; n++) {
        const struct plan_broker *broker =
            n == place && target != NULL ? target : find(brokers, broker_count, partition->replicas[n]);
        bool is_new = broker != NULL;
        for (size_t m = 0; m < n && is_new; m++) {
            const struct plan_broker *other =
                m == place && target != NULL ? target : find(brokers, broker_count, partition->replicas[m]);
            is_new = other == NULL || !bytes_equal(other->rack, broker->rack);
        }
        racks += is_new;
    }
    return racks;
}

/* Where `source` stands if the partition may go from it to `target`; count: it may not. */
static size_t movable_place(struct plan_broker *brokers, size_t broker_count, const struct plan_partition *partition,
                            const struct plan_broker *source, const struct plan_broker *target)
{
    if (partition->is_fixed || partition->is_moved ||
        brokers_contain(partition->replicas, partition->count, target->id)) {
        return partition->count;
    }
    for (size_t place = 0; place < partition->count; place++) {
        if (partition->replicas[place] == source->id) {
            bool is_worse = rack_count(brokers, broker_count, partition, place, target) <
                            rack_count(brokers, broker_count, partition, 0, NULL);
            return is_worse ? partition->count : place;
        }
    }
    return partition->count;
}

/* Moves one partition from `source` to `target`: one that `source` leads first if it leads more than `target`, else one
 * that it does not, if there is such a one. */
static bool move_one(struct plan_broker *brokers, size_t broker_count, struct plan_partition *partitions, size_t count,
                     const struct plan_broker *source, struct plan_broker *target)
{
    bool wants_first = source->first_count > target->first_count;
    struct plan_partition *chosen = NULL;
    size_t chosen_place = 0;
    for (size_t p = 0; p < count; p++) {
        size_t place = movable_place(brokers, broker_count, &partitions[p], source, target);
        if (place == partitions[p].count) {
            continue;
        }
        bool fits = (place == 0) == wants_first;
        if (chosen == NULL || fits) {
            chosen = &partitions[p];
            chosen_place = place;
        }
        if (fits) {
            break;
        }
    }
    if (chosen != NULL) {
        replace(brokers, broker_count, chosen, chosen_place, target);
    }
    return chosen != NULL;
}

struct pair {
    struct plan_broker *source;
    struct plan_broker *target;
};

static int compare_pairs(const void *left, const void *right)
{
    const struct pair *a = left;
    const struct pair *b = right;
    uint32_t a_step = a->source->replica_count - a->target->replica_count;
    uint32_t b_step = b->source->replica_count - b->target->replica_count;
    if (a_step != b_step) {
        return a_step > b_step ? -1 : 1;
    }
    if (a->source->id != b->source->id) {
        return a->source->id > b->source->id ? 1 : -1;
    }
    return (a->target->id > b->target->id) - (a->target->id < b->target->id);
}

/* The pairs of brokers between which a move makes counts more even, the most uneven first. */
static size_t collect_pairs(struct plan_broker *brokers, size_t broker_count, struct pair *pairs)
{
    size_t count = 0;
    for (size_t i = 0; i < broker_count; i++) {
        for (size_t j = 0; j < broker_count; j++) {
            bool is_uneven = brokers[i].replica_count >= brokers[j].replica_count + 2;
            if (is_uneven && brokers[i].is_usable && brokers[j].is_usable) {
                pairs[count++] = (struct pair){&brokers[i], &brokers[j]};
            }
        }
    }
    if (count > 0) {
        qsort(pairs, count, sizeof(*pairs), compare_pairs);
    }
    return count;
}

size_t plan_rebalance(struct plan_broker *brokers, size_t broker_count, struct plan_partition *partitions, size_t count,
                      size_t move_max)
{
    struct pair *pairs = mem_alloc((broker_count * broker_count + 1) * sizeof(*pairs));
    size_t moves = 0;
    bool is_moved = true;
    while (is_moved && moves < move_max) {
        size_t pair_count = collect_pairs(brokers, broker_count, pairs);
        is_moved = false;
        for (size_t i = 0; i < pair_count && !is_moved; i++) {
            is_moved = move_one(brokers, broker_count, partitions, count, pairs[i].source, pairs[i].target);
        }
        moves += is_moved;
    }
    mem_free(pairs);
    return moves;
}
