/* One TCP connection between brokers, as frames: what is put in during a loop turn leaves in one write at its end;
 * what arrives comes as whole frames that were checked. Both ends of a link are made of it: peer_link.c, who
 * connects, and peer_in.c, who was connected to.
 *
 * Order of sending: messages without payload, replies and calls, messages with payload, bulk. A message without
 * payload of a Raft group that has payload waiting goes behind that, so the order within a group is kept. One write
 * is under way at a time, of PEER_WRITE_SIZE payload or a single larger entry.
 * Runs on: its shard. Events never fire inside calls. Private to peers. */
#pragma once

#include "base/dynbuf.h"
#include "base/map.h"
#include "replication/peer_frame.h"

struct peer_conn;

struct peer_conn_events {
    /* A frame; borrowed for the call. False: it breaks the protocol (*cause says how). The connection may be closed
     * inside, or detached. */
    bool (*frame)(void *owner, struct peer_frame *frame, const char **cause);
    /* Closed by the other side (is_reset), or broken, or a bad frame. The last event; the owner calls
     * peer_conn_close(). */
    void (*lost)(void *owner, bool is_reset, const char *cause);
};

enum peer_lane {           /* in order of sending */
    PEER_LANE_CALLS,
    PEER_LANE_PAYLOAD,     /* Raft messages with entries, and those that must stay behind them */
    PEER_LANE_BULK,
    PEER_LANE_COUNT,
};

struct peer_conn_owner {   /* what all connections of a shard share */
    struct env *env;
    struct arena *arena;   /* of the frame being read */
    void *context;
    void (*freed)(void *context); /* the last of a connection that was closed: its memory is gone */
};

/* Takes over the stream and reads. Frames are at most PEER_HELLO_SIZE_MAX until peer_conn_trust(). */
struct peer_conn *peer_conn_open(const struct peer_conn_owner *shared, struct stream *stream,
                                 const struct peer_conn_events *events, void *owner);
void peer_conn_trust(struct peer_conn *conn);
/* No more events. What is not sent is given back. */
void peer_conn_close(struct peer_conn *conn);
/* The same when all that was put in is sent, or a second later. */
void peer_conn_end(struct peer_conn *conn);
/* The connection goes on elsewhere: inside `frame` of the first one, nothing was put in. False: closed instead. */
bool peer_conn_detach(struct peer_conn *conn, int *token);

/* An element without payload, sent before anything else. False: over a bound; never for the first ones. */
bool peer_conn_put(struct peer_conn *conn, struct bytes element);
/* A Raft message; entries are acquired. False: dropped, over a bound. */
bool peer_conn_put_message(struct peer_conn *conn, uint64_t group, const struct replica_message *message);
/* An element with payload, whose block is acquired. False: over a bound, nothing was taken. */
bool peer_conn_put_call(struct peer_conn *conn, enum peer_lane lane, struct bytes element, struct slice payload);

/* Each second. Sends a ping if nothing was sent for as long. Returns how many seconds nothing was heard. */
unsigned peer_conn_tick(struct peer_conn *conn);
size_t peer_conn_queued(const struct peer_conn *conn);     /* bytes that wait, or are in the write under way */
void peer_conn_address(const struct peer_conn *conn, char text[NET_ADDRESS_TEXT_SIZE], uint16_t *port);
