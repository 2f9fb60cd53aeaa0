/* Idempotent producers: duplicates, gaps, epochs, expiry. */
#include "replication/producers.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "tests/lib/test.h"

enum {
    ADDED = -1,
    DUPLICATE = -2
}; /* outcomes beside Kafka's codes */

/* `count` records of a producer from `sequence` on. */
static struct record_batch batch_of(int64_t id, int epoch, int32_t sequence, int32_t count)
{
    return (struct record_batch){.producer_id = id,
                                 .producer_epoch = (int16_t)epoch,
                                 .base_sequence = sequence,
                                 .count = count,
                                 .last_offset_delta = count - 1,
                                 .max_timestamp = 1000 + (int64_t)sequence};
}

/* Offers a batch as the partition would, appending it at `offset` if it is new. */
static int offer(struct producers *producers, const struct record_batch *batch, int64_t offset, int64_t append_ms,
                 int64_t *first_offset)
{
    const struct producer_batch *duplicate = NULL;
    enum kafka_error error = producers_check(producers, batch, &duplicate);
    if (error != KAFKA_NONE) {
        ck_assert_ptr_null(duplicate);
        return error;
    }
    if (duplicate != NULL) {
        *first_offset = duplicate->base_offset;
        return DUPLICATE;
    }
    producers_add(producers, batch, offset, append_ms);
    *first_offset = offset;
    return ADDED;
}

struct step {
    int64_t id;
    int epoch;
    int32_t sequence;
    int32_t count;
    int outcome;
    int64_t offset; /* answered */
};
struct script {
    const char *name;
    struct step steps[12];
};

