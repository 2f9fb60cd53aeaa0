/* The disk as processes see it: struct disk of base/env.h.
 *
 * Blocking calls happen at once and cost time only to the job they are in. A durable write is under way from the moment
 * it is first in line until its event; if the process dies in between, any of its sectors may be on the disk. */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tests/lib/sim_disk_internal.h"

enum {
    WRITE_BASE_US = 30,
    WRITE_SPREAD_US = 5000,
    WRITE_BYTES_PER_US = 2000,
    READ_BASE_US = 20,
    READ_SPREAD_US = 10000,
    SYNC_BASE_US = 50,
    SYNC_SPREAD_US = 20000,
};

static struct sim_env *env_of(struct disk *disk)
{
    return container_of(disk, struct sim_env, disk);
}

static struct sim_disk *drive_of(struct disk *disk)
{
    return env_of(disk)->process->drive;
}

static struct sim_handle *handle_of(struct disk *disk, int file)
{
    return sim_handle_find(drive_of(disk), file);
}

/* ---- Names */

static enum err disk_open(struct disk *disk, const char *path, unsigned flags, int *file, struct errmsg *msg)
{
    struct sim_disk *drive = drive_of(disk);
    struct sim_node *directory;
    const char *name;
    enum err err = sim_disk_op_whole(drive, SIM_OP_OPEN, path);
    if (err == OK) {
        err = sim_names_parent(&drive->names, sim_disk_inner_path(drive, path), &directory, &name);
    }
    if (err != OK) {
        return fail(msg, err, "open %s: %s", path, err_text(err));
    }
    struct sim_node *node = sim_node_find(directory, name);
    if (node == NULL && (flags & DISK_CREATE) != 0) {
        err = sim_disk_op_whole(drive, SIM_OP_CREATE, path);
        if (err == OK) {
            node = sim_names_create(&drive->names, directory, name, false);
        }
    } else if (node == NULL) {
        err = ERR_NOT_FOUND;
    } else if ((flags & DISK_EXCLUSIVE) != 0) {
        err = ERR_EXISTS;
    } else if (node->is_directory) {
        err = ERR_IO;
    }
    if (err != OK) {
        return fail(msg, err, "open %s: %s", path, err_text(err));
    }
    struct sim_handle *handle = sim_handle_open(drive, node, path, flags);
    list_push(&env_of(disk)->process->files, &handle->link);
    *file = handle->number;
    return OK;
}

struct sim_read { /* a read under way */
    struct sim_event event;
    struct disk_read *req;
    enum err err;
    struct sim_fault *stuck_by;
    struct list link;
};

static void disk_close(struct disk *disk, int file)
{
    struct sim_handle *handle = handle_of(disk, file);
    struct sim_process *process = env_of(disk)->process;
    for (struct list *e = process->envs.next; e != &process->envs; e = e->next) {
        struct sim_env *env = container_of(e, struct sim_env, link);
        for (struct list *link = env->writes.next; link != &env->writes; link = link->next) {
            assert(container_of(link, struct disk_write, link)->file != file); /* still to be written */
        }
        for (struct list *link = env->reads.next; link != &env->reads; link = link->next) {
            assert(container_of(link, struct sim_read, link)->req->file != file); /* still being read */
        }
    }
    sim_handle_close(handle);
}

static enum err disk_rename(struct disk *disk, const char *source, const char *target)
{
    struct sim_disk *drive = drive_of(disk);
    struct sim_node *from;
    struct sim_node *to;
    const char *name;
    char from_name[256];
    enum err err = sim_names_parent(&drive->names, sim_disk_inner_path(drive, source), &from, &name);
    if (err != OK) {
        return err;
    }
    memcpy(from_name, name, sizeof(from_name));
    err = sim_names_parent(&drive->names, sim_disk_inner_path(drive, target), &to, &name);
    if (err != OK) {
        return err;
    }
    const struct sim_node *moved = sim_node_find(from, from_name);
    const struct sim_node *there = sim_node_find(to, name);
    if (moved == NULL) {
        return ERR_NOT_FOUND;
    }
    if (moved == there) {
        return OK;
    }
    if (there != NULL && (there->is_directory != moved->is_directory || there->name_count > 0)) {
        return there->is_directory && moved->is_directory ? ERR_EXISTS : ERR_IO;
    }
    err = sim_disk_op_whole(drive, SIM_OP_RENAME, source);
    if (err == OK) {
        sim_names_rename(&drive->names, from, from_name, to, name);
    }
    return err;
}

