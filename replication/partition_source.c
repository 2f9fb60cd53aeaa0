/* A partition's state to be sent: its segments as files, pinned as they are; and what a checkpoint would hold.
 * Everything is captured when the source is made, so prepare() has nothing to do.
 *
 * Who pulls a file a second time has found that it does not check. The fault may be on this side, in bytes that nobody
 * has read for long; so then the file is checked here, or the follower would ask for ever. */
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "replication/partition_internal.h"
#include "replication/partition_state.h"
#include "replication/segment.h"
#include "replication/segment_check.h"

#include <inttypes.h>

struct partition_source {
    struct replica_source source;
    struct disk *disk;
    struct log *log; /* pinned; maybe closed by now */
    char *dir;
    uint64_t *versions; /* of the segments, as the files */
    int64_t end_offset;
    size_t file; /* that is being pulled, and how far it was */
    uint64_t pulled;
};

static enum err source_prepare(struct replica_source *base, struct errmsg *msg)
{
    (void)base;
    (void)msg;
    return OK;
}

static size_t file_number(const struct partition_source *source, uint64_t base_offset)
{
    size_t i = 0;
    while (i + 1 < source->source.file_count && source->source.files[i].id != base_offset) {
        i++;
    }
    assert(source->source.files[i].id == base_offset);
    return i;
}

/* Front to end, as consumers would read it. */
static enum err source_check(const struct partition_source *source, size_t number, int opened, struct errmsg *msg)
{
    const struct replica_file *file = &source->source.files[number];
    bool is_last = number + 1 == source->source.file_count;
    struct epochs epochs;
    struct producers producers;
    epochs_init(&epochs);
    producers_init(&producers, PARTITION_PRODUCER_COUNT_MAX);
    struct partition_state state = {.epochs = &epochs, .producers = &producers};
    enum err err = partition_state_decode(dynbuf_bytes(&source->source.state), &state, msg);
    assert(err == OK); /* encoded here */
    struct segment_check check = {.disk = source->disk,
                                  .dir = source->dir,
                                  .file = opened,
                                  .base_offset = (int64_t)file->id,
                                  .version = source->versions[number],
                                  .end_offset = is_last ? source->end_offset : (int64_t)file[1].id,
                                  .size = file->size,
                                  .epochs = &epochs,
                                  .next_offset = (int64_t)file->id};
    err = segment_check(&check, msg);
    log_state_deinit(&state.log);
    compactions_deinit(&state.compactions);
    producers_deinit(&producers);
    epochs_deinit(&epochs);
    return err;
}

static enum err source_read(struct replica_source *base, const struct replica_file *file, uint64_t position, void *data,
                            size_t size, struct errmsg *msg)
{
    struct partition_source *source = container_of(base, struct partition_source, source);
    struct disk *disk = source->disk;
    char path[SEGMENT_PATH_SIZE];
    int opened;
    size_t got = 0;
    size_t number = file_number(source, file->id);
    segment_path(source->dir, (struct segment_id){(int64_t)file->id, source->versions[number]}, SEGMENT_LOG, path);
    enum err err = disk->open(disk, path, DISK_READ_ONLY, &opened, msg);
    if (err != OK) {
        return err;
    }
    bool is_again = source->file == number && position < source->pulled;
    source->file = number;
    source->pulled = position + size;
    err = is_again ? source_check(source, number, opened, msg) : OK;
    if (err != OK) {
        disk->close(disk, opened);
        return err;
    }
    err = disk->pread(disk, opened, position, data, size, &got);
    disk->close(disk, opened);
    if (err != OK || got < size) {
        return fail(msg, err == OK ? ERR_DAMAGED : err,
                    "file %s position %" PRIu64 ": it ends too early or cannot be read", path, position + got);
    }
    return OK;
}

static void source_close(struct replica_source *base)
{
    struct partition_source *source = container_of(base, struct partition_source, source);
    log_unpin(source->log);
    dynbuf_deinit(&source->source.state);
    mem_free(source->source.files);
    mem_free(source->versions);
    mem_free(source->dir);
    mem_free(source);
}

static const struct replica_source_ops SOURCE_OPS = {source_prepare, source_read, source_close};

struct replica_source *partition_source(struct replica_machine *machine)
{
    struct partition *partition = container_of(machine, struct partition, machine);
    if (partition->log == NULL || partition->is_damaged || partition->is_closing) {
        return NULL;
    }
    struct log_state log_state;
    if (log_pin(partition->log, &log_state) != OK) {
        return NULL;
    }
    struct partition_source *source = mem_alloc(sizeof(*source));
    struct partition_state state = {
        .log = log_state,
        .append_ms = partition->append_ms,
        .epochs = &partition->epochs,
        .producers = &partition->producers,
        .compactions = partition->compactions,
    };
    source->source.ops = &SOURCE_OPS;
    source->disk = partition->env->disk;
    source->log = partition->log;
    source->dir = mem_strdup(log_dir(partition->log));
    source->end_offset = state.log.end_offset;
    dynbuf_init(&source->source.state, CATCHUP_STATE_SIZE_MAX);
    partition_state_encode(&state, &source->source.state);
    if (state.log.segment_count > 0) {
        source->source.files = mem_alloc(state.log.segment_count * sizeof(struct replica_file));
        source->versions = mem_alloc(state.log.segment_count * sizeof(uint64_t));
    }
    source->source.file_count = state.log.segment_count;
    for (size_t i = 0; i < state.log.segment_count; i++) {
        const struct log_segment_state *segment = &state.log.segments[i];
        source->source.files[i] = (struct replica_file){(uint64_t)segment->base_offset, segment->size};
        source->versions[i] = segment->version;
    }
    log_state_deinit(&state.log);
    return &source->source;
}
