/* What a shard's groups look like after the local store and the write-ahead logs have been read: each group's machine
 * at its applied index, and the tail that Raft starts with. Used by replicas_open() and then gone.
 *
 * The replay rules are those of replica_shard.h. Entries that a WAL_COMMIT mark covers are applied at once, so that
 * only the short uncommitted tail stays in memory.
 * Runs on: the shard's thread, before it serves. */
#pragma once

#include "base/map.h"
#include "replication/replica_shard.h"
#include "replication/replicas.h"

struct recovery_group {
    uint64_t group;
    enum group_type type;
    struct replica_machine *machine;  /* NULL: damaged */
    char *damage;                     /* why; NULL: the local store knows */
    struct checkpoint_raft checkpoint;
    uint64_t term, vote;
    bool is_hard_state_lost;          /* they are not known */
    uint64_t fence_lsn;               /* frames below are those of an earlier life of the group here */
    uint64_t applied_index, applied_term;
    struct membership membership;
    uint64_t membership_index;
    struct replica_tail_entry *tail;  /* entries applied_index + 1 ...; references held */
    size_t tail_count, tail_capacity;
};

struct recovery {
    const struct replicas_params *params;
    struct map groups;                /* id -> struct recovery_group */
    struct errmsg failure;            /* first thing that makes going on impossible */
    enum err err;
    uint64_t frames;
    uint64_t applied;
    uint64_t installs;
};

/* Reads this shard's groups from the local store and opens their machines. A group whose data is bad is kept without a
 * machine. ERR_IO, ... : the store itself, or a machine could not be opened for a reason that may pass: the log goes on
 * without a group only once the local store has it as damaged. */
MUST_CHECK enum err recovery_open(struct recovery *recovery, const struct replicas_params *params, struct errmsg *msg);
/* A wal_replay_cb; owner = recovery. Frames of groups that are not here are passed over. */
void recovery_replay(void *owner, const struct wal_record *record);
/* After the last frame: ends the applies of each machine. Returns recovery->err with its text. */
MUST_CHECK enum err recovery_finish(struct recovery *recovery, struct errmsg *msg);
void recovery_close(struct recovery *recovery); /* releases tails; machines have been taken over */
