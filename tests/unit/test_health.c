/* What probes are told, and the page of metrics beside the counters (broker/health.h, broker/http_page.h). */
#include "base/mem.h"
#include "base/process.h"
#include "broker/health.h"
#include "broker/http_page.h"
#include "tests/lib/test.h"

#include <string.h>

#define NOW_US INT64_C(1000000000)

static struct health good(void)
{
    return (struct health){.taken_us = NOW_US, .is_serving = true, .is_settled = true, .replicas = 3, .led = 1};
}

static void spoil_nothing(struct health *health)
{
    (void)health;
}

static void spoil_opening(struct health *health)
{
    health->taken_us = 0;
}

static void spoil_serving(struct health *health)
{
    health->is_serving = false;
}

static void spoil_pass(struct health *health)
{
    health->is_settled = false;
}

static void spoil_damage(struct health *health)
{
    health->damaged = 1;
}

static void spoil_leader(struct health *health)
{
    health->leaderless = 2;
}

static void spoil_level(struct health *health)
{
    health->behind = 1;
}

static void spoil_time(struct health *health)
{
    health->taken_us = NOW_US - HEALTH_STALE_US - 1;
}

/* A peer that is away makes nobody else unready: else its loss would take the others out of service, too. */
static void spoil_peers(struct health *health)
{
    health->under_replicated = 3;
}

static const struct verdict_case {
    const char *name;
    void (*spoil)(struct health *health);
    bool is_live, is_ready;
    const char *reason;
} CASES[] = {
    {"good", spoil_nothing, true, true, "ready"},
    {"opening", spoil_opening, true, false, "logs are being opened"},
    {"not serving", spoil_serving, true, false, "not serving: the broker joins the cluster, or stops"},
    {"not made", spoil_pass, true, false, "a replica that is to be here is not made yet"},
    {"damaged", spoil_damage, true, false, "a replica is damaged and not rebuilt yet"},
    {"leaderless", spoil_leader, true, false, "a replica here has no leader"},
    {"behind", spoil_level, true, false, "a replica here is behind its leader, or has no vote yet"},
    {"stuck", spoil_time, false, false, "a shard's loop stands still"},
    {"peer away", spoil_peers, true, true, "ready"},
};

/* Goal: each thing that is missing is named, on whichever shard it is. */
START_TEST(verdict_names_what_is_missing)
{
    const struct verdict_case *row = &CASES[_i / 3];
    struct health shards[3] = {good(), good(), good()};
    const char *reason = NULL;
    row->spoil(&shards[_i % 3]);
    ck_assert_msg(health_is_live(shards, 3, NOW_US, &reason) == row->is_live, "%s: live: %s", row->name, reason);
    ck_assert_msg(health_is_ready(shards, 3, NOW_US, &reason) == row->is_ready, "%s: ready: %s", row->name, reason);
    ck_assert_str_eq(reason, row->reason);
}
END_TEST

#define SERVER(node, disk) ((uint64_t)(node) << 32 | (disk))
#define GROUP (METADATA_GROUP + 1)

static const struct {
    const char *name;
    uint64_t group;
    struct membership now;
    bool is_joining; /* broker 1, on its second disk */
} memberships[] = {
    {"a voter", GROUP, {{{SERVER(1, 2), true}, {SERVER(2, 1), true}, {SERVER(3, 1), true}}, 3}, false},
    {"no vote yet", GROUP, {{{SERVER(2, 1), true}, {SERVER(3, 1), true}, {SERVER(1, 2), false}}, 3}, true},
    {"the lost disk has the vote",
     GROUP,
     {{{SERVER(1, 1), true}, {SERVER(2, 1), true}, {SERVER(1, 2), false}}, 3},
     true},
    {"both vote", GROUP, {{{SERVER(1, 1), true}, {SERVER(1, 2), true}, {SERVER(2, 1), true}}, 3}, true},
    {"no member", GROUP, {{{SERVER(2, 1), true}, {SERVER(3, 1), true}}, 2}, false},
    {"metadata: a standby", METADATA_GROUP, {{{SERVER(1, 2), false}, {SERVER(2, 1), true}}, 2}, false},
    {"metadata: two votes of three",
     METADATA_GROUP,
     {{{SERVER(1, 2), false}, {SERVER(2, 1), true}, {SERVER(3, 1), true}}, 3},
     true},
    {"metadata: no member yet", METADATA_GROUP, {{{SERVER(2, 1), true}, {SERVER(3, 1), true}}, 2}, true},
    {"metadata: the lost disk",
     METADATA_GROUP,
     {{{SERVER(1, 1), true}, {SERVER(2, 1), true}, {SERVER(3, 1), true}, {SERVER(1, 2), false}}, 4},
     true},
};

