/* Raft entries in memory. */
#include "replication/entry.h"
#include "tests/lib/test.h"

#include <string.h>

static struct slice slice_from_text(const char *text)
{
    struct shared *block = shared_new(strlen(text) + 1);
    memcpy(block->data, text, strlen(text));
    return (struct slice){.block = block, .bytes = {block->data, strlen(text)}};
}

/* Goal: an entry keeps its slices alive exactly as long as itself. Method: a second reference to the block sees the
 * count fall only at the last entry_release(). */
START_TEST(slices_live_as_long_as_the_entry)
{
    struct slice slice = slice_from_text("abc");
    struct shared *block = shared_acquire(slice.block);
    struct entry *entry = entry_new(ENTRY_COMMAND, 7, 3, &slice, 1);
    ck_assert_uint_eq(entry->size, 3);
    ck_assert_uint_eq(block->references, 2);
    ck_assert_ptr_eq(entry_acquire(entry), entry);
    entry_release(entry);
    ck_assert_uint_eq(block->references, 2);
    entry_release(entry);
    ck_assert_uint_eq(block->references, 1);
    shared_release(block);
}
END_TEST

/* Goal: the payload is the slices one after the other, and is copied only when there are several. Method: zero, one and
 * three slices (one of them empty) with one scratch that has to grow. */
START_TEST(payload_joins_slices_and_copies_only_several)
{
    struct shared *scratch = NULL;
    struct entry *none = entry_new(ENTRY_BARRIER, 1, 1, NULL, 0);
    ck_assert_uint_eq(entry_payload(none, &scratch).size, 0);

    struct slice single = slice_from_text("one");
    const uint8_t *data = single.bytes.data;
    struct entry *one = entry_new(ENTRY_COMMAND, 2, 1, &single, 1);
    ck_assert_ptr_eq(entry_payload(one, &scratch).data, data);
    ck_assert_ptr_null(scratch);

    struct slice three[3] = {slice_from_text("a"), {NULL, BYTES_NONE}, slice_from_text("bcd")};
    struct entry *few = entry_new(ENTRY_COMMAND, 3, 1, three, 3);
    ck_assert(bytes_equal_text(entry_payload(few, &scratch), "abcd"));

    struct slice two[2] = {slice_from_text("a longer text than"), slice_from_text(" the one before")};
    struct entry *more = entry_new(ENTRY_COMMAND, 4, 1, two, 2);
    ck_assert(bytes_equal_text(entry_payload(more, &scratch), "a longer text than the one before"));
    ck_assert(bytes_equal_text(entry_payload(few, &scratch), "abcd"));

    entry_release(none);
    entry_release(one);
    entry_release(few);
    entry_release(more);
    shared_release(scratch);
}
END_TEST

/* Goal: a copied entry does not look at the caller's memory again. Method: the source is overwritten after the copy. */
START_TEST(copy_is_independent_of_its_source)
{
    char text[] = "payload";
    struct shared *scratch = NULL;
    struct entry *entry = entry_new_copy(ENTRY_CHANGE, 5, 2, bytes_from_text(text));
    memset(text, 'x', sizeof text - 1);
    ck_assert(bytes_equal_text(entry_payload(entry, &scratch), "payload"));
    ck_assert_int_eq(entry->kind, ENTRY_CHANGE);
    entry_release(entry);

    entry = entry_new_copy(ENTRY_BARRIER, 6, 2, BYTES_NONE);
    ck_assert_uint_eq(entry->slice_count, 0);
    entry_release(entry);
}
END_TEST

/* Goal: what is kept of a large block does not keep all of it, unless it is much of it. Method: the last of ten entries
 * of a block, the last two, the last three; the block's count tells who holds it. */
START_TEST(few_entries_do_not_pin_a_large_block)
{
    enum {
        COUNT = 10,
        SIZE = 100
    };
    for (unsigned kept = 1; kept <= 3; kept++) {
        struct shared *block = shared_new((size_t)COUNT * SIZE);
        struct entry *entries[COUNT];
        struct shared *scratch = NULL;
        for (unsigned i = 0; i < COUNT; i++) {
            memset(block->data + (size_t)i * SIZE, 'a' + (int)i, SIZE);
            struct slice slice = {.block = shared_acquire(block), .bytes = {block->data + (size_t)i * SIZE, SIZE}};
            entries[i] = entry_new(ENTRY_COMMAND, 1 + i, 1, &slice, 1);
        }
        entries_unpin(entries + COUNT - kept, kept);
        ck_assert_uint_eq(block->references, kept < 3 ? 1 + COUNT - kept : 1 + COUNT);
        for (unsigned i = 0; i < COUNT; i++) {
            struct bytes payload = entry_payload(entries[i], &scratch);
            ck_assert_uint_eq(payload.size, SIZE);
            for (size_t n = 0; n < SIZE; n++) {
                ck_assert_uint_eq(payload.data[n], 'a' + i);
            }
            entry_release(entries[i]);
        }
        ck_assert_uint_eq(block->references, 1);
        shared_release(block);
    }
}
END_TEST

/* Goal: entries without payload, of several slices or of other blocks are left as they are. */
START_TEST(other_entries_are_not_copied)
{
    struct shared *block = shared_new(1000);
    struct slice pair[2] = {{shared_acquire(block), {block->data, 1}}, {shared_acquire(block), {block->data, 1}}};
    struct slice one = slice_from_text("abc");
    struct shared *whole = shared_acquire(one.block);
    struct entry *entries[] = {entry_new(ENTRY_BARRIER, 1, 1, NULL, 0), entry_new(ENTRY_COMMAND, 2, 1, pair, 2),
                               entry_new(ENTRY_COMMAND, 3, 1, &one, 1)};
    entries_unpin(entries, 3);
    entries_unpin(entries, 0);
    ck_assert_uint_eq(block->references, 3);
    ck_assert_uint_eq(whole->references, 2);
    for (unsigned i = 0; i < 3; i++) {
        entry_release(entries[i]);
    }
    shared_release(whole);
    shared_release(block);
}
END_TEST

static Suite *entry_suite(void)
{
    Suite *suite = suite_create("entry");
    TCase *tcase = tcase_create("entry");
    tcase_add_test(tcase, slices_live_as_long_as_the_entry);
    tcase_add_test(tcase, payload_joins_slices_and_copies_only_several);
    tcase_add_test(tcase, copy_is_independent_of_its_source);
    tcase_add_test(tcase, few_entries_do_not_pin_a_large_block);
    tcase_add_test(tcase, other_entries_are_not_copied);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(entry_suite)
