/* What a shard says of itself, about once a second, for those who must not wait for its loop: probes and the metrics
 * page. A picture is taken on the shard's thread and read on any; that it grows old says that the loop does not turn.
 *
 * A replica is *behind* when it has not applied what was committed, as far as it knew, when the picture before this one
 * was taken: so one that keeps up under load is not. And as long as it is to have a vote and has none.
 * Runs on: the shard's thread, except health_read(). */
#pragma once

#include "base/limits.h"
#include "broker/shard.h"
#include "replication/membership.h"

#define HEALTH_INTERVAL_US (1000 * 1000)
#define HEALTH_STALE_US (10 * 1000 * 1000) /* a picture older than this: the loop stands still */

struct health_partition {
    char topic[TOPIC_NAME_SIZE_MAX + 1];
    int32_t index;
    bool is_led; /* here */
    int64_t log_start_offset, high_watermark;
    uint64_t size; /* bytes of its segments */
};

struct health {
    int64_t taken_us; /* monotonic; 0: never */
    bool is_serving;  /* shard 0: registered, current, open for clients; and not stopping */
    bool is_space_low;
    bool is_settled;  /* the replicas that are to be here are made */
    unsigned replicas;   /* of partitions and of the metadata, here */
    unsigned led;        /* by this shard, and ready */
    unsigned leaderless; /* nobody leads them, as far as is known here */
    unsigned behind;
    unsigned damaged;
    unsigned under_replicated; /* led here, with a member that is behind */
    size_t partition_count;    /* in health_read()'s array: the first ones, HEALTH_PARTITIONS_MAX of a broker */
    size_t partitions_left_out;
};
#define HEALTH_PARTITIONS_MAX 1000 /* rows of a whole broker: a page of 500 KiB */

struct health_board;                                    /* of one shard */
struct health_board *health_open(unsigned shard_count); /* main thread, before the shard */
void health_start(struct health_board *board, struct shard *shard);
/* The shard stops: from now on it says that it does not serve. */
void health_stop(struct health_board *board);
void health_close(struct health_board *board);
/* The last picture; `partitions` has room for `capacity` rows. */
void health_read(struct health_board *board, struct health *health, struct health_partition *partitions,
                 size_t capacity);

/* Whether `self` is a member that is to have a vote and has none yet, or has taken the place of a lost disk's server
 * that is a member still. Pure. */
bool health_is_joining(const struct membership *now, uint64_t group, uint64_t self);
/* Whether a whole broker may be called ready: another one can be restarted now without harm to what is here. Pure.
 * `reason` (static, never NULL) is the first thing that is missing, or "ready". */
bool health_is_ready(const struct health *shards, size_t count, int64_t now_us, const char **reason);
/* Whether all loops turn: else only a new process helps. A process that is still opening its logs is live. */
bool health_is_live(const struct health *shards, size_t count, int64_t now_us, const char **reason);
