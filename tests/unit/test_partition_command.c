/* Commands in entries, however these are cut into slices. */
#include "replication/partition_command.h"

#include <string.h>

#include "base/shared.h"
#include "proto/records.h"
#include "tests/lib/test.h"

/* A command of three batches with 1, 2 and 3 records. */
static struct shared *command_block(void)
{
    struct shared *batches[3];
    size_t size = PARTITION_COMMAND_HEADER_SIZE;
    for (int i = 0; i < 3; i++) {
        struct record_builder *builder = record_builder_open(CODEC_NONE, 5);
        struct bytes value = bytes_from_text("value");
        for (int k = 0; k <= i; k++) {
            record_builder_add(builder, 5, NULL, &value, NULL, 0);
        }
        batches[i] = record_builder_finish(builder);
        size += batches[i]->size;
    }
    struct shared *block = shared_new(size);
    partition_command_encode(&(struct partition_command){PARTITION_COMMAND_BATCHES, 3, 1234, 5678}, block->data);
    size_t at = PARTITION_COMMAND_HEADER_SIZE;
    for (int i = 0; i < 3; i++) {
        memcpy(block->data + at, batches[i]->data, batches[i]->size);
        at += batches[i]->size;
        shared_release(batches[i]);
    }
    return block;
}

static void expect_three(const struct entry *entry)
{
    struct partition_command_reader reader;
    struct partition_command command;
    struct record_batch batch;
    ck_assert_int_eq(partition_command_open(&reader, entry, &command), OK);
    ck_assert_int_eq(command.type, PARTITION_COMMAND_BATCHES);
    ck_assert_uint_eq(command.batch_count, 3);
    ck_assert_int_eq(command.append_ms, 1234);
    ck_assert_int_eq(command.argument, 5678);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(partition_command_next(&reader, &batch), OK);
        ck_assert_int_eq(batch.count, i + 1);
        ck_assert(record_batch_crc_ok(&batch));
    }
    ck_assert_int_eq(partition_command_next(&reader, &batch), ERR_NOT_FOUND);
    partition_command_deinit(&reader);
}

/* Goal: a command is the same however its entry is sliced, and batches read before a gathering stay valid. Method:
 * every cut into two, and into three with a short middle, empty ones included. */
START_TEST(slices_do_not_matter)
{
    struct shared *block = command_block();
    size_t middle = (size_t)_i;
    for (size_t cut = 0; cut + middle <= block->size; cut++) {
        struct slice slices[3] = {slice_of(block, 0, cut), slice_of(block, cut, middle),
                                  slice_of(block, cut + middle, block->size - cut - middle)};
        struct entry *entry = entry_new(ENTRY_COMMAND, 1, 1, slices, 3);
        expect_three(entry);
        entry_release(entry);
    }
    shared_release(block);
}
END_TEST

/* Goal: what lies in its slice as a whole is not copied. Method: header and batches in slices of their own. */
START_TEST(whole_pieces_are_read_in_place)
{
    struct shared *block = command_block();
    struct slice slices[2] = {
        slice_of(block, 0, PARTITION_COMMAND_HEADER_SIZE),
        slice_of(block, PARTITION_COMMAND_HEADER_SIZE, block->size - PARTITION_COMMAND_HEADER_SIZE)};
    struct entry *entry = entry_new(ENTRY_COMMAND, 1, 1, slices, 2);
    struct partition_command_reader reader;
    struct partition_command command;
    struct record_batch batch;
    ck_assert_int_eq(partition_command_open(&reader, entry, &command), OK);
    ck_assert_int_eq(partition_command_next(&reader, &batch), OK);
    ck_assert_ptr_eq(batch.bytes.data, block->data + PARTITION_COMMAND_HEADER_SIZE);
    ck_assert_ptr_null(reader.scratch);
    partition_command_deinit(&reader);
    entry_release(entry);
    shared_release(block);
}
END_TEST

