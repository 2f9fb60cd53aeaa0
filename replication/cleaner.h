/* Compaction of a shard's partitions: asks leaders whether there is something to gain, and carries out what was
 * ordered, one partition at a time, in steps that leave room for others.
 *
 * Runs on: the shard's thread; the steps in work jobs. */
#pragma once

#include "replication/replicas.h"

struct cleaner_params {
    uint64_t memory_size;    /* for the keys of one compaction: log.cleaner.dedupe.buffer.size, this shard's part */
    bool is_asking;          /* log.cleaner.enable: whether leaders here are asked at all */
    int64_t backoff_ms;      /* log.cleaner.backoff.ms: between two looks at what leaders have */
    int64_t bytes_per_second; /* read by this shard; 0: no limit */
    const char *reserve_path; /* borrowed */
    uint64_t reserve;        /* bytes of the disk that a compaction leaves free */
};
struct cleaner;
struct cleaner *cleaner_open(struct env *env, struct replicas *replicas, const struct cleaner_params *params);
/* Before replicas_close(); cb is the last callback. */
void cleaner_close(struct cleaner *cleaner, void *owner, void (*cb)(void *owner));
