/* Codes, texts, and the two ways in which a process ends. */
#include "base/err.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "tests/lib/test.h"

/* Goal: every code has a name and a text, and a number that is no code has some too. */
START_TEST(every_code_has_name_and_text)
{
    ck_assert_int_eq(OK, 0);
    ck_assert_str_eq(err_name(ERR_NO_SPACE), "ERR_NO_SPACE");
    ck_assert_str_eq(err_text(ERR_NO_SPACE), "no space left on device");
    for (int code = OK; code <= ERR_DENIED; code++) {
        ck_assert(strlen(err_name((enum err)code)) > 0);
        ck_assert(strlen(err_text((enum err)code)) > 0);
    }
    ck_assert_str_eq(err_name((enum err)1000), "ERR_UNKNOWN");
    ck_assert_str_eq(err_text((enum err) - 1), "unknown error");
}
END_TEST

/* Goal: a text grows from the cause outwards, and the code passes through. */
START_TEST(text_grows_outwards)
{
    struct errmsg msg;
    ck_assert_int_eq(fail(&msg, ERR_IO, "read block %d", 7), ERR_IO);
    ck_assert_int_eq(fail_wrap(&msg, ERR_IO, "segment %s", "a%sb"), ERR_IO);
    ck_assert_int_eq(fail_wrap(&msg, ERR_CORRUPT, "topic"), ERR_CORRUPT);
    ck_assert_str_eq(msg.text, "topic: segment a%sb: read block 7");
}
END_TEST

/* Goal: no text is wanted where the pointer is NULL. */
START_TEST(text_may_be_unwanted)
{
    ck_assert_int_eq(fail(NULL, ERR_BUSY, "%d", 1), ERR_BUSY);
    ck_assert_int_eq(fail_wrap(NULL, ERR_BUSY, "%d", 1), ERR_BUSY);
}
END_TEST

/* Goal: a text of any size fits, and says so when it was cut. Method: sizes around the limit, plain and wrapped. */
START_TEST(long_text_is_cut_and_marked)
{
    for (size_t size = ERRMSG_SIZE - 4; size < ERRMSG_SIZE + 4; size++) {
        char long_text[ERRMSG_SIZE + 8];
        struct errmsg msg;
        memset(long_text, 'x', size);
        long_text[size] = '\0';
        (void)fail(&msg, ERR_IO, "%s", long_text);
        ck_assert_uint_eq(strlen(msg.text), size < ERRMSG_SIZE ? size : ERRMSG_SIZE - 1);
        ck_assert_int_eq(strcmp(msg.text + strlen(msg.text) - 3, "...") == 0, size >= ERRMSG_SIZE);
        (void)fail_wrap(&msg, ERR_IO, "context");
        ck_assert_int_eq(strncmp(msg.text, "context: xxx", 12), 0);
        ck_assert_uint_eq(strlen(msg.text), ERRMSG_SIZE - 1);
        ck_assert_str_eq(msg.text + strlen(msg.text) - 3, "...");
        (void)fail_wrap(&msg, ERR_IO, "%s", long_text);
        ck_assert_uint_eq(strlen(msg.text), ERRMSG_SIZE - 1);
    }
}
END_TEST

static const struct {
    int number;
    enum err err;
} errno_cases[] = {
    {0, OK},
    {ENOSPC, ERR_NO_SPACE},
    {EDQUOT, ERR_NO_SPACE},
    {EAGAIN, ERR_WOULD_BLOCK},
    {ENOENT, ERR_NOT_FOUND},
    {EEXIST, ERR_EXISTS},
    {EACCES, ERR_DENIED},
    {EPERM, ERR_DENIED},
    {EIO, ERR_IO},
    {EINVAL, ERR_IO},
};

/* Goal: errno is translated as the header says. */
START_TEST(errno_is_translated)
{
    ck_assert_int_eq(err_from_errno(errno_cases[_i].number), errno_cases[_i].err);
}
END_TEST

/* ---- The end of a process ---- */

struct ending {
    const char *name;
    void (*run)(void);
    int signal; /* 0: exit code 70 */
    const char *expected;
};

static void stop(void)
{
    trace(DEBUG, WAL, "before the end", KV("position", 4096));
    process_stop("write of %s failed", "wal-0001");
}

static void fail_assertion(void)
{
    trace(DEBUG, WAL, "before the end", KV("position", 4096));
    assert(errno == -12345);
}

/* The sanitizers end a process at an allocation that is too large, unless they are told to let it fail. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void exhaust_memory(void)
{
    trace(DEBUG, WAL, "before the end", KV("position", 4096));
    (void)mem_alloc_raw(SIZE_MAX / 4);
}

static void leave_clean_up_behind(void)
{
    static const char text[] = "clean-up ran";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
}

static const struct ending endings[] = {
    {"process_stop", stop, 0, "event=\"process stopped\" reason=\"write of wal-0001 failed\""},
    {"assert", fail_assertion, SIGABRT, "event=\"assertion failed\" expression=\"errno == -12345\""},
    {"memory", exhaust_memory, 0, "reason=\"out of memory: an allocation of "},
};

/* Goal: an ending process says why, prints the trace ring (events below the printed level included), runs no clean-up,
 * and reports the right status. Method: a child for each kind, its stderr read through a pipe. */
START_TEST(end_of_process_says_why)
{
    const struct ending *ending = &endings[_i];
    int channel[2];
    char output[65536];
    size_t size = 0;
    ck_assert_int_eq(pipe(channel), 0);
    (void)fflush(NULL);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGABRT, SIG_DFL);
        (void)dup2(channel[1], STDERR_FILENO);
        (void)close(channel[0]);
        (void)close(channel[1]);
        (void)atexit(leave_clean_up_behind);
        ending->run();
        _exit(0);
    }
    (void)close(channel[1]);
    for (;;) {
        ssize_t got = read(channel[0], output + size, sizeof output - 1 - size);
        if (got <= 0) {
            break;
        }
        size += (size_t)got;
    }
    output[size] = '\0';
    (void)close(channel[0]);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    if (ending->signal != 0) {
        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == ending->signal, "%s: status %x", ending->name,
                      (unsigned)status);
    } else {
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 70, "%s: status %x", ending->name, (unsigned)status);
    }
    ck_assert_msg(strstr(output, ending->expected) != NULL, "%s: %s", ending->name, output);
    ck_assert_msg(strstr(output, "level=debug component=wal event=\"before the end\" position=4096") != NULL, "%s: %s",
                  ending->name, output);
    ck_assert_msg(strstr(output, "clean-up ran") == NULL, "%s", ending->name);
}
END_TEST

static Suite *err_suite(void)
{
    Suite *suite = suite_create("err");
    TCase *tcase = tcase_create("err");
    tcase_add_test(tcase, every_code_has_name_and_text);
    tcase_add_test(tcase, text_grows_outwards);
    tcase_add_test(tcase, text_may_be_unwanted);
    tcase_add_test(tcase, long_text_is_cut_and_marked);
    tcase_add_loop_test(tcase, errno_is_translated, 0, array_count(errno_cases));
    tcase_add_loop_test(tcase, end_of_process_says_why, 0, array_count(endings));
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(err_suite)
