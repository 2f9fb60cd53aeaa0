/* Listeners: NAME://host:port, comma-separated; an IPv6 address stands in brackets. Which protocol a name speaks is
 * said by listener.security.protocol.map, and only PLAINTEXT is built. */

#include "broker/options_internal.h"
#include <stdio.h>
#include <string.h>

struct endpoint {
    char name[64];
    char host[256];
    uint16_t port;
};

static enum err fail_entry(const struct options *options, const char *key, struct bytes entry, struct errmsg *msg,
                           const char *reason)
{
    return fail(msg, ERR_INVALID, "%s=%s (%s): %s", key, config_show(entry).text, options_where(options, key), reason);
}

static bool copy_name(struct bytes text, char *target, size_t size)
{
    if (text.size == 0 || text.size >= size) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        c = c >= 'a' && c <= 'z' ? (uint8_t)(c - 'a' + 'A') : c;
        if (!(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '_' && c != '-' && c != '.') {
            return false;
        }
        target[i] = (char)c;
    }
    target[text.size] = '\0';
    return true;
}

static bool copy_host(struct bytes text, char *target, size_t size)
{
    if (text.size >= 2 && text.data[0] == '[' && text.data[text.size - 1] == ']') {
        text = (struct bytes){text.data + 1, text.size - 2};
    } else if (text.size > 0 && memchr(text.data, ':', text.size) != NULL) {
        return false;
    }
    if (text.size >= size) {
        return false;
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] <= ' ' || text.data[i] >= 0x7f || strchr("[]/@,", text.data[i]) != NULL) {
            return false;
        }
    }
    if (text.size > 0) {
        memcpy(target, text.data, text.size);
    }
    target[text.size] = '\0';
    return true;
}

static const uint8_t *find_last(struct bytes text, uint8_t c)
{
    return text.size > 0 ? memrchr(text.data, c, text.size) : NULL;
}

static bool parse_endpoint(struct bytes entry, struct endpoint *endpoint)
{
    const uint8_t *scheme = entry.size > 0 ? memmem(entry.data, entry.size, "://", 3) : NULL;
    if (scheme == NULL ||
        !copy_name((struct bytes){entry.data, (size_t)(scheme - entry.data)}, endpoint->name, sizeof(endpoint->name))) {
        return false;
    }
    size_t head = (size_t)(scheme - entry.data) + 3;
    struct bytes address = {entry.data + head, entry.size - head};
    const uint8_t *colon = find_last(address, ':');
    int64_t port;
    if (colon == NULL) {
        return false;
    }
    size_t host_size = (size_t)(colon - address.data);
    struct bytes port_text = {colon + 1, address.size - host_size - 1};
    if (!config_parse_long(port_text, &port) || port < 0 || port > UINT16_MAX) {
        return false;
    }
    endpoint->port = (uint16_t)port;
    return copy_host((struct bytes){address.data, host_size}, endpoint->host, sizeof(endpoint->host));
}

/* The protocol that the map gives to a name. False: the map does not have it. */
static bool find_protocol(const struct options *options, const char *name, struct bytes *protocol)
{
    struct bytes list = bytes_from_text(options_known_text(options, "listener.security.protocol.map"));
    struct bytes entry;
    while (config_list_next(&list, &entry)) {
        char entry_name[64];
        const uint8_t *colon = find_last(entry, ':');
        size_t size = colon != NULL ? (size_t)(colon - entry.data) : 0;
        if (colon != NULL && copy_name(config_trim((struct bytes){entry.data, size}), entry_name, sizeof(entry_name)) &&
            strcmp(entry_name, name) == 0) {
            *protocol = config_trim((struct bytes){colon + 1, entry.size - size - 1});
            return true;
        }
    }
    return false;
}

static enum err check_map(const struct options *options, struct errmsg *msg)
{
    const char *key = "listener.security.protocol.map";
    struct bytes list = bytes_from_text(options_known_text(options, key));
    struct bytes entry;
    while (config_list_next(&list, &entry)) {
        char name[64];
        const uint8_t *colon = find_last(entry, ':');
        if (colon == NULL ||
            !copy_name(config_trim((struct bytes){entry.data, (size_t)(colon - entry.data)}), name, sizeof(name))) {
            return fail_entry(options, key, entry, msg, "expected NAME:PROTOCOL");
        }
    }
    return OK;
}

