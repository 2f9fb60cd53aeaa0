/* Looks into all brokers of a run, from outside and between events, and checks what no client can see:
 *   two-leaders    a Raft group has two leaders in one term (election safety)
 *   leader-incomplete  a leader of the latest term lacks what was committed (leader completeness)
 *   term-back      a broker's term of a group fell, though its disk was not lost
 *   commit-back    a broker's commit index of a group fell within one life
 *   start-differs  replicas at the same applied index have another log start or end offset (state machine safety)
 *   memory         a broker holds more than its budgets allow (check_memory.c)
 *   metadata-differs  two brokers have other metadata at the same applied index; only looked at when asked to
 * Remembers roles, faults and acknowledgements over time for a picture (timeline.h). */
#pragma once

#include "tests/sim/history.h"
#include "tests/sim/node.h"

enum {
    OBSERVED_GROUPS_MAX = 256
};

struct observer;

struct observer *observer_open(struct node *nodes, unsigned node_count, struct history *history);
void observer_close(struct observer *observer);
/* Call often: each 20 ms of virtual time, say. */
void observer_look(struct observer *observer, int64_t now_us);
void observer_wiped(struct observer *observer, unsigned node); /* index: its disk is a new one */
/* All brokers run and nothing is under way. */
void observer_check_metadata(struct observer *observer);

/* Every group that is led has as many voters as it should, all of them here, alive, at the same applied index, and
 * nobody else, and every broker has the metadata, but for those that were to be forgotten (bit n: node n + 1); `why`
 * says which has not. */
bool observer_is_whole(const struct observer *observer, unsigned voters, unsigned metadata_voters, unsigned forgotten,
                       char *why, size_t size);
size_t observer_memory_most(const struct observer *observer); /* bytes that one broker had at most */
/* ---- check_memory.c. The broker runs. */
void check_memory(struct history *history, const struct node *node, size_t *most);

/* Whether the broker is one of the voters of the group, as its leader says. */
bool observer_is_voter(const struct observer *observer, uint64_t group, unsigned node);

/* What was seen, for pictures: in order of time. */
struct observed {
    int64_t at_us;
    unsigned node;  /* index */
    uint64_t group; /* 0: the broker itself, `value` is 1: runs, 2: paused, 0: is down */
    uint64_t term;
    unsigned value; /* enum replica_role, or 3: leader and ready */
};
size_t observer_events(const struct observer *observer, const struct observed **events);
