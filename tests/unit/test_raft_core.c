/* The wrapper around libraft as a whole: what it is built on, what it owns, what it survives. The rules one by one are
 * in test_raft_rules.c and test_raft_rules_leader.c. */
#include "base/mem.h"
#include "base/trace.h"
#include "replication/raft_rules.h"
#include "tests/lib/raft_member.h"
#include "tests/lib/test.h"

#include <string.h>

static struct member member;
static struct member others[2];

static void quiet(void)
{
    trace_set_level(TRACE_RAFT, TRACE_ERROR);
    raft_rules_disabled = 0;
}

/* Goal: the rules belong to one version of libraft (R1). Method: what the core was compiled against. */
START_TEST(core_is_built_on_the_version_the_rules_are_for)
{
    struct membership three = member_membership(3, 0);
    struct raft_core_probe probe;
    member_open(&member, 1, &three, 1, 0);
    raft_core_probe(member.core, &probe);
    ck_assert_uint_eq(probe.version, 2201);
    member_close(&member);
}
END_TEST

/* Goal: libraft reads our encoding of a membership as we mean it. Method: the largest one, through START and through a
 * checkpoint; what libraft then holds is compared. */
START_TEST(libraft_reads_memberships_as_we_write_them)
{
    struct membership large = member_membership(8, 7);
    struct raft_core_probe probe;
    member_open(&member, 3, &large, 1, 2);
    raft_core_probe(member.core, &probe);
    ck_assert(membership_equal(&probe.membership, &large));
    member_close(&member);
    member_open_at(&member, 3, &large, 77, 4);
    raft_core_probe(member.core, &probe);
    ck_assert(membership_equal(&probe.membership, &large));
    ck_assert_uint_eq(probe.commit_index, 77);
    member_close(&member);
}
END_TEST

static void deliver(struct member *from, struct member *all[3])
{
    struct replica_message messages[MEMBER_MESSAGE_MAX];
    unsigned count = from->message_count;
    memcpy(messages, from->messages, sizeof messages);
    uint64_t id = from == all[0] ? 1 : from == all[1] ? 2 : 3;
    for (unsigned i = 0; i < count; i++) {
        struct member *to = all[messages[i].peer - 1];
        struct replica_message message = messages[i];
        struct entry *copies[64];
        message.peer = id;
        if (message.kind == REPLICA_APPEND) {
            for (unsigned k = 0; k < message.append.entry_count; k++) { /* as over a wire: nothing is shared */
                const struct entry *entry = messages[i].append.entries[k];
                copies[k] = entry_new_copy(entry->kind, entry->index, entry->term,
                                           entry->slice_count > 0 ? entry->slices[0].bytes : BYTES_NONE);
            }
            message.append.entries = copies;
        }
        member_receive(to, &message);
        for (unsigned k = 0; message.kind == REPLICA_APPEND && k < message.append.entry_count; k++) {
            entry_release(copies[k]);
        }
        deliver(to, all);
        if (raft_core_stored(to->core) < raft_core_last_index(to->core) &&
            raft_core_role(to->core) != REPLICA_CANDIDATE) {
            member_persist(to);
            deliver(to, all);
        }
    }
}

/* Goal: three members elect, replicate and commit when nothing goes wrong. Method: all messages are delivered at
 * once. */
START_TEST(three_members_elect_and_commit)
{
    struct membership three = member_membership(3, 0);
    struct member *all[3] = {&member, &others[0], &others[1]};
    for (unsigned i = 0; i < 3; i++) {
        member_open(all[i], i + 1, &three, 1, 0);
    }
    member_timeout(&member);
    deliver(&member, all);
    ck_assert_int_eq((int)raft_core_role(member.core), REPLICA_LEADER);
    for (unsigned i = 0; i < 10; i++) {
        member_submit(&member, 3);
        deliver(&member, all);
        member_persist(&member);
        deliver(&member, all);
    }
    member_timeout(&member);
    deliver(&member, all);
    for (unsigned i = 0; i < 3; i++) {
        ck_assert_uint_eq(raft_core_leader(all[i]->core), 1);
        ck_assert_uint_eq(raft_core_commit(all[i]->core), 32);
        ck_assert_uint_eq(raft_core_apply_bound(all[i]->core), 32);
        for (uint64_t index = 2; index <= 32; index++) {
            ck_assert_uint_eq(raft_core_term_at(all[i]->core, index), 2);
        }
        member_close(all[i]);
    }
}
END_TEST

