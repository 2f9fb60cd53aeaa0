/* The loop of the libuv seam: clock, timers, tasks, workers, waker, signals, end. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "base/uv_env.h"
#include "tests/lib/test.h"

struct loop {
    struct uv_env *uv;
    struct env *env;
    struct timer timer;
    struct timer other;
    struct task task;
    struct task second;
    struct work work;
    int64_t set_us;
    int steps;
    int limit;
    pthread_t thread;
    int signal;
    char order[16];
};

static struct loop loop;

static void loop_open(void)
{
    loop = (struct loop){0};
    ck_assert_int_eq(uv_env_open(0, NULL, &loop.uv, NULL), OK);
    loop.env = uv_env_env(loop.uv);
}

static void loop_run(void)
{
    uv_env_run(loop.uv);
    uv_env_close(loop.uv);
}

static void note(char letter)
{
    ck_assert_int_lt(loop.steps, (int)sizeof(loop.order) - 1);
    loop.order[loop.steps++] = letter;
}

static void timer_on_due(struct timer *timer)
{
    int64_t waited_us = env_now_us(loop.env) - loop.set_us;
    ck_assert_int_ge(waited_us, 3000);
    loop.steps++;
    if (loop.steps < 5) {
        loop.set_us = env_now_us(loop.env);
        env_timer(loop.env, timer, 3000);
    } else {
        uv_env_stop(loop.uv);
    }
}

/* Goal: a timer never fires early, and a far one does not hold a stopped loop. Method: five waits of 3 ms by the
 * clock. */
START_TEST(timer_fires_not_before_its_time)
{
    loop_open();
    timer_init(&loop.timer, timer_on_due);
    timer_init(&loop.other, timer_on_due);
    env_timer(loop.env, &loop.other, INT64_MAX);
    loop.set_us = env_now_us(loop.env);
    env_timer(loop.env, &loop.timer, 3000);
    loop_run();
    ck_assert_int_eq(loop.steps, 5);
}
END_TEST

static void order_on_second(struct task *task)
{
    (void)task;
    note('b');
}

static void order_on_stop(struct timer *timer)
{
    (void)timer;
    note('z');
    uv_env_stop(loop.uv);
}

static void order_on_task(struct task *task)
{
    (void)task;
    note('a');
    env_task(loop.env, &loop.second);
    env_task(loop.env, &loop.second); /* queued already: once */
    note('-');
}

static void order_on_timer(struct timer *timer)
{
    (void)timer;
    note('t');
    timer_init(&loop.other, order_on_stop);
    env_timer(loop.env, &loop.other, 0); /* the next turn: behind all tasks of this one */
    env_task(loop.env, &loop.task);
    note('.');
}

/* Goal: tasks run after the callback that queued them, tasks of tasks in the same turn. Method: letters in order. */
START_TEST(tasks_of_tasks_run_in_the_same_turn)
{
    loop_open();
    task_init(&loop.task, order_on_task);
    task_init(&loop.second, order_on_second);
    timer_init(&loop.timer, order_on_timer);
    env_timer(loop.env, &loop.timer, 0);
    loop_run();
    ck_assert_str_eq(loop.order, "t.a-bz");
}
END_TEST

static void count_on_task(struct task *task)
{
    (void)task;
    loop.steps++;
    uv_env_stop(loop.uv);
}

/* Goal: a canceled task does not run; one queued before the loop starts does, with nothing else to wake the loop. */
START_TEST(loop_never_sleeps_on_a_queued_task)
{
    loop_open();
    task_init(&loop.task, count_on_task);
    task_init(&loop.second, count_on_task);
    env_task(loop.env, &loop.second);
    env_task(loop.env, &loop.task);
    loop.env->tasks->cancel(loop.env->tasks, &loop.second);
    loop.env->tasks->cancel(loop.env->tasks, &loop.second);
    loop_run();
    ck_assert_int_eq(loop.steps, 1);
}
END_TEST

