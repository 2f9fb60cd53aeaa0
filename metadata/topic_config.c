/* The effective value of a key is searched in three places: the topic's own configs, the broker's options under the
 * synonym, the table. Partitions get theirs decoded; clients get text. */

#include "metadata/topic_config.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/mem.h"
#include <stdio.h>
#include <string.h>

#define SEGMENT_SIZE_MIN 1048576 /* smaller segments are only files without end */
#define LONG_MAX_TEXT "9223372036854775807"

enum {
    SOURCE_TOPIC = 1,
    SOURCE_BROKER = 4,
    SOURCE_DEFAULT = 5
};

/* ---- Rules that no range or choice can say ---- */

/* Log compaction is not built: a topic that asks for it must not come to believe it has it. */
bool topic_config_policy_accepts(struct bytes value)
{
    struct bytes element;
    while (config_list_next(&value, &element)) {
        if (!bytes_equal_text(element, "delete")) {
            return false;
        }
    }
    return true;
}

/* "partition:broker", both decimal. */
static bool is_partition_and_broker(struct bytes value)
{
    size_t colons = 0;
    for (size_t i = 0; i < value.size; i++) {
        bool is_colon = value.data[i] == ':';
        colons += is_colon ? 1 : 0;
        if ((!is_colon && (value.data[i] < '0' || value.data[i] > '9')) ||
            (is_colon && (i == 0 || i + 1 == value.size))) {
            return false;
        }
    }
    return colons == 1;
}

static bool throttled_is_valid(struct bytes value)
{
    struct bytes element;
    if (bytes_equal_text(value, "*")) {
        return true;
    }
    while (config_list_next(&value, &element)) {
        if (!is_partition_and_broker(element)) {
            return false;
        }
    }
    return true;
}

#define POLICY .is_accepted = topic_config_policy_accepts, .expected = TOPIC_CONFIG_POLICY_EXPECTED
#define VERSION .is_accepted = config_is_version, .expected = "a version, such as 3.0-IV1"
#define THROTTLED .is_accepted = throttled_is_valid, .expected = "* or a list of partition:broker"
#define FROM(low) .min = (low), .max = INT64_MAX
#define FROM_INT(low) .min = (low), .max = INT32_MAX

/* ---- The table, in the order of names ---- */

static const struct topic_config_key keys[] = {
#include "metadata/topic_config.def"
};

const struct topic_config_key *topic_config_keys(size_t *count)
{
    *count = array_count(keys);
    return keys;
}

const struct topic_config_key *topic_config_find(struct bytes name)
{
    for (size_t i = 0; i < array_count(keys); i++) {
        if (bytes_equal_text(name, keys[i].name)) {
            return &keys[i];
        }
    }
    return NULL;
}

static bool is_default(const struct topic_config_key *key, struct bytes value)
{
    bool truth;
    struct bytes text = bytes_from_text(key->default_value);
    value = config_trim(value);
    if (key->type == CONFIG_BOOL && config_parse_bool(value, &truth)) {
        return bytes_equal_text(text, truth ? "true" : "false");
    }
    return bytes_equal(value, text);
}

enum kafka_error topic_config_check(struct bytes name, struct bytes value, char *text, size_t text_size)
{
    const struct topic_config_key *key = topic_config_find(name);
    struct config_shown shown = config_show(value);
    char expected[160];
    if (key == NULL) {
        (void)snprintf(text, text_size, "Unknown topic config name: %s", config_show(name).text);
        return KAFKA_INVALID_CONFIG;
    }
    if (!config_is_valid(key->type, &key->rule, value)) {
        config_expected(key->type, &key->rule, expected, sizeof(expected));
        (void)snprintf(text, text_size, "Invalid value %s for configuration %s: expected %s", shown.text, key->name,
                       expected);
        return KAFKA_INVALID_CONFIG;
    }
    if (key->use == CONFIG_DEFAULT_ONLY && !is_default(key, value)) {
        (void)snprintf(text, text_size, "Invalid value %s for configuration %s: only %s is supported", shown.text,
                       key->name, key->default_value);
        return KAFKA_INVALID_CONFIG;
    }
    return KAFKA_NONE;
}

/* ---- Effective values ---- */

/* A key's value in the topic or in the broker's options; false: neither has a valid one. */
static bool topic_own(const struct topic_config_key *key, const struct store_topic *topic, struct bytes *value)
{
    for (size_t i = 0; topic != NULL && i < topic->config_count; i++) {
        const struct store_config *config = &topic->configs[i];
        if (bytes_equal_text(config->name, key->name) && config_is_valid(key->type, &key->rule, config->value)) {
            *value = config_trim(config->value);
            return true;
        }
    }
    return false;
}

