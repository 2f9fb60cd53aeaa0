/* One Kafka request in work: from the frame's last byte to the response's last byte in the socket; or, detached from
 * any connection, to the callback of who runs it (a request that another broker forwards, or a wish of this broker).
 *
 * A handler gets a decoded header and the body's bytes, and must end every request exactly once with request_respond(),
 * request_respond_none() or request_kill(). It may do so later from any callback on the same shard; the connection may
 * be gone by then: the calls still work and free the request. Responses leave in the order of the requests, whatever
 * the order of answers.
 *
 * Runs on: the shard of its connection, or of request_run(). */
#pragma once

#include "base/arena.h"
#include "base/outbuf.h"
#include "broker/shard.h"
#include "proto/codec.h"
#include "proto/kafka_api.h"
#include "proto/kafka_messages.h"

struct conn;
struct request_run;

/* Memory that comes with a request, so that most of them need no other: what is decoded, worked with and answered for a
 * handful of partitions, and the answer's small fields. */
#define REQUEST_WORK_SIZE 1536
#define REQUEST_ANSWER_SIZE 192

struct request {
    struct shard *shard;
    struct conn *conn;               /* NULL: detached */
    struct request_run *run;         /* of a detached one */
    int16_t api_key;
    int16_t api_version;
    int32_t correlation_id;
    struct bytes client_id;          /* within the frame */
    struct shared *frame;            /* the whole frame, one reference; payload slices refer to it */
    struct bytes frame_bytes;        /* header and body, within it */
    struct reader body;
    struct arena arena;
    int64_t received_us;
    int64_t started_us;              /* decoded by its handler; 0: not yet, or it went to the controller as it was */
    int64_t proposed_us, committed_us; /* Produce: the last of its batches; 0: none */
    int64_t answered_us;
    int64_t patience_us;             /* set by the handler: what its client asks to be kept waiting */
    /* Set when the controller could not be asked: the handler runs here after all, decides nothing, and answers all
     * that the controller would have decided with this: NOT_CONTROLLER (nothing was done), or REQUEST_TIMED_OUT (in
     * doubt). */
    enum kafka_error refusal;
    /* Set by a handler whose answer may be long in coming: called once, never inside a handler, when the connection
     * closes while the request is in work. It still has to be answered. */
    void (*on_gone)(struct request *request);
    void *context;                   /* the handler's, for that */
    /* private to request.c and conn.c */
    struct list link;                /* on the connection, in order of arrival */
    struct outbuf response;
    bool is_dispatched;
    bool is_answered;
    bool is_silent;                  /* answered by nothing */
    bool is_held;                    /* waits for others, by its nature: request_let_go() */
    bool is_undone;                  /* detached: the controller is elsewhere, nothing was done */
    size_t charge;                   /* bytes of the budget held */
    uint8_t answer[REQUEST_ANSWER_SIZE]; /* neither is zeroed */
    uint8_t work[REQUEST_WORK_SIZE] __attribute__((aligned(ARENA_ALIGNMENT)));
};

/* Decodes the body with the API's request schema for the request's version into `message` (arena). A malformed body
 * kills the connection, as Kafka does: false is returned and the request is gone. */
MUST_CHECK bool request_decode(struct request *request, const struct schema *schema, void *message);
/* Encodes and queues the response; error codes in it are counted. `message` may be freed afterwards; slices in it are
 * acquired. */
void request_respond(struct request *request, const struct schema *schema, const void *message);
/* The same in two steps, for who answers from another shard: the response's header and body as bytes, one reference; no
 * block when it is too large. Any thread, as long as the request is not answered; then request_respond_raw(). */
struct slice request_encode(const struct request *request, const struct schema *schema, const void *message);
void request_respond_version(struct request *request, int16_t version, const struct schema *schema,
                             const void *message);      /* ApiVersions' fallback */
void request_respond_none(struct request *request);     /* acks=0 */
void request_kill(struct request *request, const char *reason); /* closes the connection; static text */
/* METRIC_ERRORS: what is answered is counted as it is encoded; this counts what is refused and has no answer. Any
 * thread. */
void request_count_error(struct metrics *metrics, const struct kafka_api *api, int code);
void request_error_labels(size_t place, size_t column, char *text, size_t size); /* metric_labels */
/* Queues a response that is there as bytes: its header and its body. The bytes are acquired. */
void request_respond_raw(struct request *request, struct slice response);
/* Ends a detached request: this broker is not the controller, and nothing of what was asked for has been done. So for
 * those whose wish came back with a refusal (request_is_undone()); then it is sent to the next controller. */
