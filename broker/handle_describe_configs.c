/* DescribeConfigs: topics from this turn's metadata, the broker from its options. Nothing waits, nothing is changed:
 * every entry of the broker is read-only, and the cluster-wide default (broker "") has no entries. */

#include "broker/request.h"
#include "metadata/topic_name.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum {
    RESOURCE_TOPIC = 2,
    RESOURCE_BROKER = 4
};
enum {
    SOURCE_TOPIC = 1,
    SOURCE_BROKER = 4,
    SOURCE_DEFAULT = 5
};
#define SYNONYM_COUNT_MAX 3 /* topic, broker, default */

/* One resource of the request and its answer. */
struct describe {
    struct request *request;
    const struct kafka_describe_configs_request *message;
    const struct kafka_describe_configs_request_resource *resource;
    struct kafka_describe_configs_response_result *result;
};

/* What is said of one key. Texts live as long as the request. */
struct described_key {
    const char *name;
    enum config_type type;
    const char *value; /* NULL: null */
    int8_t source;
    bool is_read_only;
    const char *documentation;
    struct kafka_describe_configs_response_synonym synonyms[SYNONYM_COUNT_MAX];
    int32_t synonyms_count;
};

__attribute__((format(printf, 3, 4))) static bool refuse(struct describe *describe, enum kafka_error error,
                                                         const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct bytes copy = arena_copy(&describe->request->arena, bytes_from_text(text));
    describe->result->error_code = (int16_t)error;
    describe->result->error_message = copy;
    return copy.data != NULL;
}

/* No names are all names; a name that does not exist is passed over, as in Kafka. */
static bool is_wanted(const struct describe *describe, const char *name)
{
    const struct kafka_describe_configs_request_resource *resource = describe->resource;
    for (int32_t i = 0; i < resource->configuration_keys_count; i++) {
        if (bytes_equal_text(resource->configuration_keys[i], name)) {
            return true;
        }
    }
    return resource->configuration_keys_count <= 0;
}

static void add_synonym(struct described_key *entry, const char *name, struct bytes value, int8_t source)
{
    struct kafka_describe_configs_response_synonym *synonym = &entry->synonyms[entry->synonyms_count++];
    codec_init_defaults(&kafka_describe_configs_response_synonym_schema, synonym);
    synonym->name = bytes_from_text(name);
    synonym->value = value;
    synonym->source = source;
}

/* False: the arena is full. The result's configs have room. */
static bool add_entry(struct describe *describe, const struct described_key *entry)
{
    struct kafka_describe_configs_response_config *config =
        &describe->result->configs[describe->result->configs_count++];
    bool is_sensitive = entry->type == CONFIG_PASSWORD;
    config->name = bytes_from_text(entry->name);
    config->value = entry->value != NULL && !is_sensitive ? bytes_from_text(entry->value) : BYTES_NONE;
    config->read_only = entry->is_read_only;
    config->config_source = entry->source;
    config->is_default = entry->source == SOURCE_DEFAULT;
    config->is_sensitive = is_sensitive;
    config->config_type = (int8_t)entry->type;
    config->documentation =
        describe->message->include_documentation ? bytes_from_text(entry->documentation) : BYTES_NONE;
    if (!describe->message->include_synonyms || is_sensitive || entry->synonyms_count == 0) {
        return true;
    }
    config->synonyms = codec_new(&kafka_describe_configs_response_synonym_schema, (size_t)entry->synonyms_count,
                                 &describe->request->arena);
    if (config->synonyms == NULL) {
        return false;
    }
    for (int32_t i = 0; i < entry->synonyms_count; i++) {
        config->synonyms[i] = entry->synonyms[i];
    }
    config->synonyms_count = entry->synonyms_count;
    return true;
}

static bool make_room(struct describe *describe, size_t count)
{
    describe->result->configs =
        codec_new(&kafka_describe_configs_response_config_schema, count, &describe->request->arena);
    return describe->result->configs != NULL;
}

/* ---- Topics ---- */

static bool describe_topic_key(struct describe *describe, const struct topic_config_key *key,
                               const struct store_topic *topic, const struct topic_config_defaults *defaults)
{
    struct arena *arena = &describe->request->arena;
    struct described_key entry = {.name = key->name, .type = key->type, .documentation = key->documentation};
    int8_t source;
    entry.value = topic_config_value(key, topic, defaults, arena, &entry.source);
    /* What the topic would have without its own value: the broker's, else the default. */
    const char *inherited = topic_config_value(key, NULL, defaults, arena, &source);
    if (entry.value == NULL || inherited == NULL) {
        return false;
    }
    if (entry.source == SOURCE_TOPIC) {
        add_synonym(&entry, key->name, bytes_from_text(entry.value), SOURCE_TOPIC);
    }
    if (source == SOURCE_BROKER) {
        add_synonym(&entry, key->broker_key, bytes_from_text(inherited), SOURCE_BROKER);
    }
    add_synonym(&entry, key->broker_key != NULL ? key->broker_key : key->name, bytes_from_text(key->default_value),
                SOURCE_DEFAULT);
    return add_entry(describe, &entry);
}

