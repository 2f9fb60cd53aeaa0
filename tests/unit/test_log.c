/* The log against a plain array of batches. */
#include "tests/lib/log_fixture.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "replication/log_files.h"

static struct log_fixture fixture;
static struct log_model model;
static uint64_t seed;

static void setup(void)
{
    log_fixture_init(&fixture, 8);
    model = (struct log_model){0};
    seed = 1;
}

static void teardown(void)
{
    log_model_deinit(&model);
    log_fixture_deinit(&fixture);
}

static const struct log_config config_small = {.segment_size_max = 6000, .segment_ms = 50, .index_interval = 512};

/* Goal: what was appended is read back, byte for byte, wherever a reader starts and however much it asks for. Method:
 *       random
 * batches over many segments, random reads, cached and cold. */
START_TEST(reads_give_what_was_appended)
{
    seed = (uint64_t)_i;
    struct log *log = log_fixture_open(&fixture, &config_small, NULL);
    int64_t now_ms = 1000;
    for (unsigned round = 0; round < 30; round++) {
        log_model_append_random(&model, log, (unsigned)test_random_between(&seed, 0, 20), &now_ms, &seed);
        fixture.is_cold = test_random(&seed) % 2 == 0;
        for (unsigned i = 0; i < 20; i++) {
            int64_t offset = test_random_between(&seed, 0, model.end_offset);
            size_t size_max = (size_t)test_random_between(&seed, 0, 9000);
            (void)log_model_check_read(&fixture, &model, log, offset, size_max, test_random(&seed) % 2 == 0);
        }
        log_model_check(&fixture, &model, log);
    }
    log_close(log);
}
END_TEST

/* Goal: a log opened at a captured state is exactly that log, whatever was appended or trimmed behind it, and goes on
 *       from
 * there. Method: keep states and model sizes, append on, close without a sync, open at a kept state, append the same
 * again. */
START_TEST(reopening_gives_the_captured_log)
{
    seed = (uint64_t)_i + 100;
    struct log *log = log_fixture_open(&fixture, &config_small, NULL);
    int64_t now_ms = 1000;
    for (unsigned round = 0; round < 12; round++) {
        log_model_append_random(&model, log, (unsigned)test_random_between(&seed, 0, 40), &now_ms, &seed);
        struct log_state state;
        log_fixture_capture(log, &state, true);
        log_fixture_run_jobs(&fixture);
        int64_t end_offset = model.end_offset;
        log_model_append_random(&model, log, (unsigned)test_random_between(&seed, 0, 40), &now_ms, &seed);
        int64_t start_offset = model.start_offset;
        log_trim(log, test_random_between(&seed, start_offset, end_offset));
        log_close(log);

        log = log_fixture_open(&fixture, &config_small, &state);
        ck_assert_int_eq(log_end_offset(log), end_offset);
        ck_assert_int_eq(log_start_offset(log), start_offset);
        log_model_replay(&model, log);
        log_model_check(&fixture, &model, log);
        model.start_offset = test_random_between(&seed, start_offset, model.end_offset);
        log_trim(log, model.start_offset);
        log_model_check(&fixture, &model, log);
        log_state_deinit(&state);
    }
    log_close(log);
}
END_TEST

/* Goal: a reader in sequence costs one read of the file a call. Method: count them while three readers go on in turn,
 * two of them at the same place. */
START_TEST(sequential_readers_search_nothing)
{
    struct log_config config = {.segment_size_max = 1 << 20, .segment_ms = INT64_MAX, .index_interval = 512};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    for (int i = 0; i < 400; i++) {
        struct model_batch_spec spec = {.count = 1, .value_size = 100, .base_timestamp = 1000};
        log_model_append(&model, log, &spec, 1, 1000, &seed);
    }
    size_t step = log_model_check_read(&fixture, &model, log, 0, 2000, true) / model.batches[0].bytes.size;
    (void)log_model_check_read(&fixture, &model, log, 200, 2000, true);
    int64_t offsets[3] = {(int64_t)step, 200 + (int64_t)step, 200 + (int64_t)step};
    unsigned before = fixture.pread_count;
    unsigned reads = 0;
    for (; offsets[1] < 390; reads++) {
        int64_t *offset = &offsets[reads % 3];
        size_t size = log_model_check_read(&fixture, &model, log, *offset, 2000, true);
        *offset += (int64_t)(size / model.batches[0].bytes.size);
    }
    ck_assert_uint_eq(fixture.pread_count - before, reads);
    log_close(log);
}
END_TEST

/* Goal: a log without records, and one trimmed to its end, answer and go on. Method: all calls on both, also after
 * opening again. */
