/* Lines, levels, and rings. stderr is a pipe or a file while events are written, and read back afterwards. */
#include "base/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

enum {
    OUTPUT_SIZE_MAX = 4 << 20
};

static char *dir;
static int stderr_saved;
static int output_fd;
static char *output;
static int64_t now_ms;

static int64_t fixed_clock(void *context)
{
    ck_assert_ptr_eq(context, &now_ms);
    return now_ms;
}

static void setup(void)
{
    dir = test_dir_make();
    output = mem_alloc(OUTPUT_SIZE_MAX);
    char *path = NULL;
    ck_assert_int_gt(asprintf(&path, "%s/stderr", dir), 0);
    output_fd = open(path, O_RDWR | O_CREAT | O_APPEND, 0600);
    ck_assert_int_ge(output_fd, 0);
    free(path);
    stderr_saved = dup(STDERR_FILENO);
    ck_assert_int_eq(dup2(output_fd, STDERR_FILENO), STDERR_FILENO);
    now_ms = INT64_C(1767225600123); /* 2026-01-01T00:00:00.123Z */
    trace_set_thread("0", fixed_clock, &now_ms);
    ck_assert(trace_set_level_text("all", "info"));
}

static void teardown(void)
{
    trace_set_thread(NULL, NULL, NULL);
    (void)dup2(stderr_saved, STDERR_FILENO);
    (void)close(stderr_saved);
    (void)close(output_fd);
    mem_free(output);
    test_dir_remove(dir);
}

/* What was written to stderr since the last call. */
static const char *take_output(void)
{
    ssize_t size = pread(output_fd, output, OUTPUT_SIZE_MAX - 1, 0);
    ck_assert_int_ge(size, 0);
    output[size] = '\0';
    ck_assert_int_eq(ftruncate(output_fd, 0), 0);
    return output;
}

#define HEAD "2026-01-01T00:00:00.123Z level=info shard=0 component=replica event="

/* Goal: a line looks as documented, for every kind of value. */
START_TEST(line_has_time_level_shard_component_event_and_pairs)
{
    uint64_t term = UINT64_MAX;
    int64_t offset = INT64_MIN;
    uint16_t port = 65535;
    int8_t small = -1;
    bool is_leader = true;
    char text[] = "orders";
    const char *null = NULL;
    trace(INFO, REPLICA, "became leader", KV("partition", 1), KV("term", 5));
    ck_assert_str_eq(take_output(), HEAD "\"became leader\" partition=1 term=5\n");
    trace(INFO, REPLICA, "started");
    ck_assert_str_eq(take_output(), HEAD "started\n");
    trace(INFO, REPLICA, "x", KV("term", term), KV("offset", offset), KV("port", port), KV("small", small),
          KV("is_leader", is_leader), KV("topic", text), KV("null", null), KV("size", sizeof text),
          KV("bytes", bytes_from_text("ab")), KV("none", BYTES_NONE), KV("err", err_name(ERR_IO)));
    ck_assert_str_eq(take_output(),
                     HEAD "x term=18446744073709551615 offset=-9223372036854775808 port=65535 small=-1 is_leader=1 "
                          "topic=orders null=null size=7 bytes=ab none=\"\" err=ERR_IO\n");
}
END_TEST

static const struct {
    const char *value;
    const char *printed;
} quote_cases[] = {
    {"plain-text/1.0:9092", "plain-text/1.0:9092"},
    {"", "\"\""},
    {"two words", "\"two words\""},
    {"a=b", "\"a=b\""},
    {"say \"hi\"", "\"say \\\"hi\\\"\""},
    {"back\\slash", "\"back\\\\slash\""},
    {"line\nbreak\r\t", "\"line\\nbreak\\r\\t\""},
    {"\x1b[2J\x7f", "\"\\x1b[2J\\x7f\""},
    {"\xc3\xa9\xff", "\"\\xc3\\xa9\\xff\""},
};

/* Goal: no value can break out of its line or reach a terminal, on the way to stderr or through the ring. */
START_TEST(values_are_quoted_and_escaped)
{
    char expected[256];
    trace(INFO, REPLICA, "x", KV("key", quote_cases[_i].value), KV("bytes", bytes_from_text(quote_cases[_i].value)));
    (void)snprintf(expected, sizeof expected, HEAD "x key=%s bytes=%s\n", quote_cases[_i].printed,
                   quote_cases[_i].printed);
    ck_assert_str_eq(take_output(), expected);
    trace_print_rings();
    ck_assert_ptr_nonnull(strstr(take_output(), expected));
}
END_TEST

