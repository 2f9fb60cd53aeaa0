/* The next step of the metadata group's membership. */
#include "base/mem.h"
#include "broker/metadata_members.h"
#include "tests/lib/test.h"

#include <string.h>

enum {
    SELF = 100,
    OTHERS = 4
};

/* ---- Every small world ---- */

enum state {
    READY,
    BEHIND,
    DEAD,
    LOST,
    STALE,
    UNKNOWN,
    UNKNOWN_LOST,
    STATE_COUNT
};
enum role {
    NONE,
    STANDBY,
    VOTER,
    ROLE_COUNT
};

struct world {
    struct members_view view;
    struct members_server servers[OTHERS + 1];
};

static struct members_server server_in(uint64_t id, enum state state)
{
    return (struct members_server){
        .id = id,
        .is_registered = state == READY || state == BEHIND || state == DEAD || state == LOST,
        .is_stale = state == STALE,
        .is_alive = state == READY || state == BEHIND,
        .is_lost = state == LOST || state == UNKNOWN_LOST || state == STALE,
        .is_caught_up = state == READY,
    };
}

/* False: no such world, as nobody knows of a server that is neither registered nor a member. */
static bool world_make(struct world *world, unsigned number, unsigned founders)
{
    *world = (struct world){.view = {.self = SELF, .founder_count = founders}};
    world->servers[0] = server_in(SELF, READY);
    world->view.now.servers[world->view.now.count++] = (struct replica_server){SELF, true};
    world->view.server_count = 1;
    for (unsigned i = 0; i < OTHERS; i++) {
        enum state state = number % STATE_COUNT;
        number /= STATE_COUNT;
        enum role role = number % ROLE_COUNT;
        number /= ROLE_COUNT;
        if (role == NONE && (state == STALE || state == UNKNOWN || state == UNKNOWN_LOST)) {
            return false;
        }
        world->servers[world->view.server_count++] = server_in(i + 1, state);
        if (role != NONE) {
            world->view.now.servers[world->view.now.count++] = (struct replica_server){i + 1, role == VOTER};
        }
    }
    return true;
}

static const struct members_server *server_of(const struct world *world, uint64_t id)
{
    for (size_t i = 0; i < world->view.server_count; i++) {
        if (world->servers[i].id == id) {
            return &world->servers[i];
        }
    }
    ck_abort_msg("no server %llu", (unsigned long long)id);
}

static bool majority_is_alive(const struct world *world, const struct membership *membership)
{
    unsigned alive = 0;
    for (unsigned i = 0; i < membership->count; i++) {
        const struct members_server *server = server_of(world, membership->servers[i].id);
        alive += membership->servers[i].is_voter && server->is_alive && !server->is_stale;
    }
    return 2 * alive > membership_voter_count(membership);
}

static void assert_end(const struct world *world, unsigned number)
{
    const struct membership *now = &world->view.now;
    unsigned voters = membership_voter_count(now);
    unsigned wanted = members_voters_wanted(&world->view);
    unsigned ready = 0;
    for (unsigned i = 0; i < now->count; i++) {
        const struct members_server *server = server_of(world, now->servers[i].id);
        ck_assert_msg(!server->is_stale || now->servers[i].is_voter, "world %u: a stale standby stays", number);
        ready += !now->servers[i].is_voter && server->is_registered && server->is_alive && server->is_caught_up;
    }
    for (size_t i = 0; i < world->view.server_count; i++) {
        ck_assert_msg(!world->servers[i].is_registered || !world->servers[i].is_alive ||
                          membership_find(now, world->servers[i].id) != NULL,
                      "world %u: a live broker is no member", number);
    }
    /* Who could vote does, up to what is wanted; a raise from an odd number needs two. */
    ck_assert_msg(voters <= wanted || voters == 2, "world %u: %u voters, %u wanted", number, voters, wanted);
    ck_assert_msg(voters >= wanted || ready < (voters % 2 == 0 ? 1u : 2u), "world %u: %u voters, %u could follow",
                  number, voters, ready);
    for (unsigned i = 0; voters == wanted && ready > 0 && i < now->count; i++) {
        ck_assert_msg(!now->servers[i].is_voter || !server_of(world, now->servers[i].id)->is_lost || voters == 1,
                      "world %u: a lost voter stays", number);
    }
}

/* Goal: from every membership, with every state of every server, the steps are ones that Raft can take, never touch the
 * leader, never leave the majority to the dead, and end where the header says. Method: every world of a leader and four
 * others, 7 states and 3 roles each, followed to its end. */
