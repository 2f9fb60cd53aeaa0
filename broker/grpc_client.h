/* A gRPC client for tools: one connection, one call at a time, over the seam's streams.
 *
 * Runs on: the thread of its env. */
#pragma once

#include "base/env.h"
#include "broker/grpc_text.h"
#include <protobuf-c/protobuf-c.h>

struct grpc_client;

struct grpc_client_call {        /* Caller's memory until cb. */
    const char *path;            /* in: "/package.Service/Method" */
    const ProtobufCMessage *request; /* in: packed inside the call */
    int64_t timeout_us;          /* in: > 0 */
    void *owner;                 /* in: for the callbacks */
    void (*on_message)(struct grpc_client_call *call, struct bytes message); /* in: each answer, borrowed */
    void (*cb)(struct grpc_client_call *call);                               /* in: never inside the call */
    enum grpc_status status;     /* out */
    char text[GRPC_STATUS_TEXT_SIZE]; /* out: the server's, or why there was no answer */
    bool is_unreached;           /* out: the server has not heard of it */
};

/* `host` is copied. */
struct grpc_client *grpc_client_open(struct env *env, const char *host, uint16_t port);
/* Connects when it is the first one. */
void grpc_client_call(struct grpc_client *client, struct grpc_client_call *call);
/* No call is under way. `cb` may come inside the call. */
void grpc_client_close(struct grpc_client *client, void *owner, void (*cb)(void *owner));
