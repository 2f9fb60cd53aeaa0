/* One call of libraft, and what comes of it.
 *
 * Happy path: core_step() runs an event, takes over the entries that libraft took (note_entries), translates its
 * messages at once, as they are valid only until its next step, checks what must hold (R18), gives a new leader its
 * barrier (R8), and confirms membership changes that are now committed before anything else can be stepped. */
#include "replication/raft_core_internal.h"

#include "base/assert.h"
#include "base/canary.h"
#include "base/mem.h"
#include "base/trace.h"

#include <string.h>

struct raft_configuration core_configuration(const struct membership *membership)
{
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    for (unsigned i = 0; i < membership->count; i++) {
        char text[17];
        uint64_t id = membership->servers[i].id;
        for (unsigned digit = 0; digit < 16; digit++) {
            text[digit] = "0123456789abcdef"[id >> (60 - 4 * digit) & 15];
        }
        text[16] = '\0';
        int rv = raft_configuration_add(&configuration, id, text,
                                        membership->servers[i].is_voter ? RAFT_VOTER : RAFT_STANDBY);
        assert(rv == 0);
    }
    return configuration;
}

/* ---- What is known of the group --------------------------------------------------------------------------------- */

void core_add_change(struct raft_core *core, uint64_t index, const struct entry *entry)
{
    if (core->change_count == core->change_capacity) {
        core->change_capacity = core->change_capacity == 0 ? 2 : core->change_capacity * 2;
        core->changes = mem_resize(core->changes, core->change_capacity * sizeof *core->changes);
    }
    struct change *change = &core->changes[core->change_count++];
    change->index = index;
    assert(entry->slice_count == 1);
    enum err err = membership_decode(entry->slices[0].bytes, &change->membership);
    assert(err == OK); /* checked before it came this far */
}

static void changes_cut(struct raft_core *core, uint64_t index)
{
    while (core->change_count > 0 && core->changes[core->change_count - 1].index >= index) {
        core->change_count--;
    }
}

void core_trim_changes(struct raft_core *core, uint64_t index)
{
    unsigned gone = 0;
    while (gone < core->change_count && core->changes[gone].index <= index) {
        gone++;
    }
    if (gone > 0) {
        core->base = core->changes[gone - 1];
        core->change_count -= gone;
        memmove(core->changes, core->changes + gone, core->change_count * sizeof *core->changes);
    }
}

const struct membership *raft_core_membership_at(const struct raft_core *core, uint64_t index,
                                                 uint64_t *membership_index)
{
    assert(index >= core->terms.base_index);
    const struct change *found = &core->base;
    for (unsigned i = 0; i < core->change_count && core->changes[i].index <= index; i++) {
        found = &core->changes[i];
    }
    *membership_index = found->index;
    return &found->membership;
}

/* ---- Messages out ----------------------------------------------------------------------------------------------- */

static void put_result(struct step *step, const struct raft_message *source, struct replica_message *target)
{
    struct raft_core *core = step->core;
    const struct raft_append_entries_result *result = &source->append_entries_result;
    target->kind = REPLICA_APPEND_RESULT;
    target->term = result->term;
    target->append_result.echo_ms = core->echo_term == result->term ? core->echo_ms : 0;
    target->append_result.rejected = result->rejected;
    target->append_result.last_index = result->last_log_index;
    if (step->is_stale) {
        rule_stale_result(target);
        return;
    }
    if (result->rejected > 0) {
        struct raft_view view = core_view(core);
        target->append_result.last_index = rule_reject_hint(&view, result->rejected, result->last_log_index);
    }
}

static void put_vote(struct step *step, const struct raft_message *source, struct replica_message *target)
{
    const struct raft_request_vote *vote = &source->request_vote;
    target->kind = REPLICA_VOTE;
    target->term = vote->term;
    target->vote.last_index = vote->last_log_index + (canary_is(CANARY_BOAST_OF_LOG) ? 5 : 0);
    target->vote.last_term = vote->last_log_term;
    target->vote.is_pre_vote = vote->pre_vote;
    target->vote.is_disruptive = vote->disrupt_leader && rule_may_disrupt(vote->term, step->core->disrupt_term);
    if (target->vote.is_disruptive) {
        target->vote.deposed_term = step->core->deposed_term;
        target->vote.released_ms = step->core->deposed_ms;
    }
}

