/* Sums over shards, bucket bounds, and the text that Prometheus reads. */
#include "base/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

static struct metrics *shards[3];
static struct dynbuf page;

static void setup(void)
{
    for (size_t i = 0; i < array_count(shards); i++) {
        shards[i] = metrics_open();
    }
    dynbuf_init(&page, MIB(1));
}

static void teardown(void)
{
    for (size_t i = 0; i < array_count(shards); i++) {
        metrics_close(shards[i]);
    }
    dynbuf_deinit(&page);
}

/* The page as text. */
static const char *print(void)
{
    dynbuf_reset(&page);
    ck_assert_int_eq(metrics_print(shards, array_count(shards), &page), OK);
    ck_assert_int_eq(dynbuf_put(&page, (struct bytes){(const uint8_t *)"", 1}), OK);
    return (const char *)page.data;
}

/* Value on the line that starts with `name` and a space; -1 if there is none. */
static long long value_on_page(const char *text, const char *name)
{
    size_t size = strlen(name);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, size) == 0 && line[size] == ' ') {
            return strtoll(line + size, NULL, 10);
        }
    }
    return -1;
}

/* Goal: a page shows the sum over shards, with a type and a help line for each metric. */
START_TEST(page_sums_over_shards)
{
    metrics_add(shards[0], METRIC_WAL_SYNCS, 3);
    metrics_add(shards[2], METRIC_WAL_SYNCS, 4);
    metrics_add(shards[0], METRIC_CONNECTIONS, 5);
    metrics_add(shards[1], METRIC_CONNECTIONS, -2);
    ck_assert_int_eq(metrics_value(shards[2], METRIC_WAL_SYNCS), 4);
    const char *text = print();
    ck_assert_int_eq(value_on_page(text, "balsa_wal_syncs_total"), 7);
    ck_assert_int_eq(value_on_page(text, "balsa_connections"), 3);
    ck_assert_int_eq(value_on_page(text, "balsa_leaders"), 0);
    ck_assert_ptr_nonnull(strstr(text, "# TYPE balsa_wal_syncs_total counter\nbalsa_wal_syncs_total 7\n"));
    ck_assert_ptr_nonnull(strstr(text, "# TYPE balsa_connections gauge\n"));
    ck_assert_ptr_nonnull(strstr(text, "# HELP balsa_connections Open client connections\n"));
    ck_assert_ptr_nonnull(strstr(text, "# TYPE balsa_fetch_seconds histogram\n"));
}
END_TEST

/* Goal: a histogram's buckets are cumulative and end with all values, whatever the values. Method: powers of two, their
 * neighbours and the extremes, spread over shards; each printed bound is checked by counting. */
START_TEST(buckets_count_every_value_at_or_below_their_bound)
{
    int64_t values[256];
    size_t count = 0;
    long long sum = 0;
    for (unsigned power = 0; power < 40; power++) {
        for (int64_t delta = -1; delta <= 1; delta++) {
            values[count++] = (INT64_C(1) << power) + delta;
        }
    }
    for (size_t i = 0; i < count; i++) {
        metrics_observe(shards[i % array_count(shards)], METRIC_PRODUCE_US, values[i]);
        sum += values[i];
    }
    const char *text = print();
    const char *line = text;
    unsigned bound_count = 0;
    while ((line = strstr(line, "balsa_produce_seconds_bucket{le=\"")) != NULL) {
        char *end;
        line += strlen("balsa_produce_seconds_bucket{le=\"");
        if (*line == '+') {
            break;
        }
        long long bound = strtoll(line, &end, 10) * 1000000;
        ck_assert_int_eq(*end, '.');
        ck_assert_uint_eq(strspn(end + 1, "0123456789"), 6);
        bound += strtoll(end + 1, &end, 10);
        ck_assert_int_eq(strncmp(end, "\"} ", 3), 0);
        long long printed = strtoll(end + 3, NULL, 10);
        long long expected = 0;
        for (size_t i = 0; i < count; i++) {
            expected += values[i] <= bound;
        }
        ck_assert_msg(printed == expected, "le=%lld: %lld, expected %lld", bound, printed, expected);
        bound_count++;
    }
    ck_assert_uint_ge(bound_count, 40);
    ck_assert_uint_le(bound_count, 60);
    ck_assert_int_eq(value_on_page(text, "balsa_produce_seconds_bucket{le=\"+Inf\"}"), (long long)count);
    ck_assert_int_eq(value_on_page(text, "balsa_produce_seconds_count"), (long long)count);
    char expected[64];
    (void)snprintf(expected, sizeof(expected), "balsa_produce_seconds_sum %lld.%06lld\n", sum / 1000000, sum % 1000000);
    ck_assert_msg(strstr(text, expected) != NULL, "%s", expected);
}
END_TEST

