/* Each rule of the normaliser alone: what goes wrong in libraft without it, and that it does not with it.
 *
 * A case runs twice: _i == 0 with the rule, _i == 1 without. What is asserted for the second run is the fault, so that
 * a libraft that no longer has it shows up here as well. The invariants (R18) are off in the second run, as they would
 * stop the process. R2, R15 and R23 are in test_replica.c, R1 and R17 in test_raft_core.c. */
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

/* ---- R3: appends from the past ---------------------------------------------------------------------------------- */

/* Goal: an APPEND that was sent again never takes back what is known to be committed (N5).
 * Method: commit up to 101; then entries 11..60 come again, with a newer commit index of the leader. */
START_TEST(r3a_old_append_does_not_lower_the_commit_index)
{
    rule_for(_i, RULE_TRIM_APPEND);
    struct membership three = member_membership(3, 0);
    member_open(&member, 2, &three, 1, 100);
    receive_append(member_append(1, 1, 101, 1, 1, 0, 101, -1, NULL));
    ck_assert_uint_eq(probe().commit_index, 101);
    receive_append(member_append(1, 1, 10, 1, 1, 50, 120, -1, NULL));
    ck_assert_uint_eq(probe().commit_index, is_ruled ? 101 : 60);
    ck_assert_uint_eq(raft_core_commit(member.core), 101);
    member_close(&member);
}
END_TEST

/* Goal: a leader that probes below what a follower still has of its log is not refused for ever (B12).
 * Method: a follower behind a checkpoint at 50 gets an APPEND that starts at 21. */
START_TEST(r3a_append_below_the_checkpoint_is_accepted)
{
    rule_for(_i, RULE_TRIM_APPEND);
    struct membership three = member_membership(3, 0);
    member_open_at(&member, 2, &three, 50, 1);
    receive_append(member_append(1, 1, 20, 1, 1, 32, 50, -1, NULL));
    if (is_ruled) {
        ck_assert_uint_eq(raft_core_last_index(member.core), 52);
        member_persist(&member);
        ck_assert_uint_eq(member_message(&member, REPLICA_APPEND_RESULT, 0)->append_result.last_index, 52);
    } else {
        ck_assert_uint_eq(member_message(&member, REPLICA_APPEND_RESULT, 0)->append_result.rejected, 20);
    }
    member_close(&member);
}
END_TEST

/* Goal: a long run of entries of a lost term costs one round trip, not one for each entry (B11).
 * Method: 50 entries of term 2 that the leader of term 3 does not have; it probes at the end of its own, longer log. */
START_TEST(r3c_rejection_skips_the_whole_conflicting_term)
{
    rule_for(_i, RULE_REJECT_HINT);
    struct membership three = member_membership(3, 0);
    uint64_t terms[60];
    for (unsigned i = 0; i < 60; i++) {
        terms[i] = i < 10 ? 1 : 2;
    }
    member_open_terms(&member, 2, &three, terms, 60);
    receive_append(member_append(1, 3, 61, 3, 3, 1, 5, -1, NULL));
    const struct replica_message *result = member_message(&member, REPLICA_APPEND_RESULT, 0);
    ck_assert_uint_eq(result->append_result.rejected, 61);
    ck_assert_uint_eq(result->append_result.last_index, is_ruled ? 11 : 60);
    member_close(&member);
}
END_TEST

/* Goal: a rejection that comes after a later success does not stop replication.
 * Method: a follower is known to match up to 11 and has fallen silent (its leader probes); then an old rejection of
 * index 11 arrives, and a new entry is submitted. */
START_TEST(r3d_late_rejection_is_dropped)
{
    rule_for(_i, RULE_LATE_REJECT);
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 1, 10);
    member_elect(&member, 3);
    struct replica_message ack2 = member_ack(2, 2, 12);
    struct replica_message ack3 = member_ack(3, 2, 12);
    member_receive(&member, &ack2);
    member_receive(&member, &ack3);
    ck_assert_uint_eq(raft_core_commit(member.core), 12);
    for (unsigned i = 0; i < 3; i++) { /* 3 answers, 2 does not */
        member_timeout(&member);
        struct replica_message pulse = member_ack(3, 2, 12);
        member_receive(&member, &pulse);
    }
    struct replica_message late = member_reject(2, 2, 12, 4);
    member_receive(&member, &late);
    member_submit(&member, 1);
    member_persist(&member);
    for (unsigned i = 0; i < 4; i++) {
        member_timeout(&member);
    }
    const struct replica_message *append = member_message_to(&member, REPLICA_APPEND, 2);
    ck_assert_ptr_nonnull(append);
    ck_assert_uint_eq(append->append.entry_count, is_ruled ? 1 : 0);
    member_close(&member);
}
END_TEST

