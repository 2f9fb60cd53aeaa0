/*
 *              first member joins                 all have joined, or time is up          the assignment is stored
 *   EMPTY ─────────────────────────> PREPARING ────────────────────────────> COMPLETING ───────────────────────> STABLE
 *     ^                               ^  │  ^                                    │                                 │
 *     └── nobody has joined ──────────┼──┘  └── somebody joins, leaves, falls silent                               │
 *                                     └──────── somebody joins, leaves, falls silent; the leader joins again ──────┘
 *
 * Happy path: joins wait in PREPARING until the barrier opens (complete_join), all are told the generation, the
 * leader's sync brings the assignment, and when it is stored every sync is answered with its part.
 * A member that waits is alive; one that does not has to be heard of within its session timeout.
 * Order in one step: removals first, then at most one transition, so that what an answer points to is there when the
 * step is over. */

#include "base/assert.h"
#include "base/mem.h"
#include "metadata/group_internal.h"

/* ---- Answers ---- */

void group_refuse(struct group_wait *wait, enum kafka_error error, struct list *answered)
{
    wait->error = error;
    wait->member = NULL;
    wait->waiting = NULL;
    list_push(answered, &wait->link);
}

void group_start_wait(struct group_wait **place, struct group_member *member, struct group_wait *wait,
                      struct list *answered)
{
    if (*place != NULL) { /* the client has asked anew: the older question is nobody's */
        group_refuse(*place, KAFKA_REBALANCE_IN_PROGRESS, answered);
    }
    *place = wait;
    wait->waiting = member;
    wait->version = 0;
}

void group_end_join(struct group_member *member, enum kafka_error error, struct list *answered)
{
    if (member->join != NULL) {
        group_refuse(member->join, error, answered);
        member->join = NULL;
    }
}

void group_end_sync(struct group_member *member, enum kafka_error error, struct list *answered)
{
    if (member->sync != NULL) {
        group_refuse(member->sync, error, answered);
        member->sync = NULL;
    }
}

void group_heard_of(struct group_member *member, int64_t now_us)
{
    member->session_due_us = now_us + (int64_t)member->session_timeout_ms * 1000;
}

/* The generation as it is. */
void group_tell_generation(const struct group *group, struct group_member *member, struct group_wait *wait,
                           int64_t now_us, struct list *answered)
{
    wait->error = KAFKA_NONE;
    wait->member = member;
    wait->waiting = NULL;
    wait->leader_id = group->leader->id;
    wait->has_members = member == group->leader;
    wait->skips_assignment = false;
    group_heard_of(member, now_us);
    list_push(answered, &wait->link);
}

void group_tell_assignment(struct group_member *member, struct group_wait *wait, int64_t now_us, struct list *answered)
{
    wait->error = KAFKA_NONE;
    wait->member = member;
    wait->waiting = NULL;
    group_heard_of(member, now_us);
    list_push(answered, &wait->link);
}

/* ---- Transitions ---- */

static void prepare(struct group *group, int64_t now_us, struct list *answered)
{
    int64_t rebalance_us = group_rebalance_us(group);
    int64_t delay_us = (int64_t)group->limits->initial_delay_ms * 1000;
    for (size_t i = 0; i < group->member_count; i++) {
        if (group->members[i]->sync != NULL) {
            group_end_sync(group->members[i], KAFKA_REBALANCE_IN_PROGRESS, answered);
            group_heard_of(group->members[i], now_us);
        }
    }
    group->is_initial = group->state == GROUP_EMPTY && delay_us > 0;
    group->has_newcomer = false;
    group->initial_left_us = rebalance_us > delay_us ? rebalance_us - delay_us : 0;
    group->join_due_us = now_us + (group->is_initial ? delay_us : rebalance_us);
    group->is_assigned = false;
    group->state = GROUP_PREPARING;
}

static void next_generation(struct group *group)
{
    group->generation = group->generation < INT32_MAX ? group->generation + 1 : 1;
}

/* A group that was never more than an attempt leaves no trace. */
static void become_empty(struct group *group)
{
    group->state = GROUP_EMPTY;
    group_free(&group->protocol);
    if (group->generation > 0) {
        next_generation(group);
        group->version++;
    }
}

static struct group_member *first_joined(const struct group *group)
{
    for (size_t i = 0; i < group->member_count; i++) {
        if (group->members[i]->join != NULL) {
            return group->members[i];
        }
    }
    return NULL;
}

