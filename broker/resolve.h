/* From what a client names (topic name or id, partition index) to Raft groups, through this turn's metadata. */
#pragma once

#include "broker/request.h"

struct resolved_topic {
    enum kafka_error error;   /* KAFKA_UNKNOWN_TOPIC_OR_PARTITION, KAFKA_UNKNOWN_TOPIC_ID, KAFKA_UNKNOWN_SERVER_ERROR */
    struct uuid id;
};
/* By id when `id` is given (versions with topic ids), else by name. */
void resolve_topic(struct request *request, struct bytes name, const struct uuid *id, struct resolved_topic *topic);
enum kafka_error resolve_partition(struct request *request, const struct resolved_topic *topic, int32_t index,
                                   uint64_t *group);
