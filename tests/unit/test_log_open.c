/* Opening a log over files that are not what the checkpoint says. */
#include "tests/lib/log_fixture.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

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

/* Goal: a cut or missing file is named at open. Method: each segment of a captured log, removed and cut to several
 * sizes; a file cut while the log is open is refused when it is read. */
START_TEST(cut_and_missing_files_are_named)
{
    struct log *log = log_fixture_open(&fixture, &config_small, NULL);
    int64_t now_ms = 1000;
    log_model_append_random(&model, log, 60, &now_ms, &seed);
    struct log_state state;
    log_fixture_capture(log, &state, true);
    ck_assert_uint_ge(state.segment_count, 3);
    log_close(log);
    char dir[FIXTURE_PATH_SIZE];
    log_fixture_dir(&fixture, dir);
    for (size_t i = 0; i < state.segment_count; i++) {
        char path[FIXTURE_PATH_SIZE];
        log_fixture_path(&fixture, state.segments[i].base_offset, ".log", path);
        struct bytes good = test_file_read(path);
        for (size_t step = 0; step < 5; step++) {
            size_t left = step * good.size / 5;
            if (step == 0) {
                ck_assert_int_eq(remove(path), 0);
            } else {
                test_file_write(path, (struct bytes){good.data, left});
            }
            struct errmsg msg;
            struct log *refused;
            enum err err = log_open(&fixture.env, fixture.files, dir, &config_small, &state, &refused, &msg);
            ck_assert_int_eq(err, ERR_DAMAGED);
            char wanted[600];
            (void)snprintf(wanted, sizeof(wanted), "file %s position %zu:", path, left);
            ck_assert_msg(strstr(msg.text, wanted) != NULL, "%s", msg.text);
        }
        test_file_write(path, good);
        test_bytes_free(good);
    }
    log = log_fixture_open(&fixture, &config_small, &state);
    log_model_check(&fixture, &model, log);
    char path[FIXTURE_PATH_SIZE];
    log_fixture_path(&fixture, 0, ".log", path);
    test_file_write(path, bytes_from_text(""));
    struct log_read req = {.offset = 1, .size_max = 100, .is_first_whole = true};
    ck_assert_int_eq(log_fixture_read(&fixture, log, &req), ERR_DAMAGED);
    ck_assert_msg(strstr(req.msg.text, path) != NULL, "%s", req.msg.text);
    log_close(log);
    log_state_deinit(&state);
}
END_TEST

/* Goal: bytes of a checkpoint that make no sense are refused, not believed. Method: one wrong field at a time. */
START_TEST(senseless_states_are_refused)
{
    struct log *log = log_fixture_open(&fixture, &config_small, NULL);
    int64_t now_ms = 1000;
    log_model_append_random(&model, log, 60, &now_ms, &seed);
    struct log_state state;
    log_fixture_capture(log, &state, true);
    log_close(log);
    char dir[FIXTURE_PATH_SIZE];
    log_fixture_dir(&fixture, dir);
    for (int i = 0; i < 9; i++) {
        struct log_segment_state segments[64];
        struct log_state wrong = state;
        ck_assert_uint_lt(state.segment_count, 64);
        memcpy(segments, state.segments, state.segment_count * sizeof(segments[0]));
        wrong.segments = segments;
        size_t last = state.segment_count - 1;
        switch (i) {
        case 0:
            wrong.start_offset = -1;
            break;
        case 1:
            wrong.end_offset = state.start_offset - 1;
            break;
        case 2:
            wrong.end_offset = segments[last].base_offset;
            break;
        case 3:
            segments[1].base_offset = segments[0].base_offset;
            break;
        case 4:
            segments[1].base_offset = segments[2].base_offset + 1;
            break;
        case 5:
            segments[0].size = 0;
            break;
        case 6:
            segments[0].size = 1ull << 31;
            break;
        case 7:
            wrong.end_offset = segments[last].base_offset + (1ll << 32);
            break;
        default:
            wrong.segment_count = 0;
            break;
        }
        struct log *refused;
        struct errmsg msg;
        enum err err = log_open(&fixture.env, fixture.files, dir, &config_small, &wrong, &refused, &msg);
        ck_assert_msg(err == ERR_DAMAGED, "case %d: %s", i, err_name(err));
    }
    log = log_fixture_open(&fixture, &config_small, &state);
    log_model_check(&fixture, &model, log);
    log_close(log);
    log_state_deinit(&state);
}
END_TEST

