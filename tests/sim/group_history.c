/* Two tables: generations of each group, and what is committed of each partition. */
#include "tests/sim/group_history.h"

#include <stdlib.h>

#include "base/assert.h"

struct holder {
    uint32_t member;
    int64_t until_us;
};

struct generations {
    struct assignment of[ASSIGNMENTS_MAX];
    unsigned count;
    unsigned first; /* of this life */
    int32_t newest; /* of this life */
    struct holder holders[HOLDERS_MAX];
    unsigned holder_count;
};

struct group_history {
    struct history *history;
    struct generations generations[GROUPS_MAX];
    struct committed committed[GROUPS_MAX][PARTITIONS_MAX];
    int32_t certain_generation[GROUPS_MAX][PARTITIONS_MAX]; /* of the last commit that was acknowledged */
    struct doubt doubts[DOUBTS_MAX];
    unsigned doubt_count;
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

static struct holder *holder_find(struct generations *generations, uint32_t member)
{
    for (unsigned i = 0; i < generations->holder_count; i++) {
        if (generations->holders[i].member == member) {
            return &generations->holders[i];
        }
    }
    return NULL;
}

void group_held(struct group_history *groups, unsigned group, uint32_t member, int64_t until_us)
{
    struct generations *generations = &groups->generations[group];
    struct holder *holder = holder_find(generations, member);
    if (until_us == 0) {
        if (holder != NULL) {
            *holder = generations->holders[--generations->holder_count];
        }
        return;
    }
    if (holder == NULL) {
        assert(generations->holder_count < HOLDERS_MAX);
        holder = &generations->holders[generations->holder_count++];
        *holder = (struct holder){.member = member};
    }
    holder->until_us = until_us > holder->until_us ? until_us : holder->until_us;
}

/* The group may have been removed: nothing was committed, and others have left it, or were silent for too long. */
static bool may_be_new(const struct group_history *groups, unsigned group, uint32_t member, int64_t now_us)
{
    const struct generations *generations = &groups->generations[group];
    for (unsigned i = 0; i < generations->holder_count; i++) {
        const struct holder *holder = &generations->holders[i];
        if (holder->member != member && holder->until_us > now_us) {
            return false;
        }
    }
    for (unsigned partition = 0; partition < PARTITIONS_MAX; partition++) {
        if (groups->committed[group][partition].certain != NOTHING_COMMITTED) {
            return false;
        }
    }
    return true;
}

/* Of any life, by the assignment that it is known for, or of this one. */
static struct assignment *generation_find(struct generations *generations, int32_t generation, uint32_t tag)
{
    for (unsigned i = generations->count; i > 0; i--) {
        struct assignment *known = &generations->of[i - 1];
        if (known->generation == generation && (i > generations->first || known->tag == tag)) {
            return known;
        }
    }
    return NULL;
}

static struct assignment *generation_add(struct generations *generations, int32_t generation, uint32_t tag)
{
    assert(generations->count < ASSIGNMENTS_MAX);
    struct assignment *made = &generations->of[generations->count++];
    *made = (struct assignment){.generation = generation, .tag = tag};
    return made;
}

void group_assigned(struct group_history *groups, unsigned group, int32_t generation, uint32_t member, uint32_t tag,
                    uint32_t partitions, int64_t now_us)
{
    struct generations *generations = &groups->generations[group];
    struct assignment *known = generation_find(generations, generation, tag);
    if (known != NULL && known->tag != tag && generation == 1 && may_be_new(groups, group, member, now_us)) {
        generations->first = generations->count;
        generations->newest = 0;
        known = NULL;
    }
    known = known != NULL ? known : generation_add(generations, generation, tag);
    check_owned(groups->history, group, known, member, tag, partitions);
    for (unsigned partition = 0; partition < PARTITIONS_MAX; partition++) {
        if ((partitions >> partition & 1) != 0) {
            known->owners[partition] = member;
        }
    }
    bool is_of_this_life = known >= &generations->of[generations->first];
    generations->newest = is_of_this_life && generation > generations->newest ? generation : generations->newest;
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
    int32_t *known = &groups->certain_generation[group][partition];
    *known = generation > *known ? generation : *known;
    groups->commit_count++;
}

void group_commit_doubted(struct group_history *groups, unsigned group, unsigned partition, int64_t offset,
                          int32_t generation)
{
    assert(groups->doubt_count < DOUBTS_MAX);
    groups->doubts[groups->doubt_count++] = (struct doubt){group, partition, generation, offset};
}

/* Whether a commit that was given up may have come behind all others: none of a later generation was taken. */
static bool is_doubted(const struct group_history *groups, unsigned group, unsigned partition, int64_t offset)
{
    for (unsigned i = 0; i < groups->doubt_count; i++) {
        const struct doubt *doubt = &groups->doubts[i];
        bool is_simple = doubt->generation < 0;
        if (doubt->group == group && doubt->partition == partition && doubt->offset == offset &&
            (is_simple || doubt->generation >= groups->certain_generation[group][partition])) {
            return true;
        }
    }
    return false;
}

int64_t group_certain(const struct group_history *groups, unsigned group, unsigned partition)
{
    return groups->committed[group][partition].certain;
}

void group_fetched(struct group_history *groups, unsigned group, unsigned partition, int64_t offset, int64_t certain)
{
    struct committed *known = &groups->committed[group][partition];
    if (offset < certain && is_doubted(groups, group, partition, offset)) {
        known->certain = offset;
        return;
    }
    check_committed(groups->history, group, partition, known, offset, certain);
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
