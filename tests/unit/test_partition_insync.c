/* min.insync.replicas above the majority: who waits for which members, and what is refused. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/shared.h"
#include "tests/lib/fake_replica.h"
#include "tests/lib/partition_fixture.h"

enum {
    GROUP = 42,
    VOTERS = 3,
    SELF = 1
};

static struct partition_fixture fixture;
static struct partition *partition;
static struct replica *replica;
static bool is_closed;

static void on_closed(struct replica_machine *machine)
{
    (void)machine;
    is_closed = true;
}

static void set_min(int32_t min)
{
    struct partition_config config = partition_fixture_config();
    config.min_insync = min;
    partition_set_config(partition, &config);
}

static void setup(void)
{
    struct partition_config config = partition_fixture_config();
    struct partition_name name = {.topic = bytes_from_text("topic"), .index = 3};
    struct errmsg msg;
    partition_fixture_init(&fixture);
    ck_assert_int_eq(partition_open(&fixture.log.env, fixture.log.files, fixture.log.dir, GROUP, &name, &config,
                                    BYTES_NONE, &partition, &msg),
                     OK);
    replica = fake_replica_open(partition_machine(partition), GROUP);
    is_closed = false;
    replica->status.membership.count = VOTERS + 1;
    for (unsigned i = 0; i <= VOTERS; i++) {
        replica->status.membership.servers[i] = (struct replica_server){i + 1, i < VOTERS}; /* the last does not vote */
    }
    set_min(VOTERS);
    fake_replica_role(replica, REPLICA_LEADER, 7, true);
}

static void teardown(void)
{
    struct replica_machine *machine = partition_machine(partition);
    machine->closed = on_closed;
    machine->ops->close(machine);
    partition_fixture_turn(&fixture);
    log_fixture_run_jobs(&fixture.log);
    ck_assert(is_closed);
    fake_replica_close(replica);
    partition_fixture_deinit(&fixture);
}

/* Members 1 to `count` have everything up to `index`; the standby has all there ever was. */
static void match(unsigned count, uint64_t index)
{
    for (unsigned i = 1; i <= count; i++) {
        replica->matches[i] = index;
    }
    replica->matches[VOTERS + 1] = UINT64_MAX;
    if (partition_machine(partition)->wants_matches) {
        partition_machine(partition)->ops->matched(partition_machine(partition));
    }
    partition_fixture_turn(&fixture);
}

static void send(struct test_produce *produce, bool is_acks_all)
{
    struct shared *block = batch_new(&(struct batch_spec){.value_size = 5});
    test_produce_acks(partition, produce, block, is_acks_all);
}

static void apply(unsigned majority)
{
    partition_fixture_turn(&fixture);
    match(majority, replica->count);
    (void)fake_replica_apply_all(replica);
    partition_fixture_turn(&fixture);
}

/* Goal: acks=all is answered when as many voters as asked for have it, acks=1 at commit; standbys do not count. */
START_TEST(answers_wait_for_members)
{
    struct test_produce all;
    struct test_produce one;
    send(&all, true);
    send(&one, false);
    apply(2);
    ck_assert_uint_eq(one.answers, 1);
    ck_assert_uint_eq(all.answers, 0);
    ck_assert(partition_machine(partition)->wants_matches);
    match(3, replica->count);
    ck_assert_uint_eq(all.answers, 1);
    ck_assert_int_eq(all.req.error, KAFKA_NONE);
    ck_assert_int_eq(all.req.base_offset, 0);
    ck_assert(!partition_machine(partition)->wants_matches);
    test_produce_deinit(&all);
    test_produce_deinit(&one);
}
END_TEST

/* Goal: up to the majority nothing is waited for. */
START_TEST(majorities_need_no_wait)
{
    struct test_produce produce;
    set_min(2);
    send(&produce, true);
    apply(2);
    ck_assert_uint_eq(produce.answers, 1);
    ck_assert_int_eq(produce.req.error, KAFKA_NONE);
    test_produce_deinit(&produce);
}
END_TEST

