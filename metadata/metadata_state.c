/* Catch-up of the metadata: a state is a dump of the whole store (store_dump.h), made by the source in a work job out
 * of one read transaction, staged as a file, and loaded in one write transaction together with the applied index.
 *
 *   <store>.dump.<random>   of a source, while it is sent
 *   <store>.staging         of a stage; a later dump has other bytes, so nothing of it is used again
 *   <store>.<index>         sealed; needed by the replay until a checkpoint at or above the index is durable
 *
 * The dump may be newer than the index it is sent for: entries that it has already are skipped, as at any start.
 * Failure: a sealed file that cannot be loaded ends the process: its log is gone, there is nothing to go on with. */
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "metadata/metadata_internal.h"
#include "metadata/store_dump.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define STATE_VERSION 1
#define STATE_SIZE (1 + 8 + 8 + 4)
#define PATH_SIZE 1200
#define SYNC_SIZE MIB(16)

/* ---- Source ---- */

struct metadata_source {
    struct replica_source source;
    struct disk *disk;
    struct kv *kv;
    char path[PATH_SIZE];
    struct store_dump dump;
};

static enum err source_prepare(struct replica_source *base, struct errmsg *msg)
{
    struct metadata_source *source = container_of(base, struct metadata_source, source);
    uint8_t memory[STATE_SIZE];
    struct writer writer;
    enum err err = store_dump(source->kv, source->disk, source->path, &source->dump, msg);
    if (err != OK) {
        return err;
    }
    source->source.files = mem_alloc(sizeof(struct replica_file));
    source->source.files[0] = (struct replica_file){1, source->dump.size};
    source->source.file_count = 1;
    writer_init(&writer, memory, sizeof(memory));
    write_u8(&writer, STATE_VERSION);
    write_u64(&writer, source->dump.size);
    write_u64(&writer, source->dump.pair_count);
    write_u32(&writer, source->dump.crc);
    return dynbuf_put(&source->source.state, (struct bytes){memory, writer_size(&writer)});
}

static enum err source_read(struct replica_source *base, const struct replica_file *file, uint64_t position, void *data,
                            size_t size, struct errmsg *msg)
{
    struct metadata_source *source = container_of(base, struct metadata_source, source);
    struct disk *disk = source->disk;
    size_t got = 0;
    int opened;
    (void)file;
    enum err err = disk->open(disk, source->path, DISK_READ_ONLY, &opened, msg);
    if (err != OK) {
        return err;
    }
    err = disk->pread(disk, opened, position, data, size, &got);
    disk->close(disk, opened);
    return err == OK && got == size ? OK : fail(msg, ERR_IO, "%s: %s", source->path, err_text(err));
}

static void source_close(struct replica_source *base)
{
    struct metadata_source *source = container_of(base, struct metadata_source, source);
    (void)source->disk->unlink(source->disk, source->path); /* else at the next start */
    dynbuf_deinit(&source->source.state);
    mem_free(source->source.files);
    mem_free(source);
}

static const struct replica_source_ops SOURCE_OPS = {source_prepare, source_read, source_close};

struct replica_source *metadata_source(struct replica_machine *machine)
{
    struct metadata *metadata = metadata_of_machine(machine);
    assert(metadata->txn == NULL);
    struct metadata_source *source = mem_alloc(sizeof(*source));
    source->source.ops = &SOURCE_OPS;
    source->disk = metadata->env->disk;
    source->kv = store_kv(metadata->store);
    dynbuf_init(&source->source.state, STATE_SIZE);
    (void)snprintf(source->path, sizeof(source->path), "%s.dump.%016" PRIx64, store_path(metadata->store),
                   env_random(metadata->env));
    return &source->source;
}

/* ---- Stage ---- */

struct metadata_stage {
    struct replica_stage stage;
    struct disk *disk;
    char store[PATH_SIZE];
    char path[PATH_SIZE + 16];
    struct store_dump dump;
    uint64_t index;
    bool is_done;
};

