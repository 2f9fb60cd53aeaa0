/* What the log costs over the bare file system, in one run on one file system:
 *   append       log_append() of one batch a call       against  pwrite() of the same bytes to one file
 *   read         log_read_now() through the whole log    against  pread() of the same size
 *   offset       log_read_now() at random offsets        (index search and walk), one batch each
 *   time         log_find_time() at random timestamps    (one batch is searched by record)
 *   open         log_open() of many logs at their checkpoints
 * Everything is in the page cache: the device is not measured. Nothing is synced, as in the broker between checkpoints.
 *
 * bench_log [DIR]: works in a new directory under $TEST_DIR or /tmp, or in DIR, which must be empty and is kept, for
 * those who want to look at the files. */
#include "base/limits.h"
#include "base/mem.h"
#include "base/uv_env.h"
#include "proto/records.h"
#include "replication/log.h"
#include "tests/lib/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TOTAL_SIZE MIB(256)
#define READ_SIZE MIB(1)

enum {
    LOOKUP_COUNT = 20000,
    OPEN_COUNT = 1000
};

static const struct log_config config = {
    .segment_size_max = MIB(64),
    .segment_ms = INT64_MAX,
    .index_interval = 4096,
};

static struct env *env;
static struct log_files *files;
static char *dir;

static double now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void stop_on(bool is_bad, const char *what)
{
    if (is_bad) {
        (void)fprintf(stderr, "bench_log: %s failed\n", what);
        exit(EXIT_FAILURE);
    }
}

static struct shared *make_batch(size_t value_size, int32_t count, int codec)
{
    struct record_builder *builder = record_builder_open((enum record_codec)codec, 1000);
    uint8_t *value = mem_alloc(value_size);
    for (size_t i = 0; i < value_size; i++) {
        value[i] = (uint8_t)(i * 7 + i / 256);
    }
    struct bytes bytes = {value, value_size};
    for (int32_t i = 0; i < count; i++) {
        record_builder_add(builder, 1000 + i, NULL, &bytes, NULL, 0);
    }
    mem_free(value);
    return record_builder_finish(builder);
}

/* ---- Append and read ---- */

static double raw_append(const char *path, const struct shared *batch, size_t count)
{
    int file = open(path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    stop_on(file < 0, "open");
    double start = now_s();
    for (size_t i = 0; i < count; i++) {
        ssize_t wrote = pwrite(file, batch->data, batch->size, (off_t)(i * batch->size));
        stop_on(wrote != (ssize_t)batch->size, "pwrite");
    }
    double spent = now_s() - start;
    (void)close(file);
    return spent;
}

static double raw_read(const char *path, size_t size)
{
    int file = open(path, O_RDONLY);
    stop_on(file < 0, "open");
    uint8_t *block = mem_alloc(READ_SIZE);
    double start = now_s();
    for (size_t position = 0; position < size; position += READ_SIZE) {
        stop_on(pread(file, block, READ_SIZE, (off_t)position) < 0, "pread");
    }
    double spent = now_s() - start;
    mem_free(block);
    (void)close(file);
    return spent;
}

static double log_append_all(struct log *log, const struct shared *batch, int32_t records, size_t count)
{
    double start = now_s();
    for (size_t i = 0; i < count; i++) {
        struct log_batch one = {
            .bytes = {batch->data, batch->size},
            .base_offset = (int64_t)i * records,
            .leader_epoch = 1,
            .last_offset_delta = records - 1,
            .max_timestamp = 1000 + records - 1,
        };
        log_append(log, 1000, &one, 1);
    }
    return now_s() - start;
}

static double log_read_all(struct log *log, int32_t records, size_t batch_size)
{
    double start = now_s();
    int64_t offset = 0;
    while (offset < log_end_offset(log)) {
        struct log_read req = {.offset = offset, .size_max = READ_SIZE, .is_first_whole = true};
        stop_on(log_read_now(log, &req) != OK, "log_read_now");
        offset += (int64_t)(req.slice.bytes.size / batch_size) * records;
        slice_release(&req.slice);
    }
    return now_s() - start;
}

static double log_read_random(struct log *log)
{
    double start = now_s();
    uint64_t random = 1;
    for (int i = 0; i < LOOKUP_COUNT; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        int64_t offset = (int64_t)((random >> 20) % (uint64_t)log_end_offset(log));
        struct log_read req = {.offset = offset, .size_max = 1, .is_first_whole = true};
        stop_on(log_read_now(log, &req) != OK, "log_read_now");
        slice_release(&req.slice);
    }
    return now_s() - start;
}

static struct log *open_log(const char *name, const struct log_state *state)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    struct log *log;
    struct errmsg msg;
    if (log_open(env, files, path, &config, state, &log, &msg) != OK) {
        (void)fprintf(stderr, "bench_log: %s\n", msg.text);
        exit(EXIT_FAILURE);
    }
    return log;
}