static void remove_absent(struct group *group)
{
    for (size_t i = group->member_count; i > 0; i--) {
        struct group_member *member = group->members[i - 1];
        if (member->join == NULL && member->instance_id.data == NULL) {
            group_remove(group, member);
        }
    }
}

static void tell_all(struct group *group, int64_t now_us, struct list *answered)
{
    for (size_t i = 0; i < group->member_count; i++) {
        struct group_member *member = group->members[i];
        group_assign(group, member, BYTES_NONE);
        group_free(&member->former_id);
        member->must_sync = member->join != NULL;
        if (member->join != NULL) {
            group_tell_generation(group, member, member->join, now_us, answered);
            member->join = NULL;
        }
    }
}

/* The barrier opens. Static members that have not joined stay until their sessions end (KIP-345); when nobody else is
 * there, somebody is waited for. */
static void complete_join(struct group *group, int64_t now_us, struct list *answered)
{
    remove_absent(group);
    struct group_member *joined = first_joined(group);
    if (group->member_count > 0 && joined == NULL) {
        group->join_due_us = now_us + group_rebalance_us(group);
        group->is_initial = false;
        return;
    }
    group->is_initial = false;
    if (group->member_count == 0) {
        become_empty(group);
        return;
    }
    next_generation(group);
    if (group->leader->join == NULL) {
        group->leader = joined;
    }
    struct bytes protocol = group_copy(group_vote(group));
    group_free(&group->protocol);
    group->protocol = protocol;
    group->state = GROUP_COMPLETING;
    group->sync_due_us = now_us + group_rebalance_us(group);
    tell_all(group, now_us, answered);
}

static bool all_have_joined(const struct group *group)
{
    for (size_t i = 0; i < group->member_count; i++) {
        if (group->members[i]->join == NULL) {
            return false;
        }
    }
    return group->pending_count == 0;
}

void group_try_complete(struct group *group, int64_t now_us, struct list *answered)
{
    if (group->state == GROUP_PREPARING && !group->is_initial && all_have_joined(group)) {
        complete_join(group, now_us, answered);
    }
}

/* Members have come or gone. */
void group_rebalance(struct group *group, int64_t now_us, struct list *answered)
{
    if (group->state != GROUP_PREPARING) {
        prepare(group, now_us, answered);
    }
    group_try_complete(group, now_us, answered);
}

void group_remove_member(struct group *group, struct group_member *member, struct list *answered)
{
    group_end_join(member, KAFKA_UNKNOWN_MEMBER_ID, answered);
    group_end_sync(member, KAFKA_UNKNOWN_MEMBER_ID, answered);
    group_remove(group, member);
}

/* ---- Waits that end otherwise ---- */

void group_withdraw(struct group *group, int64_t now_us, struct group_wait *wait, struct list *answered)
{
    struct group_member *member = wait->waiting;
    (void)group;
    if (member == NULL) {
        return;
    }
    if (member->join == wait) {
        group_end_join(member, KAFKA_UNKNOWN_MEMBER_ID, answered);
    } else {
        assert(member->sync == wait);
        group_end_sync(member, KAFKA_UNKNOWN_MEMBER_ID, answered);
    }
    group_heard_of(member, now_us);
}

static void answer_stored(struct group *group, int64_t now_us, bool is_ok, struct list *answered)
{
    for (size_t i = 0; i < group->member_count; i++) {
        struct group_member *member = group->members[i];
        struct group_wait *wait = member->join;
        if (wait == NULL || wait->version == 0 || wait->version > group->stored_version) {
            continue;
        }
        if (!is_ok) {
            group_end_join(member, KAFKA_COORDINATOR_NOT_AVAILABLE, answered);
            group_heard_of(member, now_us);
            continue;
        }
        member->join = NULL;
        group_tell_generation(group, member, wait, now_us, answered);
        if (member == group->leader && !wait->can_skip) {
            /* It must not assign anew, and would if it were told that it leads. */
            wait->has_members = false;
            wait->leader_id = member->former_id;
        }
        wait->skips_assignment = wait->has_members;
    }
}

