/* The network between simulated processes: TCP as its users see it. Bytes arrive in order, in pieces of any size, late;
 * connections are refused, reset, time out, or fall silent.
 *
 * A process is reached by its name, by the address that it has as the n-th process of the world ("10.0.0.n"), and by
 * itself as "localhost" or "127.0.0.1". Cuts are between names, so they outlive processes. */
#pragma once

#include "tests/lib/sim_world.h"

/* One way of a pair of processes, from then on: what is sent is not lost but waits, as TCP sends it again; nobody is
 * told. New connections time out. */
void sim_net_cut(struct sim_world *world, const char *from, const char *to);
void sim_net_heal(struct sim_world *world, const char *from, const char *to);
void sim_net_heal_all(struct sim_world *world);
/* All connections of the process break, for both ends. */
void sim_net_reset(struct sim_process *process);
/* How long a piece is on its way; small delays as likely as large ones by order of magnitude. Default 20 to 2000 us. */
void sim_net_set_delay(struct sim_world *world, int64_t low_us, int64_t high_us);
