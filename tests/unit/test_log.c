/* The log against a plain array of batches. */
#include "tests/lib/log_fixture.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static struct log_fixture fixture;
static struct log_model model;
static uint64_t seed;

static const struct log_config config_small = {.segment_size_max = 6000, .segment_ms = 50, .index_interval = 512};

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

static struct log *open_log(const struct log_config *config, const struct log_state *state)
{
    struct log *log;
    struct errmsg msg;
    char dir[512];
    (void)snprintf(dir, sizeof(dir), "%s/t-0.7", fixture.dir);
    enum err err = log_open(&fixture.env, fixture.files, dir, config, state, &log, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    return log;
}

static void capture(struct log *log, struct log_state *state, bool is_ok)
{
    struct errmsg msg;
    struct log_capture *taken = log_capture(log, state);
    enum err err = log_capture_sync(taken, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    log_capture_done(taken, is_ok);
}

static void append_random(struct log *log, unsigned count, int64_t *now_ms)
{
    for (unsigned i = 0; i < count; i++) {
        *now_ms += test_random_between(&seed, 0, 5);
        struct model_batch_spec spec = {
            .count = (int32_t)test_random_between(&seed, 1, 6),
            .value_size = (size_t)test_random_between(&seed, 0, test_random(&seed) % 10 == 0 ? 4000 : 200),
            .codec = 0,
            .base_timestamp = *now_ms,
            .step_min = 0,
            .step_max = 3,
        };
        log_model_append(&model, log, &spec, (int32_t)(*now_ms / 100), *now_ms, &seed);
    }
}

/* Goal: what was appended is read back, byte for byte, wherever a reader starts and however much it asks for. Method:
 *       random
 * batches over many segments, random reads, cached and cold. */
START_TEST(reads_give_what_was_appended)
{
    seed = (uint64_t)_i;
    struct log *log = open_log(&config_small, NULL);
    int64_t now_ms = 1000;
    for (unsigned round = 0; round < 30; round++) {
        append_random(log, (unsigned)test_random_between(&seed, 0, 20), &now_ms);
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
    struct log *log = open_log(&config_small, NULL);
    int64_t now_ms = 1000;
    for (unsigned round = 0; round < 12; round++) {
        append_random(log, (unsigned)test_random_between(&seed, 0, 40), &now_ms);
        struct log_state state;
        capture(log, &state, true);
        log_fixture_run_jobs(&fixture);
        int64_t end_offset = model.end_offset;
        append_random(log, (unsigned)test_random_between(&seed, 0, 40), &now_ms);
        int64_t start_offset = model.start_offset;
        log_trim(log, test_random_between(&seed, start_offset, end_offset));
        log_close(log);

        log = open_log(&config_small, &state);
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

static Suite *log_suite(void)
{
    Suite *suite = suite_create("log");
    TCase *reading = tcase_create("reading");
    tcase_add_checked_fixture(reading, setup, teardown);
    tcase_add_loop_test(reading, reads_give_what_was_appended, 0, 10);
    tcase_add_loop_test(reading, reopening_gives_the_captured_log, 0, 10);
    suite_add_tcase(suite, reading);
    return suite;
}

TEST_MAIN(log_suite)
