/* Reads cold segments in the background, all of them again and again at a low rate, so that damage is found while other
 * replicas are whole: then the replica takes itself out of service and is rebuilt (broker/rebuild.h). And digests of
 * what a partition holds, to compare replicas.
 *
 * Only segments that take no appends are scrubbed: what is written just now is checked by whoever reads it.
 * Runs on: the shard of the groups; files are read in work jobs. */
#pragma once

#include "replication/partition.h"
#include "replication/replicas.h"

struct scrub;
/* bytes_per_second: of this shard; 0: never. */
struct scrub *scrub_open(struct env *env, struct replicas *replicas, int64_t bytes_per_second);
/* Before replicas_close(); cb is the last callback. */
void scrub_close(struct scrub *scrub, void *owner, void (*cb)(void *owner));

struct digest {                      /* Caller's memory until cb. */
    struct partition *partition;     /* in */
    int64_t end_offset;              /* in: up to here; -1: all. out: what it covers */
    int64_t start_offset;            /* out: base offset of the first batch that is covered */
    uint64_t size;                   /* out */
    uint32_t crc;                    /* out: CRC-32C of all batches that hold an offset in [log start, end) */
    struct errmsg msg;               /* out */
    void (*cb)(struct digest *digest, enum err err); /* in */
    struct work work;                /* private, from here on */
    struct env *env;
    struct log *log;
    struct log_state state;
    char *dir;
    enum err err;
};
/* Reads all of it, in one job: replicas with the same records have the same digest, whatever their segments are.
 * ERR_IO, ERR_DAMAGED; ERR_NO_SPACE: not all is in the files (log_flush). The partition may close meanwhile. */
void digest_start(struct env *env, struct digest *digest);
