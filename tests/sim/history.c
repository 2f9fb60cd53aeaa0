/* Two tables that grow: acknowledgements by producer, partition and number; readings by partition and offset. */
#include "tests/sim/history.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tests/sim/checks.h"

struct values { /* of one producer in one partition */
    int64_t *acked;
    uint32_t capacity;
    uint32_t sent;
};

struct readings { /* of one partition */
    struct value *seen;
    int64_t capacity;
};

struct history {
    struct values values[PRODUCERS_MAX + 1][PARTITIONS_MAX];
    bool is_idempotent[PRODUCERS_MAX + 1];
    bool is_compacted;
    struct readings readings[PARTITIONS_MAX];
    int64_t end_told[PARTITIONS_MAX];
    uint64_t acked_count;
    uint64_t hash;
    char failure[400];
};

struct history *history_open(void)
{
    struct history *history = calloc(1, sizeof(*history));
    assert(history != NULL);
    return history;
}

void history_close(struct history *history)
{
    for (unsigned p = 0; p < PARTITIONS_MAX; p++) {
        free(history->readings[p].seen);
        for (unsigned i = 0; i <= PRODUCERS_MAX; i++) {
            free(history->values[i][p].acked);
        }
    }
    free(history);
}

void history_set_compacted(struct history *history)
{
    history->is_compacted = true;
}

bool history_is_compacted(const struct history *history)
{
    return history->is_compacted;
}

void history_forget_readings(struct history *history)
{
    for (unsigned p = 0; p < PARTITIONS_MAX; p++) {
        struct readings *readings = &history->readings[p];
        if (readings->capacity > 0) {
            memset(readings->seen, 0, (size_t)readings->capacity * sizeof(*readings->seen));
        }
    }
}

void history_add_producer(struct history *history, unsigned producer, bool is_idempotent)
{
    assert(producer >= 1 && producer <= PRODUCERS_MAX);
    history->is_idempotent[producer] = is_idempotent;
}

/* ---- Violations */

void history_violation(struct history *history, const char *name, const char *format, ...)
{
    if (history->failure[0] != '\0') {
        return;
    }
    size_t size = (size_t)snprintf(history->failure, sizeof(history->failure), "%s: ", name);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(history->failure + size, sizeof(history->failure) - size, format, args);
    va_end(args);
}

const char *history_failure(const struct history *history)
{
    return history->failure[0] != '\0' ? history->failure : NULL;
}

/* ---- By clients */

static void note(struct history *history, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t hash = history->hash ^ (a * 0x9E3779B97F4A7C15U) ^ (b * 0xC2B2AE3D27D4EB4FU) ^ (c * 0x165667B19E3779F9U);
    history->hash = (hash << 29 | hash >> 35) * 0xBF58476D1CE4E5B9U + 0x94D049BB133111EBU;
}

static void values_reserve(struct values *values, uint32_t count)
{
    if (count <= values->capacity) {
        return;
    }
    uint32_t capacity = values->capacity > 0 ? values->capacity : 1024;
    while (capacity < count) {
        capacity *= 2;
    }
    values->acked = realloc(values->acked, capacity * sizeof(*values->acked));
    assert(values->acked != NULL);
    for (uint32_t i = values->capacity; i < capacity; i++) {
        values->acked[i] = HISTORY_NOT_ACKED;
    }
    values->capacity = capacity;
}

void history_sent(struct history *history, unsigned producer, unsigned partition, uint32_t number)
{
    struct values *values = &history->values[producer][partition];
    assert(number < VALUES_MAX);
    if (number >= values->sent) {
        values_reserve(values, number + 1);
        values->sent = number + 1;
    }
    note(history, producer, partition, number);
}

void history_acked(struct history *history, unsigned producer, unsigned partition, uint32_t number, int64_t offset)
{
    struct values *values = &history->values[producer][partition];
    note(history, producer + 16, (uint64_t)offset, number);
    int64_t *acked = &values->acked[number];
    history->acked_count += *acked == HISTORY_NOT_ACKED;
    if (offset == HISTORY_ACKED_SOMEWHERE) {
        *acked = *acked == HISTORY_NOT_ACKED ? offset : *acked;
        return;
    }
    check_ack(history, producer, partition, number, offset);
    history_told(history, partition, offset + 1);
    *acked = offset;
}

static void readings_reserve(struct readings *readings, int64_t count)
{
    if (count <= readings->capacity) {
        return;
    }
    int64_t capacity = readings->capacity > 0 ? readings->capacity : 4096;
    while (capacity < count) {
        capacity *= 2;
    }
    readings->seen = realloc(readings->seen, (size_t)capacity * sizeof(*readings->seen));
    assert(readings->seen != NULL);
    memset(readings->seen + readings->capacity, 0, (size_t)(capacity - readings->capacity) * sizeof(*readings->seen));
    readings->capacity = capacity;
}

void history_read(struct history *history, unsigned partition, int64_t offset, struct value value)
{
    assert(offset >= 0 && offset < OFFSETS_MAX);
    readings_reserve(&history->readings[partition], offset + 1);
    check_reading(history, partition, offset, value);
    history->readings[partition].seen[offset] = value;
}

void history_told(struct history *history, unsigned partition, int64_t end)
{
    int64_t *known = &history->end_told[partition];
    *known = end > *known ? end : *known;
}

/* ---- By checkers */

int64_t history_end_told(const struct history *history, unsigned partition)
{
    return history->end_told[partition];
}

bool history_is_idempotent(const struct history *history, unsigned producer)
{
    return producer <= PRODUCERS_MAX && history->is_idempotent[producer];
}

uint32_t history_sent_count(const struct history *history, unsigned producer, unsigned partition)
{
    return producer >= 1 && producer <= PRODUCERS_MAX ? history->values[producer][partition].sent : 0;
}

int64_t history_acked_at(const struct history *history, unsigned producer, unsigned partition, uint32_t number)
{
    assert(number < history_sent_count(history, producer, partition));
    return history->values[producer][partition].acked[number];
}

struct value history_seen(const struct history *history, unsigned partition, int64_t offset)
{
    const struct readings *readings = &history->readings[partition];
    return offset >= 0 && offset < readings->capacity ? readings->seen[offset] : (struct value){0};
}

uint64_t history_acked_count(const struct history *history)
{
    return history->acked_count;
}

uint64_t history_hash(const struct history *history)
{
    return history->hash;
}
