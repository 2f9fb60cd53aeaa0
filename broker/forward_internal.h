/* Shared by forward.c (jobs, from their origin and back) and forward_peer.c (to another broker and from one). */
#pragma once

#include "broker/forward.h"

enum forward_outcome {
    FORWARD_ANSWERED,      /* by the controller; `response` */
    FORWARD_REFUSED,       /* malformed, or an API that the controller does not serve */
    FORWARD_NO_CONTROLLER, /* nothing was done */
    FORWARD_IN_DOUBT,
};

struct forward_trip;

struct forward_job {
    struct message message;
    struct shard *origin;
    struct shard *home;          /* shard 0 */
    struct slice frame;          /* header and body; a reference of its own */
    int64_t timeout_ms;
    bool is_repeatable;
    void (*done)(struct forward_job *job); /* origin */
    enum forward_outcome outcome;
    struct slice response;       /* header and body; a reference of its own */
    uint64_t index;              /* applied on the controller's broker when it answered */
    /* of shard 0 */
    struct list link;
    int64_t deadline_us;
    int32_t node;                /* last asked */
    struct forward_trip *trip;
};

/* One attempt. */
struct forward_trip {
    struct forward *forward;
    struct forward_job *job;     /* NULL: it waits no more */
    struct request_run run;      /* here */
};

/* Ends an attempt and frees it. `response` is borrowed. */
void forward_trip_end(struct forward_trip *trip, enum forward_outcome outcome, struct slice response, uint64_t index);
/* This broker leads the metadata and is ready to decide. */
bool forward_is_controller(const struct shard *shard);
/* Sends the trip's job to the controller's broker. False: none is known or reachable. */
bool forward_trip_start(struct shard *shard, struct forward_trip *trip);
/* What a reply says; `response`, within it, is set when it is an answer. Any bytes may come. */
enum forward_outcome forward_reply_read(struct slice reply, struct slice *response, uint64_t *index);
