/* Both indexes: their formats, lookups in them, and that they are never believed. */
#include "tests/lib/log_fixture.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "replication/index.h"

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

enum harm {
    HARM_RANDOM,
    HARM_FLIP,
    HARM_CUT,
    HARM_EXTEND,
    HARM_ZERO,
    HARM_REMOVE,
    HARM_COUNT
};

static void file_harm(const char *path, enum harm harm)
{
    struct bytes bytes = test_file_read(path);
    uint8_t *data = (uint8_t *)(uintptr_t)bytes.data;
    if (bytes.size == 0) {
        test_bytes_free(bytes);
        return;
    }
    switch (harm) {
    case HARM_RANDOM:
        for (size_t i = 0; i < bytes.size; i++) {
            data[i] = (uint8_t)test_random(&seed);
        }
        break;
    case HARM_FLIP:
        for (unsigned i = 0; i < 3; i++) {
            uint64_t bit = test_random(&seed) % (8 * bytes.size);
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        break;
    case HARM_CUT:
        bytes.size = test_random(&seed) % bytes.size;
        break;
    case HARM_EXTEND:
        data = mem_resize(data, 2 * bytes.size);
        memcpy(data + bytes.size, data, bytes.size);
        bytes = (struct bytes){data, 2 * bytes.size};
        break;
    case HARM_ZERO:
        memset(data + bytes.size / 2, 0, bytes.size - bytes.size / 2);
        break;
    case HARM_REMOVE:
    case HARM_COUNT:
        break;
    }
    if (harm == HARM_REMOVE) {
        (void)remove(path);
    } else {
        test_file_write(path, bytes);
    }
    test_bytes_free(bytes);
}

static void harm_indexes(const struct log_state *state)
{
    for (size_t i = 0; i < state->segment_count; i++) {
        char path[FIXTURE_PATH_SIZE];
        log_fixture_path(&fixture, state->segments[i].base_offset, ".index", path);
        file_harm(path, (enum harm)(test_random(&seed) % HARM_COUNT));
        log_fixture_path(&fixture, state->segments[i].base_offset, ".timeindex", path);
        file_harm(path, (enum harm)(test_random(&seed) % HARM_COUNT));
    }
}

/* Goal: an index that is random, flipped, cut, longer, half zero or gone never changes an answer. Method: harm the
 * files of a closed log in all ways, then look up offsets and times and append on. */
START_TEST(harmed_indexes_never_change_an_answer)
{
    seed = (uint64_t)_i + 300;
    struct log_config config = {.segment_size_max = 20000, .segment_ms = INT64_MAX, .index_interval = 100};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    int64_t now_ms = 1000;
    for (unsigned round = 0; round < 5; round++) {
        log_model_append_times(&model, log, 100, &now_ms, &seed);
        struct log_state state;
        log_fixture_capture(log, &state, true);
        log_close(log);
        harm_indexes(&state);
        log = log_fixture_open(&fixture, &config, &state);
        log_state_deinit(&state);
        fixture.is_cold = round % 2 == 1;
        for (unsigned i = 0; i < 60; i++) {
            int64_t offset = test_random_between(&seed, 0, model.end_offset);
            (void)log_model_check_read(&fixture, &model, log, offset, 2000, true);
            log_model_check_time(&model, log, test_random_between(&seed, 600, now_ms + 500));
            log_fixture_run_jobs(&fixture);
        }
        log_model_check(&fixture, &model, log);
    }
    log_close(log);
}
END_TEST

/* Goal: rebuilt indexes are those that appends would have written, entries added meanwhile included. Method: two
 * segments above the size worth rebuilding; keep their index files, remove them, open, look up, append while the job
 * runs; then the same appends to the same log that lost nothing. */
START_TEST(rebuilt_indexes_equal_written_ones)
{
    struct log_config config = {.segment_size_max = 3 << 20, .segment_ms = INT64_MAX, .index_interval = 4096};
    struct model_batch_spec spec = {.count = 3, .value_size = 700, .step_min = 0, .step_max = 2};
    struct log_state states[2];
    struct bytes files[2][2][2]; /* lost or not, segment, kind */
    static const char *const kinds[2] = {".index", ".timeindex"};
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    int64_t second = 0;
    for (int i = 0; i < 2200; i++) {
        spec.base_timestamp = 1000 + i;
        log_model_append(&model, log, &spec, 1, 1000, &seed);
    }
    log_fixture_capture(log, &states[0], true);
    ck_assert_uint_eq(states[0].segment_count, 2);
    second = states[0].segments[1].base_offset;
    log_close(log);
    for (int i = 0; i < 100; i++) {
        spec.base_timestamp = 3300 + i;
        struct log_batch batch = log_model_add(&model, &spec, 1, 1000, &seed);
        test_bytes_free(batch.bytes);
    }
    for (int is_lost = 0; is_lost < 2; is_lost++) {
        char path[FIXTURE_PATH_SIZE];
        for (int i = 0; is_lost && i < 4; i++) {
            log_fixture_path(&fixture, i < 2 ? 0 : second, kinds[i % 2], path);
            ck_assert_int_eq(remove(path), 0);
        }
        log = log_fixture_open(&fixture, &config, &states[0]);
        struct log_model now = model;
        now.end_offset = log_end_offset(log);
        for (int i = 0; i < 2; i++) {
            (void)log_model_check_read(&fixture, &now, log, i * (second + 5) + 7, 100, true);
            (void)log_model_check_read(&fixture, &now, log, i * (second + 5) + 9, 100, true);
            log_fixture_run_jobs_half(&fixture);
            if (i == 1) {
                log_model_replay(&model, log);
            }
            log_fixture_run_jobs(&fixture);
        }
        log_fixture_capture(log, &states[1], true);
        ck_assert_uint_eq(states[1].segment_count, 2);
        for (int i = 0; i < 4; i++) {
            log_fixture_path(&fixture, i < 2 ? 0 : second, kinds[i % 2], path);
            files[is_lost][i / 2][i % 2] = test_file_read(path);
        }
        ck_assert_uint_gt(states[1].segments[1].index_count, 100);
        log_model_check_time(&model, log, 3150);
        log_close(log);
        log_state_deinit(&states[1]);
    }
    for (int i = 0; i < 4; i++) {
        struct bytes kept = files[0][i / 2][i % 2];
        struct bytes rebuilt = files[1][i / 2][i % 2];
        ck_assert_msg(bytes_equal(kept, rebuilt), "segment %d%s: %zu, rebuilt %zu bytes", i / 2, kinds[i % 2],
                      kept.size, rebuilt.size);
        test_bytes_free(kept);
        test_bytes_free(rebuilt);
    }
    log_state_deinit(&states[0]);
}
END_TEST

/* Goal: the bytes are Kafka's. Method: entries written by hand. */
START_TEST(entries_are_kafkas)
{
    uint8_t data[TIME_INDEX_ENTRY_SIZE];
    index_entry_encode(data, (struct index_entry){.offset = 0x01020304, .position = 0x7A0B0C0D});
    ck_assert_mem_eq(data, "\x01\x02\x03\x04\x7A\x0B\x0C\x0D", INDEX_ENTRY_SIZE);
    struct index_entry entry = index_entry_decode(data);
    ck_assert_int_eq(entry.offset, 0x01020304);
    ck_assert_uint_eq(entry.position, 0x7A0B0C0D);
    time_index_entry_encode(data, (struct time_index_entry){.timestamp = 1700000000000, .offset = 0x01020304});
    ck_assert_mem_eq(data, "\x00\x00\x01\x8B\xCF\xE5\x68\x00\x01\x02\x03\x04", TIME_INDEX_ENTRY_SIZE);
    struct time_index_entry time_entry = time_index_entry_decode(data);
    ck_assert_int_eq(time_entry.timestamp, 1700000000000);
    ck_assert_int_eq(time_entry.offset, 0x01020304);
}
END_TEST

/* Goal: a lookup finds what a scan finds. Method: indexes of all sizes around the block size of the search, every
 *       key. */
START_TEST(lookups_equal_scans)
{
    static const uint32_t counts[] = {0, 1, 2, 3, 63, 64, 65, 66, 127, 128, 129, 200, 1000};
    char path[FIXTURE_PATH_SIZE + 8];
    (void)snprintf(path, sizeof(path), "%s/index", fixture.dir);
    for (size_t c = 0; c < array_count(counts); c++) {
        uint32_t count = counts[c];
        uint8_t *data = mem_alloc(count * TIME_INDEX_ENTRY_SIZE + 1);
        for (int kind = 0; kind < 2; kind++) {
            for (uint32_t i = 0; i < count; i++) {
                int32_t key = (int32_t)(3 * i + 2);
                if (kind == 0) {
                    index_entry_encode(data + i * INDEX_ENTRY_SIZE, (struct index_entry){key, 7 * i});
                } else {
                    struct time_index_entry entry = {.timestamp = key, .offset = (int32_t)(7 * i)};
                    time_index_entry_encode(data + i * TIME_INDEX_ENTRY_SIZE, entry);
                }
            }
            size_t size = kind == 0 ? INDEX_ENTRY_SIZE : TIME_INDEX_ENTRY_SIZE;
            test_file_write(path, (struct bytes){data, count * size});
            int file;
            ck_assert_int_eq(fixture.disk.open(&fixture.disk, path, 0, &file, NULL), OK);
            struct index_file index = {.disk = &fixture.disk, .file = file, .count = count};
            for (int32_t key = 0; key < (int32_t)(3 * count + 5); key++) {
                struct index_entry entry;
                struct time_index_entry time_entry;
                int32_t wanted = key < 2 ? -1 : (key - 2) / 3; /* number of the last entry <= key */
                wanted = wanted < (int32_t)count ? wanted : (int32_t)count - 1;
                enum err err =
                    kind == 0 ? index_find(&index, key, &entry) : time_index_find(&index, key + 1, &time_entry);
                ck_assert_int_eq(err, wanted < 0 ? ERR_NOT_FOUND : OK);
                if (err == OK) {
                    ck_assert_int_eq(kind == 0 ? (int32_t)entry.position : time_entry.offset, 7 * wanted);
                }
            }
            index.count = count + 1; /* more than there is */
            struct index_entry entry;
            if (kind == 0) {
                ck_assert_int_eq(index_find(&index, INT32_MAX, &entry), ERR_SHORT);
            }
            fixture.disk.close(&fixture.disk, file);
        }
        mem_free(data);
    }
}
END_TEST

/* Goal: entries are Kafka's: for the first batch after more than the interval without one, its last offset and
 * position; timestamps grow; a full segment's time index ends in its highest timestamp. Method: batches of one size, an
 * interval of exactly two of them, timestamps that go up and down, two segments. */
START_TEST(entries_follow_kafkas_rule)
{
    struct model_batch_spec spec = {.count = 2, .value_size = 30};
    static const int64_t timestamps[10] = {50, 40, 60, 60, 10, 60, 70, 90, 80, 100};
    spec.base_timestamp = 0;
    struct log_batch batch = log_model_add(&model, &spec, 1, 1000, &seed);
    size_t size = batch.bytes.size;
    test_bytes_free(batch.bytes);
    log_model_cut(&model, 0);
    struct log_config config = {
        .segment_size_max = 9 * size,
        .segment_ms = INT64_MAX,
        .index_interval = (uint32_t)(2 * size),
    };
    struct log *log = log_fixture_open(&fixture, &config, NULL);
    for (int i = 0; i < 10; i++) {
        spec.base_timestamp = timestamps[i];
        log_model_append(&model, log, &spec, 1, 1000, &seed);
    }
    /* Batches 0 to 2 are three intervals' worth, so batch 3 gets the first entry, then 6; 9 is in the next segment. */
    uint8_t wanted[2 * INDEX_ENTRY_SIZE];
    index_entry_encode(wanted, (struct index_entry){.offset = 7, .position = (uint32_t)(3 * size)});
    index_entry_encode(wanted + INDEX_ENTRY_SIZE, (struct index_entry){.offset = 13, .position = (uint32_t)(6 * size)});
    uint8_t wanted_times[3 * TIME_INDEX_ENTRY_SIZE];
    time_index_entry_encode(wanted_times, (struct time_index_entry){.timestamp = 60, .offset = 5});
    time_index_entry_encode(wanted_times + TIME_INDEX_ENTRY_SIZE,
                            (struct time_index_entry){.timestamp = 70, .offset = 13});
    time_index_entry_encode(wanted_times + 2 * TIME_INDEX_ENTRY_SIZE,
                            (struct time_index_entry){.timestamp = 90, .offset = 15});
    char path[FIXTURE_PATH_SIZE];
    log_fixture_path(&fixture, 0, ".index", path);
    struct bytes got = test_file_read(path);
    ck_assert(bytes_equal(got, (struct bytes){wanted, sizeof(wanted)}));
    test_bytes_free(got);
    log_fixture_path(&fixture, 0, ".timeindex", path);
    got = test_file_read(path);
    ck_assert(bytes_equal(got, (struct bytes){wanted_times, sizeof(wanted_times)}));
    test_bytes_free(got);
    log_close(log);
}
END_TEST

static Suite *index_suite(void)
{
    Suite *suite = suite_create("index");
    TCase *harm = tcase_create("harm");
    tcase_add_checked_fixture(harm, setup, teardown);
    tcase_add_loop_test(harm, harmed_indexes_never_change_an_answer, 0, 10);
    tcase_add_test(harm, rebuilt_indexes_equal_written_ones);
    tcase_add_test(harm, entries_are_kafkas);
    tcase_add_test(harm, lookups_equal_scans);
    tcase_add_test(harm, entries_follow_kafkas_rule);
    suite_add_tcase(suite, harm);
    return suite;
}

TEST_MAIN(index_suite)
