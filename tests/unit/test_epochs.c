/* Leader epochs: who wrote what, and where each one ended. */
#include "replication/epochs.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/test.h"

/* Terms 2, 5, 6 and 9 wrote records from 0, 10, 30 and 40 on; terms 3, 4, 7 and 8 wrote none. */
static void epochs_fill(struct epochs *epochs)
{
    epochs_init(epochs);
    epochs_assign(epochs, 2, 0);
    epochs_assign(epochs, 2, 7);
    epochs_assign(epochs, 3, 10);
    epochs_assign(epochs, 5, 10);
    epochs_assign(epochs, 6, 30);
    epochs_assign(epochs, 7, 40);
    epochs_assign(epochs, 8, 40);
    epochs_assign(epochs, 9, 40);
}

struct end_case {
    int32_t epoch;
    int32_t found;
    int64_t end;
};
static const struct end_case end_cases[] = {
    {0, 0, 0},  {1, 1, 0},  {2, 2, 10}, {3, 2, 10},  {4, 2, 10},         {5, 5, 30},   {6, 6, 40},
    {7, 6, 40}, {8, 6, 40}, {9, 9, 55}, {10, 9, 55}, {INT32_MAX, 9, 55}, {-1, -1, -1}, {INT32_MIN, -1, -1},
};

/* Goal: the answer to "where does epoch e end" is Kafka's, for epochs before, in, between and behind those known.
 * Method: table over a list with holes. */
START_TEST(end_is_the_start_of_the_next_epoch)
{
    const struct end_case *c = &end_cases[_i];
    struct epochs epochs;
    epochs_fill(&epochs);
    ck_assert_uint_eq(epochs.count, 4);
    int32_t found = 0;
    int64_t end = 0;
    epochs_end(&epochs, c->epoch, 0, 55, &found, &end);
    ck_assert_msg(found == c->found && end == c->end, "%d: %d, %lld", c->epoch, found, (long long)end);
    epochs_deinit(&epochs);
}
END_TEST

/* Goal: nothing is known of an empty list. Method: all questions. */
START_TEST(empty_list_knows_nothing)
{
    struct epochs epochs;
    epochs_init(&epochs);
    int32_t found = 0;
    int64_t end = 0;
    epochs_end(&epochs, 3, 0, 0, &found, &end);
    ck_assert_int_eq(found, -1);
    ck_assert_int_eq(end, -1);
    ck_assert_int_eq(epochs_at(&epochs, 0), -1);
    ck_assert_int_eq(epochs_last(&epochs), -1);
    epochs_trim(&epochs, 100);
    epochs_deinit(&epochs);
}
END_TEST

/* Goal: every offset is its writer's. Method: all offsets around the starts. */
START_TEST(at_finds_the_writer)
{
    struct epochs epochs;
    epochs_fill(&epochs);
    for (int64_t offset = 0; offset < 60; offset++) {
        int32_t writer = offset < 10 ? 2 : offset < 30 ? 5 : offset < 40 ? 6 : 9;
        ck_assert_int_eq(epochs_at(&epochs, offset), writer);
    }
    ck_assert_int_eq(epochs_at(&epochs, -1), -1);
    ck_assert_int_eq(epochs_last(&epochs), 9);
    epochs_deinit(&epochs);
}
END_TEST

/* Goal: trimming forgets exactly the epochs of which nothing is left, and what is left keeps its writer. Method:
 * each trim offset; afterwards an epoch that is gone ends where the log now starts, or the first known epoch does. */
START_TEST(trim_keeps_what_is_still_there)
{
    for (int64_t start = 0; start <= 55; start++) {
        struct epochs epochs;
        epochs_fill(&epochs);
        epochs_trim(&epochs, start);
        ck_assert_uint_eq(epochs.count, start < 10 ? 4 : start < 30 ? 3 : start < 40 ? 2 : 1);
        for (int64_t offset = start; offset < 60; offset++) {
            ck_assert_int_eq(epochs_at(&epochs, offset), offset < 10 ? 2 : offset < 30 ? 5 : offset < 40 ? 6 : 9);
        }
        int32_t found = 0;
        int64_t end = 0;
        epochs_end(&epochs, 1, start, 55, &found, &end);
        ck_assert_int_eq(found, 1);
        ck_assert_int_eq(end, start);
        epochs_deinit(&epochs);
    }
}
END_TEST

/* Goal: the list is bounded. Method: more terms than it may hold; the oldest are forgotten, the others exact. */
START_TEST(oldest_epochs_are_forgotten)
{
    struct epochs epochs;
    epochs_init(&epochs);
    for (int32_t i = 0; i < PARTITION_EPOCH_COUNT_MAX + 10; i++) {
        epochs_assign(&epochs, i, 10 * (int64_t)i);
    }
    ck_assert_uint_eq(epochs.count, PARTITION_EPOCH_COUNT_MAX);
    ck_assert_int_eq(epochs_at(&epochs, 99), -1);
    ck_assert_int_eq(epochs_at(&epochs, 100), 10);
    ck_assert_int_eq(epochs_last(&epochs), PARTITION_EPOCH_COUNT_MAX + 9);
    epochs_deinit(&epochs);
}
END_TEST

