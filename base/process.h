/* What a process needs before any shard runs: its data directory for itself alone, and random bytes for its identity.
 * Runs on: the main thread. */
#pragma once

#include "base/bytes.h"

/* Makes `path` (with parents) and locks it against other processes until this one ends. ERR_BUSY: another one has
 * it. */
MUST_CHECK enum err process_lock_dir(const char *path, struct errmsg *msg);
void process_random(void *target, size_t size);
/* Removes a directory and all in it; OK if absent. Blocks. */
MUST_CHECK enum err process_remove_tree(const char *path, struct errmsg *msg);
unsigned process_cores(void);
int64_t process_monotonic_us(void);
