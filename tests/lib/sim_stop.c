/* Linked in place of base/assert.c: process_stop() ends the simulated process that called it, and only that one; a
 * broken invariant ends the whole run, with the seed that leads there. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/err.h"
#include "base/trace.h"
#include "tests/lib/sim_internal.h"

_Noreturn void assert_fail(const char *expr, const char *file, int line, const char *function)
{
    trace_print_rings();
    (void)fprintf(stderr, "%s:%d: %s: assertion failed: %s\n", file, line, function, expr);
    sim_world_print_all(stderr);
    abort();
}

_Noreturn void process_stop(const char *format, ...)
{
    char text[ERRMSG_SIZE];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    sim_process_end_current(SIM_STOPPED, text);
    (void)fprintf(stderr, "process stopped outside of a simulated process: %s\n", text);
    abort();
}
