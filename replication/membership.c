/* Happy path: encode and decode are each other's inverse, byte for byte.
 * Failure:    a payload that encode could not have written is ERR_CORRUPT: libraft decodes entries of this kind without
 *             looking at their size, so it must never see one that was not checked here. */
#include "replication/membership.h"

#include "base/assert.h"

#include <string.h>

enum {
    FORMAT = 1,       /* libraft: ENCODING_FORMAT */
    ROLE_STANDBY = 0, /* libraft: RAFT_STANDBY */
    ROLE_VOTER = 1,   /* libraft: RAFT_VOTER */
    HEADER_SIZE = 1 + 8,
    ADDRESS_SIZE = 16 + 1, /* the id in hex, with NUL: libraft wants a text that is unique among members */
    SERVER_SIZE = 8 + ADDRESS_SIZE + 1,
    ALIGNMENT = 8,
};

static_assert((HEADER_SIZE + REPLICA_SERVER_COUNT_MAX * SERVER_SIZE + ALIGNMENT) <= MEMBERSHIP_SIZE_MAX,
              "largest encoding");

static void le64_put(uint8_t *at, uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
}

static uint64_t le64_get(const uint8_t *at)
{
    uint64_t value = 0;
    for (unsigned i = 8; i > 0; i--) {
        value = value << 8 | at[i - 1];
    }
    return value;
}

static void address_put(uint8_t *at, uint64_t id)
{
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < 16; i++) {
        at[i] = (uint8_t)digits[id >> (60 - 4 * i) & 15];
    }
    at[16] = 0;
}

size_t membership_encode(const struct membership *membership, uint8_t *target)
{
    assert(membership->count > 0);
    assert(membership->count <= REPLICA_SERVER_COUNT_MAX);
    uint8_t *at = target;
    *at++ = FORMAT;
    le64_put(at, membership->count);
    at += 8;
    for (unsigned i = 0; i < membership->count; i++) {
        const struct replica_server *server = &membership->servers[i];
        assert(server->id != 0);
        le64_put(at, server->id);
        address_put(at + 8, server->id);
        at[8 + ADDRESS_SIZE] = server->is_voter ? ROLE_VOTER : ROLE_STANDBY;
        at += SERVER_SIZE;
    }
    size_t size = (size_t)(at - target);
    size_t padded = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    memset(at, 0, padded - size);
    return padded;
}

enum err membership_decode(struct bytes bytes, struct membership *membership)
{
    if (bytes.size < HEADER_SIZE || bytes.size > MEMBERSHIP_SIZE_MAX || bytes.data[0] != FORMAT) {
        return ERR_CORRUPT;
    }
    uint64_t count = le64_get(bytes.data + 1);
    if (count == 0 || count > REPLICA_SERVER_COUNT_MAX || bytes.size - HEADER_SIZE < count * SERVER_SIZE) {
        return ERR_CORRUPT;
    }
    struct membership found = {.count = (unsigned)count};
    for (unsigned i = 0; i < found.count; i++) {
        const uint8_t *at = bytes.data + HEADER_SIZE + (size_t)i * SERVER_SIZE;
        uint64_t id = le64_get(at);
        if (id == 0 || membership_find(&found, id) != NULL) {
            return ERR_CORRUPT;
        }
        found.servers[i] = (struct replica_server){.id = id, .is_voter = at[8 + ADDRESS_SIZE] == ROLE_VOTER};
    }
    uint8_t canonical[MEMBERSHIP_SIZE_MAX];
    size_t size = membership_encode(&found, canonical);
    if (size != bytes.size || memcmp(canonical, bytes.data, size) != 0) {
        return ERR_CORRUPT;
    }
    *membership = found;
    return OK;
}

bool membership_equal(const struct membership *a, const struct membership *b)
{
    if (a->count != b->count) {
        return false;
    }
    for (unsigned i = 0; i < a->count; i++) {
        if (a->servers[i].id != b->servers[i].id || a->servers[i].is_voter != b->servers[i].is_voter) {
            return false;
        }
    }
    return true;
}

const struct replica_server *membership_find(const struct membership *membership, uint64_t id)
{
    for (unsigned i = 0; i < membership->count; i++) {
        if (membership->servers[i].id == id) {
            return &membership->servers[i];
        }
    }
    return NULL;
}

unsigned membership_voter_count(const struct membership *membership)
{
    unsigned count = 0;
    for (unsigned i = 0; i < membership->count; i++) {
        count += membership->servers[i].is_voter;
    }
    return count;
}

bool membership_is_sole_voter(const struct membership *membership, uint64_t id)
{
    const struct replica_server *server = membership_find(membership, id);
    return server != NULL && server->is_voter && membership_voter_count(membership) == 1;
}

/* Whether `longer` is `shorter` with one server more, at any place, order and roles kept. */
static bool has_one_more(const struct membership *shorter, const struct membership *longer,
                         struct replica_server *extra)
{
    if (longer->count != shorter->count + 1) {
        return false;
    }
    unsigned at = 0;
    while (at < shorter->count && shorter->servers[at].id == longer->servers[at].id) {
        at++;
    }
    *extra = longer->servers[at];
    for (unsigned i = 0; i < shorter->count; i++) {
        const struct replica_server *other = &longer->servers[i < at ? i : i + 1];
        if (other->id != shorter->servers[i].id || other->is_voter != shorter->servers[i].is_voter) {
            return false;
        }
    }
    return membership_find(shorter, extra->id) == NULL;
}

bool membership_is_one_step(const struct membership *now, const struct membership *next)
{
    if (next->count == 0 || next->count > REPLICA_SERVER_COUNT_MAX || membership_voter_count(next) == 0) {
        return false;
    }
    struct replica_server extra;
    if (has_one_more(now, next, &extra)) {
        return !extra.is_voter && extra.id != 0;
    }
    if (has_one_more(next, now, &extra)) {
        return true;
    }
    if (next->count != now->count) {
        return false;
    }
    unsigned changes = 0;
    for (unsigned i = 0; i < now->count; i++) {
        if (now->servers[i].id != next->servers[i].id) {
            return false;
        }
        changes += now->servers[i].is_voter != next->servers[i].is_voter;
    }
    return changes == 1;
}
