/* Happy path: libmicrohttpd's thread reads a request, the route makes its page out of counters and pictures, the answer
 * goes out.
 * Failure modes: too many connections are not accepted until others end; a page that does not fit is answered 500.
 * Close: the daemon stops, its thread has ended when http_close() returns. */
#include "broker/http.h"
#include "base/mem.h"
#include "base/process.h"
#include "base/trace.h"
#include "broker/http_page.h"

#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

enum {
    IDLE_SECONDS_MAX = 10,
    CONNECTION_MEMORY = 8 * 1024,
};

struct http {
    struct broker *broker;
    struct metrics *const *metrics;
    struct MHD_Daemon *daemon;
    struct health *shards; /* used by the library's one thread only, as are the rows */
    struct health_partition *partitions;
};

/* ---- Pages ---- */

/* Rows of all shards come one after the other. */
static size_t read_health(struct http *http)
{
    size_t count = 0;
    for (unsigned i = 0; i < http->broker->shard_count; i++) {
        health_read(http->broker->health[i], &http->shards[i], http->partitions + count, HEALTH_PARTITIONS_MAX - count);
        count += http->shards[i].partition_count;
    }
    return count;
}

static unsigned page_metrics(struct http *http, struct dynbuf *buf)
{
    struct http_picture picture = {.metrics = http->metrics,
                                   .shards = http->shards,
                                   .count = http->broker->shard_count,
                                   .partitions = http->partitions};
    picture.partition_count = read_health(http);
    process_usage(&picture.process);
    return http_page(&picture, buf) == OK ? MHD_HTTP_OK : MHD_HTTP_INTERNAL_SERVER_ERROR;
}

static unsigned page_health(struct http *http, struct dynbuf *buf,
                            bool (*verdict)(const struct health *, size_t, int64_t, const char **))
{
    const char *reason;
    (void)read_health(http);
    bool is_good = verdict(http->shards, http->broker->shard_count, process_monotonic_us(), &reason);
    return dynbuf_printf(buf, "%s\n", reason) == OK && is_good ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static unsigned page_live(struct http *http, struct dynbuf *buf)
{
    return page_health(http, buf, health_is_live);
}

static unsigned page_ready(struct http *http, struct dynbuf *buf)
{
    return page_health(http, buf, health_is_ready);
}

static unsigned page_index(struct http *http, struct dynbuf *buf);

static const struct route {
    const char *path;
    const char *content_type;
    unsigned (*page)(struct http *http, struct dynbuf *buf); /* the status */
} ROUTES[] = {
    {"/", "text/plain; charset=utf-8", page_index},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", page_metrics},
    {"/health/live", "text/plain; charset=utf-8", page_live},
    {"/health/ready", "text/plain; charset=utf-8", page_ready},
};

static unsigned page_index(struct http *http, struct dynbuf *buf)
{
    (void)http;
    for (size_t i = 1; i < array_count(ROUTES); i++) {
        if (dynbuf_printf(buf, "%s\n", ROUTES[i].path) != OK) {
            return MHD_HTTP_INTERNAL_SERVER_ERROR;
        }
    }
    return MHD_HTTP_OK;
}

/* ---- Answers ---- */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type, const char *allow,
                              struct bytes body)
{
    /* tidy: the library never writes to a buffer that it copies */
    struct MHD_Response *response =
        MHD_create_response_from_buffer(body.size, (void *)(uintptr_t)body.data, MHD_RESPMEM_MUST_COPY);
    if (response == NULL) {
        return MHD_NO;
    }
    enum MHD_Result result = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (allow != NULL && result == MHD_YES) {
        result = MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, allow);
    }
    result = result == MHD_YES ? MHD_queue_response(connection, status, response) : result;
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *data, size_t *data_size,
                                  void **state)
{
    struct http *http = context;
    (void)version;
    (void)data;
    (void)state;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        *data_size = 0;
        return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", "GET, HEAD",
                      bytes_from_text("GET only\n"));
    }
    for (size_t i = 0; i < array_count(ROUTES); i++) {
        if (strcmp(path, ROUTES[i].path) == 0) {
            struct dynbuf buf;
            dynbuf_init(&buf, HTTP_PAGE_SIZE_MAX);
            unsigned status = ROUTES[i].page(http, &buf);
            enum MHD_Result result = answer(connection, status, ROUTES[i].content_type, NULL, dynbuf_bytes(&buf));
            dynbuf_deinit(&buf);
            return result;
        }
    }
    return answer(connection, MHD_HTTP_NOT_FOUND, "text/plain", NULL,
                  bytes_from_text("not found; / lists the pages\n"));
}

/* ---- Life ---- */

/* The listener's address: an empty host is every interface, IPv6 and IPv4. */
static enum err resolve(const struct option_seed *listener, struct addrinfo **found, struct errmsg *msg)
{
    char port[8];
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    (void)snprintf(port, sizeof(port), "%u", listener->port);
    int code = getaddrinfo(listener->host[0] != '\0' ? listener->host : NULL, port, &hints, found);
    return code == 0 ? OK : fail(msg, ERR_INVALID, "balsa.http.listener: %s: %s", listener->host, gai_strerror(code));
}

static struct MHD_Daemon *start_daemon(struct http *http, const struct addrinfo *address)
{
    unsigned flags = MHD_USE_AUTO_INTERNAL_THREAD | (address->ai_family == AF_INET6 ? (unsigned)MHD_USE_DUAL_STACK : 0);
    /* The port is in the address. */
    return MHD_start_daemon(flags, 0, NULL, NULL, on_request, http, MHD_OPTION_SOCK_ADDR, address->ai_addr,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned)HTTP_CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                            (unsigned)IDLE_SECONDS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                            MHD_OPTION_LISTENING_ADDRESS_REUSE, 1U, MHD_OPTION_END);
}

enum err http_open(struct broker *broker, struct metrics *const *metrics, struct http **opened, struct errmsg *msg)
{
    const struct option_seed *listener = &broker->options->http;
    struct addrinfo *found = NULL;
    enum err err = resolve(listener, &found, msg);
    if (err != OK) {
        return err;
    }
    struct http *http = mem_alloc(sizeof(*http));
    http->broker = broker;
    http->metrics = metrics;
    http->shards = mem_alloc(broker->shard_count * sizeof(*http->shards));
    http->partitions = mem_alloc(HEALTH_PARTITIONS_MAX * sizeof(*http->partitions));
    for (const struct addrinfo *at = found; at != NULL && http->daemon == NULL; at = at->ai_next) {
        http->daemon = start_daemon(http, at);
    }
    freeaddrinfo(found);
    if (http->daemon == NULL) {
        mem_free(http->shards);
        mem_free(http->partitions);
        mem_free(http);
        return fail(msg, ERR_IO, "balsa.http.listener: %s:%u cannot be listened on: is another process there?",
                    listener->host, listener->port);
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(http->daemon, MHD_DAEMON_INFO_BIND_PORT);
    trace(INFO, NET, "http", KV("host", (const char *)listener->host), KV("port", info->port));
    *opened = http;
    return OK;
}

void http_close(struct http *http)
{
    MHD_stop_daemon(http->daemon);
    mem_free(http->shards);
    mem_free(http->partitions);
    mem_free(http);
}
