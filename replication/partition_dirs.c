/* Directories of a partition. Generation 0 is the plain name; a catch-up to index i puts its state into one of its own,
 * generation i, which takes the place of the one before:
 *
 *   <topic>-<n>.<group>             generation 0
 *   <topic>-<n>.<group>.staging     what a catch-up has brought so far; outlives restarts
 *   <topic>-<n>.<group>.<index>     sealed: generation `index` once WAL_INSTALL is durable
 *   <group>.<random>.deleted        on its way out
 *
 * The checkpoint names its generation. The one before stays until a checkpoint of the new one is durable: a restart
 * before that opens the old one, replays, and meets WAL_INSTALL. What nobody names is swept at the start. */
#include "replication/partition_dirs.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/trace.h"
#include "replication/log.h"
#include "replication/segment.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOPIC_SIZE_MAX 200 /* "-2147483647.", twenty digits and as many again still fit in a name of 255 bytes */
#define STAGING_SUFFIX ".staging"
#define DELETED_SUFFIX ".deleted"

char *partition_dir_plain(const char *data_dir, uint64_t group, struct bytes topic, int32_t index)
{
    int topic_size = topic.size < TOPIC_SIZE_MAX ? (int)topic.size : TOPIC_SIZE_MAX;
    size_t size = strlen(data_dir) + TOPIC_SIZE_MAX + 40;
    char *dir = mem_alloc(size);
    int printed =
        snprintf(dir, size, "%s/%.*s-%d.%" PRIu64, data_dir, topic_size, (const char *)topic.data, index, group);
    assert(printed > 0 && (size_t)printed < size);
    return dir;
}

char *partition_dir_generation(const char *plain, uint64_t generation)
{
    if (generation == 0) {
        return mem_strdup(plain);
    }
    size_t size = strlen(plain) + 24;
    char *dir = mem_alloc(size);
    (void)snprintf(dir, size, "%s.%" PRIu64, plain, generation);
    return dir;
}

char *partition_dir_staging(const char *plain)
{
    size_t size = strlen(plain) + sizeof(STAGING_SUFFIX);
    char *dir = mem_alloc(size);
    (void)snprintf(dir, size, "%s" STAGING_SUFFIX, plain);
    return dir;
}

char *partition_dir_parent(const char *dir)
{
    char *parent = mem_strdup(dir);
    char *slash = strrchr(parent, '/');
    assert(slash != NULL && slash != parent);
    *slash = '\0';
    return parent;
}

/* ---- Names ---- */

static bool parse_number(const char *text, size_t size, uint64_t *number)
{
    *number = 0;
    if (size == 0 || size > 20 || (text[0] == '0' && size > 1)) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        unsigned digit = (unsigned)text[i] - '0';
        if (digit > 9 || *number > (UINT64_MAX - digit) / 10) {
            return false;
        }
        *number = *number * 10 + digit;
    }
    return true;
}

/* "...<topic>-<n>": the end of what stands before the group. */
static bool is_partition_name(const char *text, size_t size)
{
    size_t digits = 0;
    while (digits < size && text[size - 1 - digits] >= '0' && text[size - 1 - digits] <= '9') {
        digits++;
    }
    return digits > 0 && digits + 1 < size && text[size - 1 - digits] == '-';
}

bool partition_dir_parse(const char *name, struct partition_dir_name *parsed)
{
    size_t size = strlen(name);
    *parsed = (struct partition_dir_name){0};
    if (size >= strlen(DELETED_SUFFIX) && strcmp(name + size - strlen(DELETED_SUFFIX), DELETED_SUFFIX) == 0) {
        parsed->is_deleted = true;
        const char *dot = strchr(name, '.');
        return parse_number(name, (size_t)(dot - name), &parsed->group);
    }
    if (size > strlen(STAGING_SUFFIX) && strcmp(name + size - strlen(STAGING_SUFFIX), STAGING_SUFFIX) == 0) {
        parsed->is_staging = true;
        size -= strlen(STAGING_SUFFIX);
    }
    const char *dot = memrchr(name, '.', size);
    uint64_t last;
    if (dot == NULL || !parse_number(dot + 1, size - (size_t)(dot + 1 - name), &last)) {
        return false;
    }
    size_t front = (size_t)(dot - name);
    if (is_partition_name(name, front)) {
        parsed->group = last;
        parsed->plain_size = size;
        return true;
    }
    parsed->generation = last;
    dot = memrchr(name, '.', front);
    parsed->plain_size = front;
    return !parsed->is_staging && dot != NULL && last > 0 &&
           parse_number(dot + 1, front - (size_t)(dot + 1 - name), &parsed->group) &&
           is_partition_name(name, (size_t)(dot - name));
}

/* ---- Going ---- */

struct removal {
    struct work work;
    struct env *env;
    char *dir;
    bool has_left;
};

static void removal_run(struct work *work)
{
    struct removal *removal = container_of(work, struct removal, work);
    struct errmsg msg;
    if (log_remove(removal->env, removal->dir, &msg) != OK) {
        removal->has_left = true;
        trace(WARN, PARTITION, "files stay behind until the next start", KV("dir", removal->dir),
              KV("cause", (const char *)msg.text));
    }
}

static void removal_done(struct work *work)
{
    struct removal *removal = container_of(work, struct removal, work);
    metrics_add(removal->env->metrics, METRIC_FILES_LEFT, removal->has_left);
    mem_free(removal->dir);
    mem_free(removal);
}

void partition_dir_remove(struct env *env, const char *dir)
{
    struct removal *removal = mem_alloc(sizeof(*removal));
    removal->work = (struct work){.run = removal_run, .done = removal_done};
    removal->env = env;
    removal->dir = mem_strdup(dir);
    env->workers->submit(env->workers, &removal->work);
}

char *partition_dir_bury(struct env *env, const char *dir, uint64_t group)
{
    char *parent = partition_dir_parent(dir);
    size_t size = strlen(parent) + 64;
    char *buried = mem_alloc(size);
    (void)snprintf(buried, size, "%s/%" PRIu64 ".%016" PRIx64 DELETED_SUFFIX, parent, group, env_random(env));
    mem_free(parent);
    enum err err = env->disk->rename(env->disk, dir, buried);
    if (err == OK) {
        return buried;
    }
    if (err != ERR_NOT_FOUND) {
        metrics_add(env->metrics, METRIC_FILES_LEFT, 1);
        trace(WARN, PARTITION, "directory not removed", KV("dir", dir), KV("cause", err_text(err)));
    }
    mem_free(buried);
    return NULL;
}
