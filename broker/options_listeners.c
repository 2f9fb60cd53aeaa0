/* Listeners: NAME://host:port, comma-separated; an IPv6 address stands in brackets. Which protocol a name speaks is
 * said by listener.security.protocol.map, and only PLAINTEXT is built. The listener of controller.listener.names is for
 * brokers: as in Kafka, its name needs no entry in the map. Seeds: host:port, each such a listener. */

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

static bool parse_address(struct bytes address, char *host, size_t host_size_max, uint16_t *port)
{
    const uint8_t *colon = find_last(address, ':');
    int64_t number;
    if (colon == NULL) {
        return false;
    }
    size_t host_size = (size_t)(colon - address.data);
    struct bytes port_text = {colon + 1, address.size - host_size - 1};
    if (!config_parse_long(port_text, &number) || number < 0 || number > UINT16_MAX) {
        return false;
    }
    *port = (uint16_t)number;
    return copy_host((struct bytes){address.data, host_size}, host, host_size_max);
}

static bool parse_endpoint(struct bytes entry, struct endpoint *endpoint)
{
    const uint8_t *scheme = entry.size > 0 ? memmem(entry.data, entry.size, "://", 3) : NULL;
    if (scheme == NULL ||
        !copy_name((struct bytes){entry.data, (size_t)(scheme - entry.data)}, endpoint->name, sizeof(endpoint->name))) {
        return false;
    }
    size_t head = (size_t)(scheme - entry.data) + 3;
    return parse_address((struct bytes){entry.data + head, entry.size - head}, endpoint->host, sizeof(endpoint->host),
                         &endpoint->port);
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

static bool is_peer_name(const struct options *options, const char *name)
{
    const char *names = options_text(options, "controller.listener.names", NULL);
    return names != NULL && config_list_has(bytes_from_text(names), name);
}

static bool is_name_used(const struct options *options, const char *name)
{
    for (unsigned i = 0; i < options->listener_count; i++) {
        if (strcmp(options->listeners[i].name, name) == 0) {
            return true;
        }
    }
    return options->has_peer_listener && strcmp(options->peer_listener.name, name) == 0;
}

static enum err check_listener(const struct options *options, const char *name, struct bytes entry, struct errmsg *msg)
{
    char reason[256];
    struct bytes protocol;
    bool is_peer = is_peer_name(options, name);
    if (is_name_used(options, name)) {
        return fail_entry(options, "listeners", entry, msg, "the name was used before");
    }
    if (is_peer && options->has_peer_listener) {
        return fail_entry(options, "listeners", entry, msg,
                          "a second listener of controller.listener.names: brokers connect to one");
    }
    if (!find_protocol(options, name, &protocol)) {
        if (is_peer) {
            return OK;
        }
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
    struct option_listener *listener = &options->peer_listener;
    if (!parse_endpoint(entry, &endpoint)) {
        return fail_entry(options, "listeners", entry, msg, "expected NAME://host:port");
    }
    enum err err = check_listener(options, endpoint.name, entry, msg);
    if (err != OK) {
        return err;
    }
    if (is_peer_name(options, endpoint.name)) {
        options->has_peer_listener = true;
    } else if (options->listener_count < OPTION_LISTENERS_MAX) {
        listener = &options->listeners[options->listener_count++];
    } else {
        return fail_entry(options, "listeners", entry, msg, "more than 8 listeners");
    }
    memcpy(listener->name, endpoint.name, sizeof(listener->name));
    memcpy(listener->host, endpoint.host, sizeof(listener->host));
    listener->port = endpoint.port;
    listener->advertised_host[0] = '\0';
    listener->advertised_port = 0;
    return OK;
}

static struct option_listener *find_listener(struct options *options, const char *name)
{
    for (unsigned i = 0; i < options->listener_count; i++) {
        if (strcmp(options->listeners[i].name, name) == 0) {
            return &options->listeners[i];
        }
    }
    bool is_peer = options->has_peer_listener && strcmp(options->peer_listener.name, name) == 0;
    return is_peer ? &options->peer_listener : NULL;
}

static bool is_wildcard(const char *host)
{
    return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0;
}

static enum err advertise(struct options *options, struct bytes entry, struct errmsg *msg)
{
    const char *key = "advertised.listeners";
    struct endpoint endpoint;
    if (!parse_endpoint(entry, &endpoint) || endpoint.port == 0) {
        return fail_entry(options, key, entry, msg, "expected NAME://host:port with a port from 1 to 65535");
    }
    if (is_wildcard(endpoint.host)) {
        return fail_entry(options, key, entry, msg, "nobody can connect to this host");
    }
    struct option_listener *listener = find_listener(options, endpoint.name);
    if (listener == NULL) {
        return fail_entry(options, key, entry, msg, "listeners does not have this name");
    }
    if (listener->advertised_port != 0) {
        return fail_entry(options, key, entry, msg, "the name was used before");
    }
    memcpy(listener->advertised_host, endpoint.host, sizeof(listener->advertised_host));
    listener->advertised_port = endpoint.port;
    return OK;
}

/* Other brokers are told where this one is; unlike clients they cannot be told "where you came in", since they learn it
 * from each other. */
static enum err finish_peer_listener(struct options *options, struct errmsg *msg)
{
    struct option_listener *peer = &options->peer_listener;
    if (!options->has_peer_listener) {
        return OK;
    }
    if (peer->advertised_port == 0) {
        memcpy(peer->advertised_host, peer->host, sizeof(peer->advertised_host));
        peer->advertised_port = peer->port;
    }
    if (peer->advertised_host[0] == '\0' || is_wildcard(peer->advertised_host)) {
        return fail_entry(options, "listeners", bytes_from_text(peer->name), msg,
                          "brokers connect to this listener: give it a host that they can reach, here or in "
                          "advertised.listeners");
    }
    return OK;
}

static enum err add_seed(struct options *options, struct bytes entry, struct errmsg *msg)
{
    const char *key = "controller.quorum.bootstrap.servers";
    struct option_seed *seed = &options->seeds[options->seed_count];
    const uint8_t *at = entry.size > 0 ? memchr(entry.data, '@', entry.size) : NULL;
    struct bytes address = entry;
    int64_t id;
    if (at != NULL) {
        size_t head = (size_t)(at - entry.data);
        if (!config_parse_long((struct bytes){entry.data, head}, &id)) {
            return fail_entry(options, key, entry, msg, "expected host:port");
        }
        address = (struct bytes){at + 1, entry.size - head - 1};
    }
    if (!parse_address(address, seed->host, sizeof(seed->host), &seed->port) || seed->port == 0 ||
        seed->host[0] == '\0' || is_wildcard(seed->host)) {
        return fail_entry(options, key, entry, msg, "expected host:port");
    }
    for (unsigned i = 0; i < options->seed_count; i++) {
        if (options->seeds[i].port == seed->port && strcmp(options->seeds[i].host, seed->host) == 0) {
            return fail_entry(options, key, entry, msg, "the address was used before");
        }
    }
    options->seed_count++;
    return OK;
}

static enum err finish_seeds(struct options *options, struct errmsg *msg)
{
    const char *key = "controller.quorum.bootstrap.servers";
    const char *text = options_text(options, key, NULL);
    struct bytes all = text != NULL ? bytes_from_text(text) : BYTES_NONE;
    struct bytes left = all;
    struct bytes entry;
    unsigned count = 0;
    options->seed_count = 0;
    while (config_list_next(&left, &entry)) {
        count++;
    }
    if (count > 0 && count != 1 && count != 3 && count != 5) {
        return fail_entry(options, key, all, msg,
                          "expected 1, 3 or 5 addresses: these brokers vote, and an even number of voters survives no "
                          "more losses than one voter less");
    }
    if (count > 0 && !options->has_peer_listener) {
        return fail_entry(options, key, all, msg,
                          "a listener for brokers is needed: name one of listeners in controller.listener.names, such "
                          "as PEER://host:9192");
    }
    left = all;
    enum err err = OK;
    while (err == OK && config_list_next(&left, &entry)) {
        err = add_seed(options, entry, msg);
    }
    return err;
}

static enum err finish_http(struct options *options, struct errmsg *msg)
{
    const char *key = "balsa.http.listener";
    const char *text = options_text(options, key, NULL);
    options->has_http = text != NULL && text[0] != '\0';
    if (!options->has_http) {
        return OK;
    }
    struct option_seed *http = &options->http;
    bool is_good = parse_address(bytes_from_text(text), http->host, sizeof(http->host), &http->port);
    return is_good ? OK : fail_entry(options, key, bytes_from_text(text), msg, "expected host:port");
}

/* host:port, with a host that says where: nobody should open it to the world by leaving something out. */
static enum err finish_admin_listeners(struct options *options, struct errmsg *msg)
{
    const char *key = "balsa.admin.listeners";
    enum option_source source = OPTION_DEFAULT;
    const char *text = options_text(options, key, &source);
    struct bytes left = text != NULL ? bytes_from_text(text) : BYTES_NONE;
    struct bytes entry;
    options->admin_listener_count = 0;
    options->is_admin_asked_for = source != OPTION_DEFAULT;
    while (config_list_next(&left, &entry)) {
        struct option_listener *listener = &options->admin_listeners[options->admin_listener_count];
        if (options->admin_listener_count == OPTION_LISTENERS_MAX) {
            return fail_entry(options, key, entry, msg, "more than 8 listeners");
        }
        *listener = (struct option_listener){.name = "ADMIN"};
        if (!parse_address(entry, listener->host, sizeof(listener->host), &listener->port) ||
            listener->host[0] == '\0') {
            return fail_entry(options, key, entry, msg, "expected host:port");
        }
        options->admin_listener_count++;
    }
    return OK;
}

enum err options_finish_listeners(struct options *options, struct errmsg *msg)
{
    struct bytes listeners = bytes_from_text(options_known_text(options, "listeners"));
    const char *advertised = options_text(options, "advertised.listeners", NULL);
    struct bytes advertised_left = advertised != NULL ? bytes_from_text(advertised) : BYTES_NONE;
    struct bytes entry;
    enum err err = check_map(options, msg);
    options->listener_count = 0;
    options->has_peer_listener = false;
    while (err == OK && config_list_next(&listeners, &entry)) {
        err = add_listener(options, entry, msg);
    }
    if (err == OK && options->listener_count == 0) {
        return fail_entry(options, "listeners", BYTES_NONE, msg, "expected at least one listener");
    }
    while (err == OK && config_list_next(&advertised_left, &entry)) {
        err = advertise(options, entry, msg);
    }
    err = err == OK ? finish_peer_listener(options, msg) : err;
    err = err == OK ? finish_admin_listeners(options, msg) : err;
    err = err == OK ? finish_seeds(options, msg) : err;
    return err == OK ? finish_http(options, msg) : err;
}
