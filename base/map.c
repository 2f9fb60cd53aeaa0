/* Open addressing with linear probing. A slot is free (value NULL), a tombstone, or an entry.
 * Tombstones keep probes going and entries where they are, so removal during iteration is safe;
 * one that ends a run of probes is freed at once, which leaves few of them behind. At most three
 * quarters of the slots are used, so that a probe always ends. */
#include "base/map.h"

#include "base/assert.h"
#include "base/mem.h"

enum {
    CAPACITY_FIRST = 16
};

struct map_slot {
    uint64_t key;
    void *value;
};

static char tombstone_memory;
#define TOMBSTONE ((void *)&tombstone_memory)

/* Keys are often small and consecutive, or multiples of a power of two: each bit has to reach the
 * low ones. */
static size_t slot_first(const struct map *map, uint64_t key)
{
    unsigned __int128 product = (unsigned __int128)(key ^ UINT64_C(0x5851f42d4c957f2d)) * UINT64_C(0x9e3779b97f4a7c15);
    uint64_t hash = (uint64_t)product ^ (uint64_t)(product >> 64);
    return (size_t)(hash ^ hash >> 32) & (map->capacity - 1);
}

static struct map_slot *find(const struct map *map, uint64_t key)
{
    if (map->count == 0) {
        return NULL;
    }
    for (size_t i = slot_first(map, key);; i = (i + 1) & (map->capacity - 1)) {
        struct map_slot *slot = &map->slots[i];
        if (slot->value == NULL) {
            return NULL;
        }
        if (slot->key == key && slot->value != TOMBSTONE) {
            return slot;
        }
    }
}

/* The key is absent, and there is a free slot. */
static void insert(struct map *map, uint64_t key, void *value)
{
    size_t i = slot_first(map, key);
    while (map->slots[i].value != NULL && map->slots[i].value != TOMBSTONE) {
        i = (i + 1) & (map->capacity - 1);
    }
    if (map->slots[i].value == NULL) {
        map->used++;
    }
    map->slots[i] = (struct map_slot){key, value};
    map->count++;
}

/* New slots without tombstones: twice as many if the entries alone fill half of the old ones. */
static void rehash(struct map *map)
{
    struct map old = *map;
    map->capacity = old.capacity == 0               ? CAPACITY_FIRST
                    : old.count * 2 >= old.capacity ? old.capacity * 2
                                                    : old.capacity;
    assert(map->capacity <= SIZE_MAX / sizeof(struct map_slot));
    map->slots = mem_alloc(map->capacity * sizeof(struct map_slot));
    map->count = 0;
    map->used = 0;
    for (size_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].value != NULL && old.slots[i].value != TOMBSTONE) {
            insert(map, old.slots[i].key, old.slots[i].value);
        }
    }
    assert(map->count == old.count);
    mem_free(old.slots);
}

void map_init(struct map *map)
{
    *map = (struct map){0};
}

void map_deinit(struct map *map)
{
    mem_free(map->slots);
    *map = (struct map){0};
}

void *map_get(const struct map *map, uint64_t key)
{
    const struct map_slot *slot = find(map, key);
    return slot == NULL ? NULL : slot->value;
}

void map_put(struct map *map, uint64_t key, void *value)
{
    assert(value != NULL);
    assert(map->count <= map->used && map->used <= map->capacity);
    struct map_slot *slot = find(map, key);
    if (slot != NULL) {
        slot->value = value;
        return;
    }
    if (map->used >= map->capacity - map->capacity / 4) {
        rehash(map);
    }
    insert(map, key, value);
}

void *map_remove(struct map *map, uint64_t key)
{
    struct map_slot *slot = find(map, key);
    if (slot == NULL) {
        return NULL;
    }
    void *value = slot->value;
    slot->value = TOMBSTONE;
    map->count--;
    size_t i = (size_t)(slot - map->slots);
    if (map->slots[(i + 1) & (map->capacity - 1)].value == NULL) {
        while (map->slots[i].value == TOMBSTONE) {
            map->slots[i].value = NULL;
            map->used--;
            i = (i - 1) & (map->capacity - 1);
        }
    }
    return value;
}

void *map_next(const struct map *map, size_t *cursor, uint64_t *key)
{
    while (*cursor < map->capacity) {
        const struct map_slot *slot = &map->slots[(*cursor)++];
        if (slot->value != NULL && slot->value != TOMBSTONE) {
            *key = slot->key;
            return slot->value;
        }
    }
    return NULL;
}
