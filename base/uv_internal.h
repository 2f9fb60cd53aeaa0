/* What the files of the libuv seam share: uv_env.c (loop, clock, timers, tasks, workers, waker), uv_disk.c, uv_net.c
 * (listeners, connects) and uv_stream.c. Included by them alone. */
#pragma once

#include <pthread.h>
#include <uv.h>

#include "base/timers.h"
#include "base/uv_env.h"

enum { RNG_WORD_COUNT = 64 };
enum { SIGNAL_COUNT = 3 };

/* A callback that is owed: run at the end of a loop turn. Those that are added while they run wait for the next turn,
 * so that a writer whose every write succeeds at once cannot hold the loop. */
struct uv_owed {
    void (*run)(struct uv_owed *owed);
    struct list link;
};

struct uv_rng {
    struct rng rng;
    size_t left; /* words not given out yet */
    uint64_t words[RNG_WORD_COUNT];
};

/* Thread that executes durable writes, one at a time, in order. */
struct uv_writer {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t is_wanted;
    struct list queued;    /* guarded by mutex */
    struct list completed; /* guarded by mutex */
    bool is_stopping;      /* guarded by mutex */
    enum err failed;       /* writer thread: the first failure, repeated for every later write */
    uv_async_t async;      /* wakes the loop for `completed` */
    size_t in_flight;      /* loop thread: submitted, cb not called yet */
};

struct uv_disk {
    struct disk disk;
    struct uv_env *uv;
    struct uv_writer writer;
};

struct uv_net {
    struct net net;
    struct uv_env *uv;
    int spare_fd;              /* given up for a moment to refuse a connection when descriptors run out */
    int64_t full_traced_us;
};

union uv_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct uv_env {
    struct env env;
    uv_loop_t loop;

    struct clock clock;
    struct uv_rng rng;

    struct timers timers;
    struct timer_heap timer_heap;
    uv_timer_t timer;          /* wakes the loop for the first of timer_heap */
    int64_t timer_armed_us;    /* what `timer` is set to; INT64_MAX: not */

    struct tasks tasks;
    struct list task_queue;
    struct list owed;          /* struct uv_owed */
    uv_prepare_t prepare;      /* before the loop waits */
    uv_check_t check;          /* after it waited */
    uv_idle_t idle;            /* active while something is owed: the loop must not wait */

    struct uv_disk disk;
    struct workers workers;
    struct uv_net net;

    struct waker waker;
    uv_async_t wake;
    bool is_stopping;

    uv_signal_t signals[SIGNAL_COUNT];
    bool has_signals;
    void *signal_owner;
    void (*signal_cb)(void *owner, int signal);
};

MUST_CHECK enum err uv_disk_init(struct uv_disk *disk, struct uv_env *uv, struct errmsg *msg);
void uv_disk_deinit(struct uv_disk *disk); /* nothing in flight; closes its handle, the loop then runs once more */
void uv_net_init(struct uv_net *net, struct uv_env *uv);
void uv_net_deinit(struct uv_net *net);

/* Owes `owed`, unless it is owed already. */
void uv_env_owe(struct uv_env *uv, struct uv_owed *owed);
/* libuv's negative codes, those of getaddrinfo included, as ours. */
enum err uv_err(int status);

/* uv_stream.c */
struct stream *uv_stream_new(struct uv_env *uv);
uv_tcp_t *uv_stream_tcp(struct stream *stream);
void uv_stream_ready(struct stream *stream);   /* connected: sets its socket options */
void uv_stream_drop(struct stream *stream);    /* closes one that its owner has not seen */
void uv_stream_fill_net(struct net *net);      /* sets the stream_* functions */