/* Goal: a follower knows no leader of a term of which it has only heard from a candidate: two brokers would be named as
 * leaders of one term. Method: a leader, then the request of one whom that leader hands over to, then the new one's
 * entries. */
START_TEST(leaders_are_those_of_the_present_term)
{
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 1, 0);
    struct replica_message append = member_append(2, 2, 1, 1, 2, 1, 0, -1, NULL);
    member_receive(&member, &append);
    member_append_free(&append);
    member_persist(&member);
    ck_assert_uint_eq(raft_core_term_leader(member.core), 2);
    struct replica_message vote = {
        .kind = REPLICA_VOTE,
        .peer = 3,
        .term = 3,
        .vote = {.last_index = 2, .last_term = 2, .is_disruptive = true, .deposed_term = 2},
    };
    member_receive(&member, &vote);
    ck_assert_uint_eq(raft_core_term(member.core), 3);
    ck_assert_uint_eq(raft_core_term_leader(member.core), 0);
    append = member_append(3, 3, 2, 2, 3, 1, 0, -1, NULL);
    member_receive(&member, &append);
    member_append_free(&append);
    ck_assert_uint_eq(raft_core_term_leader(member.core), 3);
    member_close(&member);
}
END_TEST

/* Goal: who needs no time gets no deadline (R14, N11). Method: a sole voter alone and with a standby, a standby, a
 * follower. */
START_TEST(deadlines_are_for_those_who_need_them)
{
    struct membership one = member_membership(1, 0);
    struct membership pair = member_membership(1, 1);
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &one, 1, 0);
    ck_assert_uint_eq(raft_core_deadline_ms(member.core), UINT64_MAX);
    member_close(&member);
    member_open(&member, 1, &pair, 1, 0);
    ck_assert_uint_eq(raft_core_deadline_ms(member.core), member.now_ms + MEMBER_HEARTBEAT_MS);
    member_close(&member);
    member_open(&member, 2, &pair, 1, 0);
    ck_assert_uint_eq(raft_core_deadline_ms(member.core), UINT64_MAX);
    member_close(&member);
    member_open(&member, 2, &three, 1, 0);
    ck_assert_uint_ge(raft_core_deadline_ms(member.core), member.now_ms + MEMBER_ELECTION_MS);
    ck_assert_uint_le(raft_core_deadline_ms(member.core), member.now_ms + 2 * MEMBER_ELECTION_MS);
    member_close(&member);
}
END_TEST

/* Goal: members need not wait for a heartbeat to hear what is committed, when they are told. Method: an entry is
 * committed by both answers; nothing leaves before TELL, and then the commit index goes to both at once. */
START_TEST(members_are_told_of_what_is_committed)
{
    struct membership three = member_membership(3, 0);
    member_open(&member, 1, &three, 1, 0);
    member_elect(&member, 3);
    member_submit(&member, 1);
    member_persist(&member);
    struct replica_message ack = member_ack(2, 2, 3);
    member_receive(&member, &ack);
    ck_assert_uint_eq(raft_core_commit(member.core), 3);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_TELL});
    ck_assert_int_eq((int)member.err, (int)OK);
    for (uint64_t peer = 2; peer <= 3; peer++) {
        const struct replica_message *append = member_message_to(&member, REPLICA_APPEND, peer);
        ck_assert_ptr_nonnull(append);
        ck_assert_uint_eq(append->append.commit_index, 3);
    }
    ck_assert_uint_ge(raft_core_deadline_ms(member.core), member.now_ms + MEMBER_HEARTBEAT_MS);
    member_close(&member);
    member_open(&member, 2, &three, 1, 0);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_TELL});
    ck_assert_int_eq((int)member.err, (int)ERR_NOT_LEADER);
    ck_assert_uint_eq(member.message_count, 0);
    member_close(&member);
}
END_TEST

/* Goal: the membership of a checkpoint is the one in force there, not the latest (R9e). Method: a standby is added at
 * 6; questions below and above, before and after the log is cut off. */
