/* What a shard believes about leaders, as news come in any order. */
#include "base/mem.h"
#include "broker/leaders.h"
#include "tests/lib/test.h"
#include "tests/lib/turn_env.h"

enum {
    GROUP = 7,
    OWN = 1
};

struct news {
    int32_t broker, epoch, source;
};

struct story {
    const char *name;
    struct news news[4];
    size_t count;
    struct {
        int32_t broker, epoch;
    } end;
};

static const struct story stories[] = {
    {"nothing was told", {{0}}, 0, {-1, -1}},
    {"a leader tells", {{2, 5, 2}}, 1, {2, 5}},
    {"an older epoch comes late", {{3, 6, 3}, {2, 5, 2}}, 2, {3, 6}},
    {"an older leader ceases late", {{3, 6, 3}, {-1, 5, 2}}, 2, {3, 6}},
    {"a follower does not know at the same epoch", {{2, 5, 2}, {-1, 5, OWN}}, 2, {2, 5}},
    {"the leader itself ceases at the same epoch", {{2, 5, 2}, {-1, 5, 2}}, 2, {-1, 5}},
    {"another leader's ceasing at a newer epoch comes first", {{2, 5, 2}, {-1, 6, 2}, {3, 6, 3}}, 3, {3, 6}},
    {"and comes last", {{2, 5, 2}, {3, 6, 3}, {-1, 6, 2}}, 3, {3, 6}},
    {"an election begins here", {{2, 5, 2}, {-1, 6, OWN}}, 2, {-1, 6}},
    {"a follower names the leader first", {{-1, 6, OWN}, {3, 6, OWN}, {3, 6, 3}}, 3, {3, 6}},
};

static struct leaders *open_with(struct turn_env *env, const struct story *story)
{
    turn_env_init(env, 1);
    struct leaders *leaders = leaders_open(&env->env);
    for (size_t i = 0; i < story->count; i++) {
        leaders_set(leaders, GROUP, story->news[i].broker, story->news[i].epoch, story->news[i].source);
    }
    return leaders;
}

/* Goal: only the word of who can know counts. Method: orders of news that links and shards can bring about. */
START_TEST(story_ends_as_told)
{
    const struct story *story = &stories[_i];
    struct turn_env env;
    struct leaders *leaders = open_with(&env, story);
    struct leader leader = leaders_get(leaders, GROUP);
    ck_assert_msg(leader.broker == story->end.broker && leader.epoch == story->end.epoch, "%s: %d at %d", story->name,
                  leader.broker, leader.epoch);
    leaders_close(leaders);
    turn_env_deinit(&env);
}
END_TEST

/* Goal: nobody is told of a dead broker as leader; it leads on when it turns out to live without having told anything,
 * as one that was only slow does. Method: one reason after the other, each taken back. */
START_TEST(dead_broker_leads_nothing)
{
    static const struct story led = {"", {{2, 5, 2}}, 1, {2, 5}};
    struct turn_env env;
    struct leaders *leaders = open_with(&env, &led);
    leaders_set(leaders, GROUP + 1, 3, 4, 3);
    leaders_hide(leaders, 2, LEADERS_ENDED);
    ck_assert_int_eq(leaders_get(leaders, GROUP).broker, -1);
    ck_assert_int_eq(leaders_get(leaders, GROUP).epoch, 5);
    ck_assert_int_eq(leaders_get(leaders, GROUP + 1).broker, 3);
    leaders_hide(leaders, 2, LEADERS_SILENT);
    leaders_show(leaders, 2, LEADERS_ENDED);
    ck_assert_int_eq(leaders_get(leaders, GROUP).broker, -1);
    leaders_show(leaders, 2, LEADERS_SILENT);
    ck_assert_int_eq(leaders_get(leaders, GROUP).broker, 2);
    leaders_show(leaders, 2, LEADERS_SILENT);
    leaders_close(leaders);
    turn_env_deinit(&env);
}
END_TEST

/* Goal: the successor of a dead broker is told of at once, and the dead one's return does not undo it. */
START_TEST(successor_is_told_of)
{
    static const struct story led = {"", {{2, 5, 2}}, 1, {2, 5}};
    struct turn_env env;
    struct leaders *leaders = open_with(&env, &led);
    leaders_hide(leaders, 2, LEADERS_ENDED);
    leaders_set(leaders, GROUP, 3, 6, 3);
    ck_assert_int_eq(leaders_get(leaders, GROUP).broker, 3);
    leaders_show(leaders, 2, LEADERS_ENDED);
    leaders_set(leaders, GROUP, 2, 5, 2);
    ck_assert_int_eq(leaders_get(leaders, GROUP).broker, 3);
    leaders_close(leaders);
    turn_env_deinit(&env);
}
END_TEST

