/* The normaliser: small pure functions on messages and events that keep libraft's core on paths where it is right.
 *
 * Each rule closes a hole that was seen in libraft 0.22.1; what goes wrong without it, and the test that shows it, is
 * in replication/README.md, "Raft". The rules know nothing of libraft's types: raft_core builds a `raft_view` of the
 * group as it is and asks. Rules that are a matter of order (R2, R8, R11, R13, R15, R23) live in raft_core.c and
 * replica.c.
 *
 * Pure: no state. `raft_rules_disabled` is for tests only, which show the fault without a rule and its absence with
 * it. */
#pragma once

#include "replication/replica.h"
#include "replication/replica_message.h"
#include "replication/term_log.h"

enum raft_rule {               /* bit numbers of raft_rules_disabled */
    RULE_TRIM_APPEND = 0,      /* R3a */
    RULE_REJECT_HINT,          /* R3c */
    RULE_LATE_REJECT,          /* R3d */
    RULE_SPLIT_APPEND,         /* R4 */
    RULE_STALE_RESULT,         /* R5 */
    RULE_VOTE_RESULT,          /* R6 */
    RULE_VOTE_AS_VOTER,        /* R7 */
    RULE_BARRIER,              /* R8 */
    RULE_CHANGE,               /* R9a, R9b, R9c */
    RULE_SOLE_VOTER,           /* R9d */
    RULE_PERSISTED,            /* R10 */
    RULE_TRIM_ONE,             /* R11 */
    RULE_INSTALL,              /* R12 */
    RULE_TRANSFER,             /* R13 */
    RULE_DUE,                  /* R14 */
    RULE_SPLIT_SIZE,           /* R15 */
    RULE_APPLY_BOUND,          /* R16 */
    RULE_INVARIANTS,           /* R18 */
    RULE_OWN_TERM_LEADER,      /* R18, N12 */
    RULE_PROVEN_CHANGE,        /* R19 */
    RULE_NUDGE,                /* R20 */
    RULE_INSTALL_TIMEOUT,      /* R21 */
    RULE_DISRUPT,              /* R22 */
    RULE_GATE,                 /* R2 */
    RULE_GATE_CHANGE,          /* R23, R9g */
    RULE_SETTINGS,             /* R24 */
    RULE_ASK_AGAIN,            /* R25 */
    RULE_HURRY,                /* R26 */
    RULE_PROMISE,              /* R27 */
};

/* Tests only: rules whose bit is set do nothing. Never written by the program. */
extern uint64_t raft_rules_disabled;

static inline bool rule_is_on(enum raft_rule rule)
{
    return (raft_rules_disabled >> rule & 1) == 0;
}

struct raft_view {             /* a group as it is, borrowed */
    uint64_t id;
    uint64_t term;
    enum replica_role role;
    bool is_installing;
    bool is_silent;            /* was started again a moment ago */
    bool is_in_contact;        /* a leader's message came within the last election timeout */
    uint64_t leader_term;      /* of the leader heard last, */
    uint64_t promised_ms;      /* and the latest sent_ms taken from it */
    uint64_t commit_index;     /* libraft's; what is compared with terms of the log */
    uint64_t proven_index;     /* committed for certain: the most that was ever known, and confirmed memberships */
    uint64_t stored_index;     /* reported durable */
    uint64_t last_index;
    const struct term_log *terms;
    const struct membership *membership;
};

/* A message as it came from a peer: whether its fields make sense together. Bytes from the network are never
 * asserted. */
MUST_CHECK enum err rule_check_message(const struct raft_view *view, const struct replica_message *message);

/* R3a. An APPEND reaches back behind what is committed here: drops that part, which is the same in both logs (leader
 * completeness). Afterwards prev_index >= commit_index, or the message is unchanged because it starts above. */
void rule_trim_append(const struct raft_view *view, struct replica_message *message);
/* R3c. Where a refused leader should try next: in front of the whole run of the term that did not match. */
uint64_t rule_reject_hint(const struct raft_view *view, uint64_t rejected, uint64_t hint);
/* R3d. A rejection that a later success has overtaken. */
bool rule_is_late_reject(const struct replica_message *message, uint64_t match_index);

