/* Happy path: each answer of a follower renews its time; a read counts those that are recent.
 * Failure:    too few of them: the leader reads as none, until enough answer again or it hears of its successor. */
#include "replication/lease.h"

static unsigned slot_of(const struct lease *lease, uint64_t server)
{
    for (unsigned i = 0; i < lease->count; i++) {
        if (lease->servers[i] == server) {
            return i;
        }
    }
    return lease->count;
}

void lease_heard(struct lease *lease, uint64_t term, uint64_t server, uint64_t now_ms)
{
    if (lease->term != term) {
        lease->term = term;
        lease->count = 0;
    }
    unsigned slot = slot_of(lease, server);
    if (slot == REPLICA_SERVER_COUNT_MAX) {
        lease->count = 0; /* servers came and went: those that are there will be heard again */
        slot = 0;
    }
    lease->count += slot == lease->count;
    lease->servers[slot] = server;
    lease->heard_ms[slot] = now_ms;
}

void lease_forget(struct lease *lease, uint64_t server)
{
    unsigned slot = slot_of(lease, server);
    if (slot < lease->count) {
        lease->count--;
        lease->servers[slot] = lease->servers[lease->count];
        lease->heard_ms[slot] = lease->heard_ms[lease->count];
    }
}

bool lease_is_held(const struct lease *lease, uint64_t term, const struct membership *membership, uint64_t self,
                   uint64_t now_ms, unsigned election_ms)
{
    unsigned voters = 0;
    unsigned heard = 0;
    for (unsigned i = 0; i < membership->count; i++) {
        const struct replica_server *server = &membership->servers[i];
        if (!server->is_voter) {
            continue;
        }
        voters++;
        if (server->id == self) {
            heard++;
        } else if (lease->term == term) {
            unsigned slot = slot_of(lease, server->id);
            heard += slot < lease->count && now_ms < lease->heard_ms[slot] + election_ms * 3 / 4;
        }
    }
    return heard > voters / 2;
}
