/* Two tables: generations of each group, and what is committed of each partition. */
#include "tests/sim/group_history.h"

#include <stdlib.h>

#include "base/assert.h"

struct generations {
    struct assignment of[ASSIGNMENTS_MAX];
    unsigned count;
    int32_t newest;
};

struct group_history {
    struct history *history;
    struct generations generations[GROUPS_MAX];
    struct committed committed[GROUPS_MAX][PARTITIONS_MAX];
    uint64_t commit_count;
};

struct group_history *group_history_open(struct history *history)
{
    struct group_history *groups = calloc(1, sizeof(*groups));
    assert(groups != NULL);
    groups->history = history;
    for (unsigned group = 0; group < GROUPS_MAX; group++) {
        for (unsigned partition = 0; partition < PARTITIONS_MAX; partition++) {
            groups->committed[group][partition] = (struct committed){NOTHING_COMMITTED, NOTHING_COMMITTED};
        }
    }
    return groups;
}

void group_history_close(struct group_history *groups)
{
    free(groups);
}

struct history *group_history_of(const struct group_history *groups)
{
    return groups->history;
}

/* ---- Generations */

static struct assignment *generation_find(struct generations *generations, int32_t generation, uint32_t tag)
{
    for (unsigned i = generations->count; i > 0; i--) {
        if (generations->of[i - 1].generation == generation) {
            return &generations->of[i - 1];
        }
    }
    assert(generations->count < ASSIGNMENTS_MAX);
    struct assignment *made = &generations->of[generations->count++];
    *made = (struct assignment){.generation = generation, .tag = tag};
    return made;
}

void group_assigned(struct group_history *groups, unsigned group, int32_t generation, uint32_t member, uint32_t tag,
                    uint32_t partitions)
{
    struct generations *generations = &groups->generations[group];
    struct assignment *known = generation_find(generations, generation, tag);
    check_owned(groups->history, group, known, member, tag, partitions);
    for (unsigned partition = 0; partition < PARTITIONS_MAX; partition++) {
        if ((partitions >> partition & 1) != 0) {
            known->owners[partition] = member;
        }
    }
    generations->newest = generation > generations->newest ? generation : generations->newest;
}

int32_t group_newest_generation(const struct group_history *groups, unsigned group)
{
    return groups->generations[group].newest;
}

/* ---- Offsets */

void group_commit_asked(struct group_history *groups, unsigned group, unsigned partition, int64_t offset)
{
    struct committed *known = &groups->committed[group][partition];
    known->asked = offset > known->asked ? offset : known->asked;
}

static void make_certain(struct group_history *groups, unsigned group, unsigned partition, int64_t offset)
{
    struct committed *known = &groups->committed[group][partition];
    known->certain = offset > known->certain ? offset : known->certain;
}

void group_commit_acked(struct group_history *groups, unsigned group, unsigned partition, int64_t offset,
                        int32_t generation, int32_t newest)
{
    check_zombie(groups->history, group, partition, offset, generation, newest);
    make_certain(groups, group, partition, offset);
    groups->commit_count++;
}

int64_t group_certain(const struct group_history *groups, unsigned group, unsigned partition)
{
    return groups->committed[group][partition].certain;
}

void group_fetched(struct group_history *groups, unsigned group, unsigned partition, int64_t offset, int64_t certain)
{
    check_committed(groups->history, group, partition, &groups->committed[group][partition], offset, certain);
    make_certain(groups, group, partition, offset);
}

uint64_t group_commit_count(const struct group_history *groups)
{
    return groups->commit_count;
}

uint64_t group_generation_count(const struct group_history *groups)
{
    uint64_t count = 0;
    for (unsigned group = 0; group < GROUPS_MAX; group++) {
        count += groups->generations[group].count;
    }
    return count;
}
