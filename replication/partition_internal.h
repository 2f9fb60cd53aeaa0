/* A partition's insides, shared by its files: partition.c (life, roles), partition_produce.c (proposals and
 * their answers), partition_apply.c (what committed entries do), partition_read.c (what readers ask).
 *
 * A request waits in one place at a time:
 *
 *   partition_produce() --> queue --replica_submit()--> proposal --apply--> answers --task, applied()--> cb
 *          |                  |                            |                   ^
 *          +--refused---------+--not leader, expired-------+--the same---------+
 *
 * and between apply and answers, if it asks for more members than a majority, on the list `insync`.
 *
 * Runs on: the shard's thread. */
#pragma once

#include "replication/epochs.h"
#include "replication/partition.h"
#include "replication/partition_state.h"
#include "replication/producers.h"
#include "replication/refusals.h"

enum partition_produce_state { PRODUCE_NEW, PRODUCE_QUEUED, PRODUCE_PROPOSED, PRODUCE_INSYNC, PRODUCE_ANSWERED };

struct partition_proposal {          /* One entry that this leader submitted, and who waits for it. */
    struct list link;
    struct entry *entry;             /* has its index and term once it has a place in the log */
    int64_t proposed_us;
    struct partition_trim *trim;     /* NULL: none waits */
    bool is_retention;
    unsigned count, capacity;
    struct partition_produce *requests[]; /* by ordinal; NULL: expired */
};

struct partition_mark {              /* When an index was applied. */
    uint64_t index;
    int64_t us;
};
#define PARTITION_MARK_US (500 * 1000)

struct partition_retired {           /* A directory that a checkpoint may still name. */
    char *dir;
    uint64_t generation;
};

/* With thousands of partitions none of this is in a cache: what each entry touches comes first, in the order in which
 * it is touched. */
struct partition {
    struct env *env;
    struct log_files *files;
    struct replica_machine machine;

    /* Role, as told by the replica; state. */
    bool is_leader;
    bool is_ready;
    bool has_leader;                 /* follower: hears of one */
    bool is_damaged;
    bool is_closing;
    bool is_applying;                /* applied() answers when the entry is done */
    bool is_blocked;                 /* replica_submit() said ERR_BUSY: the queue waits for apply or the timer */
    uint64_t term;

    /* Produce. */
    struct list queue;               /* partition_produce, checked, in order */
    size_t queue_size;
    size_t queue_count;
    struct task task;                /* flush, answer, report damage, close */
    struct list proposals;           /* in the order of the log */
    struct partition_proposal *spare_proposal; /* NULL: none */
    int64_t checked_ms;              /* the wall clock when a batch was checked last */
    int64_t proposed_ms;             /* latest append_ms given to a proposal */
    struct list produce_answers;     /* partition_produce with their outcome */
    struct list trim_answers;        /* partition_trim with their outcome */
    struct list woken;
    struct list watches;

    /* Apply. */
    int64_t appended_size;           /* bytes since the last applied() */
    struct partition_mark applied[3]; /* now, and at two times before, PARTITION_MARK_US apart at least */

    /* Replicated state: a function of the entries applied. */
    int64_t append_ms;               /* of the last entry; never goes back */
    struct log *log;                 /* NULL while the files are being removed */
    struct epochs epochs;
    struct producers producers;
    struct refusals refusals;        /* what clients were refused and will send again; not replicated */
    struct partition_config config;
    struct compactions compactions;

    uint64_t group;
    char *topic;
    int32_t index;
    struct uuid topic_id;
    void *role_owner;
    void (*role_cb)(void *owner, uint64_t group, const struct replica_status *status);
    struct timer retry_timer;
    bool is_retention_proposed;
    bool is_compaction_proposed;
    bool is_compacting;              /* a job reads the log for the first order; the close waits for it */
    int64_t compaction_retry_us;     /* after one that failed: not before */
    struct list insync;              /* partition_produce, applied, for which members are waited; by entry_index */
    struct timer insync_timer;       /* of the first of them */
    uint64_t insync_lost_index;      /* too few members had this entry in time; 0: no such entry */

    bool is_damage_told;
    struct errmsg damage;
    struct work remove_work;
    struct errmsg remove_msg;
    enum err remove_err;

