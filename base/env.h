/* The seam: everything that comes from outside a shard (clock, random numbers, disk, network, timers, background work)
 * comes through one `struct env`. In production it is libuv and Linux (base/uv_env.h), in the simulator it is virtual.
 *
 * Runs on:  each shard has its own env; all calls and all callbacks are on that shard's thread, except where said.
 * Rules:    callbacks never fire inside the call that submitted them. Request structs and the memory they point to are
 *           the caller's, untouched by it from submission until the callback. Callbacks of one file's writes fire in
 *           order. */
#pragma once

#include "base/bytes.h"
#include "base/list.h"
#include "base/metrics.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* ---- Clock and random numbers ----------------------------------------------------------------------------------- */

struct clock {
    int64_t (*monotonic_us)(struct clock *clock); /* never goes back; cached for one loop turn is allowed */
    int64_t (*wall_ms)(struct clock *clock);      /* Unix time; may jump */
};

struct rng {
    uint64_t (*next)(struct rng *rng); /* uniform 64 bits; cryptographic in production (ids are made of it) */
};

/* ---- Timers and the loop turn ----------------------------------------------------------------------------------- */

struct timer;
typedef void (*timer_cb)(struct timer *timer);

struct timer {         /* Embedded in its owner; zero-initialised by timer_init(). */
    timer_cb cb;
    int64_t due_us;    /* private */
    uint64_t sequence; /* private: equal times fire in the order they were set */
    size_t heap_slot;  /* private: 0 when not set */
};

struct timers {
    void (*set)(struct timers *timers, struct timer *timer, int64_t delay_us); /* also moves a set one */
    void (*cancel)(struct timers *timers, struct timer *timer);                /* no-op when not set */
};

/* Work found in a callback is queued and done once at the end of the loop turn, in the order of queueing, before the
 * loop waits again. Tasks queued by tasks run in the same turn. Queueing a queued task does nothing. */
struct task;
typedef void (*task_cb)(struct task *task);

struct task {
    task_cb cb;
    struct list link; /* private */
};

struct tasks {
    void (*queue)(struct tasks *tasks, struct task *task);
    void (*cancel)(struct tasks *tasks, struct task *task);
};

/* ---- Disk ------------------------------------------------------------------------------------------------------- */

enum {
    DISK_CREATE = 1,    /* create if missing */
    DISK_EXCLUSIVE = 2, /* with DISK_CREATE: ERR_EXISTS if there */
    DISK_DIRECT = 4,    /* O_DIRECT|O_DSYNC; where the file system cannot, O_DSYNC through the page cache */
    DISK_READ_ONLY = 8,
};

enum { DISK_ALIGNMENT = 4096 }; /* of memory, position and size in every call on a DISK_DIRECT file, reads included */

struct disk_write;
typedef void (*disk_write_cb)(struct disk_write *req, enum err err);

struct disk_write {        /* Durable write of a DISK_DIRECT file, off the loop. Caller's memory until cb. */
    int file;              /* in */
    uint64_t position;     /* in: first byte */
    struct bytes bytes;    /* in: borrowed until cb; aligned as DISK_DIRECT says */
    disk_write_cb cb;      /* in: the bytes and all earlier writes of this env are on stable storage, or err: then this
                              and every later write of the env fails, so that the promise before holds for each OK */
    struct list link;      /* private */
    enum err err;          /* private */
};

struct disk_read;
typedef void (*disk_read_cb)(struct disk_read *req, enum err err);

struct disk_read {         /* Read that may wait for the device, off the loop. */
    int file;
    uint64_t position;
    uint8_t *data;         /* in: room for `size` bytes, caller's until cb */
    size_t size;
    size_t got;            /* out: less than size only at the end of the file */
    disk_read_cb cb;
    void *handle;          /* private */
};

struct disk_range { /* Of a file's bytes. */
    int file;
    uint64_t position, size;
};

typedef void (*disk_list_cb)(const char *name, uint64_t size, bool is_directory, void *context);

