/* The ring of entries at the end of a log. */
#include "base/mem.h"
#include "replication/tail.h"
#include "tests/lib/test.h"

static struct entry *entry_at(uint64_t index)
{
    static const uint8_t payload[64] = {0};
    return entry_new_copy(ENTRY_COMMAND, index, 1, (struct bytes){payload, index % 64});
}

static void push(struct tail *tail, uint64_t index)
{
    struct entry *entry = entry_at(index);
    tail_push(tail, entry, index * 10);
    entry_release(entry);
}

static void check(const struct tail *tail, uint64_t first, uint64_t end)
{
    size_t size = 0;
    ck_assert_uint_eq(tail->first_index, first);
    ck_assert_uint_eq(tail_end(tail), end);
    for (uint64_t index = first; index < end; index++) {
        const struct tail_slot *slot = tail_at(tail, index);
        ck_assert_uint_eq(slot->entry->index, index);
        ck_assert_uint_eq(slot->entry->references, 1);
        ck_assert_uint_eq(slot->lsn, index * 10);
        size += tail_entry_size(slot->entry);
    }
    ck_assert_uint_eq(tail->size, size);
}

/* Goal: entries come out as they went in, whatever turns the ring has made. Method: a window that moves on for many
 * rounds, growing and shrinking, with cuts at its end. */
START_TEST(window_moves_over_the_ring)
{
    struct tail tail;
    tail_init(&tail, 5);
    uint64_t first = 5;
    uint64_t end = 5;
    check(&tail, first, end);
    for (unsigned round = 0; round < 200; round++) {
        for (unsigned i = 0; i < 1 + round % 13; i++) {
            push(&tail, end++);
        }
        for (unsigned i = 0; i < round % 11 && first < end; i++) {
            tail_drop_first(&tail);
            first++;
        }
        if (round % 5 == 4 && first < end) {
            end = first + (end - first) / 2;
            tail_cut(&tail, end);
        }
        check(&tail, first, end);
    }
    tail_reset(&tail, 9000);
    check(&tail, 9000, 9000);
    push(&tail, 9000);
    check(&tail, 9000, 9001);
    tail_deinit(&tail);
}
END_TEST

static Suite *tail_suite(void)
{
    Suite *suite = suite_create("tail");
    TCase *all = tcase_create("tail");
    tcase_add_test(all, window_moves_over_the_ring);
    suite_add_tcase(suite, all);
    return suite;
}

TEST_MAIN(tail_suite)
