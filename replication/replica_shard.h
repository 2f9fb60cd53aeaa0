/* The replicas of one shard, for those who drive them: replicas.c (recovery, checkpoints) and the peer links.
 * State machines see replica.h only.
 *
 * What happens when: replica_receive(), replica_submit(), timers and durable_lsn only note what there is to do; one
 * task at the end of the loop turn then does, for each replica that has something,
 *   1. one PERSISTED step for all that became durable, 2. one SUBMIT step for all proposals of the turn,
 *   3. apply up to min(commit, durable), 4. messages whose LSN has been reached go to `send`.
 * (Received messages are stepped at once, in order; their outputs wait for the task.) What the steps append to the WAL
 * goes into the unit that is gathered in this turn.
 *
 * Replay rules that the frames of a replica are written for (recovery of a group at checkpoint index C):
 *   - WAL_HARD_STATE: the last one counts, and the checkpoint's if there is none. Terms never go back.
 *   - WAL_ENTRY at index i, last index L (C when there is no tail); `value` is the entry_kind, with REPLICA_ENTRY_COPY
 *     for a copy:
 *       i >  L + 1: ignored; it lies before entries that were written again later, or before the checkpoint.
 *       i == L + 1: appended.
 *       i <= L:     cuts the log from i on (i <= C: the whole tail), then appended if i > C. But a copy cuts nothing:
 *                   it takes the place of entry i, which has the same term (another one is damage); i <= C: ignored.
 *   - WAL_COMMIT at index i: everything up to min(i, L) is committed: may be applied at once.
 *   - WAL_INSTALL at index i: the tail is empty, whatever i is. If i > applied: applied = i, of `term`; membership from
 *     the payload (membership_encode), its index in `value`; the staged state is the machine's.
 *
 * Runs on: the shard's thread. */
#pragma once

#include "replication/replica.h"
#include "replication/replica_message.h"
#include "replication/wal.h"

#define REPLICA_ENTRY_COPY 0x100       /* WAL_ENTRY written again by replica_copy_forward() */

struct replica_wal {                   /* the log below, by function table so that tests can put their own under it */
    struct wal *wal;
    uint64_t (*append)(struct wal *wal, const struct wal_frame *frame); /* wal_append */
    uint64_t (*end_lsn)(const struct wal *wal);                         /* wal_end_lsn */
    bool (*is_stalled)(const struct wal *wal);                          /* wal_is_stalled */
};

struct replica_shard_params {
    struct env *env;
    struct replica_wal wal;
    uint64_t server_id;                /* of this broker, in every group */
    unsigned heartbeat_ms;
    unsigned election_ms;              /* >= 5 heartbeats (R14) */
    /* applied entries kept in memory per group with other members: 0 means GROUP_RETAIN_SIZE */
    size_t retain_size;
    /* Bytes that may wait to be applied in all groups led here before proposals are refused, and in all others before
     * a leader's entries are; 0: no bound. */
    uint64_t intake_size, follow_size;
    void *owner;
    /* A message may leave. Borrowed for the call. An APPEND's entries are filled in. REPLICA_INSTALL: `peer` needs a
     * catch-up from this leader; repeated with each heartbeat until it had one. NULL: there are no links, messages are
     * dropped. */
    void (*send)(void *owner, struct replica *replica, const struct replica_message *message);
    /* The replica took itself out of service (libraft refused to go on, or replica_damaged()). It is stopped; never
     * called inside a call of the machine. The owner closes the machine and the replica. */
    void (*on_damaged)(void *owner, struct replica *replica, const char *cause);
    /* The state of a catch-up has taken the place of the log: a checkpoint is due. May be NULL. */
    void (*on_installed)(void *owner, struct replica *replica);
};

struct replica_shard;
/* The disk is full: followers whose machines take space take `allowance` bytes of entries more, all together, so that
 * what frees space (trims) still gets through; then only heartbeats, until it is not full any more. Machines that had
 * no room are asked again by each call. */
void replica_shard_set_full(struct replica_shard *shard, bool is_full, size_t allowance);
bool replica_shard_is_full(const struct replica_shard *shard);
struct replica_shard *replica_shard_open(const struct replica_shard_params *params);
void replica_shard_close(struct replica_shard *shard);           /* all replicas are closed */
/* Elections and heartbeats run from now on; before, nothing is due. */
void replica_shard_start(struct replica_shard *shard);
/* From wal_handlers.on_durable. */
void replica_shard_on_durable(struct replica_shard *shard, uint64_t durable_lsn);
/* Bytes of entries in memory, all groups. */
size_t replica_shard_tail_size(const struct replica_shard *shard);

/* News of the link to a server, from peers_params.down, .ended and .up: it is lost, which says nothing of the server;
 * the process that it was with has ended, and so have all before it: where it led, its successors campaign at once
 * (succession.h; this must be true); it works again. */
