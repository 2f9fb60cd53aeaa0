/* From a request's partitions to the shards they live on and back: scatter and gather.
 *
 * A handler makes one item a partition; scatter_go() sends one message to each shard involved; there part_start() works
 * on the shard's items and ends, now or later, with scatter_part_done(); when all parts are back, done() runs on the
 * origin. While a part is out, its items belong to the target shard. A handler that has what it needs may cancel the
 * parts that are still out: part_cancel() then runs on their shards.
 *
 * What a turn of a shard has for another one goes out at the turn's end, all at once: one lock, and one loop woken,
 * instead of one for each part.
 *
 * Runs on: origin and target shards as said; nothing is called inside scatter_go() but part_start() of the origin's own
 * part. */
#pragma once

#include "base/deadlines.h"
#include "broker/shard.h"

struct router; /* a shard's end of it */
struct router *router_open(struct shard *shard);
void router_close(struct router *router); /* no part is out, and none of another shard is here */

struct scatter;
struct scatter_part;

struct scatter_item {          /* embedded in the handler's item */
    uint64_t group;
    struct list link;          /* private: part's items, in order of adding */
};

struct scatter_part {
    struct scatter *scatter;
    struct shard *shard;       /* target */
    struct list items;         /* scatter_item */
    size_t pending;            /* for the handler: items not finished */
    union {                    /* for the handler, on the target: one of the two */
        struct timer timer;
        struct deadline deadline; /* cheaper, and later: scatter_part_due() */
    };
    struct task task;          /* for the handler, on the target */
    bool is_done;
    size_t next_bytes;         /* for the handler */
    /* private */
    struct scatter_part *next;
    bool is_back;
    struct message message;
    struct message cancel;
};

struct scatter {
    struct shard *origin;
    void (*part_start)(struct scatter_part *part);   /* target */
    void (*part_cancel)(struct scatter_part *part);  /* target; not after scatter_part_done(); NULL: never cancelled */
    void (*part_back)(struct scatter_part *part);    /* origin: one part is back; may be NULL */
    void (*done)(struct scatter *scatter);           /* origin: all parts are back; calls scatter_deinit() */
    unsigned part_count;       /* one a shard that is involved */
    unsigned out;              /* parts and cancels that are not back */
    struct task done_task;
    bool is_cancelled;
    struct scatter_part *parts; /* private: the latest first */
    struct scatter_part first;  /* private: most need no other */
};

void scatter_init(struct scatter *scatter, struct shard *origin);
void scatter_deinit(struct scatter *scatter);
/* Adds an item to the part of the shard that `group` lives on. */
void scatter_add(struct scatter *scatter, struct scatter_item *item, uint64_t group);
/* Adds an item to the part of shard `number`. */
void scatter_add_to(struct scatter *scatter, struct scatter_item *item, unsigned number);
/* Without any item done() comes all the same. */
void scatter_go(struct scatter *scatter);
void scatter_part_done(struct scatter_part *part);
/* Target: calls part->deadline.cb at `due_us` or up to two ticks later (base/deadlines.h), unless it is cancelled. */
void scatter_part_due(struct scatter_part *part, int64_t due_us);
void scatter_part_not_due(struct scatter_part *part);
void scatter_cancel(struct scatter *scatter); /* origin; what is still out */
