/* Two groups with members, one of them with static ones among them, and one that a simple consumer commits to. */
#include "tests/sim/groups.h"

#include <stdio.h>

#include "base/mem.h"
#include "tests/sim/member.h"

enum {
    GROUP_COUNT = 3,
    SIMPLE_GROUP = GROUP_COUNT - 1,
    GROUP_MEMBERS = 3,
    MEMBERS = (GROUP_COUNT - 1) * GROUP_MEMBERS + 1,
    SESSION_MS = 6000, /* the least that brokers allow */
    SESSION_MORE_MS = 3000
};

struct groups {
    struct clients *clients;
    struct member members[MEMBERS];
};

static void start_member(struct groups *groups, unsigned number)
{
    static const int16_t VERSIONS[] = {3, 5, 9};
    struct clients *clients = groups->clients;
    struct member *member = &groups->members[number];
    member->clients = clients;
    member->history = clients->params.groups;
    member->group = number / GROUP_MEMBERS;
    member->number = number + 1;
    member->is_simple = member->group == SIMPLE_GROUP;
    member->partitions = member->is_simple ? (1U << clients->params.partition_count) - 1 : 0;
    member->join_version = VERSIONS[clients_below(clients, array_count(VERSIONS))];
    member->session_timeout_ms = SESSION_MS + (int32_t)clients_below(clients, SESSION_MORE_MS);
    member->rebalance_timeout_ms = SESSION_MS + (int32_t)clients_below(clients, SESSION_MORE_MS);
    (void)snprintf(member->group_id, sizeof(member->group_id), "g%u", member->group);
    if (member->group == 1 && number % 2 == 0) {
        member->join_version = member->join_version < 5 ? 5 : member->join_version; /* the first with instances */
        (void)snprintf(member->instance_id, sizeof(member->instance_id), "i%u", number);
    }
    member_start(member);
}

struct groups *groups_open(struct clients *clients)
{
    struct groups *groups = mem_alloc(sizeof(*groups));
    groups->clients = clients;
    for (unsigned i = 0; i < MEMBERS; i++) {
        start_member(groups, i);
    }
    return groups;
}

void groups_stop(struct groups *groups)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        groups->members[i].is_stopping = true;
    }
}

static bool member_is_settled(const struct member *member)
{
    return member->state == MEMBER_STEADY && member->has_read_last && !member->must_rejoin && !member->is_calling;
}

static bool group_is_settled(const struct groups *groups, unsigned group)
{
    uint32_t owned = 0;
    int32_t generation = -1;
    for (unsigned i = 0; i < MEMBERS; i++) {
        const struct member *member = &groups->members[i];
        if (member->group != group) {
            continue;
        }
        generation = generation < 0 ? member->generation : generation;
        owned |= member->partitions;
        if (!member_is_settled(member) || member->generation != generation) {
            return false;
        }
    }
    return owned == (1U << groups->clients->params.partition_count) - 1;
}

bool groups_are_settled(const struct groups *groups)
{
    for (unsigned group = 0; group < GROUP_COUNT; group++) {
        if (!group_is_settled(groups, group)) {
            return false;
        }
    }
    return true;
}

void groups_describe(const struct groups *groups, char *text, size_t size)
{
    static const char *const STATES[] = {"away", "finding", "joining", "syncing", "reading", "steady"};
    size_t used = 0;
    for (unsigned i = 0; i < MEMBERS && used < size; i++) {
        const struct member *member = &groups->members[i];
        if (!group_is_settled(groups, member->group)) {
            used += (size_t)snprintf(text + used, size - used, " g%u member %u %s at n%u in generation %d owns %x;",
                                     member->group, member->number, STATES[member->state], member->node,
                                     member->generation, member->partitions);
        }
    }
}
