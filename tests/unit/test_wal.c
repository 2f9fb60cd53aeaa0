/* The write-ahead log as its callers see it: order, group commit, stalls, releases, pressure, failing disks,
 * closing. Crashes are in test_wal_files.c, damage in test_wal_recover.c, the real disk in test_wal_uv.c. */
#include "replication/wal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "replication/wal_file.h"
#include "replication/wal_format.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"
#include "tests/lib/wal_world.h"

static const struct wal_options small = {
    .file_size = KIB(64),
    .file_count_max = 3,
    .checkpoint_size = KIB(100),
};

static struct wal_world world;

static void setup(void)
{
    wal_world_init(&world, &small, 7);
}

static void teardown(void)
{
    wal_world_deinit(&world);
}

static void open_log(void)
{
    ck_assert(wal_world_open(&world, false));
}

static void close_log(void)
{
    ck_assert(wal_world_close(&world));
}

static void power_loss_and_open(void)
{
    wal_world_die(&world, WAL_POWER_LOSS);
    open_log();
}

static void append_blocks(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        wal_world_append(&world, WAL_ENTRY, 100);
        wal_world_settle(&world);
    }
}

static void append_until_stalled(void)
{
    for (unsigned i = 0; i < 100 && !wal_is_stalled(world.wal); i++) {
        append_blocks(1);
    }
    ck_assert(wal_is_stalled(world.wal));
}

/* ---- Writing ---------------------------------------------------------------------------------------------------- */

/* Goal: one write covers all that was appended in a turn, and all that was appended while it was in flight goes
 * into the next. Method: the first write is slow; appends before and during it; writes counted. */
START_TEST(group_commit_takes_one_write_for_all)
{
    struct sim_fault slow = {.ops = SIM_OP_WRITE, .delay_us = 100000};
    fault_init(&slow.when, 1, 1);
    open_log();
    sim_disk_fault_add(world.disk, &slow);
    uint64_t changes = sim_disk_change_count(world.disk);
    for (int i = 0; i < 50; i++) {
        wal_world_append(&world, WAL_ENTRY, 100);
    }
    ck_assert_uint_eq(sim_disk_change_count(world.disk), changes);
    ck_assert_int_eq(sim_world_run_until(world.sim, NULL, NULL, 50000), SIM_TIME_UP);
    for (int i = 0; i < 50; i++) {
        wal_world_append(&world, WAL_HARD_STATE, 10);
    }
    ck_assert_uint_eq(world.durable_id, 1);
    wal_world_settle(&world);
    ck_assert_uint_eq(world.durable_id, 101);
    ck_assert_int_eq(wal_world_metric(&world, METRIC_WAL_SYNCS), 2);
    ck_assert_int_eq(wal_world_metric(&world, METRIC_WAL_BYTES), KIB(8) + KIB(4));
    ck_assert_int_eq(wal_world_metric(&world, METRIC_WAL_SYNC_US), 2);
    sim_disk_fault_remove(world.disk, &slow);
    close_log();
}
END_TEST

/* Goal: a shard with nothing to write does no I/O, and a new log needs no second file. Method: an idle log, closed
 * unused: changes of the disk are counted. */
START_TEST(idle_log_does_nothing)
{
    open_log();
    uint64_t changes = sim_disk_change_count(world.disk);
    wal_world_settle(&world);
    ck_assert_uint_eq(wal_start_lsn(world.wal), wal_end_lsn(world.wal));
    close_log();
    ck_assert_uint_eq(sim_disk_change_count(world.disk), changes);
}
END_TEST

/* Goal: commit marks cost no write of their own, hold nobody up, and are written with what comes next or at the
 * end. Method: marks alone, then an entry; marks again, then close; all must be replayed. */
START_TEST(commit_marks_wait_for_company)
{
    open_log();
    append_blocks(1);
    int64_t syncs = wal_world_metric(&world, METRIC_WAL_SYNCS);
    for (int i = 0; i < 100; i++) {
        wal_world_append(&world, WAL_COMMIT, 0);
    }
    wal_world_settle(&world);
    ck_assert_int_eq(wal_world_metric(&world, METRIC_WAL_SYNCS), syncs);
    ck_assert_uint_eq(wal_end_lsn(world.wal), wal_durable_lsn(world.wal));
    append_blocks(1);
    ck_assert_int_eq(wal_world_metric(&world, METRIC_WAL_SYNCS), syncs + 1);
    ck_assert_uint_eq(world.durable_id, 103);
    for (int i = 0; i < 2000; i++) { /* more than a unit: some are written after all */
        wal_world_append(&world, WAL_COMMIT, 0);
    }
    wal_world_settle(&world);
    ck_assert_int_gt(wal_world_metric(&world, METRIC_WAL_SYNCS), syncs + 1);
    ck_assert_uint_lt(world.durable_id, world.end_id);
    close_log();
    ck_assert_uint_eq(world.durable_id, 2103);
    open_log();
    ck_assert_uint_eq(world.end_id, 2103);
    close_log();
}
END_TEST

