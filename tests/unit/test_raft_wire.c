/* Raft messages on the wire: each kind comes back as it went, the bytes are those of any protobuf encoder, and nothing
 * hostile gets through. */
#include "replication/raft_wire.h"

#include <string.h>

#include "base/mem.h"
#include "proto/peer.pb-c.h"
#include "tests/lib/test.h"

/* ---- There and back */

static Balsa__Peer__Envelope *unpack(const uint8_t *bytes, size_t size)
{
    Balsa__Peer__Envelope *envelope = balsa__peer__envelope__unpack(NULL, size, bytes);
    ck_assert_ptr_nonnull(envelope);
    return envelope;
}

/* Encodes, checks that another encoder would write the same bytes, decodes against `payload`. */
static enum err there_and_back(const struct replica_message *message, struct shared *payload,
                               struct replica_message *result)
{
    uint8_t bytes[RAFT_WIRE_SIZE_MAX];
    uint8_t again[RAFT_WIRE_SIZE_MAX];
    uint64_t group = 0;
    size_t size = raft_wire_encode(77, message, bytes);
    Balsa__Peer__Envelope *envelope = unpack(bytes, size);
    ck_assert_uint_eq(envelope->n_raft, 1);
    ck_assert_uint_eq(balsa__peer__envelope__get_packed_size(envelope), size);
    balsa__peer__envelope__pack(envelope, again);
    ck_assert_int_eq(memcmp(again, bytes, size), 0);
    struct bytes left = payload != NULL ? (struct bytes){payload->data, payload->size} : BYTES_NONE;
    *result = (struct replica_message){.peer = message->peer};
    enum err err = raft_wire_decode(envelope->raft[0], payload, &left, &group, result);
    if (err == OK) {
        ck_assert_uint_eq(group, 77);
        ck_assert_uint_eq(left.size, 0);
    }
    balsa__peer__envelope__free_unpacked(envelope, NULL);
    return err;
}

static const uint64_t numbers[] = {0, 1, 127, 128, 16384, UINT32_MAX, INT64_MAX, UINT64_MAX};

static void fill_membership(struct membership *membership, unsigned count)
{
    membership->count = count;
    for (unsigned i = 0; i < count; i++) {
        membership->servers[i] = (struct replica_server){.id = (uint64_t)(i + 1) << 32 | 99, .is_voter = i % 2 == 0};
    }
}

