/* Whole shards (replicas, Raft, write-ahead log, partitions, segments, checkpoints, local store) on the simulated disk,
 * through power losses, kills, deaths inside a disk operation, disks that fail or are full, and ends in order; with
 * shard counts that change between lives, groups that come and go, logs that are trimmed.
 *
 * Goal:   every acknowledged batch is there afterwards, once, at the offset that was acknowledged, with its bytes, but
 *         for what was trimmed; offsets are dense; nothing is there that was not sent; a removed group does not come
 *         back; a start never fails but for a fault of the disk; after the faults end there is progress.
 * Method: tests/lib/power_node.h is the broker, tests/lib/power_client.h the clients outside of it. A seed decides all.
 * More:   POWER_SEEDS=n runs seeds POWER_FIRST (1) and the n-1 behind it, each has LIVES ends; POWER_SEED=s one, with
 *         its trace; POWER_VERBOSE=1 names seeds. docs/SIMULATION.md has what was found. */
#include "tests/lib/power_client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/trace.h"
#include "tests/lib/canary.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"

enum {
    LIVES = 10,
    SEEDS_DEFAULT = 30,
    CLOSE_LIMIT_US = 5000000,
    SETTLE_TURNS = 20000
};

/* What has ended, over all seeds. */
static struct {
    uint64_t power_losses, kills, stops, crash_points, disk_deaths, starts_cut, layouts, removed, acked, trims;
} counts;

static struct power_node node;
static struct power_clients clients;

static void run(void (*function)(void *context), void *context)
{
    (void)sim_process_run(node.process, function, context);
}

static bool is_alive(void)
{
    return sim_process_end(node.process) == SIM_ALIVE;
}

/* ---- Faults of the disk in one life */

static struct {
    struct sim_fault fault;
    bool is_set;
    bool is_full;
} trouble;

static void trouble_begin(void)
{
    static const unsigned ops[] = {SIM_OP_SYNC,   SIM_OP_PWRITEV,  SIM_OP_WRITE,  SIM_OP_COMMIT,
                                   SIM_OP_CREATE, SIM_OP_TRUNCATE, SIM_OP_RENAME, SIM_OP_UNLINK,
                                   SIM_OP_OPEN,   SIM_OP_SYNC_DIR, SIM_OP_MKDIR,  SIM_OP_READ | SIM_OP_PREAD};
    memset(&trouble, 0, sizeof(trouble));
    uint64_t kind = sim_world_below(node.world, 12);
    if (kind < 2) {
        trouble.fault = (struct sim_fault){.ops = ops[sim_world_below(node.world, sizeof(ops) / sizeof(ops[0]))],
                                           .err = sim_world_below(node.world, 4) == 0 ? ERR_NO_SPACE : ERR_IO};
        uint64_t limit = sim_world_below(node.world, 2) == 0 ? 12 : 300;
        fault_init(&trouble.fault.when, 1 + (unsigned)sim_world_below(node.world, limit),
                   (unsigned)sim_world_below(node.world, 3));
        trouble.is_set = true;
        sim_disk_fault_add(node.disk, &trouble.fault);
    } else if (kind == 2) {
        trouble.is_full = true;
        sim_disk_set_capacity(node.disk, sim_disk_used(node.disk) + sim_world_below(node.world, KIB(600)));
    }
}

static void trouble_end(void)
{
    if (trouble.is_set) {
        sim_disk_fault_remove(node.disk, &trouble.fault);
    }
    sim_disk_set_capacity(node.disk, GIB(1));
}

static bool is_excused(void)
{
    return trouble.is_full || (trouble.is_set && trouble.fault.hit_count > 0);
}

static void check_life(uint64_t seed, unsigned life, const char *when)
{
    bool is_stopped = sim_process_end(node.process) == SIM_STOPPED;
    ck_assert_msg(is_excused() || (!is_stopped && node.failure[0] == '\0'), "seed %llu, life %u, %s: %s %s",
                  (unsigned long long)seed, life, when, node.failure,
                  is_stopped ? sim_process_end_text(node.process) : "");
}

