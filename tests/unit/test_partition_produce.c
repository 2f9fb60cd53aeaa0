/* From a client's batch to its answer: gathering, order, refusals, doubt, expiry. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/shared.h"
#include "replication/partition_command.h"
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

/* Goal: an answer means committed and applied, with dense offsets. Method: watch a request through submit, place and
 * apply. */
START_TEST(produce_is_answered_after_apply)
{
    struct test_produce produce[3];
    for (int i = 0; i < 3; i++) {
        test_produce_spec(partition, &produce[i], &(struct batch_spec){.count = i + 2, .value_size = 10});
    }
    ck_assert_uint_eq(replica->submits, 0);
    partition_fixture_turn(&fixture);
    fake_replica_place(replica);
    partition_fixture_turn(&fixture);
    ck_assert_uint_eq(produce[0].answers + produce[1].answers + produce[2].answers, 0);
    ck_assert_int_eq(log_end_offset(partition_log(partition)), 0);
    fake_replica_apply(replica, 1);
    int64_t offset = 0;
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(produce[i].answers, 1);
        ck_assert_int_eq(produce[i].req.error, KAFKA_NONE);
        ck_assert_int_eq(produce[i].req.base_offset, offset);
        ck_assert_int_eq(produce[i].req.record_count, i + 2);
        ck_assert_int_eq(produce[i].req.log_append_time_ms, -1);
        ck_assert_int_eq(produce[i].req.log_start_offset, 0);
        ck_assert(!produce[i].req.is_duplicate);
        offset += i + 2;
        test_produce_deinit(&produce[i]);
    }
    ck_assert_int_eq(log_end_offset(partition_log(partition)), offset);
}
END_TEST

/* Goal: what readers get is what was sent, with offset and leader epoch written in. Method: each codec, bytes
 * compared. */
START_TEST(stored_bytes_are_the_clients)
{
    struct batch_spec spec = {.count = 5, .value_size = 30, .codec = (enum record_codec)_i};
    struct shared *sent = batch_new(&spec);
    struct test_produce produce[2];
    test_produce_spec(partition, &produce[0], &spec);
    test_produce_spec(partition, &produce[1], &spec);
    (void)turn_and_apply();
    struct log_read read = {.offset = 5, .size_max = 1 << 20};
    ck_assert_int_eq(log_read_now(partition_log(partition), &read), OK);
    record_batch_set_offset(sent->data, 5, 7);
    ck_assert(bytes_equal(read.slice.bytes, (struct bytes){sent->data, sent->size}));
    slice_release(&read.slice);
    shared_release(sent);
    test_produce_deinit(&produce[0]);
    test_produce_deinit(&produce[1]);
}
END_TEST

struct gather_case {
    const char *name;
    unsigned count;
    size_t value_size;
    unsigned entries;
};
static const struct gather_case gather_cases[] = {
    {"one", 1, 10, 1},
    {"a few", 20, 10, 1},
    {"as many as fit by number", ENTRY_BATCH_COUNT_MAX, 10, 1},
    {"one more", ENTRY_BATCH_COUNT_MAX + 1, 10, 2},
    {"two that fill an entry", 2, 500 << 10, 1},
    {"three that do not", 3, 500 << 10, 2},
    {"each larger than an entry gathers", 3, (1 << 20) - 100, 3},
};

/* Goal: what comes in one turn shares entries, bounded in number and bytes, in order. Method: table; offsets in
 * order of calls. */
START_TEST(a_turns_batches_share_entries)
{
    const struct gather_case *c = &gather_cases[_i];
    struct test_produce *produce = mem_alloc(c->count * sizeof(*produce));
    for (unsigned i = 0; i < c->count; i++) {
        test_produce_spec(partition, &produce[i], &(struct batch_spec){.value_size = c->value_size});
    }
    ck_assert_uint_eq(turn_and_apply(), c->entries);
    for (unsigned i = 0; i < c->count; i++) {
        ck_assert_msg(produce[i].req.error == KAFKA_NONE && produce[i].req.base_offset == i, "%s: %u", c->name, i);
        ck_assert(i == 0 || produce[i].number == produce[i - 1].number + 1);
        test_produce_deinit(&produce[i]);
    }
    mem_free(produce);
}
END_TEST

