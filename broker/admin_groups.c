/* Consumer groups: Kafka's requests, which the coordinator answers, and what leaders of their partitions say of ends.
 *
 *   describe: DescribeGroups -> OffsetFetch -> round to the leaders -> answer
 *   reset:    DescribeGroups (no members?) -> OffsetFetch -> round -> OffsetCommit -> answer */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/admin_internal.h"
#include "broker/admin_round.h"
#include "metadata/config_value.h"
#include "proto/codec.h"
#include "proto/kafka_api.h"
#include <stdlib.h>
#include <string.h>

struct group_offset {
    struct bytes topic;
    int32_t partition;
    int32_t leader;
    uint64_t group; /* of Raft; 0: there is no such partition any more */
    int64_t committed;
};

struct group_work {
    struct grpc_call *call;
    const struct kafka_describe_groups_response_group *described;
    struct group_offset *offsets;
    size_t count;
    struct admin_round round;
    /* Of a reset. */
    const Balsa__Admin__V1__ResetOffsetsRequest *reset;
    Balsa__Admin__V1__ResetOffsetsResponse *answer;
};

/* ---- Listing, deleting ---- */

static Balsa__Admin__V1__Group *group_message(struct grpc_call *call, struct bytes id, struct bytes state,
                                              struct bytes protocol_type)
{
    Balsa__Admin__V1__Group *message = admin_message(call, &balsa__admin__v1__group__descriptor);
    if (message != NULL) {
        message->id = admin_text(call, id);
        message->state = admin_text(call, state);
        message->protocol_type = admin_text(call, protocol_type);
    }
    return message;
}

static void on_listed(struct grpc_call *call, const void *response)
{
    const struct kafka_list_groups_response *kafka = response;
    Balsa__Admin__V1__ListGroupsResponse answer = BALSA__ADMIN__V1__LIST_GROUPS_RESPONSE__INIT;
    if (kafka->error_code != KAFKA_NONE) {
        admin_fail(call, (enum kafka_error)kafka->error_code, BYTES_NONE);
        return;
    }
    size_t count = kafka->groups_count > 0 ? (size_t)kafka->groups_count : 0;
    answer.groups = arena_alloc(&call->arena, (count + 1) * sizeof(*answer.groups));
    for (size_t i = 0; answer.groups != NULL && i < count; i++) {
        const struct kafka_list_groups_response_group *group = &kafka->groups[i];
        answer.groups[i] = group_message(call, group->group_id, group->group_state, group->protocol_type);
        answer.n_groups += answer.groups[i] != NULL;
    }
    if (answer.n_groups < count) {
        admin_too_large(call);
    } else {
        grpc_answer(call, &answer.base);
    }
}

void admin_list_groups(struct grpc_call *call, const ProtobufCMessage *message)
{
    struct kafka_list_groups_request kafka;
    (void)message;
    codec_init_defaults(&kafka_list_groups_request_schema, &kafka);
    admin_ask(call, KAFKA_API_LIST_GROUPS, &kafka, on_listed);
}

static void on_deleted(struct grpc_call *call, const void *response)
{
    const struct kafka_delete_groups_response *kafka = response;
    Balsa__Admin__V1__DeleteGroupResponse answer = BALSA__ADMIN__V1__DELETE_GROUP_RESPONSE__INIT;
    if (kafka->results_count != 1 || kafka->results[0].error_code != KAFKA_NONE) {
        admin_fail(call,
                   kafka->results_count == 1 ? (enum kafka_error)kafka->results[0].error_code
                                             : KAFKA_UNKNOWN_SERVER_ERROR,
                   BYTES_NONE);
    } else {
        grpc_answer(call, &answer.base);
    }
}

void admin_delete_group(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__DeleteGroupRequest *request = (const void *)message;
    struct kafka_delete_groups_request kafka;
    struct bytes name = bytes_from_text(request->group);
    codec_init_defaults(&kafka_delete_groups_request_schema, &kafka);
    kafka.groups_names = &name;
    kafka.groups_names_count = 1;
    admin_ask(call, KAFKA_API_DELETE_GROUPS, &kafka, on_deleted);
}

/* ---- Offsets and ends ---- */