/* Goal: messages without entries come back as they went, with small and large numbers in every field. */
START_TEST(each_kind_comes_back_as_it_went)
{
    uint64_t n = numbers[_i];
    struct replica_message result;
    struct replica_message m = {.kind = REPLICA_APPEND_RESULT, .peer = 5, .term = n};
    m.append_result.rejected = n;
    m.append_result.last_index = numbers[(_i + 1) % 8];
    ck_assert_int_eq(there_and_back(&m, NULL, &result), OK);
    ck_assert_int_eq(result.kind, m.kind);
    ck_assert_uint_eq(result.peer, 5);
    ck_assert_uint_eq(result.term, n);
    ck_assert_uint_eq(result.append_result.rejected, n);
    ck_assert_uint_eq(result.append_result.last_index, m.append_result.last_index);

    m = (struct replica_message){.kind = REPLICA_VOTE, .term = n};
    m.vote.last_index = n;
    m.vote.last_term = numbers[7 - _i];
    m.vote.is_pre_vote = _i % 2 == 0;
    m.vote.is_disruptive = _i % 3 == 0;
    ck_assert_int_eq(there_and_back(&m, NULL, &result), OK);
    ck_assert_int_eq(result.kind, m.kind);
    ck_assert_uint_eq(result.vote.last_index, n);
    ck_assert_uint_eq(result.vote.last_term, m.vote.last_term);
    ck_assert_int_eq(result.vote.is_pre_vote, m.vote.is_pre_vote);
    ck_assert_int_eq(result.vote.is_disruptive, m.vote.is_disruptive);

    m = (struct replica_message){.kind = REPLICA_VOTE_RESULT, .term = n};
    m.vote_result.is_granted = _i % 2 == 0;
    m.vote_result.is_pre_vote = _i % 3 == 0;
    ck_assert_int_eq(there_and_back(&m, NULL, &result), OK);
    ck_assert_int_eq(result.kind, m.kind);
    ck_assert_int_eq(result.vote_result.is_granted, m.vote_result.is_granted);
    ck_assert_int_eq(result.vote_result.is_pre_vote, m.vote_result.is_pre_vote);

    m = (struct replica_message){.kind = REPLICA_TIMEOUT_NOW, .term = n};
    m.timeout_now.last_index = n;
    m.timeout_now.last_term = numbers[7 - _i];
    ck_assert_int_eq(there_and_back(&m, NULL, &result), OK);
    ck_assert_int_eq(result.kind, m.kind);
    ck_assert_uint_eq(result.timeout_now.last_index, n);
    ck_assert_uint_eq(result.timeout_now.last_term, m.timeout_now.last_term);

    m = (struct replica_message){.kind = REPLICA_INSTALL, .term = n};
    m.install.last_index = n > 0 ? n : 1;
    m.install.last_term = n;
    m.install.membership_index = numbers[7 - _i];
    fill_membership(&m.install.membership, 1 + (unsigned)_i * 2);
    ck_assert_int_eq(there_and_back(&m, NULL, &result), OK);
    ck_assert_int_eq(result.kind, m.kind);
    ck_assert_uint_eq(result.install.last_index, m.install.last_index);
    ck_assert_uint_eq(result.install.last_term, n);
    ck_assert_uint_eq(result.install.membership_index, m.install.membership_index);
    ck_assert(membership_equal(&result.install.membership, &m.install.membership));

    m = (struct replica_message){.kind = REPLICA_APPEND, .term = UINT64_MAX};
    m.append.prev_index = n < INT64_MAX ? n : INT64_MAX;
    m.append.prev_term = m.append.prev_index > 0 ? n : 0;
    m.append.commit_index = n;
    ck_assert_int_eq(there_and_back(&m, NULL, &result), OK);
    ck_assert_int_eq(result.kind, m.kind);
    ck_assert_uint_eq(result.append.prev_index, m.append.prev_index);
    ck_assert_uint_eq(result.append.prev_term, m.append.prev_term);
    ck_assert_uint_eq(result.append.commit_index, n);
    ck_assert_uint_eq(result.append.entry_count, 0);
    ck_assert_ptr_null(result.append.entries);
}
END_TEST

enum {
    ENTRY_COUNT = APPEND_ENTRY_COUNT_MAX
};

/* An APPEND with `count` entries, of all kinds, with terms that rise; its payload as it would lie behind an envelope.
 * */
static struct shared *make_append(struct replica_message *message, struct entry **entries, unsigned count)
{
    uint8_t change[MEMBERSHIP_SIZE_MAX];
    struct membership membership;
    size_t total = 0;
    fill_membership(&membership, 3);
    size_t change_size = membership_encode(&membership, change);
    *message = (struct replica_message){.kind = REPLICA_APPEND, .peer = 9, .term = 1000000};
    message->append.prev_index = 41;
    message->append.prev_term = 3;
    message->append.commit_index = 40;
    message->append.entries = entries;
    message->append.entry_count = count;
    for (unsigned i = 0; i < count; i++) {
        uint8_t data[300];
        memset(data, (int)(i + 1), sizeof data);
        struct bytes payload = i % 5 == 1   ? BYTES_NONE
                               : i % 7 == 2 ? (struct bytes){change, change_size}
                                            : (struct bytes){data, 1 + i % sizeof data};
        enum entry_kind kind = i % 5 == 1 ? ENTRY_BARRIER : i % 7 == 2 ? ENTRY_CHANGE : ENTRY_COMMAND;
        entries[i] = entry_new_copy(kind, 42 + i, 3 + (i / 3) * (i / 3), payload);
        total += payload.size;
    }
    struct shared *block = shared_new(total > 0 ? total : 1);
    size_t at = 0;
    for (unsigned i = 0; i < count; i++) {
        struct bytes payload = entry_payload(entries[i], NULL);
        if (payload.size > 0) {
            memcpy(block->data + at, payload.data, payload.size);
            at += payload.size;
        }
    }
    return block;
}

static void release_all(struct entry **entries, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        entry_release(entries[i]);
    }
}

