/* Small blocks are base/blocks.h's, which keeps them by size; large ones are kept here.
 *
 * The count follows the usual rules: whoever acquires already holds a reference, so the increment needs no order; the
 * decrement releases what its thread did with the block, and the last one acquires all of that before the memory goes.
 *
 * The cache of a thread is a list, the latest freed first: what was in use a moment ago is in the processor's cache as
 * well. What does not fit any more goes at the other end. */
#include "base/shared.h"

#include <string.h>

#include "base/assert.h"
#include "base/blocks.h"
#include "base/limits.h"
#include "base/mem.h"

/* Far above any real sharing; a count beyond it is a leak, or a block that was freed. */
#define REFERENCE_COUNT_MAX (UINT32_C(1) << 30)

#define CACHE_COUNT_MAX (SHARED_CACHE_SIZE_MAX / SHARED_CACHED_SIZE_MIN)

static _Thread_local struct cache {
    bool is_open;
    unsigned count;
    unsigned unused; /* of those at the end, since the last trim */
    size_t size;
    struct shared *blocks[CACHE_COUNT_MAX];
} cache;

static void cache_remove(unsigned at)
{
    cache.size -= cache.blocks[at]->capacity;
    cache.count--;
    memmove(&cache.blocks[at], &cache.blocks[at + 1], (cache.count - at) * sizeof(cache.blocks[0]));
    if (at >= cache.count + 1 - cache.unused) {
        cache.unused--;
    }
}

static void cache_drop_last(void)
{
    struct shared *block = cache.blocks[cache.count - 1];
    cache_remove(cache.count - 1);
    mem_free(block);
}

/* NULL: none fits. */
static struct shared *cache_take(size_t size)
{
    for (unsigned i = 0; i < cache.count; i++) {
        struct shared *block = cache.blocks[i];
        if (block->capacity >= size && block->capacity - size <= size / 4) {
            cache_remove(i);
            return block;
        }
    }
    return NULL;
}

/* False: it is the caller's still. */
static bool cache_put(struct shared *block)
{
    if (!cache.is_open || block->capacity < SHARED_CACHED_SIZE_MIN || block->capacity > SHARED_CACHED_SIZE_MAX) {
        return false;
    }
    while (cache.count == CACHE_COUNT_MAX || cache.size + block->capacity > SHARED_CACHE_SIZE_MAX) {
        cache_drop_last();
    }
    memmove(&cache.blocks[1], &cache.blocks[0], cache.count * sizeof(cache.blocks[0]));
    cache.blocks[0] = block;
    cache.count++;
    cache.size += block->capacity;
    return true;
}

void shared_cache_open(void)
{
    cache.is_open = !MEM_IS_WATCHED;
}

void shared_cache_trim(void)
{
    while (cache.unused > 0) {
        cache_drop_last();
    }
    cache.unused = cache.count;
}

void shared_cache_close(void)
{
    while (cache.count > 0) {
        cache_drop_last();
    }
    cache.is_open = false;
}

/* Sizes that are kept are four to a power of two, so that most that are asked for find one; what is behind the size is
 * not touched, and so is no memory yet. */
static size_t round_up(size_t size)
{
    if (!cache.is_open || size < SHARED_CACHED_SIZE_MIN || size > SHARED_CACHED_SIZE_MAX) {
        return block_room(sizeof(struct shared) + size) - sizeof(struct shared);
    }
    size_t step = SHARED_CACHED_SIZE_MIN / 4;
    while (size > 8 * step) {
        step *= 2;
    }
    return (size + step - 1) / step * step;
}

static void set_capacity(struct shared *block, size_t capacity)
{
    block->capacity = capacity <= SHARED_CACHED_SIZE_MAX ? (uint32_t)capacity : SHARED_CACHED_SIZE_MAX + 1;
}

struct shared *shared_new(size_t size)
{
    assert(size <= SIZE_MAX - sizeof(struct shared));
    struct shared *block = size >= SHARED_CACHED_SIZE_MIN ? cache_take(size) : NULL;
    if (block == NULL) {
        size_t capacity = round_up(size);
        block = block_take(sizeof *block + capacity);
        set_capacity(block, capacity);
    }
    block->size = size;
    block->references = 1;
    return block;
}

struct shared *shared_resize(struct shared *block, size_t size)
{
    assert(size <= SIZE_MAX - sizeof(struct shared));
    assert(__atomic_load_n(&block->references, __ATOMIC_ACQUIRE) == 1);
    struct shared *other = size >= SHARED_CACHED_SIZE_MIN ? cache_take(size) : NULL;
    if (other != NULL) {
        memcpy(other->data, block->data, size < block->size ? size : block->size);
        other->size = size;
        other->references = 1;
        shared_release(block);
        return other;
    }
    size_t capacity = round_up(size);
    block = mem_resize(block, sizeof *block + capacity);
    set_capacity(block, capacity);
    block->size = size;
    return block;
}

struct shared *shared_acquire(struct shared *block)
{
    uint32_t before = __atomic_fetch_add(&block->references, 1, __ATOMIC_RELAXED);
    assert(before > 0 && before < REFERENCE_COUNT_MAX);
    return block;
}

void shared_release(struct shared *block)
{
    if (block == NULL) {
        return;
    }
    uint32_t before = __atomic_fetch_sub(&block->references, 1, __ATOMIC_ACQ_REL);
    assert(before > 0 && before < REFERENCE_COUNT_MAX);
    if (before == 1 && !cache_put(block)) {
        block_give(block, sizeof *block + block->capacity);
    }
}

struct slice slice_of(struct shared *block, size_t position, size_t size)
{
    assert(position <= block->size);
    assert(size <= block->size - position);
    return (struct slice){shared_acquire(block), {block->data + position, size}};
}

struct slice slice_acquire(struct slice slice)
{
    if (slice.block != NULL) {
        (void)shared_acquire(slice.block);
    }
    return slice;
}

void slice_release(struct slice *slice)
{
    shared_release(slice->block);
    *slice = (struct slice){NULL, BYTES_NONE};
}
