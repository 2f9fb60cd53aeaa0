/* Who is in a group. Members are few (at most GROUP_MEMBER_COUNT_MAX) and looked up by walking the array, hashes
 * compared first: a heartbeat of a group of 100 costs less than its system call. */

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "metadata/group_internal.h"
#include <string.h>

struct bytes group_copy(struct bytes bytes)
{
    if (bytes.data == NULL) {
        return BYTES_NONE;
    }
    uint8_t *data = mem_alloc_raw(bytes.size + 1);
    if (bytes.size > 0) {
        memcpy(data, bytes.data, bytes.size);
    }
    return (struct bytes){data, bytes.size};
}

void group_free(struct bytes *bytes)
{
    mem_free((void *)(uintptr_t)bytes->data);
    *bytes = BYTES_NONE;
}

static uint32_t hash_of(struct bytes id)
{
    return (uint32_t)bytes_hash(id, 0);
}

struct group_member *group_find(const struct group *group, struct bytes id)
{
    uint32_t hash = hash_of(id);
    for (size_t i = 0; i < group->member_count; i++) {
        if (group->members[i]->id_hash == hash && bytes_equal(group->members[i]->id, id)) {
            return group->members[i];
        }
    }
    return NULL;
}

struct group_member *group_find_instance(const struct group *group, struct bytes instance_id)
{
    for (size_t i = 0; i < group->member_count; i++) {
        struct group_member *member = group->members[i];
        if (member->instance_id.data != NULL && bytes_equal(member->instance_id, instance_id)) {
            return member;
        }
    }
    return NULL;
}

enum kafka_error group_identify(const struct group *group, struct bytes id, struct bytes instance_id,
                                struct group_member **member)
{
    if (instance_id.data == NULL) {
        *member = group_find(group, id);
        return *member != NULL ? KAFKA_NONE : KAFKA_UNKNOWN_MEMBER_ID;
    }
    *member = group_find_instance(group, instance_id);
    if (*member == NULL) {
        return KAFKA_UNKNOWN_MEMBER_ID;
    }
    return bytes_equal((*member)->id, id) ? KAFKA_NONE : KAFKA_FENCED_INSTANCE_ID;
}

/* ---- Their memory ---- */

static size_t protocols_size(const struct group_join *join)
{
    size_t size = 0;
    for (size_t i = 0; i < join->protocol_count; i++) {
        size += sizeof(*join->protocols) + join->protocols[i].name.size + join->protocols[i].metadata.size;
    }
    return size;
}

size_t group_join_size(const struct group_join *join)
{
    return sizeof(struct group_member) + 2 * join->offered_id.size + join->instance_id.size + join->client_id.size +
           join->client_host.size + protocols_size(join);
}

static size_t member_size(const struct group_member *member)
{
    size_t size = sizeof(*member) + member->id.size + member->instance_id.size + member->client_id.size +
                  member->client_host.size + member->former_id.size;
    for (size_t i = 0; i < member->protocol_count; i++) {
        const struct group_protocol *protocol = &member->protocols[i];
        size += sizeof(*protocol) + protocol->name.size + protocol->metadata.size;
    }
    return size;
}

static void account(struct group *group, struct group_member *member)
{
    group->size -= member->size;
    member->size = member_size(member);
    group->size += member->size;
}

static void free_protocols(struct group_member *member)
{
    for (size_t i = 0; i < member->protocol_count; i++) {
        group_free(&member->protocols[i].name);
        group_free(&member->protocols[i].metadata);
    }
    mem_free(member->protocols);
    member->protocols = NULL;
    member->protocol_count = 0;
}

void group_update(struct group *group, struct group_member *member, const struct group_join *join)
{
    free_protocols(member);
    member->protocols = mem_alloc(join->protocol_count * sizeof(*member->protocols));
    for (size_t i = 0; i < join->protocol_count; i++) {
        member->protocols[i].name = group_copy(join->protocols[i].name);
        member->protocols[i].metadata = group_copy(join->protocols[i].metadata);
    }
    member->protocol_count = join->protocol_count;
    member->session_timeout_ms = join->session_timeout_ms;
    member->rebalance_timeout_ms =
        join->rebalance_timeout_ms > 0 ? join->rebalance_timeout_ms : join->session_timeout_ms;
    group_free(&member->client_id);
    group_free(&member->client_host);
    member->client_id = group_copy(join->client_id);
    member->client_host = group_copy(join->client_host);
    account(group, member);
}

struct group_member *group_add(struct group *group, struct bytes id, const struct group_join *join)
{
    if (group->member_count == group->member_capacity) {
        group->member_capacity = group->member_capacity > 0 ? 2 * group->member_capacity : 4;
        group->members = mem_resize(group->members, group->member_capacity * sizeof(struct group_member *));
    }
    struct group_member *member = mem_alloc(sizeof(*member));
    member->id = group_copy(id);
    member->id_hash = hash_of(id);
    member->instance_id = group_copy(join->instance_id);
    group_update(group, member, join);
    group->members[group->member_count++] = member;
    if (group->leader == NULL) {
        group->leader = member;
    }
    if (!bytes_equal(group->protocol_type, join->protocol_type) || group->protocol_type.data == NULL) {
        group_free(&group->protocol_type);
        group->protocol_type = group_copy(join->protocol_type);
    }
    return member;
}

void group_rename(struct group *group, struct group_member *member, struct bytes id)
{
    group_free(&member->former_id);
    member->former_id = member->id;
    member->id = group_copy(id);
    member->id_hash = hash_of(id);
    account(group, member);
}

