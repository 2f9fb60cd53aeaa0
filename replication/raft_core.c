/* Happy path: raft_core_step() turns one event into one or more calls of raft_step(), each through core_step(), which
 * gathers what it says into the caller's update, becomes leader with a barrier (R8), and feeds committed membership
 * changes back (CONFIGURATION) before anything else is stepped.
 *
 * Failure modes: an event that Raft refuses has no effect and is named in update.err. libraft giving up (it found a
 * committed entry in conflict) is ERR_DAMAGED: the group is stopped. Memory never runs out (mem_alloc).
 *
 * Ownership (libraft 0.22.1): arrays of entries given to it stay ours; what an entry's `batch` points to is freed by
 * libraft unless it came back in an update, so every APPEND carries one token of one byte; configurations that are
 * given move to libraft; messages are valid until its next step and are translated at once. Payload never goes in, but
 * for that of membership changes. */
#include "replication/raft_core_internal.h"

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/lease.h"

#include <pthread.h>
#include <string.h>

#define INSTALL_TIMEOUT_MS 4000 /* R21; the default is 30 s */
/* R26. The other members' replicas are made when this one is, give or take a sync or two. */
#define HURRY_FIRST_MS 2u /* then twice as long each time, up to */
#define HURRY_MS_MAX 100u
#define HURRY_COUNT_MAX 30

/* ---- Memory of libraft ------------------------------------------------------------------------------------------ */

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

/* ---- Start ------------------------------------------------------------------------------------------------------ */

static void core_init_raft(struct raft_core *core)
{
    int rv = raft_init(&core->raft, NULL, NULL, core->params.id, PEER_ADDRESS);
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

/* R26. A new group, in which nobody can have led yet, need not wait out a timeout: its first member campaigns, again
 * and again for a while, as the others' replicas may not be there yet. Pre-votes, so no term is spent on it. */
static void hurry(struct raft_core *core)
{
    const struct membership *membership = &core_latest(core)->membership;
    unsigned doublings = core->hurries < 6 ? core->hurries : 6;
    unsigned hurry_ms = HURRY_FIRST_MS << doublings < HURRY_MS_MAX ? HURRY_FIRST_MS << doublings : HURRY_MS_MAX;
    if (!rule_is_on(RULE_HURRY) || core->terms.last_index != 1 || core->hurries == HURRY_COUNT_MAX ||
        membership->servers[0].id != core->params.id || hurry_ms >= core->params.election_ms) {
        return;
    }
    if (core->raft.state == RAFT_FOLLOWER && core->raft.follower_state.current_leader.id == 0) {
        core->raft.follower_state.randomized_election_timeout = hurry_ms;
        core->hurries++;
    } else if (core->raft.state == RAFT_CANDIDATE) {
        core->raft.candidate_state.randomized_election_timeout = hurry_ms;
        core->hurries++;
    }
}

/* START with all of the log durable. R9d: a sole voter elects itself inside this step without a new term, so it gets
 * its new term and vote here, and its messages wait until they are durable like those after any other vote. */
static void core_start(struct step *step, uint64_t term, uint64_t vote)
{
    struct raft_core *core = step->core;
    core_init_raft(core);
    core->seen_term = term;
    core->seen_vote = vote;
    if (rule_is_on(RULE_SOLE_VOTER) && membership_is_sole_voter(&core_latest(core)->membership, core->params.id)) {
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
        metadata.configuration = core_configuration(&core->base.membership);
        metadata.configuration_index = core->base.index;
        event.start.metadata = &metadata;
    }
    struct raft_entry *entries = event.start.entries;
    /* All but the last change are committed, as there is at most one that is not. */
    core->confirmed = core->change_count > 1       ? core->changes[core->change_count - 2].index
                      : core->terms.base_index > 0 ? core->base.index
                      : core->change_count > 0     ? core->changes[0].index
                                                   : 0;
    step->entry_count = 0;
    core_step(step, &event);
    raft_free(entries);
    mem_free(payloads);
    hurry(core);
    core_check_membership(core);
}

static enum err start_check(const struct raft_core_start *start, struct errmsg *msg)
{
    uint64_t term = start->base_term;
    if (start->base_index == 1 || (start->base_index == 0) != (start->base_term == 0)) {
        return fail(msg, ERR_INVALID, "no log starts behind index %llu, term %llu",
                    (unsigned long long)start->base_index, (unsigned long long)start->base_term);
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
            core_add_change(core, start->entries[i]->index, start->entries[i]);
        }
    }
    bool is_new = core->terms.last_index == 1 && start->term == term_log_last(&core->terms); /* nobody has led it */
    core->silent_until_ms = start->is_restart && !is_new ? now_ms + lease_span_ms(params->election_ms) : 0;
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

/* ---- Events ----------------------------------------------------------------------------------------------------- */

static void persisted(struct step *step, uint64_t index)
{
    struct raft_view view = core_view(step->core);
    index = rule_persisted(&view, index);
    if (index > 0) {
        struct raft_event event = {.type = RAFT_PERSISTED_ENTRIES};
        event.persisted_entries.index = index;
        core_step(step, &event);
    }
}

/* R9b. A change comes alone: refused together with others, those would stay in libraft's log without ever being
 * ours. */
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
            step->update->err = count == 1 ? membership_decode(entries[i]->slices[0].bytes, &next) : ERR_INVALID;
            if (step->update->err == OK) {
                step->update->err = raft_core_check_change(core, &next);
            }
            if (step->update->err != OK) {
                return;
            }
        }
        entries[i]->term = core->raft.current_term;
    }
    struct raft_view view = core_view(core);
    bool is_nudging = rule_nudges(&view);
    struct raft_event event = {.type = RAFT_SUBMIT};
    event.submit.entries = core_entries(step, entries, count, core);
    event.submit.n = count;
    if (is_nudging) {
        raft_set_heartbeat_timeout(&core->raft, 0);
    }
    core_step(step, &event);
    if (is_nudging) {
        raft_set_heartbeat_timeout(&core->raft, core->params.heartbeat_ms);
    }
}

