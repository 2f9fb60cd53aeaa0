/* Happy path of record_batch_check(): one batch of magic 2, small enough, CRC right, header consistent; uncompressed
 * records are walked one by one, compressed ones are believed by their header unless the topic is compacted and keys
 * matter, or the header does not tell the highest timestamp.
 * Failure: the first fault in Kafka's own order of checks is the answer: clients act on the code. */
#include "proto/record_batch.h"

#include "base/assert.h"
#include "base/crc32c.h"
#include "base/limits.h"
#include "proto/records.h"

enum {
    AT_BASE_OFFSET = 0,
    AT_LENGTH = 8,
    AT_LEADER_EPOCH = 12,
    AT_MAGIC = 16,
    AT_CRC = 17,
    AT_ATTRIBUTES = 21,
    AT_MAX_TIMESTAMP = 35,
    MAGIC = 2,
    TIMESTAMP_NONE = -1, /* a client without timestamps: exempt from the window, as in Kafka */
};

enum err record_batch_size(struct bytes bytes, size_t *size)
{
    *size = RECORD_BATCH_HEADER_SIZE;
    if (bytes.size < RECORD_BATCH_OVERHEAD) {
        return ERR_SHORT;
    }
    uint32_t length = be32_get(bytes.data + AT_LENGTH);
    if (length < RECORD_BATCH_HEADER_SIZE - RECORD_BATCH_OVERHEAD || length > INT32_MAX) {
        return ERR_CORRUPT;
    }
    *size = (size_t)length + RECORD_BATCH_OVERHEAD;
    return OK;
}

/* The fields of a batch that is whole. */
static void batch_decode(struct bytes bytes, struct record_batch *batch)
{
    assert(bytes.size >= RECORD_BATCH_HEADER_SIZE);
    struct reader reader;
    reader_init(&reader, bytes);
    batch->bytes = bytes;
    batch->base_offset = read_i64(&reader);
    read_skip(&reader, 4);
    batch->leader_epoch = read_i32(&reader);
    read_skip(&reader, 1);
    batch->crc = read_u32(&reader);
    batch->attributes = read_i16(&reader);
    batch->last_offset_delta = read_i32(&reader);
    batch->base_timestamp = read_i64(&reader);
    batch->max_timestamp = read_i64(&reader);
    batch->producer_id = read_i64(&reader);
    batch->producer_epoch = read_i16(&reader);
    batch->base_sequence = read_i32(&reader);
    batch->count = read_i32(&reader);
    batch->records = (struct bytes){reader.at, reader.left};
    assert(reader.err == OK);
}

enum err record_batch_view(struct bytes bytes, struct record_batch *batch)
{
    size_t size = 0;
    enum err err = record_batch_size(bytes, &size);
    if (err != OK) {
        return err;
    }
    if (size > bytes.size) {
        return ERR_SHORT;
    }
    if (bytes.data[AT_MAGIC] != MAGIC) {
        return ERR_CORRUPT;
    }
    batch_decode((struct bytes){bytes.data, size}, batch);
    return batch->count < 0 || batch->last_offset_delta < 0 ? ERR_CORRUPT : OK;
}

static uint32_t batch_crc(const uint8_t *batch, size_t size)
{
    return crc32c(0, (struct bytes){batch + AT_ATTRIBUTES, size - AT_ATTRIBUTES});
}

bool record_batch_crc_ok(const struct record_batch *batch)
{
    return batch_crc(batch->bytes.data, batch->bytes.size) == batch->crc;
}

/* ---- Checking what a client sent ---- */

static enum kafka_error fault_set(struct record_batch_fault *fault, enum kafka_error error, int32_t record_index,
                                  const char *text)
{
    *fault = (struct record_batch_fault){error, record_index, text};
    return error;
}

