/* Happy path: replica_submit() keeps proposals until the end of the turn; replica_flush() steps what became durable
 * (PERSISTED) and then all proposals (SUBMIT), what is committed and durable goes to the machine, and messages leave.
 * What a step leads to is followed in replica_step.c.
 *
 * Failure modes: leadership lost: proposals not stepped are released and the machine is told, which answers its
 * waiters. libraft gives up, or the machine finds damage: the replica stops and the owner is told at the end of the
 * turn.
 * Close: replica_stop(), the machine, replica_close(), all in replica_open.c. */
#include "replication/replica_internal.h"

#include "base/assert.h"
#include "base/canary.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"

#include <string.h>

/* ---- The machine's side ----------------------------------------------------------------------------------------- */

/* A leader that is ready stays so until its term ends. */
static bool is_ready(const struct replica *replica)
{
    return !replica->is_stopped && replica->damage == NULL && !replica->is_installing &&
           raft_core_role(replica->core) == REPLICA_LEADER &&
           ((replica->told.is_ready && replica->told.term == raft_core_term(replica->core)) ||
            raft_core_term_at(replica->core, replica->applied_index) == raft_core_term(replica->core));
}

void replica_status(const struct replica *replica, struct replica_status *status)
{
    const struct raft_core *core = replica->core;
    bool is_out = replica->is_stopped || replica->damage != NULL;
    *status = (struct replica_status){
        .role = is_out ? REPLICA_FOLLOWER : raft_core_role(core),
        .is_ready = is_ready(replica),
        .term = raft_core_term(core),
        .leader = is_out ? 0 : raft_core_term_leader(core),
        .first_index = replica->tail.first_index,
        .last_index = raft_core_last_index(core),
        .durable_index = replica->durable_index,
        .commit_index = raft_core_commit(core),
        .applied_index = replica->applied_index,
        .heard_index = replica->heard_index,
    };
    status->membership = *raft_core_membership(core, &status->membership_index);
    status->is_membership_committed = status->membership_index <= status->commit_index;
}

uint64_t replica_group(const struct replica *replica)
{
    return replica->group;
}

bool replica_is_ready_leader(const struct replica *replica)
{
    return is_ready(replica);
}

uint64_t replica_term(const struct replica *replica)
{
    return raft_core_term(replica->core);
}

size_t replica_unapplied_size(const struct replica *replica)
{
    return replica->tail.size - replica->applied_size + replica->pending_size;
}

/* What waits to be committed must lie in the logs of all members, and once more where it is copied forward. Were that
 * more than a log holds, the members' logs could be full of entries that wait for each other. So a leader takes no more
 * than a share of its log, and followers no more than a larger one, however many leaders send: a group with next to
 * nothing waiting goes on in any case, and so the entries that all others wait for come through. */
static bool is_over_intake(const struct replica *replica, size_t waiting)
{
    const struct replica_shard *shard = replica->shard;
    return shard->params.intake_size > 0 && shard->intake > shard->params.intake_size && waiting > GROUP_INTAKE_FREE;
}

static bool is_full(const struct replica *replica, const struct entry *entry)
{
    const struct replica_wal *wal = &replica->shard->params.wal;
    uint64_t uncommitted =
        raft_core_last_index(replica->core) - raft_core_commit(replica->core) + replica->pending_count;
    size_t waiting = replica_unapplied_size(replica);
    return uncommitted >= GROUP_UNCOMMITTED_COUNT_MAX || waiting > GROUP_TAIL_SIZE_MAX ||
           entry->size > GROUP_TAIL_SIZE_MAX - waiting || replica->shard->tail_size > SHARD_TAIL_SIZE_MAX ||
           is_over_intake(replica, waiting + entry->size) || wal->is_stalled(wal->wal);
}

static void pending_add(struct replica *replica, struct entry *entry)
{
    if (replica->pending_count == replica->pending_capacity) {
        replica->pending_capacity = replica->pending_capacity == 0 ? 4 : replica->pending_capacity * 2;
        replica->pending = mem_resize(replica->pending, replica->pending_capacity * sizeof(struct entry *));
    }
    replica->pending[replica->pending_count++] = entry;
    replica->pending_size += tail_entry_size(entry);
    replica_count_tail(replica);
}

