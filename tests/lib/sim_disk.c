/* The disk as the test sees it: its life, crash points, faults, and the test's own hands. What processes call is in
 * sim_disk_calls.c. */
#include "tests/lib/sim_disk.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/sim_disk_internal.h"

enum {
    HANDLE_FIRST = 1000,
    COLD_PER_MILLION = 60000
};

#define STUCK_JOB_US INT64_C(3600000000) /* a job cannot wait for ever: its end comes an hour later */

static struct list all_disks = {&all_disks, &all_disks};

struct sim_disk *sim_disk_open(struct sim_world *world, const char *mount)
{
    struct sim_disk *disk = sim_alloc(sizeof(*disk));
    assert(mount[0] == '/' && mount[1] != '\0' && strchr(mount + 1, '/') == NULL);
    disk->world = world;
    disk->mount = sim_strdup(mount);
    disk->mount_size = strlen(mount);
    disk->capacity = SIM_DISK_SIZE;
    disk->cold_per_million = COLD_PER_MILLION;
    sim_random_init(&disk->random, sim_random_next(&world->random));
    sim_names_init(&disk->names);
    list_init(&disk->faults);
    list_push(&all_disks, &disk->link);
    return disk;
}

void sim_disk_close(struct sim_disk *disk)
{
    for (struct list *link = disk->world->processes.next; link != &disk->world->processes; link = link->next) {
        const struct sim_process *process = container_of(link, struct sim_process, link);
        assert(process->drive != disk || process->end != SIM_ALIVE);
    }
    sim_names_deinit(&disk->names);
    list_remove(&disk->link);
    sim_free(disk->handles);
    sim_free(disk->mount);
    sim_free(disk);
}

void sim_disk_set_capacity(struct sim_disk *disk, uint64_t size)
{
    disk->capacity = size;
}

uint64_t sim_disk_used(const struct sim_disk *disk)
{
    return disk->names.used;
}

void sim_disk_set_cold(struct sim_disk *disk, uint32_t per_million)
{
    disk->cold_per_million = per_million;
}

void sim_disk_power_loss(struct sim_disk *disk)
{
    for (struct list *link = disk->world->processes.next; link != &disk->world->processes; link = link->next) {
        struct sim_process *process = container_of(link, struct sim_process, link);
        if (process->drive == disk) {
            process->is_power_lost = process->end == SIM_ALIVE;
            sim_process_kill(process);
        }
    }
    sim_world_note(disk->world, 'p', disk->change_count);
    sim_names_power_loss(&disk->names, &disk->random);
}

/* ---- Paths */

static bool is_on(const struct sim_disk *disk, const char *path)
{
    return strncmp(path, disk->mount, disk->mount_size) == 0 &&
           (path[disk->mount_size] == '/' || path[disk->mount_size] == '\0');
}

struct sim_disk *sim_disk_of_path(const char *path)
{
    for (struct list *link = all_disks.next; link != &all_disks; link = link->next) {
        struct sim_disk *disk = container_of(link, struct sim_disk, link);
        if (is_on(disk, path)) {
            return disk;
        }
    }
    return NULL;
}

const char *sim_disk_inner_path(const struct sim_disk *disk, const char *path)
{
    assert(is_on(disk, path)); /* a process uses its own disk only */
    return path + disk->mount_size;
}

/* ---- Operations */

uint64_t sim_disk_change_count(const struct sim_disk *disk)
{
    return disk->change_count;
}

void sim_disk_crash_at(struct sim_disk *disk, uint64_t change)
{
    assert(change == 0 || change > disk->change_count);
    disk->crash_at = change;
}

struct sim_op sim_disk_op(struct sim_disk *disk, unsigned kind, const char *path)
{
    struct sim_op op = {.err = OK};
    uint64_t path_digest = 0;
    for (const char *c = path; *c != '\0'; c++) {
        path_digest = path_digest * 31 + (uint8_t)*c;
    }
    sim_world_note(disk->world, kind, path_digest);
    if ((kind & SIM_OP_CHANGES) != 0) {
        disk->change_count++;
        op.is_crash = disk->change_count == disk->crash_at;
    }
    for (struct list *link = disk->faults.next; link != &disk->faults; link = link->next) {
        struct sim_fault *fault = container_of(link, struct sim_fault, link);
        if ((fault->ops & kind) == 0 || (fault->path != NULL && strstr(path, fault->path) == NULL)) {
            continue;
        }
        bool is_counted = fault_tick(&fault->when);
        if (!is_counted && !sim_random_is(&disk->random, fault->per_million)) {
            continue;
        }
        fault->hit_count++;
        op.err = op.err == OK ? fault->err : op.err;
        if (fault->delay_us == SIM_STUCK) {
            op.stuck_by = fault;
        } else {
            op.delay_us += fault->delay_us;
        }
    }
    return op;
}

void sim_disk_crash(struct sim_disk *disk, unsigned kind, const char *path)
{
    char text[ERRMSG_SIZE];
    (void)snprintf(text, sizeof(text), "crash point %llu, operation %u on %s", (unsigned long long)disk->change_count,
                   kind, path);
    sim_process_end_current(SIM_CRASHED, text);
    (void)fprintf(stderr, "%s: not in a process\n", text);
    abort();
}