static enum err disk_link(struct disk *disk, const char *source, const char *target)
{
    struct sim_disk *drive = drive_of(disk);
    struct sim_node *node = sim_names_find(&drive->names, sim_disk_inner_path(drive, source));
    struct sim_node *directory;
    const char *name;
    enum err err = sim_names_parent(&drive->names, sim_disk_inner_path(drive, target), &directory, &name);
    if (err != OK || node == NULL) {
        return err != OK ? err : ERR_NOT_FOUND;
    }
    if (node->is_directory) {
        return ERR_UNSUPPORTED;
    }
    if (sim_node_find(directory, name) != NULL) {
        return ERR_EXISTS;
    }
    err = sim_disk_op_whole(drive, SIM_OP_LINK, source);
    if (err == OK) {
        sim_names_link(&drive->names, node, directory, name);
    }
    return err;
}

static enum err disk_unlink(struct disk *disk, const char *path)
{
    struct sim_disk *drive = drive_of(disk);
    struct sim_node *directory;
    const char *name;
    enum err err = sim_names_parent(&drive->names, sim_disk_inner_path(drive, path), &directory, &name);
    if (err != OK) {
        return err;
    }
    const struct sim_node *node = sim_node_find(directory, name);
    if (node == NULL) {
        return ERR_NOT_FOUND;
    }
    if (node->is_directory && node->name_count > 0) {
        return ERR_IO;
    }
    err = sim_disk_op_whole(drive, SIM_OP_UNLINK, path);
    if (err == OK) {
        sim_names_unlink(&drive->names, directory, name);
    }
    return err;
}

/* `path` without the mount is walked from the front; each directory that is missing is one change. */
static enum err disk_mkdir(struct disk *disk, const char *path)
{
    struct sim_disk *drive = drive_of(disk);
    const char *inner = sim_disk_inner_path(drive, path);
    char *prefix = sim_strdup(inner);
    enum err err = OK;
    for (char *at = prefix; err == OK && *at != '\0';) {
        at += strspn(at, "/");
        at += strcspn(at, "/");
        char end = *at;
        *at = '\0';
        struct sim_node *directory;
        const char *name;
        if (strspn(prefix, "/") != strlen(prefix)) {
            err = sim_names_parent(&drive->names, prefix, &directory, &name);
            const struct sim_node *node = err == OK ? sim_node_find(directory, name) : NULL;
            if (err == OK && node == NULL) {
                char copy[256]; /* a crash point below does not come back, and `name` is not ours */
                memcpy(copy, name, sizeof(copy));
                struct sim_op op = sim_disk_op(drive, SIM_OP_MKDIR, path);
                if (op.is_crash) {
                    sim_free(prefix);
                    sim_disk_crash(drive, SIM_OP_MKDIR, path);
                }
                err = op.err;
                if (err == OK) {
                    (void)sim_names_create(&drive->names, directory, copy, true);
                }
            } else if (err == OK && !node->is_directory) {
                err = end == '\0' ? ERR_EXISTS : ERR_IO;
            }
        }
        *at = end;
    }
    sim_free(prefix);
    return err;
}

