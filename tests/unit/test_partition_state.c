/* What a checkpoint remembers of a partition. */
#include "replication/partition_state.h"

#include <string.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "tests/lib/test.h"

static struct epochs epochs;
static struct producers producers;
static struct dynbuf blob;

static void setup(void)
{
    epochs_init(&epochs);
    epochs_assign(&epochs, 3, 0);
    epochs_assign(&epochs, 9, 55);
    producers_init(&producers, 10);
    struct record_batch batch = {.producer_id = 4, .base_sequence = 7, .count = 2, .last_offset_delta = 1};
    producers_add(&producers, &batch, 60, 5000);
    struct log_segment_state segments[2] = {{10, 4000, 77, 88, 1, 2, 3, 31}, {50, 900, 99, 111, 4, 5, 0xdeadbeef, 0}};
    struct partition_state state = {
        .append_ms = 5000,
        .log = {.start_offset = 12, .end_offset = 62, .segments = segments, .segment_count = 2},
        .epochs = &epochs,
        .producers = &producers,
    };
    dynbuf_init(&blob, 1 << 20);
    partition_state_encode(&state, &blob);
}

static void teardown(void)
{
    dynbuf_deinit(&blob);
    producers_deinit(&producers);
    epochs_deinit(&epochs);
}

static enum err decode(struct bytes bytes, struct partition_state *state)
{
    struct errmsg msg = {{0}};
    *state = (struct partition_state){.epochs = &epochs, .producers = &producers};
    enum err err = partition_state_decode(bytes, state, &msg);
    ck_assert_msg(err == OK || strstr(msg.text, "its ") == msg.text, "%s", msg.text);
    return err;
}

/* Goal: the state comes back exactly. Method: every field, and the same bytes when it is written again. */
START_TEST(state_round_trips)
{
    struct partition_state state;
    ck_assert_int_eq(decode(dynbuf_bytes(&blob), &state), OK);
    ck_assert_int_eq(state.append_ms, 5000);
    ck_assert_int_eq(state.log.start_offset, 12);
    ck_assert_int_eq(state.log.end_offset, 62);
    ck_assert_uint_eq(state.log.segment_count, 2);
    ck_assert_int_eq(state.log.segments[1].base_offset, 50);
    ck_assert_uint_eq(state.log.segments[0].version, 31);
    ck_assert_uint_eq(state.log.segments[1].size, 900);
    ck_assert_int_eq(state.log.segments[1].max_timestamp, 99);
    ck_assert_int_eq(state.log.segments[1].first_append_ms, 111);
    ck_assert_uint_eq(state.log.segments[1].index_count, 4);
    ck_assert_uint_eq(state.log.segments[1].time_index_count, 5);
    ck_assert_uint_eq(state.log.segments[1].time_index_crc, 0xdeadbeef);
    ck_assert_int_eq(epochs_at(&epochs, 60), 9);
    ck_assert_int_eq(producers_find(&producers, 4)->batches[0].last_sequence, 8);
    struct dynbuf again;
    dynbuf_init(&again, 1 << 20);
    partition_state_encode(&state, &again);
    ck_assert(bytes_equal(dynbuf_bytes(&again), dynbuf_bytes(&blob)));
    dynbuf_deinit(&again);
    log_state_deinit(&state.log);
}
END_TEST

/* Goal: damage of the store is found. Method: every prefix and every flipped bit is refused. */
START_TEST(damage_is_found)
{
    struct partition_state state;
    for (size_t size = 0; size < blob.size; size++) {
        ck_assert_int_eq(decode((struct bytes){blob.data, size}, &state), ERR_DAMAGED);
        log_state_deinit(&state.log);
    }
    for (size_t bit = 0; bit < 8 * blob.size; bit++) {
        blob.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        ck_assert_int_eq(decode(dynbuf_bytes(&blob), &state), ERR_DAMAGED);
        log_state_deinit(&state.log);
        blob.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}
END_TEST

/* Goal: even with a right CRC no state is taken that cannot be. Method: every bit flipped, the CRC made right again:
 * refused, or sane. */
START_TEST(nonsense_with_a_right_crc_is_harmless)
{
    struct partition_state state;
    for (size_t bit = 0; bit < 8 * (blob.size - 4); bit++) {
        blob.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        be32_put(blob.data + blob.size - 4, crc32c(0, (struct bytes){blob.data, blob.size - 4}));
        if (decode(dynbuf_bytes(&blob), &state) == OK) {
            ck_assert_int_ge(state.append_ms, 0);
            ck_assert_int_ge(state.log.start_offset, 0);
            ck_assert_int_ge(state.log.end_offset, state.log.start_offset);
            for (size_t i = 0; i < state.log.segment_count; i++) {
                ck_assert_int_le(state.log.segments[i].base_offset, state.log.end_offset);
            }
        }
        log_state_deinit(&state.log);
        blob.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}
END_TEST

/* Goal: the state of a replica that stopped at an entry is never taken for one. Method: encode and decode. */
START_TEST(a_damaged_partitions_state_is_refused)
{
    struct dynbuf damaged;
    dynbuf_init(&damaged, 100);
    partition_state_encode_damaged(&damaged);
    struct partition_state state;
    ck_assert_int_eq(decode(dynbuf_bytes(&damaged), &state), ERR_DAMAGED);
    dynbuf_deinit(&damaged);
}
END_TEST

static Suite *partition_state_suite(void)
{
    Suite *suite = suite_create("partition_state");
    TCase *state = tcase_create("state");
    tcase_add_checked_fixture(state, setup, teardown);
    tcase_add_test(state, state_round_trips);
    tcase_add_test(state, damage_is_found);
    tcase_add_test(state, nonsense_with_a_right_crc_is_harmless);
    tcase_add_test(state, a_damaged_partitions_state_is_refused);
    suite_add_tcase(suite, state);
    return suite;
}

TEST_MAIN(partition_state_suite)