struct disk {
    /* Blocking calls: page cache and directories only, or recovery before the shard serves, or inside `work` jobs.
     * All of them are callable from a work job on another thread too (files are opened and closed by one owner). */
    enum err (*open)(struct disk *disk, const char *path, unsigned flags, int *file, struct errmsg *msg);
    void (*close)(struct disk *disk, int file);
    enum err (*size)(struct disk *disk, int file, uint64_t *size);
    enum err (*truncate)(struct disk *disk, int file, uint64_t size);
    /* A file that is shorter becomes `size` bytes long: what is added reads as zeros and has its place on the disk, so
     * that writing it needs no space. Durable with the next sync(). ERR_UNSUPPORTED: not on this file system. */
    enum err (*allocate)(struct disk *disk, int file, uint64_t size);
    /* Buffered write of all bytes at `position`; not durable before sync(). ERR_NO_SPACE may leave a part written. */
    enum err (*pwritev)(struct disk *disk, int file, uint64_t position, const struct iovec *iov, int count);
    enum err (*pread)(struct disk *disk, int file, uint64_t position, void *data, size_t size, size_t *got);
    /* Only what is in the page cache: ERR_WOULD_BLOCK if the first byte is not; *got may be short of size. */
    enum err (*pread_nowait)(struct disk *disk, int file, uint64_t position, void *data, size_t size, size_t *got);
    enum err (*sync)(struct disk *disk, int file); /* fdatasync; blocks: work jobs and recovery only */
    /* Writes what the page cache has of these ranges, and waits for it: for the pace alone, it makes nothing durable.
     * A failure told here is not told again by a sync(), so it is as grave. OK where the file system cannot do it.
     * Blocks: work jobs only. */
    enum err (*write_out)(struct disk *disk, const struct disk_range *ranges, unsigned count);
    enum err (*rename)(struct disk *disk, const char *source, const char *target);
    /* Gives a file a second name. ERR_EXISTS; ERR_UNSUPPORTED: not on this file system, copy it. */
    enum err (*link)(struct disk *disk, const char *source, const char *target);
    enum err (*unlink)(struct disk *disk, const char *path);         /* file or empty directory */
    /* With parents; OK if there. As with files, a name is durable only after sync_dir() of the directory it is in. */
    enum err (*mkdir)(struct disk *disk, const char *path);
    enum err (*sync_dir)(struct disk *disk, const char *path);       /* names in it are durable afterwards; blocks */
    /* In no particular order; `cb` runs inside the call and may unlink the entry that it was given. */
    enum err (*list)(struct disk *disk, const char *path, disk_list_cb cb, void *context);
    enum err (*free_space)(struct disk *disk, const char *path, uint64_t *size);
    enum err (*total_space)(struct disk *disk, const char *path, uint64_t *size); /* of the whole file system */

    /* Asynchronous calls. */
    void (*write)(struct disk *disk, struct disk_write *req); /* in order, one at a time, by a thread of its own */
    void (*read)(struct disk *disk, struct disk_read *req);
};

/* ---- Background work -------------------------------------------------------------------------------------------- */

struct work;
typedef void (*work_cb)(struct work *work);

struct work {        /* Caller's memory until `done`. */
    work_cb run;     /* on another thread: blocking disk calls and kv are allowed; touches only what the job owns */
    work_cb done;    /* back on the shard's thread */
    void *handle;    /* private */
};

struct workers {
    void (*submit)(struct workers *workers, struct work *work);
};

/* ---- Network ---------------------------------------------------------------------------------------------------- */

enum { NET_ADDRESS_TEXT_SIZE = 64 };

struct stream; /* one TCP connection; owned by the env from accept/connect until the close callback */

struct stream_handlers {
    /* Room for the next read. The memory is the owner's and is valid until on_read or the close callback. It may be
     * asked for again without an on_read between: nothing was there to be read. No room, *size = 0: the stream is
     * paused, nothing was read. */
    void (*on_alloc)(void *owner, size_t size_hint, uint8_t **data, size_t *size);
    /* OK: size > 0 bytes are in the memory given by on_alloc. ERR_CLOSED: the peer finished. Else the error. After any
     * error nothing more is read; the owner closes. */
    void (*on_read)(void *owner, enum err err, size_t size);
};

struct stream_write;
typedef void (*stream_write_cb)(struct stream_write *req, enum err err);

struct stream_write {          /* Caller's memory until cb; so is what iov points to. */
    const struct iovec *iov;
    size_t count;
    stream_write_cb cb;
    struct list link;          /* private */
    enum err err;              /* private */
};

