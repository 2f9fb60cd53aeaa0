/* Where a partition's state from its leader is put together: the staging directory beside the partition's own.
 *
 *   <base offset>.log        whole, durable, never written again; may be one file with a segment of the partition's
 *   <base offset>.log.part   what was pulled so far; ours alone
 *   manifest                 written when all is there (partition_dirs.c: then the directory gets its number)
 *
 * A segment that the replica has itself is linked when its own checkpoint covers all of it and it takes no appends, so
 * that no restart cuts it under us; the beginning of the others is copied, not pulled. Committed records are the same
 * everywhere, and everything but linked files is checked batch by batch (segment_check.h) before it is believed.
 * Failure: a file that does not check is cut at the first bad batch and pulled again from there. */
#include "replication/partition_stage.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/partition_dirs.h"
#include "replication/partition_state.h"
#include "replication/segment.h"
#include "replication/segment_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MANIFEST_MAGIC 0x42535447u /* "BSTG" */
#define MANIFEST_HEAD_SIZE (4 + 8 + 4)
#define PART_SUFFIX ".part"
#define COPY_SIZE MIB(1)
#define SYNC_SIZE MIB(16) /* unsynced bytes of a file at most */

struct stage_file {
    int64_t base_offset;
    uint64_t version;
    int64_t end_offset;
    uint64_t size;
    uint64_t position; /* checked up to here, in this life */
    int64_t next_offset;
    bool is_done; /* all of it, durably; linked, or a whole part */
};

struct partition_stage {
    struct replica_stage stage;
    struct env *env;
    uint64_t group;
    char *plain;   /* the partition's generation 0 */
    char *dir;     /* the staging */
    char *own_dir; /* the partition's present one */
    struct stage_own *own;
    size_t own_count;
    struct stage_file *files;
    size_t file_count;
    struct epochs epochs;
    struct dynbuf state; /* of the manifest */
    uint64_t index;
    bool is_sealed;
};

static struct partition_stage *stage_of(struct replica_stage *base)
{
    return container_of(base, struct partition_stage, stage);
}

/* ---- Files ---- */

static void file_path(const struct partition_stage *stage, const struct stage_file *file, bool is_part,
                      char path[SEGMENT_PATH_SIZE])
{
    segment_path(stage->dir, (struct segment_id){file->base_offset, file->version}, SEGMENT_LOG, path);
    if (is_part) {
        (void)snprintf(path + strlen(path), SEGMENT_PATH_SIZE - strlen(path), PART_SUFFIX);
    }
}

/* ERR_NOT_FOUND. */
static enum err file_size(struct disk *disk, const char *path, uint64_t *size)
{
    int file;
    struct errmsg ignored;
    enum err err = disk->open(disk, path, DISK_READ_ONLY, &file, &ignored);
    if (err == OK) {
        err = disk->size(disk, file, size);
        disk->close(disk, file);
    }
    return err;
}

/* Staged bytes go to the disk piece by piece: a sync of more at once takes the whole disk, and the write-ahead log's
 * writes, which clients wait for, stand in line behind it. */
static enum err write_piece(struct disk *disk, int file, uint64_t position, const void *data, size_t size)
{
    struct iovec iov = {(void *)(uintptr_t)data, size};
    struct disk_range range = {.file = file, .position = position, .size = size};
    enum err err = disk->pwritev(disk, file, position, &iov, 1);
    err = err == OK ? disk->write_out(disk, &range, 1) : err;
    if (err == OK && (position + size) / SYNC_SIZE != position / SYNC_SIZE) {
        err = disk->sync(disk, file);
    }
    return err;
}