void request_not_controller(struct request *request);
bool request_is_undone(const struct request *request, enum kafka_error refusal);

/* Runs a request that no client of this shard has sent. Its memory counts in the shard's budget, handlers see no
 * difference but `conn`. */
struct request_run {                 /* Caller's memory until cb. */
    struct slice frame;              /* in: header and body; acquired */
    void (*cb)(struct request_run *run); /* in: never inside request_run() */
    /* out: ERR_NOT_LEADER: this broker is not the controller, nothing was done; ERR_UNSUPPORTED: API or version is not
     * served; ERR_CORRUPT: malformed */
    enum err err;
    struct slice response;           /* out: header and body; borrowed during cb */
    struct task task;                /* private */
    struct request *request;         /* private */
};
void request_run(struct shard *shard, struct request_run *run);
/* Whether there is room in the budget now, and the shard is not draining: else request_run() may not be called. */
bool request_has_room(const struct shard *shard);

/* Host text and port that the client used to reach us, and the listener it came in on. */
/* Nothing of the request is needed any more but to answer it: its frame and its arena, with what was decoded, go, and
 * the budget gets them back. For answers that may be long in coming. */
void request_let_go(struct request *request);
/* Numeric address of the client; empty if the connection is gone. size >= NET_ADDRESS_TEXT_SIZE. */
void request_peer_address(struct request *request, char *host, size_t size);
void request_local_address(struct request *request, char *host, size_t size, uint16_t *port,
                           const struct option_listener **listener);

typedef void (*request_handler)(struct request *request);

/* Charges what the handler is going to allocate for `count` items of a decoded request; given back with the request.
 * False: that is more than one request may have, the connection is closed and the request is gone. */
MUST_CHECK bool request_charge(struct request *request, size_t count, size_t item_size);
/* The same, with the memory, zeroed, for a head and the items behind it: in the request's arena, beside what may be
 * decoded into it. NULL: as false. */
void *request_items(struct request *request, size_t head_size, size_t count, size_t item_size);
/* Takes room for bytes that are going to be read for the response, at most `wanted`, at least enough for an ordinary
 * batch; 0: none now. To be given back, before request_respond() charges the response itself. On any shard, whose
 * metrics those are, while it works for the request. */
size_t request_reserve(struct request *request, struct metrics *metrics, size_t wanted);
void request_reserve_more(struct request *request, struct metrics *metrics, size_t size); /* what was read already */
void request_unreserve(struct request *request, struct metrics *metrics, size_t size);
/* Memory that the response keeps beside its own bytes; given back with the request. */
void request_keep(struct request *request, size_t size);

/* api.c: the table of what is served. NULL: not served. */
request_handler api_handler(int16_t api_key);

void handle_api_versions(struct request *request);
void handle_metadata(struct request *request);
void handle_produce(struct request *request);
void handle_fetch(struct request *request);
void handle_list_offsets(struct request *request);
void handle_offset_for_leader_epoch(struct request *request);
void handle_init_producer_id(struct request *request);
void handle_create_topics(struct request *request);
void handle_delete_topics(struct request *request);
void handle_create_partitions(struct request *request);
void handle_describe_configs(struct request *request);
void handle_describe_cluster(struct request *request);
void handle_alter_configs(struct request *request);
void handle_incremental_alter_configs(struct request *request);
void handle_delete_records(struct request *request);
void handle_describe_acls(struct request *request);
void handle_create_acls(struct request *request);
void handle_delete_acls(struct request *request);
void handle_describe_log_dirs(struct request *request);
void handle_describe_producers(struct request *request);
void handle_describe_topic_partitions(struct request *request);
void handle_elect_leaders(struct request *request);
void handle_alter_partition_reassignments(struct request *request);
void handle_list_partition_reassignments(struct request *request);
void handle_unregister_broker(struct request *request);
void handle_find_coordinator(struct request *request);
void handle_join_group(struct request *request);
void handle_sync_group(struct request *request);
void handle_heartbeat(struct request *request);
void handle_leave_group(struct request *request);
void handle_describe_groups(struct request *request);
void handle_list_groups(struct request *request);
void handle_offset_commit(struct request *request);
void handle_offset_fetch(struct request *request);
void handle_offset_delete(struct request *request);
void handle_delete_groups(struct request *request);
void handle_allocate_producer_ids(struct request *request);