static void work_run(struct work *work)
{
    (void)work;
    ck_assert_int_eq(pthread_equal(pthread_self(), loop.thread), 0);
    loop.limit++;
}

static void work_done(struct work *work)
{
    ck_assert_int_ne(pthread_equal(pthread_self(), loop.thread), 0);
    ck_assert_int_eq(loop.limit, loop.steps + 1);
    loop.steps++;
    if (loop.steps < 10) {
        loop.env->workers->submit(loop.env->workers, work);
    }
}

/* Goal: a job runs elsewhere and is done here, and a stopped loop still waits for it. Method: a chain of ten jobs,
 * each submitted by the one before, on a loop that is stopped from the beginning. */
START_TEST(work_runs_elsewhere_and_ends_here)
{
    loop_open();
    loop.thread = pthread_self();
    loop.work = (struct work){.run = work_run, .done = work_done};
    loop.env->workers->submit(loop.env->workers, &loop.work);
    uv_env_stop(loop.uv);
    loop_run();
    ck_assert_int_eq(loop.steps, 10);
}
END_TEST

static void on_signal(void *owner, int signal)
{
    ck_assert_ptr_eq(owner, &loop);
    loop.signal = signal;
    uv_env_stop(loop.uv);
}

static void signal_on_timer(struct timer *timer)
{
    (void)timer;
    ck_assert_int_eq(raise(SIGTERM), 0);
}

/* Goal: a signal arrives as a callback on the loop. Method: SIGTERM raised from a timer. */
START_TEST(signal_calls_back_on_the_loop)
{
    loop_open();
    uv_env_on_signal(loop.uv, &loop, on_signal);
    timer_init(&loop.timer, signal_on_timer);
    env_timer(loop.env, &loop.timer, 0);
    loop_run();
    ck_assert_int_eq(loop.signal, SIGTERM);
}
END_TEST

/* Goal: clocks and random numbers are real. Method: monotonic never back, wall time after 2020, no word twice. */
START_TEST(clock_and_random_are_real)
{
    loop_open();
    static uint64_t words[1000];
    size_t repeated = 0;
    int64_t before_us = env_now_us(loop.env);
    for (size_t i = 0; i < array_count(words); i++) {
        words[i] = env_random(loop.env);
        int64_t now_us = env_now_us(loop.env);
        ck_assert_int_ge(now_us, before_us);
        before_us = now_us;
        for (size_t k = 0; k < i; k++) {
            repeated += words[i] == words[k];
        }
    }
    ck_assert_uint_eq(repeated, 0);
    ck_assert_int_gt(env_wall_ms(loop.env), 1577836800000);
    uv_env_stop(loop.uv);
    loop_run();
}
END_TEST

/* Goal: descriptors up to the hard limit, SIGPIPE harmless, the pool sized unless its size was chosen. */
START_TEST(process_is_prepared)
{
    unsetenv("UV_THREADPOOL_SIZE");
    uv_process_prepare(3);
    ck_assert_str_eq(getenv("UV_THREADPOOL_SIZE"), "10");
    uv_process_prepare(5);
    ck_assert_str_eq(getenv("UV_THREADPOOL_SIZE"), "10");
    struct rlimit files;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
    ck_assert_uint_eq(files.rlim_cur, files.rlim_max);
    ck_assert_int_eq(raise(SIGPIPE), 0);
}
END_TEST

static Suite *uv_env_suite(void)
{
    Suite *suite = suite_create("uv_env");
    TCase *tcase = tcase_create("loop");
    tcase_add_test(tcase, process_is_prepared);
    tcase_add_test(tcase, timer_fires_not_before_its_time);
    tcase_add_test(tcase, tasks_of_tasks_run_in_the_same_turn);
    tcase_add_test(tcase, loop_never_sleeps_on_a_queued_task);
    tcase_add_test(tcase, work_runs_elsewhere_and_ends_here);
    tcase_add_test(tcase, signal_calls_back_on_the_loop);
    tcase_add_test(tcase, clock_and_random_are_real);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(uv_env_suite)