START_TEST(empty_logs_answer)
{
    struct log *log = log_fixture_open(&fixture, &config_small, NULL);
    for (int round = 0; round < 2; round++) {
        log_model_check(&fixture, &model, log);
        ck_assert_uint_eq(log_size(log), 0);
        log_model_check_time(&model, log, 0);
        log_model_check_max_time(&model, log);
        ck_assert_int_eq(log_retention_offset(log, 1 << 30, 0, 0), model.end_offset);
        struct log_state state;
        log_fixture_capture(log, &state, true);
        ck_assert_uint_eq(state.segment_count, 0);
        log_close(log);
        log = log_fixture_open(&fixture, &config_small, &state);
        log_state_deinit(&state);
        log_model_check(&fixture, &model, log);

        int64_t now_ms = 1000;
        log_model_append_random(&model, log, 30, &now_ms, &seed);
        log_model_check(&fixture, &model, log);
        model.start_offset = model.end_offset;
        log_trim(log, model.end_offset);
    }
    log_close(log);
}
END_TEST

static bool is_there(int64_t base_offset, const char *suffix)
{
    char path[FIXTURE_PATH_SIZE];
    log_fixture_path(&fixture, base_offset, suffix, path);
    struct bytes bytes = test_file_read(path);
    bool found = bytes.data != NULL;
    test_bytes_free(bytes);
    return found;
}

/* Goal: the files of trimmed segments stay as long as a durable checkpoint may name them, then all of them go. Method:
 * trim, fail a capture, succeed with one, run the jobs; after each the file is there or not. A log opened at the older
 * state is whole until then. */
START_TEST(trimmed_files_wait_for_a_checkpoint)
{
    struct log_config config = {.segment_size_max = 2000, .segment_ms = INT64_MAX, .index_interval = 100};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    for (int i = 0; i < 100; i++) {
        struct model_batch_spec spec = {.count = 1, .value_size = 50, .base_timestamp = 1000 + i};
        log_model_append(&model, log, &spec, 1, 1000, &seed);
    }
    struct log_state old;
    struct log_state state;
    log_fixture_capture(log, &old, true);
    ck_assert_uint_ge(old.segment_count, 4);
    int64_t second = old.segments[1].base_offset;
    ck_assert(is_there(0, ".index"));

    log_trim(log, old.segments[2].base_offset + 1);
    ck_assert_int_eq(metrics_value(fixture.env.metrics, METRIC_SEGMENTS_DROPPED), 2);
    log_fixture_run_jobs(&fixture);
    ck_assert(is_there(0, ".log"));
    log_fixture_capture(log, &state, false);
    log_fixture_run_jobs(&fixture);
    ck_assert(is_there(0, ".log"));
    ck_assert(is_there(second, ".log"));
    log_state_deinit(&state);

    log_close(log);
    log = log_fixture_open(&fixture, &config, &old);
    log_model_check(&fixture, &model, log);
    model.start_offset = old.segments[2].base_offset + 1;
    log_trim(log, model.start_offset);
    struct log_capture *taken = log_capture(log, &state);
    int64_t third = old.segments[2].base_offset;
    log_trim(log, old.segments[3].base_offset); /* the next capture's affair */
    ck_assert_int_eq(log_capture_sync(taken, NULL), OK);
    log_capture_done(taken, true);
    ck_assert(!is_there(0, ".log"));
    log_fixture_run_jobs(&fixture);
    static const char *const suffixes[] = {".log", ".index", ".timeindex"};
    for (size_t i = 0; i < 3; i++) {
        char path[64];
        (void)snprintf(path, sizeof(path), "%s.deleted", suffixes[i]);
        ck_assert_msg(!is_there(0, suffixes[i]) && !is_there(second, suffixes[i]), "%s", suffixes[i]);
        ck_assert_msg(!is_there(0, path) && !is_there(second, path), "%s", path);
        ck_assert_msg(is_there(third, suffixes[i]), "%s", suffixes[i]);
    }
    log_close(log);
    log_state_deinit(&state);
    log_state_deinit(&old);
}
END_TEST

/* Goal: a capture syncs what is dirty and nothing else, and what it failed to sync is synced by the next. Method:
 *       count. */
