/* What the files of the simulator share. */
#pragma once

#include <setjmp.h>

#include "base/timers.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/sim_mem.h"
#include "tests/lib/sim_world.h"

/* Memory of the simulator itself, which no process owns. Zeroed. */
void *sim_alloc(size_t size);
void *sim_resize(void *memory, size_t size);
char *sim_strdup(const char *text);
void sim_free(void *memory);

/* ---- Chance */

struct sim_random {
    uint64_t state[4];
};
static inline uint64_t sim_rotate(uint64_t value, unsigned count)
{
    return value << count | value >> (64 - count);
}
void sim_random_init(struct sim_random *random, uint64_t seed);
uint64_t sim_random_next(struct sim_random *random);
uint64_t sim_random_below(struct sim_random *random, uint64_t limit);
bool sim_random_is(struct sim_random *random, uint32_t per_million);
/* From low to high, small values as likely as large ones by order of magnitude. */
int64_t sim_random_spread(struct sim_random *random, int64_t low, int64_t high);

/* ---- Events */

struct sim_env;

struct sim_event { /* Embedded in its owner. */
    void (*run)(struct sim_event *event);
    struct sim_env *env; /* whose it is; NULL: of the world, it happens whoever is dead or paused */
    int64_t due_us;
    uint64_t tie; /* random: order of equal times */
    size_t slot;  /* in the heap; 0: not waiting */
    bool is_held; /* due, but its process is paused */
    struct list link; /* of the env's events */
};

void sim_event_init(struct sim_event *event, struct sim_env *env, void (*run)(struct sim_event *event));
void sim_event_set(struct sim_world *world, struct sim_event *event, int64_t delay_us);
void sim_event_cancel(struct sim_world *world, struct sim_event *event);
bool sim_event_is_set(const struct sim_event *event);

/* ---- World, processes, envs */

#define SIM_NAME_SIZE 16 /* of a process, with the NUL */

struct sim_world {
    uint64_t seed;
    struct sim_random random;      /* of the world's own choices */
    struct sim_random test_random; /* of the test's: sim_world_random() */
    int64_t now_us;
    uint64_t digest;
    uint64_t event_count;
    struct sim_event **heap; /* 1-based */
    size_t heap_count;
    size_t heap_capacity;
    struct list processes;
    struct list disks;
    struct list link; /* of all worlds */
    struct sim_process *current; /* whose code is running */
    sigjmp_buf *escape;          /* how it ends inside a call */
    struct list cuts;            /* sim_net.c */
    struct list packets;         /* sim_net.c: on their way, or waiting for a cut to heal */
    int64_t net_low_us;
    int64_t net_high_us;
    unsigned process_count;      /* ever */
};

struct sim_net {
    struct net net;
    struct sim_env *env;
    struct list listeners;
    struct list streams;
    struct list connects;
    struct list arrivals; /* connections that the listeners have not been told of */
};

struct sim_env {
    struct env env;
    struct sim_process *process;
    struct sim_world *world;
    struct sim_random random;
    struct clock clock;
    struct rng rng;
    struct timers timers;
    struct timer_heap timer_heap;
    struct sim_event timer_event;
    struct tasks tasks;
    struct list task_queue;
    struct workers workers;
    struct list jobs;
    struct waker waker;
    struct sim_event wake_event;
    struct disk disk;
    struct list writes;    /* durable writes in order: the first one is under way (sim_disk.c) */
    struct sim_event write_event;
    enum err write_next_err;  /* what the write under way is going to fail with */
    enum err write_failed;    /* then all later ones fail, as in base/uv_disk.c */
    struct sim_fault *write_stuck_by;
    struct list reads;     /* sim_disk.c */
    struct sim_net net;
    struct list events;    /* struct sim_event: all that wait for this env */
    struct list link;      /* of the process's envs */
};

struct sim_process {
    struct sim_world *world;
    struct sim_disk *drive;
    char *name;
    unsigned number;
    struct sim_heap *heap;
    struct list envs;
    struct list files; /* open ones, sim_disk.c */
    struct list stores; /* open ones, sim_kv.c */
    int64_t job_cost_us; /* time that the blocking calls of the job under way have taken */
    int64_t wall_shift_ms;
    int32_t drift_ppm;
    bool is_power_lost; /* nobody is there to reset its connections */
    int accepted_count;  /* connections so far: their tokens */
    bool is_paused;
    struct list held; /* events that were due while it was paused */
    enum sim_process_end end;
    char end_text[ERRMSG_SIZE];
    struct list link;
};

/* Counts a fact into the digest. */
void sim_world_note(struct sim_world *world, uint64_t a, uint64_t b);
void sim_world_print_all(FILE *file);
/* Ends the process whose code is running, and does not return; returns if none is. */
void sim_process_end_current(enum sim_process_end end, const char *text);
/* The process whose code is running, in whichever world; NULL: the test's own code. */
struct sim_process *sim_process_current(void);

void sim_disk_fill(struct sim_env *env);
/* The process is dead: its open files are closed, its writes under way are settled. */
void sim_disk_on_death(struct sim_process *process);
void sim_disk_env_close(struct sim_env *env); /* asserts that nothing is under way */
void sim_kv_on_death(struct sim_process *process);
void sim_net_init(struct sim_world *world);
void sim_net_deinit(struct sim_world *world);
void sim_net_fill(struct sim_env *env);
void sim_net_on_death(struct sim_process *process);
void sim_net_env_close(struct sim_env *env);
