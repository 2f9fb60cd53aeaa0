/* After quiescence: the replicas of each partition have the same segment files, byte for byte. */
#pragma once

#include "tests/sim/observer.h"

enum {
    DIFFERENCE_SIZE = 800
};

/* False: `why` names two files that differ. */
bool replicas_are_equal(struct node *nodes, unsigned count, const struct observer *observer, char why[DIFFERENCE_SIZE]);
