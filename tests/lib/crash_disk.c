/* Happy path: writes go to the current bytes and mark sectors; sync copies those to the durable bytes. */
#include "tests/lib/crash_disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum {
    NAME_COUNT_MAX = 128,
    PATH_SIZE = 128,
    OP_COUNT_MAX = 128,
    FILE_COUNT_MAX = 128,
    HANDLE_COUNT_MAX = 256
};

enum sector {
    SECTOR_CLEAN,
    SECTOR_DIRTY,
    SECTOR_IN_FLIGHT
};

struct file {
    uint8_t *current;
    uint8_t *durable;
    uint8_t *sectors; /* enum sector */
    size_t capacity;  /* bytes of each, whole sectors; beyond the sizes all is zero */
    size_t size;
    size_t size_durable;
};

struct name {
    char path[PATH_SIZE];
    struct file *file;
};

struct names {
    struct name list[NAME_COUNT_MAX];
    size_t count;
};

struct name_op { /* target empty: unlink; file set: created; else renamed */
    char source[PATH_SIZE];
    char target[PATH_SIZE];
    struct file *file;
};

struct crash_disk {
    struct file *files[FILE_COUNT_MAX];
    size_t file_count;
    struct names names;
    struct names durable;
    struct name_op ops[OP_COUNT_MAX];
    size_t op_count;
    struct file *handles[HANDLE_COUNT_MAX];
};

/* ---- Files ------------------------------------------------------------------------------------------------------ */

static void file_free(struct file *file)
{
    mem_free(file->current);
    mem_free(file->durable);
    mem_free(file->sectors);
    mem_free(file);
}

static bool file_is_used(const struct crash_disk *disk, const struct file *file)
{
    for (size_t i = 0; i < disk->names.count; i++) {
        if (disk->names.list[i].file == file) {
            return true;
        }
    }
    for (size_t i = 0; i < disk->durable.count; i++) {
        if (disk->durable.list[i].file == file) {
            return true;
        }
    }
    for (size_t i = 0; i < disk->op_count; i++) {
        if (disk->ops[i].file == file) {
            return true;
        }
    }
    for (size_t i = 0; i < HANDLE_COUNT_MAX; i++) {
        if (disk->handles[i] == file) {
            return true;
        }
    }
    return false;
}

static void files_collect(struct crash_disk *disk)
{
    size_t kept = 0;
    for (size_t i = 0; i < disk->file_count; i++) {
        if (file_is_used(disk, disk->files[i])) {
            disk->files[kept++] = disk->files[i];
        } else {
            file_free(disk->files[i]);
        }
    }
    disk->file_count = kept;
}

static struct file *file_new(struct crash_disk *disk)
{
    if (disk->file_count == FILE_COUNT_MAX) {
        files_collect(disk);
    }
    assert(disk->file_count < FILE_COUNT_MAX);
    struct file *file = mem_alloc(sizeof *file);
    disk->files[disk->file_count++] = file;
    return file;
}

static void file_reserve(struct file *file, size_t size)
{
    if (size <= file->capacity) {
        return;
    }
    size_t capacity = file->capacity == 0 ? 16 * CRASH_SECTOR_SIZE : file->capacity;
    while (capacity < size) {
        capacity *= 2;
    }
    file->current = mem_resize(file->current, capacity);
    file->durable = mem_resize(file->durable, capacity);
    file->sectors = mem_resize(file->sectors, capacity / CRASH_SECTOR_SIZE);
    memset(file->current + file->capacity, 0, capacity - file->capacity);
    memset(file->durable + file->capacity, 0, capacity - file->capacity);
    memset(file->sectors + file->capacity / CRASH_SECTOR_SIZE, SECTOR_CLEAN,
           (capacity - file->capacity) / CRASH_SECTOR_SIZE);
    file->capacity = capacity;
}

static struct file *file_clone(struct crash_disk *target, const struct file *source)
{
    struct file *file = file_new(target);
    file_reserve(file, source->capacity);
    if (source->capacity > 0) {
        memcpy(file->current, source->current, source->capacity);
        memcpy(file->durable, source->durable, source->capacity);
        memcpy(file->sectors, source->sectors, source->capacity / CRASH_SECTOR_SIZE);
    }
    file->size = source->size;
    file->size_durable = source->size_durable;
    return file;
}

