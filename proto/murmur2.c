#include "proto/murmur2.h"

#define SEED 0x9747b28cU
#define MULTIPLIER 0x5bd1e995U
#define SHIFT 24

uint32_t murmur2(struct bytes bytes)
{
    uint32_t hash = SEED ^ (uint32_t)bytes.size;
    size_t whole = bytes.size & ~(size_t)3;
    for (size_t i = 0; i < whole; i += 4) {
        uint32_t word = __builtin_bswap32(be32_get(bytes.data + i));
        word *= MULTIPLIER;
        word ^= word >> SHIFT;
        hash = hash * MULTIPLIER ^ word * MULTIPLIER;
    }
    for (size_t i = bytes.size; i > whole; i--) {
        hash ^= (uint32_t)bytes.data[i - 1] << 8 * (i - 1 - whole);
    }
    if (bytes.size > whole) {
        hash *= MULTIPLIER;
    }
    hash ^= hash >> 13;
    hash *= MULTIPLIER;
    return hash ^ hash >> 15;
}

int32_t murmur2_partition(struct bytes key, int32_t count)
{
    return (int32_t)(murmur2(key) & INT32_MAX) % count;
}
