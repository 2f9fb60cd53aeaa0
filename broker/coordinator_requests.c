/* Requests of members. Each finds its group, takes one step and settles it; what the step answered is answered there,
 * what it did not answer waits. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "broker/coordinator_internal.h"
#include <stdio.h>
#include <string.h>

#define ANSWER_ARENA_SIZE_MAX MIB(4) /* the list of members; what they say is not copied */

static int64_t now_of(const struct coordinator *coordinator)
{
    return env_now_us(coordinator->shard->env);
}

/* An empty instance id is none, as in what is stored. */
static struct bytes instance_of(struct bytes instance_id)
{
    return instance_id.size > 0 ? instance_id : BYTES_NONE;
}

static enum kafka_error check_group(const struct coordinator *coordinator, struct bytes group)
{
    enum kafka_error error = coordinator_check(coordinator);
    if (error == KAFKA_NONE && (group.size == 0 || group.size > GROUP_ID_SIZE_MAX)) {
        error = KAFKA_INVALID_GROUP_ID;
    }
    return error;
}

/* ---- JoinGroup ---- */

/* Members of the leader's answer. False: no memory. */
static bool fill_members(const struct group *group, struct arena *arena, struct kafka_join_group_response *response)
{
    response->members = codec_new(&kafka_join_group_response_member_schema, group->member_count, arena);
    if (response->members == NULL) {
        return false;
    }
    response->members_count = (int32_t)group->member_count;
    for (size_t i = 0; i < group->member_count; i++) {
        const struct group_member *member = group->members[i];
        response->members[i].member_id = member->id;
        response->members[i].group_instance_id = member->instance_id;
        response->members[i].metadata = group_metadata(group, member);
    }
    return true;
}

static void refuse_join(struct group_call *call, enum kafka_error error, struct bytes member_id)
{
    struct kafka_join_group_response response;
    codec_init_defaults(&kafka_join_group_response_schema, &response);
    response.error_code = (int16_t)error;
    response.protocol_name = BYTES_NONE;
    response.member_id = member_id;
    group_call_answer(call, &kafka_join_group_response_schema, &response);
}

static void answer_join(struct group_call *call, const struct group *group)
{
    const struct group_wait *wait = &call->wait;
    struct kafka_join_group_response response;
    struct arena arena;
    if (wait->error != KAFKA_NONE) {
        struct bytes offered = {(const uint8_t *)call->offered_id, call->offered_size};
        refuse_join(call, wait->error, wait->is_new_id ? offered : bytes_from_text(""));
        return;
    }
    codec_init_defaults(&kafka_join_group_response_schema, &response);
    arena_init(&arena, ANSWER_ARENA_SIZE_MAX);
    response.generation_id = group->generation;
    response.protocol_type = group->protocol_type;
    response.protocol_name = group->protocol;
    response.leader = wait->leader_id;
    response.skip_assignment = wait->skips_assignment;
    response.member_id = wait->member->id;
    if (wait->has_members && !fill_members(group, &arena, &response)) {
        response.error_code = KAFKA_GROUP_MAX_SIZE_REACHED;
    }
    group_call_answer(call, &kafka_join_group_response_schema, &response);
    arena_deinit(&arena);
}

/* What the new member will be called: the instance id or client id in front, as clients expect (KIP-345). */
static void offer_id(struct group_call *call, struct env *env, struct bytes prefix)
{
    size_t size = prefix.size < GROUP_CLIENT_ID_SIZE_MAX ? prefix.size : GROUP_CLIENT_ID_SIZE_MAX;
    uint64_t high = (env_random(env) & ~UINT64_C(0xf000)) | UINT64_C(0x4000); /* version 4 of RFC 4122 */
    uint64_t low = (env_random(env) & ~(UINT64_C(3) << 62)) | UINT64_C(2) << 62;
    if (size > 0) {
        memcpy(call->offered_id, prefix.data, size);
    }
    int count = snprintf(call->offered_id + size, sizeof(call->offered_id) - size, "-%08x-%04x-%04x-%04x-%012llx",
                         (unsigned)(high >> 32), (unsigned)(high >> 16 & 0xffff), (unsigned)(high & 0xffff),
                         (unsigned)(low >> 48), (unsigned long long)(low & UINT64_C(0xffffffffffff)));
    call->offered_size = size + (size_t)count;
}

