/* Applying is a function of the log: replicas agree to the byte, and so does a replica with itself after a restart. */
#include <string.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/shared.h"
#include "replication/partition_command.h"
#include "replication/partition_state.h"
#include "tests/lib/fake_replica.h"
#include "tests/lib/partition_fixture.h"

enum {
    GROUP = 42,
    BLOB_SIZE_MAX = 1 << 22
};

static struct partition_fixture fixture;
static uint64_t seed;

struct member { /* One replica of the partition, with what its last checkpoint holds. */
    char dir[512];
    struct partition *partition;
    struct replica *replica;
    struct dynbuf state;
    unsigned state_index; /* entries in it */
};

static unsigned closes;

static void on_closed(struct replica_machine *machine)
{
    (void)machine;
    closes++;
}

static enum err member_try_open(struct member *member, struct bytes state, struct errmsg *msg)
{
    struct partition_name name = {.topic = bytes_from_text("topic")};
    struct partition_config config = partition_fixture_config();
    config.log.segment_size_max = 4000;
    config.log.segment_ms = 500;
    config.log.index_interval = 300;
    config.producer_expiration_ms = 2000;
    return partition_open(&fixture.log.env, fixture.log.files, member->dir, GROUP, &name, &config, state,
                          &member->partition, msg);
}

