/* After quiescence: the replicas of each partition have the same segment files, byte for byte. */
#pragma once

#include "tests/sim/observer.h"

void replicas_check(struct node *nodes, unsigned count, const struct observer *observer, struct history *history);
