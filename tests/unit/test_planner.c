/* Plans of moves: exhaustive over small clusters for what one partition may do, random larger ones for the rest. */
#include "metadata/planner.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "metadata/broker_list.h"
#include "tests/lib/test.h"

enum {
    BROKER_MAX = 9,
    PARTITION_MAX = 200,
    FACTOR_MAX = 4
};

static struct {
    struct plan_broker brokers[BROKER_MAX];
    size_t broker_count;
    struct plan_partition partitions[PARTITION_MAX];
    int32_t replicas[PARTITION_MAX][FACTOR_MAX];
    int32_t before[PARTITION_MAX][FACTOR_MAX];
    size_t count;
} w;

static uint32_t seed;

static uint32_t draw(uint32_t below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % below;
}

static struct bytes rack_name(unsigned number)
{
    static const char *const names[] = {"", "a", "b", "c"};
    return bytes_from_text(names[number]);
}

static struct plan_broker *broker_of(int32_t id)
{
    for (size_t i = 0; i < w.broker_count; i++) {
        if (w.brokers[i].id == id) {
            return &w.brokers[i];
        }
    }
    ck_abort_msg("broker %d is not there", id);
    return NULL;
}

/* Which racks (as bits) these brokers are in. */
static unsigned rack_bits(const int32_t *replicas, size_t count)
{
    unsigned bits = 0;
    for (size_t i = 0; i < count; i++) {
        const struct plan_broker *broker = broker_of(replicas[i]);
        bits |= 1u << (broker->rack.size > 0 ? broker->rack.data[0] - 'a' + 1u : 0u);
    }
    return bits;
}

static unsigned rack_sum(const int32_t *replicas, size_t count)
{
    return (unsigned)__builtin_popcount(rack_bits(replicas, count));
}

static void make_cluster(size_t brokers, unsigned racks, size_t draining, size_t partitions, size_t factor)
{
    memset(&w, 0, sizeof(w));
    w.broker_count = brokers;
    for (size_t i = 0; i < brokers; i++) {
        w.brokers[i] = (struct plan_broker){.id = (int32_t)i + 1,
                                            .rack = rack_name(racks > 0 ? 1 + draw(racks) : 0),
                                            .is_draining = i < draining,
                                            .is_usable = i >= draining && draw(8) > 0};
    }
    w.count = partitions;
    for (size_t p = 0; p < partitions; p++) {
        w.partitions[p] = (struct plan_partition){
            .index = (int32_t)p, .replicas = w.replicas[p], .count = 1 + draw((uint32_t)factor)};
        w.partitions[p].is_fixed = draw(16) == 0;
        for (size_t n = 0; n < w.partitions[p].count; n++) {
            int32_t id;
            do {
                id = 1 + (int32_t)draw((uint32_t)(draw(3) > 0 ? (brokers + 1) / 2 : brokers)); /* uneven */
            } while (brokers_contain(w.replicas[p], n, id) && n < (brokers + 1) / 2);
            while (brokers_contain(w.replicas[p], n, id)) {
                id = 1 + id % (int32_t)brokers;
            }
            w.replicas[p][n] = id;
        }
    }
    memcpy(w.before, w.replicas, sizeof(w.before));
    plan_count(w.brokers, w.broker_count, w.partitions, w.count);
}

static void check_counts(void)
{
    struct plan_broker kept[BROKER_MAX];
    memcpy(kept, w.brokers, sizeof(kept));
    plan_count(w.brokers, w.broker_count, w.partitions, w.count);
    for (size_t i = 0; i < w.broker_count; i++) {
        ck_assert_uint_eq(kept[i].replica_count, w.brokers[i].replica_count);
        ck_assert_uint_eq(kept[i].first_count, w.brokers[i].first_count);
    }
}

/* What holds of any partition after any plan. */
static size_t check_partition(size_t p)
{
    const struct plan_partition *partition = &w.partitions[p];
    size_t changed = 0;
    ck_assert_int_eq(brokers_repeated(partition->replicas, partition->count), -1);
    for (size_t n = 0; n < partition->count; n++) {
        if (partition->replicas[n] == w.before[p][n]) {
            continue;
        }
        changed++;
        ck_assert(broker_of(partition->replicas[n])->is_usable);
        ck_assert(!brokers_contain(w.before[p], partition->count, partition->replicas[n]));
    }
    ck_assert_int_eq(changed > 0, partition->is_moved);
    ck_assert(!(partition->is_fixed && partition->is_moved));
    return changed;
}

/* Goal: a drain replaces exactly the draining brokers for which there is a place, in as many racks as the usable
 * brokers allow. Method: random clusters of up to 8 brokers, every partition checked against a count of the racks
 * that could be reached. */