/* Goal: who asks for leaders waits while a change is under way, and not for what has come to stay. Method: a group that
 * is new, led, handed over, led again, and left by a leader that ends; the clock goes on between. */
START_TEST(news_are_due_for_a_while)
{
    static const struct story none = {"", {{0}}, 0, {-1, -1}};
    struct turn_env env;
    struct leaders *leaders = open_with(&env, &none);
    turn_env_advance(&env, 5000000);
    int64_t new_ms = leaders_due_ms(leaders, GROUP);
    ck_assert_int_gt(new_ms, 0);
    turn_env_advance(&env, 400000);
    leaders_set(leaders, GROUP, -1, 1, OWN);
    ck_assert_int_eq(leaders_due_ms(leaders, GROUP), new_ms - 400);
    turn_env_advance(&env, (uint64_t)new_ms * 1000);
    ck_assert_int_eq(leaders_due_ms(leaders, GROUP), 0);
    leaders_set(leaders, GROUP, 2, 2, 2);
    ck_assert_int_eq(leaders_due_ms(leaders, GROUP), 0);

    leaders_set(leaders, GROUP, -1, 3, OWN);
    int64_t lost_ms = leaders_due_ms(leaders, GROUP);
    ck_assert(lost_ms > 0 && lost_ms < new_ms);
    turn_env_advance(&env, 100000);
    leaders_set(leaders, GROUP, -1, 4, OWN);
    ck_assert_int_eq(leaders_due_ms(leaders, GROUP), lost_ms - 100);
    leaders_set(leaders, GROUP, 3, 4, 3);
    ck_assert_int_eq(leaders_due_ms(leaders, GROUP), 0);

    turn_env_advance(&env, 5000000);
    leaders_hide(leaders, 3, LEADERS_ENDED);
    turn_env_advance(&env, 100000);
    leaders_hide(leaders, 3, LEADERS_SILENT);
    ck_assert_int_eq(leaders_due_ms(leaders, GROUP), lost_ms - 100);
    turn_env_advance(&env, (uint64_t)lost_ms * 1000);
    ck_assert_int_eq(leaders_due_ms(leaders, GROUP), 0);
    leaders_close(leaders);
    turn_env_deinit(&env);
}
END_TEST

static bool is_even(void *context, uint64_t group)
{
    (void)context;
    return group % 2 == 0;
}

/* Goal: "all that I lead" ends what was missed meanwhile, for the groups it speaks of and the broker it is from. */
START_TEST(whole_news_end_what_was_missed)
{
    static const struct story none = {"", {{0}}, 0, {-1, -1}};
    static const uint64_t kept[] = {2};
    struct turn_env env;
    struct leaders *leaders = open_with(&env, &none);
    for (uint64_t group = 1; group <= 4; group++) {
        leaders_set(leaders, group, 2, 5, 2);
    }
    leaders_set(leaders, 6, 3, 5, 3);
    leaders_keep_only(leaders, 2, kept, 1, NULL, is_even);
    ck_assert_int_eq(leaders_get(leaders, 1).broker, 2);
    ck_assert_int_eq(leaders_get(leaders, 2).broker, 2);
    ck_assert_int_eq(leaders_get(leaders, 3).broker, 2);
    ck_assert_int_eq(leaders_get(leaders, 4).broker, -1);
    ck_assert_int_eq(leaders_get(leaders, 6).broker, 3);
    leaders_close(leaders);
    turn_env_deinit(&env);
}
END_TEST

static Suite *leaders_suite(void)
{
    Suite *suite = suite_create("leaders");
    TCase *tcase = tcase_create("news");
    tcase_add_loop_test(tcase, story_ends_as_told, 0, (int)array_count(stories));
    tcase_add_test(tcase, dead_broker_leads_nothing);
    tcase_add_test(tcase, successor_is_told_of);
    tcase_add_test(tcase, news_are_due_for_a_while);
    tcase_add_test(tcase, whole_news_end_what_was_missed);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(leaders_suite)