/* ---- R4, R19: membership changes on followers ------------------------------------------------------------------- */

/* Goal: a follower knows at which index its uncommitted membership is (N1), and goes back when that entry is lost.
 * Method: an APPEND of [command, command, change]; then another leader replaces the change alone. */
START_TEST(r4_change_in_the_middle_of_an_append_has_its_own_index)
{
    rule_for(_i, RULE_SPLIT_APPEND);
    struct membership three = member_membership(3, 0);
    struct membership four = member_membership(3, 1);
    member_open(&member, 2, &three, 1, 0);
    receive_append(member_append(1, 2, 1, 1, 2, 3, 1, 2, &four));
    ck_assert_uint_eq(probe().change_index, is_ruled ? 4 : 2);
    ck_assert_uint_eq(probe().membership.count, 4);
    member_persist(&member);
    receive_append(member_append(3, 3, 3, 2, 3, 1, 1, -1, NULL));
    ck_assert_uint_eq(probe().membership.count, is_ruled ? 3 : 4);
    member_close(&member);
}
END_TEST

/* Goal: one APPEND may bring a change and the news that the one before is committed (N6).
 * Method: change 1 at 3, uncommitted; then [change 2] with commit 3; then change 2 is replaced: change 1 must be
 * left. */
START_TEST(r4_change_before_is_confirmed_first)
{
    rule_for(_i, RULE_SPLIT_APPEND);
    raft_rules_disabled |= is_ruled ? 0 : (uint64_t)1 << RULE_PROVEN_CHANGE;
    struct membership three = member_membership(3, 0);
    struct membership four = member_membership(3, 1);
    struct membership five = member_membership(3, 2);
    member_open(&member, 2, &three, 1, 1);
    receive_append(member_append(1, 2, 2, 1, 2, 1, 1, 0, &four));
    member_persist(&member);
    receive_append(member_append(1, 2, 3, 2, 2, 1, 3, 0, &five));
    member_persist(&member);
    ck_assert_uint_eq(probe().membership.count, 5);
    receive_append(member_append(3, 3, 3, 2, 3, 1, 3, -1, NULL));
    ck_assert_uint_eq(probe().membership.count, is_ruled ? 4 : 3);
    member_close(&member);
}
END_TEST

/* Goal: a change in the log proves that the one before it is committed, also when nobody says so (R19).
 * Method: as above, but the leader's commit index stays at 1. */
START_TEST(r19_later_change_confirms_the_one_before)
{
    rule_for(_i, RULE_PROVEN_CHANGE);
    struct membership three = member_membership(3, 0);
    struct membership four = member_membership(3, 1);
    struct membership five = member_membership(3, 2);
    member_open(&member, 2, &three, 1, 1);
    receive_append(member_append(1, 2, 2, 1, 2, 1, 1, 0, &four));
    member_persist(&member);
    receive_append(member_append(1, 2, 3, 2, 2, 1, 1, 0, &five));
    member_persist(&member);
    receive_append(member_append(3, 3, 3, 2, 3, 1, 1, -1, NULL));
    ck_assert_uint_eq(probe().membership.count, is_ruled ? 4 : 3);
    member_close(&member);
}
END_TEST

/* Goal: the parts of an APPEND together are the APPEND, each change begins a part, and one part is in front of it.
 * Method: all patterns of commands and changes up to 8 entries. */
