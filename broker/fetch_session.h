/* Fetch sessions (KIP-227): what a consumer fetches is remembered, so that a request names only what is new or read on
 * and an answer only what has changed. One cache a shard, which is where a connection lives: a consumer whose new
 * connection comes to another shard is told that its session is not known and starts anew, as after a restart.
 *
 * Bounds: a number of sessions (max.incremental.fetch.session.cache.slots) and their memory. A new session takes the
 * place of one that was idle for FETCH_SESSION_IDLE_MS, or is older than that and smaller; else the consumer gets none
 * and goes on with full requests. A session's memory is counted with everything in it.
 *
 * Nothing changes while a fetch is in work: a request's wishes go in when it comes (fetch_sessions_resume), what was
 * told when the answer is built; between them the session may be gone, or another request may have moved its epoch.
 *
 * Pure: the clock and a source of random numbers are handed in. Runs on: its shard's thread.
 * Source: KIP-227; KIP-516 for sessions by topic id; KAFKA-12330 for the order of partitions. */
#pragma once

#include "base/bytes.h"
#include "base/env.h"
#include "base/list.h"
#include "proto/errors.h"
#include "proto/kafka_messages.h"

#define FETCH_SESSION_NONE 0           /* id */
#define FETCH_SESSION_EPOCH_NEW 0      /* all partitions are named, a session is wished for */
#define FETCH_SESSION_EPOCH_CLOSE (-1) /* all partitions are named, no session is wished for; one that is named ends */
#define FETCH_SESSION_IDLE_MS 120000

struct fetch_sessions;
struct fetch_session;

struct fetch_want {                  /* What a consumer asks of one partition. */
    int32_t partition;
    int32_t leader_epoch;            /* that it believes in; -1: none */
    int64_t offset;
    int32_t max_bytes;
};

struct fetch_session_topic {
    struct bytes name;               /* empty in sessions by topic id */
    struct uuid id;                  /* zero in sessions by name */
    struct fetch_session_topic *next; /* private: of the same hash */
    uint64_t hash;                   /* private */
    uint32_t number;                 /* private */
    size_t partition_count;          /* private */
};

struct fetch_session_partition {
    struct fetch_session_topic *topic;
    struct fetch_want want;
    struct list link;                /* private: of the session, in the order of service */
    /* What the consumer was told last; -1: nothing, or an error. */
    int64_t high_watermark, last_stable_offset, log_start_offset;
};

struct fetch_want fetch_want_of(const struct kafka_fetch_request_partition *asked);

/* `slots` sessions at most, `size_max` bytes together. */
struct fetch_sessions *fetch_sessions_open(size_t slots, size_t size_max, struct rng *rng);
void fetch_sessions_close(struct fetch_sessions *sessions);
size_t fetch_sessions_count(const struct fetch_sessions *sessions);
size_t fetch_sessions_size(const struct fetch_sessions *sessions);           /* bytes */
uint64_t fetch_sessions_evicted(const struct fetch_sessions *sessions);      /* since the start */

/* What a request means. NONE with `session` NULL: it names all of its partitions; a session that it named has ended.
 * NONE with a session: the session's partitions, as the request has changed them, are to be fetched. Else the whole
 * answer: FETCH_SESSION_ID_NOT_FOUND, INVALID_FETCH_SESSION_EPOCH, FETCH_SESSION_TOPIC_ID_ERROR; the consumer starts
 * anew. A session without any partition left ends, and its consumer is answered as without one. */
enum kafka_error fetch_sessions_resume(struct fetch_sessions *sessions, const struct kafka_fetch_request *request,
                                       bool is_by_id, int64_t now_ms, struct fetch_session **session);
/* The session, if it is still as `request` has left it; NULL: gone, or another request came between. */
struct fetch_session *fetch_sessions_find(struct fetch_sessions *sessions, const struct kafka_fetch_request *request);
/* A session for the partitions of a request that wishes for one, nothing told yet. NULL: there is no room. */
struct fetch_session *fetch_sessions_create(struct fetch_sessions *sessions, const struct kafka_fetch_request *request,
                                            bool is_by_id, int64_t now_ms);

int32_t fetch_session_id(const struct fetch_session *session);
size_t fetch_session_count(const struct fetch_session *session); /* of partitions */
/* In the order of service. `after` NULL: the first one; NULL is returned at the end. */
struct fetch_session_partition *fetch_session_next(const struct fetch_session *session,
                                                   const struct fetch_session_partition *after);
/* By name, or by id in a session by id; NULL: not in it. */
struct fetch_session_partition *fetch_session_find(const struct fetch_session *session, struct bytes name,
                                                   const struct uuid *id, int32_t partition);
/* Notes what the consumer is going to be told of a partition. False: it is what it was told before, so that it need not
 * be told. Errors, records and replicas to read from are always told. */
bool fetch_session_tell(struct fetch_session_partition *partition, const struct kafka_fetch_response_partition *told);
void fetch_session_set_epoch(struct fetch_session *session, int32_t epoch); /* for tests: two billion fetches */
/* Its records were sent: the other partitions come first from now on. */
void fetch_session_served(struct fetch_session *session, struct fetch_session_partition *partition);