START_TEST(membership_is_known_at_every_index)
{
    struct membership three = member_membership(3, 0);
    struct membership four = member_membership(3, 1);
    uint64_t at;
    member_open(&member, 1, &three, 1, 2);
    member_elect(&member, 3);
    struct replica_message ack = member_ack(2, 2, 4);
    member_receive(&member, &ack);
    member_submit(&member, 1);
    ck_assert_int_eq((int)member_change(&member, &four), (int)OK);
    member_submit(&member, 1);
    member_persist(&member);
    ack = member_ack(2, 2, 7);
    member_receive(&member, &ack);
    ck_assert_uint_eq(raft_core_commit(member.core), 7);
    ck_assert(membership_equal(raft_core_membership_at(member.core, 5, &at), &three));
    ck_assert_uint_eq(at, 1);
    ck_assert(membership_equal(raft_core_membership_at(member.core, 6, &at), &four));
    ck_assert_uint_eq(at, 6);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_TRIM, .index = 5});
    ck_assert(membership_equal(raft_core_membership_at(member.core, 5, &at), &three));
    ck_assert_uint_eq(at, 1);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_TRIM, .index = 7});
    ck_assert(membership_equal(raft_core_membership_at(member.core, 7, &at), &four));
    ck_assert_uint_eq(at, 6);
    ck_assert_uint_eq(raft_core_term_at(member.core, 7), 2);
    ck_assert_uint_eq(raft_core_term_at(member.core, 6), 0);
    member_close(&member);
}
END_TEST

/* ---- Hostile messages ------------------------------------------------------------------------------------------- */

static uint64_t random_state;

static uint64_t draw(uint64_t bound)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (random_state >> 24) % bound;
}

/* A number near those that are in use, or a wild one. */
static uint64_t number(uint64_t near)
{
    static const uint64_t wild[] = {0, 1, UINT32_MAX, INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX - 1, UINT64_MAX};
    return draw(12) == 0 ? wild[draw(array_count(wild))] : near + 3 - draw(6 < near + 3 ? 6 : near + 3);
}

static struct replica_message random_append(uint64_t term)
{
    uint64_t last = raft_core_last_index(member.core);
    struct membership change = member_membership(1 + (unsigned)draw(4), (unsigned)draw(3));
    unsigned count = (unsigned)draw(6);
    uint64_t prev = number(last);
    uint64_t prev_term = draw(3) == 0 ? number(term) : raft_core_term_at(member.core, prev);
    struct replica_message message =
        member_append(2 + draw(2), term, prev, prev_term, draw(4) == 0 ? number(term) : term, count, number(last),
                      draw(3) == 0 ? (int)draw(6) : -1, &change);
    if (count > 0 && draw(10) == 0) {
        message.append.entries[draw(count)]->kind = (enum entry_kind)draw(6);
    }
    if (count > 0 && draw(10) == 0) {
        message.append.entries[draw(count)]->index = number(last);
    }
    return message;
}

static struct replica_message random_message(void)
{
    uint64_t term = number(raft_core_term(member.core));
    uint64_t last = raft_core_last_index(member.core);
    struct replica_message message = {.kind = (enum replica_message_kind)draw(9), .peer = number(3), .term = term};
    switch (message.kind) {
    case REPLICA_APPEND:
        return random_append(term);
    case REPLICA_APPEND_RESULT:
        message.append_result.rejected = draw(2) == 0 ? number(last) : 0;
        message.append_result.last_index = number(last);
        break;
    case REPLICA_VOTE:
        message.vote.last_index = number(last);
        message.vote.last_term = number(term);
        message.vote.is_pre_vote = draw(2) == 0;
        message.vote.is_disruptive = draw(4) == 0;
        break;
    case REPLICA_VOTE_RESULT:
        message.vote_result.is_granted = draw(2) == 0;
        message.vote_result.is_pre_vote = draw(2) == 0;
        break;
    case REPLICA_INSTALL:
        message.install.last_index = number(last);
        message.install.last_term = number(term);
        message.install.membership_index = number(1);
        message.install.membership = member_membership((unsigned)draw(5), (unsigned)draw(3));
        break;
    case REPLICA_TIMEOUT_NOW:
        message.timeout_now.last_index = number(last);
        message.timeout_now.last_term = number(term);
        break;
    default:
        break;
    }
    return message;
}

