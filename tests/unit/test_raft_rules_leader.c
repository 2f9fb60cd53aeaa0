/* The rules for leaders, memberships, storage and time, in the manner of test_raft_rules.c: _i == 0 with the rule,
 * _i == 1 without, where the fault is what is asserted. */
#include "base/mem.h"
#include "base/trace.h"
#include "replication/raft_rules.h"
#include "tests/lib/raft_member.h"
#include "tests/lib/test.h"

#include <stdlib.h>

static struct member member;
static bool is_ruled;

static void rules_reset(void)
{
    raft_rules_disabled = 0;
}

static void quiet(void)
{
    trace_set_level(TRACE_RAFT, TRACE_ERROR);
    raft_rules_disabled = 0;
}

/* Second run of a loop test: without `rule`. */
static void rule_for(int run, enum raft_rule rule)
{
    is_ruled = run == 0 || getenv("RULES_KEPT") != NULL;
    raft_rules_disabled = is_ruled ? 0 : (uint64_t)1 << rule | (uint64_t)1 << RULE_INVARIANTS;
}

static void receive_append(struct replica_message message)
{
    member_receive(&member, &message);
    member_append_free(&message);
}

static struct raft_core_probe probe(void)
{
    struct raft_core_probe probe;
    raft_core_probe(member.core, &probe);
    return probe;
}

/* ---- R8, R9: leaders and membership ----------------------------------------------------------------------------- */

/* Goal: a new leader always has an entry of its own term to commit. Method: election with nothing uncommitted. */
START_TEST(r8_new_leader_appends_a_barrier)
{
    rule_for(_i, RULE_BARRIER);
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 1, 0);
    member_elect(&member, 3);
    ck_assert_uint_eq(raft_core_last_index(member.core), is_ruled ? 2 : 1);
    if (is_ruled) {
        ck_assert_int_eq((int)member.log[2]->kind, ENTRY_BARRIER);
    }
    member_close(&member);
}
END_TEST

/* Goal: no membership change before an entry of the own term is committed (B3), nor before the last one is.
 * Method: a fresh leader of three, without acks and with them. */
START_TEST(r9a_membership_waits_for_an_entry_of_the_own_term)
{
    rule_for(_i, RULE_CHANGE);
    struct membership three = member_membership(3, 0);
    struct membership four = member_membership(3, 1);
    struct membership five = member_membership(3, 2);
    member_open(&member, 1, &three, 1, 0);
    member_elect(&member, 3);
    ck_assert_int_eq((int)member_change(&member, &four), is_ruled ? (int)ERR_NOT_READY : (int)OK);
    if (is_ruled) {
        struct replica_message ack = member_ack(2, 2, 2);
        member_receive(&member, &ack);
        ck_assert_int_eq((int)member_change(&member, &four), (int)OK);
        ck_assert_int_eq((int)member_change(&member, &five), (int)ERR_BUSY);
        member_persist(&member);
        ack = member_ack(2, 2, 3);
        member_receive(&member, &ack);
        ck_assert_uint_eq(raft_core_commit(member.core), 3);
        ck_assert_uint_eq(probe().change_index, 0);
        ck_assert_int_eq((int)member_change(&member, &five), (int)OK);
    }
    member_close(&member);
}
END_TEST

/* Goal: a refused change leaves nothing behind (N7). Method: [command, change] while another change is uncommitted. */
START_TEST(r9b_change_comes_alone)
{
    rule_for(_i, RULE_CHANGE);
    struct membership three = member_membership(3, 0);
    struct membership four = member_membership(3, 1);
    struct membership five = member_membership(3, 2);
    member_open(&member, 1, &three, 1, 0);
    member_elect(&member, 3);
    member_persist(&member);
    struct replica_message ack = member_ack(2, 2, 2);
    member_receive(&member, &ack);
    ck_assert_int_eq((int)member_change(&member, &four), (int)OK);
    uint8_t payload[MEMBERSHIP_SIZE_MAX];
    size_t size = membership_encode(&five, payload);
    struct entry *entries[2] = {entry_new_copy(ENTRY_COMMAND, 0, 0, (struct bytes){payload, 4}),
                                entry_new_copy(ENTRY_CHANGE, 0, 0, (struct bytes){payload, size})};
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_SUBMIT, .submit = {entries, 2}});
    entry_release(entries[0]);
    entry_release(entries[1]);
    ck_assert_int_eq((int)member.err, is_ruled ? (int)ERR_INVALID : (int)ERR_BUSY);
    ck_assert_uint_eq(raft_core_last_index(member.core), 3);
    ck_assert_uint_eq(probe().last_index, is_ruled ? 3 : 4); /* a ghost in libraft's log */
    member_close(&member);
}
END_TEST

