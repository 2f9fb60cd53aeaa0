/* Replicas that are behind their leader's log, or have nothing, get its state: whole shards on simulated disks, with
 * lost calls, deaths of either side at every disk operation, changes of leader, trims, and load that goes on. */
#include "tests/lib/catchup_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "replication/catchup_wire.h"
#include "replication/scrub.h"
#include "tests/lib/sim_disk.h"
#include "tests/lib/test.h"

static struct catchup_world world;

static bool has_leader(struct catchup_world *w)
{
    return catchup_world_leader(w) >= 0;
}

static void open_world_of(uint64_t seed, unsigned voters, uint64_t segment_size)
{
    catchup_world_open(&world, seed, voters);
    world.segment_size = segment_size;
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        catchup_node_start(&world, i);
    }
    ck_assert(catchup_world_until(&world, has_leader, 20000));
}

static void open_world(uint64_t seed, unsigned voters)
{
    open_world_of(seed, voters, KIB(16));
}

static unsigned follower(void)
{
    int leader = catchup_world_leader(&world);
    ck_assert_int_ge(leader, 0);
    return ((unsigned)leader + 1) % CATCHUP_NODES;
}

static void fail_with_state(void)
{
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        struct replica_status status = catchup_node_status(&world, i);
        (void)fprintf(stderr,
                      "node %u: up %d role %d term %llu leader %llx first %llu last %llu commit %llu applied %llu "
                      "members %u\n",
                      i + 1, catchup_node_is_up(&world.nodes[i]), (int)status.role, (unsigned long long)status.term,
                      (unsigned long long)status.leader, (unsigned long long)status.first_index,
                      (unsigned long long)status.last_index, (unsigned long long)status.commit_index,
                      (unsigned long long)status.applied_index, status.membership.count);
    }
    ck_abort_msg("not level: %u begins, %u reads, %u signals, %llu asked, %llu acknowledged", world.begins, world.reads,
                 world.installs_sent, (unsigned long long)world.asked, (unsigned long long)world.acked);
}

static void level(void)
{
    if (!catchup_world_until(&world, catchup_world_is_level, 60000)) {
        fail_with_state();
    }
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

/* ---- Faults */

enum {
    SWEEP_FILL = 700,
    SWEEP_SIZE = 2000
};

/* A group of three of which one was away for long and starts now. */
static unsigned open_lagging(uint64_t seed)
{
    open_world(seed, 3);
    catchup_world_fill(&world, 300, SWEEP_SIZE);
    level();
    unsigned away = follower();
    catchup_node_checkpoint(&world, away);
    catchup_node_kill(&world, away);
    catchup_world_fill(&world, SWEEP_FILL, SWEEP_SIZE);
    return away;
}

/* Restarts whoever has ended. */
static void revive(void)
{
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        struct catchup_node *node = &world.nodes[i];
        if (node->process != NULL && !catchup_node_is_up(node)) {
            ck_assert_msg(sim_process_end(node->process) != SIM_STOPPED, "node %u stopped: %s", i + 1,
                          sim_process_end_text(node->process));
            catchup_node_kill(&world, i);
        }
        if (node->process == NULL) {
            catchup_node_start(&world, i);
        }
    }
}

static void no_damage(void)
{
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        ck_assert_uint_eq(world.nodes[i].damages, 0);
    }
}

/* What is left on a disk that should not be. */
static void note_leftover(const char *path, uint64_t size, bool is_directory, void *context)
{
    unsigned *count = context;
    (void)size;
    if (!is_directory && (strstr(path, ".staging/") != NULL || strstr(path, ".deleted") != NULL)) {
        (*count)++;
    }
}

static void no_leftovers(void)
{
    catchup_world_run(&world, 3000);
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        unsigned count = 0;
        char dir[16] = "/n1/topics";
        dir[2] = (char)('1' + i);
        sim_disk_walk(world.nodes[i].disk, dir, note_leftover, &count);
        ck_assert_msg(count == 0, "node %u: %u files are left", i + 1, count);
    }
}

/* Goal: a death of the follower at any change of its disk during a catch-up leaves something that a start goes on from.
 * Method: it dies at the n-th change after its start, by a crash in the middle of it or with power loss; it is started
 * again, and must get level with the same bytes. n sweeps over all changes of a whole catch-up. */