static enum err disk_sync_dir(struct disk *disk, const char *path)
{
    struct sim_disk *drive = drive_of(disk);
    struct sim_node *node = sim_names_find(&drive->names, sim_disk_inner_path(drive, path));
    if (node == NULL) {
        return ERR_NOT_FOUND;
    }
    if (!node->is_directory) {
        return ERR_IO;
    }
    enum err err = sim_disk_op_whole(drive, SIM_OP_SYNC_DIR, path);
    if (err == OK) {
        sim_names_sync(&drive->names, node);
        env_of(disk)->process->job_cost_us += sim_random_spread(&drive->random, SYNC_BASE_US, SYNC_SPREAD_US);
    }
    return err;
}

/* A copy of the names is shuffled first, as `cb` may unlink. */
static enum err disk_list(struct disk *disk, const char *path, disk_list_cb cb, void *context)
{
    struct sim_disk *drive = drive_of(disk);
    const struct sim_node *node = sim_names_find(&drive->names, sim_disk_inner_path(drive, path));
    if (node == NULL) {
        return ERR_NOT_FOUND;
    }
    if (!node->is_directory) {
        return ERR_IO;
    }
    enum err err = sim_disk_op_whole(drive, SIM_OP_OPEN, path);
    if (err != OK) {
        return err;
    }
    size_t count = node->name_count;
    char(*names)[256] = mem_alloc(count * sizeof(names[0]) + 1); /* the process's, should it die in `cb` */
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "%s", node->names[i].text);
    }
    for (size_t left = count; left > 0; left--) {
        size_t chosen = (size_t)sim_random_below(&drive->random, left);
        const struct sim_node *entry = sim_node_find(node, names[chosen]);
        if (entry != NULL) {
            cb(names[chosen], entry->file.size, entry->is_directory, context);
        }
        memcpy(names[chosen], names[left - 1], sizeof(names[0]));
    }
    mem_free(names);
    return OK;
}

static enum err disk_free_space(struct disk *disk, const char *path, uint64_t *size)
{
    const struct sim_disk *drive = drive_of(disk);
    (void)sim_disk_inner_path(drive, path);
    *size = drive->names.used < drive->capacity ? drive->capacity - drive->names.used : 0;
    return OK;
}

static enum err disk_total_space(struct disk *disk, const char *path, uint64_t *size)
{
    const struct sim_disk *drive = drive_of(disk);
    (void)sim_disk_inner_path(drive, path);
    *size = drive->capacity;
    return OK;
}

/* ---- Contents */

static enum err disk_size(struct disk *disk, int file, uint64_t *size)
{
    *size = handle_of(disk, file)->node->file.size;
    return OK;
}

static enum err disk_truncate(struct disk *disk, int file, uint64_t size)
{
    struct sim_handle *handle = handle_of(disk, file);
    if ((handle->flags & DISK_READ_ONLY) != 0) {
        return ERR_IO;
    }
    enum err err = sim_disk_op_whole(handle->disk, SIM_OP_TRUNCATE, handle->path);
    if (err == OK) {
        sim_file_truncate(&handle->node->file, size, &handle->disk->random);
    }
    return err;
}

static enum err disk_allocate(struct disk *disk, int file, uint64_t size)
{
    struct sim_handle *handle = handle_of(disk, file);
    if ((handle->flags & DISK_READ_ONLY) != 0) {
        return ERR_IO;
    }
    enum err err = sim_disk_op_whole(handle->disk, SIM_OP_TRUNCATE, handle->path);
    if (err == OK && !sim_file_allocate(&handle->node->file, size, handle->disk->capacity)) {
        err = ERR_NO_SPACE;
    }
    return err;
}

static void check_alignment(const struct sim_handle *handle, uint64_t position, const void *data, size_t size)
{
    if ((handle->flags & DISK_DIRECT) != 0) {
        assert(position % DISK_ALIGNMENT == 0);
        assert(size % DISK_ALIGNMENT == 0);
        assert((uintptr_t)data % DISK_ALIGNMENT == 0);
    }
}

