/* Groups and offsets in the store, against a model of a few arrays: random records of all kinds, and after each of them
 * what readers find, and the counts, are the model's. */
#include "base/limits.h"
#include "base/mem.h"
#include "metadata/apply_internal.h"
#include "metadata/store_groups.h"
#include "tests/lib/test.h"
#include "tests/lib/turn_env.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    GROUPS = 5,
    TOPICS = 2,
    PARTITIONS = 3,
    STEPS = 400,
};

struct model_offset {
    bool is_there;
    int64_t offset;
    int64_t commit_ms;
    unsigned metadata_size;
};

struct model_group {
    bool is_there;
    uint64_t number;
    unsigned members;
    struct model_offset offsets[TOPICS][PARTITIONS];
};

struct model_past { /* of a group that was removed: its offsets lie there until they are removed one by one */
    uint64_t number;
    struct model_offset offsets[TOPICS][PARTITIONS];
};

static char *dir;
static struct turn_env turn;
static struct store *store;
static struct store_reader *reader;
static struct store_state state;
static struct model_group groups[GROUPS];
static struct model_past pasts[STEPS];
static unsigned past_count;
static uint64_t next_number;
static unsigned random_state;

static unsigned draw(unsigned bound)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % bound;
}

static void setup(void)
{
    struct errmsg msg;
    struct kv_txn *txn;
    dir = test_dir_make();
    turn_env_init(&turn, 1);
    ck_assert_int_eq(store_open(dir, &store, &msg), OK);
    reader = store_reader_open(store, &turn.env);
    ck_assert_int_eq(kv_begin_write(store_kv(store), &txn), OK);
    ck_assert_int_eq(apply_load_state(txn, &state), OK);
    kv_abort(txn);
    memset(groups, 0, sizeof(groups));
    past_count = 0;
    next_number = state.next_consumer_group;
}

static void teardown(void)
{
    store_reader_close(reader);
    store_close(store);
    turn_env_deinit(&turn);
    test_dir_remove(dir);
}

static ProtobufCBinaryData data_of(const void *data, size_t size)
{
    return (ProtobufCBinaryData){.len = size, .data = (uint8_t *)(uintptr_t)data};
}

static const char *group_id(unsigned group)
{
    static const char *const ids[GROUPS] = {"a", "aa", "b", "group with spaces", ""};
    return ids[group];
}

static struct uuid topic_id(unsigned topic)
{
    struct uuid id = {{0}};
    memset(id.bytes, (int)(topic + 1), sizeof(id.bytes));
    return id;
}

static struct kv_txn *begin(void)
{
    struct kv_txn *txn;
    ck_assert_int_eq(kv_begin_write(store_kv(store), &txn), OK);
    return txn;
}

static void commit(struct kv_txn *txn)
{
    ck_assert_int_eq(apply_save_state(txn, &state), OK);
    ck_assert_int_eq(kv_commit(txn, NULL), OK);
    store_reader_refresh(reader);
    turn_env_run(&turn);
}

static void model_make(unsigned group)
{
    if (!groups[group].is_there) {
        groups[group] = (struct model_group){.is_there = true, .number = next_number++};
    }
}

/* ---- One step of each kind: the record into the store, what it means into the model ---- */

static enum kafka_error commit_offset(unsigned group, unsigned topic, unsigned partition, struct model_offset offset)
{
    static uint8_t metadata[200];
    Balsa__Record__OffsetsCommitted record = BALSA__RECORD__OFFSETS_COMMITTED__INIT;
    Balsa__Record__OffsetsCommitted__Commit one = BALSA__RECORD__OFFSETS_COMMITTED__COMMIT__INIT;
    Balsa__Record__OffsetsCommitted__Topic of = BALSA__RECORD__OFFSETS_COMMITTED__TOPIC__INIT;
    Balsa__Record__OffsetsCommitted__Partition part = BALSA__RECORD__OFFSETS_COMMITTED__PARTITION__INIT;
    Balsa__Record__OffsetsCommitted__Commit *commits[] = {&one};
    Balsa__Record__OffsetsCommitted__Topic *topics[] = {&of};
    Balsa__Record__OffsetsCommitted__Partition *parts[] = {&part};
    struct uuid id = topic_id(topic);
    struct apply_result result = {.error = KAFKA_NONE};
    part.index = (int32_t)partition;
    part.offset = offset.offset;
    part.leader_epoch = 7;
    part.metadata = data_of(metadata, offset.metadata_size);
    of.id = data_of(id.bytes, sizeof(id.bytes));
    of.partitions = parts;
    of.n_partitions = 1;
    one.group = data_of(group_id(group), strlen(group_id(group)));
    one.commit_ms = offset.commit_ms;
    one.topics = topics;
    one.n_topics = 1;
    record.commits = commits;
    record.n_commits = 1;
    struct kv_txn *txn = begin();
    ck_assert_int_eq(apply_offsets_committed(txn, &state, &record, &result), OK);
    commit(txn);
    return result.error;
}

