/* Commits of offsets on their way into the metadata log: what arrives while a record is on its way goes together into
 * the next one, so that the log's syncs, and the store's transactions, are shared by all groups and clients. The more
 * there are, the more each record takes; alone, a commit waits for nobody.
 *
 * A read of offsets takes the same way, with nothing to commit: only a record that a majority agrees on shows that this
 * broker still is the one that takes commits, and that its store has all that was acknowledged.
 *
 * Runs on:  shard 0. Callbacks never fire inside the call.
 * Bounds:   a commit is at most OFFSETS_COMMIT_SIZE_MAX; those that wait hold their requests' memory, which is
 *           budgeted. */
#pragma once

#include "metadata/metadata.h"

struct offsets;

struct offsets *offsets_open(struct env *env);
void offsets_close(struct offsets *offsets); /* nothing is waiting */
/* The metadata's state machine is another one, or there is none now: NULL. */
void offsets_set_metadata(struct offsets *offsets, struct metadata *metadata);

struct offsets_commit {                /* Caller's memory until cb, and all that `commit` points to. */
    /* in: what to commit; its time is filled in. NULL: nothing, the call is a read's: without an error, what was
     * acknowledged before the call, by whichever broker, is in the store now. */
    Balsa__Record__OffsetsCommitted__Commit *commit;
    void (*cb)(struct offsets_commit *req);
    /* out: NOT_COORDINATOR: nothing was done; COORDINATOR_NOT_AVAILABLE: in doubt, or the log is over its budget;
     * INVALID_COMMIT_OFFSET_SIZE: too large, or the store's room for offsets is used up */
    enum kafka_error error;
    struct list link;                  /* private */
    size_t size;                       /* private */
};
void offsets_commit(struct offsets *offsets, struct offsets_commit *req);

struct offsets_removal {
    uint64_t group;                    /* number */
    struct uuid topic;
    int32_t partition;
    int64_t commit_ms;                 /* only if it was committed at that time; 0: in any case */
};
struct group_removal {                 /* with all its offsets */
    struct bytes group;
    bool if_unused;                    /* only if it has neither members nor offsets; else: no members */
};
struct offsets_remove {                /* Caller's memory until cb, with all it points to. */
    const struct offsets_removal *removals; /* in */
    size_t count;                      /* in: may be 0, the call is a read's, as above, in any case */
    const struct group_removal *groups; /* in: after the offsets */
    size_t group_count;                /* in */
    void (*cb)(struct offsets_remove *req);
    enum kafka_error error;            /* out: as above; some may have been removed. What is there no more, or may not
                                          be removed, is passed over: the store tells */
    /* private */
    struct offsets *offsets;
    struct list link;
    size_t done_count, done_group_count;
    struct metadata_propose propose;
};
/* By OFFSETS_REMOVED_COUNT_MAX of either, one record after the other. */
void offsets_remove(struct offsets *offsets, struct offsets_remove *req);

/* What clients are told when a proposal of the coordinator has not been decided as it should. */
enum kafka_error offsets_error(enum kafka_error proposed);