static bool describe_topic(struct describe *describe)
{
    struct request *request = describe->request;
    struct bytes name = describe->resource->resource_name;
    struct topic_config_defaults defaults = options_topic_defaults(request->shard->options);
    struct store_topic topic;
    const char *fault = topic_name_fault(name);
    if (fault != NULL) {
        return refuse(describe, KAFKA_INVALID_TOPIC_EXCEPTION, "%s", fault);
    }
    enum err err = store_topic_by_name(request->shard->reader, &request->arena, name, &topic);
    if (err == ERR_NOT_FOUND) {
        return refuse(describe, KAFKA_UNKNOWN_TOPIC_OR_PARTITION, "Topic %s does not exist", config_show(name).text);
    }
    if (err != OK) {
        return false;
    }
    size_t count;
    const struct topic_config_key *keys = topic_config_keys(&count);
    if (!make_room(describe, count)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (is_wanted(describe, keys[i].name) && !describe_topic_key(describe, &keys[i], &topic, &defaults)) {
            return false;
        }
    }
    return true;
}

/* ---- The broker ---- */

static const char *as_reported(const struct option_key *key, const char *text)
{
    bool truth;
    if (text != NULL && key->type == CONFIG_BOOL && config_parse_bool(bytes_from_text(text), &truth)) {
        return truth ? "true" : "false";
    }
    return text;
}

static bool describe_broker_key(struct describe *describe, const struct option_key *key, const char *name)
{
    enum option_source source;
    const char *text = options_text(describe->request->shard->options, key->name, &source);
    struct described_key entry = {
        .name = name, .type = key->type, .is_read_only = true, .documentation = key->documentation};
    entry.value = as_reported(key, text);
    entry.source = source == OPTION_DEFAULT ? SOURCE_DEFAULT : SOURCE_BROKER;
    if (source != OPTION_DEFAULT) {
        add_synonym(&entry, name, bytes_from_text(entry.value), SOURCE_BROKER);
    }
    if (key->default_text != NULL) {
        add_synonym(&entry, name, bytes_from_text(key->default_text), SOURCE_DEFAULT);
    }
    return add_entry(describe, &entry);
}

static bool describe_options(struct describe *describe)
{
    size_t count;
    const struct option_key *keys = options_keys(&count);
    if (!make_room(describe, 2 * count)) { /* every key may have an alias */
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (is_wanted(describe, keys[i].name) && !describe_broker_key(describe, &keys[i], keys[i].name)) {
            return false;
        }
        if (keys[i].alias != NULL && is_wanted(describe, keys[i].alias) &&
            !describe_broker_key(describe, &keys[i], keys[i].alias)) {
            return false;
        }
    }
    return true;
}

static bool describe_broker(struct describe *describe)
{
    struct bytes name = describe->resource->resource_name;
    int32_t own = describe->request->shard->options->node_id;
    int64_t id;
    if (name.size == 0) {
        return true; /* cluster-wide dynamic defaults: there are none */
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
    return describe_options(describe);
}

/* ---- Request ---- */

static bool describe_resource(struct describe *describe)
{
    describe->result->resource_type = describe->resource->resource_type;
    describe->result->resource_name = describe->resource->resource_name;
    switch (describe->resource->resource_type) {
    case RESOURCE_TOPIC:
        return describe_topic(describe);
    case RESOURCE_BROKER:
        return describe_broker(describe);
    default:
        return refuse(describe, KAFKA_INVALID_REQUEST, "Unsupported resource type: %d",
                      describe->resource->resource_type);
    }
}

static bool build_answer(struct request *request, const struct kafka_describe_configs_request *message,
                         struct kafka_describe_configs_response *response)
{
    codec_init_defaults(&kafka_describe_configs_response_schema, response);
    if (message->resources_count <= 0) {
        return true;
    }
    response->results =
        codec_new(&kafka_describe_configs_response_result_schema, (size_t)message->resources_count, &request->arena);
    if (response->results == NULL) {
        return false;
    }
    response->results_count = message->resources_count;
    for (int32_t i = 0; i < message->resources_count; i++) {
        struct describe describe = {request, message, &message->resources[i], &response->results[i]};
        if (!describe_resource(&describe)) {
            return false;
        }
    }
    return true;
}

void handle_describe_configs(struct request *request)
{
    struct kafka_describe_configs_request message;
    struct kafka_describe_configs_response response;
    if (!request_decode(request, &kafka_describe_configs_request_schema, &message)) {
        return;
    }
    if (build_answer(request, &message, &response)) {
        request_respond(request, &kafka_describe_configs_response_schema, &response);
    } else {
        request_kill(request, "describe configs response over the memory limit");
    }
}
