/* What is going to happen in a simulated Raft cluster: one heap, in virtual time. Private to raft_net.c. */
#pragma once

#include "tests/lib/raft_net.h"

enum net_event_kind {
    EVENT_MESSAGE,
    EVENT_TIMER,
    EVENT_SYNC,
    EVENT_INSTALL,
    EVENT_CHECKPOINT,
    EVENT_SIGNAL,
    EVENT_ENDED,
    EVENT_STOP
};

struct net_event {
    uint64_t at_us, sequence;
    enum net_event_kind kind;
    unsigned slot, life;
    uint64_t number;                   /* timer: its sequence; others: the id of another server */
    struct timer *timer;               /* of that life */
    bool is_up;                        /* signal */
    struct net_checkpoint *checkpoint; /* owned */
    struct replica_message *message;   /* owned, with its entries */
};

/* Happens `delay_us` from now, behind what happens at the same time already. */
void net_event_put(struct raft_net *net, uint64_t delay_us, struct net_event event);
/* The next one; there has to be one. What it owns is the caller's. */
struct net_event net_event_take(struct raft_net *net);
