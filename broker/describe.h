/* Brokers as a client is told about them: Metadata, DescribeCluster and later hints share it. */
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
struct bytes describe_cluster_id(struct request *request); /* in the arena */
