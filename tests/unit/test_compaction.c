/* Compaction: the last record of each key stays, at its place; replicas that carry it out at different moments, with
 * other segments, after crashes, come to the same bytes. */
#include "replication/compaction.h"

#include "base/crc32c.h"
#include "base/mem.h"
#include "proto/records.h"
#include "replication/compact_batch.h"
#include "replication/partition_command.h"
#include "replication/partition_internal.h"
#include "tests/lib/crash_env.h"
#include "tests/lib/log_fixture.h"
#include "tests/lib/test.h"
#include <stdio.h>
#include <string.h>

enum {
    GROUP = 7,
    KEY_COUNT = 12,
    RECORD_COUNT_MAX = 4000,
    ENTRY_COUNT_MAX = 400,
    STATE_SIZE_MAX = 1 << 20,
};

static uint64_t seed;

/* ---- The map ---- */

/* Goal: the hash is SipHash's. Method: its authors' vector for no bytes. */
START_TEST(hash_is_siphash)
{
    uint8_t key[KEY_MAP_SEED_SIZE];
    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = (uint8_t)i;
    }
    struct key_hash hash = key_hash(key, BYTES_NONE);
    ck_assert_uint_eq(hash.halves[0], UINT64_C(0xe6a825ba047f81a3));
    ck_assert_uint_eq(hash.halves[1], UINT64_C(0x930255c71472f66d));
}
END_TEST

/* Goal: the map holds the highest offset of each key while it grows. Method: an array beside it. */
START_TEST(map_keeps_the_highest_offset)
{
    static int64_t expected[5000];
    struct key_map map;
    seed = 3;
    key_map_init(&map, (const uint8_t *)"0123456789abcdef");
    ck_assert_int_eq(key_map_find(&map, bytes_from_text("a")), -1);
    memset(expected, -1, sizeof(expected));
    for (int64_t offset = 0; offset < 20000; offset++) {
        size_t number = (size_t)test_random_between(&seed, 0, array_count(expected) - 1);
        char key[32];
        (void)snprintf(key, sizeof(key), "key-%zu", number);
        key_map_put(&map, bytes_from_text(key), offset);
        expected[number] = offset;
    }
    for (size_t i = 0; i < array_count(expected); i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "key-%zu", i);
        ck_assert_int_eq(key_map_find(&map, bytes_from_text(key)), expected[i]);
    }
    ck_assert_uint_lt(map.count, key_map_count_max(map.capacity * sizeof(struct key_place) / 2 * 3) + 1);
    key_map_deinit(&map);
}
END_TEST

/* ---- One batch ---- */

struct batch_case {
    const char *records; /* a letter a record, upper case: its value is null, '-': it has no key */
    const char *later;   /* keys that have a later record elsewhere */
    const char *kept;
    enum compact_outcome outcome;
    int64_t start_offset;
    int64_t horizon; /* of the batch, -1: none */
};

static const struct batch_case batch_cases[] = {
    {"abc", "", "abc", COMPACT_SAME, 0, -1},    {"abc", "b", "ac", COMPACT_WRITTEN, 0, -1},
    {"abc", "abc", "", COMPACT_NOTHING, 0, -1}, {"aab", "", "ab", COMPACT_WRITTEN, 0, -1},
    {"a-b", "", "ab", COMPACT_WRITTEN, 0, -1},  {"-", "", "", COMPACT_NOTHING, 0, -1},
    {"abc", "", "c", COMPACT_WRITTEN, 102, -1}, {"aBc", "", "aBc", COMPACT_WRITTEN, 0, -1}, /* the horizon is set */
    {"aBc", "", "aBc", COMPACT_SAME, 0, 501},                                               /* it is not over */
    {"aBc", "", "ac", COMPACT_WRITTEN, 0, 500},                                             /* it is */
    {"B", "", "", COMPACT_NOTHING, 0, 100},     {"aBc", "b", "ac", COMPACT_WRITTEN, 0, -1},
};