/* Goal: an entry does not pin memory many times its size, and does not copy what is large. Method: small and large
 * shares of one block; the block's references after the requests let go. */
START_TEST(small_shares_of_a_block_are_copied)
{
    struct shared *small = batch_new(&(struct batch_spec){.value_size = 100});
    struct shared *frame = shared_new(small->size * (size_t)(_i + 1));
    memcpy(frame->data + small->size * (size_t)_i, small->data, small->size);
    struct test_produce produce = {0};
    produce.req.batch = slice_of(frame, small->size * (size_t)_i, small->size);
    produce.req.cb = NULL;
    struct test_produce other;
    test_produce(partition, &other, small); /* takes `small` */
    partition_produce(partition, &produce.req);
    partition_fixture_turn(&fixture);
    fake_replica_place(replica);
    bool is_copied = _i + 1 > 4;
    ck_assert_uint_eq(frame->references, is_copied ? 2 : 3);
    struct partition_command_reader reader;
    struct partition_command command;
    ck_assert_int_eq(partition_command_open(&reader, replica->entries[0], &command), OK);
    for (int i = 0; i < 2; i++) { /* followers and the log on disk see who wrote it */
        struct record_batch batch;
        ck_assert_int_eq(partition_command_next(&reader, &batch), OK);
        ck_assert_int_eq(batch.leader_epoch, 7);
        ck_assert(record_batch_crc_ok(&batch));
    }
    partition_command_deinit(&reader);
    partition_produce_expire(partition, &produce.req);
    produce.req.cb = other.req.cb;
    fake_replica_apply(replica, 1);
    partition_fixture_turn(&fixture);
    ck_assert_int_eq(log_end_offset(partition_log(partition)), 2);
    slice_release(&produce.req.batch);
    shared_release(frame);
    test_produce_deinit(&other);
}
END_TEST

static struct batch_spec sequence_spec(int32_t sequence, int count)
{
    return (struct batch_spec){
        .count = count, .value_size = 5, .has_producer = true, .producer_id = 9, .sequence = sequence, .timestamp = 50};
}

/* ---- Refusals ---- */

static void expect_refusal(const struct batch_spec *spec, enum kafka_error error)
{
    struct test_produce produce;
    test_produce_spec(partition, &produce, spec);
    partition_fixture_turn(&fixture);
    ck_assert_uint_eq(produce.answers, 1);
    ck_assert_msg(produce.req.error == error, "%s", kafka_error_name(produce.req.error));
    ck_assert_int_eq(produce.req.base_offset, -1);
    ck_assert_uint_eq(replica->count, 0);
    test_produce_deinit(&produce);
}

/* Goal: only a leader that is ready takes batches. Method: each role. */
START_TEST(only_a_ready_leader_takes_batches)
{
    struct batch_spec spec = {.value_size = 5};
    fake_replica_role(replica, REPLICA_FOLLOWER, 7, false);
    expect_refusal(&spec, KAFKA_NOT_LEADER_OR_FOLLOWER);
    fake_replica_role(replica, REPLICA_CANDIDATE, 8, false);
    expect_refusal(&spec, KAFKA_NOT_LEADER_OR_FOLLOWER);
    fake_replica_role(replica, REPLICA_LEADER, 8, false);
    expect_refusal(&spec, KAFKA_NOT_LEADER_OR_FOLLOWER);
    fake_replica_role(replica, REPLICA_LEADER, 8, true);
    replica->is_unready = true;
    expect_refusal(&spec, KAFKA_NOT_LEADER_OR_FOLLOWER);
    replica->is_unready = false;
    struct test_produce produce;
    test_produce_spec(partition, &produce, &spec);
    (void)turn_and_apply();
    ck_assert_int_eq(produce.req.error, KAFKA_NONE);
    test_produce_deinit(&produce);
}
END_TEST

