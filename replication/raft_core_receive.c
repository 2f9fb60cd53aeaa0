/* Messages in: checked as hostile, put right by the rules, translated, stepped.
 *
 * An APPEND carries one token of one byte as the payload of all its entries: libraft frees it, unless the entries come
 * back in the update. */
#include "replication/raft_core_internal.h"

#include "base/assert.h"
#include "base/canary.h"
#include "base/trace.h"

enum { /* versions of messages as libraft itself sets them */
    VOTE_VERSION = 2,
    VOTE_RESULT_VERSION = 2,
    APPEND_RESULT_VERSION = 2,
};

void core_step_message(struct step *step, struct raft_message *message)
{
    struct raft_event event = {.type = RAFT_RECEIVE};
    event.receive.message = message;
    core_step(step, &event);
}

static void step_part(struct step *step, const struct replica_message *part)
{
    void *token = part->append.entry_count > 0 ? raft_malloc(1) : NULL;
    struct raft_message message = {
        .type = RAFT_APPEND_ENTRIES, .server_id = part->peer, .server_address = PEER_ADDRESS};
    message.append_entries.term = part->term;
    message.append_entries.prev_log_index = part->append.prev_index;
    message.append_entries.prev_log_term = part->append.prev_term;
    message.append_entries.leader_commit = part->append.commit_index;
    message.append_entries.entries = core_entries(step, part->append.entries, part->append.entry_count, token);
    message.append_entries.n_entries = part->append.entry_count;
    unsigned before = step->update->entry_count;
    core_step_message(step, &message);
    if (step->update->entry_count > before) {
        raft_free(token); /* came back with the entries; else libraft has freed it */
    }
}

/* Whether the part just stepped was refused: then so would be the rest. */
static bool is_refused(const struct raft_core_update *update, unsigned messages_before)
{
    for (unsigned i = messages_before; i < update->message_count; i++) {
        if (update->messages[i].kind == REPLICA_APPEND_RESULT && update->messages[i].append_result.rejected > 0) {
            return true;
        }
    }
    return false;
}

static void receive_append(struct step *step, const struct replica_message *source)
{
    struct raft_core *core = step->core;
    struct replica_message message = *source;
    if (step->is_stale) {
        step_part(step, &message);
        return;
    }
    struct raft_view view = core_view(core);
    rule_trim_append(&view, &message);
    struct append_part part = {0};
    while (rule_next_part(&message, &part)) {
        if (step->update->err != OK || core->raft.current_term > message.term) {
            return;
        }
        struct replica_message piece = append_part_message(&message, &part);
        view = core_view(core);
        uint64_t uncommitted = core->raft.configuration_uncommitted_index;
        if (rule_proves_change(&view, uncommitted, &piece)) {
            struct change change = *core_latest(core);
            assert(change.index == uncommitted);
            core_confirm(step, &change);
        }
        unsigned before = step->update->message_count;
        step_part(step, &piece);
        if (is_refused(step->update, before)) {
            return;
        }
    }
}

static void receive_append_result(struct step *step, const struct replica_message *source)
{
    struct raft_core *core = step->core;
    raft_index match = 0;
    if (raft_match_index(&core->raft, source->peer, &match) == 0 && source->term == core->raft.current_term &&
        rule_is_late_reject(source, match)) {
        return;
    }
    struct raft_message message = {
        .type = RAFT_APPEND_ENTRIES_RESULT, .server_id = source->peer, .server_address = PEER_ADDRESS};
    message.append_entries_result.version = APPEND_RESULT_VERSION;
    message.append_entries_result.term = canary_is(CANARY_COUNT_STALE_ACK) ? core->raft.current_term : source->term;
    message.append_entries_result.rejected = source->append_result.rejected;
    message.append_entries_result.last_log_index = source->append_result.last_index;
    core_step_message(step, &message);
}

static void receive_vote(struct step *step, const struct replica_message *source)
{
    struct raft_core *core = step->core;
    struct raft_view view = core_view(core);
    if (rule_is_silent(&view, source)) {
        return;
    }
    struct raft_message message = {
        .type = RAFT_REQUEST_VOTE, .server_id = source->peer, .server_address = PEER_ADDRESS};
    message.request_vote.version = VOTE_VERSION;
    message.request_vote.term = source->term;
    message.request_vote.candidate_id = source->peer;
    message.request_vote.last_log_index = source->vote.last_index;
    message.request_vote.last_log_term = source->vote.last_term;
    if (canary_is(CANARY_VOTE_FOR_SHORTER_LOG)) {
        message.request_vote.last_log_index = core->terms.last_index;
        message.request_vote.last_log_term = term_log_last(&core->terms);
    }
    message.request_vote.disrupt_leader =
        source->vote.is_disruptive && rule_may_depose(&view, source->vote.deposed_term, source->vote.released_ms);
    message.request_vote.pre_vote = source->vote.is_pre_vote;
    struct raft_server *self = NULL;
    if (rule_votes_as_voter(&view, source)) {
        for (unsigned i = 0; i < core->raft.configuration.n; i++) {
            if (core->raft.configuration.servers[i].id == core->params.id) {
                self = &core->raft.configuration.servers[i];
            }
        }
        assert(self != NULL);
        self->role = RAFT_VOTER;
        message.request_vote.disrupt_leader = true; /* a standby never forgets a leader by itself */
    }
    core_step_message(step, &message);
    if (self != NULL) {
        self->role = RAFT_STANDBY;
    }
}

