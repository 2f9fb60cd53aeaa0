/* One function, one rule; see raft_rules.h for what each is for. */
#include "replication/raft_rules.h"

#include "base/assert.h"

uint64_t raft_rules_disabled;

/* ---- Messages as they come ------------------------------------------------------------------------------------- */

/* An index or term with the top bit set can only be nonsense; without it sums never overflow. */
static bool is_sane(uint64_t number)
{
    return number <= INT64_MAX;
}

static enum err check_append(const struct replica_message *message)
{
    uint64_t index = message->append.prev_index;
    uint64_t term = message->append.prev_term;
    if ((index == 0) != (term == 0) || !is_sane(index) || term > message->term) {
        return ERR_CORRUPT;
    }
    for (unsigned i = 0; i < message->append.entry_count; i++) {
        const struct entry *entry = message->append.entries[i];
        index++;
        if (entry->index != index || entry->term < term || entry->term == 0 || entry->term > message->term) {
            return ERR_CORRUPT;
        }
        if (entry->kind != ENTRY_COMMAND && entry->kind != ENTRY_BARRIER && entry->kind != ENTRY_CHANGE) {
            return ERR_CORRUPT;
        }
        if (entry->kind == ENTRY_CHANGE) {
            struct membership ignored;
            if (entry->slice_count != 1 || membership_decode(entry->slices[0].bytes, &ignored) != OK) {
                return ERR_CORRUPT;
            }
        }
        term = entry->term;
    }
    return OK;
}

enum err rule_check_message(const struct raft_view *view, const struct replica_message *message)
{
    if (message->peer == 0 || message->peer == view->id || message->term == 0 || !is_sane(message->term)) {
        return ERR_CORRUPT;
    }
    switch (message->kind) {
    case REPLICA_APPEND:
        return check_append(message);
    case REPLICA_APPEND_RESULT:
        if (!is_sane(message->append_result.last_index) || !is_sane(message->append_result.rejected) ||
            (message->append_result.rejected > 0 &&
             message->append_result.last_index >= message->append_result.rejected)) {
            return ERR_CORRUPT;
        }
        return OK;
    case REPLICA_VOTE:
        return is_sane(message->vote.last_index) && message->vote.last_term < message->term &&
                       message->vote.deposed_term < message->term
                   ? OK
                   : ERR_CORRUPT;
    case REPLICA_VOTE_RESULT: /* nobody can grant what was not asked for yet */
        return message->vote_result.is_granted && message->term > view->term + message->vote_result.is_pre_vote
                   ? ERR_CORRUPT
                   : OK;
    case REPLICA_INSTALL:
        if (message->install.last_index < 2 || !is_sane(message->install.last_index) ||
            message->install.last_term == 0 || message->install.last_term > message->term ||
            message->install.membership.count == 0 || message->install.membership.count > REPLICA_SERVER_COUNT_MAX ||
            message->install.membership_index == 0 || message->install.membership_index > message->install.last_index) {
            return ERR_CORRUPT;
        }
        return OK;
    case REPLICA_TIMEOUT_NOW:
        return message->timeout_now.last_term <= message->term ? OK : ERR_CORRUPT;
    default:
        return ERR_CORRUPT;
    }
}

/* ---- Appends --------------------------------------------------------------------------------------------------- */

void rule_trim_append(const struct raft_view *view, struct replica_message *message)
{
    assert(message->kind == REPLICA_APPEND);
    uint64_t prev = message->append.prev_index;
    if (!rule_is_on(RULE_TRIM_APPEND) || view->is_installing || message->term < view->term ||
        prev >= view->commit_index) {
        return;
    }
    uint64_t behind = view->commit_index - prev;
    unsigned drop = behind < message->append.entry_count ? (unsigned)behind : message->append.entry_count;
    message->append.entries += drop;
    message->append.entry_count -= drop;
    if (drop < behind) {
        assert(message->append.entry_count == 0);
    }
    message->append.prev_index = view->commit_index;
    message->append.prev_term = term_log_at(view->terms, view->commit_index);
    assert(message->append.prev_term > 0);
}

uint64_t rule_reject_hint(const struct raft_view *view, uint64_t rejected, uint64_t hint)
{
    if (!rule_is_on(RULE_REJECT_HINT) || rejected > view->last_index || rejected <= view->terms->base_index) {
        return hint;
    }
    uint64_t before = term_log_run_start(view->terms, rejected) - 1;
    if (before < view->commit_index) {
        before = view->commit_index;
    }
    return before < hint ? before : hint;
}

