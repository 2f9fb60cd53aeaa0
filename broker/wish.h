/* A handler's wish to the controller of this broker: carried to shard 0, decided there, carried back; creations then
 * wait until this shard knows a leader for every new partition, so that a topic is usable when its creation is
 * answered. How requests get to the controller's broker: broker/forward.h.
 *
 * Runs on: the origin shard, but for what is said. All memory is the caller's until cb. */
#pragma once

#include "broker/shard.h"

struct wish {                  /* The carrier; embedded by those below and by handlers. */
    struct shard *origin;
    /* in: the request's; out: NOT_CONTROLLER when the controller is not here. Nothing is done then. */
    enum kafka_error refusal;
    /* shard 0; ends with wish_decided(), now or later; controller NULL: answer wish->refusal */
    void (*decide)(struct wish *wish, struct controller *controller);
    void (*decided)(struct wish *wish);                               /* origin */
    struct message message;    /* private */
    struct shard *target;      /* private */
};
void wish_send(struct wish *wish, struct shard *origin);
void wish_decided(struct wish *wish); /* shard 0 */
/* Shard 0: wish_decided() with what the controller said. NOT_CONTROLLER of it (it hands over, or was deposed) means
 * that nothing was done; where that is all there is, `refusal` says so, and whoever forwarded the request asks the
 * next one. */
void wish_controlled(struct wish *wish, const struct controller_result *results, size_t count);
void wish_controlled_one(struct wish *wish, enum kafka_error error);

struct wish_create {           /* CreateTopics, and auto-creation */
    struct controller_create create; /* in: topics, count, is_validate_only, results[count] */
    int64_t timeout_ms;        /* for the leaders to appear */
    void (*cb)(struct wish_create *create);
    /* private */
    struct wish wish;
    struct leaders_wait wait;
    uint64_t *groups;
};
void wish_create_topics(struct wish_create *create, struct shard *origin);

/* Groups of a topic's partitions [first, count) as this shard's metadata has them now; mem_alloc'ed. */
size_t wish_topic_groups(struct shard *shard, const struct uuid *topic, int32_t first, uint64_t **groups, size_t count);