/* NULL: no memory, or more of them than a member may have. */
static struct group_protocol *protocols_of(const struct kafka_join_group_request *message, struct arena *arena)
{
    size_t count = message->protocols_count > 0 ? (size_t)message->protocols_count : 0;
    struct group_protocol *protocols =
        count <= GROUP_PROTOCOL_COUNT_MAX ? arena_alloc(arena, (count + 1) * sizeof(*protocols)) : NULL;
    for (size_t i = 0; protocols != NULL && i < count; i++) {
        protocols[i] = (struct group_protocol){message->protocols[i].name, message->protocols[i].metadata};
    }
    return protocols;
}

static enum kafka_error check_join(const struct coordinator *coordinator,
                                   const struct kafka_join_group_request *message)
{
    enum kafka_error error = check_group(coordinator, message->group_id);
    if (error != KAFKA_NONE) {
        return error;
    }
    if (message->group_instance_id.size > GROUP_INSTANCE_ID_SIZE_MAX) {
        return KAFKA_INVALID_REQUEST;
    }
    bool has_id = message->member_id.size > 0;
    return has_id && hosted_find(coordinator, message->group_id) == NULL ? KAFKA_UNKNOWN_MEMBER_ID : KAFKA_NONE;
}

static void join(struct group_call *call, struct hosted_group *hosted, const struct group_join *wish)
{
    struct coordinator *coordinator = hosted->coordinator;
    struct list answered;
    list_init(&answered);
    call->hosted = hosted;
    call->wait.can_skip = call->request->api_version >= 9;
    group_join(&hosted->group, now_of(coordinator), wish, &call->wait, &answered);
    hosted_settle(hosted, &answered);
}

void coordinator_join(struct group_call *call, struct coordinator *coordinator)
{
    const struct kafka_join_group_request *message = call->message;
    enum kafka_error error = check_join(coordinator, message);
    struct hosted_group *hosted = error == KAFKA_NONE ? hosted_get(coordinator, message->group_id) : NULL;
    if (hosted == NULL) {
        refuse_join(call, error != KAFKA_NONE ? error : KAFKA_COORDINATOR_NOT_AVAILABLE, message->member_id);
        return;
    }
    struct bytes client_id = call->request->client_id;
    struct bytes instance_id = instance_of(message->group_instance_id);
    client_id.size = client_id.size < GROUP_CLIENT_ID_SIZE_MAX ? client_id.size : GROUP_CLIENT_ID_SIZE_MAX;
    offer_id(call, coordinator->shard->env, instance_id.data != NULL ? instance_id : client_id);
    struct group_join wish = {
        .member_id = message->member_id,
        .offered_id = {(const uint8_t *)call->offered_id, call->offered_size},
        .instance_id = instance_id,
        .client_id = client_id,
        .client_host = bytes_from_text(call->client_host),
        .protocol_type = message->protocol_type,
        .protocols = protocols_of(message, &call->request->arena),
        .protocol_count = message->protocols_count > 0 ? (size_t)message->protocols_count : 0,
        .session_timeout_ms = message->session_timeout_ms,
        .rebalance_timeout_ms = message->rebalance_timeout_ms,
        .is_id_required = call->request->api_version >= 4,
    };
    if (wish.protocols == NULL) {
        wish.protocol_count = GROUP_PROTOCOL_COUNT_MAX + 1; /* refused before they are looked at */
    }
    join(call, hosted, &wish);
}

/* ---- SyncGroup ---- */

static void refuse_sync(struct group_call *call, enum kafka_error error)
{
    struct kafka_sync_group_response response;
    codec_init_defaults(&kafka_sync_group_response_schema, &response);
    response.error_code = (int16_t)error;
    group_call_answer(call, &kafka_sync_group_response_schema, &response);
}

static void answer_sync(struct group_call *call, const struct group *group)
{
    struct kafka_sync_group_response response;
    if (call->wait.error != KAFKA_NONE) {
        refuse_sync(call, call->wait.error);
        return;
    }
    codec_init_defaults(&kafka_sync_group_response_schema, &response);
    response.protocol_type = group->protocol_type;
    response.protocol_name = group->protocol;
    response.assignment = call->wait.member->assignment;
    group_call_answer(call, &kafka_sync_group_response_schema, &response);
}

static bool assignments_of(const struct kafka_sync_group_request *message, struct arena *arena, struct group_sync *sync)
{
    size_t count = message->assignments_count > 0 ? (size_t)message->assignments_count : 0;
    struct group_assignment *assignments = arena_alloc(arena, (count + 1) * sizeof(*assignments));
    for (size_t i = 0; assignments != NULL && i < count; i++) {
        assignments[i] =
            (struct group_assignment){message->assignments[i].member_id, message->assignments[i].assignment};
    }
    sync->assignments = assignments;
    sync->assignment_count = count;
    return assignments != NULL;
}

