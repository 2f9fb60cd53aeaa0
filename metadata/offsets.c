/* Happy path: commits gather in `waiting`; at the end of the turn, or when the record before has been answered, as many
 * as fit go into one record and wait in `sent`; its answer, which comes after the store's commit, is theirs.
 * Failure: a proposal that is refused is answered to all in the record; clients find the coordinator anew and repeat:
 * a commit that is applied twice changes nothing. */

#include "metadata/offsets.h"
#include "base/assert.h"
#include "base/canary.h"
#include "base/limits.h"
#include "base/mem.h"

struct offsets {
    struct env *env;
    struct metadata *metadata; /* NULL: none */
    struct list waiting;       /* offsets_commit */
    struct list sent;          /* in the record that is on its way */
    struct list refused;       /* too large */
    struct list removing;      /* offsets_remove whose next record is due */
    struct metadata_propose propose;
    struct task task;
    bool is_proposing;
};

enum kafka_error offsets_error(enum kafka_error proposed)
{
    switch ((int)proposed) {
    case KAFKA_NOT_CONTROLLER:
        return KAFKA_NOT_COORDINATOR;
    case KAFKA_REQUEST_TIMED_OUT:
        return KAFKA_COORDINATOR_NOT_AVAILABLE;
    default:
        return proposed;
    }
}

static void answer_all(struct list *list, enum kafka_error error)
{
    struct list answered;
    struct list *link;
    list_init(&answered);
    list_move_all(&answered, list);
    while ((link = list_pop(&answered)) != NULL) {
        struct offsets_commit *req = container_of(link, struct offsets_commit, link);
        req->error = error;
        req->cb(req);
    }
}

static void offsets_on_decided(struct metadata_propose *propose)
{
    struct offsets *offsets = container_of(propose, struct offsets, propose);
    offsets->is_proposing = false;
    if (!list_is_empty(&offsets->waiting)) {
        env_task(offsets->env, &offsets->task);
    }
    answer_all(&offsets->sent, offsets_error(propose->error));
}

/* Moves what fits in one record to `sent`. At least one: a commit alone always fits. */
static size_t take_waiting(struct offsets *offsets, Balsa__Record__OffsetsCommitted__Commit **commits)
{
    size_t count = 0;
    size_t size = 0;
    while (!list_is_empty(&offsets->waiting) && count < OFFSETS_RECORD_COUNT_MAX) {
        struct offsets_commit *req = container_of(offsets->waiting.next, struct offsets_commit, link);
        if (count > 0 && size + req->size > OFFSETS_RECORD_SIZE) {
            break;
        }
        list_remove(&req->link);
        list_push(&offsets->sent, &req->link);
        size += req->size;
        if (req->commit != NULL) {
            req->commit->commit_ms = env_wall_ms(offsets->env);
            commits[count++] = req->commit;
        }
    }
    return count;
}

static void propose_waiting(struct offsets *offsets)
{
    Balsa__Record__OffsetsCommitted committed = BALSA__RECORD__OFFSETS_COMMITTED__INIT;
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    committed.commits = mem_alloc(OFFSETS_RECORD_COUNT_MAX * sizeof(*committed.commits));
    committed.n_commits = take_waiting(offsets, committed.commits);
    record.kind_case = BALSA__RECORD__RECORD__KIND_OFFSETS_COMMITTED;
    record.offsets_committed = &committed;
    offsets->is_proposing = true;
    metrics_add(offsets->env->metrics, METRIC_OFFSET_RECORDS, 1);
    offsets->propose.cb = offsets_on_decided;
    metadata_propose(offsets->metadata, &record, &offsets->propose);
    mem_free(committed.commits);
    if (canary_is(CANARY_OFFSETS_ACKED_EARLY)) {
        answer_all(&offsets->sent, KAFKA_NONE);
    }
}

/* ---- Removal ---- */

static enum kafka_error remove_error(const struct metadata_propose *propose)
{
    bool is_passed_over = propose->error == KAFKA_GROUP_ID_NOT_FOUND || propose->error == KAFKA_NON_EMPTY_GROUP;
    return is_passed_over ? KAFKA_NONE : offsets_error(propose->error);
}

static void remove_on_decided(struct metadata_propose *propose)
{
    struct offsets_remove *req = container_of(propose, struct offsets_remove, propose);
    req->error = remove_error(propose);
    if (req->error == KAFKA_NONE && (req->done_count < req->count || req->done_group_count < req->group_count)) {
        list_push(&req->offsets->removing, &req->link);
        env_task(req->offsets->env, &req->offsets->task);
    } else {
        req->cb(req);
    }
}

static size_t at_most(size_t count)
{
    return count < OFFSETS_REMOVED_COUNT_MAX ? count : OFFSETS_REMOVED_COUNT_MAX;
}