/* Goal: a frame that is larger than a unit's soft size, and one larger than the first file, are written. Method:
 * such frames among small ones, over a restart. */
START_TEST(large_frames_get_units_of_their_own)
{
    static const size_t sizes[] = {10, KIB(300), 20, KIB(900), 0, KIB(1000), KIB(900), 5};
    world.options = (struct wal_options){.file_size = MIB(1), .file_size_first = KIB(64)};
    open_log();
    for (size_t i = 0; i < array_count(sizes); i++) {
        wal_world_append(&world, WAL_ENTRY, sizes[i]);
    }
    wal_world_settle(&world);
    ck_assert_uint_eq(world.durable_id, array_count(sizes) + 1);
    power_loss_and_open();
    ck_assert_uint_eq(world.end_id, array_count(sizes) + 1);
    close_log();
}
END_TEST

/* ---- Room ------------------------------------------------------------------------------------------------------- */

/* Goal: with all files full and pinned, appends wait; a release lets them go on; nothing is lost or reordered.
 * Method: append until it stalls, see that nothing moves, release, see all become durable; twice, and over a
 * restart in between. */
START_TEST(stalls_when_all_files_are_pinned_until_released)
{
    for (int round = 0; round < 3; round++) {
        open_log();
        wal_world_settle(&world);
        ck_assert(!wal_is_stalled(world.wal));
        append_until_stalled();
        ck_assert_int_gt(wal_world_metric(&world, METRIC_WAL_STALLS), 0);
        ck_assert_uint_gt(world.pressure_count, 0);
        uint64_t durable_id = world.durable_id;
        append_blocks(10);
        ck_assert_uint_eq(world.durable_id, durable_id);
        if (round == 1) {
            wal_world_release(&world, world.frames[2].lsn); /* frees nothing */
            wal_world_settle(&world);
            ck_assert_uint_eq(world.durable_id, durable_id);
        }
        if (round == 2) {
            power_loss_and_open();
            append_until_stalled();
        }
        uint64_t start_lsn = wal_start_lsn(world.wal);
        wal_world_release(&world, world.durable_lsn);
        ck_assert(wal_is_stalled(world.wal));
        wal_world_settle(&world);
        ck_assert(!wal_is_stalled(world.wal));
        ck_assert_uint_eq(world.durable_id, world.end_id);
        ck_assert_uint_gt(wal_start_lsn(world.wal), start_lsn);
        power_loss_and_open();
        close_log();
    }
}
END_TEST

/* Goal: a log that is stalled for good can be closed; what was durable is there, what waited is not called durable.
 * Method: close in a stall, reopen, release, go on. */
START_TEST(stalled_log_closes_without_what_waits)
{
    open_log();
    append_until_stalled();
    append_blocks(5);
    uint64_t durable_id = world.durable_id;
    close_log();
    ck_assert_uint_eq(world.durable_id, durable_id);
    open_log();
    ck_assert_uint_eq(world.end_id, durable_id);
    for (int i = 0; i < 4; i++) {
        wal_world_release(&world, world.durable_lsn);
        append_blocks(10);
    }
    ck_assert_uint_eq(world.durable_id, world.end_id);
    close_log();
}
END_TEST

/* Goal: pressure is told once, and again only after a release that was not enough. Method: grow beyond the
 * checkpoint size, count; release a little, grow by one unit, count. */
START_TEST(pressure_is_told_once_until_released)
{
    world.options.file_count_max = 8;
    open_log();
    append_blocks(24);
    ck_assert_uint_eq(world.pressure_count, 0);
    append_blocks(2);
    ck_assert_uint_eq(world.pressure_count, 1);
    append_blocks(10);
    ck_assert_uint_eq(world.pressure_count, 1);
    wal_world_release(&world, world.frames[3].lsn);
    wal_world_settle(&world);
    ck_assert_uint_eq(world.pressure_count, 2);
    wal_world_release(&world, world.durable_lsn);
    append_blocks(20);
    ck_assert_uint_eq(world.pressure_count, 2);
    close_log();
}
END_TEST

