/* Sizes are rounded up to classes, four to a power of two. A class has a list of what was given back; when it is empty,
 * the next piece is cut off a chunk. */
#include "tests/lib/sim_pool.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

enum {
    GRAIN = 16,          /* malloc's alignment */
    SMALL_SIZE_MAX = 64, /* up to here a class each GRAIN bytes */
    POOLED_SIZE_MAX = 65536,
    CHUNK_SIZE = 1 << 20,
    CLASS_COUNT = 64
};

struct piece {
    struct piece *next;
};

static struct piece *given[CLASS_COUNT];
static uint8_t *chunk;
static size_t chunk_left;

/* Which class, and its size. */
static unsigned class_of(size_t size, size_t *rounded)
{
    if (size <= SMALL_SIZE_MAX) {
        *rounded = (size + GRAIN - 1) / GRAIN * GRAIN;
        return (unsigned)(*rounded / GRAIN) - 1;
    }
    unsigned shift = 61 - (unsigned)__builtin_clzll(size - 1); /* leaves three bits: the power and its quarter */
    size_t quarters = ((size - 1) >> shift) + 1;
    *rounded = quarters << shift;
    return (shift - 3) * 4 + (unsigned)(quarters - 5);
}

void *sim_pool_take(size_t size)
{
    assert(size > 0);
    if (MEM_IS_WATCHED || size > POOLED_SIZE_MAX) {
        void *memory = malloc(size);
        assert(memory != NULL);
        return memory;
    }
    size_t rounded;
    unsigned number = class_of(size, &rounded);
    assert(number < CLASS_COUNT);
    struct piece *piece = given[number];
    if (piece != NULL) {
        given[number] = piece->next;
        return piece;
    }
    if (chunk_left < rounded) {
        chunk = malloc(CHUNK_SIZE); /* what was left of the one before is not used */
        assert(chunk != NULL);
        chunk_left = CHUNK_SIZE;
    }
    chunk_left -= rounded;
    return chunk + chunk_left;
}

void *sim_pool_take_zeroed(size_t size)
{
    if (MEM_IS_WATCHED || size > POOLED_SIZE_MAX) {
        void *memory = calloc(1, size); /* large ones are often new from the system, and zero already */
        assert(memory != NULL);
        return memory;
    }
    return memset(sim_pool_take(size), 0, size);
}

void sim_pool_give(void *memory, size_t size)
{
    if (memory == NULL) {
        return;
    }
    if (MEM_IS_WATCHED || size > POOLED_SIZE_MAX) {
        free(memory);
        return;
    }
    size_t rounded;
    unsigned number = class_of(size, &rounded);
    struct piece *piece = memory;
    piece->next = given[number];
    given[number] = piece;
}