/* Goal: as many entries as fit in a message come back with kind, index, term and bytes. */
START_TEST(entries_come_back_as_they_went)
{
    struct entry *entries[ENTRY_COUNT];
    struct replica_message message;
    struct replica_message result;
    struct shared *block = make_append(&message, entries, ENTRY_COUNT);
    ck_assert_int_eq(there_and_back(&message, block, &result), OK);
    ck_assert_uint_eq(result.append.entry_count, ENTRY_COUNT);
    for (unsigned i = 0; i < ENTRY_COUNT; i++) {
        const struct entry *sent = entries[i];
        const struct entry *got = result.append.entries[i];
        ck_assert_int_eq(got->kind, sent->kind);
        ck_assert_uint_eq(got->index, sent->index);
        ck_assert_uint_eq(got->term, sent->term);
        ck_assert(bytes_equal(entry_payload(got, NULL), entry_payload(sent, NULL)));
        if (got->size > 0) {
            ck_assert_ptr_eq(got->slices[0].block, block); /* not copied */
        }
    }
    raft_wire_release(&result);
    release_all(entries, ENTRY_COUNT);
    ck_assert_uint_eq(block->references, 1);
    shared_release(block);
}
END_TEST

/* Goal: a few bytes do not keep a large frame in memory.
 * Method: one small entry, of a block of four times its size and a bit, then a bit less. */
START_TEST(few_bytes_do_not_hold_a_large_frame)
{
    struct replica_message message;
    struct replica_message result;
    struct entry *entry = entry_new_copy(ENTRY_COMMAND, 1, 1, (struct bytes){(const uint8_t *)"0123456789", 10});
    struct entry *entries[1] = {entry};
    uint8_t bytes[RAFT_WIRE_SIZE_MAX];
    message = (struct replica_message){.kind = REPLICA_APPEND, .term = 1};
    message.append.entries = entries;
    message.append.entry_count = 1;
    Balsa__Peer__Envelope *envelope = unpack(bytes, raft_wire_encode(1, &message, bytes));
    for (size_t size = 40; size <= 44; size += 4) {
        struct shared *block = shared_new(size);
        memset(block->data, 'x', size);
        struct bytes left = {block->data, size};
        uint64_t group;
        ck_assert_int_eq(raft_wire_decode(envelope->raft[0], block, &left, &group, &result), OK);
        ck_assert_uint_eq(left.size, size - 10);
        ck_assert_int_eq(result.append.entries[0]->slices[0].block == block, size == 40);
        ck_assert_uint_eq(result.append.entries[0]->size, 10);
        raft_wire_release(&result);
        shared_release(block);
    }
    balsa__peer__envelope__free_unpacked(envelope, NULL);
    entry_release(entry);
}
END_TEST

/* ---- Hostile */

struct hostile {
    const char *name;
    void (*spoil)(Balsa__Peer__Raft *raft);
    enum err err;
};

static void no_group(Balsa__Peer__Raft *raft)
{
    raft->group = 0;
}
static void no_kind(Balsa__Peer__Raft *raft)
{
    balsa__peer__append__free_unpacked(raft->append, NULL);
    raft->kind_case = BALSA__PEER__RAFT__KIND__NOT_SET;
    raft->append = NULL;
}
static void fewer_kinds(Balsa__Peer__Raft *raft)
{
    raft->append->n_kinds--;
}
static void fewer_terms(Balsa__Peer__Raft *raft)
{
    raft->append->n_term_steps--;
}
static void fewer_sizes(Balsa__Peer__Raft *raft)
{
    raft->append->n_sizes--;
}
static void strange_kind(Balsa__Peer__Raft *raft)
{
    raft->append->kinds[0] = 77;
}
static void kind_zero(Balsa__Peer__Raft *raft)
{
    raft->append->kinds[3] = 0;
}
static void larger_size(Balsa__Peer__Raft *raft)
{
    raft->append->sizes[3]++;
}
static void huge_size(Balsa__Peer__Raft *raft)
{
    raft->append->sizes[0] = UINT32_MAX;
}
static void later_term(Balsa__Peer__Raft *raft)
{
    raft->append->term_steps[1] = 1000000;
}
static void term_round_to_zero(Balsa__Peer__Raft *raft)
{
    raft->append->term_steps[0] = (uint64_t)0 - 3;
}
static void prev_term_later(Balsa__Peer__Raft *raft)
{
    raft->append->prev_term = 1000001;
}
static void prev_term_of_nothing(Balsa__Peer__Raft *raft)
{
    raft->append->prev_index = 0;
}
static void last_index_round(Balsa__Peer__Raft *raft)
{
    raft->append->prev_index = UINT64_MAX - 3;
}
static void no_membership(Balsa__Peer__Raft *raft)
{
    raft->append->kinds[3] = ENTRY_CHANGE;
}

