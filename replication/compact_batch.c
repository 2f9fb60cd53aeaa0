/* Happy path: one pass over the records says what stays; if that is neither all nor nothing, a second one writes it.
 * Failure:    a batch that cannot be decompressed or walked over stays as it is: it is older than the topic's being
 *             compacted, and not ours to throw away. */
#include "replication/compact_batch.h"

#include "base/assert.h"
#include "base/limits.h"
#include "proto/compress.h"
#include "proto/records.h"
#include <string.h>

enum {
    AT_LENGTH = 8,
    AT_ATTRIBUTES = 21,
    AT_BASE_TIMESTAMP = 27,
    AT_COUNT = 57,
    MAGIC = 2,
};

struct survey { /* What a pass has found. */
    int32_t kept;
    bool has_tombstone; /* among what stays */
    int64_t max_timestamp;
};

static bool is_kept(const struct record_batch *batch, const struct compact_rules *rules, const struct record *record)
{
    if (record->is_key_null || record->offset < rules->start_offset) {
        return false;
    }
    bool is_over = (batch->attributes & BATCH_DELETE_HORIZON) != 0 && rules->now_ms >= batch->base_timestamp;
    if (record->is_value_null && is_over) {
        return false;
    }
    return key_map_find(rules->map, record->key) <= record->offset;
}

static enum err survey_records(struct record_iterator *iterator, const struct compact_rules *rules,
                               struct survey *survey)
{
    struct record record;
    enum err err;
    *survey = (struct survey){.max_timestamp = -1};
    while ((err = record_iterator_next(iterator, &record)) == OK) {
        if (is_kept(iterator->batch, rules, &record)) {
            survey->kept++;
            survey->has_tombstone |= record.is_value_null;
            survey->max_timestamp = record.timestamp > survey->max_timestamp ? record.timestamp : survey->max_timestamp;
        }
    }
    return err == ERR_NOT_FOUND ? OK : err;
}

static enum err put_record(const struct record_batch *batch, const struct record *record, int64_t moved,
                           struct dynbuf *plain)
{
    uint8_t memory[10 + 1 + 10 + 10];
    struct writer writer;
    int64_t offset_delta = record->offset - batch->base_offset;
    int64_t timestamp_delta = (int64_t)((uint64_t)record->timestamp_delta - (uint64_t)moved);
    size_t size = 1 + varlong_size(timestamp_delta) + varlong_size(offset_delta) + record->rest.size;
    writer_init(&writer, memory, sizeof(memory));
    write_varlong(&writer, (int64_t)size);
    write_u8(&writer, record->attributes);
    write_varlong(&writer, timestamp_delta);
    write_varlong(&writer, offset_delta);
    assert(writer.err == OK);
    enum err err = dynbuf_put(plain, (struct bytes){memory, writer_size(&writer)});
    return err == OK ? dynbuf_put(plain, record->rest) : err;
}

/* Deltas of timestamps are relative to the base timestamp, which moves by `moved`. */
static enum err put_records(struct record_iterator *iterator, const struct compact_rules *rules, int64_t moved,
                            struct dynbuf *plain)
{
    struct record record;
    enum err err;
    record_iterator_rewind(iterator);
    while ((err = record_iterator_next(iterator, &record)) == OK) {
        if (is_kept(iterator->batch, rules, &record)) {
            err = put_record(iterator->batch, &record, moved, plain);
        }
        if (err != OK) {
            return err;
        }
    }
    return err == ERR_NOT_FOUND ? OK : err;
}

static int64_t delete_horizon(const struct compact_rules *rules)
{
    return rules->delete_retention_ms > INT64_MAX - rules->now_ms ? INT64_MAX
                                                                  : rules->now_ms + rules->delete_retention_ms;
}

