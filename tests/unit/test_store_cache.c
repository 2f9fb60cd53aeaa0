/* What a reader remembers, as a table on its own: keys that meet in a slot, growth, its bounds, and the one moment at
 * which all is forgotten. */
#include "metadata/store_cache.h"

#include <stdio.h>
#include <string.h>

#include "base/limits.h"
#include "tests/lib/test.h"

static struct store_cache cache;

static void setup(void)
{
    store_cache_init(&cache);
    store_cache_renew(&cache, 1);
}

static void teardown(void)
{
    store_cache_deinit(&cache);
}

/* Random as ids of topics are, another one for each number. */
static struct uuid id_of(uint64_t number)
{
    struct uuid id;
    for (size_t i = 0; i < sizeof(id.bytes); i += 8) {
        number = (number + 1) * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t word = (number ^ number >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
        be64_put(id.bytes + i, word ^ word >> 32);
    }
    return id;
}

static void put_partition(uint64_t topic, int32_t index, uint64_t group)
{
    struct uuid id = id_of(topic);
    store_cache_put_partition(&cache, &id, index, group);
}

static uint64_t get_partition(uint64_t topic, int32_t index) /* 0: not there */
{
    struct uuid id = id_of(topic);
    uint64_t group = 0;
    bool is_there = store_cache_get_partition(&cache, &id, index, &group);
    ck_assert(is_there == (group != 0));
    return group;
}

static struct bytes name_of(uint64_t number)
{
    static char text[TOPIC_NAME_SIZE_MAX + 1];
    (void)snprintf(text, sizeof(text), "topic-%llu", (unsigned long long)number);
    return bytes_from_text(text);
}

static void put_topic(uint64_t number)
{
    struct uuid id = id_of(number);
    store_cache_put_topic(&cache, name_of(number), &id);
}

static bool has_topic(uint64_t number)
{
    struct uuid expected = id_of(number);
    struct uuid id;
    bool is_there = store_cache_get_topic(&cache, name_of(number), &id);
    ck_assert(!is_there || uuid_equal(&id, &expected));
    return is_there;
}

/* Goal: an idle shard's cache holds no memory, and finds nothing, not even what is all zero. */
START_TEST(nothing_is_taken_before_the_first_put)
{
    uint64_t group = 5;
    struct uuid id = UUID_ZERO;
    ck_assert(!store_cache_get_partition(&cache, &id, 0, &group));
    ck_assert(!store_cache_get_topic(&cache, name_of(0), &id));
    ck_assert_ptr_null(cache.partitions.slots);
    ck_assert_ptr_null(cache.topics.slots);
    put_partition(1, 0, 7);
    put_topic(1);
    ck_assert(!store_cache_get_partition(&cache, &id, 0, &group));
    ck_assert(!store_cache_get_topic(&cache, BYTES_NONE, &id));
    ck_assert_uint_eq(group, 5);
}
END_TEST

/* Goal: another snapshot finds nothing of the one before, and what it puts then. */
START_TEST(another_snapshot_begins_with_nothing)
{
    for (uint64_t snapshot = 1; snapshot < 4; snapshot++) {
        store_cache_renew(&cache, snapshot);
        ck_assert_uint_eq(get_partition(1, 0), 0);
        ck_assert(!has_topic(1));
        put_partition(1, 0, snapshot);
        put_topic(1);
        store_cache_renew(&cache, snapshot); /* the next turn, and no commit */
        ck_assert_uint_eq(get_partition(1, 0), snapshot);
        ck_assert(has_topic(1));
    }
}
END_TEST

/* Goal: names that meet in a slot are told apart, also where one begins the other.
 * Method: as many as the smallest table has slots, so that each meets others. */
START_TEST(names_that_share_a_slot_are_told_apart)
{
    char text[TOPIC_NAME_SIZE_MAX];
    memset(text, 'a', sizeof(text));
    for (size_t size = 1; size <= 8; size++) {
        struct uuid id = id_of(size);
        store_cache_put_topic(&cache, (struct bytes){(uint8_t *)text, size}, &id);
        id = id_of(100 + size);
        store_cache_put_topic(&cache, (struct bytes){(uint8_t *)text, TOPIC_NAME_SIZE_MAX - size + 1}, &id);
    }
    ck_assert_uint_eq(cache.topics.capacity, 16);
    for (size_t size = 1; size <= TOPIC_NAME_SIZE_MAX; size++) {
        struct uuid expected = id_of(size <= 8 ? size : 100 + TOPIC_NAME_SIZE_MAX - size + 1);
        struct uuid id;
        bool is_there = store_cache_get_topic(&cache, (struct bytes){(uint8_t *)text, size}, &id);
        ck_assert(is_there == (size <= 8 || size > TOPIC_NAME_SIZE_MAX - 8));
        ck_assert(!is_there || uuid_equal(&id, &expected));
    }
}
END_TEST

/* Goal: keys of the very same hash take each other's place and are never taken for each other.
 * Method: the halves of an id the other way round. */
START_TEST(equal_hashes_replace_each_other)
{
    struct uuid one = id_of(1);
    struct uuid other;
    uint64_t group;
    memcpy(other.bytes, one.bytes + 8, 8);
    memcpy(other.bytes + 8, one.bytes, 8);
    store_cache_put_partition(&cache, &one, 3, 10);
    ck_assert(!store_cache_get_partition(&cache, &other, 3, &group));
    store_cache_put_partition(&cache, &other, 3, 11);
    ck_assert(!store_cache_get_partition(&cache, &one, 3, &group));
    ck_assert(store_cache_get_partition(&cache, &other, 3, &group));
    ck_assert_uint_eq(group, 11);
}
END_TEST

/* Goal: a name is not taken for another one of the same hash, which clients could find.
 * Method: the name in the slot is altered, as if the other one had been put. */
START_TEST(equal_hashes_of_names_are_told_apart)
{
    put_topic(1);
    ck_assert(has_topic(1));
    struct bytes name = name_of(1);
    uint8_t *held = memmem(cache.topics.slots, cache.topics.capacity * cache.topics.slot_size, name.data, name.size);
    ck_assert_ptr_nonnull(held);
    held[name.size - 1]++;
    ck_assert(!has_topic(1));
    put_topic(1);
    ck_assert(has_topic(1));
}
END_TEST

/* Goal: a table grows until it holds what is asked for again and again, and not far beyond.
 * Method: a thousand partitions of one topic, of ten and of a thousand. What a smaller table held is put again in the
 * next pass, which may make the table grow once more. */
START_TEST(all_of_a_thousand_are_held)
{
    static const uint64_t topic_counts[] = {1, 10, 1000};
    uint64_t topics = topic_counts[_i];
    for (unsigned pass = 0; pass < 5; pass++) {
        unsigned found = 0;
        for (unsigned i = 0; i < 1000; i++) {
            uint64_t group = get_partition(i % topics, (int32_t)(i / topics));
            ck_assert(group == 0 || group == i + 1);
            found += group != 0;
            if (group == 0) {
                put_partition(i % topics, (int32_t)(i / topics), i + 1);
            }
        }
        ck_assert(pass < 4 || found == 1000);
    }
    ck_assert_uint_le(cache.partitions.capacity, 4096);
    size_t capacity = cache.partitions.capacity;
    store_cache_renew(&cache, 2);
    for (unsigned i = 0; i < 1000; i++) {
        ck_assert_uint_eq(get_partition(i % topics, (int32_t)(i / topics)), 0);
        put_partition(i % topics, (int32_t)(i / topics), i + 1);
    }
    ck_assert_uint_eq(cache.partitions.capacity, capacity);
}
END_TEST

/* Goal: more than fits is no error: what was put last is found, what is found is right, memory stays bounded. */
START_TEST(full_tables_forget)
{
    enum {
        PARTITIONS = 3 * STORE_CACHE_PARTITION_COUNT_MAX,
        TOPICS = 3 * STORE_CACHE_TOPIC_COUNT_MAX,
    };
    unsigned found = 0;
    for (unsigned i = 0; i < PARTITIONS; i++) {
        put_partition(i % 7, (int32_t)i, i + 1);
        ck_assert_uint_eq(get_partition(i % 7, (int32_t)i), i + 1);
    }
    for (unsigned i = 0; i < PARTITIONS; i++) {
        uint64_t group = get_partition(i % 7, (int32_t)i);
        ck_assert(group == 0 || group == i + 1);
        found += group != 0;
    }
    ck_assert_uint_eq(cache.partitions.capacity, STORE_CACHE_PARTITION_COUNT_MAX);
    ck_assert_uint_gt(found, STORE_CACHE_PARTITION_COUNT_MAX / 2);
    found = 0;
    for (unsigned i = 0; i < TOPICS; i++) {
        put_topic(i);
        ck_assert(has_topic(i));
    }
    for (unsigned i = 0; i < TOPICS; i++) {
        found += has_topic(i);
    }
    ck_assert_uint_eq(cache.topics.capacity, STORE_CACHE_TOPIC_COUNT_MAX);
    ck_assert_uint_gt(found, STORE_CACHE_TOPIC_COUNT_MAX / 2);
}
END_TEST

static Suite *store_cache_suite(void)
{
    Suite *suite = suite_create("store_cache");
    TCase *tcase = tcase_create("tables");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, nothing_is_taken_before_the_first_put);
    tcase_add_test(tcase, another_snapshot_begins_with_nothing);
    tcase_add_test(tcase, names_that_share_a_slot_are_told_apart);
    tcase_add_test(tcase, equal_hashes_replace_each_other);
    tcase_add_test(tcase, equal_hashes_of_names_are_told_apart);
    tcase_add_loop_test(tcase, all_of_a_thousand_are_held, 0, 3);
    tcase_add_test(tcase, full_tables_forget);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(store_cache_suite)