static const struct script scripts[] = {
    {"a new producer starts at 0, in any epoch",
     {{1, 0, 0, 1, ADDED, 0},
      {2, 0, 500, 2, 45, 0},
      {3, 7, 9, 1, 45, 0},
      {3, 7, 0, 1, ADDED, 1},
      {2, 0, 0, 2, ADDED, 2}}},
    {"the next sequence number follows", {{1, 0, 0, 3, ADDED, 0}, {1, 0, 3, 2, ADDED, 3}, {1, 0, 5, 1, ADDED, 5}}},
    {"a gap is refused and changes nothing",
     {{1, 0, 0, 3, ADDED, 0}, {1, 0, 4, 1, 45, 0}, {1, 0, 3, 1, ADDED, 3}, {1, 0, 9, 1, 45, 0}}},
    {"the last batch again is a duplicate",
     {{1, 0, 0, 3, ADDED, 0}, {1, 0, 0, 3, DUPLICATE, 0}, {1, 0, 3, 1, ADDED, 3}}},
    {"all of the last five are known",
     {{1, 0, 0, 2, ADDED, 0},
      {1, 0, 2, 2, ADDED, 2},
      {1, 0, 4, 2, ADDED, 4},
      {1, 0, 6, 2, ADDED, 6},
      {1, 0, 8, 2, ADDED, 8},
      {1, 0, 0, 2, DUPLICATE, 0},
      {1, 0, 2, 2, DUPLICATE, 2},
      {1, 0, 4, 2, DUPLICATE, 4},
      {1, 0, 6, 2, DUPLICATE, 6},
      {1, 0, 8, 2, DUPLICATE, 8},
      {1, 0, 10, 1, ADDED, 10}}},
    {"the sixth from the end is forgotten",
     {{1, 0, 0, 1, ADDED, 0},
      {1, 0, 1, 1, ADDED, 1},
      {1, 0, 2, 1, ADDED, 2},
      {1, 0, 3, 1, ADDED, 3},
      {1, 0, 4, 1, ADDED, 4},
      {1, 0, 5, 1, ADDED, 5},
      {1, 0, 0, 1, 45, 0},
      {1, 0, 1, 1, DUPLICATE, 1}}},
    {"the same start with another end is no duplicate",
     {{1, 0, 0, 3, ADDED, 0}, {1, 0, 0, 2, 45, 0}, {1, 0, 0, 4, 45, 0}}},
    {"the same end with another start is no duplicate",
     {{1, 0, 0, 3, ADDED, 0}, {1, 0, 1, 2, 45, 0}, {1, 0, 2, 1, 45, 0}}},
    {"a higher epoch starts at 0",
     {{1, 0, 0, 3, ADDED, 0}, {1, 1, 3, 1, 45, 0}, {1, 1, 0, 1, ADDED, 3}, {1, 1, 1, 1, ADDED, 4}}},
    {"a higher epoch may skip some", {{1, 0, 0, 3, ADDED, 0}, {1, 9, 0, 1, ADDED, 3}}},
    {"a lower epoch is fenced, even a duplicate",
     {{1, 3, 0, 1, ADDED, 0},
      {1, 4, 0, 1, ADDED, 1},
      {1, 3, 0, 1, 47, 0},
      {1, 3, 1, 1, 47, 0},
      {1, 4, 0, 1, DUPLICATE, 1}}},
    {"a refused higher epoch fences nobody", {{1, 0, 0, 1, ADDED, 0}, {1, 1, 5, 1, 45, 0}, {1, 0, 1, 1, ADDED, 1}}},
    {"epoch 0 with its sequence numbers is not epoch 1 with the same",
     {{1, 0, 0, 2, ADDED, 0}, {1, 1, 0, 2, ADDED, 2}, {1, 1, 0, 2, DUPLICATE, 2}}},
    {"sequence numbers wrap behind the largest",
     {{1, 0, 0, INT32_MAX, ADDED, 0},
      {1, 0, INT32_MAX, 1, ADDED, INT32_MAX},
      {1, 0, 0, 2, ADDED, INT64_C(1) << 31},
      {1, 0, INT32_MAX, 1, DUPLICATE, INT32_MAX},
      {1, 0, 2, 1, ADDED, (INT64_C(1) << 31) + 2}}},
    {"a batch may wrap inside",
     {{1, 0, 0, INT32_MAX - 1, ADDED, 0},
      {1, 0, INT32_MAX - 1, 4, ADDED, INT32_MAX - 1},
      {1, 0, INT32_MAX - 1, 4, DUPLICATE, INT32_MAX - 1},
      {1, 0, 1, 1, 45, 0},
      {1, 0, 2, 1, ADDED, INT64_C(3) + INT32_MAX}}},
    {"producers do not see one another",
     {{1, 0, 0, 1, ADDED, 0},
      {2, 0, 0, 1, ADDED, 1},
      {1, 0, 1, 1, ADDED, 2},
      {2, 0, 0, 1, DUPLICATE, 1},
      {2, 0, 2, 1, 45, 0}}},
    {"the largest id and epoch there are",
     {{INT64_MAX, INT16_MAX, 0, 1, ADDED, 0}, {INT64_MAX, INT16_MAX, 0, 1, DUPLICATE, 0}}},
    {"the smallest id", {{0, 0, 0, 1, ADDED, 0}, {0, 0, 0, 1, DUPLICATE, 0}, {0, 0, 1, 1, ADDED, 1}}},
};

/* Goal: KIP-98 and KIP-360, rule by rule. Method: scripts of batches with the outcome of each; offsets are dense. */
START_TEST(scripts_have_their_outcomes)
{
    const struct script *script = &scripts[_i];
    struct producers producers;
    producers_init(&producers, 100);
    int64_t end = 0;
    for (size_t i = 0; i < array_count(script->steps) && script->steps[i].count > 0; i++) {
        const struct step *step = &script->steps[i];
        struct record_batch batch = batch_of(step->id, step->epoch, step->sequence, step->count);
        int64_t offset = 0;
        int outcome = offer(&producers, &batch, end, 5, &offset);
        ck_assert_msg(outcome == step->outcome && offset == step->offset, "%s: step %zu: %d at %lld", script->name, i,
                      outcome, (long long)offset);
        end += outcome == ADDED ? step->count : 0;
    }
    producers_deinit(&producers);
}
END_TEST

