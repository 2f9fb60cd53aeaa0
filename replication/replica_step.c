/* The one step function: all that reaches libraft's core goes through replica_step(), and what comes of it is followed
 * here, in the order that makes it safe: hard state to the WAL, then entries to the WAL and the tail, then messages to
 * the outbox, which holds them until both are durable.
 *
 * Failure: libraft gives up: the replica is marked damaged, takes no more steps, and its owner is told at the end of
 * the turn. */
#include "replication/replica_internal.h"

#include "base/assert.h"
#include "base/canary.h"
#include "replication/raft_rules.h"

#include <stdio.h>

static uint64_t wal_put(struct replica *replica, const struct wal_frame *frame)
{
    const struct replica_wal *wal = &replica->shard->params.wal;
    shard_mark_waiting(replica);
    return wal->append(wal->wal, frame);
}

static void set_gate(struct replica *replica, uint64_t lsn)
{
    assert(!replica->has_gate || lsn >= replica->gate_lsn);
    replica->gate_lsn = lsn;
    replica->has_gate = true;
}

static void put_hard_state(struct replica *replica)
{
    struct wal_frame frame = {
        .group = replica->group,
        .kind = WAL_HARD_STATE,
        .term = raft_core_term(replica->core),
        .value = canary_is(CANARY_FORGET_VOTE) ? 0 : raft_core_vote(replica->core),
    };
    set_gate(replica, wal_put(replica, &frame));
}

void replica_mark_commit(struct replica *replica)
{
    if (replica->is_stopped || replica->applied_index <= replica->marked_index || replica->applied_index < 2) {
        return; /* entry 1 is committed from the start */
    }
    struct wal_frame frame = {.group = replica->group, .kind = WAL_COMMIT, .index = replica->applied_index};
    if (canary_is(CANARY_COMMIT_MARK_AHEAD)) {
        frame.index = raft_core_last_index(replica->core);
    }
    replica->marked_index = replica->applied_index;
    (void)replica->shard->params.wal.append(replica->shard->params.wal.wal, &frame); /* nobody waits for it */
}

uint64_t replica_put_entry(struct replica *replica, const struct entry *entry, uint64_t flags)
{
    struct wal_frame frame = {
        .group = replica->group,
        .kind = WAL_ENTRY,
        .index = entry->index,
        .term = entry->term,
        .value = (uint64_t)entry->kind | flags,
        .slices = entry->slices,
        .slice_count = entry->slice_count,
    };
    return wal_put(replica, &frame);
}

static void cut_tail(struct replica *replica, uint64_t index)
{
    assert(index > replica->applied_index);
    tail_cut(&replica->tail, index);
    if (replica->durable_index >= index) {
        replica->durable_index = index - 1;
    }
}

static void put_entries(struct replica *replica, const struct raft_core_update *update)
{
    if (update->first_index < tail_end(&replica->tail)) {
        cut_tail(replica, update->first_index);
    }
    uint64_t lsn = 0;
    if (!canary_is(CANARY_FRAMES_PINNED)) {
        entries_unpin(update->entries, update->entry_count);
    }
    for (unsigned i = 0; i < update->entry_count; i++) {
        lsn = replica_put_entry(replica, update->entries[i], 0);
        tail_push(&replica->tail, update->entries[i], lsn);
    }
    if (update->is_membership_appended && raft_core_role(replica->core) == REPLICA_LEADER &&
        rule_is_on(RULE_GATE_CHANGE)) {
        set_gate(replica, lsn); /* R23 */
    }
}

/* The log is gone, the staged state takes its place when the record is durable (R12). */
static void put_install(struct replica *replica, const struct replica_message *message)
{
    uint8_t payload[MEMBERSHIP_SIZE_MAX];
    size_t size = membership_encode(&message->install.membership, payload);
    struct slice slice = {.bytes = {payload, size}};
    struct wal_frame frame = {
        .group = replica->group,
        .kind = WAL_INSTALL,
        .index = message->install.last_index,
        .term = message->install.last_term,
        .value = message->install.membership_index,
        .slices = &slice,
        .slice_count = 1,
    };
    replica->is_installing = true;
    replica->install_index = message->install.last_index;
    if (canary_is(CANARY_INSTALL_UNWRITTEN)) {
        frame =
            (struct wal_frame){.group = replica->group, .kind = WAL_HARD_STATE, .term = raft_core_term(replica->core)};
    }
    replica->install_lsn = wal_put(replica, &frame);
    tail_reset(&replica->tail, message->install.last_index + 1);
    replica->applied_size = 0;
    replica->durable_index = message->install.last_index;
}

void replica_drop_pending(struct replica *replica)
{
    for (unsigned i = 0; i < replica->pending_count; i++) {
        entry_release(replica->pending[i]);
    }
    replica->pending_count = 0;
    replica->pending_size = 0;
}

void replica_set_damage(struct replica *replica, const char *cause)
{
    if (replica->damage == NULL) {
        (void)snprintf(replica->damage_text, sizeof replica->damage_text, "%s", cause);
        replica->damage = replica->damage_text;
        shard_mark_dirty(replica);
    }
}

/* What one step led to, in the order that makes it safe: hard state, entries, then messages, which wait for both. */
void replica_follow(struct replica *replica, const struct raft_core_event *event)
{
    struct raft_core_update *update = &replica->shard->update;
    if (update->is_hard_state_changed) {
        put_hard_state(replica);
    }
    if (update->is_installing) {
        put_install(replica, event->message);
    }
    if (update->entry_count > 0) {
        put_entries(replica, update);
    }
    for (unsigned i = 0; i < update->message_count; i++) {
        outbox_put(replica, &update->messages[i]);
    }
    if (update->is_role_changed) {
        replica->is_role_new = true;
        replica_drop_pending(replica);
        replica->transfer_target = 0;
    }
    if (update->err == ERR_DAMAGED) {
        replica_set_damage(replica, update->failure);
    }
    uint64_t deadline_ms = raft_core_deadline_ms(replica->core);
    if (deadline_ms != replica->deadline_ms) {
        shard_set_deadline(replica, deadline_ms);
    }
    if (!replica->is_flushing) {
        shard_mark_dirty(replica);
    }
}

enum err replica_step(struct replica *replica, struct raft_core_event *event)
{
    struct replica_shard *shard = replica->shard;
    if (replica->is_stopped || replica->damage != NULL) {
        return ERR_CLOSED;
    }
    if (!replica->is_flushing) {
        shard->step_ms = shard_now_ms(shard);
    }
    event->now_ms = shard->step_ms;
    metrics_add(shard->params.env->metrics, METRIC_RAFT_STEPS, 1);
    raft_core_step(replica->core, event, &shard->update);
    replica_follow(replica, event);
    return shard->update.err;
}

void replica_tick(struct replica *replica)
{
    struct raft_core_event event = {.kind = RAFT_CORE_TIMEOUT};
    (void)replica_step(replica, &event);
}
