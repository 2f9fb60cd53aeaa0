/* What gRPC puts into HTTP/2, as pure functions: status codes, the header grpc-timeout, percent-encoded messages, and
 * the five bytes before each message. Shared by the server (broker/grpc.h) and the client (broker/grpc_client.h).
 *
 * Source: "gRPC over HTTP2" (PROTOCOL-HTTP2.md), "gRPC status codes" (statuscodes.md). */
#pragma once

#include "base/dynbuf.h"

#define GRPC_STATUS_MAP(X)                                                                                             \
    X(OK, 0)                                                                                                           \
    X(CANCELLED, 1)                                                                                                    \
    X(UNKNOWN, 2)                                                                                                      \
    X(INVALID_ARGUMENT, 3)                                                                                             \
    X(DEADLINE_EXCEEDED, 4)                                                                                            \
    X(NOT_FOUND, 5)                                                                                                    \
    X(ALREADY_EXISTS, 6)                                                                                               \
    X(PERMISSION_DENIED, 7)                                                                                            \
    X(RESOURCE_EXHAUSTED, 8)                                                                                           \
    X(FAILED_PRECONDITION, 9)                                                                                          \
    X(ABORTED, 10)                                                                                                     \
    X(OUT_OF_RANGE, 11)                                                                                                \
    X(UNIMPLEMENTED, 12)                                                                                               \
    X(INTERNAL, 13)                                                                                                    \
    X(UNAVAILABLE, 14)                                                                                                 \
    X(DATA_LOSS, 15)                                                                                                   \
    X(UNAUTHENTICATED, 16)

enum grpc_status {
#define GRPC_STATUS_ENUM(name, code) GRPC_##name = (code),
    GRPC_STATUS_MAP(GRPC_STATUS_ENUM)
#undef GRPC_STATUS_ENUM
};

#define GRPC_PREFIX_SIZE 5
#define GRPC_STATUS_TEXT_SIZE 512 /* of a status message, with its NUL */

const char *grpc_status_name(enum grpc_status status); /* "NOT_FOUND"; "UNKNOWN" for a number that is none */
/* The header's text, such as "2973m", in microseconds, at most some 290 years. False: malformed. */
MUST_CHECK bool grpc_timeout_parse(struct bytes text, int64_t *timeout_us);
/* Writes the shortest exact text of a timeout > 0 (rounded up to milliseconds); size >= 16. */
void grpc_timeout_print(int64_t timeout_us, char *text, size_t size);
/* Percent-encodes what is not printable ASCII, and '%'; what does not fit in `size` is left away whole. The size
 * without the NUL is returned. */
size_t grpc_message_escape(const char *text, char *target, size_t size);
/* The other way round; what is no escape is taken as it is, as the protocol says. */
void grpc_message_unescape(struct bytes text, char *target, size_t size);

/* The head of a message that is not compressed. */
void grpc_prefix_put(uint8_t target[GRPC_PREFIX_SIZE], size_t message_size);
/* Takes the next whole message of `size_max` bytes at most out of `bytes`, which is moved past it. ERR_SHORT: more
 * bytes are needed; ERR_UNSUPPORTED: it is compressed; ERR_CORRUPT: a flag that there is not; ERR_TOO_LARGE: known as
 * soon as its head is there. */
MUST_CHECK enum err grpc_message_next(struct bytes *bytes, size_t size_max, struct bytes *message);