/* Goal: a full disk stops the log from growing, not the process; when there is room again it goes on by itself.
 * Method: the disk becomes full before the second file is made; in a second life as well. */
START_TEST(full_disk_stalls_and_mends_itself)
{
    open_log();
    sim_disk_set_capacity(world.disk, sim_disk_used(world.disk));
    for (int i = 0; i < 30; i++) {
        wal_world_append(&world, WAL_ENTRY, 3000);
        wal_world_settle(&world);
    }
    ck_assert(wal_is_stalled(world.wal));
    ck_assert_uint_gt(world.pressure_count, 0);
    ck_assert_int_ge(wal_world_metric(&world, METRIC_WAL_FILE_RETRIES), 1);
    ck_assert_uint_lt(world.durable_id, world.end_id);
    power_loss_and_open();
    for (int i = 0; i < 30; i++) {
        wal_world_append(&world, WAL_ENTRY, 3000);
        wal_world_settle(&world);
    }
    ck_assert(wal_is_stalled(world.wal));
    sim_disk_set_capacity(world.disk, GIB(1));
    wal_world_settle(&world);
    ck_assert(!wal_is_stalled(world.wal));
    ck_assert_uint_eq(world.durable_id, world.end_id);
    close_log();
}
END_TEST

/* Goal: a log whose first unit is larger than its first file gets one that is large enough. Method: that, and power is
 * lost. */
START_TEST(first_unit_is_larger_than_the_first_file)
{
    world.options = (struct wal_options){.file_size = KIB(512), .file_size_first = KIB(64), .file_count_max = 8};
    open_log();
    for (int i = 0; i < 30; i++) {
        wal_world_append(&world, WAL_ENTRY, 10000);
    }
    wal_world_settle(&world);
    ck_assert_uint_eq(world.durable_id, world.end_id);
    power_loss_and_open();
    append_blocks(200);
    ck_assert_uint_eq(world.durable_id, world.end_id);
    power_loss_and_open();
    close_log();
}
END_TEST

/* Writes to files that are being made, until the log has `sequence`. */
static uint64_t fill_count(uint64_t sequence, unsigned at_once)
{
    struct sim_fault count = {.ops = SIM_OP_PWRITEV, .path = WAL_SUFFIX_NEW};
    fault_init(&count.when, 1, FAULT_FOREVER);
    sim_disk_fault_add(world.disk, &count);
    char path[64];
    (void)snprintf(path, sizeof(path), WAL_WORLD_DIR "/%020" PRIu64 WAL_SUFFIX, sequence);
    uint64_t size = 0;
    while (!sim_disk_stat(world.disk, path, &size)) {
        for (unsigned i = 0; i < at_once; i++) {
            wal_world_append(&world, WAL_ENTRY, 10000);
        }
        wal_world_settle(&world);
    }
    ck_assert_uint_eq(size, world.options.file_size);
    sim_disk_fault_remove(world.disk, &count);
    return count.hit_count;
}

/* Goal: the next file is filled with zeros while there is time, and not when the log would wait for it; it has its size
 * and its place on the disk all the same. Method: two logs, one written to now and then, one with more than units of
 * it can hold; then the disk is full, and the files that are there take what they can. */
START_TEST(a_file_is_filled_while_there_is_time)
{
    world.options = (struct wal_options){.file_size = MIB(1), .file_size_first = KIB(256), .file_count_max = 8};
    open_log();
    ck_assert_uint_ge(fill_count(2, 1), MIB(1) / WAL_FILL_SIZE);
    close_log();
    wal_world_deinit(&world);
    wal_world_init(&world, &small, 7);
    world.options = (struct wal_options){.file_size = MIB(1), .file_size_first = KIB(256), .file_count_max = 8};
    open_log();
    ck_assert_uint_lt(fill_count(3, 300), 6);
    sim_disk_set_capacity(world.disk, sim_disk_used(world.disk));
    for (unsigned i = 0; i < 100 && !wal_is_stalled(world.wal); i++) {
        wal_world_append(&world, WAL_ENTRY, 10000);
        wal_world_settle(&world);
    }
    power_loss_and_open();
    close_log();
}
END_TEST