/* R9d, while running: this server became the sole voter as a follower. It is started again, which gives it a new
 * term. */
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
    struct raft_view view = core_view(core);
    if (rule_is_on(RULE_DUE) && core->now_ms < raft_core_deadline_ms(core)) {
        return;
    }
    if (rule_must_restart(&view)) {
        restart(step);
        return;
    }
    if (rule_asks_again(&view) && core->now_ms >= raft_timeout(&core->raft)) {
        core->raft.candidate_state.in_pre_vote = true; /* the election that begins in this step reads it */
    }
    struct raft_event event = {.type = RAFT_TIMEOUT};
    core_step(step, &event);
    hurry(core);
}

/* A heartbeat carries the commit index, and with a timeout of 0 it is due. */
static void tell(struct step *step)
{
    struct raft_core *core = step->core;
    if (core->raft.state != RAFT_LEADER) {
        step->update->err = ERR_NOT_LEADER;
        return;
    }
    struct raft_event event = {.type = RAFT_TIMEOUT};
    raft_set_heartbeat_timeout(&core->raft, 0);
    core_step(step, &event);
    raft_set_heartbeat_timeout(&core->raft, core->params.heartbeat_ms);
}

static void trim(struct step *step, uint64_t index)
{
    struct raft_core *core = step->core;
    struct raft_view view = core_view(core);
    if (!rule_may_trim(&view, index)) {
        step->update->err = ERR_INVALID;
        return;
    }
    uint64_t membership_index;
    struct raft_event event = {.type = RAFT_SNAPSHOT};
    event.snapshot.metadata.index = index;
    event.snapshot.metadata.term = term_log_at(&core->terms, index);
    event.snapshot.metadata.configuration = core_configuration(raft_core_membership_at(core, index, &membership_index));
    event.snapshot.metadata.configuration_index = membership_index;
    event.snapshot.trailing = 0;
    term_log_trim(&core->terms, index);
    core_trim_changes(core, index);
    core_step(step, &event);
}

static void install(struct step *step, const struct replica_message *source)
{
    struct raft_core *core = step->core;
    struct raft_view view = core_view(core);
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
    struct raft_message message = {
        .type = RAFT_INSTALL_SNAPSHOT, .server_id = source->peer, .server_address = PEER_ADDRESS};
    message.install_snapshot.term = source->term;
    message.install_snapshot.last_index = source->install.last_index;
    message.install_snapshot.last_term = source->install.last_term;
    message.install_snapshot.conf = core_configuration(&source->install.membership);
    message.install_snapshot.conf_index = source->install.membership_index;
    message.install_snapshot.data.base = raft_malloc(1);
    message.install_snapshot.data.len = 1;
    step->install = source;
    core->contact_until_ms = core->now_ms + core->params.election_ms;
    core_step_message(step, &message);
    if (!core->is_installing) {
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
    core_check_membership(core);
}

static void transfer(struct step *step, uint64_t server)
{
    struct raft_core *core = step->core;
    raft_index match = 0;
    const struct replica_server *target = membership_find(&core_latest(core)->membership, server);
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
        core_receive(&step, event->message);
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
    case RAFT_CORE_TELL:
        tell(&step);
        break;
    case RAFT_CORE_CAMPAIGN:
        core_campaign(&step, event->server);
        break;
    }
    if (update->is_membership_appended || event->kind == RAFT_CORE_TRIM) {
        core_check_membership(core);
    }
}