/* Goal: faults of a batch are answered with code, text and record, and do not touch others. Method: a batch over the
 * limit, one without a key on a compacted topic, one with the transactional bit, nothing at all; a good one in the
 * same turn. */
START_TEST(bad_batches_are_refused_alone)
{
    struct partition_config config = partition_fixture_config();
    config.max_message_bytes = 200;
    config.is_compacted = _i == 1;
    partition_set_config(partition, &config);
    static const enum kafka_error errors[] = {KAFKA_MESSAGE_TOO_LARGE, KAFKA_INVALID_RECORD, KAFKA_INVALID_TXN_STATE,
                                              KAFKA_INVALID_RECORD};
    struct shared *block = batch_new(&(struct batch_spec){.value_size = _i == 0 ? 200 : 5});
    if (_i == 2) {
        be16_put(block->data + 21, BATCH_TRANSACTIONAL);
        record_batch_set_max_timestamp(block->data, block->size, 0, false);
    }
    struct test_produce bad;
    if (_i == 3) {
        shared_release(block);
        bad = (struct test_produce){0};
        struct test_produce donor;
        test_produce_spec(partition, &donor, &(struct batch_spec){.value_size = 200});
        bad.req.cb = donor.req.cb;
        partition_produce(partition, &bad.req);
        partition_fixture_turn(&fixture);
        test_produce_deinit(&donor);
    } else {
        test_produce(partition, &bad, block);
    }
    struct test_produce good;
    config.is_compacted = false;
    partition_set_config(partition, &config);
    test_produce_spec(partition, &good, &(struct batch_spec){.value_size = 5});
    (void)turn_and_apply();
    ck_assert_int_eq(bad.req.error, errors[_i]);
    ck_assert_ptr_nonnull(bad.req.error_text);
    ck_assert_int_eq(bad.req.error_record, _i == 1 ? 0 : -1);
    ck_assert_int_eq(good.req.error, KAFKA_NONE);
    ck_assert_int_eq(good.req.base_offset, 0);
    test_produce_deinit(&bad);
    test_produce_deinit(&good);
}
END_TEST

/* ---- Doubt ---- */

/* Goal: a leader that is none any more answers "not leader" at once, whatever becomes of the entries, and the
 * repetition at the next leader is recognised. Method: leadership lost with one batch applied, one proposed, one
 * queued; the proposed one is committed later or dropped. */
