/* The simulator's store: all of base/kv.h, linked in place of base/kv.c (tests/lib/README.md). A store lives on the
 * simulated disk that its path names, as "data.mdb" in its directory, and shares the fate of that name.
 *
 * Power loss: a commit of KV_DURABLE stays. Of KV_ORDERED the last commit may be undone as a whole, if no kv_sync()
 * followed. A transaction that was not committed is gone with its process. */
#pragma once

#include "base/kv.h"
#include "tests/lib/sim_disk.h"

/* From now on kv_open() finds it damaged. False: no store there. */
bool sim_kv_damage(struct sim_disk *disk, const char *path);
