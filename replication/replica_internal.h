/* Shared by replica.c (the turn of one member), replica_step.c (the one step function), replica_open.c (its life, and
 * checkpoints), outbox.c (messages that wait) and replica_shard.c (whose turn it is). Private to them. */
#pragma once

#include "base/list.h"
#include "replication/lease.h"
#include "replication/raft_core.h"
#include "replication/replica_shard.h"
#include "replication/succession.h"
#include "replication/tail.h"

enum { TIMER_SLOT_COUNT = 64 };

struct hand_over {
    struct timer timer;
    replica_shard_hand_over_cb cb;     /* NULL: none under way */
    void *owner;
    uint64_t until_ms;
};

struct replica_shard {
    struct replica_shard_params params;
    struct raft_core_update update;    /* of the step in work, whichever replica's */
    uint64_t durable_lsn;
    uint64_t step_ms;                  /* the time of steps: read once a flush, and for each step outside of it */
    size_t tail_size;                  /* bytes of entries in memory, all replicas */
    size_t intake;                     /* bytes that wait to be applied, of groups led here, */
    size_t followed;                   /* and of the others */
    size_t replica_count;
    bool is_full;                      /* the disk: followers take little more */
    bool has_held;                     /* some replica has committed entries that there was no room for */
    size_t full_allowance;             /* bytes of entries that they still take */
    struct list dirty;                 /* replicas with something to do at the end of the turn */
    struct list waiting;               /* replicas that have appended something that is not durable */
    struct task flush;
    struct timer timer;
    bool is_started;
    bool is_timer_set;
    uint64_t tick_ms;
    uint64_t tick;                     /* the last one that was handled */
    size_t timed_count;                /* replicas in slots */
    struct list slots[TIMER_SLOT_COUNT]; /* replicas by deadline / tick_ms; may be looked at too early */
    struct list soon;                  /* replicas that the wheel would be late for: new groups that hurry (R26) */
    struct timer soon_timer;
    uint64_t soon_ms;                  /* when it is due; UINT64_MAX: it is not set */
    struct list replicas;              /* all that are not stopped */
    struct succession succession;
    struct hand_over hand_over;
};

struct outbox_message {
    struct replica_message message;
    uint64_t gate_lsn;                 /* may leave when durable_lsn > gate_lsn */
};

struct outbox {                        /* a queue; in order of gate_lsn, as gates only rise */
    struct outbox_message *messages;
    unsigned count, capacity;
};

/* With thousands of groups a turn finds none of this in the processor's caches: what every turn touches comes first. */
struct replica {
    struct replica_shard *shard;
    struct replica_machine *machine;
    uint64_t group;
    struct raft_core *core;
    struct list dirty_link, waiting_link;
    struct tail tail;
    bool is_stopped;
    bool is_flushing;                  /* its turn is on: what a step leads to is seen to before it ends */
    bool is_installing;
    bool has_gate;
    bool is_telling;                   /* replica_tell_commit() */
    bool is_transfer_sent;
    bool is_role_told;
    bool is_role_new;                  /* a step changed it since it was told */
    uint64_t applied_index;
    uint64_t durable_index;            /* of the tail as it is now */
    uint64_t marked_index;             /* last WAL_COMMIT */
    size_t applied_size;               /* bytes of entries in the tail that are applied: kept for followers */
    size_t counted_size;               /* what the shard's tail_size counts for this replica, */
    size_t counted_intake, counted_followed; /* and its sums of what waits */
    struct entry **pending;            /* proposals of this turn */
    unsigned pending_count, pending_capacity;
    size_t pending_size;
    const char *damage;                /* to be reported at the end of the turn */
    uint64_t transfer_target;          /* R13: waiting for it to have the whole log, or under way */
    size_t retain_size;                /* replica_retain() */
    uint64_t trim_index;               /* asked for by the outbox: the entries up to here are not in memory */
    struct outbox outbox;
    uint64_t gate_lsn;                 /* of the record that messages must wait for: hard state, own ENTRY_CHANGE */
    uint64_t deadline_ms, timer_tick;  /* UINT64_MAX: none; TICK_SOON: not in a slot, but in `soon` */
    struct replica_status told;        /* role, term, leader and readiness as the machine knows them */

    uint64_t heard_index;              /* the highest commit index that leaders have told */
    uint64_t copied_lsn;               /* where the entries lay that were copied forward last, */
    uint64_t copied_end_lsn;           /* needed until the copies, below this, are durable */
    uint64_t transfer_until_ms;
    uint64_t settle_until_ms;          /* handed over before a stop: till then the new leader should be heard */
    uint64_t install_lsn, install_index;
    struct replica_mark install_mark;  /* what a checkpoint holds until the installed state is durable */
    struct list shard_link, timer_link;
    struct heir heir;
    struct lease lease;
    char damage_text[120];
};

/* replica_step.c */
/* Runs one event through the core and follows what comes of it. The core's err; ERR_CLOSED when out of service. */
enum err replica_step(struct replica *replica, struct raft_core_event *event);
/* Follows the update in shard->update: after replica_step(), and after raft_core_open() (event NULL). */
void replica_follow(struct replica *replica, const struct raft_core_event *event);
/* To the WAL; returns its LSN. */
uint64_t replica_put_entry(struct replica *replica, const struct entry *entry, uint64_t flags);
void replica_drop_pending(struct replica *replica);
void replica_set_damage(struct replica *replica, const char *cause); /* copied */

/* replica_open.c */
void replica_count_tail(struct replica *replica); /* brings the shard's sums up to date */

/* replica.c */
size_t replica_unapplied_size(const struct replica *replica); /* bytes that wait to be applied, proposals among them */
void replica_trim(struct replica *replica);    /* tells the core of trim_index, if it is set */
void replica_tick(struct replica *replica);    /* the deadline has come */
void replica_flush(struct replica *replica);   /* its turn; may close the replica (on_damaged) */

/* outbox.c */
void outbox_init(struct outbox *outbox);
void outbox_deinit(struct outbox *outbox);
void outbox_put(struct replica *replica, const struct replica_message *message);
/* Sends what may leave. */
void outbox_release(struct replica *replica);
bool outbox_is_gated(const struct replica *replica);

/* hand_over.c */
void hand_over_init(struct replica_shard *shard);
void hand_over_deinit(struct replica_shard *shard);

/* replica_shard.c */
uint64_t shard_now_ms(const struct replica_shard *shard);
void shard_add(struct replica_shard *shard, struct replica *replica);
void shard_remove(struct replica *replica);    /* off all lists */
void shard_mark_dirty(struct replica *replica);
void shard_mark_waiting(struct replica *replica);
void shard_set_deadline(struct replica *replica, uint64_t deadline_ms);