/* Goal: expiry goes by the entries' time, to the millisecond. Method: three producers, a sweep of the clock. */
START_TEST(the_idle_expire)
{
    for (int64_t now = 300; now < 1400; now += 50) {
        struct producers producers;
        producers_init(&producers, 100);
        int64_t offset = 0;
        struct record_batch batch = batch_of(1, 0, 0, 1);
        ck_assert_int_eq(offer(&producers, &batch, 0, 100, &offset), ADDED);
        batch = batch_of(2, 0, 0, 1);
        ck_assert_int_eq(offer(&producers, &batch, 1, 200, &offset), ADDED);
        batch = batch_of(1, 0, 1, 1);
        ck_assert_int_eq(offer(&producers, &batch, 2, 300, &offset), ADDED);
        producers_expire(&producers, now, 1000);
        ck_assert_int_eq(producers_find(&producers, 2) != NULL, now <= 1200);
        ck_assert_int_eq(producers_find(&producers, 1) != NULL, now <= 1300);
        producers_expire(&producers, now, INT64_MAX);
        ck_assert_uint_eq(producers_count(&producers), now <= 1200 ? 2 : now <= 1300 ? 1 : 0);
        producers_deinit(&producers);
    }
}
END_TEST

/* Goal: the table is bounded, and the one that was silent for longest goes. Method: one more than fit, the first
 * having written again. */
START_TEST(the_oldest_makes_room)
{
    struct producers producers;
    producers_init(&producers, 3);
    int64_t offset = 0;
    static const int64_t ids[] = {1, 2, 3};
    for (size_t i = 0; i < array_count(ids); i++) {
        struct record_batch batch = batch_of(ids[i], 0, 0, 1);
        ck_assert_int_eq(offer(&producers, &batch, 0, 100, &offset), ADDED);
    }
    struct record_batch again = batch_of(1, 0, 1, 1);
    ck_assert_int_eq(offer(&producers, &again, 3, 100, &offset), ADDED);
    struct record_batch fourth = batch_of(4, 0, 0, 1);
    ck_assert_int_eq(offer(&producers, &fourth, 4, 100, &offset), ADDED);
    ck_assert_uint_eq(producers_count(&producers), 3);
    ck_assert_ptr_null(producers_find(&producers, 2));
    ck_assert_ptr_nonnull(producers_find(&producers, 1));
    struct record_batch forgotten = batch_of(2, 0, 7, 1);
    ck_assert_int_eq(offer(&producers, &forgotten, 5, 100, &offset), ADDED); /* 3 goes */
    struct record_batch never = batch_of(5, 0, 7, 1);
    ck_assert_int_eq(offer(&producers, &never, 6, 100, &offset), 45);
    producers_deinit(&producers);
}
END_TEST

/* Goal: what was written by a release without forgotten ids is read, and takes any producer. Method: the bytes. */
START_TEST(version_1_is_read)
{
    static const uint8_t EMPTY[] = {1, 0, 0, 0, 0};
    struct producers producers;
    struct reader reader;
    int64_t offset = 0;
    producers_init(&producers, 3);
    reader_init(&reader, (struct bytes){EMPTY, sizeof(EMPTY)});
    producers_decode(&producers, &reader);
    ck_assert_int_eq(reader.err, OK);
    struct record_batch batch = batch_of(9, 0, 7, 1);
    ck_assert_int_eq(offer(&producers, &batch, 0, 100, &offset), ADDED);
    producers_deinit(&producers);
}
END_TEST

/* ---- Model: everything ever accepted, searched from the end ---- */

enum {
    MODEL_STEPS = 400,
    MODEL_IDS = 6,
    MODEL_COUNT_MAX = 4
};

struct model_entry {
    struct record_batch batch;
    int64_t offset;
    int64_t append_ms;
};
struct model {
    struct model_entry entries[MODEL_STEPS];
    size_t count;
    size_t known_since[MODEL_IDS]; /* entries before are forgotten */
};

static const struct model_entry *model_last(const struct model *model, int64_t id)
{
    for (size_t i = model->count; i > model->known_since[id]; i--) {
        if (model->entries[i - 1].batch.producer_id == id) {
            return &model->entries[i - 1];
        }
    }
    return NULL;
}

static void model_forget(struct model *model, int64_t id)
{
    model->known_since[id] = model->count;
}