enum err replica_submit(struct replica *replica, struct entry *entry)
{
    struct metrics *metrics = replica->shard->params.env->metrics;
    assert(entry->index == 0);
    assert(entry->size <= ENTRY_SIZE_MAX);
    enum err err = OK;
    if (replica->is_stopped || replica->damage != NULL || raft_core_role(replica->core) != REPLICA_LEADER) {
        err = ERR_NOT_LEADER;
    } else if (!is_ready(replica) || replica->transfer_target != 0 || raft_core_is_transferring(replica->core)) {
        err = ERR_NOT_READY;
    } else if (is_full(replica, entry)) {
        err = ERR_BUSY;
    }
    if (err != OK) {
        metrics_add(metrics, METRIC_PROPOSALS_REFUSED, 1);
        return err;
    }
    pending_add(replica, entry);
    shard_mark_dirty(replica);
    return OK;
}

/* ---- Proposals to Raft ------------------------------------------------------------------------------------------ */

/* R15. libraft counts entries, we think in bytes. */
static void set_inflight(struct replica *replica)
{
    if (raft_core_is_alone(replica->core) || replica->tail.count == 0) {
        return;
    }
    size_t count = INFLIGHT_SIZE / (replica->tail.size / replica->tail.count + 1);
    if (count < RAFT_CORE_INFLIGHT_MIN) {
        count = RAFT_CORE_INFLIGHT_MIN;
    }
    if (count > RAFT_CORE_INFLIGHT_MAX) {
        count = RAFT_CORE_INFLIGHT_MAX;
    }
    raft_core_set_inflight(replica->core, (unsigned)count);
}

static void submit_pending(struct replica *replica)
{
    if (replica->pending_count == 0) {
        return;
    }
    struct entry **entries = replica->pending;
    unsigned count = replica->pending_count;
    set_inflight(replica);
    /* Off the replica before the step, which may lose leadership and drop what is pending. */
    replica->pending = NULL;
    replica->pending_count = 0;
    replica->pending_capacity = 0;
    replica->pending_size = 0;
    struct raft_core_event event = {.kind = RAFT_CORE_SUBMIT, .submit = {entries, count}};
    enum err err = replica_step(replica, &event);
    assert(err == OK || err == ERR_DAMAGED ||
           err == ERR_CLOSED); /* leader, and not transferring: admission saw to it */
    for (unsigned i = 0; i < count; i++) {
        entry_release(entries[i]);
    }
    if (replica->pending == NULL) {
        replica->pending = entries;
        replica->pending_capacity = count;
    } else {
        mem_free(entries);
    }
}

enum err replica_change(struct replica *replica, const struct membership *next)
{
    if (replica->is_stopped || replica->damage != NULL) {
        return ERR_NOT_LEADER;
    }
    if (replica->transfer_target != 0) {
        return ERR_NOT_READY;
    }
    enum err err = raft_core_check_change(replica->core, next);
    if (err != OK) {
        return err;
    }
    submit_pending(replica);
    uint8_t payload[MEMBERSHIP_SIZE_MAX];
    size_t size = membership_encode(next, payload);
    struct entry *entry = entry_new_copy(ENTRY_CHANGE, 0, 0, (struct bytes){payload, size});
    struct raft_core_event event = {.kind = RAFT_CORE_SUBMIT, .submit = {&entry, 1}};
    err = replica_step(replica, &event);
    entry_release(entry);
    return err;
}

enum err replica_transfer(struct replica *replica, uint64_t server)
{
    struct replica_status status;
    replica_status(replica, &status);
    const struct replica_server *target = membership_find(&status.membership, server);
    if (status.role != REPLICA_LEADER) {
        return ERR_NOT_LEADER;
    }
    if (target == NULL || !target->is_voter || server == replica->shard->params.server_id) {
        return ERR_INVALID;
    }
    if (replica->transfer_target != 0 || raft_core_is_transferring(replica->core)) {
        return ERR_BUSY;
    }
    submit_pending(replica);
    replica->transfer_target = server;
    replica->transfer_until_ms = shard_now_ms(replica->shard) + replica->shard->params.election_ms;
    replica->is_transfer_sent = false;
    shard_mark_dirty(replica);
    return OK;
}

