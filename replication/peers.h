/* Links of one shard to the other brokers: one TCP connection of our own to each for everything this shard sends, and
 * the connections of their shards for what comes in. All Raft groups share a link; what a loop turn sends to one
 * broker leaves in one write.
 *
 * Frames: u32 magic, u32 envelope size, u32 payload size, u32 CRC-32C of both; envelope: balsa.peer.Envelope
 * (proto/peer.proto), payload: raw bytes of entries, calls and replies in the envelope's order, never copied on
 * sending.
 * Connect: hello (cluster id, node id, server id, incarnation, version, number of the sending shard) and welcome, or a
 * refusal with a text that says what to do. The listener is on shard 0; a connection is handed to shard
 * `hello.shard % shard_count`, so that with equal shard counts it ends where its groups live.
 * Bounds: payload queued per link PEER_QUEUE_SIZE_MAX, calls PEER_CALL_COUNT_MAX; beyond, Raft messages with entries
 * are dropped and counted (Raft sends again), heartbeats of groups that have nothing queued overtake, calls get
 * ERR_BUSY.
 * Bulk (replies of catch-up) is only taken while little else is queued. Reconnect: at once, then backoff from 5 ms to
 * 1 s.
 *
 * Runs on: its shard, except where said. Callbacks never fire inside calls.
 * Names: `node` is a broker's node.id; the Raft server id is node << 32 | first bytes of its incarnation. */
#pragma once

#include "base/env.h"
#include "base/shared.h"
#include "replication/replica_message.h"

struct peers;
struct peer_in;

#define CLUSTER_ID_TEXT_SIZE 23            /* 22 characters and NUL; empty text: in no cluster yet */

struct peer_identity {                     /* what both sides tell on connect */
    char cluster_id[CLUSTER_ID_TEXT_SIZE];
    int32_t node;
    uint64_t server_id;
    uint8_t incarnation[16];
    char host[256];                        /* of its peer listener, as others should reach it; empty: as connected */
    uint16_t port;
};

struct peer_hello {                        /* what one who connects tells */
    struct peer_identity identity;
    unsigned shard;                        /* its shard that the connection is of */
    unsigned version;                      /* spoken on the connection */
};

/* A call of another broker, or news that it tells: either way the handler's until peers_reply(), which must come. */
struct peer_request {
    struct peers *peers;
    int32_t node;                          /* who asks */
    uint64_t server_id;
    unsigned method;                       /* enum peer_method */
    struct slice payload;                  /* borrowed until peers_reply() */
    bool is_told;                          /* nobody waits: the reply is thrown away */
    uint64_t id;                           /* private */
    struct list link;                      /* private */
    struct peer_in *in;                    /* private; NULL: the connection is lost, the reply goes nowhere */
    /* NULL; else peers_reply() is left to it: of a request that its owner has made from another one, on another shard,
     * whose memory and payload it gives back. */
    void (*reply)(struct peer_request *request, struct slice payload, bool is_bulk);
};

struct peers_params {
    struct env *env;
    unsigned shard, shard_count;
    const struct peer_identity *self;      /* of this shard, read at each connect; then peers_restart() tells others */
    void *owner;
    /* A Raft message arrived for `group`, which may live on another shard: the owner routes it. Its entries' references
     * and the array (mem_alloc'ed, NULL without entries) are the callee's. message->peer is the sender's server id. */
    void (*receive)(void *owner, uint64_t group, const struct replica_message *message);
    /* A call; ends with peers_reply(), now or later. */
    void (*request)(void *owner, struct peer_request *request);
    /* Our link to a node works (welcome received; `identity` is what it told), or is lost. is_reset: closed by the
     * other side, so its process has most likely ended. */
    void (*up)(void *owner, const struct peer_identity *identity);
    void (*down)(void *owner, int32_t node, uint64_t server_id, bool is_reset);
    /* After `down`: nobody listens any more at the very address that the link was with, so the process at its other end
     * has ended, whatever there may be meanwhile; so have all that this server was before that link was lost. Told for
     * what is found right after a loss only. May be NULL. */
    void (*ended)(void *owner, int32_t node, uint64_t server_id);
    /* The other side refused us, or we it: static causes are told once per change, as a trace line too. */
    void (*refused)(void *owner, const char *host, uint16_t port, const char *cause);
};
struct peers *peers_open(const struct peers_params *params);
/* Closes all links; calls get ERR_CANCELED; requests not yet replied may still be replied to. cb is the last
 * callback. */
void peers_close(struct peers *peers, void *owner, void (*cb)(void *owner));

/* ---- Whom to be linked with ---- */

/* An address at which a broker may be, whichever: a seed. */
void peers_add_seed(struct peers *peers, const char *host, uint16_t port);
/* Broker `node` is at host:port; replaces an earlier address (a live link stays). */
void peers_set(struct peers *peers, int32_t node, const char *host, uint16_t port);
void peers_remove(struct peers *peers, int32_t node);
/* Reconnects everything, after the identity changed (a cluster was joined). */
void peers_restart(struct peers *peers);

bool peers_is_up(const struct peers *peers, int32_t node);
/* When something was last heard of the node, on any link of this shard (env_now_us); 0: never. Links carry a ping each
 * second at least. */
int64_t peers_heard_us(const struct peers *peers, int32_t node);
bool peers_identity(const struct peers *peers, int32_t node, struct peer_identity *identity); /* as told last */
void peers_each(const struct peers *peers, void *context, void (*cb)(void *context, const struct peer_identity *peer,
                                                                     bool is_up));

/* ---- Incoming connections (shard 0 has the listener) ---- */

/* Takes a token of the peer listener, reads and checks the hello, then calls `hand_over` (owner: params.owner) with a
 * token for the shard the connection belongs to, which takes it with peers_adopt() and answers. Strangers are refused
 * here. */
void peers_accept(struct peers *peers, int token,
                  void (*hand_over)(void *owner, unsigned shard, int token, const struct peer_hello *hello));
void peers_adopt(struct peers *peers, int token, const struct peer_hello *hello);

/* ---- Sending ---- */

/* replica_shard_params.send: borrowed for the call, entries are acquired. Dropped when there is no link to the
 * server. */
void peers_send(struct peers *peers, uint64_t group, const struct replica_message *message);

/* For what the broker layer says: broker/peer_method.h lists the methods. */
struct peer_call {                         /* Caller's memory until cb. */
    int32_t node;                          /* in */
    unsigned method;                       /* in */
    struct slice payload;                  /* in: reference stays the caller's */
    int64_t timeout_ms;                    /* in */
    void (*cb)(struct peer_call *call);    /* in */
    enum err err;                          /* out: ERR_CLOSED: no link, or lost (the call may have been done);
                                              ERR_TIMED_OUT; ERR_BUSY; ERR_CANCELED */
    struct slice reply;                    /* out: borrowed during cb */
    struct list link;                      /* private */
    struct timer timer;                    /* private */
    struct task task;                      /* private */
    uint64_t id;                           /* private */
    struct peers *peers;                   /* private */
};
void peers_call(struct peers *peers, struct peer_call *call);
/* A call that nobody answers: news. Dropped without a link. */
void peers_tell(struct peers *peers, int32_t node, unsigned method, struct slice payload);
/* Ends a request; the payload's reference stays the caller's. `is_bulk`: may wait behind everything else. */
void peers_reply(struct peer_request *request, struct slice payload, bool is_bulk);
