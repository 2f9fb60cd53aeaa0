/* What clients did and saw, and what must therefore be true. It is the test's memory: clients may die, it stays.
 *
 * Values are numbered per producer and partition: 0, 1, 2, ... in the order they were handed to the producer. Names of
 * violations are those of Jepsen's queue workload where one fits:
 *   lost-write            an acknowledged value is not at its offset at the end
 *   inconsistent-offsets  two readings of one offset differ, or an acknowledgement and a reading
 *   duplicate             one value of an idempotent producer at two offsets
 *   reordered             values of an idempotent producer out of order
 *   invented              a value that was never sent
 *   gap                   offsets are not dense
 *   hw-back               a reader was told a lower high watermark than before
 *   replicas-differ       two replicas have other bytes at one place
 *   stuck                 no progress although the faults have ended
 * The first violation is kept and ends the run. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    PRODUCERS_MAX = 8,
    PARTITIONS_MAX = 8,
    VALUES_MAX = 20000, /* of one producer in one partition */
    OFFSETS_MAX = 120000
};

struct value {
    uint16_t producer; /* 1..; 0: nothing seen there */
    uint32_t number;
};

struct history;
struct history *history_open(void);
void history_close(struct history *history);
void history_add_producer(struct history *history, unsigned producer, bool is_idempotent);

void history_sent(struct history *history, unsigned producer, unsigned partition, uint32_t number);
void history_acked(struct history *history, unsigned producer, unsigned partition, uint32_t number, int64_t offset);
void history_read(struct history *history, unsigned partition, int64_t offset, struct value value);
/* All up to `end` was read: what was acknowledged must have been among it. */
void history_check_end(struct history *history, unsigned partition, int64_t end);
__attribute__((format(printf, 3, 4))) void history_violation(struct history *history, const char *name,
                                                             const char *format, ...);
const char *history_failure(const struct history *history); /* NULL: none */
uint64_t history_acked_count(const struct history *history);
uint64_t history_hash(const struct history *history);