static const struct {
    int64_t ms;
    const char *text;
} time_cases[] = {
    {0, "1970-01-01T00:00:00.000Z"},
    {-1, "1970-01-01T00:00:00.000Z"},
    {INT64_C(951782399999), "2000-02-28T23:59:59.999Z"},
    {INT64_C(951782400000), "2000-02-29T00:00:00.000Z"},
    {INT64_C(1709251199000), "2024-02-29T23:59:59.000Z"},
    {INT64_C(1735689599999), "2024-12-31T23:59:59.999Z"},
    {INT64_C(4107542400000), "2100-03-01T00:00:00.000Z"},
    {INT64_C(253402300799999), "9999-12-31T23:59:59.999Z"},
    {INT64_MAX, "9999-12-31T23:59:59.999Z"},
};

/* Goal: time stamps are right at leap days and at the ends of the range. */
START_TEST(time_stamps_are_right)
{
    now_ms = time_cases[_i].ms;
    trace(INFO, MAIN, "x");
    ck_assert_int_eq(strncmp(take_output(), time_cases[_i].text, strlen(time_cases[_i].text)), 0);
}
END_TEST

/* Goal: a component's level decides what is printed, and the ring has all of it. */
START_TEST(level_decides_printing_but_not_the_ring)
{
    ck_assert(trace_set_level_text("wal", "warn"));
    ck_assert(trace_set_level_text("raft", "debug"));
    trace(INFO, WAL, "hidden one");
    trace(WARN, WAL, "shown one");
    trace(DEBUG, RAFT, "shown two");
    trace(DEBUG, LOG, "hidden two");
    const char *text = take_output();
    ck_assert_ptr_null(strstr(text, "hidden"));
    ck_assert_ptr_nonnull(strstr(text, "level=warn shard=0 component=wal event=\"shown one\"\n"));
    ck_assert_ptr_nonnull(strstr(text, "level=debug shard=0 component=raft event=\"shown two\"\n"));
    trace_print_rings();
    text = take_output();
    const char *first = strstr(text, "hidden one");
    ck_assert_ptr_nonnull(first);
    ck_assert_ptr_nonnull(strstr(first, "hidden two"));
    trace_set_level(TRACE_WAL, TRACE_ERROR);
    trace(WARN, WAL, "now hidden");
    ck_assert_str_eq(take_output(), "");
}
END_TEST

/* Goal: names that do not exist are refused and change nothing. */
START_TEST(unknown_names_are_refused)
{
    ck_assert(!trace_set_level_text("wall", "debug"));
    ck_assert(!trace_set_level_text("", "debug"));
    ck_assert(!trace_set_level_text("wal", "DEBUG"));
    ck_assert(!trace_set_level_text("all", "loud"));
    trace(DEBUG, WAL, "hidden");
    ck_assert_str_eq(take_output(), "");
    ck_assert(trace_set_level_text("all", "debug"));
    trace(DEBUG, SIM, "shown");
    ck_assert_ptr_nonnull(strstr(take_output(), "shown"));
}
END_TEST

/* Goal: the ring keeps the last 256 events, in order, with the name that the thread had then. */
START_TEST(ring_keeps_the_last_events)
{
    ck_assert(trace_set_level_text("all", "error"));
    for (int i = 0; i < 1000; i++) {
        trace_set_thread(i % 2 == 0 ? "even" : "odd", fixed_clock, &now_ms);
        trace(INFO, SIM, "step", KV("number", i));
    }
    trace_print_rings();
    const char *at = take_output();
    ck_assert_ptr_null(strstr(at, "number=743\n"));
    for (int i = 744; i < 1000; i++) {
        char expected[64];
        (void)snprintf(expected, sizeof expected, "shard=%s component=sim event=step number=%d\n",
                       i % 2 == 0 ? "even" : "odd", i);
        at = strstr(at, expected);
        ck_assert_msg(at != NULL, "%s", expected);
    }
}
END_TEST

/* Goal: text of any size is cut, never overrun: a line takes 512 bytes, the ring 120, and an event too large for its
 * slot loses its last pairs and says so. */
START_TEST(long_values_are_cut)
{
    char text[3000];
    char expected[600];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    trace(INFO, REPLICA, "long", KV("text", text));
    (void)snprintf(expected, sizeof expected, HEAD "long text=%.512s\n", text);
    ck_assert_str_eq(take_output(), expected);
    trace_print_rings();
    (void)snprintf(expected, sizeof expected, HEAD "long text=%.120s\n", text);
    ck_assert_ptr_nonnull(strstr(take_output(), expected));

    trace(INFO, REPLICA, "many", KV("a", text), KV("b", text), KV("c", 3));
    ck_assert_ptr_nonnull(strstr(take_output(), " c=3\n"));
    trace_print_rings();
    (void)snprintf(expected, sizeof expected, HEAD "many a=%.120s cut=true\n", text);
    ck_assert_ptr_nonnull(strstr(take_output(), expected));
}
END_TEST