/* One fragment, durable at once if the file is a direct one. Returns what was written. */
static size_t write_fragment(struct sim_handle *handle, uint64_t position, const struct iovec *iov)
{
    struct sim_file *file = &handle->node->file;
    struct sim_disk *drive = handle->disk;
    check_alignment(handle, position, iov->iov_base, iov->iov_len);
    if ((handle->flags & DISK_DIRECT) != 0) {
        return sim_file_write_durable(file, position, iov->iov_base, iov->iov_len, drive->capacity);
    }
    return sim_file_write(file, position, iov->iov_base, iov->iov_len, drive->capacity, &drive->random);
}

/* A failed or interrupted call: the fragments up to some point, the last one in part. Through the page cache that part
 * is a prefix of whole pages, as a kill is seen between pages; straight to the disk it is any sectors. */
static void write_part(struct sim_handle *handle, uint64_t position, const struct iovec *iov, int count)
{
    struct sim_disk *drive = handle->disk;
    int whole = (int)sim_random_below(&drive->random, (uint64_t)count + 1);
    for (int i = 0; i < count && i <= whole; i++) {
        const struct iovec *fragment = &iov[i];
        if (i < whole) {
            (void)write_fragment(handle, position, fragment);
        } else if ((handle->flags & DISK_DIRECT) != 0) {
            sim_file_write_partly(&handle->node->file, position, fragment->iov_base, fragment->iov_len, drive->capacity,
                                  &drive->random);
        } else if (fragment->iov_len > 0) {
            uint64_t pages = sim_random_below(&drive->random, (position + fragment->iov_len) / SIM_PAGE_SIZE -
                                                                  position / SIM_PAGE_SIZE + 1);
            uint64_t end = (position / SIM_PAGE_SIZE + pages) * SIM_PAGE_SIZE;
            struct iovec part = {fragment->iov_base, end > position ? (size_t)(end - position) : 0};
            (void)write_fragment(handle, position, &part);
        }
        position += fragment->iov_len;
    }
}

static enum err disk_pwritev(struct disk *disk, int file, uint64_t position, const struct iovec *iov, int count)
{
    struct sim_handle *handle = handle_of(disk, file);
    struct sim_disk *drive = handle->disk;
    if ((handle->flags & DISK_READ_ONLY) != 0) {
        return ERR_IO;
    }
    struct sim_op op = sim_disk_op(drive, SIM_OP_PWRITEV, handle->path);
    if (op.err != OK || op.is_crash) {
        write_part(handle, position, iov, count);
        if (op.is_crash) {
            sim_disk_crash(drive, SIM_OP_PWRITEV, handle->path);
        }
        return op.err;
    }
    env_of(disk)->process->job_cost_us += op.delay_us;
    for (int i = 0; i < count; i++) {
        if (write_fragment(handle, position, &iov[i]) < iov[i].iov_len) {
            return ERR_NO_SPACE;
        }
        position += iov[i].iov_len;
    }
    return OK;
}

static enum err disk_pread(struct disk *disk, int file, uint64_t position, void *data, size_t size, size_t *got)
{
    struct sim_handle *handle = handle_of(disk, file);
    check_alignment(handle, position, data, size);
    *got = 0;
    enum err err = sim_disk_op_whole(handle->disk, SIM_OP_PREAD, handle->path);
    if (err == OK) {
        *got = sim_file_read(&handle->node->file, position, data, size);
    }
    return err;
}

static enum err disk_pread_nowait(struct disk *disk, int file, uint64_t position, void *data, size_t size, size_t *got)
{
    const struct sim_handle *handle = handle_of(disk, file);
    struct sim_disk *drive = handle->disk;
    *got = 0;
    if (position < handle->node->file.size) {
        if (sim_random_is(&drive->random, drive->cold_per_million)) {
            return ERR_WOULD_BLOCK;
        }
        if (size > 1 && sim_random_is(&drive->random, drive->cold_per_million)) {
            size = 1 + (size_t)sim_random_below(&drive->random, size - 1);
        }
    }
    return disk_pread(disk, file, position, data, size, got);
}