bool rule_is_late_reject(const struct replica_message *message, uint64_t match_index)
{
    assert(message->kind == REPLICA_APPEND_RESULT);
    uint64_t rejected = message->append_result.rejected;
    return rule_is_on(RULE_LATE_REJECT) && rejected > 0 && rejected <= match_index;
}

bool rule_next_part(const struct replica_message *message, struct append_part *part)
{
    assert(message->kind == REPLICA_APPEND);
    unsigned total = message->append.entry_count;
    unsigned next = part->first + part->count;
    bool is_first = !part->is_begun;
    if (!is_first && next == total) {
        return false;
    }
    part->is_begun = true;
    part->first = next;
    if (!rule_is_on(RULE_SPLIT_APPEND)) {
        part->count = total - next;
        return true;
    }
    /* Behind the first part, the entry at `next` is a CHANGE: it belongs to this part. */
    unsigned end = is_first ? next : next + 1;
    while (end < total && message->append.entries[end]->kind != ENTRY_CHANGE) {
        end++;
    }
    part->count = end - next;
    return true;
}

struct replica_message append_part_message(const struct replica_message *message, const struct append_part *part)
{
    struct replica_message piece = *message;
    if (part->first > 0) {
        piece.append.prev_index = message->append.prev_index + part->first;
        piece.append.prev_term = message->append.entries[part->first - 1]->term;
    }
    piece.append.entries = message->append.entries + part->first;
    piece.append.entry_count = part->count;
    return piece;
}

void rule_stale_result(struct replica_message *result)
{
    assert(result->kind == REPLICA_APPEND_RESULT);
    if (rule_is_on(RULE_STALE_RESULT)) {
        result->append_result.rejected = 0;
        result->append_result.last_index = 0;
    }
}

static bool is_other_term(const struct raft_view *view, uint64_t index, uint64_t term)
{
    uint64_t here = index > 0 && index <= view->proven_index ? term_log_at(view->terms, index) : 0;
    return here != 0 && here != term;
}

bool rule_contradicts(const struct raft_view *view, const struct replica_message *message)
{
    if (!rule_is_on(RULE_OWN_TERM_LEADER) || message->kind != REPLICA_APPEND || message->term < view->term) {
        return false;
    }
    if (is_other_term(view, message->append.prev_index, message->append.prev_term)) {
        return true;
    }
    for (unsigned i = 0; i < message->append.entry_count; i++) {
        const struct entry *entry = message->append.entries[i];
        if (is_other_term(view, entry->index, entry->term)) {
            return true;
        }
    }
    return false;
}

bool rule_is_from_impostor(const struct raft_view *view, const struct replica_message *message)
{
    return rule_is_on(RULE_OWN_TERM_LEADER) && view->role == REPLICA_LEADER && message->term == view->term &&
           (message->kind == REPLICA_APPEND || message->kind == REPLICA_INSTALL);
}

/* ---- Votes ----------------------------------------------------------------------------------------------------- */

bool rule_takes_vote_result(const struct raft_view *view)
{
    return !rule_is_on(RULE_VOTE_RESULT) || view->role == REPLICA_CANDIDATE;
}

void rule_vote_result(const struct raft_view *view, struct replica_message *result)
{
    assert(result->kind == REPLICA_VOTE_RESULT);
    if (rule_is_on(RULE_VOTE_RESULT) && result->vote_result.is_pre_vote && !result->vote_result.is_granted &&
        result->term < view->term) {
        result->term = view->term;
    }
}

bool rule_votes_as_voter(const struct raft_view *view, const struct replica_message *message)
{
    const struct replica_server *self = membership_find(view->membership, view->id);
    return rule_is_on(RULE_VOTE_AS_VOTER) && message->kind == REPLICA_VOTE && view->role == REPLICA_FOLLOWER &&
           self != NULL && !self->is_voter && !view->is_in_contact && !view->is_installing;
}

bool rule_asks_again(const struct raft_view *view)
{
    return rule_is_on(RULE_ASK_AGAIN) && rule_is_on(RULE_SETTINGS) && view->role == REPLICA_CANDIDATE;
}

bool rule_may_disrupt(uint64_t term, uint64_t disrupt_term)
{
    return !rule_is_on(RULE_DISRUPT) || term == disrupt_term;
}