/* Goal: lists of all histories answer as the history does. Method: random terms, some without records, random trims;
 * a model that remembers the writer of every offset, asked everything. */
START_TEST(random_histories_match_a_model)
{
    enum {
        OFFSETS = 60
    };
    srand((unsigned)_i + 1);
    int32_t writer[OFFSETS];
    struct epochs epochs;
    epochs_init(&epochs);
    int64_t end = 0;
    int64_t start = 0;
    int32_t term = 1;
    while (end < OFFSETS) {
        term += rand() % 3;
        if (rand() % 2) {
            epochs_assign(&epochs, term, end);
        }
        for (int records = rand() % 4; records > 0 && end < OFFSETS; records--) {
            epochs_assign(&epochs, term, end);
            writer[end++] = term;
        }
        if (rand() % 5 == 0) {
            start += rand() % (end - start + 1);
            epochs_trim(&epochs, start);
        }
        for (int64_t offset = start; offset < end; offset++) {
            ck_assert_int_eq(epochs_at(&epochs, offset), writer[offset]);
        }
        for (int32_t epoch = 0; epoch <= term + 1 && end > start; epoch++) {
            int64_t expected = start;
            while (expected < end && writer[expected] <= epoch) {
                expected++;
            }
            int32_t found = 0;
            int64_t found_end = 0;
            epochs_end(&epochs, epoch, start, end, &found, &found_end);
            ck_assert_int_le(found, epoch);
            ck_assert_msg(found_end == expected, "epoch %d ends at %lld, not %lld", epoch, (long long)expected,
                          (long long)found_end);
            ck_assert(expected == start || found == writer[expected - 1] || found == epochs_last(&epochs));
        }
    }
    epochs_deinit(&epochs);
}
END_TEST

/* Goal: the state comes back exactly, and what is no state is refused. Method: round trip; every prefix; every byte
 * changed decodes to a well-formed list or fails. */
START_TEST(state_round_trips)
{
    struct epochs epochs;
    struct epochs copy;
    epochs_fill(&epochs);
    epochs_init(&copy);
    epochs_assign(&copy, 77, 5);
    struct dynbuf buf;
    dynbuf_init(&buf, MIB(1));
    epochs_encode(&epochs, &buf);
    struct reader reader;
    reader_init(&reader, dynbuf_bytes(&buf));
    epochs_decode(&copy, &reader);
    ck_assert_int_eq(reader.err, OK);
    ck_assert_uint_eq(reader.left, 0);
    ck_assert_uint_eq(copy.count, epochs.count);
    for (size_t i = 0; i < epochs.count; i++) {
        ck_assert_int_eq(copy.items[i].epoch, epochs.items[i].epoch);
        ck_assert_int_eq(copy.items[i].start_offset, epochs.items[i].start_offset);
    }
    for (size_t size = 0; size < buf.size; size++) {
        reader_init(&reader, (struct bytes){buf.data, size});
        epochs_decode(&copy, &reader);
        ck_assert_int_ne(reader.err, OK);
        ck_assert_uint_eq(copy.count, 0);
    }
    for (size_t bit = 0; bit < 8 * buf.size; bit++) {
        buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        reader_init(&reader, dynbuf_bytes(&buf));
        epochs_decode(&copy, &reader);
        for (size_t i = 1; i < copy.count; i++) {
            ck_assert_int_gt(copy.items[i].epoch, copy.items[i - 1].epoch);
            ck_assert_int_gt(copy.items[i].start_offset, copy.items[i - 1].start_offset);
        }
        buf.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    dynbuf_deinit(&buf);
    epochs_deinit(&copy);
    epochs_deinit(&epochs);
}
END_TEST

static Suite *epochs_suite(void)
{
    Suite *suite = suite_create("epochs");
    TCase *epochs = tcase_create("epochs");
    tcase_add_loop_test(epochs, end_is_the_start_of_the_next_epoch, 0, array_count(end_cases));
    tcase_add_test(epochs, empty_list_knows_nothing);
    tcase_add_test(epochs, at_finds_the_writer);
    tcase_add_test(epochs, trim_keeps_what_is_still_there);
    tcase_add_test(epochs, oldest_epochs_are_forgotten);
    tcase_add_loop_test(epochs, random_histories_match_a_model, 0, 300);
    tcase_add_test(epochs, state_round_trips);
    suite_add_tcase(suite, epochs);
    return suite;
}

TEST_MAIN(epochs_suite)
