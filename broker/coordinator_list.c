/* DescribeGroups and ListGroups: groups with members are in memory, all others only in the store. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "broker/coordinator_internal.h"
#include "metadata/store_groups.h"
#include <string.h>
#include <strings.h>

#define AUTHORIZED_GROUP_OPERATIONS 328 /* READ DELETE DESCRIBE, as there is no authorizer */
#define DESCRIBE_ARENA_SIZE_MAX MIB(32)
#define GROUP_TYPE "Classic"
#define STATE_DEAD "Dead"

/* ---- DescribeGroups ---- */

static bool fill_members(const struct group *group, struct arena *arena,
                         struct kafka_describe_groups_response_group *out)
{
    bool is_stable = group->state == GROUP_STABLE;
    if (group->member_count == 0) {
        return true;
    }
    out->members = codec_new(&kafka_describe_groups_response_member_schema, group->member_count, arena);
    for (size_t i = 0; out->members != NULL && i < group->member_count; i++) {
        const struct group_member *member = group->members[i];
        struct kafka_describe_groups_response_member *described = &out->members[out->members_count++];
        described->member_id = member->id;
        described->group_instance_id = member->instance_id;
        described->client_id = member->client_id;
        described->client_host = member->client_host;
        if (is_stable) { /* before, nobody has been given anything */
            described->member_metadata = group_metadata(group, member);
            described->member_assignment = member->assignment;
        }
    }
    return out->members != NULL;
}

static void fill_unknown(int16_t version, struct kafka_describe_groups_response_group *out)
{
    out->group_state = bytes_from_text(STATE_DEAD);
    if (version >= 6) {
        out->error_code = KAFKA_GROUP_ID_NOT_FOUND;
        out->error_message = bytes_from_text(kafka_error_text(KAFKA_GROUP_ID_NOT_FOUND));
    }
}

static void fill_stored(const struct coordinator *coordinator, struct bytes id, int16_t version, struct arena *arena,
                        struct kafka_describe_groups_response_group *out)
{
    Balsa__Record__GroupValue *value;
    uint64_t number;
    enum err err = store_consumer_group(coordinator->shard->reader, arena, id, &number, &value);
    if (err == ERR_NOT_FOUND) {
        fill_unknown(version, out);
    } else if (err == OK) {
        out->group_state = bytes_from_text(group_state_name(GROUP_EMPTY));
        out->protocol_type = (struct bytes){value->protocol_type.data, value->protocol_type.len};
    } else {
        out->error_code = KAFKA_COORDINATOR_NOT_AVAILABLE;
    }
}

static bool describe_one(const struct coordinator *coordinator, struct bytes id, int16_t version, struct arena *arena,
                         struct kafka_describe_groups_response_group *out)
{
    const struct hosted_group *hosted = hosted_find(coordinator, id);
    enum kafka_error error = coordinator_check(coordinator);
    out->group_id = id;
    if (error != KAFKA_NONE) {
        out->error_code = (int16_t)error;
    } else if (hosted == NULL || (hosted->group.member_count == 0 && hosted->group.generation == 0)) {
        fill_stored(coordinator, id, version, arena, out);
    } else {
        out->group_state = bytes_from_text(group_state_name(hosted->group.state));
        out->protocol_type = hosted->group.protocol_type;
        out->protocol_data = hosted->group.state == GROUP_STABLE ? hosted->group.protocol : BYTES_NONE;
        return fill_members(&hosted->group, arena, out);
    }
    return true;
}

void coordinator_describe(struct group_call *call, struct coordinator *coordinator)
{
    const struct kafka_describe_groups_request *message = call->message;
    size_t count = message->groups_count > 0 ? (size_t)message->groups_count : 0;
    struct kafka_describe_groups_response response;
    struct arena arena;
    bool is_done = true;
    codec_init_defaults(&kafka_describe_groups_response_schema, &response);
    arena_init(&arena, DESCRIBE_ARENA_SIZE_MAX);
    store_reader_refresh(coordinator->shard->reader);
    if (count > 0) {
        response.groups = codec_new(&kafka_describe_groups_response_group_schema, count, &arena);
        is_done = response.groups != NULL;
    }
    for (size_t i = 0; is_done && i < count; i++) {
        struct kafka_describe_groups_response_group *out = &response.groups[i];
        is_done = describe_one(coordinator, message->groups[i], call->request->api_version, &arena, out);
        if (message->include_authorized_operations) {
            out->authorized_operations = AUTHORIZED_GROUP_OPERATIONS;
        }
    }
    response.groups_count = (int32_t)count;
    group_call_answer(call, &kafka_describe_groups_response_schema, is_done ? &response : NULL);
    arena_deinit(&arena);
}

/* ---- ListGroups ---- */

struct listing {
    const struct coordinator *coordinator;
    const struct kafka_list_groups_request *message;
    struct arena *arena;   /* of the answer */
    struct arena *scratch; /* of one group of the store */
    struct kafka_list_groups_response *response;
    size_t capacity;
    bool is_full;
};

