/* A Kafka client's connections: one to each broker, requests in order, answers by correlation id.
 * Lives in the client's simulated process. */
#pragma once

#include "base/env.h"
#include "base/map.h"
#include "proto/codec.h"
#include "proto/kafka_api.h"
#include "proto/kafka_messages.h"
#include "tests/sim/node.h"

struct link_call; /* Caller's memory until cb. */
typedef void (*link_cb)(struct link_call *call);

struct link_call {
    int16_t api, version;
    int64_t timeout_us;
    link_cb cb;
    enum err err;         /* out: OK, ERR_CLOSED, ERR_TIMED_OUT */
    struct reader answer; /* out: body, borrowed during cb */
    /* private */
    struct list link;
    struct timer timer;
    struct task task;
    struct links *links;
    struct shared *block; /* the frame, until it is written */
    unsigned node;
    int32_t correlation_id;
};

struct links;
struct links *links_open(struct env *env);
/* `message` is encoded inside the call. A time-out closes the connection, as clients do. */
void links_call(struct links *links, unsigned node, struct link_call *call, const void *message);
