/* One member of one Raft group as a pure state machine: events go in, updates come out. The only user of libraft.
 *
 * No I/O, no clock, no payload: the log itself (entries, their durability) is the replica's; here are its terms and its
 * membership changes. libraft's core does the protocol (its raft_step); around it are the rules of raft_rules.h, the
 * ownership rules of libraft 0.22.1, and invariants that are asserted after every step.
 *
 * Order of an update: hard state, then entries (which may replace what is there), then messages, then role and commit.
 * Source:  libraft 0.22.1, raft.h; rules R1..R27: replication/README.md, "Raft".
 * Runs on: its owner's thread. Cores on different threads are independent. */
#pragma once

#include "replication/replica.h"
#include "replication/replica_message.h"

struct raft_core;

struct raft_core_params {
    uint64_t id;                     /* of this server */
    uint32_t seed;                   /* of election timeouts */
    unsigned heartbeat_ms;
    unsigned election_ms;
};

struct raft_core_start {             /* what is stored */
    uint64_t term, vote;
    uint64_t base_index, base_term;  /* committed, never 1 (R11); 0, 0: the log starts with entry 1 */
    struct membership membership;    /* as of base_index */
    uint64_t membership_index;
    struct entry *const *entries;    /* base_index + 1 ..., all durable; entry 1 is the bootstrap ENTRY_CHANGE */
    size_t entry_count;
    bool is_restart;                 /* of a member that may have promised what it does not know any more (R27) */
};

enum raft_core_event_kind {
    RAFT_CORE_RECEIVE,   /* a message of another member; INSTALL is refused here */
    RAFT_CORE_PERSISTED, /* entries up to index are durable, as the log is now */
    RAFT_CORE_SUBMIT,    /* append entries; leader only. ENTRY_CHANGE comes alone */
    RAFT_CORE_TIMEOUT,   /* raft_core_deadline_ms() has come */
    RAFT_CORE_TRIM,      /* entries up to index cannot be read any more, only as part of the state */
    RAFT_CORE_INSTALL,   /* state is staged: may it take the log's place? */
    RAFT_CORE_INSTALLED, /* it has, durably */
    RAFT_CORE_TRANSFER,  /* hand leadership to server */
    RAFT_CORE_TELL,      /* the leader's members hear of its commit index now, not with the next heartbeat */
    RAFT_CORE_CAMPAIGN,  /* the leader, server, is lost: campaign now, as if it had asked for that. ERR_BUSY: not all of
                            the log is durable; ERR_INVALID: no voter that follows it */
};

struct raft_core_event {
    enum raft_core_event_kind kind;
    uint64_t now_ms;                 /* monotonic, never goes back */
    union {
        const struct replica_message *message; /* RECEIVE, INSTALL */
        uint64_t index;                        /* PERSISTED, TRIM */
        uint64_t server;                       /* TRANSFER, CAMPAIGN */
        struct {
            struct entry *const *entries;      /* SUBMIT: index and term are set here */
            unsigned count;
        } submit;
    };
};

/* What one event led to. One such struct serves many cores, one event after the other; what it points to lives until
 * the next event it is used for. */
struct raft_core_update {
    /* OK; the event had no effect: ERR_NOT_LEADER, ERR_NOT_READY, ERR_BUSY, ERR_INVALID, ERR_CORRUPT (message refused);
     * ERR_DAMAGED: the core cannot go on (`failure` says why), the group must be stopped here. Whatever else is set
     * counts in any case. */
    enum err err;
    const char *failure;             /* static */
    bool is_hard_state_changed;      /* raft_core_term(), raft_core_vote(): before all else */
    bool is_role_changed;            /* role, leader or term */
    bool is_installing;              /* INSTALL is accepted: make it durable, then INSTALLED; the log is gone */
    bool is_membership_appended;     /* an ENTRY_CHANGE is among the entries */
    uint64_t first_index;            /* of `entries`; <= last index before: cut from there first */
    struct entry **entries;          /* borrowed; index and term are set. Barriers made here are among them */
    unsigned entry_count;
    struct replica_message *messages;
    unsigned message_count;

    unsigned entry_capacity, message_capacity; /* private, from here on */
    void *scratch;
    size_t scratch_size;
};
void raft_core_update_init(struct raft_core_update *update);
void raft_core_update_deinit(struct raft_core_update *update);

/* ERR_CORRUPT, ERR_INVALID with text: what is stored does not fit together. A sole voter leads at once: the update then
 * has a new hard state and a barrier. */
MUST_CHECK enum err raft_core_open(const struct raft_core_params *params, const struct raft_core_start *start,
                                   uint64_t now_ms, struct raft_core_update *update, struct raft_core **core,
                                   struct errmsg *msg);
void raft_core_close(struct raft_core *core);
void raft_core_step(struct raft_core *core, const struct raft_core_event *event, struct raft_core_update *update);

uint64_t raft_core_term(const struct raft_core *core);
uint64_t raft_core_vote(const struct raft_core *core);
enum replica_role raft_core_role(const struct raft_core *core);
uint64_t raft_core_leader(const struct raft_core *core);       /* server id, 0 unknown */
/* The same, but 0 until the leader of the present term has made itself known. */
uint64_t raft_core_term_leader(const struct raft_core *core);
uint64_t raft_core_leader_term(const struct raft_core *core);  /* in which a leader was heard last; 0 never */
/* Of a leader that has told another member to campaign: what was promised to it up to then, by its own clock, does not
 * count any more (R27). 0: it has not, in this term. */
uint64_t raft_core_released_ms(const struct raft_core *core);
uint64_t raft_core_commit(const struct raft_core *core);       /* never falls */
uint64_t raft_core_apply_bound(const struct raft_core *core);  /* min(commit, stored), 0 while installing (R16) */
uint64_t raft_core_last_index(const struct raft_core *core);
uint64_t raft_core_stored(const struct raft_core *core);       /* reported durable */
uint64_t raft_core_term_at(const struct raft_core *core, uint64_t index); /* 0: unknown */
uint64_t raft_core_deadline_ms(const struct raft_core *core);  /* UINT64_MAX: none */
bool raft_core_is_transferring(const struct raft_core *core);
uint64_t raft_core_match(const struct raft_core *core, uint64_t server); /* leader only, else 0 */
/* The membership in force at `index` (of the log's base or above), and its entry's index. */
const struct membership *raft_core_membership_at(const struct raft_core *core, uint64_t index,
                                                 uint64_t *membership_index);
/* The latest in the log, which Raft uses whether it is committed or not. */
const struct membership *raft_core_membership(const struct raft_core *core, uint64_t *membership_index);
bool raft_core_is_alone(const struct raft_core *core);         /* no other member to send entries to */
/* R9: whether `next` may be submitted now, as an ENTRY_CHANGE alone in its SUBMIT. */
MUST_CHECK enum err raft_core_check_change(const struct raft_core *core, const struct membership *next);
/* R15: entries in flight per follower; RAFT_CORE_INFLIGHT_MIN..MAX. */
void raft_core_set_inflight(struct raft_core *core, unsigned count);
#define RAFT_CORE_INFLIGHT_MIN 32
#define RAFT_CORE_INFLIGHT_DEFAULT 256
#define RAFT_CORE_INFLIGHT_MAX 2048

/* Tests only: what libraft itself holds, to show faults that the rules hide. */
struct raft_core_probe {
    uint64_t commit_index, stored_index, last_index;
    uint64_t change_index;           /* of the uncommitted configuration, 0 none */
    struct membership membership;
    unsigned version;                /* of libraft, as built against */
};
void raft_core_probe(const struct raft_core *core, struct raft_core_probe *probe);
