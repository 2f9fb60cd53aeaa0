/* The table of topic configs, its checks, and what a partition gets. */
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "metadata/topic_config.h"
#include "tests/lib/test.h"

#define B(text) ((struct bytes){(const uint8_t *)(text), sizeof(text) - 1})
#define LONG_MAX_TEXT "9223372036854775807"

static enum kafka_error check(const char *name, struct bytes value, char *text, size_t size)
{
    text[0] = '\0';
    return topic_config_check(bytes_from_text(name), value, text, size);
}

/* Goal: names are found and unique. Method: each key against the one before it. */
START_TEST(keys_are_sorted)
{
    size_t count;
    const struct topic_config_key *keys = topic_config_keys(&count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_ptr_eq(topic_config_find(bytes_from_text(keys[i].name)), &keys[i]);
        ck_assert_msg(i == 0 || strcmp(keys[i - 1].name, keys[i].name) < 0, "%s", keys[i].name);
        ck_assert_msg(strlen(keys[i].documentation) > 0, "%s", keys[i].name);
    }
    ck_assert_ptr_null(topic_config_find(B("retention.m")));
    ck_assert_ptr_null(topic_config_find(BYTES_NONE));
}
END_TEST

/* Goal: what DescribeConfigs reports can be written back. Method: the default of every key passes its own check, and is
 * the value of a topic that sets nothing. */
START_TEST(every_default_is_accepted)
{
    size_t count;
    const struct topic_config_key *keys = topic_config_keys(&count);
    struct arena arena;
    arena_init(&arena, KIB(64));
    for (size_t i = 0; i < count; i++) {
        char text[160];
        int8_t source;
        enum kafka_error error = check(keys[i].name, bytes_from_text(keys[i].default_value), text, sizeof(text));
        ck_assert_msg(error == KAFKA_NONE, "%s: %s", keys[i].name, text);
        ck_assert_str_eq(topic_config_value(&keys[i], NULL, NULL, &arena, &source), keys[i].default_value);
        ck_assert_int_eq(source, 5);
    }
    arena_deinit(&arena);
}
END_TEST

struct check_case {
    const char *key;
    struct bytes value;
    bool is_valid;
};

static const struct check_case check_cases[] = {
    {"cleanup.policy", B("delete"), true},
    {"cleanup.policy", B(""), true},
    {"cleanup.policy", B("compact"), true},
    {"cleanup.policy", B("compact,delete"), true},
    {"cleanup.policy", B("delete, compact"), true},
    {"cleanup.policy", B("remove"), false},
    {"retention.ms", B("-1"), true},
    {"retention.ms", B("0"), true},
    {"retention.ms", B("-2"), false},
    {"retention.ms", B(LONG_MAX_TEXT), true},
    {"retention.ms", B("7d"), false},
    {"retention.bytes", B("-1"), true},
    {"segment.bytes", B("1048576"), true},
    {"segment.bytes", B("1048575"), false},
    {"segment.bytes", B("2147483647"), true},
    {"segment.bytes", B("2147483648"), false},
    {"segment.ms", B("1"), true},
    {"segment.ms", B("0"), false},
    {"max.message.bytes", B("0"), true},
    {"max.message.bytes", B("-1"), false},
    {"max.message.bytes", B("16777216"), true},
    {"max.message.bytes", B("16777217"), false},
    {"message.timestamp.type", B("LogAppendTime"), true},
    {"message.timestamp.type", B("logAppendTime"), false},
    {"message.timestamp.before.max.ms", B("-1"), false},
    {"message.timestamp.difference.max.ms", B("0"), true},
    {"min.insync.replicas", B("0"), false},
    {"min.insync.replicas", B("3"), true},
    {"min.cleanable.dirty.ratio", B("1.0"), true},
    {"min.cleanable.dirty.ratio", B("1.1"), false},
    {"compression.type", B("zstd"), true},
    {"compression.type", B("none"), false},
    {"compression.gzip.level", B("0"), false},
    {"compression.gzip.level", B("9"), true},
    {"compression.lz4.level", B("18"), false},
    {"compression.zstd.level", B("-131072"), true},
    {"compression.zstd.level", B("23"), false},
    {"message.format.version", B("2.8"), true},
    {"message.format.version", B("latest"), false},
    {"leader.replication.throttled.replicas", B("*"), true},
    {"leader.replication.throttled.replicas", B("0:1, 12:3"), true},
    {"leader.replication.throttled.replicas", B("0:"), false},
    {"leader.replication.throttled.replicas", B("0:1:2"), false},
    {"leader.replication.throttled.replicas", B("x"), false},
    {"remote.storage.enable", B("FALSE"), true},
    {"remote.storage.enable", B("true"), false},
    {"local.retention.ms", B("-2"), true},
    {"local.retention.ms", B("1000"), false},
    {"unclean.leader.election.enable", B("true"), true},
    {"preallocate", B("maybe"), false},
    {"confluent.tier.enable", B("false"), false},
    {"", B(""), false},
};