START_TEST(captures_sync_dirty_files_once)
{
    struct log_config config = {.segment_size_max = 2000, .segment_ms = INT64_MAX, .index_interval = 100};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    int64_t now_ms = 1000;
    struct log_state state;
    log_fixture_capture(log, &state, true);
    ck_assert_uint_eq(fixture.sync_count, 0);
    ck_assert_uint_eq(fixture.sync_dir_count, 1); /* the parent: the directory is new */
    log_state_deinit(&state);

    log_model_append_random(&model, log, 60, &now_ms, &seed);
    static const bool outcomes[] = {false, true, true};
    for (size_t i = 0; i < 3; i++) {
        fixture.sync_count = 0;
        fixture.sync_dir_count = 0;
        log_fixture_capture(log, &state, outcomes[i]);
        ck_assert_uint_eq(fixture.sync_count, i < 2 ? state.segment_count : 0);
        ck_assert_uint_eq(fixture.sync_dir_count, i < 2 ? 1 : 0);
        log_state_deinit(&state);
    }
    log_close(log);
}
END_TEST

/* Goal: only so many files are open as allowed, besides those with unsynced bytes, and none after close. Method: read
 * all over a log of many segments. */
START_TEST(open_files_are_bounded)
{
    struct log_config config = {.segment_size_max = 1000, .segment_ms = INT64_MAX, .index_interval = 100};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    int64_t now_ms = 1000;
    log_model_append_random(&model, log, 200, &now_ms, &seed);
    struct log_state state;
    ck_assert_uint_gt(log_files_count(fixture.files), 30);
    log_fixture_capture(log, &state, true);
    ck_assert_uint_gt(state.segment_count, 30);
    log_state_deinit(&state);
    ck_assert_uint_le(log_files_count(fixture.files), 8);
    for (int i = 0; i < 200; i++) {
        int64_t offset = test_random_between(&seed, 0, model.end_offset);
        (void)log_model_check_read(&fixture, &model, log, offset, 500, true);
        ck_assert_uint_le(log_files_count(fixture.files), 8);
    }
    log_close(log);
    ck_assert_uint_eq(log_files_count(fixture.files), 0);
}
END_TEST

/* Goal: without descriptors a read is refused as such, never taken for damage, and gets one as soon as idle files can
 * be closed. Method: open() fails once, with and without idle files. */
START_TEST(missing_descriptors_are_no_damage)
{
    struct log_config config = {.segment_size_max = 1000, .segment_ms = INT64_MAX, .index_interval = 1 << 20};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    int64_t now_ms = 1000;
    log_model_append_random(&model, log, 100, &now_ms, &seed);
    struct log_state state;
    log_fixture_capture(log, &state, true);
    ck_assert_uint_gt(log_files_count(fixture.files), 0);
    fixture.open_failures = 1;
    (void)log_model_check_read(&fixture, &model, log, 0, 500, true);
    ck_assert_uint_eq(fixture.open_failures, 0);
    ck_assert_int_eq(metrics_value(fixture.env.metrics, METRIC_OPEN_RETRIES), 1);
    log_close(log);

    log = log_fixture_open(&fixture, &config, &state);
    ck_assert_uint_eq(log_files_count(fixture.files), 0);
    fixture.open_failures = 1;
    struct log_read req = {.offset = 0, .size_max = 500, .is_first_whole = true};
    ck_assert_int_eq(log_read_now(log, &req), ERR_IO);
    log_model_check(&fixture, &model, log);
    log_close(log);
    log_state_deinit(&state);
}
END_TEST

struct waiting_read {
    struct log_read req;
    unsigned answers;
    enum err err;
};

static void on_waiting_read(struct log_read *req, enum err err)
{
    struct waiting_read *read = container_of(req, struct waiting_read, req);
    read->answers++;
    read->err = err;
    slice_release(&req->slice);
}

/* Goal: trimming and closing with reads in flight is safe: a read of what was trimmed still gives it, a closed log's
 * reads are canceled once. Method: jobs held back before and after their work on the disk, with a capture in flight as
 * well. */
START_TEST(reads_in_flight_survive_trim_and_close)
{
    struct log *log = log_fixture_open(&fixture, &config_small, NULL);
    int64_t now_ms = 1000;
    log_model_append_random(&model, log, 60, &now_ms, &seed);
    struct waiting_read reads[3];
    for (int i = 0; i < 3; i++) {
        reads[i] = (struct waiting_read){.req = {.offset = 1 + i, .size_max = 900, .is_first_whole = true}};
        reads[i].req.cb = on_waiting_read;
    }
    log_read_async(log, &reads[0].req);
    log_trim(log, model.end_offset);
    log_fixture_run_jobs(&fixture);
    ck_assert_uint_eq(reads[0].answers, 1);
    ck_assert_int_eq(reads[0].err, OK);

    log_model_append_random(&model, log, 60, &now_ms, &seed);
    reads[1].req.offset = log_start_offset(log) + 3;
    reads[2].req.offset = log_start_offset(log) + 40;
    log_read_async(log, &reads[1].req);
    log_fixture_run_jobs_half(&fixture);
    log_read_async(log, &reads[2].req);
    struct log_state state;
    struct log_capture *taken = log_capture(log, &state);
    if (_i % 2 == 0) {
        log_trim(log, model.end_offset);
    }
    log_close(log);
    for (int i = 1; i < 3; i++) {
        ck_assert_uint_eq(reads[i].answers, 1);
        ck_assert_int_eq(reads[i].err, ERR_CANCELED);
    }
    log_fixture_run_jobs(&fixture);
    ck_assert_int_eq(log_capture_sync(taken, NULL), OK);
    log_capture_done(taken, _i < 2);
    ck_assert_uint_eq(reads[1].answers, 1);
    ck_assert_uint_eq(log_files_count(fixture.files), 0);
    log_state_deinit(&state);
}
END_TEST

