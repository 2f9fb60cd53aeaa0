/* Shared by conn.c (connections come and go, sweeps), conn_read.c (framing), conn_write.c (responses) and request.c. */
#pragma once

#include "base/pool.h"
#include "broker/budget.h"
#include "broker/conn.h"

#define CONN_SCRATCH_SIZE KIB(64)
/* Percent of the budget up to which it is given to: large frames and large answers, so that small requests still get
 * through; frames of any size, so that requests that were read still find room to be worked on. */
#define CONN_LARGE_SHARE 75
#define CONN_FRAME_SHARE 90

struct conns {
    struct shard *shard;
    struct env *env;
    struct budget budget;
    struct list list;              /* open ones, the longest idle first */
    struct list closing;
    size_t count;                  /* both */
    size_t held;                   /* detached requests in work: their memory counts in the budget */
    size_t count_max;
    int64_t frame_size_max;        /* socket.request.max.bytes, or what large frames may use of the budget */
    struct timer sweep;
    uint8_t *scratch;              /* where small frames are read */
    struct pool request_pool;
    bool is_closing;
    struct timer grace;
    struct task closed;
    void *close_owner;
    conns_close_cb close_cb;
};

struct conn {
    struct list link;
    struct conns *conns;
    struct stream *stream;
    const struct option_listener *listener;
    int64_t active_us;             /* last byte in or out; during a read, now */
    /* Reading. */
    uint8_t head[4];               /* size field, while it is incomplete */
    unsigned head_size;
    struct shared *frame;          /* of a frame that came in part; NULL: none */
    size_t frame_size;             /* what its size field says */
    size_t frame_got;
    int64_t frame_started_us;
    bool is_reading_frame;         /* the read under way goes into `frame` */
    bool is_paused;
    int64_t paused_us;             /* since when */
    struct budget_waiter waiter;
    int64_t waiting_since_us;      /* for memory; 0: not waiting */
    /* Requests in order of arrival; those from `undispatched` on wait for their turn. */
    struct list requests;
    struct list *undispatched;     /* &requests: none */
    unsigned request_count;
    unsigned in_work;              /* dispatched, not answered */
    unsigned in_work_serial;       /* of these, other than Produce */
    bool is_dispatch_waiting;      /* the next one waits for memory to be worked on */
    /* Writing. */
    struct list writing;           /* requests whose responses are in the write under way */
    struct iovec *iov;
    size_t iov_capacity;
    struct stream_write write;
    size_t unsent_size;            /* answered, not written yet */
    bool is_writing;
    bool has_task;
    struct task task;              /* writes what is answered, dispatches what waits, at the end of the turn */
    /* Closing: the stream is gone when is_closed; the memory when no request is left. */
    bool is_closing;
    bool is_draining; /* the peer left: what it sent whole and request_outlives_peer() is still carried out */
    bool is_closed;
};

/* conn.c */
void conns_hold(struct conns *conns); /* not closed before conns_release() */
void conns_release(struct conns *conns);
void conn_close(struct conn *conn, const char *reason); /* NULL: the peer closed */
void conn_end(struct conn *conn, enum err err);         /* the peer closed (ERR_CLOSED) or is lost */
void conn_touch(struct conn *conn);
void conn_maybe_free(struct conn *conn);
void conn_schedule(struct conn *conn);
void conn_wait(struct conn *conn);                      /* for memory: in line, with the time since when */
/* conn_read.c */
extern const struct stream_handlers CONN_STREAM_HANDLERS;
void conn_read_resume(struct conn *conn);      /* if nothing speaks against it any more */
void conn_dispatch(struct conn *conn);
void conn_drop_frame(struct conn *conn);
/* conn_write.c */
void conn_flush(struct conn *conn);
/* request.c */
struct request *request_new(struct conn *conn, struct shared *frame, size_t size);
bool request_read_header(struct request *request);
bool request_is_serial(const struct request *request);
bool request_outlives_peer(const struct request *request); /* its effect is wanted, also without an answer */
void request_free(struct request *request, int64_t now_us);