static void put_install(struct step *step, const struct raft_message *source, struct replica_message *target)
{
    const struct raft_install_snapshot *install = &source->install_snapshot;
    struct raft_core *core = step->core;
    target->kind = REPLICA_INSTALL;
    target->term = install->term;
    target->install.last_index = install->last_index;
    target->install.last_term = install->last_term;
    target->install.membership = *raft_core_membership_at(core, install->last_index, &target->install.membership_index);
}

/* R27. While the order may be carried out nothing is promised to us: what is sent meanwhile is of no more use. */
static void put_timeout_now(struct step *step, const struct raft_message *source, struct replica_message *target)
{
    struct raft_core *core = step->core;
    target->kind = REPLICA_TIMEOUT_NOW;
    target->term = source->timeout_now.term;
    target->timeout_now.last_index = source->timeout_now.last_log_index;
    target->timeout_now.last_term = source->timeout_now.last_log_term;
    core->released_term = core->raft.current_term;
    core->released_ms = core->now_ms + core->params.election_ms;
    target->timeout_now.released_ms = core->released_ms;
}

static void put_message(struct step *step, const struct raft_message *source)
{
    struct replica_message target = {.peer = source->server_id};
    struct raft_view view = core_view(step->core);
    switch (source->type) {
    case RAFT_APPEND_ENTRIES:
        target.kind = REPLICA_APPEND;
        target.term = source->append_entries.term;
        target.append.prev_index = source->append_entries.prev_log_index;
        target.append.prev_term = source->append_entries.prev_log_term;
        target.append.commit_index = source->append_entries.leader_commit;
        target.append.entry_count = source->append_entries.n_entries;
        target.append.sent_ms = step->core->now_ms;
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        put_result(step, source, &target);
        break;
    case RAFT_REQUEST_VOTE:
        put_vote(step, source, &target);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        target.kind = REPLICA_VOTE_RESULT;
        target.term = source->request_vote_result.term;
        target.vote_result.is_granted = source->request_vote_result.vote_granted;
        target.vote_result.is_pre_vote = source->request_vote_result.pre_vote;
        rule_vote_result(&view, &target);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        put_install(step, source, &target);
        break;
    case RAFT_TIMEOUT_NOW:
        put_timeout_now(step, source, &target);
        break;
    default:
        return;
    }
    update_add_message(step->update, &target);
}

/* ---- Entries ---------------------------------------------------------------------------------------------------- */

struct raft_entry *core_entries(struct step *step, struct entry *const *entries, unsigned count, void *token)
{
    struct raft_entry *array = update_scratch(step->update, (count > 0 ? count : 1) * sizeof *array);
    for (unsigned i = 0; i < count; i++) {
        const struct entry *entry = entries[i];
        array[i] = (struct raft_entry){.term = entry->term, .type = (enum raft_entry_type)entry->kind, .batch = token};
        if (entry->kind == ENTRY_CHANGE) {
            array[i].buf.base = (void *)(uintptr_t)entry->slices[0].bytes.data; /* read only */
            array[i].buf.len = entry->slices[0].bytes.size;
        }
    }
    step->entries = entries;
    step->entry_count = count;
    return array;
}

static void note_entry(struct step *step, struct entry *entry)
{
    struct raft_core *core = step->core;
    term_log_append(&core->terms, entry->term);
    if (entry->kind == ENTRY_CHANGE) {
        core_add_change(core, entry->index, entry);
        step->update->is_membership_appended = true;
    }
    update_add_entry(step->update, entry);
}

