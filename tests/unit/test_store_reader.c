/* A shard's snapshot of the metadata through the turns of its loop. */
#include "metadata/store.h"

#include "metadata/tables.h"
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

/* ---- What is remembered ---- */

static const struct uuid old_id = {{1}};
static const struct uuid new_id = {{2}};

static void put(struct kv_txn *txn, struct table_key key, struct bytes value)
{
    ck_assert_int_eq(kv_put(txn, table_key_bytes(&key), value), OK);
}

static void put_topic(struct kv_txn *txn, const char *name, const struct uuid *id)
{
    put(txn, key_topic_name(bytes_from_text(name)), (struct bytes){id->bytes, sizeof(id->bytes)});
}

static void put_partition(struct kv_txn *txn, const struct uuid *id, int32_t index, uint64_t group)
{
    uint8_t memory[PARTITION_VALUE_SIZE_MAX];
    struct partition_value value = {.group = group, .replica_count = 1, .replicas = {1}};
    put(txn, key_partition(id, index), (struct bytes){memory, partition_value_encode(&value, memory)});
}

static void delete (struct kv_txn *txn, struct table_key key)
{
    ck_assert_int_eq(kv_delete(txn, table_key_bytes(&key)), OK);
}

static struct kv_txn *begin(void)
{
    struct kv_txn *txn;
    ck_assert_int_eq(kv_begin_write(store_kv(store), &txn), OK);
    return txn;
}

/* The topic "topic" with two partitions: groups 10 and 11. */
static void make_topic(void)
{
    struct kv_txn *txn = begin();
    put_topic(txn, "topic", &old_id);
    put_partition(txn, &old_id, 0, 10);
    put_partition(txn, &old_id, 1, 11);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
}

static bool topic_is(const char *name, const struct uuid *expected)
{
    struct uuid id;
    return store_topic_id(reader, bytes_from_text(name), &id) == OK && uuid_equal(&id, expected);
}

static enum err topic_err(const char *name)
{
    struct uuid id;
    return store_topic_id(reader, bytes_from_text(name), &id);
}

/* The group, or 0: the partition is not there. */
static uint64_t group_of(const struct uuid *id, int32_t index)
{
    uint64_t group;
    enum err err = store_partition_group(reader, id, index, &group);
    ck_assert(err == OK || err == ERR_NOT_FOUND);
    return err == OK ? group : 0;
}

/* The shard that commits, and one that only goes on: both see the commit at their next read. */
static void end_of_turn(int is_told)
{
    if (is_told) {
        store_reader_refresh(reader);
    } else {
        turn_env_run(&turn);
    }
}

/* Goal: what a turn has seen it goes on seeing, and the next one sees what was committed meanwhile: another topic of
 * the same name, and the old one's partitions gone. */
START_TEST(commit_is_seen_at_the_next_snapshot)
{
    make_topic();
    ck_assert(topic_is("topic", &old_id));
    ck_assert_uint_eq(group_of(&old_id, 0), 10);
    ck_assert_uint_eq(group_of(&old_id, 1), 11);
    struct kv_txn *txn = begin();
    put_topic(txn, "topic", &new_id);
    delete (txn, key_partition(&old_id, 0));
    delete (txn, key_partition(&old_id, 1));
    put_partition(txn, &new_id, 0, 20);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
    ck_assert(topic_is("topic", &old_id));
    ck_assert_uint_eq(group_of(&old_id, 0), 10);
    ck_assert_uint_eq(group_of(&new_id, 0), 0);

    end_of_turn(_i);
    ck_assert(topic_is("topic", &new_id));
    ck_assert_uint_eq(group_of(&old_id, 0), 0);
    ck_assert_uint_eq(group_of(&old_id, 1), 0);
    ck_assert_uint_eq(group_of(&new_id, 0), 20);
    turn_env_run(&turn);
}
END_TEST

/* Goal: a lookup may be the first of its turn, whichever of the two it is. */
START_TEST(each_lookup_begins_a_turn)
{
    make_topic();
    ck_assert(topic_is("topic", &old_id));
    ck_assert_uint_eq(group_of(&old_id, 0), 10);
    struct kv_txn *txn = begin();
    delete (txn, key_partition(&old_id, 0));
    delete (txn, key_topic_name(bytes_from_text("topic")));
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
    turn_env_run(&turn);
    if (_i == 0) {
        ck_assert_int_eq(topic_err("topic"), ERR_NOT_FOUND);
    } else {
        ck_assert_uint_eq(group_of(&old_id, 0), 0);
    }
    turn_env_run(&turn);
}
END_TEST

/* Goal: absence is not remembered, and turns without a commit between them find what is there, again and again. */
START_TEST(what_is_there_is_found_in_every_turn)
{
    ck_assert_int_eq(topic_err("topic"), ERR_NOT_FOUND);
    ck_assert_uint_eq(group_of(&old_id, 0), 0);
    make_topic();
    for (unsigned i = 0; i < 3; i++) {
        turn_env_run(&turn);
        for (unsigned again = 0; again < 2; again++) {
            ck_assert(topic_is("topic", &old_id));
            ck_assert_int_eq(topic_err("topi"), ERR_NOT_FOUND);
            ck_assert_int_eq(topic_err(""), ERR_NOT_FOUND);
            ck_assert_uint_eq(group_of(&old_id, 1), 11);
            ck_assert_uint_eq(group_of(&old_id, 2), 0);
            ck_assert_uint_eq(group_of(&(struct uuid){{0}}, 0), 0);
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
    tcase_add_loop_test(tcase, commit_is_seen_at_the_next_snapshot, 0, 2);
    tcase_add_loop_test(tcase, each_lookup_begins_a_turn, 0, 2);
    tcase_add_test(tcase, what_is_there_is_found_in_every_turn);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(store_reader_suite)
