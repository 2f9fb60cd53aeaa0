/* One file of a write-ahead log: what is remembered of it, its name, the operations that make, rename and remove it.
 *
 * Runs on:  operations block: work jobs, and opening. Each leaves names that recovery accepts wherever it is cut off:
 *           a file gets its .wal name when its header is durable, and one name is changed at a time, durably. */
#pragma once

#include <stdatomic.h>

#include "base/env.h"
#include "base/list.h"
#include "replication/wal_format.h"

enum { WAL_SEQUENCE_DIGITS = 20 };
#define WAL_SUFFIX ".wal"     /* a file whose header is durable */
#define WAL_SUFFIX_NEW ".new" /* one that is being made: never looked into */

struct wal_file {
    struct list link;
    uint64_t sequence;
    uint64_t generation;
    uint64_t size;
    uint64_t first_lsn; /* of its first unit; 0: no unit yet */
    uint64_t end_lsn;   /* behind its last unit; not yet known of the active file */
    int fd;             /* -1: not open */
};
struct wal_file *wal_file_new(uint64_t sequence, uint64_t generation, uint64_t size);
void wal_files_free(struct list *files); /* none of them open */

/* "<dir>/<sequence, 20 digits><suffix>", mem_alloc'ed. */
char *wal_file_path(const char *dir, uint64_t sequence, const char *suffix);

/* Brings <sequence>.new under its .wal name, with this header. It is an old file of header->size, or a new one: that
 * has its place on the disk, and is filled with zeros so that a later write overwrites written blocks (no metadata
 * changes with it), as far as that gets before *is_hurried, which another thread may set meanwhile. An old one: NULL.
 * *fd stays open on success (DISK_DIRECT); on failure nothing is left. */
MUST_CHECK enum err wal_file_prepare(struct disk *disk, const char *dir, const struct wal_file_header *header,
                                     bool is_new, const atomic_bool *is_hurried, int *fd, struct errmsg *msg);
/* <source>.wal becomes <sequence>.new: it leaves the log. */
MUST_CHECK enum err wal_file_take(struct disk *disk, const char *dir, uint64_t source, uint64_t sequence,
                                  struct errmsg *msg);
/* OK if it is not there. Not durable before the directory is synced. */
MUST_CHECK enum err wal_file_unlink(struct disk *disk, const char *dir, uint64_t sequence, const char *suffix,
                                    struct errmsg *msg);
MUST_CHECK enum err wal_file_sync_dir(struct disk *disk, const char *dir, struct errmsg *msg);