static void file_settle(struct file *file)
{
    if (file->capacity > 0) {
        memcpy(file->durable, file->current, file->capacity);
        memset(file->sectors, SECTOR_CLEAN, file->capacity / CRASH_SECTOR_SIZE);
    }
    file->size_durable = file->size;
}

/* Whether something that is not synced survives. */
static bool survives(enum crash_kind kind, struct rng *rng)
{
    return kind == CRASH_KEEP || (kind != CRASH_DROP && rng->next(rng) % 2 == 0);
}

static void sector_crash(struct file *file, size_t sector, enum crash_kind kind, struct rng *rng)
{
    uint8_t *current = file->current + sector * CRASH_SECTOR_SIZE;
    const uint8_t *durable = file->durable + sector * CRASH_SECTOR_SIZE;
    bool is_in_flight = file->sectors[sector] == SECTOR_IN_FLIGHT;
    if (kind == CRASH_KILL && !is_in_flight) {
        return;
    }
    if (kind == CRASH_GARBAGE && is_in_flight && rng->next(rng) % 4 == 0) {
        for (size_t i = 0; i < CRASH_SECTOR_SIZE; i++) {
            current[i] = (uint8_t)rng->next(rng);
        }
    } else if (!survives(kind, rng)) {
        memcpy(current, durable, CRASH_SECTOR_SIZE);
    }
    file->sectors[sector] = SECTOR_DIRTY;
}

static void file_crash(struct file *file, enum crash_kind kind, struct rng *rng)
{
    if (file->size != file->size_durable && kind != CRASH_KILL && !survives(kind, rng)) {
        file->size = file->size_durable;
    }
    for (size_t i = 0; i < file->capacity / CRASH_SECTOR_SIZE; i++) {
        if (file->sectors[i] != SECTOR_CLEAN) {
            sector_crash(file, i, kind, rng);
        }
    }
    if (file->size < file->capacity) {
        memset(file->current + file->size, 0, file->capacity - file->size);
    }
    if (kind != CRASH_KILL) {
        file_settle(file);
    }
}

/* ---- Names ------------------------------------------------------------------------------------------------------ */

static struct name *name_find(struct names *names, const char *path)
{
    for (size_t i = 0; i < names->count; i++) {
        if (strcmp(names->list[i].path, path) == 0) {
            return &names->list[i];
        }
    }
    return NULL;
}

static void path_copy(char target[PATH_SIZE], const char *path)
{
    int size = snprintf(target, PATH_SIZE, "%s", path);
    assert(size > 0 && size < PATH_SIZE);
}

static void name_drop(struct names *names, const char *path)
{
    struct name *name = name_find(names, path);
    if (name != NULL) {
        *name = names->list[--names->count];
    }
}

static void name_put(struct names *names, const char *path, struct file *file)
{
    name_drop(names, path);
    assert(names->count < NAME_COUNT_MAX);
    struct name *name = &names->list[names->count++];
    path_copy(name->path, path);
    name->file = file;
}

static void op_apply(struct names *names, const struct name_op *op)
{
    if (op->file != NULL) {
        name_put(names, op->source, op->file);
        return;
    }
    struct name *name = name_find(names, op->source);
    if (name == NULL) {
        return; /* an earlier operation did not survive */
    }
    struct file *file = name->file;
    name_drop(names, op->source);
    if (op->target[0] != '\0') {
        name_put(names, op->target, file);
    }
}

static void op_add(struct crash_disk *disk, const char *source, const char *target, struct file *file)
{
    if (disk->op_count == OP_COUNT_MAX) { /* a file system would have written its journal long ago */
        op_apply(&disk->durable, &disk->ops[0]);
        disk->op_count--;
        memmove(disk->ops, disk->ops + 1, disk->op_count * sizeof disk->ops[0]);
    }
    struct name_op *op = &disk->ops[disk->op_count++];
    *op = (struct name_op){.file = file};
    path_copy(op->source, source);
    if (target != NULL) {
        path_copy(op->target, target);
    }
    op_apply(&disk->names, op);
}

/* Names that lie in directory `dir` itself. NULL: not one of them. */
static const char *name_within(const char *path, const char *dir)
{
    size_t size = strlen(dir);
    bool is_in = strncmp(path, dir, size) == 0 && path[size] == '/' && strchr(path + size + 1, '/') == NULL;
    return is_in ? path + size + 1 : NULL;
}

