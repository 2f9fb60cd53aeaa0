/* A write-ahead log in the simulator, with a memory: knows every frame that was appended and what was reported
 * durable, and checks what each opening replays against that, whatever death lies between.
 *
 * The frame with id n (1, 2, ...) has index n and a payload that is a function of n and its *salt*, which grows with
 * each opening, so that content of a former life is never taken for it.
 *
 * Checked at each opening: what is replayed is a run of ids without a gap, each bit-identical; it begins at or before
 * the first frame not released, ends at or behind the last one reported durable, and ends between two units; LSNs go
 * up.
 *
 * Use:   _init, then lives: _open ... _close (in order) or _die, then _deinit. A life may end at a crash point
 *        (_crash_at): is_alive is then false, and all calls but _die do nothing. */
#pragma once

#include "replication/wal.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/sim_world.h"

#define WAL_WORLD_DIR "/n1/wal"

struct wal_world_frame {
    uint64_t lsn;             /* as wal_append() said */
    uint64_t salt;
    size_t size;              /* of the payload */
};

enum wal_death {
    WAL_KILL,               /* of the process: the page cache stays */
    WAL_POWER_LOSS,
};

struct wal_world {
    struct sim_world *sim;
    struct sim_disk *disk;
    struct sim_process *process;
    struct env *env;
    struct wal *wal;
    struct wal_options options;
    struct errmsg msg;           /* of the last wal_open() */
    enum err open_err;
    struct wal_world_frame *frames;  /* [id] */
    uint64_t frame_capacity;
    uint64_t end_id;             /* of the next frame */
    uint64_t durable_id;         /* frames below were reported durable */
    uint64_t durable_lsn;
    uint64_t released_lsn;
    uint64_t salt;
    uint64_t replay_id;          /* of the next record; 0: of none yet */
    uint64_t first_id;           /* of the first record; 0: none */
    unsigned pressure_count;
    size_t payload_max;          /* of random frames */
    bool is_forging;             /* payloads look like units */
    bool is_alive;
    bool is_closed;
};

void wal_world_init(struct wal_world *world, const struct wal_options *options, uint64_t seed);
void wal_world_deinit(struct wal_world *world); /* not in a life */
/* Starts a process, opens the log in it and checks what is replayed. False: it did not live to the end of that, or
 * open_err is not OK (and `expects_error` was set): then wal_world_close() shows that nothing was left behind. */
bool wal_world_open(struct wal_world *world, bool expects_error);
void wal_world_append(struct wal_world *world, enum wal_kind kind, size_t payload_size);
void wal_world_append_random(struct wal_world *world);
void wal_world_release(struct wal_world *world, uint64_t lsn);
/* Some events; all there are until nothing happens for a (virtual) while. */
void wal_world_step(struct wal_world *world, uint64_t count);
void wal_world_settle(struct wal_world *world);
/* A life of `turns` turns: appends, releases and steps as they are drawn. */
void wal_world_live(struct wal_world *world, unsigned turns);
/* Closes the log; the process must have given back all it had. False: it died on the way. */
bool wal_world_close(struct wal_world *world);
/* Ends the process, or buries the one that ended at a crash point. */
void wal_world_die(struct wal_world *world, enum wal_death death);
/* The change of the disk, counted from now, in which the process is to end. */
void wal_world_crash_at(struct wal_world *world, uint64_t change);
int64_t wal_world_metric(const struct wal_world *world, enum metric metric);

/* Checks one record against the frames. */
void wal_world_replay(struct wal_world *world, const struct wal_record *record);
/* Where the unit of a frame starts. */
uint64_t wal_world_unit_lsn(const struct wal_world *world, uint64_t id);
