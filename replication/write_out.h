/* What was appended to a shard's segments goes from the page cache to the disk at the pace it comes, rather than all at
 * once when a checkpoint syncs it: such a burst takes the whole disk, and the write-ahead log's writes, which clients
 * wait for, stand in line behind it.
 *
 * A segment that has a whole piece on hand is written out; so are those that wait longest while a shard has more than
 * WRITE_OUT_LAG_MAX on hand, which is what a checkpoint finds at most. One job at a time, and it waits for what it
 * wrote: no more than its ranges are on their way to the device.
 *
 * Failure: ends the process. The sync to come would not be told of it any more.
 *
 * Runs on: the shard's thread; the job on a worker. */
#pragma once

#include "base/env.h"

struct log_file;
struct log_files;
struct segment;

enum { WRITE_OUT_RANGE_COUNT = 64 }; /* of one job */

struct write_out {
    struct env *env;
    struct log_files *files;
    struct list due;     /* segment.lag_link: with a piece or more */
    struct list waiting; /* with less, the longest waiting first */
    size_t lag;          /* bytes of all of them */
    struct work work;
    bool is_running;
    enum err err;
    unsigned count;      /* of the running job */
    struct disk_range ranges[WRITE_OUT_RANGE_COUNT];
    struct log_file *pinned[WRITE_OUT_RANGE_COUNT];
};

void write_out_init(struct write_out *write_out, struct env *env, struct log_files *files);
/* `size` more bytes of the segment are in its file, at its end from `position` on. */
void write_out_note(struct write_out *write_out, struct segment *segment, uint32_t position, size_t size);
/* It is about to be synced, or is closed: what is left of it is nobody's business here. */
void write_out_forget(struct write_out *write_out, struct segment *segment);