void crash_disk_sync_dir(struct crash_disk *disk, const char *path)
{
    size_t kept = 0;
    for (size_t i = 0; i < disk->op_count; i++) {
        if (name_within(disk->ops[i].source, path) != NULL) {
            op_apply(&disk->durable, &disk->ops[i]);
        } else {
            disk->ops[kept++] = disk->ops[i];
        }
    }
    disk->op_count = kept;
}

bool crash_disk_has_open_names(const struct crash_disk *disk)
{
    return disk->op_count > 0;
}

enum err crash_disk_rename(struct crash_disk *disk, const char *source, const char *target)
{
    if (name_find(&disk->names, source) == NULL) {
        return ERR_NOT_FOUND;
    }
    op_add(disk, source, target, NULL);
    return OK;
}

enum err crash_disk_unlink(struct crash_disk *disk, const char *path)
{
    if (name_find(&disk->names, path) == NULL) {
        return ERR_NOT_FOUND;
    }
    op_add(disk, path, NULL, NULL);
    return OK;
}

void crash_disk_list(struct crash_disk *disk, const char *dir, disk_list_cb cb, void *context)
{
    struct names names = disk->names;
    for (size_t i = 0; i < names.count; i++) {
        const char *name = name_within(names.list[i].path, dir);
        if (name != NULL) {
            cb(name, names.list[i].file->size, false, context);
        }
    }
}

/* ---- Handles ---------------------------------------------------------------------------------------------------- */

enum err crash_disk_open(struct crash_disk *disk, const char *path, unsigned flags, int *handle)
{
    struct name *name = name_find(&disk->names, path);
    if (name == NULL && (flags & DISK_CREATE) == 0) {
        return ERR_NOT_FOUND;
    }
    if (name != NULL && (flags & DISK_EXCLUSIVE) != 0) {
        return ERR_EXISTS;
    }
    struct file *file = name == NULL ? file_new(disk) : name->file;
    if (name == NULL) {
        op_add(disk, path, NULL, file);
    }
    for (int i = 0; i < HANDLE_COUNT_MAX; i++) {
        if (disk->handles[i] == NULL) {
            disk->handles[i] = file;
            *handle = i;
            return OK;
        }
    }
    abort();
}

static struct file *file_of(const struct crash_disk *disk, int handle)
{
    assert(handle >= 0 && handle < HANDLE_COUNT_MAX);
    assert(disk->handles[handle] != NULL);
    return disk->handles[handle];
}

void crash_disk_close(struct crash_disk *disk, int handle)
{
    (void)file_of(disk, handle);
    disk->handles[handle] = NULL;
}

unsigned crash_disk_open_count(const struct crash_disk *disk)
{
    unsigned count = 0;
    for (int i = 0; i < HANDLE_COUNT_MAX; i++) {
        count += disk->handles[i] != NULL ? 1 : 0;
    }
    return count;
}

uint64_t crash_disk_size(const struct crash_disk *disk, int handle)
{
    return file_of(disk, handle)->size;
}

void crash_disk_truncate(struct crash_disk *disk, int handle, uint64_t size)
{
    struct file *file = file_of(disk, handle);
    file_reserve(file, size);
    if (size < file->size) {
        memset(file->current + size, 0, file->size - size);
        for (size_t i = size / CRASH_SECTOR_SIZE; i < file->capacity / CRASH_SECTOR_SIZE; i++) {
            file->sectors[i] = SECTOR_DIRTY;
        }
    }
    file->size = size;
}

void crash_disk_write(struct crash_disk *disk, int handle, uint64_t position, struct bytes bytes, bool is_in_flight)
{
    struct file *file = file_of(disk, handle);
    size_t end = position + bytes.size;
    file_reserve(file, end);
    memcpy(file->current + position, bytes.data, bytes.size);
    for (size_t i = position / CRASH_SECTOR_SIZE; i * CRASH_SECTOR_SIZE < end; i++) {
        file->sectors[i] = is_in_flight ? SECTOR_IN_FLIGHT : SECTOR_DIRTY;
    }
    file->size = end > file->size ? end : file->size;
}

void crash_disk_written(struct crash_disk *disk, int handle, uint64_t position, size_t size)
{
    struct file *file = file_of(disk, handle);
    assert(position % CRASH_SECTOR_SIZE == 0 && size % CRASH_SECTOR_SIZE == 0);
    memcpy(file->durable + position, file->current + position, size);
    memset(file->sectors + position / CRASH_SECTOR_SIZE, SECTOR_CLEAN, size / CRASH_SECTOR_SIZE);
    file->size_durable = position + size > file->size_durable ? position + size : file->size_durable;
}

