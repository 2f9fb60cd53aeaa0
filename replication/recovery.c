/* Happy path: recovery_open() makes the machines at their checkpoints; the WAL calls recovery_replay() for each frame;
 * entries gather in the group's tail and move into the machine when a commit mark passes; what is left is the tail.
 * Failure: a frame that contradicts what came before it (a gap, a term going back) cannot be a torn tail, which the WAL
 * has cut: it is damage, recovery ends with its text and nothing is served. */

#include "replication/recovery.h"
#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct recovery_group *group_add(struct recovery *recovery, const struct checkpoint_group *found)
{
    const struct replicas_params *params = recovery->params;
    struct recovery_group *group = mem_alloc(sizeof(*group));
    group->group = found->group;
    group->type = found->type;
    group->checkpoint = found->raft;
    group->term = found->raft.hard_term;
    group->vote = found->raft.vote;
    group->fence_lsn = found->kept.layout == params->old_layout ? found->kept.lsn : 0;
    group->membership = found->raft.membership;
    group->membership_index = found->raft.membership_index;
    if (found->raft.index > 0) {
        group->applied_index = found->raft.index;
        group->applied_term = found->raft.term;
    }
    map_put(&recovery->groups, group->group, group);
    return group;
}

static void tail_add(struct recovery_group *group, struct entry *entry, uint64_t lsn)
{
    if (group->tail_count == group->tail_capacity) {
        group->tail_capacity = group->tail_capacity > 0 ? 2 * group->tail_capacity : 4;
        group->tail = mem_resize(group->tail, group->tail_capacity * sizeof(*group->tail));
    }
    group->tail[group->tail_count++] = (struct replica_tail_entry){entry, lsn};
}

static void tail_cut(struct recovery_group *group, size_t keep)
{
    while (group->tail_count > keep) {
        entry_release(group->tail[--group->tail_count].entry);
    }
}

static enum err open_group(void *context, const struct checkpoint_group *found, enum err err)
{
    struct recovery *recovery = context;
    const struct replicas_params *params = recovery->params;
    struct errmsg msg = {""};
    if (replicas_shard(found->group, params->shard_count) != params->env->shard) {
        return OK;
    }
    struct recovery_group *group = group_add(recovery, found);
    bool is_known = err != OK || found->damage.size > 0;
    group->is_hard_state_lost = err != OK;
    if (err != OK) {
        err =
            fail(&msg, err, "local store: the record of group %llu does not decode", (unsigned long long)found->group);
    } else if (found->damage.size > 0) {
        err = fail(&msg, ERR_DAMAGED, "found earlier: %.*s", (int)found->damage.size, (const char *)found->damage.data);
    } else {
        err = params->machine_open(params->owner, found->type, found->group, found->description, found->state,
                                   &group->machine, &msg);
    }
    if (err != OK) {
        group->machine = NULL;
        if (found->type == GROUP_METADATA || (err != ERR_DAMAGED && err != ERR_CORRUPT)) {
            return fail(&recovery->failure, err, "%s", msg.text);
        }
        group->damage = is_known ? NULL : mem_strdup(msg.text);
        trace(ERROR, REPLICA, "group out of service", KV("group", (int64_t)found->group),
              KV("cause", (const char *)msg.text));
        return OK;
    }
    if (found->raft.index == 0 && found->raft.membership.count > 0) {
        tail_add(group, replica_bootstrap_entry(&found->raft.membership, found->raft.term), 0);
        group->term = group->term > found->raft.term ? group->term : found->raft.term;
    }
    return OK;
}

enum err recovery_open(struct recovery *recovery, const struct replicas_params *params, struct errmsg *msg)
{
    struct kv_txn *txn;
    *recovery = (struct recovery){.params = params};
    map_init(&recovery->groups);
    enum err err = kv_begin_read(params->local, &txn);
    if (err != OK) {
        return fail(msg, err, "local store: %s", err_text(err));
    }
    err = checkpoint_each(txn, recovery, open_group);
    kv_abort(txn);
    if (err != OK) {
        return fail(msg, err, "%s",
                    recovery->failure.text[0] != '\0' ? recovery->failure.text : "local store: unreadable");
    }
    return OK;
}

static uint64_t last_index(const struct recovery_group *group)
{
    return group->applied_index + group->tail_count;
}

__attribute__((format(printf, 3, 4))) static void damage(struct recovery *recovery, const struct wal_record *record,
                                                         const char *format, ...)
{
    char text[160];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    recovery->err = fail(&recovery->failure, ERR_DAMAGED, "write-ahead log at LSN %llu, group %llu, index %llu: %s",
                         (unsigned long long)record->lsn, (unsigned long long)record->group,
                         (unsigned long long)record->index, text);
}

static void replay_copy(struct recovery *recovery, struct recovery_group *group, const struct wal_record *record)
{
    uint64_t index = record->index;
    if (index <= group->applied_index || index > last_index(group) + 1) {
        return;
    }
    enum entry_kind kind = (enum entry_kind)(record->value & ~(uint64_t)REPLICA_ENTRY_COPY);
    struct entry *entry = entry_new_copy(kind, index, record->term, record->payload);
    if (index == last_index(group) + 1) {
        tail_add(group, entry, record->lsn);
        return;
    }
    struct replica_tail_entry *place = &group->tail[index - group->applied_index - 1];
    if (place->entry->term != record->term) {
        damage(recovery, record, "a copy has term %llu, the entry has %llu", (unsigned long long)record->term,
               (unsigned long long)place->entry->term);
    }
    entry_release(place->entry);
    *place = (struct replica_tail_entry){entry, record->lsn};
}