static enum err write_batch(struct record_iterator *iterator, const struct compact_rules *rules,
                            const struct survey *survey, bool is_horizon_set, struct dynbuf *out,
                            struct dynbuf *scratch)
{
    const struct record_batch *batch = iterator->batch;
    int64_t base_timestamp = is_horizon_set ? delete_horizon(rules) : batch->base_timestamp;
    int64_t moved = (int64_t)((uint64_t)base_timestamp - (uint64_t)batch->base_timestamp);
    bool is_log_append_time = (batch->attributes & BATCH_LOG_APPEND_TIME) != 0;
    enum err err = put_records(iterator, rules, moved, scratch);
    err = err == OK ? dynbuf_put(out, (struct bytes){batch->bytes.data, RECORD_BATCH_HEADER_SIZE}) : err;
    enum record_codec codec = (enum record_codec)(batch->attributes & BATCH_CODEC_MASK);
    err = err == OK ? compress_pack(codec, dynbuf_bytes(scratch), out) : err;
    if (err != OK || out->size > MESSAGE_MAX_BYTES_LIMIT) {
        return err == OK ? ERR_TOO_LARGE : err;
    }
    uint8_t *data = out->data;
    int16_t attributes = (int16_t)(batch->attributes | (is_horizon_set ? BATCH_DELETE_HORIZON : 0));
    be32_put(data + AT_LENGTH, (uint32_t)(out->size - RECORD_BATCH_OVERHEAD));
    be16_put(data + AT_ATTRIBUTES, (uint16_t)attributes);
    be64_put(data + AT_BASE_TIMESTAMP, (uint64_t)base_timestamp);
    be32_put(data + AT_COUNT, (uint32_t)survey->kept);
    record_batch_set_max_timestamp(data, out->size, is_log_append_time ? batch->max_timestamp : survey->max_timestamp,
                                   is_log_append_time);
    return OK;
}

enum compact_outcome compact_batch(const struct record_batch *batch, const struct compact_rules *rules,
                                   struct dynbuf *out, struct dynbuf *scratch, struct compact_counts *counts)
{
    dynbuf_reset(out);
    dynbuf_reset(scratch);
    if ((batch->attributes & BATCH_CONTROL) != 0) {
        counts->kept += batch->count;
        return COMPACT_SAME;
    }
    struct survey survey = {0};
    struct record_iterator iterator;
    enum compact_outcome outcome = COMPACT_SAME;
    enum err err = record_iterator_init(&iterator, batch, RECORDS_PLAIN_SIZE_MAX);
    err = err == OK ? survey_records(&iterator, rules, &survey) : err;
    if (err == OK && survey.kept == 0) {
        outcome = COMPACT_NOTHING;
    } else if (err == OK) {
        bool is_horizon_set = survey.has_tombstone && (batch->attributes & BATCH_DELETE_HORIZON) == 0;
        bool is_same = survey.kept == batch->count && !is_horizon_set;
        if (!is_same && write_batch(&iterator, rules, &survey, is_horizon_set, out, scratch) == OK) {
            outcome = COMPACT_WRITTEN;
        }
    }
    record_iterator_deinit(&iterator);
    int32_t kept = outcome == COMPACT_SAME ? batch->count : survey.kept;
    counts->kept += kept;
    counts->removed += batch->count - kept;
    return outcome;
}

void compact_note_keys(const struct record_batch *batch, struct key_map *map)
{
    struct record_iterator iterator;
    struct record record;
    if ((batch->attributes & BATCH_CONTROL) != 0) {
        return;
    }
    /* Twice: of a batch that cannot be read to its end nothing is noted, as all of it stays. */
    enum err err = record_iterator_init(&iterator, batch, RECORDS_PLAIN_SIZE_MAX);
    while (err == OK) {
        err = record_iterator_next(&iterator, &record);
    }
    if (err == ERR_NOT_FOUND) {
        record_iterator_rewind(&iterator);
        while (record_iterator_next(&iterator, &record) == OK) {
            if (!record.is_key_null) {
                key_map_put(map, record.key, record.offset);
            }
        }
    }
    record_iterator_deinit(&iterator);
}

void compact_gap(uint8_t data[RECORD_BATCH_HEADER_SIZE], int64_t base_offset, int64_t end_offset, int32_t leader_epoch)
{
    assert(end_offset > base_offset && end_offset - base_offset - 1 <= INT32_MAX);
    struct writer writer;
    writer_init(&writer, data, RECORD_BATCH_HEADER_SIZE);
    write_i64(&writer, base_offset);
    write_i32(&writer, RECORD_BATCH_HEADER_SIZE - RECORD_BATCH_OVERHEAD);
    write_i32(&writer, leader_epoch);
    write_i8(&writer, MAGIC);
    write_u32(&writer, 0);
    write_i16(&writer, 0);
    write_i32(&writer, (int32_t)(end_offset - base_offset - 1));
    write_i64(&writer, -1); /* timestamps: none */
    write_i64(&writer, -1);
    write_i64(&writer, -1); /* producer: none */
    write_i16(&writer, -1);
    write_i32(&writer, -1);
    write_i32(&writer, 0);
    assert(writer.err == OK && writer.left == 0);
    record_batch_set_max_timestamp(data, RECORD_BATCH_HEADER_SIZE, -1, false);
}
