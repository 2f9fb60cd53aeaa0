/* The count follows the usual rules: whoever acquires already holds a reference, so the increment
 *                                    needs no order; the
 * decrement releases what its thread did with the block, and the last one acquires all of that
 * before the memory goes. */
#include "base/shared.h"

#include "base/assert.h"
#include "base/mem.h"

/* Far above any real sharing; a count beyond it is a leak, or a block that was freed. */
#define REFERENCE_COUNT_MAX (UINT32_C(1) << 30)

struct shared *shared_new(size_t size)
{
    assert(size <= SIZE_MAX - sizeof(struct shared));
    struct shared *block = mem_alloc_raw(sizeof *block + size);
    block->references = 1;
    block->reserved = 0;
    block->size = size;
    return block;
}

struct shared *shared_resize(struct shared *block, size_t size)
{
    assert(size <= SIZE_MAX - sizeof(struct shared));
    assert(__atomic_load_n(&block->references, __ATOMIC_ACQUIRE) == 1);
    block = mem_resize(block, sizeof *block + size);
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
    if (before == 1) {
        mem_free(block);
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
