/* Shared by peers.c (the table of whom to be linked with, calls to all), peer_link.c (our connections to others),
 * peer_call.c (what is asked over them) and peer_in.c (theirs to us). Private to them.
 *
 * What may be closed inside a callback (a link, an incoming connection) leaves its list at once and is freed by a
 * task, so that whoever is on the stack can still see that it is closed. */
#pragma once

#include "base/map.h"
#include "replication/peer_conn.h"
#include "replication/peers.h"

struct peers {
    struct peers_params params;
    struct env *env;
    struct arena arena;            /* of the frame being read */
    struct peer_conn_owner shared;
    struct map nodes;              /* node id -> struct peer_link that has that node, or shall have it */
    struct list links;             /* struct peer_link */
    unsigned link_count;
    struct list hellos;            /* struct peer_in that have not said who they are */
    unsigned hello_count;
    void (*hand_over)(void *owner, unsigned shard, int token, const struct peer_hello *hello);
    struct list ins;               /* struct peer_in */
    unsigned in_count;
    struct timer tick;             /* each second */
    struct task restart;
    uint64_t last_call_id;
    char refused_cause[ERRMSG_SIZE]; /* of the last incoming connection refused, and when it was told */
    int64_t refused_told_us;
    size_t open_count;             /* connections, connects, calls and structs not given back yet */
    bool is_closing;
    struct task closed;
    void *close_owner;
    void (*close_cb)(void *owner);
};

enum peer_link_state {
    PEER_LINK_RESTING,             /* until the timer */
    PEER_LINK_CONNECTING,
    PEER_LINK_GREETING,            /* hello sent */
    PEER_LINK_UP,
};

struct peer_link {                 /* our connection to one broker, or to whoever is at a seed's address */
    struct list link;
    struct peers *peers;
    char host[256];
    uint16_t port;
    int32_t node;                  /* -1: not known yet */
    bool is_set;                   /* the node was told by peers_set(), not only by who answered */
    enum peer_link_state state;
    bool is_removed;
    struct timer retry;
    int64_t backoff_us;            /* before the next attempt */
    unsigned ticks;                /* in this state, connecting and greeting */
    char connect_host[256];        /* what `connect` uses; the address may be replaced meanwhile */
    char address[NET_ADDRESS_TEXT_SIZE]; /* that the last link that was up was with, and in its place while */
    bool is_probing;               /* the link was just lost: has the process ended? */
    struct stream_connect connect;
    bool is_connecting;            /* `connect` is under way */
    struct peer_conn *conn;        /* greeting and up */
    struct peer_identity identity; /* as told last */
    bool has_identity;
    int64_t heard_us;
    char cause[ERRMSG_SIZE];       /* why there is no link, as told last; empty: nothing told */
    struct map calls;              /* id -> struct peer_call that waits for its reply */
    struct list waiting;           /* the same calls, in order */
    struct task free_task;
};

struct peer_in {                   /* a connection of one shard of another broker */
    struct list link;
    struct peers *peers;
    struct peer_conn *conn;        /* NULL: closed */
    struct peer_hello hello;
    bool has_hello;
    unsigned ticks;                /* without a hello */
    int64_t heard_us;
    struct list requests;          /* struct peer_request, not replied to */
    unsigned request_count;
    size_t request_size;
    struct task free_task;
};

/* peers.c */
void peers_opened(struct peers *peers);                 /* counts one more thing that must be given back */
void peers_given_back(struct peers *peers);
struct peer_link *peers_link(const struct peers *peers, int32_t node); /* NULL */
/* Whether `other` may be linked with us; else code (Balsa__Peer__Refusal__Code) and text for both sides' logs. */
bool peers_may_link(const struct peers *peers, const struct peer_identity *other, int *code, struct errmsg *msg);

/* peer_link.c */
struct peer_link *peer_link_open(struct peers *peers, int32_t node, const char *host, uint16_t port);
void peer_link_close(struct peer_link *link, enum err err);  /* removed from all lists; its calls end with err */
void peer_link_restart(struct peer_link *link);
void peer_link_move(struct peer_link *link, const char *host, uint16_t port);
void peer_link_wake(struct peer_link *link);                 /* the other side is there: connects now if it rests */
void peer_link_tick(struct peer_link *link);

/* peer_call.c */
void peer_calls_end(struct peer_link *link, enum err err);   /* all that wait */
/* Reply elements of a frame. False: *cause says what is wrong. */
bool peer_calls_on_frame(struct peer_link *link, struct peer_frame *frame, const char **cause);

/* peer_in.c */
void peer_in_close(struct peer_in *in, bool again);          /* again: tells the other side to connect again */
void peer_in_tick(struct peer_in *in);
void peer_in_reply(struct peer_request *request, struct slice payload, bool is_bulk);