struct step_case {
    const char *name;
    unsigned kind;
    enum err err;
};

static const struct step_case step_cases[] = {
    {"nothing changes", 0, ERR_INVALID},
    {"a standby more", 1, OK},
    {"a voter more", 2, ERR_INVALID},
    {"two standbys more", 3, ERR_INVALID},
    {"a voter less", 4, OK},
    {"the leader less", 5, ERR_INVALID},
    {"the leader a standby", 6, ERR_INVALID},
    {"a voter becomes standby", 7, OK},
    {"a far standby becomes voter", 8, ERR_NOT_READY},
    {"order changed", 9, ERR_INVALID},
    {"two demoted", 10, ERR_INVALID},
};

/* Goal: exactly the single steps that need no joint consensus are taken (R9b, R9c).
 * Method: a leader of voters 1, 2, 3 and standby 4, which has nothing of the log yet. */
START_TEST(r9_membership_moves_by_single_steps)
{
    const struct step_case *c = &step_cases[_i];
    struct membership now = member_membership(3, 1);
    struct membership next = now;
    member_open(&member, 1, &now, 1, 0);
    member_elect(&member, 3);
    struct replica_message ack = member_ack(2, 2, 2);
    member_receive(&member, &ack);
    switch (c->kind) {
    case 1:
    case 2:
        next.servers[next.count++] = (struct replica_server){.id = 9, .is_voter = c->kind == 2};
        break;
    case 3:
        next.servers[next.count++] = (struct replica_server){.id = 9};
        next.servers[next.count++] = (struct replica_server){.id = 10};
        break;
    case 4:
        next.servers[2] = next.servers[--next.count];
        break;
    case 5:
        for (unsigned i = 0; i + 1 < now.count; i++) {
            next.servers[i] = now.servers[i + 1];
        }
        next.count--;
        break;
    case 6:
    case 7:
        next.servers[c->kind == 6 ? 0 : 1].is_voter = false;
        break;
    case 8:
        next.servers[3].is_voter = true;
        break;
    case 9:
        next.servers[1] = now.servers[2];
        next.servers[2] = now.servers[1];
        break;
    case 10:
        next.servers[1].is_voter = next.servers[2].is_voter = false;
        break;
    default:
        break;
    }
    ck_assert_msg(member_change(&member, &next) == c->err, "%s: %s", c->name, err_name(member.err));
    member_close(&member);
}
END_TEST

/* Goal: a sole voter leads in a term of its own (N3), so that no two entries ever share index and term.
 * Method: start of a sole voter with a standby, vote and term of the last life given. */
START_TEST(r9d_sole_voter_starts_with_a_new_term)
{
    rule_for(_i, RULE_SOLE_VOTER);
    struct membership membership = member_membership(1, 1);
    member_open(&member, 1, &membership, 3, 5);
    ck_assert_int_eq((int)raft_core_role(member.core), REPLICA_LEADER);
    ck_assert_uint_eq(raft_core_term(member.core), is_ruled ? 4 : 3);
    ck_assert_uint_eq(raft_core_vote(member.core), is_ruled ? 1 : 0);
    ck_assert(member.update.is_hard_state_changed == is_ruled);
    member_close(&member);
}
END_TEST

/* Goal: the same when a follower finds itself the only voter while it runs. Method: the other voter is demoted by an
 * APPEND of the leader it follows, which then falls silent. */
START_TEST(r9d_follower_that_is_sole_voter_starts_again)
{
    rule_for(_i, RULE_SOLE_VOTER);
    struct membership two = member_membership(2, 0);
    struct membership one = two;
    one.servers[1].is_voter = false;
    member_open(&member, 1, &two, 1, 2);
    receive_append(member_append(2, 5, 3, 1, 5, 2, 3, 1, &one));
    member_timeout(&member);
    ck_assert_int_eq((int)raft_core_role(member.core), REPLICA_FOLLOWER); /* its log is not durable yet */
    member_persist(&member);
    member.now_ms += 3 * MEMBER_ELECTION_MS;
    member_timeout(&member);
    ck_assert_int_eq((int)raft_core_role(member.core), REPLICA_LEADER);
    ck_assert_uint_eq(raft_core_term(member.core), is_ruled ? 6 : 5); /* 5 is the other one's term */
    ck_assert_uint_eq(raft_core_commit(member.core), 5);
    if (is_ruled) {
        ck_assert_uint_eq(raft_core_last_index(member.core), 6);
        ck_assert(member.update.is_hard_state_changed);
    }
    member_close(&member);
}
END_TEST