static void add_record(struct record_builder *builder, int64_t timestamp, char letter)
{
    char name[1] = {(char)(letter | 0x20)};
    struct bytes key = {(const uint8_t *)name, 1};
    bool is_null = letter >= 'A' && letter <= 'Z';
    struct bytes value =
        bytes_from_text("a value that is long enough for a codec, a value that is long enough for a codec");
    struct bytes header[2] = {bytes_from_text("h"), bytes_from_text("x")};
    record_builder_add(builder, timestamp, letter == '-' ? NULL : &key, is_null ? NULL : &value, header, 1);
}

static struct shared *case_batch(const struct batch_case *c, enum record_codec codec)
{
    struct record_builder *builder = record_builder_open(codec, c->horizon < 0 ? 1000 : c->horizon);
    for (size_t i = 0; i < strlen(c->records); i++) {
        add_record(builder, 1000 + (int64_t)i, c->records[i]);
    }
    record_builder_producer(builder, 9, 2, 77);
    struct shared *block = record_builder_finish(builder);
    if (c->horizon >= 0) {
        be16_put(block->data + 21, (uint16_t)(be16_get(block->data + 21) | BATCH_DELETE_HORIZON));
        record_batch_set_max_timestamp(block->data, block->size, 1000 + (int64_t)strlen(c->records) - 1, false);
    }
    record_batch_set_offset(block->data, 100, 5);
    return block;
}

static void check_kept(const struct batch_case *c, const struct record_batch *before, const struct record_batch *after)
{
    struct record_iterator iterator;
    struct record record;
    size_t count = 0;
    int64_t max_timestamp = -1;
    ck_assert(record_batch_crc_ok(after));
    ck_assert_int_eq(after->base_offset, 100);
    ck_assert_int_eq(after->leader_epoch, 5);
    ck_assert_int_eq(after->last_offset_delta, before->last_offset_delta);
    ck_assert_int_eq(after->producer_id, 9);
    ck_assert_int_eq(after->base_sequence, 77);
    ck_assert_int_eq(after->attributes & BATCH_CODEC_MASK, before->attributes & BATCH_CODEC_MASK);
    ck_assert_int_eq(record_iterator_init(&iterator, after, 1 << 20), OK);
    while (record_iterator_next(&iterator, &record) == OK) {
        ck_assert_uint_lt(count, strlen(c->kept));
        int64_t delta = record.offset - 100;
        ck_assert_int_eq(c->records[delta], c->kept[count]);
        ck_assert_int_eq(record.key.data[0], c->kept[count] | 0x20);
        ck_assert_int_eq(record.timestamp, 1000 + delta);
        ck_assert_int_eq(record.header_count, 1);
        max_timestamp = record.timestamp;
        count++;
    }
    record_iterator_deinit(&iterator);
    ck_assert_uint_eq(count, strlen(c->kept));
    ck_assert_int_eq(after->max_timestamp, max_timestamp);
}

/* Goal: of a batch stays what must, with its offset, timestamp and headers. Method: the table, in each codec. */
START_TEST(batches_keep_what_they_must)
{
    const struct batch_case *c = &batch_cases[_i];
    for (int codec = CODEC_NONE; codec < CODEC_COUNT; codec++) {
        struct key_map map;
        struct record_batch batch;
        struct dynbuf out;
        struct dynbuf scratch;
        struct compact_counts counts = {0};
        key_map_init(&map, (const uint8_t *)"0123456789abcdef");
        dynbuf_init(&out, 1 << 20);
        dynbuf_init(&scratch, 1 << 20);
        struct shared *block = case_batch(c, (enum record_codec)codec);
        ck_assert_int_eq(record_batch_view((struct bytes){block->data, block->size}, &batch), OK);
        compact_note_keys(&batch, &map);
        for (size_t i = 0; i < strlen(c->later); i++) {
            key_map_put(&map, (struct bytes){(const uint8_t *)c->later + i, 1}, 200);
        }
        struct compact_rules rules = {&map, c->start_offset, 500, 10000};
        ck_assert_msg(compact_batch(&batch, &rules, &out, &scratch, &counts) == c->outcome, "%s", c->records);
        ck_assert_int_eq(counts.kept, (int64_t)strlen(c->kept));
        ck_assert_int_eq(counts.kept + counts.removed, batch.count);
        struct record_batch after = batch;
        if (c->outcome == COMPACT_WRITTEN) {
            ck_assert_int_eq(record_batch_view(dynbuf_bytes(&out), &after), OK);
        }
        if (c->outcome != COMPACT_NOTHING) {
            check_kept(c, &batch, &after);
        }
        shared_release(block);
        dynbuf_deinit(&out);
        dynbuf_deinit(&scratch);
        key_map_deinit(&map);
    }
}
END_TEST