START_TEST(r4_parts_cover_an_append_without_gap_or_overlap)
{
    struct membership three = member_membership(3, 0);
    for (unsigned count = 0; count <= 8; count++) {
        for (unsigned pattern = 0; pattern < 1u << count; pattern++) {
            struct replica_message message = member_append(1, 1, 1, 1, 1, count, 1, -1, &three);
            for (unsigned i = 0; i < count; i++) {
                message.append.entries[i]->kind = (pattern >> i & 1) != 0 ? ENTRY_CHANGE : ENTRY_COMMAND;
            }
            struct append_part part = {0};
            unsigned next = 0;
            unsigned parts = 0;
            while (rule_next_part(&message, &part)) {
                ck_assert_uint_eq(part.first, next);
                ck_assert_uint_le(part.count, count - part.first);
                if (parts > 0) {
                    ck_assert_uint_gt(part.count, 0);
                }
                for (unsigned i = 0; i < part.count; i++) {
                    bool is_change = message.append.entries[part.first + i]->kind == ENTRY_CHANGE;
                    ck_assert(is_change == (parts > 0 && i == 0));
                }
                struct replica_message piece = append_part_message(&message, &part);
                ck_assert_uint_eq(piece.append.prev_index, 1 + part.first);
                next = part.first + part.count;
                parts++;
            }
            ck_assert_uint_eq(next, count);
            ck_assert_uint_ge(parts, 1);
            for (unsigned i = 0; i < count; i++) {
                message.append.entries[i]->kind = ENTRY_COMMAND;
            }
            member_append_free(&message);
        }
    }
}
END_TEST

/* ---- R5, R6, R7, R22: old terms and votes ----------------------------------------------------------------------- */

/* Goal: an answer to a message of an old term says nothing about the log (N2).
 * Method: an APPEND of term 1 at a member of term 3. */
START_TEST(r5_answer_to_an_old_term_claims_nothing)
{
    rule_for(_i, RULE_STALE_RESULT);
    struct membership three = member_membership(3, 0);
    member_open(&member, 2, &three, 3, 5);
    receive_append(member_append(1, 1, 5, 1, 1, 1, 5, -1, NULL));
    const struct replica_message *result = member_message(&member, REPLICA_APPEND_RESULT, 0);
    ck_assert_uint_eq(result->term, 3);
    if (is_ruled) {
        ck_assert_uint_eq(result->append_result.rejected, 0);
        ck_assert_uint_eq(result->append_result.last_index, 0);
    } else {
        ck_assert_uint_eq(result->append_result.rejected, 5);
    }
    member_close(&member);
}
END_TEST

/* Goal: a candidate of an old term learns of the new one from a refused pre-vote (B13).
 * Method: pre-vote of term 6 at a voter of term 9. */
START_TEST(r6_refused_pre_vote_carries_the_newer_term)
{
    rule_for(_i, RULE_VOTE_RESULT);
    struct membership three = member_membership(3, 0);
    member_open(&member, 2, &three, 9, 3);
    struct replica_message vote = {
        .kind = REPLICA_VOTE, .peer = 1, .term = 6, .vote = {.last_index = 2, .last_term = 2, .is_pre_vote = true}};
    member_receive(&member, &vote);
    const struct replica_message *result = member_message(&member, REPLICA_VOTE_RESULT, 0);
    ck_assert(!result->vote_result.is_granted);
    ck_assert_uint_eq(result->term, is_ruled ? 9 : 6);
    member_close(&member);
}
END_TEST

/* Goal: a vote result that comes late does not move a follower to another term (N8).
 * Method: a follower that knows no leader gets a refused pre-vote of term 50. */
START_TEST(r6_late_vote_result_does_not_disturb_a_follower)
{
    rule_for(_i, RULE_VOTE_RESULT);
    struct membership three = member_membership(3, 0);
    member_open(&member, 2, &three, 3, 3);
    struct replica_message result = {
        .kind = REPLICA_VOTE_RESULT, .peer = 1, .term = 50, .vote_result = {.is_pre_vote = true}};
    member_receive(&member, &result);
    ck_assert_uint_eq(raft_core_term(member.core), is_ruled ? 3 : 50);
    member_close(&member);
}
END_TEST

/* Goal: a member that is a standby by its own log votes when it is asked and no leader is in sight (B10), as it may
 * have become a voter by a longer log. Method: standby 3 follows leader 1, which falls silent; 2 asks for its vote. */
