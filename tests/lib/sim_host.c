/* base/process.h of a simulated process: linked in place of base/uv_process.c. Files are the simulated disk's. */
#include "base/process.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "tests/lib/sim_internal.h"

enum {
    NAMES_MAX = 4096,
    PATH_SIZE_MAX = 1200
};

static struct env *here(void)
{
    struct sim_process *process = sim_process_current();
    assert(process != NULL);
    return sim_process_env(process, 0);
}

/* The name is durable afterwards. One process a disk at a time is the test's own care. */
enum err process_lock_dir(const char *path, struct errmsg *msg)
{
    struct disk *disk = here()->disk;
    char parent[PATH_SIZE_MAX];
    (void)snprintf(parent, sizeof(parent), "%s", path);
    char *slash = strrchr(parent, '/');
    assert(slash != NULL && slash != parent);
    *slash = '\0';
    enum err err = disk->mkdir(disk, path);
    err = err == OK ? disk->sync_dir(disk, parent) : err;
    return err == OK ? OK : fail(msg, err, "%s: %s", path, err_text(err));
}

void process_random(void *target, size_t size)
{
    uint8_t *at = target;
    for (size_t i = 0; i < size; i++) {
        at[i] = (uint8_t)env_random(here());
    }
}

struct names {
    char *paths[NAMES_MAX];
    bool is_directory[NAMES_MAX];
    unsigned count;
    const char *dir;
};

static void names_add(const char *name, uint64_t size, bool is_directory, void *context)
{
    struct names *names = context;
    char path[PATH_SIZE_MAX];
    (void)size;
    assert(names->count < NAMES_MAX);
    (void)snprintf(path, sizeof(path), "%s/%s", names->dir, name);
    names->paths[names->count] = mem_strdup(path);
    names->is_directory[names->count++] = is_directory;
}

static enum err remove_dir(struct disk *disk, const char *path)
{
    struct names *names = mem_alloc(sizeof(*names));
    names->dir = path;
    enum err err = disk->list(disk, path, names_add, names);
    for (unsigned i = 0; i < names->count; i++) {
        if (err == OK) {
            err = names->is_directory[i] ? remove_dir(disk, names->paths[i]) : disk->unlink(disk, names->paths[i]);
        }
        mem_free(names->paths[i]);
    }
    mem_free(names);
    return err == OK ? disk->unlink(disk, path) : err;
}

enum err process_remove_tree(const char *path, struct errmsg *msg)
{
    struct disk *disk = here()->disk;
    enum err err = remove_dir(disk, path);
    return err == OK || err == ERR_NOT_FOUND ? OK : fail(msg, err, "%s cannot be removed: %s", path, err_text(err));
}

enum err process_make_dir(const char *path, struct errmsg *msg)
{
    struct disk *disk = here()->disk;
    enum err err = disk->mkdir(disk, path);
    return err == OK ? OK : fail(msg, err, "%s: %s", path, err_text(err));
}

enum err process_move(const char *source, const char *target, struct errmsg *msg)
{
    struct disk *disk = here()->disk;
    enum err err = disk->rename(disk, source, target);
    return err == OK || err == ERR_NOT_FOUND ? OK : fail(msg, err, "%s: %s", source, err_text(err));
}

static void count_name(const char *name, uint64_t size, bool is_directory, void *context)
{
    unsigned *count = context;
    (void)name;
    (void)size;
    (void)is_directory;
    ++*count;
}

enum err process_is_empty(const char *path, bool *is_empty, struct errmsg *msg)
{
    struct disk *disk = here()->disk;
    unsigned count = 0;
    enum err err = disk->list(disk, path, count_name, &count);
    *is_empty = count == 0;
    return err == OK || err == ERR_NOT_FOUND ? OK : fail(msg, err, "%s: %s", path, err_text(err));
}

enum err process_read_file(const char *path, struct dynbuf *text, struct errmsg *msg)
{
    (void)text;
    return fail(msg, ERR_NOT_FOUND, "%s: simulated processes have no configuration files", path);
}

void process_explain_bus_errors(void)
{
}

unsigned process_cores(void)
{
    return 1;
}

int64_t process_monotonic_us(void)
{
    return env_now_us(here());
}
