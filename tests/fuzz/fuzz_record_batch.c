/* Batches from a client: check, iterate, patch. The first byte chooses the rules, and whether length and CRC are
 * made right first, so that what lies behind them is reached. */
#include <string.h>

#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include "proto/records.h"

enum {
    RULE_COMPACTED = 1,
    RULE_LOG_APPEND_TIME = 2,
    RULE_ZSTD = 4,
    RULE_WINDOW = 8,
    FIX_CRC = 16,
    FIX_LENGTH = 32
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fix(uint8_t *batch, size_t size, unsigned flags)
{
    if (size < RECORD_BATCH_HEADER_SIZE) {
        return;
    }
    if (flags & FIX_LENGTH) {
        be32_put(batch + 8, (uint32_t)(size - RECORD_BATCH_OVERHEAD));
        batch[16] = 2;
    }
    if (flags & FIX_CRC) {
        bool is_log_append_time = (be16_get(batch + 21) & BATCH_LOG_APPEND_TIME) != 0;
        record_batch_set_max_timestamp(batch, size, (int64_t)be64_get(batch + 35), is_log_append_time);
    }
}

static void iterate(struct bytes bytes)
{
    struct record_batch batch;
    if (record_batch_view(bytes, &batch) != OK) {
        return;
    }
    struct record_iterator iterator;
    enum err err = record_iterator_init(&iterator, &batch, MIB(1));
    struct record record;
    size_t sum = 0;
    while (err == OK) {
        err = record_iterator_next(&iterator, &record);
        if (err == OK) {
            for (size_t i = 0; i < record.value.size; i++) {
                sum += record.value.data[i];
            }
            assert(record.headers.size + record.key.size <= MIB(1) + bytes.size);
        }
    }
    assert(sum < SIZE_MAX);
    assert(iterator.plain.capacity <= MIB(1));
    record_iterator_deinit(&iterator);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    unsigned flags = data[0];
    struct record_batch_rules rules = {
        .size_max = MIB(1),
        .now_ms = 1700000000000,
        .timestamp_before_max_ms = flags & RULE_WINDOW ? 1000 : INT64_MAX,
        .timestamp_after_max_ms = flags & RULE_WINDOW ? 1000 : INT64_MAX,
        .is_log_append_time = (flags & RULE_LOG_APPEND_TIME) != 0,
        .is_compacted = (flags & RULE_COMPACTED) != 0,
        .is_zstd_allowed = (flags & RULE_ZSTD) != 0,
    };
    size--;
    uint8_t *batch_bytes = mem_alloc(size + 1);
    memcpy(batch_bytes, data + 1, size);
    fix(batch_bytes, size, flags);
    struct bytes bytes = {batch_bytes, size};
    struct record_batch batch;
    struct record_batch_fault fault;
    if (record_batch_check(bytes, &rules, &batch, &fault) == KAFKA_NONE) {
        assert(batch.bytes.size == size);
        assert(batch.count > 0 && batch.last_offset_delta == batch.count - 1);
        record_batch_set_offset(batch_bytes, 7, 3);
        record_batch_set_max_timestamp(batch_bytes, size, batch.max_timestamp, rules.is_log_append_time);
        enum err err = record_batch_view(bytes, &batch);
        assert(err == OK && record_batch_crc_ok(&batch));
    } else {
        assert(fault.text != NULL && fault.error != KAFKA_NONE);
    }
    iterate(bytes);
    mem_free(batch_bytes);
    return 0;
}