/* Entries that libraft took: all that were submitted, the new ones of an APPEND, or its own barrier. */
static void note_entries(struct step *step, const struct raft_update *found)
{
    struct raft_core *core = step->core;
    struct raft_core_update *update = step->update;
    uint64_t index = found->entries.index;
    assert(index <= core->terms.last_index + 1);
    if (index <= core->terms.last_index) {
        assert(index > core->commit || !rule_is_on(RULE_INVARIANTS));
        term_log_cut(&core->terms, index);
        changes_cut(core, index);
    }
    if (update->entry_count == 0) {
        update->first_index = index;
    } else {
        assert(index == update->first_index + update->entry_count);
    }
    if (found->entries.batch == &core->raft.barrier) {
        assert(found->entries.n == 1);
        raft_free(core->raft.barrier.batch);
        core->raft.barrier.batch = NULL;
        note_entry(step, entry_new(ENTRY_BARRIER, index, core->raft.barrier.term, NULL, 0));
        return;
    }
    assert(found->entries.n <= step->entry_count);
    unsigned skipped = step->entry_count - found->entries.n;
    for (unsigned i = 0; i < found->entries.n; i++) {
        struct entry *entry = step->entries[skipped + i];
        assert(entry->index == 0 || entry->index == index + i);
        entry->index = index + i;
        note_entry(step, entry_acquire(entry));
    }
}

/* ---- One raft_step ---------------------------------------------------------------------------------------------- */

uint64_t core_leader(const struct raft_core *core)
{
    if (core->raft.state == RAFT_LEADER) {
        return core->params.id;
    }
    return core->raft.state == RAFT_FOLLOWER ? core->raft.follower_state.current_leader.id : 0;
}

/* R18. What must hold whatever came in; a failure is a bug of libraft that no rule covers, or one of ours. */
static void check_invariants(const struct raft_core *core)
{
    if (!rule_is_on(RULE_INVARIANTS)) {
        return;
    }
    const struct raft *raft = &core->raft;
    const struct raft_trail *trail = &raft->trail;
    assert(raft->current_term >= core->seen_term);
    assert(raft->current_term > core->seen_term || core->seen_vote == 0 || raft->voted_for == core->seen_vote);
    assert(raft->last_stored <= core->terms.last_index);
    assert(raft->commit_index <= core->terms.last_index);
    assert(raft->snapshot.installing == core->is_installing);
    assert(trail->snapshot.index <= core->terms.base_index);
    if (trail->front != trail->back) {
        unsigned last = (trail->back + trail->size - 1) % trail->size;
        assert(trail->records[last].index == core->terms.last_index);
        assert(trail->records[last].term == term_log_last(&core->terms));
    } else {
        assert(trail->snapshot.index == core->terms.last_index);
    }
    if (core->is_installing) {
        return; /* libraft takes the new membership over when the state is durable */
    }
    uint64_t uncommitted = raft->configuration_uncommitted_index;
    assert(uncommitted == 0 || uncommitted == core_latest(core)->index);
    assert(raft->configuration.n == core_latest(core)->membership.count);
}

/* The whole membership, after steps that touch it. */
void core_check_membership(const struct raft_core *core)
{
    if (!rule_is_on(RULE_INVARIANTS)) {
        return;
    }
    const struct membership *membership = &core_latest(core)->membership;
    for (unsigned i = 0; i < membership->count; i++) {
        const struct raft_server *server = &core->raft.configuration.servers[i];
        assert(server->id == membership->servers[i].id);
        assert((server->role == RAFT_VOTER) == membership->servers[i].is_voter);
    }
}

void core_confirm(struct step *step, const struct change *change)
{
    struct raft_core *core = step->core;
    assert(change->index > core->confirmed);
    assert(core->raft.configuration_uncommitted_index == change->index || !rule_is_on(RULE_INVARIANTS));
    struct raft_event event = {.type = RAFT_CONFIGURATION};
    event.configuration.index = change->index;
    event.configuration.conf = core_configuration(&change->membership);
    core->confirmed = change->index;
    core_step(step, &event);
}

static void confirm_committed(struct step *step)
{
    struct raft_core *core = step->core;
    for (unsigned i = 0; i < core->change_count; i++) {
        const struct change *change = &core->changes[i];
        if (change->index > core->confirmed && change->index <= core->commit) {
            struct change copy = *change; /* the step may move the array */
            core_confirm(step, &copy);
        }
    }
}

/* R8. Nothing of the log is known to be committed, and no membership may change, before an entry of the own term is. */
static void submit_barrier(struct step *step)
{
    struct raft_core *core = step->core;
    if (!rule_is_on(RULE_BARRIER) || canary_is(CANARY_SKIP_BARRIER)) {
        return;
    }
    struct entry *barrier = entry_new(ENTRY_BARRIER, 0, core->raft.current_term, NULL, 0);
    struct raft_event event = {.type = RAFT_SUBMIT};
    event.submit.entries = core_entries(step, &barrier, 1, barrier);
    event.submit.n = 1;
    core_step(step, &event);
    entry_release(barrier);
}

