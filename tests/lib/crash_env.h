/* A seam for one module at a time: one thread, virtual time, a disk that can crash (tests/lib/crash_disk.h), no
 * network.
 *
 *     struct crash_env *crash = crash_env_new(seed, disk);
 *     ... open the module on &crash->env ...
 *     while (crash_env_step(crash)) {}
 *
 * `on_op` is called at every moment at which a crash may leave the disk in another state: after each change that a
 * blocking call made, when a write is in flight, and when it is done. It may take crashes of `disk`. Order: writes
 * complete in order; whether a write or a job goes first is drawn. A job runs in one piece. */
#pragma once

#include "base/timers.h"
#include "tests/lib/crash_disk.h"
#include "tests/lib/test.h"

struct crash_env {
    struct env env;
    struct crash_disk *disk;      /* owned */
    struct fault write_fault;     /* of asynchronous writes: they fail with fault_err */
    struct fault op_fault;        /* of blocking calls that change something */
    struct fault read_fault;      /* of blocking reads */
    enum err fault_err;           /* ERR_IO */
    bool is_full;                 /* what makes a file longer fails with ERR_NO_SPACE */
    uint64_t write_count;         /* asynchronous writes so far */
    void (*on_op)(void *context);
    void *context;
    struct crash_env_parts *parts; /* private */
};

struct crash_env *crash_env_new(uint64_t seed, struct crash_disk *disk); /* takes over the disk; NULL: an empty one */
/* Nothing is in flight. Returns the disk, which is the caller's. */
struct crash_disk *crash_env_free(struct crash_env *crash);
/* Runs the tasks that are queued, or else one completion, or else the next timer. False: there is nothing. */
bool crash_env_step(struct crash_env *crash);

struct crash_rng { /* splitmix64, for seeds to be repeatable */
    struct rng rng;
    uint64_t state;
};
void crash_rng_init(struct crash_rng *rng, uint64_t seed);