/* The first `size` bytes of a file into a new one. */
static enum err file_copy(struct disk *disk, const char *source, const char *target, uint64_t size, struct errmsg *msg)
{
    int from;
    int to;
    enum err err = disk->open(disk, source, DISK_READ_ONLY, &from, msg);
    if (err != OK) {
        return err;
    }
    err = disk->open(disk, target, DISK_CREATE, &to, msg);
    if (err != OK) {
        disk->close(disk, from);
        return err;
    }
    uint8_t *block = mem_alloc_raw(COPY_SIZE);
    uint64_t position = 0;
    size_t got = 1;
    while (err == OK && position < size && got > 0) {
        uint64_t left = size - position;
        err = disk->pread(disk, from, position, block, left < COPY_SIZE ? (size_t)left : COPY_SIZE, &got);
        err = err == OK && got > 0 ? write_piece(disk, to, position, block, got) : err;
        position += got;
    }
    mem_free(block);
    disk->close(disk, from);
    disk->close(disk, to);
    return err == OK ? OK : fail(msg, err, "copy %s to %s: %s", source, target, err_text(err));
}

/* ---- Begin ---- */

static struct stage_file *find_file(const struct partition_stage *stage, struct segment_id id)
{
    for (size_t i = 0; i < stage->file_count; i++) {
        if (stage->files[i].base_offset == id.base_offset && stage->files[i].version == id.version) {
            return &stage->files[i];
        }
    }
    return NULL;
}

struct leftovers {
    struct partition_stage *stage;
    enum err err;
};

/* What the manifest does not name goes, and whole files of another size that cannot be a beginning. */
static void leftover_on_entry(const char *name, uint64_t size, bool is_directory, void *context)
{
    struct leftovers *leftovers = context;
    struct partition_stage *stage = leftovers->stage;
    char path[SEGMENT_PATH_SIZE];
    char plain[SEGMENT_NAME_SIZE_MAX + sizeof(PART_SUFFIX)];
    size_t length = strlen(name);
    size_t suffix = strlen(PART_SUFFIX);
    bool is_part = length > suffix && strcmp(name + length - suffix, PART_SUFFIX) == 0;
    (void)snprintf(plain, sizeof(plain), "%.*s", (int)(is_part ? length - suffix : length), name);
    struct segment_id id;
    enum segment_kind kind;
    const struct stage_file *file = NULL;
    if (segment_name_parse(plain, &id, &kind) && kind == SEGMENT_LOG) {
        file = find_file(stage, id);
    }
    if (is_directory || (file != NULL && (is_part || size <= file->size))) {
        return;
    }
    (void)snprintf(path, sizeof(path), "%s/%s", stage->dir, name);
    enum err err = stage->env->disk->unlink(stage->env->disk, path);
    leftovers->err = leftovers->err == OK && err != ERR_NOT_FOUND ? err : leftovers->err;
}

/* The manifest's list must be that of the state. What is known of files that stay is taken over. */
static enum err take_files(struct partition_stage *stage, const struct replica_manifest *manifest,
                           const struct log_state *log, struct errmsg *msg)
{
    if (!log_state_is_valid(log) || log->segment_count != manifest->file_count) {
        return fail(msg, ERR_CORRUPT, "the manifest is not that of a log");
    }
    struct stage_file *files = mem_alloc((log->segment_count + 1) * sizeof(*files));
    for (size_t i = 0; i < log->segment_count; i++) {
        const struct log_segment_state *segment = &log->segments[i];
        bool is_last = i + 1 == log->segment_count;
        files[i] = (struct stage_file){
            .base_offset = segment->base_offset,
            .version = segment->version,
            .end_offset = is_last ? log->end_offset : log->segments[i + 1].base_offset,
            .size = segment->size,
            .next_offset = segment->base_offset,
        };
        if ((int64_t)manifest->files[i].id != segment->base_offset || manifest->files[i].size != segment->size) {
            mem_free(files);
            return fail(msg, ERR_CORRUPT, "the manifest's files are not those of its log");
        }
        const struct stage_file *known = find_file(stage, (struct segment_id){segment->base_offset, segment->version});
        if (known != NULL && known->position <= segment->size && known->next_offset <= files[i].end_offset) {
            files[i].position = known->position;
            files[i].next_offset = known->next_offset;
            files[i].is_done = known->is_done && known->size == segment->size;
        }
    }
    mem_free(stage->files);
    stage->files = files;
    stage->file_count = log->segment_count;
    return OK;
}

