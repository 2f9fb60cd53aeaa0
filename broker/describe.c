/* A broker that advertises no host is told about by the address the client used to reach it: that works from the host,
 * from other containers and through port mappings without any listener editing. That address leads to this broker only;
 * of another one it is the host at which brokers reach it, or, if that one has none either, it runs where this one
 * does. */

#include "broker/describe.h"
#include "broker/cluster.h"
#include <string.h>

#define ADDRESS_SIZE 64

struct listing {
    struct request *request;
    struct described_broker *items;
    size_t count;
    size_t capacity;
    const struct option_listener *listener;
    struct bytes local_host;
    uint16_t local_port;
};

static const struct store_endpoint *find_endpoint(const struct store_broker *broker, const char *name)
{
    for (size_t i = 0; i < broker->endpoint_count; i++) {
        if (bytes_equal_text(broker->endpoints[i].listener, name)) {
            return &broker->endpoints[i];
        }
    }
    return broker->endpoint_count > 0 ? &broker->endpoints[0] : NULL;
}

static void fill_broker(const struct listing *listing, const struct store_broker *broker, struct described_broker *item)
{
    const struct store_endpoint *endpoint = find_endpoint(broker, listing->listener->name);
    *item = (struct described_broker){.id = broker->id, .rack = broker->rack.size > 0 ? broker->rack : BYTES_NONE};
    if (endpoint != NULL) {
        bool is_self = broker->id == listing->request->shard->options->node_id;
        bool is_as_reached = endpoint->host.size == 0;
        bool is_by_peer = is_as_reached && !is_self && broker->peer.host.size > 0;
        item->host = is_by_peer ? broker->peer.host : is_as_reached ? listing->local_host : endpoint->host;
        item->port = is_as_reached && endpoint->port == 0 ? listing->local_port : endpoint->port;
    }
}

static bool list_broker(void *context, const struct store_broker *broker)
{
    struct listing *listing = context;
    if (!describe_is_alive(listing->request->shard, broker->id)) {
        return true;
    }
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity > 0 ? 2 * listing->capacity : 8;
        struct described_broker *items = arena_alloc(&listing->request->arena, capacity * sizeof(*items));
        if (items == NULL) {
            listing->items = NULL;
            return false;
        }
        if (listing->count > 0) {
            memcpy(items, listing->items, listing->count * sizeof(*items));
        }
        listing->items = items;
        listing->capacity = capacity;
    }
    fill_broker(listing, broker, &listing->items[listing->count++]);
    return true;
}

static void listing_init(struct listing *listing, struct request *request)
{
    char host[ADDRESS_SIZE];
    *listing = (struct listing){.request = request};
    request_local_address(request, host, sizeof(host), &listing->local_port, &listing->listener);
    listing->local_host = arena_copy(&request->arena, bytes_from_text(host));
}

bool describe_is_alive(const struct shard *shard, int32_t node)
{
    return cluster_is_alive(shard, node);
}

int32_t describe_controller(const struct shard *shard)
{
    struct leader leader = leaders_get(shard->leaders, METADATA_GROUP);
    return leader.broker >= 0 && describe_is_alive(shard, leader.broker) ? leader.broker : shard->options->node_id;
}

bool describe_broker(struct request *request, int32_t id, struct described_broker *broker)
{
    struct store_broker stored;
    struct listing listing;
    if (store_broker(request->shard->reader, &request->arena, id, &stored) != OK) {
        return false;
    }
    listing_init(&listing, request);
    fill_broker(&listing, &stored, broker);
    return broker->host.data != NULL;
}

struct described_broker *describe_brokers(struct request *request, size_t *count)
{
    struct listing listing;
    listing_init(&listing, request);
    enum err err = store_brokers_each(request->shard->reader, &request->arena, &listing, list_broker);
    *count = listing.count;
    return err == OK ? listing.items : NULL;
}

struct bytes describe_cluster_id(struct request *request)
{
    char id[CLUSTER_ID_SIZE + 1];
    if (store_cluster_id(request->shard->reader, id) != OK) {
        return BYTES_NONE;
    }
    return arena_copy(&request->arena, bytes_from_text(id));
}

/* ---- Partitions ---- */

/* Replicas on brokers that are alive, or on those that are not. NULL: the arena is full. */
static int32_t *select_replicas(struct request *request, const struct store_partition *partition, bool is_alive,
                                int32_t *count)
{
    int32_t *nodes = arena_alloc(&request->arena, (partition->replica_count + 1) * sizeof(*nodes));
    *count = 0;
    for (size_t i = 0; nodes != NULL && i < partition->replica_count; i++) {
        if (describe_is_alive(request->shard, partition->replicas[i]) == is_alive) {
            nodes[(*count)++] = partition->replicas[i];
        }
    }
    return nodes;
}

/* In sync: Raft has no such set; a replica on a broker that is alive has all that is committed, or is about to. */
bool describe_partition(struct request *request, const struct uuid *topic, int32_t index,
                        struct described_partition *partition)
{
    struct shard *shard = request->shard;
    struct store_partition stored;
    if (store_partition(shard->reader, &request->arena, topic, index, &stored) != OK) {
        return false;
    }
    struct leader leader = leaders_get(shard->leaders, stored.group);
    bool is_led = leader.broker >= 0 && describe_is_alive(shard, leader.broker);
    partition->error = is_led ? KAFKA_NONE : KAFKA_LEADER_NOT_AVAILABLE;
    partition->leader = is_led ? leader.broker : -1;
    partition->leader_epoch = is_led ? leader.epoch : -1;
    partition->replicas = stored.replicas;
    partition->replica_count = (int32_t)stored.replica_count;
    partition->in_sync = select_replicas(request, &stored, true, &partition->in_sync_count);
    partition->offline = select_replicas(request, &stored, false, &partition->offline_count);
    return partition->in_sync != NULL && partition->offline != NULL;
}

bool describe_is_internal(struct bytes topic)
{
    return bytes_equal_text(topic, "__consumer_offsets") || bytes_equal_text(topic, "__transaction_state");
}