/* Goal: a quantile is never below the true value, and at most 12.5 % above. Method: one value a run, over the whole
 * range, alone and as the largest of a thousand. */
START_TEST(quantile_is_within_its_error)
{
    int64_t value = _i < 62 ? (INT64_C(1) << _i) + (INT64_C(1) << _i) / 3 : INT64_MAX;
    metrics_observe(shards[0], METRIC_FETCH_US, value);
    int64_t quantile = metrics_quantile(shards, array_count(shards), METRIC_FETCH_US, 0.5);
    ck_assert(quantile >= value);
    ck_assert(quantile - value <= value / 8);
    for (int i = 0; i < 999; i++) {
        metrics_observe(shards[1], METRIC_FETCH_US, 0);
    }
    ck_assert_int_eq(metrics_quantile(shards, array_count(shards), METRIC_FETCH_US, 0.99), 0);
    ck_assert(metrics_quantile(shards, array_count(shards), METRIC_FETCH_US, 1) == quantile);
}
END_TEST

/* Goal: nothing observed gives zeros, and a value below zero (a clock that jumped) counts as zero. */
START_TEST(empty_and_negative)
{
    ck_assert_int_eq(metrics_quantile(shards, array_count(shards), METRIC_FETCH_US, 0.99), 0);
    metrics_observe(shards[0], METRIC_FETCH_US, -5);
    ck_assert_int_eq(metrics_quantile(shards, array_count(shards), METRIC_FETCH_US, 1), 0);
    const char *text = print();
    ck_assert_int_eq(value_on_page(text, "balsa_fetch_seconds_sum"), 0);
    ck_assert_int_eq(value_on_page(text, "balsa_fetch_seconds_count"), 1);
}
END_TEST

/* Goal: a page that does not fit is refused as a whole. Method: every maximum below the real size, in large steps. */
START_TEST(page_too_large_leaves_the_buffer_alone)
{
    (void)print();
    size_t size = page.size - 1;
    for (size_t size_max = 10; size_max < size + 10; size_max += 97) {
        struct dynbuf small;
        dynbuf_init(&small, size_max);
        ck_assert_int_eq(dynbuf_put(&small, bytes_from_text("before")), OK);
        enum err err = metrics_print(shards, array_count(shards), &small);
        ck_assert_int_eq(err, size_max < size + 6 ? ERR_TOO_LARGE : OK);
        ck_assert_uint_eq(small.size, err == OK ? size + 6 : 6);
        dynbuf_deinit(&small);
    }
}
END_TEST

static atomic_bool is_done;

static void *count_up(void *memory)
{
    struct metrics *metrics = memory;
    for (int i = 0; i < 100000; i++) {
        metrics_add(metrics, METRIC_RAFT_STEPS, 1);
        metrics_observe(metrics, METRIC_WAL_SYNC_US, i);
    }
    atomic_store(&is_done, true);
    return NULL;
}

