/* Steps of membership: every small membership, every wish, every leader and every set of living brokers. */
#include "broker/mover_step.h"

#include <string.h>

#include "base/mem.h"
#include "tests/lib/test.h"

enum {
    SERVER_COUNT = 5,
    STEP_MAX = 40
};

/* A group of servers 1..SERVER_COUNT, played without a network: whoever lives follows at once. */
static struct {
    struct mover_view view;
    unsigned alive; /* bits by server */
    unsigned steps;
    unsigned transfers;
} w;

static bool is_alive(uint64_t server)
{
    return w.alive >> server & 1u;
}

static bool has_majority(const struct membership *membership)
{
    unsigned voters = 0;
    unsigned living = 0;
    for (unsigned i = 0; i < membership->count; i++) {
        voters += membership->servers[i].is_voter;
        living += membership->servers[i].is_voter && is_alive(membership->servers[i].id);
    }
    return living > voters / 2;
}

/* What the leader knows: the living have everything, the dead what they had. */
static void look(void)
{
    w.view.commit_index = w.view.membership_index;
    for (unsigned i = 0; i < w.view.now.count; i++) {
        bool is_live = is_alive(w.view.now.servers[i].id);
        w.view.members[i] = (struct mover_member){.match = is_live ? w.view.membership_index : 0, .is_live = is_live};
    }
    for (unsigned i = 0; i < w.view.wanted_count; i++) {
        w.view.is_wanted_live[i] = is_alive(w.view.wanted[i]);
    }
}

static bool take_step(void)
{
    struct mover_step step;
    struct membership before = w.view.now;
    look();
    bool had_majority = has_majority(&before);
    mover_next(&w.view, &step);
    ck_assert_ptr_nonnull(step.text);
    if (step.action == MOVER_CHANGE) {
        const struct replica_server *self = membership_find(&step.next, w.view.self);
        ck_assert(membership_is_one_step(&before, &step.next));
        ck_assert(self != NULL && self->is_voter);
        ck_assert(!had_majority || has_majority(&step.next));
        w.view.now = step.next;
        w.view.membership_index++;
    } else if (step.action == MOVER_TRANSFER) {
        const struct replica_server *target = membership_find(&before, step.server);
        ck_assert(target != NULL && target->is_voter && target->id != w.view.self && is_alive(target->id));
        w.view.self = step.server;
        w.transfers++;
    }
    w.steps += step.action == MOVER_CHANGE || step.action == MOVER_TRANSFER;
    ck_assert_uint_le(w.steps, STEP_MAX);
    return step.action == MOVER_CHANGE || step.action == MOVER_TRANSFER;
}

static bool is_reached(void)
{
    struct mover_step step;
    look();
    mover_next(&w.view, &step);
    bool is_done = step.action == MOVER_DONE;
    bool is_equal = w.view.now.count == w.view.wanted_count && membership_voter_count(&w.view.now) == w.view.now.count;
    for (unsigned i = 0; i < w.view.wanted_count; i++) {
        is_equal = is_equal && membership_find(&w.view.now, w.view.wanted[i]) != NULL;
    }
    ck_assert_int_eq(is_done, is_equal);
    return is_done;
}

/* roles: base 3 digit a server: not a member, standby, voter. False: no such membership. */
static bool begin(unsigned roles, unsigned wanted, unsigned self, unsigned alive)
{
    memset(&w, 0, sizeof(w));
    w.alive = alive | 1u << self;
    w.view.self = self;
    w.view.membership_index = 10;
    w.view.may_add = true;
    for (unsigned id = 1; id <= SERVER_COUNT; id++, roles /= 3) {
        if (roles % 3 > 0) {
            w.view.now.servers[w.view.now.count++] = (struct replica_server){id, roles % 3 == 2};
        }
        if (wanted >> id & 1u) {
            w.view.wanted[w.view.wanted_count++] = id;
        }
    }
    const struct replica_server *leader = membership_find(&w.view.now, self);
    return leader != NULL && leader->is_voter && w.view.wanted_count > 0;
}

enum {
    ROLES_COUNT = 243,
    SETS_COUNT = 1 << (SERVER_COUNT + 1)
};

