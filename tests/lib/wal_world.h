/* A write-ahead log with a memory: knows every frame that was appended and what was reported durable, and checks any
 * disk that a crash leaves against that.
 *
 * The frame with id n (1, 2, ...) has index n and a payload that is a function of n and its *salt*; an id that is
 * appended again after a crash gets another salt, so that content of a former life is never taken for it.
 *
 * Checked of a crash at any moment: the log opens; what is replayed is a run of ids without a gap, each bit-identical;
 * it begins at or before the first one not released and ends at or behind the last one reported durable; it ends
 * between two units. */
#pragma once

#include "replication/wal.h"
#include "tests/lib/crash_env.h"

#define WORLD_DIR "data/wal"

struct world_frame {
    uint64_t lsn;          /* as wal_append() said */
    uint64_t unit_lsn;     /* 0: its unit is not durable yet */
    uint64_t seen_lsn;     /* record.lsn in a crash taken before that; 0: none */
    uint64_t salt;
    size_t size;           /* of its payload */
    bool is_cut_before;    /* a crash was seen to end in front of it */
};

struct world {
    struct crash_env *crash;
    struct wal *wal;
    struct wal_options options;
    struct crash_rng rng;     /* of the script */
    struct world_frame *frames; /* [id] */
    uint64_t frame_capacity;
    uint64_t end_id;          /* of the next frame */
    uint64_t durable_id;      /* frames below were reported durable */
    uint64_t released_lsn;
    uint64_t durable_lsn;
    uint64_t salt;
    uint64_t replay_id;       /* of the next record */
    uint64_t pressure_count;
    size_t payload_max;
    bool is_forging;          /* payloads look like units, of former generations among them */
    bool is_closed;
    unsigned op_fault_at;     /* the blocking call from world_open() on that fails; the opening is tried again */
    uint64_t crash_count;     /* crashes checked */
    unsigned crash_rate;      /* one in so many moments is a crash; 1: all; 0: none */
    /* A crash that goes on living: taken at the moment that is drawn. */
    struct crash_disk *next_disk;
    uint64_t next_end_id, next_durable_id, next_released_lsn, next_durable_lsn;
    unsigned next_rate;
};

void world_init(struct world *world, const struct wal_options *options, uint64_t seed);
void world_deinit(struct world *world);

/* Opens the log on `disk` (taken over; NULL: empty) and checks what is replayed. */
void world_open(struct world *world, struct crash_disk *disk);
void world_append(struct world *world, enum wal_kind kind, size_t payload_size);
void world_append_random(struct world *world);
void world_release(struct world *world, uint64_t lsn);
/* Runs until nothing more happens by itself. */
void world_settle(struct world *world);
/* Closes the log and gives back the disk. */
struct crash_disk *world_close(struct world *world);

/* A crash now: checks it. */
void world_crash(struct world *world, enum crash_kind kind);
/* Opens and checks a disk that is what the world is now, but for what may be lost; takes it over. */
void world_check(struct world *world, struct crash_disk *disk, const char *what);
/* After world_close(): goes on from `next_disk`. */
struct crash_disk *world_rewind(struct world *world);
/* A life of `turns` turns: appends, releases and steps as they are drawn. */
void world_live(struct world *world, unsigned turns);

/* Checks one record against the frames; advances replay_id. */
void world_replay(struct world *world, const struct wal_record *record);
