/* What clients did and saw. It is the test's memory: clients may die, it stays. What must be true of it is said by the
 * checkers (checks.h), each a file of its own; the first violation is kept and ends the run.
 *
 * Values are numbered per producer and partition: 0, 1, 2, ... in the order they were handed to the producer. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PRODUCERS_MAX = 8,
    PARTITIONS_MAX = 8,
    VALUES_MAX = 1000000, /* of one producer in one partition */
    OFFSETS_MAX = 4000000
};

enum {
    HISTORY_NOT_ACKED = -1,
    HISTORY_ACKED_SOMEWHERE = -2 /* the client knows that it is there, not where */
};

struct value {
    uint16_t producer; /* 1..; 0: nothing seen there */
    uint32_t number;
};

struct history;
struct history *history_open(void);
void history_close(struct history *history);
/* The topic is compacted: of the values that history_is_update() names, a producer's in a partition are updates of one
 * key. The others have a key each. */
void history_set_compacted(struct history *history);
bool history_is_compacted(const struct history *history);
static inline bool history_is_update(uint32_t number)
{
    return number % 4 != 0;
}
/* All is read once more, and what is there then counts. */
void history_forget_readings(struct history *history);
void history_add_producer(struct history *history, unsigned producer, bool is_idempotent);

/* ---- By clients */

/* All up to `number`. */
void history_sent(struct history *history, unsigned producer, unsigned partition, uint32_t number);
/* `offset` may be HISTORY_ACKED_SOMEWHERE. */
void history_acked(struct history *history, unsigned producer, unsigned partition, uint32_t number, int64_t offset);
void history_read(struct history *history, unsigned partition, int64_t offset, struct value value);
/* Somebody was told that the partition goes up to `end`; acknowledged offsets tell it, too. */
void history_told(struct history *history, unsigned partition, int64_t end);

/* ---- By checkers */

bool history_is_idempotent(const struct history *history, unsigned producer);
uint32_t history_sent_count(const struct history *history, unsigned producer, unsigned partition);
int64_t history_acked_at(const struct history *history, unsigned producer, unsigned partition, uint32_t number);
int64_t history_end_told(const struct history *history, unsigned partition); /* the most that anybody was told */
struct value history_seen(const struct history *history, unsigned partition, int64_t offset); /* any offset */
__attribute__((format(printf, 3, 4))) void history_violation(struct history *history, const char *name,
                                                             const char *format, ...);
const char *history_failure(const struct history *history); /* NULL: none */
uint64_t history_acked_count(const struct history *history);
uint64_t history_hash(const struct history *history);
