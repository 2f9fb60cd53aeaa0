/* Goes over all partitions of the metadata, or those of one topic, in slices of a turn each, so that a large cluster's
 * list does not hold up the shard.
 * Runs on: shard 0. */
#pragma once

#include "broker/shard.h"

struct admin_scan {                    /* Caller's memory until done. */
    /* in: each partition, in order of topic ids and indexes; borrowed for the call. False: enough, done is next. */
    bool (*each)(struct admin_scan *scan, const struct uuid *topic, int32_t index,
                 const struct store_partition *partition);
    void (*done)(struct admin_scan *scan); /* in: never inside admin_scan_start() */
    /* private */
    struct shard *shard;
    struct timer timer;
    struct arena arena;
    struct uuid next;
    int32_t next_index;
    unsigned left;
    bool is_over, is_more, is_one_topic;
};

/* topic NULL: all. */
void admin_scan_start(struct admin_scan *scan, struct shard *shard, const struct uuid *topic);
