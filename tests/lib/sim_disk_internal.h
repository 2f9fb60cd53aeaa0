/* What sim_disk.c, sim_disk_calls.c and sim_kv.c share. */
#pragma once

#include "tests/lib/sim_disk.h"
#include "tests/lib/sim_names.h"

struct sim_disk {
    struct sim_world *world;
    char *mount;
    size_t mount_size;
    struct sim_names names;
    struct sim_random random;
    uint64_t capacity;
    uint64_t change_count;
    uint64_t crash_at;
    uint32_t cold_per_million;
    struct list faults;
    struct sim_handle **handles; /* by number; numbers are never used again, so that a stale one is found */
    size_t handle_count;
    size_t handle_capacity;
    struct list link;
};

struct sim_handle { /* an open file */
    int number;
    unsigned flags;
    char *path;
    struct sim_node *node;
    struct sim_disk *disk;
    struct list link; /* of the process's files */
};

/* What is to happen to an operation. */
struct sim_op {
    enum err err;
    bool is_crash;             /* the caller does what part it likes, then calls sim_disk_crash() */
    int64_t delay_us;
    struct sim_fault *stuck_by; /* it does not happen before this fault is removed */
};

/* Counts the operation and asks the faults. */
struct sim_op sim_disk_op(struct sim_disk *disk, unsigned kind, const char *path);
_Noreturn void sim_disk_crash(struct sim_disk *disk, unsigned kind, const char *path);
/* For an operation of which no part can have happened: crashes if it is to. Adds the delay to the job under way. */
enum err sim_disk_op_whole(struct sim_disk *disk, unsigned kind, const char *path);
/* Of any world. */
struct sim_disk *sim_disk_of_path(const char *path);
const char *sim_disk_inner_path(const struct sim_disk *disk, const char *path);
/* Starts what was stuck because of the fault. */
void sim_disk_unstick(struct sim_env *env, const struct sim_fault *fault);
void sim_handle_close(struct sim_handle *handle);
struct sim_handle *sim_handle_open(struct sim_disk *disk, struct sim_node *node, const char *path, unsigned flags);
struct sim_handle *sim_handle_find(struct sim_disk *disk, int file); /* asserts that it is open */