START_TEST(r7_standby_votes_when_no_leader_is_in_sight)
{
    rule_for(_i, RULE_VOTE_AS_VOTER);
    struct membership membership = member_membership(2, 1);
    member_open(&member, 3, &membership, 1, 3);
    receive_append(member_append(1, 1, 4, 1, 1, 0, 4, -1, NULL));
    struct replica_message vote = {
        .kind = REPLICA_VOTE, .peer = 2, .term = 2, .vote = {.last_index = 9, .last_term = 1}};
    member_receive(&member, &vote);
    ck_assert(!member_message(&member, REPLICA_VOTE_RESULT, 0)->vote_result.is_granted);
    ck_assert_uint_eq(raft_core_term(member.core), 1);
    member.now_ms += MEMBER_ELECTION_MS;
    member_receive(&member, &vote);
    ck_assert(member_message(&member, REPLICA_VOTE_RESULT, 0)->vote_result.is_granted == is_ruled);
    ck_assert_uint_eq(raft_core_vote(member.core), is_ruled ? 2 : 0);
    ck_assert(!probe().membership.servers[2].is_voter);
    member_close(&member);
}
END_TEST

/* Goal: only the election that the leader asked for may depose leaders. Method: TIMEOUT_NOW, then the timeouts of a
 * candidate that nobody answers. */
START_TEST(r22_only_the_first_election_after_timeout_now_is_disruptive)
{
    rule_for(_i, RULE_DISRUPT);
    struct membership three = member_membership(3, 0);
    member_open(&member, 2, &three, 1, 3);
    receive_append(member_append(1, 1, 4, 1, 1, 0, 4, -1, NULL));
    struct replica_message order = {
        .kind = REPLICA_TIMEOUT_NOW, .peer = 1, .term = 1, .timeout_now = {.last_index = 4, .last_term = 1}};
    member_receive(&member, &order);
    ck_assert(member_message(&member, REPLICA_VOTE, 0)->vote.is_disruptive);
    member_timeout(&member);
    ck_assert(member_message(&member, REPLICA_VOTE, 0)->vote.is_disruptive == !is_ruled);
    member_close(&member);
}
END_TEST

static void lead(uint64_t term, uint64_t sent_ms)
{
    struct replica_message message = member_append(1, term, 4, 1, 1, 0, 4, -1, NULL);
    message.append.sent_ms = sent_ms;
    receive_append(message);
}

/* Goal:   who has promised something to a leader helps to depose it only if that leader gave it back, or ended, and
 *         never a later one than was meant; and says in its answers what it has promised.
 * Method: a follower of three that took a message sent at 100 is asked for disruptive votes; as a table. */
START_TEST(r27_promises_are_kept)
{
    static const struct {
        uint64_t deposed_term, released_ms;
        bool is_granted;
    } rows[] = {
        {2, 100, true}, {2, 99, false}, {2, UINT64_MAX, true}, {1, UINT64_MAX, false}, {3, 0, true}, {0, 0, false},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct membership three = member_membership(3, 0);
        member_open(&member, 2, &three, 1, 3);
        lead(2, 100);
        ck_assert_uint_eq(member_message(&member, REPLICA_APPEND_RESULT, 0)->append_result.echo_ms, 100);
        lead(2, 90);
        ck_assert_uint_eq(member_message(&member, REPLICA_APPEND_RESULT, 0)->append_result.echo_ms, 100);
        struct replica_message vote = {
            .kind = REPLICA_VOTE,
            .peer = 3,
            .term = 4,
            .vote = {.last_index = 4,
                     .last_term = 1,
                     .is_disruptive = true,
                     .deposed_term = rows[i].deposed_term,
                     .released_ms = rows[i].released_ms},
        };
        member_receive(&member, &vote);
        const struct replica_message *result = member_message(&member, REPLICA_VOTE_RESULT, 0);
        ck_assert_msg(result->vote_result.is_granted == rows[i].is_granted, "row %u", i);
        ck_assert_uint_eq(raft_core_term(member.core), rows[i].is_granted ? 4 : 2);
        member_close(&member);
    }
}
END_TEST

/* Goal:   a promise lasts an election timeout, also of a member that hurried (R26), and counts for its term only.
 * Method: the first member of a new group hears of a leader at once; it campaigns no earlier than a timeout later, and
 *         an answer in a later term tells of nothing. */
START_TEST(r27_a_promise_lasts_a_timeout)
{
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 1, 0);
    struct replica_message message = member_append(2, 2, 1, 1, 1, 0, 1, -1, NULL);
    message.append.sent_ms = 77;
    receive_append(message);
    ck_assert_uint_ge(raft_core_deadline_ms(member.core), member.now_ms + MEMBER_ELECTION_MS);
    message = member_append(3, 3, 1, 1, 1, 0, 1, -1, NULL);
    receive_append(message);
    ck_assert_uint_eq(member_message(&member, REPLICA_APPEND_RESULT, 0)->append_result.echo_ms, 0);
    member_close(&member);
}
END_TEST

