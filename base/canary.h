/* Bugs that are planted to see whether the tests find them: a checker that cannot fail is no checker.
 *
 * Each stands where it could have been made by mistake. All of it is compiled out but in MODE=canary, which
 * scripts/canaries builds; there one at a time is switched on by a test. docs/SIMULATION.md says what each does and
 * within how many seeds it is found. */
#pragma once

#include <stdbool.h>

#define CANARY_MAP(X)                                                                                               \
    X(ACK_BEFORE_SYNC, "entries are acknowledged before they are durable")                                          \
    X(FORGET_VOTE, "the term is written, the vote is not")                                                          \
    X(COUNT_STALE_ACK, "an acknowledgement of an old term counts as one of this term")                              \
    X(SKIP_BARRIER, "a new leader appends no entry of its own term")                                                \
    X(APPLY_TWICE, "the first entry after a start is applied twice")                                                \
    X(SEND_BEFORE_DURABLE, "messages do not wait for term and vote")                                                \
    X(BOAST_OF_LOG, "a candidate claims a longer log than it has")                                                  \
    X(COPIES_NOT_DURABLE, "the log forgets entries whose copies are still in memory")                               \
    X(MEMBERSHIP_OF_TAIL, "a checkpoint takes the latest membership, not the one at its index")                     \
    X(INSTALL_UNWRITTEN, "an installed state is not recorded in the log")                                           \
    X(COMMIT_MARK_AHEAD, "a commit mark names entries that are only proposed")                                      \
    X(CHECKPOINT_WITHOUT_VOTE, "a checkpoint has no term and vote")                                                 \
    X(VOTE_FOR_SHORTER_LOG, "a vote is given to whoever asks")                                                      \
    X(OLD_UNIT_BELIEVED, "replay takes units of a file's former life for its own")                                  \
    X(TORN_UNIT_BELIEVED, "replay does not look at the checksum of a unit")                                         \
    X(PRODUCERS_DROPPED, "a checkpoint has no producers")                                                           \
    X(DUPLICATE_APPENDED, "a repeated batch is appended again")                                                     \
    X(RELEASE_BEFORE_STORE, "the log forgets before the checkpoint is durable")                                     \
    X(SEGMENTS_NOT_SYNCED, "a checkpoint does not sync the segments it names")                                      \
    X(GENERATION_AGAIN, "a new coordinator of a group counts its generations from one less")                        \
    X(OFFSETS_ACKED_EARLY, "offsets are acknowledged before the log has them")                                      \
    X(OFFSETS_READ_OLD, "a coordinator reads offsets without asking whether it still is one")                       \
    X(ANY_GENERATION, "whoever has been a member may commit")                                                       \
    X(READS_UNLEASED, "a leader tells readers what it has without asking whether it still leads")                   \
    X(LEASE_FROM_ANSWERS, "a lease counts from when an answer came, not from when it was asked for")                \
    X(SUCCESSION_BY_LOST_LINK, "a leader whose link was lost is taken for one whose process has ended")               \
    X(LEASE_AFTER_ORDER, "a leader that has told another one to campaign still counts on what was promised to it")   \
    X(FRAMES_PINNED, "an entry keeps the whole frame that brought it in memory")

enum canary {
    CANARY_NONE,
#define CANARY_ENUM(id, text) CANARY_##id,
    CANARY_MAP(CANARY_ENUM)
#undef CANARY_ENUM
    CANARY_COUNT
};

#ifdef CANARIES
extern enum canary canary_planted;
static inline bool canary_is(enum canary canary)
{
    return canary_planted == canary;
}
#else
static inline bool canary_is(enum canary canary)
{
    (void)canary;
    return false;
}
#endif
