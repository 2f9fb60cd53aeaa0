/* Happy path: raft_core_step() turns one event into one or more calls of raft_step(), each through core_step(), which
 * gathers what it says into the caller's update, becomes leader with a barrier (R8), and feeds committed membership
 * changes back (CONFIGURATION) before anything else is stepped.
 *
 * Failure modes: an event that Raft refuses has no effect and is named in update.err. libraft giving up (it found a
 * committed entry in conflict) is ERR_DAMAGED: the group is stopped. Memory never runs out (mem_alloc).
 *
 * Ownership (libraft 0.22.1): arrays of entries given to it stay ours; what an entry's `batch` points to is freed by
 * libraft unless it came back in an update, so every APPEND carries one token of one byte; configurations that are given
 * move to libraft; messages are valid until its next step and are translated at once. Payload never goes in, but for that
 * of membership changes. */
#include "replication/raft_core.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/raft_rules.h"
#include "replication/term_log.h"

#include <pthread.h>
#include <raft.h>
#include <string.h>

static_assert(RAFT_VERSION_NUMBER == 2201, "the rules were made for libraft 0.22.1: see replication/README.md, Raft");
static_assert(sizeof(struct raft) == 992, "layout of libraft 0.22.1");
static_assert(sizeof(struct raft_event) == 80 && sizeof(struct raft_update) == 120, "layout of libraft 0.22.1");
static_assert(sizeof(struct raft_message) == 96 && sizeof(struct raft_entry) == 40, "layout of libraft 0.22.1");

enum {
    HAS_CURRENT_TERM = 1 << 0, /* the header's macros lack parentheses */
    HAS_VOTED_FOR = 1 << 1,
    HAS_ENTRIES = 1 << 2,
    HAS_SNAPSHOT = 1 << 3,
    HAS_STATE = 1 << 5,
    VOTE_VERSION = 2,          /* versions of messages as libraft itself sets them */
    VOTE_RESULT_VERSION = 2,
    APPEND_RESULT_VERSION = 2,
    INSTALL_TIMEOUT_MS = 4000, /* R21; the default is 30 s */
};

static const char address[] = "peer"; /* routes go by server id; libraft only wants some text */

struct change {                /* an ENTRY_CHANGE in the log */
    uint64_t index;
    struct membership membership;
};

struct raft_core {
    struct raft raft;
    struct raft_core_params params;
    struct term_log terms;
    struct change base;        /* the membership as of terms.base_index; index 0: none */
    struct change *changes;    /* behind base, ascending */
    unsigned change_count, change_capacity;
    uint64_t commit;           /* never falls */
    uint64_t confirmed;        /* index of the last membership that libraft knows to be committed */
    uint64_t contact_until_ms; /* a leader's message came less than an election timeout before this */
    uint64_t disrupt_term;     /* of the election that TIMEOUT_NOW asked for */
    uint64_t retry_ms;         /* a sole voter may not restart before (R9d) */
    uint64_t now_ms;
    unsigned inflight;
    bool is_installing;
    struct raft_snapshot_metadata installing; /* while is_installing; libraft's memory */
    /* The state as it was after the step before (R18, and to find changes). */
    uint64_t seen_term, seen_vote, seen_leader;
    enum replica_role seen_role;
};

struct step {                  /* one event on its way through */
    struct raft_core *core;
    struct raft_core_update *update;
    bool is_stale;             /* R5: the message in work has an old term */
    struct entry *const *entries; /* what the raft_entry array in work was made of */
    unsigned entry_count;
};

static void core_step(struct step *step, struct raft_event *event);

/* ---- Memory of libraft --------------------------------------------------------------------------------------------- */

static void *heap_malloc(void *data, size_t size)
{
    (void)data;
    return mem_alloc_raw(size > 0 ? size : 1);
}

static void heap_free(void *data, void *memory)
{
    (void)data;
    mem_free(memory);
}

static void *heap_calloc(void *data, size_t count, size_t size)
{
    (void)data;
    assert(size == 0 || count <= SIZE_MAX / size);
    return mem_alloc(count * size > 0 ? count * size : 1);
}

static void *heap_realloc(void *data, void *memory, size_t size)
{
    (void)data;
    return mem_resize(memory, size > 0 ? size : 1);
}

static void *heap_aligned_alloc(void *data, size_t alignment, size_t size)
{
    (void)data;
    return mem_aligned(alignment, size);
}

