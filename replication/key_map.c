/* Open addressing, linear probing; nothing is ever taken out. */
#include "replication/key_map.h"

#include "base/assert.h"
#include "base/mem.h"
#include <string.h>

enum {
    CAPACITY_MIN = 1024
};

/* ---- The hash ---- */

struct sip {
    uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

static void sip_rounds(struct sip *s, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        s->v0 += s->v1;
        s->v2 += s->v3;
        s->v1 = rotate(s->v1, 13) ^ s->v0;
        s->v3 = rotate(s->v3, 16) ^ s->v2;
        s->v0 = rotate(s->v0, 32);
        s->v2 += s->v1;
        s->v0 += s->v3;
        s->v1 = rotate(s->v1, 17) ^ s->v2;
        s->v3 = rotate(s->v3, 21) ^ s->v0;
        s->v2 = rotate(s->v2, 32);
    }
}

static uint64_t little_endian(const uint8_t *data, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value |= (uint64_t)data[i] << (8 * i);
    }
    return value;
}

static void sip_word(struct sip *s, uint64_t word)
{
    s->v3 ^= word;
    sip_rounds(s, 2);
    s->v0 ^= word;
}

struct key_hash key_hash(const uint8_t seed[KEY_MAP_SEED_SIZE], struct bytes key)
{
    uint64_t k0 = little_endian(seed, 8);
    uint64_t k1 = little_endian(seed + 8, 8);
    struct sip s = {
        .v0 = k0 ^ UINT64_C(0x736f6d6570736575),
        .v1 = k1 ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
        .v2 = k0 ^ UINT64_C(0x6c7967656e657261),
        .v3 = k1 ^ UINT64_C(0x7465646279746573),
    };
    size_t whole = key.size - key.size % 8;
    for (size_t i = 0; i < whole; i += 8) {
        sip_word(&s, little_endian(key.data + i, 8));
    }
    sip_word(&s, (uint64_t)key.size << 56 | (whole < key.size ? little_endian(key.data + whole, key.size - whole) : 0));
    struct key_hash hash;
    s.v2 ^= 0xee;
    sip_rounds(&s, 4);
    hash.halves[0] = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    s.v1 ^= 0xdd;
    sip_rounds(&s, 4);
    hash.halves[1] = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    return hash;
}

/* ---- The map ---- */

void key_map_init(struct key_map *map, const uint8_t seed[KEY_MAP_SEED_SIZE])
{
    *map = (struct key_map){0};
    memcpy(map->seed, seed, KEY_MAP_SEED_SIZE);
}

void key_map_deinit(struct key_map *map)
{
    mem_free(map->places);
    map->places = NULL;
    map->capacity = 0;
    map->count = 0;
}

/* Where the key is, or would be. */
static struct key_place *find_place(const struct key_map *map, struct key_hash hash)
{
    size_t at = (size_t)hash.halves[0] & (map->capacity - 1);
    while (map->places[at].offset >= 0 &&
           (map->places[at].hash.halves[0] != hash.halves[0] || map->places[at].hash.halves[1] != hash.halves[1])) {
        at = (at + 1) & (map->capacity - 1);
    }
    return &map->places[at];
}

static void grow(struct key_map *map)
{
    struct key_map larger = {.capacity = map->capacity == 0 ? CAPACITY_MIN : 2 * map->capacity};
    larger.places = mem_alloc_raw(larger.capacity * sizeof(*larger.places));
    for (size_t i = 0; i < larger.capacity; i++) {
        larger.places[i].offset = -1;
    }
    for (size_t i = 0; i < map->capacity; i++) {
        if (map->places[i].offset >= 0) {
            *find_place(&larger, map->places[i].hash) = map->places[i];
        }
    }
    mem_free(map->places);
    map->places = larger.places;
    map->capacity = larger.capacity;
}

void key_map_put(struct key_map *map, struct bytes key, int64_t offset)
{
    assert(offset >= 0);
    if (map->count >= map->capacity / 4 * 3) {
        grow(map);
    }
    struct key_hash hash = key_hash(map->seed, key);
    struct key_place *place = find_place(map, hash);
    map->count += place->offset < 0;
    if (offset > place->offset) {
        *place = (struct key_place){hash, offset};
    }
}

int64_t key_map_find(const struct key_map *map, struct bytes key)
{
    return map->count == 0 ? -1 : find_place(map, key_hash(map->seed, key))->offset;
}

uint32_t key_map_count_max(uint64_t size)
{
    uint64_t capacity = CAPACITY_MIN;
    /* While it grows the old half is there as well. */
    while (capacity < (UINT64_C(1) << 30) && 2 * capacity * sizeof(struct key_place) / 2 * 3 <= size) {
        capacity *= 2;
    }
    return (uint32_t)(capacity / 4 * 3);
}
