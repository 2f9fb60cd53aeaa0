/* What members of consumer groups were told and what they committed, and what must be true of it. As history.h for
 * records: it outlives the members, and the first violation ends the run. Each check is a file of its own:
 *
 *   check_owned      owned-twice       a partition has two owners in one generation, or a generation two assignments
 *   check_committed  lost-commit       a committed offset is not there any more, or went back
 *                    invented-commit   an offset that nobody asked to be committed
 *   check_zombie     zombie-commit     a commit was taken from a member of a generation that is over
 *
 * A group that has neither members nor offsets is removed, as Kafka's is, and its next generation is number 1 again: it
 * has lives. Another one may begin when nobody can be a member of the one before.
 *
 * Positions of a group only rise in whatever its owner does, so whatever is read of a partition is at least what was
 * acknowledged, and what was read, before the question was asked. With one exception, which is Kafka's own: a commit
 * carries nothing that puts it in order with others of its generation. One whose call was given up may lie in the
 * socket of a coordinator that is paused, and be carried out behind a later one that came by another connection. */
#pragma once

#include "tests/sim/history.h"

enum {
    GROUPS_MAX = 4,
    ASSIGNMENTS_MAX = 4096, /* generations of a group in a run */
    HOLDERS_MAX = 64,       /* members of a group at a time, and those that were lost */
    DOUBTS_MAX = 4096,
    NOTHING_COMMITTED = -1
};

/* Who owns what in a generation. */
struct assignment {
    int32_t generation;
    uint32_t tag; /* of the leader's SyncGroup: no two have the same */
    uint32_t owners[PARTITIONS_MAX]; /* a member's own number; 0: nobody was told */
};

struct committed { /* one partition of a group */
    int64_t certain; /* acknowledged, or read: it stays, or more comes */
    int64_t asked;   /* at most this can be there */
};

struct doubt { /* a commit whose call was given up */
    unsigned group, partition;
    int32_t generation;
    int64_t offset;
};

struct group_history;
struct group_history *group_history_open(struct history *history);
void group_history_close(struct group_history *groups);
struct history *group_history_of(const struct group_history *groups);

/* ---- By members */

/* SyncGroup answered: `partitions` has a bit for each. */
void group_assigned(struct group_history *groups, unsigned group, int32_t generation, uint32_t member, uint32_t tag,
                    uint32_t partitions, int64_t now_us);
/* The coordinator has heard of the member: it is one until then, at least. 0: it knows that it is none any more. */
void group_held(struct group_history *groups, unsigned group, uint32_t member, int64_t until_us);
/* Of this life of the group: somebody was told; 0: none. */
int32_t group_newest_generation(const struct group_history *groups, unsigned group);
void group_commit_asked(struct group_history *groups, unsigned group, unsigned partition, int64_t offset);
/* `newest` is what group_newest_generation() was when it was asked. */
void group_commit_acked(struct group_history *groups, unsigned group, unsigned partition, int64_t offset,
                        int32_t generation, int32_t newest);
void group_commit_doubted(struct group_history *groups, unsigned group, unsigned partition, int64_t offset,
                          int32_t generation);
int64_t group_certain(const struct group_history *groups, unsigned group, unsigned partition);
/* `certain` is what group_certain() was when it was asked. */
void group_fetched(struct group_history *groups, unsigned group, unsigned partition, int64_t offset, int64_t certain);
uint64_t group_commit_count(const struct group_history *groups);
uint64_t group_generation_count(const struct group_history *groups);

/* ---- Checks: called before the news is taken in */

void check_owned(struct history *history, unsigned group, const struct assignment *known, uint32_t member, uint32_t tag,
                 uint32_t partitions);
void check_committed(struct history *history, unsigned group, unsigned partition, const struct committed *known,
                     int64_t offset, int64_t certain);
void check_zombie(struct history *history, unsigned group, unsigned partition, int64_t offset, int32_t generation,
                  int32_t newest);
