/* A partition's directory is <topic>-<n>.<group>, or with a generation behind it once the replica was given its
 * leader's state: the latest one counts. Files are compared by group and name, between voters. */
#include "tests/sim/replicas_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum {
    FILES_MAX = 4096,
    PATH_SIZE_MAX = 300,
    NAME_SIZE_MAX = 48,
    CHUNK = 65536
};

struct file {
    uint64_t group;
    uint64_t generation;
    uint64_t size;
    char path[PATH_SIZE_MAX];
    char name[NAME_SIZE_MAX];
};

struct files {
    struct node *node;
    struct file of[FILES_MAX];
    unsigned count;
};

static void add(const char *path, uint64_t size, bool is_directory, void *context)
{
    struct files *files = context;
    size_t length = strlen(path);
    unsigned long long group;
    unsigned long long generation = 0;
    char name[NAME_SIZE_MAX];
    const char *base = strrchr(path, '/');
    if (is_directory || length < 4 || strcmp(path + length - 4, ".log") != 0 || base == NULL) {
        return;
    }
    const char *dir = base;
    while (dir > path && dir[-1] != '/') {
        dir--;
    }
    const char *dot = memchr(dir, '.', (size_t)(base - dir));
    (void)snprintf(name, sizeof(name), "%s", base + 1);
    if (strncmp(base - strlen(".staging"), ".staging", strlen(".staging")) == 0) {
        return; /* a catch-up that broke off may go on with it for ten minutes */
    }
    if (dot == NULL || sscanf(dot, ".%llu.%llu/", &group, &generation) < 1 || strlen(path) >= PATH_SIZE_MAX) {
        return;
    }
    assert(files->count < FILES_MAX);
    struct file *file = &files->of[files->count++];
    *file = (struct file){.group = group, .generation = generation, .size = size};
    (void)snprintf(file->path, sizeof(file->path), "%s", path);
    (void)snprintf(file->name, sizeof(file->name), "%s", name);
}

static uint64_t generation_of(const struct files *files, uint64_t group)
{
    uint64_t latest = 0;
    for (unsigned i = 0; i < files->count; i++) {
        if (files->of[i].group == group && files->of[i].generation > latest) {
            latest = files->of[i].generation;
        }
    }
    return latest;
}

static void collect(struct node *node, struct files *files)
{
    char root[64];
    files->node = node;
    files->count = 0;
    (void)snprintf(root, sizeof(root), "%s/data/topics/", node->mount);
    sim_disk_walk(node->disk, root, add, files);
    unsigned kept = 0;
    for (unsigned i = 0; i < files->count; i++) {
        if (files->of[i].generation == generation_of(files, files->of[i].group)) {
            files->of[kept++] = files->of[i];
        }
    }
    files->count = kept;
}

static const struct file *find(const struct files *files, const struct file *like)
{
    for (unsigned i = 0; i < files->count; i++) {
        if (files->of[i].group == like->group && strcmp(files->of[i].name, like->name) == 0) {
            return &files->of[i];
        }
    }
    return NULL;
}

static bool is_same(struct node *a, const struct file *in_a, struct node *b, const struct file *in_b, uint64_t *where)
{
    static uint8_t bytes_a[CHUNK];
    static uint8_t bytes_b[CHUNK];
    for (uint64_t at = 0; at < in_a->size; at += CHUNK) {
        size_t size = in_a->size - at < CHUNK ? (size_t)(in_a->size - at) : CHUNK;
        *where = at;
        if (!sim_disk_peek(a->disk, in_a->path, at, bytes_a, size) ||
            !sim_disk_peek(b->disk, in_b->path, at, bytes_b, size) || memcmp(bytes_a, bytes_b, size) != 0) {
            return false;
        }
    }
    return true;
}

/* All that `a` has is in `b`. */
static bool has_all(const struct files *a, unsigned index_a, const struct files *b, unsigned index_b,
                    const struct observer *observer, char why[DIFFERENCE_SIZE])
{
    for (unsigned i = 0; i < a->count; i++) {
        const struct file *file = &a->of[i];
        uint64_t where = 0;
        if (!observer_is_voter(observer, file->group, index_a) || !observer_is_voter(observer, file->group, index_b)) {
            continue;
        }
        const struct file *other = find(b, file);
        if (other == NULL || other->size != file->size) {
            (void)snprintf(why, DIFFERENCE_SIZE, "%s has %llu bytes, %s of n%u has %llu", file->path,
                           (unsigned long long)file->size, other != NULL ? other->path : "no such file", index_b + 1,
                           (unsigned long long)(other != NULL ? other->size : 0));
            return false;
        }
        if (!is_same(a->node, file, b->node, other, &where)) {
            (void)snprintf(why, DIFFERENCE_SIZE, "%s and %s, near byte %llu", file->path, other->path,
                           (unsigned long long)where);
            return false;
        }
    }
    return true;
}

bool replicas_are_equal(struct node *nodes, unsigned count, const struct observer *observer, char why[DIFFERENCE_SIZE])
{
    static struct files files[NODES_MAX];
    for (unsigned i = 0; i < count; i++) {
        collect(&nodes[i], &files[i]);
    }
    for (unsigned a = 0; a < count; a++) {
        for (unsigned b = 0; b < count; b++) {
            if (a != b && !has_all(&files[a], a, &files[b], b, observer, why)) {
                return false;
            }
        }
    }
    return true;
}
