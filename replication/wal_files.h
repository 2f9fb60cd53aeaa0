/* The files of a write-ahead log: the one that is written, full ones before it, ready ones behind it; and the
 * background job that makes, recycles and removes them.
 *
 *      make: <n>.new, allocate, header, zero-fill       recycle: <old>.wal -> <n>.new, new header
 *                     |                                                  |
 *                     +---------> rename to <n>.wal, directory synced <--+
 *                                        |
 *                                      ready --wal_files_advance()--> active --wal_files_advance()--> full
 *                                                                                                      |
 *                        recycle or remove <-- released (durably told by a later unit) <---------------+
 *
 * Runs on:  the shard's thread; the job's file operations (wal_file.h) run on a worker. At most one job at a time.
 * Failure:  a job that fails is told by a trace line and tried again (WAL_RETRY_MS); nothing that is needed is
 * touched. */
#pragma once

#include "base/env.h"
#include "replication/wal_recover.h"

enum wal_job_kind {
    WAL_JOB_NONE,
    WAL_JOB_MAKE,
    WAL_JOB_RECYCLE,
    WAL_JOB_REMOVE,
};

struct wal_job { /* Owned by the worker while it runs. */
    struct work work;
    enum wal_job_kind kind;
    struct disk *disk;
    const char *dir;
    uint64_t source;     /* recycle, remove: the released file */
    uint64_t sequence;   /* make, recycle: of the new file */
    uint64_t generation;
    uint64_t size;
    atomic_bool is_hurried; /* make: what is filled is enough; set by the shard's thread while it runs */
    int fd;              /* out: of the new file */
    enum err err;        /* out */
    struct errmsg msg;   /* out */
};

struct wal_files { /* Embedded in the log. */
    struct env *env;
    const char *dir;         /* the log's */
    uint64_t file_size;
    unsigned count_max;      /* of files of full size: what all together may take */
    unsigned ready_max;      /* ready files beyond this are removed, not recycled */
    struct list list;        /* struct wal_file by sequence */
    unsigned count;
    unsigned ready_count;
    struct wal_file *active;
    uint64_t position;       /* in the active file, of the next unit */
    bool has_durable_unit;   /* in the active file; set by the log when a write is done */
    bool is_source_broken;   /* a recycle failed half way: the first file can only be removed */
    bool is_closing;
    bool is_job_running;
    bool is_retry_set;
    bool is_failing;         /* the last job did */
    struct timer retry;
    struct wal_job job;
    void (*on_change)(struct wal_files *files); /* a job is done; never inside a call of this module */
};

/* Takes over what recovery found and opens the active and the ready files; makes the first one of an empty log; removes
 * what was being made. Blocks. On failure nothing is kept. */
MUST_CHECK enum err wal_files_open(struct wal_files *files, struct env *env, const char *dir,
                                   const struct wal_options *options, struct wal_recovered *recovered,
                                   struct errmsg *msg);
/* No new job is started. */
void wal_files_stop(struct wal_files *files);
/* No job is running. */
void wal_files_close(struct wal_files *files);

/* Bytes that a unit may take in the active file so that `reserve` bytes stay free. */
uint64_t wal_files_room(const struct wal_files *files, uint64_t reserve);
struct wal_file *wal_files_next(struct wal_files *files);               /* ready to follow the active one; NULL */
/* The next file becomes the active one; `lsn` is that of its first unit. */
void wal_files_advance(struct wal_files *files, uint64_t lsn);
/* Starts a job if there is something to do, and hurries one whose file is needed before it can be filled. Files wholly
 * below `kept_lsn`, which a durable unit has told, are free; never the active one or the one before it while the active
 * one holds no unit. `is_awaited`: a unit waits for a file, which may be the very first one, and larger than the first
 * file; `is_behind`: units wait for the disk. */
void wal_files_tick(struct wal_files *files, uint64_t kept_lsn, bool is_awaited, bool is_behind);
/* Whether tick at `kept_lsn` would find a free file. */
bool wal_files_can_free(const struct wal_files *files, uint64_t kept_lsn);
uint64_t wal_files_start_lsn(const struct wal_files *files);            /* 0: no unit yet */
