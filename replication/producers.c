/* A map by id and a list by age: entries' times never go back, so whoever writes moves to the young end and the old
 * end is where expiry and the bound look.
 * Failure: none but bad input to producers_decode(). */
#include "replication/producers.h"

#include "base/assert.h"
#include "base/mem.h"
#include <string.h>

enum {
    PRODUCERS_VERSION = 2,
    PRODUCERS_VERSION_ANY_FORGOTTEN = 1,
    PRODUCER_HEAD_SIZE = 8 + 2 + 8 + 1,
    PRODUCER_BATCH_SIZE = 4 + 4 + 8 + 8
};

void producers_init(struct producers *producers, size_t count_max)
{
    assert(count_max > 0);
    map_init(&producers->by_id);
    list_init(&producers->by_age);
    producers->count_max = count_max;
    producers->forgotten_id = -1;
}

static void producer_forget(struct producers *producers, struct producer *producer)
{
    void *removed = map_remove(&producers->by_id, (uint64_t)producer->id);
    assert(removed == producer);
    list_remove(&producer->link);
    mem_free(producer);
}

/* As time or the bound will have it. */
static void producer_let_go(struct producers *producers, struct producer *producer)
{
    if (producer->id > producers->forgotten_id) {
        producers->forgotten_id = producer->id;
    }
    producer_forget(producers, producer);
}

static struct producer *producers_oldest(const struct producers *producers)
{
    return list_is_empty(&producers->by_age) ? NULL : container_of(producers->by_age.next, struct producer, link);
}

static void producers_clear(struct producers *producers)
{
    struct producer *producer = producers_oldest(producers);
    while (producer != NULL) {
        producer_forget(producers, producer);
        producer = producers_oldest(producers);
    }
}

void producers_deinit(struct producers *producers)
{
    producers_clear(producers);
    map_deinit(&producers->by_id);
}

void producers_move(struct producers *target, struct producers *source)
{
    size_t count_max = source->count_max;
    producers_deinit(target);
    target->by_id = source->by_id;
    target->count_max = count_max;
    target->forgotten_id = source->forgotten_id;
    list_init(&target->by_age);
    list_move_all(&target->by_age, &source->by_age);
    producers_init(source, count_max);
}

size_t producers_count(const struct producers *producers)
{
    return producers->by_id.count;
}

const struct producer *producers_find(const struct producers *producers, int64_t id)
{
    return map_get(&producers->by_id, (uint64_t)id);
}

void producers_each(const struct producers *producers, void *context,
                    void (*cb)(void *context, const struct producer *producer))
{
    for (const struct list *link = producers->by_age.next; link != &producers->by_age; link = link->next) {
        cb(context, container_of(link, struct producer, link));
    }
}

static const struct producer_batch *find_duplicate(const struct producer *producer, const struct record_batch *batch,
                                                   int32_t last_sequence)
{
    for (unsigned i = 0; i < producer->batch_count; i++) {
        const struct producer_batch *known = &producer->batches[i];
        if (known->first_sequence == batch->base_sequence && known->last_sequence == last_sequence) {
            return known;
        }
    }
    return NULL;
}

enum kafka_error producers_check(const struct producers *producers, const struct record_batch *batch,
                                 const struct producer_batch **duplicate)
{
    assert(batch->producer_id >= 0 && batch->producer_epoch >= 0 && batch->base_sequence >= 0);
    *duplicate = NULL;
    const struct producer *producer = producers_find(producers, batch->producer_id);
    if (producer == NULL) {
        bool is_new = batch->producer_id > producers->forgotten_id;
        return is_new && batch->base_sequence != 0 ? KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER : KAFKA_NONE;
    }
    if (batch->producer_epoch < producer->epoch) {
        return KAFKA_INVALID_PRODUCER_EPOCH;
    }
    if (batch->producer_epoch > producer->epoch) {
        return batch->base_sequence == 0 ? KAFKA_NONE : KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER;
    }
    int32_t last_sequence = sequence_add(batch->base_sequence, batch->last_offset_delta);
    *duplicate = find_duplicate(producer, batch, last_sequence);
    if (*duplicate != NULL) {
        return KAFKA_NONE;
    }
    int32_t expected = sequence_add(producer->batches[producer->batch_count - 1].last_sequence, 1);
    return batch->base_sequence == expected ? KAFKA_NONE : KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER;
}

/* The producer's entry, a new one if it is unknown; at the young end, of the epoch given. */
static struct producer *producer_touch(struct producers *producers, int64_t id, int16_t epoch, int64_t append_ms)
{
    struct producer *producer = map_get(&producers->by_id, (uint64_t)id);
    if (producer == NULL) {
        while (producers_count(producers) >= producers->count_max) {
            producer_let_go(producers, producers_oldest(producers));
        }
        producer = mem_alloc(sizeof(*producer));
        producer->id = id;
        producer->epoch = epoch;
        list_init(&producer->link);
        map_put(&producers->by_id, (uint64_t)id, producer);
    }
    assert(epoch >= producer->epoch);
    assert(append_ms >= producer->append_ms);
    if (epoch != producer->epoch) {
        producer->epoch = epoch;
        producer->batch_count = 0;
    }
    producer->append_ms = append_ms;
    list_remove(&producer->link);
    list_push(&producers->by_age, &producer->link);
    return producer;
}