/* Goal: a line over its limit stays one well-formed line. Method: values that are escaped to four times their size. */
START_TEST(long_line_stays_well_formed)
{
    char text[513];
    memset(text, 1, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    trace(INFO, REPLICA, "long", KV("a", text), KV("b", text), KV("c", text), KV("d", 4));
    const char *line = take_output();
    size_t size = strlen(line);
    ck_assert_uint_le(size, 4096);
    ck_assert_str_eq(line + size - strlen("\" cut=true\n"), "\" cut=true\n");
    ck_assert_ptr_eq(strchr(line, '\n'), line + size - 1);
    size_t quotes = 0;
    for (const char *at = line; *at != '\0'; at++) {
        quotes += *at == '"';
    }
    ck_assert_uint_eq(quotes % 2, 0);
}
END_TEST

/* Goal: tracing leaves errno alone, even when stderr takes nothing. */
START_TEST(errno_is_kept_and_a_closed_stderr_is_survived)
{
    (void)close(STDERR_FILENO);
    errno = ENOSPC;
    trace(ERROR, MAIN, "nobody hears");
    ck_assert_int_eq(errno, ENOSPC);
    ck_assert_int_eq(dup2(output_fd, STDERR_FILENO), STDERR_FILENO);
    trace(ERROR, MAIN, "heard");
    ck_assert_ptr_nonnull(strstr(take_output(), "heard"));
}
END_TEST

enum {
    THREAD_COUNT = 4,
    EVENT_COUNT = 3000
};

static void *trace_much(void *memory)
{
    const char *name = memory;
    trace_set_thread(name, NULL, NULL);
    for (int i = 0; i < EVENT_COUNT; i++) {
        trace(DEBUG, SHARD, "turn", KV("number", i), KV("name", name));
        if (i % 1000 == 0) {
            trace(INFO, SHARD, "milestone", KV("number", i), KV("name", name));
        }
    }
    return NULL;
}

/* Goal: threads trace while another one prints all rings: lines stay whole, and rings of ended threads are still there,
 * until new threads take them over. Method: several generations of threads; every line is checked for its shape. */
START_TEST(rings_are_printed_while_threads_trace)
{
    static char names[THREAD_COUNT][8] = {"one", "two", "three", "four"};
    for (int generation = 0; generation < 3; generation++) {
        pthread_t threads[THREAD_COUNT];
        for (size_t i = 0; i < THREAD_COUNT; i++) {
            ck_assert_int_eq(pthread_create(&threads[i], NULL, trace_much, names[i]), 0);
        }
        for (int i = 0; i < 5; i++) {
            trace_print_rings();
        }
        for (size_t i = 0; i < THREAD_COUNT; i++) {
            ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        }
    }
    const char *at = take_output();
    while (*at != '\0') {
        const char *end = strchr(at, '\n');
        ck_assert_ptr_nonnull(end);
        char line[256];
        (void)snprintf(line, sizeof line, "%.*s", (int)(end - at), at);
        const char *shard = strstr(line, " shard=");
        const char *name = strstr(line, " name=");
        ck_assert_msg(strncmp(line, "---", 3) == 0 || (line[10] == 'T' && strstr(line, " event=") != NULL), "%s", line);
        if (name != NULL) {
            size_t size = strlen(name + strlen(" name="));
            ck_assert_msg(strncmp(shard + strlen(" shard="), name + strlen(" name="), size) == 0, "%s", line);
        }
        at = end + 1;
    }
    trace_print_rings();
    at = take_output();
    unsigned count = 0;
    for (const char *found = at; (found = strstr(found, "event=turn number=2999")) != NULL; found++) {
        count++;
    }
    ck_assert_uint_ge(count, 1);
    ck_assert_uint_le(count, THREAD_COUNT); /* no more rings than there were threads at one time */
}
END_TEST

static Suite *trace_suite(void)
{
    Suite *suite = suite_create("trace");
    TCase *tcase = tcase_create("trace");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, line_has_time_level_shard_component_event_and_pairs);
    tcase_add_loop_test(tcase, values_are_quoted_and_escaped, 0, array_count(quote_cases));
    tcase_add_loop_test(tcase, time_stamps_are_right, 0, array_count(time_cases));
    tcase_add_test(tcase, level_decides_printing_but_not_the_ring);
    tcase_add_test(tcase, unknown_names_are_refused);
    tcase_add_test(tcase, ring_keeps_the_last_events);
    tcase_add_test(tcase, long_values_are_cut);
    tcase_add_test(tcase, long_line_stays_well_formed);
    tcase_add_test(tcase, errno_is_kept_and_a_closed_stderr_is_survived);
    tcase_add_test(tcase, rings_are_printed_while_threads_trace);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(trace_suite)