START_TEST(follower_dies_at_each_change)
{
    uint64_t step = 7;
    for (uint64_t at = 1 + (uint64_t)_i; at < 10000; at += step) {
        unsigned away = open_lagging(at);
        struct catchup_node *node = &world.nodes[away];
        sim_disk_crash_at(node->disk, sim_disk_change_count(node->disk) + at);
        catchup_node_start(&world, away);
        for (unsigned i = 0; i < 2000 && catchup_node_is_up(node) && world.installs_sent < 100; i++) {
            catchup_world_run(&world, 5);
            if (i > 100 && catchup_world_is_level(&world)) {
                break;
            }
        }
        bool is_dead = !catchup_node_is_up(node);
        sim_disk_crash_at(node->disk, 0);
        if (is_dead && at % 2 == 0) {
            catchup_node_power_loss(&world, away);
        }
        revive();
        level();
        no_damage();
        no_leftovers();
        catchup_world_close(&world);
        step = at < 40 ? 7 : 29;
        if (!is_dead) {
            break;
        }
    }
}
END_TEST

static void note_any(const char *path, uint64_t size, bool is_directory, void *context)
{
    char(*first)[256] = context;
    (void)size;
    (void)is_directory;
    if ((*first)[0] == '\0') {
        (void)snprintf(*first, sizeof(*first), "%s", path);
    }
}

/* Goal: a member that is removed while it catches up leaves nothing behind, whatever job was at work then.
 * Method: a joiner's replica is removed after each millisecond of its catch-up, until one has caught up; a moment later
 * its disk has no directory of the group. */
START_TEST(joiner_that_is_removed_leaves_nothing)
{
    bool is_filled = false;
    unsigned reads = 0;
    for (unsigned ms = 1 + (unsigned)_i; !is_filled; ms += 3) {
        char first[256] = "";
        open_world_of(1, 2, MIB(1));
        catchup_world_fill(&world, 10, KIB(120));

        catchup_world_add(&world, 2, false);
        while (world.begins == 0) {
            catchup_world_run(&world, 1);
        }
        catchup_world_run(&world, ms);
        reads += world.reads;
        is_filled = catchup_world_is_level(&world);
        catchup_node_remove(&world, 2);
        catchup_world_run(&world, 2000);
        sim_disk_walk(world.nodes[2].disk, "/n3/topics", note_any, &first);
        ck_assert_msg(first[0] == '\0', "after %u ms: %s", ms, first);
        catchup_world_close(&world);
        ck_assert_uint_lt(ms, 2000);
    }
    ck_assert_uint_gt(reads, 0);
}
END_TEST

/* Goal: whoever sends may end at any moment. Method: the leader is killed, stopped in order or cut from power after so
 * many milliseconds of a catch-up, and comes back; then all are level. */
START_TEST(source_ends_in_the_middle)
{
    for (unsigned ms = 5; ms < 120; ms += 11) {
        unsigned away = open_lagging((uint64_t)ms * 8 + (uint64_t)_i);
        catchup_node_start(&world, away);
        for (unsigned i = 0; i < 4000 && world.reads == 0; i++) {
            catchup_world_run(&world, 1);
        }
        catchup_world_run(&world, ms);
        int leader = catchup_world_leader(&world);
        if (leader >= 0 && _i == 0) {
            catchup_node_kill(&world, (unsigned)leader);
        } else if (leader >= 0 && _i == 1) {
            catchup_node_stop(&world, (unsigned)leader);
        } else if (leader >= 0) {
            catchup_node_power_loss(&world, (unsigned)leader);
        }
        catchup_world_run(&world, ms * 20);
        revive();
        level();
        no_damage();
        no_leftovers();
        catchup_world_close(&world);
    }
}
END_TEST

/* Goal: calls that are lost cost time and nothing else. Method: three of ten calls and messages are lost; the follower
 * is stopped in order and killed on the way. */
START_TEST(lost_calls_cost_time)
{
    unsigned away = open_lagging((uint64_t)_i + 500);
    world.lost_per_thousand = 300;
    catchup_node_start(&world, away);
    for (unsigned i = 0; i < 6; i++) {
        catchup_world_run(&world, 100 + (int64_t)sim_world_below(world.sim, 400));
        if (i % 2 == 0) {
            catchup_node_stop(&world, away);
        } else {
            catchup_node_kill(&world, away);
        }
        catchup_node_start(&world, away);
    }
    world.lost_per_thousand = 50;
    level();
    world.lost_per_thousand = 0;
    no_damage();
    no_leftovers();
    catchup_world_close(&world);
}
END_TEST

