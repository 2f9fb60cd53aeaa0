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

#include "metadata/group.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "metadata/group_internal.h"

const char *group_state_name(enum group_state state)
{
    switch (state) {
    case GROUP_EMPTY:
        return "Empty";
    case GROUP_PREPARING:
        return "PreparingRebalance";
    case GROUP_COMPLETING:
        return "CompletingRebalance";
    case GROUP_STABLE:
        return "Stable";
    }
    return "Dead";
}

void group_init(struct group *group, const struct group_limits *limits)
{
    *group = (struct group){.limits = limits, .state = GROUP_EMPTY};
}

void group_deinit(struct group *group)
{
    while (group->member_count > 0) {
        group_remove(group, group->members[group->member_count - 1]);
    }
    while (group->pending_count > 0) {
        (void)group_accept(group, group->pending[0].id);
    }
    mem_free(group->members);
    mem_free(group->pending);
    group_free(&group->protocol_type);
    group_free(&group->protocol);
}

/* ---- Answers ---- */

static void refuse(struct group_wait *wait, enum kafka_error error, struct list *answered)
{
    wait->error = error;
    wait->member = NULL;
    wait->waiting = NULL;
    list_push(answered, &wait->link);
}

static void start_wait(struct group_wait **place, struct group_member *member, struct group_wait *wait,
                       struct list *answered)
{
    if (*place != NULL) { /* the client has asked anew: the older question is nobody's */
        refuse(*place, KAFKA_REBALANCE_IN_PROGRESS, answered);
    }
    *place = wait;
    wait->waiting = member;
    wait->version = 0;
}

static void end_join(struct group_member *member, enum kafka_error error, struct list *answered)
{
    if (member->join != NULL) {
        refuse(member->join, error, answered);
        member->join = NULL;
    }
}

static void end_sync(struct group_member *member, enum kafka_error error, struct list *answered)
{
    if (member->sync != NULL) {
        refuse(member->sync, error, answered);
        member->sync = NULL;
    }
}

static void heard_of(struct group_member *member, int64_t now_us)
{
    member->session_due_us = now_us + (int64_t)member->session_timeout_ms * 1000;
}

/* The generation as it is. */
static void tell_generation(const struct group *group, struct group_member *member, struct group_wait *wait,
                            int64_t now_us, struct list *answered)
{
    wait->error = KAFKA_NONE;
    wait->member = member;
    wait->waiting = NULL;
    wait->leader_id = group->leader->id;
    wait->has_members = member == group->leader;
    wait->skips_assignment = false;
    heard_of(member, now_us);
    list_push(answered, &wait->link);
}

static void tell_assignment(struct group_member *member, struct group_wait *wait, int64_t now_us, struct list *answered)
{
    wait->error = KAFKA_NONE;
    wait->member = member;
    wait->waiting = NULL;
    heard_of(member, now_us);
    list_push(answered, &wait->link);
}

/* ---- Transitions ---- */