static void heap_aligned_free(void *data, size_t alignment, void *memory)
{
    (void)data;
    (void)alignment;
    mem_free(memory);
}

static void heap_set(void)
{
    static struct raft_heap heap = {
        .malloc = heap_malloc,
        .free = heap_free,
        .calloc = heap_calloc,
        .realloc = heap_realloc,
        .aligned_alloc = heap_aligned_alloc,
        .aligned_free = heap_aligned_free,
    };
    raft_heap_set(&heap);
}

static pthread_once_t heap_once = PTHREAD_ONCE_INIT;

/* libraft's form of a membership; moves to libraft with the event that carries it. */
static struct raft_configuration configuration_of(const struct membership *membership)
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
        int rv = raft_configuration_add(&configuration, id, text, membership->servers[i].is_voter ? RAFT_VOTER : RAFT_STANDBY);
        assert(rv == 0);
    }
    return configuration;
}

/* ---- Updates ------------------------------------------------------------------------------------------------------ */

void raft_core_update_init(struct raft_core_update *update)
{
    *update = (struct raft_core_update){0};
}

static void update_reset(struct raft_core_update *update)
{
    for (unsigned i = 0; i < update->entry_count; i++) {
        entry_release(update->entries[i]);
    }
    update->err = OK;
    update->failure = NULL;
    update->is_hard_state_changed = false;
    update->is_role_changed = false;
    update->is_installing = false;
    update->is_membership_appended = false;
    update->first_index = 0;
    update->entry_count = 0;
    update->message_count = 0;
}

void raft_core_update_deinit(struct raft_core_update *update)
{
    update_reset(update);
    mem_free(update->entries);
    mem_free(update->messages);
    mem_free(update->scratch);
    raft_core_update_init(update);
}

/* Takes over the reference. */
static void update_add_entry(struct raft_core_update *update, struct entry *entry)
{
    if (update->entry_count == update->entry_capacity) {
        update->entry_capacity = update->entry_capacity == 0 ? 64 : update->entry_capacity * 2;
        update->entries = mem_resize(update->entries, update->entry_capacity * sizeof *update->entries);
    }
    update->entries[update->entry_count++] = entry;
}

static void update_add_message(struct raft_core_update *update, const struct replica_message *message)
{
    if (update->message_count == update->message_capacity) {
        update->message_capacity = update->message_capacity == 0 ? 16 : update->message_capacity * 2;
        update->messages = mem_resize(update->messages, update->message_capacity * sizeof *update->messages);
    }
    update->messages[update->message_count++] = *message;
}

static void *update_scratch(struct raft_core_update *update, size_t size)
{
    if (update->scratch_size < size) {
        mem_free(update->scratch);
        update->scratch_size = size < 4096 ? 4096 : size;
        update->scratch = mem_alloc_raw(update->scratch_size);
    }
    return update->scratch;
}

static void update_fail(struct raft_core_update *update, const char *failure)
{
    update->err = ERR_DAMAGED;
    if (update->failure == NULL) {
        update->failure = failure;
    }
}

/* ---- What is known of the group ------------------------------------------------------------------------------------- */

static enum replica_role role_of(const struct raft_core *core)
{
    switch (core->raft.state) {
    case RAFT_LEADER:
        return REPLICA_LEADER;
    case RAFT_CANDIDATE:
        return REPLICA_CANDIDATE;
    default:
        return REPLICA_FOLLOWER;
    }
}

static const struct change *latest(const struct raft_core *core)
{
    return core->change_count > 0 ? &core->changes[core->change_count - 1] : &core->base;
}

static struct raft_view view_of(const struct raft_core *core)
{
    return (struct raft_view){
        .id = core->params.id,
        .term = core->raft.current_term,
        .role = role_of(core),
        .is_installing = core->is_installing,
        .is_in_contact = core->now_ms < core->contact_until_ms,
        .commit_index = core->raft.commit_index,
        .stored_index = core->raft.last_stored,
        .last_index = core->terms.last_index,
        .terms = &core->terms,
        .membership = &latest(core)->membership,
    };
}

static void change_push(struct raft_core *core, uint64_t index, const struct entry *entry)
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

static void changes_trim(struct raft_core *core, uint64_t index)
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

const struct membership *raft_core_membership_at(const struct raft_core *core, uint64_t index, uint64_t *membership_index)
{
    assert(index >= core->terms.base_index);
    const struct change *found = &core->base;
    for (unsigned i = 0; i < core->change_count && core->changes[i].index <= index; i++) {
        found = &core->changes[i];
    }
    *membership_index = found->index;
    return &found->membership;
}