/* Goal: each key takes exactly its values, and a refusal names key and value. Method: both sides of the bounds. */
START_TEST(values_are_checked)
{
    const struct check_case *c = &check_cases[_i];
    char text[256];
    enum kafka_error error = check(c->key, c->value, text, sizeof(text));
    ck_assert_msg(error == (c->is_valid ? KAFKA_NONE : KAFKA_INVALID_CONFIG), "%s=%s: %s", c->key,
                  config_show(c->value).text, text);
    if (!c->is_valid) {
        ck_assert_ptr_nonnull(strstr(text, c->key));
        ck_assert_msg(topic_config_find(bytes_from_text(c->key)) == NULL ||
                          strstr(text, config_show(c->value).text) != NULL,
                      "%s", text);
    }
}
END_TEST

/* Goal: the cause is clear to who reads it. Method: whole texts. */
START_TEST(refusals_say_what_is_expected)
{
    char text[160];
    (void)check("segment.bytes", B("5"), text, sizeof(text));
    ck_assert_str_eq(text,
                     "Invalid value 5 for configuration segment.bytes: expected an integer from 1048576 to 2147483647");
    (void)check("cleanup.policy", B("compacted"), text, sizeof(text));
    ck_assert_str_eq(text,
                     "Invalid value compacted for configuration cleanup.policy: expected delete, compact, or both");
    (void)check("remote.storage.enable", B("true"), text, sizeof(text));
    ck_assert_str_eq(text, "Invalid value true for configuration remote.storage.enable: only false is supported");
    (void)check("nothing", B("x"), text, sizeof(text));
    ck_assert_str_eq(text, "Unknown topic config name: nothing");
}
END_TEST

/* Goal: no value hurts. Method: random bytes, long ones, tiny room for the text, for every key. */
START_TEST(hostile_values_are_refused)
{
    size_t count;
    const struct topic_config_key *keys = topic_config_keys(&count);
    uint8_t noise[300];
    unsigned seed = 7;
    for (size_t round = 0; round < 2000; round++) {
        size_t size = (size_t)rand_r(&seed) % sizeof(noise);
        for (size_t i = 0; i < size; i++) {
            noise[i] = (uint8_t)rand_r(&seed);
        }
        noise[0] = 0;
        char text[20] = "";
        const struct topic_config_key *key = &keys[round % count];
        enum kafka_error error = check(key->name, (struct bytes){noise, size}, text, 1 + round % sizeof(text));
        ck_assert_msg(size == 0 || error == KAFKA_INVALID_CONFIG, "%s", key->name);
        ck_assert(memchr(text, '\0', sizeof(text)) != NULL);
        ck_assert_int_eq(topic_config_check((struct bytes){noise, size}, B("x"), text, sizeof(text)),
                         KAFKA_INVALID_CONFIG);
    }
}
END_TEST

/* ---- Effective values ---- */