static void offset_add(struct group_work *work, struct bytes topic, int32_t partition, int64_t committed)
{
    const struct shard *shard = admin_of(work->call)->shard;
    struct group_offset *offset = &work->offsets[work->count++];
    struct uuid id;
    *offset = (struct group_offset){.topic = topic, .partition = partition, .committed = committed, .leader = -1};
    if (store_topic_id(shard->reader, topic, &id) == OK &&
        store_partition_group(shard->reader, &id, partition, &offset->group) == OK) {
        offset->leader = leaders_get(shard->leaders, offset->group).broker;
    }
}

/* Asks the leaders where their logs end. */
static void ask_ends(struct group_work *work, void (*done)(struct admin_round *round))
{
    struct shard *shard = admin_of(work->call)->shard;
    admin_round_init(&work->round, shard, admin_timeout_ms(work->call));
    work->round.done = done;
    admin_round_add(&work->round, shard->options->node_id, 0);
    for (size_t i = 0; i < work->count; i++) {
        if (work->offsets[i].leader >= 0) {
            admin_round_add(&work->round, work->offsets[i].leader, work->offsets[i].group);
        }
    }
    admin_round_go(&work->round);
}

static Balsa__Admin__V1__GroupOffset *offset_message(struct group_work *work, const struct group_offset *offset)
{
    const Balsa__Peer__ReplicaStatus *status =
        offset->group != 0 ? admin_round_replica(&work->round, offset->leader, offset->group) : NULL;
    Balsa__Admin__V1__GroupOffset *message = admin_message(work->call, &balsa__admin__v1__group_offset__descriptor);
    if (message == NULL) {
        return NULL;
    }
    message->topic = admin_text(work->call, offset->topic);
    message->partition = offset->partition;
    message->leader = offset->leader;
    message->committed = offset->committed;
    message->end = status != NULL && status->is_leader ? status->high_watermark : -1;
    message->start = status != NULL && status->is_leader ? status->log_start_offset : -1;
    message->lag = -1;
    if (message->end >= 0 && message->committed >= 0) {
        message->lag = message->end > message->committed ? message->end - message->committed : 0;
    }
    return message;
}

/* In the arena; count is short when that is full. */
static Balsa__Admin__V1__GroupOffset **offset_messages(struct group_work *work, size_t *count)
{
    Balsa__Admin__V1__GroupOffset **list = arena_alloc(&work->call->arena, (work->count + 1) * sizeof(*list));
    *count = 0;
    for (size_t i = 0; list != NULL && i < work->count; i++) {
        list[i] = offset_message(work, &work->offsets[i]);
        if (list[i] == NULL) {
            break;
        }
        (*count)++;
    }
    return list;
}

/* ---- Describing ---- */

static void fill_members(struct group_work *work, Balsa__Admin__V1__DescribeGroupResponse *answer)
{
    const struct kafka_describe_groups_response_group *group = work->described;
    size_t count = group->members_count > 0 ? (size_t)group->members_count : 0;
    answer->members = arena_alloc(&work->call->arena, (count + 1) * sizeof(*answer->members));
    for (size_t i = 0; answer->members != NULL && i < count; i++) {
        Balsa__Admin__V1__Member *member = admin_message(work->call, &balsa__admin__v1__member__descriptor);
        if (member == NULL) {
            return;
        }
        member->id = admin_text(work->call, group->members[i].member_id);
        member->instance_id = admin_text(work->call, group->members[i].group_instance_id);
        member->client_id = admin_text(work->call, group->members[i].client_id);
        member->host = admin_text(work->call, group->members[i].client_host);
        answer->members[answer->n_members++] = member;
    }
}

static void on_ends(struct admin_round *round)
{
    struct group_work *work = container_of(round, struct group_work, round);
    struct grpc_call *call = work->call;
    Balsa__Admin__V1__DescribeGroupResponse answer = BALSA__ADMIN__V1__DESCRIBE_GROUP_RESPONSE__INIT;
    answer.group =
        group_message(call, work->described->group_id, work->described->group_state, work->described->protocol_type);
    fill_members(work, &answer);
    answer.offsets = offset_messages(work, &answer.n_offsets);
    admin_round_deinit(round);
    if (answer.n_offsets < work->count || answer.group == NULL) {
        admin_too_large(call);
    } else {
        grpc_answer(call, &answer.base);
    }
}

static void reset_with(struct group_work *work, const struct kafka_offset_fetch_response_group *group);

