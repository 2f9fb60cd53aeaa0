/* Reads the files of a write-ahead log, replays what is whole, and finds where the log ends. Changes nothing.
 *
 * Runs on:  the shard's thread, before it serves (blocks).
 * Damage:   what a torn write can explain is left out (`is_torn`); everything else is ERR_DAMAGED with a text that
 * names file and position. Frames may have been replayed by then: the caller drops what they built. */
#pragma once

#include "base/env.h"
#include "base/list.h"
#include "replication/wal.h"
#include "replication/wal_file.h"

struct wal_recovered {
    struct list files;       /* struct wal_file by sequence, not open; the caller's: wal_files_free() */
    struct list leftovers;   /* files that were being made: only `sequence` is set; the caller's */
    struct wal_file *active; /* the one to go on in; NULL: there are no files, an empty log */
    uint64_t position;       /* in the active file, of the next unit */
    uint64_t sequence;       /* of the next unit */
    uint64_t lsn;            /* of the next unit */
    uint64_t kept_lsn;       /* what the last unit said is still needed */
    bool is_torn;            /* a torn unit lies at `position` */
    bool is_stopped;         /* the last frame is WAL_STOP */
};

/* ERR_DAMAGED, ERR_UNSUPPORTED, ERR_IO, ERR_NOT_FOUND (no such directory); `recovered` is empty then. */
MUST_CHECK enum err wal_recover(struct env *env, const char *dir, void *owner, wal_replay_cb replay,
                                struct wal_recovered *recovered, struct errmsg *msg);