static enum err stage_begin(struct replica_stage *base, const struct replica_manifest *manifest, struct errmsg *msg)
{
    struct metadata_stage *stage = container_of(base, struct metadata_stage, stage);
    struct reader reader;
    reader_init(&reader, manifest->state);
    uint8_t version = read_u8(&reader);
    stage->dump.size = read_u64(&reader);
    stage->dump.pair_count = read_u64(&reader);
    stage->dump.crc = read_u32(&reader);
    if (reader.err != OK || reader.left > 0 || version != STATE_VERSION || manifest->file_count != 1 ||
        manifest->files[0].size != stage->dump.size) {
        return fail(msg, ERR_CORRUPT, "the manifest is not that of metadata");
    }
    stage->index = manifest->index;
    stage->is_done = false;
    enum err err = stage->disk->unlink(stage->disk, stage->path);
    return err == OK || err == ERR_NOT_FOUND ? OK : fail(msg, err, "%s: %s", stage->path, err_text(err));
}

/* Nothing of an earlier dump is of use; of this one what was checked, which is all or nothing. */
static enum err stage_resume(struct replica_stage *base, size_t number, uint64_t *size, struct errmsg *msg)
{
    struct metadata_stage *stage = container_of(base, struct metadata_stage, stage);
    (void)number;
    (void)msg;
    *size = stage->is_done ? stage->dump.size : 0;
    return OK;
}

static enum err stage_write(struct replica_stage *base, size_t number, uint64_t position, struct bytes bytes,
                            struct errmsg *msg)
{
    struct metadata_stage *stage = container_of(base, struct metadata_stage, stage);
    struct disk *disk = stage->disk;
    struct iovec iov = {(void *)(uintptr_t)bytes.data, bytes.size};
    int file;
    (void)number;
    enum err err = disk->open(disk, stage->path, DISK_CREATE, &file, msg);
    if (err != OK) {
        return err;
    }
    err = disk->pwritev(disk, file, position, &iov, 1);
    if (err == OK && (position + bytes.size) / SYNC_SIZE != position / SYNC_SIZE) {
        err = disk->sync(disk, file);
    }
    disk->close(disk, file);
    return err == OK ? OK : fail(msg, err, "%s: %s", stage->path, err_text(err));
}

static enum err stage_finish(struct replica_stage *base, size_t number, struct errmsg *msg)
{
    struct metadata_stage *stage = container_of(base, struct metadata_stage, stage);
    struct disk *disk = stage->disk;
    int file;
    (void)number;
    if (stage->is_done) {
        return OK;
    }
    enum err err = disk->open(disk, stage->path, DISK_CREATE, &file, msg); /* of an empty store nothing came */
    if (err != OK) {
        return err;
    }
    err = disk->sync(disk, file);
    disk->close(disk, file);
    if (err != OK) {
        return fail(msg, err, "%s: %s", stage->path, err_text(err));
    }
    err = store_dump_check(disk, stage->path, &stage->dump, msg);
    stage->is_done = err == OK;
    return err;
}

static enum err stage_seal(struct replica_stage *base, struct errmsg *msg)
{
    struct metadata_stage *stage = container_of(base, struct metadata_stage, stage);
    char sealed[PATH_SIZE + 24];
    char parent[PATH_SIZE];
    (void)snprintf(sealed, sizeof(sealed), "%s.%" PRIu64, stage->store, stage->index);
    (void)snprintf(parent, sizeof(parent), "%s", stage->store);
    char *slash = strrchr(parent, '/');
    assert(slash != NULL && slash != parent);
    *slash = '\0';
    enum err err = stage->disk->rename(stage->disk, stage->path, sealed);
    err = err == OK ? stage->disk->sync_dir(stage->disk, parent) : err;
    return err == OK ? OK : fail(msg, err, "%s: %s", sealed, err_text(err));
}

/* The metadata replica never goes while the process runs: what is left is swept at the next start. */
static void stage_close(struct replica_stage *base, enum replica_stage_end end)
{
    (void)end;
    mem_free(container_of(base, struct metadata_stage, stage));
}

static const struct replica_stage_ops STAGE_OPS = {
    stage_begin, stage_resume, stage_write, stage_finish, stage_seal, stage_close,
};

struct replica_stage *metadata_stage(struct replica_machine *machine)
{
    struct metadata *metadata = metadata_of_machine(machine);
    struct metadata_stage *stage = mem_alloc(sizeof(*stage));
    stage->stage = (struct replica_stage){.ops = &STAGE_OPS, .is_whole = true};
    stage->disk = metadata->env->disk;
    (void)snprintf(stage->store, sizeof(stage->store), "%s", store_path(metadata->store));
    (void)snprintf(stage->path, sizeof(stage->path), "%s.staging", stage->store);
    metadata->has_dumps = true;
    return &stage->stage;
}