size_t crash_disk_read(const struct crash_disk *disk, int handle, uint64_t position, void *data, size_t size)
{
    const struct file *file = file_of(disk, handle);
    if (position >= file->size) {
        return 0;
    }
    size_t left = file->size - position;
    size_t got = left < size ? left : size;
    memcpy(data, file->current + position, got);
    return got;
}

void crash_disk_sync(struct crash_disk *disk, int handle)
{
    struct file *file = file_of(disk, handle);
    for (size_t i = 0; i < file->capacity / CRASH_SECTOR_SIZE; i++) {
        if (file->sectors[i] == SECTOR_DIRTY) {
            memcpy(file->durable + i * CRASH_SECTOR_SIZE, file->current + i * CRASH_SECTOR_SIZE, CRASH_SECTOR_SIZE);
            file->sectors[i] = SECTOR_CLEAN;
        }
    }
    file->size_durable = file->size;
}

/* ---- Disks ------------------------------------------------------------------------------------------------------ */

struct crash_disk *crash_disk_new(void)
{
    return mem_alloc(sizeof(struct crash_disk));
}

void crash_disk_free(struct crash_disk *disk)
{
    for (size_t i = 0; i < disk->file_count; i++) {
        file_free(disk->files[i]);
    }
    mem_free(disk);
}

static struct file *file_twin(const struct crash_disk *disk, struct crash_disk *target, const struct file *file,
                              struct file **twins)
{
    for (size_t i = 0; i < disk->file_count; i++) {
        if (disk->files[i] == file) {
            twins[i] = twins[i] != NULL ? twins[i] : file_clone(target, file);
            return twins[i];
        }
    }
    abort();
}

struct crash_disk *crash_disk_crash(const struct crash_disk *disk, enum crash_kind kind, struct rng *rng)
{
    struct crash_disk *target = crash_disk_new();
    struct file *twins[FILE_COUNT_MAX] = {0};
    if (kind == CRASH_KILL) {
        target->names = disk->names;
        target->durable = disk->durable;
        memcpy(target->ops, disk->ops, sizeof disk->ops);
        target->op_count = disk->op_count;
        for (size_t i = 0; i < target->op_count; i++) {
            if (target->ops[i].file != NULL) {
                target->ops[i].file = file_twin(disk, target, target->ops[i].file, twins);
            }
        }
        for (size_t i = 0; i < target->durable.count; i++) {
            target->durable.list[i].file = file_twin(disk, target, target->durable.list[i].file, twins);
        }
    } else {
        target->names = disk->durable;
        for (size_t i = 0; i < disk->op_count; i++) {
            if (survives(kind, rng)) {
                op_apply(&target->names, &disk->ops[i]);
            }
        }
    }
    for (size_t i = 0; i < target->names.count; i++) {
        target->names.list[i].file = file_twin(disk, target, target->names.list[i].file, twins);
    }
    for (size_t i = 0; i < target->file_count; i++) {
        file_crash(target->files[i], kind, rng);
    }
    if (kind != CRASH_KILL) {
        target->durable = target->names;
    }
    return target;
}

/* ---- For tests -------------------------------------------------------------------------------------------------- */

uint8_t *crash_disk_data(struct crash_disk *disk, const char *path, size_t *size)
{
    struct name *name = name_find(&disk->names, path);
    if (name == NULL) {
        return NULL;
    }
    *size = name->file->size;
    return name->file->current;
}

void crash_disk_cut(struct crash_disk *disk, const char *path, size_t size)
{
    struct name *name = name_find(&disk->names, path);
    assert(name != NULL && size <= name->file->size);
    memset(name->file->current + size, 0, name->file->size - size);
    name->file->size = size;
    file_settle(name->file);
}

void crash_disk_put(struct crash_disk *disk, const char *path, struct bytes bytes)
{
    struct file *file = file_new(disk);
    file_reserve(file, bytes.size);
    if (bytes.size > 0) {
        memcpy(file->current, bytes.data, bytes.size);
    }
    file->size = bytes.size;
    file_settle(file);
    name_put(&disk->names, path, file);
    name_put(&disk->durable, path, file);
}
