/* What a segment serves, and what it refuses. */
#include "tests/lib/log_fixture.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "proto/record_batch.h"
#include "replication/segment.h"

static struct log_fixture fixture;
static struct log_model model;
static uint64_t seed;

static void setup(void)
{
    log_fixture_init(&fixture, 8);
    model = (struct log_model){0};
    seed = 1;
}

static void teardown(void)
{
    log_model_deinit(&model);
    log_fixture_deinit(&fixture);
}

/* Reads everything from `offset` on, asserting that what is served is right. Returns the first error. */
static enum err read_all(struct log *log, int64_t offset, struct errmsg *msg)
{
    while (offset < model.end_offset) {
        struct log_read req = {.offset = offset, .size_max = 400, .is_first_whole = true};
        enum err err = log_read_now(log, &req);
        if (err != OK) {
            *msg = req.msg;
            return err;
        }
        size_t position = 0;
        for (size_t i = log_model_find(&model, offset); position < req.slice.bytes.size; i++) {
            const struct model_batch *batch = &model.batches[i];
            ck_assert_uint_le(batch->bytes.size, req.slice.bytes.size - position);
            ck_assert_mem_eq(req.slice.bytes.data + position, batch->bytes.data, batch->bytes.size);
            position += batch->bytes.size;
            offset = batch->base_offset + batch->count;
        }
        ck_assert_uint_gt(position, 0);
        slice_release(&req.slice);
    }
    return OK;
}

static int32_t model_epoch_at(void *owner, int64_t offset)
{
    (void)owner;
    return model.batches[log_model_find(&model, offset)].leader_epoch;
}

/* Goal: no wrong byte is ever served. Method: flip every bit of a segment; from every offset, what is served is right
 * and what is not is ERR_DAMAGED with the file's name; and a flip is always found by reading from the start. */
START_TEST(every_flipped_bit_is_refused)
{
    struct log_config config = {.segment_size_max = 1 << 20, .segment_ms = INT64_MAX, .index_interval = 150};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    log_set_epochs(log, model_epoch_at, NULL);
    for (int i = 0; i < 6; i++) {
        struct model_batch_spec spec = {.count = 2, .value_size = 10, .base_timestamp = 1000};
        log_model_append(&model, log, &spec, 3 + i / 2, 1000, &seed);
    }
    char path[FIXTURE_PATH_SIZE];
    log_fixture_path(&fixture, 0, ".log", path);
    struct bytes good = test_file_read(path);
    FILE *file = fopen(path, "r+b");
    for (size_t bit = 0; bit < 8 * good.size; bit++) {
        int flipped = good.data[bit / 8] ^ (1 << bit % 8);
        (void)fseek(file, (long)(bit / 8), SEEK_SET);
        (void)fputc(flipped, file);
        (void)fflush(file);
        struct errmsg msg;
        for (int64_t offset = 0; offset < model.end_offset; offset++) {
            enum err err = read_all(log, offset, &msg);
            ck_assert_msg(err == ERR_DAMAGED || (err == OK && offset > 0), "bit %zu: %s", bit, err_name(err));
            ck_assert_msg(err == OK || strstr(msg.text, path) != NULL, "%s", msg.text);
        }
        (void)fseek(file, (long)(bit / 8), SEEK_SET);
        (void)fputc(good.data[bit / 8], file);
        (void)fflush(file);
    }
    struct errmsg msg;
    ck_assert_int_eq(read_all(log, 0, &msg), OK);
    (void)fclose(file);
    test_bytes_free(good);
    log_close(log);
}
END_TEST

static int32_t fixed_epoch_at(void *owner, int64_t offset)
{
    (void)offset;
    return *(int32_t *)owner;
}

/* Goal: a batch whose epoch nobody remembers is served, one of another epoch is not. Method: the same batch, asked with
 * each answer. */
