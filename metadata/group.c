/* What members ask of a group. Each request is checked, changes who is a member or what members say, and leaves the
 * rest to group_rebalance.c, which has the drawing of the states. */

#include "metadata/group.h"
#include "base/assert.h"
#include "base/canary.h"
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
    group_start_wait(&member->join, member, wait, answered);
    group->has_newcomer = true;
    group_rebalance(group, now_us, answered);
}

static void join_again(struct group *group, int64_t now_us, const struct group_join *join, struct group_member *member,
                       struct group_wait *wait, struct list *answered)
{
    group_update(group, member, join);
    group_end_sync(member, KAFKA_REBALANCE_IN_PROGRESS, answered);
    group_start_wait(&member->join, member, wait, answered);
    group_rebalance(group, now_us, answered);
}

/* A static member has come back under a new id, which fences whoever still uses the old one. As long as the protocol
 * stays the same nobody else has to know: it goes on where it was, once its new id is stored. */
static void join_back(struct group *group, int64_t now_us, const struct group_join *join, struct group_member *member,
                      struct group_wait *wait, struct list *answered)
{
    group_end_join(member, KAFKA_FENCED_INSTANCE_ID, answered);
    group_end_sync(member, KAFKA_FENCED_INSTANCE_ID, answered);
    group_rename(group, member, join->offered_id);
    group_update(group, member, join);
    group_start_wait(&member->join, member, wait, answered);
    if (group->state == GROUP_STABLE && bytes_equal(group_vote(group), group->protocol)) {
        wait->version = ++group->version;
        member->must_sync = false;
        return;
    }
    group_rebalance(group, now_us, answered);
}

static void join_unknown(struct group *group, int64_t now_us, const struct group_join *join, struct group_wait *wait,
                         struct list *answered)
{
    struct group_member *member = join->instance_id.data != NULL ? group_find_instance(group, join->instance_id) : NULL;
    enum kafka_error error = check_join(group, join, member);
    if (error != KAFKA_NONE) {
        group_refuse(wait, error, answered);
    } else if (member != NULL) {
        join_back(group, now_us, join, member, wait, answered);
    } else if (join->instance_id.data == NULL && join->is_id_required) {
        group_offer(group, join->offered_id, now_us + (int64_t)join->session_timeout_ms * 1000);
        wait->is_new_id = true;
        group_refuse(wait, KAFKA_MEMBER_ID_REQUIRED, answered);
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
        group_refuse(wait, error, answered);
        return;
    }
    error = check_join(group, join, member);
    if (error != KAFKA_NONE) {
        group_refuse(wait, error, answered);
        group_try_complete(group, now_us, answered); /* the id may have been what others waited for */
    } else if (is_offered) {
        join_new(group, now_us, join, join->member_id, wait, answered);
    } else {
        assert(member != NULL);
        bool is_same = group_is_unchanged(member, join);
        bool is_told = group->state == GROUP_COMPLETING || (group->state == GROUP_STABLE && member != group->leader);
        if (is_same && is_told && member->join == NULL) { /* only the answer got lost */
            group_tell_generation(group, member, wait, now_us, answered);
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
        group_refuse(wait, error, answered);
        return;
    }
    member->must_sync = false;
    if (group->state == GROUP_STABLE) {
        group_tell_assignment(member, wait, now_us, answered);
    } else {
        group_start_wait(&member->sync, member, wait, answered);
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
    group_heard_of(member, now_us);
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
        group_try_complete(group, now_us, answered);
        return KAFKA_NONE;
    } else {
        error = group_identify(group, member_id, instance_id, &member);
    }
    if (error == KAFKA_NONE) {
        group_remove_member(group, member, answered);
        group_rebalance(group, now_us, answered);
    }
    return error;
}

enum kafka_error group_check_commit(struct group *group, int64_t now_us, struct bytes member_id,
                                    struct bytes instance_id, int32_t generation)
{
    struct group_member *member;
    if (canary_is(CANARY_ANY_GENERATION)) {
        return KAFKA_NONE;
    }
    if (generation < 0 && group->member_count == 0) {
        return KAFKA_NONE; /* offsets alone are kept here, or somebody resets those of a group that is not running */
    }
    enum kafka_error error = check_generation(group, member_id, instance_id, generation, &member);
    if (error != KAFKA_NONE) {
        return error;
    }
    group_heard_of(member, now_us);
    return group->state == GROUP_COMPLETING ? KAFKA_REBALANCE_IN_PROGRESS : KAFKA_NONE;
}

bool group_is_dormant(const struct group *group)
{
    return group->state == GROUP_EMPTY && group->pending_count == 0 && group->stored_version == group->version;
}
