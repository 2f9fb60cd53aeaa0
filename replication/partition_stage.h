/* The stage of a partition (replica_state.h): segments that come from its leader, put together beside its own.
 * Manifest file, in a sealed directory: u32 "BSTG" | u64 index | u32 size | state (partition_state.h) | CRC-32C u32 of
 * all before. */
#pragma once

#include "base/env.h"
#include "replication/replica_state.h"

#define STAGE_MANIFEST_NAME "manifest"

struct stage_own {                   /* A segment that the partition has itself. */
    int64_t base_offset, end_offset;
    uint64_t version;
    uint64_t size;
    bool is_fixed;                   /* durable, in the durable checkpoint as it is, and takes no appends */
};
/* `plain`: the partition's directory of generation 0; `own_dir`: the present one. All is copied. */
struct replica_stage *partition_stage_open(struct env *env, uint64_t group, const char *plain, const char *own_dir,
                                           const struct stage_own *own, size_t own_count);
/* The state that was sealed in `dir`. ERR_NOT_FOUND, ERR_DAMAGED with text. */
MUST_CHECK enum err partition_stage_read(struct env *env, const char *dir, uint64_t index, struct dynbuf *state,
                                         struct errmsg *msg);
