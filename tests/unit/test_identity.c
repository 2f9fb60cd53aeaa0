/* Who a data directory belongs to: the records of node, layout and cluster. */
#include "base/mem.h"
#include "broker/identity.h"
#include "tests/lib/test.h"

#include <string.h>

static struct kv *open_local(const char *dir)
{
    struct kv *kv;
    struct errmsg msg;
    ck_assert_msg(kv_open(dir, 1 << 20, KV_DURABLE, &kv, &msg) == OK, "%s", msg.text);
    return kv;
}

static void put(struct kv *kv, const char *key, const void *data, size_t size)
{
    struct kv_txn *txn;
    ck_assert_int_eq((int)kv_begin_write(kv, &txn), (int)OK);
    ck_assert_int_eq((int)kv_put(txn, bytes_from_text(key), (struct bytes){data, size}), (int)OK);
    ck_assert_int_eq((int)kv_commit(txn, NULL), (int)OK);
}

static size_t get(struct kv *kv, const char *key, uint8_t *data)
{
    struct kv_txn *txn;
    struct bytes value;
    ck_assert_int_eq((int)kv_begin_read(kv, &txn), (int)OK);
    ck_assert_int_eq((int)kv_get(txn, bytes_from_text(key), &value), (int)OK);
    memcpy(data, value.data, value.size);
    kv_abort(txn);
    return value.size;
}

static const struct identity_cluster CLUSTER = {
    "LG2LM4apXmc5-QahMtUB6A", {1ull << 32 | 5, 2ull << 32 | 6, 3ull << 32}, 3};

/* Goal: the record comes back; without one there is no cluster. */
START_TEST(cluster_comes_back)
{
    char *dir = test_dir_make();
    struct kv *kv = open_local(dir);
    struct identity_cluster cluster;
    struct errmsg msg;
    ck_assert_int_eq((int)identity_get_cluster(kv, &cluster, &msg), (int)OK);
    ck_assert_str_eq(cluster.id, "");
    for (unsigned count = 0; count <= IDENTITY_FOUNDER_COUNT_MAX; count++) {
        struct identity_cluster wanted = CLUSTER;
        wanted.founder_count = count;
        ck_assert_int_eq((int)identity_put_cluster(kv, &wanted, &msg), (int)OK);
        ck_assert_int_eq((int)identity_get_cluster(kv, &cluster, &msg), (int)OK);
        ck_assert_str_eq(cluster.id, CLUSTER.id);
        ck_assert_uint_eq(cluster.founder_count, count);
        for (unsigned i = 0; i < count; i++) {
            ck_assert_uint_eq(cluster.founders[i], CLUSTER.founders[i]);
        }
    }
    kv_close(kv);
    test_dir_remove(dir);
}
END_TEST

/* Goal: no damaged record is ever believed: a broker that forgot its cluster would found another. Method: every bit of
 * it turned, every prefix. */
START_TEST(damaged_cluster_stops_the_start)
{
    char *dir = test_dir_make();
    struct kv *kv = open_local(dir);
    struct identity_cluster cluster;
    struct errmsg msg;
    uint8_t value[256];
    ck_assert_int_eq((int)identity_put_cluster(kv, &CLUSTER, &msg), (int)OK);
    size_t size = get(kv, "U", value);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        value[bit / 8] ^= (uint8_t)(1 << bit % 8);
        put(kv, "U", value, size);
        ck_assert_msg(identity_get_cluster(kv, &cluster, &msg) != OK, "bit %zu", bit);
        value[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t cut = 0; cut < size; cut++) {
        put(kv, "U", value, cut);
        ck_assert_msg(identity_get_cluster(kv, &cluster, &msg) != OK, "cut at %zu", cut);
    }
    kv_close(kv);
    test_dir_remove(dir);
}
END_TEST

/* Goal: an emptied directory is another server; a kept one is the same, and only for its node.id. */
START_TEST(server_id_is_of_the_directory)
{
    struct identity first;
    struct identity again;
    struct identity other;
    struct errmsg msg;
    char *dir = test_dir_make();
    struct kv *kv = open_local(dir);
    ck_assert_int_eq((int)identity_open(kv, 3, &first, &msg), (int)OK);
    ck_assert_int_eq((int)identity_open(kv, 3, &again, &msg), (int)OK);
    ck_assert_uint_eq(first.server_id, again.server_id);
    ck_assert_uint_eq(first.server_id >> 32, 3);
    ck_assert_int_eq((int)identity_open(kv, 4, &other, &msg), (int)ERR_INVALID);
    kv_close(kv);
    test_dir_remove(dir);
    dir = test_dir_make();
    kv = open_local(dir);
    ck_assert_int_eq((int)identity_open(kv, 3, &other, &msg), (int)OK);
    ck_assert_uint_ne(first.server_id, other.server_id);
    ck_assert_mem_ne(first.incarnation, other.incarnation, sizeof(first.incarnation));
    kv_close(kv);
    test_dir_remove(dir);
}
END_TEST

static Suite *identity_suite(void)
{
    Suite *suite = suite_create("identity");
    TCase *tcase = tcase_create("records");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, cluster_comes_back);
    tcase_add_test(tcase, damaged_cluster_stops_the_start);
    tcase_add_test(tcase, server_id_is_of_the_directory);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(identity_suite)
