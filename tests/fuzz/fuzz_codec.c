/* Goal: no bytes can hurt the codec, and what it accepts means the same after being written and read once more.
 * Input: message (1 byte, modulo their number), version (1 byte, modulo the schema's range), the message's bytes.
 * Method: decode; print; encode; decode that; encode again: both encodings must be the same bytes. */
#include <stdint.h>
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/codec.h"
#include "proto/kafka_messages.h"

#define MESSAGE_COUNT (2 * (size_t)KAFKA_MESSAGE_PAIR_COUNT + 2)

enum {
    ARENA_SIZE_MAX = 16 * 1024 * 1024,
    FRAME_SIZE_MAX = 16 * 1024 * 1024,
    TEXT_SIZE_MAX = 64 * 1024,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct schema *message_schema(size_t index)
{
    if (index == MESSAGE_COUNT - 1) {
        return &kafka_response_header_schema;
    }
    if (index == MESSAGE_COUNT - 2) {
        return &kafka_request_header_schema;
    }
    const struct kafka_message_pair *pair = &kafka_message_pairs[index / 2];
    return index % 2 == 0 ? pair->request : pair->response;
}

/* Decodes `bytes`, and if they are a message gives back what is written for it; NULL if they are none. */
static struct shared *rewrite(const struct schema *schema, int16_t version, struct bytes bytes)
{
    struct arena arena;
    arena_init(&arena, ARENA_SIZE_MAX);
    struct reader reader;
    reader_init(&reader, bytes);
    void *message = mem_alloc(schema->size);
    struct shared *written = NULL;
    if (codec_decode(schema, version, &reader, &arena, message) == OK) {
        struct dynbuf text;
        dynbuf_init(&text, TEXT_SIZE_MAX);
        enum err err = codec_print(schema, version, message, &text);
        assert(err == OK || err == ERR_TOO_LARGE);
        dynbuf_deinit(&text);
        struct outbuf out;
        outbuf_init(&out, FRAME_SIZE_MAX);
        codec_encode(schema, version, message, &out);
        assert(out.err == OK);
        written = outbuf_flatten(&out);
        assert(written->size == codec_size(schema, version, message));
        outbuf_deinit(&out);
    }
    mem_free(message);
    arena_deinit(&arena);
    return written;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    const struct schema *schema = message_schema(data[0] % MESSAGE_COUNT);
    int versions = schema->version_max - schema->version_min + 1;
    int16_t version = (int16_t)(schema->version_min + data[1] % versions);
    struct shared *first = rewrite(schema, version, (struct bytes){data + 2, size - 2});
    if (first == NULL) {
        return 0;
    }
    struct shared *second = rewrite(schema, version, (struct bytes){first->data, first->size});
    assert(second != NULL);
    assert(first->size == second->size);
    assert(memcmp(first->data, second->data, first->size) == 0);
    shared_release(second);
    shared_release(first);
    return 0;
}