void group_assign(struct group *group, struct group_member *member, struct bytes assignment)
{
    group->assigned_size -= member->assignment.size;
    group_free(&member->assignment);
    member->assignment = group_copy(assignment);
    group->assigned_size += member->assignment.size;
}

void group_remove(struct group *group, struct group_member *member)
{
    size_t place = 0;
    assert(member->join == NULL);
    assert(member->sync == NULL);
    while (group->members[place] != member) {
        place++;
    }
    group->member_count--;
    memmove(&group->members[place], &group->members[place + 1],
            (group->member_count - place) * sizeof(struct group_member *));
    if (group->leader == member) {
        group->leader = group->member_count > 0 ? group->members[0] : NULL;
    }
    group->size -= member->size;
    group_assign(group, member, BYTES_NONE);
    free_protocols(member);
    group_free(&member->id);
    group_free(&member->instance_id);
    group_free(&member->client_id);
    group_free(&member->client_host);
    group_free(&member->former_id);
    mem_free(member);
}

/* ---- What they have in common ---- */

static const struct group_protocol *find_protocol(const struct group_member *member, struct bytes name)
{
    for (size_t i = 0; i < member->protocol_count; i++) {
        if (bytes_equal(member->protocols[i].name, name)) {
            return &member->protocols[i];
        }
    }
    return NULL;
}

static bool all_have(const struct group *group, struct bytes name, const struct group_member *except)
{
    for (size_t i = 0; i < group->member_count; i++) {
        if (group->members[i] != except && find_protocol(group->members[i], name) == NULL) {
            return false;
        }
    }
    return true;
}

bool group_supports(const struct group *group, const struct group_join *join, const struct group_member *except)
{
    bool has_others = group->member_count > (except != NULL);
    if (join->protocol_type.size == 0 || join->protocol_count == 0 ||
        (has_others && !bytes_equal(group->protocol_type, join->protocol_type))) {
        return false;
    }
    for (size_t i = 0; i < join->protocol_count; i++) {
        if (all_have(group, join->protocols[i].name, except)) {
            return true;
        }
    }
    return false;
}

bool group_is_unchanged(const struct group_member *member, const struct group_join *join)
{
    if (member->protocol_count != join->protocol_count) {
        return false;
    }
    for (size_t i = 0; i < join->protocol_count; i++) {
        if (!bytes_equal(member->protocols[i].name, join->protocols[i].name) ||
            !bytes_equal(member->protocols[i].metadata, join->protocols[i].metadata)) {
            return false;
        }
    }
    return true;
}

/* Candidates are protocols of the first member, since all have them. */
struct bytes group_vote(const struct group *group)
{
    const struct group_member *first = group->members[0];
    bool is_candidate[GROUP_PROTOCOL_COUNT_MAX];
    size_t votes[GROUP_PROTOCOL_COUNT_MAX] = {0};
    size_t best = 0;
    for (size_t i = 0; i < first->protocol_count; i++) {
        is_candidate[i] = all_have(group, first->protocols[i].name, NULL);
    }
    for (size_t i = 0; i < group->member_count; i++) {
        const struct group_member *member = group->members[i];
        for (size_t n = 0; n < member->protocol_count; n++) {
            const struct group_protocol *found = find_protocol(first, member->protocols[n].name);
            if (found != NULL && is_candidate[found - first->protocols]) {
                votes[found - first->protocols]++;
                break;
            }
        }
    }
    for (size_t i = 1; i < first->protocol_count; i++) {
        best = votes[i] > votes[best] ? i : best;
    }
    return first->protocols[best].name;
}

int64_t group_rebalance_us(const struct group *group)
{
    int32_t longest_ms = 0;
    for (size_t i = 0; i < group->member_count; i++) {
        int32_t timeout_ms = group->members[i]->rebalance_timeout_ms;
        longest_ms = timeout_ms > longest_ms ? timeout_ms : longest_ms;
    }
    return (int64_t)longest_ms * 1000;
}

struct bytes group_metadata(const struct group *group, const struct group_member *member)
{
    const struct group_protocol *protocol = find_protocol(member, group->protocol);
    return protocol != NULL ? protocol->metadata : BYTES_NONE;
}

/* ---- Those who have an id and have not joined ---- */

static void forget_at(struct group *group, size_t place)
{
    group_free(&group->pending[place].id);
    group->pending_count--;
    memmove(&group->pending[place], &group->pending[place + 1],
            (group->pending_count - place) * sizeof(*group->pending));
}

/* Ids cost who asks nothing, so they are few: the oldest gives way. It is the least likely to be used, and who has it
 * only asks again. */
void group_offer(struct group *group, struct bytes id, int64_t due_us)
{
    if (group->pending_count == GROUP_PENDING_COUNT_MAX) {
        forget_at(group, 0);
    }
    if ((group->pending_count & (group->pending_count - 1)) == 0) { /* grows at powers of two */
        size_t capacity = group->pending_count > 0 ? 2 * group->pending_count : 1;
        group->pending = mem_resize(group->pending, capacity * sizeof(*group->pending));
    }
    group->pending[group->pending_count++] = (struct group_pending){group_copy(id), due_us};
}

bool group_accept(struct group *group, struct bytes id)
{
    for (size_t i = 0; i < group->pending_count; i++) {
        if (bytes_equal(group->pending[i].id, id)) {
            forget_at(group, i);
            return true;
        }
    }
    return false;
}

bool group_forget_pending(struct group *group, int64_t now_us)
{
    size_t count = group->pending_count;
    for (size_t i = group->pending_count; i > 0; i--) {
        if (group->pending[i - 1].due_us <= now_us) {
            forget_at(group, i - 1);
        }
    }
    return group->pending_count < count;
}
