/* A shard's snapshot of the metadata through the turns of its loop. */
#include "metadata/store.h"
#include "tests/lib/test.h"
#include "tests/lib/turn_env.h"

static char *dir;
static struct turn_env turn;
static struct store *store;
static struct store_reader *reader;

static void setup(void)
{
    struct errmsg msg;
    dir = test_dir_make();
    turn_env_init(&turn, 1);
    ck_assert_int_eq(store_open(dir, &store, &msg), OK);
    reader = store_reader_open(store, &turn.env);
}

static void teardown(void)
{
    store_reader_close(reader);
    store_close(store);
    turn_env_deinit(&turn);
    test_dir_remove(dir);
}

/* Goal:   reads, news of a commit and the end of the turn may come in any order: the snapshot is given back once.
 * Method: all sequences of up to six of the three; a transaction that is given back twice ends the process. */
START_TEST(any_order_of_reads_and_news_is_fine)
{
    enum {
        READ,
        REFRESH,
        TURN_END,
        ACTION_COUNT
    };
    for (unsigned sequence = 0; sequence < 3 * 3 * 3 * 3 * 3 * 3; sequence++) {
        unsigned rest = sequence;
        for (unsigned step = 0; step < 6; step++, rest /= ACTION_COUNT) {
            switch (rest % ACTION_COUNT) {
            case READ:
                ck_assert_uint_eq(store_applied_index(reader), 0);
                break;
            case REFRESH:
                store_reader_refresh(reader);
                break;
            default:
                turn_env_run(&turn);
            }
        }
    }
    turn_env_run(&turn);
}
END_TEST

static Suite *store_reader_suite(void)
{
    Suite *suite = suite_create("store_reader");
    TCase *tcase = tcase_create("turns");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, any_order_of_reads_and_news_is_fine);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(store_reader_suite)