static const struct hostile hostiles[] = {
    {"no group", no_group, ERR_CORRUPT},
    {"no kind", no_kind, ERR_UNSUPPORTED},
    {"fewer kinds", fewer_kinds, ERR_CORRUPT},
    {"fewer terms", fewer_terms, ERR_CORRUPT},
    {"fewer sizes", fewer_sizes, ERR_CORRUPT},
    {"a kind that there is not", strange_kind, ERR_UNSUPPORTED},
    {"kind 0", kind_zero, ERR_UNSUPPORTED},
    {"more than there is", larger_size, ERR_CORRUPT},
    {"a huge size", huge_size, ERR_CORRUPT},
    {"an entry of a later term", later_term, ERR_CORRUPT},
    {"term 0", term_round_to_zero, ERR_CORRUPT},
    {"previous term later", prev_term_later, ERR_CORRUPT},
    {"a term before the first", prev_term_of_nothing, ERR_CORRUPT},
    {"indexes beyond the last", last_index_round, ERR_CORRUPT},
    {"a membership that is none", no_membership, ERR_CORRUPT},
};

/* Goal: what a correct peer could not have sent is refused, and nothing is kept.
 * Method: a good message, spoilt in one place. */
START_TEST(hostile_appends_are_refused)
{
    const struct hostile *hostile = &hostiles[_i];
    struct entry *entries[4];
    struct replica_message message;
    struct replica_message result = {.peer = 1};
    uint8_t bytes[RAFT_WIRE_SIZE_MAX];
    uint64_t group;
    struct shared *block = make_append(&message, entries, 4);
    Balsa__Peer__Envelope *envelope = unpack(bytes, raft_wire_encode(1, &message, bytes));
    hostile->spoil(envelope->raft[0]);
    struct bytes left = {block->data, block->size};
    enum err err = raft_wire_decode(envelope->raft[0], block, &left, &group, &result);
    ck_assert_msg(err == hostile->err, "%s: %s", hostile->name, err_name(err));
    ck_assert_uint_eq(block->references, 1);
    balsa__peer__envelope__free_unpacked(envelope, NULL);
    release_all(entries, 4);
    shared_release(block);
}
END_TEST

/* Goal: an INSTALL's membership is checked as an entry's is. */
START_TEST(hostile_installs_are_refused)
{
    struct replica_message message = {.kind = REPLICA_INSTALL, .term = 3};
    struct replica_message result;
    struct bytes left = BYTES_NONE;
    uint8_t bytes[RAFT_WIRE_SIZE_MAX];
    uint64_t group;
    message.install.last_index = 5;
    fill_membership(&message.install.membership, 3);
    Balsa__Peer__Envelope *envelope = unpack(bytes, raft_wire_encode(1, &message, bytes));
    Balsa__Peer__Install *install = envelope->raft[0]->install;
    ck_assert_int_eq(raft_wire_decode(envelope->raft[0], NULL, &left, &group, &result), OK);
    install->membership.len--;
    ck_assert_int_eq(raft_wire_decode(envelope->raft[0], NULL, &left, &group, &result), ERR_CORRUPT);
    install->membership.len++;
    install->membership.data[9] ^= 1; /* an id, but not its text */
    ck_assert_int_eq(raft_wire_decode(envelope->raft[0], NULL, &left, &group, &result), ERR_CORRUPT);
    install->membership.data[9] ^= 1;
    install->last_index = 0;
    ck_assert_int_eq(raft_wire_decode(envelope->raft[0], NULL, &left, &group, &result), ERR_CORRUPT);
    balsa__peer__envelope__free_unpacked(envelope, NULL);
}
END_TEST

static Suite *raft_wire_suite(void)
{
    Suite *suite = suite_create("raft_wire");
    TCase *back = tcase_create("there and back");
    tcase_add_loop_test(back, each_kind_comes_back_as_it_went, 0, (int)array_count(numbers));
    tcase_add_test(back, entries_come_back_as_they_went);
    tcase_add_test(back, few_bytes_do_not_hold_a_large_frame);
    suite_add_tcase(suite, back);
    TCase *hostile = tcase_create("hostile");
    tcase_add_loop_test(hostile, hostile_appends_are_refused, 0, (int)array_count(hostiles));
    tcase_add_test(hostile, hostile_installs_are_refused);
    suite_add_tcase(suite, hostile);
    return suite;
}

TEST_MAIN(raft_wire_suite)