/* ---- Messages out --------------------------------------------------------------------------------------------------- */

static void put_result(struct step *step, const struct raft_message *source, struct replica_message *target)
{
    struct raft_core *core = step->core;
    const struct raft_append_entries_result *result = &source->append_entries_result;
    target->kind = REPLICA_APPEND_RESULT;
    target->term = result->term;
    target->append_result.rejected = result->rejected;
    target->append_result.last_index = result->last_log_index;
    if (step->is_stale) {
        rule_stale_result(target);
        return;
    }
    if (result->rejected > 0) {
        struct raft_view view = view_of(core);
        target->append_result.last_index = rule_reject_hint(&view, result->rejected, result->last_log_index);
    }
}

static void put_vote(struct step *step, const struct raft_message *source, struct replica_message *target)
{
    const struct raft_request_vote *vote = &source->request_vote;
    target->kind = REPLICA_VOTE;
    target->term = vote->term;
    target->vote.last_index = vote->last_log_index;
    target->vote.last_term = vote->last_log_term;
    target->vote.is_pre_vote = vote->pre_vote;
    target->vote.is_disruptive = vote->disrupt_leader && rule_may_disrupt(vote->term, step->core->disrupt_term);
}

static void put_install(struct step *step, const struct raft_message *source, struct replica_message *target)
{
    const struct raft_install_snapshot *install = &source->install_snapshot;
    struct raft_core *core = step->core;
    target->kind = REPLICA_INSTALL;
    target->term = install->term;
    target->install.last_index = install->last_index;
    target->install.last_term = install->last_term;
    target->install.membership =
        *raft_core_membership_at(core, install->last_index, &target->install.membership_index);
}

static void put_message(struct step *step, const struct raft_message *source)
{
    struct replica_message target = {.peer = source->server_id};
    struct raft_view view = view_of(step->core);
    switch (source->type) {
    case RAFT_APPEND_ENTRIES:
        target.kind = REPLICA_APPEND;
        target.term = source->append_entries.term;
        target.append.prev_index = source->append_entries.prev_log_index;
        target.append.prev_term = source->append_entries.prev_log_term;
        target.append.commit_index = source->append_entries.leader_commit;
        target.append.entry_count = source->append_entries.n_entries;
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
        target.kind = REPLICA_TIMEOUT_NOW;
        target.term = source->timeout_now.term;
        target.timeout_now.last_index = source->timeout_now.last_log_index;
        target.timeout_now.last_term = source->timeout_now.last_log_term;
        break;
    default:
        return;
    }
    update_add_message(step->update, &target);
}

/* ---- Entries -------------------------------------------------------------------------------------------------------- */

/* libraft's form of `count` entries: terms and kinds, payload only of membership changes. */
static struct raft_entry *entries_in(struct step *step, struct entry *const *entries, unsigned count, void *token)
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
        change_push(core, entry->index, entry);
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

/* ---- One raft_step -------------------------------------------------------------------------------------------------- */

static uint64_t leader_of(const struct raft_core *core)
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
    assert(uncommitted == 0 || uncommitted == latest(core)->index);
    assert(raft->configuration.n == latest(core)->membership.count);
}

/* The whole membership, after steps that touch it. */
static void check_membership(const struct raft_core *core)
{
    if (!rule_is_on(RULE_INVARIANTS)) {
        return;
    }
    const struct membership *membership = &latest(core)->membership;
    for (unsigned i = 0; i < membership->count; i++) {
        const struct raft_server *server = &core->raft.configuration.servers[i];
        assert(server->id == membership->servers[i].id);
        assert((server->role == RAFT_VOTER) == membership->servers[i].is_voter);
    }
}

/* A change that is committed, as libraft is told (it does not find out by itself). */
static void confirm(struct step *step, const struct change *change)
{
    struct raft_core *core = step->core;
    assert(change->index > core->confirmed);
    assert(core->raft.configuration_uncommitted_index == change->index || !rule_is_on(RULE_INVARIANTS));
    struct raft_event event = {.type = RAFT_CONFIGURATION};
    event.configuration.index = change->index;
    event.configuration.conf = configuration_of(&change->membership);
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
            confirm(step, &copy);
        }
    }
}