static void step_commit(void)
{
    unsigned group = draw(GROUPS);
    unsigned topic = draw(TOPICS);
    unsigned partition = draw(PARTITIONS);
    struct model_offset offset = {true, draw(1000), 1 + draw(3), draw(3) * 99};
    ck_assert_int_eq(commit_offset(group, topic, partition, offset), KAFKA_NONE);
    model_make(group);
    groups[group].offsets[topic][partition] = offset;
}

static void step_change(void)
{
    unsigned group = draw(GROUPS);
    Balsa__Record__GroupChanged record = BALSA__RECORD__GROUP_CHANGED__INIT;
    Balsa__Record__GroupValue value = BALSA__RECORD__GROUP_VALUE__INIT;
    Balsa__Record__GroupMember member = BALSA__RECORD__GROUP_MEMBER__INIT;
    Balsa__Record__GroupMember *members[] = {&member, &member};
    struct apply_result result = {.error = KAFKA_NONE};
    member.id = data_of("member", 6);
    value.group = data_of(group_id(group), strlen(group_id(group)));
    value.members = members;
    value.n_members = draw(3);
    record.value = &value;
    struct kv_txn *txn = begin();
    ck_assert_int_eq(apply_group_changed(txn, &state, &record, &result), OK);
    ck_assert_int_eq(result.error, KAFKA_NONE);
    commit(txn);
    model_make(group);
    groups[group].members = (unsigned)value.n_members;
}

static bool model_has_offsets(const struct model_group *group)
{
    for (unsigned i = 0; i < TOPICS * PARTITIONS; i++) {
        if (group->offsets[i / PARTITIONS][i % PARTITIONS].is_there) {
            return true;
        }
    }
    return false;
}

static void step_remove_group(void)
{
    unsigned group = draw(GROUPS);
    Balsa__Record__GroupsRemoved record = BALSA__RECORD__GROUPS_REMOVED__INIT;
    Balsa__Record__GroupsRemoved__Removal removal = BALSA__RECORD__GROUPS_REMOVED__REMOVAL__INIT;
    Balsa__Record__GroupsRemoved__Removal *removals[] = {&removal};
    struct apply_result result = {.error = KAFKA_NONE};
    removal.group = data_of(group_id(group), strlen(group_id(group)));
    removal.if_unused = draw(2) == 0;
    record.removals = removals;
    record.n_removals = 1;
    struct kv_txn *txn = begin();
    ck_assert_int_eq(apply_groups_removed(txn, &state, &record, &result), OK);
    commit(txn);
    struct model_group *model = &groups[group];
    if (!model->is_there) {
        ck_assert_int_eq(result.error, KAFKA_GROUP_ID_NOT_FOUND);
    } else if (model->members > 0 || (removal.if_unused && model_has_offsets(model))) {
        ck_assert_int_eq(result.error, KAFKA_NON_EMPTY_GROUP);
    } else {
        ck_assert_int_eq(result.error, KAFKA_NONE);
        pasts[past_count].number = model->number;
        memcpy(pasts[past_count++].offsets, model->offsets, sizeof(model->offsets));
        *model = (struct model_group){.is_there = false};
    }
}

static void remove_offset(uint64_t number, unsigned topic, unsigned partition, int64_t commit_ms)
{
    Balsa__Record__OffsetsRemoved record = BALSA__RECORD__OFFSETS_REMOVED__INIT;
    Balsa__Record__OffsetsRemoved__Offset removed = BALSA__RECORD__OFFSETS_REMOVED__OFFSET__INIT;
    Balsa__Record__OffsetsRemoved__Offset *offsets[] = {&removed};
    struct uuid id = topic_id(topic);
    removed.group = number;
    removed.topic = data_of(id.bytes, sizeof(id.bytes));
    removed.partition = (int32_t)partition;
    removed.commit_ms = commit_ms;
    record.offsets = offsets;
    record.n_offsets = 1;
    struct kv_txn *txn = begin();
    ck_assert_int_eq(apply_offsets_removed(txn, &state, &record), OK);
    commit(txn);
}

