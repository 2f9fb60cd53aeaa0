/* The write-ahead log as its callers see it: order, group commit, stalls, releases, pressure, failing disks,
 * closing. Crashes are in test_wal_files.c, damage in test_wal_recover.c, the real disk in test_wal_uv.c. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/wal_format.h"
#include "tests/lib/test.h"
#include "tests/lib/wal_world.h"

static const struct wal_options small = {
    .file_size = KIB(64),
    .file_count_max = 3,
    .checkpoint_size = KIB(100),
};

static struct world world;

static void setup(void)
{
    world_init(&world, &small, 7);
}

static void teardown(void)
{
    world_deinit(&world);
}

static int64_t metric(enum metric metric)
{
    return metrics_value(world.crash->env.metrics, metric);
}

static void append_blocks(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        world_append(&world, WAL_ENTRY, 100);
        world_settle(&world);
    }
}

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

/* Goal: one write covers all that was appended in a turn, and all that was appended while it was in flight goes into
 * the next. Method: appends at both times, writes counted. */
START_TEST(group_commit_takes_one_write_for_all)
{
    world_open(&world, NULL);
    world_settle(&world);
    for (int i = 0; i < 50; i++) {
        world_append(&world, WAL_ENTRY, 100);
    }
    ck_assert_uint_eq(world.crash->write_count, 0);
    ck_assert(crash_env_step(world.crash)); /* the task */
    ck_assert_uint_eq(world.crash->write_count, 1);
    for (int i = 0; i < 50; i++) {
        world_append(&world, WAL_HARD_STATE, 10);
        ck_assert_uint_eq(world.crash->write_count, 1);
    }
    ck_assert_uint_eq(world.durable_id, 1);
    world_settle(&world);
    ck_assert_uint_eq(world.crash->write_count, 2);
    ck_assert_uint_eq(world.durable_id, 101);
    ck_assert_int_eq(metric(METRIC_WAL_SYNCS), 2);
    ck_assert_int_eq(metric(METRIC_WAL_BYTES), KIB(8) + KIB(4));
    ck_assert_int_eq(metric(METRIC_WAL_SYNC_US), 2);
    crash_disk_free(world_close(&world));
}
END_TEST

/* Goal: a shard with nothing to write does no I/O, and a new log needs no second file. Method: an idle log, then one
 * closed unused: files and writes are counted. */
START_TEST(idle_log_does_nothing)
{
    world_open(&world, NULL);
    fault_init(&world.crash->op_fault, 0, 1);
    world_settle(&world);
    ck_assert_uint_eq(world.crash->op_fault.calls, 0);
    ck_assert_uint_eq(world.crash->write_count, 0);
    ck_assert_uint_eq(wal_start_lsn(world.wal), wal_end_lsn(world.wal));
    crash_disk_free(world_close(&world));
}
END_TEST

/* Goal: commit marks cost no write of their own, hold nobody up, and are written with what comes next or at the end.
 * Method: marks alone, then an entry; marks again, then close; all must be replayed. */
START_TEST(commit_marks_wait_for_company)
{
    world_open(&world, NULL);
    append_blocks(1);
    uint64_t writes = world.crash->write_count;
    for (int i = 0; i < 100; i++) {
        world_append(&world, WAL_COMMIT, 0);
    }
    world_settle(&world);
    ck_assert_uint_eq(world.crash->write_count, writes);
    ck_assert_uint_eq(wal_end_lsn(world.wal), wal_durable_lsn(world.wal));
    append_blocks(1);
    ck_assert_uint_eq(world.crash->write_count, writes + 1);
    ck_assert_uint_eq(world.durable_id, 103);
    for (int i = 0; i < 2000; i++) { /* more than a unit: some are written after all */
        world_append(&world, WAL_COMMIT, 0);
    }
    world_settle(&world);
    ck_assert_uint_gt(world.crash->write_count, writes + 1);
    ck_assert_uint_lt(world.durable_id, world.end_id);
    struct crash_disk *disk = world_close(&world);
    ck_assert_uint_eq(world.durable_id, 2103);
    world_open(&world, disk);
    ck_assert_uint_eq(world.end_id, 2103);
    crash_disk_free(world_close(&world));
}
END_TEST