/* Goal: with everybody alive every membership becomes every other, in as few changes as there can be (an addition and a
 * promotion, a demotion and a removal each), and leadership moves once at most and only from who is not wanted. */
START_TEST(every_membership_reaches_every_wish)
{
    unsigned cases = 0;
    for (unsigned wanted = 2; wanted < SETS_COUNT; wanted += 2) {
        for (unsigned self = 1; self <= SERVER_COUNT; self++) {
            if (!begin((unsigned)_i, wanted, self, SETS_COUNT - 1)) {
                continue;
            }
            unsigned least = 0;
            bool is_kept = wanted >> self & 1u;
            unsigned roles = (unsigned)_i;
            for (unsigned id = 1; id <= SERVER_COUNT; id++, roles /= 3) {
                least += wanted >> id & 1u ? 2 - roles % 3 : roles % 3;
            }
            while (take_step()) {
            }
            ck_assert(is_reached());
            ck_assert_uint_eq(w.transfers, is_kept ? 0 : 1);
            ck_assert_uint_eq(w.steps, least + w.transfers);
            cases++;
        }
    }
    ck_assert_uint_le(cases, SETS_COUNT * SERVER_COUNT);
}
END_TEST

/* Goal: whoever is dead, no step takes the majority from the living; when the wanted live, the wish is reached from
 * wherever the living are a majority; and when the dead come back it is reached in any case. */
START_TEST(no_step_loses_the_majority)
{
    for (unsigned wanted = 2; wanted < SETS_COUNT; wanted += 2) {
        for (unsigned self = 1; self <= SERVER_COUNT; self++) {
            for (unsigned alive = 0; alive < SETS_COUNT; alive += 2) {
                bool is_leader_alive = alive >> self & 1u;
                if (!is_leader_alive || !begin((unsigned)_i, wanted, self, alive) || !has_majority(&w.view.now)) {
                    continue;
                }
                while (take_step()) {
                }
                ck_assert(has_majority(&w.view.now));
                if ((wanted & ~w.alive) == 0) {
                    ck_assert(is_reached());
                }
                w.alive = SETS_COUNT - 1;
                while (take_step()) {
                }
                ck_assert(is_reached());
            }
        }
    }
}
END_TEST

static void want(const char *ids)
{
    w.view.wanted_count = 0;
    for (; *ids != '\0'; ids++) {
        w.view.wanted[w.view.wanted_count++] = (uint64_t)(*ids - '0');
    }
}

/* Members as text: 1v2v3s. */
static void members(const char *text)
{
    memset(&w, 0, sizeof(w));
    for (; *text != '\0'; text += 2) {
        w.view.now.servers[w.view.now.count++] = (struct replica_server){(uint64_t)(text[0] - '0'), text[1] == 'v'};
    }
    w.view.self = 1;
    w.view.membership_index = 10;
    w.view.may_add = true;
    w.alive = SETS_COUNT - 1;
    look();
    w.view.commit_index = 100;
}

static struct mover_step next(void)
{
    struct mover_step step;
    mover_next(&w.view, &step);
    return step;
}

/* Goal: a member votes only when it has all that is committed, and one catches up at a time. */
START_TEST(members_vote_when_they_have_the_log)
{
    members("1v2s");
    want("123");
    w.view.members[0].match = 100;
    w.view.members[1].match = 99;
    w.view.is_wanted_live[2] = true;
    ck_assert_int_eq(next().action, MOVER_WAIT);
    ck_assert_uint_eq(next().server, 2);
    w.view.members[1].match = 100;
    struct mover_step step = next();
    ck_assert_int_eq(step.action, MOVER_CHANGE);
    ck_assert(membership_find(&step.next, 2)->is_voter);
}
END_TEST

/* Goal: a broker that is busy with other catch-ups does not begin one more. */
START_TEST(additions_wait_for_room)
{
    members("1v2v");
    want("123");
    w.view.is_wanted_live[2] = true;
    w.view.may_add = false;
    ck_assert_int_eq(next().action, MOVER_WAIT);
    w.view.may_add = true;
    ck_assert_int_eq(next().action, MOVER_CHANGE);
}
END_TEST