static void model_expire(struct model *model, int64_t now_ms, int64_t expiration_ms)
{
    for (int64_t id = 0; id < MODEL_IDS; id++) {
        const struct model_entry *last = model_last(model, id);
        if (last != NULL && now_ms - last->append_ms > expiration_ms) {
            model_forget(model, id);
        }
    }
}

static void model_make_room(struct model *model, int64_t id)
{
    const struct model_entry *oldest = NULL;
    size_t known = 0;
    for (int64_t other = 0; other < MODEL_IDS; other++) {
        const struct model_entry *last = model_last(model, other);
        known += last != NULL;
        oldest = last != NULL && (oldest == NULL || last < oldest) ? last : oldest;
    }
    if (model_last(model, id) == NULL && known == MODEL_COUNT_MAX) {
        model_forget(model, oldest->batch.producer_id);
    }
}

static int64_t model_forgotten(const struct model *model)
{
    int64_t highest = -1;
    for (int64_t id = 0; id < MODEL_IDS; id++) {
        highest = model->known_since[id] > 0 ? id : highest;
    }
    return highest;
}

static int model_offer(struct model *model, const struct record_batch *batch, int64_t offset, int64_t append_ms,
                       int64_t *first_offset)
{
    const struct model_entry *last = model_last(model, batch->producer_id);
    if (last == NULL && batch->base_sequence != 0 && batch->producer_id > model_forgotten(model)) {
        return 45;
    }
    if (last != NULL && batch->producer_epoch < last->batch.producer_epoch) {
        return 47;
    }
    if (last != NULL && batch->producer_epoch > last->batch.producer_epoch && batch->base_sequence != 0) {
        return 45;
    }
    if (last != NULL && batch->producer_epoch == last->batch.producer_epoch) {
        int seen = 0;
        for (size_t i = model->count; i > model->known_since[batch->producer_id] && seen < PRODUCER_BATCH_COUNT; i--) {
            const struct model_entry *entry = &model->entries[i - 1];
            if (entry->batch.producer_id != batch->producer_id ||
                entry->batch.producer_epoch != batch->producer_epoch) {
                continue;
            }
            seen++;
            if (entry->batch.base_sequence == batch->base_sequence && entry->batch.count == batch->count) {
                *first_offset = entry->offset;
                return DUPLICATE;
            }
        }
        int64_t next = ((int64_t)last->batch.base_sequence + last->batch.count) % ((int64_t)INT32_MAX + 1);
        if (batch->base_sequence != next) {
            return 45;
        }
    }
    model_make_room(model, batch->producer_id);
    model->entries[model->count++] = (struct model_entry){*batch, offset, append_ms};
    *first_offset = offset;
    return ADDED;
}

/* A batch near what the model's last one makes plausible: mostly next or repeated, sometimes wild. */
static struct record_batch model_batch(const struct model *model)
{
    int64_t id = rand() % MODEL_IDS;
    const struct model_entry *last = model_last(model, id);
    int32_t count = 1 + rand() % 3;
    if (last == NULL) {
        return batch_of(id, rand() % 3, rand() % 4 == 0 ? INT32_MAX - rand() % 4 : rand() % 5, count);
    }
    int epoch = last->batch.producer_epoch;
    int32_t next = sequence_add(last->batch.base_sequence, last->batch.count);
    switch (rand() % 8) {
    case 0:
        return batch_of(id, epoch + 1, rand() % 3 == 0 ? next : 0, count);
    case 1:
        return batch_of(id, epoch > 0 ? epoch - 1 : epoch, next, count);
    case 2:
        return batch_of(id, epoch, sequence_add(next, rand() % 3), count);
    case 3:
    case 4: {
        const struct model_entry *any =
            &model->entries[model->count - 1 - (size_t)rand() % (model->count < 30 ? model->count : 30)];
        return batch_of(any->batch.producer_id, any->batch.producer_epoch, any->batch.base_sequence,
                        rand() % 4 == 0 ? count : any->batch.count);
    }
    default:
        return batch_of(id, epoch, next, count);
    }
}

