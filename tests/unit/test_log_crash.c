/* The log over power losses and kills at every moment: what a checkpoint promised is there, byte for byte, and
 * replaying the records behind it gives the log back. */
#include "tests/lib/crash_env.h"
#include "tests/lib/log_fixture.h"
#include "tests/lib/test.h"

#include "base/mem.h"

static const struct log_config config = {.segment_size_max = 3000, .segment_ms = INT64_MAX, .index_interval = 200};

static struct crash_env *crash;
static struct log_files *files;
static struct log_model model;
static struct log_state committed; /* the checkpoint in the local store, which is durable in itself */
static bool has_committed;
static uint64_t seed;
static unsigned crash_count;

static struct log *open_log(struct crash_env *on, struct log_files *with)
{
    struct log *log;
    struct errmsg msg;
    enum err err = log_open(&on->env, with, "/data/t-0.7", &config, has_committed ? &committed : NULL, &log, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    return log;
}

struct crash_read {
    struct log_read req;
    bool is_done;
    enum err err;
};

static void on_crash_read(struct log_read *req, enum err err)
{
    struct crash_read *read = container_of(req, struct crash_read, req);
    read->is_done = true;
    read->err = err;
}

/* Reads at `offset`, compares, returns the offset behind what was read. */
static int64_t check_read(struct crash_env *on, struct log *log, int64_t offset, size_t size_max)
{
    struct crash_read read = {
        .req = {.offset = offset, .size_max = size_max, .is_first_whole = true, .cb = on_crash_read},
    };
    read.err = log_read_now(log, &read.req);
    if (read.err == ERR_WOULD_BLOCK) {
        log_read_async(log, &read.req);
        while (!read.is_done) {
            ck_assert(crash_env_step(on));
        }
    }
    ck_assert_msg(read.err == OK, "%s", read.req.msg.text);
    struct bytes got = read.req.slice.bytes;
    size_t position = 0;
    for (size_t i = log_model_find(&model, offset); position < got.size; i++) {
        const struct model_batch *batch = &model.batches[i];
        ck_assert_uint_le(batch->bytes.size, got.size - position);
        ck_assert_mem_eq(got.data + position, batch->bytes.data, batch->bytes.size);
        position += batch->bytes.size;
        offset = batch->base_offset + batch->count;
    }
    slice_release(&read.req.slice);
    ck_assert(position > 0);
    return offset;
}

static void check_all(struct crash_env *on, struct log *log)
{
    int64_t offset = log_start_offset(log);
    while (offset < log_end_offset(log)) {
        offset = check_read(on, log, offset, 1000);
    }
}

/* A new process on what the crash left. */
static void recover(struct crash_disk *left)
{
    struct crash_env *on = crash_env_new(seed, left);
    struct log_files *with = log_files_open(&on->env, 4);
    struct log *log = open_log(on, with);
    ck_assert_int_eq(log_start_offset(log), has_committed ? committed.start_offset : 0);
    ck_assert_int_eq(log_end_offset(log), has_committed ? committed.end_offset : 0);
    check_all(on, log);
    log_model_replay(&model, log);
    for (int i = 0; i < 5 && log_end_offset(log) > log_start_offset(log); i++) {
        int64_t offset = test_random_between(&seed, log_start_offset(log), log_end_offset(log) - 1);
        (void)check_read(on, log, offset, 500);
        struct log_model seen = model;
        seen.start_offset = log_start_offset(log);
        log_model_check_time(&seen, log, test_random_between(&seed, 900, 1500));
    }
    check_all(on, log);
    log_close(log);
    while (crash_env_step(on)) {
    }
    log_files_close(with);
    crash_disk_free(crash_env_free(on));
}

static void on_op(void *context)
{
    (void)context;
    if (test_random(&seed) % 4 != 0) {
        return;
    }
    enum crash_kind kinds[] = {CRASH_DROP, CRASH_KEEP, CRASH_TEAR, CRASH_TEAR, CRASH_KILL};
    struct crash_rng rng;
    crash_rng_init(&rng, test_random(&seed));
    crash_count++;
    recover(crash_disk_crash(crash->disk, kinds[test_random(&seed) % array_count(kinds)], &rng.rng));
}

static void take_checkpoint(struct log *log)
{
    struct log_state state;
    struct log_capture *capture = log_capture(log, &state);
    bool is_ok = test_random(&seed) % 5 != 0;
    if (is_ok) {
        ck_assert_int_eq(log_capture_sync(capture, NULL), OK);
        if (has_committed) {
            log_state_deinit(&committed);
        }
        committed = state;
        has_committed = true;
    } else {
        log_state_deinit(&state);
    }
    log_capture_done(capture, is_ok);
}

/* Goal: a start after any crash finds the last durable checkpoint's log whole, whatever happened to files, names and
 * indexes since, and goes on. Method: random appends, trims, rolls and checkpoints; at every fourth change of the disk
 * a crash of some kind, on whose remains a new process recovers and replays; now and then the run itself goes on from
 * one. */
START_TEST(any_crash_leaves_the_checkpoint_whole)
{
    seed = (uint64_t)_i + 400;
    crash_count = 0;
    has_committed = false;
    model = (struct log_model){0};
    crash = crash_env_new(seed, NULL);
    crash->on_op = on_op;
    files = log_files_open(&crash->env, 4);
    struct log *log = open_log(crash, files);
    int64_t now_ms = 1000;
    for (unsigned step = 0; step < 60; step++) {
        switch (test_random(&seed) % 6) {
        case 0:
        case 1:
        case 2:
            log_model_append_times(&model, log, (unsigned)test_random_between(&seed, 1, 8), &now_ms, &seed);
            break;
        case 3:
            model.start_offset = test_random_between(&seed, model.start_offset, model.end_offset);
            log_trim(log, model.start_offset);
            break;
        case 4:
            take_checkpoint(log);
            break;
        default:
            (void)crash_env_step(crash);
            break;
        }
    }
    log_close(log);
    while (crash_env_step(crash)) {
    }
    log_files_close(files);
    crash_disk_free(crash_env_free(crash));
    log_model_deinit(&model);
    if (has_committed) {
        log_state_deinit(&committed);
    }
    ck_assert_uint_gt(crash_count, 10);
}
END_TEST

static Suite *log_crash_suite(void)
{
    Suite *suite = suite_create("log_crash");
    TCase *tcase = tcase_create("crash");
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, any_crash_leaves_the_checkpoint_whole, 0, 40);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(log_crash_suite)