/* Goal: a standby that is dead does not keep the others from being added. */
START_TEST(dead_standbys_are_passed_over)
{
    members("1v2s");
    want("123");
    w.view.members[1].is_live = false;
    w.view.is_wanted_live[2] = true;
    struct mover_step step = next();
    ck_assert_int_eq(step.action, MOVER_CHANGE);
    ck_assert_uint_eq(step.server, 3);
}
END_TEST

/* Goal: a demoted member is removed when it knows that it does not vote, or is dead, or after some time. */
START_TEST(demoted_members_learn_of_it_first)
{
    members("1v2v3s");
    want("12");
    w.view.members[2].match = 9;
    ck_assert_int_eq(next().action, MOVER_WAIT);
    ck_assert_uint_eq(next().server, 3);
    w.view.is_overdue = true;
    ck_assert_int_eq(next().action, MOVER_CHANGE);
    w.view.is_overdue = false;
    w.view.members[2].is_live = false;
    ck_assert_int_eq(next().action, MOVER_CHANGE);
    w.view.members[2] = (struct mover_member){.match = 10, .is_live = true};
    ck_assert_uint_eq(next().next.count, 2);
}
END_TEST

/* Goal: the dead go before the living, and those furthest behind first. */
START_TEST(the_dead_are_demoted_first)
{
    members("1v2v3v4v5v");
    want("1");
    w.view.members[3] = (struct mover_member){.match = 100, .is_live = false};
    ck_assert_uint_eq(next().server, 4);
    w.view.members[3].is_live = true;
    w.view.members[2].match = 3;
    ck_assert_uint_eq(next().server, 3);
}
END_TEST

/* Goal: leadership goes to the first of the wanted that has the log. */
START_TEST(leadership_goes_to_who_has_the_log)
{
    members("1v2v3v");
    want("23");
    for (unsigned i = 0; i < 3; i++) {
        w.view.members[i].match = 100;
    }
    /* only the leader is not wanted */
    ck_assert_int_eq(next().action, MOVER_TRANSFER);
    ck_assert_uint_eq(next().server, 2);
    w.view.members[1].match = 99;
    ck_assert_uint_eq(next().server, 3);
    w.view.members[2].is_live = false;
    ck_assert_int_eq(next().action, MOVER_WAIT);
}
END_TEST

/* Goal: a full group gives up a dead member for a new one (a broker that came back with an emptied disk), and no
 * living one. */
START_TEST(full_groups_give_up_the_dead)
{
    memset(&w, 0, sizeof(w));
    w.view.self = 1;
    w.view.may_add = true;
    for (unsigned i = 0; i < REPLICA_SERVER_COUNT_MAX; i++) {
        w.view.now.servers[i] = (struct replica_server){i + 1, true};
        w.view.members[i].is_live = true;
        w.view.wanted[i] = i == 6 ? 100 : i + 1;
        w.view.is_wanted_live[i] = true;
    }
    w.view.now.count = REPLICA_SERVER_COUNT_MAX;
    w.view.wanted_count = REPLICA_SERVER_COUNT_MAX;
    ck_assert_int_eq(next().action, MOVER_WAIT);
    w.view.members[6].is_live = false;
    ck_assert_int_eq(next().action, MOVER_CHANGE);
    ck_assert_uint_eq(next().server, 7);
}
END_TEST

static Suite *mover_step_suite(void)
{
    Suite *suite = suite_create("mover_step");
    TCase *steps = tcase_create("steps");
    tcase_set_timeout(steps, 120);
    tcase_add_loop_test(steps, every_membership_reaches_every_wish, 0, ROLES_COUNT);
    tcase_add_loop_test(steps, no_step_loses_the_majority, 0, ROLES_COUNT);
    tcase_add_test(steps, members_vote_when_they_have_the_log);
    tcase_add_test(steps, additions_wait_for_room);
    tcase_add_test(steps, dead_standbys_are_passed_over);
    tcase_add_test(steps, demoted_members_learn_of_it_first);
    tcase_add_test(steps, the_dead_are_demoted_first);
    tcase_add_test(steps, leadership_goes_to_who_has_the_log);
    tcase_add_test(steps, full_groups_give_up_the_dead);
    suite_add_tcase(suite, steps);
    return suite;
}

TEST_MAIN(mover_step_suite)