/* Framing: one batch, magic 2, size limit, length field, CRC. Decodes the header. */
static enum kafka_error check_frame(struct bytes bytes, const struct record_batch_rules *rules,
                                    struct record_batch *batch, struct record_batch_fault *fault)
{
    size_t size = 0;
    enum err err = record_batch_size(bytes, &size);
    if (bytes.size == 0) {
        return fault_set(fault, KAFKA_INVALID_RECORD, -1, "no record batch");
    }
    if (bytes.size > AT_MAGIC && bytes.data[AT_MAGIC] != MAGIC) {
        return fault_set(fault, KAFKA_INVALID_RECORD, -1, "only record batches of magic 2 are accepted");
    }
    if (err == OK && size < bytes.size) {
        return fault_set(fault, KAFKA_INVALID_RECORD, -1, "more than one record batch");
    }
    if (bytes.size > rules->size_max) {
        return fault_set(fault, KAFKA_MESSAGE_TOO_LARGE, -1, "the record batch is larger than max.message.bytes");
    }
    if (err != OK || size != bytes.size) {
        return fault_set(fault, KAFKA_CORRUPT_MESSAGE, -1, "the length field of the record batch is wrong");
    }
    batch_decode(bytes, batch);
    if (!record_batch_crc_ok(batch)) {
        return fault_set(fault, KAFKA_CORRUPT_MESSAGE, -1, "the record batch failed its CRC");
    }
    return KAFKA_NONE;
}

static enum kafka_error check_header(const struct record_batch_rules *rules, const struct record_batch *batch,
                                     struct record_batch_fault *fault)
{
    unsigned codec = (unsigned)batch->attributes & BATCH_CODEC_MASK;
    if (codec >= CODEC_COUNT) {
        return fault_set(fault, KAFKA_UNSUPPORTED_COMPRESSION_TYPE, -1, "unknown compression type");
    }
    if (codec == CODEC_ZSTD && !rules->is_zstd_allowed) {
        return fault_set(fault, KAFKA_UNSUPPORTED_COMPRESSION_TYPE, -1, "zstd needs Produce version 7 or later");
    }
    if (batch->base_offset != 0) {
        return fault_set(fault, KAFKA_INVALID_RECORD, -1, "the base offset must be 0");
    }
    if (batch->count <= 0 || batch->last_offset_delta != batch->count - 1) {
        return fault_set(fault, KAFKA_INVALID_RECORD, -1, "the last offset delta does not fit the number of records");
    }
    if (batch->attributes & BATCH_CONTROL) {
        return fault_set(fault, KAFKA_INVALID_RECORD, -1, "clients must not write control batches");
    }
    if (batch->attributes & BATCH_DELETE_HORIZON) {
        return fault_set(fault, KAFKA_INVALID_RECORD, -1, "clients must not write a delete horizon");
    }
    if (batch->producer_id >= 0 && (batch->base_sequence < 0 || batch->producer_epoch < 0)) {
        return fault_set(fault, KAFKA_INVALID_RECORD, -1, "a producer id needs an epoch and a sequence number");
    }
    if ((batch->attributes & BATCH_LOG_APPEND_TIME) && !rules->is_log_append_time) {
        return fault_set(fault, KAFKA_INVALID_TIMESTAMP, -1,
                         "the topic keeps the client's timestamps, the batch claims log append time");
    }
    return KAFKA_NONE;
}

static bool is_timestamp_allowed(const struct record_batch_rules *rules, int64_t timestamp)
{
    if (timestamp == TIMESTAMP_NONE) {
        return true;
    }
    int64_t distance = 0;
    if (timestamp <= rules->now_ms) {
        return !__builtin_sub_overflow(rules->now_ms, timestamp, &distance)
                   ? distance <= rules->timestamp_before_max_ms
                   : rules->timestamp_before_max_ms == INT64_MAX;
    }
    return !__builtin_sub_overflow(timestamp, rules->now_ms, &distance) ? distance <= rules->timestamp_after_max_ms
                                                                        : rules->timestamp_after_max_ms == INT64_MAX;
}

static const char timestamp_text[] = "a timestamp is out of the range that the topic allows";

/* Walks the records and finds the greatest timestamp. Timestamp faults come last: all records must be well-formed
 * first. */
static enum kafka_error check_each(const struct record_batch_rules *rules, struct record_iterator *iterator,
                                   struct record_batch *batch, struct record_batch_fault *fault)
{
    struct record record;
    int64_t max_timestamp = TIMESTAMP_NONE;
    int32_t null_key = -1;
    int32_t bad_timestamp = -1;
    for (int32_t i = 0; i < batch->count; i++) {
        if (record_iterator_next(iterator, &record) != OK) {
            return fault_set(fault, KAFKA_INVALID_RECORD, i, "a record is malformed");
        }
        if (record.offset - batch->base_offset != i) {
            return fault_set(fault, KAFKA_INVALID_RECORD, i, "the offset delta of a record is not its position");
        }
        if (rules->is_compacted && record.is_key_null && null_key < 0) {
            null_key = i;
        }
        if (!rules->is_log_append_time && bad_timestamp < 0 && !is_timestamp_allowed(rules, record.timestamp)) {
            bad_timestamp = i;
        }
        max_timestamp = i == 0 || record.timestamp > max_timestamp ? record.timestamp : max_timestamp;
    }
    if (record_iterator_next(iterator, &record) != ERR_NOT_FOUND) {
        return fault_set(fault, KAFKA_INVALID_RECORD, -1, "bytes are left behind the last record");
    }
    if (null_key >= 0) {
        return fault_set(fault, KAFKA_INVALID_RECORD, null_key, "a compacted topic needs a key in each record");
    }
    if (bad_timestamp >= 0) {
        return fault_set(fault, KAFKA_INVALID_TIMESTAMP, bad_timestamp, timestamp_text);
    }
    batch->max_timestamp = max_timestamp;
    return KAFKA_NONE;
}

