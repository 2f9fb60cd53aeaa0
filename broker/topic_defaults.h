/* What topics inherit on this broker: its options, and what was altered while brokers run. */
#pragma once

#include "broker/options.h"
#include "metadata/store.h"

/* What was altered lives in `arena`. What cannot be read counts as not altered: the next change or pass reads anew. */
struct topic_config_defaults topic_defaults(const struct options *options, struct store_reader *reader,
                                            struct arena *arena);