bool rule_may_depose(const struct raft_view *view, uint64_t deposed_term, uint64_t released_ms)
{
    uint64_t leader_term = view->role == REPLICA_LEADER ? view->term : view->leader_term;
    bool is_released = view->role == REPLICA_LEADER || view->promised_ms <= released_ms;
    return !rule_is_on(RULE_PROMISE) || leader_term < deposed_term || (leader_term == deposed_term && is_released);
}

bool rule_is_silent(const struct raft_view *view, const struct replica_message *vote)
{
    bool may_depose =
        vote->vote.is_disruptive && rule_may_depose(view, vote->vote.deposed_term, vote->vote.released_ms);
    return rule_is_on(RULE_PROMISE) && view->is_silent && !may_depose;
}

bool rule_must_restart(const struct raft_view *view)
{
    return rule_is_on(RULE_SOLE_VOTER) && view->role == REPLICA_FOLLOWER &&
           membership_is_sole_voter(view->membership, view->id);
}

/* ---- Membership ------------------------------------------------------------------------------------------------ */

uint64_t change_promotes(const struct membership *now, const struct membership *next)
{
    for (unsigned i = 0; i < next->count; i++) {
        const struct replica_server *before = membership_find(now, next->servers[i].id);
        if (next->servers[i].is_voter && before != NULL && !before->is_voter) {
            return next->servers[i].id;
        }
    }
    return 0;
}

enum err rule_check_change(const struct raft_view *view, const struct change_view *change,
                           const struct membership *next)
{
    if (view->role != REPLICA_LEADER) {
        return ERR_NOT_LEADER;
    }
    if (!rule_is_on(RULE_CHANGE)) {
        return OK;
    }
    if (!change->is_own_term_committed || change->is_transferring) {
        return ERR_NOT_READY;
    }
    if (change->is_change_pending) {
        return ERR_BUSY;
    }
    const struct replica_server *self = membership_find(next, view->id);
    if (!membership_is_one_step(view->membership, next) || self == NULL || !self->is_voter) {
        return ERR_INVALID;
    }
    if (change_promotes(view->membership, next) != 0 && change->promoted_match < view->commit_index) {
        return ERR_NOT_READY;
    }
    return OK;
}

bool rule_proves_change(const struct raft_view *view, uint64_t uncommitted_index, const struct replica_message *part)
{
    return rule_is_on(RULE_PROVEN_CHANGE) && !view->is_installing && uncommitted_index != 0 &&
           part->append.entry_count > 0 && part->append.entries[0]->kind == ENTRY_CHANGE &&
           uncommitted_index <= part->append.prev_index &&
           term_log_at(view->terms, part->append.prev_index) == part->append.prev_term;
}

/* ---- Storage --------------------------------------------------------------------------------------------------- */

uint64_t rule_persisted(const struct raft_view *view, uint64_t index)
{
    if (!rule_is_on(RULE_PERSISTED)) {
        return index;
    }
    if (view->is_installing || view->role == REPLICA_CANDIDATE || index <= view->stored_index ||
        index > view->last_index) {
        return 0;
    }
    return index;
}

bool rule_may_trim(const struct raft_view *view, uint64_t index)
{
    if (view->is_installing || index <= view->terms->base_index || index > view->commit_index ||
        index > view->stored_index) {
        return false;
    }
    return !rule_is_on(RULE_TRIM_ONE) || index > 1;
}

enum err rule_check_install(const struct raft_view *view, const struct replica_message *message)
{
    assert(message->kind == REPLICA_INSTALL);
    if (!rule_is_on(RULE_INSTALL)) {
        return OK;
    }
    if (view->is_installing) {
        return ERR_BUSY;
    }
    if (message->term < view->term || message->install.last_index <= view->commit_index) {
        return ERR_INVALID;
    }
    return OK;
}

uint64_t rule_apply_bound(const struct raft_view *view, uint64_t commit_index, uint64_t durable_index)
{
    if (!rule_is_on(RULE_APPLY_BOUND)) {
        return commit_index;
    }
    if (view->is_installing) {
        return 0;
    }
    return commit_index < durable_index ? commit_index : durable_index;
}

bool rule_nudges(const struct raft_view *view)
{
    return rule_is_on(RULE_NUDGE) && view->commit_index == view->last_index;
}