static void answer_assigned(struct group *group, int64_t now_us, bool is_ok, struct list *answered)
{
    if (!is_ok) {
        for (size_t i = 0; i < group->member_count; i++) {
            if (group->members[i]->sync != NULL) {
                group_end_sync(group->members[i], KAFKA_COORDINATOR_NOT_AVAILABLE, answered);
                group_heard_of(group->members[i], now_us);
            }
        }
        group_rebalance(group, now_us, answered);
        return;
    }
    group->state = GROUP_STABLE;
    group->is_assigned = false;
    for (size_t i = 0; i < group->member_count; i++) {
        struct group_member *member = group->members[i];
        if (member->sync != NULL) {
            group_tell_assignment(member, member->sync, now_us, answered);
            member->sync = NULL;
        }
    }
}

/* A version that could not be stored is to be stored all the same, unless a later state will be: it is raised. */
void group_stored(struct group *group, int64_t now_us, uint64_t version, bool is_ok, struct list *answered)
{
    assert(version > group->stored_version);
    assert(version <= group->version);
    group->stored_version = version;
    if (group->state == GROUP_STABLE) {
        answer_stored(group, now_us, is_ok, answered);
    } else if (group->state == GROUP_COMPLETING && group->is_assigned && group->assigned_version <= version) {
        answer_assigned(group, now_us, is_ok, answered);
    }
    bool is_settled = group->state == GROUP_STABLE || group->state == GROUP_EMPTY;
    if (!is_ok && is_settled && group->version == version) {
        group->version++;
    }
}

/* ---- Time ---- */

static bool is_waiting(const struct group_member *member)
{
    return member->join != NULL || member->sync != NULL;
}

static bool remove_silent(struct group *group, int64_t now_us, struct list *answered)
{
    size_t count = group->member_count;
    for (size_t i = group->member_count; i > 0; i--) {
        struct group_member *member = group->members[i - 1];
        if (!is_waiting(member) && member->session_due_us <= now_us) {
            group_remove_member(group, member, answered);
        }
    }
    return group->member_count < count;
}

static bool has_sync_due(const struct group *group)
{
    return group->state == GROUP_COMPLETING || group->state == GROUP_STABLE;
}

/* A leader whose assignment is being stored has synced; so whoever must sync has had the whole rebalance timeout. */
static bool remove_unsynced(struct group *group, int64_t now_us, struct list *answered)
{
    size_t count = group->member_count;
    if (!has_sync_due(group) || group->sync_due_us > now_us) {
        return false;
    }
    for (size_t i = group->member_count; i > 0; i--) {
        if (group->members[i - 1]->must_sync) {
            group_remove_member(group, group->members[i - 1], answered);
        }
    }
    group->sync_due_us = GROUP_NEVER;
    return group->member_count < count;
}

static void barrier_due(struct group *group, int64_t now_us, struct list *answered)
{
    int64_t delay_us = (int64_t)group->limits->initial_delay_ms * 1000;
    if (group->is_initial && group->has_newcomer && group->initial_left_us > 0) {
        int64_t more_us = group->initial_left_us < delay_us ? group->initial_left_us : delay_us;
        group->has_newcomer = false;
        group->initial_left_us -= more_us;
        group->join_due_us = now_us + more_us;
        return;
    }
    complete_join(group, now_us, answered);
}

void group_time(struct group *group, int64_t now_us, struct list *answered)
{
    bool has_lost = remove_silent(group, now_us, answered);
    bool has_dropped = remove_unsynced(group, now_us, answered);
    bool has_forgotten = group_forget_pending(group, now_us);
    if (has_lost || has_dropped) {
        group_rebalance(group, now_us, answered);
    } else if (has_forgotten) {
        group_try_complete(group, now_us, answered);
    }
    if (group->state == GROUP_PREPARING && group->join_due_us <= now_us) {
        barrier_due(group, now_us, answered);
    }
}

int64_t group_due_us(const struct group *group)
{
    int64_t due_us = group->state == GROUP_PREPARING ? group->join_due_us : GROUP_NEVER;
    if (has_sync_due(group) && group->sync_due_us < due_us) {
        due_us = group->sync_due_us;
    }
    for (size_t i = 0; i < group->member_count; i++) {
        const struct group_member *member = group->members[i];
        if (!is_waiting(member) && member->session_due_us < due_us) {
            due_us = member->session_due_us;
        }
    }
    for (size_t i = 0; i < group->pending_count; i++) {
        due_us = group->pending[i].due_us < due_us ? group->pending[i].due_us : due_us;
    }
    return due_us;
}

void group_dismiss(struct group *group, enum kafka_error error, struct list *answered)
{
    for (size_t i = 0; i < group->member_count; i++) {
        group_end_join(group->members[i], error, answered);
        group_end_sync(group->members[i], error, answered);
    }
}
