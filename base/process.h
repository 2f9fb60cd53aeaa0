/* What a process needs before any shard runs: its data directory for itself alone, and random bytes for its identity.
 * Runs on: the main thread. */
#pragma once

#include "base/bytes.h"
#include "base/dynbuf.h"

/* Makes `path` (with parents) and locks it against other processes until this one ends. ERR_BUSY: another one has
 * it. */
MUST_CHECK enum err process_lock_dir(const char *path, struct errmsg *msg);
void process_random(void *target, size_t size);
/* Removes a directory and all in it; OK if absent. Blocks. */
MUST_CHECK enum err process_remove_tree(const char *path, struct errmsg *msg);
/* With parents, durably; OK if there. */
MUST_CHECK enum err process_make_dir(const char *path, struct errmsg *msg);
/* Renames, durably in both directories; OK if `source` is absent. The target is absent or an empty directory. */
MUST_CHECK enum err process_move(const char *source, const char *target, struct errmsg *msg);
/* Starts this program again in the place of this process, with the same arguments; returns when that fails. */
void process_start_again(char **argv, struct errmsg *msg);
/* Whether a directory has no names in it, or is not there. */
MUST_CHECK enum err process_is_empty(const char *path, bool *is_empty, struct errmsg *msg);
/* Appends a whole file to `text`, whose size_max bounds it: ERR_TOO_LARGE. Messages name the path. Blocks. */
MUST_CHECK enum err process_read_file(const char *path, struct dynbuf *text, struct errmsg *msg);
/* From now on, a read of a mapped file behind its end (a store that was cut from outside) ends the process with a
 * message that names file and position. */
void process_explain_bus_errors(void);
unsigned process_cores(void);
int64_t process_monotonic_us(void);

struct process_usage {
    int64_t started_s;  /* since the epoch */
    double cpu_seconds; /* user and system */
    int64_t resident_bytes;
    int64_t open_fds, max_fds; /* 0: cannot be told */
};
void process_usage(struct process_usage *usage); /* of this process, any thread */
