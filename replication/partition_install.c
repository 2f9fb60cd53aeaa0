/* A state that came from the leader takes the place of the partition's own (R12).
 *
 * Happy path: the sealed directory is opened at its manifest, as a start opens one at a checkpoint; epochs, producers
 *             and log are exchanged, readers of the old log are told, watches are woken; the old directory goes when a
 *             checkpoint of the new one is durable.
 * At replay:  the same, from WAL_INSTALL. Failure: what is staged is not what it should be: the replica is damaged, and
 *             nothing more is applied to it. */
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/partition_dirs.h"
#include "replication/partition_internal.h"
#include "replication/partition_stage.h"
#include "replication/partition_state.h"

#include <inttypes.h>
#include <string.h>

/* ---- Generations ---- */

void partition_retire(struct partition *partition, char *dir, uint64_t generation)
{
    if (partition->retired_count == partition->retired_capacity) {
        partition->retired_capacity = 2 * partition->retired_capacity + 1;
        partition->retired = mem_resize(partition->retired, partition->retired_capacity * sizeof(*partition->retired));
    }
    partition->retired[partition->retired_count++] = (struct partition_retired){dir, generation};
}

/* Renamed first: the group may come back one day under the plain name, before a job has got round to it. */
static void remove_dir(struct partition *partition, const char *dir)
{
    char *buried = partition_dir_bury(partition->env, dir, partition->group);
    if (buried != NULL) {
        partition_dir_remove(partition->env, buried);
        mem_free(buried);
    }
}

void partition_checkpointed(struct partition *partition, uint64_t generation, int64_t end_offset)
{
    size_t kept = 0;
    for (size_t i = 0; i < partition->retired_count; i++) {
        struct partition_retired *retired = &partition->retired[i];
        if (retired->generation < generation) {
            remove_dir(partition, retired->dir);
            mem_free(retired->dir);
        } else {
            partition->retired[kept++] = *retired;
        }
    }
    partition->retired_count = kept;
    if (generation == partition->generation && end_offset > partition->durable_end_offset) {
        partition->durable_end_offset = end_offset;
    }
}

void partition_retired_remove(struct partition *partition)
{
    for (size_t i = 0; i < partition->retired_count; i++) {
        if (partition->machine.is_removed) {
            remove_dir(partition, partition->retired[i].dir);
        }
        mem_free(partition->retired[i].dir);
    }
    mem_free(partition->retired);
    partition->retired = NULL;
    partition->retired_count = 0;
    if (partition->machine.is_removed) {
        char *staging = partition_dir_staging(partition->plain_dir);
        remove_dir(partition, staging);
        mem_free(staging);
    }
}

uint64_t partition_generation(const struct partition *partition)
{
    return partition->generation;
}

bool partition_owns_dir(const struct partition *partition, const char *path)
{
    char *staging = partition_dir_staging(partition->plain_dir);
    bool is_own = strcmp(path, partition->dir) == 0 || strcmp(path, staging) == 0;
    mem_free(staging);
    for (size_t i = 0; i < partition->retired_count && !is_own; i++) {
        is_own = strcmp(path, partition->retired[i].dir) == 0;
    }
    return is_own;
}

/* ---- Stage ---- */

struct replica_stage *partition_stage(struct replica_machine *machine)
{
    struct partition *partition = container_of(machine, struct partition, machine);
    if (partition->log == NULL || partition->is_closing || partition->is_damaged) {
        return NULL;
    }
    struct log_state state;
    if (log_pin(partition->log, &state) != OK) {
        return NULL;
    }
    log_unpin(partition->log); /* what has gone when it is looked for is pulled */
    struct stage_own *own = mem_alloc((state.segment_count + 1) * sizeof(*own));
    for (size_t i = 0; i < state.segment_count; i++) {
        bool is_last = i + 1 == state.segment_count;
        int64_t end_offset = is_last ? state.end_offset : state.segments[i + 1].base_offset;
        own[i] = (struct stage_own){
            .base_offset = state.segments[i].base_offset,
            .end_offset = end_offset,
            .version = state.segments[i].version,
            .size = state.segments[i].size,
            .is_fixed = state.segments[i].version > 0 || (!is_last && end_offset <= partition->durable_end_offset),
        };
    }
    struct replica_stage *stage = partition_stage_open(partition->env, partition->group, partition->plain_dir,
                                                       partition->dir, own, state.segment_count);
    mem_free(own);
    log_state_deinit(&state);
    return stage;
}

/* ---- Install ---- */

/* Opens what was sealed; nothing of the partition is touched before it is there. */
static enum err open_sealed(struct partition *partition, const char *dir, uint64_t index, struct partition_state *state,
                            struct log **log, struct errmsg *msg)
{
    struct dynbuf buf;
    dynbuf_init(&buf, CATCHUP_STATE_SIZE_MAX);
    enum err err = partition_stage_read(partition->env, dir, index, &buf, msg);
    err = err == OK ? partition_state_decode(dynbuf_bytes(&buf), state, msg) : err;
    if (err == OK) {
        err = log_open(partition->env, partition->files, dir, &partition->config.log, &state->log, log, msg);
    }
    dynbuf_deinit(&buf);
    return err;
}

void partition_install(struct replica_machine *machine, uint64_t index)
{
    struct partition *partition = container_of(machine, struct partition, machine);
    struct epochs epochs;
    struct producers producers;
    struct partition_state state = {.epochs = &epochs, .producers = &producers};
    struct log *log = NULL;
    struct errmsg msg = {""};
    if (partition->is_damaged || partition->log == NULL) {
        return;
    }
    char *dir = partition_dir_generation(partition->plain_dir, index);
    epochs_init(&epochs);
    producers_init(&producers, PARTITION_PRODUCER_COUNT_MAX);
    enum err err = open_sealed(partition, dir, index, &state, &log, &msg);
    log_state_deinit(&state.log);
    if (err != OK) {
        epochs_deinit(&epochs);
        producers_deinit(&producers);
        compactions_deinit(&state.compactions);
        mem_free(dir);
        partition_damaged(partition, ERR_DAMAGED, msg.text);
        return;
    }
    struct log *old = partition->log;
    partition_retire(partition, partition->dir, partition->generation);
    epochs_deinit(&partition->epochs);
    partition->epochs = epochs;
    producers_move(&partition->producers, &producers);
    producers_deinit(&producers);
    partition->append_ms = state.append_ms;
    compactions_deinit(&partition->compactions);
    partition->compactions = state.compactions;
    partition->compaction_retry_us = 0;
    partition->generation = index;
    partition->durable_end_offset = 0;
    partition->dir = dir;
    partition->log = log;
    partition->appended_size = 0;
    partition_attach_log(partition);
    trace(INFO, PARTITION, "caught up", KV("group", (int64_t)partition->group), KV("dir", dir),
          KV("start_offset", log_start_offset(log)), KV("end_offset", log_end_offset(log)));
    partition_fail_all(partition, KAFKA_NOT_LEADER_OR_FOLLOWER); /* a follower has none, but for what is on its way */
    partition_wake_all(partition);
    log_close(old);
}
