/* Memory of a simulated process: linked in place of base/mem.c (tests/lib/README.md), it keeps account of who
 * allocated what, so that all memory of a process that crashed can be freed, and so that one that ended in order can be
 * shown to have freed everything itself.
 *
 * Runs on:  one thread. Memory allocated while no heap is current belongs to nobody: only malloc() knows of it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_heap;

struct sim_heap *sim_heap_open(void);
/* Frees the heap and what is still allocated from it, and returns how many blocks that were. */
size_t sim_heap_close(struct sim_heap *heap);
size_t sim_heap_size(const struct sim_heap *heap); /* bytes of all blocks, as they were asked for */
size_t sim_heap_block_count(const struct sim_heap *heap);
/* Makes `heap` (or none: NULL) the one that is allocated from; returns the one before. */
struct sim_heap *sim_heap_enter(struct sim_heap *heap);
