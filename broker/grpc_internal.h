/* Shared by grpc.c (connections), grpc_session.c (HTTP/2) and grpc_call.c (calls). Private to them. */
#pragma once

#include "broker/grpc_session.h"
#include <nghttp2/nghttp2.h>

enum {
    GRPC_ROW_NONE,  /* of METRIC_GRPC_ERRORS: no method is known */
    GRPC_ROW_FIRST, /* of the first service's first method */
};

struct grpc {
    struct env *env;
    const struct grpc_service *services;
    size_t service_count;
    struct list conns;
    size_t conn_count;
    size_t call_count; /* begun and not finished, those that nobody waits for included */
    size_t memory;     /* bytes that calls hold */
    struct timer sweep;
    struct task closed;
    bool is_closing;
    int64_t close_us; /* after which connections are not waited for */
    void *close_owner;
    void (*close_cb)(void *owner);
};

struct grpc_session {
    struct grpc *grpc;
    struct grpc_session_events events;
    nghttp2_session *http;
    struct list calls;
    size_t call_count;
    bool is_broken; /* by the client */
    bool is_http1;  /* as its first bytes say; to be answered */
};

/* A call as the transport sees it. It lives until the service has ended it and the stream is gone. */
struct grpc_call_state {
    struct grpc_call call; /* first: what the service sees */
    struct grpc *grpc;
    struct grpc_session *session; /* NULL: the stream is gone */
    struct list link;             /* of the session */
    int32_t stream;
    size_t row; /* of METRIC_GRPC_ERRORS */
    size_t header_size;
    bool is_post, is_grpc, has_bad_timeout, is_encoded; /* as its headers say */
    int64_t timeout_us;                                 /* 0: none */
    struct dynbuf in;
    struct dynbuf out;
    size_t out_sent;
    size_t held;         /* of grpc->memory */
    size_t stalled_size; /* of `out`, when it was last looked at */
    struct timer deadline;
    bool is_begun;                   /* the service has been told */
    bool is_finished;                /* the service has ended it, or will never be told */
    bool is_answered;                /* headers were submitted */
    bool is_ended;                   /* the status is known: nothing more is put behind `out` */
    bool is_input_over;
    enum grpc_status status;
    char text[GRPC_STATUS_TEXT_SIZE];
};

void grpc_wake(struct grpc_session *session);
/* A call ended otherwise than with OK. */
void grpc_count_error(const struct grpc *grpc, size_t row, enum grpc_status status);

/* ---- grpc_call.c, called by the session ---- */

struct grpc_call_state *grpc_call_open(struct grpc_session *session, int32_t stream);
void grpc_call_header(struct grpc_call_state *state, struct bytes name, struct bytes value);
void grpc_call_headers_over(struct grpc_call_state *state);
void grpc_call_data(struct grpc_call_state *state, struct bytes bytes);
void grpc_call_input_over(struct grpc_call_state *state);
void grpc_call_stop(struct grpc_call_state *state);          /* the broker stops: streams end */
void grpc_call_stream_closed(struct grpc_call_state *state); /* may free it */