/* Goal: files no checkpoint knows are removed, others' files are left alone. Method: strays of all kinds beside a
 * captured log. */
START_TEST(strays_are_removed_and_foreign_files_kept)
{
    struct log *log = log_fixture_open(&fixture, &config_small, NULL);
    int64_t now_ms = 1000;
    log_model_append_random(&model, log, 60, &now_ms, &seed);
    struct log_state state;
    log_fixture_capture(log, &state, true);
    log_close(log);
    static const char *const strays[] = {
        "00000000000000009999.log",         "00000000000000009999.index", "00000000000000009999.timeindex",
        "00000000000000000001.index",       "09223372036854775807.log",   "00000000000000000000.log.deleted",
        "00000000000000000077.log.deleted",
    };
    static const char *const foreign[] = {
        "partition.metadata",       "0000000000000000000.log", "00000000000000000001.snapshot",
        "99999999999999999999.log", "leader-epoch-checkpoint",
    };
    char dir[FIXTURE_PATH_SIZE];
    char path[2 * FIXTURE_PATH_SIZE];
    log_fixture_dir(&fixture, dir);
    for (size_t i = 0; i < array_count(strays) + array_count(foreign); i++) {
        const char *name = i < array_count(strays) ? strays[i] : foreign[i - array_count(strays)];
        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        test_file_write(path, bytes_from_text("stray"));
    }
    log = log_fixture_open(&fixture, &config_small, &state);
    log_fixture_run_jobs(&fixture);
    log_model_check(&fixture, &model, log);
    for (size_t i = 0; i < array_count(strays) + array_count(foreign); i++) {
        const char *name = i < array_count(strays) ? strays[i] : foreign[i - array_count(strays)];
        (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
        struct bytes bytes = test_file_read(path);
        ck_assert_msg((bytes.data == NULL) == (i < array_count(strays)), "%s", name);
        test_bytes_free(bytes);
    }
    log_close(log);
    log = log_fixture_open(&fixture, &config_small, NULL); /* a new log takes nothing over */
    ck_assert_int_eq(log_end_offset(log), 0);
    log_model_cut(&model, 0);
    log_model_append_random(&model, log, 10, &now_ms, &seed);
    log_fixture_run_jobs(&fixture);
    log_model_check(&fixture, &model, log);
    log_close(log);
    log_state_deinit(&state);
}
END_TEST

/* Goal: opening reads no data and opens no file of a log that was stopped cleanly. Method: count. */
START_TEST(open_touches_no_file)
{
    struct log *log = log_fixture_open(&fixture, &config_small, NULL);
    int64_t now_ms = 1000;
    log_model_append_random(&model, log, 200, &now_ms, &seed);
    struct log_state state;
    log_fixture_capture(log, &state, true);
    log_close(log);
    fixture.pread_count = 0;
    fixture.open_count = 0;
    log = log_fixture_open(&fixture, &config_small, &state);
    ck_assert_uint_eq(fixture.pread_count, 0);
    ck_assert_uint_eq(fixture.open_count, 0);
    log_model_check(&fixture, &model, log);
    log_close(log);
    log_state_deinit(&state);
}
END_TEST

/* Goal: what was written after the checkpoint is cut off, in all files. Method: garbage behind each file's end; the
 * sizes after opening. */
START_TEST(longer_files_are_cut)
{
    struct log_config config = {.segment_size_max = 6000, .segment_ms = INT64_MAX, .index_interval = 100};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    int64_t now_ms = 1000;
    log_model_append_random(&model, log, 60, &now_ms, &seed);
    struct log_state state;
    log_fixture_capture(log, &state, true);
    log_close(log);
    static const char *const suffixes[] = {".log", ".index", ".timeindex"};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 3 * state.segment_count; i++) {
            const struct log_segment_state *segment = &state.segments[i / 3];
            const uint64_t sizes[] = {segment->size, 8 * segment->index_count, 12 * segment->time_index_count};
            char path[FIXTURE_PATH_SIZE];
            log_fixture_path(&fixture, segment->base_offset, suffixes[i % 3], path);
            struct bytes bytes = test_file_read(path);
            if (round == 1) {
                ck_assert_msg(bytes.size == sizes[i % 3], "%s: %zu bytes", path, bytes.size);
            } else if (bytes.data != NULL) {
                uint8_t *longer = mem_alloc(bytes.size + 100);
                memcpy(longer, bytes.data, bytes.size);
                test_file_write(path, (struct bytes){longer, bytes.size + 1 + 33 * (i % 3)});
                mem_free(longer);
            }
            test_bytes_free(bytes);
        }
        log = log_fixture_open(&fixture, &config, &state);
        log_model_check(&fixture, &model, log);
        log_model_check_max_time(&model, log);
        log_close(log);
    }
    log_state_deinit(&state);
}
END_TEST

