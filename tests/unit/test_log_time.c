/* Lookups by timestamp against a scan of all records. */
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

/* Goal: a lookup by time finds the first record that is late enough, whatever the order of timestamps, the codec and
 * the kind of timestamp. Method: timestamps that go back and forth over segments, trims into the middle of batches. */
START_TEST(time_lookup_finds_the_first_record)
{
    seed = (uint64_t)_i + 200;
    struct log *log = log_fixture_open(&fixture, &config_small, NULL);
    int64_t now_ms = 1000;
    for (unsigned round = 0; round < 6; round++) {
        log_model_check_max_time(&model, log);
        log_model_append_times(&model, log, 60, &now_ms, &seed);
        for (unsigned i = 0; i < 40; i++) {
            log_model_check_time(&model, log, test_random_between(&seed, 600, now_ms + 500));
        }
        log_model_check_time(&model, log, 0);
        log_model_check_time(&model, log, INT64_MAX);
        log_model_check_max_time(&model, log);
        int64_t end = model.start_offset + (model.end_offset - model.start_offset) / (round % 2 == 0 ? 3 : 1);
        model.start_offset = test_random_between(&seed, model.start_offset, end);
        log_trim(log, model.start_offset);
    }
    log_close(log);
}
END_TEST

/* Goal: a compressed batch whose header leaves its highest timestamp at the first one is looked into. Method: such
 * batches in one segment without index entries. */
START_TEST(time_lookup_does_not_believe_a_header_left_alone)
{
    struct log_config config = {.segment_size_max = 1 << 20, .segment_ms = INT64_MAX, .index_interval = 1 << 20};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    for (int i = 0; i < 10; i++) {
        struct model_batch_spec spec = {
            .count = 5,
            .value_size = 10,
            .codec = 1 + i % 4,
            .base_timestamp = 1000 + 100 * i,
            .step_min = 10,
            .step_max = 20,
            .is_max_wrong = true,
        };
        log_model_append(&model, log, &spec, 1, 2000, &seed);
    }
    for (int64_t timestamp = 990; timestamp <= 1900; timestamp++) {
        log_model_check_time(&model, log, timestamp);
    }
    log_close(log);
}
END_TEST

static Suite *log_time_suite(void)
{
    Suite *suite = suite_create("log_time");
    TCase *time = tcase_create("time");
    tcase_add_checked_fixture(time, setup, teardown);
    tcase_add_loop_test(time, time_lookup_finds_the_first_record, 0, 10);
    tcase_add_test(time, time_lookup_does_not_believe_a_header_left_alone);
    suite_add_tcase(suite, time);
    return suite;
}

TEST_MAIN(log_time_suite)