/* R4. The parts of an APPEND that are stepped one by one: each ENTRY_CHANGE starts a part of its own, and there is
 * always a part in front of it (of no entries when it is the first). */
struct append_part {           /* zero before the first call */
    unsigned first;            /* in the message's entries */
    unsigned count;
    bool is_begun;             /* private */
};
bool rule_next_part(const struct replica_message *message, struct append_part *part);
/* Part of an APPEND as a message of its own. */
struct replica_message append_part_message(const struct replica_message *message, const struct append_part *part);

/* R5. The answer to an APPEND or INSTALL of an old term: brings news of the term, claims nothing about the log. */
void rule_stale_result(struct replica_message *result);
/* R6. Vote results are for candidates only. */
bool rule_takes_vote_result(const struct raft_view *view);
/* R6. A refused pre-vote must carry the refuser's term, or a candidate behind it never learns of it. */
void rule_vote_result(const struct raft_view *view, struct replica_message *result);
/* R7. A standby (by its own log) is asked for its vote: it may be a voter by a newer one, or the only way to a
 * majority. */
bool rule_votes_as_voter(const struct raft_view *view, const struct replica_message *message);

struct change_view {           /* what a membership change is judged by, on the leader */
    bool is_own_term_committed;
    bool is_change_pending;    /* uncommitted, or committed and not yet told to the core */
    bool is_transferring;
    uint64_t promoted_match;   /* match index of the server that `next` promotes */
};
/* R9a-c. ERR_NOT_LEADER, ERR_NOT_READY, ERR_BUSY, ERR_INVALID. */
MUST_CHECK enum err rule_check_change(const struct raft_view *view, const struct change_view *change,
                                      const struct membership *next);
/* The standby that `next` makes a voter; 0: none. */
uint64_t change_promotes(const struct membership *now, const struct membership *next);
/* R9d. The group must not elect itself without a new term: it is restarted instead. */
bool rule_must_restart(const struct raft_view *view);

/* R10. What may be reported durable: 0, nothing; else the index. */
uint64_t rule_persisted(const struct raft_view *view, uint64_t index);
/* R11. Whether the log may be cut off up to `index`. */
bool rule_may_trim(const struct raft_view *view, uint64_t index);
/* R12. ERR_BUSY, ERR_INVALID, OK. */
MUST_CHECK enum err rule_check_install(const struct raft_view *view, const struct replica_message *message);
/* R16. */
uint64_t rule_apply_bound(const struct raft_view *view, uint64_t commit_index, uint64_t durable_index);
/* R18. An APPEND that contradicts what is committed: its sender is not what it says. Never stepped. */
bool rule_contradicts(const struct raft_view *view, const struct replica_message *message);
/* R18, N12. An APPEND or INSTALL that tells a leader of its own term about another leader: impossible, and never to be
 * stepped. */
bool rule_is_from_impostor(const struct raft_view *view, const struct replica_message *message);
/* R19. A new ENTRY_CHANGE behind prev proves that the one before it, at `uncommitted_index`, is committed. */
bool rule_proves_change(const struct raft_view *view, uint64_t uncommitted_index, const struct replica_message *part);
/* R20. A proposal to a group at rest: its followers must be sent to at once, probing or not. */
bool rule_nudges(const struct raft_view *view);
/* R25. A candidate that nobody elected asks for pre-votes again before it raises its term once more. */
bool rule_asks_again(const struct raft_view *view);
/* R22. Only the election that TIMEOUT_NOW asked for may depose a leader. */
bool rule_may_disrupt(uint64_t term, uint64_t disrupt_term);
/* R27. Who follows a leader helps to depose it only if that one has ended, or has given back what was promised to it
 * since: nothing that an order asks for counts against promises that came after it, or were made to a later leader. */
bool rule_may_depose(const struct raft_view *view, uint64_t deposed_term, uint64_t released_ms);
/* R27. Who was started again does not know what it has promised, and elects nobody until that is over, but whose leader
 * has ended or given it back. */
bool rule_is_silent(const struct raft_view *view, const struct replica_message *vote);