/* ---- R10, R11, R12, R13, R14, R16 ------------------------------------------------------------------------------- */

/* Goal: what was reported durable stays so, and a candidate hears nothing of it. Method: report 5, then 3, then as a
 * candidate. */
START_TEST(r10_durability_is_reported_once_and_upwards)
{
    rule_for(_i, RULE_PERSISTED);
    struct membership three = member_membership(3, 0);
    member_open(&member, 2, &three, 1, 0);
    receive_append(member_append(1, 1, 1, 1, 1, 5, 1, -1, NULL));
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_PERSISTED, .index = 5});
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_PERSISTED, .index = 3});
    ck_assert_uint_eq(probe().stored_index, is_ruled ? 5 : 3);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_PERSISTED, .index = 6});
    member_timeout(&member);
    ck_assert_int_eq((int)raft_core_role(member.core), REPLICA_CANDIDATE);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_PERSISTED, .index = 6});
    ck_assert_int_eq((int)member.err, is_ruled ? (int)OK : (int)ERR_DAMAGED);
    member_close(&member);
}
END_TEST

/* Goal: no log is cut off at index 1, or a fresh member is sent empty messages for ever (N16).
 * Method: a leader with log 1..2 is asked to forget entry 1; a fresh member, added, says it has nothing. */
START_TEST(r11_log_is_never_cut_off_at_index_one)
{
    rule_for(_i, RULE_TRIM_ONE);
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 1, 0);
    member_elect(&member, 3);
    struct replica_message ack = member_ack(2, 2, 2);
    member_receive(&member, &ack);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_TRIM, .index = 1});
    ck_assert_int_eq((int)member.err, is_ruled ? (int)ERR_INVALID : (int)OK);
    struct replica_message nothing = member_reject(3, 2, 1, 0);
    member_receive(&member, &nothing);
    nothing = member_reject(3, 2, 2, 0);
    member_receive(&member, &nothing);
    unsigned installs = 0;
    unsigned entries = 0;
    for (unsigned i = 0; i < 5; i++) {
        const struct replica_message *append = member_message_to(&member, REPLICA_APPEND, 3);
        entries += append != NULL ? append->append.entry_count : 0;
        installs += member_message_count(&member, REPLICA_INSTALL);
        member_timeout(&member);
        ack = member_ack(2, 2, 2);
        member_receive(&member, &ack);
        member_timeout(&member);
    }
    ck_assert_uint_eq(installs, 0);
    ck_assert(is_ruled == (entries > 0));
    member_close(&member);
}
END_TEST

static struct replica_message install_of(uint64_t peer, uint64_t term, uint64_t index, uint64_t index_term,
                                         const struct membership *membership)
{
    return (struct replica_message){
        .kind = REPLICA_INSTALL,
        .peer = peer,
        .term = term,
        .install = {.last_index = index, .last_term = index_term, .membership_index = 1, .membership = *membership},
    };
}

/* Goal: a staged state is taken over once, only forwards, and only from the leader of the term (R12).
 * Method: installs in every wrong place, and one in the right one. */