/* R8. Nothing of the log is known to be committed, and no membership may change, before an entry of the own term is. */
static void submit_barrier(struct step *step)
{
    struct raft_core *core = step->core;
    if (!rule_is_on(RULE_BARRIER)) {
        return;
    }
    struct entry *barrier = entry_new(ENTRY_BARRIER, 0, core->raft.current_term, NULL, 0);
    struct raft_event event = {.type = RAFT_SUBMIT};
    event.submit.entries = entries_in(step, &barrier, 1, barrier);
    event.submit.n = 1;
    core_step(step, &event);
    entry_release(barrier);
}

static void note_state(struct step *step)
{
    struct raft_core *core = step->core;
    struct raft_core_update *update = step->update;
    enum replica_role role = role_of(core);
    uint64_t leader = leader_of(core);
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
    return rv == RAFT_NOTLEADER || rv == RAFT_CANTCHANGE || rv == RAFT_BADID || rv == RAFT_NOTFOUND || rv == RAFT_NOSPACE;
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
    step->update->is_installing = true;
}

/* Runs one event through libraft and gathers what came of it. May call itself, for the barrier of a new leader and for
 * membership changes that were committed: at most a few levels, as each of them happens once. */
static void core_step(struct step *step, struct raft_event *event)
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

/* ---- Start ---------------------------------------------------------------------------------------------------------- */

static void core_init_raft(struct raft_core *core)
{
    int rv = raft_init(&core->raft, NULL, NULL, core->params.id, address);
    assert(rv == 0);
    raft_seed(&core->raft, core->params.seed);
    core->raft.tracer = NULL; /* it formats every message, even when nobody listens */
    raft_set_election_timeout(&core->raft, core->params.election_ms);
    raft_set_heartbeat_timeout(&core->raft, core->params.heartbeat_ms);
    if (rule_is_on(RULE_INSTALL_TIMEOUT)) {
        raft_set_install_snapshot_timeout(&core->raft, INSTALL_TIMEOUT_MS);
    }
    if (rule_is_on(RULE_SETTINGS)) {
        raft_set_pre_vote(&core->raft, true);
        raft_set_max_inflight_entries(&core->raft, core->inflight);
    }
}

/* The log as libraft wants it at a start: made from the runs of terms and the changes, which is all that is needed. */
static struct raft_entry *start_entries(const struct raft_core *core, uint8_t *payloads)
{
    uint64_t count = core->terms.last_index - core->terms.base_index;
    struct raft_entry *entries = raft_calloc(count > 0 ? count : 1, sizeof *entries);
    const struct term_log *terms = &core->terms;
    for (unsigned run = 0; run < terms->count; run++) {
        uint64_t end = run + 1 < terms->count ? terms->runs[run + 1].first_index : terms->last_index + 1;
        for (uint64_t index = terms->runs[run].first_index; index < end; index++) {
            struct raft_entry *entry = &entries[index - terms->base_index - 1];
            entry->term = terms->runs[run].term;
            entry->type = RAFT_COMMAND;
            entry->batch = entry;
        }
    }
    for (unsigned i = 0; i < core->change_count; i++) {
        struct raft_entry *entry = &entries[core->changes[i].index - terms->base_index - 1];
        entry->type = RAFT_CHANGE;
        entry->buf.base = payloads + i * MEMBERSHIP_SIZE_MAX;
        entry->buf.len = membership_encode(&core->changes[i].membership, entry->buf.base);
    }
    return entries;
}

/* START with all of the log durable. R9d: a sole voter elects itself inside this step without a new term, so it gets its
 * new term and vote here, and its messages wait until they are durable like those after any other vote. */
static void core_start(struct step *step, uint64_t term, uint64_t vote)
{
    struct raft_core *core = step->core;
    core_init_raft(core);
    core->seen_term = term;
    core->seen_vote = vote;
    if (rule_is_on(RULE_SOLE_VOTER) && membership_is_sole_voter(&latest(core)->membership, core->params.id)) {
        term++;
        vote = core->params.id;
    }
    uint8_t *payloads = mem_alloc((core->change_count > 0 ? core->change_count : 1) * MEMBERSHIP_SIZE_MAX);
    struct raft_snapshot_metadata metadata = {0};
    struct raft_event event = {.type = RAFT_START};
    event.start.term = term;
    event.start.voted_for = vote;
    event.start.start_index = core->terms.base_index + 1;
    event.start.entries = start_entries(core, payloads);
    event.start.n_entries = (unsigned)(core->terms.last_index - core->terms.base_index);
    if (core->terms.base_index > 0) {
        metadata.index = core->terms.base_index;
        metadata.term = core->terms.base_term;
        metadata.configuration = configuration_of(&core->base.membership);
        metadata.configuration_index = core->base.index;
        event.start.metadata = &metadata;
    }
    struct raft_entry *entries = event.start.entries;
    /* All but the last change are committed, as there is at most one that is not. */
    core->confirmed = core->change_count > 1   ? core->changes[core->change_count - 2].index
                      : core->terms.base_index > 0 ? core->base.index
                      : core->change_count > 0     ? core->changes[0].index
                                                   : 0;
    step->entry_count = 0;
    core_step(step, &event);
    raft_free(entries);
    mem_free(payloads);
    check_membership(core);
}

