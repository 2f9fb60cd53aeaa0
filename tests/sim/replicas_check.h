/* After quiescence: the replicas of each partition have the same segment files, byte for byte. */
#pragma once

#include "tests/sim/history.h"
#include "tests/sim/node.h"

void replicas_check(struct node *nodes, unsigned count, struct history *history);