static void member_start(struct member *member)
{
    struct errmsg msg;
    enum err err = member_try_open(member, dynbuf_bytes(&member->state), &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    member->replica = fake_replica_open(partition_machine(member->partition), GROUP);
}

static void member_stop(struct member *member)
{
    struct replica_machine *machine = partition_machine(member->partition);
    machine->closed = on_closed;
    unsigned before = closes;
    machine->ops->close(machine);
    partition_fixture_turn(&fixture);
    log_fixture_run_jobs(&fixture.log);
    ck_assert_uint_eq(closes, before + 1);
    fake_replica_close(member->replica);
    member->partition = NULL;
}

static void member_open(struct member *member, const char *name)
{
    *member = (struct member){0};
    (void)snprintf(member->dir, sizeof(member->dir), "%s/%s", fixture.log.dir, name);
    dynbuf_init(&member->state, BLOB_SIZE_MAX);
    member_start(member);
}

static void member_close(struct member *member)
{
    member_stop(member);
    dynbuf_deinit(&member->state);
}

static void member_blob(struct member *member, struct dynbuf *blob, bool is_ok)
{
    struct replica_machine *machine = partition_machine(member->partition);
    void *capture = machine->ops->capture(machine, blob);
    struct errmsg msg;
    ck_assert_int_eq(machine->ops->capture_sync(capture, &msg), OK);
    machine->ops->capture_done(machine, capture, is_ok);
    log_fixture_run_jobs(&fixture.log);
}

static void member_checkpoint(struct member *member)
{
    dynbuf_reset(&member->state);
    member_blob(member, &member->state, true);
    member->state_index = member->replica->applied;
}

static void setup(void)
{
    partition_fixture_init(&fixture);
}

static void teardown(void)
{
    partition_fixture_deinit(&fixture);
}

/* ---- A history ---- */

/* A batch of one of a few producers, with right, repeated and wrong sequence numbers and epochs, or of nobody. */
static struct shared *random_batch(int32_t *next_sequence)
{
    struct batch_spec spec = {
        .count = (int)test_random_between(&seed, 1, 4),
        .value_size = (size_t)test_random_between(&seed, 0, 300),
        .codec = (enum record_codec)test_random_between(&seed, CODEC_NONE, CODEC_ZSTD),
        .timestamp = fixture.wall_ms - test_random_between(&seed, 0, 50),
    };
    int64_t producer = test_random_between(&seed, 0, 5);
    if (producer < 4) {
        int64_t slip = test_random_between(&seed, 0, 9);
        int32_t sequence = next_sequence[producer];
        spec.has_producer = true;
        spec.producer_id = 100 + producer;
        spec.producer_epoch = (int16_t)(sequence >> 16);
        spec.sequence = sequence & 0xffff;
        if (slip == 0) {
            spec.sequence += 2;
        } else if (slip == 1) {
            spec.producer_epoch = (int16_t)(spec.producer_epoch + 1);
            spec.sequence = 0;
            next_sequence[producer] = (spec.producer_epoch << 16) + spec.count;
        } else if (slip > 3) {
            next_sequence[producer] += spec.count;
        }
    }
    return batch_new(&spec);
}

/* Turns of a leader: batches, trims, changes of the term, time passing. All entries end up placed in its log. */
static void leader_writes(struct member *leader, unsigned turns)
{
    int32_t next_sequence[4] = {0};
    uint64_t term = leader->replica->status.term + 1;
    struct test_produce produce[6];
    fake_replica_role(leader->replica, REPLICA_LEADER, term, true);
    for (unsigned turn = 0; turn < turns; turn++) {
        partition_fixture_pass(&fixture, test_random_between(&seed, 0, 200));
        if (test_random_between(&seed, 0, 30) == 0) {
            fixture.wall_ms -= 1000; /* clocks jump */
        }
        int count = (int)test_random_between(&seed, 0, 6);
        for (int i = 0; i < count; i++) {
            test_produce(leader->partition, &produce[i], random_batch(next_sequence));
        }
        struct test_trim trim;
        bool is_trim = test_random_between(&seed, 0, 9) == 0;
        if (is_trim) {
            int64_t start = log_start_offset(partition_log(leader->partition));
            int64_t end = log_end_offset(partition_log(leader->partition));
            test_trim(leader->partition, &trim, test_random_between(&seed, start, end));
        }
        partition_fixture_turn(&fixture);
        (void)fake_replica_apply_all(leader->replica);
        partition_fixture_turn(&fixture);
        ck_assert(!is_trim || trim.answers == 1);
        for (int i = 0; i < count; i++) {
            ck_assert_uint_eq(produce[i].answers, 1);
            test_produce_deinit(&produce[i]);
        }
        if (test_random_between(&seed, 0, 7) == 0) {
            term += (uint64_t)test_random_between(&seed, 1, 3);
            fake_replica_role(leader->replica, REPLICA_LEADER, term, true);
        }
    }
}

/* Gives a follower the leader's entries [from, to), as they come from the wire or the WAL: one piece, or cut
 * anywhere. */
static void follower_reads(struct member *follower, const struct replica *leader, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        struct shared *scratch = NULL;
        struct bytes payload = entry_payload(leader->entries[i], &scratch);
        uint64_t term = leader->entries[i]->term;
        struct entry *entry;
        if (test_random_between(&seed, 0, 1) == 0) {
            entry = entry_new_copy(ENTRY_COMMAND, 0, term, payload);
        } else {
            struct shared *block = shared_new(payload.size);
            memcpy(block->data, payload.data, payload.size);
            size_t cut = (size_t)test_random_between(&seed, 0, (int64_t)payload.size);
            struct slice slices[2] = {slice_of(block, 0, cut), slice_of(block, cut, payload.size - cut)};
            entry = entry_new(ENTRY_COMMAND, 0, term, slices, 2);
            shared_release(block);
        }
        shared_release(scratch);
        fake_replica_append(follower->replica, entry);
    }
}

/* Counts and check sum of a segment's two indexes are no part of the replicated state: they are about local files of
 * hints, and the spacing of hints starts anew at a restart. What lookups find through them is compared instead. */
static void blob_forget_hints(struct dynbuf *blob)
{
    enum {
        HEAD_SIZE = 29,
        SEGMENT_SIZE = 52,
        AT_INDEX_COUNT = 32,
        INDEX_FIELDS_SIZE = 12,
        CRC_SIZE = 4
    };
    uint32_t count = be32_get(blob->data + HEAD_SIZE - 4);
    for (uint32_t i = 0; i < count; i++) {
        memset(blob->data + HEAD_SIZE + i * SEGMENT_SIZE + AT_INDEX_COUNT, 0, INDEX_FIELDS_SIZE);
    }
    blob->size -= CRC_SIZE; /* it covers them */
}

