/* What is committed does not stay for ever: the coordinator walks over the offsets of all groups every
 * offsets.retention.check.interval.ms, and as soon as a topic was deleted, and has removed:
 *   - offsets of groups and topics that are gone
 *   - of a group without members, those that are older than offsets.retention.minutes, counted from the last commit or
 *     from when it lost its last member, whichever is later
 *   - of a group with members, those of topics that nobody in it subscribes to, counted from the last commit
 *   - in both cases, those whose client asked for a retention of their own (OffsetCommit 2 to 4) that is over
 *   - then groups that have neither members nor offsets.
 * Source: KIP-211, but for "whichever is later": there an offset that is set in a group which has long been empty may
 * go at the next look.
 *
 * Runs on: shard 0. A walk goes in slices, so that no turn is long, and one record at a time. */
#pragma once

#include "broker/shard.h"

struct offsets_expiry;

struct offsets_expiry *offsets_expiry_open(struct shard *shard);
void offsets_expiry_stop(struct offsets_expiry *expiry);  /* begins nothing any more */
void offsets_expiry_close(struct offsets_expiry *expiry); /* stopped, and the metadata is closed */
void offsets_expiry_hurry(struct offsets_expiry *expiry); /* topics were deleted: a walk begins soon */
