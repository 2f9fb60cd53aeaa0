/* Kafka clients of the simulated cluster, in a process of their own that is never killed: one topic with some
 * partitions, producers (idempotent ones with up to five batches in flight, and plain ones), and readers that follow
 * the end or start over, and consumer groups. They retry as real clients do, and tell the histories what they did and
 * saw. */
#pragma once

#include "tests/sim/history.h"
#include "tests/sim/node.h"

struct clients;
struct group_history;

struct clients_params {
    struct sim_world *world;
    struct sim_process *process;
    struct history *history;
    struct group_history *groups;
    unsigned node_count;
    unsigned seed_count; /* of them; the others join */
    unsigned partition_count;
    unsigned producer_count;
    unsigned idempotent_count; /* the first ones */
    int16_t replication_factor;
};
/* Inside the process. Begins with the creation of the topic. */
struct clients *clients_open(const struct clients_params *params);
bool clients_has_topic(const struct clients *clients);
void clients_stop_producing(struct clients *clients);
/* All that was sent is acknowledged, groups are at rest. */
bool clients_are_settled(const struct clients *clients);
/* Readers begin to read everything once more; then, when it was read up to the end: true. */
void clients_read_all(struct clients *clients);
bool clients_have_read_all(const struct clients *clients);
int64_t clients_end_offset(const struct clients *clients, unsigned partition);
unsigned clients_unregistered(const struct clients *clients); /* bit n: broker n + 1 was to be forgotten */
/* What they wait for, in words. */
void clients_describe(const struct clients *clients, char *text, size_t size);
