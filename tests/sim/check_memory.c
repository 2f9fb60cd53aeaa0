/* Memory of a broker stays within what it was given: requests and responses within their budget, but for one step of
 * each shard, and all it has allocated within that and what a broker of this size needs for itself. Budgets are small
 * in half of the lives, so that they are met (tests/sim/node.h). */
#include "base/limits.h"
#include "tests/sim/checks.h"
#include "tests/sim/observer.h"

/* Without requests: logs that gather, entries in memory, connections, stores and metadata of a broker of three shards.
 * The most that was seen in hundreds of runs is below half of it. */
#define MEMORY_OWN_MAX MIB(32)

void check_memory(struct history *history, const struct node *node, size_t *most)
{
    int64_t requests = 0;
    for (unsigned i = 0; i < node->shard_count; i++) {
        requests += metrics_value(sim_process_env(node->process, i)->metrics, METRIC_MEMORY_REQUESTS);
    }
    int64_t requests_max = node->request_memory_max + (int64_t)node->shard_count * NODE_REQUEST_SIZE_MAX;
    if (requests > requests_max) {
        history_violation(history, "memory", "n%u: requests hold %lld bytes, %lld were given", node->number,
                          (long long)requests, (long long)node->request_memory_max);
    }
    size_t all = sim_process_memory(node->process);
    *most = all > *most ? all : *most;
    if (all > MEMORY_OWN_MAX + (size_t)requests_max) {
        history_violation(history, "memory", "n%u: %zu bytes are allocated, requests have %lld of them", node->number,
                          all, (long long)requests);
    }
}
