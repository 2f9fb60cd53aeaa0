/* Runs a broker on what Linux gives: one thread and one libuv loop a shard, signals, stderr.
 * Runs on: the main thread, which is shard 0's. */
#pragma once

#include "broker/options.h"

#define THREADS_AGAIN (-1) /* start again: what was damaged is set aside (rejoin.h) */

/* Runs the broker until SIGINT or SIGTERM has stopped it. SIGUSR1 prints the metrics. Returns the process's exit code
 * or THREADS_AGAIN; the cause of a failed start is on stderr. */
int threads_run(const struct options *options);
