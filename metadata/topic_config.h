/* Topic configs: one table with Kafka's names, types, defaults and what Balsa does with each; parsing, checking, and
 * the effective configuration of a partition. Pure.
 * Source: kafka-protocol "Configs"; Kafka's documented topic-level configs. */
#pragma once

#include "base/arena.h"
#include "metadata/store.h"
#include "replication/partition.h"

enum config_type { /* numbers as in DescribeConfigs v3+ */
    CONFIG_BOOL = 1,
    CONFIG_STRING = 2,
    CONFIG_INT = 3,
    CONFIG_SHORT = 4,
    CONFIG_LONG = 5,
    CONFIG_DOUBLE = 6,
    CONFIG_LIST = 7,
    CONFIG_CLASS = 8,
    CONFIG_PASSWORD = 9,
};
enum config_use {
    CONFIG_HONOURED,
    CONFIG_NO_EFFECT,   /* accepted, stored, reported; documented as without effect */
    CONFIG_DEFAULT_ONLY /* any value but the default is refused, with the reason */
};

struct topic_config_key {
    const char *name;
    enum config_type type;
    const char *default_value;
    enum config_use use;
    const char *broker_key;   /* broker-level synonym whose value is the default; NULL: none */
    const char *documentation;
};
const struct topic_config_key *topic_config_keys(size_t *count);
const struct topic_config_key *topic_config_find(struct bytes name); /* NULL: unknown */

/* Checks one value. KAFKA_NONE or KAFKA_INVALID_CONFIG with text that names key, value and what is expected. */
enum kafka_error topic_config_check(struct bytes name, struct bytes value, char *text, size_t text_size);

/* Broker-level defaults (log.retention.ms, ...), from the options; text form by topic key; NULL: the table's
 * default. */
struct topic_config_defaults {
    const char *(*value)(void *context, const char *broker_key);
    void *context;
};
/* Effective value of one key as text: topic's own, else broker's, else default. `source` as DescribeConfigs: 1 topic, 4
 * static broker, 5 default. */
const char *topic_config_value(const struct topic_config_key *key, const struct store_topic *topic,
                               const struct topic_config_defaults *defaults, struct arena *arena, int8_t *source);
/* All of it, decoded, for a partition of `topic` (NULL topic: defaults). */
void topic_config_partition(const struct store_topic *topic, const struct topic_config_defaults *defaults,
                            struct partition_config *config);
