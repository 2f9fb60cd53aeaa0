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

void lease_heard(struct lease *lease, uint64_t term, uint64_t server, uint64_t echo_ms)
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
    uint64_t before_ms = slot < lease->count ? lease->echo_ms[slot] : 0;
    lease->count += slot == lease->count;
    lease->servers[slot] = server;
    lease->echo_ms[slot] = echo_ms > before_ms ? echo_ms : before_ms;
}

static bool is_promised(const struct lease *lease, uint64_t server, const struct lease_time *time)
{
    unsigned slot = slot_of(lease, server);
    uint64_t echo_ms = slot < lease->count ? lease->echo_ms[slot] : 0;
    return echo_ms > time->released_ms && time->now_ms < echo_ms + lease_span_ms(time->election_ms);
}

bool lease_is_held(const struct lease *lease, uint64_t term, const struct membership *membership, uint64_t self,
                   const struct lease_time *time)
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
        } else {
            heard += lease->term == term && is_promised(lease, server->id, time);
        }
    }
    return heard > voters / 2;
}
