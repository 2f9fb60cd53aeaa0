#include "broker/topic_defaults.h"
#include "base/trace.h"

static void load(struct store_reader *reader, struct arena *arena, int32_t broker, struct store_configs *configs)
{
    enum err err = store_broker_configs(reader, arena, broker, configs);
    if (err != OK) {
        trace(ERROR, METADATA, "altered configs cannot be read", KV("broker", broker), KV("cause", err_text(err)));
        *configs = (struct store_configs){NULL, 0};
    }
}

struct topic_config_defaults topic_defaults(const struct options *options, struct store_reader *reader,
                                            struct arena *arena)
{
    struct topic_config_defaults defaults = options_topic_defaults(options);
    load(reader, arena, options->node_id, &defaults.broker);
    load(reader, arena, -1, &defaults.cluster);
    return defaults;
}
