/* Whether a leader still leads, for those who only read. What it writes shows it: a majority must agree. What it tells
 * of its log does not: a leader that was stopped for a minute, or cut off, may have a successor that has told more,
 * and does not know yet.
 *
 * A voter that takes a message of its leader promises to elect no other one for an election timeout from then on (R27).
 * Its answer says which message that was, by the leader's own clock when it was sent: the promise began then or later,
 * however long message and answer were on their way, or stood in sockets while somebody was stopped. So a leader may
 * tell what it has as long as a majority, itself included, has promised: three quarters of a timeout from there on.
 *
 * What does not wait for the timeout deposes nobody who still counts on it: a leader that hands over (R13) gives back
 * what was promised to it before it tells its successor to campaign; and one whose process has ended (succession.h)
 * tells nothing any more.
 *
 * What this rests on: two clocks run at rates within 4/3 of each other; a connection that is refused where a process
 * listened means that the process has ended (succession.h).
 * A voter that crashes has promised what it does not know any more: one that comes back elects nobody before everything
 * that it can have promised is over (R27).
 * Source: Raft thesis 6.4.1, with the time of sending in place of a round of its own.
 * Pure; times are milliseconds of the leader's monotonic clock. */
#pragma once

#include "replication/membership.h"

/* How long a promise is counted on, from when the message was sent that it answers. */
static inline unsigned lease_span_ms(unsigned election_ms)
{
    return election_ms / 4 * 3;
}

struct lease {              /* of a replica; zeros to begin with */
    uint64_t term;          /* that it counts for */
    uint64_t servers[REPLICA_SERVER_COUNT_MAX];
    uint64_t echo_ms[REPLICA_SERVER_COUNT_MAX]; /* when the latest message was sent that each has taken */
    unsigned count;
};

struct lease_time {
    uint64_t now_ms;
    unsigned election_ms;
    uint64_t released_ms;   /* promises up to this echo were given back: raft_core_released_ms() */
};

/* An answer of a follower, in the leader's own term. `echo_ms` > 0, not later than now; what is older than its latest
 * one changes nothing. */
void lease_heard(struct lease *lease, uint64_t term, uint64_t server, uint64_t echo_ms);
/* Whether the promises of a majority of the voters of this term still hold. */
bool lease_is_held(const struct lease *lease, uint64_t term, const struct membership *membership, uint64_t self,
                   const struct lease_time *time);
