/* The write-ahead log over the libuv seam and a real file system; everything about crashes is in test_wal.c. */
#include "base/limits.h"
#include "base/mem.h"
#include "base/uv_env.h"
#include "replication/wal.h"
#include "tests/lib/test.h"

#include <stdio.h>
#include <string.h>

struct fixture {
    char *dir;
    char path[512];
    struct metrics *metrics;
    struct uv_env *uv;
    struct env *env;
    struct wal *wal;
    uint64_t replayed; /* frames */
    uint64_t appended; /* indexes 1, 2, ... */
    uint64_t target;   /* to append in all */
    uint64_t last_lsn;
    bool is_closing, is_closed;
};
static struct fixture fix;
static uint8_t pattern[MIB(18)];

static size_t size_of(uint64_t index)
{
    return index % 97 == 0 ? KIB(300) : (index * 37) % 3000;
}

static void append_next(void)
{
    fix.appended++;
    struct slice slices[2];
    size_t size = size_of(fix.appended);
    slices[0] = (struct slice){.bytes = {pattern + fix.appended % 251, size / 3}};
    slices[1] = (struct slice){.bytes = {pattern + fix.appended % 251 + size / 3, size - size / 3}};
    struct wal_frame frame = {.group = 9,
                              .kind = WAL_ENTRY,
                              .index = fix.appended,
                              .term = 4,
                              .value = 1,
                              .slices = slices,
                              .slice_count = 2};
    fix.last_lsn = wal_append(fix.wal, &frame);
}

static void on_closed(void *owner)
{
    (void)owner;
    fix.is_closed = true;
    uv_env_stop(fix.uv);
}

static void on_durable(void *owner, uint64_t lsn)
{
    (void)owner;
    ck_assert_uint_eq(lsn, wal_durable_lsn(fix.wal));
    if (fix.appended < fix.target) {
        for (int i = 0; i < 10 && fix.appended < fix.target; i++) {
            append_next();
        }
    } else if (lsn > fix.last_lsn && !fix.is_closing) {
        fix.is_closing = true;
        wal_close(fix.wal, on_closed);
    }
}

static void on_pressure(void *owner)
{
    (void)owner;
    wal_release(fix.wal, wal_durable_lsn(fix.wal));
}

static void on_replay(void *owner, const struct wal_record *record)
{
    (void)owner;
    if (record->kind == WAL_STOP) {
        return;
    }
    if (fix.replayed == 0) {
        fix.replayed = record->index - 1;
    }
    fix.replayed++;
    ck_assert_uint_eq(record->index, fix.replayed);
    ck_assert_uint_eq(record->payload.size, size_of(record->index));
    ck_assert(memcmp(record->payload.data, pattern + record->index % 251, record->payload.size) == 0);
}

static const struct wal_handlers handlers = {on_durable, on_pressure};

static void wal_life(const struct wal_options *options, uint64_t count)
{
    struct errmsg msg;
    fix.metrics = metrics_open();
    ck_assert_int_eq(uv_env_open(0, fix.metrics, &fix.uv, NULL), OK);
    fix.env = uv_env_env(fix.uv);
    fix.replayed = 0;
    fix.is_closing = fix.is_closed = false;
    enum err err = wal_open(fix.env, fix.path, options, &fix, &handlers, on_replay, &fix.wal, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    ck_assert_uint_eq(fix.replayed, fix.appended);
    fix.target = fix.appended + count;
    append_next();
    uv_env_run(fix.uv);
    ck_assert(fix.is_closed);
    ck_assert_int_gt(metrics_value(fix.metrics, METRIC_WAL_SYNCS), 0);
    uv_env_close(fix.uv);
    metrics_close(fix.metrics);
}

static void setup(void)
{
    memset(&fix, 0, sizeof fix);
    fix.dir = test_dir_make();
    snprintf(fix.path, sizeof fix.path, "%s/wal", fix.dir);
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (uint8_t)(i * 2654435761u >> 24);
    }
}

static void teardown(void)
{
    test_dir_remove(fix.dir);
}

/* Goal: what is durable in one process life is replayed in the next, over files that are made, filled and recycled.
 * Method: four lives of 2,000 frames each with files of 1 MiB and a release at each pressure. */
START_TEST(lives_continue_one_another)
{
    struct wal_options options = {.file_size = MIB(1), .file_size_first = KIB(256), .file_count_max = 8};
    for (int life = 0; life < 4; life++) {
        wal_life(&options, 2000);
    }
}
END_TEST

/* Goal: the default sizes work. Method: one life, and one that replays it. */
START_TEST(default_options_work)
{
    struct wal_options options = {0};
    wal_life(&options, 500);
    wal_life(&options, 1);
}
END_TEST

static Suite *wal_uv_suite(void)
{
    Suite *suite = suite_create("wal_uv");
    TCase *tcase = tcase_create("lives");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, lives_continue_one_another);
    tcase_add_test(tcase, default_options_work);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(wal_uv_suite)