static enum err decode(struct partition_stage *stage, const struct replica_manifest *manifest, struct errmsg *msg)
{
    struct producers producers;
    struct partition_state state = {.epochs = &stage->epochs, .producers = &producers};
    producers_init(&producers, PARTITION_PRODUCER_COUNT_MAX);
    epochs_deinit(&stage->epochs);
    epochs_init(&stage->epochs);
    enum err err = partition_state_decode(manifest->state, &state, msg);
    err = err == OK ? take_files(stage, manifest, &state.log, msg) : ERR_CORRUPT;
    if (err == OK) {
        dynbuf_reset(&stage->state);
        err = dynbuf_put(&stage->state, manifest->state);
        stage->index = manifest->index;
    }
    log_state_deinit(&state.log);
    compactions_deinit(&state.compactions);
    producers_deinit(&producers);
    return err;
}

/* Sealed under a number, but no leader let it in: it is a staging again. */
static enum err unseal(struct partition_stage *stage)
{
    struct disk *disk = stage->env->disk;
    char *sealed = partition_dir_generation(stage->plain, stage->index);
    enum err err = disk->rename(disk, sealed, stage->dir);
    mem_free(sealed);
    stage->is_sealed = false;
    return err == ERR_NOT_FOUND ? OK : err;
}

static enum err stage_begin(struct replica_stage *base, const struct replica_manifest *manifest, struct errmsg *msg)
{
    struct partition_stage *stage = stage_of(base);
    struct disk *disk = stage->env->disk;
    enum err err = stage->is_sealed ? unseal(stage) : OK;
    err = err == OK ? disk->mkdir(disk, stage->dir) : err;
    if (err != OK) {
        return fail(msg, err, "staging %s: %s", stage->dir, err_text(err));
    }
    err = decode(stage, manifest, msg);
    if (err != OK) {
        return err;
    }
    struct leftovers leftovers = {.stage = stage};
    err = disk->list(disk, stage->dir, leftover_on_entry, &leftovers);
    err = err == OK ? leftovers.err : err;
    return err == OK ? OK : fail(msg, err, "staging %s: %s", stage->dir, err_text(err));
}

/* ---- What is here already ---- */

static const struct stage_own *find_own(const struct partition_stage *stage, const struct stage_file *file)
{
    for (size_t i = 0; i < stage->own_count; i++) {
        if (stage->own[i].base_offset == file->base_offset && stage->own[i].version == file->version) {
            return &stage->own[i];
        }
    }
    return NULL;
}

/* From the partition's own directory: the whole file by a second name, or a copy of the beginning. That it is gone
 * meanwhile, or cannot be read, is no failure: then it is pulled. */
static enum err take_own(struct partition_stage *stage, struct stage_file *file)
{
    struct disk *disk = stage->env->disk;
    const struct stage_own *own = find_own(stage, file);
    char source[SEGMENT_PATH_SIZE];
    char target[SEGMENT_PATH_SIZE];
    struct errmsg msg;
    if (own == NULL || own->size == 0) {
        return OK;
    }
    segment_path(stage->own_dir, (struct segment_id){file->base_offset, file->version}, SEGMENT_LOG, source);
    if (own->is_fixed && own->size == file->size && own->end_offset == file->end_offset) {
        file_path(stage, file, false, target);
        enum err err = disk->link(disk, source, target);
        if (err == OK) {
            file->is_done = true;
            return OK;
        }
    }
    if (file->version > 0) {
        return OK; /* what a compaction made is one thing: no beginning of another */
    }
    file_path(stage, file, true, target);
    enum err err = file_copy(disk, source, target, own->size < file->size ? own->size : file->size, &msg);
    if (err != OK && err != ERR_NOT_FOUND) {
        trace(WARN, PARTITION, "own segment not used for the catch-up", KV("cause", (const char *)msg.text));
    }
    return err == ERR_NO_SPACE ? err : OK;
}

/* A whole file of the staging that is shorter than the manifest's: its records are the beginning, but the file may be
 * one with that of another directory. */
