/* A simulated disk with its file system: it outlives the processes that use it.
 *
 * Durability of file contents: tests/lib/sim_file.h. Durability of names: each directory has its own order of changes
 * (create, link, unlink, rename, mkdir); a power loss keeps a prefix of them, by itself in each directory; a rename
 * between two happens in both or in neither. sync_dir() makes all earlier changes in that directory durable, and
 * nothing else: neither the contents of its files nor its own name in its parent.
 *
 * Every operation that changes something (or would, or reports that it did) is counted: a crash point or a fault can be
 * put on any of them, so a test sweeps over all. */
#pragma once

#include "base/env.h"
#include "tests/lib/sim_world.h"
#include "tests/lib/test.h"

/* mount: "/name"; all paths start with it */
struct sim_disk *sim_disk_open(struct sim_world *world, const char *mount);
void sim_disk_close(struct sim_disk *disk);
/* What cannot be allocated fails with ERR_NO_SPACE. */
#define SIM_DISK_SIZE (UINT64_C(1) << 40) /* the default */
void sim_disk_set_capacity(struct sim_disk *disk, uint64_t size);
uint64_t sim_disk_used(const struct sim_disk *disk);

/* Kills the processes that are alive on it, then takes what was not durable, as the rules above allow. */
void sim_disk_power_loss(struct sim_disk *disk);

/* ---- Operations, crash points, faults */

enum {
    SIM_OP_CREATE = 1,
    SIM_OP_TRUNCATE = 2,
    SIM_OP_PWRITEV = 4,
    SIM_OP_SYNC = 8,
    SIM_OP_RENAME = 16,
    SIM_OP_UNLINK = 32,
    SIM_OP_MKDIR = 64,
    SIM_OP_SYNC_DIR = 128,
    SIM_OP_WRITE = 256,      /* durable write, when it is about to happen */
    SIM_OP_WRITTEN = 512,    /* durable write, when it has happened and the callback comes: crash points only */
    SIM_OP_COMMIT = 1024,    /* of a store (base/kv.h) */
    SIM_OP_LINK = 2048,
    SIM_OP_CHANGES = 4095,
    SIM_OP_OPEN = 4096,      /* from here on: counted by faults only */
    SIM_OP_PREAD = 8192,     /* pread_nowait and kv_open as well */
    SIM_OP_READ = 16384,
};

/* Changes so far, on any path. */
uint64_t sim_disk_change_count(const struct sim_disk *disk);
/* The process that makes the change with this number (counted from 1) ends in it: part of it may have happened.
 * 0: none. */
void sim_disk_crash_at(struct sim_disk *disk, uint64_t change);

#define SIM_STUCK INT64_MAX /* delay: until the fault is removed */

struct sim_fault {           /* The test's memory from sim_disk_fault_add() to _remove(). */
    unsigned ops;            /* in: which operations, SIM_OP_* */
    const char *path;        /* in: part of the path; NULL: any */
    struct fault when;       /* in: which of them, by count (fault_init) */
    uint32_t per_million;    /* in: and by chance */
    enum err err;            /* in: what they fail with; OK: they are only late */
    int64_t delay_us;        /* in: asynchronous ones and jobs take that much longer */
    uint64_t hit_count;      /* out */
    struct list link;        /* private */
};
void sim_disk_fault_add(struct sim_disk *disk, struct sim_fault *fault);
void sim_disk_fault_remove(struct sim_disk *disk, struct sim_fault *fault); /* what was stuck goes on */

/* Chance of pread_nowait to find nothing in the page cache, or not all. The default is 60000 (6 %) each. */
void sim_disk_set_cold(struct sim_disk *disk, uint32_t per_million);

/* ---- The test's own hands: immediate, durable, no faults, no process needed. False: no such file. */

bool sim_disk_stat(struct sim_disk *disk, const char *path, uint64_t *size);
bool sim_disk_peek(struct sim_disk *disk, const char *path, uint64_t position, void *data, size_t size);
bool sim_disk_poke(struct sim_disk *disk, const char *path, uint64_t position, const void *data, size_t size);
bool sim_disk_flip_bit(struct sim_disk *disk, const char *path, uint64_t position, unsigned bit);
bool sim_disk_cut(struct sim_disk *disk, const char *path, uint64_t size);
bool sim_disk_remove(struct sim_disk *disk, const char *path);
/* All files below a directory, in the order of their names, as full paths. */
void sim_disk_walk(struct sim_disk *disk, const char *path, disk_list_cb cb, void *context);
