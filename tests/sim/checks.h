/* What must be true of what clients did and saw (history.h). Each check is a file of its own, named after what it
 * finds; names are those of Jepsen's queue workload where one fits. What no client can see is the observer's
 * (observer.h).
 *
 *   check_lost_write      lost-write            an acknowledged value is not where it was acknowledged, or nowhere
 *   check_duplicate       duplicate             one value of an idempotent producer at two offsets
 *   check_reordered       reordered             values of an idempotent producer out of order, or one left out
 *   check_gap             gap                   offsets are not dense
 *   check_reading         invented              a value that was never sent
 *                         inconsistent-offsets  two readings of one offset differ
 *   check_ack             inconsistent-offsets  one value acknowledged at two offsets
 *   check_poll            hw-back               a reader was told a lower high watermark than before
 *                         nonmonotonic-poll     a reader was given records below where it is
 *                         poll-skip             ... or behind it, or was told that its place is not there any more
 *   check_stale           stale-read            somebody was told less of a partition than others before it asked */
#pragma once

#include "tests/sim/history.h"

/* As it happens: called by history.c before it takes the news in. */
void check_ack(struct history *history, unsigned producer, unsigned partition, uint32_t number, int64_t offset);
void check_reading(struct history *history, unsigned partition, int64_t offset, struct value value);

/* As it happens: called by readers. */
void check_poll_watermark(struct history *history, unsigned partition, int64_t before, int64_t now);
/* A batch [base, end) was given to a reader that asked for `position`. False: no reader can go on from there. */
bool check_poll_batch(struct history *history, unsigned partition, int64_t position, int64_t base, int64_t end);
void check_poll_refused(struct history *history, unsigned partition, int64_t position, const char *error);

/* Called by onlookers: broker `node` answered who asked when `known` had been told already. */
void check_stale(struct history *history, unsigned partition, unsigned node, int64_t known, int64_t told);
void check_stale_range(struct history *history, unsigned partition, unsigned node, int64_t known); /* refused */

/* In the end: all of the partition up to `end` was read. */
void check_gap(struct history *history, unsigned partition, int64_t end);
void check_duplicate(struct history *history, unsigned partition, int64_t end);
void check_reordered(struct history *history, unsigned partition, int64_t end);
void check_lost_write(struct history *history, unsigned partition, int64_t end);
/* These four. */
void checks_end(struct history *history, unsigned partition, int64_t end);
