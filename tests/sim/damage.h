/* What disks do silently: bits flip, and writes land in the wrong place. In segments of one broker: damage to its log,
 * or to its stores, ends the process by design and is the harness of one broker's (docs/SIMULATION.md).
 *
 * Damage that nobody has read is found by whoever reads it, or by the scrub, when its turn comes; it stands for nothing
 * wrong when a run ends. damage_undo() takes it back, so that the copies can be compared: what was rebuilt has no
 * damage any more, and what stands in a file under the same name is either damaged still or wrong. */
#pragma once

#include "tests/sim/node.h"

struct damage;
struct damage *damage_open(struct sim_world *world);
void damage_close(struct damage *damage);
void damage_flip(struct damage *damage, struct node *node);      /* some bits of one file */
void damage_misdirect(struct damage *damage, struct node *node); /* a sector of one file over one of another */
void damage_undo(struct damage *damage);
unsigned damage_count(const struct damage *damage);
