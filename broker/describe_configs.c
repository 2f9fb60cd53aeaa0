/* A resource's entries are chosen from a base made once a request: what every topic inherits, or the broker's
 * options. A topic's own values then replace those of the base in its copy. Of the broker's entries those that topics
 * inherit can be altered; broker "" is what was altered for all brokers, and nothing else. */

#include "broker/describe_configs.h"
#include "broker/topic_defaults.h"
#include "metadata/topic_name.h"
#include "proto/codec.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    RECONFIG_OF_TOPIC = 2,
    RECONFIG_OF_BROKER = 4
};

struct base {
    struct kafka_describe_configs_response_config *entries; /* NULL: not made yet */
    int32_t count;
};

struct answer {
    const struct describe_configs_source *source;
    const struct kafka_describe_configs_request *request;
    struct topic_config_defaults defaults;
    struct base inherited; /* by topics */
    struct base broker;
    struct base cluster; /* altered for all brokers */
};

/* One resource and its answer. */
struct describe {
    struct answer *answer;
    const struct kafka_describe_configs_request_resource *resource;
    struct kafka_describe_configs_response_result *result;
};

__attribute__((format(printf, 3, 4))) static bool refuse(struct describe *describe, enum kafka_error error,
                                                         const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    describe->result->error_code = (int16_t)error;
    describe->result->error_message = arena_copy(describe->answer->source->arena, bytes_from_text(text));
    return describe->result->error_message.data != NULL;
}

/* ---- Entries ---- */

static void entry_init(const struct answer *answer, struct kafka_describe_configs_response_config *entry,
                       const char *name, enum config_type type, const char *documentation)
{
    entry->name = bytes_from_text(name);
    entry->config_type = (int8_t)type;
    entry->is_sensitive = type == CONFIG_PASSWORD;
    entry->documentation = answer->request->include_documentation ? bytes_from_text(documentation) : BYTES_NONE;
}

static void entry_set_value(struct kafka_describe_configs_response_config *entry, const char *value, int8_t source)
{
    entry->value = value != NULL && !entry->is_sensitive ? bytes_from_text(value) : BYTES_NONE;
    entry->config_source = source;
    entry->is_default = source == CONFIG_OF_TABLE;
}

/* Puts a synonym in front of those that there are. False: the arena is full. */
static bool entry_add_synonym(const struct answer *answer, struct kafka_describe_configs_response_config *entry,
                              const char *name, const char *value, int8_t source)
{
    if (!answer->request->include_synonyms || entry->is_sensitive) {
        return true;
    }
    size_t count = (size_t)entry->synonyms_count;
    struct kafka_describe_configs_response_synonym *synonyms =
        codec_new(&kafka_describe_configs_response_synonym_schema, count + 1, answer->source->arena);
    if (synonyms == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        synonyms[i + 1] = entry->synonyms[i];
    }
    synonyms[0].name = bytes_from_text(name);
    synonyms[0].value = bytes_from_text(value);
    synonyms[0].source = source;
    entry->synonyms = synonyms;
    entry->synonyms_count++;
    return true;
}

static struct kafka_describe_configs_response_config *entries_new(const struct answer *answer, size_t count)
{
    return codec_new(&kafka_describe_configs_response_config_schema, count, answer->source->arena);
}

/* ---- Bases ---- */

/* Booleans are reported as Java prints them, however they were written. */
static const char *as_reported(enum config_type type, const char *text)
{
    bool truth;
    if (text != NULL && type == CONFIG_BOOL && config_parse_bool(bytes_from_text(text), &truth)) {
        return truth ? "true" : "false";
    }
    return text;
}

/* The values that a key has in the sources from `farthest` to `nearest`; the entry gets the nearest one. */
static bool fill_sources(const struct answer *answer, const struct topic_config_key *key, const char *synonym,
                         enum config_source farthest, enum config_source nearest,
                         struct kafka_describe_configs_response_config *entry)
{
    for (int source = (int)farthest; source >= (int)nearest; source--) {
        struct bytes found;
        if (!topic_config_at(key, NULL, &answer->defaults, (enum config_source)source, &found)) {
            continue;
        }
        const char *value = as_reported(key->type, arena_text(answer->source->arena, found));
        if (value == NULL || !entry_add_synonym(answer, entry, synonym, value, (int8_t)source)) {
            return false;
        }
        entry_set_value(entry, value, (int8_t)source);
    }
    return true;
}