/* Goal: a recycled file is as large as it was: a log in its stride makes nothing longer. Method: after a warm-up
 * that releases, the disk is full, and much more than all files hold is written without a stall. */
START_TEST(files_are_recycled_not_made)
{
    world.options.file_count_max = 8;
    open_log();
    for (int i = 0; i < 300; i++) {
        append_blocks(1);
        if (i % 20 == 0) {
            wal_world_release(&world, world.durable_lsn);
        }
        if (i == 150) {
            sim_disk_set_capacity(world.disk, sim_disk_used(world.disk));
        }
    }
    ck_assert_int_eq(wal_world_metric(&world, METRIC_WAL_STALLS), 0);
    ck_assert_uint_eq(world.durable_id, world.end_id);
    ck_assert_uint_ge(wal_start_lsn(world.wal) + 4 * KIB(64), world.durable_lsn);
    close_log();
}
END_TEST

/* ---- Failing disks ---------------------------------------------------------------------------------------------- */

/* Goal: no single failure of a blocking call loses anything: opening tells it and can be tried again, a background
 * job is tried again. Method: each such call of a life of several files, its reopening included, fails once. */
START_TEST(each_failing_file_operation_is_survived)
{
    for (unsigned at = 1;; at++) {
        struct wal_world life;
        wal_world_init(&life, &small, at);
        if (at % 2 == 0) { /* odd: the first opening is in the sweep, too */
            ck_assert(wal_world_open(&life, false));
            wal_world_live(&life, 30);
            ck_assert(wal_world_close(&life));
        }
        struct sim_fault fault = {
            .ops = SIM_OP_OPEN | SIM_OP_PREAD | (SIM_OP_CHANGES & ~(unsigned)SIM_OP_WRITE),
            .err = ERR_IO,
        };
        fault_init(&fault.when, (at + 1) / 2, 1);
        sim_disk_fault_add(life.disk, &fault);
        if (!wal_world_open(&life, true)) {
            ck_assert_int_eq(life.open_err, ERR_IO);
            ck_assert_ptr_nonnull(strstr(life.msg.text, "/n1"));
            ck_assert(wal_world_close(&life));
            ck_assert(wal_world_open(&life, false));
        }
        wal_world_live(&life, 60);
        wal_world_release(&life, life.durable_lsn);
        wal_world_append(&life, WAL_ENTRY, 10); /* takes commit marks along */
        wal_world_settle(&life);
        ck_assert_uint_eq(life.durable_id, life.end_id);
        sim_disk_fault_remove(life.disk, &fault);
        wal_world_die(&life, WAL_POWER_LOSS);
        ck_assert(wal_world_open(&life, false));
        ck_assert(wal_world_close(&life));
        wal_world_deinit(&life);
        if (fault.hit_count == 0) {
            ck_assert_uint_gt(at, 60);
            break;
        }
    }
}
END_TEST

/* Goal: a disk that is full at the first opening is told as that. */
START_TEST(first_opening_tells_a_full_disk)
{
    sim_disk_set_capacity(world.disk, KIB(32));
    ck_assert(!wal_world_open(&world, true));
    ck_assert_int_eq(world.open_err, ERR_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(world.msg.text, WAL_WORLD_DIR "/00000000000000000001"));
    close_log();
}
END_TEST

/* Goal: a failed write of a unit ends the process: what memory and disk hold is no longer the same. Method: the
 * second write fails; its frame is never reported durable, and the text says what was lost where. */
START_TEST(failed_write_ends_the_process)
{
    struct sim_fault fault = {.ops = SIM_OP_WRITE, .err = ERR_IO};
    fault_init(&fault.when, 2, 1);
    open_log();
    sim_disk_fault_add(world.disk, &fault);
    append_blocks(1);
    ck_assert_uint_eq(world.durable_id, 2);
    append_blocks(1);
    ck_assert(!world.is_alive);
    ck_assert_uint_eq(world.durable_id, 2);
    ck_assert_int_eq(sim_process_end(world.process), SIM_STOPPED);
    ck_assert_ptr_nonnull(strstr(sim_process_end_text(world.process), "file 1 at position 8192"));
    sim_disk_fault_remove(world.disk, &fault);
    power_loss_and_open();
    close_log();
}
END_TEST

/* ---- Opening and closing ---------------------------------------------------------------------------------------- */

