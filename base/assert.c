/* The two ways in which a process ends at once: a broken invariant (abort, for a core file) and
 *                                               lost storage or memory
 * (exit code 70). Both say why on stderr, then print the trace rings, and run no clean-up: what is
 * on disk is what recovery finds.
 *
 * Failure: a second thread that fails meanwhile waits, so as not to cut the report of the first
 *          one short; a failure
 * inside the report itself ends the process without more words. */
#include "base/assert.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/trace.h"

enum {
    EXIT_STOPPED = 70
}; /* EX_SOFTWARE of sysexits.h: a supervisor may restart the process */

static atomic_bool is_ending;
static _Thread_local bool is_ending_here;

/* Returns on one thread only, once. */
static void end_begin(int code)
{
    if (is_ending_here) {
        _exit(code);
    }
    is_ending_here = true;
    if (atomic_exchange(&is_ending, true)) {
        for (;;) {
            (void)pause();
        }
    }
}

_Noreturn void assert_fail(const char *expr, const char *file, int line, const char *function)
{
    end_begin(EXIT_STOPPED);
    trace(ERROR, MAIN, "assertion failed", KV("expression", expr), KV("file", file), KV("line", line),
          KV("function", function));
    trace_print_rings();
    abort();
}

_Noreturn void process_stop(const char *format, ...)
{
    end_begin(EXIT_STOPPED);
    char text[ERRMSG_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    trace(ERROR, MAIN, "process stopped", KV("reason", text));
    trace_print_rings();
    _exit(EXIT_STOPPED);
}
