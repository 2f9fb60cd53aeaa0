/* Catch-up: how a replica that is behind its leader's log gets the state instead, without ever being out of service as
 * a voter (R12). libraft's InstallSnapshot is only the signal; nothing is stepped into the core before everything is
 * here. One `struct catchups` a shard has both sides: what comes here, and what is sent from here.
 *
 *   leader                                           follower
 *   REPLICA_INSTALL (signal, each heartbeat)  --->   catchup_signal(): one session a group, repeats are ignored
 *   captures the machine's state, pins its           <--- BEGIN
 *   files; manifest                           --->   staging is made, what both have is taken from here
 *   bytes of one file                         <--->  READ, CATCHUP_CHUNK_SIZE at a time, throttled, in order
 *                                                    BEGIN again while much was new: each round is shorter
 *                                                    all is there, checked, synced
 *   the pin ends                              <---   replica_install(): WAL_INSTALL, then the machine takes it; END
 *
 * A session that broke off (either side ended, another leader) goes on where it was: what is staged is on disk and is
 * checked before it is used. The state of any member will do, as it is committed; only the last step needs the leader
 * of the term, which signals.
 * Bounds: CATCHUP_TARGET_COUNT_MAX sessions that take and CATCHUP_SOURCE_COUNT_MAX that give, one chunk of each in
 * memory, and bytes_per_second each way.
 * Runs on: the shard of the groups, both sides; file work in work jobs. Formats: catchup_wire.h. */
#pragma once

#include "replication/peers.h"
#include "replication/replicas.h"

struct catchups;

struct catchups_params {
    struct env *env;
    struct replicas *replicas;           /* open until catchups_close() is done */
    const char *topics_dir;              /* of the partitions: what interrupted catch-ups and removals left goes */
    int64_t bytes_per_second;            /* of this shard, each way; 0: no limit */
    void *owner;
    /* A call (PEER_CATCHUP) of another broker: sets call->method, then peers_call(). The rest is filled in; a reply of
     * any length may come, an error ends the session. */
    void (*call)(void *owner, struct peer_call *call);
};
struct catchups *catchups_open(const struct catchups_params *params);
/* Before replicas_close(). Ends all sessions; requests are answered; cb is the last callback. It waits for calls under
 * way: close the links first, or at the same time. */
void catchups_close(struct catchups *catchups, void *owner, void (*cb)(void *owner));

/* A REPLICA_INSTALL arrived for a group of this shard (replica_receive() ignores those). */
void catchup_signal(struct catchups *catchups, uint64_t group, const struct replica_message *message);

/* The group that a PEER_CATCHUP request is for: whose shard serves it. 0: not readable. */
uint64_t catchup_request_group(struct bytes payload);
struct catchup_request {                 /* Caller's memory until cb. */
    struct slice payload;                /* in: as it came; borrowed until cb */
    uint64_t peer;                       /* in: server id of who asks */
    void (*cb)(struct catchup_request *req, struct slice reply); /* in: reply borrowed; bulk for peers_reply() */
    struct list link;                    /* private */
    unsigned status;                     /* private */
};
/* Answers always, never inside the call. */
void catchup_serve(struct catchups *catchups, struct catchup_request *req);

struct catchup_progress {                /* for status */
    uint64_t group;
    uint64_t index;                      /* of the state under way; 0: not known yet */
    uint64_t done_bytes, total_bytes;    /* source: sent; target: here, of all files of the state */
    unsigned round;
    int64_t started_us;
    bool is_source;
    uint64_t peer;                       /* server id */
};
void catchups_each(const struct catchups *catchups, void *context,
                   void (*cb)(void *context, const struct catchup_progress *progress));
/* As the options say from now on. */
void catchups_set_rate(struct catchups *catchups, int64_t bytes_per_second);
/* A damaged group was removed: so are its directories, before it may come back. Blocks while it lists the topics'
 * directory, which is seldom enough. */
void catchup_bury_group(struct catchups *catchups, uint64_t group);