static enum err reopen_whole(struct partition_stage *stage, struct stage_file *file, struct errmsg *msg)
{
    struct disk *disk = stage->env->disk;
    char whole[SEGMENT_PATH_SIZE];
    char part[SEGMENT_PATH_SIZE];
    uint64_t size;
    file_path(stage, file, false, whole);
    file_path(stage, file, true, part);
    enum err err = file_size(disk, whole, &size);
    if (err != OK) {
        return err == ERR_NOT_FOUND ? OK : err;
    }
    if (size == file->size) {
        file->is_done = true;
        return OK;
    }
    err = file_copy(disk, whole, part, size, msg);
    return err == OK ? disk->unlink(disk, whole) : err;
}

static enum err part_open(struct partition_stage *stage, const struct stage_file *file, int *opened, struct errmsg *msg)
{
    struct disk *disk = stage->env->disk;
    char path[SEGMENT_PATH_SIZE];
    file_path(stage, file, true, path);
    return disk->open(disk, path, DISK_CREATE, opened, msg);
}

/* Checks the part from where it is known to be good; what is behind is cut. *is_whole: all of the segment is good. */
static enum err part_check(struct partition_stage *stage, struct stage_file *file, int opened, bool *is_whole,
                           struct errmsg *msg)
{
    struct disk *disk = stage->env->disk;
    uint64_t size = 0;
    struct segment_check check = {
        .disk = disk,
        .dir = stage->dir,
        .file = opened,
        .base_offset = file->base_offset,
        .version = file->version,
        .end_offset = file->end_offset,
        .size = file->size,
        .epochs = &stage->epochs,
        .position = file->position,
        .next_offset = file->next_offset,
    };
    enum err err = disk->size(disk, opened, &size);
    if (err != OK) {
        return err;
    }
    if (size < file->position) { /* not what this life left there */
        check.position = 0;
        check.next_offset = file->base_offset;
    }
    err = segment_check(&check, msg);
    file->position = check.position;
    file->next_offset = check.next_offset;
    *is_whole = err == OK;
    if (err != OK && file->version > 0 && size == file->size) {
        /* All has come and does not fit together: records packed by another release of a compression library have
         * other bytes, so the rest of another member's file does not continue this one. */
        file->position = 0;
        file->next_offset = file->base_offset;
    }
    if (size > file->position) {
        err = disk->truncate(disk, opened, file->position);
        return err;
    }
    return OK;
}

static enum err stage_resume(struct replica_stage *base, size_t number, uint64_t *size, struct errmsg *msg)
{
    struct partition_stage *stage = stage_of(base);
    struct stage_file *file = &stage->files[number];
    struct disk *disk = stage->env->disk;
    char path[SEGMENT_PATH_SIZE];
    uint64_t part_size;
    bool is_whole;
    int opened;
    enum err err = OK;
    if (!file->is_done) {
        file_path(stage, file, true, path);
        err = file_size(disk, path, &part_size);
        if (err == ERR_NOT_FOUND) {
            file->position = 0;
            file->next_offset = file->base_offset;
            err = reopen_whole(stage, file, msg);
            if (err == OK && !file->is_done && file_size(disk, path, &part_size) == ERR_NOT_FOUND) {
                err = take_own(stage, file);
            }
        }
    }
    if (err == OK && !file->is_done) {
        err = part_open(stage, file, &opened, msg);
        if (err == OK) {
            struct errmsg ignored;
            err = part_check(stage, file, opened, &is_whole, &ignored);
            disk->close(disk, opened);
        }
    }
    *size = file->is_done ? file->size : file->position;
    return err == OK ? OK : fail(msg, err, "staging %s: %s", stage->dir, err_text(err));
}

/* ---- What comes ---- */

static enum err stage_write(struct replica_stage *base, size_t number, uint64_t position, struct bytes bytes,
                            struct errmsg *msg)
{
    struct partition_stage *stage = stage_of(base);
    const struct stage_file *file = &stage->files[number];
    struct disk *disk = stage->env->disk;
    int opened;
    assert(!file->is_done);
    assert(position <= file->size && bytes.size <= file->size - position);
    enum err err = part_open(stage, file, &opened, msg);
    if (err != OK) {
        return err;
    }
    err = write_piece(disk, opened, position, bytes.data, bytes.size);
    disk->close(disk, opened);
    return err == OK ? OK : fail(msg, err, "staging %s: %s", stage->dir, err_text(err));
}

