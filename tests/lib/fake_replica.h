/* A replica that does what the test says: it stands in for replica.c behind a state machine. It keeps the log as a
 * list of entries; the test places, commits and applies them, and changes the role.
 *
 * This header defines the functions of replication/replica.h, so that they are linked in place of the real ones:
 * include it in exactly one file of a test, and in none that needs the real replica. */
#ifndef TESTS_LIB_FAKE_REPLICA_H
#define TESTS_LIB_FAKE_REPLICA_H

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "replication/replica.h"
#include "tests/lib/test.h"

enum { FAKE_ENTRY_COUNT_MAX = 4096, FAKE_SERVER_COUNT = 8 };

struct replica {
    struct replica_machine *machine;
    uint64_t group;
    struct replica_status status;
    struct entry *entries[FAKE_ENTRY_COUNT_MAX]; /* index - 1 -> entry; the last `submitted` have no place yet */
    unsigned count;
    unsigned submitted;
    unsigned applied;
    struct fault busy;             /* submits that are refused with ERR_BUSY */
    bool is_unready;               /* submits are refused with ERR_NOT_READY */
    bool is_doubtful;              /* leads, but may have a successor */
    unsigned submits;
    uint64_t matches[FAKE_SERVER_COUNT]; /* by server id */
    unsigned damages;
    char damage[512];
};

static inline struct replica *fake_replica_open(struct replica_machine *machine, uint64_t group)
{
    struct replica *replica = mem_alloc(sizeof(*replica));
    replica->machine = machine;
    replica->group = group;
    machine->replica = replica;
    return replica;
}

static inline void fake_replica_close(struct replica *replica)
{
    for (unsigned i = 0; i < replica->count; i++) {
        entry_release(replica->entries[i]);
    }
    mem_free(replica);
}

static inline void fake_replica_role(struct replica *replica, enum replica_role role, uint64_t term, bool is_ready)
{
    replica->status.role = role;
    replica->status.term = term;
    replica->status.is_ready = is_ready;
    replica->machine->ops->role_changed(replica->machine, &replica->status);
}

/* Entries submitted get their index: Raft's step at the end of the turn. */
static inline void fake_replica_place(struct replica *replica)
{
    for (; replica->submitted > 0; replica->submitted--) {
        unsigned at = replica->count - replica->submitted;
        replica->entries[at]->index = at + 1;
        replica->entries[at]->term = replica->status.term;
    }
}

/* Commits and applies the next `count` entries. */
static inline void fake_replica_apply(struct replica *replica, unsigned count)
{
    for (; count > 0; count--) {
        ck_assert_uint_lt(replica->applied, replica->count - replica->submitted);
        const struct entry *entry = replica->entries[replica->applied++];
        if (entry->kind == ENTRY_COMMAND) {
            replica->machine->ops->apply(replica->machine, entry);
        }
    }
    replica->machine->ops->applied(replica->machine);
}

static inline unsigned fake_replica_apply_all(struct replica *replica)
{
    fake_replica_place(replica);
    unsigned count = replica->count - replica->applied;
    fake_replica_apply(replica, count);
    return count;
}

/* An entry that another leader wrote. Takes over the reference. */
static inline void fake_replica_append(struct replica *replica, struct entry *entry)
{
    ck_assert_uint_eq(replica->submitted, 0);
    ck_assert_uint_lt(replica->count, FAKE_ENTRY_COUNT_MAX);
    replica->entries[replica->count++] = entry;
    entry->index = replica->count;
}

/* Drops the entries that are not applied, as a new leader may. */
static inline void fake_replica_truncate(struct replica *replica)
{
    while (replica->count > replica->applied) {
        entry_release(replica->entries[--replica->count]);
    }
    replica->submitted = 0;
}

enum err replica_submit(struct replica *replica, struct entry *entry)
{
    replica->submits++;
    if (replica->status.role != REPLICA_LEADER) {
        return ERR_NOT_LEADER;
    }
    if (!replica->status.is_ready || replica->is_unready) {
        return ERR_NOT_READY;
    }
    if (fault_tick(&replica->busy)) {
        return ERR_BUSY;
    }
    ck_assert_uint_lt(replica->count, FAKE_ENTRY_COUNT_MAX);
    ck_assert_uint_eq(entry->index, 0);
    replica->entries[replica->count++] = entry;
    replica->submitted++;
    return OK;
}

void replica_tell_commit(struct replica *replica)
{
    (void)replica;
}

void replica_status(const struct replica *replica, struct replica_status *status)
{
    *status = replica->status;
}

bool replica_is_leading(const struct replica *replica)
{
    return replica->status.role == REPLICA_LEADER && replica->status.is_ready && !replica->is_doubtful;
}

uint64_t replica_match_index(const struct replica *replica, uint64_t server)
{
    return server < FAKE_SERVER_COUNT ? replica->matches[server] : 0;
}

void replica_damaged(struct replica *replica, const char *cause)
{
    replica->damages++;
    (void)snprintf(replica->damage, sizeof(replica->damage), "%s", cause);
}

#endif
