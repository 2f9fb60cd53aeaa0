/* A write-ahead log in memory behind `struct replica_wal`: units, group commit and crashes, without a disk.
 *
 * What is appended gathers; fake_log_submit() puts all of it in flight as one unit, fake_log_complete() makes it
 * durable. A crash loses what gathered and keeps or loses the unit in flight as a whole, as torn units are cut at open.
 * Runs on: the test's thread. */
#pragma once

#include "replication/replica_shard.h"

struct fake_frame {
    uint64_t lsn;
    uint64_t group;
    enum wal_kind kind;
    uint64_t index, term, value;
    uint8_t *payload;
    size_t size;
};

struct fake_log {
    struct fake_frame *frames;
    size_t count, capacity;
    size_t durable_count;       /* frames that a crash keeps */
    size_t flight_count;        /* durable ones and those in flight; == durable_count: nothing is in flight */
    uint64_t next_lsn;
    uint64_t durable_lsn;
    uint64_t hard_term, hard_vote; /* durable: of frames, also released ones, or found at a start */
    bool is_stalled;
    void *owner;
    void (*on_append)(void *owner, const struct wal_frame *frame); /* may be NULL */
};

void fake_log_init(struct fake_log *log);
void fake_log_deinit(struct fake_log *log);
struct replica_wal fake_log_wal(struct fake_log *log);
/* Puts what gathered in flight; false if there is nothing, or a unit is in flight. */
bool fake_log_submit(struct fake_log *log);
void fake_log_complete(struct fake_log *log);      /* the unit in flight is durable: durable_lsn moves */
void fake_log_sync(struct fake_log *log);          /* everything is */
void fake_log_crash(struct fake_log *log, bool is_flight_kept);
void fake_log_release(struct fake_log *log, uint64_t lsn); /* forgets durable frames below */

/* What replay finds for one group, by the rules of replica_shard.h. */
struct fake_recovery {
    uint64_t term, vote;
    uint64_t applied_index, applied_term;          /* in: the checkpoint; out: with WAL_COMMIT marks and installs */
    struct membership membership;
    uint64_t membership_index;
    struct replica_tail_entry *tail;               /* behind applied_index */
    size_t tail_count, tail_capacity;
    void *owner;
    void (*apply)(void *owner, const struct entry *entry);    /* committed, in order; every kind */
    void (*install)(void *owner, const struct fake_frame *frame);
};
void fake_log_recover(const struct fake_log *log, uint64_t group, struct fake_recovery *recovery);
void fake_recovery_deinit(struct fake_recovery *recovery);
/* Takes over the reference. */
void fake_recovery_push(struct fake_recovery *recovery, struct entry *entry, uint64_t lsn);