struct stream_connect;
typedef void (*stream_connect_cb)(struct stream_connect *req, enum err err, struct stream *stream);

struct stream_connect {
    const char *host;          /* name or address; resolved off the loop */
    uint16_t port;
    stream_connect_cb cb;
    void *handle;              /* private */
};

struct listener;
/* `accepted` is a token that stream_adopt() of any shard's net takes (each token exactly once, or net->refuse). */
typedef void (*listener_cb)(void *owner, struct listener *listener, int accepted);
typedef void (*stream_close_cb)(void *owner);

struct net {
    enum err (*listen)(struct net *net, const char *host, uint16_t port, void *owner, listener_cb cb,
                       struct listener **listener, struct errmsg *msg);
    uint16_t (*listener_port)(struct listener *listener);            /* the real one when 0 was asked */
    void (*listener_close)(struct listener *listener, stream_close_cb cb);
    /* Makes a stream of an accepted token on this shard. TCP_NODELAY and keep-alive are set. */
    enum err (*adopt)(struct net *net, int accepted, struct stream **stream);
    void (*refuse)(struct net *net, int accepted);
    /* Tries the addresses of the host in turn; ERR_TIMED_OUT after NET_CONNECT_TIMEOUT_US altogether. ERR_REFUSED:
     * nobody listens at any of them, and their kernels say so. On OK the stream is the caller's to start and close. */
    void (*connect)(struct net *net, struct stream_connect *req);
    void (*connect_cancel)(struct net *net, struct stream_connect *req); /* before cb only: it gets ERR_CANCELED */

    void (*stream_start)(struct stream *stream, const struct stream_handlers *handlers, void *owner); /* reads */
    void (*stream_pause)(struct stream *stream);  /* no on_read afterwards, until resumed */
    void (*stream_resume)(struct stream *stream);
    void (*stream_write)(struct stream *stream, struct stream_write *req);   /* in order */
    /* Writes that wait are canceled (ERR_CANCELED) first; cb(owner) is the last callback. cb may be NULL. */
    void (*stream_close)(struct stream *stream, stream_close_cb cb);
    /* Gives the connection back as a token, which adopt() of any shard's net takes (or net->refuse). The stream is gone
     * then, without a callback. Only while no write is under way and the end has not been read; bytes that on_alloc had
     * no room for are not lost. Allowed inside on_read. ERR_IO: no descriptor is free; the stream is as it was. */
    MUST_CHECK enum err (*stream_detach)(struct stream *stream, int *token);
    /* Numeric text of both ends; the local one tells which address a client came in on.
     * size >= NET_ADDRESS_TEXT_SIZE; empty if the connection is gone. */
    void (*stream_peer)(struct stream *stream, char *text, size_t size, uint16_t *port);
    void (*stream_local)(struct stream *stream, char *text, size_t size, uint16_t *port);
};

/* ---- Waking from another thread --------------------------------------------------------------------------------- */

struct waker {
    void (*wake)(struct waker *waker);   /* any thread; calls coalesce; then `on_wake` runs on the shard's thread */
    void (*on_wake)(void *context);      /* set by the mailbox */
    void *context;
};

struct env {
    struct clock *clock;
    struct rng *rng;
    struct timers *timers;
    struct tasks *tasks;
    struct disk *disk;
    struct workers *workers;
    struct net *net;
    struct waker *waker;
    struct metrics *metrics;
    unsigned shard;          /* this shard's number */
};

static inline int64_t env_now_us(struct env *env) { return env->clock->monotonic_us(env->clock); }
static inline int64_t env_wall_ms(struct env *env) { return env->clock->wall_ms(env->clock); }
static inline uint64_t env_random(struct env *env) { return env->rng->next(env->rng); }
static inline void env_task(struct env *env, struct task *task) { env->tasks->queue(env->tasks, task); }
static inline void env_timer(struct env *env, struct timer *timer, int64_t delay_us)
{
    env->timers->set(env->timers, timer, delay_us);
}
static inline void env_timer_cancel(struct env *env, struct timer *timer) { env->timers->cancel(env->timers, timer); }
static inline void timer_init(struct timer *timer, timer_cb cb) { *timer = (struct timer){.cb = cb}; }
static inline void task_init(struct task *task, task_cb cb)
{
    task->cb = cb;
    list_init(&task->link);
}