static void step_remove_offset(void)
{
    unsigned topic = draw(TOPICS);
    unsigned partition = draw(PARTITIONS);
    int64_t commit_ms = draw(4); /* 0: whenever it was committed */
    bool is_past = past_count > 0 && draw(2) == 0;
    struct model_past *past = is_past ? &pasts[draw(past_count)] : NULL;
    struct model_group *group = &groups[draw(GROUPS)];
    if (!is_past && !group->is_there) {
        return;
    }
    struct model_offset *model = is_past ? &past->offsets[topic][partition] : &group->offsets[topic][partition];
    remove_offset(is_past ? past->number : group->number, topic, partition, commit_ms);
    if (model->is_there && (commit_ms == 0 || commit_ms == model->commit_ms)) {
        *model = (struct model_offset){.is_there = false};
    }
}

/* ---- What readers find ---- */

static unsigned check_offsets(uint64_t number, struct model_offset offsets[TOPICS][PARTITIONS])
{
    unsigned count = 0;
    for (unsigned i = 0; i < TOPICS * PARTITIONS; i++) {
        const struct model_offset *model = &offsets[i / PARTITIONS][i % PARTITIONS];
        struct uuid id = topic_id(i / PARTITIONS);
        struct store_offset found;
        enum err err = store_offset(reader, number, &id, (int32_t)(i % PARTITIONS), &found);
        ck_assert_int_eq(err, model->is_there ? OK : ERR_NOT_FOUND);
        if (model->is_there) {
            ck_assert_int_eq(found.offset, model->offset);
            ck_assert_int_eq(found.commit_ms, model->commit_ms);
            ck_assert_uint_eq(found.metadata.size, model->metadata_size);
            ck_assert_int_eq(found.leader_epoch, 7);
        }
        count += model->is_there;
    }
    return count;
}

static bool count_place(void *context, const struct store_offset_place *place, const struct store_offset *offset)
{
    (void)place;
    (void)offset;
    (*(unsigned *)context)++;
    return true;
}

static void check_all(void)
{
    unsigned group_count = 0;
    unsigned offset_count = 0;
    for (unsigned i = 0; i < GROUPS; i++) {
        uint64_t number = 0;
        enum err err = store_consumer_group_number(reader, bytes_from_text(group_id(i)), &number);
        ck_assert_int_eq(err, groups[i].is_there ? OK : ERR_NOT_FOUND);
        if (groups[i].is_there) {
            struct bytes id;
            ck_assert_uint_eq(number, groups[i].number);
            ck_assert_int_eq(store_consumer_group_id(reader, number, &id), OK);
            ck_assert(bytes_equal(id, bytes_from_text(group_id(i))));
            offset_count += check_offsets(number, groups[i].offsets);
            group_count++;
        }
    }
    for (unsigned i = 0; i < past_count; i++) {
        offset_count += check_offsets(pasts[i].number, pasts[i].offsets);
    }
    unsigned walked = 0;
    size_t unreadable = 0;
    struct store_offset_place from = {0};
    ck_assert_int_eq(store_offsets_walk(reader, &from, &unreadable, &walked, count_place), OK);
    ck_assert_uint_eq(walked, offset_count);
    ck_assert_uint_eq(unreadable, 0);
    ck_assert_uint_eq(store_offset_count(reader), offset_count);
    ck_assert_uint_eq(store_consumer_group_count(reader), group_count);
}

/* Goal:   a group made again under an id has no offset of the former one, removals touch what they name and at the time
 *         they name, counts are true.
 * Method: random records; a look at everything after every tenth. */
START_TEST(random_records_do_what_the_model_does)
{
    random_state = (unsigned)_i + 1;
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned kind = draw(10);
        if (kind < 5) {
            step_commit();
        } else if (kind < 7) {
            step_change();
        } else if (kind < 8) {
            step_remove_group();
        } else {
            step_remove_offset();
        }
        if (step % 10 == 0) {
            check_all();
        }
    }
    check_all();
}
END_TEST

