/* The racks are looked at once a request, the replicas once a partition. Of several the one with the most of the log is
 * named, of equals the first by id: consumers of one rack then share its page cache. */

#include "broker/read_replica.h"
#include "base/bytes.h"
#include "broker/cluster.h"
#include "metadata/store.h"

bool read_replica_is_wanted(const struct shard *shard, struct bytes rack)
{
    return shard->options->is_rack_aware && rack.size > 0;
}

struct nearby {
    struct request *request;
    struct bytes rack;
    int32_t *nodes;
    size_t count, capacity;
};

static bool nearby_broker(void *context, const struct store_broker *broker)
{
    struct nearby *nearby = context;
    if (!bytes_equal(broker->rack, nearby->rack) || !cluster_is_alive(nearby->request->shard, broker->id)) {
        return true;
    }
    if (nearby->count == nearby->capacity) {
        size_t capacity = nearby->capacity > 0 ? 2 * nearby->capacity : 4;
        int32_t *nodes = arena_alloc(&nearby->request->arena, capacity * sizeof(*nodes));
        if (nodes == NULL) {
            return false;
        }
        for (size_t i = 0; i < nearby->count; i++) {
            nodes[i] = nearby->nodes[i];
        }
        nearby->nodes = nodes;
        nearby->capacity = capacity;
    }
    nearby->nodes[nearby->count++] = broker->id;
    return true;
}

const int32_t *read_replica_nearby(struct request *request, struct bytes rack, size_t *count)
{
    const struct shard *shard = request->shard;
    struct nearby nearby = {.request = request, .rack = rack};
    *count = 0;
    if (!read_replica_is_wanted(shard, rack) || bytes_equal_text(rack, shard->options->rack)) {
        return NULL;
    }
    if (store_brokers_each(shard->reader, &request->arena, &nearby, nearby_broker) != OK) {
        return NULL;
    }
    *count = nearby.count;
    return nearby.nodes;
}

static bool is_nearby(int32_t node, const int32_t *nearby, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (nearby[i] == node) {
            return true;
        }
    }
    return false;
}

int32_t read_replica_choose(struct partition *partition, const int32_t *nearby, size_t count)
{
    const struct replica *replica = partition_machine(partition)->replica;
    struct replica_status status;
    int32_t chosen = -1;
    uint64_t chosen_match = partition_recent_index(partition);
    if (!replica_is_ready_leader(replica)) {
        return -1;
    }
    replica_status(replica, &status);
    for (unsigned i = 0; i < status.membership.count; i++) {
        uint64_t server = status.membership.servers[i].id;
        int32_t node = (int32_t)(server >> 32); /* replica_server_id() */
        uint64_t match = replica_match_index(replica, server);
        bool is_better = match > chosen_match || (match == chosen_match && (chosen < 0 || node < chosen));
        if (is_better && is_nearby(node, nearby, count)) {
            chosen = node;
            chosen_match = match;
        }
    }
    return chosen;
}
