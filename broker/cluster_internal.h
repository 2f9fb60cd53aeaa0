/* Shared by the cluster_*.c files. Private to them.
 *
 *      no group, no record                     recorded                 replica is there
 *   FOUNDING ---- founding_decide() ----> RECORDING ----> CREATING -----------------> MEMBER
 *                                                            ^                          ^
 *   start: record, no group ---------------------------------+                          |
 *   start: group -----------------------------------------------------------------------+
 *   start: no group, no listener for brokers ---> CREATING (alone, no record)
 *
 * After a crash in FOUNDING or RECORDING before the commit nothing has happened; after it the start goes on in
 * CREATING. */
#pragma once

#include "base/map.h"
#include "broker/cluster.h"
#include "broker/founding.h"
#include "broker/metadata_members.h"
#include "proto/peer.pb-c.h"

#define CLUSTER_ASK_COUNT_MAX 32          /* brokers asked while founding: seeds, and who else has a link */
#define CLUSTER_TICK_US (100 * 1000)      /* founding and joining */
#define CLUSTER_QUIET_TICK_US (500 * 1000) /* afterwards */
#define CLUSTER_CALL_TIMEOUT_MS 2000

enum cluster_state { CLUSTER_STARTING, CLUSTER_FOUNDING, CLUSTER_RECORDING, CLUSTER_CREATING, CLUSTER_MEMBER };

struct cluster_ask { /* of a broker that a link stands to, while founding */
    struct cluster *cluster;
    struct peer_call call;
    bool is_used;
    bool is_asking;
    bool is_gone; /* the link is lost: to be freed when the call ends */
    bool has_answer;
    int32_t node;
    struct founding_answer answer;
};

struct cluster_self { /* this broker as it should be registered */
    struct store_broker broker;
    struct store_endpoint endpoints[OPTION_LISTENERS_MAX];
};

struct cluster {
    struct shard *shard;
    enum cluster_state state;
    bool is_stopping;
    struct identity_cluster identity; /* id empty: none, or a broker of its own */
    struct timer timer;
    int64_t started_us;
    struct work record_work;
    struct identity_cluster recording;
    bool is_recording;
    enum err record_err;
    struct errmsg record_msg;
    void *idle_owner; /* told when nothing is being recorded */
    void (*idle_cb)(void *owner);
    struct replica_create create;
    struct peer_request **held; /* questions that wait for the record */
    size_t held_count;

    /* Founding. */
    struct cluster_ask asks[CLUSTER_ASK_COUNT_MAX];

    /* Why it does not serve yet. */
    char told[ERRMSG_SIZE]; /* what is waited for, or wrong: as traced last */
    char cause[ERRMSG_SIZE]; /* now */
    int64_t cause_since_us;

    /* Joining. */
    struct peer_call join_call;
    struct shared *join_block;
    bool is_joining;
    bool was_registered;    /* in this process's life */
    bool is_removal_told;
    bool is_known;          /* the metadata leader has said in this process's life that it has the registration, */
    uint64_t known_index;   /* and what its metadata had then */
    int32_t controller; /* as told by others; -1: unknown */
    char refusal[ERRMSG_SIZE]; /* of the last JOIN, as traced */
    struct controller_register *registering; /* this broker by itself; NULL: not under way */
    size_t registrations;                    /* under way, others' too */

    /* Metadata's role, noted inside the replica and looked at by the task. */
    struct task role_task;
    struct replica_status role;
    int64_t leader_since_us;
    struct timer quiet_timer; /* alive, members */
    int32_t *alive;           /* sorted; as told to the shards */
    size_t alive_count;
    struct map ended;         /* node -> struct cluster_ended */
};

struct cluster_ended {        /* of a broker whose process closed its link: most likely it is gone */
    int64_t at_us;
};

/* cluster.c */
bool cluster_is_leader(const struct cluster *cluster); /* of the metadata, and ready */
struct bytes cluster_pack(const ProtobufCMessage *message, struct shared **block);
void cluster_hold(struct cluster *cluster, struct peer_request *request); /* cluster_who() again, when it is recorded */
void cluster_release_held(struct cluster *cluster);
void cluster_reply(struct peer_request *request, const ProtobufCMessage *message);
/* What the start waits for: traced once, when it has lasted. */
void cluster_say(struct cluster *cluster, bool is_error, const char *cause);
struct replica *cluster_replica(const struct cluster *cluster); /* of the metadata; NULL */
int32_t cluster_controller(const struct cluster *cluster);       /* -1: unknown */

/* cluster_found.c */
void cluster_found_start(struct cluster *cluster);
void cluster_found_tick(struct cluster *cluster);
void cluster_found_down(struct cluster *cluster, int32_t node);
void cluster_ask_all(struct cluster *cluster); /* in any state: also who leads the metadata, and where */
void cluster_who(struct cluster *cluster, struct peer_request *request);
void cluster_create(struct cluster *cluster); /* the metadata replica */
void cluster_record_store(struct cluster *cluster); /* a broker of its own that got a listener for brokers */

/* cluster_join.c */
void cluster_join_tick(struct cluster *cluster);
void cluster_join(struct cluster *cluster, struct peer_request *request);
bool cluster_is_joined(struct cluster *cluster); /* own copy has the registration */

/* cluster_alive.c */
void cluster_alive_tick(struct cluster *cluster);
void cluster_alive_up(struct cluster *cluster, int32_t node);
void cluster_alive_down(struct cluster *cluster, int32_t node, bool is_reset);
void cluster_alive_close(struct cluster *cluster);
bool cluster_is_alive_now(struct cluster *cluster, int32_t node);
bool cluster_was_heard(struct cluster *cluster, int32_t node, int64_t within_us);

/* cluster_members.c */
void cluster_members_tick(struct cluster *cluster);

/* cluster_shard.c: on every shard */
void cluster_tell_identity(struct cluster *cluster); /* the cluster id, to all shards */
void cluster_tell_links(struct cluster *cluster);    /* look at the registered brokers' addresses */
void cluster_tell_alive(struct cluster *cluster);
