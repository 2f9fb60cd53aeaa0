/* The HTTP/2 of one gRPC connection: bytes in, bytes out, calls between (broker/grpc.h). No sockets, no TLS.
 *
 * Runs on: the server's shard; single-threaded in tests. */
#pragma once

#include "broker/grpc.h"

struct grpc_session;

struct grpc_session_events {
    void *owner;
    void (*wake)(void *owner); /* there may be bytes to send: grpc_session_take() them, not inside this call */
};

struct grpc_session *grpc_session_open(struct grpc *grpc, const struct grpc_session_events *events);
/* What the client sent. Not OK: the connection is to be closed when what there is to send has gone. */
MUST_CHECK enum err grpc_session_feed(struct grpc_session *session, struct bytes bytes);
/* Appends bytes to send until `out` has at least `wanted` or nothing is left. */
MUST_CHECK enum err grpc_session_take(struct grpc_session *session, struct dynbuf *out, size_t wanted);
/* Tells the client to begin no more calls. */
void grpc_session_go_away(struct grpc_session *session);
size_t grpc_session_call_count(const struct grpc_session *session);
/* Both sides have said all: the connection can be closed. */
bool grpc_session_is_over(struct grpc_session *session);
/* The connection is gone: calls are canceled. Not inside feed or take. */
void grpc_session_close(struct grpc_session *session);
