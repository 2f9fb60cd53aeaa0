/* What is written out, when, and that nothing is forgotten or done twice. */
#include "tests/lib/log_fixture.h"
#include "tests/lib/test.h"

#include "base/limits.h"

static struct log_fixture fixture;
static struct log_model model;
static uint64_t seed;

static const struct log_config LARGE = {.segment_size_max = 1 << 30, .segment_ms = INT64_MAX, .index_interval = 4096};

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

static uint64_t append(struct log *log, size_t value_size, unsigned count)
{
    uint64_t size = 0;
    for (unsigned i = 0; i < count; i++) {
        struct model_batch_spec spec = {.count = 1, .value_size = value_size, .base_timestamp = 1000};
        log_model_append(&model, log, &spec, 1, 1000, &seed);
        size += model.batches[model.count - 1].bytes.size;
    }
    return size;
}

static uint64_t written_out(void)
{
    uint64_t size = 0;
    for (unsigned i = 0; i < fixture.written_out_count; i++) {
        size += fixture.written_out[i].size;
    }
    return size;
}

/* Goal: a large segment is written out from its beginning, in order, without gaps, and less than a piece is left.
 * Method: jobs run only now and then, so that ranges grow while one is in work. */
START_TEST(a_large_segment_is_written_out_in_order)
{
    struct log *log = log_fixture_open(&fixture, &LARGE, NULL);
    uint64_t size = 0;
    for (unsigned i = 0; i < 10; i++) {
        size += append(log, WRITE_OUT_PIECE_SIZE / 10, 1 + i);
        if (i % 3 == 2) {
            log_fixture_run_jobs(&fixture);
        }
    }
    log_fixture_run_jobs(&fixture);
    uint64_t position = 0;
    for (unsigned i = 0; i < fixture.written_out_count; i++) {
        ck_assert_uint_eq(fixture.written_out[i].position, position);
        ck_assert_uint_ge(fixture.written_out[i].size, WRITE_OUT_PIECE_SIZE);
        position += fixture.written_out[i].size;
    }
    ck_assert_uint_gt(position, 0);
    ck_assert_uint_lt(size - position, WRITE_OUT_PIECE_SIZE);
    log_close(log);
}
END_TEST

/* Goal: many segments that never have a piece are bounded together, the longest waiting go first. */
START_TEST(small_ones_are_written_out_when_there_is_too_much_of_them)
{
    struct log_config config = LARGE;
    config.segment_size_max = WRITE_OUT_PIECE_SIZE / 2;
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    uint64_t size = append(log, WRITE_OUT_PIECE_SIZE / 3, 3 * WRITE_OUT_LAG_MAX / WRITE_OUT_PIECE_SIZE);
    log_fixture_run_jobs(&fixture);
    unsigned before = fixture.written_out_count;
    size += append(log, WRITE_OUT_PIECE_SIZE / 3, 60);
    log_fixture_run_jobs(&fixture);
    ck_assert_uint_gt(fixture.written_out_count, before);
    ck_assert_uint_le(size - written_out(), WRITE_OUT_LAG_MAX);
    ck_assert_uint_gt(size - written_out(), WRITE_OUT_LAG_MAX - (size_t)WRITE_OUT_PIECE_SIZE);
    for (unsigned i = 0; i < fixture.written_out_count; i++) {
        ck_assert_uint_eq(fixture.written_out[i].position, 0); /* one batch a segment, each of them once */
    }
    log_close(log);
}
END_TEST

/* Goal: what a checkpoint syncs is not written out again; what comes after it is counted from there. */
START_TEST(a_capture_takes_what_was_left)
{
    struct log *log = log_fixture_open(&fixture, &LARGE, NULL);
    uint64_t first = append(log, WRITE_OUT_PIECE_SIZE / 10, 8);
    struct log_state state;
    log_fixture_capture(log, &state, true);
    log_state_deinit(&state);
    ck_assert_uint_eq(fixture.written_out_count, 0);
    (void)append(log, WRITE_OUT_PIECE_SIZE / 10, 11);
    log_fixture_run_jobs(&fixture);
    ck_assert_uint_eq(fixture.written_out_count, 1);
    ck_assert_uint_eq(fixture.written_out[0].position, first);
    log_close(log);
}
END_TEST

/* Goal: a log that is closed while its bytes are on their way closes its files after that. Method: the job has run, its
 * end has not come. */
START_TEST(a_log_is_closed_meanwhile)
{
    struct log *log = log_fixture_open(&fixture, &LARGE, NULL);
    (void)append(log, WRITE_OUT_PIECE_SIZE / 10, 11);
    log_fixture_run_jobs_half(&fixture);
    (void)append(log, WRITE_OUT_PIECE_SIZE / 10, 5);
    log_close(log);
    log_fixture_run_jobs(&fixture);
    ck_assert_uint_eq(fixture.written_out_count, 1);
}
END_TEST

static void write_out_to_a_failing_disk(void)
{
    struct log *log = log_fixture_open(&fixture, &LARGE, NULL);
    (void)append(log, WRITE_OUT_PIECE_SIZE / 10, 11);
    fixture.write_failure = ERR_IO;
    log_fixture_run_jobs(&fixture);
}

/* Goal: a failure is not swallowed, as no sync is told of it again. Method: a child whose disk fails; its exit status.
 */
START_TEST(a_failure_ends_the_process)
{
    log_fixture_check_stop(write_out_to_a_failing_disk);
}
END_TEST

static Suite *write_out_suite(void)
{
    TCase *tcase = tcase_create("write_out");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_large_segment_is_written_out_in_order);
    tcase_add_test(tcase, small_ones_are_written_out_when_there_is_too_much_of_them);
    tcase_add_test(tcase, a_capture_takes_what_was_left);
    tcase_add_test(tcase, a_log_is_closed_meanwhile);
    tcase_add_test(tcase, a_failure_ends_the_process);
    Suite *suite = suite_create("write_out");
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(write_out_suite)