static bool make_inherited(struct answer *answer)
{
    size_t count;
    const struct topic_config_key *keys = topic_config_keys(&count);
    struct kafka_describe_configs_response_config *entries = entries_new(answer, count);
    if (entries == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const char *synonym = keys[i].broker_key != NULL ? keys[i].broker_key : keys[i].name;
        entry_init(answer, &entries[i], keys[i].name, keys[i].type, keys[i].documentation);
        if (!fill_sources(answer, &keys[i], synonym, CONFIG_OF_TABLE, CONFIG_OF_BROKER_ALTERED, &entries[i])) {
            return false;
        }
    }
    answer->inherited = (struct base){entries, (int32_t)count};
    return true;
}

static bool fill_option(const struct answer *answer, const struct option_key *key, const char *name,
                        struct kafka_describe_configs_response_config *entry)
{
    enum option_source set_by;
    const char *value = as_reported(key->type, options_text(answer->source->options, key->name, &set_by));
    int8_t source = set_by == OPTION_DEFAULT ? CONFIG_OF_TABLE : CONFIG_OF_BROKER;
    const struct topic_config_key *inherited = topic_config_find_inherited(bytes_from_text(name));
    entry_init(answer, entry, name, key->type, key->documentation);
    entry_set_value(entry, value, source);
    entry->read_only = inherited == NULL;
    if (key->default_text != NULL && !entry_add_synonym(answer, entry, name, key->default_text, CONFIG_OF_TABLE)) {
        return false;
    }
    if (source == CONFIG_OF_BROKER && !entry_add_synonym(answer, entry, name, value, CONFIG_OF_BROKER)) {
        return false;
    }
    return inherited == NULL ||
           fill_sources(answer, inherited, name, CONFIG_OF_CLUSTER_ALTERED, CONFIG_OF_BROKER_ALTERED, entry);
}

static bool make_broker(struct answer *answer)
{
    size_t count;
    const struct option_key *keys = options_keys(&count);
    struct kafka_describe_configs_response_config *entries =
        entries_new(answer, 2 * count); /* every key may have an alias */
    int32_t used = 0;
    if (entries == NULL) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (!fill_option(answer, &keys[i], keys[i].name, &entries[used++]) ||
            (keys[i].alias != NULL && !fill_option(answer, &keys[i], keys[i].alias, &entries[used++]))) {
            return false;
        }
    }
    answer->broker = (struct base){entries, used};
    return true;
}

static bool make_cluster(struct answer *answer)
{
    const struct store_configs *altered = &answer->defaults.cluster;
    struct kafka_describe_configs_response_config *entries = entries_new(answer, altered->count + 1);
    int32_t used = 0;
    for (size_t i = 0; entries != NULL && i < altered->count; i++) {
        const struct topic_config_key *key = topic_config_find_inherited(altered->items[i].name);
        struct bytes value;
        if (key == NULL || !topic_config_at(key, NULL, &answer->defaults, CONFIG_OF_CLUSTER_ALTERED, &value)) {
            continue; /* of another version */
        }
        entry_init(answer, &entries[used], key->broker_key, key->type, key->documentation);
        if (!fill_sources(answer, key, key->broker_key, CONFIG_OF_CLUSTER_ALTERED, CONFIG_OF_CLUSTER_ALTERED,
                          &entries[used++])) {
            return false;
        }
    }
    answer->cluster = (struct base){entries, used};
    return entries != NULL;
}

/* ---- Choosing ---- */

/* No names are all names; a name that does not exist is passed over, as in Kafka. */
static bool is_wanted(const struct kafka_describe_configs_request_resource *resource, struct bytes name)
{
    for (int32_t i = 0; i < resource->configuration_keys_count; i++) {
        if (bytes_equal(resource->configuration_keys[i], name)) {
            return true;
        }
    }
    return resource->configuration_keys_count <= 0;
}

/* The wanted entries of the base: shared with it when they are all and stay as they are, else a copy. */
static bool choose(struct describe *describe, const struct base *base, bool is_shared)
{
    struct kafka_describe_configs_response_result *result = describe->result;
    if (is_shared && describe->resource->configuration_keys_count <= 0) {
        result->configs = base->entries;
        result->configs_count = base->count;
        return true;
    }
    result->configs = entries_new(describe->answer, (size_t)base->count);
    if (result->configs == NULL) {
        return false;
    }
    for (int32_t i = 0; i < base->count; i++) {
        if (is_wanted(describe->resource, base->entries[i].name)) {
            result->configs[result->configs_count++] = base->entries[i];
        }
    }
    return true;
}

/* ---- Resources ---- */