static void propose_offsets(struct offsets_remove *req)
{
    Balsa__Record__OffsetsRemoved removed = BALSA__RECORD__OFFSETS_REMOVED__INIT;
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    size_t count = at_most(req->count - req->done_count);
    Balsa__Record__OffsetsRemoved__Offset *offsets = mem_alloc((count + 1) * sizeof(*offsets));
    removed.offsets = mem_alloc((count + 1) * sizeof(*removed.offsets));
    removed.n_offsets = count;
    for (size_t i = 0; i < count; i++) {
        const struct offsets_removal *removal = &req->removals[req->done_count + i];
        balsa__record__offsets_removed__offset__init(&offsets[i]);
        offsets[i].group = removal->group;
        offsets[i].topic.data = (uint8_t *)(uintptr_t)removal->topic.bytes; /* packed only */
        offsets[i].topic.len = sizeof(removal->topic.bytes);
        offsets[i].partition = removal->partition;
        offsets[i].commit_ms = removal->commit_ms;
        removed.offsets[i] = &offsets[i];
    }
    req->done_count += count;
    record.kind_case = BALSA__RECORD__RECORD__KIND_OFFSETS_REMOVED;
    record.offsets_removed = &removed;
    metadata_propose(req->offsets->metadata, &record, &req->propose);
    mem_free(removed.offsets);
    mem_free(offsets);
}

static void propose_groups(struct offsets_remove *req)
{
    Balsa__Record__GroupsRemoved removed = BALSA__RECORD__GROUPS_REMOVED__INIT;
    Balsa__Record__Record record = BALSA__RECORD__RECORD__INIT;
    size_t count = at_most(req->group_count - req->done_group_count);
    Balsa__Record__GroupsRemoved__Removal *removals = mem_alloc((count + 1) * sizeof(*removals));
    removed.removals = mem_alloc((count + 1) * sizeof(*removed.removals));
    removed.n_removals = count;
    for (size_t i = 0; i < count; i++) {
        const struct group_removal *group = &req->groups[req->done_group_count + i];
        balsa__record__groups_removed__removal__init(&removals[i]);
        removals[i].group.data = (uint8_t *)(uintptr_t)group->group.data; /* packed only */
        removals[i].group.len = group->group.size;
        removals[i].if_unused = group->if_unused;
        removed.removals[i] = &removals[i];
    }
    req->done_group_count += count;
    record.kind_case = BALSA__RECORD__RECORD__KIND_GROUPS_REMOVED;
    record.groups_removed = &removed;
    metadata_propose(req->offsets->metadata, &record, &req->propose);
    mem_free(removed.removals);
    mem_free(removals);
}

static void remove_next(struct offsets_remove *req)
{
    if (req->offsets->metadata == NULL) {
        req->error = KAFKA_NOT_COORDINATOR;
        req->cb(req);
    } else if (req->done_count < req->count || req->group_count == 0) {
        propose_offsets(req);
    } else {
        propose_groups(req);
    }
}

/* ---- The end of a turn ---- */

static void offsets_on_task(struct task *task)
{
    struct offsets *offsets = container_of(task, struct offsets, task);
    struct list *link;
    answer_all(&offsets->refused, KAFKA_INVALID_COMMIT_OFFSET_SIZE);
    if (offsets->metadata == NULL) {
        answer_all(&offsets->waiting, KAFKA_NOT_COORDINATOR);
    } else if (!offsets->is_proposing && !list_is_empty(&offsets->waiting)) {
        propose_waiting(offsets);
    }
    while ((link = list_pop(&offsets->removing)) != NULL) {
        remove_next(container_of(link, struct offsets_remove, link));
    }
}

struct offsets *offsets_open(struct env *env)
{
    struct offsets *offsets = mem_alloc(sizeof(*offsets));
    offsets->env = env;
    list_init(&offsets->waiting);
    list_init(&offsets->sent);
    list_init(&offsets->refused);
    list_init(&offsets->removing);
    task_init(&offsets->task, offsets_on_task);
    return offsets;
}

void offsets_close(struct offsets *offsets)
{
    assert(list_is_empty(&offsets->waiting) && list_is_empty(&offsets->refused));
    assert(list_is_empty(&offsets->removing));
    assert(!offsets->is_proposing);
    offsets->env->tasks->cancel(offsets->env->tasks, &offsets->task);
    mem_free(offsets);
}

void offsets_set_metadata(struct offsets *offsets, struct metadata *metadata)
{
    offsets->metadata = metadata;
}

void offsets_commit(struct offsets *offsets, struct offsets_commit *req)
{
    req->error = KAFKA_NONE;
    req->size = req->commit != NULL ? protobuf_c_message_get_packed_size(&req->commit->base) : 0;
    list_init(&req->link);
    list_push(req->size <= OFFSETS_COMMIT_SIZE_MAX ? &offsets->waiting : &offsets->refused, &req->link);
    env_task(offsets->env, &offsets->task);
}

void offsets_remove(struct offsets *offsets, struct offsets_remove *req)
{
    req->error = KAFKA_NONE;
    req->done_count = 0;
    req->done_group_count = 0;
    req->offsets = offsets;
    req->propose.cb = remove_on_decided;
    list_init(&req->link);
    list_push(&offsets->removing, &req->link);
    env_task(offsets->env, &offsets->task);
}