/* Goal: a frame that is larger than a unit's soft size, and one larger than the first file, are written. Method:
 * such frames among small ones, over a restart. */
START_TEST(large_frames_get_units_of_their_own)
{
    world.options = (struct wal_options){.file_size = MIB(1), .file_size_first = KIB(64)};
    world_open(&world, NULL);
    static const size_t sizes[] = {10, KIB(300), 20, KIB(900), 0, KIB(1000), KIB(900), 5};
    for (size_t i = 0; i < array_count(sizes); i++) {
        world_append(&world, WAL_ENTRY, sizes[i]);
    }
    world_settle(&world);
    ck_assert_uint_eq(world.durable_id, array_count(sizes) + 1);
    world_open(&world, world_close(&world));
    ck_assert_uint_eq(world.end_id, array_count(sizes) + 1);
    crash_disk_free(world_close(&world));
}
END_TEST

/* ---- Room -------------------------------------------------------------------------------------------------------- */

/* Goal: with all files full and pinned, appends wait; a release lets them go on; nothing is lost or reordered.
 * Method: append until it stalls, see that nothing moves, release, see all become durable; twice, and over a restart
 * in between. */
START_TEST(stalls_when_all_files_are_pinned_until_released)
{
    struct crash_disk *disk = NULL;
    for (int round = 0; round < 3; round++) {
        world_open(&world, disk);
        world_settle(&world);
        ck_assert(!wal_is_stalled(world.wal));
        for (int i = 0; i < 100 && !wal_is_stalled(world.wal); i++) {
            append_blocks(1);
        }
        ck_assert(wal_is_stalled(world.wal));
        ck_assert_int_eq(metric(METRIC_WAL_STALLS) > 0, 1);
        ck_assert_uint_gt(world.pressure_count, 0);
        uint64_t durable_id = world.durable_id;
        append_blocks(10);
        ck_assert_uint_eq(world.durable_id, durable_id);
        world_crash(&world, CRASH_DROP);
        if (round == 1) {
            world_release(&world, world.frames[2].lsn); /* frees nothing */
            world_settle(&world);
            ck_assert_uint_eq(world.durable_id, durable_id);
        }
        uint64_t start_lsn = wal_start_lsn(world.wal);
        world_release(&world, world.durable_lsn);
        ck_assert(wal_is_stalled(world.wal));
        world_settle(&world);
        ck_assert(!wal_is_stalled(world.wal));
        ck_assert_uint_eq(world.durable_id, world.end_id);
        ck_assert_uint_gt(wal_start_lsn(world.wal), start_lsn);
        world_crash(&world, CRASH_DROP);
        disk = world_close(&world);
    }
    crash_disk_free(disk);
}
END_TEST

/* Goal: a log that is stalled for good can be closed; what was durable is there, what waited is not called durable.
 * Method: close in a stall, reopen, release, go on. */
START_TEST(stalled_log_closes_without_what_waits)
{
    world_open(&world, NULL);
    for (int i = 0; i < 100 && !wal_is_stalled(world.wal); i++) {
        append_blocks(1);
    }
    append_blocks(5);
    uint64_t durable_id = world.durable_id;
    struct crash_disk *disk = world_close(&world);
    ck_assert_uint_eq(world.durable_id, durable_id);
    world_open(&world, disk);
    ck_assert_uint_eq(world.end_id, durable_id);
    world_release(&world, world.durable_lsn);
    append_blocks(40);
    world_release(&world, world.durable_lsn);
    world_settle(&world);
    ck_assert_uint_eq(world.durable_id, world.end_id);
    crash_disk_free(world_close(&world));
}
END_TEST

/* Goal: pressure is told once, and again only after a release that was not enough. Method: grow beyond the
 * checkpoint size, count; release a little, grow by one unit, count. */
START_TEST(pressure_is_told_once_until_released)
{
    world.options.file_count_max = 8;
    world_open(&world, NULL);
    append_blocks(24);
    ck_assert_uint_eq(world.pressure_count, 0);
    append_blocks(2);
    ck_assert_uint_eq(world.pressure_count, 1);
    append_blocks(10);
    ck_assert_uint_eq(world.pressure_count, 1);
    world_release(&world, world.frames[3].lsn);
    world_settle(&world);
    ck_assert_uint_eq(world.pressure_count, 2);
    world_release(&world, world.durable_lsn);
    append_blocks(20);
    ck_assert_uint_eq(world.pressure_count, 2);
    crash_disk_free(world_close(&world));
}
END_TEST