    /* Where it is (partition_dirs.c). */
    char *plain_dir;                 /* generation 0 */
    char *dir;                       /* the present one */
    uint64_t generation;
    int64_t durable_end_offset;      /* in the last durable checkpoint of this generation */
    struct partition_retired *retired; /* oldest first */
    size_t retired_count, retired_capacity;
};

/* An entry could not be applied, or stored data is wrong: nothing more is applied, served or proposed. */
void partition_damaged(struct partition *partition, enum err err, const char *text);
static inline int32_t partition_epoch_of_term(uint64_t term)
{
    return term > INT32_MAX ? INT32_MAX : (int32_t)term;
}
void partition_wake_all(struct partition *partition);
/* -1 once the log is closed: requests may still come until the machine is. */
static inline int64_t partition_start_offset(const struct partition *partition)
{
    return partition->log != NULL ? log_start_offset(partition->log) : -1;
}

/* ---- partition_produce.c ---- */

/* Sends what is queued to Raft, as far as it takes it. */
void partition_flush(struct partition *partition);
/* All that is queued or proposed is answered with `error`. */
void partition_fail_all(struct partition *partition, enum kafka_error error);
/* Calls back all whose outcome is known, at `now_us`. */
void partition_answer(struct partition *partition, int64_t now_us);
/* Takes the proposal off the list that `entry` came from; NULL: not proposed here, or nobody waits any more. */
struct partition_proposal *partition_proposal_take(struct partition *partition, const struct entry *entry);
void partition_proposal_free(struct partition *partition, struct partition_proposal *proposal); /* NULL allowed */
/* The outcome of one batch or trim; the callback comes later. */
void partition_produce_end(struct partition *partition, struct partition_produce *req, enum kafka_error error);
void partition_trim_end(struct partition *partition, struct partition_trim *req, enum kafka_error error);

/* ---- partition_insync.c ---- */

void partition_insync_init(struct partition *partition);
/* Before a batch is queued that asks for min.insync.replicas: NOT_ENOUGH_REPLICAS when it cannot be. */
enum kafka_error partition_insync_check(struct partition *partition, struct partition_produce *req);
/* The batch was applied without error from the entry at `index`: answers, or waits for members. */
void partition_insync_end(struct partition *partition, struct partition_produce *req, uint64_t index);
void partition_insync_matched(struct replica_machine *machine);
void partition_insync_fail(struct partition *partition, enum kafka_error error);
/* Its time is over, by its client's word. */
void partition_insync_expire(struct partition *partition, struct partition_produce *req);

/* An entry on its way to the log; its proposal is in the list. */
MUST_CHECK enum err partition_submit(struct partition *partition, struct bytes payload,
                                     struct partition_proposal **proposal);
/* Whether requests of clients are taken: KAFKA_NONE. */
enum kafka_error partition_role_error(const struct partition *partition);
/* The time of the next entry: `now_ms`, this broker's wall clock, but never before an entry in the log already. */
int64_t partition_next_append_ms(struct partition *partition, int64_t now_ms);

/* ---- partition_compact.c ---- */

/* An entry ordered it. */
void partition_compact_apply(struct partition *partition, struct compaction_order *order);
/* The start was moved: orders that have nothing left to do are dropped. */
void partition_compact_trimmed(struct partition *partition);

/* ---- partition_apply.c ---- */

void partition_apply(struct replica_machine *machine, const struct entry *entry);
void partition_applied(struct replica_machine *machine);

/* ---- partition_install.c, partition_source.c: catch-up (replica_state.h) ---- */

struct replica_source *partition_source(struct replica_machine *machine);
struct replica_stage *partition_stage(struct replica_machine *machine);
void partition_install(struct replica_machine *machine, uint64_t index);
/* The log is the partition's from now on. */
void partition_attach_log(struct partition *partition);
/* A checkpoint of this generation, up to `end_offset`, is durable: older directories go. */
void partition_checkpointed(struct partition *partition, uint64_t generation, int64_t end_offset);
/* At the close: the older directories and the staging go with a group that is removed. */
void partition_retired_remove(struct partition *partition);
/* `dir` is taken over. */
void partition_retire(struct partition *partition, char *dir, uint64_t generation);
