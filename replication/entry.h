/* One Raft entry in memory: immutable after it got its place in the log, counted, made of slices so that payload
 * read from a socket is never copied on its way to the log, the followers and the segments.
 *
 * Runs on:  one shard's thread; the count is not atomic (the slices' blocks are). */
#pragma once

#include "base/shared.h"

enum entry_kind {      /* on disk and on the wire */
    ENTRY_COMMAND = 1, /* for the state machine of the group */
    ENTRY_BARRIER = 2, /* Raft's no-op: takes an index, never an offset */
    ENTRY_CHANGE = 3,  /* Raft configuration, encoded by libraft */
};

struct entry {
    uint64_t index; /* 0 until it has a place */
    uint64_t term;
    size_t size;    /* payload: the slices together */
    uint32_t references;
    enum entry_kind kind;
    unsigned slice_count;
    struct slice slices[];
};

/* Takes over the references of `slices` (the array stays the caller's). One reference to the caller. */
struct entry *entry_new(enum entry_kind kind, uint64_t index, uint64_t term, const struct slice *slices,
                        unsigned count);
struct entry *entry_new_copy(enum entry_kind kind, uint64_t index, uint64_t term, struct bytes payload);
struct entry *entry_acquire(struct entry *entry);
void entry_release(struct entry *entry);
/* Entries that a message brought and the log keeps. Those of one slice that would keep a block in memory which is more
 * than four times what they have of it are given a copy: a message that repeats a thousand entries to bring one more
 * must not be kept for that one. Before anybody else reads them. */
void entries_unpin(struct entry *const *entries, unsigned count);
/* The payload as one piece: the only slice itself, else gathered into `scratch` (grown as needed). */
struct bytes entry_payload(const struct entry *entry, struct shared **scratch);
