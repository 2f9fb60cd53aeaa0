/* What is not a counter of a shard is declared once, in the tables below, for the page and for docs/METRICS.md. */
#include "broker/http_page.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/admin.h"
#include "broker/request.h"

#include <inttypes.h>

/* ---- Sums over the shards' pictures ---- */

struct sum {
    const char *name;
    const char *help;
    int64_t (*of)(const struct health *health);
};

static int64_t of_behind(const struct health *health)
{
    return health->behind;
}

static int64_t of_leaderless(const struct health *health)
{
    return health->leaderless;
}

static int64_t of_under_replicated(const struct health *health)
{
    return health->under_replicated;
}

static int64_t of_left_out(const struct health *health)
{
    return (int64_t)health->partitions_left_out;
}

static int64_t of_space_low(const struct health *health)
{
    return health->is_space_low;
}

static const struct sum SUMS[] = {
    {"balsa_replicas_behind",
     "Replicas here that have not applied what was committed a second ago, or have no vote yet", of_behind},
    {"balsa_replicas_leaderless", "Replicas here without a leader, as far as this broker knows", of_leaderless},
    {"balsa_partitions_under_replicated", "Groups led here with a member that is away, behind, or without its vote yet",
     of_under_replicated},
    {"balsa_disk_below_reserve_shards", "Shards that refuse produce since the disk is below its reserve", of_space_low},
    {"balsa_partition_rows_left_out", "Partitions here without rows of their own on this page", of_left_out},
};

/* ---- Rows of partitions ---- */

struct column {
    const char *name;
    const char *help;
    int64_t (*of)(const struct health_partition *partition);
};

static int64_t of_high_watermark(const struct health_partition *partition)
{
    return partition->high_watermark;
}

static int64_t of_log_start(const struct health_partition *partition)
{
    return partition->log_start_offset;
}

static int64_t of_size(const struct health_partition *partition)
{
    return (int64_t)partition->size;
}

static int64_t of_led(const struct health_partition *partition)
{
    return partition->is_led;
}

static const struct column COLUMNS[] = {
    {"balsa_partition_high_watermark", "End of what is committed and applied here", of_high_watermark},
    {"balsa_partition_log_start_offset", "First offset that can be read", of_log_start},
    {"balsa_partition_size_bytes", "Bytes of segments", of_size},
    {"balsa_partition_leader", "1: this broker leads the partition", of_led},
};

/* ---- The process, with the names that Prometheus's own clients use, and its log ---- */

static const char *const PROCESS_HELP[][3] = {
    {"process_cpu_seconds_total", "counter", "User and system CPU time in seconds"},
    {"process_resident_memory_bytes", "gauge", "Resident memory in bytes"},
    {"process_open_fds", "gauge", "Open file descriptors"},
    {"process_max_fds", "gauge", "Most file descriptors that may be open"},
    {"process_start_time_seconds", "gauge", "Start of the process, in seconds since the epoch"},
    {"balsa_log_lines_lost_total", "counter", "Lines of the log that standard error did not take"},
};

static enum err print_process(const struct process_usage *process, struct dynbuf *buf)
{
    const double values[] = {process->cpu_seconds,     (double)process->resident_bytes, (double)process->open_fds,
                             (double)process->max_fds, (double)process->started_s,      (double)trace_lines_lost()};
    _Static_assert(sizeof(values) / sizeof(values[0]) == sizeof(PROCESS_HELP) / sizeof(PROCESS_HELP[0]), "one each");
    enum err err = OK;
    for (size_t i = 0; err == OK && i < array_count(values); i++) {
        err = dynbuf_printf(buf, "# HELP %s %s\n# TYPE %s %s\n%s %.17g\n", PROCESS_HELP[i][0], PROCESS_HELP[i][2],
                            PROCESS_HELP[i][0], PROCESS_HELP[i][1], PROCESS_HELP[i][0], values[i]);
    }
    return err;
}