/* ---- Install ---- */

static enum err load(struct metadata *metadata, struct kv_txn *txn, const char *path, uint64_t index,
                     struct errmsg *msg)
{
    enum err err = store_load(txn, metadata->env->disk, path, msg);
    if (err != OK) {
        return err;
    }
    err = apply_load_state(txn, &metadata->state);
    if (err != OK) {
        return fail(msg, err, "metadata from %s: the state record does not decode", path);
    }
    if (metadata->state.applied_index < index) {
        metadata->state.applied_index = index; /* entries that are no records came last */
    }
    err = apply_save_state(txn, &metadata->state);
    return err == OK ? OK : fail(msg, err, "metadata from %s: %s", path, err_text(err));
}

void metadata_install(struct replica_machine *machine, uint64_t index)
{
    struct metadata *metadata = metadata_of_machine(machine);
    struct errmsg msg = {""};
    struct kv_txn *txn;
    char path[PATH_SIZE + 24];
    assert(metadata->txn == NULL);
    metadata->has_dumps = true;
    if (metadata->state.applied_index >= index) {
        return; /* a replay: the store has been there */
    }
    (void)snprintf(path, sizeof(path), "%s.%" PRIu64, store_path(metadata->store), index);
    enum err err = kv_begin_write(store_kv(metadata->store), &txn);
    if (err != OK) {
        process_stop("metadata store: cannot begin a write: %s", err_text(err));
    }
    err = load(metadata, txn, path, index, &msg);
    if (err != OK) {
        process_stop("metadata store: the state of the leader cannot be taken: %s", msg.text);
    }
    err = kv_commit(txn, &msg);
    if (err != OK) {
        process_stop("metadata store: cannot commit: %s: %s", err_text(err), msg.text);
    }
    trace(INFO, METADATA, "state of the leader taken", KV("index", (int64_t)index),
          KV("applied", (int64_t)metadata->state.applied_index));
    if (metadata->is_opened) {
        struct metadata_change change = {.kind = METADATA_REPLACED};
        metadata->events.changed(metadata->events.owner, &change, 1);
    }
}

/* ---- Files that are to go ---- */

struct sweep {
    struct metadata *metadata;
    uint64_t durable_index;
    char parent[PATH_SIZE];
    const char *name; /* of the store in it */
    bool is_start;
    bool has_left;
};

static bool is_due(struct sweep *sweep, const char *suffix)
{
    if (strncmp(suffix, "dump.", 5) == 0 || strcmp(suffix, "staging") == 0) {
        return sweep->is_start; /* later they are in use */
    }
    uint64_t index = 0;
    for (const char *at = suffix; *at != '\0'; at++) {
        if (*at < '0' || *at > '9' || index > UINT64_MAX / 16) {
            return false;
        }
        index = index * 10 + (uint64_t)(*at - '0');
    }
    bool is_past = *suffix != '\0' && index <= sweep->durable_index;
    sweep->has_left |= !is_past;
    return is_past;
}

static void sweep_on_entry(const char *name, uint64_t size, bool is_directory, void *context)
{
    struct sweep *sweep = context;
    struct disk *disk = sweep->metadata->env->disk;
    size_t length = strlen(sweep->name);
    char path[PATH_SIZE + 256];
    (void)size;
    if (is_directory || strncmp(name, sweep->name, length) != 0 || name[length] != '.' ||
        !is_due(sweep, name + length + 1)) {
        return;
    }
    (void)snprintf(path, sizeof(path), "%s/%s", sweep->parent, name);
    enum err err = disk->unlink(disk, path);
    if (err != OK && err != ERR_NOT_FOUND) {
        trace(WARN, METADATA, "file not removed", KV("path", (const char *)path), KV("cause", err_text(err)));
    }
}

void metadata_sweep(struct metadata *metadata, uint64_t durable_index)
{
    struct sweep sweep = {.metadata = metadata, .durable_index = durable_index, .is_start = !metadata->is_opened};
    (void)snprintf(sweep.parent, sizeof(sweep.parent), "%s", store_path(metadata->store));
    char *slash = strrchr(sweep.parent, '/');
    if (slash == NULL || slash == sweep.parent) {
        return;
    }
    *slash = '\0';
    sweep.name = slash + 1;
    (void)metadata->env->disk->list(metadata->env->disk, sweep.parent, sweep_on_entry, &sweep);
    metadata->has_dumps = sweep.has_left;
}