/* Goal: more than there are members is refused before anything is appended, for acks=all alone. */
START_TEST(too_few_members_are_refused)
{
    struct test_produce produce;
    set_min(4);
    send(&produce, true);
    partition_fixture_turn(&fixture);
    ck_assert_int_eq(produce.req.error, KAFKA_NOT_ENOUGH_REPLICAS);
    ck_assert_uint_eq(replica->count, 0);
    test_produce_deinit(&produce);
    send(&produce, false);
    apply(2);
    ck_assert_int_eq(produce.req.error, KAFKA_NONE);
    test_produce_deinit(&produce);
}
END_TEST

/* Goal: a member that is away is noticed once, by the time-out; then batches are refused until it has caught up with
 * what it missed. */
START_TEST(members_that_are_away_are_noticed)
{
    struct test_produce produce;
    send(&produce, true);
    apply(2);
    partition_fixture_pass(&fixture, INSYNC_TIMEOUT_MS - 1);
    ck_assert_uint_eq(produce.answers, 0);
    partition_fixture_pass(&fixture, 1);
    partition_fixture_turn(&fixture);
    ck_assert_int_eq(produce.req.error, KAFKA_NOT_ENOUGH_REPLICAS_AFTER_APPEND);
    test_produce_deinit(&produce);
    uint64_t missed = replica->count;

    send(&produce, true);
    partition_fixture_turn(&fixture);
    ck_assert_int_eq(produce.req.error, KAFKA_NOT_ENOUGH_REPLICAS);
    ck_assert_uint_eq(replica->count, missed);
    test_produce_deinit(&produce);

    match(3, missed);
    send(&produce, true);
    apply(3);
    ck_assert_int_eq(produce.req.error, KAFKA_NONE);
    test_produce_deinit(&produce);
}
END_TEST

/* Goal: answers come in the order of the log, each when its own entry is there. */
START_TEST(answers_keep_their_order)
{
    struct test_produce produces[3];
    for (unsigned i = 0; i < 3; i++) {
        send(&produces[i], true);
        apply(2);
    }
    for (unsigned i = 0; i < 3; i++) {
        match(3, i + 1);
        for (unsigned n = 0; n < 3; n++) {
            ck_assert_uint_eq(produces[n].answers, n <= i);
        }
    }
    for (unsigned i = 0; i < 3; i++) {
        test_produce_deinit(&produces[i]);
    }
}
END_TEST

/* Goal: lost leadership, the client's own time-out and a smaller wish end the wait. */
START_TEST(waits_end)
{
    static const enum kafka_error errors[] = {KAFKA_NOT_LEADER_OR_FOLLOWER, KAFKA_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                                              KAFKA_NONE};
    struct test_produce produce;
    send(&produce, true);
    apply(2);
    ck_assert_uint_eq(produce.answers, 0);
    if (_i == 0) {
        fake_replica_role(replica, REPLICA_FOLLOWER, 8, false);
    } else if (_i == 1) {
        partition_produce_expire(partition, &produce.req);
    } else {
        set_min(2);
        match(2, replica->count);
    }
    partition_fixture_turn(&fixture);
    ck_assert_uint_eq(produce.answers, 1);
    ck_assert_int_eq(produce.req.error, errors[_i]);
    ck_assert(!partition_machine(partition)->wants_matches);
    test_produce_deinit(&produce);
}
END_TEST

static Suite *partition_insync_suite(void)
{
    Suite *suite = suite_create("partition_insync");
    TCase *insync = tcase_create("insync");
    tcase_add_checked_fixture(insync, setup, teardown);
    tcase_add_test(insync, answers_wait_for_members);
    tcase_add_test(insync, majorities_need_no_wait);
    tcase_add_test(insync, too_few_members_are_refused);
    tcase_add_test(insync, members_that_are_away_are_noticed);
    tcase_add_test(insync, answers_keep_their_order);
    tcase_add_loop_test(insync, waits_end, 0, 3);
    suite_add_tcase(suite, insync);
    return suite;
}

TEST_MAIN(partition_insync_suite)
