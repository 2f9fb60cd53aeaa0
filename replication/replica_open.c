/* The life of a replica (open at a recovered state, stop, close) and its side of checkpoints: what may be forgotten of
 * the log, and copies of what may not. */
#include "replication/replica_internal.h"

#include "base/assert.h"
#include "base/canary.h"
#include "base/mem.h"

/* ---- Open and close --------------------------------------------------------------------------------------------- */

struct entry *replica_bootstrap_entry(const struct membership *membership, uint64_t term)
{
    uint8_t payload[MEMBERSHIP_SIZE_MAX];
    size_t size = membership_encode(membership, payload);
    return entry_new_copy(ENTRY_CHANGE, 1, term, (struct bytes){payload, size});
}

/* The tail as the core wants it: entries alone. R11: applied up to index 1, the log starts with entry 1 all the
 * same. */
static void collect_tail(struct replica *replica, const struct replica_params *params, struct raft_core_start *start,
                         struct entry **entries)
{
    size_t count = 0;
    start->base_index = params->applied_index;
    start->base_term = params->applied_term;
    start->membership = params->membership;
    start->membership_index = params->membership_index;
    if (params->applied_index == 1) {
        entries[count++] = replica_bootstrap_entry(&params->membership, params->applied_term);
        start->base_index = 0;
        start->base_term = 0;
    }
    tail_init(&replica->tail, start->base_index + 1);
    for (size_t i = 0; i < params->tail_count; i++) {
        entries[count++] = entry_acquire(params->tail[i].entry);
    }
    start->entries = entries;
    start->entry_count = count;
}

enum err replica_open(struct replica_shard *shard, const struct replica_params *params, struct replica **replica_out,
                      struct errmsg *msg)
{
    struct replica *replica = mem_alloc(sizeof *replica);
    struct raft_core_start start = {.term = params->term, .vote = params->vote, .is_restart = !shard->is_started};
    struct entry **entries = mem_alloc((params->tail_count + 1) * sizeof *entries);
    struct raft_core_params core = {
        .id = shard->params.server_id,
        .seed = (uint32_t)env_random(shard->params.env),
        .heartbeat_ms = shard->params.heartbeat_ms,
        .election_ms = shard->params.election_ms,
    };
    collect_tail(replica, params, &start, entries);
    enum err err = raft_core_open(&core, &start, shard_now_ms(shard), &shard->update, &replica->core, msg);
    if (err == OK) {
        shard_add(shard, replica);
        replica->machine = params->machine;
        replica->machine->replica = replica;
        replica->group = params->group;
        replica->applied_index = params->applied_index;
        replica->marked_index = params->applied_index;
        size_t extra = start.entry_count - params->tail_count;
        for (size_t i = 0; i < start.entry_count; i++) {
            tail_push(&replica->tail, entries[i], i < extra ? 0 : params->tail[i - extra].lsn);
        }
        replica->applied_size = extra > 0 ? tail_entry_size(entries[0]) : 0;
        replica->durable_index = tail_end(&replica->tail) - 1;
        outbox_init(&replica->outbox);
        replica_follow(replica, NULL);
        *replica_out = replica;
    }
    for (size_t i = 0; i < start.entry_count; i++) {
        entry_release(entries[i]);
    }
    mem_free(entries);
    if (err != OK) {
        tail_deinit(&replica->tail);
        mem_free(replica);
    }
    return err;
}

void replica_count_tail(struct replica *replica)
{
    struct replica_shard *shard = replica->shard;
    size_t size = replica->is_stopped ? 0 : replica->tail.size + replica->pending_size;
    metrics_add(shard->params.env->metrics, METRIC_TAIL_BYTES, (int64_t)size - (int64_t)replica->counted_size);
    shard->tail_size = shard->tail_size - replica->counted_size + size;
    replica->counted_size = size;
    size_t waiting = replica->is_stopped ? 0 : replica_unapplied_size(replica);
    bool is_led = waiting > 0 && raft_core_role(replica->core) == REPLICA_LEADER;
    shard->intake = shard->intake - replica->counted_intake + (is_led ? waiting : 0);
    replica->counted_intake = is_led ? waiting : 0;
    shard->followed = shard->followed - replica->counted_followed + (is_led ? 0 : waiting);
    replica->counted_followed = is_led ? 0 : waiting;
}