/* Goal: pages are read while a shard counts; numbers are whole and never go back; a histogram agrees with itself. */
START_TEST(reading_while_counting)
{
    pthread_t thread;
    long long before = 0;
    atomic_store(&is_done, false);
    ck_assert_int_eq(pthread_create(&thread, NULL, count_up, shards[1]), 0);
    while (!atomic_load(&is_done)) {
        const char *text = print();
        long long steps = value_on_page(text, "balsa_raft_steps_total");
        ck_assert_int_ge(steps, before);
        before = steps;
        ck_assert_int_eq(value_on_page(text, "balsa_wal_sync_seconds_count"),
                         value_on_page(text, "balsa_wal_sync_seconds_bucket{le=\"+Inf\"}"));
    }
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_int_eq(value_on_page(print(), "balsa_raft_steps_total"), 100000);
}
END_TEST

static void *count_pairs(void *memory)
{
    for (int i = 0; i < 100000; i++) {
        metrics_add_pair(memory, METRIC_GRPC_ERRORS, 1, 2);
    }
    return NULL;
}

static void labels_of(size_t row, size_t column, char *text, size_t size)
{
    (void)snprintf(text, size, "a=\"%zu\",b=\"%zu\"", row, column);
}

/* Goal: a page has the sum of each pair that has occurred and no other, also of those at the edges; any thread may
 * count; a page too large leaves the buffer alone. */
START_TEST(pairs_are_printed_when_they_occurred)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, count_pairs, shards[1]), 0);
    (void)count_pairs(shards[1]);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    metrics_add_pair(shards[0], METRIC_GRPC_ERRORS, 1, 2);
    metrics_add_pair(shards[0], METRIC_GRPC_ERRORS, 0, 0);
    metrics_add_pair(shards[2], METRIC_GRPC_ERRORS, METRIC_GRPC_ERRORS_ROWS_MAX - 1,
                     METRIC_GRPC_ERRORS_COLUMNS_MAX - 1);
    metrics_add_pair(shards[2], METRIC_ERRORS, METRIC_ERRORS_ROWS_MAX - 1, METRIC_ERRORS_COLUMNS_MAX - 1);
    ck_assert_int_eq(metrics_pair_value(shards[1], METRIC_GRPC_ERRORS, 1, 2), 200000);
    dynbuf_reset(&page);
    ck_assert_int_eq(metrics_print_pair(shards, array_count(shards), METRIC_GRPC_ERRORS, labels_of, &page), OK);
    size_t size = page.size;
    ck_assert_int_eq(dynbuf_put(&page, (struct bytes){(const uint8_t *)"", 1}), OK);
    ck_assert_str_eq(strstr((const char *)page.data, "# TYPE"), "# TYPE balsa_grpc_errors_total counter\n"
                                                                "balsa_grpc_errors_total{a=\"0\",b=\"0\"} 1\n"
                                                                "balsa_grpc_errors_total{a=\"1\",b=\"2\"} 200001\n"
                                                                "balsa_grpc_errors_total{a=\"63\",b=\"31\"} 1\n");
    for (size_t size_max = 1; size_max <= size; size_max++) {
        struct dynbuf small;
        dynbuf_init(&small, size_max);
        enum err err = metrics_print_pair(shards, array_count(shards), METRIC_GRPC_ERRORS, labels_of, &small);
        ck_assert_int_eq(err, size_max < size ? ERR_TOO_LARGE : OK);
        ck_assert_uint_eq(small.size, err == OK ? size : 0);
        dynbuf_deinit(&small);
    }
}
END_TEST

static Suite *metrics_suite(void)
{
    Suite *suite = suite_create("metrics");
    TCase *tcase = tcase_create("metrics");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, page_sums_over_shards);
    tcase_add_test(tcase, buckets_count_every_value_at_or_below_their_bound);
    tcase_add_loop_test(tcase, quantile_is_within_its_error, 0, 63);
    tcase_add_test(tcase, empty_and_negative);
    tcase_add_test(tcase, page_too_large_leaves_the_buffer_alone);
    tcase_add_test(tcase, reading_while_counting);
    tcase_add_test(tcase, pairs_are_printed_when_they_occurred);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(metrics_suite)