/* Compressed records that nobody needs to look at: what the header says about them. */
static enum kafka_error check_packed(const struct record_batch_rules *rules, struct record_batch *batch,
                                     struct record_batch_fault *fault)
{
    if (batch->records.size == 0) {
        return fault_set(fault, KAFKA_INVALID_RECORD, -1, "a batch of records holds no bytes");
    }
    if (!rules->is_log_append_time &&
        (!is_timestamp_allowed(rules, batch->base_timestamp) || !is_timestamp_allowed(rules, batch->max_timestamp))) {
        return fault_set(fault, KAFKA_INVALID_TIMESTAMP, -1, timestamp_text);
    }
    return KAFKA_NONE;
}

static enum kafka_error check_records(const struct record_batch_rules *rules, struct record_batch *batch,
                                      struct record_batch_fault *fault)
{
    /* Some clients leave the highest timestamp out; lookups by time go by it, so then the records have to tell. */
    bool is_told = rules->is_log_append_time || batch->max_timestamp >= batch->base_timestamp;
    if ((batch->attributes & BATCH_CODEC_MASK) != CODEC_NONE && !rules->is_compacted && is_told) {
        return check_packed(rules, batch, fault);
    }
    struct record_iterator iterator;
    enum kafka_error error = KAFKA_NONE;
    enum err err = record_iterator_init(&iterator, batch, RECORDS_PLAIN_SIZE_MAX);
    if (err == ERR_TOO_LARGE) {
        error = fault_set(fault, KAFKA_MESSAGE_TOO_LARGE, -1, "the records are too large when decompressed");
    } else if (err != OK) {
        error = fault_set(fault, KAFKA_INVALID_RECORD, -1, "the records cannot be decompressed");
    } else {
        error = check_each(rules, &iterator, batch, fault);
    }
    record_iterator_deinit(&iterator);
    return error;
}

enum kafka_error record_batch_check(struct bytes bytes, const struct record_batch_rules *rules,
                                    struct record_batch *batch, struct record_batch_fault *fault)
{
    *fault = (struct record_batch_fault){KAFKA_NONE, -1, NULL};
    enum kafka_error error = check_frame(bytes, rules, batch, fault);
    if (error == KAFKA_NONE) {
        error = check_header(rules, batch, fault);
    }
    if (error == KAFKA_NONE) {
        error = check_records(rules, batch, fault);
    }
    return error;
}

/* ---- Patching ---- */

void record_batch_set_offset(uint8_t *batch, int64_t base_offset, int32_t leader_epoch)
{
    be64_put(batch + AT_BASE_OFFSET, (uint64_t)base_offset);
    be32_put(batch + AT_LEADER_EPOCH, (uint32_t)leader_epoch);
}

void record_batch_set_max_timestamp(uint8_t *batch, size_t size, int64_t max_timestamp, bool is_log_append_time)
{
    assert(size >= RECORD_BATCH_HEADER_SIZE);
    unsigned attributes = be16_get(batch + AT_ATTRIBUTES) & ~(unsigned)BATCH_LOG_APPEND_TIME;
    be16_put(batch + AT_ATTRIBUTES, (uint16_t)(attributes | (is_log_append_time ? BATCH_LOG_APPEND_TIME : 0u)));
    be64_put(batch + AT_MAX_TIMESTAMP, (uint64_t)max_timestamp);
    be32_put(batch + AT_CRC, batch_crc(batch, size));
}

int32_t sequence_add(int32_t sequence, int32_t delta)
{
    assert(sequence >= 0 && delta >= 0);
    return (int32_t)(((uint32_t)sequence + (uint32_t)delta) & INT32_MAX);
}