/* Goal: an order that was given up and came late is not carried out. Method: a message that was sent after what the
 * order gives back, then the order; and the other way round. */
START_TEST(r27_late_order_is_none)
{
    struct membership three = member_membership(3, 0);
    member_open(&member, 2, &three, 1, 3);
    struct replica_message order = {.kind = REPLICA_TIMEOUT_NOW,
                                    .peer = 1,
                                    .term = 1,
                                    .timeout_now = {.last_index = 4, .last_term = 1, .released_ms = 500}};
    lead(1, _i == 0 ? 501 : 500);
    member_receive(&member, &order);
    const struct replica_message *vote = member_message(&member, REPLICA_VOTE, 0);
    ck_assert((vote != NULL) == (_i != 0));
    ck_assert(vote == NULL || (vote->vote.deposed_term == 1 && vote->vote.released_ms == 500));
    member_close(&member);
}
END_TEST

/* Goal:   who was started again keeps what it may have promised: it elects nobody until that is over, but whose leader
 *         has ended; a member of a group that nobody has led has promised nothing.
 * Method: votes are asked for before the end of that time and at it, disruptively, and of a new group. */
START_TEST(r27_restarted_member_is_silent)
{
    static const struct {
        uint64_t term, after_ms;
        bool is_disruptive, is_heard;
    } rows[] = {
        {3, MEMBER_ELECTION_MS / 4 * 3 - 1, false, false},
        {3, MEMBER_ELECTION_MS / 4 * 3, false, true},
        {3, 0, true, true},
        {1, 0, false, true},
    };
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct membership three = member_membership(3, 0);
        member_open(&member, 2, &three, 1, 0);
        member_restart(&member, 2, rows[i].term);
        member.now_ms += rows[i].after_ms;
        struct replica_message vote = {
            .kind = REPLICA_VOTE,
            .peer = 3,
            .term = rows[i].term + 1,
            .vote = {.last_index = 4,
                     .last_term = 1,
                     .is_disruptive = rows[i].is_disruptive,
                     .deposed_term = rows[i].is_disruptive ? rows[i].term : 0,
                     .released_ms = UINT64_MAX},
        };
        member_receive(&member, &vote);
        ck_assert_msg((member_message(&member, REPLICA_VOTE_RESULT, 0) != NULL) == rows[i].is_heard, "row %u", i);
        member_close(&member);
    }
}
END_TEST

/* Goal: a candidate that won the pre-votes and was then elected by nobody raises its term once, not at each timeout
 * (N14). Method: pre-votes are granted, then nobody answers for three timeouts; then pre-votes are granted again. */
START_TEST(r25_candidate_asks_again_before_it_raises_its_term)
{
    rule_for(_i, RULE_ASK_AGAIN);
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 3, 3);
    member_timeout(&member);
    struct replica_message grant = {
        .kind = REPLICA_VOTE_RESULT, .peer = 2, .term = 4, .vote_result = {.is_granted = true, .is_pre_vote = true}};
    member_receive(&member, &grant);
    ck_assert_uint_eq(raft_core_term(member.core), 4);
    for (unsigned i = 0; i < 3; i++) {
        member_timeout(&member);
        ck_assert(member_message(&member, REPLICA_VOTE, 0)->vote.is_pre_vote == is_ruled);
        ck_assert_uint_eq(raft_core_term(member.core), is_ruled ? 4 : 5 + i);
        ck_assert_uint_eq(raft_core_vote(member.core), 1);
    }
    grant.term = 5;
    member_receive(&member, &grant);
    ck_assert_uint_eq(raft_core_term(member.core), is_ruled ? 5 : 7);
    ck_assert_int_eq((int)raft_core_role(member.core), REPLICA_CANDIDATE);
    grant = (struct replica_message){
        .kind = REPLICA_VOTE_RESULT, .peer = 3, .term = 5, .vote_result = {.is_granted = true}};
    member_receive(&member, &grant);
    ck_assert_int_eq((int)raft_core_role(member.core), is_ruled ? REPLICA_LEADER : REPLICA_CANDIDATE);
    member_close(&member);
}
END_TEST