/* ---- A history, and replicas of it ---- */

struct told_record {
    int key;
    bool is_null;
    int64_t timestamp;
};
static struct told_record told[RECORD_COUNT_MAX];
static int64_t told_end;
static int64_t told_start;
static int64_t told_ms;
static struct entry *entries[ENTRY_COUNT_MAX];
static unsigned entry_count;

static void add_entry(struct bytes payload)
{
    ck_assert_uint_lt(entry_count, ENTRY_COUNT_MAX);
    entries[entry_count] = entry_new_copy(ENTRY_COMMAND, entry_count + 2, 1 + entry_count / 40, payload);
    entry_count++;
}

static void add_batches(void)
{
    struct dynbuf payload;
    uint8_t head[PARTITION_COMMAND_HEADER_SIZE];
    unsigned count = (unsigned)test_random_between(&seed, 1, 3);
    struct partition_command command = {PARTITION_COMMAND_BATCHES, (uint16_t)count, told_ms, 1000000};
    partition_command_encode(&command, head);
    dynbuf_init(&payload, 1 << 20);
    ck_assert_int_eq(dynbuf_put(&payload, (struct bytes){head, sizeof(head)}), OK);
    for (unsigned i = 0; i < count; i++) {
        struct record_builder *builder =
            record_builder_open((enum record_codec)test_random_between(&seed, 0, CODEC_COUNT - 1), told_ms);
        int64_t records = test_random_between(&seed, 1, 6);
        for (int64_t r = 0; r < records; r++) {
            int key = (int)test_random_between(&seed, 0, KEY_COUNT - 1);
            bool is_null = test_random(&seed) % 6 == 0;
            told[told_end++] = (struct told_record){key, is_null, told_ms + r};
            ck_assert_int_lt(told_end, RECORD_COUNT_MAX);
            add_record(builder, told_ms + r, (char)((is_null ? 'A' : 'a') + key));
        }
        struct shared *block = record_builder_finish(builder);
        ck_assert_int_eq(dynbuf_put(&payload, (struct bytes){block->data, block->size}), OK);
        shared_release(block);
    }
    add_entry(dynbuf_bytes(&payload));
    dynbuf_deinit(&payload);
}

static void add_trim(void)
{
    uint8_t head[PARTITION_COMMAND_HEADER_SIZE];
    told_start = test_random_between(&seed, told_start, told_start + (told_end - told_start) / 3);
    struct partition_command command = {PARTITION_COMMAND_TRIM, 0, told_ms, told_start};
    partition_command_encode(&command, head);
    add_entry((struct bytes){head, sizeof(head)});
}

static void add_order(int64_t end_offset)
{
    uint8_t data[PARTITION_COMMAND_COMPACT_SIZE];
    struct compaction_order order = {
        .end_offset = end_offset,
        .delete_retention_ms = test_random_between(&seed, 0, 3) * 1000,
        .segment_size = test_random_between(&seed, 500, 3000),
        .key_count_max = test_random(&seed) % 3 == 0 ? 4 : 1000,
    };
    be64_put(order.seed, test_random(&seed));
    partition_command_compact_encode(&order, told_ms, data);
    add_entry((struct bytes){data, sizeof(data)});
}

static void make_history(unsigned steps)
{
    entry_count = 0;
    told_end = told_start = 0;
    told_ms = 1000;
    for (unsigned i = 0; i < steps; i++) {
        told_ms += test_random_between(&seed, 0, 300);
        unsigned kind = (unsigned)(test_random(&seed) % 12);
        if (kind == 0 && told_end > 0) {
            add_trim();
        } else if (kind < 3 && told_end > told_start) {
            add_order(told_end); /* a leader's closed segments end between entries */
        } else {
            add_batches();
        }
    }
}

static void free_history(void)
{
    for (unsigned i = 0; i < entry_count; i++) {
        entry_release(entries[i]);
    }
}

struct member { /* One process. */
    struct crash_env *crash;
    struct log_files *files;
    struct partition *partition;
    unsigned applied;
};