/* R13. The order goes out once the target has the whole log; whatever happens, intake is open again after a while. */
static void go_on_with_transfer(struct replica *replica)
{
    if (replica->transfer_target == 0) {
        return;
    }
    if (shard_now_ms(replica->shard) >= replica->transfer_until_ms && !raft_core_is_transferring(replica->core)) {
        replica->transfer_target = 0;
        metrics_add(replica->shard->params.env->metrics, METRIC_TRANSFERS_FAILED, 1);
        return;
    }
    if (!replica->is_transfer_sent) {
        struct raft_core_event event = {.kind = RAFT_CORE_TRANSFER, .server = replica->transfer_target};
        replica->is_transfer_sent = replica_step(replica, &event) == OK;
    }
}

void replica_tell_commit(struct replica *replica)
{
    replica->is_telling = true;
    shard_mark_dirty(replica);
}

static void tell_commit(struct replica *replica)
{
    if (replica->is_telling && !raft_core_is_alone(replica->core)) {
        struct raft_core_event event = {.kind = RAFT_CORE_TELL};
        (void)replica_step(replica, &event); /* not the leader any more: its successor tells */
    }
    replica->is_telling = false;
}

uint64_t replica_match_index(const struct replica *replica, uint64_t server)
{
    return raft_core_match(replica->core, server);
}

bool replica_is_leading(const struct replica *replica)
{
    const struct replica_shard *shard = replica->shard;
    uint64_t membership_index;
    struct lease_time time = {
        .now_ms = shard_now_ms(shard),
        .election_ms = shard->params.election_ms,
        .released_ms = raft_core_released_ms(replica->core),
    };
    return is_ready(replica) &&
           (canary_is(CANARY_READS_UNLEASED) || raft_core_is_alone(replica->core) ||
            lease_is_held(&replica->lease, raft_core_term(replica->core),
                          raft_core_membership(replica->core, &membership_index), shard->params.server_id, &time));
}

/* ---- Messages in ------------------------------------------------------------------------------------------------ */

/* A follower has answered: it elects nobody else for a while, counted from when it was asked. An answer to what is yet
 * to be sent is none. */
static void note_answer(struct replica *replica, const struct replica_message *message)
{
    uint64_t now_ms = shard_now_ms(replica->shard);
    uint64_t echo_ms = canary_is(CANARY_LEASE_FROM_ANSWERS) ? now_ms : message->append_result.echo_ms;
    if (message->term == raft_core_term(replica->core) && raft_core_role(replica->core) == REPLICA_LEADER &&
        echo_ms > 0 && echo_ms <= now_ms) {
        lease_heard(&replica->lease, message->term, message->peer, echo_ms);
    }
}

static bool is_over_followed(const struct replica *replica)
{
    const struct replica_shard *shard = replica->shard;
    return shard->params.follow_size > 0 && shard->followed > shard->params.follow_size &&
           replica_unapplied_size(replica) > GROUP_INTAKE_FREE;
}

/* The disk is full, and these entries are not among the few that it still has room for. */
static bool is_without_space(struct replica *replica, const struct replica_message *message)
{
    struct replica_shard *shard = replica->shard;
    if (!shard->is_full || !replica->machine->takes_space) {
        return false;
    }
    size_t size = 0;
    for (unsigned i = 0; i < message->append.entry_count; i++) {
        size += message->append.entries[i]->size;
    }
    if (size > shard->full_allowance) {
        return true;
    }
    shard->full_allowance -= size;
    return false;
}

void replica_receive(struct replica *replica, const struct replica_message *message)
{
    struct replica_message copy = *message;
    if (copy.kind == REPLICA_INSTALL) {
        return;
    }
    if (copy.kind == REPLICA_APPEND && copy.term >= raft_core_term(replica->core) &&
        copy.append.commit_index > replica->heard_index) {
        replica->heard_index = copy.append.commit_index;
    }
    struct metrics *metrics = replica->shard->params.env->metrics;
    if (copy.kind == REPLICA_APPEND_RESULT) {
        metrics_add(metrics, METRIC_RAFT_REJECTED, copy.append_result.rejected > 0);
        note_answer(replica, &copy);
    }
    if (copy.kind == REPLICA_APPEND && (replica_unapplied_size(replica) > GROUP_TAIL_SIZE_MAX ||
                                        is_over_followed(replica) || is_without_space(replica, &copy))) {
        metrics_add(metrics, METRIC_RAFT_PUT_OFF, copy.append.entry_count);
        copy.append.entry_count = 0; /* a heartbeat; the entries come again when there is room */
    }
    struct raft_core_event event = {.kind = RAFT_CORE_RECEIVE, .message = &copy};
    metrics_add(metrics, METRIC_RAFT_REFUSED, replica_step(replica, &event) != OK);
    succession_look_again(replica);
}

