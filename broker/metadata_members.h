/* Who is a member of the metadata group, and who of them votes: one step at a time towards what the brokers there are
 * ask for. Pure; the caller (broker/cluster.c, on the metadata leader) repeats it on a timer.
 *
 * Wanted: every registered broker is a member; as many voters as the cluster was founded with: 5, else 3 as soon as
 * there are 3 brokers, else 1. A broker that came back with an empty disk is another server: its old one leaves. A
 * voter that was silent for too long is replaced by a live standby that has the log.
 * Steps never leave a majority of the voters to servers that are not alive, never touch the leader itself, and begin to
 * raise an odd number of voters only when both of the next two are there. */
#pragma once

#include "replication/membership.h"

struct members_server {     /* a registered broker, or a member; each once */
    uint64_t id;
    bool is_registered;     /* its broker is registered as this server */
    bool is_stale;          /* its broker is registered as another server, or was removed: it will not come back */
    bool is_alive;
    bool is_lost;           /* silent for longer than balsa.metadata.voter.timeout.ms */
    bool is_caught_up;      /* has the whole log, as the leader knows it */
};

struct members_view {
    struct membership now;
    uint64_t self;                       /* the leader: a voter, alive */
    const struct members_server *servers;
    size_t server_count;
    unsigned founder_count;
};

/* The next membership, one step from `now`; false: it is as wanted, or nothing can be done at the moment. */
bool members_next(const struct members_view *view, struct membership *next);
unsigned members_voters_wanted(const struct members_view *view);