/* Goal: who is to have a vote and has none, and who follows a lost disk that still counts, is joining; nobody else. */
START_TEST(vote_is_waited_for)
{
    ck_assert_msg(health_is_joining(&memberships[_i].now, memberships[_i].group, SERVER(1, 2)) ==
                      memberships[_i].is_joining,
                  "%s", memberships[_i].name);
}
END_TEST

/* Goal: the page has the sums of all shards and a row for each partition; cut at any size it is refused, never cut
 * short. */
START_TEST(page_has_sums_and_rows)
{
    struct metrics *metrics[2] = {metrics_open(), metrics_open()};
    struct health shards[2] = {good(), good()};
    struct health_partition partitions[2] = {
        {.topic = "orders", .index = 3, .is_led = true, .log_start_offset = 5, .high_watermark = 70, .size = 900},
        {.topic = "a.b_c-d", .high_watermark = 1},
    };
    struct http_picture picture = {.metrics = metrics,
                                   .shards = shards,
                                   .count = 2,
                                   .partitions = partitions,
                                   .partition_count = 2,
                                   .process = {.cpu_seconds = 1.5, .resident_bytes = 4096}};
    struct dynbuf buf;
    shards[0].behind = 2;
    shards[1].behind = 3;
    shards[1].partitions_left_out = 7;
    dynbuf_init(&buf, 1 << 20);
    ck_assert_int_eq(http_page(&picture, &buf), OK);
    ck_assert_int_eq(dynbuf_put(&buf, (struct bytes){(const uint8_t *)"", 1}), OK);
    const char *text = (const char *)buf.data;
    static const char *const wanted[] = {
        "\nbalsa_replicas_behind 5\n",
        "\nbalsa_partition_rows_left_out 7\n",
        "\nbalsa_partition_high_watermark{topic=\"orders\",partition=\"3\"} 70\n",
        "\nbalsa_partition_log_start_offset{topic=\"orders\",partition=\"3\"} 5\n",
        "\nbalsa_partition_size_bytes{topic=\"orders\",partition=\"3\"} 900\n",
        "\nbalsa_partition_leader{topic=\"orders\",partition=\"3\"} 1\n",
        "balsa_partition_leader{topic=\"a.b_c-d\",partition=\"0\"} 0\n",
        "\nprocess_cpu_seconds_total 1.5\n",
        "\nprocess_resident_memory_bytes 4096\n",
    };
    for (size_t i = 0; i < array_count(wanted); i++) {
        ck_assert_msg(strstr(text, wanted[i]) != NULL, "missing: %s", wanted[i]);
    }
    for (size_t size_max = 64; size_max < buf.size - 1; size_max += 501) {
        struct dynbuf small;
        dynbuf_init(&small, size_max);
        ck_assert_int_eq(http_page(&picture, &small), ERR_TOO_LARGE);
        dynbuf_deinit(&small);
    }
    dynbuf_deinit(&buf);
    metrics_close(metrics[0]);
    metrics_close(metrics[1]);
}
END_TEST

/* Goal: what is told of this process is true: compared with what can be known from inside. */
START_TEST(usage_is_plausible)
{
    struct process_usage before;
    struct process_usage after;
    process_usage(&before);
    FILE *file = fopen("/dev/null", "r");
    ck_assert_ptr_nonnull(file);
    process_usage(&after);
    (void)fclose(file);
    ck_assert_int_eq(after.open_fds, before.open_fds + 1);
    ck_assert_int_gt(before.resident_bytes, 100000);
    ck_assert(after.cpu_seconds >= before.cpu_seconds);
    ck_assert_int_gt(before.max_fds, before.open_fds);
    ck_assert_int_gt(before.started_s, 1500000000);
}
END_TEST

static Suite *health_suite(void)
{
    Suite *suite = suite_create("health");
    TCase *tcase = tcase_create("health");
    tcase_add_loop_test(tcase, verdict_names_what_is_missing, 0, 3 * (int)array_count(CASES));
    tcase_add_loop_test(tcase, vote_is_waited_for, 0, (int)array_count(memberships));
    tcase_add_test(tcase, page_has_sums_and_rows);
    tcase_add_test(tcase, usage_is_plausible);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(health_suite)
