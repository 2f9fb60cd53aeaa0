/* Happy path: at each check the groups led here whose first replica is on another broker are put in a line; then
 * some of them are handed over every SLICE_US, each looked at again before; the rest of the interval is idle.
 * Spread: what comes back to a broker that was away comes a few partitions a second from each of the others, so its
 * caches and clients' reconnects do not pile up. */

#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/broker.h"
#include "broker/leadership.h"

#define SLICE_US (100 * 1000)
#define SLICE_COUNT 4 /* of a shard: 40 a second */
#define READ_ARENA_SIZE_MAX MIB(1)

struct balancer {
    struct shard *shard;
    struct timer timer;
    uint64_t *line; /* groups to be handed over */
    size_t count, capacity, next;
};

/* Server of the first replica, when leadership should go there; 0: it should not. */
static uint64_t preferred_server(const struct shard *shard, struct arena *arena, uint64_t group)
{
    struct store_partition partition;
    struct store_broker broker;
    struct uuid topic;
    int32_t index;
    arena_reset(arena);
    if (store_group(shard->reader, group, &topic, &index) != OK ||
        store_partition(shard->reader, arena, &topic, index, &partition) != OK || partition.replica_count == 0 ||
        partition.target_count > 0 || partition.replicas[0] == shard->options->node_id ||
        !shard_is_linked(shard, partition.replicas[0]) ||
        store_broker(shard->reader, arena, partition.replicas[0], &broker) != OK || broker.is_draining) {
        return 0;
    }
    return broker.server_id;
}

struct check {
    struct balancer *balancer;
    struct arena arena;
};

static void check_group(void *context, uint64_t group, struct replica_machine *machine)
{
    struct check *check = context;
    struct balancer *balancer = check->balancer;
    if (machine == NULL || group == METADATA_GROUP || !replica_is_ready_leader(machine->replica) ||
        preferred_server(balancer->shard, &check->arena, group) == 0) {
        return;
    }
    if (balancer->count == balancer->capacity) {
        balancer->capacity = balancer->capacity > 0 ? 2 * balancer->capacity : 64;
        balancer->line = mem_resize(balancer->line, balancer->capacity * sizeof(*balancer->line));
    }
    balancer->line[balancer->count++] = group;
}

static void hand_over_some(struct balancer *balancer, struct arena *arena)
{
    unsigned handed = 0;
    while (balancer->next < balancer->count && handed < SLICE_COUNT) {
        uint64_t group = balancer->line[balancer->next++];
        uint64_t server = preferred_server(balancer->shard, arena, group);
        if (server != 0 && leadership_hand_over(balancer->shard, group, server) == KAFKA_NONE) {
            trace(DEBUG, REPLICA, "leadership goes to the preferred replica", KV("group", (int64_t)group),
                  KV("broker", replica_server_node(server)));
            handed++;
        }
    }
}

static void balancer_on_timer(struct timer *timer)
{
    struct balancer *balancer = container_of(timer, struct balancer, timer);
    struct shard *shard = balancer->shard;
    struct check check = {.balancer = balancer};
    arena_init(&check.arena, READ_ARENA_SIZE_MAX);
    if (balancer->next == balancer->count) {
        balancer->count = 0;
        balancer->next = 0;
        replicas_each(shard->replicas, &check, check_group);
    }
    hand_over_some(balancer, &check.arena);
    arena_deinit(&check.arena);
    bool is_through = balancer->next == balancer->count;
    env_timer(shard->env, &balancer->timer, is_through ? shard->options->imbalance_check_interval_us : SLICE_US);
}

struct balancer *balancer_open(struct shard *shard)
{
    struct balancer *balancer = mem_alloc(sizeof(*balancer));
    balancer->shard = shard;
    timer_init(&balancer->timer, balancer_on_timer);
    if (shard->options->is_leadership_balanced) {
        env_timer(shard->env, &balancer->timer, shard->options->imbalance_check_interval_us);
    }
    return balancer;
}

void balancer_stop(struct balancer *balancer)
{
    env_timer_cancel(balancer->shard->env, &balancer->timer);
}

void balancer_close(struct balancer *balancer)
{
    mem_free(balancer->line);
    mem_free(balancer);
}
