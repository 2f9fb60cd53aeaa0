/* What shard 0 tells every shard: the cluster id, that addresses of brokers may have changed, and who is alive. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "broker/cluster_internal.h"
#include <stdio.h>
#include <string.h>

struct cluster_news {
    struct message message;
    struct shard *target;
    void (*take)(struct cluster_news *news);
    char id[IDENTITY_CLUSTER_TEXT_SIZE];
    uint16_t port;
    int32_t *nodes;
    size_t count;
};

static void news_on_message(struct message *message)
{
    struct cluster_news *news = container_of(message, struct cluster_news, message);
    if (!news->target->is_stopping) {
        news->take(news);
    }
    mem_free(news->nodes);
    mem_free(news);
}

static void tell(struct cluster *cluster, const struct cluster_news *original)
{
    for (unsigned i = 0; i < shard_count(cluster->shard); i++) {
        struct cluster_news *news = mem_alloc(sizeof(*news));
        *news = *original;
        news->target = &cluster->shard->broker->shards[i];
        news->message.cb = news_on_message;
        if (original->count > 0) {
            news->nodes = mem_alloc(original->count * sizeof(*news->nodes));
            memcpy(news->nodes, original->nodes, original->count * sizeof(*news->nodes));
        }
        shard_send(cluster->shard, i, &news->message);
    }
}

/* ---- Identity ---- */

static void take_identity(struct cluster_news *news)
{
    struct shard *shard = news->target;
    bool is_new = memcmp(shard->peer_self.cluster_id, news->id, sizeof(news->id)) != 0;
    memcpy(shard->peer_self.cluster_id, news->id, sizeof(news->id));
    shard->peer_self.port = news->port;
    if (is_new && shard->peers != NULL) {
        peers_restart(shard->peers);
    }
}

void cluster_tell_identity(struct cluster *cluster)
{
    struct cluster_news news = {.take = take_identity, .port = cluster->shard->peer_self.port};
    memcpy(news.id, cluster->identity.id, sizeof(news.id));
    if (cluster->shard->peers != NULL) {
        tell(cluster, &news);
    }
}

/* ---- Links ---- */

struct link_pass {
    struct shard *shard;
    int32_t *nodes;
    size_t count;
};

static bool link_broker(void *context, const struct store_broker *broker)
{
    struct link_pass *pass = context;
    char host[256];
    if (broker->id == pass->shard->options->node_id || broker->peer.port == 0 ||
        broker->peer.host.size >= sizeof(host)) {
        return true;
    }
    (void)snprintf(host, sizeof(host), "%.*s", (int)broker->peer.host.size, (const char *)broker->peer.host.data);
    peers_set(pass->shard->peers, broker->id, host, broker->peer.port);
    pass->nodes = mem_resize(pass->nodes, (pass->count + 1) * sizeof(*pass->nodes));
    pass->nodes[pass->count++] = broker->id;
    return true;
}

static bool has_node(const int32_t *nodes, size_t count, int32_t node)
{
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] == node) {
            return true;
        }
    }
    return false;
}

static void take_links(struct cluster_news *news)
{
    struct shard *shard = news->target;
    struct link_pass pass = {.shard = shard};
    struct arena arena;
    if (shard->peers == NULL) {
        return;
    }
    arena_init(&arena, MIB(16));
    store_reader_refresh(shard->reader);
    enum err err = store_brokers_each(shard->reader, &arena, &pass, link_broker);
    arena_deinit(&arena);
    for (size_t i = 0; err == OK && i < shard->linked_count; i++) {
        if (!has_node(pass.nodes, pass.count, shard->linked[i])) {
            peers_remove(shard->peers, shard->linked[i]);
        }
    }
    mem_free(shard->linked);
    shard->linked = pass.nodes;
    shard->linked_count = pass.count;
}

void cluster_tell_links(struct cluster *cluster)
{
    if (cluster->shard->peers != NULL) {
        tell(cluster, &(struct cluster_news){.take = take_links});
    }
}

/* ---- Alive ---- */

static void take_alive(struct cluster_news *news)
{
    struct shard *shard = news->target;
    for (size_t i = 0; i < shard->alive_count; i++) {
        if (!has_node(news->nodes, news->count, shard->alive[i])) {
            leaders_hide(shard->leaders, shard->alive[i], LEADERS_SILENT);
        }
    }
    for (size_t i = 0; i < news->count; i++) {
        leaders_show(shard->leaders, news->nodes[i], LEADERS_SILENT);
    }
    mem_free(shard->alive);
    shard->alive = news->nodes;
    shard->alive_count = news->count;
    news->nodes = NULL;
}

void cluster_tell_alive(struct cluster *cluster)
{
    tell(cluster, &(struct cluster_news){.take = take_alive, .nodes = cluster->alive, .count = cluster->alive_count});
}

bool cluster_is_alive(const struct shard *shard, int32_t node)
{
    return node == shard->options->node_id || has_node(shard->alive, shard->alive_count, node);
}
