/* What a consumer's owner commits of its partitions and reads of them. Positions move on without records: a commit is a
 * number to the coordinator. */
#include "tests/sim/member.h"

#include "base/arena.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"

enum {
    AGAIN_US = 300000,
    COMMIT_US = 700000, /* between two commits, at most */
    ADVANCE = 50
};

static bool owns(const struct member *member, unsigned partition)
{
    return (member->partitions >> partition & 1) != 0;
}

/* ---- OffsetFetch */

static void take_position(struct member *member, unsigned partition, int64_t offset)
{
    assert(partition < PARTITIONS_MAX && owns(member, partition));
    group_fetched(member->history, member->group, partition, offset, member->asked[partition]);
    int64_t *position = &member->positions[partition];
    bool is_continued = member->is_simple && member->has_positions && *position > offset; /* it goes on where it is */
    *position = is_continued ? *position : offset < 0 ? 0 : offset;
}

static enum kafka_error take_positions(struct member *member, const struct kafka_offset_fetch_response *response)
{
    assert(response->groups_count == 1);
    const struct kafka_offset_fetch_response_group *group = &response->groups[0];
    if (group->error_code != KAFKA_NONE) {
        return (enum kafka_error)group->error_code;
    }
    for (int32_t t = 0; t < group->topics_count; t++) {
        for (int32_t p = 0; p < group->topics[t].partitions_count; p++) {
            if (group->topics[t].partitions[p].error_code != KAFKA_NONE) {
                return (enum kafka_error)group->topics[t].partitions[p].error_code;
            }
        }
    }
    for (int32_t t = 0; t < group->topics_count; t++) {
        for (int32_t p = 0; p < group->topics[t].partitions_count; p++) {
            take_position(member, (unsigned)group->topics[t].partitions[p].partition_index,
                          group->topics[t].partitions[p].committed_offset);
        }
    }
    return KAFKA_NONE;
}

static void read_on_answer(struct link_call *call)
{
    struct member *member = container_of(call, struct member, call);
    struct kafka_offset_fetch_response response;
    enum kafka_error error = KAFKA_NONE;
    struct arena arena;
    arena_init(&arena, KIB(64));
    if (call->err == OK) {
        enum err err =
            codec_decode(&kafka_offset_fetch_response_schema, call->version, &call->answer, &arena, &response);
        assert(err == OK);
        error = take_positions(member, &response);
    }
    arena_deinit(&arena);
    if (call->err == OK && error == KAFKA_NONE) {
        member->has_positions = true;
        member->has_read_last = member->is_stopping;
        member_next(member, MEMBER_STEADY, COMMIT_US);
    } else if (!member_take_error(member, call->err, error)) {
        history_violation(member_records(member), "refused", "OffsetFetch of group %u: %s", member->group,
                          kafka_error_name(error));
        member_next(member, MEMBER_READING, AGAIN_US);
    }
}

void member_read(struct member *member)
{
    int32_t indexes[PARTITIONS_MAX];
    struct kafka_offset_fetch_request_group_topic topic = {.name = bytes_from_text(SIM_TOPIC),
                                                           .partition_indexes = indexes};
    for (unsigned p = 0; p < member->clients->params.partition_count; p++) {
        if (owns(member, p)) {
            indexes[topic.partition_indexes_count++] = (int32_t)p;
            member->asked[p] = group_certain(member->history, member->group, p);
        }
    }
    struct kafka_offset_fetch_request_group group = {
        .group_id = bytes_from_text(member->group_id), .topics = &topic, .topics_count = 1};
    struct kafka_offset_fetch_request request = {.groups = &group, .groups_count = 1};
    member_call(member, KAFKA_API_OFFSET_FETCH, 8, CALL_TIMEOUT_US, read_on_answer, &request);
}

/* ---- OffsetCommit */

/* The first error. Partitions without one have been committed whatever became of others. */
static enum kafka_error take_commits(struct member *member, const struct kafka_offset_commit_response *response)
{
    enum kafka_error first = KAFKA_NONE;
    for (int32_t t = 0; t < response->topics_count; t++) {
        for (int32_t p = 0; p < response->topics[t].partitions_count; p++) {
            const struct kafka_offset_commit_response_partition *partition = &response->topics[t].partitions[p];
            unsigned index = (unsigned)partition->partition_index;
            if (partition->error_code == KAFKA_NONE) {
                group_commit_acked(member->history, member->group, index, member->asked[index], member->generation,
                                   member->newest);
            } else {
                first = first == KAFKA_NONE ? (enum kafka_error)partition->error_code : first;
            }
        }
    }
    return first;
}

static void commit_on_answer(struct link_call *call)
{
    struct member *member = container_of(call, struct member, call);
    struct kafka_offset_commit_response response;
    enum kafka_error error = KAFKA_NONE;
    struct arena arena;
    arena_init(&arena, KIB(64));
    if (call->err == OK) {
        enum err err =
            codec_decode(&kafka_offset_commit_response_schema, call->version, &call->answer, &arena, &response);
        assert(err == OK);
        error = take_commits(member, &response);
    }
    arena_deinit(&arena);
    for (unsigned p = 0; p < PARTITIONS_MAX && call->err != OK; p++) {
        if (owns(member, p)) {
            group_commit_doubted(member->history, member->group, p, member->asked[p], member->generation);
        }
    }
    /* The topic is there; a coordinator that became one just now may not know it yet. */
    if (call->err == OK && (error == KAFKA_NONE || error == KAFKA_UNKNOWN_TOPIC_OR_PARTITION)) {
        member_next(member, MEMBER_STEADY, COMMIT_US);
    } else if (!member_take_error(member, call->err, error)) {
        history_violation(member_records(member), "refused", "OffsetCommit of group %u: %s", member->group,
                          kafka_error_name(error));
        member_next(member, MEMBER_STEADY, AGAIN_US);
    }
}

void member_commit(struct member *member)
{
    struct kafka_offset_commit_request_partition partitions[PARTITIONS_MAX];
    struct kafka_offset_commit_request_topic topic = {.name = bytes_from_text(SIM_TOPIC), .partitions = partitions};
    for (unsigned p = 0; p < member->clients->params.partition_count; p++) {
        if (!owns(member, p)) {
            continue;
        }
        member->positions[p] += clients_below(member->clients, ADVANCE);
        member->asked[p] = member->positions[p];
        group_commit_asked(member->history, member->group, p, member->asked[p]);
        partitions[topic.partitions_count++] = (struct kafka_offset_commit_request_partition){
            .partition_index = (int32_t)p, .committed_offset = member->asked[p], .committed_leader_epoch = -1};
    }
    struct kafka_offset_commit_request request = {.group_id = bytes_from_text(member->group_id),
                                                  .generation_id_or_member_epoch = member->generation,
                                                  .member_id = bytes_from_text(member->id),
                                                  .group_instance_id = member_instance(member),
                                                  .topics = &topic,
                                                  .topics_count = 1};
    member->newest = group_newest_generation(member->history, member->group);
    member_call(member, KAFKA_API_OFFSET_COMMIT, 8, CALL_TIMEOUT_US, commit_on_answer, &request);
}
