/* Client connections of one shard: accepting, framing, pipelining, back-pressure, closing.
 *
 * A frame is int32 size and that many bytes. Small frames are read through a buffer the shard shares; a large one gets
 * a block of its own that grows as bytes arrive, so a client pays for what it sent, not for what it promised. All bytes
 * held by requests and responses are charged to the shard's budget (queued.max.request.bytes / shards): over it
 * connections stop being read, never grow; a frame that dawdles while others wait is closed, so no client can starve
 * the others.
 * Runs on: its shard. */
#pragma once

#include "broker/request.h"

struct conns;

struct conns *conns_open(struct shard *shard);
/* Takes a token from a listener (any shard's accept; see env.h). `listener` is a pointer into the options. */
void conns_accept(struct conns *conns, int accepted, const struct option_listener *listener);
size_t conns_count(const struct conns *conns);
typedef void (*conns_close_cb)(void *owner);
/* Stops reading, lets requests in work answer for at most `grace_ms`, closes everything, then calls cb. */
void conns_close(struct conns *conns, int64_t grace_ms, void *owner, conns_close_cb cb);
