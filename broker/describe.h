/* Brokers as a client is told about them: Metadata, DescribeCluster and leader hints share it. */
#pragma once

#include "broker/request.h"

/* Operations that everybody may do while there is no authorizer: Kafka's bit sets by operation code. */
#define AUTHORIZED_TOPIC_OPERATIONS 3576   /* READ WRITE CREATE DELETE ALTER DESCRIBE DESCRIBE_CONFIGS ALTER_CONFIGS */
#define AUTHORIZED_CLUSTER_OPERATIONS 8096 /* CREATE ALTER DESCRIBE CLUSTER_ACTION *_CONFIGS IDEMPOTENT_WRITE */

struct described_broker {
    int32_t id;
    struct bytes host;
    int32_t port;
    struct bytes rack;           /* data NULL: none */
};
/* All registered brokers, with the address of the listener that the request came in on. In the request's arena;
 * NULL when that is full. */
struct described_broker *describe_brokers(struct request *request, size_t *count);
/* One of them; false: unknown, or the arena is full. */
bool describe_broker(struct request *request, int32_t id, struct described_broker *broker);
/* Whom to tell clients as controller: the leader of the metadata if it is known and alive, else this broker, since
 * every broker takes every admin call and knows best whom it waits for. */
int32_t describe_controller(const struct shard *shard);
/* Whether a broker is listed and may be told as a leader; this one always is. */
bool describe_is_alive(const struct shard *shard, int32_t node);

struct described_partition {
    enum kafka_error error;      /* LEADER_NOT_AVAILABLE when nobody is known to lead it */
    int32_t leader, leader_epoch; /* -1: none */
    int32_t *replicas, *in_sync, *offline;
    int32_t replica_count, in_sync_count, offline_count;
};
/* In the request's arena; false: it does not exist, or the arena is full. */
bool describe_partition(struct request *request, const struct uuid *topic, int32_t index,
                        struct described_partition *partition);
bool describe_is_internal(struct bytes topic); /* one of those that Kafka keeps for itself */
struct bytes describe_cluster_id(struct request *request); /* in the arena */
