/* One or two lookups a partition, all as of this turn's snapshot: what the reader remembers is of that snapshot too, so
 * nothing is stale. */

#include "broker/resolve.h"

void resolve_topic(struct request *request, struct bytes name, const struct uuid *id, struct resolved_topic *topic)
{
    struct store_reader *reader = request->shard->reader;
    uint64_t group;
    if (id != NULL) {
        topic->id = *id;
        enum err err = store_partition_group(reader, id, 0, &group);
        topic->error = err == OK              ? KAFKA_NONE
                       : err == ERR_NOT_FOUND ? KAFKA_UNKNOWN_TOPIC_ID
                                              : KAFKA_UNKNOWN_SERVER_ERROR;
        return;
    }
    enum err err = store_topic_id(reader, name, &topic->id);
    topic->error = err == OK              ? KAFKA_NONE
                   : err == ERR_NOT_FOUND ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
                                          : KAFKA_UNKNOWN_SERVER_ERROR;
}

enum kafka_error resolve_partition(struct request *request, const struct resolved_topic *topic, int32_t index,
                                   uint64_t *group)
{
    if (topic->error != KAFKA_NONE) {
        return topic->error;
    }
    enum err err = index >= 0 ? store_partition_group(request->shard->reader, &topic->id, index, group) : ERR_NOT_FOUND;
    return err == OK              ? KAFKA_NONE
           : err == ERR_NOT_FOUND ? KAFKA_UNKNOWN_TOPIC_OR_PARTITION
                                  : KAFKA_UNKNOWN_SERVER_ERROR;
}
