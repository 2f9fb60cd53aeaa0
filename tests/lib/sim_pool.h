/* Memory for small things that come and go all the time, in simulated processes and in the simulator: faster than
 * malloc(), which is a sixth of a simulation's time, and never given back to the system.
 *
 * With a sanitizer it is malloc(), so that what is used after it was freed is seen.
 * Runs on: one thread. */
#pragma once

#include <stddef.h>

/* Not zeroed, aligned to 16 bytes; never NULL. */
void *sim_pool_take(size_t size);
void *sim_pool_take_zeroed(size_t size);
/* NULL: nothing happens. `size` as it was asked for. */
void sim_pool_give(void *memory, size_t size);