struct setting {
    const char *name;
    const char *value;
};

static const char *broker_value(void *context, const char *broker_key)
{
    for (const struct setting *setting = context; setting->name != NULL; setting++) {
        if (strcmp(setting->name, broker_key) == 0) {
            return setting->value;
        }
    }
    return NULL;
}

#define SETTINGS_MAX 4

static struct store_topic topic_with(const struct setting *settings, struct store_config *configs)
{
    struct store_topic topic = {.name = B("t"), .configs = configs};
    for (size_t i = 0; i < SETTINGS_MAX && settings[i].name != NULL; i++) {
        configs[i] = (struct store_config){bytes_from_text(settings[i].name), bytes_from_text(settings[i].value)};
        topic.config_count++;
    }
    return topic;
}

struct value_case {
    const char *key;
    struct setting topic[SETTINGS_MAX];
    struct setting broker[SETTINGS_MAX];
    const char *value;
    int8_t source;
};

static const struct value_case value_cases[] = {
    {"retention.ms", {{0}}, {{0}}, "604800000", 5},
    {"retention.ms", {{0}}, {{"log.retention.ms", "5"}}, "5", 4},
    {"retention.ms", {{"retention.ms", " 6 "}}, {{"log.retention.ms", "5"}}, "6", 1},
    {"retention.ms", {{"retention.bytes", "6"}}, {{"retention.ms", "5"}}, "604800000", 5},
    {"preallocate", {{"preallocate", "TRUE"}}, {{0}}, "true", 1},
    {"retention.ms", {{"retention.ms", "damaged"}}, {{"log.retention.ms", "5"}}, "5", 4},
    {"segment.bytes", {{0}}, {{"log.segment.bytes", "1"}}, "1073741824", 5},
    {"cleanup.policy", {{"cleanup.policy", "compact"}}, {{0}}, "compact", 1},
};

/* Goal: the topic's value wins over the broker's, that over the default; what is not valid counts as not set. */
START_TEST(nearest_valid_value_wins)
{
    const struct value_case *c = &value_cases[_i];
    struct store_config configs[SETTINGS_MAX];
    struct store_topic topic = topic_with(c->topic, configs);
    struct setting broker[SETTINGS_MAX];
    memcpy(broker, c->broker, sizeof(broker));
    struct topic_config_defaults defaults = {.value = broker_value, .context = broker};
    struct arena arena;
    int8_t source;
    arena_init(&arena, KIB(4));
    const struct topic_config_key *key = topic_config_find(bytes_from_text(c->key));
    ck_assert_str_eq(topic_config_value(key, &topic, &defaults, &arena, &source), c->value);
    ck_assert_int_eq(source, c->source);
    arena_deinit(&arena);
}
END_TEST

/* Goal: a partition without any setting behaves as Kafka's. Method: every field. */
START_TEST(partition_has_kafkas_defaults)
{
    struct partition_config config;
    topic_config_partition(NULL, NULL, &config);
    ck_assert_uint_eq(config.log.segment_size_max, GIB(1));
    ck_assert_int_eq(config.log.segment_ms, 604800000);
    ck_assert_uint_eq(config.log.index_interval, 4096);
    ck_assert_uint_eq(config.max_message_bytes, 1048588);
    ck_assert(!config.is_log_append_time);
    ck_assert(!config.is_compacted);
    ck_assert(config.is_deleted_by_retention);
    ck_assert_int_eq(config.min_compaction_lag_ms, 0);
    ck_assert(config.max_compaction_lag_ms == INT64_MAX);
    ck_assert_int_eq(config.delete_retention_ms, 86400000);
    ck_assert(config.min_cleanable_ratio > 0.49 && config.min_cleanable_ratio < 0.51);
    ck_assert(config.timestamp_before_max_ms == INT64_MAX);
    ck_assert(config.timestamp_after_max_ms == INT64_MAX);
    ck_assert_int_eq(config.retention_ms, 604800000);
    ck_assert_int_eq(config.retention_bytes, -1);
    ck_assert_int_eq(config.producer_expiration_ms, 86400000);
}
END_TEST