START_TEST(r12_install_is_taken_once_and_forwards)
{
    struct membership three = member_membership(3, 0);
    member_open(&member, 2, &three, 3, 5);
    receive_append(member_append(1, 3, 6, 3, 3, 0, 6, -1, NULL));
    struct replica_message install = install_of(1, 3, 6, 3, &three);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_INSTALL, .message = &install});
    ck_assert_int_eq((int)member.err, (int)ERR_INVALID); /* has it */
    install = install_of(1, 2, 40, 2, &three);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_INSTALL, .message = &install});
    ck_assert_int_eq((int)member.err, (int)ERR_INVALID); /* old term */
    install = install_of(1, 3, 40, 3, &three);
    member_receive(&member, &install);
    ck_assert_int_eq((int)member.err, (int)ERR_INVALID); /* not staged: a message is only a signal */
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_INSTALL, .message = &install});
    ck_assert_int_eq((int)member.err, (int)OK);
    ck_assert(member.update.is_installing);
    ck_assert_uint_eq(raft_core_apply_bound(member.core), 0);
    ck_assert_uint_eq(raft_core_commit(member.core), 6);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_INSTALL, .message = &install});
    ck_assert_int_eq((int)member.err, (int)ERR_BUSY);
    receive_append(member_append(1, 3, 40, 3, 3, 0, 41, -1, NULL)); /* a heartbeat meanwhile commits nothing */
    ck_assert_uint_eq(raft_core_commit(member.core), 6);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_INSTALLED});
    ck_assert_uint_eq(raft_core_commit(member.core), 40);
    ck_assert_uint_eq(raft_core_apply_bound(member.core), 40);
    ck_assert_uint_eq(member_message(&member, REPLICA_APPEND_RESULT, 0)->append_result.last_index, 40);
    receive_append(member_append(1, 3, 40, 3, 3, 2, 42, -1, NULL));
    member_persist(&member);
    ck_assert_uint_eq(raft_core_apply_bound(member.core), 42);
    member_close(&member);
}
END_TEST

/* Goal: the order to campaign goes out when the target can follow it (B7). Method: the target lacks 5 entries; its ack
 * of two of them arrives. */
START_TEST(r13_transfer_waits_for_the_target_to_have_the_log)
{
    rule_for(_i, RULE_TRANSFER);
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 1, 0);
    member_elect(&member, 3);
    struct replica_message ack = member_ack(2, 2, 2);
    member_receive(&member, &ack);
    member_submit(&member, 5);
    member_persist(&member);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_TRANSFER, .server = 2});
    ck_assert_int_eq((int)member.err, is_ruled ? (int)ERR_NOT_READY : (int)OK);
    ack = member_ack(2, 2, 4);
    member_receive(&member, &ack);
    if (is_ruled) {
        ck_assert_ptr_null(member_message(&member, REPLICA_TIMEOUT_NOW, 0));
        ack = member_ack(2, 2, 7);
        member_receive(&member, &ack);
        member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_TRANSFER, .server = 2});
        ck_assert_int_eq((int)member.err, (int)OK);
        ck_assert_uint_eq(member_message(&member, REPLICA_TIMEOUT_NOW, 0)->timeout_now.last_index, 7);
    } else {
        ck_assert_ptr_nonnull(member_message(&member, REPLICA_TIMEOUT_NOW, 0)); /* it will be ignored */
    }
    member_close(&member);
}
END_TEST

/* Goal: a leader's timer that fires early does not make it send everything in flight again (N10).
 * Method: 20 entries in flight; a TIMEOUT event 1 ms after the last one, then the next heartbeat. */
START_TEST(r14_timeouts_count_only_when_they_are_due)
{
    rule_for(_i, RULE_DUE);
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 1, 0);
    member_elect(&member, 3);
    struct replica_message ack2 = member_ack(2, 2, 2);
    struct replica_message ack3 = member_ack(3, 2, 2);
    member_receive(&member, &ack2);
    member_receive(&member, &ack3);
    member_submit(&member, 20);
    unsigned again = 0;
    for (unsigned i = 0; i < 3; i++) {
        member.now_ms++;
        member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_TIMEOUT});
    }
    member.now_ms += 1;
    ack2 = member_ack(2, 2, 3);
    member_receive(&member, &ack2);
    for (unsigned i = 0; i < member.message_count; i++) {
        again += member.messages[i].kind == REPLICA_APPEND ? member.messages[i].append.entry_count : 0;
    }
    member.now_ms = raft_core_deadline_ms(member.core);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_TIMEOUT});
    const struct replica_message *append = member_message_to(&member, REPLICA_APPEND, 3);
    ck_assert_ptr_nonnull(append);
    again += append->append.entry_count;
    ck_assert(is_ruled == (again == 0));
    member_close(&member);
}
END_TEST

/* Goal: nothing is applied that this disk could lose. Method: a follower hears of a commit before its log is
 * durable. */
