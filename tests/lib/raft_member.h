/* One raft_core with just enough around it to step it by hand: its log in memory, the messages of the last step, a
 * clock. Nothing happens by itself: a test says what is durable, what arrives and what time it is. */
#pragma once

#include "replication/raft_core.h"

enum { MEMBER_LOG_MAX = 4096, MEMBER_MESSAGE_MAX = 64 };

struct member {
    struct raft_core *core;
    struct raft_core_update update;
    struct entry *log[MEMBER_LOG_MAX];       /* by index; NULL where nothing is known */
    uint64_t last_index;
    struct replica_message messages[MEMBER_MESSAGE_MAX]; /* of the last step */
    unsigned message_count;
    uint64_t now_ms;
    enum err err;                            /* of the last step */
};

enum { MEMBER_HEARTBEAT_MS = 100, MEMBER_ELECTION_MS = 500 };

/* `voters` voters with ids 1.., then `standbys` standbys. */
struct membership member_membership(unsigned voters, unsigned standbys);
/* Member `id` of a group whose log is the bootstrap entry (term 1) and `count` commands of term `term`. */
void member_open(struct member *member, uint64_t id, const struct membership *membership, uint64_t term,
                 unsigned count);
/* The same with a log of any terms: terms[i] is that of entry 2 + i. */
void member_open_terms(struct member *member, uint64_t id, const struct membership *membership, const uint64_t *terms,
                       unsigned count);
/* Behind a checkpoint: base and nothing else. */
void member_open_at(struct member *member, uint64_t id, const struct membership *membership, uint64_t index,
                    uint64_t term);
/* The same member, with all of its log, started again. */
void member_restart(struct member *member, uint64_t id, uint64_t term);
void member_close(struct member *member);

void member_step(struct member *member, struct raft_core_event event);
void member_receive(struct member *member, const struct replica_message *message);
void member_persist(struct member *member);                            /* everything */
void member_timeout(struct member *member);                            /* goes to the deadline first */
void member_submit(struct member *member, unsigned count);             /* commands, one step */
enum err member_change(struct member *member, const struct membership *next);
/* Makes a follower leader of the next term: timeout, pre-votes, votes of `voters` 1..n. Persists its barrier if there
 * is one. */
void member_elect(struct member *member, unsigned voters);

/* The n-th message of a kind in the last step, NULL. An APPEND's entries are filled in from the log. */
const struct replica_message *member_message(const struct member *member, enum replica_message_kind kind, unsigned n);
const struct replica_message *member_message_to(const struct member *member, enum replica_message_kind kind,
                                                uint64_t peer);
unsigned member_message_count(const struct member *member, enum replica_message_kind kind);

/* APPEND of commands of one term: built here, freed by member_append_free(). `change` at position `change_at` (from 0;
 * -1: none). */
struct replica_message member_append(uint64_t peer, uint64_t term, uint64_t prev_index, uint64_t prev_term,
                                     uint64_t entry_term, unsigned count, uint64_t commit, int change_at,
                                     const struct membership *change);
void member_append_free(struct replica_message *message);
/* An answer to an APPEND, as follower `peer` would give it. */
struct replica_message member_ack(uint64_t peer, uint64_t term, uint64_t last_index);
struct replica_message member_reject(uint64_t peer, uint64_t term, uint64_t rejected, uint64_t last_index);
