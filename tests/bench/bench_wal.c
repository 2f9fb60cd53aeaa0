/* The write-ahead log against the disk's own limit, in one run: the same sizes written by a bare loop to a filled file
 * with O_DIRECT|O_DSYNC, and by the log with one and with two frames under way; many small frames (group commit);
 * replay of a large log against a bare read of its files; the time an empty log takes to open.
 *
 * Rounds of disk and log take turns and the best of each counts, so that other load on the machine weighs little.
 * BENCH_DIR chooses the directory (default /tmp), BENCH_SECONDS the time per round (default 0.4). */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "base/uv_env.h"
#include "replication/wal.h"
#include "tests/lib/test.h"

enum {
    SAMPLE_COUNT_MAX = 1 << 20,
    FRAME_OVERHEAD = 64 + 40, /* headers of a unit and of its one frame */
    WARM_UP_COUNT = 700,      /* frames of 1 MiB: all files that are needed have been made then */
    SMALL_SIZE = 300,
    SMALL_DEPTH = 1000,
    ROUND_COUNT = 5,
};
#define REPLAY_SIZE GIB(1)

struct bench {
    char *dir;
    char wal_dir[512];
    struct metrics *metrics;
    struct uv_env *uv;
    struct wal *wal;
    struct wal_options options;
    uint8_t *payload;
    size_t size;      /* of a frame's payload */
    unsigned depth;   /* frames under way */
    bool is_released; /* at each pressure */
    int64_t end_us;   /* appends stop then, */
    uint64_t left;    /* or after so many */
    bool is_closing;
    uint64_t count; /* frames durable */
    uint64_t taken; /* frames appended */
    uint64_t lsns[SMALL_DEPTH];
    int64_t starts_us[SMALL_DEPTH];
    uint64_t replayed_bytes;
};

static struct bench bench;
static int64_t samples[SAMPLE_COUNT_MAX];
static size_t sample_count;

static int64_t now_us(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000 + at.tv_nsec / 1000;
}

static double seconds(void)
{
    const char *text = getenv("BENCH_SECONDS");
    return text == NULL ? 0.4 : strtod(text, NULL);
}

/* ---- Numbers ---------------------------------------------------------------------------------------------------- */

static void sample(int64_t us)
{
    if (sample_count < SAMPLE_COUNT_MAX) {
        samples[sample_count++] = us;
    }
}

static int sample_compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return left < right ? -1 : left > right;
}

static int64_t percentile(double part)
{
    return sample_count == 0 ? 0 : samples[(size_t)((double)(sample_count - 1) * part)];
}

struct result {
    double rate;  /* bytes per microsecond: MB/s */
    double count; /* per second */
    int64_t p50, p99, p999;
};

/* Keeps the better of `best` and the round that was just sampled. */
static void result_take(struct result *best, size_t size, uint64_t count, int64_t us)
{
    double rate = (double)count * (double)size / (double)us;
    if (rate > best->rate) {
        qsort(samples, sample_count, sizeof(samples[0]), sample_compare);
        *best = (struct result){rate, (double)count * 1e6 / (double)us, percentile(0.5), percentile(0.99),
                                percentile(0.999)};
    }
    sample_count = 0;
}

static void result_print(const char *name, size_t size, const struct result *result)
{
    printf("  %-12s %8zu bytes %9.0f /s %6.0f MB/s   p50 %5lld  p99 %6lld  p99.9 %6lld us\n", name, size, result->count,
           result->rate, (long long)result->p50, (long long)result->p99, (long long)result->p999);
}

/* ---- The disk --------------------------------------------------------------------------------------------------- */

static int raw_open(void)
{
    char path[600];
    (void)snprintf(path, sizeof(path), "%s/raw", bench.dir);
    int file = open(path, O_RDWR | O_CREAT | O_DIRECT | O_DSYNC, 0600);
    if (file < 0) {
        file = open(path, O_RDWR | O_CREAT | O_DSYNC, 0600);
        printf("  no O_DIRECT here\n");
    }
    assert(file >= 0);
    uint8_t *zeros = mem_aligned(WAL_BLOCK_SIZE, MIB(1));
    for (size_t at = 0; at < WAL_FILE_SIZE; at += MIB(1)) {
        ssize_t wrote = pwrite(file, zeros, MIB(1), (off_t)at);
        assert(wrote == (ssize_t)MIB(1));
    }
    mem_free(zeros);
    return file;
}