struct saved { /* What the local store has, durably. */
    struct dynbuf state;
    unsigned applied;
};

static unsigned closes;

static void on_closed(struct replica_machine *machine)
{
    (void)machine;
    closes++;
}

static void member_open(struct member *member, struct crash_disk *disk, const struct saved *saved,
                        uint64_t segment_size)
{
    struct partition_name name = {.topic = bytes_from_text("topic")};
    struct partition_config config = {
        .log = {.segment_size_max = segment_size, .segment_ms = 2000, .index_interval = 200},
        .max_message_bytes = 1 << 20,
        .is_compacted = true,
    };
    struct errmsg msg;
    *member = (struct member){.crash = crash_env_new(seed, disk), .applied = saved->applied};
    member->files = log_files_open(&member->crash->env, 4);
    enum err err = partition_open(&member->crash->env, member->files, "/data", GROUP, &name, &config,
                                  dynbuf_bytes(&saved->state), &member->partition, &msg);
    ck_assert_msg(err == OK, "%s", msg.text);
}

static struct crash_disk *member_close(struct member *member)
{
    struct replica_machine *machine = partition_machine(member->partition);
    unsigned before = closes;
    machine->closed = on_closed;
    machine->ops->close(machine);
    while (crash_env_step(member->crash)) {
    }
    ck_assert_uint_eq(closes, before + 1);
    log_files_close(member->files);
    return crash_env_free(member->crash);
}

static void member_apply(struct member *member, unsigned count)
{
    struct replica_machine *machine = partition_machine(member->partition);
    for (; count > 0 && member->applied < entry_count; count--) {
        machine->ops->apply(machine, entries[member->applied++]);
    }
    ck_assert(!member->partition->is_damaged);
}

static void member_save(struct member *member, struct saved *saved)
{
    struct replica_machine *machine = partition_machine(member->partition);
    struct dynbuf state;
    struct errmsg msg;
    dynbuf_init(&state, STATE_SIZE_MAX);
    void *capture = machine->ops->capture(machine, &state);
    bool is_ok = machine->ops->capture_sync(capture, &msg) == OK;
    if (is_ok) {
        dynbuf_deinit(&saved->state);
        saved->state = state;
        saved->applied = member->applied;
    } else {
        dynbuf_deinit(&state);
    }
    machine->ops->capture_done(machine, capture, is_ok);
}

/* Carries out the first order. False: there was none, or it failed. */
static bool member_compact(struct member *member)
{
    struct compaction *compaction = partition_compaction_begin(member->partition, "/data", 0);
    bool is_done = false;
    struct errmsg msg;
    enum err err = OK;
    if (compaction == NULL) {
        return false;
    }
    while (err == OK && !is_done) {
        err = compaction_step(compaction, 500, &is_done, &msg);
    }
    if (err != OK) {
        compaction_discard(compaction);
    }
    partition_compaction_end(member->partition, compaction, err, &msg);
    member->partition->compaction_retry_us = 0;
    ck_assert_msg(!member->partition->is_damaged, "%s", member->partition->damage.text);
    return err == OK;
}

static void on_read(struct log_read *req, enum err err)
{
    (void)req;
    (void)err;
    ck_abort_msg("nothing is cold here");
}

static int64_t seen_at[KEY_COUNT]; /* last offset of each key in the log */

static void check_batch(const struct partition *partition, const struct record_batch *batch)
{
    struct record_iterator iterator;
    struct record record;
    int64_t before = batch->base_offset - 1;
    ck_assert_int_eq(record_iterator_init(&iterator, batch, 1 << 20), OK);
    while (record_iterator_next(&iterator, &record) == OK) {
        const struct told_record *is = &told[record.offset];
        int key = record.key.data[0] - 'a';
        ck_assert_int_gt(record.offset, before);
        ck_assert_int_eq(key, is->key);
        ck_assert_int_eq(record.is_value_null, is->is_null);
        ck_assert_int_eq(record.timestamp, is->timestamp);
        ck_assert_msg(record.offset < told_start || seen_at[key] < told_start ||
                          record.offset >= partition->compactions.end_offset,
                      "key %c is twice below %lld: at %lld and %lld", 'a' + key,
                      (long long)partition->compactions.end_offset, (long long)seen_at[key], (long long)record.offset);
        seen_at[key] = record.offset;
        before = record.offset;
    }
    record_iterator_deinit(&iterator);
}

