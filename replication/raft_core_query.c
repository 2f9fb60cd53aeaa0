/* Questions to a core; nothing changes. */
#include "replication/raft_core_internal.h"

#include "base/assert.h"
#include "base/canary.h"

uint64_t raft_core_term(const struct raft_core *core)
{
    return core->raft.current_term;
}

uint64_t raft_core_vote(const struct raft_core *core)
{
    return core->raft.voted_for;
}

enum replica_role raft_core_role(const struct raft_core *core)
{
    return core_role(core);
}

uint64_t raft_core_leader(const struct raft_core *core)
{
    return core_leader(core);
}

uint64_t raft_core_term_leader(const struct raft_core *core)
{
    bool is_known = core->raft.state != RAFT_FOLLOWER || core->leader_term == core->raft.current_term;
    return is_known ? core_leader(core) : 0;
}

uint64_t raft_core_leader_term(const struct raft_core *core)
{
    return core->leader_term;
}

uint64_t raft_core_released_ms(const struct raft_core *core)
{
    bool is_this_term = core->released_term == core->raft.current_term && !canary_is(CANARY_LEASE_AFTER_ORDER);
    return is_this_term ? core->released_ms : 0;
}

uint64_t raft_core_commit(const struct raft_core *core)
{
    return core->commit;
}

uint64_t raft_core_apply_bound(const struct raft_core *core)
{
    struct raft_view view = core_view(core);
    return rule_apply_bound(&view, core->commit, core->raft.last_stored);
}

uint64_t raft_core_last_index(const struct raft_core *core)
{
    return core->terms.last_index;
}

uint64_t raft_core_stored(const struct raft_core *core)
{
    return core->raft.last_stored;
}

uint64_t raft_core_term_at(const struct raft_core *core, uint64_t index)
{
    return term_log_at(&core->terms, index);
}

uint64_t raft_core_deadline_ms(const struct raft_core *core)
{
    const struct membership *membership = &core_latest(core)->membership;
    const struct replica_server *self = membership_find(membership, core->params.id);
    if (core->raft.state == RAFT_LEADER && membership->count == 1) {
        return UINT64_MAX; /* nobody to send heartbeats to */
    }
    if (core->raft.state == RAFT_FOLLOWER && (self == NULL || !self->is_voter)) {
        return UINT64_MAX; /* it never campaigns */
    }
    uint64_t deadline = raft_timeout(&core->raft);
    return deadline < core->retry_ms ? core->retry_ms : deadline;
}

bool raft_core_is_transferring(const struct raft_core *core)
{
    return raft_transferee(&core->raft) != 0;
}

uint64_t raft_core_match(const struct raft_core *core, uint64_t server)
{
    raft_index match = 0;
    return raft_match_index(&core->raft, server, &match) == 0 ? match : 0;
}

const struct membership *raft_core_membership(const struct raft_core *core, uint64_t *membership_index)
{
    *membership_index = core_latest(core)->index;
    return &core_latest(core)->membership;
}

bool raft_core_is_alone(const struct raft_core *core)
{
    const struct membership *membership = &core_latest(core)->membership;
    return membership->count == 1 && membership->servers[0].id == core->params.id;
}

enum err raft_core_check_change(const struct raft_core *core, const struct membership *next)
{
    struct raft_view view = core_view(core);
    uint64_t promoted = change_promotes(view.membership, next);
    struct change_view change = {
        .is_own_term_committed = term_log_at(&core->terms, core->commit) == view.term,
        .is_change_pending = core->raft.configuration_uncommitted_index != 0,
        .is_transferring = raft_core_is_transferring(core),
        .promoted_match = promoted != 0 ? raft_core_match(core, promoted) : 0,
    };
    return rule_check_change(&view, &change, next);
}

void raft_core_set_inflight(struct raft_core *core, unsigned count)
{
    assert(count >= RAFT_CORE_INFLIGHT_MIN);
    assert(count <= RAFT_CORE_INFLIGHT_MAX);
    if (core->inflight != count && rule_is_on(RULE_SETTINGS)) {
        core->inflight = count;
        raft_set_max_inflight_entries(&core->raft, count);
    }
}

void raft_core_probe(const struct raft_core *core, struct raft_core_probe *probe)
{
    *probe = (struct raft_core_probe){
        .commit_index = core->raft.commit_index,
        .stored_index = core->raft.last_stored,
        .last_index = raft_last_index((struct raft *)(uintptr_t)&core->raft), /* only reads */
        .change_index = core->raft.configuration_uncommitted_index,
        .membership.count = core->raft.configuration.n,
        .version = RAFT_VERSION_NUMBER,
    };
    for (unsigned i = 0; i < core->raft.configuration.n && i < REPLICA_SERVER_COUNT_MAX; i++) {
        probe->membership.servers[i].id = core->raft.configuration.servers[i].id;
        probe->membership.servers[i].is_voter = core->raft.configuration.servers[i].role == RAFT_VOTER;
    }
}