static void expect_same_lookups(struct member *a, struct member *b)
{
    for (int64_t timestamp = 1700000000000 - 2000; timestamp < fixture.wall_ms + 100; timestamp += 37) {
        int64_t offsets[2] = {-1, -1};
        int64_t times[2] = {-1, -1};
        struct errmsg msg;
        enum err err_a = log_find_time(partition_log(a->partition), timestamp, &offsets[0], &times[0], &msg);
        enum err err_b = log_find_time(partition_log(b->partition), timestamp, &offsets[1], &times[1], &msg);
        ck_assert(err_a == OK || err_a == ERR_NOT_FOUND);
        ck_assert_int_eq(err_a, err_b);
        ck_assert_int_eq(offsets[0], offsets[1]);
        ck_assert_int_eq(times[0], times[1]);
    }
}

static void expect_equal(struct member *a, struct member *b)
{
    struct dynbuf blobs[2];
    struct bytes files[2];
    struct member *members[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        dynbuf_init(&blobs[i], BLOB_SIZE_MAX);
        member_blob(members[i], &blobs[i], true);
        blob_forget_hints(&blobs[i]);
        files[i] = segments_read(log_dir(partition_log(members[i]->partition)));
    }
    ck_assert_msg(bytes_equal(dynbuf_bytes(&blobs[0]), dynbuf_bytes(&blobs[1])), "states differ");
    ck_assert_msg(bytes_equal(files[0], files[1]), "segments differ");
    expect_same_lookups(a, b);
    for (int i = 0; i < 2; i++) {
        mem_free((void *)(uintptr_t)files[i].data);
        dynbuf_deinit(&blobs[i]);
    }
}

/* Goal: all replicas have the same state and the same segment bytes, however entries reached them, and however often
 * and wherever they were restarted from a checkpoint. Method: a random leader's history; a follower that applies it
 * with random checkpoints and restarts; blobs and files compared. */
START_TEST(replicas_agree_to_the_byte)
{
    seed = (uint64_t)_i;
    struct member leader;
    struct member follower;
    member_open(&leader, "a");
    member_open(&follower, "b");
    leader_writes(&leader, 60);
    ck_assert_uint_gt(leader.replica->count, 10);
    unsigned total = leader.replica->count;
    unsigned applied = 0;
    while (applied < total) {
        unsigned step = (unsigned)test_random_between(&seed, 1, 12);
        step = step < total - applied ? step : total - applied;
        follower_reads(&follower, leader.replica, applied, applied + step);
        fake_replica_apply(follower.replica, step);
        applied += step;
        int64_t event = test_random_between(&seed, 0, 3);
        if (event == 0) {
            member_checkpoint(&follower);
            follower.state_index = applied;
        } else if (event == 1) {
            struct dynbuf lost; /* captured, but the store's commit failed */
            dynbuf_init(&lost, BLOB_SIZE_MAX);
            member_blob(&follower, &lost, false);
            dynbuf_deinit(&lost);
        } else if (event == 2 && applied < total) {
            member_stop(&follower);
            member_start(&follower);
            applied = follower.state_index;
        }
    }
    expect_equal(&leader, &follower);
    member_close(&follower);
    member_close(&leader);
}
END_TEST

/* Goal: a leader's own restart finds what it acknowledged. Method: checkpoint somewhere in a history, go on,
 * restart, apply the rest again; compared with a follower that applied all at once. */
START_TEST(a_restarted_leader_agrees_with_itself)
{
    seed = 1000 + (uint64_t)_i;
    struct member leader;
    struct member follower;
    member_open(&leader, "a");
    member_open(&follower, "b");
    leader_writes(&leader, 20);
    member_checkpoint(&leader);
    unsigned at = leader.state_index;
    leader_writes(&leader, 20);
    unsigned total = leader.replica->count;
    follower_reads(&follower, leader.replica, 0, total);
    fake_replica_apply(follower.replica, total);
    struct member again = leader;
    struct replica *history = leader.replica;
    struct replica_machine *machine = partition_machine(leader.partition);
    machine->closed = on_closed;
    machine->ops->close(machine);
    partition_fixture_turn(&fixture);
    member_start(&again);
    follower_reads(&again, history, at, total);
    fake_replica_apply(again.replica, total - at);
    expect_equal(&again, &follower);
    fake_replica_close(history);
    member_close(&again);
    member_close(&follower);
}
END_TEST

