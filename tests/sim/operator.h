/* The operator of the simulated cluster: makes and deletes topics, moves replicas, chooses leaders, drains brokers,
 * while faults go on. Violations that it finds:
 *   resurrected   a topic exists after its deletion was acknowledged, or has records of a former life
 *   lost-topic    a topic is unknown after its creation was acknowledged
 *   lost-write    a partition of it ends before what was acknowledged */
#pragma once

#include "tests/sim/clients_internal.h"

struct operator;
struct operator* operator_open(struct clients *clients);
/* Nothing new is begun; what was begun is brought to its end. */
void operator_stop(struct operator* operator);
unsigned operator_unregistered(const struct operator* operator); /* bit n: broker n + 1 was to be forgotten */
bool operator_is_settled(const struct operator* operator);
