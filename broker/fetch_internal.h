/* One fetch in work, shared by handle_fetch.c (partitions, sessions, the answer; on the connection's shard) and
 * fetch_read.c (each shard's passes over its partitions). Between scatter_go() and the last part's return the
 * items of a part are the target shard's, all else is read only. */
#pragma once

#include "broker/fetch_session.h"
#include "broker/request.h"
#include "broker/router.h"

struct fetch_item {                  /* One partition. */
    struct scatter_item item;
    struct fetch_want want;
    struct partition_watch watch;
    struct scatter_part *part;
    /* On the connection's shard. */
    struct bytes topic;              /* as the client names it: by one or the other */
    struct uuid topic_id;
    struct fetch_session_partition *kept; /* in the session; valid while fetch_sessions_find() finds it */
    /* Result. */
    enum kafka_error error;
    bool is_behind;                  /* this follower does not have the offset yet: its error can wait */
    int32_t preferred;               /* broker to read from instead; -1: this one */
    struct partition_offsets offsets;
    struct slice slice;
};

struct fetch_part {                  /* One shard's share of the work. */
    struct log_read read;            /* of the item at `at` */
    struct list *at;                 /* next item to read */
    struct scatter_part *part;
    size_t granted;                  /* of the budget, for this pass; 0: there is no room, nothing is read */
    size_t reserved;                 /* of the budget, held now */
    size_t held;                     /* in blocks that were read */
    size_t room;                     /* of what is granted and of max_bytes, not used yet */
    size_t bytes;                    /* found; more, if a partition has all that it may */
    size_t bytes_read;
    int64_t deadline_us;
    bool has_news;                   /* to be told at once: an error, another broker to read from */
    bool is_watching;
    bool is_last;                    /* time is up: answer with what is there */
    bool is_reading;
};

struct fetch_work {
    struct scatter scatter;
    struct request *request;
    struct kafka_fetch_request message;
    struct fetch_item *items;
    struct fetch_part *parts;        /* one a shard */
    size_t count;
    size_t max_bytes;
    bool is_by_id;
    bool is_incremental;             /* of a session */
    bool has_early_error;
    bool is_late;                    /* its time is up */
    bool is_follower_read;           /* the consumer may read what this broker follows */
    const int32_t *nearby;           /* live brokers of the consumer's rack, when it is not this one's */
    size_t nearby_count;
};

/* fetch_read.c: the parts of a scatter, which the work's caller sets. */
void fetch_part_start(struct scatter_part *part);
void fetch_part_cancel(struct scatter_part *part);
void fetch_part_back(struct scatter_part *part);