static void prepare(struct group *group, int64_t now_us, struct list *answered)
{
    int64_t rebalance_us = group_rebalance_us(group);
    int64_t delay_us = (int64_t)group->limits->initial_delay_ms * 1000;
    for (size_t i = 0; i < group->member_count; i++) {
        if (group->members[i]->sync != NULL) {
            end_sync(group->members[i], KAFKA_REBALANCE_IN_PROGRESS, answered);
            heard_of(group->members[i], now_us);
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
            tell_generation(group, member, member->join, now_us, answered);
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

static void try_complete(struct group *group, int64_t now_us, struct list *answered)
{
    if (group->state == GROUP_PREPARING && !group->is_initial && all_have_joined(group)) {
        complete_join(group, now_us, answered);
    }
}

/* Members have come or gone. */
static void rebalance(struct group *group, int64_t now_us, struct list *answered)
{
    if (group->state != GROUP_PREPARING) {
        prepare(group, now_us, answered);
    }
    try_complete(group, now_us, answered);
}

static void remove_member(struct group *group, struct group_member *member, struct list *answered)
{
    end_join(member, KAFKA_UNKNOWN_MEMBER_ID, answered);
    end_sync(member, KAFKA_UNKNOWN_MEMBER_ID, answered);
    group_remove(group, member);
}

/* ---- JoinGroup ---- */

static bool has_room(const struct group *group, const struct group_join *join, const struct group_member *member)
{
    size_t size = group->size - (member != NULL ? member->size : 0);
    return join->protocol_count <= GROUP_PROTOCOL_COUNT_MAX && group_join_size(join) <= GROUP_SIZE_MAX &&
           size <= GROUP_SIZE_MAX - group_join_size(join);
}

static enum kafka_error check_join(const struct group *group, const struct group_join *join,
                                   const struct group_member *member)
{
    if (join->session_timeout_ms < group->limits->session_timeout_min_ms ||
        join->session_timeout_ms > group->limits->session_timeout_max_ms) {
        return KAFKA_INVALID_SESSION_TIMEOUT;
    }
    bool is_full = member == NULL && group->member_count >= group->limits->member_count_max;
    if (is_full || !has_room(group, join, member)) {
        return KAFKA_GROUP_MAX_SIZE_REACHED;
    }
    return group_supports(group, join, member) ? KAFKA_NONE : KAFKA_INCONSISTENT_GROUP_PROTOCOL;
}

static void join_new(struct group *group, int64_t now_us, const struct group_join *join, struct bytes id,
                     struct group_wait *wait, struct list *answered)
{
    struct group_member *member = group_add(group, id, join);
    start_wait(&member->join, member, wait, answered);
    group->has_newcomer = true;
    rebalance(group, now_us, answered);
}

static void join_again(struct group *group, int64_t now_us, const struct group_join *join, struct group_member *member,
                       struct group_wait *wait, struct list *answered)
{
    group_update(group, member, join);
    end_sync(member, KAFKA_REBALANCE_IN_PROGRESS, answered);
    start_wait(&member->join, member, wait, answered);
    rebalance(group, now_us, answered);
}

/* A static member has come back under a new id, which fences whoever still uses the old one. As long as the protocol
 * stays the same nobody else has to know: it goes on where it was, once its new id is stored. */
static void join_back(struct group *group, int64_t now_us, const struct group_join *join, struct group_member *member,
                      struct group_wait *wait, struct list *answered)
{
    end_join(member, KAFKA_FENCED_INSTANCE_ID, answered);
    end_sync(member, KAFKA_FENCED_INSTANCE_ID, answered);
    group_rename(group, member, join->offered_id);
    group_update(group, member, join);
    start_wait(&member->join, member, wait, answered);
    if (group->state == GROUP_STABLE && bytes_equal(group_vote(group), group->protocol)) {
        wait->version = ++group->version;
        member->must_sync = false;
        return;
    }
    rebalance(group, now_us, answered);
}

static void join_unknown(struct group *group, int64_t now_us, const struct group_join *join, struct group_wait *wait,
                         struct list *answered)
{
    struct group_member *member = join->instance_id.data != NULL ? group_find_instance(group, join->instance_id) : NULL;
    enum kafka_error error = check_join(group, join, member);
    if (error != KAFKA_NONE) {
        refuse(wait, error, answered);
    } else if (member != NULL) {
        join_back(group, now_us, join, member, wait, answered);
    } else if (join->instance_id.data == NULL && join->is_id_required) {
        group_offer(group, join->offered_id, now_us + (int64_t)join->session_timeout_ms * 1000);
        wait->is_new_id = true;
        refuse(wait, KAFKA_MEMBER_ID_REQUIRED, answered);
    } else {
        join_new(group, now_us, join, join->offered_id, wait, answered);
    }
}

static void join_known(struct group *group, int64_t now_us, const struct group_join *join, struct group_wait *wait,
                       struct list *answered)
{
    struct group_member *member = NULL;
    enum kafka_error error = group_identify(group, join->member_id, join->instance_id, &member);
    bool is_offered = join->instance_id.data == NULL && member == NULL && group_accept(group, join->member_id);
    if (error != KAFKA_NONE && !is_offered) {
        refuse(wait, error, answered);
        return;
    }
    error = check_join(group, join, member);
    if (error != KAFKA_NONE) {
        refuse(wait, error, answered);
        try_complete(group, now_us, answered); /* the id may have been what others waited for */
    } else if (is_offered) {
        join_new(group, now_us, join, join->member_id, wait, answered);
    } else {
        bool is_same = group_is_unchanged(member, join);
        bool is_told = group->state == GROUP_COMPLETING || (group->state == GROUP_STABLE && member != group->leader);
        if (is_same && is_told && member->join == NULL) { /* only the answer got lost */
            tell_generation(group, member, wait, now_us, answered);
        } else {
            join_again(group, now_us, join, member, wait, answered);
        }
    }
}

void group_join(struct group *group, int64_t now_us, const struct group_join *join, struct group_wait *wait,
                struct list *answered)
{
    wait->is_new_id = false;
    if (join->member_id.size == 0) {
        join_unknown(group, now_us, join, wait, answered);
    } else {
        join_known(group, now_us, join, wait, answered);
    }
}

/* ---- SyncGroup ---- */

static bool assignments_fit(const struct group *group, const struct group_sync *sync)
{
    size_t size = group->assigned_size;
    for (size_t i = 0; i < sync->assignment_count; i++) {
        if (sync->assignments[i].assignment.size > GROUP_ASSIGNED_SIZE_MAX - size) {
            return false;
        }
        size += sync->assignments[i].assignment.size;
    }
    return true;
}

/* The leader's word, once a generation: a second sync of it is only answered. Members that it left out get nothing. */
static enum kafka_error take_assignment(struct group *group, const struct group_sync *sync)
{
    if (sync->assignment_count > GROUP_MEMBER_COUNT_MAX || !assignments_fit(group, sync)) {
        return KAFKA_GROUP_MAX_SIZE_REACHED;
    }
    for (size_t i = 0; i < sync->assignment_count; i++) {
        struct group_member *member = group_find(group, sync->assignments[i].member_id);
        if (member != NULL) {
            group_assign(group, member, sync->assignments[i].assignment);
        }
    }
    group->is_assigned = true;
    group->assigned_version = ++group->version;
    return KAFKA_NONE;
}

static enum kafka_error check_generation(const struct group *group, struct bytes id, struct bytes instance_id,
                                         int32_t generation, struct group_member **member)
{
    enum kafka_error error = group_identify(group, id, instance_id, member);
    if (error == KAFKA_NONE && generation != group->generation) {
        error = KAFKA_ILLEGAL_GENERATION;
    }
    return error;
}

static enum kafka_error check_sync(const struct group *group, const struct group_sync *sync,
                                   struct group_member **member)
{
    enum kafka_error error = check_generation(group, sync->member_id, sync->instance_id, sync->generation, member);
    if (error != KAFKA_NONE) {
        return error;
    }
    if ((sync->protocol_type.data != NULL && !bytes_equal(sync->protocol_type, group->protocol_type)) ||
        (sync->protocol.data != NULL && !bytes_equal(sync->protocol, group->protocol))) {
        return KAFKA_INCONSISTENT_GROUP_PROTOCOL;
    }
    return group->state == GROUP_PREPARING ? KAFKA_REBALANCE_IN_PROGRESS : KAFKA_NONE;
}

void group_sync(struct group *group, int64_t now_us, const struct group_sync *sync, struct group_wait *wait,
                struct list *answered)
{
    struct group_member *member;
    enum kafka_error error = check_sync(group, sync, &member);
    if (error == KAFKA_NONE && group->state == GROUP_COMPLETING && member == group->leader && !group->is_assigned) {
        error = take_assignment(group, sync);
    }
    if (error != KAFKA_NONE) {
        refuse(wait, error, answered);
        return;
    }
    member->must_sync = false;
    if (group->state == GROUP_STABLE) {
        tell_assignment(member, wait, now_us, answered);
    } else {
        start_wait(&member->sync, member, wait, answered);
    }
}

/* ---- Heartbeat, LeaveGroup, commits ---- */

enum kafka_error group_heartbeat(struct group *group, int64_t now_us, struct bytes member_id, struct bytes instance_id,
                                 int32_t generation)
{
    struct group_member *member;
    enum kafka_error error = check_generation(group, member_id, instance_id, generation, &member);
    if (error != KAFKA_NONE) {
        return error;
    }
    heard_of(member, now_us);
    return group->state == GROUP_PREPARING ? KAFKA_REBALANCE_IN_PROGRESS : KAFKA_NONE;
}

enum kafka_error group_leave(struct group *group, int64_t now_us, struct bytes member_id, struct bytes instance_id,
                             struct list *answered)
{
    struct group_member *member = NULL;
    enum kafka_error error = KAFKA_NONE;
    if (member_id.size == 0 && instance_id.data != NULL) {
        member = group_find_instance(group, instance_id);
        error = member != NULL ? KAFKA_NONE : KAFKA_UNKNOWN_MEMBER_ID;
    } else if (instance_id.data == NULL && group_accept(group, member_id)) {
        try_complete(group, now_us, answered);
        return KAFKA_NONE;
    } else {
        error = group_identify(group, member_id, instance_id, &member);
    }
    if (error == KAFKA_NONE) {
        remove_member(group, member, answered);
        rebalance(group, now_us, answered);
    }
    return error;
}

enum kafka_error group_check_commit(struct group *group, int64_t now_us, struct bytes member_id,
                                    struct bytes instance_id, int32_t generation)
{
    struct group_member *member;
    if (generation < 0 && group->member_count == 0) {
        return KAFKA_NONE; /* offsets alone are kept here, or somebody resets those of a group that is not running */
    }
    enum kafka_error error = check_generation(group, member_id, instance_id, generation, &member);
    if (error != KAFKA_NONE) {
        return error;
    }
    heard_of(member, now_us);
    return group->state == GROUP_COMPLETING ? KAFKA_REBALANCE_IN_PROGRESS : KAFKA_NONE;
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
        end_join(member, KAFKA_UNKNOWN_MEMBER_ID, answered);
    } else {
        assert(member->sync == wait);
        end_sync(member, KAFKA_UNKNOWN_MEMBER_ID, answered);
    }
    heard_of(member, now_us);
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
            end_join(member, KAFKA_COORDINATOR_NOT_AVAILABLE, answered);
            heard_of(member, now_us);
            continue;
        }
        member->join = NULL;
        tell_generation(group, member, wait, now_us, answered);
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
                end_sync(group->members[i], KAFKA_COORDINATOR_NOT_AVAILABLE, answered);
                heard_of(group->members[i], now_us);
            }
        }
        rebalance(group, now_us, answered);
        return;
    }
    group->state = GROUP_STABLE;
    group->is_assigned = false;
    for (size_t i = 0; i < group->member_count; i++) {
        struct group_member *member = group->members[i];
        if (member->sync != NULL) {
            tell_assignment(member, member->sync, now_us, answered);
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
            remove_member(group, member, answered);
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
            remove_member(group, group->members[i - 1], answered);
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
        rebalance(group, now_us, answered);
    } else if (has_forgotten) {
        try_complete(group, now_us, answered);
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
        end_join(group->members[i], error, answered);
        end_sync(group->members[i], error, answered);
    }
}

bool group_is_dormant(const struct group *group)
{
    return group->state == GROUP_EMPTY && group->pending_count == 0 && group->stored_version == group->version;
}