START_TEST(lost_leadership_is_answered)
{
    struct test_produce produce[3];
    struct batch_spec specs[3] = {sequence_spec(0, 1), sequence_spec(1, 1), sequence_spec(2, 1)};
    test_produce_spec(partition, &produce[0], &specs[0]);
    (void)turn_and_apply();
    test_produce_spec(partition, &produce[1], &specs[1]);
    partition_fixture_turn(&fixture);
    fake_replica_place(replica);
    test_produce_spec(partition, &produce[2], &specs[2]);
    fake_replica_role(replica, REPLICA_FOLLOWER, 8, false);
    ck_assert_uint_eq(produce[1].answers + produce[2].answers, 0);
    partition_fixture_turn(&fixture);
    ck_assert_int_eq(produce[0].req.error, KAFKA_NONE);
    ck_assert_uint_eq(produce[1].answers, 1);
    ck_assert_uint_eq(produce[2].answers, 1);
    ck_assert_int_eq(produce[1].req.error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(produce[2].req.error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    ck_assert_uint_lt(produce[1].number, produce[2].number);
    bool is_committed = _i == 1;
    if (is_committed) {
        fake_replica_apply(replica, 1);
    } else {
        fake_replica_truncate(replica);
    }
    fake_replica_role(replica, REPLICA_LEADER, 9, true);
    struct test_produce again[2];
    test_produce_spec(partition, &again[0], &specs[1]);
    test_produce_spec(partition, &again[1], &specs[2]);
    (void)turn_and_apply();
    ck_assert_int_eq(again[0].req.error, KAFKA_NONE);
    ck_assert_int_eq(again[0].req.base_offset, 1);
    ck_assert_int_eq(again[0].req.is_duplicate, is_committed);
    ck_assert_int_eq(again[1].req.base_offset, 2);
    ck_assert_uint_eq(produce[1].answers, 1);
    for (int i = 0; i < 3; i++) {
        test_produce_deinit(&produce[i]);
    }
    test_produce_deinit(&again[0]);
    test_produce_deinit(&again[1]);
}
END_TEST

/* Goal: a leader that is elected again in a new term knows nothing of its old promises. Method: term 7, then leader
 * of term 9 directly; the old entry is applied with an entry of the new term in flight. */
START_TEST(a_new_term_answers_the_old_ones)
{
    struct test_produce old;
    test_produce_spec(partition, &old, &(struct batch_spec){.value_size = 5});
    partition_fixture_turn(&fixture);
    fake_replica_place(replica);
    fake_replica_role(replica, REPLICA_LEADER, 9, true);
    struct test_produce produce;
    test_produce_spec(partition, &produce, &(struct batch_spec){.value_size = 5});
    partition_fixture_turn(&fixture);
    fake_replica_place(replica);
    fake_replica_apply(replica, 1);
    ck_assert_int_eq(old.req.error, KAFKA_NOT_LEADER_OR_FOLLOWER);
    ck_assert_uint_eq(produce.answers, 0);
    fake_replica_apply(replica, 1);
    ck_assert_uint_eq(produce.answers, 1);
    ck_assert_int_eq(produce.req.base_offset, 1);
    test_produce_deinit(&old);
    test_produce_deinit(&produce);
}
END_TEST

/* ---- Busy ---- */

/* Appends that wait in memory go to their file: a read does that. */
static void write_out(void)
{
    struct log *log = partition_log(partition);
    struct log_read read = {.offset = log_start_offset(log), .size_max = 1, .is_first_whole = true};
    if (log_end_offset(log) > read.offset) {
        ck_assert_int_eq(log_read_now(log, &read), OK);
        slice_release(&read.slice);
    }
}

/* Goal: a group that takes nothing now makes batches wait, in order, and loses none. Method: the first 1, 2, 3
 * submits refused; the queue moves on when something was applied, or when the timer fires, though nothing was in
 * flight. */
START_TEST(a_busy_group_makes_batches_wait)
{
    struct test_produce produce[6];
    test_produce_spec(partition, &produce[0], &(struct batch_spec){.value_size = 5});
    bool is_something_in_flight = _i % 2 == 1;
    if (is_something_in_flight) {
        partition_fixture_turn(&fixture);
        fake_replica_place(replica);
    }
    unsigned refusals = 1 + (unsigned)_i / 2;
    fault_init(&replica->busy, 1, refusals);
    for (int i = 1; i < 6; i++) {
        test_produce_spec(partition, &produce[i], &(struct batch_spec){.value_size = 5});
        partition_fixture_turn(&fixture);
    }
    ck_assert_uint_eq(replica->busy.calls, 1);
    ck_assert_uint_eq(partition_fixture_timer_count(&fixture), 1);
    for (unsigned i = 1; i <= refusals; i++) {
        ck_assert_uint_eq(produce[5].answers, 0);
        if (is_something_in_flight && i == 1) {
            fake_replica_apply(replica, 1);
            partition_fixture_turn(&fixture);
        } else {
            partition_fixture_pass(&fixture, 5);
        }
    }
    write_out(); /* the log's own timer goes with its last waiting byte */
    ck_assert_uint_eq(partition_fixture_timer_count(&fixture), 0);
    (void)turn_and_apply();
    for (int i = 0; i < 6; i++) {
        ck_assert_int_eq(produce[i].req.error, KAFKA_NONE);
        ck_assert_int_eq(produce[i].req.base_offset, i);
        test_produce_deinit(&produce[i]);
    }
}
END_TEST

/* Goal: the queue is bounded in bytes and number, and what does not fit is refused so that clients come again.
 * Method: a group that is busy for ever, batches until one is refused; then it recovers and the rest is appended. */
START_TEST(the_queue_is_bounded)
{
    size_t value_size = _i == 0 ? 1 << 19 : 1;
    fault_init(&replica->busy, 1, FAULT_FOREVER);
    struct test_produce *produce = mem_alloc((PARTITION_QUEUE_COUNT_MAX + 2) * sizeof(*produce));
    unsigned count = 0;
    do {
        test_produce_spec(partition, &produce[count++], &(struct batch_spec){.value_size = value_size});
        partition_fixture_turn(&fixture);
    } while (produce[count - 1].answers == 0);
    ck_assert_int_eq(produce[count - 1].req.error, KAFKA_NOT_ENOUGH_REPLICAS);
    ck_assert(kafka_error_is_retriable(produce[count - 1].req.error));
    ck_assert_uint_eq(count - 1, _i == 0 ? PARTITION_QUEUE_SIZE_MAX / ((1 << 19) + 80) : PARTITION_QUEUE_COUNT_MAX);
    fault_init(&replica->busy, 0, 1);
    partition_fixture_pass(&fixture, 5);
    (void)turn_and_apply();
    ck_assert_int_eq(log_end_offset(partition_log(partition)), count - 1);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_uint_eq(produce[i].answers, 1);
        test_produce_deinit(&produce[i]);
    }
    mem_free(produce);
}
END_TEST

/* Goal: one turn may bring more than the queue holds if the group takes it. Method: more batches than the bound,
 * without a turn between. */
START_TEST(a_full_queue_is_flushed_before_it_refuses)
{
    enum {
        COUNT = PARTITION_QUEUE_COUNT_MAX + 10
    };
    struct test_produce *produce = mem_alloc(COUNT * sizeof(*produce));
    for (unsigned i = 0; i < COUNT; i++) {
        test_produce_spec(partition, &produce[i], &(struct batch_spec){.value_size = 1});
    }
    (void)turn_and_apply();
    for (unsigned i = 0; i < COUNT; i++) {
        ck_assert_int_eq(produce[i].req.error, KAFKA_NONE);
        ck_assert_int_eq(produce[i].req.base_offset, i);
        test_produce_deinit(&produce[i]);
    }
    mem_free(produce);
}
END_TEST

/* ---- Expiry ---- */

/* Goal: time out at any moment is answered once, and what was proposed is still appended. Method: expire the middle
 * one of three while queued, proposed, applied, answered. */
START_TEST(expired_requests_are_answered_once)
{
    struct test_produce produce[3];
    for (int i = 0; i < 3; i++) {
        test_produce_spec(partition, &produce[i], &(struct batch_spec){.value_size = 5});
    }
    if (_i >= 1) {
        partition_fixture_turn(&fixture);
        fake_replica_place(replica);
    }
    if (_i >= 2) {
        fake_replica_apply(replica, 1);
    }
    unsigned before = produce[1].answers;
    partition_produce_expire(partition, &produce[1].req);
    ck_assert_uint_eq(produce[1].answers, before);
    partition_produce_expire(partition, &produce[1].req);
    partition_fixture_turn(&fixture);
    ck_assert_uint_eq(produce[1].answers, 1);
    ck_assert_int_eq(produce[1].req.error, _i >= 2 ? KAFKA_NONE : KAFKA_REQUEST_TIMED_OUT);
    (void)turn_and_apply();
    for (int i = 0; i < 3; i++) {
        ck_assert_uint_eq(produce[i].answers, 1);
        test_produce_deinit(&produce[i]);
    }
    ck_assert_int_eq(produce[0].req.base_offset, 0);
    ck_assert_int_eq(produce[2].req.base_offset, _i == 0 ? 1 : 2);
    ck_assert_int_eq(log_end_offset(partition_log(partition)), _i == 0 ? 2 : 3);
}
END_TEST

/* ---- Timestamps ---- */

/* Goal: with log append time the batch carries the broker's clock and a right CRC, and a repetition is told the
 * first time. Method: codecs; the same batch again later. */
START_TEST(log_append_time_is_written_and_told)
{
    struct partition_config config = partition_fixture_config();
    config.is_log_append_time = true;
    partition_set_config(partition, &config);
    struct batch_spec spec = sequence_spec(0, 3);
    spec.codec = (enum record_codec)_i;
    struct test_produce produce[2];
    int64_t first_ms = fixture.wall_ms;
    test_produce_spec(partition, &produce[0], &spec);
    (void)turn_and_apply();
    partition_fixture_pass(&fixture, 500);
    test_produce_spec(partition, &produce[1], &spec);
    (void)turn_and_apply();
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(produce[i].req.error, KAFKA_NONE);
        ck_assert_int_eq(produce[i].req.log_append_time_ms, first_ms);
        ck_assert_int_eq(produce[i].req.is_duplicate, i == 1);
        test_produce_deinit(&produce[i]);
    }
    struct log_read read = {.offset = 0, .size_max = 1 << 20};
    ck_assert_int_eq(log_read_now(partition_log(partition), &read), OK);
    struct record_batch batch;
    ck_assert_int_eq(record_batch_view(read.slice.bytes, &batch), OK);
    ck_assert(record_batch_crc_ok(&batch));
    ck_assert_int_eq(batch.max_timestamp, first_ms);
    ck_assert_int_eq(batch.attributes, _i | BATCH_LOG_APPEND_TIME);
    slice_release(&read.slice);
}
END_TEST

