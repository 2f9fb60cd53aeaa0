/* Happy path: a batch's records are read in place, or from one decompressed block; each record is framed by its own
 * length and must fill it exactly.
 * Failure: framing that does not add up is ERR_CORRUPT at the record where it shows; nothing is taken from a length
 * before it has been compared with the bytes that are there. */
#include "proto/records.h"

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "base/shared.h"
#include "proto/compress.h"
#include <string.h>

/* ---- Iterating ---- */

enum err record_iterator_init(struct record_iterator *iterator, const struct record_batch *batch, size_t size_max)
{
    *iterator = (struct record_iterator){.batch = batch};
    dynbuf_init(&iterator->plain, size_max);
    enum record_codec codec = (enum record_codec)(batch->attributes & BATCH_CODEC_MASK);
    if (codec == CODEC_NONE || batch->records.size == 0) {
        reader_init(&iterator->reader, batch->records);
        return OK;
    }
    enum err err = compress_unpack(codec, batch->records, &iterator->plain);
    reader_init(&iterator->reader, err == OK ? dynbuf_bytes(&iterator->plain) : BYTES_NONE);
    return err;
}

void record_iterator_rewind(struct record_iterator *iterator)
{
    enum record_codec codec = (enum record_codec)(iterator->batch->attributes & BATCH_CODEC_MASK);
    bool is_plain = codec == CODEC_NONE || iterator->batch->records.size == 0;
    reader_init(&iterator->reader, is_plain ? iterator->batch->records : dynbuf_bytes(&iterator->plain));
    iterator->next = 0;
}

/* Bytes behind a signed length, -1 meaning null. */
static struct bytes read_nullable(struct reader *reader, bool *is_null)
{
    int32_t size = read_varint(reader);
    *is_null = size == -1;
    if (size < -1) {
        reader_fail(reader, ERR_CORRUPT);
    }
    return size > 0 ? read_bytes(reader, (size_t)size) : BYTES_NONE;
}

enum err record_header_next(struct reader *reader, struct record_header *header)
{
    bool is_name_null = false;
    header->name = read_nullable(reader, &is_name_null);
    if (is_name_null) {
        reader_fail(reader, ERR_CORRUPT);
    }
    header->value = read_nullable(reader, &header->is_value_null);
    return reader->err == OK ? OK : ERR_CORRUPT;
}

static struct bytes read_headers(struct reader *reader, int32_t count)
{
    const uint8_t *start = reader->at;
    enum err err = OK;
    for (int32_t i = 0; i < count && err == OK; i++) {
        struct record_header header;
        err = record_header_next(reader, &header);
    }
    return reader->err == OK ? (struct bytes){start, (size_t)(reader->at - start)} : BYTES_NONE;
}

enum err record_iterator_next(struct record_iterator *iterator, struct record *record)
{
    struct reader *reader = &iterator->reader;
    const struct record_batch *batch = iterator->batch;
    if (iterator->next >= batch->count) {
        return reader->err == OK && reader->left == 0 ? ERR_NOT_FOUND : ERR_CORRUPT;
    }
    int32_t size = read_varint(reader);
    if (reader->err != OK || size < 0 || (size_t)size > reader->left) {
        reader_fail(reader, ERR_CORRUPT);
        return ERR_CORRUPT;
    }
    struct reader body;
    reader_init(&body, read_bytes(reader, (size_t)size));
    record->attributes = (uint8_t)read_i8(&body);
    int64_t timestamp_delta = read_varlong(&body);
    int32_t offset_delta = read_varint(&body);
    record->rest = (struct bytes){body.at, body.left};
    record->timestamp_delta = timestamp_delta;
    record->key = read_nullable(&body, &record->is_key_null);
    record->value = read_nullable(&body, &record->is_value_null);
    record->header_count = read_varint(&body);
    if (record->header_count < 0 || offset_delta < 0 || offset_delta > batch->last_offset_delta) {
        reader_fail(&body, ERR_CORRUPT);
    }
    record->headers = read_headers(&body, record->header_count);
    if (body.err != OK || body.left != 0) {
        reader_fail(reader, ERR_CORRUPT);
        return ERR_CORRUPT;
    }
    record->offset = (int64_t)((uint64_t)batch->base_offset + (uint64_t)offset_delta);
    record->timestamp = batch->attributes & BATCH_LOG_APPEND_TIME
                            ? batch->max_timestamp
                            : (int64_t)((uint64_t)batch->base_timestamp + (uint64_t)timestamp_delta);
    iterator->next++;
    return OK;
}

void record_iterator_deinit(struct record_iterator *iterator)
{
    dynbuf_deinit(&iterator->plain);
}

