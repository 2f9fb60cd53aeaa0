/* The only writer of the store: one deterministic function from (store, record) to (store, decision).
 *
 * Runs on: shard 0, inside the write transaction of the turn. No clock, no random numbers: all replicas of the metadata
 * must end in the same store. What a record asks for is checked again here, since it was proposed against an older
 * state. */
#pragma once

#include "metadata/metadata.h"
#include "metadata/tables.h"

struct apply_changes {          /* grows over one turn */
    struct metadata_change *items;
    size_t count;
    size_t capacity;
};
void apply_changes_init(struct apply_changes *changes);
void apply_changes_deinit(struct apply_changes *changes);
void apply_changes_reset(struct apply_changes *changes);

struct apply_result {
    enum kafka_error error;
    char text[160];
    uint64_t result;            /* ProducerIdsAllocated: first id; else 0 */
};

/* Reads the counters of the store; a new store gets its initial ones. */
MUST_CHECK enum err apply_load_state(struct kv_txn *txn, struct store_state *state);
MUST_CHECK enum err apply_save_state(struct kv_txn *txn, const struct store_state *state);
/* Applies one encoded record. An error return means the store itself failed (full, damaged): the process cannot go on.
 * Refusals are decisions in `result`. */
MUST_CHECK enum err apply_record(struct kv_txn *txn, struct store_state *state, struct bytes record,
                                 struct apply_changes *changes, struct apply_result *result);

/* ---- Moves, as pure functions of a partition's value; the controller looks with them before it proposes ---- */

/* Whether old and new brokers together are as many as a Raft group can have members. */
bool partition_move_is_possible(const struct partition_value *partition, const int32_t *target, size_t count);
/* The wish for other replicas; count 0: no longer. Only what partition_move_is_possible() accepts. */
void partition_move(struct partition_value *partition, const int32_t *target, size_t count);
/* The members are those of `replicas`. False: late news, nothing changes. */
bool partition_moved(struct partition_value *partition, const int32_t *replicas, size_t count, uint32_t epoch);
