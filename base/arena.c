/* A list of chunks, the newest first; only the newest one is allocated from. Chunks double up to
 * CHUNK_SIZE_MAX, so a typical request costs one small allocation and a large one few. An
 * allocation that would waste much of a chunk gets one of its own, put behind the newest.
 *
 * With AddressSanitizer the memory that was not handed out is poisoned, with a gap behind each
 * allocation, so that an overrun inside the arena is found as it would be on the heap. */
#include "base/arena.h"

#include <stdbool.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#if MEM_IS_WATCHED
#include <sanitizer/asan_interface.h>
enum {
    GAP_SIZE = 16
};
#else
#define ASAN_POISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
enum {
    GAP_SIZE = 0
};
#endif

enum {
    CHUNK_SIZE_FIRST = 2048, /* header included: a request with a handful of topics needs no second one */
    CHUNK_SIZE_MAX = 64 * 1024,
    OWN_CHUNK_SIZE_MIN = 8 * 1024, /* from here on, what does not fit gets a chunk of its own */
};

struct arena_chunk {
    struct arena_chunk *next;
    size_t size; /* of data */
    size_t used;
    bool is_given; /* by the arena's owner, whose memory it is */
    uint8_t data[] __attribute__((aligned(ARENA_ALIGNMENT)));
};

void arena_init(struct arena *arena, size_t size_max)
{
    assert(size_max < SIZE_MAX / 2);
    *arena = (struct arena){.size_max = size_max};
}

static struct arena_chunk *chunk_make(void *memory, size_t size, bool is_given)
{
    struct arena_chunk *chunk = memory;
    *chunk = (struct arena_chunk){.size = size, .is_given = is_given};
    ASAN_POISON_MEMORY_REGION(chunk->data, chunk->size);
    return chunk;
}

static struct arena_chunk *chunk_new(size_t size)
{
    return chunk_make(mem_alloc_raw(sizeof(struct arena_chunk) + size), size, false);
}

void arena_init_with(struct arena *arena, size_t size_max, void *memory, size_t size)
{
    assert((uintptr_t)memory % ARENA_ALIGNMENT == 0 && size > sizeof(struct arena_chunk));
    arena_init(arena, size_max);
    arena->chunks = chunk_make(memory, size - sizeof(struct arena_chunk), true);
}

static void chunk_free(struct arena_chunk *chunk)
{
    ASAN_UNPOISON_MEMORY_REGION(chunk->data, chunk->size);
    if (!chunk->is_given) {
        mem_free(chunk);
    }
}

static void free_from(struct arena_chunk *chunk)
{
    while (chunk != NULL) {
        struct arena_chunk *next = chunk->next;
        chunk_free(chunk);
        chunk = next;
    }
}

void arena_deinit(struct arena *arena)
{
    free_from(arena->chunks);
    *arena = (struct arena){.size_max = arena->size_max};
}

void arena_reset(struct arena *arena)
{
    arena->used = 0;
    struct arena_chunk *chunk = arena->chunks;
    if (chunk == NULL) {
        return;
    }
    free_from(chunk->next);
    chunk->next = NULL;
    chunk->used = 0;
    ASAN_POISON_MEMORY_REGION(chunk->data, chunk->size);
}

/* A chunk with room for `size` bytes. */
static struct arena_chunk *chunk_for(struct arena *arena, size_t size)
{
    struct arena_chunk *newest = arena->chunks;
    if (newest != NULL && size <= newest->size - newest->used) {
        return newest;
    }
    if (newest != NULL && size >= OWN_CHUNK_SIZE_MIN) {
        struct arena_chunk *own = chunk_new(size);
        own->next = newest->next;
        newest->next = own;
        return own;
    }
    size_t chunk_size = newest == NULL ? CHUNK_SIZE_FIRST : (newest->size + sizeof *newest) * 2;
    if (chunk_size > CHUNK_SIZE_MAX) {
        chunk_size = CHUNK_SIZE_MAX;
    }
    chunk_size -= sizeof(struct arena_chunk);
    /* The first allocation may be a large one: the newest chunk is still a small one then, for
     *                                          what follows. */
    struct arena_chunk *chunk = chunk_new(chunk_size);
    chunk->next = newest;
    arena->chunks = chunk;
    return size <= chunk_size ? chunk : chunk_for(arena, size);
}

void *arena_alloc(struct arena *arena, size_t size)
{
    assert(arena->used <= arena->size_max);
    size_t left = arena->size_max - arena->used;
    if (size > left) {
        return NULL;
    }
    size_t rounded = size == 0 ? ARENA_ALIGNMENT : (size + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
    if (rounded > left) {
        return NULL;
    }
    struct arena_chunk *chunk = chunk_for(arena, rounded + GAP_SIZE);
    uint8_t *memory = chunk->data + chunk->used;
    chunk->used += rounded + GAP_SIZE;
    arena->used += rounded;
    ASAN_UNPOISON_MEMORY_REGION(memory, size);
    return memset(memory, 0, size);
}

char *arena_text(struct arena *arena, struct bytes bytes)
{
    if (bytes.size >= arena->size_max) {
        return NULL;
    }
    char *text = arena_alloc(arena, bytes.size + 1);
    if (text != NULL && bytes.size > 0) {
        memcpy(text, bytes.data, bytes.size);
    }
    return text;
}

struct bytes arena_copy(struct arena *arena, struct bytes bytes)
{
    uint8_t *data = arena_alloc(arena, bytes.size);
    if (data == NULL) {
        return BYTES_NONE;
    }
    if (bytes.size > 0) {
        memcpy(data, bytes.data, bytes.size);
    }
    return (struct bytes){data, bytes.size};
}
