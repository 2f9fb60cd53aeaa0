/* Shared by replicas.c (groups come and go) and checkpointer.c (rounds). Private to them. */
#pragma once

#include "base/map.h"
#include "replication/replica_shard.h"
#include "replication/replicas.h"

struct group {                       /* one Raft group that this shard is a member of */
    struct list link;                /* replicas.groups, in order of opening */
    uint64_t id;
    enum group_type type;
    struct replica_machine *machine; /* NULL: damaged, or being closed */
    struct replica *replica;         /* NULL with it */
    uint64_t saved_index;            /* what the last durable checkpoint holds */
    uint64_t saved_term, saved_vote;
    uint64_t hard_term, hard_vote;   /* without a replica: what it had */
    bool is_hard_state_lost;         /* the local store's record does not decode */
    char *damage;                    /* why it is out of service, until the local store has it durably */
    bool is_damage_pending;          /* to be closed when the checkpoint round in work is done */
    struct replica_remove *remove;   /* waiting for its machine to close */
    void (*closed)(struct group *group);
    struct replicas *replicas;
};

struct checkpointer {                /* one round at a time */
    struct work work;
    struct timer timer;
    struct checkpoint_item *items;   /* groups of the round */
    size_t count;
    size_t capacity;
    uint64_t release_lsn;            /* what the round lets the WAL forget */
    uint64_t copied_lsn;             /* durable up to here, copies let the WAL forget more: time for a round; 0: none */
    bool is_running;
    bool is_wanted;                  /* another round when this one is done */
    bool is_partial;                 /* a group could not be captured: its bytes wait for space */
    enum err err;
    struct errmsg msg;
};

struct replicas {
    struct replicas_params params;
    char *wal_dir;
    struct wal *wal;
    struct replica_shard *shard;
    struct map map;                  /* id -> struct group */
    struct list groups;
    unsigned damaged_count;
    struct checkpointer checkpointer;
    struct list creates;             /* waiting for the next transaction */
    struct list creating;            /* in the transaction */
    struct work create_work;
    bool is_creating;
    struct list removes;             /* waiting for the next transaction */
    struct list removing;
    struct work remove_work;
    bool is_removing;
    struct task flush;               /* starts what is waiting, end of turn */
    bool is_checkpoint_due;          /* a state was installed */
    bool is_gated;                   /* a new layout is not committed yet: durability is not told to Raft */
    uint64_t durable_lsn;            /* while gated */
    uint64_t layout_lsn;             /* all that recovery wrote again is below it */
    bool is_layout_checkpointed;
    struct recovery *recovery;       /* while opening */
    bool is_closing;
    bool is_closing_groups;
    bool is_closing_wal;
    replicas_close_cb close_cb;
};

/* replicas.c */
enum err replicas_before_change(struct replicas *replicas, struct errmsg *msg); /* in a work job */
void replicas_group_forget(struct group *group);
void replicas_group_close(struct group *group, void (*closed)(struct group *group));
void replicas_step_close(struct replicas *replicas); /* whenever something that the close waits for has ended */

/* replicas_remove.c */
void replicas_flush_removals(struct replicas *replicas); /* starts what is ready */
void replicas_remove_damaged(struct group *group);       /* its machine is closed; group->remove asked for it */

void checkpointer_init(struct replicas *replicas);
void checkpointer_start(struct replicas *replicas);   /* the interval timer */
void checkpointer_stop(struct replicas *replicas);
void checkpointer_run(struct replicas *replicas);     /* a round, now or after the one in work */
void checkpointer_on_durable(struct replicas *replicas, uint64_t durable_lsn);
void replicas_round_done(struct replicas *replicas, bool is_ok); /* called by the checkpointer */
