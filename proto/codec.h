/* Kafka messages to C structs and back, all versions, driven by the descriptors of proto/schema.h.
 *
 * Runs on:  any thread; nothing here is shared or kept.
 * Structs:  struct kafka_<api>_request, struct kafka_<api>_response and kafka_<api>_request_schema, ..., all in the
 *           generated "proto/kafka_messages.h". A struct holds the fields of all versions; decoding gives fields that
 *           the version lacks their schema's default, encoding leaves them out silently.
 * Source:   Kafka protocol guide; KIP-482 (tagged fields), KIP-893 (nullable structs); proto/README.md has the
 *           rules. */
#pragma once

#include "base/arena.h"
#include "base/bytes.h"
#include "base/dynbuf.h"
#include "base/outbuf.h"
#include "proto/schema.h"

/* Reads one message of `version` into the struct that `schema` describes. Strings, bytes and records borrow from the
 * reader's memory (a slice's block is NULL), arrays and nullable structs lie in the arena: the message lives as long as
 * both. An empty string has data != NULL, a null one data == NULL.
 * The reader stands behind the message afterwards; what is left there is for the caller to judge (after a request's
 * body nothing may be left).
 * Safe against any input: no allocation is larger than the bytes that are left could fill, none leaves the arena.
 * Errors: ERR_SHORT, ERR_CORRUPT (null where there may be none, negative sizes, a tag twice or of the wrong size),
 * ERR_TOO_LARGE (the arena's limit), ERR_UNSUPPORTED (version out of the schema's range); they stick in the reader. On
 * failure the struct holds no sense. */
MUST_CHECK enum err codec_decode(const struct schema *schema, int16_t version, struct reader *reader,
                                 struct arena *arena, void *message);

/* Appends the message to `out`. Records are referenced when they have a block, all else is copied; the message may go
 * at once. A null where the version has none is written as empty. `version` must be in the schema's range.
 * Errors stick in out->err: ERR_TOO_LARGE, also for a string over 32,767 bytes in a version that cannot carry it. */
void codec_encode(const struct schema *schema, int16_t version, const void *message, struct outbuf *out);

/* The same, and tells of each error code in the message that is not 0 and that the version has, in their order. */
struct codec_errors {
    void (*seen)(struct codec_errors *errors, int16_t code);
};
void codec_encode_answer(const struct schema *schema, int16_t version, const void *message, struct outbuf *out,
                         struct codec_errors *errors);

/* Bytes that codec_encode() would append. */
size_t codec_size(const struct schema *schema, int16_t version, const void *message);

/* Sets every field to its schema's default: numbers as declared, strings "" or null, arrays empty or null. */
void codec_init_defaults(const struct schema *schema, void *message);

/* `count` > 0 structs in the arena, each with its defaults: the elements of an answer's array. NULL if over its
 * limit. */
void *codec_new(const struct schema *schema, size_t count, struct arena *arena);

/* Appends the message as text, one line: {name: value, ...}, only fields that the version has. Payload and opaque bytes
 * appear as their size. Errors: ERR_TOO_LARGE. */
MUST_CHECK enum err codec_print(const struct schema *schema, int16_t version, const void *message, struct dynbuf *text);
