/* One consumer: a member of a group, or a simple one, which never joins and owns all partitions. Shared by member.c
 * (its life), member_join.c (how it gets its part) and member_offsets.c (what it commits and reads).
 *
 *   AWAY --time--> FINDING --coordinator--> JOINING --generation--> SYNCING --part--> READING --positions--> STEADY
 *     ^                ^                        ^                                                            │ │ │
 *     │                └── not the coordinator, no answer (from any state) ──────────────────────────────────┘ │ │
 *     │                                         └── rebalance, unknown, fenced ────────────────────────────────┘ │
 *     └──────────── left, or killed ─────────────────────────────────────────────────────────────────────────────┘
 *
 * Real consumers do one thing at a time and heartbeat beside it; so does this one. */
#pragma once

#include "tests/sim/groups.h"

enum {
    MEMBER_ID_SIZE = 80,
    MEMBER_LIVES = 100, /* numbers of dynamic members: so far apart are those of two lives */
    MEMBER_TICK_US = 1000,
    MEMBER_SILENCE_US = 14000000 /* longer than any session */
};

enum member_state {
    MEMBER_AWAY,
    MEMBER_FINDING,
    MEMBER_JOINING,
    MEMBER_SYNCING,
    MEMBER_READING,
    MEMBER_STEADY
};

struct member {
    struct clients *clients;
    struct group_history *history;
    struct links *links;
    unsigned group;
    char group_id[8];
    char instance_id[16];   /* "": a dynamic member */
    bool is_simple;
    int16_t join_version;
    int32_t session_timeout_ms, rebalance_timeout_ms;
    uint32_t number;        /* of this life; a static member has the same in all */
    enum member_state state;
    unsigned node;          /* the coordinator, as far as it knows; 0: unknown */
    char id[MEMBER_ID_SIZE]; /* "": none yet */
    int32_t generation;
    uint32_t tag_count;
    uint32_t partitions;    /* bits of what it owns */
    int64_t positions[PARTITIONS_MAX];
    int64_t asked[PARTITIONS_MAX]; /* offsets of the commit that is out, or what was certain when it began to read */
    int32_t newest;         /* generation when the commit went out */
    bool has_part;          /* of this generation */
    bool has_positions;     /* ... and has read where to begin */
    bool must_rejoin;
    bool is_paused;
    bool is_stopping;
    bool has_read_last;     /* ... since it stops, in this generation */
    bool is_calling, is_beating;
    struct link_call call, beat;
    int64_t asked_us;       /* when the last SyncGroup or heartbeat went out */
    struct timer timer, beat_timer;
    /* for the leader, between JoinGroup and SyncGroup */
    char (*ids)[MEMBER_ID_SIZE];
    unsigned id_count;
};

void member_start(struct member *member);
/* ---- member.c, for the others */
void member_call(struct member *member, int16_t api, int16_t version, int64_t timeout_us, link_cb cb,
                 const void *request);
void member_lose_part(struct member *member);                       /* it joins next */
void member_is_heard(struct member *member);                         /* SyncGroup or a heartbeat was answered well */
enum member_state member_resume_state(const struct member *member); /* once it knows the coordinator */
/* The call is over: `state` comes next, after a pause of up to so long. */
void member_next(struct member *member, enum member_state state, int64_t pause_us);
/* An error that any call may meet. False: it is none of those. */
bool member_take_error(struct member *member, enum err err, enum kafka_error error);
struct bytes member_instance(const struct member *member); /* null, for a dynamic one */
struct history *member_records(const struct member *member); /* where violations go */

/* ---- member_join.c */
void member_find(struct member *member);
void member_join(struct member *member);
void member_sync(struct member *member);
void member_leave(struct member *member);

/* ---- member_offsets.c */
void member_read(struct member *member);
void member_commit(struct member *member);