START_TEST(an_epoch_not_remembered_is_not_checked)
{
    struct log_config config = {.segment_size_max = 1 << 20, .segment_ms = INT64_MAX, .index_interval = 4096};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    struct model_batch_spec spec = {.count = 2, .value_size = 10, .base_timestamp = 1000};
    log_model_append(&model, log, &spec, 3, 1000, &seed);
    int32_t epoch = -1;
    struct errmsg msg;
    log_set_epochs(log, fixed_epoch_at, &epoch);
    ck_assert_int_eq(read_all(log, 0, &msg), OK);
    epoch = 3;
    ck_assert_int_eq(read_all(log, 0, &msg), OK);
    epoch = 4;
    ck_assert_int_eq(read_all(log, 0, &msg), ERR_DAMAGED);
    log_close(log);
}
END_TEST

/* Goal: names are Kafka's, and only they are taken for segments. Method: a table. */
START_TEST(names_are_kafkas)
{
    const struct {
        const char *name;
        int64_t base_offset;
        int kind; /* -1: not a segment's file */
        uint64_t version;
    } cases[] = {
        {"00000000000000000000.log", 0, SEGMENT_LOG, 0},
        {"00000000000000000042.index", 42, SEGMENT_INDEX, 0},
        {"09223372036854775807.timeindex", INT64_MAX, SEGMENT_TIME_INDEX, 0},
        {"09223372036854775808.log", 0, -1, 0},
        {"99999999999999999999.log", 0, -1, 0},
        {"0000000000000000000.log", 0, -1, 0},
        {"000000000000000000000.log", 0, -1, 0},
        {"00000000000000000000", 0, -1, 0},
        {"00000000000000000000.txnindex", 0, -1, 0},
        {"0000000000000000000a.log", 0, -1, 0},
        {"-0000000000000000001.log", 0, -1, 0},
        {"", 0, -1, 0},
        {"00000000000000000007.12.log", 7, SEGMENT_LOG, 12},
        {"00000000000000000007.18446744073709551615.index", 7, SEGMENT_INDEX, UINT64_MAX},
        {"00000000000000000007.18446744073709551616.log", 0, -1, 0},
        {"00000000000000000007.0.log", 0, -1, 0},
        {"00000000000000000007.012.log", 0, -1, 0},
        {"00000000000000000007.1x.log", 0, -1, 0},
        {"00000000000000000007..log", 0, -1, 0},
    };
    for (size_t i = 0; i < array_count(cases); i++) {
        struct segment_id id = {-1, 0};
        enum segment_kind kind = SEGMENT_KIND_COUNT;
        bool is_segment = segment_name_parse(cases[i].name, &id, &kind);
        ck_assert_msg(is_segment == (cases[i].kind >= 0), "%s", cases[i].name);
        if (!is_segment) {
            continue;
        }
        ck_assert_int_eq(id.base_offset, cases[i].base_offset);
        ck_assert_uint_eq(id.version, cases[i].version);
        ck_assert_int_eq((int)kind, cases[i].kind);
        char path[SEGMENT_PATH_SIZE];
        segment_path("d", id, kind, path);
        ck_assert_str_eq(path + 2, cases[i].name);
    }
}
END_TEST

/* Goal: a segment takes a batch exactly as long as size, age, positions and relative offsets allow. Method: a table
 * around each limit. */