/* CRC-32C of all batches that hold an offset of the log; each record is compared with what was told. */
static uint32_t member_check(struct member *member)
{
    struct log *log = partition_log(member->partition);
    int64_t offset = log_start_offset(log);
    uint32_t crc = 0;
    for (int i = 0; i < KEY_COUNT; i++) {
        seen_at[i] = -1;
    }
    while (offset < log_end_offset(log)) {
        struct log_read req = {.offset = offset, .size_max = 700, .is_first_whole = true, .cb = on_read};
        enum err err = log_read_now(log, &req);
        ck_assert_msg(err == OK, "%s", req.msg.text);
        struct bytes rest = req.slice.bytes;
        ck_assert_uint_gt(rest.size, 0);
        while (rest.size > 0) {
            struct record_batch batch;
            ck_assert_int_eq(record_batch_view(rest, &batch), OK);
            check_batch(member->partition, &batch);
            crc = crc32c(crc, batch.bytes);
            offset = batch.base_offset + batch.last_offset_delta + 1;
            rest = (struct bytes){rest.data + batch.bytes.size, rest.size - batch.bytes.size};
        }
        slice_release(&req.slice);
    }
    ck_assert_int_eq(offset, told_end);
    ck_assert_int_eq(log_start_offset(log), told_start);
    int64_t last_at[KEY_COUNT];
    memset(last_at, -1, sizeof(last_at));
    for (int64_t i = told_start; i < told_end; i++) {
        last_at[told[i].key] = i;
    }
    for (int i = 0; i < KEY_COUNT; i++) {
        bool is_gone = last_at[i] >= 0 && told[last_at[i]].is_null && seen_at[i] < last_at[i];
        ck_assert_msg(is_gone || last_at[i] < 0 || seen_at[i] == last_at[i], "key %c: %lld is lost", 'a' + i,
                      (long long)last_at[i]);
    }
    return crc;
}

static void member_finish(struct member *member)
{
    member_apply(member, entry_count);
    while (member_compact(member)) {
    }
    ck_assert_uint_eq(partition_compactions_due(member->partition), 0);
}

/* What the others must come to: every order carried out at once, all in one life. */
static uint32_t reference(void)
{
    struct saved saved = {.applied = 0};
    struct member member;
    dynbuf_init(&saved.state, STATE_SIZE_MAX);
    member_open(&member, NULL, &saved, 1500);
    while (member.applied < entry_count) {
        member_apply(&member, 1);
        (void)member_compact(&member);
    }
    member_finish(&member);
    uint32_t crc = member_check(&member);
    crash_disk_free(member_close(&member));
    dynbuf_deinit(&saved.state);
    return crc;
}

/* Goal: what a compaction leaves is a function of the log. Method: a history with trims and orders; one replica carries
 * out every order at once, others do so late, with other segments, over checkpoints and restarts. */
START_TEST(replicas_come_to_the_same_bytes)
{
    seed = (uint64_t)_i + 900;
    make_history(60);
    uint32_t expected = reference();
    for (unsigned i = 0; i < 4; i++) {
        struct saved saved = {.applied = 0};
        struct member member;
        uint64_t segment_size = (uint64_t)test_random_between(&seed, 1200, 6000);
        dynbuf_init(&saved.state, STATE_SIZE_MAX);
        member_open(&member, NULL, &saved, segment_size);
        while (member.applied < entry_count) {
            unsigned kind = (unsigned)(test_random(&seed) % 20);
            if (kind == 0) {
                member_open(&member, member_close(&member), &saved, segment_size);
            } else if (kind < 3) {
                member_save(&member, &saved);
            } else if (kind < 6) {
                (void)member_compact(&member);
            } else {
                member_apply(&member, 1);
            }
        }
        member_finish(&member);
        ck_assert_uint_eq(member_check(&member), expected);
        member_save(&member, &saved);
        member_open(&member, member_close(&member), &saved, segment_size);
        ck_assert_uint_eq(member_check(&member), expected);
        crash_disk_free(member_close(&member));
        dynbuf_deinit(&saved.state);
    }
    free_history();
}
END_TEST