static bool equals_ignoring_case(struct bytes bytes, const char *text)
{
    return bytes.size == strlen(text) && strncasecmp((const char *)bytes.data, text, bytes.size) == 0;
}

static bool is_among(const struct bytes *filter, int32_t count, const char *text)
{
    bool is_found = count <= 0;
    for (int32_t i = 0; i < count && !is_found; i++) {
        is_found = equals_ignoring_case(filter[i], text);
    }
    return is_found;
}

static bool list_grow(struct listing *listing)
{
    struct kafka_list_groups_response *response = listing->response;
    size_t capacity = listing->capacity > 0 ? 2 * listing->capacity : 64;
    struct kafka_list_groups_response_group *groups =
        codec_new(&kafka_list_groups_response_group_schema, capacity, listing->arena);
    if (groups == NULL) {
        listing->is_full = true;
        return false;
    }
    if (response->groups_count > 0) {
        memcpy(groups, response->groups, (size_t)response->groups_count * sizeof(*groups));
    }
    response->groups = groups;
    listing->capacity = capacity;
    return true;
}

static bool list_one(struct listing *listing, struct bytes id, struct bytes protocol_type, enum group_state state)
{
    const struct kafka_list_groups_request *message = listing->message;
    const char *name = group_state_name(state);
    if (!is_among(message->states_filter, message->states_filter_count, name) ||
        !is_among(message->types_filter, message->types_filter_count, GROUP_TYPE)) {
        return true;
    }
    if ((size_t)listing->response->groups_count == listing->capacity && !list_grow(listing)) {
        return false;
    }
    struct kafka_list_groups_response_group *out = &listing->response->groups[listing->response->groups_count++];
    out->group_id = arena_copy(listing->arena, id);
    out->protocol_type = arena_copy(listing->arena, protocol_type);
    out->group_state = bytes_from_text(name);
    out->group_type = bytes_from_text(GROUP_TYPE);
    listing->is_full = out->group_id.data == NULL || out->protocol_type.data == NULL;
    return !listing->is_full;
}

static struct bytes text_or_empty(struct bytes bytes)
{
    return bytes.data != NULL ? bytes : bytes_from_text("");
}

static bool list_stored(void *context, uint64_t number, const Balsa__Record__GroupValue *value)
{
    struct listing *listing = context;
    struct bytes id = text_or_empty((struct bytes){value->group.data, value->group.len});
    struct bytes type = text_or_empty((struct bytes){value->protocol_type.data, value->protocol_type.len});
    const struct hosted_group *hosted = hosted_find(listing->coordinator, id);
    (void)number;
    bool is_listed = hosted == NULL || hosted->group.member_count == 0;
    bool is_ok = !is_listed || list_one(listing, id, type, GROUP_EMPTY);
    arena_reset(listing->scratch);
    return is_ok;
}

static bool list_all(struct listing *listing)
{
    const struct list *head = &listing->coordinator->groups;
    for (const struct list *link = head->next; link != head; link = link->next) {
        const struct hosted_group *hosted = container_of(link, struct hosted_group, link);
        const struct group *group = &hosted->group;
        if (group->member_count > 0 &&
            !list_one(listing, hosted->id, text_or_empty(group->protocol_type), group->state)) {
            return false;
        }
    }
    struct store_reader *reader = listing->coordinator->shard->reader;
    store_reader_refresh(reader);
    return store_consumer_groups_each(reader, listing->scratch, BYTES_NONE, NULL, listing, list_stored) == OK &&
           !listing->is_full;
}

/* Tools ask every broker: those that do not coordinate have no groups, unless nobody is known to. */
static enum kafka_error list_error(const struct coordinator *coordinator)
{
    enum kafka_error error = coordinator_check(coordinator);
    if (error != KAFKA_NOT_COORDINATOR) {
        return error;
    }
    bool is_led = leaders_get(coordinator->shard->leaders, METADATA_GROUP).broker >= 0;
    return is_led && !coordinator->is_stopping ? KAFKA_NONE : KAFKA_COORDINATOR_NOT_AVAILABLE;
}

void coordinator_list(struct group_call *call, struct coordinator *coordinator)
{
    struct kafka_list_groups_response response;
    struct arena arena;
    struct arena scratch;
    bool is_done = true;
    struct listing listing = {.coordinator = coordinator,
                              .message = call->message,
                              .arena = &arena,
                              .scratch = &scratch,
                              .response = &response};
    codec_init_defaults(&kafka_list_groups_response_schema, &response);
    arena_init(&arena, DESCRIBE_ARENA_SIZE_MAX);
    arena_init(&scratch, 2 * ENTRY_SIZE_MAX);
    response.error_code = (int16_t)list_error(coordinator);
    if (coordinator_check(coordinator) == KAFKA_NONE) {
        is_done = list_all(&listing);
    }
    group_call_answer(call, &kafka_list_groups_response_schema, is_done ? &response : NULL);
    arena_deinit(&scratch);
    arena_deinit(&arena);
}
