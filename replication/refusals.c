/* Happy path: nothing was refused and the map is empty.
 * Failure: none. */
#include "replication/refusals.h"

#include "base/assert.h"
#include "base/mem.h"

struct refusal {
    int64_t producer_id;
    int16_t epoch;
    int32_t sequence;      /* the first of the batch */
    unsigned behind_count; /* batches refused because of it */
    enum kafka_error error;
    struct list link;
};

void refusals_init(struct refusals *refusals)
{
    map_init(&refusals->by_id);
    list_init(&refusals->by_age);
}

static void refusal_forget(struct refusals *refusals, struct refusal *refusal)
{
    void *removed = map_remove(&refusals->by_id, (uint64_t)refusal->producer_id);
    assert(removed == refusal);
    list_remove(&refusal->link);
    mem_free(refusal);
}

static void forget_oldest(struct refusals *refusals)
{
    refusal_forget(refusals, container_of(refusals->by_age.next, struct refusal, link));
}

void refusals_deinit(struct refusals *refusals)
{
    while (!list_is_empty(&refusals->by_age)) {
        forget_oldest(refusals);
    }
    map_deinit(&refusals->by_id);
}

/* Sequence numbers go round: of two the earlier one is less than half a round before the other. */
static bool is_before(int32_t sequence, int32_t other)
{
    uint32_t distance = ((uint32_t)other - (uint32_t)sequence) & INT32_MAX;
    return distance != 0 && distance <= INT32_MAX / 2;
}

/* The producer's only one from now on. */
static struct refusal *refusal_put(struct refusals *refusals, const struct record_batch *batch, int32_t sequence,
                                   enum kafka_error error)
{
    struct refusal *refusal = map_get(&refusals->by_id, (uint64_t)batch->producer_id);
    if (refusal == NULL) {
        while (refusals->by_id.count >= REFUSAL_COUNT_MAX) {
            forget_oldest(refusals);
        }
        refusal = mem_alloc(sizeof(*refusal));
        refusal->producer_id = batch->producer_id;
        list_init(&refusal->link);
        map_put(&refusals->by_id, (uint64_t)batch->producer_id, refusal);
    }
    refusal->epoch = batch->producer_epoch;
    refusal->sequence = sequence;
    refusal->behind_count = 0;
    refusal->error = error;
    list_remove(&refusal->link);
    list_push(&refusals->by_age, &refusal->link);
    return refusal;
}

void refusals_note(struct refusals *refusals, const struct record_batch *batch, enum kafka_error error)
{
    assert(kafka_error_is_retriable(error));
    if (batch->producer_id < 0 || batch->producer_epoch < 0 || batch->base_sequence < 0) {
        return;
    }
    struct refusal *refusal = map_get(&refusals->by_id, (uint64_t)batch->producer_id);
    if (refusal != NULL &&
        (batch->producer_epoch < refusal->epoch ||
         (batch->producer_epoch == refusal->epoch && !is_before(batch->base_sequence, refusal->sequence)))) {
        return; /* another one before it is the one to wait for */
    }
    (void)refusal_put(refusals, batch, batch->base_sequence, error);
}

/* Whether the producer has nothing to make up for any more. */
static bool is_over(const struct refusal *refusal, const struct producers *producers, const struct record_batch *batch)
{
    int32_t last = sequence_add(batch->base_sequence, batch->last_offset_delta);
    if (batch->producer_epoch > refusal->epoch) {
        return true;
    }
    if (!is_before(refusal->sequence, batch->base_sequence) && !is_before(last, refusal->sequence)) {
        return true; /* it is back */
    }
    const struct producer *producer = producers_find(producers, refusal->producer_id);
    return producer != NULL &&
           (producer->epoch > refusal->epoch ||
            (producer->epoch == refusal->epoch &&
             !is_before(producer->batches[producer->batch_count - 1].last_sequence, refusal->sequence)));
}

enum kafka_error refusals_check(struct refusals *refusals, const struct producers *producers,
                                const struct record_batch *batch)
{
    struct refusal *refusal = NULL;
    if (refusals->by_id.count > 0 && batch->producer_id >= 0) {
        refusal = map_get(&refusals->by_id, (uint64_t)batch->producer_id);
    }
    if (refusal == NULL) {
        return KAFKA_NONE;
    }
    if (is_over(refusal, producers, batch)) {
        refusal_forget(refusals, refusal);
        return KAFKA_NONE;
    }
    if (batch->producer_epoch < refusal->epoch || is_before(batch->base_sequence, refusal->sequence)) {
        return KAFKA_NONE; /* not behind it: the table of producers decides */
    }
    if (refusal->behind_count == PRODUCER_BATCH_COUNT) {
        return KAFKA_NONE;
    }
    refusal->behind_count++;
    return refusal->error;
}

enum kafka_error refusals_gap(struct refusals *refusals, const struct producers *producers,
                              const struct record_batch *batch)
{
    const struct producer *producer = producers_find(producers, batch->producer_id);
    assert(producer == NULL || batch->producer_epoch >= producer->epoch);
    int32_t expected = 0;
    if (producer != NULL && batch->producer_epoch == producer->epoch) {
        expected = sequence_add(producer->batches[producer->batch_count - 1].last_sequence, 1);
    }
    if (!is_before(expected, batch->base_sequence)) {
        return KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER; /* it comes from before: nothing that comes mends that */
    }
    struct refusal *refusal = map_get(&refusals->by_id, (uint64_t)batch->producer_id);
    if (refusal == NULL || refusal->epoch != batch->producer_epoch || refusal->sequence != expected) {
        refusal = refusal_put(refusals, batch, expected, KAFKA_NOT_ENOUGH_REPLICAS);
    }
    if (refusal->behind_count == PRODUCER_BATCH_COUNT) {
        return KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER;
    }
    refusal->behind_count++;
    return refusal->error;
}
