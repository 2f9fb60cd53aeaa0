/* Memory of one request: allocated piece by piece, freed as one.
 * Runs on: one thread at a time. */
#pragma once

#include "base/bytes.h"

#define ARENA_ALIGNMENT 16 /* of all that is allocated */

struct arena {
    struct arena_chunk *chunks;
    size_t used;       /* bytes handed out, for budgets */
    size_t size_max;
};

void arena_init(struct arena *arena, size_t size_max);
/* The same with the caller's memory, aligned to ARENA_ALIGNMENT, for what is allocated first; it is used until
 * arena_deinit(). */
void arena_init_with(struct arena *arena, size_t size_max, void *memory, size_t size);
void arena_deinit(struct arena *arena);
void arena_reset(struct arena *arena);                              /* frees all but one chunk */
void *arena_alloc(struct arena *arena, size_t size);                /* zeroed; NULL if over size_max */
char *arena_text(struct arena *arena, struct bytes bytes);          /* NUL-terminated copy; NULL if over size_max */
struct bytes arena_copy(struct arena *arena, struct bytes bytes);   /* data NULL if over size_max */