START_TEST(segments_are_full_by_size_age_and_offsets)
{
    const struct {
        const char *name;
        uint32_t size;
        size_t gathered, batch;
        int64_t append_ms;
        int64_t base_offset;
        int32_t last_offset_delta;
        bool is_taken;
    } cases[] = {
        {"an empty one takes any", 0, 0, 5000, 999999, 100, 0, true},
        {"fits", 500, 0, 500, 1000, 101, 0, true},
        {"one byte too many", 500, 0, 501, 1000, 101, 0, false},
        {"gathered fits", 100, 400, 500, 1000, 101, 0, true},
        {"gathered one too many", 100, 401, 500, 1000, 101, 0, false},
        {"over already", 5000, 0, 61, 1000, 101, 0, false},
        {"young enough", 100, 0, 61, 1049, 101, 0, true},
        {"old", 100, 0, 61, 1050, 101, 0, false},
        {"clock went back", 100, 0, 61, INT64_MIN, 101, 0, true},
        {"last relative offset", 100, 0, 61, 1000, 100ll + INT32_MAX, 0, true},
        {"relative offset too large", 100, 0, 61, 1000, 100ll + INT32_MAX, 1, false},
        {"relative offset far too large", 100, 0, 61, 1000, 1ll << 40, INT32_MAX, false},
    };
    struct log_config config = {.segment_size_max = 1000, .segment_ms = 50, .index_interval = 4096};
    for (size_t i = 0; i < array_count(cases); i++) {
        struct segment segment = {.base_offset = 100, .first_append_ms = 1000, .size = cases[i].size};
        struct log_batch batch = {
            .bytes = {NULL, cases[i].batch},
            .base_offset = cases[i].base_offset,
            .last_offset_delta = cases[i].last_offset_delta,
        };
        bool is_taken = segment_takes(&segment, cases[i].gathered, &config, cases[i].append_ms, &batch);
        ck_assert_msg(is_taken == cases[i].is_taken, "%s", cases[i].name);
    }
    struct log_config endless = {.segment_size_max = UINT64_MAX, .segment_ms = INT64_MAX, .index_interval = 4096};
    struct segment full = {.base_offset = 0, .size = SEGMENT_SIZE_MAX - 100};
    struct log_batch batch = {.bytes = {NULL, 100}, .base_offset = 7};
    ck_assert(segment_takes(&full, 0, &endless, 1000, &batch));
    ck_assert(!segment_takes(&full, 1, &endless, 1000, &batch));
}
END_TEST

/* Goal: offsets further than INT32_MAX from a segment's base go into a new one. Method: batches that claim 2^30 records
 * each, read back at both ends of each. */
START_TEST(far_offsets_roll)
{
    struct log_config config = {.segment_size_max = 1 << 20, .segment_ms = INT64_MAX, .index_interval = 4096};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    struct model_batch_spec spec = {.count = 1, .value_size = 10, .base_timestamp = 1000};
    struct log_batch batch = log_model_add(&model, &spec, 1, 1000, &seed);
    uint8_t *data = (uint8_t *)(uintptr_t)batch.bytes.data;
    batch.last_offset_delta = (1 << 30) - 1;
    be32_put(data + 23, (uint32_t)batch.last_offset_delta);
    record_batch_set_max_timestamp(data, batch.bytes.size, 1000, false);
    for (int i = 0; i < 7; i++) {
        batch.base_offset = (int64_t)i << 30;
        log_append(log, 1000, &batch, 1);
    }
    struct log_state state;
    log_fixture_capture(log, &state, true);
    ck_assert_uint_eq(state.segment_count, 4);
    for (int64_t i = 0; i < 7; i++) {
        int64_t offsets[2] = {i << 30, ((i + 1) << 30) - 1};
        for (int j = 0; j < 2; j++) {
            struct log_read req = {.offset = offsets[j], .size_max = batch.bytes.size, .is_first_whole = true};
            ck_assert_int_eq(log_read_now(log, &req), OK);
            ck_assert_uint_eq(req.slice.bytes.size, batch.bytes.size);
            ck_assert_uint_eq(be64_get(req.slice.bytes.data), (uint64_t)i << 30);
            slice_release(&req.slice);
        }
    }
    log_close(log);
    log_state_deinit(&state);
    test_bytes_free(batch.bytes);
}
END_TEST

/* Goal: a batch larger than what is asked for, and than a segment, is served whole or not at all, as asked. Method: a
 * huge one between small ones, with all limits around its size. */