/* Goal: a full disk stops the log from growing, not the process; when there is room again it goes on by itself.
 * Method: the disk becomes full before the second file is made. */
START_TEST(full_disk_stalls_and_mends_itself)
{
    world_open(&world, NULL);
    world.crash->is_full = true;
    for (int i = 0; i < 30; i++) {
        world_append(&world, WAL_ENTRY, 3000);
        for (int step = 0; step < 20; step++) { /* the timer that tries again never rests */
            (void)crash_env_step(world.crash);
        }
    }
    ck_assert(wal_is_stalled(world.wal));
    ck_assert_uint_gt(world.pressure_count, 0);
    ck_assert_uint_lt(world.durable_id, world.end_id);
    world_crash(&world, CRASH_TEAR);
    world.crash->is_full = false;
    world_settle(&world);
    ck_assert(!wal_is_stalled(world.wal));
    ck_assert_uint_eq(world.durable_id, world.end_id);
    crash_disk_free(world_close(&world));
}
END_TEST

/* Goal: a recycled file is as large as it was: a log in its stride makes nothing longer. Method: after a warm-up
 * that releases, the disk is full, and much more than all files hold is written without a stall. */
START_TEST(files_are_recycled_not_made)
{
    world.options.file_count_max = 8;
    world_open(&world, NULL);
    for (int i = 0; i < 300; i++) {
        append_blocks(1);
        if (i % 20 == 0) {
            world_release(&world, world.durable_lsn);
            world_settle(&world);
        }
        world.crash->is_full = i > 150;
    }
    ck_assert_uint_eq(world.durable_id, world.end_id);
    ck_assert_uint_ge(wal_start_lsn(world.wal), world.durable_lsn - KIB(64) * 4);
    crash_disk_free(world_close(&world));
}
END_TEST

/* ---- Failing disks ----------------------------------------------------------------------------------------------- */

/* Goal: no single failure of a blocking call loses anything: opening tells it and can be tried again, a background
 * job is tried again. Method: each such call of a life of several files, its reopening included, fails once. */
START_TEST(each_failing_file_operation_is_survived)
{
    for (unsigned at = 1;; at++) {
        struct world life;
        world_init(&life, &small, at);
        world_open(&life, NULL);
        world_live(&life, 30);
        struct crash_disk *disk = world_close(&life);
        life.op_fault_at = at;
        world_open(&life, disk);
        world_live(&life, 60);
        world_release(&life, life.durable_lsn);
        world_append(&life, WAL_ENTRY, 10); /* takes commit marks along */
        world_settle(&life);
        ck_assert_uint_eq(life.durable_id, life.end_id);
        bool was_hit = fault_was_hit(&life.crash->op_fault);
        disk = world_close(&life);
        life.op_fault_at = 0;
        world_open(&life, disk);
        crash_disk_free(world_close(&life));
        world_deinit(&life);
        if (!was_hit) {
            ck_assert_uint_gt(at, 20);
            break;
        }
    }
}
END_TEST

/* Goal: the same for the opening of a log that is not there yet, and a full disk is told as that. */
START_TEST(failing_first_opening_is_told_and_tried_again)
{
    for (unsigned at = 1;; at++) {
        struct world life;
        world_init(&life, &small, at);
        life.op_fault_at = at;
        world_open(&life, NULL);
        bool was_hit = fault_was_hit(&life.crash->op_fault);
        world_append(&life, WAL_ENTRY, 10);
        world_settle(&life);
        ck_assert_uint_eq(life.durable_id, 2);
        crash_disk_free(world_close(&life));
        world_deinit(&life);
        if (!was_hit) {
            ck_assert_uint_gt(at, 6);
            break;
        }
    }
    struct crash_env *crash = crash_env_new(1, NULL);
    crash->is_full = true;
    struct wal *wal = NULL;
    struct errmsg msg = {""};
    const struct wal_handlers none = {NULL, NULL};
    ck_assert_int_eq(wal_open(&crash->env, WORLD_DIR, &small, NULL, &none, NULL, &wal, &msg), ERR_NO_SPACE);
    ck_assert_ptr_nonnull(strstr(msg.text, "00000000000000000001"));
    ck_assert_uint_eq(crash_disk_open_count(crash->disk), 0);
    crash_disk_free(crash_env_free(crash));
}
END_TEST

