/* A partition: the deterministic state machine that turns committed entries into Kafka's log.
 *
 * Offsets are given out at apply by counting records, so they are dense and the same on every replica. Duplicates of
 * idempotent producers are recognised at apply, too. Waiting produce requests are answered from apply.
 *
 * Command formats (payload of ENTRY_COMMAND): replication/README.md, "Partition commands".
 * Runs on:  its shard's thread; callbacks never fire inside the call that submitted them. */
#pragma once

#include "proto/errors.h"
#include "proto/record_batch.h"
#include "proto/uuid.h"
#include "replication/log.h"
#include "replication/replica.h"

struct compaction;
struct partition;
struct producer; /* replication/producers.h */

struct partition_config {            /* from the topic's configs; may change at any time */
    struct log_config log;
    size_t max_message_bytes;
    bool is_log_append_time;
    bool is_compacted;
    int64_t timestamp_before_max_ms;
    int64_t timestamp_after_max_ms;
    int64_t retention_ms;            /* -1: for ever; 0 with retention_bytes -1 and "delete" off: none */
    int64_t retention_bytes;
    bool is_deleted_by_retention;    /* cleanup.policy contains delete */
    int64_t producer_expiration_ms;
    int64_t min_compaction_lag_ms;
    int64_t max_compaction_lag_ms;
    int64_t delete_retention_ms;
    double min_cleanable_ratio;      /* min.cleanable.dirty.ratio */
    int32_t min_insync;              /* min.insync.replicas: for acks=all, where it is above the majority */
};

/* What a partition is called; goes into the group's description in the local store. */
struct partition_name {
    struct bytes topic;
    int32_t index;
    struct uuid topic_id;
};
void partition_description_encode(const struct partition_name *name, struct dynbuf *buf);
MUST_CHECK enum err partition_description_decode(struct bytes description, struct partition_name *name); /* borrows */

/* Opens the state machine at `state` (empty: new). Its directory is `<data_dir>/<topic>-<index>.<group>`, the topic
 * cut to 200 bytes there: names of directories end at 255, and the group tells them apart. */
MUST_CHECK enum err partition_open(struct env *env, struct log_files *files, const char *data_dir, uint64_t group,
                                   const struct partition_name *name, const struct partition_config *config,
                                   struct bytes state, struct partition **partition, struct errmsg *msg);
/* cb hears of every change of role, term or readiness, from the replica's own callback: it must only note it. */
void partition_on_role(struct partition *partition, void *owner,
                       void (*cb)(void *owner, uint64_t group, const struct replica_status *status));
struct replica_machine *partition_machine(struct partition *partition);
struct partition *partition_of_machine(struct replica_machine *machine);
bool partition_is_machine(const struct replica_machine *machine); /* of a partition at all */
void partition_name(const struct partition *partition, struct partition_name *name); /* borrowed */
uint64_t partition_group(const struct partition *partition);
void partition_set_config(struct partition *partition, const struct partition_config *config);

/* ---- Produce ---- */
struct partition_produce;
typedef void (*partition_produce_cb)(struct partition_produce *req);

struct partition_produce {           /* Caller's memory until cb. */
    struct slice batch; /* in: exactly what the client sent for this partition; reference stays the caller's. The memory
                                        is patched in place (epoch, timestamps): the frame's block has one owner. */
    bool is_zstd_allowed;            /* in: Produce v7+ */
    bool is_acks_all;                /* in: is answered when min.insync.replicas members have it */
    partition_produce_cb cb;
    enum kafka_error error;          /* out */
    const char *error_text;          /* out: static, or NULL */
    int32_t error_record;            /* out: index of a bad record, -1 */
    int64_t base_offset;             /* out */
    int64_t log_append_time_ms;      /* out: -1 with CreateTime */
    int64_t log_start_offset;        /* out */
    bool is_duplicate;               /* out */
    int32_t record_count;            /* out */
    int64_t proposed_us, ended_us;   /* out: when, by the monotonic clock; 0: it was never proposed */
    struct list link;                /* private: queued or answered */
    struct partition_proposal *proposal; /* private: the entry it went into */
    unsigned ordinal;                /* private: its place there */
    unsigned state;                  /* private */
    uint64_t entry_index;            /* private: while it waits for members */
    int64_t applied_us;              /* private: since when */
};
/* Checks, gathers with the others of this turn into one entry, answers after commit and apply; batches keep the
 * order of the calls. Codes beside those of record_batch_check() and producers_check(), all of them retried by
 * clients: NOT_LEADER_OR_FOLLOWER: not the leader, not ready, or leadership was lost on the way (the batch may still
 * be committed); NOT_ENOUGH_REPLICAS: nothing was appended, the group takes no proposals and its queue is full;
 * NOT_ENOUGH_REPLICAS also: fewer members than min.insync.replicas have what was written before, or there are fewer;
 * NOT_ENOUGH_REPLICAS_AFTER_APPEND: committed, but so many do not have it within INSYNC_TIMEOUT_MS;
 * KAFKA_STORAGE_ERROR: the replica is damaged; REQUEST_TIMED_OUT. A batch that comes behind one of the same producer
 * that got one of these gets it, too, until that one is back, and one before which a batch is missing gets
 * NOT_ENOUGH_REPLICAS some times before OUT_OF_ORDER_SEQUENCE_NUMBER (refusals.h). INVALID_TXN_STATE: a transactional
 * batch, as no partition is in a transaction. */
