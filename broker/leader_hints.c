/* A hint is soft state and may be old: clients take it only if its epoch is newer than theirs. */

#include "broker/leader_hints.h"
#include <string.h>

void leader_hints_init(struct leader_hints *hints, struct request *request)
{
    *hints = (struct leader_hints){.request = request};
}

static bool has_node(const struct leader_hints *hints, int32_t id)
{
    for (size_t i = 0; i < hints->count; i++) {
        if (hints->nodes[i].id == id) {
            return true;
        }
    }
    return false;
}

/* False: its address is not known. */
static bool add_node(struct leader_hints *hints, int32_t id)
{
    struct described_broker node;
    if (has_node(hints, id)) {
        return true;
    }
    if (!describe_broker(hints->request, id, &node)) {
        return false;
    }
    if (hints->count == hints->capacity) {
        size_t capacity = hints->capacity > 0 ? 2 * hints->capacity : 4;
        struct described_broker *nodes = arena_alloc(&hints->request->arena, capacity * sizeof(*nodes));
        if (nodes == NULL) {
            return false;
        }
        if (hints->count > 0) {
            memcpy(nodes, hints->nodes, hints->count * sizeof(*nodes));
        }
        hints->nodes = nodes;
        hints->capacity = capacity;
    }
    hints->nodes[hints->count++] = node;
    return true;
}

bool leader_hints_add(struct leader_hints *hints, uint64_t group, enum kafka_error error, int32_t *leader_id,
                      int32_t *leader_epoch)
{
    const struct shard *shard = hints->request->shard;
    if (group == 0 || (error != KAFKA_NOT_LEADER_OR_FOLLOWER && error != KAFKA_FENCED_LEADER_EPOCH)) {
        return false;
    }
    struct leader leader = leaders_get(shard->leaders, group);
    /* A broker that has just said that it does not lead must not send the client to itself. */
    bool is_stale = error == KAFKA_NOT_LEADER_OR_FOLLOWER && leader.broker == shard->options->node_id;
    if (leader.broker < 0 || is_stale || !describe_is_alive(shard, leader.broker) || !add_node(hints, leader.broker)) {
        return false;
    }
    *leader_id = leader.broker;
    *leader_epoch = leader.epoch;
    return true;
}
