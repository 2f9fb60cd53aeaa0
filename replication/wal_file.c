/* Happy path: .new gets its place, is written and synced, renamed, and the directory synced.
 * Failure:    what was made is removed again, as far as that goes; the next attempt overwrites what is left. */
#include "replication/wal_file.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct wal_file *wal_file_new(uint64_t sequence, uint64_t generation, uint64_t size)
{
    struct wal_file *file = mem_alloc(sizeof *file);
    list_init(&file->link);
    file->sequence = sequence;
    file->generation = generation;
    file->size = size;
    file->fd = -1;
    return file;
}

void wal_files_free(struct list *files)
{
    for (struct list *link = list_pop(files); link != NULL; link = list_pop(files)) {
        struct wal_file *file = container_of(link, struct wal_file, link);
        assert(file->fd < 0);
        mem_free(file);
    }
}

char *wal_file_path(const char *dir, uint64_t sequence, const char *suffix)
{
    size_t size = strlen(dir) + 1 + WAL_SEQUENCE_DIGITS + strlen(suffix) + 1;
    char *path = mem_alloc_raw(size);
    int printed = snprintf(path, size, "%s/%020" PRIu64 "%s", dir, sequence, suffix);
    assert(printed > 0 && (size_t)printed + 1 == size);
    return path;
}

static enum err op_fail(struct errmsg *msg, enum err err, const char *path, const char *what)
{
    return fail(msg, err, "%s: %s: %s", path, what, err_text(err));
}

enum err wal_file_sync_dir(struct disk *disk, const char *dir, struct errmsg *msg)
{
    enum err err = disk->sync_dir(disk, dir);
    return err == OK ? OK : op_fail(msg, err, dir, "sync");
}

/* The header, and zeros behind it: as many as there is time for if the file has its place on the disk already. */
static enum err file_fill(struct disk *disk, int fd, const struct wal_file_header *header, bool is_new,
                          bool is_allocated, const atomic_bool *is_hurried)
{
    uint64_t end = is_new ? header->size : WAL_BLOCK_SIZE;
    /* A log's first file is small, and nobody waits yet: one write, one flush of the disk. */
    size_t capacity = end <= WAL_FILE_SIZE_FIRST || end < WAL_FILL_SIZE ? (size_t)end : WAL_FILL_SIZE;
    uint8_t *data = mem_aligned(WAL_BLOCK_SIZE, capacity);
    wal_file_header_encode(header, data);
    enum err err = OK;
    for (uint64_t at = 0; at < end && err == OK;) {
        if (at > 0 && is_allocated && atomic_load_explicit(is_hurried, memory_order_relaxed)) {
            break;
        }
        size_t size = end - at < capacity ? (size_t)(end - at) : capacity;
        struct iovec iov = {.iov_base = data, .iov_len = size};
        err = disk->pwritev(disk, fd, at, &iov, 1);
        if (at == 0) {
            memset(data, 0, WAL_BLOCK_SIZE);
        }
        at += size;
    }
    mem_free(data);
    return err == OK ? disk->sync(disk, fd) : err;
}

/* Where the disk does not give a file its place at once, filling does. */
static enum err file_write(struct disk *disk, int fd, const char *path, const struct wal_file_header *header,
                           bool is_new, const atomic_bool *is_hurried, struct errmsg *msg)
{
    bool is_allocated = false;
    if (is_new) {
        enum err err = disk->truncate(disk, fd, 0); /* an attempt before may have left a part */
        if (err != OK) {
            return op_fail(msg, err, path, "truncate");
        }
        err = disk->allocate(disk, fd, header->size);
        if (err != OK && err != ERR_UNSUPPORTED) {
            return op_fail(msg, err, path, "allocate");
        }
        is_allocated = err == OK;
    }
    enum err err = file_fill(disk, fd, header, is_new, is_allocated, is_hurried);
    return err == OK ? OK : op_fail(msg, err, path, is_new ? "make" : "new header");
}

enum err wal_file_prepare(struct disk *disk, const char *dir, const struct wal_file_header *header, bool is_new,
                          const atomic_bool *is_hurried, int *fd, struct errmsg *msg)
{
    char *path_new = wal_file_path(dir, header->sequence, WAL_SUFFIX_NEW);
    char *path = wal_file_path(dir, header->sequence, WAL_SUFFIX);
    enum err err = disk->open(disk, path_new, DISK_DIRECT | (is_new ? DISK_CREATE : 0), fd, msg);
    if (err != OK) {
        goto err_before_open;
    }
    err = file_write(disk, *fd, path_new, header, is_new, is_hurried, msg);
    if (err != OK) {
        goto err_after_open;
    }
    err = disk->rename(disk, path_new, path);
    if (err != OK) {
        err = op_fail(msg, err, path_new, "rename");
        goto err_after_open;
    }
    err = wal_file_sync_dir(disk, dir, msg);
    if (err != OK) {
        (void)disk->unlink(disk, path);
        goto err_after_open;
    }
    mem_free(path);
    mem_free(path_new);
    return OK;

err_after_open:
    disk->close(disk, *fd);
    *fd = -1;
    (void)disk->unlink(disk, path_new);
err_before_open:
    mem_free(path);
    mem_free(path_new);
    assert(err != OK);
    return err;
}

enum err wal_file_take(struct disk *disk, const char *dir, uint64_t source, uint64_t sequence, struct errmsg *msg)
{
    char *path = wal_file_path(dir, source, WAL_SUFFIX);
    char *path_new = wal_file_path(dir, sequence, WAL_SUFFIX_NEW);
    enum err err = disk->rename(disk, path, path_new);
    err = err == OK ? wal_file_sync_dir(disk, dir, msg) : op_fail(msg, err, path, "rename");
    mem_free(path_new);
    mem_free(path);
    return err;
}

enum err wal_file_unlink(struct disk *disk, const char *dir, uint64_t sequence, const char *suffix, struct errmsg *msg)
{
    char *path = wal_file_path(dir, sequence, suffix);
    enum err err = disk->unlink(disk, path);
    if (err == ERR_NOT_FOUND) {
        err = OK;
    }
    if (err != OK) {
        err = op_fail(msg, err, path, "remove");
    }
    mem_free(path);
    return err;
}