void partition_produce(struct partition *partition, struct partition_produce *req);
/* The broker itself refused a batch of this partition: those behind it get the same error (refusals.h). */
void partition_refused(struct partition *partition, struct bytes bytes, enum kafka_error error);
/* Answers REQUEST_TIMED_OUT at the next opportunity; the batch may still be committed later. No-op when the answer
 * is on its way. */
void partition_produce_expire(struct partition *partition, struct partition_produce *req);

/* ---- Reading ---- */
struct partition_offsets {
    int64_t log_start_offset, last_stable_offset, high_watermark, log_end_offset;
    int32_t leader_epoch;
};
/* KAFKA_NOT_LEADER_OR_FOLLOWER; KAFKA_OFFSET_NOT_AVAILABLE (leader, not ready); KAFKA_KAFKA_STORAGE_ERROR (damaged). */
enum kafka_error partition_offsets(const struct partition *partition, struct partition_offsets *offsets);
#define PARTITION_OFFSETS_NONE ((struct partition_offsets){-1, -1, -1, -1, -1})
/* The same from a member that follows: what it has applied, which grows, and is behind what the leader tells.
 * KAFKA_NOT_LEADER_OR_FOLLOWER: it leads, or hears of no leader, so that it may never learn of more;
 * KAFKA_KAFKA_STORAGE_ERROR. */
enum kafka_error partition_follower_offsets(const struct partition *partition, struct partition_offsets *offsets);
/* What was applied here half a second ago, or a little before: a member that holds it is not far behind, though its
 * acknowledgement of what is newer may be on its way. */
uint64_t partition_recent_index(const struct partition *partition);
/* current_leader_epoch check of Fetch, ListOffsets, OffsetForLeaderEpoch: -1 skips. 74, 75 or 0. */
enum kafka_error partition_check_epoch(const struct partition *partition, int32_t current_leader_epoch);
struct log *partition_log(struct partition *partition);
/* Whether a path in the data directory is, was or may become this partition's: what is not, and looks like it, is left
 * from something that was interrupted. */
uint64_t partition_generation(const struct partition *partition); /* of its present directory */
bool partition_owns_dir(const struct partition *partition, const char *path);

/* Woken once when at least `bytes` were appended since it was set, or when leadership changes, or the partition
 * closes. */
struct partition_watch {
    void (*cb)(struct partition_watch *watch);
    int64_t bytes;                   /* in: wanted; counts down */
    struct list link;                /* private; empty when not set */
};
void partition_watch(struct partition *partition, struct partition_watch *watch);
void partition_unwatch(struct partition_watch *watch);

/* ListOffsets: `timestamp` as in Kafka, -1 latest (read_committed the same without transactions), -2 earliest, -3 max
 * timestamp, -4 earliest local, -5 latest tiered, >= 0 by time. */
enum kafka_error partition_list_offset(struct partition *partition, int64_t timestamp, int64_t *offset,
                                       int64_t *found_timestamp, int32_t *leader_epoch);
/* OffsetForLeaderEpoch: largest epoch <= `epoch` and its end offset; (-1, -1) when unknown. */
enum kafka_error partition_epoch_end(const struct partition *partition, int32_t epoch, int32_t *found_epoch,
                                     int64_t *end_offset);

/* DescribeProducers: those that are remembered and have not expired, the longest silent first. Errors as
 * partition_offsets(). */
enum kafka_error partition_producers_each(const struct partition *partition, void *context,
                                          void (*cb)(void *context, const struct producer *producer));

/* ---- Trim (retention, DeleteRecords) ---------------------------------------------------------------------------- */

/* DeleteRecords: proposes log_start_offset = offset; -1 means the high watermark. Errors as partition_produce(), and
 * OFFSET_OUT_OF_RANGE for other negative offsets and those above the high watermark; POLICY_VIOLATION when
 * cleanup.policy has no "delete". */
struct partition_trim {
    int64_t offset;
    void (*cb)(struct partition_trim *req);
    enum kafka_error error;          /* out */
    int64_t log_start_offset;        /* out */
    struct list link;                /* private: answered */
    struct partition_proposal *proposal; /* private: the entry it went into */
};
void partition_trim(struct partition *partition, struct partition_trim *req);
/* Answers REQUEST_TIMED_OUT at the next opportunity; the start may still move later. No-op when the answer is on its
 * way. */
void partition_trim_expire(struct partition *partition, struct partition_trim *req);
/* Proposes a trim if retention allows one. Called by the shard now and then. */
void partition_retention(struct partition *partition);

/* ---- Compaction (cleaner.h) ------------------------------------------------------------------------------------- */

/* Proposes a compaction when there is enough to gain; `key_count_max`: keys that fit in memory, here and elsewhere. */
void partition_compaction(struct partition *partition, uint32_t key_count_max);
/* Orders that are committed and not carried out here; until then replicas may differ below partition_compacted(). */
size_t partition_compactions_due(const struct partition *partition);
/* Begins the first one that is due; NULL: none is, or not now. Until partition_compaction_end() the partition does not
 * close. */
struct compaction *partition_compaction_begin(struct partition *partition, const char *reserve_path, uint64_t reserve);
/* Whether what was begun is still of use. */
bool partition_compaction_is_wanted(const struct partition *partition, const struct compaction *compaction);
/* `err` OK: it is done and its segments take the place of the old ones. Otherwise it was discarded. Closes it. */
void partition_compaction_end(struct partition *partition, struct compaction *compaction, enum err err,
                              const struct errmsg *msg);
