/* Idempotent producers of one partition: which batch is new, which a repetition, which out of order.
 *
 * Per producer id: its epoch and its last five batches. The table is part of the partition's replicated state and a
 * function of the applied entries alone: time is the entry's, the expiration time comes with the entry, too.
 * unknown, never known here             accepted with sequence number 0; any other: OUT_OF_ORDER_SEQUENCE_NUMBER
 * unknown, maybe forgotten              accepted with any sequence number (its state may have expired)
 * same epoch, one of the last five      duplicate: success with the first offset
 * same epoch, the next sequence number  accepted; any other: OUT_OF_ORDER_SEQUENCE_NUMBER
 * higher epoch, sequence number 0       accepted; any other: OUT_OF_ORDER_SEQUENCE_NUMBER
 * lower epoch                           INVALID_PRODUCER_EPOCH
 *
 * Kafka's brokers accept any sequence number of an unknown producer. Then the second batch of a new one gets in when
 * the first was refused, by a leader that was not ready or by another broker; the client takes that for both
 * (librdkafka) or begins a new epoch and writes the second one twice. Producer ids rise, so one above all that were
 * ever forgotten here was never known here, and begins at 0.
 *
 * Pure. Source: KIP-98, KIP-360. */
#pragma once

#include "base/dynbuf.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/map.h"
#include "proto/errors.h"
#include "proto/record_batch.h"

struct producer_batch { /* One batch that was appended. */
    int32_t first_sequence;
    int32_t last_sequence;
    int64_t base_offset;
    int64_t timestamp; /* the batch's greatest */
};

struct producer {
    int64_t id;
    int16_t epoch;
    int64_t append_ms;                                   /* of its last batch: what expiry and age go by */
    unsigned batch_count;                                /* 1..PRODUCER_BATCH_COUNT */
    struct producer_batch batches[PRODUCER_BATCH_COUNT]; /* oldest first */
    struct list link;                                    /* private */
};

struct producers {
    struct map by_id;
    struct list by_age; /* oldest first */
    size_t count_max;
    int64_t forgotten_id; /* the highest that was known and is not any more; -1: none */
};

/* At most `count_max` producers; one more makes the oldest unknown. */
void producers_init(struct producers *producers, size_t count_max);
void producers_deinit(struct producers *producers);
/* Puts the contents of `source`, which is then empty, in the place of those of `target`. */
void producers_move(struct producers *target, struct producers *source);
size_t producers_count(const struct producers *producers);
/* NULL when unknown; valid until the table is changed. */
const struct producer *producers_find(const struct producers *producers, int64_t id);

/* Calls cb for each, oldest first. */
void producers_each(const struct producers *producers, void *context,
                    void (*cb)(void *context, const struct producer *producer));

/* Whether `batch` (with a producer id) may be appended now. KAFKA_NONE: append it and call producers_add(), or, if
 * *duplicate is set, it was appended then. Else the code to answer. */
enum kafka_error producers_check(const struct producers *producers, const struct record_batch *batch,
                                 const struct producer_batch **duplicate);
/* `batch` passed producers_check() and was appended at `base_offset`. `append_ms` never goes back. */
void producers_add(struct producers *producers, const struct record_batch *batch, int64_t base_offset,
                   int64_t append_ms);
/* Forgets the producers whose last batch is more than `expiration_ms` older than `now_ms`. */
void producers_expire(struct producers *producers, int64_t now_ms, int64_t expiration_ms);

/* u8 version = 2 | i64 forgotten id | u32 count | oldest first: i64 id | i16 epoch | i64 append_ms | u8 batch count |
 * per batch: i32 first sequence | i32 last sequence | i64 base offset | i64 timestamp. Version 1 has no forgotten id:
 * anybody may have been. */
void producers_encode(const struct producers *producers, struct dynbuf *buf);
/* Replaces the contents. Sticks in the reader on bad input (ERR_CORRUPT, ERR_SHORT); the table is then empty. */
void producers_decode(struct producers *producers, struct reader *reader);