/* Bytes that were not synced may be on the disk or not in any case. */
static enum err disk_write_out(struct disk *disk, const struct disk_range *ranges, unsigned count)
{
    (void)disk;
    (void)ranges;
    (void)count;
    return OK;
}

static enum err disk_sync(struct disk *disk, int file)
{
    struct sim_handle *handle = handle_of(disk, file);
    enum err err = sim_disk_op_whole(handle->disk, SIM_OP_SYNC, handle->path);
    if (err != OK) {
        sim_file_sync_fail(&handle->node->file, &handle->disk->random);
        return err;
    }
    sim_file_sync(&handle->node->file);
    env_of(disk)->process->job_cost_us += sim_random_spread(&handle->disk->random, SYNC_BASE_US, SYNC_SPREAD_US);
    return OK;
}

/* ---- Durable writes */

static struct disk_write *write_first(struct sim_env *env)
{
    return list_is_empty(&env->writes) ? NULL : container_of(env->writes.next, struct disk_write, link);
}

static void write_start(struct sim_env *env)
{
    struct sim_disk *drive = env->process->drive;
    const struct disk_write *req = write_first(env);
    int64_t delay_us = sim_random_spread(&env->world->random, WRITE_BASE_US, WRITE_SPREAD_US) +
                       (int64_t)(req->bytes.size / WRITE_BYTES_PER_US);
    struct sim_op op = sim_disk_op(drive, SIM_OP_WRITE, sim_handle_find(drive, req->file)->path);
    if (op.is_crash) {
        sim_disk_crash(drive, SIM_OP_WRITE, "a durable write");
    }
    env->write_next_err = op.err;
    env->write_stuck_by = op.stuck_by;
    if (op.stuck_by == NULL) {
        sim_event_set(env->world, &env->write_event, delay_us + op.delay_us);
    }
}

static enum err write_apply(struct sim_env *env, const struct disk_write *req)
{
    struct sim_handle *handle = sim_handle_find(env->process->drive, req->file);
    struct sim_disk *drive = handle->disk;
    struct sim_file *file = &handle->node->file;
    if (env->write_failed != OK) {
        return env->write_failed;
    }
    if (env->write_next_err != OK) {
        sim_file_write_partly(file, req->position, req->bytes.data, req->bytes.size, drive->capacity, &drive->random);
        return env->write_next_err;
    }
    size_t written = sim_file_write_durable(file, req->position, req->bytes.data, req->bytes.size, drive->capacity);
    return written == req->bytes.size ? OK : ERR_NO_SPACE;
}

static void write_on_event(struct sim_event *event)
{
    struct sim_env *env = container_of(event, struct sim_env, write_event);
    struct sim_disk *drive = env->process->drive;
    struct disk_write *req = write_first(env);
    enum err err = write_apply(env, req);
    env->write_failed = err;
    list_remove(&req->link);
    if (sim_disk_op(drive, SIM_OP_WRITTEN, "").is_crash) {
        sim_disk_crash(drive, SIM_OP_WRITTEN, "a durable write");
    }
    if (!list_is_empty(&env->writes)) {
        write_start(env);
    }
    req->cb(req, err);
}

static void disk_write(struct disk *disk, struct disk_write *req)
{
    struct sim_env *env = env_of(disk);
    const struct sim_handle *handle = handle_of(disk, req->file);
    assert((handle->flags & DISK_DIRECT) != 0);
    assert((handle->flags & DISK_READ_ONLY) == 0);
    assert(req->bytes.size > 0);
    check_alignment(handle, req->position, req->bytes.data, req->bytes.size);
    list_push(&env->writes, &req->link);
    if (write_first(env) == req) {
        write_start(env);
    }
}

/* ---- Reads that may wait */