static void raw_write(int file, size_t size, struct result *best)
{
    int64_t start = now_us();
    int64_t end = start + (int64_t)(seconds() * 1e6);
    int64_t before = start;
    uint64_t count = 0;
    size_t at = 0;
    while (before < end) {
        ssize_t wrote = pwrite(file, bench.payload, size, (off_t)at);
        assert(wrote == (ssize_t)size);
        at = at + 2 * size > WAL_FILE_SIZE ? 0 : at + size;
        int64_t after = now_us();
        sample(after - before);
        before = after;
        count++;
    }
    result_take(best, size, count, before - start);
}

/* ---- The log ---------------------------------------------------------------------------------------------------- */

static void append(void)
{
    struct slice slice = {.bytes = {bench.payload, bench.size}};
    struct wal_frame frame = {.group = 1, .kind = WAL_ENTRY, .index = bench.taken, .slices = &slice, .slice_count = 1};
    size_t slot = bench.taken++ % SMALL_DEPTH;
    bench.starts_us[slot] = now_us();
    bench.lsns[slot] = wal_append(bench.wal, &frame);
}

static void on_closed(void *owner)
{
    (void)owner;
    uv_env_stop(bench.uv);
}

static void on_durable(void *owner, uint64_t lsn)
{
    (void)owner;
    int64_t now = now_us();
    uint64_t before = bench.count;
    while (bench.count < bench.taken && bench.lsns[bench.count % SMALL_DEPTH] < lsn) {
        sample(now - bench.starts_us[bench.count % SMALL_DEPTH]);
        bench.count++;
    }
    for (; before < bench.count && now < bench.end_us && bench.left > 0; before++, bench.left--) {
        append();
    }
    if (bench.count == bench.taken && !bench.is_closing) {
        bench.is_closing = true;
        wal_close(bench.wal, on_closed);
    }
}

static void on_pressure(void *owner)
{
    (void)owner;
    if (bench.is_released) {
        wal_release(bench.wal, wal_durable_lsn(bench.wal));
    }
}

static void on_replay(void *owner, const struct wal_record *record)
{
    (void)owner;
    bench.replayed_bytes += record->payload.size;
}

static const struct wal_handlers handlers = {on_durable, on_pressure};

/* Opens the log, keeps `depth` frames under way until the time or the count is up, closes it. */
static int64_t wal_life(size_t size, unsigned depth, double time, uint64_t count)
{
    struct errmsg msg;
    bench.metrics = metrics_open();
    enum err err = uv_env_open(0, bench.metrics, &bench.uv, &msg);
    assert(err == OK);
    err = wal_open(uv_env_env(bench.uv), bench.wal_dir, &bench.options, &bench, &handlers, on_replay, &bench.wal, &msg);
    assert(err == OK);
    bench.size = size;
    bench.depth = depth;
    bench.count = bench.taken = 0;
    bench.is_closing = false;
    int64_t start = now_us();
    bench.end_us = start + (int64_t)(time * 1e6);
    bench.left = count;
    for (unsigned i = 0; i < depth && bench.left > 0; i++, bench.left--) {
        append();
    }
    uv_env_run(bench.uv);
    int64_t us = now_us() - start;
    uv_env_close(bench.uv);
    return us;
}

static void metrics_report(int64_t us)
{
    int64_t syncs = metrics_value(bench.metrics, METRIC_WAL_SYNCS);
    printf("  %-12s %8lld syncs/s, %lld bytes each, %lld stalls\n", "", (long long)(syncs * 1000000 / us),
           (long long)(metrics_value(bench.metrics, METRIC_WAL_BYTES) / syncs),
           (long long)metrics_value(bench.metrics, METRIC_WAL_STALLS));
}

static void wal_write(size_t unit_size, unsigned depth, struct result *best)
{
    int64_t us = wal_life(unit_size - FRAME_OVERHEAD, depth, seconds(), UINT64_MAX);
    result_take(best, unit_size, bench.count, us);
    metrics_close(bench.metrics);
}

static void bench_size(int file, size_t size)
{
    struct result disk = {0};
    struct result one = {0};
    struct result two = {0};
    for (int round = 0; round < ROUND_COUNT; round++) {
        raw_write(file, size, &disk);
        wal_write(size, 1, &one);
        wal_write(size, 2, &two);
    }
    result_print("disk", size, &disk);
    result_print("log, 1 frame", size, &one);
    result_print("log, 2", size, &two);
    printf("  %-12s %.2f and %.2f of the disk\n", "", one.rate / disk.rate, two.rate / disk.rate);
}