/* A follower that hears of a higher term from a candidate keeps the leader of the term before in libraft's state. */
static void note_leader(const struct step *step, const struct raft_event *event)
{
    struct raft_core *core = step->core;
    if (event->type == RAFT_RECEIVE && !step->is_stale &&
        (event->receive.message->type == RAFT_APPEND_ENTRIES ||
         event->receive.message->type == RAFT_INSTALL_SNAPSHOT)) {
        core->leader_term = core->raft.current_term;
    }
}

static void note_state(struct step *step)
{
    struct raft_core *core = step->core;
    struct raft_core_update *update = step->update;
    enum replica_role role = core_role(core);
    uint64_t leader = core_leader(core);
    if (core->raft.current_term != core->seen_term || core->raft.voted_for != core->seen_vote) {
        update->is_hard_state_changed = true;
    }
    if (core->raft.current_term != core->seen_term || role != core->seen_role || leader != core->seen_leader) {
        update->is_role_changed = true;
    }
    core->seen_term = core->raft.current_term;
    core->seen_vote = core->raft.voted_for;
    core->seen_role = role;
    core->seen_leader = leader;
}

static bool is_refusal(int rv)
{
    return rv == RAFT_NOTLEADER || rv == RAFT_CANTCHANGE || rv == RAFT_BADID || rv == RAFT_NOTFOUND ||
           rv == RAFT_NOSPACE;
}

static enum err refusal_of(int rv)
{
    switch (rv) {
    case RAFT_NOTLEADER:
        return ERR_NOT_LEADER;
    case RAFT_CANTCHANGE:
        return ERR_BUSY;
    case RAFT_NOSPACE:
        return ERR_NO_SPACE;
    default:
        return ERR_INVALID;
    }
}

static void note_install(struct step *step, const struct raft_update *found)
{
    struct raft_core *core = step->core;
    const struct raft_snapshot_metadata *metadata = &found->snapshot.metadata;
    raft_free(found->snapshot.chunk.base);
    core->installing = *metadata;
    core->is_installing = true;
    term_log_reset(&core->terms, metadata->index, metadata->term);
    core->change_count = 0;
    core->base.index = step->install->install.membership_index;
    core->base.membership = step->install->install.membership;
    step->update->is_installing = true;
}

/* Runs one event through libraft and gathers what came of it. May call itself, for the barrier of a new leader and for
 * membership changes that were committed: at most a few levels, as each of them happens once. */
void core_step(struct step *step, struct raft_event *event)
{
    struct raft_core *core = step->core;
    struct raft_update found;
    unsigned submitted = event->type == RAFT_SUBMIT ? event->submit.n : 0;
    event->time = core->now_ms;
    int rv = raft_step(&core->raft, event, &found);
    if (rv != 0 && is_refusal(rv)) {
        step->update->err = refusal_of(rv);
    } else if (rv != 0) {
        trace(ERROR, RAFT, "libraft gave up", KV("code", rv), KV("reason", raft_strerror(rv)));
        update_fail(step->update, raft_strerror(rv));
    }
    bool is_new_leader = (found.flags & HAS_STATE) != 0 && core->raft.state == RAFT_LEADER;
    bool has_entries = (found.flags & HAS_ENTRIES) != 0;
    if (has_entries) {
        assert(submitted == 0 || found.entries.n == submitted);
        note_entries(step, &found);
    }
    if ((found.flags & HAS_SNAPSHOT) != 0) {
        note_install(step, &found);
    }
    for (unsigned i = 0; i < found.messages.n; i++) {
        put_message(step, &found.messages.batch[i]);
    }
    note_leader(step, event);
    note_state(step);
    if (!core->is_installing && core->raft.commit_index > core->commit) {
        core->commit = core->raft.commit_index;
    }
    check_invariants(core);
    if (is_new_leader && !has_entries) {
        submit_barrier(step);
    }
    confirm_committed(step);
}