/* ---- Commands that cannot be applied ---- */

static struct entry *trim_entry(uint64_t term, int64_t append_ms, int64_t offset)
{
    struct partition_command command = {PARTITION_COMMAND_TRIM, 0, append_ms, offset};
    uint8_t data[PARTITION_COMMAND_HEADER_SIZE];
    partition_command_encode(&command, data);
    return entry_new_copy(ENTRY_COMMAND, 0, term, (struct bytes){data, sizeof(data)});
}

/* Goal: a replica that meets a command it does not know stops there, tells so once, and its checkpoint is never
 * believed. Method: type and version of another release; what comes behind is not applied; with and without a
 * replica (recovery applies before there is one). */
START_TEST(unknown_commands_stop_the_replica)
{
    struct member member;
    member_open(&member, "a");
    struct replica *replica = member.replica;
    fake_replica_role(replica, REPLICA_LEADER, 3, true);
    struct test_produce produce[3];
    test_produce_spec(member.partition, &produce[0], &(struct batch_spec){.value_size = 5});
    partition_fixture_turn(&fixture);
    (void)fake_replica_apply_all(replica);
    struct entry *bad = trim_entry(3, 1, 0);
    bad->slices[0].block->data[_i % 2] = 99;
    fake_replica_append(replica, bad);
    test_produce_spec(member.partition, &produce[1], &(struct batch_spec){.value_size = 5});
    partition_fixture_turn(&fixture);
    bool is_recovery = _i >= 2;
    if (is_recovery) {
        partition_machine(member.partition)->replica = NULL;
    }
    (void)fake_replica_apply_all(replica);
    ck_assert_uint_eq(replica->damages, is_recovery ? 0 : 1);
    partition_machine(member.partition)->replica = replica;
    partition_fixture_turn(&fixture);
    ck_assert_uint_eq(replica->damages, 1);
    ck_assert_int_eq(produce[1].req.error, KAFKA_KAFKA_STORAGE_ERROR);
    test_produce_spec(member.partition, &produce[2], &(struct batch_spec){.value_size = 5});
    partition_fixture_turn(&fixture);
    ck_assert_int_eq(produce[2].req.error, KAFKA_KAFKA_STORAGE_ERROR);
    ck_assert_uint_eq(replica->damages, 1);
    ck_assert_ptr_nonnull(strstr(replica->damage, "topic-0: an entry holds a command that this release does not know"));
    struct partition_offsets offsets;
    ck_assert_int_eq(partition_offsets(member.partition, &offsets), KAFKA_KAFKA_STORAGE_ERROR);
    ck_assert_int_eq(log_end_offset(partition_log(member.partition)), 1);
    member_checkpoint(&member);
    member_stop(&member);
    struct errmsg msg;
    ck_assert_int_eq(member_try_open(&member, dynbuf_bytes(&member.state), &msg), ERR_DAMAGED);
    ck_assert_ptr_nonnull(strstr(msg.text, "topic-0"));
    dynbuf_deinit(&member.state);
    for (int i = 0; i < 3; i++) {
        test_produce_deinit(&produce[i]);
    }
}
END_TEST

/* Goal: no command, however broken, harms more than its replica. Method: each prefix of a good entry, and bit flips
 * of its header and of the batches' headers, applied to a fresh partition; it applies whole commands only. */