/* Goal: a failed write of a unit ends the process: what memory and disk hold is no longer the same. Method: in a
 * child, the second write fails; the child must end with the code of process_stop() and never report the frame
 * durable. */
START_TEST(failed_write_ends_the_process)
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        fclose(stderr); /* the trace ring is of no interest here */
        world_open(&world, NULL);
        fault_init(&world.crash->write_fault, 2, 1);
        append_blocks(1);
        if (world.durable_id != 2) {
            _exit(1);
        }
        append_blocks(1);
        _exit(2);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 70);
}
END_TEST

/* ---- Opening and closing ----------------------------------------------------------------------------------------- */

static void count_stop(void *owner, const struct wal_record *record)
{
    if (record->kind == WAL_STOP) {
        ++*(unsigned *)owner;
    }
}

/* Goal: a clean end is a unit of its own behind the frames that waited, and is not written again when nothing was
 * added. Method: close with frames waiting; open and close; look at the last units. */
START_TEST(clean_end_is_written_once_in_a_unit_of_its_own)
{
    world_open(&world, NULL);
    world_append(&world, WAL_ENTRY, 100);
    world_append(&world, WAL_COMMIT, 0);
    struct crash_disk *disk = world_close(&world);
    ck_assert_uint_eq(world.durable_id, 3);
    ck_assert_uint_eq(world.durable_lsn, WAL_LSN_FIRST + 2 * WAL_BLOCK_SIZE);
    for (int i = 0; i < 3; i++) {
        world_open(&world, disk);
        disk = world_close(&world);
    }
    ck_assert_uint_eq(world.durable_lsn, WAL_LSN_FIRST + 2 * WAL_BLOCK_SIZE);
    struct crash_env *crash = crash_env_new(1, disk);
    unsigned stops = 0;
    ck_assert_int_eq(wal_scan(&crash->env, WORLD_DIR, &stops, count_stop, NULL), OK);
    ck_assert_uint_eq(stops, 1);
    crash_disk_free(crash_env_free(crash));
}
END_TEST

/* Goal: closing while a file is made or a write is in flight waits for it. Method: close after each number of steps
 * of the same life; handles and memory are counted by world_close() and the sanitizer. */
START_TEST(close_waits_for_what_is_in_flight)
{
    for (unsigned steps = 0; steps < 60; steps++) {
        struct world life;
        world_init(&life, &small, 3);
        world_open(&life, NULL);
        for (unsigned i = 0; i < steps; i++) {
            world_append(&life, WAL_ENTRY, 6000);
            (void)crash_env_step(life.crash);
        }
        world_open(&life, world_close(&life));
        crash_disk_free(world_close(&life));
        world_deinit(&life);
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
    struct crash_env *crash = crash_env_new(1, NULL);
    struct wal *wal = NULL;
    struct errmsg msg = {""};
    const struct wal_handlers none = {NULL, NULL};
    ck_assert_int_eq(wal_open(&crash->env, WORLD_DIR, &bad[_i], NULL, &none, NULL, &wal, &msg), ERR_INVALID);
    ck_assert_str_ne(msg.text, "");
    crash_disk_free(crash_env_free(crash));
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
    tcase_add_test(tcase, files_are_recycled_not_made);
    tcase_add_test(tcase, each_failing_file_operation_is_survived);
    tcase_add_test(tcase, failing_first_opening_is_told_and_tried_again);
    tcase_add_test(tcase, failed_write_ends_the_process);
    tcase_add_test(tcase, clean_end_is_written_once_in_a_unit_of_its_own);
    tcase_add_test(tcase, close_waits_for_what_is_in_flight);
    tcase_add_loop_test(tcase, bad_options_are_refused, 0, 5);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(wal_suite)