static bool broker_own(const struct topic_config_key *key, const struct topic_config_defaults *defaults,
                       struct bytes *value)
{
    const char *text = key->broker_key != NULL && defaults != NULL && defaults->value != NULL
                           ? defaults->value(defaults->context, key->broker_key)
                           : NULL;
    if (text == NULL || !config_is_valid(key->type, &key->rule, bytes_from_text(text))) {
        return false;
    }
    *value = config_trim(bytes_from_text(text));
    return true;
}

static struct bytes effective(const struct topic_config_key *key, const struct store_topic *topic,
                              const struct topic_config_defaults *defaults, int8_t *source)
{
    struct bytes value;
    if (topic_own(key, topic, &value)) {
        *source = SOURCE_TOPIC;
        return value;
    }
    if (broker_own(key, defaults, &value)) {
        *source = SOURCE_BROKER;
        return value;
    }
    *source = SOURCE_DEFAULT;
    return bytes_from_text(key->default_value);
}

const char *topic_config_value(const struct topic_config_key *key, const struct store_topic *topic,
                               const struct topic_config_defaults *defaults, struct arena *arena, int8_t *source)
{
    bool truth;
    struct bytes value = effective(key, topic, defaults, source);
    if (key->type == CONFIG_BOOL && config_parse_bool(value, &truth)) {
        return truth ? "true" : "false"; /* Kafka reports booleans as Java prints them */
    }
    return arena_text(arena, value);
}

struct lookup {
    const struct store_topic *topic;
    const struct topic_config_defaults *defaults;
};

static struct bytes lookup_text(const struct lookup *lookup, const char *name, int8_t *source)
{
    const struct topic_config_key *key = topic_config_find(bytes_from_text(name));
    assert(key != NULL);
    return effective(key, lookup->topic, lookup->defaults, source);
}

static int64_t lookup_number(const struct lookup *lookup, const char *name, int8_t *source)
{
    int64_t number = 0;
    bool is_number = config_parse_long(lookup_text(lookup, name, source), &number);
    assert(is_number);
    return number;
}

/* The old key counts for both directions, where the new ones are not set at the same or a nearer place. */
static int64_t timestamp_limit(const struct lookup *lookup, const char *name)
{
    int8_t source;
    int8_t old_source;
    int64_t limit = lookup_number(lookup, name, &source);
    int64_t old_limit = lookup_number(lookup, "message.timestamp.difference.max.ms", &old_source);
    return old_source < source ? old_limit : limit;
}

static int64_t producer_expiration(const struct topic_config_defaults *defaults)
{
    int64_t expiration = 86400000; /* Kafka's default: one day */
    const char *text = defaults != NULL && defaults->value != NULL
                           ? defaults->value(defaults->context, "producer.id.expiration.ms")
                           : NULL;
    if (text != NULL && (!config_parse_long(bytes_from_text(text), &expiration) || expiration < 1)) {
        expiration = 86400000;
    }
    return expiration;
}

void topic_config_partition(const struct store_topic *topic, const struct topic_config_defaults *defaults,
                            struct partition_config *config)
{
    const struct lookup lookup = {topic, defaults};
    int8_t source;
    struct bytes policy = lookup_text(&lookup, "cleanup.policy", &source);
    int64_t retention_bytes = lookup_number(&lookup, "retention.bytes", &source);
    memset(config, 0, sizeof(*config));
    config->log.segment_size_max = (uint64_t)lookup_number(&lookup, "segment.bytes", &source);
    config->log.segment_ms = lookup_number(&lookup, "segment.ms", &source);
    config->log.index_interval = 4096; /* Kafka's default; a hint for reading, so no one needs another */
    config->max_message_bytes = (size_t)lookup_number(&lookup, "max.message.bytes", &source);
    config->is_log_append_time =
        bytes_equal_text(lookup_text(&lookup, "message.timestamp.type", &source), "LogAppendTime");
    config->timestamp_before_max_ms = timestamp_limit(&lookup, "message.timestamp.before.max.ms");
    config->timestamp_after_max_ms = timestamp_limit(&lookup, "message.timestamp.after.max.ms");
    config->retention_ms = lookup_number(&lookup, "retention.ms", &source);
    config->retention_bytes = retention_bytes < 0 ? -1 : retention_bytes;
    config->is_compacted = config_list_has(policy, "compact");
    config->is_deleted_by_retention = config_list_has(policy, "delete");
    config->min_insync = (int32_t)lookup_number(&lookup, "min.insync.replicas", &source);
    config->producer_expiration_ms = producer_expiration(defaults);
}