START_TEST(broken_commands_are_survived)
{
    struct member leader;
    member_open(&leader, "a");
    fake_replica_role(leader.replica, REPLICA_LEADER, 3, true);
    struct test_produce produce[2];
    test_produce_spec(leader.partition, &produce[0], &(struct batch_spec){.count = 2, .value_size = 5});
    test_produce_spec(leader.partition, &produce[1], &(struct batch_spec){.count = 3, .value_size = 5});
    partition_fixture_turn(&fixture);
    (void)fake_replica_apply_all(leader.replica);
    struct shared *scratch = NULL;
    struct bytes whole = entry_payload(leader.replica->entries[0], &scratch);
    size_t cases = _i == 0 ? whole.size : 8 * whole.size;
    for (size_t c = 0; c < cases; c++) {
        struct entry *entry = entry_new_copy(ENTRY_COMMAND, 0, 3, (struct bytes){whole.data, _i == 0 ? c : whole.size});
        if (_i == 1) {
            entry->slices[0].block->data[c / 8] ^= (uint8_t)(1u << c % 8);
        }
        struct member member;
        member_open(&member, "b");
        fake_replica_append(member.replica, entry);
        fake_replica_apply(member.replica, 1);
        int64_t end = log_end_offset(partition_log(member.partition));
        partition_fixture_turn(&fixture);
        if (_i == 0) {
            ck_assert_uint_eq(member.replica->damages, 1);
            ck_assert_int_eq(end, 0);
        } else if (member.replica->damages == 1) {
            ck_assert_int_eq(end, 0);
        }
        partition_machine(member.partition)->is_removed = true;
        member_close(&member);
    }
    shared_release(scratch);
    test_produce_deinit(&produce[0]);
    test_produce_deinit(&produce[1]);
    member_close(&leader);
}
END_TEST

/* Goal: time never goes back in the state, whoever leads with whatever clock. Method: trims of leaders with clocks
 * behind and before. */
START_TEST(append_time_never_goes_back)
{
    struct member member;
    member_open(&member, "a");
    static const int64_t times[] = {5000, 3000, 6000, 0, 5999};
    static const int64_t expected[] = {5000, 5000, 6000, 6000, 6000};
    for (size_t i = 0; i < array_count(times); i++) {
        fake_replica_append(member.replica, trim_entry(3 + i, times[i], 0));
        fake_replica_apply(member.replica, 1);
        member_checkpoint(&member);
        ck_assert_int_eq((int64_t)be64_get(member.state.data + 1), expected[i]);
    }
    fixture.wall_ms = 4000;
    fake_replica_role(member.replica, REPLICA_LEADER, 20, true);
    struct test_produce produce;
    test_produce_spec(member.partition, &produce, &(struct batch_spec){.value_size = 5});
    partition_fixture_turn(&fixture);
    struct partition_command_reader reader;
    struct partition_command command;
    ck_assert_int_eq(partition_command_open(&reader, member.replica->entries[5], &command), OK);
    ck_assert_int_eq(command.append_ms, 6000);
    partition_command_deinit(&reader);
    (void)fake_replica_apply_all(member.replica);
    partition_fixture_turn(&fixture);
    test_produce_deinit(&produce);
    member_close(&member);
}
END_TEST

static Suite *partition_apply_suite(void)
{
    Suite *suite = suite_create("partition_apply");
    TCase *replay = tcase_create("replay");
    tcase_set_timeout(replay, 120);
    tcase_add_checked_fixture(replay, setup, teardown);
    tcase_add_loop_test(replay, replicas_agree_to_the_byte, 0, 40);
    tcase_add_loop_test(replay, a_restarted_leader_agrees_with_itself, 0, 20);
    suite_add_tcase(suite, replay);
    TCase *commands = tcase_create("commands");
    tcase_set_timeout(commands, 120);
    tcase_add_checked_fixture(commands, setup, teardown);
    tcase_add_loop_test(commands, unknown_commands_stop_the_replica, 0, 4);
    tcase_add_loop_test(commands, broken_commands_are_survived, 0, 2);
    tcase_add_test(commands, append_time_never_goes_back);
    suite_add_tcase(suite, commands);
    return suite;
}

TEST_MAIN(partition_apply_suite)
