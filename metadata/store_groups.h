/* Consumer groups and their offsets in the store, for readers (metadata/store.h: which snapshot, how long what is
 * returned lives).
 *
 * Offsets stand under a topic's id and a group's number: those of a topic that was deleted, or of a group that was
 * removed, may still lie there for a while. store_offset() and store_offsets_each() take a number that was just looked
 * up; whether a topic is there is the caller's to ask. */
#pragma once

#include "metadata/store.h"
#include "proto/record.pb-c.h"

struct store_offset {
    int64_t offset;
    int32_t leader_epoch; /* -1: not told */
    int64_t commit_ms;    /* wall clock of the coordinator that took it */
    int64_t expire_ms;    /* asked for by the client; 0: the broker's retention counts */
    struct bytes metadata;
};

/* ERR_NOT_FOUND, also for ids that are too long to be there. */
MUST_CHECK enum err store_consumer_group_number(struct store_reader *reader, struct bytes id, uint64_t *number);
/* The whole of it, in the arena. ERR_TOO_LARGE: the arena is full. */
MUST_CHECK enum err store_consumer_group(struct store_reader *reader, struct arena *arena, struct bytes id,
                                         uint64_t *number, Balsa__Record__GroupValue **group);
/* The id that a number belongs to. ERR_NOT_FOUND: the group has been removed. */
MUST_CHECK enum err store_consumer_group_id(struct store_reader *reader, uint64_t number, struct bytes *id);
/* Calls cb for each in order of ids, from `from` on (empty: all), until it returns false. `group` lives in `arena`,
 * which the caller may reset inside cb. Its protocol_type is empty if it has offsets only. What does not decode ends
 * the walk with ERR_CORRUPT, or ERR_TOO_LARGE; with `unreadable` it is passed over and counted there, and `arena` is
 * reset. */
MUST_CHECK enum err store_consumer_groups_each(struct store_reader *reader, struct arena *arena, struct bytes from,
                                               size_t *unreadable, void *context,
                                               bool (*cb)(void *context, uint64_t number,
                                                          const Balsa__Record__GroupValue *group));
/* ERR_NOT_FOUND: nothing was committed. */
MUST_CHECK enum err store_offset(struct store_reader *reader, uint64_t number, const struct uuid *topic,
                                 int32_t partition, struct store_offset *offset);
/* All offsets of one group in order of topic ids and partitions, until cb returns false. */
MUST_CHECK enum err store_offsets_each(struct store_reader *reader, uint64_t number, void *context,
                                       bool (*cb)(void *context, const struct uuid *topic, int32_t partition,
                                                  const struct store_offset *offset));

/* Where a walk over the offsets of all groups stands. */
struct store_offset_place {
    uint64_t group; /* number */
    struct uuid topic;
    int32_t partition;
};
/* Every offset there is, those of groups and topics that are gone too, from `from` on, until cb returns false. What
 * does not decode is passed over and counted in `unreadable`. */
MUST_CHECK enum err store_offsets_walk(struct store_reader *reader, const struct store_offset_place *from,
                                       size_t *unreadable, void *context,
                                       bool (*cb)(void *context, const struct store_offset_place *place,
                                                  const struct store_offset *offset));
uint64_t store_consumer_group_count(struct store_reader *reader);
uint64_t store_offset_count(struct store_reader *reader);
