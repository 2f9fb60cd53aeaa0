/* Hash map from uint64_t keys to pointers (open addressing, grows by doubling, shrinks never).
 * Runs on: any one thread at a time. Values are the caller's. The order of iteration depends on the seed only through
 * nothing: it is the order of slots, so code that must be deterministic sorts or keeps a list of its own. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map {
    struct map_slot *slots;
    size_t capacity; /* power of two, or 0 */
    size_t count;
    size_t used;     /* count plus tombstones */
};

void map_init(struct map *map);
void map_deinit(struct map *map);
void *map_get(const struct map *map, uint64_t key);              /* NULL if absent */
void map_put(struct map *map, uint64_t key, void *value);        /* value != NULL; replaces */
void *map_remove(struct map *map, uint64_t key);                 /* the value, NULL if absent */
/* Iteration: `cursor` starts at 0; returns NULL at the end. map_remove() of the entry just returned is allowed. */
void *map_next(const struct map *map, size_t *cursor, uint64_t *key);