/* Goal: retention goes on during a catch-up and takes nothing away from it. Method: most of the log is trimmed and
 * checkpointed while files are pulled. */
START_TEST(trims_wait_for_those_who_read)
{
    unsigned away = open_lagging((uint64_t)_i + 900);
    world.bytes_per_second = 400000;
    catchup_node_start(&world, away);
    for (unsigned i = 0; i < 4000 && world.reads < 3; i++) {
        catchup_world_run(&world, 1);
    }
    catchup_world_trim(&world, 900);
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        catchup_node_checkpoint(&world, i);
        catchup_node_checkpoint(&world, i);
    }
    unsigned begins = world.begins;
    level();
    ck_assert_uint_le(world.begins, begins + 1); /* nothing was found missing: at most one more round */
    int64_t start;
    int64_t end;
    (void)catchup_node_digest(&world, away, &start, &end);
    ck_assert_int_eq(start, 900);
    no_damage();
    no_leftovers();
    catchup_world_close(&world);
}
END_TEST

/* Goal: a follower gets level while load goes on, and the leader's memory stays bounded. Method: calls are slow, and
 * records are written all the time; it is level with what was there then, in a few rounds. */
START_TEST(catch_up_converges_under_load)
{
    unsigned away = open_lagging((uint64_t)_i + 1300);
    catchup_world_fill(&world, 1500, SWEEP_SIZE);
    world.call_us = 2000;
    catchup_node_start(&world, away);
    uint64_t wanted = 0;
    bool is_level = false;
    for (unsigned i = 0; i < 6000 && !is_level; i++) {
        catchup_world_produce(&world, SWEEP_SIZE);
        catchup_world_run(&world, 5);
        int leader = catchup_world_leader(&world);
        if (i >= 1000 && wanted == 0 && leader >= 0) {
            wanted = catchup_node_status(&world, (unsigned)leader).applied_index;
        }
        is_level = wanted > 0 && catchup_node_status(&world, away).applied_index >= wanted;
    }
    if (!is_level) {
        fail_with_state();
    }
    ck_assert_uint_lt(world.tail_max, CATCHUP_RETAIN_SIZE + GROUP_RETAIN_SIZE + MIB(8));
    level();
    no_damage();
    no_leftovers();
    catchup_world_close(&world);
}
END_TEST

/* ---- Scrub and digests */

static struct {
    struct scrub *scrub;
    struct digest digest;
    bool is_answered;
    uint32_t crc;
    uint64_t size;
} checked;

static void open_scrub(void *context)
{
    struct catchup_node *node = context;
    checked.scrub = scrub_open(node->env, node->replicas, KIB(64));
}

static void on_digest(struct digest *digest, enum err err)
{
    ck_assert_msg(err == OK, "%s", digest->msg.text);
    checked.is_answered = true;
    checked.crc = digest->crc;
    checked.size = digest->size;
}

static void start_digest(void *context)
{
    struct catchup_node *node = context;
    checked.digest = (struct digest){.partition = node->partition, .end_offset = -1, .cb = on_digest};
    checked.is_answered = false;
    digest_start(node->env, &checked.digest);
}

static bool is_answered(struct catchup_world *w)
{
    (void)w;
    return checked.is_answered;
}

/* Goal: replicas with the same records have the same digest. Method: a log is trimmed within a segment; the digests of
 * three replicas, one of which was caught up, are the same. */
START_TEST(digests_of_replicas_agree)
{
    unsigned away = open_lagging(77);
    catchup_node_start(&world, away);
    level();
    catchup_world_trim(&world, 333);
    level();
    uint32_t crc = 0;
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        ck_assert(sim_process_run(world.nodes[i].process, start_digest, &world.nodes[i]));
        ck_assert(catchup_world_until(&world, is_answered, 10000));
        ck_assert_uint_gt(checked.size, 600 * SWEEP_SIZE);
        ck_assert(i == 0 || checked.crc == crc);
        crc = checked.crc;
    }
    catchup_world_close(&world);
}
END_TEST

static bool is_damaged(struct catchup_world *w)
{
    return w->nodes[0].damages + w->nodes[1].damages + w->nodes[2].damages > 0;
}

/* Goal: the scrub finds damage in a cold segment, and only there. Method: it goes over whole logs for a while without
 * a word; then one bit is flipped in a segment that nobody reads: that replica is out of service, the others are not.
 * */