static void replay_entry(struct recovery *recovery, struct recovery_group *group, const struct wal_record *record)
{
    uint64_t kind = record->value & ~(uint64_t)REPLICA_ENTRY_COPY;
    if (kind != ENTRY_COMMAND && kind != ENTRY_BARRIER && kind != ENTRY_CHANGE) {
        damage(recovery, record, "entry of unknown kind %llu", (unsigned long long)kind);
        return;
    }
    if ((record->value & REPLICA_ENTRY_COPY) != 0) {
        replay_copy(recovery, group, record);
        return;
    }
    if (record->index > last_index(group) + 1) {
        return; /* lies before entries that were written again later, or before the checkpoint */
    }
    if (record->index <= group->applied_index) {
        tail_cut(group, 0);
        return;
    }
    tail_cut(group, (size_t)(record->index - group->applied_index - 1));
    tail_add(group, entry_new_copy((enum entry_kind)kind, record->index, record->term, record->payload), record->lsn);
}

static void apply_first(struct recovery *recovery, struct recovery_group *group, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct entry *entry = group->tail[i].entry;
        if (!replica_machine_has_room(group->machine, entry)) {
            count = i; /* it stays in the tail, and is applied when there is room and a leader that says so again */
            break;
        }
        if (entry->kind == ENTRY_COMMAND) {
            group->machine->ops->apply(group->machine, entry);
            recovery->applied++;
        } else if (entry->kind == ENTRY_CHANGE) {
            struct shared *scratch = NULL;
            if (membership_decode(entry_payload(entry, &scratch), &group->membership) != OK) {
                recovery->err = fail(&recovery->failure, ERR_DAMAGED, "group %llu: entry %llu is no membership",
                                     (unsigned long long)group->group, (unsigned long long)entry->index);
            }
            group->membership_index = entry->index;
            shared_release(scratch);
        }
        group->applied_index = entry->index;
        group->applied_term = entry->term;
        entry_release(entry);
    }
    memmove(group->tail, group->tail + count, (group->tail_count - count) * sizeof(*group->tail));
    group->tail_count -= count;
    group->machine->ops->applied(group->machine);
}

static void replay_commit(struct recovery *recovery, struct recovery_group *group, const struct wal_record *record)
{
    uint64_t limit = record->index < last_index(group) ? record->index : last_index(group);
    if (limit > group->applied_index && limit > 1) { /* R11: never applied up to index 1 */
        apply_first(recovery, group, (size_t)(limit - group->applied_index));
    }
}

/* The log before it is gone. Below the checkpoint that is all; else the machine takes what was staged, which is there
 * until a checkpoint holds it. */
static void replay_install(struct recovery *recovery, struct recovery_group *group, const struct wal_record *record)
{
    struct membership membership;
    tail_cut(group, 0);
    if (record->index <= group->applied_index) {
        return;
    }
    if (group->machine->ops->install == NULL || membership_decode(record->payload, &membership) != OK) {
        damage(recovery, record, "a state was taken from the leader that this group cannot have");
        return;
    }
    group->machine->ops->install(group->machine, record->index);
    group->applied_index = record->index;
    group->applied_term = record->term;
    group->membership = membership;
    group->membership_index = record->value;
    recovery->installs++;
}

void recovery_replay(void *owner, const struct wal_record *record)
{
    struct recovery *recovery = owner;
    struct recovery_group *group = map_get(&recovery->groups, record->group);
    recovery->frames++;
    if (group == NULL || recovery->err != OK || record->lsn < group->fence_lsn ||
        (group->machine == NULL && record->kind != WAL_HARD_STATE)) {
        return;
    }
    switch (record->kind) {
    case WAL_HARD_STATE:
        if (record->term >= group->term) { /* frames before the checkpoint may still be there */
            group->term = record->term;
            group->vote = record->value;
        }
        break;
    case WAL_ENTRY:
        replay_entry(recovery, group, record);
        break;
    case WAL_COMMIT:
        replay_commit(recovery, group, record);
        break;
    case WAL_INSTALL:
        replay_install(recovery, group, record);
        break;
    case WAL_STOP:
        break;
    default:
        damage(recovery, record, "frame of unknown kind %d", (int)record->kind);
        break;
    }
}

enum err recovery_finish(struct recovery *recovery, struct errmsg *msg)
{
    trace(INFO, REPLICA, "recovered", KV("groups", (int64_t)recovery->groups.count),
          KV("frames", (int64_t)recovery->frames), KV("applied", (int64_t)recovery->applied),
          KV("installs", (int64_t)recovery->installs));
    return recovery->err == OK ? OK : fail(msg, recovery->err, "%s", recovery->failure.text);
}

void recovery_close(struct recovery *recovery)
{
    size_t cursor = 0;
    uint64_t id;
    struct recovery_group *group;
    while ((group = map_next(&recovery->groups, &cursor, &id)) != NULL) {
        tail_cut(group, 0);
        mem_free(group->tail);
        mem_free(group->damage);
        mem_free(group);
    }
    map_deinit(&recovery->groups);
}
