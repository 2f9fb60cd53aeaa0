/* The next step of a Raft group from the members it has towards those it should have: one change at a time (Raft thesis
 * 4.1), decided by the leader from what it knows. Pure.
 *
 * Order: who is not wanted and does not vote goes; who is wanted and has the log votes; who is wanted and missing is
 * added as standby, one at a time; only when all who are wanted vote, those who are not are demoted, the dead first; a
 * leader that is not wanted hands over last. So the group never has fewer voters than the smaller of the two
 * memberships, and no step is taken that leaves the living voters without a majority. */
#pragma once

#include "replication/membership.h"

struct mover_member {
    uint64_t match;           /* highest index that it holds durably */
    bool is_live;             /* heard of lately */
};

struct mover_view {
    struct membership now;    /* the latest, and committed */
    struct mover_member members[REPLICA_SERVER_COUNT_MAX]; /* as in `now` */
    uint64_t wanted[REPLICA_SERVER_COUNT_MAX];             /* server ids, the preferred leader first */
    bool is_wanted_live[REPLICA_SERVER_COUNT_MAX];
    unsigned wanted_count;
    uint64_t self;            /* leader, a voter */
    uint64_t commit_index;
    uint64_t membership_index;
    bool may_add;             /* this broker has room for one more catch-up */
    bool is_overdue;          /* it has been waited long enough for somebody to learn that it does not vote any more */
};

enum mover_action {
    MOVER_DONE,               /* the members are those wanted, all voters */
    MOVER_WAIT,               /* for a catch-up, a commit, or somebody to come back */
    MOVER_CHANGE,             /* replica_change(next) */
    MOVER_TRANSFER,           /* replica_transfer(server) */
};

struct mover_step {
    enum mover_action action;
    struct membership next;
    uint64_t server;          /* whom the step is about; of MOVER_WAIT: whom it waits for, 0: several */
    bool is_for_room;         /* MOVER_WAIT until may_add */
    const char *text;         /* what it is, for traces and status */
};

/* wanted_count >= 1. */
void mover_next(const struct mover_view *view, struct mover_step *step);
/* Whether some member is wanted and does not vote yet: it takes up one of the broker's catch-ups. */
bool mover_is_catching_up(const struct mover_view *view);