static void random_event(void)
{
    member.now_ms += draw(40);
    switch (draw(10)) {
    case 0:
        member_persist(&member);
        return;
    case 1:
        if (draw(4) == 0) {
            member_timeout(&member);
        }
        return;
    case 2:
        if (raft_core_role(member.core) == REPLICA_LEADER && raft_core_last_index(member.core) < MEMBER_LOG_MAX - 64) {
            member_submit(&member, 1 + (unsigned)draw(4));
        }
        return;
    case 3:
        member_step(&member,
                    (struct raft_core_event){.kind = RAFT_CORE_TRIM, .index = number(raft_core_commit(member.core))});
        return;
    default: {
        struct replica_message message = random_message();
        bool is_install = message.kind == REPLICA_INSTALL && draw(2) == 0;
        member_step(&member, (struct raft_core_event){.kind = is_install ? RAFT_CORE_INSTALL : RAFT_CORE_RECEIVE,
                                                      .message = &message});
        if (member.update.is_installing) {
            member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_INSTALLED});
        }
        if (message.kind == REPLICA_APPEND) {
            member_append_free(&message);
        }
        return;
    }
    }
}

/* Goal: whatever peers send, the core neither breaks its invariants nor its memory; at worst it says ERR_DAMAGED.
 * Method: seeded nonsense close to the truth, mixed with events that are right. */
START_TEST(hostile_messages_are_survived)
{
    struct membership three = member_membership(3, 0);
    trace_set_level(TRACE_RAFT, TRACE_ERROR);
    random_state = (uint64_t)_i * 977 + 5;
    for (unsigned life = 0; life < 20; life++) {
        if (draw(2) == 0) {
            member_open(&member, 1, &three, 1, (unsigned)draw(20));
        } else {
            member_open_at(&member, 1, &three, 2 + draw(40), 1 + draw(3));
        }
        for (unsigned i = 0; i < 400 && member.err != ERR_DAMAGED && raft_core_last_index(member.core) < 2000; i++) {
            random_event();
        }
        member_close(&member);
    }
}
END_TEST

/* Goal: while a staged state takes the log's place, a membership change of the log that went proves nothing and a new
 * one is not taken (R12, R19). Method: a follower with an uncommitted change is told to install; then a change arrives
 * right behind the state, as an APPEND that overtook the end of the installation. */
START_TEST(change_during_an_install_is_left_alone)
{
    struct membership three = member_membership(3, 0);
    struct membership more = member_membership(3, 1);
    struct membership most = member_membership(3, 2);
    member_open(&member, 2, &three, 3, 5);
    struct replica_message append = member_append(1, 3, 6, 3, 3, 3, 6, 1, &more);
    member_receive(&member, &append);
    member_append_free(&append);
    member_persist(&member);
    struct replica_message install = {
        .kind = REPLICA_INSTALL,
        .peer = 3,
        .term = 5,
        .install = {.last_index = 40, .last_term = 4, .membership_index = 1, .membership = three},
    };
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_INSTALL, .message = &install});
    ck_assert_int_eq((int)member.err, (int)OK);
    append = member_append(3, 5, 40, 4, 5, 1, 40, 0, &most);
    member_receive(&member, &append);
    ck_assert_uint_eq(raft_core_last_index(member.core), 40);
    member_step(&member, (struct raft_core_event){.kind = RAFT_CORE_INSTALLED});
    member_receive(&member, &append);
    member_append_free(&append);
    uint64_t index;
    ck_assert(membership_equal(raft_core_membership(member.core, &index), &most));
    ck_assert_uint_eq(index, 41);
    member_close(&member);
}
END_TEST

static Suite *core_suite(void)
{
    Suite *suite = suite_create("raft_core");
    TCase *core = tcase_create("core");
    tcase_add_checked_fixture(core, quiet, NULL);
    tcase_add_test(core, core_is_built_on_the_version_the_rules_are_for);
    tcase_add_test(core, libraft_reads_memberships_as_we_write_them);
    tcase_add_test(core, three_members_elect_and_commit);
    tcase_add_test(core, leaders_are_those_of_the_present_term);
    tcase_add_test(core, deadlines_are_for_those_who_need_them);
    tcase_add_test(core, members_are_told_of_what_is_committed);
    tcase_add_test(core, membership_is_known_at_every_index);
    tcase_add_test(core, change_during_an_install_is_left_alone);
    suite_add_tcase(suite, core);
    TCase *hostile = tcase_create("hostile");
    tcase_add_checked_fixture(hostile, quiet, NULL);
    tcase_add_loop_test(hostile, hostile_messages_are_survived, 0, 50);
    suite_add_tcase(suite, hostile);
    return suite;
}

TEST_MAIN(core_suite)
