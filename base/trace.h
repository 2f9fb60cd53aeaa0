/* Events: static text plus key/value pairs, one line each (logfmt), and a ring of the last ones that is always on.
 *
 *     trace(INFO, REPLICA, "became leader", KV("partition", id), KV("term", term));
 *
 * Every event goes to the calling thread's ring (fixed memory: 256 events of 256 bytes); lines at or above the
 * component's level (INFO at first) go to stderr, each with one write(). assert_fail() and process_stop() print the
 * rings. Event and keys are static text. Payload and secrets are never traced.
 * Runs on: any thread; levels may be changed at run time (relaxed atomics). */
#pragma once

#include "base/bytes.h"

#define TRACE_COMPONENT_MAP(X)                                                                                         \
    X(MAIN, "main")                                                                                                    \
    X(DISK, "disk")                                                                                                    \
    X(NET, "net")                                                                                                      \
    X(WAL, "wal")                                                                                                      \
    X(LOG, "log")                                                                                                      \
    X(RAFT, "raft")                                                                                                    \
    X(REPLICA, "replica")                                                                                              \
    X(PARTITION, "partition")                                                                                          \
    X(PEER, "peer")                                                                                                    \
    X(METADATA, "metadata")                                                                                            \
    X(CONTROLLER, "controller")                                                                                        \
    X(GROUP, "group")                                                                                                  \
    X(KAFKA, "kafka")                                                                                                  \
    X(SHARD, "shard")                                                                                                  \
    X(SIM, "sim")

enum trace_component {
#define TRACE_ENUM(name, text) TRACE_##name,
    TRACE_COMPONENT_MAP(TRACE_ENUM)
#undef TRACE_ENUM
    TRACE_COMPONENT_COUNT
};

enum trace_level { TRACE_DEBUG, TRACE_INFO, TRACE_WARN, TRACE_ERROR };

enum trace_kind { TRACE_KIND_INT, TRACE_KIND_UINT, TRACE_KIND_TEXT, TRACE_KIND_BYTES };

struct trace_arg {
    const char *key; /* static */
    enum trace_kind kind;
    int64_t number;      /* value (bits of an unsigned one), or size of bytes */
    const void *pointer; /* text or bytes, borrowed for the call: the line takes 512 bytes of it, the ring copies 120 */
};

static inline struct trace_arg trace_int(const char *key, int64_t value)
{
    return (struct trace_arg){key, TRACE_KIND_INT, value, NULL};
}
static inline struct trace_arg trace_uint(const char *key, uint64_t value)
{
    return (struct trace_arg){key, TRACE_KIND_UINT, (int64_t)value, NULL};
}
static inline struct trace_arg trace_text(const char *key, const char *text)
{
    return (struct trace_arg){key, TRACE_KIND_TEXT, 0, text};
}
static inline struct trace_arg trace_bytes(const char *key, struct bytes bytes)
{
    return (struct trace_arg){key, TRACE_KIND_BYTES, (int64_t)bytes.size, bytes.data};
}

/* Of any integer, text (NULL is printed as null) or bytes. Floating point and other pointers do not compile. */
#define KV(key, value)                                                                                                 \
    _Generic((value), char *: trace_text, const char *: trace_text, struct bytes: trace_bytes,                         \
             unsigned: trace_uint, unsigned long: trace_uint, unsigned long long: trace_uint,                          \
             default: trace_int)((key), (value))

#define trace(level, component, event, ...)                                                                            \
    trace_event(TRACE_##level, TRACE_##component, (event), (const struct trace_arg[]){{0}, ##__VA_ARGS__},             \
                sizeof((const struct trace_arg[]){{0}, ##__VA_ARGS__}) / sizeof(struct trace_arg))

/* args[0] is a placeholder. */
void trace_event(enum trace_level level, enum trace_component component, const char *event,
                 const struct trace_arg *args, size_t count);
void trace_set_level(enum trace_component component, enum trace_level level);
bool trace_set_level_text(const char *component, const char *level); /* "all" sets every one; false: unknown name */
#define TRACE_TIME_SIZE 40
/* A wall time as traces have it, 2026-01-01T00:00:00.123Z, and as all else that is for people. */
void trace_time(int64_t wall_ms, char *text, size_t size);

/* Source of the time stamps and shard name of the calling thread; the simulator sets its own, as often as it likes. The
 * name is copied (cut to 15 bytes) and may be NULL; so may wall_ms: the system's clock. */
void trace_set_thread(const char *name, int64_t (*wall_ms)(void *), void *context);
/* All threads' rings to stderr, oldest event first; a thread that has ended keeps its ring until a new one takes it. */
void trace_print_rings(void);
/* Lines that standard error did not take, of all threads. */
uint64_t trace_lines_lost(void);