enum err sim_disk_op_whole(struct sim_disk *disk, unsigned kind, const char *path)
{
    struct sim_op op = sim_disk_op(disk, kind, path);
    struct sim_process *process = sim_process_current();
    if (op.is_crash) {
        sim_disk_crash(disk, kind, path);
    }
    if (process != NULL) {
        process->job_cost_us += op.stuck_by != NULL ? STUCK_JOB_US : op.delay_us;
    }
    return op.err;
}

void sim_disk_fault_add(struct sim_disk *disk, struct sim_fault *fault)
{
    fault->hit_count = 0;
    list_push(&disk->faults, &fault->link);
}

void sim_disk_fault_remove(struct sim_disk *disk, struct sim_fault *fault)
{
    list_remove(&fault->link);
    for (struct list *p = disk->world->processes.next; p != &disk->world->processes; p = p->next) {
        struct sim_process *process = container_of(p, struct sim_process, link);
        for (struct list *e = process->envs.next; e != &process->envs; e = e->next) {
            sim_disk_unstick(container_of(e, struct sim_env, link), fault);
        }
    }
}

/* ---- Open files */

void sim_handle_close(struct sim_handle *handle)
{
    handle->disk->handles[handle->number - HANDLE_FIRST] = NULL;
    list_remove(&handle->link);
    sim_node_release(handle->node);
    sim_free(handle->path);
    sim_free(handle);
}

struct sim_handle *sim_handle_open(struct sim_disk *disk, struct sim_node *node, const char *path, unsigned flags)
{
    struct sim_handle *handle = sim_alloc(sizeof(*handle));
    if (disk->handle_count == disk->handle_capacity) {
        disk->handle_capacity = disk->handle_capacity == 0 ? 64 : 2 * disk->handle_capacity;
        disk->handles = sim_resize(disk->handles, disk->handle_capacity * sizeof(struct sim_handle *));
    }
    handle->number = HANDLE_FIRST + (int)disk->handle_count;
    disk->handles[disk->handle_count++] = handle;
    handle->flags = flags;
    handle->path = sim_strdup(path);
    handle->node = sim_node_acquire(node);
    handle->disk = disk;
    list_init(&handle->link);
    return handle;
}

struct sim_handle *sim_handle_find(struct sim_disk *disk, int file)
{
    assert(file >= HANDLE_FIRST && (size_t)(file - HANDLE_FIRST) < disk->handle_count);
    struct sim_handle *handle = disk->handles[file - HANDLE_FIRST];
    assert(handle != NULL); /* closed already */
    return handle;
}

/* ---- The test's own hands */

static struct sim_file *file_find(struct sim_disk *disk, const char *path)
{
    struct sim_node *node = sim_names_find(&disk->names, sim_disk_inner_path(disk, path));
    return node == NULL || node->is_directory ? NULL : &node->file;
}

bool sim_disk_stat(struct sim_disk *disk, const char *path, uint64_t *size)
{
    const struct sim_file *file = file_find(disk, path);
    if (file != NULL) {
        *size = file->size;
    }
    return file != NULL;
}

bool sim_disk_peek(struct sim_disk *disk, const char *path, uint64_t position, void *data, size_t size)
{
    const struct sim_file *file = file_find(disk, path);
    return file != NULL && sim_file_read(file, position, data, size) == size;
}

bool sim_disk_poke(struct sim_disk *disk, const char *path, uint64_t position, const void *data, size_t size)
{
    struct sim_file *file = file_find(disk, path);
    if (file == NULL) {
        return false;
    }
    size_t written = sim_file_write_durable(file, position, data, size, UINT64_MAX);
    assert(written == size);
    return true;
}

bool sim_disk_flip_bit(struct sim_disk *disk, const char *path, uint64_t position, unsigned bit)
{
    uint8_t byte;
    if (!sim_disk_peek(disk, path, position, &byte, 1)) {
        return false;
    }
    byte ^= (uint8_t)(1U << bit);
    return sim_disk_poke(disk, path, position, &byte, 1);
}

bool sim_disk_cut(struct sim_disk *disk, const char *path, uint64_t size)
{
    struct sim_file *file = file_find(disk, path);
    if (file == NULL) {
        return false;
    }
    sim_file_truncate(file, size, &disk->random);
    sim_file_sync(file);
    return true;
}

bool sim_disk_remove(struct sim_disk *disk, const char *path)
{
    struct sim_node *directory;
    const char *name;
    if (file_find(disk, path) == NULL ||
        sim_names_parent(&disk->names, sim_disk_inner_path(disk, path), &directory, &name) != OK) {
        return false;
    }
    sim_names_unlink(&disk->names, directory, name);
    sim_names_sync(&disk->names, directory);
    return true;
}

static void walk_node(const struct sim_node *node, char *path, size_t size, disk_list_cb cb, void *context)
{
    size_t length = strlen(path);
    for (size_t i = 0; i < node->name_count; i++) {
        const struct sim_name *name = &node->names[i];
        int printed = snprintf(path + length, size - length, "/%s", name->text);
        assert(printed > 0 && (size_t)printed < size - length);
        if (name->node->is_directory) {
            walk_node(name->node, path, size, cb, context);
        } else {
            cb(path, name->node->file.size, false, context);
        }
        path[length] = '\0';
    }
}

void sim_disk_walk(struct sim_disk *disk, const char *path, disk_list_cb cb, void *context)
{
    char full[1024];
    const struct sim_node *node = sim_names_find(&disk->names, sim_disk_inner_path(disk, path));
    (void)snprintf(full, sizeof(full), "%s", path);
    if (node != NULL && node->is_directory) {
        walk_node(node, full, sizeof(full), cb, context);
    }
}
