#include "tests/sim/damage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

enum {
    SECTOR = 512,
    FLIPS_MAX = 8,
    PATH_SIZE_MAX = 300,
    FILES_MAX = 512
};

struct spot {
    struct node *node;
    char path[PATH_SIZE_MAX];
    uint64_t position;
    size_t size;
    uint8_t before[SECTOR];
    uint8_t after[SECTOR];
};

struct damage {
    struct sim_world *world;
    struct spot *spots;
    size_t count, capacity;
};

struct file {
    char path[PATH_SIZE_MAX];
    uint64_t size;
};

struct files {
    struct file of[FILES_MAX];
    unsigned count;
};

struct damage *damage_open(struct sim_world *world)
{
    struct damage *damage = calloc(1, sizeof(*damage));
    assert(damage != NULL);
    damage->world = world;
    return damage;
}

void damage_close(struct damage *damage)
{
    free(damage->spots);
    free(damage);
}

unsigned damage_count(const struct damage *damage)
{
    return (unsigned)damage->count;
}

static void collect(const char *path, uint64_t size, bool is_directory, void *context)
{
    struct files *files = context;
    size_t length = strlen(path);
    if (is_directory || size < SECTOR || length < 4 || length >= PATH_SIZE_MAX ||
        strcmp(path + length - 4, ".log") != 0 || files->count == FILES_MAX) {
        return;
    }
    struct file *file = &files->of[files->count++];
    (void)snprintf(file->path, sizeof(file->path), "%s", path);
    file->size = size;
}

static const struct file *pick(struct damage *damage, const struct files *files)
{
    return &files->of[sim_world_below(damage->world, files->count)];
}

static void segments_of(const struct node *node, struct files *files)
{
    char root[64];
    files->count = 0;
    (void)snprintf(root, sizeof(root), "%s/data/topics", node->mount);
    sim_disk_walk(node->disk, root, collect, files);
}

static void spot_damage(struct damage *damage, struct node *node, const struct file *file, uint64_t position,
                        const uint8_t *bytes, size_t size)
{
    if (damage->count == damage->capacity) {
        damage->capacity = damage->capacity > 0 ? 2 * damage->capacity : 16;
        damage->spots = realloc(damage->spots, damage->capacity * sizeof(*damage->spots));
        assert(damage->spots != NULL);
    }
    struct spot *spot = &damage->spots[damage->count];
    spot->node = node;
    (void)snprintf(spot->path, sizeof(spot->path), "%s", file->path);
    spot->position = position;
    spot->size = size;
    memcpy(spot->after, bytes, size);
    if (sim_disk_peek(node->disk, file->path, position, spot->before, size) && memcmp(spot->before, bytes, size) != 0 &&
        sim_disk_poke(node->disk, file->path, position, bytes, size)) {
        damage->count++;
    }
}

void damage_flip(struct damage *damage, struct node *node)
{
    static struct files files;
    segments_of(node, &files);
    if (files.count == 0) {
        return;
    }
    const struct file *file = pick(damage, &files);
    uint64_t flips = 1 + sim_world_below(damage->world, FLIPS_MAX);
    for (uint64_t i = 0; i < flips; i++) {
        uint8_t byte;
        uint64_t position = sim_world_below(damage->world, file->size);
        if (sim_disk_peek(node->disk, file->path, position, &byte, 1)) {
            byte ^= (uint8_t)(1U << sim_world_below(damage->world, 8));
            spot_damage(damage, node, file, position, &byte, 1);
        }
    }
}

void damage_misdirect(struct damage *damage, struct node *node)
{
    static struct files files;
    uint8_t sector[SECTOR];
    segments_of(node, &files);
    if (files.count == 0) {
        return;
    }
    const struct file *source = pick(damage, &files);
    const struct file *target = pick(damage, &files);
    if (sim_disk_peek(node->disk, source->path, sim_world_below(damage->world, source->size / SECTOR) * SECTOR, sector,
                      SECTOR)) {
        spot_damage(damage, node, target, sim_world_below(damage->world, target->size / SECTOR) * SECTOR, sector,
                    SECTOR);
    }
}

/* The last one first: they may lie over one another. */
void damage_undo(struct damage *damage)
{
    for (size_t i = damage->count; i > 0; i--) {
        const struct spot *spot = &damage->spots[i - 1];
        uint8_t now[SECTOR];
        if (sim_disk_peek(spot->node->disk, spot->path, spot->position, now, spot->size) &&
            memcmp(now, spot->after, spot->size) == 0) {
            bool is_poked = sim_disk_poke(spot->node->disk, spot->path, spot->position, spot->before, spot->size);
            assert(is_poked);
        }
    }
}
