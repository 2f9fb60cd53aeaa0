/* Write-ahead log of one shard: every term, vote and entry of every Raft group on it becomes durable here first.
 *
 * The log is a sequence of *units*: all frames gathered while the unit before was being written (group commit). A unit
 * is written by one aligned write, only after the unit before is durable, so one sync covers every partition. Files are
 * preallocated, zero-filled and recycled. An LSN is a byte position in the endless log: it never goes back, a unit
 * never spans two files. LSNs of frames lie strictly inside their unit, durable_lsn is always between two units.
 *
 * Runs on:  the shard's thread. `on_durable` fires there, in order, never inside wal_append().
 * Failure:  a failed write ends the process (process_stop): memory and disk would disagree.
 * Formats:  replication/README.md, "Write-ahead log", byte by byte.
 * Damage:   a bad unit that no later whole unit follows is a torn tail and is cut, durably, at open, with a message;
 *           a bad unit with a later one behind it is ERR_DAMAGED naming file and position. */
#pragma once

#include "base/env.h"
#include "replication/entry.h"

enum wal_kind {              /* on disk */
    WAL_HARD_STATE = 1,      /* term, vote (in `value`) */
    WAL_ENTRY = 2,           /* index, term, entry kind (in `value`), payload; index <= last: truncates first */
    WAL_COMMIT = 3, /* all entries up to `index` are known committed; never waited for: alone it starts no write */
    WAL_INSTALL = 4,         /* a staged snapshot takes the place of the log up to `index` */
    WAL_STOP = 5,            /* clean end: what is before is complete; group 0; written by wal_close() alone */
};

struct wal_frame {
    uint64_t group;
    enum wal_kind kind;
    uint64_t index;
    uint64_t term;
    uint64_t value;
    const struct slice *slices; /* payload, copied by wal_append() */
    unsigned slice_count;
};

struct wal_record {          /* One frame read back. */
    uint64_t lsn;            /* where the frame's unit starts */
    uint64_t group;
    enum wal_kind kind;
    uint64_t index;
    uint64_t term;
    uint64_t value;
    struct bytes payload;    /* borrowed during the callback */
};

struct wal;

struct wal_handlers {
    /* Everything appended at LSNs < durable_lsn is on stable storage. Once per unit. */
    void (*on_durable)(void *owner, uint64_t durable_lsn);
    /* The live part is over wal_options.checkpoint_size, or appends wait and only a release can help: time for a
     * checkpoint and wal_release(). Once; and again if it still is so after the release moved. */
    void (*on_pressure)(void *owner);
};

struct wal_options {
    size_t file_size;        /* default WAL_FILE_SIZE; multiple of 4 KiB; three blocks more than the largest frame */
    size_t file_size_first;  /* the first file of an empty log, default WAL_FILE_SIZE_FIRST */
    unsigned file_count_max; /* of full size, default WAL_FILE_COUNT_MAX; at least 2 */
    uint64_t checkpoint_size;/* live bytes that ask for a checkpoint; default 4 files */
};                           /* 0 is the default everywhere */

typedef void (*wal_replay_cb)(void *owner, const struct wal_record *record);

/* Reads directory `dir` (created when missing; its parent is there), calls `replay` for every frame of every whole unit
 * in order, cuts a torn tail, and is then ready to append. Blocks; before the shard serves. ERR_DAMAGED,
 * ERR_UNSUPPORTED (format version), ERR_INVALID (options), ERR_IO, ERR_NO_SPACE with text; frames may have been
 * replayed before. The loss of all files at once looks like an empty log from here: compare wal_end_lsn() with what the
 * last checkpoint knew. */
MUST_CHECK enum err wal_open(struct env *env, const char *dir, const struct wal_options *options, void *owner,
                             const struct wal_handlers *handlers, wal_replay_cb replay, struct wal **wal,
                             struct errmsg *msg);
/* Reads a log of another layout without opening it for appends: what is torn is left out, nothing is changed. Errors as
 * above; ERR_NOT_FOUND: no such directory. */
MUST_CHECK enum err wal_scan(struct env *env, const char *dir, void *owner, wal_replay_cb replay, struct errmsg *msg);

/* Adds a frame to the unit that is being gathered; it is submitted at the end of the loop turn, or when the write in
 * flight is done. Returns the frame's LSN: it is durable once durable_lsn exceeds that. Never fails; the caller keeps
 * what it appends bounded (GROUP_TAIL_SIZE_MAX, wal_is_stalled()). Frame payload <= ENTRY_SIZE_MAX. */
uint64_t wal_append(struct wal *wal, const struct wal_frame *frame);
uint64_t wal_durable_lsn(const struct wal *wal);
uint64_t wal_end_lsn(const struct wal *wal); /* behind the last frame appended, but for commit marks behind all else */
uint64_t wal_start_lsn(const struct wal *wal);   /* first LSN that is still kept */
/* Nothing below `lsn` (<= wal_end_lsn()) is needed any more: files wholly below are recycled in the background, once a
 * later unit has told so durably. Never goes back: a lower one than before does nothing. */
void wal_release(struct wal *wal, uint64_t lsn);
/* All files are pinned and full, or the disk is, or the next file is not made yet: appends are accepted into memory but
 * wait; the caller stops taking proposals until this is false again (on_durable comes soon after). */
bool wal_is_stalled(const struct wal *wal);

typedef void (*wal_close_cb)(void *owner);
/* Writes what is gathered and a WAL_STOP frame, waits for the write in flight, then calls cb; the log is freed. A log
 * that is stalled for good is closed without what waits. */
void wal_close(struct wal *wal, wal_close_cb cb);