static enum err stage_finish(struct replica_stage *base, size_t number, struct errmsg *msg)
{
    struct partition_stage *stage = stage_of(base);
    struct stage_file *file = &stage->files[number];
    struct disk *disk = stage->env->disk;
    bool is_whole = false;
    int opened;
    if (file->is_done) {
        return OK;
    }
    enum err err = part_open(stage, file, &opened, msg);
    if (err != OK) {
        return err;
    }
    struct errmsg damage = {""};
    err = part_check(stage, file, opened, &is_whole, &damage);
    if (err == OK && is_whole) {
        err = disk->sync(disk, opened);
        file->is_done = err == OK;
    }
    disk->close(disk, opened);
    if (err != OK) {
        return fail(msg, err, "staging %s: %s", stage->dir, err_text(err));
    }
    return is_whole ? OK : fail(msg, ERR_DAMAGED, "%s", damage.text);
}

/* ---- Seal ---- */

static enum err write_manifest(struct partition_stage *stage, struct errmsg *msg)
{
    struct disk *disk = stage->env->disk;
    struct dynbuf buf;
    uint8_t head[MANIFEST_HEAD_SIZE];
    uint8_t crc[4];
    char path[SEGMENT_PATH_SIZE];
    int file;
    be32_put(head, MANIFEST_MAGIC);
    be64_put(head + 4, stage->index);
    be32_put(head + 12, (uint32_t)stage->state.size);
    dynbuf_init(&buf, sizeof(head) + stage->state.size + sizeof(crc));
    enum err err = dynbuf_put(&buf, (struct bytes){head, sizeof(head)});
    err = err == OK ? dynbuf_put(&buf, dynbuf_bytes(&stage->state)) : err;
    be32_put(crc, crc32c(0, dynbuf_bytes(&buf)));
    err = err == OK ? dynbuf_put(&buf, (struct bytes){crc, sizeof(crc)}) : err;
    assert(err == OK); /* its maximum is its size */
    (void)snprintf(path, sizeof(path), "%s/" STAGE_MANIFEST_NAME, stage->dir);
    err = disk->open(disk, path, DISK_CREATE, &file, msg);
    if (err == OK) {
        struct iovec iov = {buf.data, buf.size};
        err = disk->truncate(disk, file, 0);
        err = err == OK ? disk->pwritev(disk, file, 0, &iov, 1) : err;
        err = err == OK ? disk->sync(disk, file) : err;
        disk->close(disk, file);
    }
    dynbuf_deinit(&buf);
    return err;
}

static enum err name_parts(struct partition_stage *stage)
{
    struct disk *disk = stage->env->disk;
    enum err err = OK;
    for (size_t i = 0; i < stage->file_count && err == OK; i++) {
        char part[SEGMENT_PATH_SIZE];
        char whole[SEGMENT_PATH_SIZE];
        assert(stage->files[i].is_done);
        file_path(stage, &stage->files[i], true, part);
        file_path(stage, &stage->files[i], false, whole);
        err = disk->rename(disk, part, whole);
        err = err == ERR_NOT_FOUND ? OK : err; /* linked */
    }
    return err;
}

static enum err stage_seal(struct replica_stage *base, struct errmsg *msg)
{
    struct partition_stage *stage = stage_of(base);
    struct disk *disk = stage->env->disk;
    char *sealed = partition_dir_generation(stage->plain, stage->index);
    char *parent = partition_dir_parent(stage->plain);
    enum err err = name_parts(stage);
    err = err == OK ? write_manifest(stage, msg) : err;
    err = err == OK ? disk->sync_dir(disk, stage->dir) : err;
    err = err == OK ? log_remove(stage->env, sealed, msg) : err; /* an earlier attempt at the same index */
    err = err == OK ? disk->rename(disk, stage->dir, sealed) : err;
    stage->is_sealed = err == OK;
    err = err == OK ? disk->sync_dir(disk, parent) : err;
    mem_free(parent);
    mem_free(sealed);
    return err == OK ? OK : fail(msg, err, "staging %s: %s", stage->dir, err_text(err));
}

/* ---- End ---- */

