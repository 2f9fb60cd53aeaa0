/* Record batch v2 (KIP-98): view, check, patch, build. Pure; big-endian; bytes are borrowed.
 *
 *   0 baseOffset i64 | 8 batchLength i32 (from 12) | 12 partitionLeaderEpoch i32 | 16 magic i8 = 2 | 17 crc u32 |
 *  21 attributes i16 | 23 lastOffsetDelta i32 | 27 baseTimestamp i64 | 35 maxTimestamp i64 | 43 producerId i64 |
 *  51 producerEpoch i16 | 53 baseSequence i32 | 57 count i32 | 61 records
 * The CRC-32C covers 21..end. Attributes: 0-2 codec, 3 LogAppendTime, 4 transactional, 5 control, 6 delete horizon. */
#pragma once

#include "base/bytes.h"
#include "proto/errors.h"

#define RECORD_BATCH_HEADER_SIZE 61
#define RECORD_BATCH_OVERHEAD 12           /* baseOffset and batchLength */

enum record_codec { CODEC_NONE, CODEC_GZIP, CODEC_SNAPPY, CODEC_LZ4, CODEC_ZSTD, CODEC_COUNT };
enum {
    BATCH_CODEC_MASK = 7,
    BATCH_LOG_APPEND_TIME = 8,
    BATCH_TRANSACTIONAL = 16,
    BATCH_CONTROL = 32,
    BATCH_DELETE_HORIZON = 64,
};

struct record_batch {                      /* Decoded header; `bytes` is the whole batch. */
    struct bytes bytes;
    int64_t base_offset;
    int32_t leader_epoch;
    uint32_t crc;
    int16_t attributes;
    int32_t last_offset_delta;
    int64_t base_timestamp;
    int64_t max_timestamp;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
    int32_t count;
    struct bytes records;                  /* as stored, maybe compressed */
};

/* Size of the batch that starts at `bytes`, from its length field. ERR_SHORT: fewer than 12 bytes there (size = 61
 * wanted); ERR_CORRUPT: a length no batch can have. The batch itself may be longer than `bytes`. */
MUST_CHECK enum err record_batch_size(struct bytes bytes, size_t *size);
/* Decodes the header of the batch at the start of `bytes` (which may hold more behind it): length, magic 2, no CRC. */
MUST_CHECK enum err record_batch_view(struct bytes bytes, struct record_batch *batch);
bool record_batch_crc_ok(const struct record_batch *batch);

struct record_batch_rules {                /* What a producer's batch must satisfy (kafka-protocol: Produce). */
    size_t size_max;                       /* max.message.bytes */
    int64_t now_ms;
    int64_t timestamp_before_max_ms;       /* message.timestamp.before.max.ms */
    int64_t timestamp_after_max_ms;
    bool is_log_append_time;
    bool is_compacted;                     /* null keys are refused, with the index of the record */
    bool is_zstd_allowed;                  /* Produce v7+ */
};
struct record_batch_fault {
    enum kafka_error error;
    int32_t record_index;                  /* of the first bad record, -1: the batch as a whole */
    const char *text;                      /* static: cause */
};
/* Checks what a client sent: exactly one batch in `bytes`, in the order that Kafka checks. KAFKA_NONE, or the fault.
 * On KAFKA_NONE batch->max_timestamp is the one to store: the true maximum where records were read (uncompressed, or
 * a compacted topic), else at least the base timestamp. If it differs from the field in the bytes,
 * record_batch_set_max_timestamp() is due. */
enum kafka_error record_batch_check(struct bytes bytes, const struct record_batch_rules *rules,
                                    struct record_batch *batch, struct record_batch_fault *fault);

/* Patch in place (the caller holds the only reference). Offsets and epoch lie outside the CRC; the others redo it. */
void record_batch_set_offset(uint8_t *batch, int64_t base_offset, int32_t leader_epoch);
void record_batch_set_max_timestamp(uint8_t *batch, size_t size, int64_t max_timestamp, bool is_log_append_time);

/* Sequence number behind `sequence` + `delta`, wrapping to 0 after INT32_MAX. */
int32_t sequence_add(int32_t sequence, int32_t delta);