static void producer_push(struct producer *producer, const struct producer_batch *batch)
{
    if (producer->batch_count == PRODUCER_BATCH_COUNT) {
        producer->batch_count--;
        memmove(producer->batches, producer->batches + 1, producer->batch_count * sizeof(producer->batches[0]));
    }
    producer->batches[producer->batch_count++] = *batch;
}

void producers_add(struct producers *producers, const struct record_batch *batch, int64_t base_offset,
                   int64_t append_ms)
{
    struct producer *producer = producer_touch(producers, batch->producer_id, batch->producer_epoch, append_ms);
    producer_push(producer, &(struct producer_batch){
                                .first_sequence = batch->base_sequence,
                                .last_sequence = sequence_add(batch->base_sequence, batch->last_offset_delta),
                                .base_offset = base_offset,
                                .timestamp = batch->max_timestamp,
                            });
}

void producers_expire(struct producers *producers, int64_t now_ms, int64_t expiration_ms)
{
    struct producer *producer = producers_oldest(producers);
    while (producer != NULL && now_ms - producer->append_ms > expiration_ms) {
        producer_let_go(producers, producer);
        producer = producers_oldest(producers);
    }
}

/* ---- State ---- */

static void producer_encode(const struct producer *producer, struct dynbuf *buf)
{
    uint8_t memory[PRODUCER_HEAD_SIZE + PRODUCER_BATCH_COUNT * PRODUCER_BATCH_SIZE];
    struct writer writer;
    writer_init(&writer, memory, sizeof(memory));
    write_i64(&writer, producer->id);
    write_i16(&writer, producer->epoch);
    write_i64(&writer, producer->append_ms);
    write_u8(&writer, (uint8_t)producer->batch_count);
    for (unsigned i = 0; i < producer->batch_count; i++) {
        write_i32(&writer, producer->batches[i].first_sequence);
        write_i32(&writer, producer->batches[i].last_sequence);
        write_i64(&writer, producer->batches[i].base_offset);
        write_i64(&writer, producer->batches[i].timestamp);
    }
    assert(writer.err == OK);
    enum err err = dynbuf_put(buf, (struct bytes){memory, writer_size(&writer)});
    assert(err == OK); /* the checkpoint has room for all bounds of limits.h */
}

void producers_encode(const struct producers *producers, struct dynbuf *buf)
{
    uint8_t head[1 + 8 + 4] = {PRODUCERS_VERSION};
    be64_put(head + 1, (uint64_t)producers->forgotten_id);
    be32_put(head + 1 + 8, (uint32_t)producers_count(producers));
    enum err err = dynbuf_put(buf, (struct bytes){head, sizeof(head)});
    assert(err == OK);
    for (struct list *at = producers->by_age.next; at != &producers->by_age; at = at->next) {
        producer_encode(container_of(at, struct producer, link), buf);
    }
}

/* False: such a producer cannot be. */
static bool producer_decode(struct producers *producers, struct reader *reader)
{
    int64_t id = read_i64(reader);
    int16_t epoch = read_i16(reader);
    int64_t append_ms = read_i64(reader);
    unsigned batch_count = read_u8(reader);
    bool is_later = list_is_empty(&producers->by_age) ||
                    container_of(producers->by_age.prev, struct producer, link)->append_ms <= append_ms;
    if (reader->err != OK || id < 0 || epoch < 0 || append_ms < 0 || !is_later || batch_count == 0 ||
        batch_count > PRODUCER_BATCH_COUNT || producers_find(producers, id) != NULL) {
        return false;
    }
    struct producer *producer = producer_touch(producers, id, epoch, append_ms);
    for (unsigned i = 0; i < batch_count; i++) {
        struct producer_batch batch = {.first_sequence = read_i32(reader)};
        batch.last_sequence = read_i32(reader);
        batch.base_offset = read_i64(reader);
        batch.timestamp = read_i64(reader);
        if (batch.first_sequence < 0 || batch.last_sequence < 0 || batch.base_offset < 0) {
            return false;
        }
        producer_push(producer, &batch);
    }
    return reader->err == OK;
}

void producers_decode(struct producers *producers, struct reader *reader)
{
    producers_clear(producers);
    uint8_t version = read_u8(reader);
    int64_t forgotten_id = version == PRODUCERS_VERSION_ANY_FORGOTTEN ? INT64_MAX : read_i64(reader);
    uint32_t count = read_u32(reader);
    bool is_known = version == PRODUCERS_VERSION || version == PRODUCERS_VERSION_ANY_FORGOTTEN;
    if (reader->err == OK && (!is_known || forgotten_id < -1)) {
        reader_fail(reader, ERR_CORRUPT);
    }
    for (uint32_t i = 0; i < count && reader->err == OK; i++) {
        if (!producer_decode(producers, reader)) {
            reader_fail(reader, ERR_CORRUPT);
        }
    }
    producers->forgotten_id = forgotten_id;
    if (reader->err != OK) {
        producers_clear(producers);
        producers->forgotten_id = -1;
    }
}