void replica_stop(struct replica *replica)
{
    if (replica->is_stopped) {
        return;
    }
    replica->is_stopped = true;
    replica_drop_pending(replica);
    replica_count_tail(replica);
    shard_remove(replica);
    outbox_deinit(&replica->outbox);
    if (replica->told.role == REPLICA_LEADER) {
        metrics_add(replica->shard->params.env->metrics, METRIC_LEADERS, -1);
        replica->told.role = REPLICA_FOLLOWER;
    }
}

void replica_close(struct replica *replica)
{
    replica_stop(replica);
    replica->shard->replica_count--;
    replica->machine->replica = NULL;
    raft_core_close(replica->core);
    tail_deinit(&replica->tail);
    mem_free(replica->pending);
    mem_free(replica);
}

void replica_damaged(struct replica *replica, const char *cause)
{
    if (!replica->is_stopped) {
        replica_set_damage(replica, cause);
    }
}

/* ---- Checkpoints ------------------------------------------------------------------------------------------------ */

/* The first entry that no checkpoint can hold. R11: none stands at index 1. A founder's first entry is made from the
 * local store again (lsn 0), a joiner's came from its leader and is nowhere else than in the WAL. */
static uint64_t kept_index(const struct replica *replica)
{
    bool is_first_kept =
        replica->applied_index == 1 && replica->tail.first_index == 1 && tail_at(&replica->tail, 1)->lsn > 0;
    return is_first_kept ? 1 : replica->applied_index + 1;
}

void replica_mark(const struct replica *replica, struct replica_mark *mark)
{
    const struct replica_wal *wal = &replica->shard->params.wal;
    const struct raft_core *core = replica->core;
    if (replica->is_installing) {
        *mark = replica->install_mark;
        mark->hard_term = raft_core_term(core);
        mark->hard_vote = raft_core_vote(core);
        return;
    }
    *mark = (struct replica_mark){
        .index = replica->applied_index,
        .term = raft_core_term_at(core, replica->applied_index),
        .hard_term = raft_core_term(core),
        .hard_vote = raft_core_vote(core),
    };
    mark->membership = *raft_core_membership_at(core, replica->applied_index, &mark->membership_index);
    if (canary_is(CANARY_MEMBERSHIP_OF_TAIL)) {
        mark->membership = *raft_core_membership(core, &mark->membership_index);
    }
    if (canary_is(CANARY_CHECKPOINT_WITHOUT_VOTE)) {
        mark->hard_term = mark->term;
        mark->hard_vote = 0;
    }
    uint64_t next = kept_index(replica);
    mark->lsn = next < tail_end(&replica->tail) ? tail_at(&replica->tail, next)->lsn : wal->end_lsn(wal->wal);
    if (replica->copied_end_lsn > replica->shard->durable_lsn && replica->copied_lsn < mark->lsn &&
        !canary_is(CANARY_COPIES_NOT_DURABLE)) {
        mark->lsn = replica->copied_lsn; /* a crash may still take the copies */
    }
}

void replica_checkpointed(struct replica *replica, uint64_t index)
{
    if (replica->is_stopped || replica->is_installing || index < 2) {
        return;
    }
    /* What is not in memory any more need not be known to the core either. What still is stays readable for
     * followers. */
    uint64_t gone = replica->tail.first_index - 1;
    uint64_t base = gone < index ? gone : index;
    if (base >= 2 && base <= raft_core_stored(replica->core) && base <= raft_core_apply_bound(replica->core)) {
        replica->trim_index = base;
        replica_trim(replica);
    }
}

void replica_copy_forward(struct replica *replica)
{
    const struct replica_wal *wal = &replica->shard->params.wal;
    if (replica->is_stopped || replica->is_installing || replica->durable_index + 1 < tail_end(&replica->tail) ||
        replica->copied_end_lsn > replica->shard->durable_lsn) {
        return; /* what is not durable yet is recent */
    }
    struct replica_mark mark;
    replica_mark(replica, &mark);
    replica_mark_commit(replica);
    for (uint64_t index = kept_index(replica); index < tail_end(&replica->tail); index++) {
        struct tail_slot *slot = tail_at(&replica->tail, index);
        if (slot->lsn > 0) { /* a founder's first entry is not in the WAL */
            slot->lsn = replica_put_entry(replica, slot->entry, REPLICA_ENTRY_COPY);
        }
    }
    replica->copied_lsn = mark.lsn;
    replica->copied_end_lsn = wal->end_lsn(wal->wal);
}