static enum err start_check(const struct raft_core_start *start, struct errmsg *msg)
{
    uint64_t term = start->base_term;
    if (start->base_index == 1 || (start->base_index == 0) != (start->base_term == 0)) {
        return fail(msg, ERR_INVALID, "no log starts behind index %llu, term %llu", (unsigned long long)start->base_index,
                    (unsigned long long)start->base_term);
    }
    if (start->base_index > 0 && (start->membership.count == 0 || start->membership.count > REPLICA_SERVER_COUNT_MAX ||
                                  start->membership_index == 0 || start->membership_index > start->base_index)) {
        return fail(msg, ERR_INVALID, "checkpoint without a membership");
    }
    for (size_t i = 0; i < start->entry_count; i++) {
        const struct entry *entry = start->entries[i];
        if (entry->index != start->base_index + 1 + i || entry->term < term || entry->term == 0) {
            return fail(msg, ERR_INVALID, "entry %llu of term %llu does not follow index %llu, term %llu",
                        (unsigned long long)entry->index, (unsigned long long)entry->term,
                        (unsigned long long)(start->base_index + i), (unsigned long long)term);
        }
        term = entry->term;
        struct membership membership;
        if (entry->kind == ENTRY_CHANGE &&
            (entry->slice_count != 1 || membership_decode(entry->slices[0].bytes, &membership) != OK)) {
            return fail(msg, ERR_CORRUPT, "entry %llu is no membership", (unsigned long long)entry->index);
        }
    }
    if (start->base_index == 0 && start->entry_count > 0 && start->entries[0]->kind != ENTRY_CHANGE) {
        return fail(msg, ERR_CORRUPT, "the first entry is no membership");
    }
    if (term > start->term) {
        return fail(msg, ERR_INVALID, "the log has term %llu, the hard state only %llu", (unsigned long long)term,
                    (unsigned long long)start->term);
    }
    return OK;
}

enum err raft_core_open(const struct raft_core_params *params, const struct raft_core_start *start, uint64_t now_ms,
                        struct raft_core_update *update, struct raft_core **core_out, struct errmsg *msg)
{
    assert(params->id != 0);
    (void)pthread_once(&heap_once, heap_set);
    update_reset(update);
    enum err err = start_check(start, msg);
    if (err != OK) {
        return err;
    }
    struct raft_core *core = mem_alloc(sizeof *core);
    core->params = *params;
    core->now_ms = now_ms;
    core->inflight = RAFT_CORE_INFLIGHT_DEFAULT;
    term_log_init(&core->terms);
    term_log_reset(&core->terms, start->base_index, start->base_term);
    core->commit = start->base_index;
    if (start->base_index > 0) {
        core->base = (struct change){.index = start->membership_index, .membership = start->membership};
    }
    for (size_t i = 0; i < start->entry_count; i++) {
        term_log_append(&core->terms, start->entries[i]->term);
        if (start->entries[i]->kind == ENTRY_CHANGE) {
            change_push(core, start->entries[i]->index, start->entries[i]);
        }
    }
    struct step step = {.core = core, .update = update};
    core_start(&step, start->term, start->vote);
    *core_out = core;
    return OK;
}

static void core_close_raft(struct raft_core *core)
{
    if (core->is_installing) {
        raft_configuration_close(&core->installing.configuration);
        core->is_installing = false;
    }
    raft_close(&core->raft, NULL);
}

void raft_core_close(struct raft_core *core)
{
    core_close_raft(core);
    term_log_deinit(&core->terms);
    mem_free(core->changes);
    mem_free(core);
}

/* ---- Events --------------------------------------------------------------------------------------------------------- */

static void step_message(struct step *step, struct raft_message *message)
{
    struct raft_event event = {.type = RAFT_RECEIVE};
    event.receive.message = message;
    core_step(step, &event);
}