static void on_fetched(struct grpc_call *call, const void *response)
{
    const struct kafka_offset_fetch_response *kafka = response;
    struct group_work *work = call->context;
    size_t count = 0;
    if (kafka->groups_count != 1 || kafka->groups[0].error_code != KAFKA_NONE) {
        admin_fail(
            call, kafka->groups_count == 1 ? (enum kafka_error)kafka->groups[0].error_code : KAFKA_UNKNOWN_SERVER_ERROR,
            BYTES_NONE);
        return;
    }
    const struct kafka_offset_fetch_response_group *group = &kafka->groups[0];
    store_reader_refresh(admin_of(call)->shard->reader);
    if (work->reset != NULL) {
        reset_with(work, group);
        return;
    }
    for (int32_t i = 0; i < group->topics_count; i++) {
        count += (size_t)group->topics[i].partitions_count;
    }
    work->offsets = arena_alloc(&call->arena, (count + 1) * sizeof(*work->offsets));
    if (work->offsets == NULL) {
        admin_too_large(call);
        return;
    }
    for (int32_t i = 0; i < group->topics_count; i++) {
        const struct kafka_offset_fetch_response_group_topic *topic = &group->topics[i];
        for (int32_t p = 0; p < topic->partitions_count; p++) {
            offset_add(work, topic->name, topic->partitions[p].partition_index, topic->partitions[p].committed_offset);
        }
    }
    ask_ends(work, on_ends);
}

static void fetch_offsets(struct grpc_call *call, struct bytes id)
{
    struct kafka_offset_fetch_request kafka;
    struct kafka_offset_fetch_request_group group;
    codec_init_defaults(&kafka_offset_fetch_request_schema, &kafka);
    codec_init_defaults(&kafka_offset_fetch_request_group_schema, &group);
    group.group_id = id;
    group.topics_count = -1; /* all */
    kafka.groups = &group;
    kafka.groups_count = 1;
    admin_ask(call, KAFKA_API_OFFSET_FETCH, &kafka, on_fetched);
}

static void on_described(struct grpc_call *call, const void *response)
{
    const struct kafka_describe_groups_response *kafka = response;
    struct group_work *work = call->context;
    if (kafka->groups_count != 1 || kafka->groups[0].error_code != KAFKA_NONE) {
        bool is_one = kafka->groups_count == 1;
        admin_fail(call, is_one ? (enum kafka_error)kafka->groups[0].error_code : KAFKA_UNKNOWN_SERVER_ERROR,
                   is_one ? kafka->groups[0].error_message : BYTES_NONE);
        return;
    }
    work->described = &kafka->groups[0];
    if (bytes_equal_text(work->described->group_state, "Dead")) {
        grpc_finish(call, GRPC_NOT_FOUND, "there is no group '%.*s': ListGroups names those that there are",
                    (int)work->described->group_id.size, (const char *)work->described->group_id.data);
    } else if (work->reset != NULL && work->described->members_count > 0) {
        grpc_finish(call, GRPC_FAILED_PRECONDITION,
                    "the group has %d members, which would go on where they are: stop them first",
                    work->described->members_count);
    } else {
        fetch_offsets(call, work->described->group_id);
    }
}

static void describe(struct grpc_call *call, const char *id, const Balsa__Admin__V1__ResetOffsetsRequest *reset)
{
    struct kafka_describe_groups_request kafka;
    struct bytes name = bytes_from_text(id);
    struct group_work *work = arena_alloc(&call->arena, sizeof(*work));
    codec_init_defaults(&kafka_describe_groups_request_schema, &kafka);
    kafka.groups = &name;
    kafka.groups_count = 1;
    if (work == NULL) {
        admin_too_large(call);
        return;
    }
    work->call = call;
    work->reset = reset;
    call->context = work;
    admin_ask(call, KAFKA_API_DESCRIBE_GROUPS, &kafka, on_described);
}

void admin_describe_group(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__DescribeGroupRequest *request = (const void *)message;
    describe(call, request->group, NULL);
}

/* ---- Resetting ---- */

static void on_committed(struct grpc_call *call, const void *response)
{
    const struct kafka_offset_commit_response *kafka = response;
    const struct group_work *work = call->context;
    for (int32_t i = 0; i < kafka->topics_count; i++) {
        for (int32_t p = 0; p < kafka->topics[i].partitions_count; p++) {
            if (kafka->topics[i].partitions[p].error_code != KAFKA_NONE) {
                admin_fail(call, (enum kafka_error)kafka->topics[i].partitions[p].error_code, BYTES_NONE);
                return;
            }
        }
    }
    grpc_answer(call, &work->answer->base);
}

