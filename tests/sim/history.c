#include "tests/sim/history.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

struct values {     /* of one producer in one partition */
    int64_t *acked; /* [VALUES_MAX] offset, or -1 */
    uint32_t sent;
};

struct history {
    struct values values[PRODUCERS_MAX + 1][PARTITIONS_MAX];
    bool is_idempotent[PRODUCERS_MAX + 1];
    struct value *seen[PARTITIONS_MAX]; /* [OFFSETS_MAX] */
    uint64_t acked_count;
    uint64_t hash;
    char failure[400];
};

static void *zeroed(size_t size)
{
    void *memory = calloc(1, size);
    assert(memory != NULL);
    return memory;
}

struct history *history_open(void)
{
    struct history *history = zeroed(sizeof(*history));
    for (unsigned p = 0; p < PARTITIONS_MAX; p++) {
        history->seen[p] = zeroed(OFFSETS_MAX * sizeof(struct value));
    }
    return history;
}

void history_close(struct history *history)
{
    for (unsigned p = 0; p < PARTITIONS_MAX; p++) {
        free(history->seen[p]);
        for (unsigned i = 0; i <= PRODUCERS_MAX; i++) {
            free(history->values[i][p].acked);
        }
    }
    free(history);
}

void history_add_producer(struct history *history, unsigned producer, bool is_idempotent)
{
    assert(producer >= 1 && producer <= PRODUCERS_MAX);
    history->is_idempotent[producer] = is_idempotent;
    for (unsigned p = 0; p < PARTITIONS_MAX; p++) {
        int64_t *acked = zeroed(VALUES_MAX * sizeof(*acked));
        for (unsigned i = 0; i < VALUES_MAX; i++) {
            acked[i] = -1;
        }
        history->values[producer][p].acked = acked;
    }
}

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

uint64_t history_acked_count(const struct history *history)
{
    return history->acked_count;
}

uint64_t history_hash(const struct history *history)
{
    return history->hash;
}

static void note(struct history *history, uint64_t a, uint64_t b, uint64_t c)
{
    uint64_t hash = history->hash ^ (a * 0x9E3779B97F4A7C15U) ^ (b * 0xC2B2AE3D27D4EB4FU) ^ (c * 0x165667B19E3779F9U);
    history->hash = (hash << 29 | hash >> 35) * 0xBF58476D1CE4E5B9U + 0x94D049BB133111EBU;
}

void history_sent(struct history *history, unsigned producer, unsigned partition, uint32_t number)
{
    struct values *values = &history->values[producer][partition];
    assert(number < VALUES_MAX);
    if (number >= values->sent) {
        values->sent = number + 1;
    }
    note(history, producer, partition, number);
}

void history_acked(struct history *history, unsigned producer, unsigned partition, uint32_t number, int64_t offset)
{
    struct values *values = &history->values[producer][partition];
    note(history, producer + 16, (uint64_t)offset, number);
    if (values->acked[number] >= 0 && values->acked[number] != offset && history->is_idempotent[producer]) {
        history_violation(history, "inconsistent-offsets",
                          "producer %u partition %u value %u acknowledged at %lld and at %lld", producer, partition,
                          number, (long long)values->acked[number], (long long)offset);
    }
    history->acked_count += values->acked[number] < 0;
    values->acked[number] = offset;
}

void history_read(struct history *history, unsigned partition, int64_t offset, struct value value)
{
    assert(offset >= 0 && offset < OFFSETS_MAX);
    struct value *seen = &history->seen[partition][offset];
    if (value.producer < 1 || value.producer > PRODUCERS_MAX ||
        history->values[value.producer][partition].sent <= value.number) {
        history_violation(history, "invented", "partition %u offset %lld: value %u of producer %u was never sent",
                          partition, (long long)offset, value.number, value.producer);
    } else if (seen->producer != 0 && (seen->producer != value.producer || seen->number != value.number)) {
        history_violation(history, "inconsistent-offsets",
                          "partition %u offset %lld: value %u of producer %u, earlier it was %u of %u", partition,
                          (long long)offset, value.number, value.producer, seen->number, seen->producer);
    }
    *seen = value;
}

/* An idempotent producer's values are there in order, each once, without a gap. */
static void check_order(struct history *history, unsigned partition, int64_t offset, struct value value, uint32_t *next)
{
    if (!history->is_idempotent[value.producer]) {
        return;
    }
    if (value.number < *next) {
        history_violation(history, "duplicate", "partition %u offset %lld: value %u of producer %u a second time",
                          partition, (long long)offset, value.number, value.producer);
    } else if (value.number > *next) {
        history_violation(history, "reordered", "partition %u offset %lld: value %u of producer %u, %u was due",
                          partition, (long long)offset, value.number, value.producer, *next);
    }
    *next = value.number + 1;
}

void history_check_end(struct history *history, unsigned partition, int64_t end)
{
    uint32_t next[PRODUCERS_MAX + 1] = {0};
    for (int64_t offset = 0; offset < end; offset++) {
        struct value value = history->seen[partition][offset];
        if (value.producer == 0) {
            history_violation(history, "gap", "partition %u: nothing was read at offset %lld of %lld", partition,
                              (long long)offset, (long long)end);
            return;
        }
        check_order(history, partition, offset, value, &next[value.producer]);
    }
    for (unsigned producer = 1; producer <= PRODUCERS_MAX; producer++) {
        const struct values *values = &history->values[producer][partition];
        for (uint32_t number = 0; number < values->sent; number++) {
            int64_t offset = values->acked[number];
            if (offset < 0) {
                continue;
            }
            struct value value = offset < end ? history->seen[partition][offset] : (struct value){0};
            if (value.producer != producer || value.number != number) {
                history_violation(history, "lost-write",
                                  "partition %u: value %u of producer %u was acknowledged at %lld, the log ends at "
                                  "%lld and has value %u of producer %u there",
                                  partition, number, producer, (long long)offset, (long long)end, value.number,
                                  value.producer);
                return;
            }
        }
    }
}
