/* Shared by peer_conn.c (life, reading) and peer_conn_write.c (lanes, writing). */
#pragma once

#include "replication/peer_conn.h"

struct peer_item {                 /* an element of an envelope with payload, or that must stay behind such */
    struct list link;
    uint64_t group;                /* of a Raft message, else 0 */
    size_t payload_size;
    size_t charge;                 /* against PEER_QUEUE_SIZE_MAX */
    struct slice slice;            /* of a call or reply */
    struct entry **entries;        /* of a Raft message; behind this struct */
    unsigned entry_count;
    uint8_t *element;              /* behind them */
    size_t element_size;
};

struct peer_conn {
    struct peer_conn_owner shared;
    struct stream *stream;
    const struct peer_conn_events *events; /* NULL: closing */
    void *owner;
    char address[NET_ADDRESS_TEXT_SIZE];   /* of the other side */
    uint16_t port;
    /* Reading: the head, then both parts. */
    uint8_t head[PEER_FRAME_HEAD_SIZE];
    size_t head_got;
    struct peer_frame_head frame;
    struct shared *block;                  /* NULL: the head is being read */
    size_t block_got;
    size_t size_max;                       /* of a frame's parts */
    unsigned silent_ticks;
    /* Writing. */
    struct dynbuf urgent;                  /* room for a head, then elements without payload */
    struct list lanes[PEER_LANE_COUNT];    /* struct peer_item */
    struct map groups;                     /* group -> how many of its messages are in PEER_LANE_PAYLOAD */
    size_t queued;                         /* charges of the lanes and of the write under way */
    struct task flush;
    bool is_ping_wanted;
    bool has_sent;                         /* since the last tick, other than a ping */
    bool tells_time;                       /* in each frame: Raft messages have gone this way */
    struct dynbuf sending;                 /* the write under way: head and envelope */
    struct list sending_items;
    struct iovec *iov;
    size_t iov_count, iov_capacity;
    struct stream_write write;
    bool is_writing;
    bool is_ending;                        /* closed when all is sent */
    struct timer ending;                   /* or then */
    struct task free_task;
};

/* peer_conn_write.c */
void peer_conn_write_init(struct peer_conn *conn);
void peer_conn_write_deinit(struct peer_conn *conn); /* no write is under way */
bool peer_conn_has_unsent(const struct peer_conn *conn);