static void step_part(struct step *step, const struct replica_message *part)
{
    void *token = part->append.entry_count > 0 ? raft_malloc(1) : NULL;
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES, .server_id = part->peer, .server_address = address};
    message.append_entries.term = part->term;
    message.append_entries.prev_log_index = part->append.prev_index;
    message.append_entries.prev_log_term = part->append.prev_term;
    message.append_entries.leader_commit = part->append.commit_index;
    message.append_entries.entries = entries_in(step, part->append.entries, part->append.entry_count, token);
    message.append_entries.n_entries = part->append.entry_count;
    unsigned before = step->update->entry_count;
    step_message(step, &message);
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
    struct raft_view view = view_of(core);
    rule_trim_append(&view, &message);
    struct append_part part = {0};
    while (rule_next_part(&message, &part)) {
        if (step->update->err != OK || core->raft.current_term > message.term) {
            return;
        }
        struct replica_message piece = append_part_message(&message, &part);
        view = view_of(core);
        uint64_t uncommitted = core->raft.configuration_uncommitted_index;
        if (rule_proves_change(&view, uncommitted, &piece)) {
            struct change change = *latest(core);
            assert(change.index == uncommitted);
            confirm(step, &change);
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
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES_RESULT, .server_id = source->peer, .server_address = address};
    message.append_entries_result.version = APPEND_RESULT_VERSION;
    message.append_entries_result.term = source->term;
    message.append_entries_result.rejected = source->append_result.rejected;
    message.append_entries_result.last_log_index = source->append_result.last_index;
    step_message(step, &message);
}

static void receive_vote(struct step *step, const struct replica_message *source)
{
    struct raft_core *core = step->core;
    struct raft_view view = view_of(core);
    struct raft_message message = {.type = RAFT_REQUEST_VOTE, .server_id = source->peer, .server_address = address};
    message.request_vote.version = VOTE_VERSION;
    message.request_vote.term = source->term;
    message.request_vote.candidate_id = source->peer;
    message.request_vote.last_log_index = source->vote.last_index;
    message.request_vote.last_log_term = source->vote.last_term;
    message.request_vote.disrupt_leader = source->vote.is_disruptive;
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
    step_message(step, &message);
    if (self != NULL) {
        self->role = RAFT_STANDBY;
    }
}

static void receive_vote_result(struct step *step, const struct replica_message *source)
{
    struct raft_view view = view_of(step->core);
    if (!rule_takes_vote_result(&view)) {
        return;
    }
    struct raft_message message = {.type = RAFT_REQUEST_VOTE_RESULT, .server_id = source->peer, .server_address = address};
    message.request_vote_result.version = VOTE_RESULT_VERSION;
    message.request_vote_result.term = source->term;
    message.request_vote_result.vote_granted = source->vote_result.is_granted;
    message.request_vote_result.pre_vote = source->vote_result.is_pre_vote;
    step_message(step, &message);
}

static void receive_timeout_now(struct step *step, const struct replica_message *source)
{
    struct raft_core *core = step->core;
    struct raft_view view = view_of(core);
    if (rule_must_restart(&view)) {
        return; /* a sole voter needs nobody's permission; its own timer restarts it */
    }
    struct raft_message message = {.type = RAFT_TIMEOUT_NOW, .server_id = source->peer, .server_address = address};
    message.timeout_now.term = source->term;
    message.timeout_now.last_log_index = source->timeout_now.last_index;
    message.timeout_now.last_log_term = source->timeout_now.last_term;
    if (core->raft.state == RAFT_FOLLOWER) {
        /* The requests for votes come out of this very step, in the term after. */
        core->disrupt_term = (source->term > core->raft.current_term ? source->term : core->raft.current_term) + 1;
    }
    step_message(step, &message);
}

static void receive(struct step *step, const struct replica_message *message)
{
    struct raft_core *core = step->core;
    struct raft_view view = view_of(core);
    enum err err = rule_check_message(&view, message);
    if (err != OK) {
        trace(WARN, RAFT, "message refused", KV("peer", (int64_t)message->peer), KV("kind", (int)message->kind));
        step->update->err = err;
        return;
    }
    if (rule_is_from_impostor(&view, message)) {
        trace(ERROR, RAFT, "another leader of the same term", KV("peer", (int64_t)message->peer), KV("term", (int64_t)view.term));
        step->update->err = ERR_CORRUPT;
        return;
    }
    step->is_stale = message->term < core->raft.current_term;
    switch (message->kind) {
    case REPLICA_APPEND:
        if (!step->is_stale) {
            core->contact_until_ms = core->now_ms + core->params.election_ms;
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
        receive_timeout_now(step, message);
        return;
    case REPLICA_INSTALL:
        step->update->err = ERR_INVALID;
        return;
    }
}

static void persisted(struct step *step, uint64_t index)
{
    struct raft_view view = view_of(step->core);
    index = rule_persisted(&view, index);
    if (index > 0) {
        struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES};
        event.persisted_entries.index = index;
        core_step(step, &event);
    }
}

