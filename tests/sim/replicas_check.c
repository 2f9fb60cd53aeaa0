/* Files are compared by their path below topics/, where a group's id makes it the same on every broker. */
#include "tests/sim/replicas_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum {
    FILES_MAX = 4096,
    PATH_SIZE_MAX = 400,
    CHUNK = 65536
};

struct files {
    char *paths[FILES_MAX]; /* below topics/ */
    uint64_t sizes[FILES_MAX];
    unsigned count;
    char root[64];
};

static void add(const char *name, uint64_t size, bool is_directory, void *context)
{
    struct files *files = context;
    size_t root = strlen(files->root);
    size_t length = strlen(name);
    if (is_directory || length < 4 || strcmp(name + length - 4, ".log") != 0 || strncmp(name, files->root, root) != 0) {
        return;
    }
    assert(files->count < FILES_MAX);
    files->paths[files->count] = strdup(name + root);
    files->sizes[files->count++] = size;
}

static void collect(struct node *node, struct files *files)
{
    files->count = 0;
    (void)snprintf(files->root, sizeof(files->root), "%s/data/topics/", node->mount);
    sim_disk_walk(node->disk, files->root, add, files);
}

static void release(struct files *files)
{
    for (unsigned i = 0; i < files->count; i++) {
        free(files->paths[i]);
    }
}

static bool is_same(struct node *a, const struct files *in_a, struct node *b, const struct files *in_b, unsigned index,
                    uint64_t *where)
{
    static uint8_t bytes_a[CHUNK];
    static uint8_t bytes_b[CHUNK];
    char path_a[PATH_SIZE_MAX];
    char path_b[PATH_SIZE_MAX];
    (void)snprintf(path_a, sizeof(path_a), "%s%s", in_a->root, in_a->paths[index]);
    (void)snprintf(path_b, sizeof(path_b), "%s%s", in_b->root, in_a->paths[index]);
    for (uint64_t at = 0; at < in_a->sizes[index]; at += CHUNK) {
        size_t size = in_a->sizes[index] - at < CHUNK ? (size_t)(in_a->sizes[index] - at) : CHUNK;
        *where = at;
        if (!sim_disk_peek(a->disk, path_a, at, bytes_a, size) || !sim_disk_peek(b->disk, path_b, at, bytes_b, size) ||
            memcmp(bytes_a, bytes_b, size) != 0) {
            return false;
        }
    }
    return true;
}

static void compare(struct node *a, const struct files *in_a, struct node *b, const struct files *in_b,
                    struct history *history)
{
    if (in_a->count != in_b->count) {
        history_violation(history, "replicas-differ", "%s has %u segments, %s has %u", a->name, in_a->count, b->name,
                          in_b->count);
        return;
    }
    for (unsigned i = 0; i < in_a->count; i++) {
        uint64_t where = 0;
        if (strcmp(in_a->paths[i], in_b->paths[i]) != 0 || in_a->sizes[i] != in_b->sizes[i]) {
            history_violation(history, "replicas-differ", "%s has %s of %llu bytes, %s has %s of %llu", a->name,
                              in_a->paths[i], (unsigned long long)in_a->sizes[i], b->name, in_b->paths[i],
                              (unsigned long long)in_b->sizes[i]);
            return;
        }
        if (!is_same(a, in_a, b, in_b, i, &where)) {
            history_violation(history, "replicas-differ", "%s of %s and %s, near byte %llu", in_a->paths[i], a->name,
                              b->name, (unsigned long long)where);
            return;
        }
    }
}

void replicas_check(struct node *nodes, unsigned count, struct history *history)
{
    static struct files first;
    static struct files other;
    collect(&nodes[0], &first);
    for (unsigned i = 1; i < count && count <= 3; i++) {
        collect(&nodes[i], &other);
        compare(&nodes[0], &first, &nodes[i], &other, history);
        release(&other);
    }
    release(&first);
}