/* Goal: any mix of batches is decided as the whole history says. Method: random steps against the model, with
 * expiry, eviction, and the table written and read back at random points. */
START_TEST(random_histories_match_a_model)
{
    srand((unsigned)_i + 1);
    struct model *model = mem_alloc(sizeof(*model));
    struct producers producers;
    producers_init(&producers, MODEL_COUNT_MAX);
    int64_t end = 0;
    int64_t now = 1000;
    while (model->count < MODEL_STEPS && now < 20000) {
        now += rand() % 20;
        model_expire(model, now, 100);
        producers_expire(&producers, now, 100);
        struct record_batch batch = model_batch(model);
        int64_t expected_offset = -1;
        int64_t offset = -1;
        int expected = model_offer(model, &batch, end, now, &expected_offset);
        int outcome = offer(&producers, &batch, end, now, &offset);
        ck_assert_msg(outcome == expected && offset == expected_offset, "step %zu: %d, not %d", model->count, outcome,
                      expected);
        end += outcome == ADDED ? batch.count : 0;
        if (rand() % 10 == 0) {
            struct dynbuf buf;
            dynbuf_init(&buf, MIB(1));
            producers_encode(&producers, &buf);
            struct reader reader;
            reader_init(&reader, dynbuf_bytes(&buf));
            producers_decode(&producers, &reader);
            ck_assert_int_eq(reader.err, OK);
            ck_assert_uint_eq(reader.left, 0);
            dynbuf_deinit(&buf);
        }
    }
    producers_deinit(&producers);
    mem_free(model);
}
END_TEST

/* Goal: the state comes back exactly, whatever is no state is refused. Method: encode, decode, encode again: the
 * same bytes; every prefix fails; every bit flip decodes to something that encodes, or fails. */
START_TEST(state_round_trips)
{
    struct producers producers;
    struct producers copy;
    producers_init(&producers, 100);
    producers_init(&copy, 100);
    int64_t offset = 0;
    for (int32_t i = 0; i < 12; i++) {
        struct record_batch batch = batch_of(i % 3, 0, 2 * (i / 3), 2);
        ck_assert_int_eq(offer(&producers, &batch, 2 * i, 100 + i, &offset), ADDED);
    }
    struct dynbuf buf;
    struct dynbuf again;
    dynbuf_init(&buf, MIB(1));
    dynbuf_init(&again, MIB(1));
    producers_encode(&producers, &buf);
    struct reader reader;
    reader_init(&reader, dynbuf_bytes(&buf));
    producers_decode(&copy, &reader);
    ck_assert_int_eq(reader.err, OK);
    producers_encode(&copy, &again);
    ck_assert(bytes_equal(dynbuf_bytes(&buf), dynbuf_bytes(&again)));
    for (size_t size = 0; size < buf.size; size++) {
        reader_init(&reader, (struct bytes){buf.data, size});
        producers_decode(&copy, &reader);
        ck_assert_int_ne(reader.err, OK);
        ck_assert_uint_eq(producers_count(&copy), 0);
    }
    for (size_t bit = 0; bit < 8 * buf.size; bit++) {
        buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        reader_init(&reader, dynbuf_bytes(&buf));
        producers_decode(&copy, &reader);
        dynbuf_reset(&again);
        producers_encode(&copy, &again);
        buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    dynbuf_deinit(&again);
    dynbuf_deinit(&buf);
    producers_deinit(&copy);
    producers_deinit(&producers);
}
END_TEST

static Suite *producers_suite(void)
{
    Suite *suite = suite_create("producers");
    TCase *producers = tcase_create("producers");
    tcase_add_loop_test(producers, scripts_have_their_outcomes, 0, array_count(scripts));
    tcase_add_test(producers, the_idle_expire);
    tcase_add_test(producers, the_oldest_makes_room);
    tcase_add_test(producers, version_1_is_read);
    tcase_add_loop_test(producers, random_histories_match_a_model, 0, 200);
    tcase_add_test(producers, state_round_trips);
    suite_add_tcase(suite, producers);
    return suite;
}

TEST_MAIN(producers_suite)