void replica_shard_peer_down(struct replica_shard *shard, uint64_t server);
void replica_shard_peer_ended(struct replica_shard *shard, uint64_t server);
void replica_shard_peer_up(struct replica_shard *shard, uint64_t server);

/* Before a stop: hands every group that is led here, and that another living voter could lead, to one of them.
 * `cb`, once and never inside this call: none is left, or the time is over. The shard goes on as ever meanwhile and
 * afterwards. One at a time; closing the shard calls it off. */
typedef void (*replica_shard_hand_over_cb)(void *owner, unsigned left);
void replica_shard_hand_over(struct replica_shard *shard, unsigned timeout_ms, void *owner,
                             replica_shard_hand_over_cb cb);

/* ---- One replica ---- */

struct replica_tail_entry {
    struct entry *entry;
    uint64_t lsn;                      /* where it is in the WAL: wal_record.lsn; 0 for the bootstrap entry */
};

struct replica_params {
    uint64_t group;
    struct replica_machine *machine;   /* at applied_index; machine->replica is set */
    uint64_t term, vote;               /* recovered hard state; term >= that of every entry. 0, 0: nothing stored */
    uint64_t applied_index;            /* what the machine holds: checkpoint plus what replay applied; 0: nothing */
    uint64_t applied_term;
    struct membership membership;      /* the last one at or below applied_index */
    uint64_t membership_index;         /* its entry; 1 is the bootstrap one */
    const struct replica_tail_entry *tail; /* indexes applied_index + 1 ..., without a gap; references are acquired */
    size_t tail_count;
};
/* A new group: term = that of the bootstrap, vote 0, applied_index 0, and as only tail entry replica_bootstrap_entry().
 * It is never in the WAL: until a checkpoint >= 2 exists it is made again from what the local store knows. With
 * applied_index 1 after a replay the same is done inside (no snapshot ever stands at index 1: R11).
 * A member that joins later starts with term 0 and nothing.
 *
 * Sole voter (R9d): appends WAL_HARD_STATE with the next term, becomes leader, appends its barrier; serves when both
 * are durable. ERR_CORRUPT: an ENTRY_CHANGE that is none; ERR_INVALID: gap, or a term above the hard state's. Nothing
 * is kept then. */
MUST_CHECK enum err replica_open(struct replica_shard *shard, const struct replica_params *params,
                                 struct replica **replica, struct errmsg *msg);
/* The entry at index 1; one reference. */
struct entry *replica_bootstrap_entry(const struct membership *membership, uint64_t term);

/* No more steps, callbacks, messages or WAL frames; proposals not yet stepped are released. Then the machine may be
 * closed, then replica_close(). */
void replica_stop(struct replica *replica);
void replica_close(struct replica *replica);   /* frees; stopped before or not */

/* A message of `message->peer` for this group. Checked as hostile. REPLICA_INSTALL is ignored here: the peer link
 * starts a catch-up from it and ends that with replica_install(). */
void replica_receive(struct replica *replica, const struct replica_message *message);

/* What a checkpoint of this replica must hold, as of now (applied_index, not durable before the WAL is: take the mark
 * and the machine's capture in one turn). */
struct replica_mark {
    uint64_t index, term;              /* applied */
    struct membership membership;      /* the last one at or below `index` */
    uint64_t membership_index;
    uint64_t hard_term, hard_vote;
    uint64_t lsn;                      /* frames of this group below it are not needed with this checkpoint */
};
void replica_mark(const struct replica *replica, struct replica_mark *mark);
/* A checkpoint at `index` (or above) is durable in the local store (R11). */
void replica_checkpointed(struct replica *replica, uint64_t index);
/* The entries that are not applied yet go into the WAL once more, so that the old frames can be released: for a group
 * that cannot commit. When the copies are durable, and not before, replica_mark().lsn is the new place: till then a
 * crash would take them, and the old frames are the only ones. Does nothing while an entry is not durable yet: such a
 * group pins nothing old, or will be ready for it at the next round. */
void replica_copy_forward(struct replica *replica);
/* A WAL_COMMIT mark for what is applied, if the last one is behind: before the WAL is closed. */
void replica_mark_commit(struct replica *replica);

/* At least so many bytes of applied entries stay in memory, so that a follower whose state is being sent finds the log
 * going on behind it. 0: as usual. */
void replica_retain(struct replica *replica, size_t size);

/* Catch-up, last step: state up to `message->install.last_index` is staged (R12). Asks the core; when it wants it,
 * appends WAL_INSTALL, and when that is durable calls ops->install of the machine and goes on behind it. ERR_BUSY: one
 * is under way; ERR_INVALID: not newer than what is here, or its term is old. */
MUST_CHECK enum err replica_install(struct replica *replica, const struct replica_message *message);
