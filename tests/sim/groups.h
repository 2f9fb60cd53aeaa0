/* Consumer groups of the simulated clients: members that join, sync, heartbeat, commit, read what is committed, pause
 * for too long, leave, are killed and come back, and simple consumers that only commit. What must be true of it:
 * group_history.h. Once all is healed every group must come to rest: "stuck" otherwise. */
#pragma once

#include "tests/sim/clients_internal.h"
#include "tests/sim/group_history.h"

struct groups;

struct groups *groups_open(struct clients *clients);
/* Members that are away come back, nobody goes any more; everyone reads once more what is committed, then there are
 * heartbeats alone. */
void groups_stop(struct groups *groups);
/* ... and all of a group are in one generation in which each partition has an owner. */
bool groups_are_settled(const struct groups *groups);
void groups_describe(const struct groups *groups, char *text, size_t size);