static void read_on_event(struct sim_event *event)
{
    struct sim_read *read = container_of(event, struct sim_read, event);
    struct disk_read *req = read->req;
    enum err err = read->err;
    req->got = 0;
    if (err == OK) {
        const struct sim_handle *handle = sim_handle_find(event->env->process->drive, req->file);
        req->got = sim_file_read(&handle->node->file, req->position, req->data, req->size);
    }
    list_remove(&read->link);
    sim_free(read);
    req->handle = NULL;
    req->cb(req, err);
}

static void disk_read(struct disk *disk, struct disk_read *req)
{
    struct sim_env *env = env_of(disk);
    const struct sim_handle *handle = handle_of(disk, req->file);
    struct sim_read *read = sim_alloc(sizeof(*read));
    check_alignment(handle, req->position, req->data, req->size);
    struct sim_op op = sim_disk_op(handle->disk, SIM_OP_READ, handle->path);
    read->req = req;
    read->err = op.err;
    read->stuck_by = op.stuck_by;
    req->handle = read;
    list_push(&env->reads, &read->link);
    sim_event_init(&read->event, env, read_on_event);
    if (op.stuck_by == NULL) {
        sim_event_set(env->world, &read->event,
                      op.delay_us + sim_random_spread(&env->world->random, READ_BASE_US, READ_SPREAD_US));
    }
}

/* ---- Life */

void sim_disk_unstick(struct sim_env *env, const struct sim_fault *fault)
{
    if (env->write_stuck_by == fault) {
        env->write_stuck_by = NULL;
        sim_event_set(env->world, &env->write_event, WRITE_BASE_US);
    }
    for (struct list *link = env->reads.next; link != &env->reads; link = link->next) {
        struct sim_read *read = container_of(link, struct sim_read, link);
        if (read->stuck_by == fault) {
            read->stuck_by = NULL;
            sim_event_set(env->world, &read->event, READ_BASE_US);
        }
    }
}

void sim_disk_fill(struct sim_env *env)
{
    env->disk = (struct disk){
        .open = disk_open,
        .close = disk_close,
        .size = disk_size,
        .truncate = disk_truncate,
        .allocate = disk_allocate,
        .pwritev = disk_pwritev,
        .pread = disk_pread,
        .pread_nowait = disk_pread_nowait,
        .sync = disk_sync,
        .write_out = disk_write_out,
        .rename = disk_rename,
        .link = disk_link,
        .unlink = disk_unlink,
        .mkdir = disk_mkdir,
        .sync_dir = disk_sync_dir,
        .list = disk_list,
        .free_space = disk_free_space,
        .total_space = disk_total_space,
        .write = disk_write,
        .read = disk_read,
    };
    list_init(&env->writes);
    list_init(&env->reads);
    sim_event_init(&env->write_event, env, write_on_event);
}

/* The write under way has reached the disk in part; those behind it have not left the process. */
void sim_disk_on_death(struct sim_process *process)
{
    struct sim_disk *drive = process->drive;
    for (struct list *link = process->envs.next; link != &process->envs; link = link->next) {
        struct sim_env *env = container_of(link, struct sim_env, link);
        const struct disk_write *req = write_first(env);
        if (req != NULL && env->write_failed == OK) {
            struct sim_handle *handle = sim_handle_find(drive, req->file);
            sim_file_write_partly(&handle->node->file, req->position, req->bytes.data, req->bytes.size, drive->capacity,
                                  &drive->random);
        }
        list_init(&env->writes);
        sim_event_cancel(env->world, &env->write_event);
        while (!list_is_empty(&env->reads)) {
            struct sim_read *read = container_of(env->reads.next, struct sim_read, link);
            sim_event_cancel(env->world, &read->event);
            list_remove(&read->link);
            sim_free(read);
        }
    }
    while (!list_is_empty(&process->files)) {
        sim_handle_close(container_of(process->files.next, struct sim_handle, link));
    }
}

void sim_disk_env_close(struct sim_env *env)
{
    assert(list_is_empty(&env->writes));
    assert(list_is_empty(&env->reads));
}
