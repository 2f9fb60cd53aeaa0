/* Who goes on when a leader's process ends: its followers need not wait out a random timeout, one of them campaigns at
 * once (a self-delivered TIMEOUT_NOW, which others grant although they still know a leader; R22).
 *
 * A link that is lost is no such end: it may have been reset, or cut, and a leader that lives must have no successor
 * while it still counts on its followers (lease.h). It has ended when the connection that is tried next is refused:
 * the kernel at the very address of the lost one says that nobody listens there (peer_link.c). A kernel closes what a
 * process held when its last thread has gone; who stops in order has answered its last client when it closes its
 * listener. Where something else may answer for a leader's host in its place (a firewall that rejects, a proxy), the
 * word of that counts for it. A whole host that goes says nothing, and is left to timeouts; so is one whose process is
 * back before it was missed.
 *
 * Every survivor computes the same line of succession by itself: the voters in membership order, from behind the lost
 * leader on, rotated by the group's number so that the load spreads, without those whose links are down. The first
 * campaigns after a short grace; each next one later, and only if nobody has got its vote and no later leader was heard
 * meanwhile; or at once when it had to refuse the candidate before it, whose log was shorter. What is still read of the
 * leader that has ended says nothing.
 *
 * Only the leadership that was known when the link was lost is succeeded to: the news may come late, and the server
 * lead again. One attempt a group and election timeout at most. Whoever has not all of its log durable waits for it.
 * What this does not bring about, ordinary timeouts do.
 * Runs on: the shard's thread. Source: Raft thesis 3.10 (leadership transfer), without its leader. */
#pragma once

#include "base/env.h"
#include "base/list.h"
#include "replication/membership.h"

struct replica;
struct replica_shard;

#define SUCCESSION_GRACE_MS 5   /* for what the leader had still sent: a longer log finds fewer that refuse it */
#define SUCCESSION_STEP_MS 150  /* and one place further down the line: an election with its two syncs fits in */
#define SUCCESSION_SLICE_MS 5   /* between two slices: */
#define SUCCESSION_SLICE_COUNT 64 /* campaigns that start together, sharing one sync and one write to each peer */
#define SUCCESSION_RANK_MAX 3   /* places in the line that are used */
#define SUCCESSION_NONE UINT32_MAX

/* Place of `self` in the line of succession to `leader`: 0 is first; SUCCESSION_NONE: not in it. Pure. */
unsigned succession_rank(const struct membership *membership, uint64_t group, uint64_t leader, uint64_t self,
                         const uint64_t *down, unsigned down_count);

struct succession {                    /* of a shard */
    uint64_t *down;                    /* servers whose links are down */
    unsigned down_count, down_capacity;
    struct list lines[SUCCESSION_RANK_MAX]; /* replicas that are to campaign, each in order of time */
    struct timer timer;
    uint64_t next_slice_ms;
};

struct heir {                          /* of a replica */
    struct list link;                  /* in a line, or alone */
    uint64_t leader, leader_term;      /* to which the link was lost, and in which term it led */
    uint64_t term;                     /* when it was known to have ended */
    uint64_t due_ms, until_ms;         /* when to campaign; when it is too late */
    uint64_t not_before_ms;            /* one attempt an election timeout */
};

void succession_init(struct replica_shard *shard);
void succession_deinit(struct replica_shard *shard);
bool succession_is_down(const struct replica_shard *shard, uint64_t server);
uint64_t succession_spread(uint64_t group); /* a number that differs evenly among neighbours */
void succession_cancel(struct replica *replica);
/* After a message that may have moved the term: whoever refused the candidate before it goes next. */
void succession_look_again(struct replica *replica);
