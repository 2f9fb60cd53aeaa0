/* Who is alive: looked at twice a second among the registered brokers, and told to every shard when it has changed. A
 * broker whose process closed its link is given a moment to come back, not the whole session timeout: clients wait for
 * another leader better than they knock at a closed door. */

#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/cluster_internal.h"
#include <string.h>

#define ENDED_GRACE_US (200 * 1000)
#define START_GRACE_US (2 * 1000 * 1000) /* after this broker's start, until links are up */

bool cluster_was_heard(struct cluster *cluster, int32_t node, int64_t within_us)
{
    const struct shard *shard = cluster->shard;
    int64_t now = env_now_us(shard->env);
    int64_t heard = peers_heard_us(shard->peers, node);
    return heard > 0 && now - heard <= within_us;
}

bool cluster_is_alive_now(struct cluster *cluster, int32_t node)
{
    const struct shard *shard = cluster->shard;
    const struct cluster_ended *ended = map_get(&cluster->ended, (uint64_t)node);
    int64_t now = env_now_us(shard->env);
    if (node == shard->options->node_id || shard->peers == NULL) {
        return true;
    }
    if (peers_heard_us(shard->peers, node) == 0) {
        return now - cluster->started_us < START_GRACE_US;
    }
    if (ended != NULL && !peers_is_up(shard->peers, node) && now - ended->at_us >= ENDED_GRACE_US) {
        return false;
    }
    return cluster_was_heard(cluster, node, shard->options->session_timeout_ms * 1000);
}

struct alive_pass {
    struct cluster *cluster;
    int32_t *nodes;
    size_t count;
    size_t capacity;
};

/* Brokers come in the order of their keys, which is that of their ids. */
static bool pass_broker(void *context, const struct store_broker *broker)
{
    struct alive_pass *pass = context;
    if (!cluster_is_alive_now(pass->cluster, broker->id)) {
        return true;
    }
    if (pass->count == pass->capacity) {
        pass->capacity = pass->capacity > 0 ? 2 * pass->capacity : 8;
        pass->nodes = mem_resize(pass->nodes, pass->capacity * sizeof(*pass->nodes));
    }
    pass->nodes[pass->count++] = broker->id;
    return true;
}

void cluster_alive_tick(struct cluster *cluster)
{
    struct alive_pass pass = {.cluster = cluster};
    struct arena arena;
    arena_init(&arena, MIB(16));
    store_reader_refresh(cluster->shard->reader);
    enum err err = store_brokers_each(cluster->shard->reader, &arena, &pass, pass_broker);
    arena_deinit(&arena);
    bool is_same =
        err != OK || (pass.count == cluster->alive_count &&
                      (pass.count == 0 || memcmp(pass.nodes, cluster->alive, pass.count * sizeof(*pass.nodes)) == 0));
    if (is_same) {
        mem_free(pass.nodes);
        return;
    }
    mem_free(cluster->alive);
    cluster->alive = pass.nodes;
    cluster->alive_count = pass.count;
    trace(INFO, CONTROLLER, "other brokers are alive", KV("alive", pass.count));
    cluster_tell_alive(cluster);
}

void cluster_alive_up(struct cluster *cluster, int32_t node)
{
    mem_free(map_remove(&cluster->ended, (uint64_t)node));
}

void cluster_alive_down(struct cluster *cluster, int32_t node, bool is_reset)
{
    if (is_reset && map_get(&cluster->ended, (uint64_t)node) == NULL) {
        struct cluster_ended *ended = mem_alloc(sizeof(*ended));
        ended->at_us = env_now_us(cluster->shard->env);
        map_put(&cluster->ended, (uint64_t)node, ended);
        if (!cluster->is_stopping) {
            env_timer(cluster->shard->env, &cluster->quiet_timer, ENDED_GRACE_US);
        }
    }
}

void cluster_alive_close(struct cluster *cluster)
{
    size_t cursor = 0;
    uint64_t node;
    struct cluster_ended *ended;
    while ((ended = map_next(&cluster->ended, &cursor, &node)) != NULL) {
        mem_free(ended);
    }
    map_deinit(&cluster->ended);
}