/* ---- Lives */

static void on_gone(unsigned slot)
{
    power_client_reset(&clients, slot);
}

static void life_begin(void)
{
    unsigned shard_count = node.shard_count;
    if (shard_count == 0 || sim_world_below(node.world, 2) == 0) {
        shard_count = 1 + (unsigned)sim_world_below(node.world, POWER_SHARDS_MAX);
    }
    power_node_open(&node, shard_count);
    power_clients_begin(&clients);
}

static void remove_some(void *context)
{
    unsigned slot = *(unsigned *)context;
    if (node.slots[slot].partition != NULL && !node.slots[slot].is_busy) {
        power_node_remove(&node, slot);
    }
}

static void turn(void)
{
    struct power_call call = {&clients, (unsigned)sim_world_below(node.world, POWER_SLOTS)};
    uint64_t chance = sim_world_below(node.world, 200);
    power_client_add(&clients, call.slot);
    run(power_client_send, &call);
    if (chance == 0 && is_alive()) {
        run(power_client_trim, &call);
    } else if (chance == 1 && is_alive() && call.slot >= POWER_SLOTS_LASTING) {
        run(remove_some, &call.slot);
    }
    if (is_alive()) {
        run(power_node_fill, &node);
    }
    (void)sim_world_run_until(node.world, NULL, NULL, (int64_t)sim_world_below(node.world, 2000));
}

/* Load for a while; ends when the process has died or the time is over. */
static void life_run(void)
{
    uint64_t limit_us = sim_world_below(node.world, 4) == 0 ? 500000 : 120000;
    int64_t end_us = sim_world_now_us(node.world) + 1000 + (int64_t)sim_world_below(node.world, limit_us);
    while (is_alive() && sim_world_now_us(node.world) < end_us) {
        turn();
    }
    if (is_alive() && !is_excused() && !trouble.is_set) {
        struct power_call call = {&clients, (unsigned)sim_world_below(node.world, POWER_SLOTS)};
        if (node.slots[call.slot].partition != NULL) {
            run(power_client_check, &call);
        }
    }
}

static bool is_closed(void *context)
{
    (void)context;
    return node.closed == node.shard_count;
}

/* True: it has ended with all its memory given back. */
static bool stop_in_order(void)
{
    run(power_node_stop, &node);
    if (is_alive() && sim_world_run_until(node.world, is_closed, NULL, CLOSE_LIMIT_US) == SIM_REACHED) {
        run(power_node_finish, &node);
        (void)sim_world_run_until(node.world, NULL, NULL,
                                  CLOSE_LIMIT_US); /* jobs that remove files end by themselves */
        return is_alive();
    }
    ck_assert_msg(!is_alive() || is_excused(), "the node does not close");
    return false;
}

static void life_end(void)
{
    enum sim_process_end end = sim_process_end(node.process);
    uint64_t way = sim_world_below(node.world, 10);
    counts.crash_points += end == SIM_CRASHED;
    counts.disk_deaths += end == SIM_STOPPED;
    counts.starts_cut += !node.is_started;
    if (end == SIM_ALIVE && way < 2 && stop_in_order()) {
        counts.stops++;
    }
    sim_disk_crash_at(node.disk, 0);
    trouble_end();
    if (way < 8) {
        if (is_alive() && is_closed(NULL)) {
            sim_process_close(node.process); /* checks that nothing is left */
            node.process = NULL;
        }
        sim_disk_power_loss(node.disk);
        counts.power_losses++;
    } else if (end == SIM_ALIVE) {
        sim_process_kill(node.process);
        counts.kills++;
    }
    if (node.process != NULL) {
        sim_process_close(node.process);
    }
}

static bool is_settled(void)
{
    for (unsigned i = 0; i < POWER_SLOTS; i++) {
        if (!power_client_is_settled(&clients, i)) {
            return false;
        }
    }
    return true;
}

