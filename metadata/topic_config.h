/* Topic configs: one table with Kafka's names, types, defaults and what Balsa does with each; parsing, checking, and
 * the effective configuration of a partition. Pure.
 * Source: kafka-protocol "Configs"; Kafka's documented topic-level configs. */
#pragma once

#include "base/arena.h"
#include "metadata/config_value.h"
#include "metadata/store.h"
#include "replication/partition.h"

struct topic_config_key {
    const char *name;
    enum config_type type;
    const char *default_value;
    enum config_use use;
    const char *broker_key; /* broker-level synonym whose value is the default; NULL: none */
    const char *documentation;
    struct config_rule rule;
};
const struct topic_config_key *topic_config_keys(size_t *count);
const struct topic_config_key *topic_config_find(struct bytes name); /* NULL: unknown */

/* Checks one value. KAFKA_NONE or KAFKA_INVALID_CONFIG with text that names key, value and what is expected. */
enum kafka_error topic_config_check(struct bytes name, struct bytes value, char *text, size_t text_size);
/* The rule of cleanup.policy, which log.cleanup.policy shares. */
bool topic_config_policy_accepts(struct bytes value);
#define TOPIC_CONFIG_POLICY_EXPECTED "delete, compact, or both"

/* The key whose value topics inherit under this broker-level name; NULL: nothing is inherited from it. These are the
 * options that can be altered while brokers run. */
const struct topic_config_key *topic_config_find_inherited(struct bytes broker_key);
/* As topic_config_check(), of a value that topics are to inherit. */
enum kafka_error topic_config_check_inherited(struct bytes broker_key, struct bytes value, char *text,
                                              size_t text_size);

/* Where a value comes from: numbers as in DescribeConfigs; a smaller one is nearer to the topic and counts. */
enum config_source {
    CONFIG_OF_TOPIC = 1,
    CONFIG_OF_BROKER_ALTERED = 2,  /* of this broker, while it runs */
    CONFIG_OF_CLUSTER_ALTERED = 3, /* of all brokers */
    CONFIG_OF_BROKER = 4,          /* the broker's options */
    CONFIG_OF_TABLE = 5
};

/* Broker-level defaults by broker_key (log.retention.ms, ...): `value` from the options, NULL: not set there; what was
 * altered, from the store. All texts must live as long as this. */
struct topic_config_defaults {
    const char *(*value)(void *context, const char *broker_key);
    void *context;
    struct store_configs broker;  /* altered, of this broker */
    struct store_configs cluster; /* altered, of all */
};
/* The valid value that one source has for a key; false: none. `topic` for CONFIG_OF_TOPIC. */
bool topic_config_at(const struct topic_config_key *key, const struct store_topic *topic,
                     const struct topic_config_defaults *defaults, enum config_source source, struct bytes *value);
/* Effective value of one key as text: that of the nearest source that has one. `source` is an enum config_source. NULL:
 * the arena is full. */
const char *topic_config_value(const struct topic_config_key *key, const struct store_topic *topic,
                               const struct topic_config_defaults *defaults, struct arena *arena, int8_t *source);
/* All of it, decoded, for a partition of `topic` (NULL topic: defaults). A stored value that is not valid (any more)
 * counts as not set. */
void topic_config_partition(const struct store_topic *topic, const struct topic_config_defaults *defaults,
                            struct partition_config *config);
