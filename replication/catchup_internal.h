/* Shared by catchup.c (life, time, sweep), catchup_source.c (what is sent) and catchup_target.c (what comes). Private.
 * */
#pragma once

#include "base/map.h"
#include "replication/catchup.h"
#include "replication/catchup_wire.h"
#include "replication/replica_shard.h"

/* A token bucket of at most one second. Without a limit a catch-up takes a quarter of what the disk gives it: pieces
 * are asked for four times as far apart as the last one took to be written, whatever the number of sessions. So it is
 * fast where nothing else is to do, and gives way where clients wait for the same disk. */
struct catchup_rate {
    int64_t bytes_per_second;        /* 0: no limit */
    int64_t paid_us;                 /* until when the bytes so far are paid for */
    int64_t piece_us;                /* what the last piece took */
};
/* Books the bytes; how long to wait before they may go. */
int64_t catchup_rate_take(struct catchup_rate *rate, int64_t now_us, size_t size);
void catchup_rate_note(struct catchup_rate *rate, int64_t took_us);

struct catchups {
    struct catchups_params params;
    char *topics_dir;
    struct catchup_rate in, out;
    struct map targets;              /* group -> struct catchup_target */
    struct list target_list;
    unsigned pulling_count;          /* targets with a session: CATCHUP_TARGET_COUNT_MAX */
    struct list sources;
    unsigned source_count;
    struct list refused;             /* requests answered in the next task */
    struct task task;
    struct timer timer;              /* silence, leftovers */
    struct work sweep_work;
    struct catchup_sweep *sweep;     /* in work */
    bool is_sweeping;
    bool is_first_swept;
    int64_t sweep_due_us;
    int64_t staging_until_us;        /* before, a staging without a session may still be gone on with */
    bool is_closing;
    void *close_owner;
    void (*close_cb)(void *owner);
};

/* Called whenever something that the close waits for has ended. */
void catchups_step_close(struct catchups *catchups);

/* catchup_source.c */
void catchup_sources_tick(struct catchups *catchups, int64_t now_us); /* ends silent ones */
void catchup_sources_close(struct catchups *catchups);
void catchup_sources_each(const struct catchups *catchups, void *context,
                          void (*cb)(void *context, const struct catchup_progress *progress));
void catchup_refused_answer(struct catchups *catchups); /* the task */

/* catchup_target.c */
void catchup_targets_tick(struct catchups *catchups, int64_t now_us);
void catchup_targets_start(struct catchups *catchups); /* those that are due, as far as there is room */
void catchup_targets_close(struct catchups *catchups);
void catchup_targets_each(const struct catchups *catchups, void *context,
                          void (*cb)(void *context, const struct catchup_progress *progress));

/* catchup_sweep.c */
void catchup_sweep(struct catchups *catchups);
