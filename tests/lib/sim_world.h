/* The simulator: the seam (base/env.h) without the world. Time, chance, disks, network and background work of any
 * number of processes are virtual and follow from one seed, so a run can be repeated event by event.
 *
 *     struct sim_world *world = sim_world_open(seed);
 *     struct sim_disk *disk = sim_disk_open(world, "/n1");
 *     struct sim_process *process = sim_process_open(world, disk, "n1");
 *     sim_process_run(process, start_broker, &broker);          // uses sim_process_env(process, shard)
 *     sim_world_run_until(world, is_acknowledged, &broker, 1000000);
 *     sim_process_kill(process);                                // or sim_disk_power_loss(disk)
 *     sim_process_close(process);                               // the disk is there for the next life
 *
 * Runs on:  one thread, worlds one after the other or side by side.
 * Time:     stands still inside an event and jumps between events. Events of the same time come in random order, tasks
 *           run after an event or after a few that are close, as in a real loop.
 * Crashes:  a process that is killed gets no callback any more; all its memory (mem_alloc) and its open files are given
 *           back. One that calls process_stop() or meets a crash point of its disk ends inside the call. */
#pragma once

#include <stdio.h>

#include "base/env.h"

struct sim_world;
struct sim_process; /* one life of a broker: the envs of its shards, its memory, its open files, its connections */
struct sim_disk;    /* tests/lib/sim_disk.h */

/* ---- World */

struct sim_world *sim_world_open(uint64_t seed);
void sim_world_close(struct sim_world *world); /* all processes and disks are closed */
int64_t sim_world_now_us(const struct sim_world *world);
uint64_t sim_world_random(struct sim_world *world);                /* for the test's own choices */
uint64_t sim_world_below(struct sim_world *world, uint64_t limit); /* 0 .. limit-1 */
/* Digest of all events and operations so far: equal seeds give equal digests. */
uint64_t sim_world_digest(const struct sim_world *world);
uint64_t sim_world_event_count(const struct sim_world *world);

enum sim_end {
    SIM_REACHED, /* the predicate holds */
    SIM_IDLE,    /* nothing is left that could happen */
    SIM_TIME_UP,
    SIM_DIED, /* a process ended inside the last event: sim_process_end() says which and how */
};

/* Runs events until `is_reached` holds (NULL: never), at most `limit_us` from now; time is then at the limit. */
enum sim_end sim_world_run_until(struct sim_world *world, bool (*is_reached)(void *context), void *context,
                                 int64_t limit_us);
/* One event. SIM_REACHED when it happened, SIM_IDLE or SIM_DIED. */
enum sim_end sim_world_step(struct sim_world *world);

/* ---- Processes */

enum sim_process_end {
    SIM_ALIVE,
    SIM_KILLED,  /* sim_process_kill() */
    SIM_CRASHED, /* a crash point of its disk */
    SIM_STOPPED, /* process_stop(): sim_process_end_text() has what it said */
};

struct sim_process *sim_process_open(struct sim_world *world, struct sim_disk *disk, const char *name);
/* The env of a shard, opened when first asked for. The same memory, metrics and disk for all shards. */
struct env *sim_process_env(struct sim_process *process, unsigned shard);
/* Calls fn(context) as if from the process: its memory is the process's. False if it ended in there. */
bool sim_process_run(struct sim_process *process, void (*fn)(void *context), void *context);
/* Ends it like kill -9: writes on their way may or may not have happened, each sector by itself; the page cache stays.
 * Not from inside the process. */
void sim_process_kill(struct sim_process *process);
/* Frees it. One that is alive must have closed and freed all it had: else the run ends with what is left. */
void sim_process_close(struct sim_process *process);
enum sim_process_end sim_process_end(const struct sim_process *process);
const char *sim_process_end_text(const struct sim_process *process);
size_t sim_process_memory(const struct sim_process *process); /* bytes it has allocated */
/* SIGSTOP and SIGCONT: its events wait. */
void sim_process_pause(struct sim_process *process);
void sim_process_resume(struct sim_process *process);
/* From the start of the process: both clocks, and timers with them, run by so many millionths too fast. */
void sim_process_set_drift(struct sim_process *process, int32_t ppm);
/* The wall clock jumps; the monotonic one does not. */
void sim_process_shift_wall(struct sim_process *process, int64_t shift_ms);