static enum err print_sums(const struct http_picture *picture, struct dynbuf *buf)
{
    enum err err = OK;
    for (size_t i = 0; err == OK && i < array_count(SUMS); i++) {
        int64_t sum = 0;
        for (size_t shard = 0; shard < picture->count; shard++) {
            sum += SUMS[i].of(&picture->shards[shard]);
        }
        err = dynbuf_printf(buf, "# HELP %s %s\n# TYPE %s gauge\n%s %" PRId64 "\n", SUMS[i].name, SUMS[i].help,
                            SUMS[i].name, SUMS[i].name, sum);
    }
    return err;
}

/* Topics' names need no escaping: their alphabet has neither quotes nor backslashes. */
static enum err print_partitions(const struct http_picture *picture, struct dynbuf *buf)
{
    enum err err = OK;
    for (size_t i = 0; err == OK && picture->partition_count > 0 && i < array_count(COLUMNS); i++) {
        const struct column *column = &COLUMNS[i];
        err = dynbuf_printf(buf, "# HELP %s %s\n# TYPE %s gauge\n", column->name, column->help, column->name);
        for (size_t j = 0; err == OK && j < picture->partition_count; j++) {
            const struct health_partition *partition = &picture->partitions[j];
            err = dynbuf_printf(buf, "%s{topic=\"%s\",partition=\"%d\"} %" PRId64 "\n", column->name, partition->topic,
                                partition->index, column->of(partition));
        }
    }
    return err;
}

enum err http_page_counters(struct metrics *const *metrics, size_t count, struct dynbuf *buf)
{
    static const metric_labels labels[METRIC_PAIR_COUNT] = {
        [METRIC_ERRORS] = request_error_labels, [METRIC_GRPC_ERRORS] = admin_error_labels};
    enum err err = metrics_print(metrics, count, buf);
    for (size_t i = 0; err == OK && i < METRIC_PAIR_COUNT; i++) {
        err = metrics_print_pair(metrics, count, (enum metric_pair)i, labels[i], buf);
    }
    return err;
}

enum err http_page(const struct http_picture *picture, struct dynbuf *buf)
{
    enum err err = http_page_counters(picture->metrics, picture->count, buf);
    err = err == OK ? print_sums(picture, buf) : err;
    err = err == OK ? print_process(&picture->process, buf) : err;
    return err == OK ? print_partitions(picture, buf) : err;
}

void http_print_markdown(FILE *out)
{
    (void)fprintf(
        out,
        "# Metrics\n\n"
        "Printed by `balsad --help=metrics`; a test compares. The page is `GET /metrics` on `balsa.http.listener`, in\n"
        "Prometheus's text format; sizes are bytes, times seconds. Counters start at zero with the process.\n\n"
        "| metric | kind | meaning |\n|---|---|---|\n");
    metrics_print_markdown(out);
    for (size_t i = 0; i < array_count(SUMS); i++) {
        (void)fprintf(out, "| `%s` | gauge | %s |\n", SUMS[i].name, SUMS[i].help);
    }
    for (size_t i = 0; i < array_count(PROCESS_HELP); i++) {
        (void)fprintf(out, "| `%s` | %s | %s |\n", PROCESS_HELP[i][0], PROCESS_HELP[i][1], PROCESS_HELP[i][2]);
    }
    (void)fprintf(
        out,
        "\n## Partitions\n\n"
        "One row for each partition with a replica on the broker, labels `topic` and `partition`, for the first %d of\n"
        "a broker; `balsa_partition_rows_left_out` counts the others.\n\n"
        "| metric | kind | meaning |\n|---|---|---|\n",
        HEALTH_PARTITIONS_MAX);
    for (size_t i = 0; i < array_count(COLUMNS); i++) {
        (void)fprintf(out, "| `%s` | gauge | %s |\n", COLUMNS[i].name, COLUMNS[i].help);
    }
}
