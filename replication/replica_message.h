/* One Raft message between two members of a group, as raft_core takes and gives it; raft_wire puts it into frames.
 *
 * Ownership: nothing in it is owned. `entries` points to references that outlive the call the message is passed to;
 * whoever keeps a message longer acquires them. */
#pragma once

#include "replication/entry.h"
#include "replication/membership.h"

enum replica_message_kind {              /* on the wire */
    REPLICA_APPEND = 1,
    REPLICA_APPEND_RESULT = 2,
    REPLICA_VOTE = 3,
    REPLICA_VOTE_RESULT = 4,
    REPLICA_INSTALL = 5,                 /* a signal only: "you need my state, the log does not reach back to you" */
    REPLICA_TIMEOUT_NOW = 6,
};

struct replica_message {
    enum replica_message_kind kind;
    uint64_t peer;                       /* server id: of the sender when received, of the target when sent */
    uint64_t term;
    union {
        struct {
            uint64_t prev_index, prev_term; /* of the entry before `entries`; 0, 0 before the first */
            uint64_t commit_index;          /* leader's */
            struct entry *const *entries;   /* indexes prev_index + 1 ...; NULL in an update of raft_core, where the
                                               replica fills them in from its log */
            unsigned entry_count;
            uint64_t sent_ms;               /* leader's clock, when it left or before: lease.h. Links carry it once a
                                               frame, not raft_wire; 0: whoever takes it promises nothing */
        } append;
        struct {
            uint64_t rejected;              /* 0: success; else the prev_index that did not match */
            uint64_t last_index;            /* success: durable and matching up to here; reject: where to try next */
            uint64_t echo_ms;               /* sent_ms of the latest APPEND of this term's leader; 0: none */
        } append_result;
        struct {
            uint64_t last_index, last_term; /* of the candidate's durable log */
            bool is_pre_vote;
            bool is_disruptive;             /* the leader asked for this election: it may be voted out */
            uint64_t deposed_term;          /* disruptive: which leader is meant, and up to which sent_ms */
            uint64_t released_ms;           /* promises to it do not count; UINT64_MAX: it has ended */
        } vote;
        struct {
            bool is_granted;
            bool is_pre_vote;
        } vote_result;
        struct {
            uint64_t last_index, last_term; /* the state contains everything up to here */
            uint64_t membership_index;
            struct membership membership;
        } install;
        struct {
            uint64_t last_index, last_term; /* of the leader's log */
            uint64_t released_ms;           /* see vote */
        } timeout_now;
    };
};