static bool replace_own(struct describe *describe, const struct store_topic *topic, struct bytes name)
{
    const struct topic_config_key *key = topic_config_find(name);
    for (int32_t i = 0; key != NULL && i < describe->result->configs_count; i++) {
        struct kafka_describe_configs_response_config *entry = &describe->result->configs[i];
        int8_t source;
        if (!bytes_equal(entry->name, name)) {
            continue;
        }
        const char *value = topic_config_value(key, topic, NULL, describe->answer->source->arena, &source);
        if (value == NULL) {
            return false;
        }
        if (source != CONFIG_OF_TOPIC) {
            return true; /* not valid: the topic has what it inherits */
        }
        entry_set_value(entry, value, CONFIG_OF_TOPIC);
        return entry_add_synonym(describe->answer, entry, key->name, value, CONFIG_OF_TOPIC);
    }
    return true;
}

static bool describe_topic(struct describe *describe)
{
    const struct describe_configs_source *source = describe->answer->source;
    struct bytes name = describe->resource->resource_name;
    struct store_topic topic;
    const char *fault = topic_name_fault(name);
    if (fault != NULL) {
        return refuse(describe, KAFKA_INVALID_TOPIC_EXCEPTION, "Topic name %s is invalid: %s", config_show(name).text,
                      fault);
    }
    enum err err = store_topic_by_name(source->reader, source->arena, name, &topic);
    if (err == ERR_NOT_FOUND) {
        return refuse(describe, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "Topic %s does not exist", config_show(name).text);
    }
    if (err != OK && err != ERR_TOO_LARGE) {
        return refuse(describe, KAFKA_UNKNOWN_SERVER_ERROR, "The metadata cannot be read");
    }
    if (err != OK || (describe->answer->inherited.entries == NULL && !make_inherited(describe->answer)) ||
        !choose(describe, &describe->answer->inherited, topic.config_count == 0)) {
        return false;
    }
    for (size_t i = 0; i < topic.config_count; i++) {
        if (!replace_own(describe, &topic, topic.configs[i].name)) {
            return false;
        }
    }
    return true;
}

static bool describe_broker(struct describe *describe)
{
    struct bytes name = describe->resource->resource_name;
    int32_t own = describe->answer->source->options->node_id;
    int64_t id;
    if (name.size == 0) {
        return (describe->answer->cluster.entries != NULL || make_cluster(describe->answer)) &&
               choose(describe, &describe->answer->cluster, true);
    }
    if (!config_parse_long(name, &id)) {
        return refuse(describe, KAFKA_INVALID_REQUEST, "Broker id must be an integer, but it is: %s",
                      config_show(name).text);
    }
    if (id != own) {
        return refuse(describe, KAFKA_INVALID_REQUEST,
                      "Unexpected broker id, expected %" PRId32 " or empty string, but received %s", own,
                      config_show(name).text);
    }
    return (describe->answer->broker.entries != NULL || make_broker(describe->answer)) &&
           choose(describe, &describe->answer->broker, true);
}

static bool describe_resource(struct describe *describe)
{
    switch (describe->resource->resource_type) {
    case RECONFIG_OF_TOPIC:
        return describe_topic(describe);
    case RECONFIG_OF_BROKER:
        return describe_broker(describe);
    default:
        return refuse(describe, KAFKA_INVALID_REQUEST, "Unsupported resource type: %d",
                      describe->resource->resource_type);
    }
}

bool describe_configs(const struct describe_configs_source *source,
                      const struct kafka_describe_configs_request *request,
                      struct kafka_describe_configs_response *response)
{
    struct answer answer = {.source = source, .request = request};
    codec_init_defaults(&kafka_describe_configs_response_schema, response);
    if (request->resources_count <= 0) {
        return true;
    }
    response->results =
        codec_new(&kafka_describe_configs_response_result_schema, (size_t)request->resources_count, source->arena);
    if (response->results == NULL) {
        return false;
    }
    response->results_count = request->resources_count;
    answer.defaults = topic_defaults(source->options, source->reader, source->arena);
    for (int32_t i = 0; i < request->resources_count; i++) {
        struct describe describe = {&answer, &request->resources[i], &response->results[i]};
        describe.result->resource_type = describe.resource->resource_type;
        describe.result->resource_name = describe.resource->resource_name;
        if (!describe_resource(&describe)) {
            describe.result->configs = NULL;
            describe.result->configs_count = 0;
            describe.result->error_code = KAFKA_INVALID_REQUEST;
            describe.result->error_message = bytes_from_text("Too much for one response: ask for fewer resources");
        }
    }
    return true;
}
