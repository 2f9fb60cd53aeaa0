/* The members of one Raft group: what an ENTRY_CHANGE carries, and what a checkpoint remembers.
 *
 * The encoding is the one that libraft reads (its configuration format 1), so that an entry's payload can be handed to
 * it as it is; it is written down byte by byte in replication/README.md, "Membership". The order of the servers is part
 * of the value: libraft numbers voters by it.
 *
 * Pure: no state, no memory of its own. */
#pragma once

#include "base/bytes.h"

#define REPLICA_SERVER_COUNT_MAX 15

struct replica_server {                    /* one member */
    uint64_t id;                           /* broker and incarnation, never 0 (broker/identity.h) */
    bool is_voter;                         /* else standby: gets the log, does not vote */
};

struct membership {
    struct replica_server servers[REPLICA_SERVER_COUNT_MAX];
    unsigned count;
};

#define MEMBERSHIP_SIZE_MAX ((size_t)512)  /* of the encoding */

/* Writes the encoding to `target` (room for MEMBERSHIP_SIZE_MAX bytes) and returns its size.
 * 1..REPLICA_SERVER_COUNT_MAX servers. */
size_t membership_encode(const struct membership *membership, uint8_t *target);
/* Strict: ERR_CORRUPT unless membership_encode() could have written exactly these bytes. libraft itself checks no
 * bounds, so nothing reaches it that has not passed here. */
MUST_CHECK enum err membership_decode(struct bytes bytes, struct membership *membership);

/* Of a server id: which broker. The lower half tells apart the incarnations of its disk. */
static inline int32_t replica_server_node(uint64_t id)
{
    return (int32_t)(id >> 32);
}

bool membership_equal(const struct membership *a, const struct membership *b);
/* NULL if `id` is not a member. */
const struct replica_server *membership_find(const struct membership *membership, uint64_t id);
unsigned membership_voter_count(const struct membership *membership);
/* Whether `id` is the only one that votes. */
bool membership_is_sole_voter(const struct membership *membership, uint64_t id);
/* Whether `next` follows from `now` by one step that is safe without joint consensus: one server added as standby, one
 * removed, or one role changed; order kept; at least one voter left (R9). */
bool membership_is_one_step(const struct membership *now, const struct membership *next);