static enum err check_listener(const struct options *options, const char *name, struct bytes entry, struct errmsg *msg)
{
    char reason[256];
    struct bytes protocol;
    const char *controllers = options_text(options, "controller.listener.names", NULL);
    for (unsigned i = 0; i < options->listener_count; i++) {
        if (strcmp(options->listeners[i].name, name) == 0) {
            return fail_entry(options, "listeners", entry, msg, "the name was used before");
        }
    }
    if (controllers != NULL && config_list_has(bytes_from_text(controllers), name)) {
        return fail_entry(
            options, "listeners", entry, msg,
            "controllers have no listener of their own: remove it here and from controller.listener.names");
    }
    if (!find_protocol(options, name, &protocol)) {
        (void)snprintf(reason, sizeof(reason), "listener.security.protocol.map does not have %s", name);
        return fail_entry(options, "listeners", entry, msg, reason);
    }
    if (!bytes_equal_text(protocol, "PLAINTEXT")) {
        (void)snprintf(reason, sizeof(reason), "security protocol %s is not available, only PLAINTEXT is",
                       config_show(protocol).text);
        return fail_entry(options, "listeners", entry, msg, reason);
    }
    return OK;
}

static enum err add_listener(struct options *options, struct bytes entry, struct errmsg *msg)
{
    struct endpoint endpoint;
    if (!parse_endpoint(entry, &endpoint)) {
        return fail_entry(options, "listeners", entry, msg, "expected NAME://host:port");
    }
    enum err err = check_listener(options, endpoint.name, entry, msg);
    if (err != OK) {
        return err;
    }
    if (options->listener_count == OPTION_LISTENERS_MAX) {
        return fail_entry(options, "listeners", entry, msg, "more than 8 listeners");
    }
    struct option_listener *listener = &options->listeners[options->listener_count++];
    memcpy(listener->name, endpoint.name, sizeof(listener->name));
    memcpy(listener->host, endpoint.host, sizeof(listener->host));
    listener->port = endpoint.port;
    listener->advertised_host[0] = '\0';
    listener->advertised_port = 0;
    return OK;
}

static enum err advertise(struct options *options, struct bytes entry, struct errmsg *msg)
{
    const char *key = "advertised.listeners";
    struct endpoint endpoint;
    if (!parse_endpoint(entry, &endpoint) || endpoint.port == 0) {
        return fail_entry(options, key, entry, msg, "expected NAME://host:port with a port from 1 to 65535");
    }
    if (strcmp(endpoint.host, "0.0.0.0") == 0 || strcmp(endpoint.host, "::") == 0) {
        return fail_entry(options, key, entry, msg, "no client can connect to this host");
    }
    for (unsigned i = 0; i < options->listener_count; i++) {
        struct option_listener *listener = &options->listeners[i];
        if (strcmp(listener->name, endpoint.name) != 0) {
            continue;
        }
        if (listener->advertised_port != 0) {
            return fail_entry(options, key, entry, msg, "the name was used before");
        }
        memcpy(listener->advertised_host, endpoint.host, sizeof(listener->advertised_host));
        listener->advertised_port = endpoint.port;
        return OK;
    }
    return fail_entry(options, key, entry, msg, "listeners does not have this name");
}

enum err options_finish_listeners(struct options *options, struct errmsg *msg)
{
    struct bytes listeners = bytes_from_text(options_known_text(options, "listeners"));
    const char *advertised = options_text(options, "advertised.listeners", NULL);
    struct bytes advertised_left = advertised != NULL ? bytes_from_text(advertised) : BYTES_NONE;
    struct bytes entry;
    enum err err = check_map(options, msg);
    options->listener_count = 0;
    while (err == OK && config_list_next(&listeners, &entry)) {
        err = add_listener(options, entry, msg);
    }
    if (err == OK && options->listener_count == 0) {
        return fail_entry(options, "listeners", BYTES_NONE, msg, "expected at least one listener");
    }
    while (err == OK && config_list_next(&advertised_left, &entry)) {
        err = advertise(options, entry, msg);
    }
    return err;
}
