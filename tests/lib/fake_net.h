/* The network of one shard by hand: what its streams read is fed by the test, what they write is kept for it, and
 * nothing happens before fake_net_turn(). With tests/lib/turn_env.h a whole shard's links run without a world around.
 * Runs on: the test's thread. */
#pragma once

#include "base/dynbuf.h"
#include "tests/lib/turn_env.h"

enum { FAKE_STREAM_MAX = 64 };

struct stream {                            /* also the struct of the seam */
    struct fake_net *net;
    const struct stream_handlers *handlers; /* NULL: not started, or detached */
    void *owner;
    int token;                             /* != 0: accepted or detached, to be adopted */
    bool is_reading, is_closing, is_closed, has_ended;
    struct list writes;                    /* not completed yet */
    struct list canceled;
    stream_close_cb close_cb;
    struct dynbuf sent;                    /* all that was written so far; the test may reset it */
    unsigned write_count;
};

struct fake_connect {
    struct stream_connect *req;
    bool is_canceled;
};

struct fake_net {
    struct net net;
    struct turn_env *turn;
    struct stream streams[FAKE_STREAM_MAX];
    unsigned stream_count;
    struct fake_connect connects[FAKE_STREAM_MAX];
    unsigned connect_count;                /* ever */
    char last_host[256];                   /* that was connected to last */
    enum err connect_err;                  /* in: what connects end with from now on */
    bool is_stuck;                         /* in: no write completes */
    bool detach_fails;                     /* in */
    int last_token;
    unsigned refused_count;
};

void fake_net_init(struct fake_net *net, struct turn_env *turn);
void fake_net_deinit(struct fake_net *net);            /* every stream is closed */
/* The end of a turn and what it leads to: tasks, writes that complete, connects, closes, until nothing is left. */
void fake_net_turn(struct fake_net *net);
int fake_net_accept(struct fake_net *net);             /* a token for adopt() */
/* The stream that was made of a token last, or of the last connect; NULL: none. */
struct stream *fake_net_last(struct fake_net *net);
/* Gives the bytes to the stream's owner, as far as it reads; returns how many it took. */
size_t fake_stream_feed(struct stream *stream, struct bytes bytes);
void fake_stream_end(struct stream *stream, enum err err); /* the other side closed (ERR_CLOSED), or it is broken */
