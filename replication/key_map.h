/* The last offset of each key, for a compaction: keys by a hash of 128 bits, never by their bytes.
 *
 * The hash is SipHash with a seed that the leader drew for this compaction, so that nobody can choose keys that
 * collide; by chance two of a billion keys do so with a probability below 2^-67. All replicas use the same seed, and so
 * come to the same result.
 *
 * Memory: 24 bytes a place, at most three quarters of them taken; doubles as it fills.
 * Pure. Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", with the longer output of its authors. */
#pragma once

#include "base/bytes.h"

#define KEY_MAP_SEED_SIZE 16

struct key_hash {
    uint64_t halves[2];
};
struct key_hash key_hash(const uint8_t seed[KEY_MAP_SEED_SIZE], struct bytes key);

struct key_place {
    struct key_hash hash;
    int64_t offset;          /* -1: free */
};

struct key_map {
    uint8_t seed[KEY_MAP_SEED_SIZE];
    struct key_place *places;
    size_t capacity;         /* a power of two */
    size_t count;
};

void key_map_init(struct key_map *map, const uint8_t seed[KEY_MAP_SEED_SIZE]);
void key_map_deinit(struct key_map *map);
/* The highest offset of a key counts. */
void key_map_put(struct key_map *map, struct bytes key, int64_t offset);
/* -1: it was never put. */
int64_t key_map_find(const struct key_map *map, struct bytes key);
/* How many keys fit in so many bytes of memory, growth included; at least one. */
uint32_t key_map_count_max(uint64_t size);
