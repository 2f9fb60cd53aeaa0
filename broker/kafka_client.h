/* A Kafka client for tools: one connection, one request at a time, over the seam's streams.
 *
 * A client whose call has failed is of no use any more: close it and open another one.
 * Runs on: the thread of its env. */
#pragma once

#include "base/env.h"
#include "proto/kafka_api.h"

struct kafka_client;

struct kafka_client_call {        /* Caller's memory until cb. */
    int16_t api;                  /* in: enum kafka_api_key */
    int16_t version;              /* in */
    const void *request;          /* in: struct kafka_<api>_request; encoded inside the call */
    int64_t timeout_us;           /* in: > 0, the connection's making included */
    void *owner;                  /* in: for cb */
    void (*cb)(struct kafka_client_call *call); /* in: never inside the call */
    enum err err;                 /* out: OK, or why there is no answer */
    bool is_sent;                 /* out: the broker may have heard of it */
    const void *response;         /* out, on OK: struct kafka_<api>_response, until cb returns */
};

/* `host` is copied. */
struct kafka_client *kafka_client_open(struct env *env, const char *host, uint16_t port);
/* Connects when it is the first one. ERR_TOO_LARGE, by cb: more than a broker takes. */
void kafka_client_call(struct kafka_client *client, struct kafka_client_call *call);
/* A call under way is forgotten: its cb never comes. */
void kafka_client_close(struct kafka_client *client);
