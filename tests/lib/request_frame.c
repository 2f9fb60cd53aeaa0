#include "tests/lib/request_frame.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/outbuf.h"
#include "proto/codec.h"

static const struct schema *find_request(int16_t key)
{
    for (size_t i = 0; i < KAFKA_MESSAGE_PAIR_COUNT; i++) {
        if (kafka_message_pairs[i].key == key) {
            return kafka_message_pairs[i].request;
        }
    }
    return NULL;
}

enum err request_frame_decode(struct request_frame *frame, struct bytes bytes, struct arena *arena)
{
    struct reader peek;
    reader_init(&peek, bytes);
    int16_t key = read_i16(&peek);
    int16_t version = read_i16(&peek);
    if (peek.err != OK) {
        return peek.err;
    }
    frame->schema = find_request(key);
    if (frame->schema == NULL) {
        return ERR_UNSUPPORTED;
    }
    frame->header_version = version >= frame->schema->flexible_min ? 2 : 1;
    struct reader reader;
    reader_init(&reader, bytes);
    enum err err = codec_decode(&kafka_request_header_schema, frame->header_version, &reader, arena, &frame->header);
    if (err != OK) {
        return err;
    }
    frame->message = arena_alloc(arena, frame->schema->size);
    if (frame->message == NULL) {
        return ERR_TOO_LARGE;
    }
    err = codec_decode(frame->schema, version, &reader, arena, frame->message);
    return err == OK && reader.left > 0 ? ERR_CORRUPT : err;
}

struct shared *request_frame_encode(const struct request_frame *frame)
{
    struct outbuf out;
    outbuf_init(&out, REQUEST_SIZE_MAX);
    codec_encode(&kafka_request_header_schema, frame->header_version, &frame->header, &out);
    codec_encode(frame->schema, frame->header.request_api_version, frame->message, &out);
    assert(out.err == OK);
    struct shared *flat = outbuf_flatten(&out);
    outbuf_deinit(&out);
    return flat;
}