static void commit(struct group_work *work)
{
    struct kafka_offset_commit_request kafka;
    struct kafka_offset_commit_request_topic topic;
    codec_init_defaults(&kafka_offset_commit_request_schema, &kafka);
    codec_init_defaults(&kafka_offset_commit_request_topic_schema, &topic);
    topic.partitions = codec_new(&kafka_offset_commit_request_partition_schema, work->count, &work->call->arena);
    if (topic.partitions == NULL) {
        admin_too_large(work->call);
        return;
    }
    for (size_t i = 0; i < work->count; i++) {
        topic.partitions[i].partition_index = work->offsets[i].partition;
        topic.partitions[i].committed_offset = work->answer->offsets[i]->committed;
    }
    topic.partitions_count = (int32_t)work->count;
    topic.name = bytes_from_text(work->reset->topic);
    kafka.group_id = work->described->group_id;
    kafka.generation_id_or_member_epoch = -1; /* no member */
    kafka.topics = &topic;
    kafka.topics_count = 1;
    admin_ask(work->call, KAFKA_API_OFFSET_COMMIT, &kafka, on_committed);
}

/* False: the call was ended. */
static bool set_target(struct group_work *work, Balsa__Admin__V1__GroupOffset *message)
{
    const char *to = work->reset->to;
    int64_t offset = 0;
    if (message->end < 0) {
        grpc_finish(work->call, GRPC_UNAVAILABLE,
                    "partition %d has no leader that answers, so nothing was done: Explain says why",
                    message->partition);
        return false;
    }
    if (strcmp(to, "earliest") == 0) {
        offset = message->start;
    } else if (strcmp(to, "latest") == 0) {
        offset = message->end;
    } else if (!config_parse_long(bytes_from_text(to), &offset)) {
        grpc_finish(work->call, GRPC_INVALID_ARGUMENT, "to '%s': expected earliest, latest or an offset", to);
        return false;
    }
    if (offset < message->start || offset > message->end) {
        grpc_finish(work->call, GRPC_OUT_OF_RANGE, "partition %d has offsets from %lld to %lld: %lld is not there",
                    message->partition, (long long)message->start, (long long)message->end, (long long)offset);
        return false;
    }
    message->committed = offset;
    message->lag = message->end - offset;
    return true;
}

static void on_reset_ends(struct admin_round *round)
{
    struct group_work *work = container_of(round, struct group_work, round);
    work->answer = admin_message(work->call, &balsa__admin__v1__reset_offsets_response__descriptor);
    size_t count = 0;
    Balsa__Admin__V1__GroupOffset **offsets = offset_messages(work, &count);
    admin_round_deinit(round);
    if (work->answer == NULL || count < work->count) {
        admin_too_large(work->call);
        return;
    }
    work->answer->offsets = offsets;
    work->answer->n_offsets = count;
    for (size_t i = 0; i < count; i++) {
        if (!set_target(work, offsets[i])) {
            return;
        }
    }
    if (work->reset->dry_run) {
        grpc_answer(work->call, &work->answer->base);
    } else {
        commit(work);
    }
}

static void reset_with(struct group_work *work, const struct kafka_offset_fetch_response_group *group)
{
    const Balsa__Admin__V1__ResetOffsetsRequest *reset = work->reset;
    struct store_topic topic;
    (void)group;
    if (!admin_topic(work->call, reset->topic, &topic)) {
        return;
    }
    size_t count = reset->n_partitions > 0 ? reset->n_partitions : (size_t)topic.partition_count;
    work->offsets = arena_alloc(&work->call->arena, count * sizeof(*work->offsets));
    if (work->offsets == NULL) {
        admin_too_large(work->call);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        int32_t index = reset->n_partitions > 0 ? reset->partitions[i] : (int32_t)i;
        if (index < 0 || index >= topic.partition_count) {
            grpc_finish(work->call, GRPC_NOT_FOUND, "topic '%s' has no partition %d: it has 0 to %d", reset->topic,
                        index, topic.partition_count - 1);
            return;
        }
        offset_add(work, bytes_from_text(reset->topic), index, -1);
    }
    ask_ends(work, on_reset_ends);
}

void admin_reset_offsets(struct grpc_call *call, const ProtobufCMessage *message)
{
    const Balsa__Admin__V1__ResetOffsetsRequest *request = (const void *)message;
    describe(call, request->group, request);
}
