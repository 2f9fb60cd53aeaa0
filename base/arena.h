/* Memory of one request: allocated piece by piece, freed as one.
 * Runs on: one thread at a time. A small first block is embedded in the arena's own first chunk. */
#pragma once

#include "base/bytes.h"

struct arena {
    struct arena_chunk *chunks;
    size_t used;       /* bytes handed out, for budgets */
    size_t size_max;
};

void arena_init(struct arena *arena, size_t size_max);
void arena_deinit(struct arena *arena);
void arena_reset(struct arena *arena);                              /* frees all but one chunk */
void *arena_alloc(struct arena *arena, size_t size);                /* zeroed, aligned to 16; NULL if over size_max */
char *arena_text(struct arena *arena, struct bytes bytes);          /* NUL-terminated copy; NULL if over size_max */
struct bytes arena_copy(struct arena *arena, struct bytes bytes);   /* data NULL if over size_max */
