/* Power loss and killed processes at every moment of a write-ahead log's life: files being made, recycled, removed,
 * units in flight, a cut that is being made durable. The checks are in tests/lib/wal_world.h. */
#include <stdio.h>
#include <stdlib.h>

#include "base/limits.h"
#include "base/mem.h"
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
    const char *text = getenv("WAL_CRASH_SCALE"); /* more rounds for a long run */
    return count * (text == NULL ? 1 : (unsigned)strtoul(text, NULL, 10));
}

/* Goal: no moment of a life is deadly. Method: at each change of the disk in a life with many file switches, a crash
 * of each kind is taken and recovered twice. */
START_TEST(every_moment_survives_every_kind_of_crash)
{
    struct world world;
    world_init(&world, &small, (uint64_t)_i + 1);
    world.is_forging = _i % 2 == 1;
    world_open(&world, NULL);
    world.crash_rate = 1;
    world_live(&world, scale(200));
    world.crash_rate = 0;
    crash_disk_free(world_close(&world));
    printf("sweep %d: %llu frames, %llu crashes\n", _i, (unsigned long long)world.end_id - 1,
           (unsigned long long)world.crash_count);
    world_deinit(&world);
}
END_TEST

/* Goal: crash after crash, what was durable stays, LSNs go up, and nothing of a former life comes back. Method:
 * chains of lives, each begun on what a crash at a drawn moment of the one before has left, its opening included; in
 * each, crashes on the side are checked, too. */
START_TEST(chains_of_crashes_keep_what_was_durable)
{
    struct world world;
    world_init(&world, &small, 1000 + (uint64_t)_i);
    world.is_forging = _i % 2 == 1;
    struct crash_disk *disk = NULL;
    for (unsigned life = 0; life < scale(40); life++) {
        world.next_rate = life % 3 == 0 ? 10 : 100;
        world.crash_rate = 14;
        world_open(&world, disk);
        world_live(&world, 60);
        world.crash_rate = 0;
        disk = world_close(&world);
        if (world.next_disk != NULL) {
            crash_disk_free(disk);
            disk = world_rewind(&world);
        }
    }
    crash_disk_free(disk);
    printf("chain %d: %llu frames, %llu crashes\n", _i, (unsigned long long)world.end_id - 1,
           (unsigned long long)world.crash_count);
    world_deinit(&world);
}
END_TEST

static Suite *wal_files_suite(void)
{
    Suite *suite = suite_create("wal_files");
    TCase *tcase = tcase_create("crash");
    tcase_set_timeout(tcase, 300);
    tcase_add_loop_test(tcase, every_moment_survives_every_kind_of_crash, 0, 12);
    tcase_add_loop_test(tcase, chains_of_crashes_keep_what_was_durable, 0, 24);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(wal_files_suite)
