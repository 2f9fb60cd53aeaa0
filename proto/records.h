/* Records inside a batch: decompression by the five codecs, iteration, building.
 * The only user of the compression libraries. Input is hostile: sizes are bounded before memory is taken. */
#pragma once

#include "base/arena.h"
#include "base/dynbuf.h"
#include "proto/record_batch.h"

struct record {
    int64_t offset;                        /* base_offset + delta */
    int64_t timestamp;                     /* of the record, or the batch's with LogAppendTime */
    bool is_key_null;
    bool is_value_null;
    struct bytes key;
    struct bytes value;
    uint8_t attributes;                    /* none are defined */
    int64_t timestamp_delta;               /* as stored */
    struct bytes rest;                     /* encoded: from the key's length to the end */
    int32_t header_count;
    struct bytes headers;                  /* encoded */
};

struct record_iterator {
    struct reader reader;
    const struct record_batch *batch;
    struct dynbuf plain;                   /* decompressed bytes, when the batch is compressed */
    int32_t next;                          /* number of the next record */
};

/* Decompresses if needed (at most `size_max` bytes: ERR_TOO_LARGE). deinit in any case. */
MUST_CHECK enum err record_iterator_init(struct record_iterator *iterator, const struct record_batch *batch,
                                         size_t size_max);
/* Starts again with the first record; after an init that was OK. */
void record_iterator_rewind(struct record_iterator *iterator);
/* ERR_NOT_FOUND at the end, ERR_CORRUPT on bad framing. Bytes are valid until deinit. */
MUST_CHECK enum err record_iterator_next(struct record_iterator *iterator, struct record *record);
/* The next of a record's headers, which begin at its `headers`. ERR_CORRUPT: it is none. */
struct record_header {
    struct bytes name;
    struct bytes value;
    bool is_value_null;
};
MUST_CHECK enum err record_header_next(struct reader *reader, struct record_header *header);
void record_iterator_deinit(struct record_iterator *iterator);

/* Builds one batch; for tests and tools. */
struct record_builder;
struct record_builder *record_builder_open(enum record_codec codec, int64_t base_timestamp);
void record_builder_producer(struct record_builder *builder, int64_t id, int16_t epoch, int32_t base_sequence);
/* NULL key or value: null. `header_pairs`: key, value, key, value, ...; a value without data is null. */
void record_builder_add(struct record_builder *builder, int64_t timestamp, const struct bytes *key,
                        const struct bytes *value, const struct bytes *header_pairs, size_t header_count);
/* The whole batch with offset 0, epoch -1 and CRC; one reference to the caller. The builder is closed. */
struct shared *record_builder_finish(struct record_builder *builder);
