/* Where Kafka's Java clients have a key. */
#include "base/mem.h"
#include "proto/murmur2.h"
#include "tests/lib/test.h"

struct murmur2_case {
    const char *text;
    int32_t hash;
};

/* From Kafka's own test of its hash (UtilsTest, testMurmur2). */
static const struct murmur2_case murmur2_cases[] = {
    {"21", -973932308},
    {"foobar", -790332482},
    {"a-little-bit-long-string", -985981536},
    {"a-little-bit-longer-string", -1486304829},
    {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
    {"abc", 479470107},
};

/* Goal: the same hash, whatever is left behind the last four bytes. Method: known pairs. */
START_TEST(hash_is_kafkas)
{
    const struct murmur2_case *c = &murmur2_cases[_i];
    ck_assert_int_eq((int32_t)murmur2(bytes_from_text(c->text)), c->hash);
}
END_TEST

/* Goal: a partition that exists, also of negative hashes. Method: the hash without its sign, modulo. */
START_TEST(partition_exists)
{
    const struct murmur2_case *c = &murmur2_cases[_i];
    for (int32_t count = 1; count < 10; count++) {
        ck_assert_int_eq(murmur2_partition(bytes_from_text(c->text), count), (c->hash & INT32_MAX) % count);
    }
}
END_TEST

static Suite *murmur2_suite(void)
{
    Suite *suite = suite_create("murmur2");
    TCase *all = tcase_create("murmur2");
    tcase_add_loop_test(all, hash_is_kafkas, 0, (int)array_count(murmur2_cases));
    tcase_add_loop_test(all, partition_exists, 0, (int)array_count(murmur2_cases));
    suite_add_tcase(suite, all);
    return suite;
}

TEST_MAIN(murmur2_suite)
