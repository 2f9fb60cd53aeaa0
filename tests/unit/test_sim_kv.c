/* The simulator's store: the cases of every store, then its fate when the power fails. */
#include <stdio.h>

#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/kv_cases.h"
#include "tests/lib/sim_kv.h"

static struct sim_world *world;
static struct sim_disk *disk;

static char *place_make(void)
{
    world = sim_world_open(1);
    disk = sim_disk_open(world, "/n1");
    return mem_strdup("/n1/store");
}

static void place_remove(char *path)
{
    mem_free(path);
    sim_disk_close(disk);
    sim_world_close(world);
}

static const struct case_place simulated = {.make = place_make, .remove = place_remove};

struct life {
    enum kv_mode mode;
    unsigned commits;
    bool has_sync;
    bool is_in_transaction; /* one more is begun and not committed */
    unsigned found;         /* out: the last number committed */
};

static void put_number(struct kv_txn *txn, uint32_t number)
{
    struct bytes value = {(const uint8_t *)&number, sizeof(number)};
    ck_assert_int_eq(kv_put(txn, bytes_from_text("a"), value), OK);
    ck_assert_int_eq(kv_put(txn, bytes_from_text("b"), value), OK);
}

static void life_write(void *context)
{
    const struct life *life = context;
    struct kv *kv;
    struct kv_txn *txn;
    struct kv_txn *reader;
    ck_assert_int_eq(kv_open("/n1/store", MIB(1), life->mode, &kv, NULL), OK);
    for (uint32_t number = 1; number <= life->commits; number++) {
        ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
        put_number(txn, number);
        ck_assert_int_eq(kv_commit(txn, NULL), OK);
    }
    ck_assert_int_eq(kv_begin_read(kv, &reader), OK);
    if (life->has_sync) {
        ck_assert_int_eq(kv_sync(kv, NULL), OK);
    }
    if (life->is_in_transaction) {
        ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
        put_number(txn, 1000);
    }
}

static void life_read(void *context)
{
    struct life *life = context;
    struct kv *kv;
    struct kv_txn *txn;
    struct bytes a = BYTES_NONE;
    struct bytes b = BYTES_NONE;
    ck_assert_int_eq(kv_open("/n1/store", MIB(1), life->mode, &kv, NULL), OK);
    ck_assert_int_eq(kv_begin_read(kv, &txn), OK);
    enum err err = kv_get(txn, bytes_from_text("a"), &a);
    ck_assert_int_eq(kv_get(txn, bytes_from_text("b"), &b), err);
    ck_assert(bytes_equal(a, b));
    uint32_t number = 0;
    if (err == OK) {
        memcpy(&number, a.data, sizeof(number));
    }
    life->found = number;
    kv_abort(txn);
    kv_close(kv);
}

static const struct life lives[] = {
    {KV_DURABLE, 3, false, false, 0}, {KV_DURABLE, 3, false, true, 0}, {KV_ORDERED, 3, false, false, 0},
    {KV_ORDERED, 3, true, true, 0},   {KV_ORDERED, 1, false, true, 0}, {KV_ORDERED, 0, false, true, 0},
};

/* Goal: a power loss takes an open transaction, may take the last commit of KV_ORDERED as a whole, and nothing else; a
 * kill takes the open transaction only. Method: many seeds; both outcomes that are allowed have to be seen. */
START_TEST(power_loss_takes_at_most_the_last_ordered_commit)
{
    const struct life *c = &lives[_i];
    unsigned seen[2] = {0};
    for (uint64_t seed = 0; seed < 100; seed++) {
        struct life life = *c;
        bool is_power_loss = seed % 3 != 0;
        struct sim_world *here = sim_world_open(seed);
        struct sim_disk *drive = sim_disk_open(here, "/n1");
        struct sim_process *process = sim_process_open(here, drive, "n1");
        ck_assert(sim_process_run(process, life_write, &life));
        if (is_power_loss) {
            sim_disk_power_loss(drive);
        } else {
            sim_process_kill(process);
        }
        sim_process_close(process);
        process = sim_process_open(here, drive, "n1");
        ck_assert(sim_process_run(process, life_read, &life));
        sim_process_close(process);
        unsigned lost = c->commits - life.found;
        bool may_lose = is_power_loss && c->mode == KV_ORDERED && !c->has_sync && c->commits > 0;
        ck_assert_msg(lost <= (may_lose ? 1u : 0u), "seed %u: lost %u", (unsigned)seed, lost);
        seen[lost]++;
        sim_disk_close(drive);
        sim_world_close(here);
    }
    ck_assert_uint_gt(seen[0], 0);
    if (c->mode == KV_ORDERED && !c->has_sync && c->commits > 0) {
        ck_assert_uint_gt(seen[1], 0);
    }
}
END_TEST

static void crash_life(void *context)
{
    unsigned *committed = context;
    struct kv *kv;
    struct kv_txn *txn;
    ck_assert_int_eq(kv_open("/n1/store", MIB(1), KV_DURABLE, &kv, NULL), OK);
    for (uint32_t number = 1; number <= 3; number++) {
        ck_assert_int_eq(kv_begin_write(kv, &txn), OK);
        put_number(txn, number);
        ck_assert_int_eq(kv_commit(txn, NULL), OK);
        *committed = number;
    }
    kv_close(kv);
}

/* Goal: at every crash point of opening and committing, what was committed durably is there after a power loss. Method:
 * sweep over the crash points until the life ends without one. */
START_TEST(every_crash_point_keeps_durable_commits)
{
    uint64_t at = 1;
    for (bool is_whole = false; !is_whole; at++) {
        struct sim_world *here = sim_world_open(at);
        struct sim_disk *drive = sim_disk_open(here, "/n1");
        struct sim_process *process = sim_process_open(here, drive, "n1");
        unsigned committed = 0;
        sim_disk_crash_at(drive, at);
        is_whole = sim_process_run(process, crash_life, &committed);
        ck_assert_int_eq(sim_process_end(process), is_whole ? SIM_ALIVE : SIM_CRASHED);
        sim_process_kill(process);
        sim_process_close(process);
        sim_disk_crash_at(drive, 0);
        sim_disk_power_loss(drive);
        struct life life = {.mode = KV_DURABLE};
        process = sim_process_open(here, drive, "n1");
        ck_assert(sim_process_run(process, life_read, &life));
        ck_assert_uint_ge(life.found, committed);
        ck_assert_uint_le(life.found, 3);
        sim_process_close(process);
        sim_disk_close(drive);
        sim_world_close(here);
    }
    ck_assert_uint_ge(at, 7); /* mkdir, create, sync of the names, three commits */
}
END_TEST

static Suite *sim_kv_suite(void)
{
    Suite *suite = suite_create("sim_kv");
    TCase *tcase = case_all(&simulated);
    suite_add_tcase(suite, tcase);
    TCase *fate = tcase_create("fate");
    tcase_add_loop_test(fate, power_loss_takes_at_most_the_last_ordered_commit, 0, (int)array_count(lives));
    tcase_add_test(fate, every_crash_point_keeps_durable_commits);
    suite_add_tcase(suite, fate);
    return suite;
}

TEST_MAIN(sim_kv_suite)
