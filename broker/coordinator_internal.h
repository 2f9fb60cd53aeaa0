/* Shared by coordinator.c (leadership, loading, what offsets ask), coordinator_groups.c (the groups in memory),
 * coordinator_requests.c (members' requests) and coordinator_list.c (tools' requests). Private to them. Shard 0. */
#pragma once

#include "base/map.h"
#include "broker/coordinator.h"
#include "broker/group_call.h"
#include "metadata/group.h"

enum coordinator_state {
    COORDINATOR_ELSEWHERE,
    COORDINATOR_LOADING, /* leads, but is not ready, or has not read all groups */
    COORDINATOR_HERE
};

struct group_store;

struct hosted_group {
    struct group group;
    struct coordinator *coordinator;
    struct bytes id;             /* its own copy */
    uint64_t hash;
    struct hosted_group *next;   /* of the same hash */
    struct list link;            /* on coordinator->groups */
    struct timer timer;
    struct group_store *store;   /* under way; NULL: none */
    int64_t store_after_us;      /* not before: the last one failed */
    size_t counted;              /* bytes, in coordinator->size */
    int32_t told_generation;     /* the last one that was traced */
};

struct coordinator {
    struct shard *shard;
    struct group_limits limits;
    enum coordinator_state state;
    uint64_t term;               /* of the metadata group, that `state` is of */
    uint64_t role_term;          /* the newest role, these three: looked at by `task` */
    bool is_leader;
    bool is_ready;
    struct task task;
    struct timer load_timer;
    struct bytes loaded;         /* id of the last group that was loaded; data NULL: none yet */
    bool is_stopping;
    uint64_t seed;               /* clients choose group ids */
    struct map map;              /* hash of id -> hosted_group */
    struct list groups;
    size_t count;
    size_t size;                 /* bytes that members hold */
};

/* ---- coordinator_groups.c ---- */

struct hosted_group *hosted_find(const struct coordinator *coordinator, struct bytes id); /* NULL: not in memory */
/* In memory, or read from the store, or new. NULL: there are too many. To be followed by hosted_settle(). */
struct hosted_group *hosted_get(struct coordinator *coordinator, struct bytes id);
/* From what is stored; ERR_CORRUPT. It is not in memory. */
MUST_CHECK enum err hosted_load(struct coordinator *coordinator, struct bytes id,
                                const Balsa__Record__GroupValue *value);
/* After each step: answers what was answered, stores what has to be, sets the timer; forgets a group that nobody is in.
 * The group may be gone afterwards. */
void hosted_settle(struct hosted_group *hosted, struct list *answered);
/* Forgets it, whoever is in it; those who wait are answered `error`. */
void hosted_drop(struct hosted_group *hosted, enum kafka_error error);

/* ---- coordinator_requests.c ---- */

/* The answer of a JoinGroup or SyncGroup whose wait is over. */
void coordinator_answer_wait(struct group_call *call, const struct hosted_group *hosted);
void coordinator_join(struct group_call *call, struct coordinator *coordinator);
void coordinator_sync(struct group_call *call, struct coordinator *coordinator);
void coordinator_heartbeat(struct group_call *call, struct coordinator *coordinator);
void coordinator_leave(struct group_call *call, struct coordinator *coordinator);

/* ---- coordinator_list.c ---- */

void coordinator_describe(struct group_call *call, struct coordinator *coordinator);
void coordinator_list(struct group_call *call, struct coordinator *coordinator);