START_TEST(every_world_ends_well)
{
    static const unsigned founders[] = {1, 3, 5};
    unsigned total = 1;
    for (unsigned i = 0; i < OTHERS; i++) {
        total *= (unsigned)STATE_COUNT * ROLE_COUNT;
    }
    for (unsigned number = 0; number < total; number++) {
        struct world world;
        if (!world_make(&world, number, founders[_i]) || !majority_is_alive(&world, &world.view.now)) {
            continue;
        }
        world.view.servers = world.servers;
        struct membership next;
        unsigned steps = 0;
        while (members_next(&world.view, &next)) {
            ck_assert_msg(membership_is_one_step(&world.view.now, &next), "world %u: no step", number);
            const struct replica_server *self = membership_find(&next, SELF);
            ck_assert_msg(self != NULL && self->is_voter, "world %u: the leader goes", number);
            ck_assert_msg(majority_is_alive(&world, &next), "world %u: the majority is dead", number);
            world.view.now = next;
            ck_assert_msg(++steps < 40, "world %u: no end", number);
        }
        assert_end(&world, number);
    }
}
END_TEST

/* Goal: where there is no majority, nothing is proposed that could not be agreed on anyway. */
START_TEST(minority_changes_nothing)
{
    struct members_server servers[] = {server_in(SELF, READY), server_in(1, DEAD), server_in(2, STALE),
                                       server_in(3, READY)};
    struct members_view view = {.now = {{{SELF, true}, {1, true}, {2, true}}, 3},
                                .self = SELF,
                                .servers = servers,
                                .server_count = 4,
                                .founder_count = 3};
    struct membership next;
    ck_assert(!members_next(&view, &next));
}
END_TEST

/* ---- Stories ---- */

struct story {
    const char *name;
    struct membership now;
    struct members_server servers[5];
    size_t server_count;
    unsigned founder_count;
    struct membership ends[6]; /* each step, up to an empty one */
};

#define READY_(n)                         \
    {                                     \
        n, true, false, true, false, true \
    }
#define BEHIND_(n)                         \
    {                                      \
        n, true, false, true, false, false \
    }
#define LOST_(n)                           \
    {                                      \
        n, true, false, false, true, false \
    }
#define STALE_(n)                          \
    {                                      \
        n, false, true, false, true, false \
    }

static const struct story stories[] = {
    {"one broker grows to three",
     {{{SELF, true}}, 1},
     {READY_(SELF), READY_(1), READY_(2)},
     3,
     1,
     {{{{SELF, true}, {1, false}}, 2},
      {{{SELF, true}, {1, false}, {2, false}}, 3},
      {{{SELF, true}, {1, true}, {2, false}}, 3},
      {{{SELF, true}, {1, true}, {2, true}}, 3}}},
    {"a second broker alone does not vote",
     {{{SELF, true}}, 1},
     {READY_(SELF), READY_(1)},
     2,
     1,
     {{{{SELF, true}, {1, false}}, 2}}},
    {"a wiped voter leaves before its successor votes",
     {{{SELF, true}, {1, true}, {2, true}}, 3},
     {READY_(SELF), READY_(1), STALE_(2), READY_(3)},
     4,
     3,
     {{{{SELF, true}, {1, true}}, 2},
      {{{SELF, true}, {1, true}, {3, false}}, 3},
      {{{SELF, true}, {1, true}, {3, true}}, 3}}},
    {"a lost voter is replaced by a standby",
     {{{SELF, true}, {1, true}, {2, true}, {3, false}}, 4},
     {READY_(SELF), READY_(1), LOST_(2), READY_(3)},
     4,
     3,
     {{{{SELF, true}, {1, true}, {2, false}, {3, false}}, 4}, {{{SELF, true}, {1, true}, {2, false}, {3, true}}, 4}}},
    {"a lost voter stays while nobody can take its place",
     {{{SELF, true}, {1, true}, {2, true}, {3, false}}, 4},
     {READY_(SELF), READY_(1), LOST_(2), BEHIND_(3)},
     4,
     3,
     {{.count = 0}}},
};

/* Goal: the cases that the rules were made for go as drawn. */
START_TEST(story_goes_as_told)
{
    const struct story *story = &stories[_i];
    struct members_view view = {.now = story->now,
                                .self = SELF,
                                .servers = story->servers,
                                .server_count = story->server_count,
                                .founder_count = story->founder_count};
    struct membership next;
    for (size_t i = 0; story->ends[i].count > 0; i++) {
        ck_assert_msg(members_next(&view, &next), "%s: step %zu does not come", story->name, i);
        ck_assert_msg(membership_equal(&next, &story->ends[i]), "%s: step %zu is another", story->name, i);
        view.now = next;
    }
    ck_assert_msg(!members_next(&view, &next), "%s: goes on", story->name);
}
END_TEST

static Suite *metadata_members_suite(void)
{
    Suite *suite = suite_create("metadata_members");
    TCase *worlds = tcase_create("worlds");
    tcase_set_timeout(worlds, 120);
    tcase_add_loop_test(worlds, every_world_ends_well, 0, 3);
    tcase_add_test(worlds, minority_changes_nothing);
    suite_add_tcase(suite, worlds);
    TCase *told = tcase_create("stories");
    tcase_add_loop_test(told, story_goes_as_told, 0, (int)array_count(stories));
    suite_add_tcase(suite, told);
    return suite;
}

TEST_MAIN(metadata_members_suite)
