/* Replicas that are behind their leader's log, or have nothing, get its state: whole shards on simulated disks, with
 * lost calls, deaths of either side at every disk operation, changes of leader, trims, and load that goes on. */
#include "tests/lib/catchup_world.h"

#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "replication/catchup_wire.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"

static struct catchup_world world;

static bool has_leader(struct catchup_world *w)
{
    return catchup_world_leader(w) >= 0;
}

static void open_world(uint64_t seed, unsigned voters)
{
    catchup_world_open(&world, seed, voters);
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        catchup_node_start(&world, i);
    }
    ck_assert(catchup_world_until(&world, has_leader, 20000));
}

static unsigned follower(void)
{
    int leader = catchup_world_leader(&world);
    ck_assert_int_ge(leader, 0);
    return ((unsigned)leader + 1) % CATCHUP_NODES;
}

static void level(void)
{
    ck_assert(catchup_world_until(&world, catchup_world_is_level, 60000));
}

/* Goal: a member that comes with nothing is filled and can vote. Method: two voters with records in many segments,
 * more than the leader keeps in memory; a third is added, gets the state and is promoted; it leads alone with one of
 * the others. */
START_TEST(joiner_is_filled)
{
    open_world((uint64_t)_i, 2);
    catchup_world_fill(&world, 800, 2000);
    catchup_world_add(&world, 2, false);
    level();
    ck_assert_uint_gt(world.reads, 0);
    catchup_world_add(&world, 2, true);
    catchup_world_fill(&world, 20, 200);
    level();
    catchup_node_stop(&world, 0);
    ck_assert(catchup_world_until(&world, has_leader, 20000));
    catchup_world_fill(&world, 20, 200);
    level();
    for (unsigned i = 1; i < CATCHUP_NODES; i++) {
        catchup_node_kill(&world, i);
        catchup_node_start(&world, i);
    }
    catchup_node_start(&world, 0);
    level();
    catchup_world_close(&world);
}
END_TEST

/* Goal: a member that was away gets what it lacks and no more. Method: three voters; one is killed, 2 MB are written;
 * it comes back and is level; what was pulled is less than all. Then the same once more. */
START_TEST(follower_gets_what_it_lacks)
{
    open_world((uint64_t)_i, 3);
    catchup_world_fill(&world, 1200, 2000);
    level();
    for (unsigned i = 0; i < 2; i++) {
        unsigned away = follower();
        catchup_node_checkpoint(&world, away);
        catchup_node_checkpoint(&world, away);
        catchup_node_kill(&world, away);
        catchup_world_fill(&world, 1000, 2000);
        world.read_bytes = 0;
        catchup_node_start(&world, away);
        level();
        ck_assert_uint_gt(world.read_bytes, 1000 * 2000);
        ck_assert_uint_lt(world.read_bytes, 1100 * 2100);
    }
    catchup_world_close(&world);
}
END_TEST

static Suite *catchup_suite(void)
{
    Suite *suite = suite_create("catchup");
    TCase *tcase = tcase_create("catchup");
    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, joiner_is_filled, 1, 4);
    tcase_add_loop_test(tcase, follower_gets_what_it_lacks, 1, 4);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(catchup_suite)
