/* One consumer group under the classic protocol: its members, its generation, what the leader gave each of them. A pure
 * step function: state and an event in, state and answers out. Time is in the events, new member ids are in the joins,
 * nothing else comes from outside; so every state can be met with every event in a test.
 *
 * Answers: JoinGroup and SyncGroup may have to wait. The caller gives a struct group_wait with each; a step puts those
 *          that are to be answered now on `answered`, with the outcome. What an outcome points to lies in the group and
 *          is valid until the next step. Every wait is answered exactly once.
 * Storing: a step that makes a state which must survive the coordinator raises group->version. The caller makes the
 *          group's state as of then durable (group_save()) and says so with group_stored(); answers that depend on it
 *          wait for that.
 * Source:  KIP-62 (rebalance timeout), KIP-134 (initial delay), KIP-345 (static members), KIP-394 (member ids are given
 *          out before they count), KIP-559 (protocol names), KIP-800, KIP-814 (the leader may keep the assignment).
 * Runs on: one thread at a time. Times are microseconds of a clock that never goes back. */
#pragma once

#include "base/list.h"
#include "proto/errors.h"
#include "proto/record.pb-c.h"
#include "base/arena.h"

enum group_state {
    GROUP_EMPTY,      /* no members; maybe a generation of earlier ones */
    GROUP_PREPARING,  /* members are to join; JoinGroups wait */
    GROUP_COMPLETING, /* members have joined; the leader's assignment is awaited, or being stored */
    GROUP_STABLE
};

#define GROUP_NEVER INT64_MAX /* a deadline that there is not */

struct group_limits {
    int32_t session_timeout_min_ms; /* group.min.session.timeout.ms */
    int32_t session_timeout_max_ms; /* group.max.session.timeout.ms */
    int32_t initial_delay_ms;       /* group.initial.rebalance.delay.ms */
    size_t member_count_max;        /* group.max.size, at most GROUP_MEMBER_COUNT_MAX */
};

struct group_protocol {
    struct bytes name;
    struct bytes metadata;
};

struct group_wait;

struct group_member {
    struct bytes id;          /* the group's own copies, these five and what protocols point to */
    struct bytes instance_id; /* data NULL: a dynamic member */
    struct bytes client_id;
    struct bytes client_host;
    struct bytes former_id;   /* of a static member that came back under a new id; data NULL: it has not */
    uint32_t id_hash;
    int32_t session_timeout_ms;
    int32_t rebalance_timeout_ms;
    struct group_protocol *protocols; /* in the order of its preference */
    size_t protocol_count;
    struct bytes assignment;
    size_t size;              /* bytes of all that, but for the assignment */
    int64_t session_due_us;   /* does not count while it waits */
    bool must_sync;           /* was told of the generation, and has not asked for its assignment yet */
    struct group_wait *join;  /* NULL: it does not wait */
    struct group_wait *sync;
};

struct group_pending { /* a member id that was given out and has not joined yet */
    struct bytes id;
    int64_t due_us;
};

struct group {
    const struct group_limits *limits;
    enum group_state state;
    int32_t generation;
    struct bytes protocol_type;    /* of the members, or of the last ones; data NULL: never any */
    struct bytes protocol;         /* chosen for this generation; data NULL: none */
    struct group_member **members; /* in the order in which they came */
    size_t member_count;
    size_t member_capacity;
    struct group_member *leader;   /* NULL: no members */
    struct group_pending *pending; /* in the order in which they were given out */
    size_t pending_count;
    size_t size;                   /* bytes of all members, but for what is assigned */
    size_t assigned_size;          /* bytes of that */
    int64_t join_due_us;           /* PREPARING: whoever has not joined then is left behind */
    int64_t initial_left_us;       /* PREPARING: what the initial delay may still be extended by */
    bool is_initial;               /* PREPARING: the first members of an empty group, who wait for more to come */
    bool has_newcomer;             /* of them one has come since the delay began */
    int64_t sync_due_us;           /* COMPLETING, STABLE: whoever has not synced then is removed */
    bool is_assigned;              /* COMPLETING: the leader's assignment is there, and is being stored */
    uint64_t version;              /* of the state that must be stored; raised by steps */
    uint64_t stored_version;       /* what group_stored() has told */
    uint64_t assigned_version;     /* COMPLETING: the version that has the assignment */
};

