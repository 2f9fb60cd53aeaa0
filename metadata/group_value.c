/* What of a group is stored, and what of its members' opaque metadata is looked into. */

#include "base/canary.h"
#include "base/limits.h"
#include "base/mem.h"
#include "metadata/group_internal.h"

/* ---- Saving ---- */

static ProtobufCBinaryData binary(struct bytes bytes)
{
    return (ProtobufCBinaryData){bytes.size, (uint8_t *)(uintptr_t)bytes.data}; /* packed only */
}

static bool save_protocols(struct arena *arena, const struct group_member *member, Balsa__Record__GroupMember *out)
{
    out->n_protocols = member->protocol_count;
    out->protocols = arena_alloc(arena, (member->protocol_count + 1) * sizeof(*out->protocols));
    Balsa__Record__GroupProtocol *items = arena_alloc(arena, (member->protocol_count + 1) * sizeof(*items));
    if (out->protocols == NULL || items == NULL) {
        return false;
    }
    for (size_t i = 0; i < member->protocol_count; i++) {
        balsa__record__group_protocol__init(&items[i]);
        items[i].name = binary(member->protocols[i].name);
        items[i].metadata = binary(member->protocols[i].metadata);
        out->protocols[i] = &items[i];
    }
    return true;
}

static bool save_member(struct arena *arena, const struct group_member *member, Balsa__Record__GroupMember *out)
{
    balsa__record__group_member__init(out);
    out->id = binary(member->id);
    out->instance_id = binary(member->instance_id);
    out->client_id = binary(member->client_id);
    out->client_host = binary(member->client_host);
    out->session_timeout_ms = member->session_timeout_ms;
    out->rebalance_timeout_ms = member->rebalance_timeout_ms;
    out->assignment = binary(member->assignment);
    return save_protocols(arena, member, out);
}

bool group_save(const struct group *group, struct arena *arena, Balsa__Record__GroupValue *value)
{
    value->protocol_type = binary(group->protocol_type);
    value->protocol = binary(group->protocol);
    value->leader = group->leader != NULL ? binary(group->leader->id) : binary(BYTES_NONE);
    value->generation = group->generation;
    value->n_members = group->member_count;
    value->members = arena_alloc(arena, (group->member_count + 1) * sizeof(*value->members));
    Balsa__Record__GroupMember *items = arena_alloc(arena, (group->member_count + 1) * sizeof(*items));
    if (value->members == NULL || items == NULL) {
        return false;
    }
    for (size_t i = 0; i < group->member_count; i++) {
        if (!save_member(arena, group->members[i], &items[i])) {
            return false;
        }
        value->members[i] = &items[i];
    }
    return true;
}

/* ---- Restoring ---- */

static struct bytes borrow(ProtobufCBinaryData data)
{
    static const uint8_t nothing;
    return (struct bytes){data.data != NULL ? data.data : &nothing, data.len};
}

static bool restore_member(struct group *group, int64_t now_us, struct bytes protocol_type,
                           const Balsa__Record__GroupMember *saved)
{
    struct group_protocol protocols[GROUP_PROTOCOL_COUNT_MAX];
    if (saved->n_protocols == 0 || saved->n_protocols > GROUP_PROTOCOL_COUNT_MAX ||
        group->member_count == GROUP_MEMBER_COUNT_MAX || group_find(group, borrow(saved->id)) != NULL) {
        return false;
    }
    for (size_t i = 0; i < saved->n_protocols; i++) {
        protocols[i] =
            (struct group_protocol){borrow(saved->protocols[i]->name), borrow(saved->protocols[i]->metadata)};
    }
    struct group_join join = {.instance_id = saved->instance_id.len > 0 ? borrow(saved->instance_id) : BYTES_NONE,
                              .client_id = borrow(saved->client_id),
                              .client_host = borrow(saved->client_host),
                              .protocol_type = protocol_type,
                              .protocols = protocols,
                              .protocol_count = saved->n_protocols,
                              .session_timeout_ms = saved->session_timeout_ms,
                              .rebalance_timeout_ms = saved->rebalance_timeout_ms};
    struct group_member *member = group_add(group, borrow(saved->id), &join);
    group_assign(group, member, borrow(saved->assignment));
    member->session_due_us = now_us + (int64_t)member->session_timeout_ms * 1000;
    return true;
}

static bool all_support(const struct group *group)
{
    for (size_t i = 0; i < group->member_count; i++) {
        if (group_metadata(group, group->members[i]).data == NULL) {
            return false;
        }
    }
    return true;
}

enum err group_restore(struct group *group, int64_t now_us, const Balsa__Record__GroupValue *value)
{
    bool is_sound = value->generation >= 0;
    group->protocol_type = value->protocol_type.len > 0 ? group_copy(borrow(value->protocol_type)) : BYTES_NONE;
    group->generation = value->generation - (canary_is(CANARY_GENERATION_AGAIN) && value->generation > 0);
    group->sync_due_us = GROUP_NEVER;
    if (value->n_members > 0) {
        group->state = GROUP_STABLE;
        group->protocol = group_copy(borrow(value->protocol));
    }
    struct bytes protocol_type = borrow(value->protocol_type);
    for (size_t i = 0; i < value->n_members && is_sound; i++) {
        is_sound = restore_member(group, now_us, protocol_type, value->members[i]);
    }
    if (is_sound && value->n_members > 0) {
        group->leader = group_find(group, borrow(value->leader));
        is_sound = group->leader != NULL && all_support(group);
    }
    if (!is_sound) {
        const struct group_limits *limits = group->limits;
        group_deinit(group);
        group_init(group, limits);
        return ERR_CORRUPT;
    }
    return OK;
}

/* ---- Subscriptions ---- */

/* A consumer's: version i16, topics [string], ... False: not of that form. */
static bool read_subscription(struct bytes metadata, struct bytes topic, bool *is_subscribed)
{
    struct reader reader;
    reader_init(&reader, metadata);
    (void)read_i16(&reader);
    int32_t count = read_i32(&reader);
    for (int32_t i = 0; i < count && reader.err == OK; i++) {
        int16_t size = read_i16(&reader);
        struct bytes name = size >= 0 ? read_bytes(&reader, (size_t)size) : BYTES_NONE;
        if (reader.err == OK && bytes_equal(name, topic)) {
            *is_subscribed = true;
        }
    }
    return reader.err == OK && count >= 0;
}

bool group_subscribes(const struct group *group, struct bytes topic)
{
    bool is_subscribed = false;
    if (group->member_count > 0 && !bytes_equal_text(group->protocol_type, "consumer")) {
        return true;
    }
    for (size_t i = 0; i < group->member_count; i++) {
        const struct group_member *member = group->members[i];
        struct bytes metadata = group_metadata(group, member);
        if (metadata.data == NULL) { /* before the first generation */
            metadata = member->protocols[0].metadata;
        }
        if (!read_subscription(metadata, topic, &is_subscribed)) {
            return true;
        }
    }
    return is_subscribed;
}
