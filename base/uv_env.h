/* The seam over libuv and Linux: one loop, one env per shard. The only headers that include uv.h are base/uv_*.
 *
 * Runs on:  uv_env_open(), _run() and _close() on the shard's own thread. */
#pragma once

#include "base/env.h"

struct uv_env;

/* Opens a loop with its clock, timers, disk (with its writer thread), net and waker. `metrics` stays the caller's. */
MUST_CHECK enum err uv_env_open(unsigned shard, struct metrics *metrics, struct uv_env **uv, struct errmsg *msg);
struct env *uv_env_env(struct uv_env *uv);
/* Runs until uv_env_stop() was called and nothing is left to close. */
void uv_env_run(struct uv_env *uv);
void uv_env_stop(struct uv_env *uv);   /* this shard's thread */
void uv_env_close(struct uv_env *uv);
/* Calls cb(owner, signal) on this loop for SIGINT, SIGTERM, SIGUSR1. Shard 0 only. */
void uv_env_on_signal(struct uv_env *uv, void *owner, void (*cb)(void *owner, int signal));
/* Once per process before any loop: size of libuv's thread pool, file descriptor limit raised, SIGPIPE ignored. */
void uv_process_prepare(unsigned shard_count);
