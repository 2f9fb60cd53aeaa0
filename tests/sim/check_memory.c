/* Memory of a broker stays within what it was given: requests and responses within their budget, but for one step of
 * each shard, and all it has allocated within that, what it counts itself, and what limits.h allows for the rest:
 *
 *   requests    their budget (small in half of the lives, so that it is met; tests/sim/node.h), and for each shard the
 *               request that it is reading
 *   log         four times the bytes of entries in memory, which the broker counts: no entry keeps a block that is
 *               more than four times what is used of it (entries_unpin)
 *   links       what waits to be sent, which it counts, too
 *   catch-ups   CATCHUP_CHUNK_SIZE for each that is under way, on either side
 *   a shard     buffers of the log: WAL_BUFFER_COUNT_MAX kept, one gathering, one on its way, of twice their first
 *               size, as a unit of what these clients send is below that; SEGMENT_BUFFER_SIZE for each partition
 *   a broker    all that has no bound of its own in limits.h: options, metrics, producers, members of groups,
 *               connections, indexes; blocks of which only the last entries are left. Forty runs of all kinds stayed
 *               below half of the last two. */
#include "base/limits.h"
#include "replication/catchup.h"
#include "tests/sim/checks.h"
#include "tests/sim/observer.h"

enum {
    BLOCK_SHARE = 4, /* entries_unpin */
    SHARD_PARTITIONS = 8
};

#define SHARD_OWN_MAX ((WAL_BUFFER_COUNT_MAX + 2) * 2 * WAL_BUFFER_SIZE_MIN + SHARD_PARTITIONS * SEGMENT_BUFFER_SIZE)
#define BROKER_OWN_MAX MIB(3)

static void add_chunk(void *context, const struct catchup_progress *progress)
{
    size_t *size = context;
    (void)progress;
    *size += CATCHUP_CHUNK_SIZE;
}

static int64_t shard_metric(const struct node *node, unsigned shard, enum metric metric)
{
    return metrics_value(sim_process_env(node->process, shard)->metrics, metric);
}

/* What all but requests may be. */
static size_t bound(const struct node *node)
{
    size_t size = BROKER_OWN_MAX;
    for (unsigned i = 0; i < node->shard_count; i++) {
        const struct shard *shard = &node_broker(node)->shards[i];
        size += SHARD_OWN_MAX + BLOCK_SHARE * (size_t)shard_metric(node, i, METRIC_TAIL_BYTES) +
                (size_t)shard_metric(node, i, METRIC_PEER_QUEUE_BYTES);
        if (shard->catchups != NULL) {
            catchups_each(shard->catchups, &size, add_chunk);
        }
    }
    return size;
}

void check_memory(struct history *history, const struct node *node, size_t *most)
{
    int64_t requests = 0;
    for (unsigned i = 0; i < node->shard_count; i++) {
        requests += shard_metric(node, i, METRIC_MEMORY_REQUESTS);
    }
    int64_t requests_max = node->request_memory_max + (int64_t)node->shard_count * NODE_REQUEST_SIZE_MAX;
    if (requests > requests_max) {
        history_violation(history, "memory", "n%u: requests hold %lld bytes, %lld were given", node->number,
                          (long long)requests, (long long)node->request_memory_max);
    }
    size_t all = sim_process_memory(node->process);
    *most = all > *most ? all : *most;
    size_t rest = all > (size_t)requests ? all - (size_t)requests : 0; /* they are admitted before they are there */
    size_t rest_max = bound(node);
    if (rest > rest_max) {
        history_violation(history, "memory", "n%u: %zu bytes are allocated without requests, of %u shards: at most %zu",
                          node->number, rest, node->shard_count, rest_max);
    }
}