/* Goal: what groups take of the store is counted down to nothing. Method: everything that was made is removed. */
START_TEST(nothing_is_left_of_the_count)
{
    random_state = 99;
    for (unsigned step = 0; step < 100; step++) {
        step_commit();
    }
    ck_assert_uint_gt(state.groups_size, 0);
    for (unsigned i = 0; i < GROUPS; i++) {
        for (unsigned j = 0; j < TOPICS * PARTITIONS; j++) {
            remove_offset(groups[i].number, j / PARTITIONS, j % PARTITIONS, 0);
        }
    }
    memset(groups, 0, sizeof(groups));
    for (unsigned i = 0; i < GROUPS; i++) {
        Balsa__Record__GroupsRemoved record = BALSA__RECORD__GROUPS_REMOVED__INIT;
        Balsa__Record__GroupsRemoved__Removal removal = BALSA__RECORD__GROUPS_REMOVED__REMOVAL__INIT;
        Balsa__Record__GroupsRemoved__Removal *removals[] = {&removal};
        struct apply_result result = {.error = KAFKA_NONE};
        removal.group = data_of(group_id(i), strlen(group_id(i)));
        removal.if_unused = true;
        record.removals = removals;
        record.n_removals = 1;
        struct kv_txn *txn = begin();
        ck_assert_int_eq(apply_groups_removed(txn, &state, &record, &result), OK);
        commit(txn);
    }
    ck_assert_uint_eq(state.groups_size, 0);
    ck_assert_uint_eq(state.offset_count, 0);
    ck_assert_uint_eq(state.consumer_group_count, 0);
}
END_TEST

/* Goal: a store that groups have filled takes no new one and no offset, and goes on with what is there. */
START_TEST(a_full_store_refuses_what_is_new)
{
    struct model_offset offset = {true, 1, 1, 0};
    ck_assert_int_eq(commit_offset(0, 0, 0, offset), KAFKA_NONE);
    model_make(0);
    groups[0].offsets[0][0] = offset;
    uint64_t size = state.groups_size;
    state.groups_size = GROUPS_SIZE_MAX;
    offset.offset = 2;
    ck_assert_int_eq(commit_offset(0, 0, 0, offset), KAFKA_INVALID_COMMIT_OFFSET_SIZE);
    ck_assert_int_eq(commit_offset(1, 0, 0, offset), KAFKA_INVALID_COMMIT_OFFSET_SIZE);
    check_all();
    state.groups_size = size;
    ck_assert_int_eq(commit_offset(0, 0, 0, offset), KAFKA_NONE);
    groups[0].offsets[0][0] = offset;
    check_all();
}
END_TEST

/* Goal: an id that can be no key is refused or passed over, whatever record names it. */
START_TEST(an_id_too_long_is_refused)
{
    static uint8_t id[GROUP_ID_SIZE_MAX + 1];
    Balsa__Record__GroupChanged changed = BALSA__RECORD__GROUP_CHANGED__INIT;
    Balsa__Record__GroupValue value = BALSA__RECORD__GROUP_VALUE__INIT;
    Balsa__Record__GroupsRemoved removed = BALSA__RECORD__GROUPS_REMOVED__INIT;
    Balsa__Record__GroupsRemoved__Removal removal = BALSA__RECORD__GROUPS_REMOVED__REMOVAL__INIT;
    Balsa__Record__GroupsRemoved__Removal *removals[] = {&removal};
    struct apply_result result = {.error = KAFKA_NONE};
    uint64_t number;
    value.group = data_of(id, sizeof(id));
    changed.value = &value;
    removal.group = value.group;
    removed.removals = removals;
    removed.n_removals = 1;
    struct kv_txn *txn = begin();
    ck_assert_int_eq(apply_group_changed(txn, &state, &changed, &result), OK);
    ck_assert_int_eq(result.error, KAFKA_INVALID_GROUP_ID);
    result.error = KAFKA_NONE;
    ck_assert_int_eq(apply_groups_removed(txn, &state, &removed, &result), OK);
    ck_assert_int_eq(result.error, KAFKA_GROUP_ID_NOT_FOUND);
    commit(txn);
    ck_assert_int_eq(store_consumer_group_number(reader, (struct bytes){id, sizeof(id)}, &number), ERR_NOT_FOUND);
    check_all();
}
END_TEST

static Suite *apply_groups_suite(void)
{
    Suite *suite = suite_create("apply_groups");
    TCase *tcase = tcase_create("records");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, random_records_do_what_the_model_does, 0, 4);
    tcase_add_test(tcase, nothing_is_left_of_the_count);
    tcase_add_test(tcase, a_full_store_refuses_what_is_new);
    tcase_add_test(tcase, an_id_too_long_is_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}

TEST_MAIN(apply_groups_suite)
