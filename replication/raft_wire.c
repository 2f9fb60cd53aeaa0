/* Happy path, encoding: protobuf's nested sizes stand before what they count, so an element is written from its end to
 * its beginning and then moved to the front.
 * Decoding: first everything is checked, then entries are made, so that a failure has nothing to give back. */
#include "replication/raft_wire.h"

#include "base/assert.h"
#include "base/mem.h"
#include "proto/peer.pb-c.h"

#include <string.h>

/* ---- Encoding: from the end to the beginning */

enum {
    WIRE_VARINT = 0,
    WIRE_BYTES = 2
};
enum {
    ENVELOPE_RAFT = 4
}; /* proto/peer.proto: Envelope.raft */

struct backward {
    uint8_t *start;
    uint8_t *at;
};

static void put_varint(struct backward *out, uint64_t value)
{
    uint8_t bytes[10];
    size_t size = 0;
    do {
        bytes[size++] = (uint8_t)(value & 0x7f) | (value >> 7 != 0 ? 0x80 : 0);
        value >>= 7;
    } while (value != 0);
    assert(size <= (size_t)(out->at - out->start));
    out->at -= size;
    memcpy(out->at, bytes, size);
}

static void put_number(struct backward *out, unsigned field, uint64_t value)
{
    if (value != 0) { /* zero is what a field has that is not there */
        put_varint(out, value);
        put_varint(out, field << 3 | WIRE_VARINT);
    }
}

/* The head of a nested field whose content is all that was put since `end` was the beginning. */
static void put_head(struct backward *out, unsigned field, const uint8_t *end)
{
    put_varint(out, (uint64_t)(end - out->at));
    put_varint(out, field << 3 | WIRE_BYTES);
}

static void put_entries(struct backward *out, const struct replica_message *message)
{
    struct entry *const *entries = message->append.entries;
    unsigned count = message->append.entry_count;
    if (count == 0) {
        return;
    }
    uint8_t *end = out->at;
    for (unsigned i = count; i > 0; i--) {
        put_varint(out, entries[i - 1]->size);
    }
    put_head(out, 6, end);
    end = out->at;
    for (unsigned i = count; i > 0; i--) {
        uint64_t before = i > 1 ? entries[i - 2]->term : message->append.prev_term;
        put_varint(out, entries[i - 1]->term - before);
    }
    put_head(out, 5, end);
    end = out->at;
    for (unsigned i = count; i > 0; i--) {
        put_varint(out, entries[i - 1]->kind);
    }
    put_head(out, 4, end);
}

static void put_install(struct backward *out, const struct replica_message *message)
{
    uint8_t membership[MEMBERSHIP_SIZE_MAX];
    size_t size = membership_encode(&message->install.membership, membership);
    uint8_t *end = out->at;
    assert(size <= (size_t)(out->at - out->start));
    out->at -= size;
    memcpy(out->at, membership, size);
    put_head(out, 4, end);
    put_number(out, 3, message->install.membership_index);
    put_number(out, 2, message->install.last_term);
    put_number(out, 1, message->install.last_index);
}

/* The message of the oneof; returns its field number in Raft. */
static unsigned put_kind(struct backward *out, const struct replica_message *message)
{
    switch (message->kind) {
    case REPLICA_APPEND:
        put_entries(out, message);
        put_number(out, 3, message->append.commit_index);
        put_number(out, 2, message->append.prev_term);
        put_number(out, 1, message->append.prev_index);
        return 3;
    case REPLICA_APPEND_RESULT:
        put_number(out, 3, message->append_result.echo_ms);
        put_number(out, 2, message->append_result.last_index);
        put_number(out, 1, message->append_result.rejected);
        return 4;
    case REPLICA_VOTE:
        put_number(out, 6, message->vote.released_ms);
        put_number(out, 5, message->vote.deposed_term);
        put_number(out, 4, message->vote.is_disruptive);
        put_number(out, 3, message->vote.is_pre_vote);
        put_number(out, 2, message->vote.last_term);
        put_number(out, 1, message->vote.last_index);
        return 5;
    case REPLICA_VOTE_RESULT:
        put_number(out, 2, message->vote_result.is_pre_vote);
        put_number(out, 1, message->vote_result.is_granted);
        return 6;
    case REPLICA_INSTALL:
        put_install(out, message);
        return 7;
    case REPLICA_TIMEOUT_NOW:
        put_number(out, 3, message->timeout_now.released_ms);
        put_number(out, 2, message->timeout_now.last_term);
        put_number(out, 1, message->timeout_now.last_index);
        return 8;
    default:
        assert(false);
        return 0;
    }
}

