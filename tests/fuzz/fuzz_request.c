/* Goal: no frame that a client can send hurts the request decoder, and what it accepts keeps its meaning.
 * Input: a frame as behind its size: header and body. Seeds: the frames recorded from real clients.
 * Method: decode; encode; decode that; encode again: both encodings must be the same bytes, and the memory taken must
 * be in proportion to the frame. */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "tests/lib/request_frame.h"

/* Worst element of an array in a request: bytes of memory for a byte on the wire (test_codec has the exact factors). */
#define MEMORY_PER_BYTE 64
#define MEMORY_FIXED 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct shared *rewrite(struct bytes bytes)
{
    struct arena arena;
    arena_init(&arena, REQUEST_ARENA_SIZE_MAX);
    struct request_frame frame;
    struct shared *written = NULL;
    if (request_frame_decode(&frame, bytes, &arena) == OK) {
        written = request_frame_encode(&frame);
    }
    assert(arena.used <= MEMORY_FIXED + bytes.size * MEMORY_PER_BYTE);
    arena_deinit(&arena);
    return written;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct shared *first = rewrite((struct bytes){data, size});
    if (first == NULL) {
        return 0;
    }
    struct shared *second = rewrite((struct bytes){first->data, first->size});
    assert(second != NULL);
    assert(first->size == second->size);
    assert(memcmp(first->data, second->data, first->size) == 0);
    shared_release(second);
    shared_release(first);
    return 0;
}
