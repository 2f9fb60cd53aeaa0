/* A partition as readers and the shard see it: roles, offsets, epochs, lookups by time, watches, trims, its name. */
#include "replication/partition.h"

#include <string.h>
#include <sys/stat.h>

#include "base/limits.h"
#include "base/mem.h"
#include "base/shared.h"
#include "replication/partition_state.h"
#include "tests/lib/fake_replica.h"
#include "tests/lib/partition_fixture.h"

enum {
    GROUP = 42
};

static struct partition_fixture fixture;
static struct partition *partition;
static struct replica *replica;
static unsigned closes;

static void on_closed(struct replica_machine *machine)
{
    (void)machine;
    closes++;
}

static void partition_shut(void)
{
    struct replica_machine *machine = partition_machine(partition);
    machine->closed = on_closed;
    unsigned before = closes;
    machine->ops->close(machine);
    partition_fixture_turn(&fixture);
    log_fixture_run_jobs(&fixture.log);
    ck_assert_uint_eq(closes, before + 1);
    fake_replica_close(replica);
}

static void partition_start(struct bytes state)
{
    struct partition_name name = {.topic = bytes_from_text("topic"), .index = 3, .topic_id = {{1, 2, 3}}};
    struct partition_config config = partition_fixture_config();
    struct errmsg msg;
    enum err err = partition_open(&fixture.log.env, fixture.log.files, fixture.log.dir, GROUP, &name, &config, state,
                                  &partition, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    replica = fake_replica_open(partition_machine(partition), GROUP);
}

static void setup(void)
{
    partition_fixture_init(&fixture);
    partition_start(BYTES_NONE);
    fake_replica_role(replica, REPLICA_LEADER, 7, true);
}

static void teardown(void)
{
    partition_shut();
    partition_fixture_deinit(&fixture);
}

static void append(int count, int64_t timestamp)
{
    struct test_produce produce;
    test_produce_spec(partition, &produce,
                      &(struct batch_spec){.count = count, .value_size = 20, .timestamp = timestamp});
    partition_fixture_turn(&fixture);
    (void)fake_replica_apply_all(replica);
    ck_assert_int_eq(produce.req.error, KAFKA_NONE);
    test_produce_deinit(&produce);
}

/* ---- Roles and offsets ---- */

/* Goal: only a ready leader answers readers, and a new one never shows less than was committed. Method: each role;
 * the code of each call. */
START_TEST(only_a_ready_leader_answers)
{
    append(5, 100);
    static const struct {
        enum replica_role role;
        bool is_ready;
        enum kafka_error error;
    } rows[] = {
        {REPLICA_FOLLOWER, false, KAFKA_NOT_LEADER_OR_FOLLOWER},
        {REPLICA_CANDIDATE, false, KAFKA_NOT_LEADER_OR_FOLLOWER},
        {REPLICA_LEADER, false, KAFKA_OFFSET_NOT_AVAILABLE},
        {REPLICA_LEADER, true, KAFKA_NOT_LEADER_OR_FOLLOWER}, /* it may have a successor */
        {REPLICA_LEADER, true, KAFKA_NONE},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        fake_replica_role(replica, rows[i].role, 8, rows[i].is_ready);
        replica->is_doubtful = rows[i].is_ready && rows[i].error != KAFKA_NONE;
        struct partition_offsets offsets;
        ck_assert_int_eq(partition_offsets(partition, &offsets), rows[i].error);
        int64_t offset = 0;
        int64_t timestamp = 0;
        int32_t epoch = 0;
        ck_assert_int_eq(partition_list_offset(partition, -1, &offset, &timestamp, &epoch), rows[i].error);
        ck_assert_int_eq(offset, rows[i].error == KAFKA_NONE ? 5 : -1);
        ck_assert_int_eq(partition_epoch_end(partition, 7, &epoch, &offset), rows[i].error);
        ck_assert_int_eq(offset, rows[i].error == KAFKA_NONE ? 5 : -1);
        struct test_trim trim; /* of nothing: what it says is read, too */
        test_trim(partition, &trim, 0);
        partition_fixture_turn(&fixture);
        ck_assert(trim.answers == 1 && (trim.req.error == KAFKA_NONE) == (rows[i].error == KAFKA_NONE));
    }
    struct partition_offsets offsets;
    ck_assert_int_eq(partition_offsets(partition, &offsets), KAFKA_NONE);
    ck_assert_int_eq(offsets.log_start_offset, 0);
    ck_assert_int_eq(offsets.last_stable_offset, 5);
    ck_assert_int_eq(offsets.high_watermark, 5);
    ck_assert_int_eq(offsets.log_end_offset, 5);
    ck_assert_int_eq(offsets.leader_epoch, 8);
}
END_TEST

/* Goal: a follower answers those who may read from followers, with what it has applied, while it hears of a leader. */
START_TEST(only_a_follower_that_hears_a_leader_serves)
{
    append(5, 100);
    static const struct {
        enum replica_role role;
        uint64_t leader;
        enum kafka_error error;
    } rows[] = {
        {REPLICA_FOLLOWER, 2, KAFKA_NONE},
        {REPLICA_FOLLOWER, 0, KAFKA_NOT_LEADER_OR_FOLLOWER},
        {REPLICA_CANDIDATE, 0, KAFKA_NOT_LEADER_OR_FOLLOWER},
        {REPLICA_LEADER, 1, KAFKA_NOT_LEADER_OR_FOLLOWER},
    };
    for (size_t i = 0; i < array_count(rows); i++) {
        struct partition_offsets offsets = PARTITION_OFFSETS_NONE;
        replica->status.leader = rows[i].leader;
        fake_replica_role(replica, rows[i].role, 8, rows[i].role == REPLICA_LEADER);
        ck_assert_int_eq(partition_follower_offsets(partition, &offsets), rows[i].error);
        ck_assert_int_eq(offsets.high_watermark, rows[i].error == KAFKA_NONE ? 5 : -1);
        ck_assert_int_eq(offsets.leader_epoch, rows[i].error == KAFKA_NONE ? 8 : -1);
    }
}
END_TEST

/* Goal: a member is asked for what was applied half a second to a second ago, and for all of it when nothing is new.
 * Method: an entry each 100 ms, for three seconds. */
START_TEST(what_is_recent_is_half_a_second_old)
{
    replica->status.applied_index = 1;
    ck_assert_uint_eq(partition_recent_index(partition), 1);
    for (unsigned i = 0; i < 30; i++) {
        append(1, 100);
        uint64_t now = replica->applied;
        replica->status.applied_index = now;
        uint64_t recent = partition_recent_index(partition);
        if (i > 10) {
            ck_assert_uint_le(recent, now - 5);
            ck_assert_uint_ge(recent, now - 10);
        }
        partition_fixture_pass(&fixture, 100);
    }
    partition_fixture_pass(&fixture, 400);
    ck_assert_uint_eq(partition_recent_index(partition), replica->applied);
}
END_TEST

/* Goal: the epoch that a client believes in is compared, not guessed. Method: table at term 7. */
START_TEST(current_epochs_are_compared)
{
    ck_assert_int_eq(partition_check_epoch(partition, -1), KAFKA_NONE);
    ck_assert_int_eq(partition_check_epoch(partition, 7), KAFKA_NONE);
    ck_assert_int_eq(partition_check_epoch(partition, 6), KAFKA_FENCED_LEADER_EPOCH);
    ck_assert_int_eq(partition_check_epoch(partition, 0), KAFKA_FENCED_LEADER_EPOCH);
    ck_assert_int_eq(partition_check_epoch(partition, 8), KAFKA_UNKNOWN_LEADER_EPOCH);
    ck_assert_int_eq(partition_check_epoch(partition, INT32_MAX), KAFKA_UNKNOWN_LEADER_EPOCH);
}
END_TEST

struct role_note {
    unsigned calls;
    uint64_t group;
    uint64_t term;
};

static void on_role(void *owner, uint64_t group, const struct replica_status *status)
{
    struct role_note *note = owner;
    *note = (struct role_note){note->calls + 1, group, status->term};
}

/* Goal: the shard hears of each change. Method: a few changes. */
START_TEST(the_shard_hears_of_roles)
{
    struct role_note note = {0};
    partition_on_role(partition, &note, on_role);
    fake_replica_role(replica, REPLICA_FOLLOWER, 9, false);
    fake_replica_role(replica, REPLICA_LEADER, 11, true);
    ck_assert_uint_eq(note.calls, 2);
    ck_assert_uint_eq(note.group, GROUP);
    ck_assert_uint_eq(note.term, 11);
}
END_TEST

/* ---- Lookups ---- */

struct list_case {
    int64_t timestamp;
    enum kafka_error error;
    int64_t offset;
    int64_t found;
    int32_t epoch;
};
/* Terms 7 (offsets 0-4, times 100-104), 9 (5-7, 300-302), 9 (8-9, 200-201); now leader of term 12; start moved to 2. */
static const struct list_case list_cases[] = {
    {-1, KAFKA_NONE, 10, -1, 12},
    {-2, KAFKA_NONE, 2, -1, 7},
    {-3, KAFKA_NONE, 7, 302, 9},
    {-4, KAFKA_NONE, 2, -1, 7},
    {-5, KAFKA_NONE, -1, -1, -1},
    {-6, KAFKA_INVALID_REQUEST, -1, -1, -1},
    {INT64_MIN, KAFKA_INVALID_REQUEST, -1, -1, -1},
    {0, KAFKA_NONE, 2, 102, 7},
    {103, KAFKA_NONE, 3, 103, 7},
    {105, KAFKA_NONE, 5, 300, 9},
    {301, KAFKA_NONE, 6, 301, 9},
    {302, KAFKA_NONE, 7, 302, 9},
    {303, KAFKA_NONE, -1, -1, -1},
    {INT64_MAX, KAFKA_NONE, -1, -1, -1},
};

static void fill_terms(void)
{
    append(5, 100);
    fake_replica_role(replica, REPLICA_LEADER, 9, true);
    append(3, 300);
    append(2, 200);
    fake_replica_role(replica, REPLICA_LEADER, 12, true);
    struct test_trim trim;
    test_trim(partition, &trim, 2);
    (void)fake_replica_apply_all(replica);
    ck_assert_uint_eq(trim.answers, 1);
    ck_assert_int_eq(trim.req.log_start_offset, 2);
}

/* Goal: ListOffsets is Kafka's for all special timestamps and times. Method: table. */
START_TEST(list_offset_is_that_of_kafka)
{
    const struct list_case *c = &list_cases[_i];
    fill_terms();
    int64_t offset = 0;
    int64_t found = 0;
    int32_t epoch = 0;
    ck_assert_int_eq(partition_list_offset(partition, c->timestamp, &offset, &found, &epoch), c->error);
    ck_assert_msg(offset == c->offset && found == c->found && epoch == c->epoch, "%lld: %lld, %lld, %d",
                  (long long)c->timestamp, (long long)offset, (long long)found, epoch);
}
END_TEST

/* Goal: an empty partition has answers, too. Method: all special timestamps, and epochs up to the current. */
START_TEST(an_empty_partition_answers)
{
    for (int64_t timestamp = -5; timestamp <= 0; timestamp++) {
        int64_t offset = 7;
        int64_t found = 7;
        int32_t epoch = 7;
        ck_assert_int_eq(partition_list_offset(partition, timestamp, &offset, &found, &epoch), KAFKA_NONE);
        ck_assert_int_eq(offset, timestamp == -1 || timestamp == -2 || timestamp == -4 ? 0 : -1);
        ck_assert_int_eq(found, -1);
        ck_assert_int_eq(epoch, timestamp == -1 ? 7 : -1);
    }
    for (int32_t asked = 0; asked <= 8; asked++) {
        int32_t epoch = 0;
        int64_t end = 0;
        ck_assert_int_eq(partition_epoch_end(partition, asked, &epoch, &end), KAFKA_NONE);
        ck_assert_int_eq(epoch, asked <= 7 ? asked : -1);
        ck_assert_int_eq(end, asked <= 7 ? 0 : -1);
    }
}
END_TEST

struct epoch_case {
    int32_t epoch;
    int32_t found;
    int64_t end;
};
static const struct epoch_case epoch_cases[] = {
    {-1, -1, -1}, {0, 0, 2},   {6, 6, 2},    {7, 7, 5},    {8, 7, 5},           {9, 9, 10},
    {10, 9, 10},  {11, 9, 10}, {12, 12, 10}, {13, -1, -1}, {INT32_MAX, -1, -1},
};

/* Goal: OffsetForLeaderEpoch answers for every epoch up to the leader's own, terms without records included. Method:
 * table; the same after a restart at a checkpoint. */
START_TEST(epoch_end_is_that_of_kafka)
{
    const struct epoch_case *c = &epoch_cases[_i];
    fill_terms();
    for (int run = 0; run < 2; run++) {
        int32_t epoch = 0;
        int64_t end = 0;
        ck_assert_int_eq(partition_epoch_end(partition, c->epoch, &epoch, &end), KAFKA_NONE);
        ck_assert_msg(epoch == c->found && end == c->end, "%d: %d, %lld", c->epoch, epoch, (long long)end);
        struct dynbuf state;
        dynbuf_init(&state, MIB(1));
        struct replica_machine *machine = partition_machine(partition);
        void *capture = machine->ops->capture(machine, &state);
        ck_assert_int_eq(machine->ops->capture_sync(capture, NULL), OK);
        machine->ops->capture_done(machine, capture, true);
        partition_shut();
        partition_start(dynbuf_bytes(&state));
        fake_replica_role(replica, REPLICA_LEADER, 12, true);
        dynbuf_deinit(&state);
    }
}
END_TEST

/* ---- Watches ---- */

/* Goal: a reader is woken by the bytes that it waits for, not before, and once. Method: watches of 1 byte, of
 * exactly two batches, and of more. */
START_TEST(watches_count_bytes)
{
    append(1, 0);
    int64_t size = (int64_t)log_size(partition_log(partition));
    struct test_watch watches[4];
    test_watch(partition, &watches[0], 1);
    test_watch(partition, &watches[1], 2 * size);
    test_watch(partition, &watches[2], 2 * size + 1);
    test_watch(partition, &watches[3], 1);
    partition_unwatch(&watches[3].watch);
    static const unsigned wakes[3][3] = {{1, 0, 0}, {1, 1, 0}, {1, 1, 1}};
    for (int i = 0; i < 3; i++) {
        append(1, 0);
        for (int w = 0; w < 3; w++) {
            ck_assert_uint_eq(watches[w].wakes, wakes[i][w]);
        }
    }
    ck_assert_uint_eq(watches[3].wakes, 0);
    partition_unwatch(&watches[0].watch);
}
END_TEST

/* Goal: readers learn that the leader changed or the partition goes. Method: each kind of change; the wake comes at
 * the end of the turn. */
START_TEST(watches_end_with_the_role)
{
    struct test_watch watch;
    test_watch(partition, &watch, 1 << 30);
    if (_i == 0) {
        fake_replica_role(replica, REPLICA_FOLLOWER, 8, false);
    } else if (_i == 1) {
        fake_replica_role(replica, REPLICA_LEADER, 9, true);
    } else {
        partition_machine(partition)->closed = on_closed;
        partition_machine(partition)->ops->close(partition_machine(partition));
    }
    ck_assert_uint_eq(watch.wakes, 0);
    partition_fixture_turn(&fixture);
    ck_assert_uint_eq(watch.wakes, 1);
    if (_i == 2) {
        fake_replica_close(replica);
        partition_start(BYTES_NONE);
    }
}
END_TEST

struct rewatch {
    struct partition_watch watch;
    unsigned wakes;
};

static void rewatch_on_wake(struct partition_watch *watch)
{
    struct rewatch *again = container_of(watch, struct rewatch, watch);
    again->wakes++;
    watch->bytes = 1;
    partition_watch(partition, watch);
}

/* Goal: a watch set when it is woken waits for what comes after. Method: one that sets itself again, over three
 * appends. */
START_TEST(a_watch_may_be_set_again_when_woken)
{
    struct rewatch watch = {.watch = {.cb = rewatch_on_wake, .bytes = 1}};
    partition_watch(partition, &watch.watch);
    for (unsigned i = 1; i <= 3; i++) {
        append(2, 0);
        ck_assert_uint_eq(watch.wakes, i);
    }
    partition_unwatch(&watch.watch);
}
END_TEST

/* ---- Trim and retention ---- */

struct trim_case {
    const char *name;
    int64_t offset;
    enum kafka_error error;
    int64_t start;
    unsigned entries;
};
static const struct trim_case trim_cases[] = {
    {"into the log", 3, KAFKA_NONE, 3, 1},
    {"to the end", 10, KAFKA_NONE, 10, 1},
    {"beyond the end", 11, KAFKA_OFFSET_OUT_OF_RANGE, 0, 0},
    {"the high watermark", -1, KAFKA_NONE, 10, 1},
    {"nothing", 0, KAFKA_NONE, 0, 0},
    {"negative", -2, KAFKA_OFFSET_OUT_OF_RANGE, 0, 0},
    {"smallest", INT64_MIN, KAFKA_OFFSET_OUT_OF_RANGE, 0, 0},
    {"largest", INT64_MAX, KAFKA_OFFSET_OUT_OF_RANGE, 0, 0},
};

/* Goal: trims move the start as asked and are answered after commit. Method: table over ten records. */
START_TEST(trims_move_the_start)
{
    const struct trim_case *c = &trim_cases[_i];
    append(5, 0);
    append(5, 0);
    unsigned before = replica->count;
    struct test_trim trim;
    test_trim(partition, &trim, c->offset);
    ck_assert_uint_eq(replica->count, before + c->entries);
    ck_assert_int_eq(log_start_offset(partition_log(partition)), 0);
    (void)fake_replica_apply_all(replica);
    partition_fixture_turn(&fixture);
    ck_assert_uint_eq(trim.answers, 1);
    ck_assert_int_eq(trim.req.error, c->error);
    ck_assert_int_eq(trim.req.log_start_offset, c->start);
    ck_assert_int_eq(log_start_offset(partition_log(partition)), c->start);
}
END_TEST

/* Goal: epochs of which nothing is left are forgotten. Method: three terms, trims to each place; the epochs in the
 * state. */
START_TEST(trims_forget_epochs)
{
    append(5, 0);
    fake_replica_role(replica, REPLICA_LEADER, 8, true);
    append(5, 0);
    fake_replica_role(replica, REPLICA_LEADER, 9, true);
    append(5, 0);
    static const int64_t starts[] = {4, 5, 9, 10, 15};
    static const size_t counts[] = {3, 2, 2, 1, 1};
    for (size_t i = 0; i < array_count(starts); i++) {
        struct test_trim trim;
        test_trim(partition, &trim, starts[i]);
        (void)fake_replica_apply_all(replica);
        struct replica_machine *machine = partition_machine(partition);
        struct dynbuf blob;
        dynbuf_init(&blob, MIB(1));
        machine->ops->capture_done(machine, machine->ops->capture(machine, &blob), true);
        log_fixture_run_jobs(&fixture.log);
        struct epochs epochs;
        struct producers producers;
        epochs_init(&epochs);
        producers_init(&producers, 1);
        struct partition_state state = {.epochs = &epochs, .producers = &producers};
        ck_assert_int_eq(partition_state_decode(dynbuf_bytes(&blob), &state, NULL), OK);
        ck_assert_uint_eq(epochs.count, counts[i]);
        log_state_deinit(&state.log);
        producers_deinit(&producers);
        epochs_deinit(&epochs);
        dynbuf_deinit(&blob);
    }
}
END_TEST

/* Goal: trims that cannot be committed are answered. Method: not the leader; busy; leadership lost on the way. */
START_TEST(trims_fail_like_batches)
{
    append(5, 0);
    struct test_trim trim;
    if (_i == 0) {
        fake_replica_role(replica, REPLICA_FOLLOWER, 8, false);
    } else if (_i == 1) {
        fault_init(&replica->busy, 1, 1);
    }
    test_trim(partition, &trim, 3);
    if (_i == 2) {
        fake_replica_place(replica);
        fake_replica_role(replica, REPLICA_FOLLOWER, 8, false);
        fake_replica_truncate(replica);
    }
    partition_fixture_turn(&fixture);
    ck_assert_uint_eq(trim.answers, 1);
    ck_assert_int_eq(trim.req.error, _i == 1 ? KAFKA_NOT_ENOUGH_REPLICAS : KAFKA_NOT_LEADER_OR_FOLLOWER);
    ck_assert_int_eq(log_start_offset(partition_log(partition)), 0);
}
END_TEST

/* Goal: retention proposes a trim when the log is too old, once, on the leader, if its policy deletes. Method: the
 * clock moves past retention.ms. */
START_TEST(retention_proposes_trims)
{
    struct partition_config config = partition_fixture_config();
    config.retention_ms = 1000;
    partition_set_config(partition, &config);
    append(5, fixture.wall_ms);
    unsigned before = replica->count;
    partition_retention(partition);
    ck_assert_uint_eq(replica->count, before);
    partition_fixture_pass(&fixture, 2000);
    config.is_deleted_by_retention = false;
    partition_set_config(partition, &config);
    partition_retention(partition);
    ck_assert_uint_eq(replica->count, before);
    config.is_deleted_by_retention = true;
    partition_set_config(partition, &config);
    fault_init(&replica->busy, 1, 1);
    partition_retention(partition);
    ck_assert_uint_eq(replica->count, before);
    partition_retention(partition);
    partition_retention(partition);
    ck_assert_uint_eq(replica->count, before + 1);
    (void)fake_replica_apply_all(replica);
    ck_assert_int_eq(log_start_offset(partition_log(partition)), 5);
    append(1, fixture.wall_ms);
    partition_fixture_pass(&fixture, 2000);
    fake_replica_role(replica, REPLICA_FOLLOWER, 8, false);
    partition_retention(partition);
    fake_replica_role(replica, REPLICA_LEADER, 9, true);
    partition_retention(partition);
    (void)fake_replica_apply_all(replica);
    ck_assert_int_eq(log_start_offset(partition_log(partition)), 6);
}
END_TEST

/* ---- Name and files ---- */

/* Goal: the description comes back, and nothing else passes for one. Method: round trip for short and long names,
 * prefixes, bad names. */
START_TEST(descriptions_round_trip)
{
    char topic[TOPIC_NAME_SIZE_MAX + 1];
    memset(topic, 't', sizeof(topic));
    static const size_t sizes[] = {1, 10, TOPIC_NAME_SIZE_MAX};
    for (size_t i = 0; i < array_count(sizes); i++) {
        struct partition_name name = {.topic = {(const uint8_t *)topic, sizes[i]}, .index = 77, .topic_id = {{9, 8}}};
        struct partition_name copy;
        struct dynbuf buf;
        dynbuf_init(&buf, 1024);
        partition_description_encode(&name, &buf);
        ck_assert_int_eq(partition_description_decode(dynbuf_bytes(&buf), &copy), OK);
        ck_assert(bytes_equal(copy.topic, name.topic));
        ck_assert_int_eq(copy.index, 77);
        ck_assert(uuid_equal(&copy.topic_id, &name.topic_id));
        for (size_t size = 0; size < buf.size; size++) {
            ck_assert_int_eq(partition_description_decode((struct bytes){buf.data, size}, &copy), ERR_CORRUPT);
        }
        ck_assert_int_eq(dynbuf_put(&buf, bytes_from_text("x")), OK);
        ck_assert_int_eq(partition_description_decode(dynbuf_bytes(&buf), &copy), ERR_CORRUPT);
        buf.size--;
        buf.data[3] = '/';
        ck_assert_int_eq(partition_description_decode(dynbuf_bytes(&buf), &copy), ERR_CORRUPT);
        buf.data[3] = 0;
        ck_assert_int_eq(partition_description_decode(dynbuf_bytes(&buf), &copy), ERR_CORRUPT);
        dynbuf_deinit(&buf);
    }
    struct partition_name name;
    partition_name(partition, &name);
    ck_assert(bytes_equal_text(name.topic, "topic"));
    ck_assert_int_eq(name.index, 3);
    ck_assert_int_eq(name.topic_id.bytes[2], 3);
    ck_assert_uint_eq(partition_group(partition), GROUP);
    ck_assert_ptr_eq(partition_of_machine(partition_machine(partition)), partition);
}
END_TEST

/* Goal: the longest topic name, partition number and group still make a directory, and it goes when it is to go.
 * Method: open, close, with and without removal. */
START_TEST(long_names_make_directories)
{
    char topic[TOPIC_NAME_SIZE_MAX];
    memset(topic, 't', sizeof(topic));
    struct partition_name name = {.topic = {(const uint8_t *)topic, sizeof(topic)}, .index = INT32_MAX};
    struct partition_config config = partition_fixture_config();
    struct partition *other;
    struct errmsg msg;
    enum err err = partition_open(&fixture.log.env, fixture.log.files, fixture.log.dir, UINT64_MAX, &name, &config,
                                  BYTES_NONE, &other, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
    char *dir = mem_strdup(log_dir(partition_log(other)));
    struct stat stat_buf;
    ck_assert_int_eq(stat(dir, &stat_buf), 0);
    if (_i == 1) {
        partition_machine(other)->is_removed = true;
    }
    struct replica_machine *machine = partition_machine(other);
    machine->closed = on_closed;
    unsigned before = closes;
    machine->ops->close(machine);
    partition_fixture_turn(&fixture);
    log_fixture_run_jobs(&fixture.log);
    ck_assert_uint_eq(closes, before + 1);
    ck_assert_int_eq(stat(dir, &stat_buf), _i == 1 ? -1 : 0);
    mem_free(dir);
}
END_TEST

static Suite *partition_suite(void)
{
    Suite *suite = suite_create("partition");
    TCase *reading = tcase_create("reading");
    tcase_add_checked_fixture(reading, setup, teardown);
    tcase_add_test(reading, only_a_ready_leader_answers);
    tcase_add_test(reading, only_a_follower_that_hears_a_leader_serves);
    tcase_add_test(reading, what_is_recent_is_half_a_second_old);
    tcase_add_test(reading, current_epochs_are_compared);
    tcase_add_test(reading, the_shard_hears_of_roles);
    tcase_add_loop_test(reading, list_offset_is_that_of_kafka, 0, array_count(list_cases));
    tcase_add_test(reading, an_empty_partition_answers);
    tcase_add_loop_test(reading, epoch_end_is_that_of_kafka, 0, array_count(epoch_cases));
    tcase_add_test(reading, watches_count_bytes);
    tcase_add_loop_test(reading, watches_end_with_the_role, 0, 3);
    tcase_add_test(reading, a_watch_may_be_set_again_when_woken);
    suite_add_tcase(suite, reading);
    TCase *trim = tcase_create("trim");
    tcase_add_checked_fixture(trim, setup, teardown);
    tcase_add_loop_test(trim, trims_move_the_start, 0, array_count(trim_cases));
    tcase_add_test(trim, trims_forget_epochs);
    tcase_add_loop_test(trim, trims_fail_like_batches, 0, 3);
    tcase_add_test(trim, retention_proposes_trims);
    suite_add_tcase(suite, trim);
    TCase *name = tcase_create("name");
    tcase_add_checked_fixture(name, setup, teardown);
    tcase_add_test(name, descriptions_round_trip);
    tcase_add_loop_test(name, long_names_make_directories, 0, 2);
    suite_add_tcase(suite, name);
    return suite;
}

TEST_MAIN(partition_suite)
