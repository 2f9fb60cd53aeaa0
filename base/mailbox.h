/* Messages between shards: ownership moves with the message.
 *
 * Runs on:  mailbox_send() on any thread; delivery on the owner's thread, in the order of sending per sender.
 * The sender takes a short lock and wakes the loop only on the empty -> non-empty change; the receiver detaches the
 * whole list at once. A shard may send to itself: delivery is in the same loop turn or the next, never inside the call.
 * Source: the idea of h2o's multithread queue. */
#pragma once

#include "base/env.h"

struct message;
typedef void (*message_cb)(struct message *message);

struct message {      /* Embedded in what is sent; the receiver's from mailbox_send() on. */
    message_cb cb;    /* runs on the receiving shard */
    struct list link; /* private */
};

struct mailbox;

struct mailbox *mailbox_open(struct env *env);   /* on the owner's thread; takes env->waker */
void mailbox_close(struct mailbox *mailbox);     /* must be empty, no sender left */
void mailbox_send(struct mailbox *target, struct message *message);
/* The same with a list of them, by their links, in order; it is empty afterwards. One lock and one wake for all. */
void mailbox_send_all(struct mailbox *target, struct list *messages);