/* Goal: a MaxTimestamp that the client left wrong is stored right. Method: -1 in the header of an uncompressed
 * batch. */
START_TEST(wrong_max_timestamps_are_mended)
{
    struct shared *block = batch_new(&(struct batch_spec){.count = 4, .value_size = 5, .timestamp = 1000});
    record_batch_set_max_timestamp(block->data, block->size, -1, false);
    struct test_produce produce;
    test_produce(partition, &produce, block);
    (void)turn_and_apply();
    struct log_read read = {.offset = 0, .size_max = 1 << 20};
    ck_assert_int_eq(log_read_now(partition_log(partition), &read), OK);
    struct record_batch batch;
    ck_assert_int_eq(record_batch_view(read.slice.bytes, &batch), OK);
    ck_assert_int_eq(batch.max_timestamp, 1003);
    slice_release(&read.slice);
    test_produce_deinit(&produce);
}
END_TEST

/* ---- Callbacks ---- */

struct chain {
    struct partition_produce req;
    unsigned answers;
};

static void chain_on_answer(struct partition_produce *req)
{
    struct chain *chain = container_of(req, struct chain, req);
    chain->answers++;
    if (chain->answers < 5) {
        struct slice batch = chain->req.batch;
        chain->req = (struct partition_produce){.batch = batch, .cb = chain_on_answer};
        unsigned before = chain->answers;
        partition_produce(partition, &chain->req);
        ck_assert_uint_eq(chain->answers, before);
    }
}

