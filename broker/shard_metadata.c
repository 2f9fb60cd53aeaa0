/* Shard 0's side of the metadata group: its events go to who is concerned. Changes are told to every shard, each of
 * which looks at the store itself. */

#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "broker/admin.h"
#include "broker/broker.h"
#include "broker/cluster.h"
#include "broker/coordinator.h"
#include "broker/forward.h"
#include "broker/leader_news.h"
#include "broker/mover.h"
#include "broker/offsets_expiry.h"
#include "broker/reconciler.h"
#include <string.h>

void shard_metadata_role_changed(void *owner, const struct replica_status *status)
{
    struct shard *shard = owner;
    if (!shard->is_stopping) {
        leader_news_role(shard->leader_news, METADATA_GROUP, status);
        cluster_metadata_role(shard->cluster, status);
        coordinator_role_changed(shard->coordinator, status);
    }
}

/* ---- News of changes ---- */

struct change_news {
    struct message message;
    struct shard *target;
    struct metadata_change change;
    uint64_t *groups; /* of a topic that was deleted */
};

static void change_take(struct shard *shard, const struct change_news *news)
{
    const struct metadata_change *change = &news->change;
    switch (change->kind) {
    case METADATA_TOPIC_DELETED:
        reconciler_remove(shard->reconciler, news->groups, change->group_count);
        break;
    case METADATA_PARTITIONS_CHANGED:
        reconciler_partition(shard->reconciler, &change->topic, change->partition);
        break;
    case METADATA_TOPIC_CREATED:
    case METADATA_PARTITIONS_ADDED:
    case METADATA_CONFIGS_CHANGED:
        reconciler_topic(shard->reconciler, &change->topic);
        break;
    case METADATA_BROKER_CONFIGS_CHANGED:
        if (change->broker == -1 || change->broker == shard->options->node_id) {
            reconciler_all(shard->reconciler); /* what topics inherit is in the config of every partition */
        }
        break;
    case METADATA_BROKER_CHANGED:
        mover_broker(shard->mover, change->broker);
        break;
    case METADATA_CLUSTER_CREATED:
        break;
    case METADATA_REPLACED:
        reconciler_all(shard->reconciler);
        mover_broker(shard->mover, -1); /* whichever */
        break;
    }
}

static void change_on_message(struct message *message)
{
    struct change_news *news = container_of(message, struct change_news, message);
    struct shard *shard = news->target;
    if (!shard->is_stopping) {
        store_reader_refresh(shard->reader);
        change_take(shard, news);
    }
    mem_free(news->groups);
    mem_free(news);
}

static void tell_shard(struct shard *shard, unsigned number, const struct metadata_change *change)
{
    struct change_news *news = mem_alloc(sizeof(*news));
    news->target = &shard->broker->shards[number];
    news->change = *change;
    if (change->group_count > 0) {
        news->groups = mem_alloc(change->group_count * sizeof(*news->groups));
        memcpy(news->groups, change->groups, change->group_count * sizeof(*news->groups));
    }
    news->message.cb = change_on_message;
    shard_send(shard, number, &news->message);
}

void shard_metadata_changed(void *owner, const struct metadata_change *changes, size_t count)
{
    struct shard *shard = owner;
    store_reader_refresh(shard->reader);
    if (shard->controller != NULL) {
        controller_changed(shard->controller);
    }
    for (size_t i = 0; i < count; i++) {
        if (changes[i].kind == METADATA_BROKER_CHANGED || changes[i].kind == METADATA_CLUSTER_CREATED ||
            changes[i].kind == METADATA_REPLACED) {
            cluster_metadata_changed(shard->cluster);
        }
        if (changes[i].kind == METADATA_TOPIC_DELETED) {
            offsets_expiry_hurry(shard->offsets_expiry);
        }
        if (shard->admin != NULL) {
            admin_metadata_changed(shard->admin, &changes[i]);
        }
        for (unsigned n = 0; n < shard->broker->shard_count; n++) {
            tell_shard(shard, n, &changes[i]);
        }
    }
    forward_metadata_applied(shard->forward); /* whoever is answered by it has these news first */
}
