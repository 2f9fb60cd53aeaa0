/* Error codes and their text.
 *
 * Three kinds, never mixed: the caller's fault or the environment -> `enum err` with a text built from the cause
 * outwards; a broken invariant -> assert; durable storage or memory lost -> process_stop().
 * Foreign codes (errno, uv, LMDB, libraft) are translated in the one file that includes that library. */
#pragma once

#define ERR_MAP(X)                                                                                                     \
    X(OK, "ok")                                                                                                        \
    X(ERR_IO, "input/output error")                                                                                    \
    X(ERR_NO_SPACE, "no space left on device")                                                                         \
    X(ERR_CORRUPT, "damaged data")                                                                                     \
    X(ERR_SHORT, "more bytes are needed")                                                                              \
    X(ERR_INVALID, "invalid argument")                                                                                 \
    X(ERR_TOO_LARGE, "over a size limit")                                                                              \
    X(ERR_UNSUPPORTED, "not supported")                                                                                \
    X(ERR_NOT_FOUND, "not found")                                                                                      \
    X(ERR_EXISTS, "already exists")                                                                                    \
    X(ERR_WOULD_BLOCK, "would block")                                                                                  \
    X(ERR_BUSY, "over a budget, try again")                                                                            \
    X(ERR_CANCELED, "canceled")                                                                                        \
    X(ERR_TIMED_OUT, "timed out")                                                                                      \
    X(ERR_CLOSED, "closed")                                                                                            \
    X(ERR_NOT_LEADER, "not the leader")                                                                                \
    X(ERR_NOT_READY, "not ready yet")                                                                                  \
    X(ERR_DAMAGED, "replica damaged")                                                                                  \
    X(ERR_ADDRESS, "address not usable")                                                                               \
    X(ERR_REFUSED, "connection refused")                                                                               \
    X(ERR_DENIED, "permission denied")

enum err {
#define ERR_ENUM(name, text) name,
    ERR_MAP(ERR_ENUM)
#undef ERR_ENUM
};

#define MUST_CHECK __attribute__((warn_unused_result))
#define ERRMSG_SIZE 512

/* Text of a failure, owned by the caller; NUL-terminated, cut with "..." when too long. Pointers to one may be NULL
 * everywhere: no text wanted. */
struct errmsg {
    char text[ERRMSG_SIZE];
};

/* Name ("ERR_IO") and default text ("input/output error") of a code. Static strings. */
const char *err_name(enum err err);
const char *err_text(enum err err);

/* Writes the text of the cause and returns `err`, which must not be OK. */
enum err fail(struct errmsg *msg, enum err err, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Puts "context: " in front of the text that is there and returns `err`. */
enum err fail_wrap(struct errmsg *msg, enum err err, const char *format, ...) __attribute__((format(printf, 3, 4)));
#ifdef __clang_analyzer__ /* Does not look into another file, so it is told here what they return. */
#define fail(msg, err, ...) ((void)(fail)(msg, err, __VA_ARGS__), (err))
#define fail_wrap(msg, err, ...) ((void)(fail_wrap)(msg, err, __VA_ARGS__), (err))
#endif
/* errno -> enum err: ENOSPC, EDQUOT -> ERR_NO_SPACE; EAGAIN -> ERR_WOULD_BLOCK; ENOENT -> ERR_NOT_FOUND;
 * EEXIST -> ERR_EXISTS; EACCES, EPERM -> ERR_DENIED; 0 -> OK; else ERR_IO. */
enum err err_from_errno(int number);

/* Durable storage or memory is lost: says so on stderr, prints the trace ring, ends the process at once (exit code 70)
 * without running any clean-up. What is on disk is then what recovery finds. */
_Noreturn void process_stop(const char *format, ...) __attribute__((format(printf, 1, 2)));
