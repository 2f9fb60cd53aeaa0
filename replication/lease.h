/* Whether a leader still leads, for those who only read. What it writes shows it: a majority must agree. What it tells
 * of its log does not: a leader that was stopped for a minute, or cut off, may have a successor that has told more,
 * and does not know yet.
 *
 * Voters that follow a leader elect no other one for an election timeout after they heard of it (raft: no vote while a
 * leader is known). So a leader may tell what it has as long as a majority, itself included, was heard within less than
 * that: three quarters, which leaves an answer half a second at the default of 2 s to be on its way. What stood in the
 * sockets while the process was stopped proves nothing: answers that come in the first moments after are not counted.
 *
 * Bound: a successor by a lost link (succession.h) does not wait for the timeout; a server whose link is lost counts as
 * not heard, but the two ends may learn of it apart: some milliseconds, or as long as the way to the leader is cut
 * (docs/SIMULATION.md, seed 2003572). An answer counts from when it came, however long it was on its way.
 * Source: Raft thesis 6.4.1.
 * Pure; times are milliseconds of the monotonic clock. */
#pragma once

#include "replication/membership.h"

#define LEASE_SETTLE_MS 100 /* after a stop: until what stood in the sockets has been read */

struct lease {              /* of a replica; zeros to begin with */
    uint64_t term;          /* that it counts for */
    uint64_t servers[REPLICA_SERVER_COUNT_MAX];
    uint64_t heard_ms[REPLICA_SERVER_COUNT_MAX];
    unsigned count;
};

/* An answer of a follower, in the leader's own term. */
void lease_heard(struct lease *lease, uint64_t term, uint64_t server, uint64_t now_ms);
void lease_forget(struct lease *lease, uint64_t server); /* its link is lost */
/* Whether a majority of the voters was heard in this term within the last three quarters of `election_ms`. */
bool lease_is_held(const struct lease *lease, uint64_t term, const struct membership *membership, uint64_t self,
                   uint64_t now_ms, unsigned election_ms);