static void receive_vote_result(struct step *step, const struct replica_message *source)
{
    struct raft_view view = core_view(step->core);
    if (!rule_takes_vote_result(&view)) {
        return;
    }
    struct raft_message message = {
        .type = RAFT_REQUEST_VOTE_RESULT, .server_id = source->peer, .server_address = PEER_ADDRESS};
    message.request_vote_result.version = VOTE_RESULT_VERSION;
    message.request_vote_result.term = source->term;
    message.request_vote_result.vote_granted = source->vote_result.is_granted;
    message.request_vote_result.pre_vote = source->vote_result.is_pre_vote;
    core_step_message(step, &message);
}

/* `deposed_term`: of the leader whose successor is to be elected. */
static void step_timeout_now(struct step *step, const struct replica_message *source, uint64_t deposed_term)
{
    struct raft_core *core = step->core;
    struct raft_view view = core_view(core);
    if (rule_must_restart(&view)) {
        return; /* a sole voter needs nobody's permission; its own timer restarts it */
    }
    if (!rule_may_depose(&view, source->term, source->timeout_now.released_ms)) {
        return; /* the order was given up long ago */
    }
    struct raft_message message = {.type = RAFT_TIMEOUT_NOW, .server_id = source->peer, .server_address = PEER_ADDRESS};
    message.timeout_now.term = source->term;
    message.timeout_now.last_log_index = source->timeout_now.last_index;
    message.timeout_now.last_log_term = source->timeout_now.last_term;
    if (core->raft.state == RAFT_FOLLOWER) {
        /* The requests for votes come out of this very step, in the term after. */
        core->disrupt_term = (source->term > core->raft.current_term ? source->term : core->raft.current_term) + 1;
        core->deposed_term = deposed_term;
        core->deposed_ms = source->timeout_now.released_ms;
    }
    core_step_message(step, &message);
}

void core_campaign(struct step *step, uint64_t leader)
{
    struct raft_core *core = step->core;
    const struct membership *membership = &core_latest(core)->membership;
    const struct replica_server *self = membership_find(membership, core->params.id);
    if (core->raft.state != RAFT_FOLLOWER || core_leader(core) != leader || leader == 0 || self == NULL ||
        !self->is_voter || membership_voter_count(membership) == 1) {
        step->update->err = ERR_INVALID;
        return;
    }
    if (core->is_installing || core->raft.last_stored < core->terms.last_index) {
        step->update->err = ERR_BUSY;
        return;
    }
    struct replica_message message = {
        .kind = REPLICA_TIMEOUT_NOW,
        .peer = leader,
        .term = core->raft.current_term,
        .timeout_now = {.last_index = core->terms.last_index,
                        .last_term = term_log_last(&core->terms),
                        .released_ms = UINT64_MAX},
    };
    step_timeout_now(step, &message, core->leader_term);
}

/* From here on nobody else is elected with this member's vote for an election timeout (R27), and what it answers says
 * since when, by the leader's clock. */
static void note_contact(struct step *step, const struct replica_message *message)
{
    struct raft_core *core = step->core;
    uint64_t before_ms = core->echo_term == message->term ? core->echo_ms : 0;
    core->contact_until_ms = core->now_ms + core->params.election_ms;
    core->echo_term = message->term;
    core->echo_ms = message->append.sent_ms > before_ms ? message->append.sent_ms : before_ms;
    if (core->raft.state == RAFT_FOLLOWER &&
        core->raft.follower_state.randomized_election_timeout < core->params.election_ms) {
        core->raft.follower_state.randomized_election_timeout = core->params.election_ms; /* it hurried: R26 */
    }
}

void core_receive(struct step *step, const struct replica_message *message)
{
    struct raft_core *core = step->core;
    struct raft_view view = core_view(core);
    enum err err = rule_check_message(&view, message);
    if (err != OK) {
        trace(WARN, RAFT, "message refused", KV("peer", (int64_t)message->peer), KV("kind", (int)message->kind));
        step->update->err = err;
        return;
    }
    if (rule_is_from_impostor(&view, message) || rule_contradicts(&view, message)) {
        trace(ERROR, RAFT, "message contradicts this log", KV("peer", (int64_t)message->peer),
              KV("term", (int64_t)message->term));
        step->update->err = ERR_CORRUPT;
        return;
    }
    step->is_stale = message->term < core->raft.current_term;
    switch (message->kind) {
    case REPLICA_APPEND:
        if (!step->is_stale) {
            note_contact(step, message);
        }
        receive_append(step, message);
        return;
    case REPLICA_APPEND_RESULT:
        receive_append_result(step, message);
        return;
    case REPLICA_VOTE:
        receive_vote(step, message);
        return;
    case REPLICA_VOTE_RESULT:
        receive_vote_result(step, message);
        return;
    case REPLICA_TIMEOUT_NOW:
        step_timeout_now(step, message, message->term);
        return;
    case REPLICA_INSTALL:
        step->update->err = ERR_INVALID;
        return;
    }
}
