/* Happy path: FindCoordinator of any broker, JoinGroup (twice for a new dynamic member), SyncGroup. The leader gives
 * each member a share of the partitions, under a tag that no other assignment has. */
#include "tests/sim/member.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/assert.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "base/mem.h"

enum {
    AGAIN_US = 300000,
    PART_SIZE = 8,      /* of an assignment: tag, bits */
    HOLD_US = 20000000, /* a JoinGroup or SyncGroup waits for others */
    CHANCE_OF_SILENCE = 20
};

#define PROTOCOL "share"
#define PROTOCOL_TYPE "simulated"

static void keep_id(char id[MEMBER_ID_SIZE], struct bytes told)
{
    assert(told.size < MEMBER_ID_SIZE);
    memcpy(id, told.data, told.size);
    id[told.size] = '\0';
}

/* ---- FindCoordinator */

static void find_on_answer(struct link_call *call)
{
    struct member *member = container_of(call, struct member, call);
    struct kafka_find_coordinator_response response;
    struct arena arena;
    arena_init(&arena, KIB(64));
    if (call->err == OK) {
        enum err err =
            codec_decode(&kafka_find_coordinator_response_schema, call->version, &call->answer, &arena, &response);
        assert(err == OK);
    }
    bool is_found = call->err == OK && response.error_code == KAFKA_NONE;
    arena_deinit(&arena);
    if (is_found) {
        member->node = (unsigned)response.node_id;
        member_next(member, member_resume_state(member), MEMBER_TICK_US);
    } else {
        member_next(member, MEMBER_FINDING, AGAIN_US);
    }
}

void member_find(struct member *member)
{
    struct kafka_find_coordinator_request request = {.key = bytes_from_text(member->group_id)};
    member_call(member, KAFKA_API_FIND_COORDINATOR, 3, CALL_TIMEOUT_US, find_on_answer, &request);
}

/* ---- JoinGroup */

static void take_members(struct member *member, const struct kafka_join_group_response *response)
{
    mem_free(member->ids);
    member->ids = NULL;
    member->id_count = 0;
    bool is_leader = bytes_equal(response->leader, response->member_id);
    if (!is_leader || response->skip_assignment) {
        return;
    }
    member->id_count = (unsigned)response->members_count;
    member->ids = mem_alloc(member->id_count * sizeof(*member->ids));
    for (unsigned i = 0; i < member->id_count; i++) {
        keep_id(member->ids[i], response->members[i].member_id);
    }
}

static void take_generation(struct member *member, const struct kafka_join_group_response *response)
{
    member->generation = response->generation_id;
    keep_id(member->id, response->member_id);
    take_members(member, response);
    bool is_silent = !member->is_stopping && clients_below(member->clients, CHANCE_OF_SILENCE) == 0;
    member_next(member, MEMBER_SYNCING, is_silent ? MEMBER_SILENCE_US : MEMBER_TICK_US);
}

static void join_on_answer(struct link_call *call)
{
    struct member *member = container_of(call, struct member, call);
    struct kafka_join_group_response response;
    struct arena arena;
    arena_init(&arena, KIB(64));
    response.error_code = KAFKA_NONE;
    if (call->err == OK) {
        enum err err = codec_decode(&kafka_join_group_response_schema, call->version, &call->answer, &arena, &response);
        assert(err == OK);
    }
    enum kafka_error error = (enum kafka_error)response.error_code;
    if (call->err == OK && error == KAFKA_NONE) {
        take_generation(member, &response);
    } else if (call->err == OK && error == KAFKA_MEMBER_ID_REQUIRED) {
        keep_id(member->id, response.member_id);
        member_next(member, MEMBER_JOINING, MEMBER_TICK_US);
    } else if (!member_take_error(member, call->err, error)) {
        history_violation(member_records(member), "refused", "JoinGroup of group %u: %s", member->group,
                          kafka_error_name(error));
        member_next(member, MEMBER_JOINING, AGAIN_US);
    }
    arena_deinit(&arena);
}

void member_join(struct member *member)
{
    uint8_t metadata[4];
    be32_put(metadata, member->number);
    struct kafka_join_group_request_protocol protocol = {bytes_from_text(PROTOCOL), {metadata, sizeof(metadata)}};
    struct kafka_join_group_request request = {.group_id = bytes_from_text(member->group_id),
                                               .session_timeout_ms = member->session_timeout_ms,
                                               .rebalance_timeout_ms = member->rebalance_timeout_ms,
                                               .member_id = bytes_from_text(member->id),
                                               .group_instance_id = member_instance(member),
                                               .protocol_type = bytes_from_text(PROTOCOL_TYPE),
                                               .protocols = &protocol,
                                               .protocols_count = 1};
    member_call(member, KAFKA_API_JOIN_GROUP, member->join_version, HOLD_US, join_on_answer, &request);
}

