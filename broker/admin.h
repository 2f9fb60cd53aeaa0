/* The admin service (proto/admin.proto) and its neighbours, health and reflection, on their own listeners.
 *
 * A method reads the metadata's store, or asks this broker what a Kafka client would ask: so there is one way to the
 * state. What comes from other brokers is asked by PEER_STATUS.
 * Runs on: shard 0. */
#pragma once

#include "broker/shard.h"

struct admin;

struct admin *admin_open(struct shard *shard);
/* Opens the listeners of balsa.admin.listeners. The broker may not serve clients yet: the service says so. */
void admin_listen(struct admin *admin);
/* This broker begins to take clients, or takes none any more. */
void admin_set_serving(struct admin *admin, bool is_serving);
/* metric_labels of METRIC_GRPC_ERRORS. Any thread. */
void admin_error_labels(size_t row, size_t column, char *text, size_t size);
/* The metadata's events, after their commit. */
void admin_metadata_changed(struct admin *admin, const struct metadata_change *change);
/* Closes listeners and connections, waits for calls in work, then calls cb. */
void admin_close(struct admin *admin, void (*cb)(struct shard *shard));