/* Goal: a state that is not ahead of what is committed here is not stepped: it would be answered like an APPEND, from
 * whatever leader it came (R12). Method: one that ends where the commit index is. */
START_TEST(r12_state_that_comes_too_late_is_not_answered)
{
    rule_for(_i, RULE_INSTALL);
    struct membership three = member_membership(3, 0);
    member_open(&member, 2, &three, 3, 5);
    receive_append(member_append(1, 3, 6, 3, 3, 0, 6, -1, NULL));
    struct replica_message install = {
        .kind = REPLICA_INSTALL,
        .peer = 1,
        .term = 3,
        .install = {.last_index = 6, .last_term = 3, .membership_index = 1, .membership = three},
    };
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_INSTALL, .message = &install});
    ck_assert_int_eq((int)member.err, (int)ERR_INVALID);
    ck_assert_uint_eq(member_message_count(&member, REPLICA_APPEND_RESULT), is_ruled ? 0 : 1);
    member_close(&member);
}
END_TEST

/* Goal: an APPEND that contradicts what is committed is refused and told, not quietly cut down to the part that does
 * not (R18). Method: entries of another term where committed ones are. */
START_TEST(r18_append_that_contradicts_what_is_committed_is_refused)
{
    rule_for(_i, RULE_OWN_TERM_LEADER);
    struct membership three = member_membership(3, 0);
    member_open(&member, 2, &three, 3, 5);
    receive_append(member_append(1, 3, 6, 3, 3, 0, 6, -1, NULL));
    receive_append(member_append(3, 4, 1, 1, 4, 8, 9, -1, NULL));
    ck_assert_int_eq((int)member.err, (int)(is_ruled ? ERR_CORRUPT : OK));
    ck_assert_uint_eq(raft_core_last_index(member.core), is_ruled ? 6 : 9);
    member_close(&member);
}
END_TEST

static Suite *raft_rules_suite(void)
{
    Suite *suite = suite_create("raft_rules");
    TCase *rules = tcase_create("rules");
    tcase_add_checked_fixture(rules, quiet, rules_reset);
    tcase_add_loop_test(rules, r3a_old_append_does_not_lower_the_commit_index, 0, 2);
    tcase_add_loop_test(rules, r3a_append_below_the_checkpoint_is_accepted, 0, 2);
    tcase_add_loop_test(rules, r3c_rejection_skips_the_whole_conflicting_term, 0, 2);
    tcase_add_loop_test(rules, r3d_late_rejection_is_dropped, 0, 2);
    tcase_add_loop_test(rules, r4_change_in_the_middle_of_an_append_has_its_own_index, 0, 2);
    tcase_add_loop_test(rules, r4_change_before_is_confirmed_first, 0, 2);
    tcase_add_loop_test(rules, r19_later_change_confirms_the_one_before, 0, 2);
    tcase_add_test(rules, r4_parts_cover_an_append_without_gap_or_overlap);
    tcase_add_loop_test(rules, r5_answer_to_an_old_term_claims_nothing, 0, 2);
    tcase_add_loop_test(rules, r6_refused_pre_vote_carries_the_newer_term, 0, 2);
    tcase_add_loop_test(rules, r6_late_vote_result_does_not_disturb_a_follower, 0, 2);
    tcase_add_loop_test(rules, r7_standby_votes_when_no_leader_is_in_sight, 0, 2);
    tcase_add_loop_test(rules, r22_only_the_first_election_after_timeout_now_is_disruptive, 0, 2);
    tcase_add_loop_test(rules, r12_state_that_comes_too_late_is_not_answered, 0, 2);
    tcase_add_loop_test(rules, r18_append_that_contradicts_what_is_committed_is_refused, 0, 2);
    tcase_add_test(rules, r27_promises_are_kept);
    tcase_add_test(rules, r27_a_promise_lasts_a_timeout);
    tcase_add_test(rules, r27_restarted_member_is_silent);
    tcase_add_loop_test(rules, r27_late_order_is_none, 0, 2);
    tcase_add_loop_test(rules, r25_candidate_asks_again_before_it_raises_its_term, 0, 2);
    suite_add_tcase(suite, rules);
    return suite;
}

TEST_MAIN(raft_rules_suite)
