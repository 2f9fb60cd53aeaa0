/* The metadata commit is visible to this shard's reader before the wish is back: it was committed before shard 0
 * answered, and the snapshot is renewed on return. */

#include "broker/wish.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "broker/broker.h"
#include "broker/forward_internal.h"

static void wish_on_back(struct message *message)
{
    struct wish *wish = container_of(message, struct wish, message);
    store_reader_refresh(wish->origin->reader);
    wish->decided(wish);
}

static void wish_on_arrived(struct message *message)
{
    struct wish *wish = container_of(message, struct wish, message);
    if (wish->refusal == KAFKA_NONE && !forward_is_controller(wish->target)) {
        wish->refusal = KAFKA_NOT_CONTROLLER;
    }
    wish->decide(wish, wish->refusal == KAFKA_NONE ? wish->target->controller : NULL);
}

void wish_send(struct wish *wish, struct shard *origin)
{
    wish->origin = origin;
    wish->target = &origin->broker->shards[0];
    wish->message.cb = wish_on_arrived;
    shard_send(origin, 0, &wish->message);
}

void wish_decided(struct wish *wish)
{
    wish->message.cb = wish_on_back;
    shard_send(wish->target, wish->origin->number, &wish->message);
}

void wish_controlled_one(struct wish *wish, enum kafka_error error)
{
    if (error == KAFKA_NOT_CONTROLLER) {
        wish->refusal = error;
    }
    wish_decided(wish);
}

void wish_controlled(struct wish *wish, const struct controller_result *results, size_t count)
{
    size_t undone = 0;
    for (size_t i = 0; i < count; i++) {
        undone += results[i].error == KAFKA_NOT_CONTROLLER;
    }
    wish_controlled_one(wish, count > 0 && undone == count ? KAFKA_NOT_CONTROLLER : KAFKA_NONE);
}

size_t wish_topic_groups(struct shard *shard, const struct uuid *topic, int32_t first, uint64_t **groups, size_t count)
{
    for (int32_t index = first; index < TOPIC_PARTITION_COUNT_MAX; index++) {
        uint64_t group;
        if (store_partition_group(shard->reader, topic, index, &group) != OK) {
            break;
        }
        if ((count & (count - 1)) == 0) { /* grows at powers of two */
            *groups = mem_resize(*groups, (count > 0 ? 2 * count : 1) * sizeof(**groups));
        }
        (*groups)[count++] = group;
    }
    return count;
}

/* ---- Creating topics ---- */

static void create_finish(struct leaders_wait *wait)
{
    struct wish_create *create = container_of(wait, struct wish_create, wait);
    mem_free(create->groups);
    create->groups = NULL;
    create->cb(create);
}

static void create_decided(struct wish *wish)
{
    struct wish_create *create = container_of(wish, struct wish_create, wish);
    size_t count = 0;
    for (size_t i = 0; i < create->create.count && !create->create.is_validate_only; i++) {
        if (create->create.results[i].error == KAFKA_NONE) {
            count = wish_topic_groups(wish->origin, &create->create.results[i].id, 0, &create->groups, count);
        }
    }
    create->wait = (struct leaders_wait){.groups = create->groups, .count = count, .cb = create_finish};
    leaders_wait_for(wish->origin->leaders, &create->wait, create->timeout_ms);
}

static void create_on_controlled(struct controller_create *req)
{
    wish_controlled(&container_of(req, struct wish_create, create)->wish, req->results, req->count);
}

static void create_decide(struct wish *wish, struct controller *controller)
{
    struct wish_create *create = container_of(wish, struct wish_create, wish);
    if (controller != NULL) {
        create->create.cb = create_on_controlled;
        controller_create_topics(controller, &create->create);
        return;
    }
    for (size_t i = 0; i < create->create.count; i++) {
        create->create.results[i] = (struct controller_result){.error = wish->refusal};
    }
    wish_decided(wish);
}

void wish_create_topics(struct wish_create *create, struct shard *origin)
{
    assert(create->create.count > 0);
    create->groups = NULL;
    create->wish.decide = create_decide;
    create->wish.decided = create_decided;
    wish_send(&create->wish, origin);
}