size_t raft_wire_encode(uint64_t group, const struct replica_message *message, uint8_t *target)
{
    assert(message->kind != REPLICA_APPEND || message->append.entry_count <= APPEND_ENTRY_COUNT_MAX);
    uint8_t *end = target + RAFT_WIRE_SIZE_MAX;
    struct backward out = {target, end};
    put_head(&out, put_kind(&out, message), end);
    put_number(&out, 2, message->term);
    put_number(&out, 1, group);
    put_head(&out, ENVELOPE_RAFT, end);
    size_t size = (size_t)(end - out.at);
    memmove(target, out.at, size);
    return size;
}

/* ---- Decoding */

static bool is_entry_kind(uint32_t kind)
{
    return kind == ENTRY_COMMAND || kind == ENTRY_BARRIER || kind == ENTRY_CHANGE;
}

/* What all entries take of the payload, which is at least that. */
static enum err check_entries(const Balsa__Peer__Append *append, uint64_t message_term, struct bytes payload,
                              size_t *total)
{
    uint64_t term = append->prev_term;
    struct membership membership;
    *total = 0;
    for (size_t i = 0; i < append->n_sizes; i++) {
        term += append->term_steps[i];
        if (term == 0 || term > message_term || append->sizes[i] > ENTRY_SIZE_MAX ||
            append->sizes[i] > payload.size - *total) {
            return ERR_CORRUPT;
        }
        if (!is_entry_kind(append->kinds[i])) {
            return ERR_UNSUPPORTED;
        }
        struct bytes bytes = {append->sizes[i] > 0 ? payload.data + *total : NULL, append->sizes[i]};
        if (append->kinds[i] == ENTRY_CHANGE && membership_decode(bytes, &membership) != OK) {
            return ERR_CORRUPT;
        }
        *total += append->sizes[i];
    }
    return OK;
}

static void make_entries(const Balsa__Peer__Append *append, struct shared *block, struct bytes bytes,
                         struct entry **entries)
{
    uint64_t term = append->prev_term;
    struct shared *copy = NULL;
    if (bytes.size > 0 && bytes.size < block->size / 4) {
        copy = shared_new(bytes.size);
        memcpy(copy->data, bytes.data, bytes.size);
        bytes.data = copy->data;
        block = copy;
    }
    for (size_t i = 0; i < append->n_sizes; i++) {
        size_t size = append->sizes[i];
        term += append->term_steps[i];
        enum entry_kind kind = (enum entry_kind)append->kinds[i];
        uint64_t index = append->prev_index + 1 + i;
        if (size == 0) {
            entries[i] = entry_new(kind, index, term, NULL, 0);
            continue;
        }
        struct slice slice = {.block = shared_acquire(block), .bytes = {bytes.data, size}};
        entries[i] = entry_new(kind, index, term, &slice, 1);
        bytes.data += size;
    }
    shared_release(copy);
}

