/* A line for each request that was slow, with the time of each of its stages; at most a few lines a second of a shard.
 *
 *   queued    its last byte was read ─> its handler has begun: others of its connection were before it
 *   propose   (Produce) ─> the batches are checked and proposed on their shards
 *   commit    (Produce) ─> a majority has them durably, and they are applied here
 *   work      (others)  ─> answered: on other shards, on disk, at the controller
 *   answer    (Produce) ─> answered: the way back from the shards
 *   send      ─> the last byte is in the socket: answers before it, and how fast the client reads
 *
 * What a client asks to wait for is not slow: a Fetch's max.wait counts only beyond it, and members of groups that wait
 * for each other (JoinGroup, SyncGroup) never do. Runs on: the shard's thread. */
#pragma once

#include <stdint.h>

struct request;

struct slow_log {              /* zeroed at first */
    int64_t second_us;         /* private: since when lines are counted */
    unsigned lines;            /* private: in this second */
    int64_t left_out;          /* private: since the last line */
};

/* The request is answered and sent, and about to be freed. */
void slow_log_look(struct slow_log *log, const struct request *request, int64_t now_us);
