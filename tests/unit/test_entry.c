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

static Suite *entry_suite(void)
{
    Suite *suite = suite_create("entry");
    TCase *tcase = tcase_create("entry");
    tcase_add_test(tcase, slices_live_as_long_as_the_entry);
    tcase_add_test(tcase, payload_joins_slices_and_copies_only_several);
    tcase_add_test(tcase, copy_is_independent_of_its_source);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(entry_suite)
