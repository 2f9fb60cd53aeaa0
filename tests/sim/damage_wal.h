/* Damage to a broker's write-ahead log while it is down: a bit of a unit that is still needed, with whole units behind
 * it, so that it cannot be taken for a torn tail. At its next start the broker gives up its identity and joins anew
 * (broker/rejoin.h): what it had is as lost as with its disk.
 *
 * A bad unit that nothing follows is cut as a torn tail, for it looks like one: whoever damages the last unit of a log
 * that was acknowledged takes back a promise unseen. That is outside the fault model. */
#pragma once

#include "tests/sim/node.h"

/* False: no log has such a unit. The broker is down. */
bool damage_wal(struct sim_world *world, struct node *node);
