/* Batches of idempotent producers: repetitions, epochs, expiry, and what comes behind a refused or missing one. */
#include "base/limits.h"
#include "base/mem.h"
#include "tests/lib/fake_replica.h"
#include "tests/lib/partition_fixture.h"

enum {
    GROUP = 42
};

static struct partition_fixture fixture;
static struct partition *partition;
static struct replica *replica;
static bool is_closed;

static void on_closed(struct replica_machine *machine)
{
    ck_assert_ptr_eq(machine->replica, replica);
    is_closed = true;
}

static void setup_with(const struct partition_config *config)
{
    partition_fixture_init(&fixture);
    struct partition_name name = {.topic = bytes_from_text("topic"), .index = 3};
    struct errmsg msg;
    enum err err = partition_open(&fixture.log.env, fixture.log.files, fixture.log.dir, GROUP, &name, config,
                                  BYTES_NONE, &partition, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    replica = fake_replica_open(partition_machine(partition), GROUP);
    is_closed = false;
}

static void setup(void)
{
    struct partition_config config = partition_fixture_config();
    setup_with(&config);
    fake_replica_role(replica, REPLICA_LEADER, 7, true);
}

static void teardown(void)
{
    if (!is_closed) {
        struct replica_machine *machine = partition_machine(partition);
        machine->closed = on_closed;
        machine->ops->close(machine);
        ck_assert(!is_closed);
        partition_fixture_turn(&fixture);
        log_fixture_run_jobs(&fixture.log);
        ck_assert(is_closed);
    }
    fake_replica_close(replica);
    partition_fixture_deinit(&fixture);
}

static unsigned turn_and_apply(void)
{
    partition_fixture_turn(&fixture);
    unsigned count = fake_replica_apply_all(replica);
    partition_fixture_turn(&fixture);
    return count;
}

static struct batch_spec sequence_spec(int32_t sequence, int count)
{
    return (struct batch_spec){
        .count = count, .value_size = 5, .has_producer = true, .producer_id = 9, .sequence = sequence, .timestamp = 50};
}

/* Goal: a repetition gets the first offset, whether it comes in the same turn, before the commit, or after; a gap is
 * refused, to be sent again first. Method: the same batches in one entry, in two entries in flight, and one after the
 * other. */
START_TEST(repetitions_get_their_first_offset)
{
    struct test_produce produce[5];
    struct batch_spec specs[5] = {sequence_spec(0, 3), sequence_spec(0, 3), sequence_spec(3, 1), sequence_spec(7, 1),
                                  sequence_spec(3, 1)};
    for (int i = 0; i < 5; i++) {
        test_produce_spec(partition, &produce[i], &specs[i]);
        if (_i >= 1) {
            partition_fixture_turn(&fixture);
            fake_replica_place(replica);
        }
        if (_i >= 2) {
            (void)turn_and_apply();
        }
    }
    (void)turn_and_apply();
    static const int64_t offsets[5] = {0, 0, 3, -1, 3};
    static const bool is_duplicate[5] = {false, true, false, false, true};
    for (int i = 0; i < 5; i++) {
        ck_assert_uint_eq(produce[i].answers, 1);
        ck_assert_int_eq(produce[i].req.error, i == 3 ? KAFKA_NOT_ENOUGH_REPLICAS : KAFKA_NONE);
        ck_assert_int_eq(produce[i].req.base_offset, offsets[i]);
        ck_assert_int_eq(produce[i].req.is_duplicate, is_duplicate[i]);
        test_produce_deinit(&produce[i]);
    }
    ck_assert_int_eq(log_end_offset(partition_log(partition)), 4);
}
END_TEST

/* Goal: an old epoch is fenced. Method: epoch 1, then 0. */
START_TEST(old_producer_epochs_are_fenced)
{
    struct test_produce produce[2];
    struct batch_spec spec = sequence_spec(0, 1);
    spec.producer_epoch = 1;
    test_produce_spec(partition, &produce[0], &spec);
    spec.producer_epoch = 0;
    test_produce_spec(partition, &produce[1], &spec);
    (void)turn_and_apply();
    ck_assert_int_eq(produce[0].req.error, KAFKA_NONE);
    ck_assert_int_eq(produce[1].req.error, KAFKA_INVALID_PRODUCER_EPOCH);
    test_produce_deinit(&produce[0]);
    test_produce_deinit(&produce[1]);
}
END_TEST

/* Goal: producers are forgotten after the time that the leader's configuration said, by entry time. Method: an
 * old sequence number, before and after that time. */
START_TEST(idle_producers_are_forgotten)
{
    struct partition_config config = partition_fixture_config();
    config.producer_expiration_ms = 1000;
    partition_set_config(partition, &config);
    struct test_produce produce[3];
    struct batch_spec spec = sequence_spec(0, 11);
    test_produce_spec(partition, &produce[0], &spec);
    (void)turn_and_apply();
    spec = sequence_spec(5, 1);
    partition_fixture_pass(&fixture, 1000);
    test_produce_spec(partition, &produce[1], &spec);
    (void)turn_and_apply();
    partition_fixture_pass(&fixture, 1);
    test_produce_spec(partition, &produce[2], &spec);
    (void)turn_and_apply();
    ck_assert_int_eq(produce[0].req.error, KAFKA_NONE);
    ck_assert_int_eq(produce[1].req.error, KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER);
    ck_assert_int_eq(produce[2].req.error, KAFKA_NONE);
    for (int i = 0; i < 3; i++) {
        test_produce_deinit(&produce[i]);
    }
}
END_TEST

/* Goal: a batch that was sent right behind a refused one is not out of order. Method: one batch applied, the next
 * refused in each way; those behind it come when the partition takes batches again, then the refused one comes again
 * and the rest follow. */
START_TEST(batches_behind_a_refused_one_are_refused_alike)
{
    struct batch_spec specs[5];
    struct test_produce produce[5];
    struct test_produce again[5];
    bool is_unknown = _i >= 3; /* the refused one is its first */
    for (int i = 0; i < 5; i++) {
        specs[i] = sequence_spec((is_unknown ? i - 1 : i) * 2, 2);
    }
    if (!is_unknown) {
        test_produce_spec(partition, &produce[0], &specs[0]);
        (void)turn_and_apply();
    }
    enum kafka_error error = KAFKA_NOT_LEADER_OR_FOLLOWER;
    if (_i % 3 == 0) {
        fake_replica_role(replica, REPLICA_FOLLOWER, 8, false);
    }
    test_produce_spec(partition, &produce[1], &specs[1]);
    if (_i % 3 == 2) {
        error = KAFKA_REQUEST_TIMED_OUT;
        partition_produce_expire(partition, &produce[1].req);
    }
    test_produce_spec(partition, &produce[2], &specs[2]);
    if (_i % 3 == 1) { /* both were in the log, and are lost */
        partition_fixture_turn(&fixture);
        fake_replica_place(replica);
        fake_replica_role(replica, REPLICA_FOLLOWER, 8, false);
        fake_replica_truncate(replica);
    }
    fake_replica_role(replica, REPLICA_LEADER, 9, true);
    test_produce_spec(partition, &produce[3], &specs[3]);
    test_produce_spec(partition, &produce[4], &specs[4]);
    (void)turn_and_apply();
    for (int i = is_unknown ? 1 : 0; i < 5; i++) {
        ck_assert_uint_eq(produce[i].answers, 1);
        ck_assert_msg(produce[i].req.error == (i == 0 ? KAFKA_NONE : error), "%d: %s", i,
                      kafka_error_name(produce[i].req.error));
        test_produce_deinit(&produce[i]);
    }
    for (int i = 1; i < 5; i++) {
        test_produce_spec(partition, &again[i], &specs[i]);
    }
    (void)turn_and_apply();
    for (int i = 1; i < 5; i++) {
        ck_assert_msg(again[i].req.error == KAFKA_NONE, "%d: %s", i, kafka_error_name(again[i].req.error));
        ck_assert_int_eq(again[i].req.base_offset, i * 2 - (is_unknown ? 2 : 0));
        test_produce_deinit(&again[i]);
    }
}
END_TEST

/* Goal: a batch that overtook another on its way through two leaders waits for it, but a gap that stays is told.
 * Method: the third before the second, then the second; the fifth without the fourth, again and again. */
START_TEST(a_missing_batch_is_waited_for)
{
    static const int32_t sequences[] = {0, 4, 2, 4, 8, 8, 8, 8, 8, 8, 8, 6, 8};
    static const char outcomes[] = "twttwwwwwoott"; /* taken, waits, out of order */
    static const enum kafka_error errors[] = {
        ['t'] = KAFKA_NONE, ['w'] = KAFKA_NOT_ENOUGH_REPLICAS, ['o'] = KAFKA_OUT_OF_ORDER_SEQUENCE_NUMBER};
    for (unsigned i = 0; i < array_count(sequences); i++) {
        struct batch_spec spec = sequence_spec(sequences[i], 2);
        struct test_produce produce;
        test_produce_spec(partition, &produce, &spec);
        (void)turn_and_apply();
        ck_assert_msg(produce.req.error == errors[(size_t)outcomes[i]], "%u", i);
        test_produce_deinit(&produce);
    }
}
END_TEST

/* Goal: a producer that was never known does not begin with its second batch, whoever has refused the first. Method:
 * the second one alone, then both. */
START_TEST(a_new_producer_begins_with_its_first_batch)
{
    struct test_produce produce[3];
    static const int32_t sequences[] = {2, 0, 2};
    for (int i = 0; i < 3; i++) {
        struct batch_spec spec = sequence_spec(sequences[i], 2);
        test_produce_spec(partition, &produce[i], &spec);
        (void)turn_and_apply();
        ck_assert_uint_eq(produce[i].answers, 1);
    }
    ck_assert_int_eq(produce[0].req.error, KAFKA_NOT_ENOUGH_REPLICAS);
    ck_assert_int_eq(produce[1].req.base_offset, 0);
    ck_assert_int_eq(produce[2].req.base_offset, 2);
    for (int i = 0; i < 3; i++) {
        test_produce_deinit(&produce[i]);
    }
}
END_TEST

static Suite *partition_sequence_suite(void)
{
    Suite *suite = suite_create("partition_sequence");
    TCase *produce = tcase_create("sequence");
    tcase_set_timeout(produce, 60);
    tcase_add_checked_fixture(produce, setup, teardown);
    tcase_add_loop_test(produce, repetitions_get_their_first_offset, 0, 3);
    tcase_add_test(produce, old_producer_epochs_are_fenced);
    tcase_add_test(produce, idle_producers_are_forgotten);
    tcase_add_loop_test(produce, batches_behind_a_refused_one_are_refused_alike, 0, 6);
    tcase_add_test(produce, a_missing_batch_is_waited_for);
    tcase_add_test(produce, a_new_producer_begins_with_its_first_batch);
    suite_add_tcase(suite, produce);
    return suite;
}

TEST_MAIN(partition_sequence_suite)
