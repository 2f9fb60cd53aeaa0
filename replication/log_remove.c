/* Files that are to go: of trimmed segments, of segments no checkpoint knows, and of a whole log.
 *
 * Unlinking a large file takes time, so it is a work job's. The name must be free at once, though: the log may be
 * opened again, with other contents, while the job still runs. So a file is first renamed ("buried") on the shard's
 * thread, and a sweep unlinks every buried file of a directory. A sweep that comes too late or twice does no harm. */
#include "base/assert.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/log_internal.h"
#include <stdio.h>
#include <string.h>

/* Paths of the files in a directory whose names end in `suffix`. */
struct path_list {
    const char *dir;
    const char *suffix;
    char **paths;
    size_t count;
    size_t capacity;
};

static void path_list_on_entry(const char *name, uint64_t size, bool is_directory, void *context)
{
    (void)size;
    (void)is_directory;
    struct path_list *list = context;
    size_t length = strlen(name);
    size_t suffix = strlen(list->suffix);
    if (length < suffix || strcmp(name + length - suffix, list->suffix) != 0) {
        return;
    }
    if (list->count == list->capacity) {
        list->capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        list->paths = mem_resize(list->paths, list->capacity * sizeof(char *));
    }
    size_t path_size = strlen(list->dir) + length + 2;
    char *path = mem_alloc_raw(path_size);
    (void)snprintf(path, path_size, "%s/%s", list->dir, name);
    list->paths[list->count++] = path;
}

/* Unlinks what is listed and frees the list. The first failure is told; the others are tried all the same. */
static enum err unlink_all(struct disk *disk, struct path_list *list, struct errmsg *msg)
{
    enum err err = disk->list(disk, list->dir, path_list_on_entry, list);
    if (err != OK && err != ERR_NOT_FOUND) {
        err = fail(msg, err, "list %s: %s", list->dir, err_text(err));
    }
    for (size_t i = 0; i < list->count; i++) {
        enum err failed = disk->unlink(disk, list->paths[i]);
        if (failed != OK && failed != ERR_NOT_FOUND && err == OK) {
            err = fail(msg, failed, "remove %s: %s", list->paths[i], err_text(failed));
        }
        mem_free(list->paths[i]);
    }
    mem_free(list->paths);
    return err;
}

/* ---- Single files ---- */

void log_file_bury(struct env *env, const char *dir, struct segment_id id, enum segment_kind kind)
{
    char path[SEGMENT_PATH_SIZE];
    char buried[SEGMENT_PATH_SIZE + sizeof(SEGMENT_DELETED_SUFFIX)];
    segment_path(dir, id, kind, path);
    (void)snprintf(buried, sizeof(buried), "%s%s", path, SEGMENT_DELETED_SUFFIX);
    enum err err = env->disk->rename(env->disk, path, buried);
    if (err != OK && err != ERR_NOT_FOUND) {
        metrics_add(env->metrics, METRIC_FILES_LEFT, 1);
        trace(WARN, LOG, "file not removed", KV("path", path), KV("cause", err_text(err)));
    }
}

struct sweep {
    struct work work;
    struct env *env;
    char *dir;
    bool has_left;
};

static void sweep_run(struct work *work)
{
    struct sweep *sweep = container_of(work, struct sweep, work);
    struct path_list list = {.dir = sweep->dir, .suffix = SEGMENT_DELETED_SUFFIX};
    struct errmsg msg;
    enum err err = unlink_all(sweep->env->disk, &list, &msg);
    if (err != OK && err != ERR_NOT_FOUND) {
        sweep->has_left = true;
        trace(WARN, LOG, "files not removed", KV("dir", sweep->dir), KV("cause", msg.text));
    }
}

static void sweep_done(struct work *work)
{
    struct sweep *sweep = container_of(work, struct sweep, work);
    metrics_add(sweep->env->metrics, METRIC_FILES_LEFT, sweep->has_left);
    mem_free(sweep->dir);
    mem_free(sweep);
}

void log_sweep(struct env *env, const char *dir)
{
    struct sweep *sweep = mem_alloc(sizeof(*sweep));
    sweep->work = (struct work){.run = sweep_run, .done = sweep_done};
    sweep->env = env;
    sweep->dir = mem_strdup(dir);
    env->workers->submit(env->workers, &sweep->work);
}

/* ---- A whole log ---- */

enum err log_remove(struct env *env, const char *dir, struct errmsg *msg)
{
    struct path_list list = {.dir = dir, .suffix = ""};
    enum err err = unlink_all(env->disk, &list, msg);
    if (err == ERR_NOT_FOUND) {
        return OK;
    }
    if (err != OK) {
        return err;
    }
    err = env->disk->unlink(env->disk, dir);
    if (err == OK || err == ERR_NOT_FOUND) {
        return OK;
    }
    return fail(msg, err, "remove %s: %s", dir, err_text(err));
}
