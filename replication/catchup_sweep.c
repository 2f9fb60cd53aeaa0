/* Directories that nobody names any more: at the start, and now and then.
 *
 *   of a group that is not here                  an interrupted removal, a damaged replica's: goes
 *   of an older generation                       a checkpoint of a newer one was durable: goes
 *   sealed, but no WAL_INSTALL followed          becomes the staging again if there is none, else goes
 *   staging, long after the start, no session    goes: the log brought what it was for
 *   deleted                                      an interrupted removal: goes
 *
 * The list is read in a work job; what happens to each name is decided on the shard's thread, where groups come and
 * go, and done by a rename there; only then a job unlinks. Groups of other shards are those shards' affair. */
#include "replication/catchup_internal.h"

#include "base/mem.h"
#include "base/trace.h"
#include "replication/partition.h"
#include "replication/partition_dirs.h"

#include <stdio.h>
#include <string.h>

struct catchup_sweep {
    struct disk *disk;
    const char *dir;
    char **names;
    size_t count, capacity;
    enum err err;
};

static void sweep_on_entry(const char *name, uint64_t size, bool is_directory, void *context)
{
    struct catchup_sweep *sweep = context;
    (void)size;
    if (!is_directory) {
        return;
    }
    if (sweep->count == sweep->capacity) {
        sweep->capacity = 2 * sweep->capacity + 16;
        sweep->names = mem_resize(sweep->names, sweep->capacity * sizeof(char *));
    }
    sweep->names[sweep->count++] = mem_strdup(name);
}

static void sweep_on_run(struct work *work)
{
    struct catchups *catchups = container_of(work, struct catchups, sweep_work);
    struct catchup_sweep *sweep = catchups->sweep;
    sweep->err = sweep->disk->list(sweep->disk, sweep->dir, sweep_on_entry, sweep);
}

static bool has_staging(const struct catchup_sweep *sweep, const char *name, size_t plain_size)
{
    for (size_t i = 0; i < sweep->count; i++) {
        struct partition_dir_name parsed;
        if (partition_dir_parse(sweep->names[i], &parsed) && parsed.is_staging && parsed.plain_size == plain_size &&
            memcmp(sweep->names[i], name, plain_size) == 0) {
            return true;
        }
    }
    return false;
}

static void bury(struct catchups *catchups, const char *path, uint64_t group)
{
    char *buried = partition_dir_bury(catchups->params.env, path, group);
    if (buried != NULL) {
        trace(INFO, REPLICA, "directory that nobody names", KV("dir", path));
        partition_dir_remove(catchups->params.env, buried);
        mem_free(buried);
    }
}

static void make_staging(struct catchups *catchups, const char *path, const char *name, size_t plain_size)
{
    struct disk *disk = catchups->params.env->disk;
    size_t size = strlen(catchups->topics_dir) + plain_size + 2;
    char *plain = mem_alloc(size);
    (void)snprintf(plain, size, "%s/%.*s", catchups->topics_dir, (int)plain_size, name);
    char *staging = partition_dir_staging(plain);
    enum err err = disk->rename(disk, path, staging);
    if (err != OK) {
        trace(WARN, REPLICA, "staging not taken up", KV("dir", path), KV("cause", err_text(err)));
    }
    mem_free(staging);
    mem_free(plain);
}

static void sweep_name(struct catchups *catchups, const char *name)
{
    struct replicas *replicas = catchups->params.replicas;
    struct partition_dir_name parsed;
    char path[4096];
    if (!partition_dir_parse(name, &parsed) || !replicas_is_own(replicas, parsed.group)) {
        return;
    }
    (void)snprintf(path, sizeof(path), "%s/%s", catchups->topics_dir, name);
    if (parsed.is_deleted) {
        partition_dir_remove(catchups->params.env, path);
        return;
    }
    struct replica_machine *machine = replicas_machine(replicas, parsed.group);
    if (machine == NULL) {
        if (!replicas_is_here(replicas, parsed.group)) {
            bury(catchups, path, parsed.group);
        }
        return; /* damaged: kept until the group is removed */
    }
    if (!partition_is_machine(machine)) {
        return;
    }
    bool is_busy = map_get(&catchups->targets, parsed.group) != NULL;
    bool is_owned = partition_owns_dir(partition_of_machine(machine), path);
    if (is_busy || (is_owned && !parsed.is_staging)) {
        return;
    }
    if (parsed.is_staging) {
        if (catchups->is_first_swept && env_now_us(catchups->params.env) >= catchups->staging_until_us) {
            bury(catchups, path, parsed.group);
        }
    } else if (parsed.generation < partition_generation(partition_of_machine(machine)) ||
               has_staging(catchups->sweep, name, parsed.plain_size)) {
        bury(catchups, path, parsed.group);
    } else {
        make_staging(catchups, path, name, parsed.plain_size);
    }
}

void catchup_bury_group(struct catchups *catchups, uint64_t group)
{
    struct disk *disk = catchups->params.env->disk;
    struct catchup_sweep found = {0};
    enum err err = disk->list(disk, catchups->topics_dir, sweep_on_entry, &found);
    if (err != OK) {
        trace(WARN, REPLICA, "topics not swept", KV("cause", err_text(err)));
    }
    for (size_t i = 0; i < found.count; i++) {
        struct partition_dir_name parsed;
        char path[4096];
        (void)snprintf(path, sizeof(path), "%s/%s", catchups->topics_dir, found.names[i]);
        if (partition_dir_parse(found.names[i], &parsed) && parsed.group == group && !parsed.is_deleted) {
            bury(catchups, path, group);
        }
        mem_free(found.names[i]);
    }
    mem_free(found.names);
}

static void sweep_on_done(struct work *work)
{
    struct catchups *catchups = container_of(work, struct catchups, sweep_work);
    struct catchup_sweep *sweep = catchups->sweep;
    if (sweep->err != OK && sweep->err != ERR_NOT_FOUND) {
        trace(WARN, REPLICA, "topics not swept", KV("cause", err_text(sweep->err)));
    }
    for (size_t i = 0; i < sweep->count; i++) {
        if (!catchups->is_closing) {
            sweep_name(catchups, sweep->names[i]);
        }
    }
    for (size_t i = 0; i < sweep->count; i++) {
        mem_free(sweep->names[i]);
    }
    mem_free(sweep->names);
    mem_free(sweep);
    catchups->sweep = NULL;
    catchups->is_sweeping = false;
    catchups_step_close(catchups);
}

void catchup_sweep(struct catchups *catchups)
{
    if (catchups->is_sweeping) {
        return;
    }
    catchups->is_sweeping = true;
    catchups->sweep = mem_alloc(sizeof(*catchups->sweep));
    catchups->sweep->disk = catchups->params.env->disk;
    catchups->sweep->dir = catchups->topics_dir;
    catchups->sweep_work = (struct work){.run = sweep_on_run, .done = sweep_on_done};
    catchups->params.env->workers->submit(catchups->params.env->workers, &catchups->sweep_work);
}
