/* Shared by the files of the admin service: broker/admin_*.c. Private to them. */
#pragma once

#include "broker/admin.h"
#include "broker/grpc.h"
#include "proto/admin.pb-c.h"
#include "proto/errors.h"

struct grpc_health;

enum {
    ADMIN_SERVICE_COUNT = 4
};

struct admin {
    struct shard *shard;
    struct grpc *grpc;
    struct grpc_health *health;
    struct grpc_service services[ADMIN_SERVICE_COUNT];
    struct listener *listeners[OPTION_LISTENERS_MAX];
    unsigned listener_count;
    void (*close_cb)(struct shard *shard);
};

/* A message in the call's arena, initialised; NULL when that is full. */
void *admin_message(struct grpc_call *call, const ProtobufCMessageDescriptor *descriptor);
/* NUL-terminated, in the arena; "" for no bytes, and when it is full. */
char *admin_text(struct grpc_call *call, struct bytes bytes);
/* Ends a call whose arena is full. */
void admin_too_large(struct grpc_call *call);

static inline struct admin *admin_of(const struct grpc_call *call)
{
    return call->owner;
}

/* ---- Methods, by file ---- */

void admin_cluster_status(struct grpc_call *call, const ProtobufCMessage *message); /* admin_cluster.c */