/* Goal: retention names the offset Kafka's rules give. Method: five segments of known sizes and times. */
START_TEST(retention_follows_kafkas_rules)
{
    struct log_config config = {.segment_size_max = 100, .segment_ms = INT64_MAX, .index_interval = 4096};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    for (int i = 0; i < 5; i++) {
        struct model_batch_spec spec = {.count = 1, .value_size = 100, .base_timestamp = 1000 + 100 * i};
        log_model_append(&model, log, &spec, 1, 5000, &seed);
    }
    int64_t size = (int64_t)log_size(log) / 5;
    const struct {
        const char *name;
        int64_t now_ms, retention_ms, retention_bytes, wanted;
    } cases[] = {
        {"none", 9000, -1, -1, 0},
        {"young", 1000, 0, -1, 0},
        {"exactly as old", 1050, 50, -1, 0},
        {"older", 1051, 50, -1, 1},
        {"three", 1251, 50, -1, 3},
        {"all, the last one too", 1451, 50, -1, 5},
        {"clock behind", -5, 0, -1, 0},
        {"size fits", 9000, -1, 5 * size, 0},
        {"size a byte over", 9000, -1, 5 * size - 1, 0},
        {"size a segment over", 9000, -1, 4 * size, 1},
        {"size zero keeps the last", 9000, -1, 0, 4},
        {"both, time wins", 1251, 50, 4 * size, 3},
        {"both, size wins", 1051, 50, 2 * size, 3},
        {"for ever", INT64_MAX, INT64_MAX, INT64_MAX, 0},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        int64_t got = log_retention_offset(log, cases[i].now_ms, cases[i].retention_ms, cases[i].retention_bytes);
        ck_assert_msg(got == cases[i].wanted, "%s: %lld", cases[i].name, (long long)got);
    }
    log_trim(log, 5);
    ck_assert_uint_eq(log_size(log), 0);
    log_close(log);
}
END_TEST

/* Goal: a log is removed with all its files, and removing it again is no error. Method: remove twice, and one that
 * never was. */
START_TEST(remove_is_idempotent)
{
    struct log *log = log_fixture_open(&fixture, &config_small, NULL);
    int64_t now_ms = 1000;
    log_model_append_random(&model, log, 60, &now_ms, &seed);
    log_close(log);
    char dir[FIXTURE_PATH_SIZE];
    log_fixture_dir(&fixture, dir);
    for (int i = 0; i < 2; i++) {
        struct errmsg msg;
        enum err err = log_remove(&fixture.env, dir, &msg);
        ck_assert_msg(err == OK, "%s", msg.text);
        ck_assert(!is_there(0, ".log"));
    }
}
END_TEST

static Suite *log_suite(void)
{
    Suite *suite = suite_create("log");
    TCase *reading = tcase_create("reading");
    tcase_add_checked_fixture(reading, setup, teardown);
    tcase_add_loop_test(reading, reads_give_what_was_appended, 0, 10);
    tcase_add_loop_test(reading, reopening_gives_the_captured_log, 0, 10);
    tcase_add_test(reading, sequential_readers_search_nothing);
    tcase_add_test(reading, empty_logs_answer);
    tcase_add_test(reading, trimmed_files_wait_for_a_checkpoint);
    tcase_add_test(reading, captures_sync_dirty_files_once);
    tcase_add_test(reading, open_files_are_bounded);
    tcase_add_test(reading, missing_descriptors_are_no_damage);
    tcase_add_loop_test(reading, reads_in_flight_survive_trim_and_close, 0, 4);
    tcase_add_test(reading, retention_follows_kafkas_rules);
    tcase_add_test(reading, remove_is_idempotent);
    suite_add_tcase(suite, reading);
    return suite;
}

TEST_MAIN(log_suite)