START_TEST(drains_empty_brokers)
{
    seed = (uint32_t)_i * 2654435761u + 1;
    size_t brokers = 2 + draw(7);
    make_cluster(brokers, draw(4), 1 + draw(2), 20, brokers < FACTOR_MAX ? (uint32_t)brokers : FACTOR_MAX);
    for (size_t p = 0; p < w.count; p++) {
        struct plan_partition *partition = &w.partitions[p];
        size_t wanted = 0;
        size_t places = 0;
        for (size_t n = 0; n < partition->count; n++) {
            wanted += broker_of(partition->replicas[n])->is_draining;
        }
        for (size_t i = 0; i < w.broker_count; i++) {
            places +=
                w.brokers[i].is_usable && !brokers_contain(partition->replicas, partition->count, w.brokers[i].id);
        }
        size_t possible = partition->is_fixed ? 0 : wanted < places ? wanted : places;
        (void)plan_drain(w.brokers, w.broker_count, partition);
        ck_assert_uint_eq(check_partition(p), possible);
        if (possible == 1) { /* whoever was chosen, no other would give more racks */
            unsigned best = 0;
            for (size_t n = 0; n < partition->count; n++) {
                int32_t tried[FACTOR_MAX];
                memcpy(tried, partition->replicas, sizeof(tried));
                for (size_t i = 0; i < w.broker_count && partition->replicas[n] != w.before[p][n]; i++) {
                    tried[n] = w.brokers[i].id;
                    bool may = w.brokers[i].is_usable && !brokers_contain(w.before[p], partition->count, tried[n]);
                    unsigned sum = rack_sum(tried, partition->count);
                    best = may && sum > best ? sum : best;
                }
            }
            ck_assert_uint_eq(rack_sum(partition->replicas, partition->count), best);
        }
    }
    check_counts();
}
END_TEST

/* Goal: evening out ends, moves each partition at most once a call and one replica of it, never to fewer racks, never
 * from less to more uneven; without racks and given enough calls counts differ by one at most,
 * with as few moves as there can be. */
START_TEST(rebalance_evens_out)
{
    seed = (uint32_t)_i * 2246822519u + 7;
    size_t brokers = 2 + draw(7);
    unsigned racks = draw(4);
    make_cluster(brokers, racks, 0, 1 + draw(PARTITION_MAX), brokers < 3 ? (uint32_t)brokers : 3);
    size_t usable = 0;
    size_t sum = 0;
    for (size_t i = 0; i < w.broker_count; i++) {
        usable += w.brokers[i].is_usable;
        sum += w.brokers[i].is_usable ? w.brokers[i].replica_count : 0;
    }
    size_t least = 0; /* moves that evening out takes at least: what is above the upper of the two even counts */
    size_t below = 0; /* or below the lower */
    for (size_t i = 0; i < w.broker_count && usable > 0; i++) {
        size_t count = w.brokers[i].replica_count;
        size_t high = (sum + usable - 1) / usable;
        size_t low = sum / usable;
        if (w.brokers[i].is_usable) {
            least += count > high ? count - high : 0;
            below += count < low ? low - count : 0;
        }
    }
    least = least > below ? least : below;
    size_t total = 0;
    for (unsigned round = 0; round < 2000; round++) {
        uint64_t square = 0;
        uint64_t square_after = 0;
        for (size_t i = 0; i < w.broker_count; i++) {
            square += (uint64_t)w.brokers[i].replica_count * w.brokers[i].replica_count;
        }
        memcpy(w.before, w.replicas, sizeof(w.before));
        size_t moves = plan_rebalance(w.brokers, w.broker_count, w.partitions, w.count, 1 + draw(20));
        size_t seen = 0;
        for (size_t p = 0; p < w.count; p++) {
            size_t changed = check_partition(p);
            ck_assert_uint_le(changed, 1);
            ck_assert_uint_ge(rack_sum(w.replicas[p], w.partitions[p].count),
                              rack_sum(w.before[p], w.partitions[p].count));
            seen += changed;
            w.partitions[p].is_moved = false;
        }
        ck_assert_uint_eq(seen, moves);
        check_counts();
        for (size_t i = 0; i < w.broker_count; i++) {
            square_after += (uint64_t)w.brokers[i].replica_count * w.brokers[i].replica_count;
        }
        ck_assert_uint_le(square_after + 2 * moves, square);
        total += moves;
        if (moves == 0) {
            break;
        }
        ck_assert_uint_lt(round, 1999);
    }
    uint32_t low = UINT32_MAX;
    uint32_t high = 0;
    bool has_fixed = false;
    for (size_t p = 0; p < w.count; p++) {
        has_fixed = has_fixed || w.partitions[p].is_fixed;
    }
    for (size_t i = 0; i < w.broker_count; i++) {
        if (w.brokers[i].is_usable) {
            low = w.brokers[i].replica_count < low ? w.brokers[i].replica_count : low;
            high = w.brokers[i].replica_count > high ? w.brokers[i].replica_count : high;
        }
    }
    if (racks == 0 && !has_fixed && usable > 0) {
        ck_assert_uint_le(high, low + 1);
        ck_assert_uint_eq(total, least);
    }
}
END_TEST

static Suite *planner_suite(void)
{
    Suite *suite = suite_create("planner");
    TCase *plans = tcase_create("plans");
    tcase_set_timeout(plans, 60);
    tcase_add_loop_test(plans, drains_empty_brokers, 0, 400);
    tcase_add_loop_test(plans, rebalance_evens_out, 0, 400);
    suite_add_tcase(suite, plans);
    return suite;
}

TEST_MAIN(planner_suite)