/* ---- SyncGroup */

static void take_part(struct member *member, struct bytes part)
{
    member->partitions = 0;
    if (part.size == PART_SIZE) {
        uint32_t tag = be32_get(part.data);
        member->partitions = be32_get(part.data + 4);
        group_assigned(member->history, member->group, member->generation, member->number, tag, member->partitions,
                       env_now_us(member->clients->env));
    } else if (part.size != 0) {
        history_violation(member_records(member), "owned-twice", "group %u generation %d: a part of %zu bytes",
                          member->group, member->generation, part.size);
    }
    member->has_part = true;
    member_next(member, MEMBER_READING, MEMBER_TICK_US);
}

static void sync_on_answer(struct link_call *call)
{
    struct member *member = container_of(call, struct member, call);
    struct kafka_sync_group_response response;
    struct arena arena;
    arena_init(&arena, KIB(64));
    response.error_code = KAFKA_NONE;
    if (call->err == OK) {
        enum err err = codec_decode(&kafka_sync_group_response_schema, call->version, &call->answer, &arena, &response);
        assert(err == OK);
    }
    enum kafka_error error = (enum kafka_error)response.error_code;
    if (call->err == OK && error == KAFKA_NONE) {
        take_part(member, response.assignment);
        member_is_heard(member);
    } else if (!member_take_error(member, call->err, error)) {
        history_violation(member_records(member), "refused", "SyncGroup of group %u: %s", member->group,
                          kafka_error_name(error));
        member_next(member, MEMBER_JOINING, AGAIN_US);
    }
    arena_deinit(&arena);
}

void member_sync(struct member *member)
{
    struct kafka_sync_group_request_assignment assignments[PARTITIONS_MAX];
    uint8_t parts[PARTITIONS_MAX][PART_SIZE];
    uint32_t shares[PARTITIONS_MAX] = {0};
    assert(member->id_count <= PARTITIONS_MAX);
    unsigned turn = (unsigned)clients_below(member->clients, PARTITIONS_MAX);
    for (unsigned p = 0; p < member->clients->params.partition_count && member->id_count > 0; p++) {
        shares[(p + turn) % member->id_count] |= 1U << p;
    }
    uint32_t tag = member->number << 12 | (member->id_count > 0 ? ++member->tag_count & 0xFFF : 0);
    for (unsigned i = 0; i < member->id_count; i++) {
        be32_put(parts[i], tag);
        be32_put(parts[i] + 4, shares[i]);
        assignments[i] =
            (struct kafka_sync_group_request_assignment){bytes_from_text(member->ids[i]), {parts[i], PART_SIZE}};
    }
    struct kafka_sync_group_request request = {.group_id = bytes_from_text(member->group_id),
                                               .generation_id = member->generation,
                                               .member_id = bytes_from_text(member->id),
                                               .group_instance_id = member_instance(member),
                                               .protocol_type = bytes_from_text(PROTOCOL_TYPE),
                                               .protocol_name = bytes_from_text(PROTOCOL),
                                               .assignments = assignments,
                                               .assignments_count = (int32_t)member->id_count};
    member->asked_us = env_now_us(member->clients->env);
    member_call(member, KAFKA_API_SYNC_GROUP, 5, HOLD_US, sync_on_answer, &request);
}

/* ---- LeaveGroup */

static void leave_on_answer(struct link_call *call)
{
    struct member *member = container_of(call, struct member, call);
    member_next(member, MEMBER_AWAY, HOLD_US / 4); /* whatever was answered: a consumer that closes does not care */
}

void member_leave(struct member *member)
{
    struct kafka_leave_group_request_member leaving = {.member_id = bytes_from_text(member->id),
                                                       .group_instance_id = member_instance(member)};
    struct kafka_leave_group_request request = {
        .group_id = bytes_from_text(member->group_id), .members = &leaving, .members_count = 1};
    member->state = MEMBER_AWAY;
    member_call(member, KAFKA_API_LEAVE_GROUP, 5, CALL_TIMEOUT_US, leave_on_answer, &request);
    member_lose_part(member);
    member->id[0] = '\0';
    member->generation = -1;
    member->number += member->instance_id[0] == '\0' ? MEMBER_LIVES : 0;
}
