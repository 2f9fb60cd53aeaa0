/* Shared by the options' files. Private to them. */
#pragma once

#include "broker/options.h"

struct option_value {
    char *text; /* mem_alloc'ed; NULL: not set */
    char *where;
    char *name; /* as it was written: the key or its alias */
    enum option_source source;
};

/* Index in options_keys() by name or alias; its count if unknown. */
size_t options_index(const char *key);
/* Where the key was set, for messages: "server.properties:3", or "default". */
const char *options_where(const struct options *options, const char *key);
/* The effective text; the key exists and has one. */
const char *options_known_text(const struct options *options, const char *key);
/* options_listeners.c: listeners, advertised.listeners and listener.security.protocol.map into options->listeners. */
MUST_CHECK enum err options_finish_listeners(struct options *options, struct errmsg *msg);
