/* One shard's links over a network by hand (fake_net.h), and the other side of its connections as the test plays it:
 * frames are put together and taken apart here.
 * Runs on: the test's thread. */
#pragma once

#include "proto/peer.pb-c.h"
#include "replication/peer_frame.h"
#include "tests/lib/fake_net.h"

enum { BENCH_REQUEST_MAX = 2 * PEER_CALL_COUNT_MAX };

struct peer_bench {
    struct turn_env turn;
    struct fake_net net;
    struct peers *peers;
    struct peer_identity self;             /* node 1 */
    struct peer_identity other;            /* node 2, whom the test plays */
    unsigned received;                     /* Raft messages */
    struct peer_request *requests[BENCH_REQUEST_MAX];
    unsigned request_count;
    unsigned up_count, down_count, reset_count, ended_count, refused_count, handed_count;
    unsigned handed_shard;
    char refused_cause[ERRMSG_SIZE];
    bool is_closed;
};

void peer_bench_open(struct peer_bench *bench);
void peer_bench_close(struct peer_bench *bench);           /* all memory must be back */
int64_t peer_bench_metric(const struct peer_bench *bench, enum metric metric);
void peer_bench_advance(struct peer_bench *bench, int64_t us); /* time, a turn after each step of 10 ms */

/* Our link to the other: connected, welcomed, up. Returns its stream; what was sent so far is forgotten. */
struct stream *peer_bench_link(struct peer_bench *bench);
/* An incoming connection of the other's shard 0, welcomed. */
struct stream *peer_bench_in(struct peer_bench *bench);
/* A connection of which nothing is known yet. */
struct stream *peer_bench_accept(struct peer_bench *bench);

/* A frame with its head made right. Returns whether all of it was read. */
bool peer_bench_feed(struct peer_bench *bench, struct stream *stream, struct bytes envelope, struct bytes payload);
bool peer_bench_feed_hello(struct peer_bench *bench, struct stream *stream, const struct peer_identity *identity);
bool peer_bench_feed_welcome(struct peer_bench *bench, struct stream *stream, const struct peer_identity *identity);

struct sent_frame {
    Balsa__Peer__Envelope *envelope;
    struct bytes payload;                  /* in the stream's `sent` */
};
/* The next whole frame that the stream has sent, from *position on, its check sum right; false: there is none. */
bool sent_frame_next(const struct stream *stream, size_t *position, struct sent_frame *frame);
void sent_frame_free(struct sent_frame *frame);