static enum err decode_append(const Balsa__Peer__Append *append, struct shared *block, struct bytes *payload,
                              struct replica_message *message)
{
    size_t total;
    size_t count = append->n_sizes;
    message->append.prev_index = append->prev_index;
    message->append.prev_term = append->prev_term;
    message->append.commit_index = append->commit_index;
    message->append.sent_ms = 0;
    message->append.entries = NULL;
    message->append.entry_count = (unsigned)count;
    if (count > APPEND_ENTRY_COUNT_MAX || append->n_kinds != count || append->n_term_steps != count ||
        append->prev_index >= UINT64_MAX - APPEND_ENTRY_COUNT_MAX || append->prev_term > message->term ||
        (append->prev_index == 0 && append->prev_term != 0)) {
        return ERR_CORRUPT;
    }
    enum err err = check_entries(append, message->term, *payload, &total);
    if (err != OK || count == 0) {
        return err;
    }
    struct entry **entries = mem_alloc_raw(count * sizeof entries[0]);
    make_entries(append, block, (struct bytes){payload->data, total}, entries);
    message->append.entries = entries;
    payload->data += total;
    payload->size -= total;
    return OK;
}

static enum err decode_install(const Balsa__Peer__Install *install, struct replica_message *message)
{
    message->install.last_index = install->last_index;
    message->install.last_term = install->last_term;
    message->install.membership_index = install->membership_index;
    struct bytes bytes = {install->membership.data, install->membership.len};
    return install->last_index > 0 ? membership_decode(bytes, &message->install.membership) : ERR_CORRUPT;
}

enum err raft_wire_decode(const struct Balsa__Peer__Raft *wire, struct shared *block, struct bytes *payload,
                          uint64_t *group, struct replica_message *message)
{
    if (wire->group == 0) {
        return ERR_CORRUPT;
    }
    *group = wire->group;
    message->term = wire->term;
    switch (wire->kind_case) {
    case BALSA__PEER__RAFT__KIND_APPEND:
        message->kind = REPLICA_APPEND;
        return decode_append(wire->append, block, payload, message);
    case BALSA__PEER__RAFT__KIND_APPEND_RESULT:
        message->kind = REPLICA_APPEND_RESULT;
        message->append_result.rejected = wire->append_result->rejected;
        message->append_result.last_index = wire->append_result->last_index;
        message->append_result.echo_ms = wire->append_result->echo_ms;
        return OK;
    case BALSA__PEER__RAFT__KIND_VOTE:
        message->kind = REPLICA_VOTE;
        message->vote.last_index = wire->vote->last_index;
        message->vote.last_term = wire->vote->last_term;
        message->vote.is_pre_vote = wire->vote->is_pre_vote;
        message->vote.is_disruptive = wire->vote->is_disruptive;
        message->vote.deposed_term = wire->vote->deposed_term;
        message->vote.released_ms = wire->vote->released_ms;
        return OK;
    case BALSA__PEER__RAFT__KIND_VOTE_RESULT:
        message->kind = REPLICA_VOTE_RESULT;
        message->vote_result.is_granted = wire->vote_result->is_granted;
        message->vote_result.is_pre_vote = wire->vote_result->is_pre_vote;
        return OK;
    case BALSA__PEER__RAFT__KIND_INSTALL:
        message->kind = REPLICA_INSTALL;
        return decode_install(wire->install, message);
    case BALSA__PEER__RAFT__KIND_TIMEOUT_NOW:
        message->kind = REPLICA_TIMEOUT_NOW;
        message->timeout_now.last_index = wire->timeout_now->last_index;
        message->timeout_now.last_term = wire->timeout_now->last_term;
        message->timeout_now.released_ms = wire->timeout_now->released_ms;
        return OK;
    case BALSA__PEER__RAFT__KIND__NOT_SET:
    case _BALSA__PEER__RAFT__KIND__CASE_IS_INT_SIZE:
    default:
        return ERR_UNSUPPORTED;
    }
}

void raft_wire_release(const struct replica_message *message)
{
    if (message->kind != REPLICA_APPEND || message->append.entries == NULL) {
        return;
    }
    for (unsigned i = 0; i < message->append.entry_count; i++) {
        entry_release(message->append.entries[i]);
    }
    mem_free((void *)(uintptr_t)message->append.entries);
}
