/* The log against a plain array of batches. */
#include "tests/lib/log_fixture.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"

static struct log_fixture fixture;
static struct log_model model;
static uint64_t seed;

static const struct log_config config_small = {.segment_size_max = 6000, .segment_ms = 50, .index_interval = 512};

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

static struct log *open_log(const struct log_config *config, const struct log_state *state)
{
    struct log *log;
    struct errmsg msg;
    char dir[512];
    (void)snprintf(dir, sizeof(dir), "%s/t-0.7", fixture.dir);
    enum err err = log_open(&fixture.env, fixture.files, dir, config, state, &log, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    return log;
}

static void capture(struct log *log, struct log_state *state, bool is_ok)
{
    struct errmsg msg;
    struct log_capture *taken = log_capture(log, state);
    enum err err = log_capture_sync(taken, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    log_capture_done(taken, is_ok);
}

static void append_random(struct log *log, unsigned count, int64_t *now_ms)
{
    for (unsigned i = 0; i < count; i++) {
        *now_ms += test_random_between(&seed, 0, 5);
        struct model_batch_spec spec = {
            .count = (int32_t)test_random_between(&seed, 1, 6),
            .value_size = (size_t)test_random_between(&seed, 0, test_random(&seed) % 10 == 0 ? 4000 : 200),
            .codec = 0,
            .base_timestamp = *now_ms,
            .step_min = 0,
            .step_max = 3,
        };
        log_model_append(&model, log, &spec, (int32_t)(*now_ms / 100), *now_ms, &seed);
    }
}

/* Goal: what was appended is read back, byte for byte, wherever a reader starts and however much it asks for. Method:
 *       random
 * batches over many segments, random reads, cached and cold. */
START_TEST(reads_give_what_was_appended)
{
    seed = (uint64_t)_i;
    struct log *log = open_log(&config_small, NULL);
    int64_t now_ms = 1000;
    for (unsigned round = 0; round < 30; round++) {
        append_random(log, (unsigned)test_random_between(&seed, 0, 20), &now_ms);
        fixture.is_cold = test_random(&seed) % 2 == 0;
        for (unsigned i = 0; i < 20; i++) {
            int64_t offset = test_random_between(&seed, 0, model.end_offset);
            size_t size_max = (size_t)test_random_between(&seed, 0, 9000);
            (void)log_model_check_read(&fixture, &model, log, offset, size_max, test_random(&seed) % 2 == 0);
        }
        log_model_check(&fixture, &model, log);
    }
    log_close(log);
}
END_TEST

/* Goal: a log opened at a captured state is exactly that log, whatever was appended or trimmed behind it, and goes on
 *       from
 * there. Method: keep states and model sizes, append on, close without a sync, open at a kept state, append the same
 * again. */
START_TEST(reopening_gives_the_captured_log)
{
    seed = (uint64_t)_i + 100;
    struct log *log = open_log(&config_small, NULL);
    int64_t now_ms = 1000;
    for (unsigned round = 0; round < 12; round++) {
        append_random(log, (unsigned)test_random_between(&seed, 0, 40), &now_ms);
        struct log_state state;
        capture(log, &state, true);
        log_fixture_run_jobs(&fixture);
        int64_t end_offset = model.end_offset;
        append_random(log, (unsigned)test_random_between(&seed, 0, 40), &now_ms);
        int64_t start_offset = model.start_offset;
        log_trim(log, test_random_between(&seed, start_offset, end_offset));
        log_close(log);

        log = open_log(&config_small, &state);
        ck_assert_int_eq(log_end_offset(log), end_offset);
        ck_assert_int_eq(log_start_offset(log), start_offset);
        log_model_replay(&model, log);
        log_model_check(&fixture, &model, log);
        model.start_offset = test_random_between(&seed, start_offset, model.end_offset);
        log_trim(log, model.start_offset);
        log_model_check(&fixture, &model, log);
        log_state_deinit(&state);
    }
    log_close(log);
}
END_TEST

/* ---- Time ---- */

static void append_times(struct log *log, unsigned count, int64_t *now_ms)
{
    for (unsigned i = 0; i < count; i++) {
        *now_ms += test_random_between(&seed, 0, 5);
        struct model_batch_spec spec = {
            .count = (int32_t)test_random_between(&seed, 1, 6),
            .value_size = (size_t)test_random_between(&seed, 0, 100),
            .codec = (int)test_random_between(&seed, 0, 4),
            .base_timestamp = *now_ms + test_random_between(&seed, -300, 300),
            .step_min = -20,
            .step_max = 30,
            .is_log_append_time = test_random(&seed) % 8 == 0,
        };
        log_model_append(&model, log, &spec, 1, *now_ms, &seed);
    }
}

static int64_t model_timestamp(const struct model_batch *batch, int64_t offset)
{
    return batch->is_log_append_time ? batch->append_ms : batch->timestamps[offset - batch->base_offset];
}

static void check_time(struct log *log, int64_t timestamp)
{
    int64_t wanted = -1;
    int64_t wanted_timestamp = -1;
    for (int64_t offset = model.start_offset; offset < model.end_offset && wanted < 0; offset++) {
        int64_t found = model_timestamp(&model.batches[log_model_find(&model, offset)], offset);
        if (found >= timestamp) {
            wanted = offset;
            wanted_timestamp = found;
        }
    }
    int64_t offset = -1;
    int64_t found = -1;
    struct errmsg msg;
    enum err err = log_find_time(log, timestamp, &offset, &found, &msg);
    ck_assert_msg(err == OK || err == ERR_NOT_FOUND, "%s", msg.text);
    ck_assert_int_eq(err == OK ? offset : -1, wanted);
    ck_assert_int_eq(err == OK ? found : -1, wanted_timestamp);
}

static void check_max_time(struct log *log)
{
    int64_t wanted = -1;
    int64_t wanted_timestamp = -1;
    for (int64_t offset = model.start_offset; offset < model.end_offset; offset++) {
        int64_t found = model_timestamp(&model.batches[log_model_find(&model, offset)], offset);
        if (found > wanted_timestamp) {
            wanted = offset;
            wanted_timestamp = found;
        }
    }
    int64_t offset = -1;
    int64_t found = -1;
    enum err err = log_find_max_time(log, &offset, &found, NULL);
    ck_assert_int_eq(err, wanted < 0 ? ERR_NOT_FOUND : OK);
    ck_assert_int_eq(err == OK ? offset : -1, wanted);
    ck_assert_int_eq(err == OK ? found : -1, wanted_timestamp);
}

/* Goal: a lookup by time finds the first record that is late enough, whatever the order of timestamps, the codec and the
 * kind of timestamp. Method: timestamps that go back and forth over segments, trims into the middle of batches. */
START_TEST(time_lookup_finds_the_first_record)
{
    seed = (uint64_t)_i + 200;
    struct log *log = open_log(&config_small, NULL);
    int64_t now_ms = 1000;
    for (unsigned round = 0; round < 6; round++) {
        check_max_time(log);
        append_times(log, 60, &now_ms);
        for (unsigned i = 0; i < 40; i++) {
            check_time(log, test_random_between(&seed, 600, now_ms + 500));
        }
        check_time(log, 0);
        check_time(log, INT64_MAX);
        check_max_time(log);
        int64_t end = model.start_offset + (model.end_offset - model.start_offset) / (round % 2 == 0 ? 3 : 1);
        model.start_offset = test_random_between(&seed, model.start_offset, end);
        log_trim(log, model.start_offset);
    }
    log_close(log);
}
END_TEST

/* Goal: a compressed batch whose header leaves its highest timestamp at the first one is looked into. Method: such batches
 * in one segment without index entries. */
START_TEST(time_lookup_does_not_believe_a_header_left_alone)
{
    struct log_config config = {.segment_size_max = 1 << 20, .segment_ms = INT64_MAX, .index_interval = 1 << 20};
    struct log *log = open_log(&config, NULL);
    for (int i = 0; i < 10; i++) {
        struct model_batch_spec spec = {
            .count = 5,
            .value_size = 10,
            .codec = 1 + i % 4,
            .base_timestamp = 1000 + 100 * i,
            .step_min = 10,
            .step_max = 20,
            .is_max_wrong = true,
        };
        log_model_append(&model, log, &spec, 1, 2000, &seed);
    }
    for (int64_t timestamp = 990; timestamp <= 1900; timestamp++) {
        check_time(log, timestamp);
    }
    log_close(log);
}
END_TEST

/* ---- Indexes ---- */

static void path_of(char path[512], int64_t base_offset, const char *suffix)
{
    (void)snprintf(path, 512, "%s/t-0.7/%020lld%s", fixture.dir, (long long)base_offset, suffix);
}

static struct bytes file_read(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return BYTES_NONE;
    }
    (void)fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    uint8_t *data = mem_alloc(size + 1);
    ck_assert_uint_eq(fread(data, 1, size, file), size);
    (void)fclose(file);
    return (struct bytes){data, size};
}

static void file_write(const char *path, struct bytes bytes)
{
    FILE *file = fopen(path, "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(bytes.data, 1, bytes.size, file), bytes.size);
    (void)fclose(file);
}

static void bytes_free(struct bytes bytes)
{
    mem_free((void *)(uintptr_t)bytes.data);
}

enum harm { HARM_RANDOM, HARM_FLIP, HARM_CUT, HARM_EXTEND, HARM_ZERO, HARM_REMOVE, HARM_COUNT };

static void file_harm(const char *path, enum harm harm)
{
    struct bytes bytes = file_read(path);
    uint8_t *data = (uint8_t *)(uintptr_t)bytes.data;
    if (bytes.size == 0) {
        bytes_free(bytes);
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
        file_write(path, bytes);
    }
    bytes_free(bytes);
}

static void harm_indexes(const struct log_state *state)
{
    for (size_t i = 0; i < state->segment_count; i++) {
        char path[512];
        path_of(path, state->segments[i].base_offset, ".index");
        file_harm(path, (enum harm)(test_random(&seed) % HARM_COUNT));
        path_of(path, state->segments[i].base_offset, ".timeindex");
        file_harm(path, (enum harm)(test_random(&seed) % HARM_COUNT));
    }
}

/* Goal: an index that is random, flipped, cut, longer, half zero or gone never changes an answer. Method: harm the files of
 * a closed log in all ways, then look up offsets and times and append on. */
START_TEST(harmed_indexes_never_change_an_answer)
{
    seed = (uint64_t)_i + 300;
    struct log_config config = {.segment_size_max = 20000, .segment_ms = INT64_MAX, .index_interval = 100};
    struct log *log = open_log(&config, NULL);
    int64_t now_ms = 1000;
    for (unsigned round = 0; round < 5; round++) {
        append_times(log, 100, &now_ms);
        struct log_state state;
        capture(log, &state, true);
        log_close(log);
        harm_indexes(&state);
        log = open_log(&config, &state);
        log_state_deinit(&state);
        fixture.is_cold = round % 2 == 1;
        for (unsigned i = 0; i < 60; i++) {
            int64_t offset = test_random_between(&seed, 0, model.end_offset);
            (void)log_model_check_read(&fixture, &model, log, offset, 2000, true);
            check_time(log, test_random_between(&seed, 600, now_ms + 500));
            log_fixture_run_jobs(&fixture);
        }
        log_model_check(&fixture, &model, log);
    }
    log_close(log);
}
END_TEST

/* Goal: rebuilt indexes are those that appends would have written, entries added meanwhile included. Method: two segments
 * above the size worth rebuilding; keep their index files, remove them, open, look up, append while the job runs; then the
 * same appends to the same log that lost nothing. */
START_TEST(rebuilt_indexes_equal_written_ones)
{
    struct log_config config = {.segment_size_max = 3 << 20, .segment_ms = INT64_MAX, .index_interval = 4096};
    struct model_batch_spec spec = {.count = 3, .value_size = 1500, .step_min = 0, .step_max = 2};
    struct log_state states[2];
    struct bytes files[2][2][2]; /* lost or not, segment, kind */
    static const char *const kinds[2] = {".index", ".timeindex"};
    struct log *log = open_log(&config, NULL);
    int64_t second = 0;
    for (int i = 0; i < 1100; i++) {
        spec.base_timestamp = 1000 + i;
        log_model_append(&model, log, &spec, 1, 1000, &seed);
    }
    capture(log, &states[0], true);
    ck_assert_uint_eq(states[0].segment_count, 2);
    second = states[0].segments[1].base_offset;
    log_close(log);
    for (int i = 0; i < 100; i++) {
        spec.base_timestamp = 2100 + i;
        struct log_batch batch = log_model_add(&model, &spec, 1, 1000, &seed);
        bytes_free(batch.bytes);
    }
    for (int is_lost = 0; is_lost < 2; is_lost++) {
        char path[512];
        for (int i = 0; is_lost && i < 4; i++) {
            path_of(path, i < 2 ? 0 : second, kinds[i % 2]);
            ck_assert_int_eq(remove(path), 0);
        }
        log = open_log(&config, &states[0]);
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
        capture(log, &states[1], true);
        ck_assert_uint_eq(states[1].segment_count, 2);
        for (int i = 0; i < 4; i++) {
            path_of(path, i < 2 ? 0 : second, kinds[i % 2]);
            files[is_lost][i / 2][i % 2] = file_read(path);
        }
        ck_assert_uint_gt(states[1].segments[1].index_count, 100);
        check_time(log, 2050);
        log_close(log);
        log_state_deinit(&states[1]);
    }
    for (int i = 0; i < 4; i++) {
        struct bytes kept = files[0][i / 2][i % 2];
        struct bytes rebuilt = files[1][i / 2][i % 2];
        ck_assert_msg(bytes_equal(kept, rebuilt), "segment %d%s: %zu, rebuilt %zu bytes", i / 2, kinds[i % 2],
                      kept.size, rebuilt.size);
        bytes_free(kept);
        bytes_free(rebuilt);
    }
    log_state_deinit(&states[0]);
}
END_TEST

/* ---- Damage ---- */

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

/* Goal: no wrong byte is ever served. Method: flip every bit of a segment; from every offset, what is served is right and
 * what is not is ERR_DAMAGED with the file's name; and a flip is always found by reading from the start. */
START_TEST(every_flipped_bit_is_refused)
{
    struct log_config config = {.segment_size_max = 1 << 20, .segment_ms = INT64_MAX, .index_interval = 150};
    struct log *log = open_log(&config, NULL);
    log_set_epochs(log, model_epoch_at, NULL);
    for (int i = 0; i < 6; i++) {
        struct model_batch_spec spec = {.count = 2, .value_size = 10, .base_timestamp = 1000};
        log_model_append(&model, log, &spec, 3 + i / 2, 1000, &seed);
    }
    char path[512];
    path_of(path, 0, ".log");
    struct bytes good = file_read(path);
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
    bytes_free(good);
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
    struct log *log = open_log(&config_small, NULL);
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

/* Goal: a cut or missing file is named at open. Method: each segment of a captured log, removed and cut to several sizes;
 * a file cut while the log is open is refused when it is read. */
START_TEST(cut_and_missing_files_are_named)
{
    struct log *log = open_log(&config_small, NULL);
    int64_t now_ms = 1000;
    append_random(log, 60, &now_ms);
    struct log_state state;
    capture(log, &state, true);
    ck_assert_uint_ge(state.segment_count, 3);
    log_close(log);
    char dir[512];
    (void)snprintf(dir, sizeof(dir), "%s/t-0.7", fixture.dir);
    for (size_t i = 0; i < state.segment_count; i++) {
        char path[512];
        path_of(path, state.segments[i].base_offset, ".log");
        struct bytes good = file_read(path);
        for (size_t step = 0; step < 5; step++) {
            size_t left = step * good.size / 5;
            if (step == 0) {
                ck_assert_int_eq(remove(path), 0);
            } else {
                file_write(path, (struct bytes){good.data, left});
            }
            struct errmsg msg;
            struct log *refused;
            enum err err = log_open(&fixture.env, fixture.files, dir, &config_small, &state, &refused, &msg);
            ck_assert_int_eq(err, ERR_DAMAGED);
            char wanted[600];
            (void)snprintf(wanted, sizeof(wanted), "file %s position %zu:", path, left);
            ck_assert_msg(strstr(msg.text, wanted) != NULL, "%s", msg.text);
        }
        file_write(path, good);
        bytes_free(good);
    }
    log = open_log(&config_small, &state);
    log_model_check(&fixture, &model, log);
    char path[512];
    path_of(path, 0, ".log");
    file_write(path, bytes_from_text(""));
    struct errmsg msg;
    ck_assert_int_eq(read_all(log, 1, &msg), ERR_WOULD_BLOCK);
    log_close(log);
    log_state_deinit(&state);
}
END_TEST

/* Goal: bytes of a checkpoint that make no sense are refused, not believed. Method: one wrong field at a time. */
START_TEST(senseless_states_are_refused)
{
    struct log *log = open_log(&config_small, NULL);
    int64_t now_ms = 1000;
    append_random(log, 60, &now_ms);
    struct log_state state;
    capture(log, &state, true);
    log_close(log);
    char dir[512];
    (void)snprintf(dir, sizeof(dir), "%s/t-0.7", fixture.dir);
    for (int i = 0; i < 9; i++) {
        struct log_segment_state segments[64];
        struct log_state wrong = state;
        ck_assert_uint_lt(state.segment_count, 64);
        memcpy(segments, state.segments, state.segment_count * sizeof(segments[0]));
        wrong.segments = segments;
        size_t last = state.segment_count - 1;
        switch (i) {
        case 0:
            wrong.start_offset = -1;
            break;
        case 1:
            wrong.end_offset = state.start_offset - 1;
            break;
        case 2:
            wrong.end_offset = segments[last].base_offset;
            break;
        case 3:
            segments[1].base_offset = segments[0].base_offset;
            break;
        case 4:
            segments[1].base_offset = segments[2].base_offset + 1;
            break;
        case 5:
            segments[0].size = 0;
            break;
        case 6:
            segments[0].size = 1ull << 31;
            break;
        case 7:
            wrong.end_offset = segments[last].base_offset + (1ll << 32);
            break;
        default:
            wrong.segment_count = 0;
            break;
        }
        struct log *refused;
        struct errmsg msg;
        enum err err = log_open(&fixture.env, fixture.files, dir, &config_small, &wrong, &refused, &msg);
        ck_assert_msg(err == ERR_DAMAGED, "case %d: %s", i, err_name(err));
    }
    log = open_log(&config_small, &state);
    log_model_check(&fixture, &model, log);
    log_close(log);
    log_state_deinit(&state);
}
END_TEST

static Suite *log_suite(void)
{
    Suite *suite = suite_create("log");
    TCase *reading = tcase_create("reading");
    tcase_add_checked_fixture(reading, setup, teardown);
    tcase_add_loop_test(reading, reads_give_what_was_appended, 0, 10);
    tcase_add_loop_test(reading, reopening_gives_the_captured_log, 0, 10);
    suite_add_tcase(suite, reading);
    TCase *time = tcase_create("time");
    tcase_add_checked_fixture(time, setup, teardown);
    tcase_add_loop_test(time, time_lookup_finds_the_first_record, 0, 10);
    tcase_add_test(time, time_lookup_does_not_believe_a_header_left_alone);
    suite_add_tcase(suite, time);
    TCase *indexes = tcase_create("indexes");
    tcase_add_checked_fixture(indexes, setup, teardown);
    tcase_add_loop_test(indexes, harmed_indexes_never_change_an_answer, 0, 10);
    tcase_add_test(indexes, rebuilt_indexes_equal_written_ones);
    suite_add_tcase(suite, indexes);
    TCase *damage = tcase_create("damage");
    tcase_add_checked_fixture(damage, setup, teardown);
    tcase_add_test(damage, every_flipped_bit_is_refused);
    tcase_add_test(damage, an_epoch_not_remembered_is_not_checked);
    tcase_add_test(damage, cut_and_missing_files_are_named);
    tcase_add_test(damage, senseless_states_are_refused);
    suite_add_tcase(suite, damage);
    return suite;
}

TEST_MAIN(log_suite)
