/* HTTP for machines that watch: GET /metrics (Prometheus text), /health/live, /health/ready.
 *
 *   /health/live    200 while every shard's loop turns, also while logs are still being opened; 503: restart it
 *   /health/ready   200 when this broker serves and its replicas are led and level: the next broker may be restarted
 *   both            one line of text that says why
 *
 * It has a thread of its own (libmicrohttpd's) and never waits for a shard: it reads counters and pictures (health.h).
 * Runs on: http_open() and http_close() on the main thread; answers on the library's thread.
 * Bounds: HTTP_CONNECTIONS_MAX connections, 10 s of idleness, requests of 8 KiB; a page is made in memory, at most
 *         HTTP_PAGE_SIZE_MAX. */
#pragma once

#include "base/limits.h"
#include "broker/broker.h"

#define HTTP_CONNECTIONS_MAX 32
#define HTTP_PAGE_SIZE_MAX MIB(2)

struct http;

/* Listens on options->http; its port may be 0. `metrics` has one for each shard and outlives it. ERR_IO: the address
 * cannot be listened on. */
MUST_CHECK enum err http_open(struct broker *broker, struct metrics *const *metrics, struct http **http,
                              struct errmsg *msg);
void http_close(struct http *http); /* before shards are freed; waits for the answers under way */