static void submit(struct step *step, struct entry *const *entries, unsigned count)
{
    struct raft_core *core = step->core;
    assert(count > 0);
    if (core->raft.state != RAFT_LEADER) {
        step->update->err = ERR_NOT_LEADER;
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        assert(entries[i]->index == 0);
        if (entries[i]->kind == ENTRY_CHANGE && rule_is_on(RULE_CHANGE)) {
            struct membership next;
            assert(count == 1); /* R9b: refused together with others, those would stay in libraft's log */
            step->update->err = membership_decode(entries[i]->slices[0].bytes, &next);
            if (step->update->err == OK) {
                step->update->err = raft_core_check_change(core, &next);
            }
            if (step->update->err != OK) {
                return;
            }
        }
        entries[i]->term = core->raft.current_term;
    }
    struct raft_view view = view_of(core);
    bool is_nudging = rule_nudges(&view);
    struct raft_event event = {.type = RAFT_SUBMIT};
    event.submit.entries = entries_in(step, entries, count, core);
    event.submit.n = count;
    if (is_nudging) {
        raft_set_heartbeat_timeout(&core->raft, 0);
    }
    core_step(step, &event);
    if (is_nudging) {
        raft_set_heartbeat_timeout(&core->raft, core->params.heartbeat_ms);
    }
}

/* R9d, while running: this server became the sole voter as a follower. It is started again, which gives it a new term. */
static void restart(struct step *step)
{
    struct raft_core *core = step->core;
    uint64_t term = core->raft.current_term;
    uint64_t vote = core->raft.voted_for;
    if (core->is_installing || core->raft.last_stored < core->terms.last_index) {
        core->retry_ms = core->now_ms + core->params.heartbeat_ms;
        return;
    }
    trace(INFO, RAFT, "sole voter starts again", KV("term", (int64_t)term));
    core_close_raft(core);
    core_start(step, term, vote);
}

static void timeout(struct step *step)
{
    struct raft_core *core = step->core;
    struct raft_view view = view_of(core);
    if (rule_is_on(RULE_DUE) && core->now_ms < raft_core_deadline_ms(core)) {
        return;
    }
    if (rule_must_restart(&view)) {
        restart(step);
        return;
    }
    struct raft_event event = {.type = RAFT_TIMEOUT};
    core_step(step, &event);
}

static void trim(struct step *step, uint64_t index)
{
    struct raft_core *core = step->core;
    struct raft_view view = view_of(core);
    if (!rule_may_trim(&view, index)) {
        step->update->err = ERR_INVALID;
        return;
    }
    uint64_t membership_index;
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    event.snapshot.metadata.index = index;
    event.snapshot.metadata.term = term_log_at(&core->terms, index);
    event.snapshot.metadata.configuration = configuration_of(raft_core_membership_at(core, index, &membership_index));
    event.snapshot.metadata.configuration_index = membership_index;
    event.snapshot.trailing = 0;
    term_log_trim(&core->terms, index);
    changes_trim(core, index);
    core_step(step, &event);
}

static void install(struct step *step, const struct replica_message *source)
{
    struct raft_core *core = step->core;
    struct raft_view view = view_of(core);
    step->update->err = rule_check_message(&view, source);
    if (step->update->err != OK) {
        return;
    }
    if (rule_is_from_impostor(&view, source)) {
        step->update->err = ERR_INVALID;
        return;
    }
    step->update->err = rule_check_install(&view, source);
    if (step->update->err != OK) {
        return;
    }
    step->is_stale = source->term < core->raft.current_term;
    struct raft_message message = {.type = RAFT_INSTALL_SNAPSHOT, .server_id = source->peer, .server_address = address};
    message.install_snapshot.term = source->term;
    message.install_snapshot.last_index = source->install.last_index;
    message.install_snapshot.last_term = source->install.last_term;
    message.install_snapshot.conf = configuration_of(&source->install.membership);
    message.install_snapshot.conf_index = source->install.membership_index;
    message.install_snapshot.data.base = raft_malloc(1);
    message.install_snapshot.data.len = 1;
    struct change next = {.index = source->install.membership_index, .membership = source->install.membership};
    struct change before = core->base;
    core->base = next; /* in force from inside the step on, if it is accepted */
    core->contact_until_ms = core->now_ms + core->params.election_ms;
    step_message(step, &message);
    if (!core->is_installing) {
        core->base = before;
        step->update->err = step->update->err == OK ? ERR_INVALID : step->update->err;
    }
}

