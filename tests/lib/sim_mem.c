/* Every block has a header in front that links it to its heap. The distance from the header's start to the block keeps
 * the alignment that was asked for, and is noted right before the block, so that mem_free() finds its way back. */
#include "tests/lib/sim_mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/list.h"
#include "base/mem.h"
#include "tests/lib/sim_pool.h"

enum {
    ALIGNMENT = 16, /* malloc's own */
    FILL_SIZE = 4096
};

struct sim_heap {
    struct list blocks;
    size_t count;
    size_t size;
};

struct block {
    struct list link; /* of its heap's blocks; to itself if it has none */
    struct sim_heap *heap;
    size_t size;
    size_t offset; /* from the start of the allocation to the memory handed out, which is right behind this struct */
    size_t alignment;
};

static_assert(sizeof(struct block) % ALIGNMENT == 0, "the memory behind the header is aligned");

static struct sim_heap *current;

struct sim_heap *sim_heap_open(void)
{
    struct sim_heap *heap = calloc(1, sizeof(*heap));
    assert(heap != NULL);
    list_init(&heap->blocks);
    return heap;
}

static struct block *block_of(void *memory)
{
    return (struct block *)memory - 1;
}

static void block_free(struct block *block)
{
    uint8_t *start = (uint8_t *)(block + 1) - block->offset;
    if (block->alignment <= ALIGNMENT) {
        sim_pool_give(start, block->offset + block->size);
    } else {
        free(start);
    }
}

size_t sim_heap_close(struct sim_heap *heap)
{
    size_t count = heap->count;
    assert(current != heap);
    struct list *next;
    for (struct list *link = heap->blocks.next; link != &heap->blocks; link = next) {
        next = link->next;
        block_free(container_of(link, struct block, link));
    }
    free(heap);
    return count;
}

size_t sim_heap_size(const struct sim_heap *heap)
{
    return heap->size;
}

size_t sim_heap_block_count(const struct sim_heap *heap)
{
    return heap->count;
}

struct sim_heap *sim_heap_enter(struct sim_heap *heap)
{
    struct sim_heap *before = current;
    current = heap;
    return before;
}

/* Memory that is not zeroed is filled, so that reading it is seen, and seen alike in every run; of large blocks only
 * the ends, for the sake of speed. */
static void fill(uint8_t *memory, size_t size)
{
    if (size <= 2 * FILL_SIZE) {
        memset(memory, 0xA5, size);
        return;
    }
    memset(memory, 0xA5, FILL_SIZE);
    memset(memory + size - FILL_SIZE, 0xA5, FILL_SIZE);
}

static void *block_new(size_t alignment, size_t size, bool is_zeroed)
{
    size_t offset = alignment > sizeof(struct block) ? alignment : sizeof(struct block);
    void *start = NULL;
    assert(size > 0);
    if (alignment <= ALIGNMENT) {
        start = is_zeroed ? sim_pool_take_zeroed(offset + size) : sim_pool_take(offset + size);
    } else if (posix_memalign(&start, alignment, offset + size) != 0) {
        start = NULL;
    }
    assert(start != NULL);
    uint8_t *memory = (uint8_t *)start + offset;
    struct block *block = block_of(memory);
    if (!is_zeroed) {
        fill(memory, size);
    } else if (alignment > ALIGNMENT) {
        memset(memory, 0, size);
    }
    *block = (struct block){.heap = current, .size = size, .offset = offset, .alignment = alignment};
    list_init(&block->link);
    if (current != NULL) {
        list_push(&current->blocks, &block->link);
        current->count++;
        current->size += size;
    }
    return memory;
}

void *mem_alloc(size_t size)
{
    return block_new(ALIGNMENT, size, true);
}

void *mem_alloc_raw(size_t size)
{
    return block_new(ALIGNMENT, size, false);
}

void *mem_resize(void *memory, size_t size)
{
    void *moved = block_new(ALIGNMENT, size, false);
    if (memory != NULL) {
        size_t before = block_of(memory)->size;
        memcpy(moved, memory, before < size ? before : size);
        mem_free(memory);
    }
    return moved;
}

static void *aligned(size_t alignment, size_t size, bool is_zeroed)
{
    assert(alignment >= sizeof(void *) && (alignment & (alignment - 1)) == 0);
    return block_new(alignment, size, is_zeroed);
}

void *mem_aligned_raw(size_t alignment, size_t size)
{
    return aligned(alignment, size, false);
}

void *mem_aligned(size_t alignment, size_t size)
{
    return aligned(alignment, size, true);
}

char *mem_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(mem_alloc_raw(size), text, size);
}

void mem_free(void *memory)
{
    if (memory == NULL) {
        return;
    }
    struct block *block = block_of(memory);
    if (block->heap != NULL) {
        block->heap->count--;
        block->heap->size -= block->size;
    }
    list_remove(&block->link);
    block_free(block);
}