enum err replica_install(struct replica *replica, const struct replica_message *message)
{
    if (replica->machine->ops->install == NULL) {
        return ERR_UNSUPPORTED;
    }
    struct replica_mark mark;
    replica_mark(replica, &mark);
    if (!replica->is_installing) {
        replica->install_mark = mark;
    }
    struct raft_core_event event = {.kind = RAFT_CORE_INSTALL, .message = message};
    return replica_step(replica, &event);
}

void replica_retain(struct replica *replica, size_t size)
{
    replica->retain_size = size;
}

static void finish_install(struct replica *replica)
{
    if (!replica->is_installing || replica->shard->durable_lsn <= replica->install_lsn) {
        return;
    }
    replica->is_installing = false;
    replica->applied_index = replica->install_index;
    replica->marked_index = replica->install_index;
    replica->machine->ops->install(replica->machine, replica->install_index);
    struct raft_core_event event = {.kind = RAFT_CORE_INSTALLED};
    (void)replica_step(replica, &event);
    if (replica->shard->params.on_installed != NULL) {
        replica->shard->params.on_installed(replica->shard->params.owner, replica);
    }
}

/* ---- The end of the turn ---------------------------------------------------------------------------------------- */

/* R10. What became durable since the last turn, of the log as it is now. */
static void step_durable(struct replica *replica)
{
    if (replica->is_installing) {
        return;
    }
    while (replica->durable_index + 1 < tail_end(&replica->tail) &&
           (tail_at(&replica->tail, replica->durable_index + 1)->lsn < replica->shard->durable_lsn ||
            canary_is(CANARY_ACK_BEFORE_SYNC))) {
        replica->durable_index++;
    }
    if (replica->durable_index > raft_core_stored(replica->core)) {
        struct raft_core_event event = {.kind = RAFT_CORE_PERSISTED, .index = replica->durable_index};
        (void)replica_step(replica, &event);
    }
}

/* Applied entries leave memory, but for what followers a little behind may still ask for. Entry 1 stays until entry 2
 * can go with it: no log is ever cut off at index 1 (R11). */
static void release_applied(struct replica *replica)
{
    const struct replica_shard *shard = replica->shard;
    size_t retain = shard->params.retain_size > 0 ? shard->params.retain_size : GROUP_RETAIN_SIZE;
    if (raft_core_is_alone(replica->core) || shard->tail_size > SHARD_RETAIN_SIZE_MAX) {
        retain = 0;
    }
    if (retain < replica->retain_size) {
        retain = replica->retain_size; /* a follower is being caught up: few groups at a time */
    }
    struct tail *tail = &replica->tail;
    while (replica->applied_size > retain && tail->first_index <= replica->applied_index) {
        if (tail->first_index == 1 && replica->applied_index < 2) {
            return;
        }
        do {
            replica->applied_size -= tail_entry_size(tail_at(tail, tail->first_index)->entry);
            tail_drop_first(tail);
        } while (tail->first_index == 2);
    }
}

/* A log that was cut off at index 1 could not go on (R11): what comes then is applied, room or not. */
bool replica_machine_has_room(struct replica_machine *machine, const struct entry *entry)
{
    return machine->ops->has_room == NULL || entry->kind != ENTRY_COMMAND || entry->index <= 2 ||
           machine->ops->has_room(machine, entry);
}