static void installed(struct step *step)
{
    struct raft_core *core = step->core;
    assert(core->is_installing);
    struct raft_event event = {.type = RAFT_PERSISTED_SNAPSHOT};
    event.persisted_snapshot.metadata = core->installing;
    event.persisted_snapshot.last = true;
    core->confirmed = core->base.index;
    core->is_installing = false;
    core_step(step, &event);
    check_membership(core);
}

static void transfer(struct step *step, uint64_t server)
{
    struct raft_core *core = step->core;
    raft_index match = 0;
    const struct replica_server *target = membership_find(&latest(core)->membership, server);
    if (core->raft.state != RAFT_LEADER) {
        step->update->err = ERR_NOT_LEADER;
        return;
    }
    if (target == NULL || !target->is_voter || server == core->params.id) {
        step->update->err = ERR_INVALID;
        return;
    }
    if (raft_transferee(&core->raft) != 0) {
        step->update->err = ERR_BUSY;
        return;
    }
    int rv = raft_match_index(&core->raft, server, &match);
    assert(rv == 0);
    if (rule_is_on(RULE_TRANSFER) && match < core->terms.last_index) {
        step->update->err = ERR_NOT_READY; /* R13: asked too early, the target would ignore it */
        return;
    }
    struct raft_event event = {.type = RAFT_TRANSFER};
    event.transfer.server_id = server;
    core_step(step, &event);
}

void raft_core_step(struct raft_core *core, const struct raft_core_event *event, struct raft_core_update *update)
{
    assert(event->now_ms >= core->now_ms);
    update_reset(update);
    core->now_ms = event->now_ms;
    struct step step = {.core = core, .update = update};
    switch (event->kind) {
    case RAFT_CORE_RECEIVE:
        receive(&step, event->message);
        break;
    case RAFT_CORE_PERSISTED:
        persisted(&step, event->index);
        break;
    case RAFT_CORE_SUBMIT:
        submit(&step, event->submit.entries, event->submit.count);
        break;
    case RAFT_CORE_TIMEOUT:
        timeout(&step);
        break;
    case RAFT_CORE_TRIM:
        trim(&step, event->index);
        break;
    case RAFT_CORE_INSTALL:
        install(&step, event->message);
        break;
    case RAFT_CORE_INSTALLED:
        installed(&step);
        break;
    case RAFT_CORE_TRANSFER:
        transfer(&step, event->server);
        break;
    }
    if (update->is_membership_appended || event->kind == RAFT_CORE_TRIM) {
        check_membership(core);
    }
}

/* ---- Questions ------------------------------------------------------------------------------------------------------ */

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
    return role_of(core);
}

uint64_t raft_core_leader(const struct raft_core *core)
{
    return leader_of(core);
}

uint64_t raft_core_commit(const struct raft_core *core)
{
    return core->commit;
}

uint64_t raft_core_apply_bound(const struct raft_core *core)
{
    struct raft_view view = view_of(core);
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
    const struct membership *membership = &latest(core)->membership;
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
    *membership_index = latest(core)->index;
    return &latest(core)->membership;
}

bool raft_core_is_alone(const struct raft_core *core)
{
    const struct membership *membership = &latest(core)->membership;
    return membership->count == 1 && membership->servers[0].id == core->params.id;
}

enum err raft_core_check_change(const struct raft_core *core, const struct membership *next)
{
    struct raft_view view = view_of(core);
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
        .last_index = core->terms.last_index,
        .change_index = core->raft.configuration_uncommitted_index,
        .membership.count = core->raft.configuration.n,
        .version = RAFT_VERSION_NUMBER,
    };
    for (unsigned i = 0; i < core->raft.configuration.n && i < REPLICA_SERVER_COUNT_MAX; i++) {
        probe->membership.servers[i].id = core->raft.configuration.servers[i].id;
        probe->membership.servers[i].is_voter = core->raft.configuration.servers[i].role == RAFT_VOTER;
    }
}
