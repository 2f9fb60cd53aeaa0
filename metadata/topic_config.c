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

/* ---- Rules that no range or choice can say ---- */

bool topic_config_policy_accepts(struct bytes value)
{
    struct bytes element;
    while (config_list_next(&value, &element)) {
        if (!bytes_equal_text(element, "delete") && !bytes_equal_text(element, "compact")) {
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

/* An unclean election does not exist: a broker's options refuse it, where one topic's config has merely no effect. */
const struct topic_config_key *topic_config_find_inherited(struct bytes broker_key)
{
    for (size_t i = 0; i < array_count(keys); i++) {
        if (keys[i].broker_key != NULL && bytes_equal_text(broker_key, keys[i].broker_key) &&
            strcmp(keys[i].broker_key, "unclean.leader.election.enable") != 0) {
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

/* `name` is what the client calls the key. */
static enum kafka_error check_value(const struct topic_config_key *key, const char *name, struct bytes value,
                                    char *text, size_t text_size)
{
    struct config_shown shown = config_show(value);
    char expected[160];
    if (value.size > CONFIG_VALUE_SIZE_MAX) {
        (void)snprintf(text, text_size, "Invalid value %s for configuration %s: longer than %d bytes", shown.text, name,
                       CONFIG_VALUE_SIZE_MAX);
        return KAFKA_INVALID_CONFIG;
    }
    if (!config_is_valid(key->type, &key->rule, value)) {
        config_expected(key->type, &key->rule, expected, sizeof(expected));
        (void)snprintf(text, text_size, "Invalid value %s for configuration %s: expected %s", shown.text, name,
                       expected);
        return KAFKA_INVALID_CONFIG;
    }
    if (key->use == CONFIG_DEFAULT_ONLY && !is_default(key, value)) {
        (void)snprintf(text, text_size, "Invalid value %s for configuration %s: only %s is supported", shown.text, name,
                       key->default_value);
        return KAFKA_INVALID_CONFIG;
    }
    return KAFKA_NONE;
}

enum kafka_error topic_config_check(struct bytes name, struct bytes value, char *text, size_t text_size)
{
    const struct topic_config_key *key = topic_config_find(name);
    if (key == NULL) {
        (void)snprintf(text, text_size, "Unknown topic config name: %s", config_show(name).text);
        return KAFKA_INVALID_CONFIG;
    }
    return check_value(key, key->name, value, text, text_size);
}

enum kafka_error topic_config_check_inherited(struct bytes broker_key, struct bytes value, char *text, size_t text_size)
{
    const struct topic_config_key *key = topic_config_find_inherited(broker_key);
    if (key == NULL) {
        bool is_throttle = bytes_equal_text(broker_key, "leader.replication.throttled.rate") ||
                           bytes_equal_text(broker_key, "follower.replication.throttled.rate");
        (void)snprintf(text, text_size, "%s cannot be altered while brokers run%s", config_show(broker_key).text,
                       is_throttle ? ": see balsa.catchup.bytes.per.second of the broker's properties"
                                   : ", only what topics inherit can: set it in the broker's properties");
        return KAFKA_INVALID_CONFIG;
    }
    return check_value(key, key->broker_key, value, text, text_size);
}

/* ---- Effective values ---- */

static bool find_valid(const struct topic_config_key *key, const char *name, const struct store_config *configs,
                       size_t count, struct bytes *value)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes_equal_text(configs[i].name, name) && config_is_valid(key->type, &key->rule, configs[i].value)) {
            *value = config_trim(configs[i].value);
            return true;
        }
    }
    return false;
}

static bool find_option(const struct topic_config_key *key, const struct topic_config_defaults *defaults,
                        struct bytes *value)
{
    const char *text = defaults->value != NULL ? defaults->value(defaults->context, key->broker_key) : NULL;
    if (text == NULL || !config_is_valid(key->type, &key->rule, bytes_from_text(text))) {
        return false;
    }
    *value = config_trim(bytes_from_text(text));
    return true;
}

bool topic_config_at(const struct topic_config_key *key, const struct store_topic *topic,
                     const struct topic_config_defaults *defaults, enum config_source source, struct bytes *value)
{
    bool is_inherited = defaults != NULL && key->broker_key != NULL;
    switch (source) {
    case CONFIG_OF_TOPIC:
        return topic != NULL && find_valid(key, key->name, topic->configs, topic->config_count, value);
    case CONFIG_OF_BROKER_ALTERED:
        return is_inherited && find_valid(key, key->broker_key, defaults->broker.items, defaults->broker.count, value);
    case CONFIG_OF_CLUSTER_ALTERED:
        return is_inherited &&
               find_valid(key, key->broker_key, defaults->cluster.items, defaults->cluster.count, value);
    case CONFIG_OF_BROKER:
        return is_inherited && find_option(key, defaults, value);
    case CONFIG_OF_TABLE:
        *value = bytes_from_text(key->default_value);
        return true;
    }
    return false;
}

static struct bytes effective(const struct topic_config_key *key, const struct store_topic *topic,
                              const struct topic_config_defaults *defaults, int8_t *source)
{
    struct bytes value = BYTES_NONE;
    *source = CONFIG_OF_TOPIC;
    while (!topic_config_at(key, topic, defaults, (enum config_source) * source, &value)) {
        ++*source; /* the table has a value for every key */
    }
    return value;
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

static double lookup_real(const struct lookup *lookup, const char *name)
{
    double number = 0;
    int8_t source;
    bool is_number = config_parse_double(lookup_text(lookup, name, &source), &number);
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
    config->min_compaction_lag_ms = lookup_number(&lookup, "min.compaction.lag.ms", &source);
    config->max_compaction_lag_ms = lookup_number(&lookup, "max.compaction.lag.ms", &source);
    config->delete_retention_ms = lookup_number(&lookup, "delete.retention.ms", &source);
    config->min_cleanable_ratio = lookup_real(&lookup, "min.cleanable.dirty.ratio");
    if (config->is_compacted && config->log.segment_ms > config->max_compaction_lag_ms) {
        config->log.segment_ms = config->max_compaction_lag_ms; /* only closed segments are compacted */
    }
    config->min_insync = (int32_t)lookup_number(&lookup, "min.insync.replicas", &source);
    config->producer_expiration_ms = producer_expiration(defaults);
}