static void discard(const struct partition_stage *stage, const char *dir)
{
    char *buried = partition_dir_bury(stage->env, dir, stage->group);
    if (buried != NULL) {
        partition_dir_remove(stage->env, buried);
        mem_free(buried);
    }
}

static void stage_close(struct replica_stage *base, enum replica_stage_end end)
{
    struct partition_stage *stage = stage_of(base);
    if (end == REPLICA_STAGE_DISCARDED) {
        discard(stage, stage->dir);
    }
    if (end == REPLICA_STAGE_DISCARDED && stage->is_sealed) {
        char *sealed = partition_dir_generation(stage->plain, stage->index);
        discard(stage, sealed);
        mem_free(sealed);
    } else if (end == REPLICA_STAGE_KEPT && stage->is_sealed && unseal(stage) != OK) {
        trace(WARN, PARTITION, "what was sealed stays beside the partition until the next sweep",
              KV("group", (int64_t)stage->group), KV("index", (int64_t)stage->index));
    }
    epochs_deinit(&stage->epochs);
    dynbuf_deinit(&stage->state);
    mem_free(stage->plain);
    mem_free(stage->dir);
    mem_free(stage->own_dir);
    mem_free(stage->own);
    mem_free(stage->files);
    mem_free(stage);
}

static const struct replica_stage_ops STAGE_OPS = {
    stage_begin, stage_resume, stage_write, stage_finish, stage_seal, stage_close,
};

struct replica_stage *partition_stage_open(struct env *env, uint64_t group, const char *plain, const char *own_dir,
                                           const struct stage_own *own, size_t own_count)
{
    struct partition_stage *stage = mem_alloc(sizeof(*stage));
    stage->stage.ops = &STAGE_OPS;
    stage->env = env;
    stage->group = group;
    stage->plain = mem_strdup(plain);
    stage->dir = partition_dir_staging(plain);
    stage->own_dir = mem_strdup(own_dir);
    stage->own = mem_alloc((own_count + 1) * sizeof(*own));
    stage->own_count = own_count;
    for (size_t i = 0; i < own_count; i++) {
        stage->own[i] = own[i];
    }
    epochs_init(&stage->epochs);
    dynbuf_init(&stage->state, CATCHUP_STATE_SIZE_MAX);
    return &stage->stage;
}

enum err partition_stage_read(struct env *env, const char *dir, uint64_t index, struct dynbuf *state,
                              struct errmsg *msg)
{
    struct disk *disk = env->disk;
    char path[SEGMENT_PATH_SIZE];
    uint64_t size = 0;
    size_t got = 0;
    int file;
    (void)snprintf(path, sizeof(path), "%s/" STAGE_MANIFEST_NAME, dir);
    enum err err = disk->open(disk, path, DISK_READ_ONLY, &file, msg);
    if (err != OK) {
        return err;
    }
    err = disk->size(disk, file, &size);
    bool is_sized =
        err == OK && size >= MANIFEST_HEAD_SIZE + 4 && size <= MANIFEST_HEAD_SIZE + CATCHUP_STATE_SIZE_MAX + 4;
    uint8_t *data = mem_alloc_raw(is_sized ? (size_t)size : 1);
    if (is_sized) {
        err = disk->pread(disk, file, 0, data, (size_t)size, &got);
    }
    disk->close(disk, file);
    if (err == OK && (!is_sized || got < size || be32_get(data) != MANIFEST_MAGIC || be64_get(data + 4) != index ||
                      be32_get(data + 12) != size - MANIFEST_HEAD_SIZE - 4 ||
                      be32_get(data + size - 4) != crc32c(0, (struct bytes){data, (size_t)size - 4}))) {
        err = fail(msg, ERR_DAMAGED, "file %s position 0: it is not the manifest of the catch-up to index %" PRIu64,
                   path, index);
    } else if (err != OK) {
        err = fail(msg, err, "%s: %s", path, err_text(err));
    } else {
        err = dynbuf_put(state, (struct bytes){data + MANIFEST_HEAD_SIZE, (size_t)size - MANIFEST_HEAD_SIZE - 4});
    }
    mem_free(data);
    return err;
}
