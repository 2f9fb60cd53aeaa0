/* What the seam costs: a durable write through the env (hand-over to the writer thread and back) against the same
 * system call made in place, messages between two shards, timers and clock reads.
 *
 *     build/release/bench_env [DIRECTORY]    (default: the current one; it decides which device is measured) */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "base/uv_env.h"

enum {
    WRITE_COUNT = 3000,
    FILE_BLOCKS = 4096,
    BALL_COUNT = 100000,
    CLOCK_COUNT = 1000000
};

static struct uv_env *uv;
static struct env *env;

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

static void print_times(const char *what, size_t size, int64_t *times_us, size_t count)
{
    qsort(times_us, count, sizeof(times_us[0]), by_value);
    printf("%-28s %7zu B   p50 %5lld us   p99 %5lld us   max %6lld us\n", what, size, (long long)times_us[count / 2],
           (long long)times_us[count * 99 / 100], (long long)times_us[count - 1]);
}

/* ---- Durable writes, one after the other */

struct series {
    struct disk_write write;
    uint8_t *block;
    size_t size;
    size_t done;
    int64_t started_us;
    int64_t times_us[WRITE_COUNT];
    struct timer pause;
    int64_t pause_us; /* between two writes: an idle broker */
};

static struct series series;

static void series_next(void)
{
    series.started_us = env_now_us(env);
    series.write.position = (series.done * series.size) % ((uint64_t)FILE_BLOCKS * DISK_ALIGNMENT - series.size + 1) /
                            DISK_ALIGNMENT * DISK_ALIGNMENT;
    env->disk->write(env->disk, &series.write);
}

static void series_on_pause(struct timer *timer)
{
    (void)timer;
    series_next();
}

static void series_on_written(struct disk_write *write, enum err err)
{
    (void)write;
    assert(err == OK);
    series.times_us[series.done++] = env_now_us(env) - series.started_us;
    if (series.done == WRITE_COUNT / (series.pause_us > 0 ? 10 : 1)) {
        uv_env_stop(uv);
    } else if (series.pause_us > 0) {
        env_timer(env, &series.pause, series.pause_us);
    } else {
        series_next();
    }
}

static void env_start(void)
{
    enum err err = uv_env_open(0, NULL, &uv, NULL);
    assert(err == OK);
    env = uv_env_env(uv);
}

static void env_finish(void)
{
    uv_env_run(uv);
    uv_env_close(uv);
}

static void measure_writes(const char *path, size_t size)
{
    int file;
    env_start();
    enum err err = env->disk->open(env->disk, path, DISK_DIRECT, &file, NULL);
    assert(err == OK);
    for (size_t i = 0; i < WRITE_COUNT; i++) {
        int64_t started_us = env_now_us(env);
        uint64_t position = (i * size) % ((uint64_t)FILE_BLOCKS * DISK_ALIGNMENT - size + 1) / DISK_ALIGNMENT;
        ssize_t wrote = pwrite(file, series.block, size, (off_t)position * DISK_ALIGNMENT);
        assert(wrote == (ssize_t)size);
        series.times_us[i] = env_now_us(env) - started_us;
    }
    print_times("pwrite in place", size, series.times_us, WRITE_COUNT);
    series.size = size;
    series.done = 0;
    series.pause_us = 0;
    series.write = (struct disk_write){.file = file, .bytes = {series.block, size}, .cb = series_on_written};
    timer_init(&series.pause, series_on_pause);
    series_next();
    env_finish();
    print_times("through the env", size, series.times_us, WRITE_COUNT);

    env_start();
    series.done = 0;
    series.pause_us = 2000;
    series_next();
    env_finish();
    print_times("through the env, then idle", size, series.times_us, WRITE_COUNT / 10);
    (void)close(file);
}

static void make_file(const char *path)
{
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert(file >= 0);
    series.block = mem_aligned(DISK_ALIGNMENT, MIB(1));
    for (size_t i = 0; i < FILE_BLOCKS; i++) {
        ssize_t wrote = pwrite(file, series.block, DISK_ALIGNMENT, (off_t)(i * DISK_ALIGNMENT));
        assert(wrote == DISK_ALIGNMENT);
    }
    int failed = fsync(file);
    assert(failed == 0);
    (void)close(file);
}

/* ---- Messages between two shards, one in the air */

struct side {
    struct uv_env *uv;
    struct mailbox *mailbox;
    pthread_t thread;
};

static struct side sides[2];
static pthread_barrier_t barrier;

struct ball {
    struct message message;
    unsigned bounces;
};

static struct ball ball;

static void ball_on_delivered(struct message *message)
{
    (void)message;
    ball.bounces++;
    if (ball.bounces >= BALL_COUNT) {
        uv_env_stop(sides[(ball.bounces - 1) % 2].uv);
    }
    if (ball.bounces <= BALL_COUNT) {
        mailbox_send(sides[ball.bounces % 2].mailbox, &ball.message);
    }
}

static void *side_main(void *context)
{
    struct side *side = context;
    enum err err = uv_env_open((unsigned)(side - sides), NULL, &side->uv, NULL);
    assert(err == OK);
    side->mailbox = mailbox_open(uv_env_env(side->uv));
    (void)pthread_barrier_wait(&barrier);
    if (side == &sides[0]) {
        mailbox_send(sides[0].mailbox, &ball.message);
    }
    uv_env_run(side->uv);
    (void)pthread_barrier_wait(&barrier);
    mailbox_close(side->mailbox);
    uv_env_close(side->uv);
    return NULL;
}

static void measure_messages(void)
{
    ball.message.cb = ball_on_delivered;
    (void)pthread_barrier_init(&barrier, NULL, 2);
    int64_t started_us = env_now_us(env);
    for (size_t i = 0; i < 2; i++) {
        int failed = pthread_create(&sides[i].thread, NULL, side_main, &sides[i]);
        assert(failed == 0);
    }
    for (size_t i = 0; i < 2; i++) {
        (void)pthread_join(sides[i].thread, NULL);
    }
    printf("message between two shards   %.2f us a hop\n", (double)(env_now_us(env) - started_us) / (double)BALL_COUNT);
    (void)pthread_barrier_destroy(&barrier);
}

/* ---- Clock */

static void measure_clock(void)
{
    int64_t started_us = env_now_us(env);
    int64_t sum = 0;
    for (int i = 0; i < CLOCK_COUNT; i++) {
        sum += env_now_us(env);
    }
    printf("monotonic clock              %.1f ns%s\n",
           1000.0 * (double)(env_now_us(env) - started_us) / (double)CLOCK_COUNT, sum == 0 ? " " : "");
    started_us = env_now_us(env);
    for (int i = 0; i < CLOCK_COUNT; i++) {
        sum += (int64_t)env_random(env);
    }
    printf("random word                  %.1f ns%s\n",
           1000.0 * (double)(env_now_us(env) - started_us) / (double)CLOCK_COUNT, sum == 0 ? " " : "");
}

int main(int argc, char **argv)
{
    char path[4096];
    int size = snprintf(path, sizeof(path), "%s/bench_env.tmp", argc > 1 ? argv[1] : ".");
    assert(size > 0 && (size_t)size < sizeof(path));
    uv_process_prepare(2);
    make_file(path);
    measure_writes(path, KIB(4));
    measure_writes(path, KIB(64));
    measure_writes(path, MIB(1));
    (void)unlink(path);
    mem_free(series.block);
    env_start();
    measure_clock();
    measure_messages();
    uv_env_stop(uv);
    env_finish();
    return 0;
}