/* Goal: a callback may send the next batch with the same request. Method: five in a row; the last ones after
 * leadership was lost. */
START_TEST(callbacks_may_produce)
{
    struct shared *block = batch_new(&(struct batch_spec){.value_size = 5});
    struct chain chain = {.req = {.batch = slice_of(block, 0, block->size), .cb = chain_on_answer}};
    partition_produce(partition, &chain.req);
    (void)turn_and_apply();
    (void)turn_and_apply();
    ck_assert_uint_eq(chain.answers, 2);
    fake_replica_role(replica, REPLICA_FOLLOWER, 8, false);
    partition_fixture_turn(&fixture);
    ck_assert_uint_eq(chain.answers, 5);
    ck_assert_int_eq(log_end_offset(partition_log(partition)), 2);
    slice_release(&chain.req.batch);
    shared_release(block);
}
END_TEST

/* Goal: closing answers everybody, whatever they do in their callback. Method: a queued and a proposed request, one
 * of which sends again when it is answered. */
START_TEST(closing_answers_everybody)
{
    struct test_produce produce[2];
    test_produce_spec(partition, &produce[0], &(struct batch_spec){.value_size = 5});
    partition_fixture_turn(&fixture);
    fake_replica_place(replica);
    test_produce_spec(partition, &produce[1], &(struct batch_spec){.value_size = 5});
    struct shared *block = batch_new(&(struct batch_spec){.value_size = 5});
    struct chain chain = {.req = {.batch = slice_of(block, 0, block->size), .cb = chain_on_answer}};
    partition_produce(partition, &chain.req);
    struct replica_machine *machine = partition_machine(partition);
    if (_i == 1) {
        partition_machine(partition)->is_removed = true;
    }
    machine->closed = on_closed;
    machine->ops->close(machine);
    ck_assert(!is_closed);
    ck_assert_uint_eq(produce[0].answers + produce[1].answers, 0);
    partition_fixture_turn(&fixture);
    struct test_produce late;
    if (_i == 1) { /* the files are being removed */
        ck_assert(!is_closed);
        test_produce_spec(partition, &late, &(struct batch_spec){.value_size = 5});
        partition_fixture_turn(&fixture);
        ck_assert_int_eq(late.req.error, KAFKA_NOT_LEADER_OR_FOLLOWER);
        test_produce_deinit(&late);
        test_produce_spec(partition, &late, &(struct batch_spec){.value_size = 5});
        log_fixture_run_jobs(&fixture.log);
        ck_assert_uint_eq(late.answers, 1);
        test_produce_deinit(&late);
    }
    ck_assert(is_closed);
    ck_assert_uint_eq(chain.answers, 5);
    for (int i = 0; i < 2; i++) {
        ck_assert_uint_eq(produce[i].answers, 1);
        ck_assert_int_eq(produce[i].req.error, KAFKA_NOT_LEADER_OR_FOLLOWER);
        test_produce_deinit(&produce[i]);
    }
    slice_release(&chain.req.batch);
    shared_release(block);
}
END_TEST

