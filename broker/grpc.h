/* A gRPC server: HTTP/2 by nghttp2, messages by protobuf-c, sockets by the seam.
 *
 *   stream of bytes <-> grpc_session (HTTP/2, one a connection) <-> grpc_call (one a call) <-> a service's method
 *
 * A session takes bytes and gives bytes and knows no socket, so that TLS goes between it and the stream. Clients start
 * with HTTP/2 at once ("prior knowledge"), as all gRPC clients do. Compression is not offered.
 *
 * A call: `receive` is called with the request, or with each message of a bidirectional method; the service answers
 * with grpc_reply() as often as the method's shape allows, and ends every call that has begun exactly once with
 * grpc_finish(), in the call or later, whether the client is still there or not. When the client cancels, its time
 * (grpc-timeout) is up, or its connection is gone, `canceled` is called and answers go nowhere; a stream finishes then,
 * other calls may go on to their end.
 *
 * Memory is bounded: connections, streams of each, calls in work, sizes of headers and messages (limits.h), and the
 * bytes that all calls hold together (GRPC_MEMORY_MAX); over it a call is answered RESOURCE_EXHAUSTED. A connection
 * that does not take its answers for GRPC_STALL_MS is closed.
 * Runs on: one shard. */
#pragma once

#include "base/arena.h"
#include "base/env.h"
#include "broker/grpc_text.h"
#include <protobuf-c/protobuf-c.h>

struct grpc;
struct grpc_call;

enum grpc_shape {
    GRPC_UNARY,
    GRPC_SERVER_STREAM, /* one request, any number of answers */
    GRPC_BIDIRECTIONAL,
};

struct grpc_method {
    const char *name;                            /* "ClusterStatus" */
    const ProtobufCMessageDescriptor *request;
    /* `message` lives as long as the call's arena, of a bidirectional method during the call. */
    void (*receive)(struct grpc_call *call, const ProtobufCMessage *message);
    enum grpc_shape shape;
    void (*canceled)(struct grpc_call *call);    /* of streams; NULL: it makes no difference */
    void (*ended)(struct grpc_call *call);       /* of bidirectional ones: the client sends no more */
};

struct grpc_service {
    const char *name;                            /* "balsa.admin.v1.Admin" */
    const struct grpc_method *methods;
    size_t method_count;
    void *owner;
};

struct grpc_call {
    void *owner;                                 /* the service's */
    const struct grpc_method *method;
    void *context;                               /* the method's own; NULL at first */
    struct arena arena;                          /* until grpc_finish() */
    bool is_canceled;                            /* nobody waits for an answer any more */
    int64_t deadline_us;                         /* of the monotonic clock; INT64_MAX: none */
    struct grpc_call_state *state;               /* private */
};

/* `services` lives as long as the server. */
struct grpc *grpc_open(struct env *env, const struct grpc_service *services, size_t service_count);
/* Takes a token from a listener. */
void grpc_accept(struct grpc *grpc, int token);
/* Refuses new calls with UNAVAILABLE, cancels streams, waits for calls in work, closes all, then calls cb, never inside
 * the call. Connections whose clients do not take the last answers are closed after `grace_ms`. */
void grpc_close(struct grpc *grpc, int64_t grace_ms, void *owner, void (*cb)(void *owner));
/* METRIC_GRPC_ERRORS: rows are the methods of `services` in their order behind one for what names no method, columns
 * are status codes. */
void grpc_error_labels(const struct grpc_service *services, size_t service_count, size_t row, size_t column, char *text,
                       size_t size);
size_t grpc_call_count(const struct grpc *grpc);

/* One more message. False: it was not taken, for the client does not read and the call holds too much; then the call is
 * best ended. */
bool grpc_reply(struct grpc_call *call, const ProtobufCMessage *message);
/* Ends the call; it is gone when this returns. GRPC_OK has no text: NULL. A text says the cause and what to do. */
void grpc_finish(struct grpc_call *call, enum grpc_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* grpc_reply() and grpc_finish() with OK, or with RESOURCE_EXHAUSTED when the answer is too large. */
void grpc_answer(struct grpc_call *call, const ProtobufCMessage *message);
