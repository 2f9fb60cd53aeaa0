/* Memory of long-lived objects. See base/mem.h: no caller has a path for a failed allocation,
 * because there is none. */
#include "base/mem.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/err.h"

static void *check(void *memory, size_t size)
{
    if (memory == NULL) {
        process_stop("out of memory: an allocation of %zu bytes failed", size);
    }
    return memory;
}

void *mem_alloc(size_t size)
{
    assert(size > 0);
    return check(calloc(1, size), size);
}

void *mem_alloc_raw(size_t size)
{
    assert(size > 0);
    return check(malloc(size), size);
}

void *mem_resize(void *memory, size_t size)
{
    assert(size > 0);
    return check(realloc(memory, size), size);
}

void *mem_aligned_raw(size_t alignment, size_t size)
{
    assert(size > 0);
    assert(alignment >= sizeof(void *) && (alignment & (alignment - 1)) == 0);
    void *memory = NULL;
    bool is_there = posix_memalign(&memory, alignment, size) == 0;
    /* cppcheck-suppress memleak */
    return check(is_there ? memory : NULL, size);
}

void *mem_aligned(size_t alignment, size_t size)
{
    return memset(mem_aligned_raw(alignment, size), 0, size);
}

char *mem_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(mem_alloc_raw(size), text, size);
}

void mem_free(void *memory)
{
    free(memory);
}
