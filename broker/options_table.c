/* What may be set, and what Kafka knows but must not be set here because ignoring it would mislead. */

#include "base/limits.h"
#include "base/mem.h"
#include "broker/options.h"
#include <string.h>

#define WAL_FILE_SIZE_MIN MIB(32) /* a unit of WAL_UNIT_SIZE_MAX fits with its marks, and a power of two stays */
#define DAY_MS 86400000LL
#define LONG_MAX_TEXT "9223372036854775807"

#define FROM(low) .min = (low), .max = INT64_MAX
#define FROM_INT(low) .min = (low), .max = INT32_MAX
#define VERSION .is_accepted = config_is_version, .expected = "a version, such as 3.0-IV1"
#define POLICY .is_accepted = topic_config_policy_accepts, .expected = TOPIC_CONFIG_POLICY_EXPECTED

#define DURABLE "No effect: every write is on the disks of a majority before it is acknowledged."
#define COMPACTION "No effect: each shard compacts one partition at a time, with buffers of its own."
#define RAFT "No effect: partitions are replicated by Raft, see balsa.raft.*."
#define NO_OFFSETS "No effect: there is no topic of offsets."

static_assert(WAL_UNIT_SIZE_MAX + 3 * WAL_BLOCK_SIZE <= WAL_FILE_SIZE_MIN,
              "the largest unit fits in the smallest file");

static bool roles_are_accepted(struct bytes value)
{
    struct bytes role;
    struct bytes rest = value;
    while (config_list_next(&rest, &role)) {
        if (!bytes_equal_text(role, "broker") && !bytes_equal_text(role, "controller")) {
            return false;
        }
    }
    return config_list_has(value, "broker");
}

static const struct option_key keys[] = {
#include "broker/options_table.def"
};

const struct option_key *options_keys(size_t *count)
{
    *count = array_count(keys);
    return keys;
}

/* A name that ends with a dot stands for all keys that start with it. */
static const struct {
    const char *name;
    const char *reason;
} refusals[] = {
    {"zookeeper.", "there is no ZooKeeper: brokers keep the metadata themselves"},
    {"controller.quorum.", "brokers keep the metadata themselves, by Raft: see balsa.raft.*"},
    {"controller.quota.", "there are no quotas"},
    {"control.plane.listener.name", "brokers talk to each other on the listener of controller.listener.names"},
    {"early.start.listeners", "there is no authorizer that listeners could start before"},
    {"metadata.log.", "the metadata is kept in the data directory, see log.dirs"},
    {"ssl.", "TLS is not available"},
    {"sasl.", "SASL is not available"},
    {"security.", "PLAINTEXT is the only security protocol"},
    {"authorizer.", "there is no authorizer"},
    {"super.users", "there is no authorizer"},
    {"allow.everyone.if.no.acl.found", "there is no authorizer"},
    {"principal.builder.class", "there is no authentication"},
    {"connections.max.reauth.ms", "there is no authentication"},
    {"delegation.token.", "delegation tokens are not available"},
    {"password.encoder.", "no secrets are stored"},
    {"listener.name.", "listeners have no options of their own"},
    {"quota.", "there are no quotas"},
    {"client.quota.callback.class", "there are no quotas"},
    {"create.topic.policy.class.name", "Java classes cannot be loaded: the policy would not be applied"},
    {"alter.config.policy.class.name", "Java classes cannot be loaded: the policy would not be applied"},
    {"remote.log.", "there is no remote storage"},
    {"log.local.retention.", "there is no remote storage"},
    {"config.providers", "values cannot refer to other places"},
    {"config.providers.", "values cannot refer to other places"},
    {"kafka.metrics.", "Java classes cannot be loaded"},
    {"auto.include.jmx.reporter", "there is no JMX"},
    {"confluent.", "it is a key of another product"},
    {"redpanda.", "it is a key of another product"},
};

const char *options_refusal(const char *key)
{
    for (size_t i = 0; i < array_count(refusals); i++) {
        const char *name = refusals[i].name;
        size_t size = strlen(name);
        if (name[size - 1] == '.' ? strncmp(key, name, size) == 0 : strcmp(key, name) == 0) {
            return refusals[i].reason;
        }
    }
    return NULL;
}
