/* Which cluster a broker that is in none belongs to: what it makes of its seeds' answers. Pure.
 *
 * A cluster is founded when every seed has answered that it is in none, each of them with the same set of seeds: then
 * exactly one of them, the one with the lowest node id, makes the cluster. All of them and not a majority: a founder
 * that lost its disk while another seed was away must never found a second cluster beside the first. The same set: two
 * brokers with different lists of seeds could otherwise both be the lowest.
 * Everybody else follows the first answer that names a cluster. There is nothing to be pushed: who waits asks again. */
#pragma once

#include "broker/identity.h"
#include "broker/options.h"

struct founding_seeds {             /* what a broker has found at its seeds' addresses */
    unsigned address_count;         /* addresses it is configured with */
    uint64_t ids[OPTION_SEEDS_MAX]; /* server ids found there, itself among them if it is one; distinct */
    unsigned count;
};

struct founding_answer {             /* the last one of a broker that a link stands to */
    uint64_t server_id;              /* node << 32 | incarnation */
    struct identity_cluster cluster; /* id empty: in none */
    struct founding_seeds seeds;
};

struct founding_self {
    uint64_t server_id;
    bool is_seed;
    unsigned address_count;          /* of seeds; 1 when none are configured: it is its own */
};

enum founding_step {
    FOUNDING_WAIT,   /* `msg` says for what */
    FOUNDING_MAKE,   /* found it: `cluster` has the founders, the id is to be made */
    FOUNDING_FOLLOW, /* `cluster` is this broker's cluster */
    FOUNDING_STUCK,  /* as WAIT, but somebody must mend the configuration: `msg` says how */
};
/* `answers`: at most one a broker. */
enum founding_step founding_decide(const struct founding_self *self, const struct founding_answer *answers,
                                   size_t count, struct identity_cluster *cluster, struct errmsg *msg);
/* What this broker tells others that it has found. */
void founding_seeds(const struct founding_self *self, const struct founding_answer *answers, size_t count,
                    struct founding_seeds *seeds);