void coordinator_sync(struct group_call *call, struct coordinator *coordinator)
{
    const struct kafka_sync_group_request *message = call->message;
    enum kafka_error error = check_group(coordinator, message->group_id);
    struct hosted_group *hosted = error == KAFKA_NONE ? hosted_find(coordinator, message->group_id) : NULL;
    struct group_sync sync = {
        .member_id = message->member_id,
        .instance_id = instance_of(message->group_instance_id),
        .generation = message->generation_id,
        .protocol_type = message->protocol_type,
        .protocol = message->protocol_name,
    };
    if (hosted == NULL) {
        refuse_sync(call, error != KAFKA_NONE ? error : KAFKA_UNKNOWN_MEMBER_ID);
        return;
    }
    if (!assignments_of(message, &call->request->arena, &sync)) {
        refuse_sync(call, KAFKA_GROUP_MAX_SIZE_REACHED);
        return;
    }
    struct list answered;
    list_init(&answered);
    call->hosted = hosted;
    group_sync(&hosted->group, now_of(coordinator), &sync, &call->wait, &answered);
    hosted_settle(hosted, &answered);
}

void coordinator_answer_wait(struct group_call *call, const struct hosted_group *hosted)
{
    if (call->request->api_key == KAFKA_API_JOIN_GROUP) {
        answer_join(call, &hosted->group);
    } else {
        assert(call->request->api_key == KAFKA_API_SYNC_GROUP);
        answer_sync(call, &hosted->group);
    }
}

/* ---- Heartbeat ---- */

void coordinator_heartbeat(struct group_call *call, struct coordinator *coordinator)
{
    const struct kafka_heartbeat_request *message = call->message;
    struct kafka_heartbeat_response response;
    enum kafka_error error = check_group(coordinator, message->group_id);
    struct hosted_group *hosted = error == KAFKA_NONE ? hosted_find(coordinator, message->group_id) : NULL;
    if (hosted != NULL) {
        error = group_heartbeat(&hosted->group, now_of(coordinator), message->member_id,
                                instance_of(message->group_instance_id), message->generation_id);
    } else if (error == KAFKA_NONE) {
        error = KAFKA_UNKNOWN_MEMBER_ID;
    }
    codec_init_defaults(&kafka_heartbeat_response_schema, &response);
    response.error_code = (int16_t)error;
    group_call_answer(call, &kafka_heartbeat_response_schema, &response);
}

/* ---- LeaveGroup ---- */

/* Looked up anew for each member: when the last one has left the group may be gone. */
static enum kafka_error leave_one(struct coordinator *coordinator, struct bytes group, struct bytes member_id,
                                  struct bytes instance_id)
{
    struct hosted_group *hosted = hosted_find(coordinator, group);
    struct list answered;
    list_init(&answered);
    if (hosted == NULL) {
        return KAFKA_UNKNOWN_MEMBER_ID;
    }
    enum kafka_error error =
        group_leave(&hosted->group, now_of(coordinator), member_id, instance_of(instance_id), &answered);
    hosted_settle(hosted, &answered);
    return error;
}

static bool leave_members(struct coordinator *coordinator, const struct kafka_leave_group_request *message,
                          struct arena *arena, struct kafka_leave_group_response *response)
{
    size_t count = message->members_count > 0 ? (size_t)message->members_count : 0;
    if (count == 0) {
        return true;
    }
    response->members = codec_new(&kafka_leave_group_response_member_schema, count, arena);
    for (size_t i = 0; response->members != NULL && i < count; i++) {
        const struct kafka_leave_group_request_member *member = &message->members[i];
        struct kafka_leave_group_response_member *out = &response->members[response->members_count++];
        out->member_id = member->member_id;
        out->group_instance_id = member->group_instance_id;
        out->error_code =
            (int16_t)leave_one(coordinator, message->group_id, member->member_id, member->group_instance_id);
    }
    return response->members != NULL;
}

void coordinator_leave(struct group_call *call, struct coordinator *coordinator)
{
    const struct kafka_leave_group_request *message = call->message;
    struct kafka_leave_group_response response;
    codec_init_defaults(&kafka_leave_group_response_schema, &response);
    enum kafka_error error = check_group(coordinator, message->group_id);
    if (error == KAFKA_NONE && call->request->api_version < 3) {
        error = leave_one(coordinator, message->group_id, message->member_id, BYTES_NONE);
    } else if (error == KAFKA_NONE && !leave_members(coordinator, message, &call->request->arena, &response)) {
        error = KAFKA_INVALID_REQUEST;
    }
    response.error_code = (int16_t)error;
    group_call_answer(call, &kafka_leave_group_response_schema, &response);
}