/* ---- Building ---- */

struct record_builder {
    enum record_codec codec;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t count;
    struct dynbuf records;
    struct dynbuf record; /* the one being added, its length is not known before */
};

struct record_builder *record_builder_open(enum record_codec codec, int64_t base_timestamp)
{
    assert(codec < CODEC_COUNT);
    struct record_builder *builder = mem_alloc(sizeof(*builder));
    builder->codec = codec;
    builder->base_timestamp = base_timestamp;
    builder->max_timestamp = base_timestamp;
    record_builder_producer(builder, -1, -1, -1);
    dynbuf_init(&builder->records, RECORDS_PLAIN_SIZE_MAX);
    dynbuf_init(&builder->record, RECORDS_PLAIN_SIZE_MAX);
    return builder;
}

void record_builder_producer(struct record_builder *builder, int64_t id, int16_t epoch, int32_t base_sequence)
{
    builder->producer_id = id;
    builder->producer_epoch = epoch;
    builder->base_sequence = base_sequence;
}

static void builder_put(struct dynbuf *buf, struct bytes bytes)
{
    enum err err = dynbuf_put(buf, bytes);
    assert(err == OK); /* the caller builds batches, not archives */
}

static void builder_varlong(struct dynbuf *buf, int64_t value)
{
    uint8_t memory[10];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    write_varlong(&writer, value);
    assert(writer.err == OK);
    builder_put(buf, (struct bytes){memory, writer_size(&writer)});
}

static void builder_nullable(struct dynbuf *buf, const struct bytes *bytes)
{
    assert(bytes == NULL || bytes->size <= RECORDS_PLAIN_SIZE_MAX);
    builder_varlong(buf, bytes == NULL ? -1 : (int64_t)bytes->size);
    if (bytes != NULL && bytes->size > 0) {
        builder_put(buf, *bytes);
    }
}

void record_builder_add(struct record_builder *builder, int64_t timestamp, const struct bytes *key,
                        const struct bytes *value, const struct bytes *header_pairs, size_t header_count)
{
    static const uint8_t attributes[1] = {0};
    struct dynbuf *record = &builder->record;
    dynbuf_reset(record);
    builder_put(record, (struct bytes){attributes, sizeof(attributes)});
    builder_varlong(record, timestamp - builder->base_timestamp);
    builder_varlong(record, builder->count);
    builder_nullable(record, key);
    builder_nullable(record, value);
    builder_varlong(record, (int64_t)header_count);
    for (size_t i = 0; i < header_count; i++) {
        builder_nullable(record, &header_pairs[2 * i]);
        builder_nullable(record, header_pairs[2 * i + 1].data == NULL ? NULL : &header_pairs[2 * i + 1]);
    }
    builder_varlong(&builder->records, (int64_t)record->size);
    builder_put(&builder->records, dynbuf_bytes(record));
    builder->count++;
    if (timestamp > builder->max_timestamp) {
        builder->max_timestamp = timestamp;
    }
}

struct shared *record_builder_finish(struct record_builder *builder)
{
    struct dynbuf packed;
    dynbuf_init(&packed, 2 * RECORDS_PLAIN_SIZE_MAX);
    if (builder->count > 0) {
        enum err err = compress_pack(builder->codec, dynbuf_bytes(&builder->records), &packed);
        assert(err == OK);
    }
    size_t size = RECORD_BATCH_HEADER_SIZE + packed.size;
    struct shared *block = shared_new(size);
    struct writer writer;
    writer_init(&writer, block->data, size);
    write_i64(&writer, 0);
    write_i32(&writer, (int32_t)(size - RECORD_BATCH_OVERHEAD));
    write_i32(&writer, -1);
    write_i8(&writer, 2);
    write_u32(&writer, 0);
    write_i16(&writer, (int16_t)builder->codec);
    write_i32(&writer, builder->count - 1);
    write_i64(&writer, builder->base_timestamp);
    write_i64(&writer, builder->max_timestamp);
    write_i64(&writer, builder->producer_id);
    write_i16(&writer, builder->producer_epoch);
    write_i32(&writer, builder->base_sequence);
    write_i32(&writer, builder->count);
    assert(writer.err == OK && writer_size(&writer) == RECORD_BATCH_HEADER_SIZE);
    if (packed.size > 0) {
        memcpy(block->data + RECORD_BATCH_HEADER_SIZE, packed.data, packed.size);
    }
    record_batch_set_max_timestamp(block->data, size, builder->max_timestamp, false);
    dynbuf_deinit(&packed);
    dynbuf_deinit(&builder->record);
    dynbuf_deinit(&builder->records);
    mem_free(builder);
    return block;
}
