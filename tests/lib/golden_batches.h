/* The record batches in tests/golden/batches, written by another implementation, and the formula their records
 * follow. */
#ifndef TESTS_LIB_GOLDEN_BATCHES_H
#define TESTS_LIB_GOLDEN_BATCHES_H

#include "proto/records.h"

struct golden_batch {
    const char *name;
    int32_t count;
    enum record_codec codec;
    int64_t producer_id;
    int16_t producer_epoch;
    int32_t base_sequence;
};

#define GOLDEN_BATCH_COUNT 12
extern const struct golden_batch golden_batches[GOLDEN_BATCH_COUNT];

/* The file's bytes, one reference. A missing file ends the test. */
struct shared *golden_batch_read(const struct golden_batch *golden);

/* Whether record `i` has exactly the timestamp, key, value and headers that the formula gives it. */
bool golden_record_matches(int32_t i, const struct record *record);
int64_t golden_max_timestamp(int32_t count);

#endif
