/* Shared by the files of raft_core: raft_core.c (events), raft_core_step.c (one call of libraft and what comes of it),
 * raft_core_receive.c (messages in), raft_core_query.c (questions), raft_core_update.c. The only header that includes
 * libraft's, and only they include it. Private to them. */
#pragma once

#include "replication/raft_core.h"
#include "replication/raft_rules.h"
#include "replication/term_log.h"

#include <raft.h>

static_assert(RAFT_VERSION_NUMBER == 2201, "the rules were made for libraft 0.22.1: see replication/README.md, Raft");
static_assert(sizeof(struct raft) == 992, "layout of libraft 0.22.1");
static_assert(sizeof(struct raft_event) == 80 && sizeof(struct raft_update) == 120, "layout of libraft 0.22.1");
static_assert(sizeof(struct raft_message) == 96 && sizeof(struct raft_entry) == 40, "layout of libraft 0.22.1");

enum {
    HAS_ENTRIES = 1 << 2,      /* the header's macros lack parentheses */
    HAS_SNAPSHOT = 1 << 3,
    HAS_STATE = 1 << 5,
};

#define PEER_ADDRESS "peer" /* routes go by server id; libraft only wants some text */

struct change {            /* an ENTRY_CHANGE in the log */
    uint64_t index;
    struct membership membership;
};

/* What every step touches comes right behind libraft's state: with thousands of groups none of it is in a cache. */
struct raft_core {
    struct raft raft;
    struct term_log terms;
    uint64_t commit;           /* never falls */
    uint64_t confirmed;        /* index of the last membership that libraft knows to be committed */
    uint64_t now_ms;
    uint64_t retry_ms;         /* a sole voter may not restart before (R9d) */
    /* The state as it was after the step before (R18, and to find changes). */
    uint64_t seen_term, seen_vote, seen_leader;
    enum replica_role seen_role;
    bool is_installing;
    unsigned inflight;
    unsigned change_count, change_capacity;
    struct change *changes;    /* behind base, ascending */
    struct raft_core_params params;
    struct change base;        /* the membership as of terms.base_index; index 0: none */

    uint64_t leader_term;      /* in which a follower's leader made itself known: libraft keeps its name beyond that */
    uint64_t silent_until_ms;  /* a member that was started again: what it promised before may last until then */
    uint64_t contact_until_ms; /* a leader's message came less than an election timeout before this */
    uint64_t disrupt_term;     /* of the election that TIMEOUT_NOW asked for, */
    uint64_t deposed_term, deposed_ms; /* which leader that is to depose, and what was promised to it up to when */
    uint64_t echo_term, echo_ms; /* the latest sent_ms taken from the leader of that term */
    uint64_t released_term, released_ms; /* raft_core_released_ms(), in that term */
    unsigned hurries;          /* R26: campaigns of a new group's first member that were not left to the timeout */
    struct raft_snapshot_metadata installing; /* while is_installing; libraft's memory */
};

struct step {              /* one event on its way through */
    struct raft_core *core;
    struct raft_core_update *update;
    bool is_stale;         /* R5: the message in work has an old term */
    struct entry *const *entries; /* what the raft_entry array in work was made of */
    unsigned entry_count;
    const struct replica_message *install; /* INSTALL: the state that is to take the log's place */
};

/* raft_core_update.c */
void update_reset(struct raft_core_update *update);
void update_add_entry(struct raft_core_update *update, struct entry *entry); /* takes over the reference */
void update_add_message(struct raft_core_update *update, const struct replica_message *message);
void *update_scratch(struct raft_core_update *update, size_t size);          /* what was in it is lost */
void update_fail(struct raft_core_update *update, const char *failure);      /* a static text */

/* raft_core_step.c */
static inline enum replica_role core_role(const struct raft_core *core)
{
    unsigned short state = core->raft.state;
    return state == RAFT_LEADER ? REPLICA_LEADER : state == RAFT_CANDIDATE ? REPLICA_CANDIDATE : REPLICA_FOLLOWER;
}
uint64_t core_leader(const struct raft_core *core);
/* The membership that Raft uses. */
static inline const struct change *core_latest(const struct raft_core *core)
{
    return core->change_count > 0 ? &core->changes[core->change_count - 1] : &core->base;
}
/* Borrows; as of now. Inline: most rules look at two or three of its fields, and nobody needs to read the others. */
static inline struct raft_view core_view(const struct raft_core *core)
{
    uint64_t proven_index = core->commit > core->confirmed ? core->commit : core->confirmed;
    return (struct raft_view){
        .id = core->params.id,
        .term = core->raft.current_term,
        .role = core_role(core),
        .is_installing = core->is_installing,
        .is_silent = core->now_ms < core->silent_until_ms,
        .is_in_contact = core->now_ms < core->contact_until_ms,
        .leader_term = core->leader_term,
        .promised_ms = core->echo_term == core->leader_term ? core->echo_ms : 0,
        .commit_index = core->raft.commit_index,
        .proven_index = proven_index,
        .stored_index = core->raft.last_stored,
        .last_index = core->terms.last_index,
        .terms = &core->terms,
        .membership = &core_latest(core)->membership,
    };
}
void core_add_change(struct raft_core *core, uint64_t index, const struct entry *entry);
void core_trim_changes(struct raft_core *core, uint64_t index);
/* libraft's form of a membership; moves to libraft with the event that carries it. */
struct raft_configuration core_configuration(const struct membership *membership);
/* libraft's form of entries, in the update's scratch: terms and kinds, payload only of membership changes. */
struct raft_entry *core_entries(struct step *step, struct entry *const *entries, unsigned count, void *token);
/* Tells libraft that a membership is committed; it does not find out by itself. */
void core_confirm(struct step *step, const struct change *change);
void core_check_membership(const struct raft_core *core);
/* Runs one event through libraft and gathers what came of it. */
void core_step(struct step *step, struct raft_event *event);

/* raft_core_receive.c */
void core_receive(struct step *step, const struct replica_message *message);
/* As if `leader` had handed its leadership over. */
void core_campaign(struct step *step, uint64_t leader);
void core_step_message(struct step *step, struct raft_message *message);