/* Goal: settings reach the partition. Method: a few from each place. */
START_TEST(partition_gets_what_is_set)
{
    struct setting broker[] = {{"producer.id.expiration.ms", "1000"}, {"log.segment.bytes", "2097152"}, {NULL, NULL}};
    const struct setting settings[SETTINGS_MAX] = {{"message.timestamp.type", "LogAppendTime"},
                                                   {"cleanup.policy", ""},
                                                   {"retention.bytes", "-7"},
                                                   {"max.message.bytes", "100"}};
    struct store_config configs[SETTINGS_MAX];
    struct store_topic topic = topic_with(settings, configs);
    struct topic_config_defaults defaults = {.value = broker_value, .context = broker};
    struct partition_config config;
    topic_config_partition(&topic, &defaults, &config);
    ck_assert(config.is_log_append_time);
    ck_assert(!config.is_deleted_by_retention);
    ck_assert_int_eq(config.retention_bytes, -1);
    ck_assert_uint_eq(config.max_message_bytes, 100);
    ck_assert_uint_eq(config.log.segment_size_max, 2097152);
    ck_assert_int_eq(config.producer_expiration_ms, 1000);
}
END_TEST

struct timestamp_case {
    struct setting topic[SETTINGS_MAX];
    struct setting broker[SETTINGS_MAX];
    int64_t before, after;
};

static const struct timestamp_case timestamp_cases[] = {
    {{{"message.timestamp.difference.max.ms", "9"}}, {{0}}, 9, 9},
    {{{"message.timestamp.difference.max.ms", "9"}, {"message.timestamp.after.max.ms", "3"}}, {{0}}, 9, 3},
    {{{0}}, {{"log.message.timestamp.difference.max.ms", "8"}}, 8, 8},
    {{{"message.timestamp.before.max.ms", "4"}}, {{"log.message.timestamp.difference.max.ms", "8"}}, 4, 8},
    {{{"message.timestamp.difference.max.ms", "9"}}, {{"log.message.timestamp.before.max.ms", "8"}}, 9, 9},
};

/* Goal: the older key counts in both directions where no newer one is set as near. */
START_TEST(older_timestamp_key_is_an_alias)
{
    const struct timestamp_case *c = &timestamp_cases[_i];
    struct store_config configs[SETTINGS_MAX];
    struct store_topic topic = topic_with(c->topic, configs);
    struct setting broker[SETTINGS_MAX];
    memcpy(broker, c->broker, sizeof(broker));
    struct topic_config_defaults defaults = {.value = broker_value, .context = broker};
    struct partition_config config;
    topic_config_partition(&topic, &defaults, &config);
    ck_assert_int_eq(config.timestamp_before_max_ms, c->before);
    ck_assert_int_eq(config.timestamp_after_max_ms, c->after);
}
END_TEST

static Suite *topic_config_suite(void)
{
    Suite *suite = suite_create("topic_config");
    TCase *table = tcase_create("table");
    tcase_add_test(table, keys_are_sorted);
    tcase_add_test(table, every_default_is_accepted);
    tcase_add_loop_test(table, values_are_checked, 0, (int)array_count(check_cases));
    tcase_add_test(table, refusals_say_what_is_expected);
    tcase_add_test(table, hostile_values_are_refused);
    suite_add_tcase(suite, table);
    TCase *effective = tcase_create("effective");
    tcase_add_loop_test(effective, nearest_valid_value_wins, 0, (int)array_count(value_cases));
    tcase_add_test(effective, partition_has_kafkas_defaults);
    tcase_add_test(effective, partition_gets_what_is_set);
    tcase_add_loop_test(effective, older_timestamp_key_is_an_alias, 0, (int)array_count(timestamp_cases));
    suite_add_tcase(suite, effective);
    return suite;
}

TEST_MAIN(topic_config_suite)