static void settle(uint64_t seed)
{
    for (unsigned i = 0; i < SETTLE_TURNS && !is_settled(); i++) {
        struct power_call call = {&clients, i % POWER_SLOTS};
        run(power_client_send, &call);
        run(power_node_fill, &node);
        (void)sim_world_run_until(node.world, NULL, NULL, 1000);
        check_life(seed, LIVES, "settling");
    }
    ck_assert_msg(is_settled(), "seed %llu: no progress after the faults ended", (unsigned long long)seed);
}

static void last_life(uint64_t seed)
{
    memset(&trouble, 0, sizeof(trouble));
    life_begin();
    run(power_node_start, &node);
    check_life(seed, LIVES, "start");
    settle(seed);
    for (unsigned i = 0; i < POWER_SLOTS; i++) {
        struct power_call call = {&clients, i};
        run(power_client_check, &call);
        run(power_client_repeat, &call);
    }
    (void)sim_world_run_until(node.world, NULL, NULL, 100000);
    check_life(seed, LIVES, "after all was sent again");
    ck_assert(stop_in_order());
    sim_process_close(node.process);
}

static void run_seed(uint64_t seed)
{
    if (getenv("POWER_VERBOSE") != NULL) {
        printf("seed %llu\n", (unsigned long long)seed);
        (void)fflush(stdout);
    }
    struct sim_world *world = sim_world_open(seed);
    power_node_init(&node, world, sim_disk_open(world, "/n1"));
    node.on_gone = on_gone;
    power_clients_init(&clients, &node);
    for (unsigned life = 0; life < LIVES; life++) {
        life_begin();
        trouble_begin();
        if (sim_world_below(world, 2) == 0) {
            static const uint64_t spans[] = {40, 400, 4000};
            uint64_t at = 1 + sim_world_below(world, spans[sim_world_below(world, 3)]);
            sim_disk_crash_at(node.disk, sim_disk_change_count(node.disk) + at);
        }
        run(power_node_start, &node);
        check_life(seed, life, "start");
        if (node.is_started) {
            life_run();
        }
        check_life(seed, life, "load");
        life_end();
    }
    last_life(seed);
    counts.layouts += node.layouts_changed;
    counts.removed += node.removed;
    counts.acked += clients.acked;
    counts.trims += clients.trims;
    sim_disk_close(node.disk);
    sim_world_close(world);
}

static uint64_t number_of(const char *name, uint64_t other)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : other;
}

START_TEST(nothing_acknowledged_is_lost)
{
    if (getenv("POWER_SEED") != NULL) {
        (void)trace_set_level_text("all", "debug");
        run_seed(number_of("POWER_SEED", 0));
        return;
    }
    uint64_t first = number_of("POWER_FIRST", 1);
    uint64_t seeds = number_of("POWER_SEEDS", SEEDS_DEFAULT);
    (void)trace_set_level_text("all", "error");
    canary_from_environment();
    for (uint64_t seed = first; seed < first + seeds; seed++) {
        run_seed(seed);
    }
    printf(
        "%llu seeds: %llu power losses, %llu kills, %llu ends in order; %llu deaths inside a disk operation, %llu by "
        "faults of the disk, %llu in the start; %llu changes of the shard count, %llu groups removed, %llu trims, "
        "%llu batches acknowledged\n",
        (unsigned long long)seeds, (unsigned long long)counts.power_losses, (unsigned long long)counts.kills,
        (unsigned long long)counts.stops, (unsigned long long)counts.crash_points,
        (unsigned long long)counts.disk_deaths, (unsigned long long)counts.starts_cut,
        (unsigned long long)counts.layouts, (unsigned long long)counts.removed, (unsigned long long)counts.trims,
        (unsigned long long)counts.acked);
}
END_TEST

static Suite *power_loss_suite(void)
{
    Suite *suite = suite_create("power_loss");
    TCase *tcase = tcase_create("power_loss");
    tcase_set_timeout(tcase, 0);
    tcase_add_test(tcase, nothing_acknowledged_is_lost);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(power_loss_suite)