START_TEST(huge_batches_are_whole_or_absent)
{
    struct log_config config = {.segment_size_max = 5000, .segment_ms = INT64_MAX, .index_interval = 512};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    for (int i = 0; i < 9; i++) {
        struct model_batch_spec spec = {.count = 2, .value_size = i % 3 == 1 ? 200000 : 50, .base_timestamp = 1000};
        log_model_append(&model, log, &spec, 1, 1000, &seed);
    }
    size_t size = model.batches[1].bytes.size;
    size_t limits[] = {0, 1, 61, 4096, 4097, size - 1, size, size + 1, 2 * size, 1 << 24};
    for (size_t i = 0; i < array_count(limits); i++) {
        for (int64_t offset = 0; offset < model.end_offset; offset++) {
            fixture.is_cold = offset % 2 == 0;
            (void)log_model_check_read(&fixture, &model, log, offset, limits[i], true);
            (void)log_model_check_read(&fixture, &model, log, offset, limits[i], false);
        }
    }
    log_model_check(&fixture, &model, log);
    log_close(log);
}
END_TEST

/* Goal: with only a part of the file cached, what is served is right, or it would block. Method: a cache that ends at
 * every position of a segment, every offset. */
START_TEST(half_cached_reads_are_whole_or_would_block)
{
    struct log_config config = {.segment_size_max = 1 << 20, .segment_ms = INT64_MAX, .index_interval = 150};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    for (int i = 0; i < 5; i++) {
        struct model_batch_spec spec = {.count = 2, .value_size = 10, .base_timestamp = 1000};
        log_model_append(&model, log, &spec, 1, 1000, &seed);
    }
    fixture.is_cache_limited = true;
    for (fixture.cache_size = 0; fixture.cache_size <= log_size(log); fixture.cache_size++) {
        for (int64_t offset = 0; offset < model.end_offset; offset++) {
            (void)log_model_check_read(&fixture, &model, log, offset, 250, true);
        }
    }
    log_close(log);
}
END_TEST

static void append_to_a_failing_disk(void)
{
    struct log_config config = {.segment_size_max = 1 << 20, .segment_ms = INT64_MAX, .index_interval = 4096};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    fixture.write_failure = ERR_IO;
    struct model_batch_spec spec = {.count = 2, .value_size = 10, .base_timestamp = 1000};
    log_model_append(&model, log, &spec, 1, 1000, &seed);
    log_close(log); /* small appends are written together */
}

/* Goal: an append that fails ends the process and is never taken for done. Method: a child whose disk fails each write
 * in turn; its exit status. */
START_TEST(failed_appends_stop_the_process)
{
    log_fixture_check_stop(append_to_a_failing_disk);
}
END_TEST

static unsigned full_count;

static void on_full(void *owner)
{
    ck_assert_ptr_eq(owner, &fixture);
    full_count++;
}

/* Small ones, which wait in the buffer for others, and large ones, which do not; three to a segment. */
static void append_mixed(struct log *log, unsigned count)
{
    static const size_t sizes[] = {10, 20000, 3000, 10, 10, 40000};
    for (unsigned i = 0; i < count; i++) {
        struct model_batch_spec spec = {.count = 1 + (int32_t)i % 3, .value_size = sizes[i % 6], .base_timestamp = i};
        log_model_append(&model, log, &spec, 1, 1000 + (int64_t)i, &seed);
    }
}

/* Each offset is served as it must be, or, from `end` on, maybe ERR_BUSY. */
static void check_reads_below(struct log *log, int64_t end)
{
    for (int64_t offset = 0; offset < model.end_offset; offset++) {
        struct log_read req = {.offset = offset, .size_max = 400, .is_first_whole = true};
        enum err err = log_read_now(log, &req);
        ck_assert_msg(err == OK || (err == ERR_BUSY && offset >= end), "offset %d: %s", (int)offset, err_name(err));
        if (err == OK) {
            const struct model_batch *batch = &model.batches[log_model_find(&model, offset)];
            ck_assert_mem_eq(req.slice.bytes.data, batch->bytes.data, batch->bytes.size);
            slice_release(&req.slice);
        }
    }
}

