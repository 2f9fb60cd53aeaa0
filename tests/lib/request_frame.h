/* A whole request as it stands in a Kafka frame behind the size: header and body, any API that has schemas. */
#ifndef TESTS_LIB_REQUEST_FRAME_H
#define TESTS_LIB_REQUEST_FRAME_H

#include "base/arena.h"
#include "base/shared.h"
#include "proto/kafka_messages.h"

struct request_frame {
    struct kafka_request_header header;
    int16_t header_version;
    const struct schema *schema;
    void *message; /* in the arena */
};

/* Decodes; strings and records borrow from `bytes`. ERR_UNSUPPORTED for an unknown API or version, ERR_CORRUPT if
 * bytes are left behind the body, else the errors of codec_decode(). */
MUST_CHECK enum err request_frame_decode(struct request_frame *frame, struct bytes bytes, struct arena *arena);

/* The frame's bytes again; the caller releases them. */
struct shared *request_frame_encode(const struct request_frame *frame);

#endif
