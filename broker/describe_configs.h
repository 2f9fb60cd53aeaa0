/* What DescribeConfigs answers: topics from the metadata, the broker from its options.
 * Memory: entries that no topic changes are made once a request and shared by all its resources, since tools ask for
 * every topic of a cluster at once. Pure but for the reader; runs on its shard. */
#pragma once

#include "broker/options.h"
#include "proto/kafka_messages.h"

struct describe_configs_source {
    const struct options *options;
    struct store_reader *reader;
    struct arena *arena; /* all of the answer lives here; texts borrow from options, reader and request, too */
};

/* Resources that find no room in the arena any more are answered with an error each. False: not even they do. */
MUST_CHECK bool describe_configs(const struct describe_configs_source *source,
                                 const struct kafka_describe_configs_request *request,
                                 struct kafka_describe_configs_response *response);
