/* Power loss and killed processes at every moment of a write-ahead log's life: files being made, recycled, removed,
 * units in flight, a cut being made durable. What is checked: tests/lib/wal_world.h. */
#include "replication/wal_files.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"
#include "tests/lib/wal_world.h"

static const struct wal_options small = {
    .file_size = KIB(68),
    .file_size_first = KIB(64),
    .file_count_max = 4,
    .checkpoint_size = KIB(100),
};

static unsigned scale(unsigned count)
{
    const char *text = getenv("WAL_CRASH_SCALE"); /* more of it, for a long run */
    return count * (text == NULL ? 1 : (unsigned)strtoul(text, NULL, 10));
}

/* Goal: no moment of a life is deadly. Method: a life with several file switches ends in its first change of the
 * disk, in its second, and so on, by a kill or a power loss; it is opened, goes on, loses power again, and is
 * opened again. */
START_TEST(every_moment_survives_death)
{
    unsigned death_count = 0;
    for (unsigned at = 1;; at++) {
        struct wal_world world;
        wal_world_init(&world, &small, (uint64_t)_i + 1);
        world.is_forging = _i % 2 == 1;
        wal_world_crash_at(&world, at);
        if (wal_world_open(&world, false)) {
            wal_world_live(&world, scale(80));
        }
        bool was_met = !world.is_alive;
        wal_world_die(&world, (enum wal_death)((at + (unsigned)_i / 2) % 2));
        for (int i = 0; i < 2; i++) {
            ck_assert(wal_world_open(&world, false));
            wal_world_live(&world, (unsigned)sim_world_below(world.sim, 30));
            wal_world_die(&world, WAL_POWER_LOSS);
        }
        ck_assert(wal_world_open(&world, false));
        ck_assert(wal_world_close(&world));
        wal_world_deinit(&world);
        death_count += 3;
        if (!was_met) {
            break;
        }
    }
    printf("sweep %d: %u deaths\n", _i, death_count);
}
END_TEST

/* Goal: what a killed process left in the cache, names and units, is made durable before anything is built on it.
 * Method: kills at every moment; the next life can make no files, so that nothing it does syncs a directory by the
 * way; it fills what files there are, and power is lost. */
START_TEST(what_a_kill_leaves_is_made_durable)
{
    for (unsigned at = 1;; at++) {
        struct wal_world world;
        wal_world_init(&world, &small, 77);
        ck_assert(wal_world_open(&world, false));
        wal_world_crash_at(&world, at);
        for (int i = 0; i < 60; i++) {
            wal_world_append(&world, WAL_ENTRY, 100);
            wal_world_step(&world, 6);
        }
        bool was_met = !world.is_alive;
        wal_world_die(&world, WAL_KILL);
        ck_assert(wal_world_open(&world, false));
        struct sim_fault fault = {.ops = SIM_OP_CREATE, .err = ERR_IO};
        fault_init(&fault.when, 1, FAULT_FOREVER);
        sim_disk_fault_add(world.disk, &fault);
        for (int i = 0; i < 40; i++) {
            wal_world_append(&world, WAL_ENTRY, 100);
            wal_world_step(&world, 6);
        }
        wal_world_die(&world, WAL_POWER_LOSS);
        sim_disk_fault_remove(world.disk, &fault);
        ck_assert(wal_world_open(&world, false));
        ck_assert(wal_world_close(&world));
        wal_world_deinit(&world);
        if (!was_met) {
            ck_assert_uint_gt(at, 60);
            break;
        }
    }
}
END_TEST

/* Goal: death after death, what was durable stays, LSNs go up, and nothing of a former life comes back. Method:
 * chains of lives of random length, each opened on what the one before left; some end in order, some die while
 * they open. */
START_TEST(chains_of_deaths_keep_what_was_durable)
{
    struct wal_world world;
    unsigned death_count = 0;
    wal_world_init(&world, &small, 1000 + (uint64_t)_i);
    world.is_forging = _i % 2 == 1;
    for (unsigned life = 0; life < scale(500); life++) {
        bool is_short = sim_world_below(world.sim, 3) == 0;
        wal_world_crash_at(&world, 1 + sim_world_below(world.sim, is_short ? 12 : 120));
        bool is_open = wal_world_open(&world, false);
        if (is_open) {
            wal_world_live(&world, 40);
        }
        if (is_open && world.is_alive && sim_world_below(world.sim, 2) == 0 && wal_world_close(&world)) {
            wal_world_crash_at(&world, 0);
            continue;
        }
        wal_world_die(&world, sim_world_below(world.sim, 2) == 0 ? WAL_KILL : WAL_POWER_LOSS);
        death_count++;
    }
    printf("chain %d: %u deaths, %llu frames\n", _i, death_count, (unsigned long long)world.end_id - 1);
    wal_world_deinit(&world);
}
END_TEST

static Suite *wal_files_suite(void)
{
    Suite *suite = suite_create("wal_files");
    TCase *tcase = tcase_create("deaths");
    tcase_set_timeout(tcase, 600);
    tcase_add_loop_test(tcase, every_moment_survives_death, 0, 8);
    tcase_add_test(tcase, what_a_kill_leaves_is_made_durable);
    tcase_add_loop_test(tcase, chains_of_deaths_keep_what_was_durable, 0, 16);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(wal_files_suite)