START_TEST(scrub_finds_damage)
{
    char path[128];
    open_world(78, 3);
    catchup_world_fill(&world, 300, SWEEP_SIZE);
    level();
    unsigned hurt = follower();
    ck_assert(sim_process_run(world.nodes[hurt].process, open_scrub, &world.nodes[hurt]));
    catchup_world_run(&world, 60000);
    no_damage();
    (void)snprintf(path, sizeof(path), "/n%u/topics/t-0.2/00000000000000000000.log", hurt + 1);
    ck_assert(sim_disk_flip_bit(world.nodes[hurt].disk, path, 5000, 3));
    ck_assert(catchup_world_until(&world, is_damaged, 120000));
    ck_assert_uint_eq(world.nodes[hurt].damages, 1);
    catchup_world_fill(&world, 10, 100);
    catchup_world_close(&world);
}
END_TEST

struct newest {
    uint64_t base_offsets[2]; /* the highest, and the one before */
};

static void note_segment(const char *path, uint64_t size, bool is_directory, void *context)
{
    struct newest *newest = context;
    const char *name = strrchr(path, '/');
    (void)size;
    if (!is_directory && strstr(path, ".log") != NULL) {
        uint64_t base_offset = strtoull(name + 1, NULL, 10);
        if (base_offset > newest->base_offsets[0]) {
            newest->base_offsets[1] = newest->base_offsets[0];
            newest->base_offsets[0] = base_offset;
        }
    }
}

static unsigned hurt_leader;
static unsigned lagging;

static bool has_caught_up(struct catchup_world *w)
{
    for (unsigned i = 0; i < CATCHUP_NODES; i++) {
        if (i != hurt_leader && i != lagging) {
            return catchup_node_status(w, lagging).applied_index >= catchup_node_status(w, i).applied_index;
        }
    }
    return false;
}

/* Goal: a leader with damage that nobody has read does not feed it to a follower for ever: it finds it when the
 * follower asks a second time, is out of service, and the follower gets what it lacks from the next leader. Method: one
 * bit of the leader's last full segment, among records or in the leader epoch, which no CRC covers. */
START_TEST(source_finds_its_own_damage)
{
    static const struct {
        uint64_t position;
        unsigned bit;
    } spots[] = {{5000, 3}, {15, 0}};
    char path[128];
    char dir[16];
    struct newest newest = {{0, 0}};
    lagging = open_lagging((uint64_t)_i + 1700);
    int leader = catchup_world_leader(&world);
    ck_assert_int_ge(leader, 0);
    hurt_leader = (unsigned)leader;
    catchup_node_checkpoint(&world, hurt_leader);
    (void)snprintf(dir, sizeof(dir), "/n%u/topics", hurt_leader + 1);
    sim_disk_walk(world.nodes[hurt_leader].disk, dir, note_segment, &newest);
    (void)snprintf(path, sizeof(path), "%s/t-0.2/%020llu.log", dir, (unsigned long long)newest.base_offsets[1]);
    ck_assert(sim_disk_flip_bit(world.nodes[hurt_leader].disk, path, spots[_i].position, spots[_i].bit));
    catchup_node_start(&world, lagging);
    ck_assert(catchup_world_until(&world, has_caught_up, 120000));
    ck_assert_uint_eq(world.nodes[hurt_leader].damages, 1);
    ck_assert_uint_eq(world.nodes[lagging].damages, 0);
    catchup_world_fill(&world, 10, 100);
    ck_assert(catchup_world_until(&world, has_caught_up, 120000));
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
    tcase_add_loop_test(tcase, follower_dies_at_each_change, 0, 7);
    tcase_add_loop_test(tcase, source_ends_in_the_middle, 0, 3);
    tcase_add_loop_test(tcase, lost_calls_cost_time, 0, 5);
    tcase_add_loop_test(tcase, trims_wait_for_those_who_read, 0, 3);
    tcase_add_loop_test(tcase, catch_up_converges_under_load, 0, 2);
    tcase_add_test(tcase, digests_of_replicas_agree);
    tcase_add_test(tcase, scrub_finds_damage);
    tcase_add_loop_test(tcase, source_finds_its_own_damage, 0, 2);
    suite_add_tcase(suite, tcase);
    TCase *removal = tcase_create("removal");
    tcase_set_timeout(removal, 240);
    tcase_add_loop_test(removal, joiner_that_is_removed_leaves_nothing, 0, 3);
    suite_add_tcase(suite, removal);
    return suite;
}

TEST_MAIN(catchup_suite)
