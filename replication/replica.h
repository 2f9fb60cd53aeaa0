/* One member of one Raft group: the partition's (or the metadata's) log, agreed on through libraft's core.
 *
 * All that reaches the core goes through one function in replica.c, replica_step(event); what comes out is handed on:
 * term, vote and entries to the WAL, messages to the outbox (which waits for the WAL), the commit index to apply.
 * Entries live in memory from submit to apply (bounded) and in the WAL; the state machine keeps what is applied.
 *
 * Runs on:  its shard's thread. Callbacks of `struct replica_machine` never fire inside replica_submit().
 * Source:   reference for every rule R1..R24: replication/README.md, "Raft". */
#pragma once

#include "base/env.h"
#include "replication/entry.h"

struct replica;
struct replicas;

enum replica_role { REPLICA_FOLLOWER, REPLICA_CANDIDATE, REPLICA_LEADER };

struct replica_server {                    /* member of a configuration */
    uint64_t id;                           /* broker and incarnation: replica_server_id() */
    bool is_voter;                         /* else standby */
};
#define REPLICA_SERVER_COUNT_MAX 15

struct replica_status {
    enum replica_role role;
    bool is_ready;                         /* leader, and an entry of its own term is committed and applied */
    uint64_t term;
    uint64_t leader;                       /* server id, 0: unknown */
    uint64_t first_index, last_index, durable_index, commit_index, applied_index;
    struct replica_server servers[REPLICA_SERVER_COUNT_MAX];
    unsigned server_count;
};

/* The state machine above. It is deterministic: a function of the entries applied and nothing else. */
struct replica_machine;
struct replica_machine_ops {
    /* Applies a committed ENTRY_COMMAND, in index order, each exactly once per process life (again after a restart for
     * indexes above the checkpoint). */
    void (*apply)(struct replica_machine *machine, const struct entry *entry);
    /* Everything committed so far in this turn has been applied: answer waiters, wake readers. */
    void (*applied)(struct replica_machine *machine);
    /* Role, term or readiness changed. No longer leader: all proposals that are not applied yet are in doubt; their
     * waiters are answered "not leader". Entries of the old term may still be applied later. */
    void (*role_changed)(struct replica_machine *machine, const struct replica_status *status);
    /* Checkpoint in three steps, as in log.h. capture: puts the machine's state at this moment into `state` and returns
     * a job handle (may be NULL if nothing must be synced); sync: in a work job; done: back on the shard's thread. */
    void *(*capture)(struct replica_machine *machine, struct dynbuf *state);
    enum err (*capture_sync)(void *capture, struct errmsg *msg);
    void (*capture_done)(struct replica_machine *machine, void *capture, bool is_ok);
    /* Closes the machine: cancels waiters and reads, then calls replica_machine_closed(machine). */
    void (*close)(struct replica_machine *machine);
};
struct replica_machine {
    const struct replica_machine_ops *ops;
    struct replica *replica;               /* set when opened */
    void (*closed)(struct replica_machine *machine); /* set by replicas before close */
};

/* Proposes one command. Leader only. On success the entry (one reference taken over) will be applied or, if leadership is
 * lost first, reported through role_changed; proposals of one turn go to Raft in one step. `term` is what a leader
 * must write into batches as leader epoch: replica_status. Errors, reference stays the caller's:
 * ERR_NOT_LEADER; ERR_NOT_READY (leader, barrier not committed: wait); ERR_BUSY (tail over its bounds or WAL stalled). */
MUST_CHECK enum err replica_submit(struct replica *replica, struct entry *entry);
void replica_status(const struct replica *replica, struct replica_status *status);
uint64_t replica_group(const struct replica *replica);
bool replica_is_ready_leader(const struct replica *replica);
uint64_t replica_term(const struct replica *replica);
/* Asks the replica to take itself out of service: damage was found below its checkpoint. */
void replica_damaged(struct replica *replica, const char *cause);