START_TEST(r16_applied_is_what_is_committed_and_durable)
{
    rule_for(_i, RULE_APPLY_BOUND);
    struct membership three = member_membership(3, 0);
    member_open(&member, 2, &three, 1, 0);
    receive_append(member_append(1, 1, 1, 1, 1, 4, 5, -1, NULL));
    ck_assert_uint_eq(raft_core_commit(member.core), 5);
    ck_assert_uint_eq(raft_core_apply_bound(member.core), is_ruled ? 1 : 5);
    member_persist(&member);
    ck_assert_uint_eq(raft_core_apply_bound(member.core), 5);
    member_close(&member);
}
END_TEST

/* ---- R18, R20, R21, R24 ----------------------------------------------------------------------------------------- */

/* Goal: a leader never steps an APPEND of its own term (N12). Method: one from an impostor; the leader goes on. */
START_TEST(r18_leader_refuses_an_append_of_its_own_term)
{
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 1, 0);
    member_elect(&member, 3);
    trace_set_level(TRACE_RAFT, TRACE_ERROR);
    receive_append(member_append(2, 2, 1, 1, 2, 1, 1, -1, NULL));
    ck_assert_int_eq((int)member.err, (int)ERR_CORRUPT);
    ck_assert_int_eq((int)raft_core_role(member.core), REPLICA_LEADER);
    struct replica_message install = install_of(2, 2, 40, 2, &three);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_INSTALL, .message = &install});
    ck_assert_int_eq((int)member.err, (int)ERR_INVALID);
    struct replica_message ack = member_ack(2, 2, 2);
    member_receive(&member, &ack);
    ck_assert_uint_eq(raft_core_commit(member.core), 2);
    member_close(&member);
}
END_TEST

/* Goal: the first proposal after a rest leaves at once, also to a follower that was silent once. Method: 2 misses a
 * heartbeat, answers the next, then there is a proposal. */
START_TEST(r20_proposal_to_a_group_at_rest_is_sent_at_once)
{
    rule_for(_i, RULE_NUDGE);
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 1, 0);
    member_elect(&member, 3);
    for (unsigned i = 0; i < 4; i++) {
        struct replica_message ack2 = member_ack(2, 2, 2);
        struct replica_message ack3 = member_ack(3, 2, 2);
        if (i != 1) {
            member_receive(&member, &ack2);
        }
        member_receive(&member, &ack3);
        member_timeout(&member);
    }
    struct replica_message ack2 = member_ack(2, 2, 2);
    member_receive(&member, &ack2);
    member.now_ms += 5;
    member_submit(&member, 1);
    const struct replica_message *append = member_message_to(&member, REPLICA_APPEND, 2);
    ck_assert((append != NULL && append->append.entry_count == 1) == is_ruled);
    member_close(&member);
}
END_TEST

/* Goal: a new group is led at once, not after a timeout, and a first member that is alone spends no terms on it.
 * Method: the first member of a new group and another one, then of a group that has been led; the first one's
 * timeouts come and go unanswered until it has given up the hurry. */
START_TEST(r26_new_group_does_not_wait_for_a_timeout)
{
    rule_for(_i, RULE_HURRY);
    struct membership three = member_membership(3, 0);
    member_open(&member, 2, &three, 1, 0);
    ck_assert_uint_ge(raft_core_deadline_ms(member.core), member.now_ms + MEMBER_ELECTION_MS);
    member_close(&member);
    member_open(&member, 1, &three, 1, 1);
    ck_assert_uint_ge(raft_core_deadline_ms(member.core), member.now_ms + MEMBER_ELECTION_MS);
    member_close(&member);
    member_open(&member, 1, &three, 1, 0);
    uint64_t start_ms = member.now_ms;
    ck_assert((raft_core_deadline_ms(member.core) < start_ms + MEMBER_ELECTION_MS / 2) == is_ruled);
    unsigned campaigns = 0;
    while (member.now_ms < start_ms + 4 * MEMBER_ELECTION_MS) {
        member_timeout(&member);
        campaigns += member_message_to(&member, REPLICA_VOTE, 2) != NULL;
    }
    ck_assert((campaigns > 10) == is_ruled);
    ck_assert_uint_eq(raft_core_term(member.core), 1);
    for (unsigned i = 0; i < 40; i++) {
        member_timeout(&member);
    }
    ck_assert_uint_ge(raft_core_deadline_ms(member.core), member.now_ms + MEMBER_ELECTION_MS);
    member_close(&member);
}
END_TEST

/* Goal: a catch-up whose signal got lost is asked for again within seconds (B16). Method: the follower goes on
 * answering heartbeats, but neither asks nor installs. */
