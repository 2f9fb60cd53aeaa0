/* Assertions that stay on in release builds: a broken invariant stops the process before it can harm data.
 *
 * A failure prints the expression, its place and the last events of the trace ring, then aborts.
 * Use it for facts about our own code only; bytes from the network or a disk are checked, never asserted. */
#pragma once

#ifdef assert
#undef assert
#endif
#define assert(expr) ((expr) ? (void)0 : assert_fail(#expr, __FILE__, __LINE__, __func__))

#ifndef static_assert
#define static_assert _Static_assert
#endif

_Noreturn void assert_fail(const char *expr, const char *file, int line, const char *function);