static void bench_size(size_t value_size, int32_t records)
{
    struct shared *batch = make_batch(value_size, records, CODEC_NONE);
    size_t count = TOTAL_SIZE / batch->size;
    size_t size = count * batch->size;
    char path[512];
    char name[64];
    (void)snprintf(path, sizeof(path), "%s/raw", dir);
    (void)snprintf(name, sizeof(name), "size-%zu", batch->size);
    struct log *log = open_log(name, NULL);

    double raw_write = raw_append(path, batch, count);
    double write = log_append_all(log, batch, records, count);
    double raw = raw_read(path, size);
    double read = log_read_all(log, records, batch->size);
    double lookup = log_read_random(log);
    double mb = (double)size / 1e6;
    (void)printf("%8zu B  append %6.0f MB/s, raw %6.0f, ratio %.2f   read %6.0f MB/s, raw %6.0f, ratio %.2f   "
                 "random offset %5.1f us\n",
                 batch->size, mb / write, mb / raw_write, raw_write / write, mb / read, mb / raw, raw / read,
                 lookup * 1e6 / LOOKUP_COUNT);
    log_close(log);
    (void)unlink(path);
    shared_release(batch);
}

/* ---- Lookups by time ---- */

/* Timestamps that grow by one a batch, and then only every 1000th: the walk behind the time index is long. */
static void bench_time(const char *name, int64_t divisor)
{
    struct shared *batch = make_batch(1000, 16, CODEC_ZSTD);
    size_t count = MIB(32) / batch->size;
    struct log *log = open_log(name, NULL);
    for (size_t i = 0; i < count; i++) {
        int64_t timestamp = 1000 + (int64_t)i / divisor;
        be64_put(batch->data + 27, (uint64_t)timestamp);
        record_batch_set_max_timestamp(batch->data, batch->size, timestamp + 15, false);
        struct log_batch one = {
            .bytes = {batch->data, batch->size},
            .base_offset = (int64_t)i * 16,
            .leader_epoch = 1,
            .last_offset_delta = 15,
            .max_timestamp = timestamp + 15,
        };
        log_append(log, 1000, &one, 1);
    }
    double start = now_s();
    uint64_t random = 1;
    for (int i = 0; i < LOOKUP_COUNT / 10; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        int64_t offset;
        int64_t found;
        int64_t timestamp = 1000 + (int64_t)((random >> 20) % (count / (uint64_t)divisor));
        stop_on(log_find_time(log, timestamp, &offset, &found, NULL) != OK, "log_find_time");
    }
    (void)printf("find time, %5lld batches a timestamp: %6.1f us\n", (long long)divisor,
                 (now_s() - start) * 1e7 / LOOKUP_COUNT);
    log_close(log);
    shared_release(batch);
}

/* ---- Open ---- */

static void bench_open(void)
{
    struct shared *batch = make_batch(100, 10, CODEC_NONE);
    struct log_state *states = mem_alloc(OPEN_COUNT * sizeof(*states));
    struct log **logs = mem_alloc(OPEN_COUNT * sizeof(struct log *));
    char name[64];
    for (int i = 0; i < OPEN_COUNT; i++) {
        (void)snprintf(name, sizeof(name), "open-%d", i);
        logs[i] = open_log(name, NULL);
        (void)log_append_all(logs[i], batch, 10, 20);
        log_capture_done(log_capture(logs[i], &states[i]), true);
        log_close(logs[i]);
    }
    double start = now_s();
    for (int i = 0; i < OPEN_COUNT; i++) {
        (void)snprintf(name, sizeof(name), "open-%d", i);
        logs[i] = open_log(name, &states[i]);
    }
    (void)printf("open %d logs: %.1f ms\n", OPEN_COUNT, 1e3 * (now_s() - start));
    for (int i = 0; i < OPEN_COUNT; i++) {
        log_close(logs[i]);
        log_state_deinit(&states[i]);
    }
    mem_free(states);
    mem_free(logs);
    shared_release(batch);
}

int main(int argc, char **argv)
{
    dir = argc > 1 ? argv[1] : test_dir_make();
    struct metrics *metrics = metrics_open();
    struct uv_env *uv;
    struct errmsg msg;
    stop_on(uv_env_open(0, metrics, &uv, &msg) != OK, "uv_env_open");
    env = uv_env_env(uv);
    files = log_files_open(env, LOG_FILES_COUNT_MAX);
    bench_size(100, 1);
    bench_size(1000, 1);
    bench_size(1000, 16);
    bench_size(1000, 64);
    bench_size(1000, 1000);
    bench_time("time-1", 1);
    bench_time("time-1000", 1000);
    bench_open();
    log_files_close(files);
    uv_env_close(uv);
    metrics_close(metrics);
    if (argc <= 1) {
        test_dir_remove(dir);
    }
    return EXIT_SUCCESS;
}