struct group_wait {           /* Caller's memory until it is on `answered`. */
    struct list link;         /* out: on `answered` */
    bool can_skip;            /* in: JoinGroup 9 and later */
    enum kafka_error error;   /* out */
    bool is_new_id;           /* out, join, MEMBER_ID_REQUIRED: join again with the id that was offered */
    /* out, when error is NONE */
    const struct group_member *member;
    struct bytes leader_id;   /* join */
    bool has_members;         /* join: the answer names all members: this one leads */
    bool skips_assignment;    /* join: it leads, and what was assigned stays */
    /* private */
    struct group_member *waiting; /* NULL: it does not wait */
    uint64_t version;         /* join of a static member that changes nothing: waits for this to be stored; 0: not so */
};

/* The names that DescribeGroups tells: Empty, PreparingRebalance, CompletingRebalance, Stable. */
const char *group_state_name(enum group_state state);

void group_init(struct group *group, const struct group_limits *limits); /* limits: read as long as it lives */
void group_deinit(struct group *group);                                  /* nobody may wait */
/* What was stored, as Stable (or Empty): nobody has to join anew; sessions start now. ERR_CORRUPT: the value makes no
 * sense; the group is as init left it. */
MUST_CHECK enum err group_restore(struct group *group, int64_t now_us, const Balsa__Record__GroupValue *value);
/* Fills `value` but for the group's own id and changed_ms. Points into the group and the arena. False: the arena is
 * full. */
MUST_CHECK bool group_save(const struct group *group, struct arena *arena, Balsa__Record__GroupValue *value);

struct group_join {           /* JoinGroup. Borrowed for the call. */
    struct bytes member_id;   /* empty: a new member, or a static one that comes back */
    struct bytes offered_id;  /* what a new member will be called */
    struct bytes instance_id; /* data NULL: dynamic */
    struct bytes client_id;
    struct bytes client_host;
    struct bytes protocol_type;
    const struct group_protocol *protocols;
    size_t protocol_count;
    int32_t session_timeout_ms;
    int32_t rebalance_timeout_ms; /* not above 0: the session timeout */
    bool is_id_required;      /* JoinGroup 4 and later: a new dynamic member is told its id first */
};
void group_join(struct group *group, int64_t now_us, const struct group_join *join, struct group_wait *wait,
                struct list *answered);

struct group_assignment {
    struct bytes member_id;
    struct bytes assignment;
};
struct group_sync {           /* SyncGroup. Borrowed for the call. */
    struct bytes member_id;
    struct bytes instance_id;
    int32_t generation;
    struct bytes protocol_type; /* data NULL: not told (before SyncGroup 5) */
    struct bytes protocol;
    const struct group_assignment *assignments;
    size_t assignment_count;
};
void group_sync(struct group *group, int64_t now_us, const struct group_sync *sync, struct group_wait *wait,
                struct list *answered);

enum kafka_error group_heartbeat(struct group *group, int64_t now_us, struct bytes member_id, struct bytes instance_id,
                                 int32_t generation);
/* One member; an empty id and an instance id: whoever is that instance now. */
enum kafka_error group_leave(struct group *group, int64_t now_us, struct bytes member_id, struct bytes instance_id,
                             struct list *answered);
/* Whether a member may commit offsets; if so it counts as a sign of life. */
enum kafka_error group_check_commit(struct group *group, int64_t now_us, struct bytes member_id,
                                    struct bytes instance_id, int32_t generation);
/* Who waits has gone away: the wait ends now; the member stays until its session ends, in case it comes back. No-op
 * when it does not wait any more. */
void group_withdraw(struct group *group, int64_t now_us, struct group_wait *wait, struct list *answered);
/* The state of `version` and all earlier ones is durable; or could not be made so: then it is as if it had not been. */
void group_stored(struct group *group, int64_t now_us, uint64_t version, bool is_ok, struct list *answered);
/* What time does; to be called at group_due_us(), earlier or later does no harm. */
void group_time(struct group *group, int64_t now_us, struct list *answered);
int64_t group_due_us(const struct group *group); /* GROUP_NEVER: nothing is waited for */
/* Answers all that wait with `error`: the coordinator goes away. Only group_deinit() may follow. */
void group_dismiss(struct group *group, enum kafka_error error, struct list *answered);

/* Nobody is in it and the store knows: it may be forgotten. */
bool group_is_dormant(const struct group *group);
struct bytes group_metadata(const struct group *group, const struct group_member *member); /* of the chosen protocol */
/* Whether a member has subscribed to the topic, as far as can be told: a subscription that is not a consumer's may hold
 * anything, so then it is true. */
bool group_subscribes(const struct group *group, struct bytes topic);