/* Goal: a checkpoint whose end is not the segments' is found out when the end is read. Method: one record more and one
 * less than there are; every read below is right. */
START_TEST(wrong_end_is_found_by_reading)
{
    struct log *log = log_fixture_open(&fixture, &config_small, NULL);
    int64_t now_ms = 1000;
    log_model_append_random(&model, log, 60, &now_ms, &seed);
    struct log_state state;
    log_fixture_capture(log, &state, true);
    log_close(log);
    for (int i = -1; i <= 1; i += 2) {
        struct log_state wrong = state;
        wrong.end_offset += i;
        log = log_fixture_open(&fixture, &config_small, &wrong);
        for (int64_t offset = 0; offset < wrong.end_offset; offset++) {
            struct log_read req = {.offset = offset, .size_max = 1, .is_first_whole = true};
            enum err err = log_fixture_read(&fixture, log, &req);
            int64_t last = model.batches[model.count - 1].base_offset;
            ck_assert_int_eq(err, offset >= last ? ERR_DAMAGED : OK);
            slice_release(&req.slice);
        }
        log_close(log);
    }
    log_state_deinit(&state);
}
END_TEST

/* Goal: segments wholly below the start that a checkpoint names are left out. Method: a state with a later start. */
START_TEST(segments_below_the_start_are_left_out)
{
    struct log *log = log_fixture_open(&fixture, &config_small, NULL);
    int64_t now_ms = 1000;
    log_model_append_random(&model, log, 60, &now_ms, &seed);
    struct log_state state;
    log_fixture_capture(log, &state, true);
    log_close(log);
    for (size_t i = 1; i <= state.segment_count; i++) {
        state.start_offset = i < state.segment_count ? state.segments[i].base_offset : state.end_offset;
        model.start_offset = state.start_offset;
        log = log_fixture_open(&fixture, &config_small, &state);
        struct log_state now;
        log_capture_done(log_capture(log, &now), false);
        ck_assert_uint_eq(now.segment_count, state.segment_count - i);
        log_state_deinit(&now);
        log_model_check(&fixture, &model, log);
        log_model_check_max_time(&model, log);
        log_close(log);
    }
    log_state_deinit(&state);
}
END_TEST

static Suite *log_open_suite(void)
{
    Suite *suite = suite_create("log_open");
    TCase *open = tcase_create("open");
    tcase_add_checked_fixture(open, setup, teardown);
    tcase_add_test(open, cut_and_missing_files_are_named);
    tcase_add_test(open, senseless_states_are_refused);
    tcase_add_test(open, strays_are_removed_and_foreign_files_kept);
    tcase_add_test(open, open_touches_no_file);
    tcase_add_test(open, longer_files_are_cut);
    tcase_add_test(open, wrong_end_is_found_by_reading);
    tcase_add_test(open, segments_below_the_start_are_left_out);
    suite_add_tcase(suite, open);
    return suite;
}

TEST_MAIN(log_open_suite)
