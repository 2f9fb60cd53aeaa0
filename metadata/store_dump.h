/* All of a store as one file: how the metadata travel to a broker that the log does not reach any more.
 *
 *   pairs, each  key size u32 | value size u32 | key | value      in the order of keys, big-endian
 * The file has no checksum of its own: its size and CRC-32C travel beside it. Blocks: work jobs, and starts. */
#pragma once

#include "base/env.h"
#include "base/kv.h"

struct store_dump {
    uint64_t size;
    uint64_t pair_count;
    uint32_t crc;
};
/* Writes what the store holds at one moment to a new file. Not synced. */
MUST_CHECK enum err store_dump(struct kv *kv, struct disk *disk, const char *path, struct store_dump *dump,
                               struct errmsg *msg);
/* Whether the file is what `dump` says. ERR_DAMAGED. */
MUST_CHECK enum err store_dump_check(struct disk *disk, const char *path, const struct store_dump *dump,
                                     struct errmsg *msg);
/* Replaces everything in the transaction by what the file holds. ERR_DAMAGED: it is not a dump; abort then. */
MUST_CHECK enum err store_load(struct kv_txn *txn, struct disk *disk, const char *path, struct errmsg *msg);