struct header_case {
    const char *name;
    size_t at;
    uint8_t value;
    enum err err;
};
static const struct header_case header_cases[] = {
    {"as it is", 0, PARTITION_COMMAND_BATCHES, OK}, {"type 0", 0, 0, ERR_UNSUPPORTED},
    {"trim", 0, PARTITION_COMMAND_TRIM, OK},        {"type 4", 0, 4, ERR_UNSUPPORTED},
    {"type 255", 0, 255, ERR_UNSUPPORTED},          {"version 0", 1, 0, ERR_UNSUPPORTED},
    {"version 2", 1, 2, ERR_UNSUPPORTED},           {"negative time", 4, 0x80, ERR_CORRUPT},
    {"negative argument", 12, 0x80, ERR_CORRUPT},
};

/* Goal: other releases' commands are told from broken ones. Method: table of header bytes; every header cut short. */
START_TEST(headers_are_checked)
{
    const struct header_case *c = &header_cases[_i];
    struct shared *block = command_block();
    block->data[c->at] = c->value;
    for (size_t size = 0; size <= PARTITION_COMMAND_HEADER_SIZE; size++) {
        struct entry *entry = entry_new_copy(ENTRY_COMMAND, 1, 1, (struct bytes){block->data, size});
        struct partition_command_reader reader;
        struct partition_command command;
        enum err expected = size == PARTITION_COMMAND_HEADER_SIZE ? c->err : ERR_CORRUPT;
        enum err err = partition_command_open(&reader, entry, &command);
        ck_assert_msg(err == expected, "%s, %zu bytes: %s", c->name, size, err_name(err));
        partition_command_deinit(&reader);
        entry_release(entry);
    }
    shared_release(block);
}
END_TEST

struct batch_case {
    const char *name;
    size_t at;
    uint8_t value;
    size_t also_at; /* 0: no second patch */
    uint8_t also_value;
};
/* Offsets within the first batch. */
static const struct batch_case batch_cases[] = {
    {"magic 1", 16, 1, 0, 0},
    {"length too small", 11, 10, 0, 0},
    {"length enormous", 8, 0x7f, 0, 0},
    {"length negative", 8, 0xff, 0, 0},
    {"no records", 60, 0, 0, 0},
    {"no records, last delta to match", 60, 0, 23, 0xff},
    {"negative count", 57, 0x80, 0, 0},
    {"last delta beyond the count", 26, 9, 0, 0},
    {"producer without epoch and sequence", 43, 0x7f, 0, 0},
    {"producer without epoch", 43, 0x7f, 53, 0x7f},
    {"producer without sequence", 43, 0x7f, 51, 0x7f},
};

/* Goal: a batch that no leader lets in is refused before it reaches tables that rely on leaders. Method: table of
 * header bytes. */
START_TEST(batches_are_checked)
{
    const struct batch_case *c = &batch_cases[_i];
    struct shared *block = command_block();
    block->data[PARTITION_COMMAND_HEADER_SIZE + c->at] = c->value;
    if (c->also_at != 0) {
        block->data[PARTITION_COMMAND_HEADER_SIZE + c->also_at] = c->also_value;
    }
    struct entry *entry = entry_new_copy(ENTRY_COMMAND, 1, 1, (struct bytes){block->data, block->size});
    struct partition_command_reader reader;
    struct partition_command command;
    struct record_batch batch;
    ck_assert_int_eq(partition_command_open(&reader, entry, &command), OK);
    ck_assert_msg(partition_command_next(&reader, &batch) == ERR_CORRUPT, "%s", c->name);
    partition_command_deinit(&reader);
    entry_release(entry);
    shared_release(block);
}
END_TEST

static Suite *partition_command_suite(void)
{
    Suite *suite = suite_create("partition_command");
    TCase *command = tcase_create("command");
    tcase_add_loop_test(command, slices_do_not_matter, 0, 30);
    tcase_add_test(command, whole_pieces_are_read_in_place);
    tcase_add_loop_test(command, headers_are_checked, 0, sizeof(header_cases) / sizeof(header_cases[0]));
    tcase_add_loop_test(command, batches_are_checked, 0, sizeof(batch_cases) / sizeof(batch_cases[0]));
    suite_add_tcase(suite, command);
    return suite;
}

TEST_MAIN(partition_command_suite)