static unsigned stop_count;

static void count_stop(void *owner, const struct wal_record *record)
{
    (void)owner;
    stop_count += record->kind == WAL_STOP ? 1 : 0;
}

static void scan(void *context)
{
    (void)context;
    stop_count = 0;
    enum err err = wal_scan(world.env, WAL_WORLD_DIR, NULL, count_stop, &world.msg);
    ck_assert_int_eq(err, OK);
    err = wal_scan(world.env, "/n1/elsewhere", NULL, count_stop, &world.msg);
    ck_assert_int_eq(err, ERR_NOT_FOUND);
}

/* Goal: a clean end is a unit of its own behind the frames that waited, and is not written again when nothing was
 * added. Method: close with frames waiting; open and close; look at the last units. */
START_TEST(clean_end_is_written_once_in_a_unit_of_its_own)
{
    open_log();
    wal_world_append(&world, WAL_ENTRY, 100);
    wal_world_append(&world, WAL_COMMIT, 0);
    close_log();
    ck_assert_uint_eq(world.durable_id, 3);
    ck_assert_uint_eq(world.durable_lsn, WAL_LSN_FIRST + 2 * WAL_BLOCK_SIZE);
    for (int i = 0; i < 3; i++) {
        open_log();
        if (i == 2) {
            ck_assert(sim_process_run(world.process, scan, NULL));
            ck_assert_uint_eq(stop_count, 1);
        }
        close_log();
    }
    ck_assert_uint_eq(world.durable_lsn, WAL_LSN_FIRST + 2 * WAL_BLOCK_SIZE);
}
END_TEST

/* Goal: closing while a file is made or a write is in flight waits for it. Method: close after each number of
 * steps of the same life; the process must have given back all files and memory. */
START_TEST(close_waits_for_what_is_in_flight)
{
    for (unsigned steps = 0; steps < 80; steps++) {
        struct wal_world life;
        wal_world_init(&life, &small, 3);
        ck_assert(wal_world_open(&life, false));
        for (unsigned i = 0; i < steps; i++) {
            wal_world_append(&life, WAL_ENTRY, 6000);
            wal_world_step(&life, 1);
        }
        ck_assert(wal_world_close(&life));
        ck_assert(wal_world_open(&life, false));
        ck_assert(wal_world_close(&life));
        wal_world_deinit(&life);
    }
}
END_TEST

/* Goal: options that cannot work are refused with a text. */
START_TEST(bad_options_are_refused)
{
    static const struct wal_options bad[] = {
        {.file_size = KIB(64) + 512}, {.file_size = KIB(16)}, {.file_size_first = KIB(64) + 1},
        {.file_size_first = KIB(60)}, {.file_count_max = 1},
    };
    world.options = bad[_i];
    ck_assert(!wal_world_open(&world, true));
    ck_assert_int_eq(world.open_err, ERR_INVALID);
    ck_assert_str_ne(world.msg.text, "");
    close_log();
}
END_TEST

static Suite *wal_suite(void)
{
    Suite *suite = suite_create("wal");
    TCase *tcase = tcase_create("wal");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, group_commit_takes_one_write_for_all);
    tcase_add_test(tcase, idle_log_does_nothing);
    tcase_add_test(tcase, commit_marks_wait_for_company);
    tcase_add_test(tcase, large_frames_get_units_of_their_own);
    tcase_add_test(tcase, stalls_when_all_files_are_pinned_until_released);
    tcase_add_test(tcase, stalled_log_closes_without_what_waits);
    tcase_add_test(tcase, pressure_is_told_once_until_released);
    tcase_add_test(tcase, full_disk_stalls_and_mends_itself);
    tcase_add_test(tcase, first_unit_is_larger_than_the_first_file);
    tcase_add_test(tcase, a_file_is_filled_while_there_is_time);
    tcase_add_test(tcase, files_are_recycled_not_made);
    tcase_add_test(tcase, each_failing_file_operation_is_survived);
    tcase_add_test(tcase, first_opening_tells_a_full_disk);
    tcase_add_test(tcase, failed_write_ends_the_process);
    tcase_add_test(tcase, clean_end_is_written_once_in_a_unit_of_its_own);
    tcase_add_test(tcase, close_waits_for_what_is_in_flight);
    tcase_add_loop_test(tcase, bad_options_are_refused, 0, 5);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(wal_suite)