START_TEST(r21_lost_install_is_sent_again_within_five_seconds)
{
    rule_for(_i, RULE_INSTALL_TIMEOUT);
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 1, 8);
    member_elect(&member, 3);
    struct replica_message ack = member_ack(2, 2, 10);
    member_receive(&member, &ack);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_TRIM, .index = 9});
    ck_assert_int_eq((int)member.err, (int)OK);
    struct replica_message nothing = member_reject(3, 2, 9, 0);
    unsigned installs = 0;
    member_receive(&member, &nothing);
    installs += member_message_count(&member, REPLICA_INSTALL);
    uint64_t end = member.now_ms + 5000;
    while (member.now_ms < end) {
        member_timeout(&member);
        installs += member_message_count(&member, REPLICA_INSTALL);
        ack = member_ack(2, 2, 10);
        member_receive(&member, &ack);
        struct replica_message idle = member_ack(3, 2, 0);
        member_receive(&member, &idle);
        installs += member_message_count(&member, REPLICA_INSTALL);
    }
    ck_assert_uint_eq(installs, is_ruled ? 2 : 1);
    member_close(&member);
}
END_TEST

/* Goal: the settings are those that the design counts on. Method: elections begin with a pre-vote; 200 entries that
 * nobody acknowledges yet all leave. */
START_TEST(r24_pre_vote_is_on_and_the_window_is_wide)
{
    rule_for(_i, RULE_SETTINGS);
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 1, 0);
    member_timeout(&member);
    ck_assert(member_message(&member, REPLICA_VOTE, 0)->vote.is_pre_vote == is_ruled);
    member_elect(&member, 3);
    struct replica_message ack2 = member_ack(2, raft_core_term(member.core), raft_core_last_index(member.core));
    member_receive(&member, &ack2);
    unsigned sent = 0;
    for (unsigned i = 0; i < 200; i++) {
        member_submit(&member, 1);
        const struct replica_message *append = member_message_to(&member, REPLICA_APPEND, 2);
        sent += append != NULL ? append->append.entry_count : 0;
    }
    ck_assert_uint_eq(sent, is_ruled ? 200 : 32);
    member_close(&member);
}
END_TEST

static Suite *raft_rules_leader_suite(void)
{
    Suite *suite = suite_create("raft_rules_leader");
    TCase *rules = tcase_create("rules");
    tcase_add_checked_fixture(rules, quiet, rules_reset);
    tcase_add_loop_test(rules, r8_new_leader_appends_a_barrier, 0, 2);
    tcase_add_loop_test(rules, r9a_membership_waits_for_an_entry_of_the_own_term, 0, 2);
    tcase_add_loop_test(rules, r9b_change_comes_alone, 0, 2);
    tcase_add_loop_test(rules, r9_membership_moves_by_single_steps, 0, (int)array_count(step_cases));
    tcase_add_loop_test(rules, r9d_sole_voter_starts_with_a_new_term, 0, 2);
    tcase_add_loop_test(rules, r9d_follower_that_is_sole_voter_starts_again, 0, 2);
    tcase_add_loop_test(rules, r10_durability_is_reported_once_and_upwards, 0, 2);
    tcase_add_loop_test(rules, r11_log_is_never_cut_off_at_index_one, 0, 2);
    tcase_add_test(rules, r12_install_is_taken_once_and_forwards);
    tcase_add_loop_test(rules, r13_transfer_waits_for_the_target_to_have_the_log, 0, 2);
    tcase_add_loop_test(rules, r14_timeouts_count_only_when_they_are_due, 0, 2);
    tcase_add_loop_test(rules, r16_applied_is_what_is_committed_and_durable, 0, 2);
    tcase_add_test(rules, r18_leader_refuses_an_append_of_its_own_term);
    tcase_add_loop_test(rules, r20_proposal_to_a_group_at_rest_is_sent_at_once, 0, 2);
    tcase_add_loop_test(rules, r26_new_group_does_not_wait_for_a_timeout, 0, 2);
    tcase_add_loop_test(rules, r21_lost_install_is_sent_again_within_five_seconds, 0, 2);
    tcase_add_loop_test(rules, r24_pre_vote_is_on_and_the_window_is_wide, 0, 2);
    suite_add_tcase(suite, rules);
    return suite;
}

TEST_MAIN(raft_rules_leader_suite)
