/* The local store's records: which Raft groups this broker is a member of, and where each one's replay starts.
 *
 * Tables in the process's local store (base/kv.h, KV_DURABLE); formats byte by byte in replication/README.md:
 *   'G' group u64    what it is: type and description, written when the group is created
 *   'C' group u64    its checkpoint: Raft state and the machine's state at one applied index
 *   'D' group u64    it is damaged, and why: written before the write-ahead log forgets what it would have needed, so
 *                    that nobody opens it again with a hole in its log; goes with the group
 *   'H' group u64    it was here and was removed: the term and vote it had, since a server votes once in a term however
 *                    often it comes and goes; and where its frames in the write-ahead log end, which are not those of
 *                    a later life
 * Values end in a CRC-32C: LMDB's pages carry none.
 * Runs on: reading at start; writing in work jobs (one write transaction at a time in the process). */
#pragma once

#include "base/dynbuf.h"
#include "base/kv.h"
#include "replication/membership.h"

enum group_type { GROUP_METADATA = 1, GROUP_PARTITION = 2 }; /* on disk */

/* Raft's part. index 0: only created. The log starts with the bootstrap entry at index 1, of term `term`; or, with an
 * empty membership and term 0, this is a joiner: nothing is here until its leader sends it. */
struct checkpoint_raft {
    uint64_t index;               /* applied and in the machine's state; never 1 (R11) */
    uint64_t term;                /* of the entry at index; of the bootstrap entry when index is 0, 0 without one */
    uint64_t membership_index;
    struct membership membership;
    uint64_t hard_term;           /* current term and vote when it was taken */
    uint64_t vote;                /* server id, 0: none */
};

struct checkpoint_kept {          /* What stays of a group that was removed here. */
    uint64_t hard_term, vote;
    uint32_t layout;              /* of the write-ahead logs; */
    uint64_t lsn;                 /* frames of this layout below it belong to the life that has ended */
};

struct checkpoint_group {         /* One group as found in the store. */
    uint64_t group;
    enum group_type type;
    struct bytes description;
    struct checkpoint_raft raft;
    struct bytes state;           /* the machine's */
    struct bytes damage;          /* why it is out of service for good; empty: it is not */
    struct checkpoint_kept kept;  /* of an earlier life here; all 0: there was none */
};

/* Adds a new group at index 0. ERR_EXISTS. */
MUST_CHECK enum err checkpoint_create(struct kv_txn *txn, uint64_t group, enum group_type type,
                                      struct bytes description, const struct checkpoint_raft *raft);
/* Replaces the checkpoint of a group; ERR_NOT_FOUND when it was removed meanwhile. */
MUST_CHECK enum err checkpoint_put(struct kv_txn *txn, uint64_t group, const struct checkpoint_raft *raft,
                                   struct bytes state);
/* Replaces term and vote in the checkpoint of a group and nothing else; ERR_NOT_FOUND as above. */
MUST_CHECK enum err checkpoint_put_hard_state(struct kv_txn *txn, uint64_t group, uint64_t hard_term, uint64_t vote);
MUST_CHECK enum err checkpoint_put_damage(struct kv_txn *txn, uint64_t group, struct bytes cause); /* the same */
/* Takes all records of a group but for what is kept of it; OK when absent. */
MUST_CHECK enum err checkpoint_remove(struct kv_txn *txn, uint64_t group);
/* Replaces what is kept; its term and vote never go back. ERR_CORRUPT: what is there does not decode. */
MUST_CHECK enum err checkpoint_keep(struct kv_txn *txn, uint64_t group, const struct checkpoint_kept *kept);
/* All 0 when there is nothing. */
MUST_CHECK enum err checkpoint_kept(struct kv_txn *txn, uint64_t group, struct checkpoint_kept *kept);
/* The group is gone for good, everywhere: its id is never used again. */
MUST_CHECK enum err checkpoint_forget(struct kv_txn *txn, uint64_t group);
/* Calls cb for each group in the store, in order of ids; borrowed until it returns. An unreadable record comes with
 * `err` (ERR_CORRUPT) and only its id. Stops at the first error that cb returns. */
MUST_CHECK enum err checkpoint_each(struct kv_txn *txn, void *context,
                                    enum err (*cb)(void *context, const struct checkpoint_group *group, enum err err));
