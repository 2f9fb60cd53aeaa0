/* All replicas of one shard, and what they share: the write-ahead log, the local checkpoint store, one timer, one flush
 * per loop turn, checkpoints, recovery.
 *
 * Start:  replicas_open() reads the shard's groups from the local store, makes each one's state machine through the
 *         factory at its checkpoint, then replays the WAL: entries known committed are applied at once, the rest is the
 *         tail that Raft starts with. A shard count other than last time is a new *layout*: every shard reads all logs
 *         of the old layout, takes its own groups, and checkpoints them all before the old logs are removed.
 * Runs on: the shard's thread. */
#pragma once

#include "base/kv.h"
#include "replication/checkpoint.h"
#include "replication/replica.h"
#include "replication/replica_message.h"
#include "replication/wal.h"

struct replicas;

struct replicas_params {
    struct env *env;
    struct kv *local;                /* shared by all shards of the process; written from work jobs */
    const char *dir;                 /* data directory of the process */
    unsigned shard_count;
    unsigned layout;                 /* number of the WAL layout to append to */
    unsigned old_layout;             /* != layout: read all `old_shard_count` logs of it, filter by group */
    unsigned old_shard_count;
    bool is_first_start;             /* the layout was never committed: an empty log is right, else it is damage */
    uint64_t server_id;              /* of this broker (broker/identity.h) */
    unsigned heartbeat_ms;           /* 400 */
    unsigned election_ms;            /* 2000: >= 5 heartbeats (R14) */
    struct wal_options wal;
    int64_t checkpoint_interval_ms;  /* 0: only when the WAL asks for one */
    void *owner;
    /* A message of `group` may leave: replica_shard_params.send. NULL: there are no links. */
    void (*send)(void *owner, uint64_t group, const struct replica_message *message);
    /* Called in work jobs before groups are created or removed durably: what asked for it is durable when it returns. A
     * power loss must not leave a replica that the metadata do not know yet, or know again. */
    enum err (*before_change)(void *owner, struct errmsg *msg);
    /* layout != old_layout: all groups are checkpointed; the new layout may be committed. Groups do not go on before
     * replicas_layout_committed(). */
    void (*layout_ready)(void *owner);
    /* A group went out of service for damage found while running; its machine is closed. */
    void (*damaged)(void *owner, uint64_t group);
    /* Makes the state machine of a group found at start or created. `state` is what capture() wrote, empty for a new
     * group; `description` what replicas_create() was given. Blocks only on opening files. ERR_DAMAGED: the group stays
     * closed and is counted; the text says what was found. */
    enum err (*machine_open)(void *owner, enum group_type type, uint64_t group, struct bytes description,
                             struct bytes state, struct replica_machine **machine, struct errmsg *msg);
};

/* Blocks until the WAL is replayed. Elections start when the loop runs. */
MUST_CHECK enum err replicas_open(const struct replicas_params *params, struct replicas **replicas, struct errmsg *msg);

void replicas_layout_committed(struct replicas *replicas);

typedef void (*replicas_close_cb)(void *owner);
/* Ends the job in work, closes machines, WAL last. No checkpoint: replaying what is behind the last one is bounded. */
void replicas_close(struct replicas *replicas, replicas_close_cb cb);

/* The shard that a group lives on. */
unsigned replicas_shard(uint64_t group, unsigned shard_count);

struct replica_create {              /* Caller's memory until cb. */
    enum group_type type;
    uint64_t group;
    struct bytes description;        /* kept in the local store; opaque here */
    uint64_t term;                   /* of the bootstrap configuration entry: the same on all members; >= 1 */
    /* Bootstrap configuration, the same on all members. Empty, with term 0: a joiner, which starts with nothing and is
     * filled by the leader that has it as standby; until then it neither votes nor campaigns. */
    struct membership membership;
    void (*cb)(struct replica_create *req, enum err err); /* open and recorded durably; `replica` is set */
    struct replica *replica;         /* out */
    struct replica_machine *machine; /* out */
    struct errmsg msg;               /* out */
    struct list link;                /* private */
    enum err err;                    /* private */
    struct checkpoint_kept kept;     /* private: of an earlier life */
};
/* Creates and opens a member of a group. Creations of a turn share one transaction. ERR_EXISTS. A group that was here
 * before and was removed comes back as a joiner, whatever `membership` says, with the term and vote it had: the log
 * that it answered for is gone, so it must not be counted on before it has it again. */
void replicas_create(struct replicas *replicas, struct replica_create *req);

struct replica_remove {              /* Caller's memory until cb. */
    uint64_t group;
    /* The group is gone everywhere and its id is never used again. Else this broker only leaves it: term and vote are
     * kept, in case it comes back. */
    bool is_deleted;
    void (*cb)(struct replica_remove *req, enum err err);
    struct list link;                /* private */
    struct checkpoint_kept kept;     /* private */
    bool is_here, is_stopped;        /* private */
};
/* Takes a group away: it stops at once, goes out of the local store, then its machine closes and removes its files.
 * ERR_NOT_FOUND: it is not here (of a deleted one nothing is kept from then on); ERR_DAMAGED: its term and vote cannot
 * be read, so it may not come back under this server id, and stays out of service. */
void replicas_remove(struct replicas *replicas, struct replica_remove *req);

/* Before a stop: hands what this shard leads to other voters. `cb`, once and never inside: none is left that another
 * one could lead, or the time is over. */
void replicas_hand_over(struct replicas *replicas, unsigned timeout_ms, void *owner,
                        void (*cb)(void *owner, unsigned left));
/* The link to a server is lost; its process has ended; or the link works again: replica_shard_peer_down(). */
void replicas_peer_down(struct replicas *replicas, uint64_t server_id);
void replicas_peer_ended(struct replicas *replicas, uint64_t server_id);
void replicas_peer_up(struct replicas *replicas, uint64_t server_id);

struct replica *replicas_find(struct replicas *replicas, uint64_t id);          /* NULL */
struct replica_machine *replicas_machine(struct replicas *replicas, uint64_t id); /* NULL: not here, or damaged */
void replicas_each(struct replicas *replicas, void *context,
                   /* machine NULL: damaged */
                   void (*cb)(void *context, uint64_t group, struct replica_machine *machine));
bool replicas_is_own(const struct replicas *replicas, uint64_t group);  /* would live on this shard */
bool replicas_is_here(const struct replicas *replicas, uint64_t group); /* known, in service or not */
bool replicas_is_damaged(const struct replicas *replicas, uint64_t group);
unsigned replicas_damaged_count(const struct replicas *replicas);
void replicas_checkpoint(struct replicas *replicas); /* soon, in the background */
void replicas_set_full(struct replicas *replicas, bool is_full, size_t allowance); /* replica_shard_set_full() */
bool replicas_are_full(const struct replicas *replicas);
size_t replicas_tail_size(const struct replicas *replicas);