static Suite *partition_produce_suite(void)
{
    Suite *suite = suite_create("partition_produce");
    TCase *produce = tcase_create("produce");
    tcase_set_timeout(produce, 60);
    tcase_add_checked_fixture(produce, setup, teardown);
    tcase_add_test(produce, produce_is_answered_after_apply);
    tcase_add_loop_test(produce, stored_bytes_are_the_clients, 0, CODEC_COUNT);
    tcase_add_loop_test(produce, a_turns_batches_share_entries, 0, array_count(gather_cases));
    tcase_add_loop_test(produce, small_shares_of_a_block_are_copied, 0, 8);
    tcase_add_test(produce, only_a_ready_leader_takes_batches);
    tcase_add_loop_test(produce, bad_batches_are_refused_alone, 0, 4);
    tcase_add_loop_test(produce, lost_leadership_is_answered, 0, 2);
    tcase_add_test(produce, a_new_term_answers_the_old_ones);
    tcase_add_loop_test(produce, a_busy_group_makes_batches_wait, 0, 6);
    tcase_add_loop_test(produce, the_queue_is_bounded, 0, 2);
    tcase_add_test(produce, a_full_queue_is_flushed_before_it_refuses);
    tcase_add_loop_test(produce, expired_requests_are_answered_once, 0, 3);
    tcase_add_loop_test(produce, log_append_time_is_written_and_told, 0, CODEC_COUNT);
    tcase_add_test(produce, wrong_max_timestamps_are_mended);
    tcase_add_test(produce, callbacks_may_produce);
    tcase_add_loop_test(produce, closing_answers_everybody, 0, 2);
    suite_add_tcase(suite, produce);
    return suite;
}

TEST_MAIN(partition_produce_suite)