static void bench_sizes(void)
{
    static const size_t sizes[] = {KIB(4), KIB(16), KIB(64), KIB(256), MIB(1)};
    bench.options = (struct wal_options){0};
    bench.is_released = true;
    int64_t us = wal_life(MIB(1) - FRAME_OVERHEAD, 4, 1e6, WARM_UP_COUNT);
    sample_count = 0;
    printf("warm-up: %d MiB in %lld ms, %lld stalls while files are made\n", WARM_UP_COUNT, (long long)us / 1000,
           (long long)metrics_value(bench.metrics, METRIC_WAL_STALLS));
    metrics_close(bench.metrics);
    int file = raw_open();
    for (size_t i = 0; i < array_count(sizes); i++) {
        bench_size(file, sizes[i]);
    }
    close(file);
    struct result small = {0};
    us = wal_life(SMALL_SIZE, SMALL_DEPTH, 2 * seconds(), UINT64_MAX);
    result_take(&small, SMALL_SIZE, bench.count, us);
    result_print("group commit", SMALL_SIZE, &small);
    metrics_report(us);
    metrics_close(bench.metrics);
}

/* ---- Opening ---------------------------------------------------------------------------------------------------- */

static void path_each(void (*fn)(const char *path))
{
    for (unsigned file = 1; file <= WAL_FILE_COUNT_MAX; file++) {
        char path[600];
        (void)snprintf(path, sizeof(path), "%s/%020u.wal", bench.wal_dir, file);
        fn(path);
    }
}

static void cache_drop(const char *path)
{
    int file = open(path, O_RDONLY);
    if (file >= 0) {
        (void)posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
        close(file);
    }
}

static uint64_t raw_bytes;

static void raw_read(const char *path)
{
    int file = open(path, O_RDONLY);
    uint8_t *data = mem_alloc_raw(WAL_READ_SIZE);
    for (ssize_t got = 1; file >= 0 && got > 0;) {
        got = read(file, data, WAL_READ_SIZE);
        raw_bytes += got > 0 ? (uint64_t)got : 0;
    }
    mem_free(data);
    if (file >= 0) {
        close(file);
    }
}

static void bench_open(void)
{
    (void)snprintf(bench.wal_dir, sizeof(bench.wal_dir), "%s/large", bench.dir);
    bench.options = (struct wal_options){.checkpoint_size = GIB(4)};
    bench.is_released = false;
    int64_t us = wal_life(1, 1, 1e6, 1);
    metrics_close(bench.metrics);
    (void)wal_life(KIB(64), 16, 1e6, REPLAY_SIZE / KIB(64));
    metrics_close(bench.metrics);
    int64_t raw_us = INT64_MAX;
    int64_t replay_us = INT64_MAX;
    int64_t start;
    for (int round = 0; round < 3; round++) {
        raw_bytes = 0;
        path_each(cache_drop);
        start = now_us();
        path_each(raw_read);
        us = now_us() - start;
        raw_us = us < raw_us ? us : raw_us;
        bench.replayed_bytes = 0;
        path_each(cache_drop);
        start = now_us();
        us = wal_life(1, 1, 1e6, 1);
        us = now_us() - start - us;
        replay_us = us < replay_us ? us : replay_us;
        metrics_close(bench.metrics);
    }
    printf("  bare read    %8llu MiB in %5lld ms %8.0f MB/s\n", (unsigned long long)(raw_bytes >> 20),
           (long long)raw_us / 1000, (double)raw_bytes / (double)raw_us);
    printf("  replay       %8llu MiB in %5lld ms %8.0f MB/s\n", (unsigned long long)(bench.replayed_bytes >> 20),
           (long long)replay_us / 1000, (double)bench.replayed_bytes / (double)replay_us);
    int64_t best = INT64_MAX;
    for (int i = 0; i < 10; i++) {
        (void)snprintf(bench.wal_dir, sizeof(bench.wal_dir), "%s/empty-%d", bench.dir, i);
        start = now_us();
        us = wal_life(1, 1, 1e6, 1);
        us = now_us() - start - us;
        best = us < best ? us : best;
        metrics_close(bench.metrics);
    }
    printf("  empty log    opens in %lld us (best of 10, loop and threads included)\n", (long long)best);
}

int main(void)
{
    trace_set_level(TRACE_WAL, TRACE_WARN);
    const char *root = getenv("BENCH_DIR");
    if (root != NULL) {
        (void)setenv("TEST_DIR", root, 1);
    }
    bench.dir = test_dir_make();
    (void)snprintf(bench.wal_dir, sizeof(bench.wal_dir), "%s/wal", bench.dir);
    bench.payload = mem_aligned(WAL_BLOCK_SIZE, MIB(2));
    memset(bench.payload, 'x', MIB(2));
    bench_sizes();
    bench_open();
    mem_free(bench.payload);
    test_dir_remove(bench.dir);
    return 0;
}