/* Goal: what finds no space is neither lost nor in the way: what is in files is served, nothing else is captured,
 * and all of it reaches the files, and a log that is opened again, once there is space. Method: a disk that is full
 * after each count of appends, while more come. */
START_TEST(full_disk_holds_what_is_appended)
{
    struct log_config config = {.segment_size_max = 50000, .segment_ms = INT64_MAX, .index_interval = 4096};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    struct log_state state;
    int64_t offset;
    int64_t timestamp;
    struct errmsg msg;
    full_count = 0;
    log_files_on_full(fixture.files, &fixture, on_full);
    append_mixed(log, (unsigned)_i);
    ck_assert(log_flush(log));
    int64_t end = log_end_offset(log);

    fixture.is_full = true;
    append_mixed(log, 7);
    ck_assert(!log_flush(log));
    ck_assert(log_is_held(log));
    ck_assert_uint_eq(full_count, 1);
    ck_assert_int_ge(metrics_value(fixture.env.metrics, METRIC_SEGMENT_RETRIES), 1);
    ck_assert_int_eq(log_end_offset(log), model.end_offset);
    ck_assert_int_eq(log_pin(log, &state), ERR_NO_SPACE);
    ck_assert_int_eq(log_find_time(log, 5, &offset, &timestamp, &msg), _i > 5 ? OK : ERR_BUSY);
    check_reads_below(log, end);

    fixture.is_full = false;
    ck_assert(log_flush(log));
    ck_assert(!log_is_held(log));
    log_model_check(&fixture, &model, log);
    log_fixture_capture(log, &state, true);
    log_close(log);
    log = log_fixture_open(&fixture, &config, &state);
    log_model_check(&fixture, &model, log);
    log_close(log);
    log_state_deinit(&state);
    log_files_on_full(fixture.files, NULL, NULL);
}
END_TEST

/* Goal: a process that ends while bytes are held goes on from its checkpoint. Method: as above, closed while full. */
START_TEST(held_bytes_come_again_from_the_write_ahead_log)
{
    struct log_config config = {.segment_size_max = 50000, .segment_ms = INT64_MAX, .index_interval = 4096};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    struct log_state state;
    append_mixed(log, (unsigned)_i);
    ck_assert(log_flush(log));
    log_fixture_capture(log, &state, true);
    fixture.is_full = true;
    append_mixed(log, 7);
    log_close(log);
    log = log_fixture_open(&fixture, &config, &state);
    log_model_replay(&model, log); /* still full */
    fixture.is_full = false;
    ck_assert(log_flush(log));
    log_model_check(&fixture, &model, log);
    log_close(log);
    log_state_deinit(&state);
}
END_TEST

static Suite *segment_suite(void)
{
    Suite *suite = suite_create("segment");
    TCase *damage = tcase_create("damage");
    tcase_add_checked_fixture(damage, setup, teardown);
    tcase_add_test(damage, every_flipped_bit_is_refused);
    tcase_add_test(damage, an_epoch_not_remembered_is_not_checked);
    tcase_add_test(damage, names_are_kafkas);
    tcase_add_test(damage, segments_are_full_by_size_age_and_offsets);
    tcase_add_test(damage, far_offsets_roll);
    tcase_add_test(damage, huge_batches_are_whole_or_absent);
    tcase_add_test(damage, half_cached_reads_are_whole_or_would_block);
    tcase_add_test(damage, failed_appends_stop_the_process);
    suite_add_tcase(suite, damage);
    TCase *full = tcase_create("full disk");
    tcase_add_checked_fixture(full, setup, teardown);
    tcase_add_loop_test(full, full_disk_holds_what_is_appended, 0, 13);
    tcase_add_loop_test(full, held_bytes_come_again_from_the_write_ahead_log, 0, 13);
    suite_add_tcase(suite, full);
    return suite;
}

TEST_MAIN(segment_suite)
