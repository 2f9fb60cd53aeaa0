/* One member of one Raft group: the partition's (or the metadata's) log, agreed on through libraft's core.
 *
 * All that reaches the core goes through one function, replica_step(event); what comes out is handed on:
 * term, vote and entries to the WAL, messages to the outbox (which waits for the WAL), the commit index to apply.
 * Entries live in memory from submit to apply (bounded) and in the WAL; the state machine keeps what is applied.
 *
 * Runs on:  its shard's thread. Callbacks of `struct replica_machine` never fire inside replica_submit().
 * Source:   reference for every rule R1..R25: replication/README.md, "Raft". */
#pragma once

#include "base/dynbuf.h"
#include "base/env.h"
#include "replication/entry.h"
#include "replication/membership.h"
#include "replication/replica_state.h"

struct replica;
struct replicas;

enum replica_role { REPLICA_FOLLOWER, REPLICA_CANDIDATE, REPLICA_LEADER };

struct replica_status {
    enum replica_role role;
    bool is_ready;                         /* leader, and an entry of its own term is committed and applied */
    uint64_t term;
    uint64_t leader;                       /* server id, 0: unknown */
    uint64_t first_index, last_index, durable_index, commit_index, applied_index;
    /* Highest index that leaders were heard to have committed, in this process's life: a follower that has applied less
     * is behind. Its own commit_index cannot tell, as it is bounded by what it has. */
    uint64_t heard_index;
    struct membership membership;          /* the latest in the log, committed or not */
    uint64_t membership_index;
    bool is_membership_committed;
};

/* The state machine above. It is deterministic: a function of the entries applied and nothing else. */
struct replica_machine;
struct replica_machine_ops {
    /* Applies a committed ENTRY_COMMAND, in index order, each exactly once per process life (again after a restart for
     * indexes above the checkpoint). */
    void (*apply)(struct replica_machine *machine, const struct entry *entry);
    /* False: the entry would need space that the disk does not have. It stays committed and not applied, as do those
     * behind it, and is asked for again by replica_shard_set_full(). NULL: it always has. */
    bool (*has_room)(struct replica_machine *machine, const struct entry *entry);
    /* Everything committed so far in this turn has been applied: answer waiters, wake readers. */
    void (*applied)(struct replica_machine *machine);
    /* Members other than this one, the leader, may hold more of the log durably than before (replica_match_index):
     * called at the end of turns while the machine's wants_matches is set. NULL: it never is. */
    void (*matched)(struct replica_machine *machine);
    /* Role, term or readiness changed. No longer leader: all proposals that are not applied yet are in doubt; their
     * waiters are answered "not leader". Entries of the old term may still be applied later. */
    void (*role_changed)(struct replica_machine *machine, const struct replica_status *status);
    /* What was applied is in files, as a capture needs it. False: not now, there is no space. NULL: always. */
    bool (*settle)(struct replica_machine *machine);
    /* Checkpoint in three steps, as in log.h. capture: puts the machine's state at this moment into `state` and returns
     * a job handle (may be NULL if nothing must be synced); sync: in a work job; done: back on the shard's thread. */
    void *(*capture)(struct replica_machine *machine, struct dynbuf *state);
    enum err (*capture_sync)(void *capture, struct errmsg *msg);
    void (*capture_done)(struct replica_machine *machine, void *capture, bool is_ok);
    /* Catch-up, all three or none (replica_state.h). source: the state as of now, to be sent; stage: where one that
     * comes is put together; NULL from them: not now. install: what was sealed for `index` takes the place of the
     * machine's state, which was behind: applied_index is now `index` (R12); also from the replay of a start. A
     * machine that cannot take it is damaged and says so when it has a replica. */
    struct replica_source *(*source)(struct replica_machine *machine);
    struct replica_stage *(*stage)(struct replica_machine *machine);
    void (*install)(struct replica_machine *machine, uint64_t index);
    /* Closes the machine: cancels waiters and reads, then calls replica_machine_closed(machine). */
    void (*close)(struct replica_machine *machine);
};
struct replica_machine {
    const struct replica_machine_ops *ops;
    struct replica *replica;               /* set when opened */
    void (*closed)(struct replica_machine *machine); /* set by replicas before close */
    void *owner;                           /* of `closed`: replicas */
    bool wants_matches;                    /* set by the machine */
    bool wants_checkpoint;                 /* set by the machine: its state changed though nothing was applied */
    bool takes_space;                      /* set by the machine: replica_shard_set_full() is for it */
    bool is_removed;                       /* set by replicas before close: the group is forgotten for good, so the
                                              machine's files go as well */
};

/* ops->has_room, where it is asked. */
bool replica_machine_has_room(struct replica_machine *machine, const struct entry *entry);

/* Proposes one command. Leader only. On success the entry (one reference taken over) will be applied or, if leadership
 * is lost first, reported through role_changed; proposals of one turn go to Raft in one step. `term` is what a leader
 * must write into batches as leader epoch: replica_status. Errors, reference stays the caller's:
 * ERR_NOT_LEADER; ERR_NOT_READY (leader, barrier not committed: wait); ERR_BUSY (tail over its bounds or WAL
 * stalled). */
MUST_CHECK enum err replica_submit(struct replica *replica, struct entry *entry);
void replica_status(const struct replica *replica, struct replica_status *status);
uint64_t replica_group(const struct replica *replica);
bool replica_is_ready_leader(const struct replica *replica);
/* The same, and none has taken its place meanwhile, as far as can be known without asking a majority (lease.h): what a
 * reader is told does not go back. Writers need not ask. */
bool replica_is_leading(const struct replica *replica);
uint64_t replica_term(const struct replica *replica);

/* ---- Membership and leadership: leader only, at most one change at a time ---- */

/* Proposes `next` as membership: one server added as standby, one removed or one role changed against the latest one
 * (membership_is_one_step; R9). Done when status.membership_index is past it and is_membership_committed.
 * ERR_NOT_LEADER; ERR_NOT_READY: no entry of this term is committed yet; ERR_BUSY: the change before is not committed;
 * ERR_INVALID: more than one step, the leader itself demoted or removed, or a standby promoted that does not have all
 * of the log yet. */
MUST_CHECK enum err replica_change(struct replica *replica, const struct membership *next);
/* Hands leadership to voter `server`: proposals are refused (ERR_NOT_READY) until it leads or an election timeout has
 * passed; the request goes out when the target has the whole log (R13). ERR_NOT_LEADER, ERR_BUSY, ERR_INVALID. */
MUST_CHECK enum err replica_transfer(struct replica *replica, uint64_t server);
/* Leader: the members hear of what is committed when this turn ends, not with the next heartbeat. For machines whose
 * copies are asked about at once; may be called inside applied(). */
void replica_tell_commit(struct replica *replica);
/* Highest index that `server` is known to hold durably; leader only, else 0. */
uint64_t replica_match_index(const struct replica *replica, uint64_t server);

/* Asks the replica to take itself out of service: damage was found below its checkpoint. */
void replica_damaged(struct replica *replica, const char *cause);