/* R16. Returns whether anything was applied. */
static bool apply_committed(struct replica *replica)
{
    uint64_t bound = raft_core_apply_bound(replica->core);
    uint64_t before = replica->applied_index;
    while (replica->applied_index < bound && replica->damage == NULL) {
        const struct entry *entry = tail_at(&replica->tail, replica->applied_index + 1)->entry;
        if (!replica_machine_has_room(replica->machine, entry)) {
            replica->shard->has_held = true;
            break;
        }
        if (entry->kind == ENTRY_COMMAND) {
            replica->machine->ops->apply(replica->machine, entry);
            if (canary_is(CANARY_APPLY_TWICE) && replica->marked_index == before) {
                replica->machine->ops->apply(replica->machine, entry);
            }
        }
        replica->applied_index++;
        replica->applied_size += tail_entry_size(entry);
    }
    if (replica->applied_index == before) {
        return false;
    }
    replica_mark_commit(replica); /* rides along with the next unit, starts none */
    release_applied(replica);
    return true;
}

/* The machine hears of role, term, leader and readiness when one of them differs from what it knows. */
static void tell_role(struct replica *replica)
{
    const struct raft_core *core = replica->core;
    struct replica_status *told = &replica->told;
    if (told->is_ready && !replica->is_role_new) {
        return;
    }
    replica->is_role_new = false;
    bool ready = is_ready(replica);
    enum replica_role role = raft_core_role(core);
    if (replica->is_role_told && told->role == role && told->term == raft_core_term(core) &&
        told->leader == raft_core_term_leader(core) && told->is_ready == ready) {
        return;
    }
    int64_t leaders = (role == REPLICA_LEADER) - (told->role == REPLICA_LEADER);
    if (leaders != 0) {
        metrics_add(replica->shard->params.env->metrics, METRIC_LEADERS, leaders);
    }
    if (told->role != role || told->term != raft_core_term(core)) {
        struct metrics *metrics = replica->shard->params.env->metrics;
        metrics_add(metrics, METRIC_ELECTIONS, role == REPLICA_CANDIDATE);
        metrics_add(metrics, METRIC_LEADERS_LOST, leaders < 0);
        static const char *const names[] = {"follower", "candidate", "leader"};
        trace(DEBUG, REPLICA, names[role], KV("group", (int64_t)replica->group),
              KV("term", (int64_t)raft_core_term(core)));
    }
    replica_status(replica, told);
    replica->is_role_told = true;
    struct replica_status copy = *told;
    replica->machine->ops->role_changed(replica->machine, &copy);
}

void replica_trim(struct replica *replica)
{
    if (replica->trim_index > 0) {
        struct raft_core_event event = {.kind = RAFT_CORE_TRIM, .index = replica->trim_index};
        replica->trim_index = 0;
        (void)replica_step(replica, &event);
    }
}

static void report_damage(struct replica *replica)
{
    const struct replica_shard_params *params = &replica->shard->params;
    trace(ERROR, REPLICA, "out of service", KV("group", (int64_t)replica->group), KV("cause", replica->damage));
    char cause[sizeof replica->damage_text];
    memcpy(cause, replica->damage_text, sizeof cause);
    replica_stop(replica);
    params->on_damaged(params->owner, replica, cause); /* may close it */
}

static bool is_waiting(const struct replica *replica)
{
    return replica->durable_index + 1 < tail_end(&replica->tail) || replica->is_installing || outbox_is_gated(replica);
}

void replica_flush(struct replica *replica)
{
    if (replica->is_stopped) {
        return;
    }
    replica->is_flushing = true;
    finish_install(replica);
    step_durable(replica);
    go_on_with_transfer(replica);
    submit_pending(replica);
    if (replica->damage == NULL) {
        tell_role(replica);
    }
    if (replica->damage == NULL && apply_committed(replica)) {
        replica->machine->ops->applied(replica->machine);
    }
    if (replica->damage == NULL && replica->machine->wants_matches) {
        replica->machine->ops->matched(replica->machine);
    }
    if (replica->damage == NULL) {
        tell_commit(replica);
    }
    if (replica->damage == NULL) {
        tell_role(replica); /* the entry that makes a leader ready may have been among them */
        outbox_release(replica);
        replica_trim(replica);
    }
    replica_count_tail(replica);
    replica->is_flushing = false;
    if (replica->damage != NULL) {
        report_damage(replica);
        return;
    }
    if (is_waiting(replica)) {
        shard_mark_waiting(replica);
    }
}