/* ---- Crashes and failures ---- */

static struct member *crashing;
static struct saved crash_saved;
static uint32_t crash_expected;
static unsigned crash_count;

/* A new process on what a crash left comes to the same. */
static void on_op(void *context)
{
    (void)context;
    if (test_random(&seed) % 3 != 0) {
        return;
    }
    enum crash_kind kinds[] = {CRASH_DROP, CRASH_KEEP, CRASH_TEAR, CRASH_KILL};
    struct crash_rng rng;
    struct member member;
    crash_rng_init(&rng, test_random(&seed));
    crash_count++;
    member_open(&member, crash_disk_crash(crashing->crash->disk, kinds[test_random(&seed) % 4], &rng.rng), &crash_saved,
                1500);
    member_finish(&member);
    ck_assert_uint_eq(member_check(&member), crash_expected);
    crash_disk_free(member_close(&member));
}

/* Goal: whatever moment a process ends at, the next one comes to the same bytes. Method: at every third change of the
 * disk a crash of some kind, on whose remains a new process goes on to the end. */
START_TEST(any_crash_is_recovered_from)
{
    struct member member;
    seed = (uint64_t)_i + 4000;
    make_history(40);
    crash_expected = reference();
    crash_count = 0;
    crash_saved = (struct saved){.applied = 0};
    dynbuf_init(&crash_saved.state, STATE_SIZE_MAX);
    member_open(&member, NULL, &crash_saved, 1500);
    member_save(&member, &crash_saved);
    crashing = &member;
    member.crash->on_op = on_op;
    while (member.applied < entry_count) {
        unsigned kind = (unsigned)(test_random(&seed) % 8);
        if (kind == 0) {
            member_save(&member, &crash_saved);
        } else if (kind < 3) {
            (void)member_compact(&member);
        } else {
            member_apply(&member, 1);
        }
    }
    member_finish(&member);
    ck_assert_uint_eq(member_check(&member), crash_expected);
    member.crash->on_op = NULL;
    crash_disk_free(member_close(&member));
    dynbuf_deinit(&crash_saved.state);
    free_history();
    ck_assert_uint_gt(crash_count, 10);
}
END_TEST

/* Goal: a compaction that fails anywhere changes nothing, and the next attempt succeeds. Method: the n-th change of the
 * disk fails, for every n until none does. */
START_TEST(any_failure_changes_nothing)
{
    seed = 77 + (uint64_t)_i;
    make_history(40);
    told_ms += 10;
    add_order(told_end);
    uint32_t expected = reference();
    bool has_failed = true;
    unsigned count = 0;
    for (unsigned n = 1; has_failed; n++) {
        struct saved saved = {.applied = 0};
        struct member member;
        dynbuf_init(&saved.state, STATE_SIZE_MAX);
        member_open(&member, NULL, &saved, 1500);
        member_apply(&member, entry_count);
        member_save(&member, &saved);
        member.crash->fault_err = ERR_NO_SPACE;
        fault_init(&member.crash->op_fault, n, 1);
        has_failed = !member_compact(&member);
        fault_init(&member.crash->op_fault, 0, 0);
        count += has_failed;
        if (has_failed) {
            ck_assert_uint_gt(partition_compactions_due(member.partition), 0);
        }
        member_finish(&member);
        ck_assert_uint_eq(member_check(&member), expected);
        crash_disk_free(member_close(&member));
        dynbuf_deinit(&saved.state);
    }
    free_history();
    ck_assert_uint_gt(count, 2);
}
END_TEST

static Suite *compaction_suite(void)
{
    Suite *suite = suite_create("compaction");
    TCase *tcase = tcase_create("compaction");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, hash_is_siphash);
    tcase_add_test(tcase, map_keeps_the_highest_offset);
    tcase_add_loop_test(tcase, batches_keep_what_they_must, 0, array_count(batch_cases));
    tcase_add_loop_test(tcase, replicas_come_to_the_same_bytes, 0, 40);
    tcase_add_loop_test(tcase, any_crash_is_recovered_from, 0, 10);
    tcase_add_loop_test(tcase, any_failure_changes_nothing, 0, 5);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(compaction_suite)
